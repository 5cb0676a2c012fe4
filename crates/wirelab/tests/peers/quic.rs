//! QUIC and HTTP/3 proven by stacks that we did not write: aioquic and ngtcp2, each as client and as server, over a TAP.

use std::path::PathBuf;

use apps::{Cx, Lines};
use serde_json::{Value, json};

use crate::able;
use crate::http::{KERNEL, STACK, env, read, serve, wire};
use crate::lab::{Bench, Path};
use crate::programs::{Files, Running, has, run, wait_for_udp};

/// aioquic's Python, and a permission to make namespaces.
fn aioquic(test: &str) -> Option<PathBuf> {
    if able(test) { linux::testing::peers_python(test) } else { None }
}

fn script(name: &str) -> String {
    format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The authority, the server's certificate and its key as files.
fn pem(files: &Files) -> [String; 3] {
    let pki = env().pki;
    let shop = pki.identity("shop").expect("it is in the table");
    let ca = pki.identity("ca").expect("every scenario has it").chain_pem();
    [
        files.write("ca.pem", &ca),
        files.write("shop.pem", &shop.chain_pem()),
        files.write("shop.key", &shop.key_pem()),
    ]
}

/// aioquic asks our server; what it printed.
fn asks(bench: &Bench, python: &std::path::Path, words: &[&str]) -> Vec<Value> {
    let (_, ns) = bench.sides(Path::KernelConnects);
    let files = Files::new("aioquic");
    let [ca, ..] = pem(&files);
    let (python, script) = (python.to_str().expect("UTF-8"), script("aioquic_client.py"));
    let mut argv = vec![python, &script, STACK, "443", &ca];
    argv.extend(words);
    let out = run(ns, &argv);
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {out}"))).collect()
}

/// One of our programs on our stack: its status and what it printed.
fn ours(bench: &Bench, app: apps::Ready, name: &str) -> (i32, String) {
    let lines = Lines::default();
    let status = bench.block_on(app.run(Cx::new(env(), name, lines.clone())));
    (status, lines.all().join("\n"))
}

fn curl(bench: &Bench, words: &str) -> (i32, String) {
    let words: Vec<String> = words.split(' ').map(str::to_string).collect();
    ours(bench, (apps::command("curl").expect("it is there").read)(&words, &env()).expect("it reads"), "curl")
}

fn client(bench: &Bench, steps: &[&str]) -> (i32, String) {
    let table = json!({ "server": format!("{KERNEL}:443"), "name": "shop.example", "steps": steps });
    ours(bench, read("quic-client", &table), "quic-client")
}

#[test]
fn aioquic_gets_pages_from_our_http3_server_and_asks_again_with_early_data() {
    let test = "aioquic_gets_pages_from_our_http3_server_and_asks_again_with_early_data";
    let Some(python) = aioquic(test) else { return };
    let bench = Bench::new(&wire());
    let pages = json!({ "/": { "body": "hello\n" }, "/big": { "size": "1m" } });
    let tls = json!({ "certificate": "shop", "early_data": "once" });
    let log = serve(&bench, "http-server", &json!({ "versions": ["3"], "tls": tls, "pages": pages }));
    let said = asks(&bench, &python, &["h3", "/", "/big", "/missing", "again", "/"]);
    assert_eq!(said[0], json!({ "alpn": "h3", "resumed": false, "early": false }));
    let hello = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"; // sha256sum
    assert_eq!(said[1], json!({ "path": "/", "status": "200", "bytes": 6, "sha256": hello }));
    assert_eq!((&said[2]["status"], &said[2]["bytes"]), (&json!("200"), &json!(1 << 20)));
    assert_eq!(said[3]["status"], "404");
    assert!(said.contains(&json!({ "alpn": "h3", "resumed": true, "early": true })), "{said:?}");
    let again = said.iter().filter(|line| line["sha256"] == hello).count();
    assert_eq!(again, 2, "{said:?}");
    assert_eq!(log.all().iter().filter(|line| line.contains("GET / HTTP/3")).count(), 2, "{:?}", log.all());
}

#[test]
fn aioquic_brings_our_retry_back_updates_keys_and_changes_its_id() {
    let test = "aioquic_brings_our_retry_back_updates_keys_and_changes_its_id";
    let Some(python) = aioquic(test) else { return };
    let bench = Bench::new(&wire());
    let table = json!({ "retry": true, "tls": { "certificate": "shop" } });
    let log = serve(&bench, "quic-server", &table);
    let said = asks(&bench, &python, &["hq-interop", "/20k", "update-keys", "/3k", "change-id", "/100k"]);
    let bytes: Vec<&Value> = said.iter().filter_map(|line| line.get("bytes")).collect();
    assert_eq!(bytes, [&json!(20_000), &json!(3_000), &json!(100_000)], "{said:?}");
    assert_eq!(said[0]["alpn"], "hq-interop");
    assert!(log.all()[0].contains("Retry"), "{:?}", log.all());
}

#[test]
fn our_clients_get_from_aioquic_and_migrate() {
    let test = "our_clients_get_from_aioquic_and_migrate";
    let Some(python) = aioquic(test) else { return };
    let bench = Bench::new(&wire());
    let files = Files::new("aioquic-server");
    let [_, certificate, key] = pem(&files);
    let (ns, _) = bench.sides(Path::StackConnects);
    let script = script("aioquic_server.py");
    let argv = [python.to_str().expect("UTF-8"), &script, KERNEL, "443", &certificate, &key, "retry"];
    let _server = Running::start(ns, &argv);
    wait_for_udp(ns, 443);
    let resolve = format!("--resolve shop.example:443:{KERNEL}");
    let code = "%{http_version} %{http_code} %{size_download}";
    let words = format!(
        "curl --http3 {resolve} -o /dev/null -w {} https://shop.example/300k",
        code.replace(' ', "_")
    );
    assert_eq!(curl(&bench, &words), (0, "3_200_300000".into()));
    let steps = ["connect", "get /20k", "update-keys", "get /2k /3k", "rebind", "get /50k", "close 3 enough"];
    let (status, said) = client(&bench, &steps);
    assert_eq!(status, 0, "{said}");
    for wanted in ["20000 bytes", "2000 bytes", "3000 bytes", "50000 bytes", "goes on from"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn ngtcp2_gets_pages_from_our_server_rebinds_and_updates_keys() {
    let test = "ngtcp2_gets_pages_from_our_server_rebinds_and_updates_keys";
    if !able(test) {
        return;
    }
    if !has("gtlsclient") {
        linux::testing::skip(test, "gtlsclient (ngtcp2-client)");
        return;
    }
    let bench = Bench::new(&wire());
    let pages = json!({ "/": { "body": "hello\n" }, "/big": { "size": "1m" } });
    let table = json!({ "versions": ["3"], "tls": { "certificate": "shop" }, "pages": pages });
    let log = serve(&bench, "http-server", &table);
    let files = Files::new("ngtcp2");
    let (_, ns) = bench.sides(Path::KernelConnects);
    let download = format!("--download={}", files.path(""));
    let common = ["gtlsclient", "-q", "--exit-on-all-streams-close", "--sni=shop.example", download.as_str()];
    let get = |options: &[&str]| {
        let mut argv = common.to_vec();
        argv.extend(options);
        argv.extend([STACK, "443", "https://shop.example/big"]);
        run(ns, &argv);
        let got = std::fs::read(files.path("big")).expect("it was written");
        assert_eq!(got.len(), 1 << 20, "{options:?}");
        std::fs::remove_file(files.path("big")).expect("it is ours");
    };
    get(&[]);
    get(&["--key-update=1ms"]);
    get(&["--change-local-addr=1ms", "--nat-rebinding"]);
    assert_eq!(log.all().iter().filter(|line| line.contains("GET /big HTTP/3")).count(), 3);
}

#[test]
fn our_client_gets_pages_from_ngtcp2() {
    let test = "our_client_gets_pages_from_ngtcp2";
    if !able(test) {
        return;
    }
    if !has("gtlsserver") {
        linux::testing::skip(test, "gtlsserver (ngtcp2-server)");
        return;
    }
    let bench = Bench::new(&wire());
    let files = Files::new("ngtcp2-server");
    let [_, certificate, key] = pem(&files);
    let text = "all work and no play\n".repeat(20_000);
    files.write("page.txt", &text);
    let (ns, _) = bench.sides(Path::StackConnects);
    let root = format!("--htdocs={}", files.path(""));
    let _server = Running::start(ns, &["gtlsserver", "-q", "-V", &root, KERNEL, "443", &key, &certificate]);
    wait_for_udp(ns, 443);
    let resolve = format!("--resolve shop.example:443:{KERNEL}");
    let (status, got) = curl(&bench, &format!("curl --http3 {resolve} https://shop.example/page.txt"));
    assert_eq!((status, got.as_str()), (0, text.trim_end()));
    let code = curl(
        &bench,
        &format!("curl --http3 {resolve} -o /dev/null -w %{{http_code}} https://shop.example/gone"),
    );
    assert_eq!(code, (0, "404".into()));
}
