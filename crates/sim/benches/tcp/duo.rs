//! Two hosts of ours back to back, without a world: frames go from one stack's outbox into the other.

use std::net::{Ipv4Addr, SocketAddr};

use stack::call::{Call, CallResult, Domain, Fd, OptValue, Outcome, Ret, SockAddr, SockOpt, SockType};
use stack::record::IfIndex;
use stack::socket::Pid;
use stack::{Errno, Stack, StackConfig};
use wire::{Instant, MacAddr, Medium};

/// One host.
pub(crate) struct Host {
    pub(crate) stack: Stack,
    pub(crate) nic: IfIndex,
    pub(crate) pid: Pid,
}

/// A client, a server and the time.
pub(crate) struct Duo {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) now: Instant,
    /// Frames that each sent.
    pub(crate) frames: [u64; 2],
}

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

fn host(n: u8, settings: &[(&str, &str)]) -> Host {
    let config = StackConfig { name: format!("host{n}"), record: false, ..StackConfig::default() };
    let mut stack = Stack::new(config);
    let nic = stack.add_interface("tun0", Medium::Ip, MacAddr::ZERO, 1500);
    stack.link_set_carrier(Instant::ZERO, nic, true).expect("just made");
    stack.link_set_up(Instant::ZERO, nic, true).expect("just made");
    stack.addr_add(Instant::ZERO, nic, Ipv4Addr::new(10, 9, 0, n).into(), 24).expect("a new address");
    for (name, value) in settings {
        stack.sysctl_write(Instant::ZERO, name, value).expect("a sysctl");
    }
    let pid = stack.spawn();
    stack.set_nofile(pid, 1 << 24);
    Host { stack, nic, pid }
}

impl Host {
    pub(crate) fn call(&mut self, now: Instant, call: &Call) -> CallResult {
        match self.stack.call(now, self.pid, call) {
            Outcome::Done(result) => result,
            Outcome::Block { .. } => panic!("{call:?} blocks"),
        }
    }

    pub(crate) fn fd(&mut self, now: Instant, call: &Call) -> Result<Fd, Errno> {
        match self.call(now, call)? {
            Ret::Fd(fd, _) => Ok(fd),
            other => panic!("{other:?} is no descriptor"),
        }
    }

    pub(crate) fn socket(&mut self, now: Instant) -> Fd {
        let call = Call::Socket { domain: Domain::Inet, ty: SockType::Stream, protocol: 0, nonblock: true };
        self.fd(now, &call).expect("a socket")
    }

    pub(crate) fn set(&mut self, now: Instant, fd: Fd, opt: SockOpt, value: i64) {
        self.call(now, &Call::SetSockOpt { fd, opt, value: OptValue::Int(value) }).expect("an option");
    }

    pub(crate) fn listen(&mut self, now: Instant, port: u16) -> Fd {
        let fd = self.socket(now);
        let addr = SockAddr::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        self.call(now, &Call::Bind { fd, addr }).expect("a free port");
        self.call(now, &Call::Listen { fd, backlog: 4096 }).expect("a bound socket");
        fd
    }

    fn run_timers(&mut self, now: Instant) {
        if self.stack.poll_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
    }
}

impl Duo {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Duo {
        let mut duo =
            Duo { client: host(1, settings), server: host(2, settings), now: Instant::ZERO, frames: [0; 2] };
        // Past what interfaces do at first.
        while duo.now < Instant::from_secs(20) {
            duo.now += core::time::Duration::from_millis(500);
            duo.exchange();
        }
        duo
    }

    /// Carries frames to and fro until both hosts are silent, a microsecond a turn.
    pub(crate) fn exchange(&mut self) {
        let Duo { client, server, now, frames } = self;
        client.run_timers(*now);
        server.run_timers(*now);
        loop {
            let mut silent = true;
            while let Some((_, frame)) = client.stack.poll_transmit() {
                silent = false;
                frames[0] += 1;
                server.stack.handle_frame(*now, server.nic, frame);
            }
            while let Some((_, frame)) = server.stack.poll_transmit() {
                silent = false;
                frames[1] += 1;
                client.stack.handle_frame(*now, client.nic, frame);
            }
            if silent {
                break;
            }
            *now += core::time::Duration::from_micros(1);
        }
    }

    /// A connection from client to server; both ends' descriptors.
    pub(crate) fn connect(&mut self, listener: Fd, port: u16) -> (Fd, Fd) {
        let fd = self.client.socket(self.now);
        let addr = SockAddr::Ip(SocketAddr::from((SERVER, port)));
        let started = self.client.call(self.now, &Call::Connect { fd, addr });
        assert_eq!(started, Err(Errno::EINPROGRESS));
        self.exchange();
        let accepted = self.server.fd(self.now, &Call::Accept { fd: listener, nonblock: true });
        (fd, accepted.expect("a connection"))
    }
}
