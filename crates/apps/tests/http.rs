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

/// `curl` with these words against the pages, and its exit status and lines.
fn curl(table: &serde_json::Value, words: &str) -> (i32, String) {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", table);
    let words: Vec<&str> = words.split('|').collect();
    let (status, lines) = world.command(&words);
    (status, lines.join("\n"))
}

#[test]
fn curl_ends_with_the_codes_and_words_of_curl() {
    let mut table = pages();
    table["pages"]["/loop"] = json!({ "location": "/loop" });
    table["pages"]["/teapot"] = json!({ "status": 418, "body": "short and stout" });
    for (words, status, text) in [
        ("curl|http://server/", 0, "hello"),
        ("curl|server", 0, "hello"),
        ("curl|-L|http://server/old", 0, "hello"),
        ("curl|-d|a=1&b=2|http://server/form", 0, "a = 1\nb = 2"),
        ("curl|-G|-d|a=1|http://server/form?c=2", 0, "c = 2\na = 1"),
        ("curl|-r|1-2|http://server/", 0, "el"),
        (
            "curl|-w|%{http_code} %{time_connect} %{time_total} %{num_connects}|-o|/dev/null|http://server/",
            0,
            "200 0.020000 0.040000 1",
        ),
        // Two addresses, IPv6 first: a round trip each.
        ("curl|-sS|http://nowhere.invalid/", 6, "curl: (6) Could not resolve host: nowhere.invalid"),
        (
            "curl|http://server:81/",
            7,
            "curl: (7) Failed to connect to server port 81 after 40 ms: Couldn't connect to server",
        ),
        (
            "curl|-m|1|http://server/slow",
            28,
            "curl: (28) Operation timed out after 1000 milliseconds with 0 bytes received",
        ),
        ("curl|-f|http://server/teapot", 22, "curl: (22) The requested URL returned error: 418"),
        ("curl|http://server/teapot", 0, "short and stout"),
        ("curl|-L|--max-redirs|3|http://server/loop", 47, "curl: (47) Maximum (3) redirects followed"),
        ("curl|ftp://server/", 1, "curl: (1) Protocol \"ftp\" not supported or disabled in libcurl"),
        ("curl|--resolve|other.example:80:192.0.2.2|http://other.example/", 0, "another host"),
        ("curl|-H|Host: other.example|http://server/", 0, "another host"),
        ("curl|--http2-prior-knowledge|-w|%{http_version}|http://server/", 0, "hello\n2"),
        ("curl|-s|-f|http://server/teapot", 22, ""),
    ] {
        assert_eq!(curl(&table, words), (status, text.to_string()), "{words}");
    }
}

#[test]
fn curl_v_shows_the_heads_and_the_kept_connection() {
    let (status, text) = curl(&pages(), "curl|-v|http://server/|http://server/missing");
    assert_eq!(status, 0);
    for line in [
        "*   Trying 192.0.2.2:80...",
        "* Connected to server (192.0.2.2) port 80",
        "> GET / HTTP/1.1",
        "> Host: server",
        "> User-Agent: curl/7.88.1",
        "> Accept: */*",
        "< HTTP/1.1 200 OK",
        "< Content-Length: 5",
        "* Connection #0 to host server left intact",
        "* Re-using existing connection #0 with host server",
        "< HTTP/1.1 404 Not Found",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line}: {text}");
    }
}

#[test]
fn curl_reads_broken_answers_with_its_codes() {
    let codes: &[(&[u8], i32)] = &[
        (b"", 52),
        (b"HTTP/1.1 200", 56),
        (b"hello\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", 18),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 8),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 61),
    ];
    for (answer, code) in codes {
        let mut world = World::new(Duration::from_millis(1));
        world.raw_server(answer.to_vec());
        let (status, lines) = world.command(&["curl", "--compressed", "http://server/"]);
        assert_eq!(status, *code, "{lines:?}");
        assert!(lines.last().unwrap().starts_with(&format!("curl: ({code}) ")), "{lines:?}");
    }
}

#[test]
fn curl_tries_again_after_1_2_and_4_seconds() {
    let table = json!({ "pages": { "/": { "status": 503, "body": "busy" } } });
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &table);
    let (status, lines) = world.command(&["curl", "--retry", "3", "-w", "%{http_code}", "http://server/"]);
    assert_eq!(status, 0);
    assert!(
        lines.contains(&"Warning: Problem: HTTP error. Will retry in 4 seconds. 1 retries left.".into()),
        "{lines:?}"
    );
    // 1 + 2 + 4 s, one connection and four round trips.
    assert_eq!(world.lab.now().as_nanos(), 7_100_000_000);
}

#[test]
fn a_wrong_command_line_is_refused_at_its_word() {
    let read = |words: &str| {
        let words: Vec<String> = words.split('|').map(str::to_string).collect();
        (apps::command("curl").unwrap().read)(&words, &apps::Env::default()).map(drop).unwrap_err()
    };
    for (words, word, says) in [
        ("curl", 1, "no URL"),
        ("curl|--frobnicate|http://a/", 1, "option --frobnicate: is unknown"),
        ("curl|-sZ|http://a/", 1, "option -Z: is unknown"),
        ("curl|http://a/|-m", 3, "requires parameter"),
        ("curl|-m|soon|http://a/", 2, "numerical"),
        ("curl|-H|no colon|http://a/", 2, "header field"),
        ("curl|-d|@file|http://a/", 2, "no files"),
        ("curl|-X|a b|http://a/", 2, "no method"),
        ("curl|--resolve|x|http://a/", 2, "RESOLVE"),
        ("curl|--cacert|nobody|http://a/", 2, "no certificate"),
    ] {
        let error = read(words);
        assert_eq!(error.word, word, "{words}: {error:?}");
        assert!(error.message.contains(says), "{words}: {error:?}");
    }
}

/// A proxy on port 80 of the server before upstream servers on its other ports.
fn proxied(proxy: &serde_json::Value, upstream: &[(u16, serde_json::Value)]) -> World {
    let mut world = World::new(Duration::from_millis(10));
    for (port, pages) in upstream {
        world.serve("http-server", &json!({ "port": port, "access_log": "off", "pages": pages }));
    }
    world.serve("http-proxy", proxy);
    world
}

#[test]
fn the_proxy_answers_502_and_504_as_nginx_does() {
    let proxy =
        json!({ "upstream": ["server:8080"], "proxy_read_timeout": "1s", "proxy_connect_timeout": "2s" });
    let upstream = json!({ "/": { "body": "upstream" }, "/slow": { "delay": "5s" } });
    let mut world = proxied(&proxy, &[(8080, upstream)]);
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").into_bytes();
    assert!(world.client(raw(get("/"))).ends_with("upstream"));
    assert!(world.client(raw(get("/slow"))).starts_with("HTTP/1.1 504 Gateway Time"));
    let log = world.lines();
    assert!(
        log[0].contains("\"GET / HTTP/1.1\" 200 8 ") && log[0].contains(" ua=\"192.0.2.2:8080\" us=\"200\""),
        "{}",
        log[0]
    );
    assert!(
        log[1].starts_with(
            "[error] upstream timed out (110: Connection timed out) while reading response header"
        )
    );
    assert!(
        log[2].contains(" 504 ") && log[2].contains("us=\"504\"") && log[2].contains("urt=\"1.000\""),
        "{}",
        log[2]
    );

    let mut world = proxied(&json!({ "upstream": ["server:9"] }), &[]);
    assert!(world.client(raw(get("/"))).starts_with("HTTP/1.1 502 Bad Gateway"));
    let log = world.lines();
    assert!(
        log[0].starts_with("[error] connect() failed (111: Connection refused) while connecting to upstream"),
        "{}",
        log[0]
    );

    let mut world = proxied(&json!({ "upstream": ["192.0.2.77:80"], "proxy_connect_timeout": "500ms" }), &[]);
    let answer = world.client(raw(get("/")));
    assert!(answer.starts_with("HTTP/1.1 504 ") || answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[test]
fn a_client_that_leaves_the_proxy_is_499_and_the_upstream_connection_is_closed() {
    let mut world =
        proxied(&json!({ "upstream": ["server:8080"] }), &[(8080, json!({ "/slow": { "delay": "5s" } }))]);
    world.client(async {
        let client = Client::new(Config::default());
        let sending = client.send(Request::get("http://server/slow").unwrap());
        assert!(tokio::time::timeout(Duration::from_secs(1), sending).await.is_err());
    });
    let log = world.lines();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("\"GET /slow HTTP/1.1\" 499 0 "), "{}", log[0]);
    assert!(log[0].contains("ua=\"192.0.2.2:8080\" us=\"-\""), "{}", log[0]);
}

#[test]
fn the_next_server_is_asked_unless_the_request_may_not_be_sent_twice() {
    let broken = |method: &str| {
        let proxy = json!({ "upstream": ["server:81", "server:8080"], "proxy_read_timeout": "1s" });
        let mut world = proxied(
            &proxy,
            &[
                (8080, json!({ "/": { "handler": "echo" } })),
                (81, json!({ "/": { "delay": "9s", "handler": "echo" } })),
            ],
        );
        let request =
            format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let answer = world.client(raw(request.into_bytes()));
        (answer.split(' ').nth(1).unwrap().to_string(), world.lines().pop().unwrap())
    };
    let (get, log) = broken("GET");
    assert_eq!(get, "200");
    assert!(log.contains("ua=\"192.0.2.2:81, 192.0.2.2:8080\" us=\"504, 200\""), "{log}");
    let (post, log) = broken("POST");
    assert_eq!(post, "504", "{log}");
    // One that refuses is left out for ten seconds, and nothing was sent to it: POST goes on.
    let proxy = json!({ "upstream": ["server:9", "server:8080"] });
    let mut world = proxied(&proxy, &[(8080, json!({ "/": { "handler": "echo" } }))]);
    for _ in 0..3 {
        let answer = world.client(raw(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        ));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let errors = world.lines().iter().filter(|line| line.starts_with("[error]")).count();
    assert_eq!(errors, 1);
}

#[test]
fn kept_upstream_connections_serve_again_and_their_death_costs_no_try() {
    let proxy = json!({ "upstream": ["server:8080"], "keepalive": 4, "upstream_keepalive_timeout": "60s" });
    let mut world = World::new(Duration::from_millis(10));
    let pages = json!({ "/": { "handler": "echo" } });
    world.serve(
        "http-server",
        &json!({ "port": 8080, "access_log": "off", "keepalive_timeout": "2s", "pages": pages }),
    );
    world.serve("http-proxy", &proxy);
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let first = world.client(raw(get.to_vec()));
    assert!(first.contains("\r\nGET / HTTP/1.1\r\nHost: server:8080\r\n"), "{first}");
    assert!(!first.contains("\r\nConnection: close\r\nAccept"), "{first}");
    for _ in 0..3 {
        world.client(raw(get.to_vec()));
    }
    // The server closes its end after 2 s: the proxy hears of it, or its next request does.
    world.lab.advance(Duration::from_millis(1990));
    for _ in 0..3 {
        assert!(world.client(raw(get.to_vec())).starts_with("HTTP/1.1 200"));
    }
    assert!(world.lines().iter().all(|line| line.contains("\" 200 ")), "{:?}", world.lines());
}

#[test]
fn a_proxy_that_makes_no_sense_is_refused() {
    let read = |table: serde_json::Value| {
        let serde_json::Value::Object(table) = table else { unreachable!("tables are objects") };
        (apps::kind("http-proxy").unwrap().read)(&table, &apps::Env::default()).map(drop).unwrap_err()
    };
    for table in [
        json!({}),
        json!({ "upstream": ["a:port"] }),
        json!({ "upstream": ["a:80 wait=1"] }),
        json!({ "upstream": ["a:80"], "proxy_next_upstream": ["sometimes"] }),
        json!({ "upstream": ["a:80"], "proxy_set_header": { "a b": "c" } }),
    ] {
        assert!(!read(table.clone()).is_empty(), "{table}");
    }
}

#[test]
fn http2_refuses_long_targets_large_heads_and_large_bodies_on_their_streams_alone() {
    let mut world = World::new(Duration::from_millis(1));
    world.serve("http-server", &pages());
    let statuses = world.client(async {
        let client = Client::new(Config { version: Version::Http2PriorKnowledge, ..Config::default() });
        let long = Request::get(&format!("http://server/{}", "x".repeat(9000))).unwrap();
        let large = Request::get("http://server/").unwrap().header("Cookie", &"x".repeat(40_000)).unwrap();
        let body = Request::get("http://server/echo").unwrap().body(vec![b'x'; 2 << 20]);
        let body = Request { method: http::Method::POST, ..body };
        let fine = Request::get("http://server/").unwrap();
        let mut statuses = Vec::new();
        for request in [long, large, body, fine] {
            statuses.push(client.send(request).await.unwrap().status.as_u16());
        }
        (statuses, client.connections().len())
    });
    assert_eq!(statuses, (vec![414, 431, 413, 200], 1));
}

#[test]
fn a_flood_of_resets_ends_the_connection() {
    // CVE-2023-44487: streams that are opened and reset at once.
    let mut world = World::new(Duration::from_millis(1));
    world.serve("http-server", &pages());
    let ended = world.client(async {
        let mut stream = net::TcpStream::connect("server:80").await.unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream in (1..20_001_u32).step_by(2) {
            // HEADERS of GET http:/ with :authority a, and RST_STREAM.
            bytes.extend([0, 0, 6, 1, 5]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend([0x82, 0x86, 0x84, 0x41, 1, b'a']);
            bytes.extend([0, 0, 4, 3, 0]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(8_u32.to_be_bytes());
        }
        let (mut read, mut write) = stream.split();
        let writing = async { drop(write.write_all(&bytes).await) };
        let reading = async {
            let mut got = Vec::new();
            // A reset is an end as well.
            let _ = tokio::time::timeout(Duration::from_secs(5), read.read_to_end(&mut got)).await;
            // GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §7).
            got.windows(9).any(|frame| frame[3] == 7) && got.windows(4).any(|code| code == [0, 0, 0, 11])
        };
        tokio::join!(writing, reading).1
    });
    assert!(ended, "the server goes on");
}

#[test]
fn a_page_load_counts_its_round_trips() {
    let mut world = World::new(Duration::from_millis(10));
    world.serve("http-server", &pages());
    let table = json!({ "url": "http://server/", "objects": 3, "objects_at": "/cut/{n}", "in_turn": true });
    let (status, lines) = world.app("page-load", &table);
    assert_eq!(status, 0);
    let start = "HTTP/1.1: 4 requests on 1 connections in 100.0 ms (5.0 round trips); headers ";
    assert!(lines[0].starts_with(start), "{lines:?}");
}

#[test]
fn https_chooses_the_version_by_alpn_and_bad_certificates_are_60() {
    let mut table = pages();
    table["port"] = json!(443);
    table["tls"] = json!({ "certificate": "site" });
    for (words, status, text) in [
        ("curl|-w|%{http_version}|https://server/", 0, "hello\n2"),
        ("curl|--http1.1|-w|%{http_version}|https://server/", 0, "hello\n1.1"),
        ("curl|--http1.0|-w|%{http_version}|https://server/", 0, "hello\n1."),
        ("curl|-k|--cacert|other|https://server/", 0, "hello"),
        ("curl|--cacert|other|https://server/", 60, "curl: (60) SSL certificate problem: "),
        ("curl|https://192.0.2.2/", 60, "curl: (60) SSL certificate problem: "),
        ("curl|-m|3|http://server:443/", 1, "curl: (1) Received HTTP/0.9 when not allowed"),
    ] {
        let (got, printed) = curl(&table, words);
        assert_eq!(got, status, "{words}: {printed}");
        assert!(printed.starts_with(text), "{words}: {printed}");
    }
    // TLS where none is spoken.
    assert_eq!(curl(&pages(), "curl|https://server:80/").0, 35);
    // One round trip for TCP, one for TLS 1.3, one for the request.
    let (_, times) =
        curl(&table, "curl|-o|/dev/null|-w|%{time_connect} %{time_appconnect} %{time_total}|https://server/");
    assert_eq!(times, "0.020000 0.040000 0.060000");
}
