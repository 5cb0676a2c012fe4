//! Connections that are opened and closed one after the other, alone and beside idle ones; and one that dies.

use core::time::Duration;

use stack::call::{Call, Data, Fd, Ret};
use wire::Instant;

use crate::duo::Duo;
use crate::{Args, Bar, compare, cpu, smol};

/// Idle connections to one port: while half of the local ports are free, connect finds one at once, as on Linux.
const IDLE_A_PORT: u64 = 10_000;

pub(crate) fn rows(args: &Args) {
    let n = args.scaled(200_000);
    let mut theirs = || smol::connections(n, 0);
    // 500,000 and 900,000 where smoltcp makes 1.13 million.
    let bar = Bar::ratio(0.44, 0.8);
    compare(args, "conn connect+close", "/s", bar, || Bench::new(0).run(n), Some(&mut theirs));
    let mut theirs = || smol::connections(n, 0); // alone: beside 1,000 of its own it falls to a hundredth
    let mut idle = None;
    let ours = || idle.get_or_insert_with(|| Bench::new(args.scaled(100_000))).run(n);
    compare(args, "conn100k beside 100,000 idle", "/s", bar, ours, Some(&mut theirs));
    drop(idle);
    let bar = Bar::ratio(0.22, 0.22);
    let mut theirs = || smol::connections(n, 0);
    let mut idle = None;
    let ours = || idle.get_or_insert_with(|| Bench::new(args.scaled(1_000_000))).run(n);
    compare(args, "conn1m beside 1,000,000 idle", "/s", bar, ours, Some(&mut theirs));
    drop(idle);
    // Deaths a second: 5 ms each are 200.
    compare(
        args,
        "death by tcp_retries2",
        "/s",
        Bar::figure(200.0, 200.0),
        || deaths(args.scaled(200)),
        None,
    );
}

struct Bench {
    duo: Duo,
    listener: Fd,
    idle: Vec<(Fd, Fd)>,
}

impl Bench {
    fn new(idle: u64) -> Bench {
        let mut duo = Duo::new(&[]);
        let mut bench_idle = Vec::new();
        let start = cpu();
        let mut port = 6000;
        let mut listener = duo.server.listen(duo.now, port);
        for n in 0..idle {
            if n > 0 && n % IDLE_A_PORT == 0 {
                port += 1;
                listener = duo.server.listen(duo.now, port);
            }
            bench_idle.push(duo.connect(listener, port));
        }
        if idle > 0 {
            println!("  {idle} connections made, {:.0} a second", idle as f64 / (cpu() - start));
        }
        let listener = duo.server.listen(duo.now, 5000);
        Bench { duo, listener, idle: bench_idle }
    }

    /// Connections opened and closed a second of CPU time. Ten milliseconds pass for each, so that 6,000 are in TIME-WAIT.
    fn run(&mut self, n: u64) -> f64 {
        let Bench { duo, listener, idle } = self;
        let frames = duo.frames;
        let start = cpu();
        for _ in 0..n {
            let (fd, accepted) = duo.connect(*listener, 5000);
            duo.client.call(duo.now, &Call::Close { fd }).expect("open");
            duo.exchange();
            let end = duo.server.call(duo.now, &Call::Read { fd: accepted, len: 1 });
            assert!(matches!(end, Ok(Ret::Data { len: 0, .. })), "{end:?}");
            duo.server.call(duo.now, &Call::Close { fd: accepted }).expect("open");
            duo.now += Duration::from_millis(10);
            duo.exchange();
        }
        let spent = cpu() - start;
        if std::env::var_os("TCP_BENCH_TELL").is_some() {
            let frames = duo.frames[0] + duo.frames[1] - frames[0] - frames[1];
            eprintln!("conn: {:.2} frames a connection, {} idle", frames as f64 / n as f64, idle.len());
        }
        n as f64 / spent
    }
}

/// The peer falls silent: RTO after RTO until `tcp_retries2` gives up, about 15 minutes. How many a second.
fn deaths(n: u64) -> f64 {
    let mut duo = Duo::new(&[]);
    let listener = duo.server.listen(duo.now, 5000);
    let connections: Vec<(Fd, Fd)> = (0..n).map(|_| duo.connect(listener, 5000)).collect();
    let start = cpu();
    for (fd, _) in connections {
        let client = &mut duo.client;
        let begin = duo.now;
        client.call(duo.now, &Call::Write { fd, data: Data::Filler(1000) }).expect("a connection");
        let mut sent = 0;
        loop {
            while client.stack.poll_transmit().is_some() {
                sent += 1;
            }
            let at = client.stack.poll_timeout().expect("it waits to try again");
            duo.now = at;
            client.stack.handle_timeout(at);
            match client.call(duo.now, &Call::Read { fd, len: 1 }) {
                Err(stack::Errno::EAGAIN) => {}
                Err(stack::Errno::ETIMEDOUT) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(sent >= 16 && duo.now - begin > Duration::from_secs(900), "{sent} sent, died at {}", duo.now);
        client.call(duo.now, &Call::Close { fd }).expect("open");
    }
    assert!(duo.now > Instant::from_secs(900));
    n as f64 / (cpu() - start)
}
