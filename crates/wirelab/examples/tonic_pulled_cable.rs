//! A tonic client whose peer falls silent: how long until it notices, and what becomes of the connection?
//!
//! Nobody says goodbye when a cable is pulled somewhere on the way. With HTTP/2 keepalive the client asks, and gives up
//! after `interval + timeout`. Without it a request in flight dies with TCP's retransmissions, after a quarter of an hour
//! (`tcp_retries2`), and a stream that only listens never does.

use std::time::Duration;

use net::hyper::Connector;
use net::tonic::Incoming;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wirelab::{Host, Lab, Link, TcpListener};

/// Longer than anything should take.
const FOREVER: Duration = Duration::from_secs(3 * 3600);

fn main() {
    let told = |what: &str, outcome: &Outcome| match outcome {
        Some((after, code)) => println!("{what:<44} notices after {after:?}: {code:?}"),
        None => println!("{what:<44} never notices"),
    };
    told("a stream, keepalive 10 s + 20 s", &stream_after_the_pull(Some(10)).0);
    told("a stream, no keepalive", &stream_after_the_pull(None).0);
    told("a request, no keepalive", &request_after_the_pull());
}

/// When the client learnt of it, and what it was told; `None` for never.
type Outcome = Option<(Duration, Code)>;

struct Service {
    lab: Lab,
    client: Host,
    link: Link,
}

/// A health service, 20 ms away.
fn service() -> Service {
    let lab = Lab::new();
    let (client, server) = (lab.host("client"), lab.host("server"));
    let wire = Duration::from_millis(10);
    let link = lab.link((&client, "192.0.2.1/24"), (&server, "192.0.2.2/24"), wire);
    lab.start(&server, async {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("shop", tonic_health::ServingStatus::Serving).await;
        let listener = TcpListener::bind("0.0.0.0:50051").await.unwrap();
        Server::builder().add_service(health).serve_with_incoming(Incoming::from(listener)).await.unwrap();
    });
    Service { lab, client, link }
}

async fn channel(keepalive: Option<u64>) -> Channel {
    let mut endpoint = Endpoint::from_static("http://server:50051");
    if let Some(seconds) = keepalive {
        endpoint = endpoint
            .http2_keep_alive_interval(Duration::from_secs(seconds))
            .keep_alive_timeout(Duration::from_secs(2 * seconds))
            .keep_alive_while_idle(true);
    }
    endpoint.connect_with_connector(Connector::new()).await.unwrap()
}

fn shop() -> HealthCheckRequest {
    HealthCheckRequest { service: "shop".into() }
}

/// A stream that listens when the cable is pulled; and what `ss` says on the client a second after the end, or at the
/// end of for ever.
fn stream_after_the_pull(keepalive: Option<u64>) -> (Outcome, String) {
    let Service { mut lab, client, link } = service();
    let here = client.clone();
    lab.run_on(&client, async move {
        let mut health = HealthClient::new(channel(keepalive).await);
        let mut news = health.watch(shop()).await.unwrap().into_inner();
        news.message().await.unwrap().expect("the state at the start");
        sleep(Duration::from_secs(1)).await; // HTTP/2's own answers are through
        link.black_hole();
        let start = Instant::now();
        let outcome = timeout(FOREVER, news.message()).await.ok();
        let outcome = outcome.map(|end| (start.elapsed(), end.expect_err("the server is gone").code()));
        sleep(Duration::from_secs(1)).await;
        let ss = here.with_stack(|stack, now| stack.ss_tcp(now)).expect("the lab is there");
        (outcome, ss)
    })
}

/// A request that is sent after the cable was pulled.
fn request_after_the_pull() -> Outcome {
    let Service { mut lab, client, link } = service();
    lab.run_on(&client, async move {
        let mut health = HealthClient::new(channel(None).await);
        health.check(shop()).await.unwrap();
        link.black_hole();
        let start = Instant::now();
        let end = timeout(FOREVER, health.check(shop())).await.ok()?;
        Some((start.elapsed(), end.expect_err("the server is gone").code()))
    })
}

#[test]
fn keepalive_notices_after_interval_and_timeout_and_tears_down() {
    let (outcome, ss) = stream_after_the_pull(Some(10));
    let (after, code) = outcome.expect("it notices");
    assert!((29..=31).contains(&after.as_secs()), "{after:?}");
    assert!(matches!(code, Code::Unavailable | Code::Unknown), "{code:?}");
    // It is closed, not forgotten: the FIN is sent and nobody acknowledges it.
    assert!(ss.contains("FIN-WAIT-1") || !ss.contains("ESTAB"), "{ss}");
}

#[test]
fn without_keepalive_a_stream_that_listens_never_notices() {
    let (outcome, ss) = stream_after_the_pull(None);
    assert_eq!(outcome, None);
    assert!(ss.contains("ESTAB"), "{ss}");
}

#[test]
fn without_keepalive_a_request_waits_for_tcp_retries2() {
    let (after, _) = request_after_the_pull().expect("TCP gives up");
    // tcp_retries2 = 15 with the smallest RTO: 924.6 s and a little for the round trip.
    assert!((900..=1000).contains(&after.as_secs()), "{after:?}");
}
