//! Requests and answers of 64 bytes over one stream at 1 ms, through the full TCP, per CPU second: alone, and beside idle hosts.
//!
//! `cargo bench -p net --bench rpc`. Limits (PERFORMANCE.md §3): 300,000 must, 600,000 aim; 1,000 idle hosts change it by less
//! than 10 %. Idle hosts and none are measured in turn, and the medians are compared.

use std::time::{Duration, Instant};

use net::{Host, Lab, LabConfig, TcpListener, TcpStream};
use sim::WorldConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REQUESTS: u32 = 200_000;
const ROUNDS: usize = 5;

fn main() {
    let bench = std::env::args().any(|arg| arg == "--bench");
    // `cargo test` runs benches too: once, and small.
    let (requests, rounds) = if bench { (REQUESTS, ROUNDS) } else { (100, 1) };
    let kinds: [(&str, usize); 3] =
        [("alone", 0), ("beside 1,000 idle hosts", 1_000), ("beside 10,000 idle hosts", 10_000)];
    let mut rates = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for (rates, (_, idle)) in rates.iter_mut().zip(kinds) {
            rates.push(f64::from(requests) / rpc(requests, idle).as_secs_f64());
        }
    }
    let mut alone = None;
    for ((what, _), rates) in kinds.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let base = *alone.get_or_insert(median);
        println!(
            "64 B RPC, 1 ms, one stream, {what:<25} {median:>9.0} per CPU second   {:>5.2} of alone",
            median / base
        );
    }
}

/// CPU time of so many requests, the world's building left out.
fn rpc(requests: u32, idle: usize) -> Duration {
    let world = WorldConfig { seed: 1, record: false, check: false };
    let mut lab = Lab::new(LabConfig { world, limit: Duration::from_secs(1 << 20) });
    let [client, server] = lab.pair(Duration::from_millis(1));
    let _idle: Vec<[Host; 2]> = (0..idle / 2).map(|_| lab.pair(Duration::from_millis(1))).collect();
    lab.start(&server, async {
        let listener = TcpListener::bind("192.0.2.2:80").await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buf = [0; 64];
        while stream.read_exact(&mut buf).await.is_ok() {
            stream.write_all(&buf).await.unwrap();
        }
    });
    let mut stream = lab.run(client.scope(async {
        let stream = TcpStream::connect("192.0.2.2:80").await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }));
    // Idle hosts set IPv6 up first.
    lab.advance(Duration::from_secs(20));
    let start = Instant::now();
    let began = cpu();
    lab.run(async {
        let mut buf = [7; 64];
        for _ in 0..requests {
            stream.write_all(&buf).await.unwrap();
            stream.read_exact(&mut buf).await.unwrap();
        }
    });
    let took = cpu() - began;
    assert!(took <= start.elapsed() + Duration::from_millis(20));
    took
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).expect("not negative"),
        u32::try_from(time.tv_nsec).expect("below 10^9"),
    )
}
