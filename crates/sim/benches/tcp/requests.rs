//! Many hosts with small flows: connect, 100 bytes there, 1,000 back, close; each host on average a second apart.
//! A tree of routers, 100 hosts a leaf, one server for every 100 hosts.

use core::time::Duration;
use std::net::{Ipv4Addr, SocketAddr};

use sim::{Action, Event, Program, World, WorldConfig};
use stack::call::{Call, Data, Domain, EpollOp, Fd, PollEvents, Ret, SockAddr, SockType};
use stack::rng::Rng;
use wire::{Bytes, Instant};

use crate::dumbbell::{access, attach, core, host, nic, route};
use crate::{Args, Bar, compare, cpu};

const PORT: u16 = 5000;
const REQUEST: usize = 100;
const RESPONSE: usize = 1000;
const A_LEAF: u32 = 100;
const WARM: Instant = Instant::from_secs(5);

pub(crate) fn rows(args: &Args) {
    let rows = [
        ("hosts1k small flows", 1_000, 10, Bar::figure(50_000.0, 100_000.0)),
        ("hosts10k small flows", 10_000, 3, Bar::figure(35_000.0, 75_000.0)),
    ];
    for (row, hosts, seconds, bar) in rows {
        let hosts = u32::try_from(args.scaled(hosts)).expect("few");
        compare(args, row, "requests/s", bar, || requests(hosts, seconds), None);
    }
}

/// Requests answered a second of CPU time.
fn requests(hosts: u32, seconds: u64) -> f64 {
    let mut world = World::new(WorldConfig { seed: 1, record: false, check: false });
    let (routers, _) = core(&mut world);
    let servers: Vec<Ipv4Addr> = (0..hosts.div_ceil(A_LEAF))
        .map(|n| {
            let node = host(&mut world, &format!("server{n}"), &[]);
            let addr = attach(&mut world, node, routers[1], (30 << 24) + n * 4, access());
            world.spawn(node, "server", WARM, Box::new(Server::default()));
            addr
        })
        .collect();
    let mut clients = Vec::new();
    for leaf in 0..hosts.div_ceil(A_LEAF) {
        let router = host(&mut world, &format!("leaf{leaf}"), &[("net.ipv4.ip_forward", "1")]);
        let net = (40 << 24) + leaf * 4;
        let (own, up) = (Ipv4Addr::from(net + 1), Ipv4Addr::from(net + 2));
        let a = nic(&mut world, router, "up", own);
        let b = nic(&mut world, routers[0], &format!("leaf{leaf}"), up);
        world.connect((router, a), (routers[0], b), access());
        route(&mut world, router, Ipv4Addr::UNSPECIFIED, 0, up);
        route(&mut world, routers[0], Ipv4Addr::from((20 << 24) + (leaf << 16)), 16, own);
        for n in 0..A_LEAF.min(hosts - leaf * A_LEAF) {
            let node = host(&mut world, &format!("client{leaf}-{n}"), &[]);
            attach(&mut world, node, router, (20 << 24) + (leaf << 16) + n * 4, access());
            let number = leaf * A_LEAF + n;
            let to = SocketAddr::from((servers[number as usize % servers.len()], PORT));
            let client = Client::new(to, number.into());
            let start = WARM + Duration::from_millis(u64::from(number * 7919 % 1000) + 1);
            clients.push(world.spawn(node, "client", start, Box::new(client)));
        }
    }
    world.run_until(WARM);
    let start = cpu();
    world.run_until(WARM + Duration::from_secs(seconds));
    let spent = cpu() - start;
    let done: u64 = clients
        .iter()
        .map(|id| world.program(*id).output().first().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0))
        .sum();
    assert!(done > u64::from(hosts) * seconds / 2, "{done} requests of {hosts} hosts in {seconds} s");
    done as f64 / spent
}

/// Asks again and again.
struct Client {
    to: SocketAddr,
    fd: Fd,
    step: u8,
    got: usize,
    request: Data,
    rng: Rng,
    done: u64,
    output: Vec<String>,
}

impl Client {
    fn new(to: SocketAddr, seed: u64) -> Client {
        let request = Data::Literal(Bytes::from(vec![1; REQUEST]));
        let rng = Rng::new(seed, "client");
        Client { to, fd: -1, step: 0, got: 0, request, rng, done: 0, output: Vec::new() }
    }
}

impl Program for Client {
    fn resume(&mut self, now: Instant, event: Event) -> Action {
        self.step += 1;
        match self.step {
            1 => Action::Call(Call::Socket {
                domain: Domain::Inet,
                ty: SockType::Stream,
                protocol: 0,
                nonblock: false,
            }),
            2 => {
                let Event::Returned(Ok(Ret::Fd(fd, _))) = event else { panic!("{event:?}") };
                self.fd = fd;
                Action::Call(Call::Connect { fd, addr: SockAddr::Ip(self.to) })
            }
            3 => {
                assert!(matches!(event, Event::Returned(Ok(_))), "{event:?}");
                self.got = 0;
                Action::Call(Call::Write { fd: self.fd, data: self.request.clone() })
            }
            4 => Action::Call(Call::Read { fd: self.fd, len: 4096 }),
            5 => {
                let Event::Returned(Ok(Ret::Data { len, .. })) = event else { panic!("{event:?}") };
                self.got += len;
                if self.got < RESPONSE && len > 0 {
                    self.step = 4;
                    return Action::Call(Call::Read { fd: self.fd, len: 4096 });
                }
                assert_eq!(self.got, RESPONSE);
                Action::Call(Call::Close { fd: self.fd })
            }
            _ => {
                self.done += 1;
                self.output = vec![self.done.to_string()];
                self.step = 0;
                // Exponentially distributed with mean one second.
                let even = (self.rng.below(1 << 24) + 1) as f64 / (1 << 24) as f64;
                Action::SleepUntil(now + Duration::from_secs_f64(-even.ln()))
            }
        }
    }

    fn output(&self) -> &[String] {
        &self.output
    }
}

/// Answers everybody, by epoll.
#[derive(Default)]
struct Server {
    listener: Fd,
    epoll: Fd,
    step: u8,
    ready: Vec<Fd>,
    current: Fd,
}

enum After {
    Wait = 10,
    Accepted,
    Added,
    Read,
    Written,
    Closed,
}

impl Server {
    fn then(&mut self, step: After, call: Call) -> Action {
        self.step = step as u8;
        Action::Call(call)
    }

    fn next(&mut self) -> Action {
        match self.ready.pop() {
            Some(fd) if fd == self.listener => {
                self.then(After::Accepted, Call::Accept { fd, nonblock: false })
            }
            Some(fd) => {
                self.current = fd;
                self.then(After::Read, Call::Read { fd, len: 4096 })
            }
            None => {
                self.then(After::Wait, Call::EpollWait { epfd: self.epoll, max_events: 64, timeout_ms: -1 })
            }
        }
    }
}

impl Program for Server {
    fn resume(&mut self, _now: Instant, event: Event) -> Action {
        let result = match event {
            Event::Returned(result) => Some(result.expect("no call of it fails")),
            _ => None,
        };
        const WAIT: u8 = After::Wait as u8;
        const ACCEPTED: u8 = After::Accepted as u8;
        const ADDED: u8 = After::Added as u8;
        const READ: u8 = After::Read as u8;
        const WRITTEN: u8 = After::Written as u8;
        match (self.step, result) {
            (0, _) => {
                self.step = 1;
                Action::Call(Call::Socket {
                    domain: Domain::Inet,
                    ty: SockType::Stream,
                    protocol: 0,
                    nonblock: false,
                })
            }
            (1, Some(Ret::Fd(fd, _))) => {
                self.listener = fd;
                self.step = 2;
                let addr = SockAddr::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)));
                Action::Call(Call::Bind { fd, addr })
            }
            (2, _) => {
                self.step = 3;
                Action::Call(Call::Listen { fd: self.listener, backlog: 1024 })
            }
            (3, _) => {
                self.step = 4;
                Action::Call(Call::EpollCreate)
            }
            (4, Some(Ret::Fd(fd, _))) => {
                self.epoll = fd;
                self.add(self.listener)
            }
            (WAIT, Some(Ret::Epoll(events))) => {
                self.ready = events.iter().rev().map(|(_, fd)| Fd::try_from(*fd).expect("ours")).collect();
                self.next()
            }
            (ACCEPTED, Some(Ret::Fd(fd, _))) => self.add(fd),
            (READ, Some(Ret::Data { len, .. })) => {
                let fd = self.current;
                if len == 0 {
                    return self.then(After::Closed, Call::Close { fd });
                }
                assert_eq!(len, REQUEST, "one segment");
                self.then(After::Written, Call::Write { fd, data: Data::Filler(RESPONSE as u32) })
            }
            (ADDED | WRITTEN, _) => self.next(),
            _ => self.next(),
        }
    }
}

impl Server {
    fn add(&mut self, fd: Fd) -> Action {
        let data = u64::try_from(fd).expect("a descriptor");
        let call = Call::EpollCtl { epfd: self.epoll, op: EpollOp::Add, fd, events: PollEvents::IN, data };
        self.then(After::Added, call)
    }
}
