//! The HTTP server, client and proxy in virtual time over our stack: every status, limit and way of reuse that they promise.

mod world;

use std::time::Duration;

use apps::http::client::{Client, Config, Error, Request, Retry, Version};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use world::{World, raw};

/// What most tests need.
fn pages() -> serde_json::Value {
    json!({ "pages": {
        "/": { "body": "hello" },
        "/big": { "size": "300k" },
        "/slow": { "body": "late", "delay": "2s" },
        "/echo": { "handler": "echo" },
        "/form": { "handler": "form" },
        "/count": { "handler": "counter" },
        "/old": { "location": "/" },
        "/cut/*": { "body": "below" },
        "/chunked": { "size": "5000", "chunk": "1000", "interval": "10ms" },
    }, "hosts": { "other.example": { "pages": { "/": { "body": "another host" } } } } })
}

#[test]
fn a_kept_connection_carries_many_requests_and_the_log_is_nginx_combined() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let (bodies, connections) = world.client(async {
        let client = Client::new(Config::default());
        let mut bodies = Vec::new();
        for path in ["/", "/cut/anything", "/chunked", "/big"] {
            let response = client.send(Request::get(&format!("http://server{path}")).unwrap()).await.unwrap();
            assert_eq!(response.status, 200, "{path}");
            bodies.push(response.body.collect(1 << 20).await.unwrap().len());
        }
        (bodies, client.connections().len())
    });
    assert_eq!(bodies, [5, 5, 5000, 300 << 10]);
    assert_eq!(connections, 1);
    let log = world.lines();
    assert_eq!(log.len(), 4);
    let (start, end) = log[0].split_once('[').unwrap();
    assert_eq!(start, "192.0.2.1 - - ");
    assert!(end.ends_with(" +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\""), "{end}");
    assert!(log[3].contains("\"GET /big HTTP/1.1\" 200 307200"), "{}", log[3]);
}

#[test]
fn the_time_of_a_request_is_told_by_its_steps() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let [first, second] = world.client(async {
        let client = Client::new(Config::default());
        let mut all = Vec::new();
        for _ in 0..2 {
            let response = client.send(Request::get("http://server/slow").unwrap()).await.unwrap();
            let clock = response.body.clock();
            response.body.collect(100).await.unwrap();
            all.push(clock());
        }
        [all[0], all[1]]
    });
    assert_eq!(first.connect, Some(Duration::from_millis(20)));
    assert_eq!(second.connect, None);
    for timings in [first, second] {
        assert_eq!(timings.send, Duration::ZERO);
        // A round trip and the server's two seconds.
        assert_eq!(timings.wait, Duration::from_millis(2020));
        assert_eq!(timings.receive, Some(Duration::ZERO));
    }
    assert_eq!(first.total, Duration::from_millis(2040));
    assert_eq!(second.total, Duration::from_millis(2020));
}

/// Requests as bytes, and the status that they get. With a length beside chunks the chunks count, and the connection
/// ends (RFC 9112 §6.3).
const BAD: &[(&[u8], u16)] = &[
    (b"GARBAGE\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n", 400),
    (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        200,
    ),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
    (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
    (b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
    (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    (b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", 204),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: the moon\r\n\r\n", 417),
    (b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=7-\r\n\r\n", 416),
    (b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n\r\n", 206),
    (b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 304),
    (b"GET / HTTP/1.1\r\nHost: a\r\nIf-Match: \"other\"\r\n\r\n", 412),
    (b"GET /old HTTP/1.1\r\nHost: a\r\n\r\n", 302),
    (b"GET / HTTP/1.0\r\n\r\n", 200),
];

#[test]
fn every_bad_request_gets_its_status_and_is_logged() {
    let mut world = World::new(Duration::from_millis(1));
    world.serve("http-server", &pages());
    for (bytes, status) in BAD {
        let answer = world.client(raw(bytes.to_vec()));
        let shown = String::from_utf8_lossy(bytes);
        let first = answer.split("\r\n").next().unwrap().to_string();
        assert_eq!(first.split(' ').nth(1), Some(status.to_string().as_str()), "{shown}: {answer}");
        let log = world.lines().pop().unwrap();
        assert!(log.contains(&format!("\" {status} ")), "{shown}: {log}");
    }
}

#[test]
fn lines_heads_and_bodies_beyond_the_limits_get_414_431_and_413() {
    let mut world = World::new(Duration::from_millis(1));
    world.serve("http-server", &pages());
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let endless = format!("GET /{}", "x".repeat(200_000));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "x".repeat(40_000));
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(200));
    let body = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n{}",
        "x".repeat(2 << 20)
    );
    for (bytes, status) in [(long, 414), (endless, 414), (head, 431), (fields, 431), (body, 413)] {
        let answer = world.client(raw(bytes.clone().into_bytes()));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {answer:?}", &bytes[..40]);
        let log = world.lines().pop().unwrap();
        assert!(log.contains(&format!("\" {status} ")), "{log}");
    }
}

#[test]
fn slow_heads_and_slow_bodies_get_408_and_idle_connections_just_end() {
    let mut world = World::new(Duration::from_millis(1));
    let mut table = pages();
    table["client_header_timeout"] = json!("10s");
    table["client_body_timeout"] = json!("7s");
    table["keepalive_timeout"] = json!("30s");
    world.serve("http-server", &table);
    let slow = |first: &'static [u8], drip: &'static [u8]| async move {
        let mut stream = net::TcpStream::connect("server:80").await.unwrap();
        let start = Instant::now();
        stream.write_all(first).await.unwrap();
        let (mut read, mut write) = stream.split();
        let mut text = String::new();
        tokio::select! {
            _ = read.read_to_string(&mut text) => {}
            () = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    // The server may be gone.
                    let _ = write.write_all(drip).await;
                }
            } => {}
        }
        (text, start.elapsed().as_secs())
    };
    let (text, took) = world.client(slow(b"GET / HTTP/1.1\r\n", b"A: b\r\n"));
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text:?}");
    assert_eq!(took, 10);
    let (text, took) =
        world.client(slow(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123", b""));
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text:?}");
    assert_eq!(took, 7);
    let (text, took) = world.client(slow(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""));
    assert!(text.ends_with("\r\n\r\nhello"), "{text:?}");
    assert_eq!(took, 30);
    let (text, took) = world.client(slow(b"", b""));
    assert_eq!((text.as_str(), took), ("", 30));
}

#[test]
fn expect_100_continue_is_answered_before_the_body_comes() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let (status, interim, text, took) = world.client(async {
        let client = Client::new(Config::default());
        let request = Request::get("http://server/echo").unwrap().header("Expect", "100-continue").unwrap();
        let request = Request { method: http::Method::POST, ..request }.body("the body");
        let start = Instant::now();
        let response = client.send(request).await.unwrap();
        let (status, interim) = (response.status, response.interim.len());
        (status, interim, response.body.collect(1000).await.unwrap(), start.elapsed())
    });
    assert_eq!((status.as_u16(), interim), (200, 1));
    assert!(text.ends_with(b"\r\n\r\nthe body"));
    // The connection, the 100, the answer: three round trips.
    assert_eq!(took, Duration::from_millis(60));
}

#[test]
fn a_refused_body_is_answered_before_it_is_sent() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let (status, sent) = world.client(async {
        let client = Client::new(Config::default());
        let request = Request::get("http://server/echo").unwrap().header("Expect", "100-continue").unwrap();
        let request = Request { method: http::Method::POST, ..request }.body(vec![b'x'; 2 << 20]);
        let response = client.send(request).await.unwrap();
        (response.status, response.connection.counts.sent.get()[0])
    });
    assert_eq!(status, 413);
    assert!(sent < 1000, "{sent} bytes were sent");
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let (took, connections, bodies) = world.client(async {
        let client =
            Client::new(Config { per_host: 1, pipeline: 8, version: Version::Http11, ..Config::default() });
        drop(client.send(Request::get("http://server/").unwrap()).await.unwrap().body.collect(10).await);
        let start = Instant::now();
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let client = client.clone();
                net::spawn(async move {
                    let request = Request::get(&format!("http://server/echo?{n}")).unwrap();
                    client.send(request).await.unwrap().body.collect(1000).await.unwrap()
                })
            })
            .collect();
        let mut bodies = Vec::new();
        for task in tasks {
            bodies.push(String::from_utf8_lossy(&task.await.unwrap()).into_owned());
        }
        (start.elapsed(), client.connections().len(), bodies)
    });
    assert_eq!(took, Duration::from_millis(20), "one round trip for all");
    assert_eq!(connections, 1);
    for (n, body) in bodies.iter().enumerate() {
        assert!(body.starts_with(&format!("GET /echo?{n} HTTP/1.1\r\n")), "{body}");
    }
}

#[test]
fn a_host_gets_six_connections_and_the_rest_waits() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let (took, connections) = world.client(async {
        let client = Client::new(Config::default());
        let start = Instant::now();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                net::spawn(async move {
                    client
                        .send(Request::get("http://server/slow").unwrap())
                        .await
                        .unwrap()
                        .body
                        .collect(10)
                        .await
                        .unwrap()
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(&task.await.unwrap()[..], b"late");
        }
        (start.elapsed(), client.connections().len())
    });
    assert_eq!(connections, 6);
    assert_eq!(took, Duration::from_millis(2040 + 2020));
}

#[test]
fn http2_carries_all_requests_on_one_connection_at_once() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let (took, connections, headers) = world.client(async {
        let client = Client::new(Config { version: Version::Http2PriorKnowledge, ..Config::default() });
        let start = Instant::now();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                net::spawn(async move {
                    let response = client.send(Request::get("http://server/slow").unwrap()).await.unwrap();
                    assert_eq!(response.version, http::Version::HTTP_2);
                    response.body.collect(10).await.unwrap()
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(&task.await.unwrap()[..], b"late");
        }
        let counts = client.connections()[0].counts.clone();
        (start.elapsed(), client.connections().len(), counts.sent.get()[1])
    });
    assert_eq!(connections, 1);
    assert_eq!(took, Duration::from_millis(2040));
    // 20 requests with their frame headers: the dynamic table makes all but the first small.
    assert!((20 * 9..20 * 20).contains(&headers), "{headers} bytes of headers");
}

#[test]
fn http2_bodies_pass_both_ways_under_flow_control() {
    let mut world = World::new(Duration::from_millis(10));
    let mut table = pages();
    table["client_max_body_size"] = json!("10m");
    world.serve("http-server", &table);
    let sizes = world.client(async {
        let client = Client::new(Config { version: Version::Http2PriorKnowledge, ..Config::default() });
        let big = client.send(Request::get("http://server/big").unwrap()).await.unwrap();
        let big = big.body.collect(1 << 20).await.unwrap().len();
        let post = Request::get("http://server/echo").unwrap().body(vec![b'x'; 500_000]);
        let back = client.send(Request { method: http::Method::POST, ..post }).await.unwrap();
        let back = back.body.collect(1 << 20).await.unwrap();
        let text = String::from_utf8_lossy(&back).into_owned();
        (big, text.split_once("\r\n\r\n").unwrap().1.len())
    });
    assert_eq!(sizes, (300 << 10, 500_000));
}

#[test]
fn a_pushed_page_needs_no_request() {
    let mut world = World::new(Duration::from_millis(10));
    let pages = json!({ "pages": {
        "/": { "body": "<link rel=stylesheet href=/style.css>", "push": ["/style.css"] },
        "/style.css": { "body": "body {}" },
    } });
    world.serve("http-server", &pages);
    let (pushed, body, took) = world.client(async {
        let config = Config { version: Version::Http2PriorKnowledge, push: true, ..Config::default() };
        let client = Client::new(config);
        let page = client.send(Request::get("http://server/").unwrap()).await.unwrap();
        page.body.collect(100).await.unwrap();
        let start = Instant::now();
        let style = client.send(Request::get("http://server/style.css").unwrap()).await.unwrap();
        (style.pushed, style.body.collect(100).await.unwrap(), start.elapsed())
    });
    assert!(pushed);
    assert_eq!(&body[..], b"body {}");
    assert_eq!(took, Duration::ZERO);
}

#[test]
fn a_client_that_leaves_early_is_logged_as_499_by_both_versions() {
    for version in [Version::Http11, Version::Http2PriorKnowledge] {
        let mut world = World::new(Duration::from_millis(10));
        world.serve("http-server", &pages());
        world.client(async move {
            let client = Client::new(Config { version, ..Config::default() });
            let sending = client.send(Request::get("http://server/slow").unwrap());
            assert!(tokio::time::timeout(Duration::from_millis(500), sending).await.is_err());
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        let log = world.lines();
        assert_eq!(log.len(), 1);
        assert!(log[0].contains("\" 499 0 "), "{}", log[0]);
    }
}

#[test]
fn after_so_many_requests_the_connection_ends_and_the_client_opens_another() {
    for version in [Version::Http11, Version::Http2PriorKnowledge] {
        let mut world = World::new(Duration::from_millis(10));
        let mut table = pages();
        table["keepalive_requests"] = json!(3);
        world.serve("http-server", &table);
        let connections = world.client(async move {
            let client = Client::new(Config { version, ..Config::default() });
            for _ in 0..7 {
                let response = client.send(Request::get("http://server/").unwrap()).await.unwrap();
                response.body.collect(10).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            client.connections().len()
        });
        assert_eq!(connections, 3, "{version:?}");
    }
}

#[test]
fn a_request_into_an_idle_close_is_sent_again_when_it_is_idempotent() {
    // The server closes after 1 s; a request that is sent 5 ms later meets the FIN on the way.
    let race = |method: http::Method| {
        let mut world = World::new(Duration::from_millis(10));
        let mut table = pages();
        table["keepalive_timeout"] = json!("1s");
        world.serve("http-server", &table);
        world.client(async move {
            let client = Client::new(Config { retry: Retry::Idempotent, ..Config::default() });
            let first = client.send(Request::get("http://server/count").unwrap()).await.unwrap();
            first.body.collect(100).await.unwrap();
            tokio::time::sleep(Duration::from_millis(985)).await;
            let request = Request { method, ..Request::get("http://server/count").unwrap() };
            let second = match client.send(request).await {
                Ok(response) => Ok(response.body.collect(100).await.unwrap()),
                Err(error) => Err(error),
            };
            (second, client.connections().len())
        })
    };
    let (get, connections) = race(http::Method::GET);
    assert_eq!(&get.unwrap()[..], b"requests 2, POST 0\n");
    assert_eq!(connections, 2);
    let (post, connections) = race(http::Method::POST);
    assert!(matches!(post, Err(Error::Empty | Error::Receive(_))), "{post:?}");
    assert_eq!(connections, 1);
}

#[test]
fn virtual_hosts_forms_and_redirects() {
    let mut world = World::new(Duration::from_millis(1));
    world.serve("http-server", &pages());
    for (request, contains) in [
        ("GET / HTTP/1.1\r\nHost: OTHER.example:80\r\nConnection: close\r\n\r\n", "another host"),
        ("GET /form?a=1&b=x+y%21 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "a = 1\nb = x y!\n"),
        ("POST /form HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 7\r\n\r\nq=%C3%A9", "q = "),
        ("GET /old HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "Location: /\r\n"),
        ("HEAD /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "Content-Length: 307200\r\n"),
    ] {
        let answer = world.client(raw(request.into()));
        assert!(answer.contains(contains), "{request}: {answer}");
    }
}

#[test]
fn pages_are_compressed_as_the_client_likes() {
    let mut world = World::new(Duration::from_millis(1));
    let table = json!({ "compress": ["br", "gzip"], "pages": { "/": { "body": "all work and no play ", "repeat": 500 } } });
    world.serve("http-server", &table);
    let got = world.client(async {
        let client = Client::new(Config::default());
        let mut got = Vec::new();
        for accept in ["identity", "gzip", "gzip, br", "gzip;q=1, br;q=0.5", "zstd"] {
            let request = Request::get("http://server/").unwrap().header("Accept-Encoding", accept).unwrap();
            let response = client.send(request).await.unwrap();
            let coding = response.header("content-encoding").unwrap_or("-").to_string();
            assert_eq!(response.header("vary"), Some("Accept-Encoding"));
            got.push((coding, response.body.collect(1 << 20).await.unwrap().len()));
        }
        got
    });
    let codings: Vec<&str> = got.iter().map(|(coding, _)| coding.as_str()).collect();
    assert_eq!(codings, ["-", "gzip", "br", "gzip", "-"]);
    assert_eq!(got[0].1, 21 * 500);
    assert!(got[1].1 < 200, "{got:?}");
    assert!(got[2].1 < 100, "{got:?}");
}

#[test]
fn a_hostile_server_is_an_error_and_never_a_hang() {
    let answers: &[(&[u8], &str)] = &[
        (b"", "without an answer"),
        (b"HTTP/1.1 200", "unexpected end of file"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "5 bytes too early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX", "without its end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "too early"),
        (b"HTTP/1.1 999999 OK\r\n\r\n", "no HTTP"),
    ];
    for (answer, expected) in answers {
        let mut world = World::new(Duration::from_millis(1));
        world.raw_server(answer.to_vec());
        let error = world.client(async {
            let client = Client::new(Config::default());
            match client.send(Request::get("http://server/").unwrap()).await {
                Err(error) => error,
                Ok(response) => response.body.collect(1000).await.unwrap_err(),
            }
        });
        let text = error.to_string();
        assert!(text.contains(expected), "{}: {text}", String::from_utf8_lossy(answer));
    }
    let mut world = World::new(Duration::from_millis(1));
    let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(100_000)].concat();
    world.raw_server(endless);
    let error = world.client(async {
        Client::new(Config::default()).send(Request::get("http://server/").unwrap()).await.unwrap_err()
    });
    assert!(matches!(error, Error::TooLarge(_)), "{error:?}");
}

#[test]
fn a_table_with_mistakes_is_refused_at_its_place() {
    let read = |table: serde_json::Value| {
        let kind = apps::kind("http-server").unwrap();
        let serde_json::Value::Object(table) = table else { unreachable!("tables are objects") };
        (kind.read)(&table, &apps::Env::default()).map(drop).unwrap_err()
    };
    for (table, path, says) in [
        (json!({ "prot": 1 }), "prot", "unknown field"),
        (json!({ "pages": { "x": {} } }), "pages/x", "must begin with /"),
        (json!({ "pages": { "/": { "status": 99 } } }), "pages///status", "no status"),
        (json!({ "pages": { "/": { "body": "a", "size": "1k" } } }), "pages///size", "either"),
        (json!({ "pages": { "/": { "push": ["/no"] } } }), "pages///push", "no page"),
        (json!({ "pages": { "/": { "delay": "soon" } } }), "pages///delay", "no time"),
        (json!({ "pages": { "/": { "handler": "magic" } } }), "pages///handler", "unknown variant"),
        (json!({ "versions": [] }), "versions", "at least one"),
    ] {
        let problems = read(table);
        assert_eq!(problems[0].path.join("/"), path);
        assert!(problems[0].message.contains(says), "{:?}", problems[0]);
    }
}
