//! Our JSON Web Tokens against those of a library that we did not write: PyJWT takes ours, we take its, and both refuse the same
//! forgeries. Then the servers that make mistakes, which take what PyJWT refuses.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apps::Env;
use apps::pki::{Certificate, KeyWord, Pki};
use apps::security::application::token::{Algorithm, Mistake, TokenTable, Tokens};
use apps::units::Span;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn env() -> Env {
    let rsa = |name: &str| Certificate {
        names: vec![name.into()],
        key: KeyWord::Rsa2048,
        ..Certificate::default()
    };
    let tables = [("signer".to_string(), rsa("signer.example")), ("other".to_string(), rsa("other.example"))];
    let pki = Pki::new(&tables.into_iter().collect()).expect("it is in order");
    Env { pki: Arc::new(pki), ..Env::default() }
}

fn table(algorithm: Algorithm) -> TokenTable {
    match algorithm {
        Algorithm::HS256 => TokenTable { algorithm, secret: Some(SECRET.into()), ..TokenTable::default() },
        Algorithm::RS256 => TokenTable { algorithm, key: Some("signer".into()), ..TokenTable::default() },
    }
}

fn tokens(table: &TokenTable) -> Tokens {
    Tokens::new(table, &env()).expect("the key is there")
}

fn careless(algorithm: Algorithm, mistake: Mistake) -> Tokens {
    tokens(&TokenTable { mistakes: BTreeSet::from([mistake]), ..table(algorithm) })
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn by_hmac(header: &Value, payload: &Value, secret: &[u8]) -> String {
    let text = format!("{}.{}", part(header), part(payload));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, text.as_bytes())))
}

/// What the payload of a good token is.
fn payload() -> Value {
    json!({ "iss": "wirelab", "sub": "alice", "iat": now(), "exp": now() + 600, "jti": "1" })
}

fn without(mut payload: Value, claim: &str) -> Value {
    payload.as_object_mut().expect("an object").remove(claim);
    payload
}

fn with(mut payload: Value, claim: &str, value: Value) -> Value {
    payload[claim] = value;
    payload
}

/// Tokens by their names, and whether they are to be believed.
fn cases(algorithm: Algorithm) -> Vec<(&'static str, String, bool)> {
    let server = tokens(&table(algorithm));
    let (good, claims) = server.issue("mallory", false);
    let other = match algorithm {
        Algorithm::HS256 => {
            TokenTable { secret: Some("another secret of 32 bytes, or so".into()), ..table(algorithm) }
        }
        Algorithm::RS256 => TokenTable { key: Some("other".into()), ..table(algorithm) },
    };
    let wrong_key = tokens(&other).issue("alice", false).0;
    let alice = with(serde_json::to_value(&claims).expect("plain data"), "sub", "alice".into());
    let header = json!({ "typ": "JWT", "alg": algorithm.name() });
    let signature = good.rsplit('.').next().expect("three parts");
    let hs256 = json!({ "typ": "JWT", "alg": "HS256" });
    let mut all = vec![
        ("genuine", good.clone(), true),
        ("changed payload", format!("{}.{}.{signature}", part(&header), part(&alice)), false),
        ("no signature", format!("{}.{}.", part(&header), part(&alice)), false),
        ("another key", wrong_key, false),
        ("two parts", good.rsplit_once('.').expect("three parts").0.to_string(), false),
        ("four parts", format!("{good}.x"), false),
        ("no token", "rubbish".into(), false),
        ("empty", String::new(), false),
        ("a changed bit", format!("{}x", &good[..good.len() - 2]), false),
    ];
    for (name, said) in
        [("alg: none", "none"), ("alg: None", "None"), ("alg: NONE", "NONE"), ("alg: nothing", "")]
    {
        all.push((name, format!("{}.{}.", part(&json!({ "typ": "JWT", "alg": said })), part(&alice)), false));
    }
    if let Some(pem) = server.public_pem() {
        all.push(("the public key as a secret", by_hmac(&hs256, &payload(), pem.as_bytes()), false));
    } else {
        let by = |payload: &Value| by_hmac(&hs256, payload, SECRET.as_bytes());
        all.extend([
            ("made by hand", by(&payload()), true),
            ("expired", by(&with(payload(), "exp", (now() - 2).into())), false),
            ("without exp", by(&without(payload(), "exp")), false),
            ("exp is a text", by(&with(payload(), "exp", "never".into())), false),
            ("without iss", by(&without(payload(), "iss")), false),
            ("another iss", by(&with(payload(), "iss", "somebody".into())), false),
            ("without sub", by(&without(payload(), "sub")), false),
            ("HS512 said", by_hmac(&json!({ "alg": "HS512" }), &payload(), SECRET.as_bytes()), false),
        ]);
    }
    all
}

#[test]
fn only_what_the_key_has_signed_and_is_not_over_is_believed() {
    for algorithm in [Algorithm::HS256, Algorithm::RS256] {
        let server = tokens(&table(algorithm));
        for (name, token, wanted) in cases(algorithm) {
            let got = server.check(&token);
            assert_eq!(got.is_ok(), wanted, "{algorithm:?} {name}: {got:?}");
        }
    }
}

#[test]
fn each_mistake_believes_its_own_forgery_and_no_other() {
    let rows = [
        (Algorithm::HS256, Mistake::AcceptNone, vec!["alg: none", "alg: None", "alg: NONE"]),
        (Algorithm::RS256, Mistake::AlgorithmFromToken, vec!["the public key as a secret"]),
        (Algorithm::HS256, Mistake::IgnoreExpiry, vec!["expired"]),
    ];
    for (algorithm, mistake, wanted) in rows {
        let server = careless(algorithm, mistake);
        let fooled: Vec<&str> = cases(algorithm)
            .into_iter()
            .filter(|(_, token, good)| !good && server.check(token).is_ok())
            .map(|(name, ..)| name)
            .collect();
        assert_eq!(fooled, wanted, "{mistake:?}");
    }
    let blind = careless(Algorithm::HS256, Mistake::IgnoreSignature);
    let changed = cases(Algorithm::HS256).swap_remove(1).1;
    assert_eq!(blind.check(&changed).expect("it does not look").sub, "alice");
}

#[test]
fn a_token_is_over_in_the_second_of_its_end_and_is_for_its_audience_only() {
    let short = TokenTable { lifetime: Span(Duration::from_secs(1)), ..table(Algorithm::HS256) };
    let (token, claims) = tokens(&short).issue("alice", false);
    assert_eq!(claims.exp, claims.iat + 1);
    assert!(tokens(&short).check(&token).is_ok());
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(tokens(&short).check(&token), Err("ExpiredSignature".into()));
    let for_shop = TokenTable { audience: Some("shop".into()), ..table(Algorithm::HS256) };
    let token = tokens(&for_shop).issue("alice", false).0;
    assert!(tokens(&for_shop).check(&token).is_ok());
    let bank = TokenTable { audience: Some("bank".into()), ..table(Algorithm::HS256) };
    assert_eq!(tokens(&bank).check(&token), Err("InvalidAudience".into()));
    let none = tokens(&table(Algorithm::HS256)).issue("alice", false).0;
    assert!(tokens(&bank).check(&none).is_err(), "a token for nobody is not the bank's");
}

/// For each line of JSON: what PyJWT makes of a token, or a token that it makes.
const SCRIPT: &str = r#"
import json, sys, jwt
for line in sys.stdin:
    ask = json.loads(line)
    try:
        if "payload" in ask:
            out = jwt.encode(ask["payload"], ask["key"], algorithm=ask["alg"])
        elif "read" in ask:
            out = jwt.decode(ask["read"], options={"verify_signature": False})["sub"]
        else:
            out = jwt.decode(ask["token"], ask["key"], algorithms=[ask["alg"]], issuer="wirelab",
                             options={"require": ["exp", "iss", "sub"]})["sub"]
        print(json.dumps({"ok": out}))
    except Exception as error:
        print(json.dumps({"error": type(error).__name__}))
"#;

/// Asks PyJWT.
fn python(python: &std::path::Path, asks: &[Value]) -> Vec<Value> {
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is there");
    let lines: String = asks.iter().map(|ask| format!("{ask}\n")).collect();
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).expect("JSON");
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), asks.len());
    answers
}

#[test]
fn pyjwt_believes_and_refuses_what_we_believe_and_refuse() {
    let Some(peer) = linux::testing::peers_python("pyjwt_believes_and_refuses_what_we_believe_and_refuse")
    else {
        return;
    };
    for algorithm in [Algorithm::HS256, Algorithm::RS256] {
        let server = tokens(&table(algorithm));
        let key = server.public_pem().unwrap_or(SECRET);
        let cases = cases(algorithm);
        let asks: Vec<Value> = cases
            .iter()
            .map(|(_, token, _)| json!({ "token": token, "key": key, "alg": algorithm.name() }))
            .collect();
        for ((name, token, wanted), theirs) in cases.iter().zip(python(&peer, &asks)) {
            assert_eq!(theirs.get("ok").is_some(), *wanted, "{algorithm:?} {name}: PyJWT says {theirs}");
            assert_eq!(server.check(token).is_ok(), *wanted, "{algorithm:?} {name}");
        }
        let private = env().pki.identity("signer").expect("it is there").key_pem();
        let signing = if algorithm == Algorithm::RS256 { private.as_str() } else { SECRET };
        let made = python(&peer, &[json!({ "payload": payload(), "key": signing, "alg": algorithm.name() })]);
        let theirs = made[0]["ok"].as_str().expect("a token");
        assert_eq!(server.check(theirs).expect("PyJWT's token is good").sub, "alice");
        // Nobody needs a key to read what a token says.
        let read = python(&peer, &[json!({ "read": server.issue("bob", false).0 })]);
        assert_eq!(read[0], json!({ "ok": "bob" }));
    }
}
