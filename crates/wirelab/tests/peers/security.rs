//! What a web server allows, beside programs that we did not write: nginx gives up slow heads when we do and refuses the same bodies;
//! curl keeps and sends the cookies that our browser keeps and sends, and follows the same redirects.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apps::dns::resolv_conf::{HostsFile, ResolvConf};
use apps::dns::stub::Stub;
use apps::{Cx, Lines};
use serde_json::{Value, json};

use crate::able;
use crate::http::{KERNEL, STACK, env, serve, wire};
use crate::lab::{Bench, Path};
use crate::programs::{Files, Nginx, try_run};

/// Begins a request, adds a line now and then, and reads until the server has enough: what it said, and after how long.
fn slow_head(ns: &linux::Netns, server: &str) -> (String, Duration) {
    let server = format!("{server}:80");
    ns.run(move || {
        let mut stream = TcpStream::connect(&server).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").expect("it reads");
        let start = Instant::now();
        let mut got = Vec::new();
        let mut buffer = [0; 1000];
        while start.elapsed() < Duration::from_secs(20) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => got.extend_from_slice(&buffer[..n]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    // The server may have gone in the meantime: the next read says so.
                    let _ = stream.write_all(b"X-More: to come\r\n");
                }
                Err(_) => break,
            }
        }
        (String::from_utf8_lossy(&got).into_owned(), start.elapsed())
    })
}

/// A body of so many bytes; with chunks nobody knows its length before.
fn upload(ns: &linux::Netns, server: &str, file: &str, chunked: bool) -> String {
    let url = format!("http://{server}/form");
    let body = format!("@{file}");
    let mut argv =
        vec!["curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &body];
    if chunked {
        argv.extend(["-H", "Transfer-Encoding: chunked"]);
    }
    argv.push(&url);
    try_run(ns, &argv).1
}

/// The statuses in an access log.
fn statuses(log: &str) -> Vec<String> {
    let of = |line: &str| Some(line.split('"').nth(2)?.split_whitespace().next()?.to_string());
    log.lines().filter_map(of).collect()
}

#[test]
fn nginx_gives_up_slow_heads_and_refuses_large_bodies_when_we_do() {
    if !able("nginx_gives_up_slow_heads_and_refuses_large_bodies_when_we_do") {
        return;
    }
    let bench = Bench::new(&wire());
    let (_, ns) = bench.sides(Path::KernelConnects);
    let files = Files::new("limits");
    files.random("small", 8 << 10);
    files.random("large", 40 << 10);
    let here = |name: &str| files.path(name);
    // The body is read by whom the proxy asks: our own server, at another port and without its limit.
    let open = json!({ "port": 8080, "access_log": "off", "pages": { "/": { "body": "page" }, "/form": { "handler": "form" } } });
    serve(&bench, "http-server", &open);
    let config = files.write(
        "limits.conf",
        &format!(
            "daemon off; master_process off; pid {}; error_log stderr;\nevents {{ }}\nhttp {{ access_log {};\n\
             client_body_temp_path {}; proxy_temp_path {}; fastcgi_temp_path {}; uwsgi_temp_path {}; scgi_temp_path {};\n\
             client_header_timeout 2s; client_max_body_size 16k;\n\
             server {{ listen 80; location / {{ proxy_pass http://{STACK}:8080; }} }} }}\n",
            here("nginx.pid"), here("access.log"), here("t1"), here("t2"), here("t3"), here("t4"), here("t5"),
        ),
    );
    let nginx = Nginx::with_config(ns, &config, 80);
    let ask = |server: &str| {
        let (said, took) = slow_head(ns, server);
        let codes: Vec<String> = [("small", false), ("large", false), ("small", true), ("large", true)]
            .iter()
            .map(|(file, chunked)| upload(ns, server, &files.path(file), *chunked))
            .collect();
        (said, took, codes)
    };
    let theirs = ask(KERNEL);
    drop(nginx);
    let logged = std::fs::read_to_string(files.path("access.log")).expect("nginx logged");
    let limits = json!({ "client_header_timeout": "2s", "client_max_body_size": "16k",
        "pages": { "/": { "body": "page" }, "/form": { "handler": "form" } } });
    let ours_log = serve(&bench, "http-server", &limits);
    std::thread::sleep(Duration::from_millis(200));
    let ours = ask(STACK);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(theirs.2, ["200", "413", "200", "413"]);
    assert_eq!(ours.2, theirs.2);
    for (whose, took) in [("nginx", theirs.1), ("ours", ours.1)] {
        assert!(
            (Duration::from_millis(1900)..Duration::from_millis(3500)).contains(&took),
            "{whose}: {took:?}"
        );
    }
    // nginx logs 408 and says nothing; we say it, as RFC 9110 §15.5.9 has it.
    assert_eq!(theirs.0, "");
    assert!(ours.0.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{}", ours.0);
    assert_eq!(statuses(&logged), ["408", "200", "413", "200", "413"]);
    assert_eq!(statuses(&ours_log.all().join("\n")), statuses(&logged));
}

/// The pages of the cookie test: what they set, and where they lead.
fn cookie_pages() -> Value {
    let set = |cookies: &[&str]| json!({ "body": "set", "set_cookie": cookies });
    json!({
        "/set": set(&[
            "plain=1", "path=1; Path=/account", "deep=1; Path=/account/deep/", "domain=1; Domain=shop.example", "dot=1; Domain=.shop.example; Path=/",
            "foreign=1; Domain=other.example", "public=1; Domain=example", "sub=1; Domain=a.www.shop.example", "secure=1; Secure",
            "httponly=1; HttpOnly; Path=/", "spaced = 1 ; Path=/", "quoted=\"a b\"; Path=/", "empty=; Path=/", "gone=1; Max-Age=0; Path=/",
            "past=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/", "later=1; Max-Age=1000; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/",
            "__Host-x=1; Path=/", "__Secure-y=1; Path=/", "a=1; Path=/", "a=2; Path=/", "case=1; PATH=/; httpONLY",
        ]),
        "/account/set": set(&["here=1", "up=1; Path=/", "a=3; Path=/account"]),
        "/moved": { "location": "/echo?by=301", "status": 301, "methods": ["GET", "POST"], "set_cookie": ["r301=1; Path=/"], "cache_control": "no-store" },
        "/found": { "location": "http://api.shop.example/echo?by=302", "status": 302, "methods": ["GET", "POST"], "set_cookie": ["r302=1; Domain=shop.example; Path=/"] },
        "/see": { "location": "account/echo", "status": 303, "methods": ["GET", "POST"] },
        "/kept": { "location": "/echo", "status": 307, "methods": ["GET", "POST"] },
        "/form/*": { "body": "<form method=post action=/moved><input name=one value=1></form><form method=post action=/found><input name=two value=1></form><form method=post action=/see><input name=three value=1></form><form method=post action=/kept><input name=four value=1></form>" },
        "/*": { "handler": "echo", "cache_control": "no-store" },
    })
}

/// Where both go, and what they fill in when they are there.
const WAY: &[(&str, Option<&str>)] = &[
    ("http://www.shop.example/set", None),
    ("http://www.shop.example/echo", None),
    ("http://www.shop.example/account", None),
    ("http://www.shop.example/accounts", None),
    ("http://www.shop.example/account/set", None),
    ("http://www.shop.example/account/deep/x", None),
    ("http://shop.example/echo", None),
    ("http://api.shop.example/echo", None),
    ("http://other.example/echo", None),
    ("http://www.shop.example/moved", None),
    ("http://www.shop.example/found", None),
    ("http://www.shop.example/see", None),
    ("http://www.shop.example/moved", Some("one=1")),
    ("http://www.shop.example/found", Some("two=1")),
    ("http://www.shop.example/see", Some("three=1")),
    ("http://www.shop.example/kept", Some("four=1")),
];

const NAMES: [&str; 4] = ["www.shop.example", "shop.example", "api.shop.example", "other.example"];

/// Method, URL and cookies of a request.
type Sent = (String, String, String);

/// What curl sent, from its `-v`.
fn sent_by_curl(ns: &linux::Netns, jar: &str) -> Vec<Sent> {
    let mut all = Vec::new();
    for (url, post) in WAY {
        let mut argv =
            vec!["curl", "-sSv", "--http1.1", "-m", "10", "-L", "-c", jar, "-b", jar, "-o", "/dev/null"];
        let resolve: Vec<String> = NAMES.iter().map(|name| format!("{name}:80:{STACK}")).collect();
        resolve.iter().for_each(|resolve| argv.extend(["--resolve", resolve]));
        if let Some(fields) = post {
            argv.extend(["-d", fields]);
        }
        argv.push(url);
        let (status, text) = try_run(ns, &argv);
        assert_eq!(status, 0, "{url}: {text}");
        let mut request: Option<(String, String)> = None;
        let (mut host, mut cookie) = (String::new(), String::new());
        for line in text.lines() {
            let Some(line) = line.strip_prefix("> ") else { continue };
            if line.ends_with(" HTTP/1.1") {
                let mut words = line.split(' ');
                request =
                    Some((words.next().expect("a method").into(), words.next().expect("a path").into()));
                (host, cookie) = (String::new(), String::new());
            } else if let Some(name) = line.strip_prefix("Host: ") {
                host = name.into();
            } else if let Some(cookies) = line.strip_prefix("Cookie: ") {
                cookie = cookies.into();
            } else if line.trim().is_empty()
                && let Some((method, path)) = request.take()
            {
                all.push((method, format!("http://{host}{path}"), cookie.clone()));
            }
        }
    }
    all
}

/// What our browser sent: each request as it noted it. Forms stand on a page of their own.
fn sent_by_browser(bench: &Bench) -> Vec<Sent> {
    let form = "http://www.shop.example/form/";
    let mut words =
        vec!["browser".to_string(), "--http".into(), "1.1".into(), "--no-cache".into(), "--json".into()];
    for (url, post) in WAY {
        match post {
            None => words.push((*url).into()),
            Some(fields) => words.extend([form.to_string(), "--fill".into(), (*fields).into()]),
        }
    }
    let app = (apps::command("browser").expect("it is there").read)(&words, &env()).expect("a good command");
    let lines = Lines::default();
    let cx = Cx::new(env(), "browser", lines.clone());
    assert_eq!(bench.block_on(app.run(cx)), 0, "{:?}", lines.all());
    let entry = |line: &String| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let url = entry.get("url")?.as_str()?.to_string();
        let method = entry.get("method")?.as_str()?.to_string();
        let fields = entry.get("request_headers")?.as_array()?;
        let cookie = fields.iter().find(|field| field[0] == "cookie");
        let cookie = cookie.and_then(|field| field[1].as_str()).unwrap_or_default().to_string();
        (url != form).then_some((method, url, cookie))
    };
    lines.all().iter().filter_map(entry).collect()
}

#[test]
fn curl_keeps_sends_and_follows_what_our_browser_does() {
    if !able("curl_keeps_sends_and_follows_what_our_browser_does") {
        return;
    }
    let bench = Bench::new(&wire());
    serve(&bench, "http-server", &json!({ "pages": cookie_pages() }));
    let names: BTreeMap<&str, &str> = NAMES.iter().map(|name| (*name, STACK)).collect();
    let file: Vec<String> = names.iter().map(|(name, address)| format!("{address} {name}")).collect();
    let (hosts, bad) = HostsFile::parse(file.iter().map(String::as_str));
    assert!(bad.is_empty());
    let (conf, _) = ResolvConf::parse(core::iter::empty());
    bench.set_resolver(Arc::new(Stub::new(conf, hosts, 1)));
    let files = Files::new("cookies");
    let (_, ns) = bench.sides(Path::KernelConnects);
    let theirs = sent_by_curl(ns, &files.path("jar"));
    let ours = sent_by_browser(&bench);
    assert_eq!(theirs.len(), WAY.len() + 7, "{theirs:#?}");
    // Among cookies with the same length of path ours, as browsers' do, go in the order in which they were set (RFC 6265 §5.4);
    // curl puts longer domains and longer names first.
    let sorted = |sent: &Sent| {
        let mut cookies: Vec<String> = sent.2.split("; ").map(str::to_string).collect();
        cookies.sort_unstable();
        (sent.0.clone(), sent.1.clone(), cookies)
    };
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(sorted(ours), sorted(theirs));
    }
    assert_eq!(ours.len(), theirs.len());
    // It is about something: these are the cookies of the second request.
    assert!(ours[1].2.contains("plain=1") && !ours[1].2.contains("foreign"), "{:?}", ours[1]);
}
