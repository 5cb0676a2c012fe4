//! Programs that make real system calls, one process each.

mod common;

use common::{pair, permitted};
use linux::{LiveBody, LiveEnd, LiveProgram, ProgramResult};
use sim::program::script::{Names, Script, Step, StepKind, When};
use sim::{RunEnd, RunLimit};
use stack::admin::Admin;
use stack::record::{Record, What};
use std::time::Duration;
use wire::{Instant, Medium};

/// A program of calls, `CALL -> EXPECTATION` each; `@500ms CALL` waits before it.
fn script(name: &str, lines: &[&str]) -> LiveProgram {
    let step = |line: &&str| {
        let (when, line) = match line.strip_prefix('@').and_then(|l| l.split_once(' ')) {
            Some((ms, line)) => (When::After(Duration::from_millis(ms.parse().unwrap())), line),
            None => (When::Next, *line),
        };
        let (call, expect) = match line.split_once(" -> ") {
            Some((call, expect)) => (call, Some(expect.to_owned())),
            None => (line, None),
        };
        Step { when, what: StepKind::Call(call.to_owned()), expect, span: 0..0 }
    };
    let script = Script::new(Names::default(), lines.iter().map(step).collect());
    assert_eq!(script.errors(), []);
    let body = LiveBody::Calls(Box::new(script));
    LiveProgram { name: name.into(), start: Instant::ZERO, order: 0, body }
}

fn limit() -> RunLimit {
    RunLimit { settle: Some(Duration::from_millis(20)), until: Instant::from_secs(10), max_events: 100_000 }
}

/// Runs programs on two hosts; every expectation must hold.
fn run(one: Vec<LiveProgram>, two: Vec<LiveProgram>) -> (LiveEnd, Vec<Record>) {
    let (live, _) = pair(Medium::Ethernet, [one, two]);
    let end = live.run(&limit()).unwrap();
    assert_eq!(end.end, RunEnd::ProgramsDone);
    for ProgramResult { name, status, program, .. } in &end.programs {
        let Some(program) = program else { continue };
        assert_eq!(program.failures(), [] as [String; 0], "{name}");
        assert_eq!(*status, Some(0), "{name}");
    }
    let records = end.world.journal().records.clone();
    (end, records)
}

/// The calls of one program as `CALL = RESULT`, in order.
fn calls(records: &[Record], node: u32, wanted: u32) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for record in records.iter().filter(|r| r.node.0 == node) {
        match &record.what {
            What::Call { program, text, .. } if *program == wanted => out.push(text.clone()),
            What::Return { program, text, .. } if *program == wanted => {
                let call = out.last_mut().expect("calls come before their returns");
                *call = format!("{call} = {text}");
            }
            _ => {}
        }
    }
    out
}

#[test]
fn datagrams_pass_between_processes_whose_first_descriptor_is_3() {
    if !permitted("datagrams_pass_between_processes_whose_first_descriptor_is_3") {
        return;
    }
    let server = script(
        "server",
        &[
            "s = socket(AF_INET, SOCK_DGRAM, 0) -> 3",
            "bind(s, 0.0.0.0:9) -> 0",
            "recvfrom(s, 100, 0) -> \"hello\" from 192.0.2.1:5000",
            "sendto(s, \"world\", 0, 192.0.2.1:5000) -> 5",
        ],
    );
    let client = script(
        "client",
        &[
            "s = socket(AF_INET, SOCK_DGRAM, 0) -> 3",
            "bind(s, 192.0.2.1:5000) -> 0",
            "getsockname(s) -> 192.0.2.1:5000",
            "@100 sendto(s, \"hello\", 0, 192.0.2.2:9) -> 5",
            "recvfrom(s, 100, 0) -> \"world\" from 192.0.2.2:9",
            "dup(s) -> 4",
            "close(s) -> 0",
            "close(s) -> EBADF",
        ],
    );
    let (_, records) = run(vec![client], vec![server]);
    let seen = calls(&records, 0, 0);
    assert_eq!(seen[3], "sendto(3, \"hello\", 0, 192.0.2.2:9) = 5");
    assert_eq!(seen[7], "close(3) = -1 EBADF (Bad file descriptor)");
    let at = |wanted: &str| {
        let hit = |r: &&Record| matches!(&r.what, What::Call { text, .. } if text.starts_with(wanted));
        records.iter().find(hit).unwrap().at
    };
    let place = |wanted: &dyn Fn(&What) -> bool| {
        records.iter().position(|r| r.node.0 == 0 && wanted(&r.what)).unwrap()
    };
    let called = place(&|what| matches!(what, What::Call { text, .. } if text.starts_with("sendto")));
    let left = place(&|what| matches!(what, What::Tx { .. }));
    let returned = place(&|what| matches!(what, What::Return { seq: 4, .. }));
    let times = [called, left, returned].map(|i| records[i].at.as_nanos());
    assert!(called < left && left < returned, "{times:?}: the packet left inside the call");
    assert!(at("sendto(3, \"hello\"") - at("bind(3, 192") >= Duration::from_millis(100), "never early");
    assert!(records.is_sorted_by_key(|r| r.at));
}

#[test]
fn refused_datagrams_come_back_through_the_error_queue() {
    if !permitted("refused_datagrams_come_back_through_the_error_queue") {
        return;
    }
    let client = script(
        "client",
        &[
            "s = socket(AF_INET, SOCK_DGRAM, 0)",
            "setsockopt(s, IPPROTO_IP, IP_RECVERR, 1) -> 0",
            "getsockopt(s, IPPROTO_IP, IP_RECVERR) -> 1",
            "connect(s, 192.0.2.2:9) -> 0",
            "send(s, \"x\", 0) -> 1",
            "poll([{s, POLLIN}], 1000) -> {s, POLLERR}",
            "recvmsg(s, 100, MSG_ERRQUEUE) -> \"x\" from 192.0.2.2:9 MSG_ERRQUEUE IP_RECVERR {ECONNREFUSED, offender=192.0.2.2}",
            "recvmsg(s, 100, MSG_ERRQUEUE|MSG_DONTWAIT) -> EAGAIN",
        ],
    );
    run(vec![client], Vec::new());
}

#[test]
fn control_messages_and_options_have_their_types() {
    if !permitted("control_messages_and_options_have_their_types") {
        return;
    }
    let server = script(
        "server",
        &[
            "s = socket(AF_INET, SOCK_DGRAM, 0)",
            "setsockopt(s, IPPROTO_IP, IP_RECVTTL, 1)",
            "setsockopt(s, IPPROTO_IP, IP_RECVTOS, 1)",
            "setsockopt(s, IPPROTO_IP, IP_PKTINFO, 1)",
            "bind(s, 0.0.0.0:9) -> 0",
            "recvmsg(s, 3, 0) -> \"abc\" 3 MSG_TRUNC from 192.0.2.1:* IP_TTL 7 IP_TOS 16 IP_PKTINFO 2",
            "setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, 200ms) -> 0",
            "getsockopt(s, SOL_SOCKET, SO_RCVTIMEO) -> ok",
            "recv(s, 10, 0) -> EAGAIN",
        ],
    );
    let client = script(
        "client",
        &[
            "s = socket(AF_INET, SOCK_DGRAM, 0)",
            "@100 sendmsg(s, {addr=192.0.2.2:9, data=[\"abc\", \"def\"], control=[IP_TTL 7, IP_TOS 16]}, 0) -> 6",
            "setsockopt(s, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=3}) -> 0",
            "getsockopt(s, SOL_SOCKET, SO_LINGER) -> ok",
            "setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, \"eth0\") -> 0",
            "getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE) -> ok",
            "fcntl(s, F_SETFL, O_NONBLOCK) -> 0",
            "recv(s, 10, 0) -> EAGAIN",
        ],
    );
    let (_, records) = run(vec![client], vec![server]);
    let seen = calls(&records, 1, 0);
    assert!(seen[7].contains("tv_usec=200000"), "{}", seen[7]);
    let client = calls(&records, 0, 0);
    assert!(client[3].contains("l_onoff=1, l_linger=3"), "{}", client[3]);
    assert!(client[5].contains("\"eth0\""), "{}", client[5]);
    let recv = |what: &What| matches!(what, What::Call { text, .. } if text.starts_with("recv(3, 10, 0)"));
    let entered = records.iter().find(|r| r.node.0 == 1 && recv(&r.what)).unwrap().at;
    let returned =
        records.iter().rfind(|r| r.node.0 == 1 && matches!(r.what, What::Return { .. })).unwrap().at;
    assert!(returned - entered >= Duration::from_millis(200), "never early");
    assert!(returned - entered < Duration::from_secs(2), "and not much later");
}

#[test]
fn streams_epoll_and_ioctls_work() {
    if !permitted("streams_epoll_and_ioctls_work") {
        return;
    }
    let server = script(
        "server",
        &[
            "s = socket(AF_INET, SOCK_STREAM, 0)",
            "setsockopt(s, SOL_SOCKET, SO_REUSEADDR, 1) -> 0",
            "bind(s, 0.0.0.0:80) -> 0",
            "listen(s, 5) -> 0",
            "ep = epoll_create1(0) -> 4",
            "epoll_ctl(ep, EPOLL_CTL_ADD, s, EPOLLIN) -> 0",
            "epoll_wait(ep, 10, 2000) -> 1",
            "c = accept(s) -> from 192.0.2.1:*",
            "readv(c, [2, 100]) -> 5 \"hello\"",
            "write(c, 3000) -> 3000",
            "shutdown(c, SHUT_WR) -> 0",
            "read(c, 10) -> 0",
        ],
    );
    let client = script(
        "client",
        &[
            "s = socket(AF_INET, SOCK_STREAM, 0)",
            "@100 connect(s, 192.0.2.2:80) -> 0",
            "getpeername(s) -> 192.0.2.2:80",
            "writev(s, [\"hel\", \"lo\"]) -> 5",
            "@100 ioctl(s, FIONREAD) -> 3000",
            "recv(s, 5000, MSG_WAITALL) -> 3000 filler",
            "ioctl(s, TIOCOUTQ) -> 0",
            "close(s) -> 0",
        ],
    );
    let (end, _) = run(vec![client], vec![server]);
    let counters = &end.world.journal().nodes[0].counters;
    assert!(counters.contains(&("TcpActiveOpens".into(), 1)), "{counters:?}");
}

#[test]
fn a_killed_program_leaves_its_sockets_to_the_kernel() {
    if !permitted("a_killed_program_leaves_its_sockets_to_the_kernel") {
        return;
    }
    let server = script(
        "server",
        &[
            "s = socket(AF_INET, SOCK_STREAM, 0)",
            "bind(s, 0.0.0.0:80)",
            "listen(s, 5)",
            "c = accept(s)",
            "read(c, 10) -> 0",
        ],
    );
    let client = script(
        "client",
        &["s = socket(AF_INET, SOCK_STREAM, 0)", "@50 connect(s, 192.0.2.2:80)", "read(s, 10)"],
    );
    let (mut live, [one, _]) = pair(Medium::Ethernet, [vec![client], vec![server]]);
    live.run_for(Duration::from_millis(200)).unwrap();
    live.kill(one, "client").unwrap();
    let end = live.run(&limit()).unwrap();
    assert_eq!(end.end, RunEnd::ProgramsDone, "the server saw the end of the connection");
    let result = |name| end.programs.iter().find(|p| p.name == name).unwrap();
    assert_eq!(result("client").status, None, "a signal has no exit status");
    assert_eq!(result("server").program.as_ref().unwrap().failures(), [] as [String; 0]);
    let seen = calls(&end.world.journal().records, 0, 0);
    assert_eq!(seen.last().unwrap(), "read(3, 10)", "the call it died in is shown");
}

#[test]
fn programs_change_their_host_and_hear_what_the_tool_says() {
    if !permitted("programs_change_their_host_and_hear_what_the_tool_says") {
        return;
    }
    let step = |line: &str| {
        let what = StepKind::Admin(Admin::parse(line).unwrap());
        Step { when: When::Next, what, expect: None, span: 0..0 }
    };
    let lines = [
        "ip addr add 192.0.2.77/24 dev eth0",
        "sysctl -w net.ipv4.ip_forward=1",
        "ip addr add 192.0.2.77/24 dev eth0",
        "sysctl -w net.ipv4.no_such=1",
    ];
    let script = Script::new(Names::default(), lines.into_iter().map(step).collect());
    let body = LiveBody::Calls(Box::new(script));
    let program = LiveProgram { name: "admin".into(), start: Instant::ZERO, order: 0, body };
    let (live, _) = pair(Medium::Ethernet, [vec![program], Vec::new()]);
    let end = live.run(&limit()).unwrap();
    let failures = end.programs[0].program.as_ref().unwrap().failures();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].starts_with("step 3: `ip addr add 192.0.2.77/24 dev eth0`: "), "{failures:?}");
    assert!(failures[1].contains("net.ipv4.no_such"), "{failures:?}");
    let records = &end.world.journal().records;
    let commands = records.iter().filter(|r| r.node.0 == 0).filter_map(|r| match &r.what {
        What::Admin { text } => Some(text.as_str()),
        _ => None,
    });
    let setup = ["ip addr add 192.0.2.1/24 dev eth0", "ip link set dev eth0 up"];
    assert_eq!(commands.collect::<Vec<_>>(), [&setup[..], &lines[..]].concat());
    let added = |what: &What| matches!(what, What::Addr { addr, .. } if addr.to_string() == "192.0.2.77");
    assert!(records.iter().any(|r| added(&r.what)));
}

/// In virtual time the first program of an instant goes on until it waits; so it is here, ten times out of ten.
#[test]
fn programs_of_one_time_go_on_in_their_order_each_when_the_one_before_waits() {
    if !permitted("programs_of_one_time_go_on_in_their_order_each_when_the_one_before_waits") {
        return;
    }
    for _ in 0..10 {
        let first = ["socket(AF_INET, SOCK_DGRAM) -> 3"; 1].into_iter().chain([
            "setsockopt(3, SOL_SOCKET, SO_RCVBUF, 100000) -> 0",
            "getsockopt(3, SOL_SOCKET, SO_RCVBUF) -> 200000",
            "bind(3, 127.0.0.1:9) -> 0",
            "recv(3, 9) -> 2 \"hi\"",
            "@100 getsockname(3) -> 0 127.0.0.1:9",
        ]);
        // On the loopback interface of one host there is no wire that takes time: too early is refused.
        let receiver = LiveProgram { order: 0, ..script("receiver", &first.collect::<Vec<_>>()) };
        let sender = script(
            "sender",
            &[
                "socket(AF_INET, SOCK_DGRAM) -> 3",
                "connect(3, 127.0.0.1:9) -> 0",
                "send(3, \"hi\") -> 2",
                "setsockopt(3, SOL_SOCKET, SO_RCVTIMEO, 20ms) -> 0",
                "recv(3, 9) -> -1 EAGAIN",
            ],
        );
        let sender = LiveProgram { order: 1, ..sender };
        // The end of a program closes its sockets. (In the same instant a busy machine may wake the two in either order.)
        let late = script(
            "late",
            &[
                "socket(AF_INET, SOCK_DGRAM) -> 3",
                "connect(3, 127.0.0.1:9) -> 0",
                "@150 getsockname(3)",
                "send(3, \"hi\") -> 2",
                "send(3, \"hi\") -> -1 ECONNREFUSED",
            ],
        );
        let late = LiveProgram { order: 2, ..late };
        // The order is that of the file, not of the host's list.
        run(vec![late, sender, receiver], Vec::new());
    }
}
