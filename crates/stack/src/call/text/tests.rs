use std::net::{IpAddr, SocketAddr};

use wire::Bytes;

use super::super::*;
use super::*;
use crate::errno::Errno;
use crate::rng::Rng;

/// `s` is 3, `ep` is 4, `server` is 192.0.2.2 and 2001:db8::2, `eth0` is interface 2.
struct Names;

impl Env for Names {
    fn fd(&self, name: &str) -> Option<Fd> {
        [("s", 3), ("ep", 4)].iter().find(|(n, _)| *n == name).map(|(_, fd)| *fd)
    }
    fn host(&self, name: &str, ipv6: bool) -> Option<IpAddr> {
        let addr = if ipv6 { "2001:db8::2" } else { "192.0.2.2" };
        (name == "server").then(|| addr.parse().unwrap())
    }
    fn ifindex(&self, name: &str) -> Option<u32> {
        (name == "eth0").then_some(2)
    }
    fn names(&self) -> Vec<String> {
        ["s", "ep", "server", "eth0"].map(str::to_owned).into()
    }
}

fn ip(addr: &str) -> SockAddr {
    SockAddr::Ip(addr.parse::<SocketAddr>().unwrap())
}

fn literal(text: &str) -> Data {
    Data::Literal(Bytes::from(text.as_bytes()))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn calls_are_read_as_a_c_programmer_writes_them() {
    let s = 3;
    let flags = MsgFlags(0);
    let cases: Vec<(&str, Call)> = vec![
        ("connect(s, server:53)", Call::Connect { fd: s, addr: ip("192.0.2.2:53") }),
        ("connect(s, [server]:53)", Call::Connect { fd: s, addr: ip("[2001:db8::2]:53") }),
        ("connect(s, AF_UNSPEC)", Call::Connect { fd: s, addr: SockAddr::Unspec }),
        ("bind(s, *:53)", Call::Bind { fd: s, addr: ip("0.0.0.0:53") }),
        ("bind(s, [::]:53);", Call::Bind { fd: s, addr: ip("[::]:53") }),
        ("bind(s, [fe80::1%eth0]:53)", Call::Bind { fd: s, addr: ip("[fe80::1%2]:53") }),
        (
            r#"sendto(s, "hello", 0, 192.0.2.2:9)"#,
            Call::SendTo { fd: s, data: literal("hello"), flags, addr: ip("192.0.2.2:9") },
        ),
        (
            r#"sendto(s, "hello", server:9)"#,
            Call::SendTo { fd: s, data: literal("hello"), flags, addr: ip("192.0.2.2:9") },
        ),
        (
            "sendto(s, 1000, MSG_DONTWAIT, [2001:db8::2]:9)",
            Call::SendTo {
                fd: s,
                data: Data::Filler(1000),
                flags: MsgFlags::DONTWAIT,
                addr: ip("[2001:db8::2]:9"),
            },
        ),
        (
            "recv(s, 100, MSG_PEEK|MSG_DONTWAIT)",
            Call::Recv { fd: s, len: 100, flags: MsgFlags::PEEK | MsgFlags::DONTWAIT },
        ),
        ("recv(s, 100)", Call::Recv { fd: s, len: 100, flags }),
        (
            "setsockopt(s, IPPROTO_IP, IP_TTL, 3)",
            Call::SetSockOpt { fd: s, opt: SockOpt::IP_TTL, value: OptValue::Int(3) },
        ),
        (
            "setsockopt(s, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)",
            Call::SetSockOpt { fd: s, opt: SockOpt::IP_MTU_DISCOVER, value: OptValue::Int(2) },
        ),
        (
            "setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, 1500ms)",
            Call::SetSockOpt { fd: s, opt: SockOpt::SO_RCVTIMEO, value: OptValue::Timeval(1, 500_000) },
        ),
        (
            "setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, {group=239.1.1.1, ifindex=eth0})",
            Call::SetSockOpt {
                fd: s,
                opt: SockOpt::IP_ADD_MEMBERSHIP,
                value: OptValue::Membership("239.1.1.1".parse().unwrap(), None, 2),
            },
        ),
        (
            r#"setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "eth0")"#,
            Call::SetSockOpt { fd: s, opt: SockOpt::SO_BINDTODEVICE, value: OptValue::Text("eth0".into()) },
        ),
        (
            "recvmsg(s, 1500, MSG_ERRQUEUE)",
            Call::RecvMsg { fd: s, lens: vec![1500], control_len: 512, flags: MsgFlags::ERRQUEUE },
        ),
        (
            r#"sendmsg(s, {addr=server:9, data=["a", "b"], control=[IP_TTL 3, IP_PKTINFO eth0]}, 0)"#,
            Call::SendMsg {
                fd: s,
                addr: Some(ip("192.0.2.2:9")),
                data: vec![literal("a"), literal("b")],
                control: vec![
                    Cmsg::Ttl(3),
                    Cmsg::PktInfo {
                        ifindex: 2,
                        spec_dst: "0.0.0.0".parse().unwrap(),
                        addr: "0.0.0.0".parse().unwrap(),
                    },
                ],
                flags,
            },
        ),
        ("poll([{s, POLLIN}], 1000)", Call::Poll { fds: vec![(s, PollEvents::IN)], timeout_ms: 1000 }),
        (
            "poll([{fd=s, events=POLLIN|POLLOUT}])",
            Call::Poll { fds: vec![(s, PollEvents::IN | PollEvents::OUT)], timeout_ms: -1 },
        ),
        ("epoll_wait(ep, 10, -1)", Call::EpollWait { epfd: 4, max_events: 10, timeout_ms: -1 }),
        (
            "epoll_ctl(ep, EPOLL_CTL_ADD, s, EPOLLIN|EPOLLET)",
            Call::EpollCtl {
                epfd: 4,
                op: EpollOp::Add,
                fd: s,
                events: PollEvents::IN | PollEvents::ET,
                data: 3,
            },
        ),
        (
            "socket(AF_INET, SOCK_DGRAM|SOCK_NONBLOCK, 0)",
            Call::Socket { domain: Domain::Inet, ty: SockType::Dgram, protocol: 0, nonblock: true },
        ),
        (
            "socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)",
            Call::Socket { domain: Domain::Inet, ty: SockType::Dgram, protocol: 1, nonblock: false },
        ),
        (
            r#"write(s, "a\n\x00\\")"#,
            Call::Write { fd: s, data: Data::Literal(Bytes::from(&b"a\n\0\\"[..])) },
        ),
        ("fcntl(s, F_SETFL, O_NONBLOCK)", Call::SetFl { fd: s, nonblock: true }),
        ("ioctl(s, FIONREAD)", Call::IoctlInq { fd: s }),
        ("accept4(s, SOCK_NONBLOCK)", Call::Accept { fd: s, nonblock: true }),
        ("listen(s, 5)", Call::Listen { fd: s, backlog: 5 }),
        ("shutdown(s, SHUT_WR)", Call::Shutdown { fd: s, how: Shutdown::Wr }),
    ];
    for (text, call) in cases {
        assert_eq!(parse_call(text, &Names).as_ref(), Ok(&call), "{text}");
        assert_eq!(decode_call(&encode_call(&call)).as_ref(), Ok(&call), "{call}");
    }
}

#[test]
fn errors_name_the_word_and_suggest_the_nearest() {
    let cases = [
        ("conect(s, server:53)", 0, 6, "'conect' is no system call", Some("did you mean 'connect'?")),
        (
            "connect(s, sever:53)",
            11,
            5,
            "'sever' is neither an IP address nor a host with one",
            Some("did you mean 'server'?"),
        ),
        ("connect(s, server)", 11, 6, "'server' has no port", Some("write server:PORT")),
        ("connect(x, server:53)", 8, 1, "'x' is no descriptor", Some("did you mean 's'?")),
        ("recv(s, 5, MSG_PEAK)", 11, 8, "'MSG_PEAK' is no MSG_ flag", Some("did you mean 'MSG_PEEK'?")),
        ("recv(s)", 6, 0, "recv() lacks an argument: the buffer's length", None),
        ("close(s, 1)", 7, 1, "close() takes no further argument", None),
        (
            "setsockopt(s, IPPROTO_IP, SO_RCVBUF, 1)",
            26,
            9,
            "SO_RCVBUF is no option of this level",
            Some("write SOL_SOCKET, SO_RCVBUF"),
        ),
        ("bind(s, 192.0.2.1:99999)", 18, 5, "99999 is out of range for port", None),
        (
            r#"send(s, "a\q")"#,
            10,
            2,
            r"'\q' is no escape of C",
            Some(r"write \\ for a backslash, \xHH for a byte"),
        ),
        (r#"send(s, "abc)"#, 8, 5, r#"the string has no closing '"'"#, None),
    ];
    for (text, offset, len, message, hint) in cases {
        let error = parse_call(text, &Names).unwrap_err();
        assert_eq!(
            error,
            CallTextError { offset, len, message: message.into(), hint: hint.map(Into::into) },
            "{text}"
        );
    }
    let length_as_flags = parse_call(r#"send(s, "hello", 5, 0)"#, &Names).unwrap_err();
    assert_eq!((length_as_flags.offset, length_as_flags.len), (17, 1));
    assert!(length_as_flags.hint.unwrap().contains("a length is not written"));
}

#[test]
fn parsing_never_panics_on_mutilated_calls() {
    let mut rng = Rng::new(7, "mutilate");
    let whole =
        r#"sendmsg(3, {addr=[fe80::1%2]:9, data=["a\x00", 7], control=[IP_PKTINFO 1 src ::1]}, MSG_MORE)é"#;
    for _ in 0..4_000 {
        let mut text: Vec<char> = whole.chars().collect();
        for _ in 0..=rng.below(4) {
            let at = rng.below(text.len() as u64) as usize;
            match rng.below(3) {
                0 => drop(text.remove(at)),
                1 => text.truncate(at),
                _ => text.insert(at, ['"', '\\', '[', '%', ':', 'é', '9', ')'][rng.below(8) as usize]),
            }
            if text.is_empty() {
                break;
            }
        }
        let text: String = text.into_iter().collect();
        let _ = parse_call(&text, &Names);
        let _ = Expect::parse(&text, &Names);
        let _ = decode_result(&text);
    }
}

fn any_ip(rng: &mut Rng) -> IpAddr {
    if rng.below(2) == 0 {
        IpAddr::from(rng.next_u32().to_be_bytes())
    } else {
        IpAddr::from((u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())).to_be_bytes())
    }
}

fn any_addr(rng: &mut Rng) -> SockAddr {
    match rng.below(8) {
        0 => SockAddr::Unspec,
        _ => SockAddr::Ip(SocketAddr::new(any_ip(rng), rng.next_u32() as u16)),
    }
}

fn any_bytes(rng: &mut Rng) -> Bytes {
    (0..rng.below(40)).map(|_| rng.next_u32() as u8).collect::<Vec<u8>>().into()
}

fn any_data(rng: &mut Rng) -> Data {
    match rng.below(6) {
        0 | 1 => Data::Filler(rng.next_u32()),
        2 => Data::Unreadable(rng.next_u32()),
        _ => Data::Literal(any_bytes(rng)),
    }
}

fn any_cmsg(rng: &mut Rng) -> Cmsg {
    match rng.below(7) {
        0 => Cmsg::Ttl(rng.below(256) as i32),
        1 => Cmsg::Tos(rng.next_u32() as i32),
        2 => Cmsg::PktInfo { ifindex: rng.next_u32(), spec_dst: any_ip(rng), addr: any_ip(rng) },
        3 => Cmsg::ExtendedErr {
            errno: Errno(rng.below(150) as u16),
            origin: rng.below(6) as u8,
            ty: rng.next_u32() as u8,
            code: rng.next_u32() as u8,
            info: rng.next_u32(),
            data: rng.next_u32(),
            offender: (rng.below(2) == 0).then(|| any_ip(rng)),
        },
        4 => Cmsg::Timestamp(rng.next_u64()),
        5 => Cmsg::SegmentSize(rng.next_u32() as u16),
        _ => Cmsg::Other(rng.next_u32() as i32, rng.next_u32() as i32, any_bytes(rng)),
    }
}

fn any_value(rng: &mut Rng) -> OptValue {
    match rng.below(6) {
        0 => OptValue::Int(i64::from(rng.next_u32() as i32)),
        1 => OptValue::Linger(rng.below(2) == 0, rng.next_u32() as i32),
        2 => OptValue::Timeval(rng.next_u32().into(), rng.below(1_000_000) as i64),
        3 => OptValue::Membership(
            any_ip(rng),
            (rng.below(2) == 0).then_some([192, 0, 2, 1].into()),
            rng.next_u32(),
        ),
        4 => OptValue::Text("bbr \"x\"\n".into()),
        _ => OptValue::Bytes(any_bytes(rng)),
    }
}

fn any_events(rng: &mut Rng) -> PollEvents {
    PollEvents(rng.next_u32())
}

fn any_call(rng: &mut Rng) -> Call {
    let fd = rng.below(2000) as i32;
    let opt = SockOpt::NAMES[rng.below(SockOpt::NAMES.len() as u64) as usize].1;
    let opt = if rng.below(4) == 0 { SockOpt { level: 77, name: rng.below(99) as i32 } } else { opt };
    let flags = MsgFlags(rng.next_u32());
    let len = rng.below(70_000) as usize;
    let nonblock = rng.below(2) == 0;
    match rng.below(31) {
        0 => Call::Socket {
            domain: Domain::Inet6,
            ty: SockType::Raw,
            protocol: rng.next_u32() as u8,
            nonblock,
        },
        1 => Call::Bind { fd, addr: any_addr(rng) },
        2 => Call::Connect { fd, addr: any_addr(rng) },
        3 => Call::Listen { fd, backlog: rng.next_u32() as i32 },
        4 => Call::Accept { fd, nonblock },
        5 => Call::Read { fd, len },
        6 => Call::Readv { fd, lens: (0..rng.below(3) as usize).collect() },
        7 => Call::Recv { fd, len, flags },
        8 => Call::RecvFrom { fd, len, flags },
        9 => Call::RecvMsg { fd, lens: vec![len; rng.below(3) as usize], control_len: len, flags },
        10 => Call::Write { fd, data: any_data(rng) },
        11 => Call::Writev { fd, data: (0..rng.below(3)).map(|_| any_data(rng)).collect() },
        12 => Call::Send { fd, data: any_data(rng), flags },
        13 => Call::SendTo { fd, data: any_data(rng), flags, addr: any_addr(rng) },
        14 => Call::SendMsg {
            fd,
            addr: nonblock.then(|| any_addr(rng)),
            data: (0..rng.below(3)).map(|_| any_data(rng)).collect(),
            control: (0..rng.below(3)).map(|_| any_cmsg(rng)).collect(),
            flags,
        },
        15 => Call::Shutdown { fd, how: [Shutdown::Rd, Shutdown::Wr, Shutdown::RdWr][rng.below(3) as usize] },
        16 => Call::Close { fd },
        17 => Call::Dup { fd },
        18..=20 => Call::SetSockOpt { fd, opt, value: any_value(rng) },
        21 => Call::GetSockOpt { fd, opt },
        22 => Call::GetSockName { fd },
        23 => Call::GetPeerName { fd },
        24 => Call::Poll {
            fds: (0..rng.below(3)).map(|n| (n as i32, any_events(rng))).collect(),
            timeout_ms: rng.next_u32() as i32,
        },
        25 => Call::EpollCreate,
        26 => Call::EpollCtl {
            epfd: fd,
            op: [EpollOp::Add, EpollOp::Del, EpollOp::Mod][rng.below(3) as usize],
            fd: 5,
            events: any_events(rng),
            data: rng.next_u64(),
        },
        27 => Call::EpollWait { epfd: fd, max_events: rng.next_u32(), timeout_ms: rng.next_u32() as i32 },
        28 => Call::GetFl { fd },
        29 => Call::SetFl { fd, nonblock },
        _ => {
            if nonblock {
                Call::IoctlInq { fd }
            } else {
                Call::IoctlOutq { fd }
            }
        }
    }
}

#[test]
fn what_is_written_is_read_back_as_the_same_call() {
    let mut rng = Rng::new(1, "calls");
    for _ in 0..4_000 {
        let call = any_call(&mut rng);
        let text = encode_call(&call);
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(decode_call(&text).as_ref(), Ok(&call), "{text}");
    }
}

#[test]
fn results_survive_the_pipe() {
    let mut rng = Rng::new(2, "results");
    for _ in 0..4_000 {
        let result: CallResult = match rng.below(8) {
            0 => Err(Errno(rng.below(4096) as u16)),
            1 => Ok(Ret::Int(rng.next_u64() as i64)),
            2 => Ok(Ret::Fd(rng.below(99) as i32, (rng.below(2) == 0).then(|| any_addr(&mut rng)))),
            3 => Ok(Ret::Addr(any_addr(&mut rng))),
            4 => Ok(Ret::Opt(any_value(&mut rng))),
            5 => Ok(Ret::Poll((0..rng.below(3)).map(|n| (n as i32, any_events(&mut rng))).collect())),
            6 => Ok(Ret::Epoll((0..rng.below(3)).map(|n| (any_events(&mut rng), n)).collect())),
            _ => Ok(Ret::Data {
                len: rng.below(70_000) as usize,
                data: any_bytes(&mut rng),
                from: (rng.below(2) == 0).then(|| any_addr(&mut rng)),
                flags: MsgFlags(rng.next_u32()),
                control: (0..rng.below(3)).map(|_| any_cmsg(&mut rng)).collect(),
            }),
        };
        let text = encode_result(&result);
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(decode_result(&text).as_ref(), Ok(&result), "{text}");
    }
}

fn received(text: &str, len: usize, flags: MsgFlags) -> CallResult {
    Ok(Ret::Data {
        len,
        data: Bytes::from(text.as_bytes()),
        from: Some(ip("192.0.2.2:9")),
        flags,
        control: vec![
            Cmsg::Ttl(63),
            Cmsg::ExtendedErr {
                errno: Errno::ECONNREFUSED,
                origin: 2,
                ty: 3,
                code: 3,
                info: 0,
                data: 0,
                offender: Some("192.0.2.2".parse().unwrap()),
            },
        ],
    })
}

#[test]
fn results_read_as_strace_writes_them() {
    assert_eq!(result_text(&Ok(Ret::Int(5))), "5");
    assert_eq!(result_text(&Err(Errno::ECONNREFUSED)), "-1 ECONNREFUSED (Connection refused)");
    assert_eq!(result_text(&Ok(Ret::Poll(vec![(3, PollEvents(0))]))), "0 (Timeout)");
    assert_eq!(result_text(&Ok(Ret::Poll(vec![(3, PollEvents::IN)]))), "1 [{3, POLLIN}]");
    assert_eq!(result_text(&Ok(Ret::Opt(OptValue::Int(212_992)))), "0 [212992]");
    let cut = Ok(Ret::Data {
        len: 40,
        data: Bytes::from(&[b'x'; 40][..]),
        from: Some(ip("192.0.2.2:9")),
        flags: MsgFlags::TRUNC,
        control: vec![],
    });
    assert_eq!(result_text(&cut), format!("40 \"{}\"... from 192.0.2.2:9 MSG_TRUNC", "x".repeat(32)));
}

#[test]
fn expectations_hold_or_say_what_came_instead() {
    let hello = received("hello", 5, MsgFlags(0));
    let cut = received("hel", 5, MsgFlags::TRUNC);
    let refused: CallResult = Err(Errno::ECONNREFUSED);
    let so_error: CallResult = Ok(Ret::Opt(OptValue::Int(111)));
    let name: CallResult = Ok(Ret::Addr(ip("192.0.2.1:4000")));
    let poll: CallResult = Ok(Ret::Poll(vec![(4, PollEvents(0)), (3, PollEvents::IN | PollEvents::ERR)]));
    let cases: &[(&str, &CallResult, bool)] = &[
        ("= 5", &hello, true),
        ("5", &hello, true),
        ("> 0", &hello, true),
        ("= 6", &hello, false),
        ("ok", &hello, true),
        ("ok", &refused, false),
        (r#""hello""#, &hello, true),
        (r#"= 5 "hello" from 192.0.2.2:9"#, &hello, true),
        (r#""hello" from server:9"#, &hello, true),
        (r#""hello" from server:*"#, &hello, true),
        (r#""hello" from server:10"#, &hello, false),
        (r#""hel"..."#, &hello, true),
        (r#""help"..."#, &hello, false),
        ("!MSG_TRUNC", &hello, true),
        (r#"= 5 "hel" MSG_TRUNC"#, &cut, true),
        ("MSG_TRUNC", &hello, false),
        ("IP_TTL 63", &hello, true),
        ("IP_TTL 64", &hello, false),
        ("IP_RECVERR {ECONNREFUSED, ee_origin=ICMP, offender=server}", &hello, true),
        ("IP_RECVERR {EHOSTUNREACH}", &hello, false),
        ("= -1 ECONNREFUSED (Connection refused)", &refused, true),
        ("ECONNREFUSED", &refused, true),
        ("EAGAIN|ECONNREFUSED", &refused, true),
        ("EAGAIN", &refused, false),
        ("-1", &refused, true),
        ("ECONNREFUSED", &hello, false),
        ("ECONNREFUSED", &so_error, true),
        ("= 0 [0]", &so_error, false),
        ("192.0.2.1:4000", &name, true),
        ("*:4000", &name, true),
        ("192.0.2.1:*", &name, true),
        ("*:4001", &name, false),
        ("= 1 POLLIN|POLLERR", &poll, true),
        ("POLLIN", &poll, false),
        ("{s, POLLIN|POLLERR}", &poll, true),
        ("{ep, POLLIN}", &poll, false),
    ];
    for (text, result, holds) in cases {
        let verdict = Expect::parse(text, &Names).unwrap_or_else(|e| panic!("{text}: {e}")).matches(result);
        assert_eq!(verdict.is_ok(), *holds, "{text} against {}", result_text(result));
    }
    let expect = Expect::parse("= 5", &Names).unwrap();
    assert_eq!(
        expect.matches(&refused),
        Err("expected = 5, got -1 ECONNREFUSED (Connection refused)".into())
    );
    let error = Expect::parse("ECONREFUSED", &Names).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean 'ECONNREFUSED'?"));
    assert!(Expect::parse("  ", &Names).is_err());
}
