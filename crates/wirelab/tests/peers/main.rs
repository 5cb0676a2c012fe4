//! Real programs on a real kernel at the other end of a TAP: curl, nginx, iperf3 and ssh talk through our stack, which a
//! relay joins to their peers. Bounded sizes here; 1 GiB each way by
//!
//! ```text
//! cargo test --release -p wirelab --test peers -- --ignored --nocapture
//! ```

mod chromium;
mod http;
mod lab;
mod messages;
mod programs;
mod quic;
mod security;

use std::time::{Duration, Instant};

use lab::{Bench, Path, Wire, impaired};
use programs::{Files, Nginx, Sshd, iperf3, run};
use sim::Impairment;

/// Where a test cannot run it says so; in CI it fails.
fn able(test: &str) -> bool {
    match linux::Netns::new() {
        Ok(_) => true,
        Err(why) => {
            linux::testing::skip(test, &format!("root: {why}"));
            false
        }
    }
}

/// How the wire is, and how much a bounded test sends over it (MiB). Both ends use cubic, and bbr where so much is lost
/// that cubic mostly waits for its timer. `WIRELAB_PEER_CC` says another one.
fn wires() -> [Wire; 4] {
    let ms = Duration::from_millis(1);
    let mixed = |i: &mut Impairment| (i.delay, i.reorder_ppm, i.duplicate_ppm) = (ms, 20_000, 20_000);
    [
        Wire { name: "clean", impairment: Impairment::default(), mib: 24, cc: "cubic" },
        Wire { name: "1 % loss", impairment: impaired(|i| i.loss_ppm = 10_000), mib: 8, cc: "cubic" },
        Wire { name: "10 % loss", impairment: impaired(|i| i.loss_ppm = 100_000), mib: 2, cc: "bbr" },
        Wire { name: "reordering and duplication", impairment: impaired(mixed), mib: 8, cc: "cubic" },
    ]
}

/// One figure of a transfer, on stderr for whoever asks with `--nocapture`.
fn told(what: &str, wire: &str, mib: usize, took: Duration) {
    let rate = mib as f64 / took.as_secs_f64();
    eprintln!("{what:<46} {wire:<28} {mib:>5} MiB in {:>8.2} s, {rate:>7.1} MiB/s", took.as_secs_f64());
}

/// curl in one namespace fetches a file from nginx in another one, our stack between: as the server that a kernel
/// connects to, or as the client that connects to a kernel.
fn curl_and_nginx(wires: &[Wire]) {
    for wire in wires {
        let mib = wire.mib;
        for path in [Path::KernelConnects, Path::StackConnects] {
            let bench = Bench::new(wire);
            let files = Files::new("curl");
            let sum = files.random("big", mib << 20);
            let (server_ns, client_ns) = bench.sides(path);
            let _nginx = Nginx::start(server_ns, &files, 80);
            let url = bench.relay(path, 80);
            let start = Instant::now();
            let out = files.path("got");
            run(client_ns, &["curl", "-sS", "--fail", "-o", &out, &format!("http://{url}/big")]);
            told(&format!("curl gets from nginx, {path:?}"), wire.name, mib, start.elapsed());
            assert!(files.sum("got") == sum, "{}, {path:?}: what curl got is not what nginx has", wire.name);
            bench.finish();
        }
    }
}

/// ssh sends a file and gets it back.
fn ssh_and_sshd(wires: &[Wire]) {
    for wire in wires {
        let mib = wire.mib;
        for path in [Path::KernelConnects, Path::StackConnects] {
            let bench = Bench::new(wire);
            let files = Files::new("ssh");
            let sum = files.random("big", mib << 20);
            let (server_ns, client_ns) = bench.sides(path);
            let sshd = Sshd::start(server_ns, &files, 22);
            let addr = bench.relay(path, 22);
            let start = Instant::now();
            let there = sshd.command(&addr, &format!("cat > {}", files.path("there")));
            run(client_ns, &["sh", "-c", &format!("{there} < {}", files.path("big"))]);
            assert!(files.sum("there") == sum, "{}, {path:?}: what sshd got is not what ssh sent", wire.name);
            let back = sshd.command(&addr, &format!("cat {}", files.path("there")));
            run(client_ns, &["sh", "-c", &format!("{back} > {}", files.path("back"))]);
            told(&format!("ssh there and back, {path:?}"), wire.name, 2 * mib, start.elapsed());
            assert!(
                files.sum("back") == sum,
                "{}, {path:?}: what ssh got back is not what it sent",
                wire.name
            );
            bench.finish();
        }
    }
}

/// iperf3 sends so much each way.
fn iperf3_both_ways(wires: &[Wire]) {
    for wire in wires {
        let mib = wire.mib;
        for path in [Path::KernelConnects, Path::StackConnects] {
            let bench = Bench::new(wire);
            let (server_ns, client_ns) = bench.sides(path);
            let _server = iperf3::Server::start(server_ns, 5201);
            let addr = bench.relay(path, 5201);
            for (way, reverse) in [("up", false), ("down", true)] {
                let start = Instant::now();
                let moved = iperf3::send(client_ns, &addr, mib, reverse);
                told(&format!("iperf3 {way}, {path:?}"), wire.name, mib, start.elapsed());
                assert!(moved >= (mib << 20) as u64, "{}, {path:?}, {way}: {moved} bytes", wire.name);
            }
            bench.finish();
        }
    }
}

#[test]
fn curl_gets_from_nginx_through_the_stack_byte_for_byte() {
    if able("curl_gets_from_nginx_through_the_stack_byte_for_byte") {
        curl_and_nginx(&wires());
    }
}

#[test]
fn ssh_sends_and_gets_through_the_stack_byte_for_byte() {
    if able("ssh_sends_and_gets_through_the_stack_byte_for_byte") {
        let [clean, loss, _, mixed] = wires();
        ssh_and_sshd(&[clean, loss, mixed]);
    }
}

#[test]
fn iperf3_runs_both_ways_through_the_stack() {
    if able("iperf3_runs_both_ways_through_the_stack") {
        let [clean, loss, _, mixed] = wires();
        iperf3_both_ways(&[clean, loss, mixed]);
    }
}

/// 1 GiB each way; `WIRELAB_PEER_MIB` says another size.
fn large() -> [Wire; 4] {
    let mib = std::env::var("WIRELAB_PEER_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(1024);
    wires().map(|wire| Wire { mib, ..wire })
}

#[test]
#[ignore = "1 GiB each way: minutes, and a release build"]
fn curl_and_nginx_1_gib() {
    if able("curl_and_nginx_1_gib") {
        curl_and_nginx(&large());
    }
}

#[test]
#[ignore = "1 GiB each way: minutes, and a release build"]
fn ssh_1_gib() {
    if able("ssh_1_gib") {
        ssh_and_sshd(&large());
    }
}

#[test]
#[ignore = "1 GiB each way: minutes, and a release build"]
fn iperf3_1_gib() {
    if able("iperf3_1_gib") {
        iperf3_both_ways(&large());
    }
}
