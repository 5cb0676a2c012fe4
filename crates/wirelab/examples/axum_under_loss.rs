//! An axum service whose packets get lost: how long do its clients wait?
//!
//! `cargo run -p wirelab --example axum_under_loss` prints the answer for several losses; the test pins that every request is
//! answered, and that the same seed gives the same times.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use net::hyper::{Connector, Executor};
use tokio::time::Instant;
use wirelab::{Impairment, Lab, TcpListener};

/// Requests of a run, one after the other.
const REQUESTS: usize = 50;

fn main() {
    println!("{REQUESTS} requests of 20 kB, 20 ms round trip\n  loss    median       p90       max");
    for percent in [0, 1, 2, 5, 10] {
        let times = answer_times(percent * 10_000, 1);
        let [median, p90, max] = [REQUESTS / 2, REQUESTS * 9 / 10, REQUESTS - 1].map(|at| times[at]);
        println!("{percent:>5} % {median:>9.1?} {p90:>9.1?} {max:>9.1?}");
    }
}

/// How long each request took, sorted.
fn answer_times(loss_ppm: u32, seed: u64) -> Vec<Duration> {
    let mut lab = Lab::with_seed(seed);
    let (client, server) = (lab.host("client"), lab.host("server"));
    let wire = Impairment { delay: Duration::from_millis(10), loss_ppm, ..Impairment::default() };
    lab.link((&client, "192.0.2.1/24"), (&server, "192.0.2.2/24"), wire);
    lab.start(&server, async {
        let app = Router::new().route("/page", get(|| async { "x".repeat(20_000) }));
        let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
        axum::serve(listener, app).await.unwrap();
    });
    lab.run_on(&client, async {
        let client = Client::builder(Executor::new()).build::<_, Empty<Bytes>>(Connector::new());
        let mut times = Vec::new();
        for _ in 0..REQUESTS {
            let start = Instant::now();
            let response = client.get("http://server/page".parse().unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 20_000);
            times.push(start.elapsed());
        }
        times.sort();
        times
    })
}

#[test]
fn every_request_is_answered_and_loss_shows_in_the_tail() {
    let (clean, lossy) = (answer_times(0, 1), answer_times(50_000, 1));
    // The first request has a handshake and begins with 10 segments: one round trip more each.
    assert_eq!(clean[..REQUESTS - 1], [Duration::from_millis(20); REQUESTS - 1]);
    assert_eq!(clean[REQUESTS - 1], Duration::from_millis(60));
    assert!(
        lossy[REQUESTS / 2] < 2 * lossy[0] + Duration::from_millis(40),
        "the median hardly notices: {lossy:?}"
    );
    assert!(lossy[REQUESTS - 1] >= Duration::from_millis(200), "the worst waited for a timer: {lossy:?}");
    assert_eq!(lossy, answer_times(50_000, 1));
}
