use std::path::Path;
use std::time::Duration;

use stack::call::{Call, CallResult, Domain, Ret, SockType};

use super::*;

const BATCH: &str = "addr add 192.0.2.1/24 dev tun0\nroute add 198.51.100.1/32 via 192.0.2.2 dev tun0\n";

/// `None` where this machine does not allow namespaces.
fn host() -> Option<TunHost<CallResult>> {
    if crate::check_permission().is_err() {
        return None;
    }
    Some(TunHost::new(1500, BATCH).expect("permission was there"))
}

fn make(call: Call) -> impl FnOnce() -> CallResult + Send {
    move || crate::system_call(&call)
}

#[test]
fn a_connect_of_the_second_thread_sends_a_syn_and_sleeps() {
    let Some(host) = host() else { return };
    let socket = Call::Socket { domain: Domain::Inet, ty: SockType::Stream, protocol: 6, nonblock: false };
    let Some(Ok(Ret::Fd(fd, _))) = host.call(make(socket)) else { panic!("no socket") };
    let addr = stack::call::SockAddr::Ip("198.51.100.1:9".parse().unwrap());
    let before = host.now();
    host.start(make(Call::Connect { fd, addr }));
    assert!(host.finished(host.now()).is_none(), "nobody answered");
    let (at, syn) = host.receive(before + Duration::from_secs(1)).unwrap().expect("the SYN");
    assert!(at >= before && at <= host.now());
    assert_eq!((syn[0] >> 4, syn[9], syn[33]), (4, 6, 2), "IPv4, TCP, SYN");
    // RST, ACK of the SYN: connection refused.
    let mut reply = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 1, 192, 0, 2, 1];
    let ack = u32::from_be_bytes(*syn[24..].first_chunk().unwrap()).wrapping_add(1);
    reply.extend_from_slice(&syn[22..24]);
    reply.extend_from_slice(&syn[20..22]);
    reply.extend_from_slice(&[0; 4]);
    reply.extend_from_slice(&ack.to_be_bytes());
    reply.extend_from_slice(&[0x50, 0x14, 0, 0, 0, 0, 0, 0]);
    let sum = |bytes: &[u8], from: u32| {
        let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum = words.fold(from, |sum, w| sum + w);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(((sum & 0xffff) + (sum >> 16)) as u16)
    };
    let ip = sum(&reply[..20], 0).to_be_bytes();
    let tcp = sum(&reply[12..], 6 + 20).to_be_bytes();
    reply[10..12].copy_from_slice(&ip);
    reply[36..38].copy_from_slice(&tcp);
    host.inject(&reply).unwrap();
    let (end, result) = host.finished(host.now() + Duration::from_secs(1)).expect("it returned");
    assert_eq!(result, Err(stack::Errno::ECONNREFUSED));
    assert!(end >= at);
    files::close(fd);
}

#[test]
fn shell_commands_see_the_device_and_say_how_they_ended() {
    let Some(host) = host() else { return };
    let there =
        host.shell("ip -o link show tun0 >/dev/null && sysctl -qw net.ipv4.tcp_sack=0", Path::new("/"));
    assert_eq!(there.unwrap().status, Some(0));
    let failed = host.shell("echo because >&2; exit 3", Path::new("/")).unwrap();
    assert_eq!((failed.status, failed.stderr.trim()), (Some(3), "because"));
    let outside = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    assert!(!outside.contains("tun0:"), "the rest of the process is where it was");
}
