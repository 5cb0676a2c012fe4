//! HTTP proven by programs that we did not write: curl, nghttp, h2load and h2spec reach our server over a TAP, our client
//! reaches nginx, and nginx and our proxy log the same for the same script.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apps::{Cx, Env, Lines, Ready};
use serde_json::{Value, json};

use crate::able;
use crate::lab::{Bench, Path, Wire};
use crate::programs::{Files, Nginx, has, run, try_run};

pub(crate) const KERNEL: &str = "198.51.100.1";
pub(crate) const STACK: &str = "198.51.100.2";

pub(crate) fn wire() -> Wire {
    Wire { name: "clean", impairment: sim::Impairment::default(), mib: 0, cc: "cubic" }
}

pub(crate) fn env() -> Env {
    let ip = |text: &str| vec![text.parse().expect("an address")];
    let certificates: indexmap::IndexMap<String, apps::pki::Certificate> =
        serde_json::from_value(json!({ "shop": { "names": ["shop.example"], "key": "p256" } }))
            .expect("a table");
    Env {
        host: "stack".into(),
        hosts: BTreeMap::from([("kernel".into(), ip(KERNEL)), ("stack".into(), ip(STACK))]),
        seed: 1,
        pki: Arc::new(apps::pki::Pki::new(&certificates).expect("it is in order")),
    }
}

pub(crate) fn read(kind: &str, table: &Value) -> Ready {
    let Value::Object(table) = table else { unreachable!("tables are objects") };
    (apps::kind(kind).expect("a kind").read)(table, &env()).expect("a good table")
}

/// Starts an app on our stack.
pub(crate) fn serve(bench: &Bench, kind: &str, table: &Value) -> Lines {
    let lines = Lines::default();
    let cx = Cx::new(env(), kind, lines.clone());
    let app = read(kind, table);
    bench.start(async move {
        assert_eq!(app.run(cx).await, 0, "a service goes on");
    });
    lines
}

fn pages() -> Value {
    json!({
        "/": { "body": "hello from the lab\n", "push": ["/style.css"] },
        "/style.css": { "body": "body {}\n" },
        "/big": { "size": "1m" },
        "/form": { "handler": "form" },
        "/echo": { "handler": "echo" },
        "/chunked": { "size": "100k", "chunk": "10k" },
        "/text": { "body": "again and ", "repeat": 5000 },
    })
}

#[test]
fn curl_gets_every_kind_of_answer_from_our_server_over_a_tap() {
    if !able("curl_gets_every_kind_of_answer_from_our_server_over_a_tap") {
        return;
    }
    let bench = Bench::new(&wire());
    let plain = serve(&bench, "http-server", &json!({ "pages": pages(), "compress": ["br", "gzip"] }));
    serve(&bench, "http-server", &json!({ "tls": { "certificate": "shop" }, "pages": pages() }));
    let files = Files::new("http");
    let ca = env().pki.identity("ca").expect("every scenario has it").chain_pem();
    let ca = files.write("ca.pem", &ca);
    let (_, ns) = bench.sides(Path::KernelConnects);
    let curl = |words: &[&str]| {
        let mut argv = vec!["curl", "-sS", "-m", "20"];
        argv.extend(words);
        run(ns, &argv)
    };
    let url = |path: &str| format!("http://{STACK}{path}");
    let code = "%{http_code} %{http_version} %{size_download}";
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(curl(&[version, &url("/")]), "hello from the lab\n", "{version}");
        assert!(
            curl(&[version, "-o", "/dev/null", "-w", code, &url("/big")]).ends_with(" 1048576"),
            "{version}"
        );
        assert!(
            curl(&[version, "-o", "/dev/null", "-w", code, &url("/chunked")]).ends_with(" 102400"),
            "{version}"
        );
        assert_eq!(curl(&[version, "-d", "a=1&b=x+y", &url("/form")]), "a = 1\nb = x y\n", "{version}");
        assert_eq!(curl(&[version, "-r", "0-4", &url("/")]), "hello", "{version}");
        assert_eq!(curl(&[version, "--compressed", &url("/text")]), "again and ".repeat(5000), "{version}");
        assert!(
            curl(&[version, "-I", &url("/big")]).to_lowercase().contains("content-length: 1048576"),
            "{version}"
        );
    }
    let tag = curl(&["-I", &url("/")])
        .lines()
        .find_map(|line| Some(line.strip_prefix("Etag: ")?.trim().to_string()));
    let known = format!("If-None-Match: {}", tag.expect("pages have tags"));
    assert_eq!(curl(&["-o", "/dev/null", "-w", code, "-H", &known, &url("/")]), "304 1.1 0");
    // Two mebibytes are more than the server takes; curl waits for a 100 and gets a 413.
    let large = files.path("large");
    files.random("large", 2 << 20);
    let upload = format!("@{large}");
    let refused = curl(&["-o", "/dev/null", "-w", "%{http_code}", "--data-binary", &upload, &url("/echo")]);
    assert_eq!(refused, "413");
    let shop = ["--cacert", &ca, "--resolve", &format!("shop.example:443:{STACK}"), "-w", " %{http_version}"];
    for (version, number) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let words = [&shop[..], &[version, "https://shop.example/"]].concat();
        assert_eq!(curl(&words), format!("hello from the lab\n {number}"));
    }
    let line = &plain.all()[0];
    assert!(line.contains("\"GET / HTTP/1.0\" 200 19 \"-\" \"curl/"), "{line}");
    drop(bench);
}

#[test]
fn nghttp_h2load_and_h2spec_are_content_with_our_http2() {
    if !able("nghttp_h2load_and_h2spec_are_content_with_our_http2") {
        return;
    }
    let bench = Bench::new(&wire());
    let table = json!({ "pages": pages(), "access_log": "off", "keepalive_requests": 100_000, "keepalive_timeout": "5s" });
    serve(&bench, "http-server", &table);
    // Where HTTP/1 is spoken as well, a wrong preface is a bad request and no error of HTTP/2.
    serve(
        &bench,
        "http-server",
        &json!({ "port": 8081, "versions": ["2"], "pages": pages(), "access_log": "off" }),
    );
    let (_, ns) = bench.sides(Path::KernelConnects);
    let url = format!("http://{STACK}/");
    let frames = run(ns, &["nghttp", "-v", &url]);
    for part in
        ["recv SETTINGS frame", ":status: 200", "recv PUSH_PROMISE frame", "hello from the lab", "body {}"]
    {
        assert!(frames.contains(part), "{part}: {frames}");
    }
    for words in [["-n", "2000", "-c", "4", "-m", "32"], ["-n", "40", "-c", "1", "-m", "10"]] {
        let target = if words[1] == "40" { format!("http://{STACK}/big") } else { url.clone() };
        let mut argv = vec!["h2load"];
        argv.extend(words);
        argv.push(&target);
        let report = run(ns, &argv);
        let wanted = format!("{} succeeded, 0 failed, 0 errored, 0 timeout", words[1]);
        assert!(report.contains(&wanted), "{report}");
    }
    let spec = std::env::var("H2SPEC").unwrap_or_else(|_| "h2spec".into());
    if !has(&spec) {
        // No registry has it; CONTRIBUTING.md says how to build it.
        eprintln!("SKIPPED: h2spec is not there");
        return;
    }
    let (_, report) = try_run(ns, &[&spec, "-h", STACK, "-p", "8081", "-o", "4"]);
    eprintln!("{}", report.lines().rev().take(3).collect::<Vec<_>>().join("\n"));
    assert!(report.contains(", 0 failed"), "{report}");
}

#[test]
fn our_client_gets_from_nginx_what_curl_gets() {
    if !able("our_client_gets_from_nginx_what_curl_gets") {
        return;
    }
    let bench = Bench::new(&wire());
    let files = Files::new("nginx");
    let text = "all work and no play\n".repeat(20_000);
    files.write("page.txt", &text);
    let (server, _) = bench.sides(Path::StackConnects);
    let _nginx = Nginx::start(server, &files, 80);
    let curl = |words: &str| {
        let words: Vec<String> = words.split(' ').map(str::to_string).collect();
        let app = (apps::command("curl").expect("it is there").read)(&words, &env()).expect("a good command");
        let lines = Lines::default();
        let cx = Cx::new(env(), "curl", lines.clone());
        let status = bench.block_on(app.run(cx));
        (status, lines.to_string())
    };
    assert_eq!(curl(&format!("curl http://{KERNEL}/page.txt")), (0, text.trim_end().to_string()));
    assert_eq!(curl(&format!("curl -r 0-7 http://{KERNEL}/page.txt")), (0, "all work".into()));
    let (status, head) = curl(&format!("curl -I http://{KERNEL}/page.txt"));
    assert_eq!(status, 0);
    let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("nginx has tags");
    let not_modified =
        curl(&format!("curl -o - -w %{{http_code}} -H If-None-Match:{tag} http://{KERNEL}/page.txt"));
    assert_eq!(not_modified, (0, "304".into()));
    let several = format!(
        "curl -w %{{num_connects}}\\n -o /dev/null http://{KERNEL}/page.txt http://{KERNEL}/page.txt"
    );
    assert_eq!(curl(&several).1, "1\n0", "the connection is kept");
    assert_eq!(curl(&format!("curl -f http://{KERNEL}/missing")).0, 22);
    assert_eq!(curl(&format!("curl http://{KERNEL}:81/")).0, 7);
}

/// What both proxies are asked: a page, one that is slow for an impatient client, one that is too slow for the proxy, and
/// a server that is not there.
fn script(ns: &linux::Netns, proxy: &str) {
    for (words, code) in [
        (vec!["-m", "5", "/"], 0),
        (vec!["-m", "0.5", "/slow"], 28),
        (vec!["-m", "9", "/slow"], 0),
        (vec!["-m", "5", "/gone/"], 0),
        (vec!["-m", "5", "-d", "a=1", "/form"], 0),
        (vec!["-m", "9", "-d", "a=1", "/slow"], 0),
    ] {
        let (path, options) = words.split_last().expect("a path");
        let url = format!("http://{proxy}{path}");
        let mut argv = vec!["curl", "-sS", "-o", "/dev/null"];
        argv.extend(options);
        argv.push(&url);
        let (status, text) = try_run(ns, &argv);
        assert_eq!(status, code, "{words:?}: {text}");
    }
}

/// Request, status, and the bytes when it is a page.
fn essence(log: &str) -> Vec<String> {
    let of = |line: &str| {
        let mut parts = line.split('"');
        let request = parts.nth(1)?;
        let mut numbers = parts.next()?.split_whitespace();
        let (status, bytes) = (numbers.next()?, numbers.next()?);
        let bytes = if matches!(status, "200" | "499") { bytes } else { "…" };
        Some(format!("{request} {status} {bytes}"))
    };
    log.lines().filter(|line| !line.starts_with("[error]")).filter_map(of).collect()
}

#[test]
fn nginx_and_our_proxy_log_the_same_for_the_same_script() {
    if !able("nginx_and_our_proxy_log_the_same_for_the_same_script") {
        return;
    }
    let bench = Bench::new(&wire());
    let upstream = json!({ "port": 8080, "access_log": "off", "pages": {
        "/": { "body": "page" }, "/form": { "handler": "form" }, "/slow": { "delay": "2s", "body": "late", "methods": ["GET", "POST"] },
    } });
    serve(&bench, "http-server", &upstream);
    let (_, ns) = bench.sides(Path::KernelConnects);
    let files = Files::new("proxy");
    let here = |name: &str| files.path(name);
    let config = files.write(
        "proxy.conf",
        &format!(
            "daemon off; master_process off; pid {}; error_log stderr;\nevents {{ }}\nhttp {{ access_log {};\n\
             client_body_temp_path {}; proxy_temp_path {}; fastcgi_temp_path {}; uwsgi_temp_path {}; scgi_temp_path {};\n\
             server {{ listen 80; proxy_read_timeout 1s; location / {{ proxy_pass http://{STACK}:8080; }}\n\
             location /gone/ {{ proxy_pass http://{STACK}:9; }} }} }}\n",
            here("nginx.pid"), here("access.log"), here("t1"), here("t2"), here("t3"), here("t4"), here("t5"),
        ),
    );
    let nginx = Nginx::with_config(ns, &config, 80);
    script(ns, KERNEL);
    drop(nginx);
    let theirs = std::fs::read_to_string(files.path("access.log")).expect("nginx logged");
    // One location is one proxy here.
    let ours = serve(
        &bench,
        "http-proxy",
        &json!({ "upstream": [format!("{STACK}:8080")], "proxy_read_timeout": "1s",
        "locations": { "/gone/": [format!("{STACK}:9")] } }),
    );
    std::thread::sleep(Duration::from_millis(200));
    script(ns, STACK);
    std::thread::sleep(Duration::from_millis(200));
    let ours = essence(&ours.all().join("\n"));
    assert_eq!(ours, essence(&theirs));
    assert_eq!(ours[1], "GET /slow HTTP/1.1 499 0");
    assert!(ours[2].starts_with("GET /slow HTTP/1.1 504"), "{ours:?}");
    assert!(ours[3].starts_with("GET /gone/ HTTP/1.1 502"), "{ours:?}");
}
