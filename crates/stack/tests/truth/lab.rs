//! The lab of the traces: two hosts, one path that drops and delays packets as the trace says, programs as threads.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;

use stack::admin::Admin;
use stack::call::text::{Env, parse_call};
use stack::call::{Call, CallResult, Fd, Outcome, Ret};
use stack::socket::Pid;
use stack::{Errno, Granularity, KernelProfile, Stack, StackConfig};
use wire::tcp::Header;
use wire::{Frame, Instant, MacAddr, Medium};

use super::forge;
use traces::{Conns, Do, Host, Mark, Packet, Step, Trace};

pub(crate) const ADDRS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
/// The interface that is not lo.
pub(crate) const TUN: u32 = 2;
/// What forwarding takes without a delay: no round trip takes no time at all.
const HOP: Duration = Duration::from_micros(3);
/// Turns of the loop that one run may take.
const MAX_TURNS: usize = 4_000_000;

/// Which kernel, and what its clock began at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) profile: KernelProfile,
    pub(crate) hz: u32,
    /// What forwarding adds to a path with a delay.
    pub(crate) forwarding: Duration,
    /// What one packet keeps the forwarder busy, so that the next of a burst comes later.
    pub(crate) spacing: Duration,
}

/// Marks of a connection's packets in one direction, by their order.
type Faults = BTreeMap<(usize, Host), Vec<Mark>>;

/// A call that came back.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) step: usize,
    pub(crate) at: Instant,
    pub(crate) result: CallResult,
}

struct Thread {
    host: Host,
    pid: Pid,
    /// Indexes into the steps, in order.
    steps: Vec<usize>,
    next: usize,
    /// The call it sleeps in, and until when.
    sleeping: Option<(Call, Option<Instant>)>,
    woken: bool,
    /// Not before: the end of a pause.
    pause: Instant,
    /// Goes round for ever: nobody waits for it.
    daemon: bool,
}

pub(crate) struct Lab {
    pub(crate) hosts: Vec<Stack>,
    pub(crate) now: Instant,
    machine: Machine,
    delay: [Duration; 2],
    wire: std::collections::BTreeMap<(Instant, u64), (Host, Frame)>,
    serial: u64,
    /// When the last packet from each host arrives.
    busy: [Instant; 2],
    faults: Faults,
    conns: Conns,
    /// The same for sections that the trace shows.
    shown: Conns,
    /// Sections that the trace shows.
    pub(crate) visible: Vec<usize>,
    count: BTreeMap<(usize, Host), usize>,
    isn: BTreeMap<(usize, Host), u32>,
    /// How far the client's numbers came, by ports.
    ends: BTreeMap<(u16, u16), u32>,
    /// The last TSval of each side.
    stamps: BTreeMap<(usize, Host), u32>,
    pub(crate) seen: Vec<(Instant, Packet)>,
    pub(crate) vars: BTreeMap<String, (Host, Fd)>,
    main: [Pid; 2],
    /// Every thread that was ever made.
    pids: [Vec<Pid>; 2],
    threads: Vec<Thread>,
    pub(crate) done: Vec<Done>,
    link_up: [bool; 2],
    /// SYNs of strangers so far.
    flooded: u32,
    /// SYN-ACKs to them.
    to_strangers: usize,
    /// By step: half-open connections and SYN-ACKs to strangers.
    pub(crate) counts: BTreeMap<usize, (usize, usize)>,
    /// The lab does not look at packets.
    hidden: bool,
    /// The reader of `s` that runs when the trace shows it: what it acknowledges next, and what was read.
    scheduled: Option<(std::collections::VecDeque<u32>, u32, Pid)>,
    targets: std::collections::VecDeque<u32>,
    /// Counters of hosts that were rebooted.
    pub(crate) lost_counters: [BTreeMap<String, u64>; 2],
    seed: u64,
    sysctls: [Vec<(String, String)>; 2],
    mtu: u32,
    /// When each section began.
    pub(crate) zero: Vec<Instant>,
}

struct Names<'a>(&'a Lab);

impl Env for Names<'_> {
    fn fd(&self, name: &str) -> Option<Fd> {
        self.0.vars.get(name).map(|v| v.1)
    }
    fn host(&self, name: &str, _ipv6: bool) -> Option<IpAddr> {
        let n = ["C", "S"].iter().position(|n| *n == name)?;
        ADDRS[n].parse().ok()
    }
    fn ifindex(&self, name: &str) -> Option<u32> {
        (name == "tun0").then_some(TUN)
    }
    fn names(&self) -> Vec<String> {
        self.0.vars.keys().cloned().collect()
    }
}

impl Lab {
    pub(crate) fn new(trace: &Trace, machine: Machine, start: Instant, seed: u64) -> Lab {
        let delay = trace.delay_ms.map(|ms| {
            let d = Duration::from_nanos((ms * 1e6) as u64);
            if d.is_zero() { HOP } else { d + machine.forwarding }
        });
        let mut sysctls = [trace.sysctls[0].clone(), trace.sysctls[0].clone()];
        for (host, own) in sysctls.iter_mut().enumerate() {
            own.extend(trace.sysctls[host + 1].iter().cloned());
        }
        let mut lab = Lab {
            hosts: Vec::new(),
            now: start,
            machine,
            delay,
            wire: BTreeMap::new(),
            serial: 0,
            busy: [Instant::ZERO; 2],
            faults: faults(trace),
            conns: Conns::default(),
            shown: Conns::default(),
            visible: Vec::new(),
            count: BTreeMap::new(),
            isn: BTreeMap::new(),
            ends: BTreeMap::new(),
            stamps: BTreeMap::new(),
            seen: Vec::new(),
            vars: BTreeMap::new(),
            main: [Pid(0), Pid(0)],
            pids: Default::default(),
            threads: Vec::new(),
            done: Vec::new(),
            link_up: [true; 2],
            flooded: 0,
            to_strangers: 0,
            counts: BTreeMap::new(),
            hidden: false,
            scheduled: None,
            targets: targets(trace),
            lost_counters: Default::default(),
            seed,
            sysctls,
            mtu: trace.mtu,
            zero: Vec::new(),
        };
        for host in 0..2 {
            let made = lab.host(host);
            lab.hosts.push(made);
        }
        lab.main = [lab.hosts[0].spawn(), lab.hosts[1].spawn()];
        lab
    }

    fn host(&mut self, n: Host) -> Stack {
        let config = StackConfig {
            name: ["C", "S"][n].into(),
            profile: self.machine.profile,
            granularity: Granularity::Wheel { hz: self.machine.hz },
            seed: self.seed,
            record: false,
        };
        self.seed += 1;
        let now = self.now;
        let mut host = Stack::new(config);
        host.sysctl_write(now, "net.ipv6.conf.default.disable_ipv6", "1").expect("IPv6 off");
        let tun = host.add_interface("tun0", Medium::Ip, MacAddr([0; 6]), self.mtu);
        assert_eq!(tun, TUN);
        for command in [format!("ip addr add {}/24 dev tun0", ADDRS[n]), "ip link set tun0 up".into()] {
            host.admin(now, &Admin::parse(&command).expect("a command")).expect("it applies");
        }
        for (name, value) in &self.sysctls[n] {
            host.sysctl_write(now, name, value).unwrap_or_else(|e| panic!("{name}={value}: {e:?}"));
        }
        host
    }

    /// Runs the script: sections one after another, the last until `end` seconds after its start.
    pub(crate) fn run(&mut self, steps: &[Step], gaps: &[f64], end: f64) {
        let sections = steps.iter().map(|s| s.section + 1).max().unwrap_or(1).max(gaps.len() + 1);
        for section in 0..sections {
            self.zero.push(self.now);
            self.start_threads(steps, section);
            if section + 1 < sections {
                self.run_until(steps, self.now + Duration::from_secs(3600), true);
                let gap = gaps.get(section).copied().unwrap_or(0.3);
                self.run_until(steps, self.now + secs(gap), false);
            } else {
                self.run_until(steps, self.now + secs(end), false);
            }
        }
    }

    fn thread_of(&mut self, host: Host) -> Pid {
        let pid = self.hosts[host].fork_thread(self.main[host]);
        self.pids[host].push(pid);
        pid
    }

    fn start_threads(&mut self, steps: &[Step], section: usize) {
        let zero = self.now;
        let _ = zero;
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for (n, step) in steps.iter().enumerate().filter(|(_, s)| s.section == section) {
            let own;
            let name = match &step.thread {
                Some(name) => name.as_str(),
                None => {
                    own = "";
                    own
                }
            };
            let index = match by_name.get(name) {
                Some(&index) => index,
                None => {
                    let host = step.host;
                    let pid = self.thread_of(host);
                    self.threads.push(Thread {
                        host,
                        pid,
                        steps: Vec::new(),
                        next: 0,
                        sleeping: None,
                        woken: false,
                        pause: self.now,
                        daemon: false,
                    });
                    by_name.insert(name, self.threads.len() - 1);
                    self.threads.len() - 1
                }
            };
            self.threads[index].daemon |= matches!(step.what, Do::Loop(_));
            self.threads[index].steps.push(n);
        }
    }

    /// Runs what can run now; then the next event; until `end`, or until every thread has finished.
    fn run_until(&mut self, steps: &[Step], end: Instant, until_idle: bool) {
        for _ in 0..MAX_TURNS {
            // What arrives at one instant arrives before those run who wait for it.
            if self.wire.keys().next().is_some_and(|k| k.0 <= self.now) {
                self.event();
                continue;
            }
            while self.run_thread(steps) {}
            if until_idle
                && self.threads.iter().all(|t| t.daemon || (t.next >= t.steps.len() && t.sleeping.is_none()))
            {
                return;
            }
            let Some(next) = self.next_event(steps).filter(|n| *n <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.now = self.now.max(next);
            self.event();
        }
        panic!("events without end");
    }

    fn next_event(&self, steps: &[Step]) -> Option<Instant> {
        let wire = self.wire.keys().next().map(|k| k.0);
        let timers = self.hosts.iter().filter_map(Stack::poll_timeout).min();
        let threads = self.threads.iter().filter_map(|t| self.due(t, steps)).min();
        [wire, timers, threads].into_iter().flatten().min()
    }

    /// When a thread has something to do.
    fn due(&self, thread: &Thread, steps: &[Step]) -> Option<Instant> {
        match &thread.sleeping {
            Some((_, until)) => {
                if thread.woken {
                    Some(self.now)
                } else {
                    *until
                }
            }
            None => {
                let step = &steps[*thread.steps.get(thread.next)?];
                let zero = *self.zero.last().expect("a section began");
                Some((zero + secs(step.at)).max(thread.pause).max(self.now))
            }
        }
    }

    fn event(&mut self) {
        if let Some((&key, _)) = self.wire.iter().next()
            && key.0 <= self.now
        {
            let (to, frame) = self.wire.remove(&key).expect("it was found");
            if self.link_up[to] {
                self.hosts[to].handle_frame(self.now, TUN, frame);
            }
            self.carry();
            self.read_as_scheduled(to);
            self.wake();
            return;
        }
        for host in 0..2 {
            if self.hosts[host].poll_timeout().is_some_and(|t| t <= self.now) {
                self.hosts[host].handle_timeout(self.now);
                self.carry();
                self.wake();
            }
        }
    }

    /// Reads when as much is there as the trace's next ACK acknowledges: then the reader ran.
    fn read_as_scheduled(&mut self, host: Host) {
        let Some((targets, read, pid)) = self.scheduled.as_mut().filter(|_| host == 1) else { return };
        let fd = self.vars["s"].1;
        let Outcome::Done(Ok(waiting)) = self.hosts[1].call(self.now, *pid, &Call::IoctlInq { fd }) else {
            return;
        };
        let there = *read + u32::try_from(waiting.value()).expect("bytes");
        let due = targets.iter().take_while(|t| **t <= there).count();
        if waiting.value() > 0 && (due > 0 || targets.is_empty()) {
            targets.drain(..due);
            let flags = stack::call::MsgFlags::DONTWAIT;
            let call = Call::Recv { fd, len: 1 << 20, flags };
            if let Outcome::Done(Ok(ret)) = self.hosts[1].call(self.now, *pid, &call) {
                *read += u32::try_from(ret.value()).expect("bytes");
            }
            self.carry();
        }
    }

    fn wake(&mut self) {
        for host in 0..2 {
            while let Some(pid) = self.hosts[host].poll_wakeup() {
                for t in self.threads.iter_mut().filter(|t| t.host == host && t.pid == pid) {
                    t.woken = true;
                }
            }
        }
    }

    /// Lets one thread that is due make one call; false when none is.
    fn run_thread(&mut self, steps: &[Step]) -> bool {
        let ready: Vec<usize> = (0..self.threads.len())
            .filter(|t| self.due(&self.threads[*t], steps).is_some_and(|at| at <= self.now))
            .collect();
        let Some(index) = ready.into_iter().min_by_key(|t| {
            let thread = &self.threads[*t];
            // Who sleeps in a call goes on first; then by the order of the script.
            (thread.sleeping.is_none(), thread.steps[thread.next.min(thread.steps.len() - 1)])
        }) else {
            return false;
        };
        let step = &steps[self.threads[index].steps[self.threads[index].next]];
        let n = self.threads[index].steps[self.threads[index].next];
        if self.threads[index].host != step.host {
            // The main thread of the lab goes from host to host.
            let pid = self.thread_of(step.host);
            self.threads[index].host = step.host;
            self.threads[index].pid = pid;
        }
        let result = match self.threads[index].sleeping.take() {
            Some((call, _)) => self.call(index, call),
            None => self.act(index, step),
        };
        self.carry();
        self.wake();
        if let Some(result) = result {
            if let (Some(name), Ok(Ret::Fd(fd, _))) = (&step.bind, &result) {
                self.vars.insert(name.clone(), (step.host, *fd));
            }
            if let (Do::Loop(_), Ok(ret)) = (&step.what, &result)
                && ret.value() > 0
            {
                return true;
            }
            self.threads[index].next += 1;
            self.done.push(Done { step: n, at: self.now, result });
        }
        true
    }

    fn call(&mut self, index: usize, call: Call) -> Option<CallResult> {
        let thread = &mut self.threads[index];
        thread.woken = false;
        match self.hosts[thread.host].call(self.now, thread.pid, &call) {
            Outcome::Done(result) => Some(result),
            Outcome::Block { until } => {
                thread.sleeping = Some((call, until));
                None
            }
        }
    }

    fn act(&mut self, index: usize, step: &Step) -> Option<CallResult> {
        let host = step.host;
        match &step.what {
            Do::Call(text) | Do::Loop(text) => {
                let call = parse_call(text, &Names(self));
                let call = call.unwrap_or_else(|e| panic!("{text}: {e:?}"));
                self.call(index, call)
            }
            Do::Kill => {
                let users = core::mem::take(&mut self.pids[host]);
                let main = self.main[host];
                self.main[host] = self.hosts[host].spawn();
                for pid in users.into_iter().chain([main]) {
                    self.hosts[host].exit(self.now, pid);
                }
                Some(Ok(Ret::Int(0)))
            }
            Do::Reboot => {
                for (name, value) in self.hosts[host].mib().non_zero() {
                    if name == "TcpCurrEstab" {
                        // The lab makes a connection vanish by TCP_REPAIR, which counts it.
                        *self.lost_counters[host].entry("TcpEstabResets".into()).or_default() += value;
                    } else {
                        *self.lost_counters[host].entry(name.into()).or_default() += value;
                    }
                }
                self.hosts[host] = self.host(host);
                self.main[host] = self.hosts[host].spawn();
                for t in self.threads.iter_mut().filter(|t| t.host == host) {
                    t.sleeping = None;
                    t.pid = self.hosts[host].fork_thread(self.main[host]);
                }
                Some(Ok(Ret::Int(0)))
            }
            Do::Link(up) => {
                self.link_up[host] = *up;
                let command = if *up { "ip link set tun0 up" } else { "ip link set tun0 down" };
                self.hosts[host]
                    .admin(self.now, &Admin::parse(command).expect("a command"))
                    .expect("it applies");
                Some(Ok(Ret::Int(0)))
            }
            Do::Inject(packet, offsets) => {
                let (frame, isn) = forge::forge(self, packet, *offsets);
                if let Some((conn, seq)) = isn {
                    self.isn.insert((conn, 1 - host), seq);
                }
                self.hosts[host].handle_frame(self.now, TUN, frame);
                Some(Ok(Ret::Int(0)))
            }
            Do::Admin(command) => {
                self.hosts[host]
                    .admin(self.now, &Admin::parse(command).expect("a command"))
                    .expect("it applies");
                Some(Ok(Ret::Int(0)))
            }
            Do::Flood(n) => {
                for _ in 0..*n {
                    self.flooded += 1;
                    let frame = forge::stranger(self.flooded);
                    self.hosts[1].handle_frame(self.now, TUN, frame);
                    self.carry();
                }
                Some(Ok(Ret::Int(0)))
            }
            Do::Count => {
                let half = self.hosts[1].ss_tcp(self.now).matches("SYN-RECV").count();
                self.counts
                    .insert(self.threads[index].steps[self.threads[index].next], (half, self.to_strangers));
                Some(Ok(Ret::Int(0)))
            }
            Do::Hide(on) => {
                self.hidden = *on;
                Some(Ok(Ret::Int(0)))
            }
            Do::Scheduled => {
                let pid = self.thread_of(1);
                self.scheduled = Some((self.targets.clone(), 0, pid));
                Some(Ok(Ret::Int(0)))
            }
            Do::Sleep(pause) => {
                self.threads[index].pause = self.now + secs(*pause);
                Some(Ok(Ret::Int(0)))
            }
            Do::Nothing => Some(Ok(Ret::Int(0))),
        }
    }

    /// The other end of a connection whose client has this place in the order of first packets.
    pub(crate) fn isn_of(&self, conn: usize, host: Host) -> u32 {
        let ports = self.conns.ports(conn);
        let same = (0..=conn).rev().filter(|c| self.conns.ports(*c) == ports);
        same.filter_map(|c| self.isn.get(&(c, host)).copied()).next().unwrap_or(0)
    }

    /// The last TSval that a side sent.
    pub(crate) fn stamp_of(&self, conn: usize, host: Host) -> Option<u32> {
        self.stamps.get(&(conn, host)).copied()
    }

    pub(crate) fn ports_of(&self, conn: usize) -> Option<(u16, u16)> {
        self.conns.ports(conn)
    }

    fn carry(&mut self) {
        for host in [0, 1] {
            while let Some((_, frame)) = self.hosts[host].poll_transmit() {
                let (mark, copies) = match self.see(host, &frame) {
                    Some(Mark::Drop) => continue,
                    Some(Mark::Icmp(ty, code)) => {
                        let answer = forge::icmp(&frame.to_vec(), host, ty, code);
                        self.serial += 1;
                        self.wire.insert((self.now + HOP, self.serial), (host, answer));
                        continue;
                    }
                    Some(Mark::Rewrite) => {
                        let old = self.rewrite(&frame);
                        self.serial += 1;
                        self.wire.insert((self.now + self.delay[host], self.serial), (1 - host, old));
                        continue;
                    }
                    Some(Mark::Delay(s)) => (secs(s), 1),
                    Some(Mark::Dup(n)) => (Duration::ZERO, n),
                    _ => (Duration::ZERO, 1),
                };
                for _ in 0..copies {
                    self.serial += 1;
                    let mut at = self.now + self.delay[host] + mark;
                    if mark.is_zero() {
                        at = at.max(self.busy[host] + self.machine.spacing);
                        self.busy[host] = at;
                    }
                    self.wire.insert((at, self.serial), (1 - host, frame.clone()));
                }
            }
        }
    }

    /// A SYN as if its sequence number had been chosen before the connection that went before it from the same port.
    fn rewrite(&self, frame: &Frame) -> Frame {
        let mut b = frame.to_vec();
        let ports = (u16::from_be_bytes([b[20], b[21]]), u16::from_be_bytes([b[22], b[23]]));
        let old = self.ends.get(&ports).copied().unwrap_or(0).wrapping_sub(1_000_000);
        b[24..28].copy_from_slice(&old.to_be_bytes());
        b[36..38].fill(0);
        let addr = |n: usize| -> std::net::Ipv4Addr { ADDRS[n].parse().expect("an address") };
        let sum = wire::tcp::checksum_v4(addr(0), addr(1), &b[20..]);
        b[36..38].copy_from_slice(&sum.to_be_bytes());
        Frame::from_vec(b)
    }

    /// Notes a packet and says what the trace did with it.
    fn see(&mut self, from: Host, frame: &Frame) -> Option<Mark> {
        let bytes = frame.to_vec();
        let (ip, n) = wire::ipv4::Header::parse(&bytes).ok()?;
        if ip.protocol != wire::ip::Protocol::TCP {
            return None;
        }
        if !ADDRS.iter().any(|a| ip.dst.to_string() == *a) {
            self.to_strangers += 1;
            return Some(Mark::Drop);
        }
        let (header, h) = Header::parse(&bytes[n..]).expect("our own segment");
        let ports = (header.src_port, header.dst_port);
        let conn = self.conns.of(from, ports, &header.flags.to_string());
        let mut mark = Mark::Pass;
        let look = !self.hidden;
        if look && self.visible.contains(&(self.zero.len() - 1)) {
            let key = (self.shown.of(from, ports, &header.flags.to_string()), from);
            let nth = self.count.entry(key).or_default();
            mark = self.faults.get(&key).and_then(|m| m.get(*nth)).copied().unwrap_or(Mark::Pass);
            *nth += 1;
        }
        if header.flags.syn() {
            self.isn.insert((conn, from), header.seq.0);
        }
        if from == 0 && !header.flags.syn() && !header.flags.rst() {
            self.ends.insert(ports, header.seq.0);
        }
        if let Some(ts) = header.options.timestamps() {
            self.stamps.insert((conn, from), ts.val);
        }
        let mine = self.isn_of(conn, from);
        let theirs = self.isn_of(conn, 1 - from);
        let options = header.options;
        let blocks = options.sack();
        let sack =
            blocks.iter().map(|b| (b.left.0.wrapping_sub(theirs), b.right.0.wrapping_sub(theirs))).collect();
        let packet = Packet {
            at: 0.0,
            section: self.zero.len().saturating_sub(1),
            from,
            ports,
            flags: header.flags.to_string(),
            seq: header.seq.0.wrapping_sub(mine),
            ack: header.flags.ack().then(|| header.ack.0.wrapping_sub(theirs)),
            len: bytes.len() - n - h,
            sack,
            mark,
            states: [None, None],
            text: String::new(),
        };
        if look {
            self.seen.push((self.now, packet));
        }
        Some(mark)
    }

    /// A host's counters by their names without `Tcp` and `TcpExt`, with those of the hosts before reboots.
    pub(crate) fn counters(&self, host: Host) -> BTreeMap<String, u64> {
        let mut all = self.lost_counters[host].clone();
        for (name, value) in self.hosts[host].mib().non_zero() {
            *all.entry(name.into()).or_default() += value;
        }
        let mut found = BTreeMap::new();
        for (name, value) in all {
            let short = match name.strip_prefix("TcpExt") {
                Some(rest) => rest,
                None => name.strip_prefix("Tcp").unwrap_or(&name),
            };
            *found.entry(short.to_owned()).or_default() += value;
        }
        found
    }
}

/// What the server acknowledges, ACK by ACK, in bytes.
fn targets(trace: &Trace) -> std::collections::VecDeque<u32> {
    let acks = trace.packets().filter(|p| p.from == 1 && p.len == 0 && p.flags == ".").filter_map(|p| p.ack);
    let mut last = 1;
    let mut found = std::collections::VecDeque::new();
    for ack in acks.filter(|a| *a < 1 << 30) {
        if ack > last {
            found.push_back(ack - 1);
            last = ack;
        }
    }
    found
}

/// The marks of the trace by connection and direction.
fn faults(trace: &Trace) -> Faults {
    let mut conns = Conns::default();
    let mut faults = Faults::new();
    for p in trace.packets() {
        let conn = conns.of(p.from, p.ports, &p.flags);
        faults.entry((conn, p.from)).or_default().push(p.mark);
    }
    faults
}

pub(crate) fn secs(s: f64) -> Duration {
    Duration::from_nanos((s.max(0.0) * 1e9).round() as u64)
}

/// A result in the words of the trace, for messages.
pub(crate) fn show(result: &CallResult) -> String {
    match result {
        Ok(Ret::Data { data, .. }) => {
            format!("b'{}'", String::from_utf8_lossy(data).chars().take(40).collect::<String>())
        }
        Ok(Ret::Fd(_, from)) => format!("socket from {from:?}"),
        Ok(Ret::Opt(value)) => format!("{value:?}"),
        Ok(Ret::Poll(fds)) => format!("{fds:?}"),
        Ok(other) => format!("{}", other.value()),
        Err(errno) => format!("ERROR {}", errno_name(*errno)),
    }
}

pub(crate) fn errno_name(errno: Errno) -> String {
    errno.name().map_or_else(|| format!("{errno:?}"), str::to_owned)
}
