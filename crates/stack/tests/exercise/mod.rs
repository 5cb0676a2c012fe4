//! What any bytes must not break in a host. Shared by the fuzz targets and by the test that replays their
//! corpus.

use core::time::Duration;

use stack::admin::Admin;
use stack::call::text::parse_call;
use stack::socket::Pid;
use stack::{Stack, StackConfig};
use wire::packet::Packet;
use wire::{Frame, Instant, MacAddr, Medium};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const MTU: usize = 1500;
/// One input makes a reply, or lets go of what waited for a neighbour or was cut into fragments; not more.
const MAX_OUT: usize = 2048;
/// Inputs of one run, so that a run takes milliseconds.
const MAX_OPS: usize = 256;

const SETUP: [&str; 12] = [
    "sysctl -w net.ipv4.ip_forward=1",
    "sysctl -w net.ipv6.conf.all.forwarding=1",
    "sysctl -w net.ipv4.conf.eth0.proxy_arp=1",
    "sysctl -w net.ipv4.conf.eth0.arp_accept=1",
    "ip link set lo up",
    "ip addr add 192.0.2.1/24 dev eth0",
    "ip -6 addr add 2001:db8::1/64 dev eth0 nodad",
    "ip addr add 198.51.100.1/24 dev eth1",
    "ip link set eth0 up",
    "ip link set eth1 up",
    "ip route add default via 198.51.100.2",
    "ip -6 route add 2001:db8:1::/48 via 2001:db8::2",
];

const OPEN: [&str; 7] = [
    "socket(AF_INET, SOCK_DGRAM)",
    "bind(3, 0.0.0.0:9)",
    "socket(AF_INET6, SOCK_DGRAM)",
    "bind(4, [::]:53)",
    "socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)",
    "setsockopt(3, IPPROTO_IP, IP_RECVERR, 1)",
    "fcntl(3, F_SETFL, O_NONBLOCK)",
];

const CALLS: [&str; 14] = [
    "sendto(3, \"hello\", 0, 192.0.2.9:9)",
    "sendto(3, 3000, 0, 192.0.2.2:9)",
    "sendto(3, \"away\", 0, 203.0.113.1:9)",
    "sendto(4, \"six\", 0, [2001:db8::9]:9)",
    "sendto(4, 3000, 0, [2001:db8:1::9]:9)",
    "sendto(3, \"self\", 0, 127.0.0.1:9)",
    "recv(3, 100, MSG_DONTWAIT)",
    "recv(4, 100, MSG_DONTWAIT)",
    "recv(5, 2000, MSG_DONTWAIT)",
    "recvmsg(3, 100, MSG_ERRQUEUE)",
    "connect(3, 192.0.2.2:9)",
    "connect(3, AF_UNSPEC)",
    "setsockopt(3, IPPROTO_IP, IP_ADD_MEMBERSHIP, {group=239.1.1.1, ifindex=2})",
    "shutdown(3, SHUT_WR)",
];

/// Bytes as a list of inputs for a host: frames, calls, steps of time.
pub(crate) fn host(bytes: &[u8]) {
    let mut host = Host::new();
    let mut rest = bytes;
    for _ in 0..MAX_OPS {
        let Some((&op, tail)) = rest.split_first() else { break };
        rest = host.input(op, tail);
        host.check();
    }
    host.settle();
}

struct Host {
    stack: Stack,
    now: Instant,
    pid: Pid,
}

impl Host {
    fn new() -> Host {
        let now = Instant::ZERO;
        let mut stack = Stack::new(StackConfig { seed: 7, ..StackConfig::default() });
        stack.add_interface("eth0", Medium::Ethernet, MAC, 1500);
        stack.add_interface("eth1", Medium::Ethernet, MacAddr([2, 0, 0, 0, 0, 2]), 1280);
        for text in SETUP {
            let command = Admin::parse(text).unwrap_or_else(|e| panic!("{text}: {}", e.message));
            stack.admin(now, &command).unwrap_or_else(|e| panic!("{text}: {}", e.message));
        }
        let pid = stack.spawn();
        let mut host = Host { stack, now, pid };
        for text in OPEN {
            host.call(text);
        }
        host.check();
        host
    }

    fn call(&mut self, text: &str) {
        let call = parse_call(text, &()).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let _ = self.stack.call(self.now, self.pid, &call);
    }

    /// One input; what is left of the bytes.
    fn input<'a>(&mut self, op: u8, tail: &'a [u8]) -> &'a [u8] {
        let Some((&arg, tail)) = tail.split_first() else { return tail };
        let ifindex = 2 + u32::from(op >> 7);
        match op & 7 {
            0 => {
                self.pass(Duration::from_millis(u64::from(arg) * 8));
                tail
            }
            1 => {
                self.call(CALLS[usize::from(arg) % CALLS.len()]);
                tail
            }
            2 => {
                let (bytes, tail) = take(tail, usize::from(arg));
                self.stack.handle_frame(self.now, ifindex, Frame::from_slice(bytes));
                tail
            }
            kind => {
                let (bytes, tail) = take(tail, usize::from(arg));
                let frame = crafted(kind, ifindex, bytes);
                self.stack.handle_frame(self.now, ifindex, Frame::from_vec(frame));
                tail
            }
        }
    }

    /// Time passes, timer by timer.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut fired = 0;
        while let Some(at) = self.stack.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.stack.handle_timeout(self.now);
            self.check();
            fired += 1;
            assert!(fired < 100_000, "a timer that arms itself at once");
        }
        self.now = until;
    }

    /// What must hold after every input.
    fn check(&mut self) {
        let mut sent = 0;
        while let Some((ifindex, frame)) = self.stack.poll_transmit() {
            sent += 1;
            assert!(sent <= MAX_OUT, "one input made {sent} packets");
            let bytes = frame.to_vec();
            assert!(ifindex == 2 || ifindex == 3, "lo has no wire");
            assert!(bytes.len() <= MTU + 14, "{} bytes are more than the MTU", bytes.len());
            let packet = Packet::parse(&bytes, Medium::Ethernet);
            assert!(packet.outermost().ethernet.is_some(), "no Ethernet header: {bytes:02x?}");
        }
        while self.stack.poll_wakeup().is_some() {}
        while self.stack.poll_record().is_some() {}
        assert!(self.stack.ip_neigh().len() <= 2 * 1024, "both families end at gc_thresh3");
    }

    /// After an hour without any input only housekeeping is left.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.pass(Duration::from_secs(60));
        }
        if let Some(at) = self.stack.poll_timeout() {
            assert!(at > self.now, "a timer of the past stays armed");
        }
        assert!(!self.stack.ip_route(self.now, false, stack::route::Table::Main).is_empty());
        assert!(!self.stack.ss_udp().lines().collect::<Vec<_>>().is_empty());
        self.stack.exit(self.now, self.pid);
        self.check();
    }
}

fn take(bytes: &[u8], n: usize) -> (&[u8], &[u8]) {
    bytes.split_at(n.min(bytes.len()))
}

/// A frame whose outer headers and checksums are right, so that its content is looked at.
fn crafted(kind: u8, ifindex: u32, bytes: &[u8]) -> Vec<u8> {
    let own = [2, 0, 0, 0, 0, if ifindex == 2 { 1 } else { 2 }];
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let to = if at(0) & 1 == 0 { own } else { [0xff; 6] };
    let mut frame = [to, [2, 0, 0, 0, 9, at(0) >> 4]].concat();
    let content = bytes.get(4..).unwrap_or_default();
    match kind {
        3 => {
            frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1 + (at(1) & 1)]);
            let mut addresses = content.to_vec();
            addresses.resize(20, 1);
            frame.extend(addresses);
        }
        4 | 5 => {
            frame.extend([8, 0]);
            // 5 may be a fragment.
            let fragment = if kind == 5 { [at(1) & 0x20, at(2)] } else { [0, 0] };
            let protocol = [1, 17, 2, 4, 47, 41, 6, 17][usize::from(at(3) & 7)];
            let dst =
                [[192, 0, 2, 1], [192, 0, 2, 255], [203, 0, 113, 7], [239, 1, 1, 1]][usize::from(at(3) >> 6)];
            let ttl = if at(3) & 0x20 == 0 { 64 } else { 1 };
            let mut payload = content.to_vec();
            let src = [192, 0, 2, 9];
            let len = u16::try_from(20 + payload.len()).expect("short").to_be_bytes();
            let mut ip = vec![0x45, 0, len[0], len[1], 0, 7, fragment[0], fragment[1], ttl, protocol, 0, 0];
            ip.extend(src);
            ip.extend(dst);
            let sum = checksum(&[&ip]).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            seal(protocol, &mut payload, &[&src, &dst]);
            frame.extend(ip);
            frame.extend(payload);
        }
        _ => {
            frame.extend([0x86, 0xdd]);
            let next = [58, 17, 0, 44, 43, 60, 41, 58][usize::from(at(3) & 7)];
            let mut src = [0u8; 16];
            src[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
            src[15] = 9;
            let mut dst = src;
            dst[15] = if at(3) & 0x40 == 0 { 1 } else { 0x77 };
            if at(3) & 0x80 != 0 {
                dst = [0; 16];
                dst[..2].copy_from_slice(&[0xff, 2]);
                dst[15] = 1;
            }
            let hops = if at(3) & 0x20 == 0 { 255 } else { 1 };
            let mut payload = content.to_vec();
            seal(next, &mut payload, &[&src, &dst]);
            let len = u16::try_from(payload.len()).expect("short").to_be_bytes();
            frame.extend([0x60, 0, 0, 0, len[0], len[1], next, hops]);
            frame.extend(src);
            frame.extend(dst);
            frame.extend(payload);
        }
    }
    frame
}

/// Makes the checksum of ICMP, UDP, ICMPv6 right and UDP's length true, where they fit.
fn seal(protocol: u8, payload: &mut [u8], addresses: &[&[u8]; 2]) {
    let len = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let pseudo = [0, 0, len[0], len[1], 0, 0, 0, protocol];
    let at = match protocol {
        1 | 58 => 2,
        2 => 2,
        17 => 6,
        _ => return,
    };
    if payload.len() < 8 {
        return;
    }
    if protocol == 17 {
        payload[4..6].copy_from_slice(&len);
        // The ports where somebody listens.
        payload[2] = 0;
        payload[3] = if payload[3] & 1 == 0 { 9 } else { 53 };
    }
    payload[at..at + 2].fill(0);
    let sum = match protocol {
        1 | 2 => checksum(&[payload]),
        _ => checksum(&[addresses[0], addresses[1], &pseudo, payload]),
    };
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071; every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16) // folded to 16 bits above
}

/// The text of calls, expectations and commands: an error has its place inside the text, and what was
/// understood can be written down and read again.
pub(crate) fn call_text(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    match parse_call(text, &()) {
        Ok(call) => {
            let again = call.to_string();
            let reread = parse_call(&again, &());
            assert!(reread.is_ok(), "{text:?} was written as {again:?}: {reread:?}");
        }
        Err(e) => assert!(e.offset <= text.len(), "{text:?}: {e:?}"),
    }
    let _ = stack::call::text::Expect::parse(text, &());
    if let Ok(command) = Admin::parse(text) {
        let again = command.to_string();
        assert_eq!(
            Admin::parse(&again).map_err(|e| e.message),
            Ok(command),
            "{text:?} was written as {again:?}"
        );
    }
}
