//! TLS over the lab's TCP: how many round trips each kind of handshake takes, and what each failure says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apps::pki::{Certificate, KeyWord, KindWord, OcspWord, Pki};
use apps::tls::{ClientAuth, StapleWord, Verify};
use apps::tls::{
    ClientOptions, ClientTls, EarlyData, EarlyStatus, ServerOptions, ServerTls, Session, TlsError,
    VersionWord,
};
use net::{Lab, LabConfig, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One way.
const DELAY: Duration = Duration::from_millis(10);

fn pki(tables: &[(&str, Certificate)]) -> Arc<Pki> {
    let tables = tables.iter().map(|(name, table)| ((*name).to_string(), table.clone())).collect();
    Arc::new(Pki::new(&tables).expect("these tables are right"))
}

fn shop() -> Certificate {
    Certificate { names: vec!["shop.example".into(), "*.shop.example".into()], ..Certificate::default() }
}

fn server_options() -> ServerOptions {
    ServerOptions { certificate: "shop".into(), ..ServerOptions::default() }
}

/// What one connection saw.
#[derive(Debug)]
struct Visit {
    /// When the first byte of the answer came, in round trips after TCP's handshake.
    round_trips: u64,
    client: Session,
}

/// A client asks "hello" `visits` times, one connection each; the server answers "world" to each. The server's errors come back too.
fn visit(
    pki: &Arc<Pki>,
    client: &ClientOptions,
    server: &ServerOptions,
    name: &'static str,
    visits: usize,
) -> (Vec<Result<Visit, TlsError>>, Vec<TlsError>) {
    let mut lab = Lab::new(LabConfig::default());
    let [client_host, server_host] = lab.pair(DELAY);
    let server_tls = ServerTls::new(server, pki, None).expect("a server");
    let client_tls = ClientTls::new(client, pki, None).expect("a client");
    let errors = Arc::new(Mutex::new(Vec::new()));
    let told = errors.clone();
    lab.start(&server_host, async move {
        let listener = TcpListener::bind("0.0.0.0:443").await.expect("the port is free");
        loop {
            let (tcp, _) = listener.accept().await.expect("a connection");
            // As nginx and curl do: Nagle's algorithm would hold the byte behind the handshake's last flight.
            tcp.set_nodelay(true).expect("a TCP socket");
            let (tls, told) = (server_tls.clone(), told.clone());
            net::spawn(async move {
                if let Err(error) = serve(tcp, &tls).await {
                    told.lock().expect("no panic").push(error);
                }
            });
        }
    });
    let results = lab.run(client_host.scope(async move {
        let mut results = Vec::new();
        for _ in 0..visits {
            let tcp = TcpStream::connect("server:443").await.expect("TCP");
            tcp.set_nodelay(true).expect("a TCP socket");
            results.push(ask(tcp, &client_tls, name).await);
            // The server's goodbye and its tickets arrive.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        results
    }));
    let errors = errors.lock().expect("no panic").clone();
    (results, errors)
}

async fn serve(tcp: TcpStream, tls: &ServerTls) -> Result<(), TlsError> {
    let mut stream = apps::tls::accept(tcp, tls).await?;
    let mut text = [0; 5];
    stream.read_exact(&mut text).await?;
    assert_eq!(&text, b"hello");
    stream.write_all(b"world").await?;
    stream.flush().await?;
    // Until the client has closed.
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn ask(tcp: TcpStream, tls: &ClientTls, name: &str) -> Result<Visit, TlsError> {
    let start = tokio::time::Instant::now();
    let mut stream = apps::tls::connect(tcp, tls, name).await?;
    stream.write_all(b"hello").await?;
    stream.flush().await?;
    let mut text = [0; 5];
    stream.read_exact(&mut text).await?;
    let taken = start.elapsed();
    assert_eq!(&text, b"world");
    let client = stream.session().clone();
    stream.shutdown().await?;
    let round_trip = (2 * DELAY).as_nanos();
    assert_eq!(taken.as_nanos() % round_trip, 0, "{taken:?} is no number of round trips");
    Ok(Visit { round_trips: u64::try_from(taken.as_nanos() / round_trip).expect("few"), client })
}

fn one(result: (Vec<Result<Visit, TlsError>>, Vec<TlsError>)) -> Visit {
    assert_eq!(result.1, [], "the server is content");
    result.0.into_iter().next().expect("one visit").expect("it works")
}

#[test]
fn tls13_takes_one_round_trip_and_tls12_two_before_the_request() {
    let pki = pki(&[("shop", shop())]);
    for (version, name, trips) in [(VersionWord::Tls13, "TLSv1.3", 2), (VersionWord::Tls12, "TLSv1.2", 3)] {
        let client = ClientOptions { versions: vec![version], ..ClientOptions::default() };
        let seen = one(visit(&pki, &client, &server_options(), "shop.example", 1));
        assert_eq!((seen.client.version, seen.round_trips), (name, trips));
        assert_eq!(seen.client.group, Some("X25519"));
    }
}

#[test]
fn tls12_resumption_saves_a_round_trip_and_tls13s_does_not() {
    let pki = pki(&[("shop", shop())]);
    for (version, trips) in [(VersionWord::Tls13, [2, 2]), (VersionWord::Tls12, [3, 2])] {
        let client = ClientOptions { versions: vec![version], ..ClientOptions::default() };
        let (visits, errors) = visit(&pki, &client, &server_options(), "shop.example", 2);
        assert_eq!(errors, []);
        let visits: Vec<Visit> = visits.into_iter().map(|visit| visit.expect("it works")).collect();
        assert_eq!(visits.iter().map(|visit| visit.client.resumed).collect::<Vec<_>>(), [false, true]);
        assert_eq!(visits.iter().map(|visit| visit.round_trips).collect::<Vec<_>>(), trips);
    }
}

#[test]
fn early_data_is_answered_in_one_round_trip() {
    let pki = pki(&[("shop", shop())]);
    let client = ClientOptions { early_data: true, ..ClientOptions::default() };
    for guard in [EarlyData::Once, EarlyData::Replayable] {
        let server = ServerOptions { early_data: guard, ..server_options() };
        let (visits, errors) = visit(&pki, &client, &server, "shop.example", 3);
        assert_eq!(errors, []);
        let visits: Vec<Visit> = visits.into_iter().map(|visit| visit.expect("it works")).collect();
        let early: Vec<_> = visits.iter().map(|visit| visit.client.early_data).collect();
        assert_eq!(early, [EarlyStatus::NotSent, EarlyStatus::Accepted, EarlyStatus::Accepted]);
        assert_eq!(visits.iter().map(|visit| visit.round_trips).collect::<Vec<_>>(), [2, 1, 1]);
    }
}

/// What the client's error is, and the server's.
fn refused(
    tables: &[(&str, Certificate)],
    client: &ClientOptions,
    server: &ServerOptions,
    name: &'static str,
) -> (String, String) {
    let (visits, errors) = visit(&pki(tables), client, server, name, 1);
    let client = visits.into_iter().next().expect("one visit").expect_err("it must not work");
    (client.to_string(), errors.first().map(ToString::to_string).unwrap_or_default())
}

#[test]
fn each_fault_of_a_certificate_has_its_alert() {
    let strange = || {
        (
            "strange",
            Certificate { names: vec!["Strange CA".into()], kind: KindWord::Ca, ..Certificate::default() },
        )
    };
    let client = ClientOptions::default();
    let staple = ClientOptions { staple: StapleWord::Require, ..ClientOptions::default() };
    let pinned = ClientOptions { pin: vec!["other".into()], ..ClientOptions::default() };
    let expired = Certificate { expired: true, ..shop() };
    let future = Certificate { not_before: Some("2035-01-01".into()), ..shop() };
    let unknown = Certificate { issuer: Some("strange".into()), ..shop() };
    let self_signed = Certificate { self_signed: true, ..shop() };
    let revoked = Certificate { ocsp: OcspWord::Revoked, ..shop() };
    let purpose = Certificate { kind: KindWord::Client, ..shop() };
    let cases: [(Certificate, &ClientOptions, &'static str, &str, &str); 10] = [
        (expired, &client, "shop.example", "the certificate has expired", "certificate_expired"),
        (future, &client, "shop.example", "the certificate is not valid yet", "certificate_expired"),
        (
            shop(),
            &client,
            "bank.example",
            "the certificate is not for bank.example but for shop.example, *.shop.example",
            "bad_certificate",
        ),
        (
            shop(),
            &client,
            "a.b.shop.example",
            "the certificate is not for a.b.shop.example but for shop.example, *.shop.example",
            "bad_certificate",
        ),
        (unknown, &client, "shop.example", "the certificate's issuer is not trusted", "unknown_ca"),
        (self_signed, &client, "shop.example", "the certificate's issuer is not trusted", "unknown_ca"),
        (revoked, &client, "shop.example", "the certificate is revoked", "certificate_revoked"),
        (shop(), &staple, "shop.example", "the server staples no OCSP answer", "unknown_ca"),
        (
            shop(),
            &pinned,
            "shop.example",
            "the certificate's key is not the one that is pinned",
            "access_denied",
        ),
        (
            purpose,
            &client,
            "shop.example",
            "the certificate is not for this purpose",
            "unsupported_certificate",
        ),
    ];
    for (table, client, name, message, alert) in cases {
        let tables = [("shop", table), ("other", shop()), strange()];
        let (here, there) = refused(&tables, client, &server_options(), name);
        assert_eq!(here, format!("{message} (alert sent: {alert})"));
        assert_eq!(there, format!("the peer refused (alert received: {alert})"));
    }
}

#[test]
fn what_a_client_trusts_works() {
    let middle = || {
        (
            "middle",
            Certificate {
                names: vec!["Lab Intermediate".into()],
                kind: KindWord::Ca,
                issuer: Some("ca".into()),
                ..Certificate::default()
            },
        )
    };
    let client = ClientOptions::default();
    let itself = ClientOptions { trust: vec!["shop".into()], ..ClientOptions::default() };
    let pinned =
        ClientOptions { pin: vec!["shop".into()], staple: StapleWord::Require, ..ClientOptions::default() };
    let off = ClientOptions { verify: Verify::Off, trust: Vec::new(), ..ClientOptions::default() };
    let chain = Certificate { issuer: Some("middle".into()), ..shop() };
    let cases: [(Certificate, &ClientOptions, &'static str, usize); 7] = [
        (shop(), &client, "www.shop.example", 1),
        (Certificate { names: vec!["192.0.2.2".into()], ..shop() }, &client, "192.0.2.2", 1),
        (chain, &client, "shop.example", 2),
        (Certificate { self_signed: true, ..shop() }, &itself, "shop.example", 1),
        (Certificate { ocsp: OcspWord::Good, ..shop() }, &pinned, "shop.example", 1),
        (Certificate { self_signed: true, expired: true, ..shop() }, &off, "bank.example", 1),
        (Certificate { key: KeyWord::Rsa2048, kind: KindWord::Ev, ..shop() }, &client, "shop.example", 1),
    ];
    for (table, client, name, length) in cases {
        let seen = one(visit(&pki(&[("shop", table), middle()]), client, &server_options(), name, 1));
        assert_eq!(seen.client.peer_chain.len(), length);
    }
}

#[test]
fn a_server_that_wants_a_certificate_gets_one_or_refuses() {
    let tables = [
        ("shop", shop()),
        (
            "alice",
            Certificate { names: vec!["alice".into()], kind: KindWord::Client, ..Certificate::default() },
        ),
    ];
    let server = ServerOptions { client_auth: ClientAuth::Require, ..server_options() };
    let alice = ClientOptions { certificate: Some("alice".into()), ..ClientOptions::default() };
    one(visit(&pki(&tables), &alice, &server, "shop.example", 1));
    let (here, there) = refused(&tables, &ClientOptions::default(), &server, "shop.example");
    assert_eq!(here, "the peer refused (alert received: certificate_required)");
    assert_eq!(there, "the client showed no certificate (alert sent: certificate_required)");
}

#[test]
fn nothing_in_common_is_said() {
    let client = ClientOptions { versions: vec![VersionWord::Tls12], ..ClientOptions::default() };
    let server = ServerOptions { versions: vec![VersionWord::Tls13], ..server_options() };
    let (here, _) = refused(&[("shop", shop())], &client, &server, "shop.example");
    assert_eq!(here, "the peer refused (alert received: protocol_version)");
    let client = ClientOptions { alpn: vec!["h2".into()], ..ClientOptions::default() };
    let server = ServerOptions { alpn: vec!["http/1.1".into()], ..server_options() };
    let (here, _) = refused(&[("shop", shop())], &client, &server, "shop.example");
    assert_eq!(here, "the peer refused (alert received: no_application_protocol)");
}

/// What a TLS server answers to bytes that are none of TLS.
fn answer_to(bytes: Vec<u8>) -> (Vec<u8>, String) {
    let pki = pki(&[("shop", shop())]);
    let mut lab = Lab::new(LabConfig::default());
    let [client, server] = lab.pair(DELAY);
    let tls = ServerTls::new(&server_options(), &pki, None).expect("a server");
    let error = Arc::new(Mutex::new(String::new()));
    let told = error.clone();
    lab.start(&server, async move {
        let listener = TcpListener::bind("0.0.0.0:443").await.expect("the port is free");
        let (tcp, _) = listener.accept().await.expect("a connection");
        let failure = serve(tcp, &tls).await.expect_err("this is no TLS");
        *told.lock().expect("no panic") = failure.to_string();
    });
    let answer = lab.run(client.scope(async move {
        let mut tcp = TcpStream::connect("server:443").await.expect("TCP");
        tcp.write_all(&bytes).await.expect("it is sent");
        tcp.shutdown().await.expect("it is over");
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer).await;
        answer
    }));
    let error = error.lock().expect("no panic").clone();
    (answer, error)
}

#[test]
fn what_is_no_tls_gets_an_alert_and_a_clear_error() {
    let hello = |length: u16, body: &[u8]| [&[22, 3, 1], &length.to_be_bytes()[..], body].concat();
    let cases: [(&str, Vec<u8>, Option<u8>, &str); 7] = [
        (
            "plain HTTP",
            b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n".to_vec(),
            Some(50),
            "what came is no TLS record",
        ),
        ("a record longer than allowed", hello(0xffff, &[0; 20_000]), Some(50), "what came is no TLS record"),
        ("an empty record", hello(0, &[]), Some(50), "what came is no TLS record"),
        (
            "a hello that says it has 16 MB",
            hello(4, &[1, 0xff, 0xff, 0xff]),
            None,
            "what came is no TLS record",
        ),
        ("a hello of zeros", hello(40, &[&[1, 0, 0, 36][..], &[0; 36]].concat()), None, ""),
        ("application data first", [&[23, 3, 3, 0, 5][..], b"hello"].concat(), Some(10), ""),
        ("half a record", hello(100, &[1, 0]), None, "the peer closed the connection in the handshake"),
    ];
    for (what, bytes, alert, message) in cases {
        let (answer, error) = answer_to(bytes);
        let sent = match answer[..] {
            [21, 3, _, 0, 2, 2, code] => Some(code),
            [] => None,
            _ => panic!("{what}: it answers {answer:?}"),
        };
        println!("{what}: {sent:?} {error}");
        assert!(!error.is_empty(), "{what}");
        if let Some(alert) = alert {
            assert_eq!(sent, Some(alert), "{what}: {error}");
        }
        assert!(error.starts_with(message), "{what}: {error}");
    }
}

#[test]
fn a_cut_connection_is_no_end() {
    // Truncation: without close_notify the end of the stream is an error (RFC 8446 §6.1).
    let pki = pki(&[("shop", shop())]);
    let mut lab = Lab::new(LabConfig::default());
    let [client, server] = lab.pair(DELAY);
    let tls = ServerTls::new(&server_options(), &pki, None).expect("a server");
    let towards = ClientTls::new(&ClientOptions::default(), &pki, None).expect("a client");
    lab.start(&server, async move {
        let listener = TcpListener::bind("0.0.0.0:443").await.expect("the port is free");
        let (tcp, _) = listener.accept().await.expect("a connection");
        let mut stream = apps::tls::accept(tcp, &tls).await.expect("TLS");
        stream.write_all(b"half").await.expect("sent");
        stream.flush().await.expect("sent");
        // Dropped: TCP says goodbye, TLS does not.
    });
    let (text, error) = lab.run(client.scope(async move {
        let tcp = TcpStream::connect("server:443").await.expect("TCP");
        let mut stream = apps::tls::connect(tcp, &towards, "shop.example").await.expect("TLS");
        let mut text = Vec::new();
        let error = stream.read_to_end(&mut text).await.expect_err("it was cut");
        (text, error)
    }));
    assert_eq!((text.as_slice(), error.kind()), (&b"half"[..], std::io::ErrorKind::UnexpectedEof));
}

#[test]
fn many_bytes_arrive_both_ways() {
    let pki = pki(&[("shop", shop())]);
    let mut lab = Lab::new(LabConfig::default());
    let [client, server] = lab.pair(DELAY);
    let tls = ServerTls::new(&server_options(), &pki, None).expect("a server");
    let towards = ClientTls::new(&ClientOptions::default(), &pki, None).expect("a client");
    lab.start(&server, async move {
        let listener = TcpListener::bind("0.0.0.0:443").await.expect("the port is free");
        let (tcp, _) = listener.accept().await.expect("a connection");
        let (mut from, mut to) = tokio::io::split(apps::tls::accept(tcp, &tls).await.expect("TLS"));
        tokio::io::copy(&mut from, &mut to).await.expect("it echoes");
        to.shutdown().await.expect("goodbye");
    });
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let got = lab.run(client.scope(async move {
        let tcp = TcpStream::connect("server:443").await.expect("TCP");
        let stream = apps::tls::connect(tcp, &towards, "shop.example").await.expect("TLS");
        let (mut from, mut to) = tokio::io::split(stream);
        let mut got = Vec::new();
        let (wrote, read) = tokio::join!(
            async {
                to.write_all(&sent).await?;
                to.shutdown().await
            },
            from.read_to_end(&mut got)
        );
        wrote.and(read.map(drop)).expect("it works");
        got
    }));
    assert!(got == expected, "{} bytes came back", got.len());
}
