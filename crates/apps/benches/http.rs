//! Requests of HTTP/1.1 through hyper, at 1 ms through the full TCP in virtual time, per CPU second; beside them hyper over
//! `tokio::io::duplex`, and this crate's own server and client; by HTTP/3 over quinn, one after the other and 16 at a time.
//!
//! `cargo bench -p apps --bench http`. Limits (PERFORMANCE.md §3): 60,000 through hyper, 15,000 by HTTP/3. The kinds are measured in turn, and the
//! medians are compared.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use apps::http::client::{Client, Config, Request, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::server::conn::http1 as server;
use hyper::{Request as HyperRequest, Response, client::conn::http1 as client};
use hyper_util::rt::TokioIo;
use net::{Lab, LabConfig, TcpListener, TcpStream};
use sim::WorldConfig;
use tokio::io::{AsyncRead, AsyncWrite};

const REQUESTS: u32 = 50_000;
const ROUNDS: usize = 5;

fn main() {
    let bench = std::env::args().any(|arg| arg == "--bench");
    // `cargo test` runs benches too: once, and small.
    let (requests, rounds) = if bench { (REQUESTS, ROUNDS) } else { (50, 1) };
    type Kind = (&'static str, fn(u32) -> Duration);
    let kinds: [Kind; 6] = [
        ("hyper over tokio::io::duplex", duplex),
        ("hyper over our TCP, virtual time", virtual_time),
        ("our client and server, HTTP/1.1", |n| ours(n, Version::Http11)),
        ("our client and server, HTTP/2", |n| ours(n, Version::Http2PriorKnowledge)),
        ("our client and server, HTTP/3", |n| http3(n, 1)),
        ("the same, 16 at a time", |n| http3(n, 16)),
    ];
    let mut rates = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for (rates, (_, measure)) in rates.iter_mut().zip(kinds) {
            rates.push(f64::from(requests) / measure(requests).as_secs_f64());
        }
    }
    let mut base = None;
    for ((what, _), rates) in kinds.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let base = *base.get_or_insert(median);
        println!("{what:<36} {median:>9.0} requests per CPU second   {:>5.2} of duplex", median / base);
    }
}

/// Answers on one connection.
async fn answer(io: impl AsyncRead + AsyncWrite + Unpin) {
    let service = hyper::service::service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    // It ends when the client goes.
    let _ = server::Builder::new().serve_connection(TokioIo::new(io), service).await;
}

/// Asks so often on one connection.
async fn ask(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, requests: u32) -> Duration {
    let (mut send, connection) = client::handshake(TokioIo::new(io)).await.expect("a handshake of nothing");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let began = cpu();
    for _ in 0..requests {
        let request =
            HyperRequest::get("/").header("host", "server").body(Empty::<Bytes>::new()).expect("a request");
        let response = send.send_request(request).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(&body[..], b"hello");
    }
    cpu() - began
}

fn duplex(requests: u32) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async move {
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(answer(far));
        ask(near, requests).await
    })
}

fn lab() -> (Lab, [net::Host; 2]) {
    let world = WorldConfig { seed: 1, record: false, check: false };
    let lab = Lab::new(LabConfig { world, limit: Duration::from_secs(1 << 20) });
    let hosts = lab.pair(Duration::from_millis(1));
    (lab, hosts)
}

fn virtual_time(requests: u32) -> Duration {
    let (mut lab, [client, server]) = lab();
    lab.start(&server, async {
        let listener = TcpListener::bind("192.0.2.2:80").await.expect("a free port");
        let (stream, _) = listener.accept().await.expect("a client");
        stream.set_nodelay(true).expect("it is open");
        answer(stream).await;
    });
    lab.run(client.scope(async move {
        let stream = TcpStream::connect("192.0.2.2:80").await.expect("it listens");
        stream.set_nodelay(true).expect("it is open");
        ask(stream, requests).await
    }))
}

struct Nowhere;

impl apps::Sink for Nowhere {
    fn print(&self, _: &str) {}

    fn key_log(&self, _: &str) {}
}

fn ours(requests: u32, version: Version) -> Duration {
    let (mut lab, [client, server]) = lab();
    let table = serde_json::json!({ "access_log": "off", "keepalive_requests": 1 << 30, "pages": { "/": { "body": "hello" } } });
    let serde_json::Value::Object(table) = table else { unreachable!("tables are objects") };
    let app = (apps::kind("http-server").expect("a kind").read)(&table, &apps::Env::default())
        .expect("a good table");
    let cx = apps::Cx::new(apps::Env::default(), "http-server", Nowhere);
    lab.start(&server, async move {
        app.run(cx).await;
    });
    lab.run(client.scope(async move {
        let client = Client::new(Config { version, ..Config::default() });
        let get = Request::get("http://192.0.2.2/").expect("a URL");
        let began = cpu();
        for _ in 0..requests {
            let body =
                client.send(get.clone()).await.expect("an answer").body.collect(100).await.expect("a body");
            assert_eq!(&body[..], b"hello");
        }
        cpu() - began
    }))
}

/// By HTTP/3, so many at a time.
fn http3(requests: u32, at_a_time: u32) -> Duration {
    let (mut lab, [client, server]) = lab();
    let certificates = serde_json::json!({ "site": { "names": ["site.example"] } });
    let certificates: std::collections::BTreeMap<String, apps::pki::Certificate> =
        serde_json::from_value(certificates).expect("a table");
    let pki = apps::pki::Pki::new(&certificates.into_iter().collect()).expect("it is in order");
    let env = apps::Env { seed: 1, pki: Arc::new(pki), ..apps::Env::default() };
    let table = serde_json::json!({
        "access_log": "off", "versions": ["3"], "tls": { "certificate": "site" }, "pages": { "/": { "body": "hello" } },
    });
    let serde_json::Value::Object(table) = table else { unreachable!("tables are objects") };
    let app = (apps::kind("http-server").expect("a kind").read)(&table, &env).expect("a good table");
    let cx = apps::Cx::new(env.clone(), "http-server", Nowhere);
    lab.start(&server, async move {
        app.run(cx).await;
    });
    let cx = apps::Cx::new(env, "client", Nowhere);
    lab.run(client.scope(async move {
        let tls = apps::http::tls::Client::new(apps::tls::ClientOptions::default(), &cx);
        let addresses = [(("site.example".into(), 443), vec!["192.0.2.2".parse().expect("an address")])];
        let client = Client::new(Config {
            version: Version::Http3,
            quic: Some(Arc::new(tls)),
            addresses: addresses.into_iter().collect(),
            ..Config::default()
        });
        let get = Request::get("https://site.example/").expect("a URL");
        let ask = |client: Client, get: Request, times: u32| async move {
            for _ in 0..times {
                let answer = client.send(get.clone()).await.expect("an answer");
                let body = answer.body.collect(100).await.expect("a body");
                assert_eq!(&body[..], b"hello");
            }
        };
        ask(client.clone(), get.clone(), 1).await;
        let began = cpu();
        let tasks =
            (0..at_a_time).map(|_| net::spawn(ask(client.clone(), get.clone(), requests / at_a_time)));
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("no request fails");
        }
        cpu() - began
    }))
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("not negative");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below 10^9"))
}
