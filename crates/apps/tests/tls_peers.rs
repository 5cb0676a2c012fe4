//! TLS against what we did not write: `openssl s_client` and curl reach our server, our client reaches `openssl s_server`, over the
//! machine's own sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apps::pki::{Certificate, KeyWord, KindWord, OcspWord, Pki};
use apps::{Cx, Env, Lines};
use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a test cannot run it says so; in CI it fails.
fn has(tool: &str, test: &str) -> bool {
    let there =
        Command::new(tool).arg(if tool == "openssl" { "version" } else { "--version" }).output().is_ok();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "CI has {tool}");
        println!("SKIPPED: {test}: no {tool}");
    }
    there
}

fn wait_for(lines: &Lines, text: &str) {
    let start = Instant::now();
    while !lines.to_string().contains(text) {
        assert!(start.elapsed() < PATIENCE, "no `{text}` in:\n{lines}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder with our certificates as PEM files.
struct Files {
    directory: PathBuf,
    pki: Arc<Pki>,
}

impl Files {
    fn new(test: &str) -> Files {
        let named = |name: &str, key| Certificate { names: vec![name.into()], key, ..Certificate::default() };
        let middle = Certificate {
            kind: KindWord::Ca,
            issuer: Some("ca".into()),
            ..named("Lab Intermediate CA", KeyWord::Ed25519)
        };
        let shop = |key| Certificate {
            issuer: Some("middle".into()),
            ocsp: OcspWord::Good,
            ..named("shop.example", key)
        };
        let tables = [
            ("middle", middle),
            ("ed25519", shop(KeyWord::Ed25519)),
            ("p256", shop(KeyWord::P256)),
            ("rsa", shop(KeyWord::Rsa2048)),
            ("expired", Certificate { expired: true, ..named("shop.example", KeyWord::P256) }),
            ("alice", Certificate { kind: KindWord::Client, ..named("alice", KeyWord::P256) }),
        ];
        let tables = tables.into_iter().map(|(name, table)| (name.to_string(), table)).collect();
        let pki = Arc::new(Pki::new(&tables).expect("they are right"));
        let directory = std::env::temp_dir().join(format!("wirelab-tls-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a folder");
        for name in pki.names() {
            let identity = pki.identity(name).expect("it is there");
            std::fs::write(directory.join(format!("{name}.pem")), identity.chain_pem()).expect("writable");
            std::fs::write(directory.join(format!("{name}.key")), identity.key_pem()).expect("writable");
        }
        Files { directory, pki }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("UTF-8").into()
    }

    /// Starts a program of ours on the machine's sockets, on a thread of its own; its status comes when it ends.
    fn start(&self, app: &str, with: Value) -> (Lines, std::thread::JoinHandle<i32>) {
        let env = Env { pki: self.pki.clone(), seed: 1, ..Env::default() };
        let Value::Object(with) = with else { panic!("a table") };
        let ready = (apps::kind(app).expect("a known program").read)(&with, &env).expect("it is right");
        let lines = Lines::default();
        let cx = Cx::new(env, app, lines.clone());
        let running = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(ready.run(cx))
        });
        (lines, running)
    }

    /// One of our servers, as soon as it listens. It ends with the test's process.
    fn serve(&self, app: &str, with: impl Fn(u16) -> Value) -> (u16, Lines) {
        let port = free_port();
        let (lines, _) = self.start(app, with(port));
        wait_for_port(port);
        (port, lines)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has one").port()
}

fn wait_for_port(port: u16) {
    let start = Instant::now();
    while std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
        assert!(start.elapsed() < PATIENCE, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `openssl s_client` says hello, waits for `answer` and says goodbye: all that it printed.
fn s_client(port: u16, args: &[&str], answer: &str) -> String {
    let child = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "shop.example"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Running(child.expect("openssl runs"));
    let mut input = child.0.stdin.take().expect("piped");
    let mut output = BufReader::new(child.0.stdout.take().expect("piped"));
    // The line goes in only now or it would be read before the handshake and taken for a command; both are fine here.
    let _ = input.write_all(b"hello\n");
    let mut said = String::new();
    while !said.contains(answer) {
        let mut line = String::new();
        if output.read_line(&mut line).expect("text") == 0 {
            return said;
        }
        said += &line;
    }
    drop(input);
    let _ = output.read_to_string(&mut said);
    said
}

#[test]
fn openssl_s_client_speaks_to_our_server_in_every_version_and_with_every_key() {
    if !has("openssl", "s_client") {
        return;
    }
    let files = Files::new("s-client");
    let ca = files.path("ca.pem");
    let check = ["-CAfile", &ca, "-verify_return_error", "-verify_hostname", "shop.example", "-status"];
    for key in ["ed25519", "p256", "rsa"] {
        let (port, lines) = files.serve(
            "tls-server",
            |port| json!({ "port": port, "reply": "world", "tls": { "certificate": key } }),
        );
        for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let said = s_client(port, &[&check[..], &[flag]].concat(), "world");
            for wanted in ["Verify return code: 0 (ok)", "Cert Status: good", "world", version] {
                assert!(said.contains(wanted), "{key} {version}: no `{wanted}` in\n{said}\n{}", lines);
            }
        }
        wait_for(&lines, "TLSv1.3 TLS_AES_256_GCM_SHA384 X25519 for shop.example");
    }
}

#[test]
fn openssl_resumes_and_sends_early_data_which_our_server_takes_once() {
    if !has("openssl", "early data") {
        return;
    }
    let files = Files::new("early");
    let (ca, session, early) = (files.path("ca.pem"), files.path("session"), files.path("early"));
    std::fs::write(&early, "hurry\n").expect("writable");
    let (port, lines) = files.serve("tls-server", |port| {
        json!({ "port": port, "reply": "world", "tls": { "certificate": "p256", "early_data": "once" } })
    });
    let check = ["-CAfile", &ca, "-verify_return_error", "-tls1_3"];
    let first = s_client(port, &[&check[..], &["-sess_out", &session]].concat(), "world");
    assert!(first.contains("New, TLSv1.3"), "{first}");
    for (round, verdict) in [("first", "Early data was accepted"), ("second", "Early data was rejected")] {
        let again =
            s_client(port, &[&check[..], &["-sess_in", &session, "-early_data", &early]].concat(), "world");
        assert!(again.contains(verdict), "the {round} time: {again}\n{}", lines);
    }
    wait_for(&lines, "received \"hurry\" as early data");
    assert_eq!(lines.to_string().matches("\"hurry\"").count(), 1, "{}", lines);
}

#[test]
fn openssl_shows_a_client_certificate_to_our_server_or_is_refused() {
    if !has("openssl", "client certificates") {
        return;
    }
    let files = Files::new("mutual");
    let (ca, alice, key) = (files.path("ca.pem"), files.path("alice.pem"), files.path("alice.key"));
    let (port, lines) = files.serve("tls-server", |port| {
        json!({ "port": port, "reply": "world", "tls": { "certificate": "p256", "client_auth": "require" } })
    });
    let said = s_client(port, &["-CAfile", &ca, "-cert", &alice, "-key", &key], "world");
    assert!(said.contains("world"), "{said}");
    wait_for(&lines, "with CN = alice");
    let said = s_client(port, &["-CAfile", &ca], "world");
    assert!(!said.contains("world"), "{said}");
    wait_for(&lines, "the client showed no certificate (alert sent: certificate_required)");
}

#[test]
fn our_client_speaks_to_openssl_s_server() {
    if !has("openssl", "s_server") {
        return;
    }
    let files = Files::new("s-server");
    for (key, version, works) in [
        ("ed25519", "1.3", true),
        ("p256", "1.2", true),
        ("rsa", "1.2", true),
        ("rsa", "1.3", true),
        ("expired", "1.3", false),
    ] {
        let port = free_port();
        let child = Command::new("openssl")
            .args(["s_server", "-rev", "-accept", &port.to_string()])
            .args(["-cert", &files.path(&format!("{key}.pem")), "-key", &files.path(&format!("{key}.key"))])
            .args(["-cert_chain", &files.path(&format!("{key}.pem"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let _server = Running(child.expect("openssl runs"));
        wait_for_port(port);
        let with = json!({
            "to": format!("127.0.0.1:{port}"), "name": "shop.example", "times": if works { 2 } else { 1 },
            "tls": { "versions": [version], "staple": "check" },
        });
        let (lines, running) = files.start("tls-client", with);
        let status = running.join().expect("no panic");
        let said = lines.to_string();
        if works {
            assert_eq!(status, 0, "{key} {version}: {said}");
            assert_eq!(said.matches("\"olleh\" after").count(), 2, "{said}");
            assert_eq!(said.matches(" resumed").count(), 1, "{said}");
        } else {
            assert_eq!(status, 1, "{said}");
            assert!(said.contains("the certificate has expired (alert sent: certificate_expired)"), "{said}");
        }
    }
}

#[test]
fn curl_gets_a_page_over_our_tls_by_http_1_and_2() {
    if !has("curl", "https") {
        return;
    }
    let files = Files::new("curl");
    let (port, lines) = files.serve("http-server", |port| {
        json!({
            "port": port, "tls": { "certificate": "p256", "alpn": ["h2", "http/1.1"] },
            "pages": { "/": { "body": "a page over TLS" } },
        })
    });
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let out = Command::new("curl")
            .args([
                "-sS",
                "--fail",
                "--noproxy",
                "*",
                "--max-time",
                "30",
                "--cacert",
                &files.path("ca.pem"),
                flag,
            ])
            .args(["--resolve", &format!("shop.example:{port}:127.0.0.1"), "-w", " by %{http_version}"])
            .arg(format!("https://shop.example:{port}/"))
            .output()
            .expect("curl runs");
        let said = String::from_utf8_lossy(&out.stdout);
        let why = String::from_utf8_lossy(&out.stderr);
        assert_eq!(said, format!("a page over TLS by {version}"), "{why}\n{}", lines);
    }
    // Another name than the certificate's.
    let out = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--max-time", "30", "--cacert", &files.path("ca.pem")])
        .args(["--resolve", &format!("bank.example:{port}:127.0.0.1")])
        .arg(format!("https://bank.example:{port}/"))
        .output()
        .expect("curl runs");
    assert_eq!(out.status.code(), Some(60), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_primer_tells_speeds_where_time_is_real() {
    let files = Files::new("primer");
    let (lines, running) = files.start("crypto-primer", json!({}));
    assert_eq!(running.join().expect("no panic"), 0, "{}", lines);
    println!("{}", lines);
    for wanted in ["SHA-256: ", " MiB/s", "signatures/s", "checks/s"] {
        assert!(lines.to_string().contains(wanted), "no `{wanted}` in {}", lines);
    }
}
