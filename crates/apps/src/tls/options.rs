//! What can be chosen about TLS in a file: the `tls` table of clients and of servers.

use schemars::JsonSchema;
use serde::Deserialize;

use super::suite::{self, Suite};
use crate::pki::{DEFAULT_CA, Pki};
use crate::{Env, Problem};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum VersionWord {
    /// TLS 1.2 (RFC 5246)
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446)
    #[serde(rename = "1.3")]
    Tls13,
}

/// What a client does with a certificate that it cannot trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// It refuses, with an alert.
    #[default]
    Refuse,
    /// It goes on and says so, as `openssl s_client` does. No session is resumed then.
    Note,
    /// It does not look (`curl -k`).
    Off,
}

/// What a client does with a stapled OCSP answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StapleWord {
    /// Believes it when it is there; its absence means nothing. What most clients do.
    #[default]
    Check,
    /// Refuses a server that does not staple.
    Require,
    /// Does not look.
    Ignore,
}

/// A client's TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientOptions {
    /// `["1.2", "1.3"]` unless given.
    pub versions: Vec<VersionWord>,
    /// Cipher suites by their names in IANA's register or in OpenSSL, most wanted first; all of the library unless given.
    pub suites: Vec<String>,
    /// Groups for the key exchange, most wanted first: `x25519`, `secp256r1`, `secp384r1`.
    pub groups: Vec<String>,
    /// Application protocols, most wanted first, such as `["h2", "http/1.1"]`.
    pub alpn: Vec<String>,
    /// The certificates that it trusts, by name: authorities, or self-signed ones. `["ca"]` unless given.
    pub trust: Vec<String>,
    /// What happens when a certificate does not check: `refuse` (the default), `note` or `off`.
    pub verify: Verify,
    /// Pinning: one of these certificates, by name, must be in the server's chain with its very key.
    pub pin: Vec<String>,
    /// Its own certificate, by name, for servers that ask for one.
    pub certificate: Option<String>,
    /// A stapled OCSP answer: `check` (the default), `require` or `ignore`.
    pub staple: StapleWord,
    /// false: no session is resumed.
    pub resume: bool,
    /// true: data leaves with the ClientHello when a session allows it (TLS 1.3, 0-RTT).
    pub early_data: bool,
    /// true: data leaves before the server's Finished (TLS 1.2, RFC 7918). Needs the feature `boring`.
    pub false_start: bool,
    /// false: the server is not told which name is meant.
    pub sni: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            versions: vec![VersionWord::Tls12, VersionWord::Tls13],
            suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
            trust: vec![DEFAULT_CA.into()],
            verify: Verify::default(),
            pin: Vec::new(),
            certificate: None,
            staple: StapleWord::default(),
            resume: true,
            early_data: false,
            false_start: false,
            sni: true,
        }
    }
}

/// Whether a server wants a certificate of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// It does not ask.
    #[default]
    No,
    /// It asks, and goes on without.
    Ask,
    /// It asks, and refuses to go on without.
    Require,
}

/// Early data at a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyData {
    /// Never.
    #[default]
    Refuse,
    /// Each session is good for one time (RFC 8446 §8.1).
    Once,
    /// Without a guard: whoever sends the same bytes again is believed again.
    Replayable,
}

/// A server's TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerOptions {
    /// Its certificate, by name.
    pub certificate: String,
    /// More certificates: the one that is good for the name that the client asks for is used, the first one otherwise.
    pub more_certificates: Vec<String>,
    /// `["1.2", "1.3"]` unless given.
    pub versions: Vec<VersionWord>,
    /// Cipher suites, most wanted first; all of the library unless given.
    pub suites: Vec<String>,
    /// Groups for the key exchange, most wanted first: `x25519`, `secp256r1`, `secp384r1`.
    pub groups: Vec<String>,
    /// Application protocols, most wanted first. A client that offers only others is refused.
    pub alpn: Vec<String>,
    /// Whether clients must show a certificate: `no` (the default), `ask` or `require`.
    pub client_auth: ClientAuth,
    /// The authorities of clients' certificates; `["ca"]` unless given.
    pub trust: Vec<String>,
    /// false: no session can be resumed.
    pub resume: bool,
    /// Early data: `refuse` (the default), `once` or `replayable`.
    pub early_data: EarlyData,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            certificate: String::new(),
            more_certificates: Vec::new(),
            versions: vec![VersionWord::Tls12, VersionWord::Tls13],
            suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
            client_auth: ClientAuth::default(),
            trust: vec![DEFAULT_CA.into()],
            resume: true,
            early_data: EarlyData::default(),
        }
    }
}

/// Application protocols in one hello.
const MAX_ALPN: usize = 32;

impl ClientOptions {
    /// What is wrong with them, each at its place below the table.
    pub fn check(&self, env: &Env) -> Vec<Problem> {
        let mut found = Vec::new();
        let pki = &env.pki;
        let common =
            Common { versions: &self.versions, suites: &self.suites, groups: &self.groups, alpn: &self.alpn };
        common.check(&mut found);
        known(pki, "trust", &self.trust, &mut found);
        known(pki, "pin", &self.pin, &mut found);
        if let Some(name) = &self.certificate {
            known_one(pki, &["certificate"], name, &mut found);
        }
        if self.false_start && !self.versions.contains(&VersionWord::Tls12) {
            found.push(problem(&["false_start"], "False Start is TLS 1.2's: TLS 1.3 does not need it", None));
        }
        if self.needs_boring() && self.early_data {
            let message = "early data is rustls' here, and what else is asked is BoringSSL's";
            found.push(problem(&["early_data"], message, None));
        }
        warm_up(self.needs_boring());
        found
    }

    /// Whether rustls cannot do it.
    pub(super) fn needs_boring(&self) -> bool {
        self.false_start || suite::any_needs_boring(&self.suites)
    }
}

#[cfg_attr(not(feature = "boring"), expect(unused_variables, reason = "there is nothing to warm up"))]
fn warm_up(boring: bool) {
    #[cfg(feature = "boring")]
    if boring {
        super::boring::warm_up();
    }
}

/// For rows and options that need it.
pub(crate) const HOW_TO_GET_BORING: &str =
    "it comes with the feature `boring`: cargo run --release --features boring -- run …";

impl ServerOptions {
    /// What is wrong with them, each at its place below the table.
    pub fn check(&self, env: &Env) -> Vec<Problem> {
        let mut found = Vec::new();
        let pki = &env.pki;
        let common =
            Common { versions: &self.versions, suites: &self.suites, groups: &self.groups, alpn: &self.alpn };
        common.check(&mut found);
        known(pki, "trust", &self.trust, &mut found);
        if self.certificate.is_empty() {
            let help = "certificate = \"shop\" and a table [certificates.shop]";
            found.push(problem(&["certificate"], "a server needs a certificate", Some(help)));
        } else {
            known_one(pki, &["certificate"], &self.certificate, &mut found);
        }
        known(pki, "more_certificates", &self.more_certificates, &mut found);
        if self.early_data != EarlyData::Refuse && !self.resume {
            found.push(problem(&["early_data"], "early data needs a session to resume", None));
        }
        let rustls_only = [
            ("early_data", self.early_data != EarlyData::Refuse),
            ("more_certificates", !self.more_certificates.is_empty()),
        ];
        for (key, _) in rustls_only.into_iter().filter(|(_, wanted)| *wanted && self.needs_boring()) {
            let message = "it is rustls' here, and the suites are BoringSSL's";
            found.push(problem(&[key], message, None));
        }
        warm_up(self.needs_boring());
        found
    }

    /// Whether rustls cannot do it.
    pub(super) fn needs_boring(&self) -> bool {
        suite::any_needs_boring(&self.suites)
    }
}

struct Common<'a> {
    versions: &'a [VersionWord],
    suites: &'a [String],
    groups: &'a [String],
    alpn: &'a [String],
}

impl Common<'_> {
    fn check(&self, found: &mut Vec<Problem>) {
        if self.versions.is_empty() {
            found.push(problem(&["versions"], "no version is left", Some("\"1.2\", \"1.3\"")));
        }
        for (index, name) in self.suites.iter().enumerate() {
            if Suite::named(name).is_none() {
                let help = format!("such as {}", suite::examples());
                let path = ["suites", &index.to_string()];
                found.push(problem(&path, format!("`{name}` is no cipher suite that is here"), Some(&help)));
            }
        }
        let fits =
            |name: &String| Suite::named(name).is_none_or(|suite| self.versions.contains(&suite.version));
        if !self.suites.is_empty() && !self.suites.iter().any(fits) {
            found.push(problem(&["suites"], "none of them is of a version that is left", None));
        }
        for (index, name) in self.groups.iter().enumerate() {
            if suite::group(name).is_none() {
                let path = ["groups", &index.to_string()];
                let help = "x25519, secp256r1, secp384r1";
                found.push(problem(&path, format!("`{name}` is no group that is here"), Some(help)));
            }
        }
        if self.alpn.len() > MAX_ALPN {
            found.push(problem(&["alpn"], format!("more than {MAX_ALPN} protocols"), None));
        }
        for (index, name) in self.alpn.iter().enumerate() {
            if !(1..=255).contains(&name.len()) {
                let path = ["alpn", &index.to_string()];
                found.push(problem(&path, "a protocol's name has 1 to 255 bytes", None));
            }
        }
    }
}

fn known(pki: &Pki, key: &str, names: &[String], found: &mut Vec<Problem>) {
    for (index, name) in names.iter().enumerate() {
        known_one(pki, &[key, &index.to_string()], name, found);
    }
}

fn known_one(pki: &Pki, path: &[&str], name: &str, found: &mut Vec<Problem>) {
    if pki.table(name).is_none() {
        let known: Vec<&str> = pki.names().collect();
        let help = format!("there are {}; more come as [certificates.{name}]", known.join(", "));
        found.push(problem(path, format!("there is no certificate `{name}`"), Some(&help)));
    }
}

fn problem(path: &[&str], message: impl Into<String>, help: Option<&str>) -> Problem {
    let path = path.iter().map(ToString::to_string).collect();
    Problem { path, message: message.into(), help: help.map(Into::into) }
}
