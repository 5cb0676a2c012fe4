//! Ordinary tokio programs in virtual time: the clock, the order of timers and events, and determinism.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use net::{Lab, LabConfig, TcpListener, TcpStream, UdpSocket};
use sim::{Fault, LinkState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);

fn lab() -> Lab {
    Lab::new(LabConfig::default())
}

/// Answers every line with itself.
async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        });
    }
}

#[test]
fn a_connection_and_an_echo_take_two_round_trips_to_the_nanosecond() {
    let mut lab = lab();
    let [client, server] = lab.pair(Duration::from_nanos(10_000_001));
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    let (connected, answered) = lab.run(client.scope(async {
        let start = Instant::now();
        let mut stream = TcpStream::connect("server:7").await.unwrap();
        let connected = start.elapsed();
        stream.write_all(b"ping").await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
        (connected, start.elapsed())
    }));
    assert_eq!(connected, Duration::from_nanos(20_000_002));
    assert_eq!(answered, Duration::from_nanos(40_000_004));
    assert_eq!(lab.now().as_nanos(), 40_000_004);
}

#[test]
fn timers_of_tokio_and_events_of_the_world_come_in_order() {
    let mut lab = lab();
    // A datagram every 300 us arrives at times that are no whole milliseconds.
    let [client, server] = lab.pair(Duration::from_nanos(123_456));
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    lab.start(&server, async move {
        let socket = UdpSocket::bind("0.0.0.0:9").await.unwrap();
        let start = Instant::now();
        let mut buf = [0; 16];
        loop {
            let (n, _) = socket.recv_from(&mut buf).await.unwrap();
            assert_eq!(n, 1);
            seen.lock().unwrap().push((start.elapsed(), format!("datagram {}", buf[0])));
        }
    });
    for ms in 0..6 {
        let seen = log.clone();
        lab.start(&server, async move {
            let start = Instant::now();
            sleep(ms * MS).await;
            seen.lock().unwrap().push((start.elapsed(), format!("sleep {ms}")));
        });
    }
    lab.run(client.scope(async {
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        for n in 0..5 {
            socket.send_to(&[n], "192.0.2.2:9").await.unwrap();
            sleep(MS).await;
        }
        sleep(3600 * 1000 * MS).await;
    }));
    let log = log.lock().unwrap();
    let sorted = {
        let mut sorted = log.clone();
        sorted.sort_by_key(|(at, _)| *at);
        sorted
    };
    assert_eq!(*log, sorted, "things are seen in the order of their times");
    let datagrams: Vec<u128> =
        log.iter().filter(|(_, t)| t.starts_with("datagram")).map(|(at, _)| at.as_nanos()).collect();
    assert_eq!(datagrams, [123_456, 1_123_456, 2_123_456, 3_123_456, 4_123_456]);
    let sleeps = log.iter().filter(|(_, t)| t.starts_with("sleep"));
    for (n, (at, _)) in (0u32..).zip(sleeps) {
        assert_eq!(*at, n * MS);
    }
    assert_eq!(log.len(), 11);
    assert_eq!(lab.now().as_nanos(), 3_600_005_000_000);
}

#[test]
fn unmodified_tokio_code_runs_spawn_select_timeout_and_channels() {
    let mut lab = lab();
    let [client, server] = lab.pair(5 * MS);
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    let got = lab.run(client.scope(async {
        let stream = TcpStream::connect("192.0.2.2:7").await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let (tx, mut rx) = mpsc::channel::<String>(1);
        let reader = tokio::spawn(async move {
            let mut buf = [0; 64];
            loop {
                let n = read.read(&mut buf).await.unwrap();
                if n == 0 {
                    return;
                }
                tx.send(String::from_utf8_lossy(&buf[..n]).into_owned()).await.unwrap();
            }
        });
        let mut got = Vec::new();
        let mut ticks = 0;
        let mut interval = tokio::time::interval(4 * MS);
        write.write_all(b"one").await.unwrap();
        while got.len() < 2 {
            tokio::select! {
                Some(text) = rx.recv() => {
                    got.push(text);
                    if got.len() == 1 { write.write_all(b"two").await.unwrap(); }
                }
                _ = interval.tick() => ticks += 1,
            }
        }
        assert_eq!(ticks, 6, "at 0, 4, 8, 12, 16 and 20 ms or so");
        assert!(timeout(7 * MS, rx.recv()).await.is_err(), "nothing more comes");
        drop(write);
        reader.await.unwrap();
        got
    }));
    assert_eq!(got, ["one", "two"]);
}

#[test]
fn a_host_without_a_route_and_a_closed_port_give_linux_errors() {
    let mut lab = lab();
    let [client, _server] = lab.pair(5 * MS);
    lab.run(client.scope(async {
        let refused = TcpStream::connect("server:81").await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let lost = TcpStream::connect("203.0.113.1:80").await.unwrap_err();
        assert_eq!(lost.raw_os_error(), Some(101), "ENETUNREACH");
        let unknown = TcpStream::connect("nobody:80").await.unwrap_err();
        assert!(unknown.to_string().contains("Name or service not known"), "{unknown}");
        let nothing = TcpStream::connect("server").await.unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::InvalidInput);
        let first = TcpListener::bind("192.0.2.1:5000").await.unwrap();
        let second = TcpListener::bind("192.0.2.1:5000").await.unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
        let foreign = TcpListener::bind("192.0.2.77:5000").await.unwrap_err();
        assert_eq!(foreign.kind(), std::io::ErrorKind::AddrNotAvailable);
        drop(first);
    }));
}

#[test]
fn the_second_syn_ack_lost_costs_a_second_syn_ack_timer() {
    let mut lab = lab();
    let [client, server] = lab.pair(10 * MS);
    lab.world(|world| {
        for text in ["server: 1st tcp.flags.syn == 1 && tcp.flags.ack == 1", "server: 2nd tcp.flags.syn == 1"]
        {
            let fault = Fault::parse(text, sim::FaultAction::Drop, world).unwrap();
            world.add_fault(fault);
        }
    });
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    let took = lab.run(client.scope(async {
        let start = Instant::now();
        TcpStream::connect("server:7").await.unwrap();
        start.elapsed()
    }));
    assert_eq!(lab.world(|world| world.fault_hits()), [1, 1]);
    // The client's SYN timer of 1 s, and the server's SYN-ACK timer, both repeat; the third SYN-ACK arrives.
    assert!(took > 1000 * MS && took < 3100 * MS, "{took:?}");
}

#[test]
fn a_pulled_cable_ends_a_connection_with_etimedout_after_user_timeout() {
    let mut lab = lab();
    let [client, server] = lab.pair(10 * MS);
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    let mut stream = lab.run(client.scope(async {
        let stream = TcpStream::connect("server:7").await.unwrap();
        let option = stack::call::SockOpt::TCP_USER_TIMEOUT;
        stream.set_option(option, stack::call::OptValue::Int(5000)).unwrap();
        stream
    }));
    lab.world(|world| {
        let link = world.find_link("client-server").unwrap();
        world.set_link_state(link, LinkState::Silent);
    });
    let (kind, took) = lab.run(async move {
        let start = Instant::now();
        stream.write_all(b"lost").await.unwrap();
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        (error.kind(), start.elapsed())
    });
    assert_eq!(kind, std::io::ErrorKind::TimedOut);
    assert!(took >= 5000 * MS && took < 8000 * MS, "{took:?}");
}

/// The journal of a small run, as text.
fn journal_of_a_run(seed: u64) -> String {
    let mut config = LabConfig::default();
    config.world.seed = seed;
    let mut lab = Lab::new(config);
    let [client, server] = lab.pair(3 * MS);
    lab.world(|world| {
        let fault = Fault::parse("server: 3rd tcp.len > 0", sim::FaultAction::Drop, world).unwrap();
        world.add_fault(fault);
    });
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    lab.run(client.scope(async {
        let mut tasks = Vec::new();
        for n in 0..5u8 {
            tasks.push(net::spawn(async move {
                let mut stream = TcpStream::connect("server:7").await.unwrap();
                stream.write_all(&[n; 4000]).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).await.unwrap();
                assert_eq!(back, [n; 4000]);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }));
    lab.advance(Duration::from_secs(1));
    let journal = lab.finish().finish();
    format!("{:?}", journal.records)
}

#[test]
fn the_same_seed_gives_the_same_journal() {
    let first = journal_of_a_run(1);
    assert!(first.len() > 10_000);
    assert_eq!(first, journal_of_a_run(1));
}

#[test]
fn several_labs_in_one_process_do_not_see_each_other() {
    let expected = journal_of_a_run(7);
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| journal_of_a_run(7))).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), expected);
    }
}

#[test]
fn a_task_that_is_on_no_host_is_told_so_and_does_not_reach_the_machine() {
    let mut lab = lab();
    let [client, server] = lab.pair(MS);
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    lab.run(client.scope(async {
        let outcome =
            tokio::spawn(async { TcpStream::connect("192.0.2.2:7").await.map(drop) }).await.unwrap();
        if cfg!(tokio_unstable) {
            outcome.unwrap();
        } else {
            assert!(outcome.unwrap_err().to_string().contains("net::spawn"));
        }
        net::spawn(async { TcpStream::connect("192.0.2.2:7").await.map(drop) }).await.unwrap().unwrap();
    }));
    // With the host named, any task may.
    lab.run(async move { client.connect("server:7").await.map(drop) }).unwrap();
}

#[test]
fn a_run_that_waits_for_what_never_comes_ends_at_its_limit() {
    let mut lab = Lab::new(LabConfig { limit: Duration::from_secs(60), ..LabConfig::default() });
    let [client, _server] = lab.pair(MS);
    let stuck = lab.try_run(client.scope(async {
        let socket = UdpSocket::bind("0.0.0.0:9").await.unwrap();
        socket.recv(&mut [0; 8]).await.unwrap();
    }));
    let stuck = stuck.unwrap_err();
    assert_eq!(stuck.at.as_nanos(), 60_000_000_000);
    assert!(stuck.to_string().contains("within 60"), "{stuck}");
}

#[test]
#[should_panic(expected = "the service died")]
fn a_panic_of_a_started_program_ends_the_run() {
    let mut lab = lab();
    let [client, server] = lab.pair(MS);
    lab.start(&server, async {
        sleep(5 * MS).await;
        panic!("the service died");
    });
    lab.run(client.scope(std::future::pending::<()>()));
}

#[test]
fn moving_the_clock_of_tokio_moves_the_world() {
    let mut lab = lab();
    let [client, server] = lab.pair(10 * MS);
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    lab.run(client.scope(async {
        let mut stream = TcpStream::connect("server:7").await.unwrap();
        stream.write_all(b"x").await.unwrap();
        tokio::time::advance(Duration::from_millis(500)).await;
        stream.read_exact(&mut [0; 1]).await.unwrap();
    }));
    let now = lab.now().as_nanos();
    assert!((520_000_000..560_000_000).contains(&now), "{now}");
}

#[test]
fn bulk_data_arrives_whole_on_a_lossy_link() {
    let mut lab = lab();
    let hosts = lab.pair_over(sim::Impairment {
        delay: 5 * MS,
        loss_ppm: 20_000,
        duplicate_ppm: 10_000,
        reorder_ppm: 10_000,
        ..sim::Impairment::default()
    });
    let [client, server] = hosts;
    let data: Vec<u8> = (0..2_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = data.clone();
    lab.start(&server, async move {
        let listener = TcpListener::bind("[::]:7").await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&data).await.unwrap();
    });
    let got = lab.run(client.scope(async {
        let mut stream = TcpStream::connect("[2001:db8::2]:7").await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got
    }));
    assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
}

#[test]
fn dropping_a_stream_that_lingers_does_not_wait() {
    let mut lab = lab();
    let [client, server] = lab.pair(10 * MS);
    lab.start(&server, async { echo(TcpListener::bind("0.0.0.0:7").await.unwrap()).await });
    lab.run(client.scope(async {
        let mut stream = TcpStream::connect("server:7").await.unwrap();
        #[expect(deprecated, reason = "it is what is asked about")]
        stream.set_linger(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(stream.linger().unwrap(), Some(Duration::from_secs(5)));
        stream.write_all(b"last words").await.unwrap();
        let before = Instant::now();
        drop(stream);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }));
    lab.advance(Duration::from_secs(1));
    let ss = client.with_stack(|stack, now| stack.ss_tan(now)).unwrap();
    // The echo finds nobody any more: unread data, so a RST; nothing is left in either state.
    assert!(!ss.contains("ESTAB") && !ss.contains("FIN-WAIT-1"), "{ss}");
}

#[test]
fn many_tasks_wait_for_one_socket_and_none_is_forgotten() {
    let mut lab = lab();
    let [client, server] = lab.pair(MS);
    lab.start(&server, async {
        let socket = Arc::new(UdpSocket::bind("0.0.0.0:9").await.unwrap());
        for _ in 0..10 {
            let socket = socket.clone();
            net::spawn(async move {
                let mut buf = [0; 8];
                loop {
                    let (len, from) = socket.recv_from(&mut buf).await.unwrap();
                    socket.send_to(&buf[..len], from).await.unwrap();
                }
            });
        }
    });
    lab.run(client.scope(async {
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        for n in 0..100u8 {
            socket.send_to(&[n], "server:9").await.unwrap();
        }
        let mut got = Vec::new();
        while got.len() < 100 {
            let mut buf = [0; 8];
            timeout(Duration::from_secs(5), socket.recv_from(&mut buf)).await.unwrap().unwrap();
            got.push(buf[0]);
        }
        got.sort_unstable();
        assert!(got.iter().copied().eq(0..100));
        // A wait that was given up leaves nothing behind.
        assert!(timeout(MS, socket.readable()).await.is_err());
        socket.send_to(b"x", "server:9").await.unwrap();
        socket.readable().await.unwrap();
    }));
}

#[test]
fn a_program_that_wakes_itself_for_ever_ends_the_run_and_is_named() {
    let mut lab = lab();
    let [client, server] = lab.pair(MS);
    lab.start(&server, async {
        sleep(7 * MS).await;
        loop {
            tokio::task::yield_now().await;
        }
    });
    let waits = async { sleep(Duration::from_secs(60)).await };
    let stuck = lab.try_run(client.scope(waits)).expect_err("time cannot pass");
    assert_eq!(stuck.spins.as_deref(), Some("async on server"));
    assert_eq!(stuck.at.as_nanos(), 7_000_000);
    assert!(stuck.to_string().starts_with("async on server spins at 0.007"), "{stuck}");
}

#[test]
fn hosts_without_programs_have_names_too() {
    let mut lab = lab();
    let [client, _] = lab.pair(MS);
    lab.world(|world| world.add_switch("lan", sim::SwitchConfig::default()));
    let found = |name: &'static str| async move {
        net::lookup_host((name, 80)).await.map(|all| all.map(|to| to.ip().to_string()).collect::<Vec<_>>())
    };
    let [whole, absolute, switch] =
        lab.run(client.scope(async {
            [found("Server").await.ok(), found("server.").await.ok(), found("lan").await.ok()]
        }));
    let server = Some(vec!["192.0.2.2".to_string(), "2001:db8::2".to_string()]);
    assert_eq!([whole, absolute, switch], [server.clone(), server, None]);
}
