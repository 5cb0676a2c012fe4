//! A real browser: headless Chromium fetches a page with its objects from our server by HTTP/2 and TLS over a TAP. Debian's
//! `chromium` is large, so `.ci/install` leaves it out: `.ci/chromium` installs it.

use serde_json::json;

use crate::able;
use crate::http::{STACK, env, serve, wire};
use crate::lab::{Bench, Path};
use crate::programs::{Files, has, run, try_run};

/// The page writes what it got into itself.
const PAGE: &str = "<!doctype html><title>shop</title><link rel=stylesheet href=/shop.css><img src=/pixel.svg>\
                    <p id=out>no script</p><script src=/shop.js></script>";
const SCRIPT: &str = "fetch('/price.json').then(answer => answer.json()).then(price => {\
                      const entry = performance.getEntriesByType('navigation')[0];\
                      document.getElementById('out').textContent = `${price.cents} cents by ${entry.nextHopProtocol}`; });";

#[test]
fn chromium_fetches_a_page_from_our_server_by_http2() {
    let test = "chromium_fetches_a_page_from_our_server_by_http2";
    if !able(test) {
        return;
    }
    if !has("chromium") {
        eprintln!("SKIPPED: {test}: no chromium; `.ci/chromium` installs it");
        return;
    }
    let bench = Bench::new(&wire());
    let page = |kind: &str, body: &str| json!({ "type": kind, "body": body });
    let log = serve(
        &bench,
        "http-server",
        &json!({ "tls": { "certificate": "shop" }, "pages": {
            "/": page("text/html", PAGE),
            "/shop.css": page("text/css", "p { color: green }"),
            "/shop.js": page("text/javascript", SCRIPT),
            "/pixel.svg": page("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"),
            "/price.json": page("application/json", "{ \"cents\": 1299 }"),
        } }),
    );
    let files = Files::new("chromium");
    let chain = files.write("shop.pem", &env().pki.identity("shop").expect("it is there").chain_pem());
    let (_, ns) = bench.sides(Path::KernelConnects);
    // The key that Chromium is to believe without knowing our authority.
    let key = format!(
        "openssl x509 -in {chain} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
    );
    let key = run(ns, &["sh", "-c", &key]).trim().to_string();
    let profile = format!("--user-data-dir={}", files.path("profile"));
    let believed = format!("--ignore-certificate-errors-spki-list={key}");
    let resolver = format!("--host-resolver-rules=MAP shop.example {STACK}, EXCLUDE {STACK}");
    let words = [
        "timeout",
        "120",
        "chromium",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--disable-component-update",
        "--virtual-time-budget=10000",
        &profile,
        &believed,
        &resolver,
        "--dump-dom",
        "https://shop.example/",
    ];
    let (status, dom) = try_run(ns, &words);
    assert!(dom.contains("1299 cents by h2"), "status {status}: {dom}\n{log}");
    let log = log.all();
    for path in ["/", "/shop.css", "/shop.js", "/pixel.svg", "/price.json"] {
        let line = format!("\"GET {path} HTTP/2.0\" 200 ");
        let found = log.iter().any(|entry| entry.contains(&line) && entry.contains("Chrome"));
        assert!(found, "no {line} of Chromium in {log:?}");
    }
}
