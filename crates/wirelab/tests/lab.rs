//! The front door for tests: worlds in a few lines, exact faults, and what a failure leaves behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wirelab::{Host, Lab, TcpListener, TcpStream};

const MS: Duration = Duration::from_millis(1);

fn two(lab: &Lab) -> (Host, Host, wirelab::Link) {
    let (client, server) = (lab.host("client"), lab.host("server"));
    let link = lab.link((&client, "192.0.2.1/24"), (&server, "192.0.2.2/24"), 10 * MS);
    (client, server, link)
}

/// Serves `hello` to whoever connects.
async fn hello() {
    let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        wirelab::spawn(async move { stream.write_all(b"hello").await });
    }
}

async fn get() -> String {
    let mut text = String::new();
    TcpStream::connect("server:80").await.unwrap().read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn the_second_syn_ack_is_dropped_and_the_third_arrives() {
    let mut lab = Lab::new();
    let (client, server, _) = two(&lab);
    let first = lab.drop("server: 1st tcp.flags.syn == 1 && tcp.flags.ack == 1");
    let second = lab.drop("server: 2nd tcp.flags.syn == 1 && tcp.flags.ack == 1");
    lab.start(&server, hello());
    let took = lab.run_on(&client, async {
        let start = tokio::time::Instant::now();
        assert_eq!(get().await, "hello");
        start.elapsed()
    });
    assert_eq!([lab.hits(first), lab.hits(second)], [1, 1]);
    // SYN at 0 and 1 s; the server's SYN-ACK timer would fire at 1.01 s, and the client's repeat makes it answer at once.
    assert!((1000 * MS..1100 * MS).contains(&took), "{took:?}");
}

#[test]
fn a_cut_cable_and_a_black_hole_and_the_way_back() {
    let mut lab = Lab::new();
    let (client, server, link) = two(&lab);
    lab.start(&server, hello());
    lab.run_on(&client, async move {
        link.cut();
        let error = tokio::time::timeout(5000 * MS, TcpStream::connect("server:80")).await;
        // A route without carrier is still used (`ignore_routes_with_linkdown` is 0); its packets are dropped in silence.
        error.expect_err("the SYN is sent again and again");
        link.restore();
        link.black_hole();
        assert!(tokio::time::timeout(5000 * MS, TcpStream::connect("server:80")).await.is_err());
        link.restore();
        assert_eq!(get().await, "hello");
    });
}

#[test]
fn hosts_on_a_switch_resolve_each_other() {
    let mut lab = Lab::new();
    let hosts = ["client", "server", "other"].map(|name| lab.host(name));
    let [client, server, other] = &hosts;
    lab.lan(&[(client, "192.0.2.1/24"), (server, "192.0.2.2/24"), (other, "192.0.2.3/24")], MS);
    lab.start(server, hello());
    for host in [client, other] {
        assert_eq!(lab.run_on(host, get()), "hello");
    }
    let journal = lab.finish();
    assert!(
        journal.nodes[0].tables.iter().any(|(name, text)| name == "ip neigh" && text.contains("192.0.2.2"))
    );
}

fn message(panic: Box<dyn std::any::Any + Send>) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into()))
        .unwrap()
}

#[test]
fn a_fault_that_never_acts_fails_the_test_and_leaves_the_ladder() {
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut lab = Lab::with_seed(5).named("front-door-idle-fault");
        let (client, server, _) = two(&lab);
        lab.drop("server: 9th tcp.flags.syn == 1");
        lab.start(&server, hello());
        assert_eq!(lab.run_on(&client, get()), "hello");
    }));
    let text = message(failed.unwrap_err());
    assert!(text.starts_with("fault 1 never acted: server: 9th tcp.flags.syn == 1\n"), "{text}");
    assert!(text.contains("seed 5"), "{text}");
    let dir = text.rsplit("seed 5").next().unwrap().split(':').next().unwrap().trim();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let dir = if root.exists() { root } else { dir.into() };
    assert_eq!(std::fs::read_to_string(dir.join("seed")).unwrap(), "5\n");
    let ladder = std::fs::read_to_string(dir.join("ladder.txt")).unwrap();
    assert!(ladder.contains("client") && ladder.contains("S "), "{ladder}");
    let capture = std::fs::read(dir.join("run.pcapng")).unwrap();
    assert_eq!(capture[..4], [0x0a, 0x0d, 0x0d, 0x0a], "a section header block");
}

#[test]
fn a_long_run_is_cut_to_the_packets_that_matter() {
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut lab = Lab::new().named("front-door-long");
        let (client, server, _) = two(&lab);
        lab.drop("client: 40th tcp.len == 1448");
        lab.start(&server, async {
            let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), 200_000);
        });
        lab.run_on(&client, async {
            let mut stream = TcpStream::connect("server:80").await.unwrap();
            stream.write_all(&vec![0; 200_000]).await.unwrap();
        });
        lab.advance(1000 * MS);
        lab.drop("client: 1st udp");
    }));
    let text = message(failed.unwrap_err());
    assert!(text.contains("rows left out"), "{text}");
    assert!(text.contains("dropped by fault 1"), "{text}");
    let sent = text.lines().filter(|line| line.contains("55025:56473") || line.contains("seq 56473:57921"));
    assert!(sent.count() >= 3, "the packet, its neighbour and its repeat are there:\n{text}");
    assert!(text.lines().count() < 60, "{} lines:\n{text}", text.lines().count());
}

#[test]
fn one_seed_is_one_run_byte_for_byte() {
    let run = |seed| {
        let mut lab = Lab::with_seed(seed);
        let (client, server) = (lab.host("client"), lab.host("server"));
        let impairment =
            wirelab::Impairment { delay: 5 * MS, jitter: 2 * MS, loss_ppm: 50_000, ..Default::default() };
        lab.link((&client, "192.0.2.1/24"), (&server, "192.0.2.2/24"), impairment);
        lab.start(&server, hello());
        for _ in 0..5 {
            assert_eq!(lab.run_on(&client, get()), "hello");
        }
        let journal = lab.finish();
        analysis::pcapng(&journal, Vec::new()).unwrap()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_fault_that_does_not_parse_shows_where() {
    let failed = catch_unwind(|| Lab::new().drop("sever: 1st tcp.flags.syn == 1"));
    let text = message(failed.unwrap_err());
    assert!(text.contains("sever: 1st"), "{text}");
    assert!(text.contains("^^^^^"), "{text}");
}
