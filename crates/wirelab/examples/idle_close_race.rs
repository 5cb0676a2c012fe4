//! The race behind the "random 502" (hyper#2136): a pooled connection is closed by the server in the moment in which the
//! client takes it for its next request.
//!
//! On a real network it takes luck: the request must leave in the half round trip in which the server's FIN is on its way.
//! Here a fault holds exactly that FIN back, and it happens every time. The server answers the request with a RST, and the
//! client cannot know whether it was carried out; so it must not repeat it by itself. What helps: the client gives idle
//! connections up before the server does.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::hyper::{Connector, Executor};
use tokio::time::sleep;
use wirelab::{Lab, TcpListener};

/// The server closes what is idle for so long.
const SERVER_IDLE: Duration = Duration::from_secs(5);

fn main() {
    for client_idle in [90, 4] {
        let outcome = second_request(Duration::from_secs(client_idle), 1);
        println!("the client keeps idle connections for {client_idle:>2} s: {outcome:?}");
    }
}

/// A service that closes idle connections.
async fn serve() {
    let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        wirelab::spawn(async move {
            let hello =
                service_fn(async |_| Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from("hello")))));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(SERVER_IDLE)
                .serve_connection(TokioIo::new(stream), hello);
            // The end of an idle connection is no fault of the server's.
            let _ = served.await;
        });
    }
}

/// What becomes of a POST that is sent when the server has just closed the connection of the first one.
fn second_request(client_idle: Duration, seed: u64) -> Result<Bytes, String> {
    let mut lab = Lab::with_seed(seed);
    let (client, server) = (lab.host("client"), lab.host("server"));
    lab.link((&client, "192.0.2.1/24"), (&server, "192.0.2.2/24"), Duration::from_millis(10));
    // The race: the request overtakes the goodbye.
    let fault = lab.delay("server: 1st tcp.flags.fin == 1", Duration::from_millis(100));
    lab.start(&server, serve());
    let outcome = lab.run_on(&client, async move {
        let client = Client::builder(Executor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(client_idle)
            .build(Connector::new());
        let post = || async {
            let request = Request::builder().method(Method::POST).uri("http://server/order");
            let request = request.body(Full::new(Bytes::from("one book"))).unwrap();
            let response = client.request(request).await.map_err(|error| chain(&error))?;
            Ok(response.into_body().collect().await.map_err(|error| chain(&error))?.to_bytes())
        };
        post().await.expect("the first request has a fresh connection");
        sleep(SERVER_IDLE + Duration::from_millis(20)).await;
        post().await
    });
    lab.advance(Duration::from_secs(1));
    assert_eq!(lab.hits(fault), 1);
    outcome
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[test]
fn the_request_fails_every_time_when_the_goodbye_is_late() {
    for seed in 0..10 {
        let error = second_request(Duration::from_secs(90), seed).unwrap_err();
        assert!(
            error.contains("connection closed before message completed") || error.contains("reset"),
            "{error}"
        );
    }
}

#[test]
fn a_client_that_gives_up_first_is_never_hit() {
    for seed in 0..10 {
        assert_eq!(second_request(Duration::from_secs(4), seed).unwrap(), "hello");
    }
}
