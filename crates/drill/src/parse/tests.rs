use super::*;
use crate::ast::{Body, Expr, Quoted, Tcp, TcpOption, Tos};

fn one(text: &str) -> What {
    let script = parse(&format!("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n{text}"), &[]).unwrap();
    script.events.into_iter().nth(1).expect("a second event").what
}

fn tcp(text: &str) -> Tcp {
    match one(text) {
        What::Packet(p) => match p.body {
            Body::Tcp(tcp) => tcp,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn error(text: &str) -> String {
    parse(text, &[]).unwrap_err().to_string()
}

#[test]
fn options_init_and_cleanup_surround_the_events() {
    let text = "--tolerance_usecs=10000\n--mss=1000\n`../common/defaults.sh`\n\
                0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 `sysctl -q a=1`\n`cleanup`";
    let script = parse(text, &[]).unwrap();
    assert_eq!(script.options[0], ("tolerance_usecs".into(), Some("10000".into())));
    assert_eq!(script.init.as_ref().map(|s| s.line), Some(3));
    assert_eq!(script.cleanup.as_ref().map(|s| s.text.as_str()), Some("cleanup"));
    assert!(matches!(script.events[1].what, What::Shell(_)));
}

#[test]
fn time_forms() {
    let text =
        "0 close(3) = 0\n+.1...1.5 read(3, ..., 1) = 1\n1~2 > . 1:1(0)\n+1~+2 > . 1:1(0)\n* > . 1:1(0)";
    let script = parse(text, &[]).unwrap();
    let times: Vec<Time> = script.events.iter().map(|e| e.time).collect();
    let (s, ms) = (1_000_000, 1_000);
    let expected = [
        Time::Absolute(0),
        Time::Relative(100 * ms),
        Time::AbsoluteRange(s, 2 * s),
        Time::RelativeRange(s, 2 * s),
        Time::Any,
    ];
    assert_eq!(times, expected);
    assert!(matches!(&script.events[1].what, What::Syscall(c) if c.end == Some(1_500_000)));
}

#[test]
fn a_segment_with_options() {
    let seg = tcp("+0 < [ect0] SEW 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>");
    assert_eq!(seg.flags, 0xc2);
    assert_eq!(seg.options.as_ref().map(Vec::len), Some(6));
    let seg = tcp("+0 > P.5 1:1001(1000) ack 1 <nop,nop,TS val 100 ecr 200>");
    assert_eq!((seg.flags, seg.ace, seg.window), (0x158, true, None));
    let seg = tcp("+0 > S 0:10(10) <mss 1460,sackOK,TS val 0 ecr 0,nop,wscale 8,FO 00aa1122,nop,nop>");
    let fo = TcpOption::FastOpen { cookie: vec![0, 0xaa, 0x11, 0x22], experimental: false };
    assert_eq!(seg.options.unwrap()[5], fo);
    assert_eq!(tcp("+0 > - 1:1(0) <...>").options, None);
    let seg = tcp("+0 > . 1:1(0) ack 1 <ECN e1b 1 ceb 2 e0b 3,nop>");
    assert_eq!(seg.options.unwrap()[0], TcpOption::AccEcn { e1b_first: true, counters: vec![1, 2, 3] });
    let seg = tcp("+0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001 3001:4001>");
    assert_eq!(seg.options.unwrap()[2], TcpOption::Sack(vec![(1001, 2001), (3001, 4001)]));
}

#[test]
fn icmp_and_udp() {
    let What::Packet(p) = one("+0 < [ttl 3] icmp unreachable frag_needed mtu 1200 [1:1461(1460)]") else {
        panic!()
    };
    let Body::Icmp(icmp) = &p.body else { panic!("{p:?}") };
    assert_eq!((icmp.code.as_deref(), icmp.mtu), (Some("frag_needed"), Some(1200)));
    assert_eq!(icmp.quoted, Quoted::Tcp { seq: 1, len: 1460 });
    assert_eq!((p.ip.ttl, p.ip.tos), (3, Tos::Unsaid));
    let What::Packet(p) = one("+0 > udp 5 > 6 (1000)") else { panic!() };
    assert_eq!((p.ports, p.body), (Some((5, 6)), Body::Udp { len: 1000 }));
}

#[test]
fn arguments_of_every_form() {
    let text = "+0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{...,0}], msg_flags=MSG_ERRQUEUE|0x1,\n\
                msg_control=[{cmsg_level=SOL_IP, cmsg_type=11, cmsg_data={ee_errno=0, ee_origin=5}}]}, 0x2000) = -1 EAGAIN (Resource unavailable)";
    let What::Syscall(call) = one(text) else { panic!() };
    assert_eq!(call.errno.as_deref(), Some("EAGAIN"));
    let Some(Expr::List(iov)) = call.args[1].field("msg_iov") else { panic!("{call:?}") };
    assert_eq!(iov[0], Expr::Tuple(vec![Expr::Ellipsis, Expr::Int(0)]));
    let Some(Expr::List(control)) = call.args[1].field("msg_control") else { panic!("{call:?}") };
    assert_eq!(control[0].field("cmsg_data").and_then(|d| d.field("ee_origin")), Some(&Expr::Int(5)));
    let What::Syscall(call) = one("+0 setsockopt(3, SOL_TCP, 33, \"\\x01a\" \"b\", 16) = 0") else {
        panic!()
    };
    assert_eq!(call.args[3], Expr::Text(vec![1, b'a', b'b']));
    let What::Syscall(call) = one("+0 fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)") else { panic!() };
    assert_eq!((call.result, call.errno), (Expr::Int(2), None));
}

#[test]
fn defines_replace_words_but_no_keyword() {
    let text = "--define=COOKIE=00112233\n--define=N=0x10\n--define=CC=\"reno\"\n--define=win=5\n\
                0 setsockopt(3, SOL_TCP, TCP_CONGESTION, CC, N) = 0\n+0 < S 0:0(0) win 9 <FO COOKIE,nop,nop>";
    let script = parse(text, &[]).unwrap();
    let What::Syscall(call) = &script.events[0].what else { panic!() };
    assert_eq!(call.args[3..], [Expr::Text(b"reno".to_vec()), Expr::Int(16)]);
    let What::Packet(p) = &script.events[1].what else { panic!() };
    let Body::Tcp(tcp) = &p.body else { panic!() };
    assert_eq!(tcp.window, Some(9));
    assert_eq!(tcp.options.as_ref().unwrap()[0].wire_len(), 6);
}

#[test]
fn errors_say_where() {
    assert_eq!(error("1 close(3) = 0"), "line 1: the first event must be at time 0");
    assert!(error("0 close(3) = 0\n* close(3) = 0").starts_with("line 2: event time <star>"));
    assert!(error("0 < . 1:5(3) win 1").contains("inconsistent"));
    assert!(error("0 < . 1:1(0) win 1 <sackOK>").contains("2 excess bytes"));
    assert!(error("0 < . 1:1(0)").contains("window must be specified"));
    assert!(error("0 < X 1:1(0) win 1").contains("invalid TCP flag"));
    assert!(error("0 close(3").contains("expected `,`, found the end of the script"));
    assert!(error("").contains("needs an event"));
}
