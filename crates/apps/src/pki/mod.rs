//! The certificates of a scenario: who signs whom (RFC 5280), made from the file alone, so that two runs have the same bytes.
//!
//! Keys come from the certificate's name, serials too, dates from the file; signatures are of kinds that need no randomness
//! (Ed25519, RSA PKCS #1, ECDSA after RFC 6979). Nothing here protects anything: whoever has the file has the keys.
//!
//! Map: this file is what can be written and what is wrong with it; `key` makes and uses keys, `make` certificates, `ocsp`
//! staples; `der` is the little DER that they need.

mod der;
mod key;
mod make;
mod ocsp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Problem;

pub use make::{Description, describe};
pub use ocsp::{StapleStatus, check_staple};

/// The authority that every scenario has and every client trusts, unless the file says otherwise.
pub const DEFAULT_CA: &str = "ca";

/// Certificates of one scenario.
const MAX_CERTIFICATES: usize = 64;
/// Certificates from a leaf to its root.
const MAX_CHAIN: usize = 8;
/// Names in one certificate.
const MAX_NAMES: usize = 100;

/// What a key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyWord {
    /// Ed25519 (RFC 8410): signatures are always of the same size.
    #[default]
    Ed25519,
    /// RSA with 2048 bits.
    Rsa2048,
    /// ECDSA on the curve P-256.
    P256,
}

/// What a certificate is for, and what its authority looked at before it signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KindWord {
    /// A server's; domain validated: who controls the name gets it.
    #[default]
    Dv,
    /// A server's; organization validated: it names one.
    Ov,
    /// A server's; extended validation: it names a registered company.
    Ev,
    /// A client's, for TLS client authentication.
    Client,
    /// An authority's: it signs others. Without `issuer` it is a root.
    Ca,
}

/// What the authority's OCSP answer says, which the server staples to its handshake (RFC 6066 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OcspWord {
    /// There is none.
    #[default]
    None,
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked,
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// What it is good for: DNS names (`*.shop.example` for one label), or addresses. An authority or a person: its name.
    #[serde(default)]
    pub names: Vec<String>,
    /// The certificate that signs it; `ca` unless given. `ca` exists without being written, and clients trust it.
    pub issuer: Option<String>,
    /// Its key: `ed25519` (the default), `p256` or `rsa2048`.
    #[serde(default)]
    pub key: KeyWord,
    /// First day, such as `2027-01-15` or `2027-01-15T12:00:00Z`; 2026-01-01 unless given. Runs begin at 2027-01-15T08:00:00Z.
    pub not_before: Option<String>,
    /// Its end; 2036-01-01 unless given.
    pub not_after: Option<String>,
    /// true: it was good from 2020-01-01 to 2020-03-31.
    #[serde(default)]
    pub expired: bool,
    /// true: signed with its own key; no authority knows it.
    #[serde(default)]
    pub self_signed: bool,
    /// What the stapled OCSP answer says: `good`, `revoked` or `none` (the default).
    #[serde(default)]
    pub ocsp: OcspWord,
    /// `dv` (the default), `ov`, `ev`, `client` or `ca`.
    #[serde(default)]
    pub kind: KindWord,
    /// The organization of an ov, ev, client or ca certificate; `Example Ltd` unless given.
    pub organization: Option<String>,
    /// true: a server that uses it forgets to send the intermediate certificates.
    #[serde(default)]
    pub without_intermediates: bool,
}

impl Certificate {
    fn default_ca() -> Certificate {
        Certificate {
            names: vec!["Lab Root CA".into()],
            kind: KindWord::Ca,
            // Known to every TLS library, browsers included.
            key: KeyWord::P256,
            organization: Some("wirelab".into()),
            ..Certificate::default()
        }
    }

    /// Whether nobody else signs it.
    pub fn is_root(&self) -> bool {
        self.self_signed || (self.kind == KindWord::Ca && self.issuer.is_none())
    }

    fn issuer(&self) -> Option<&str> {
        (!self.is_root()).then(|| self.issuer.as_deref().unwrap_or(DEFAULT_CA))
    }
}

/// A certificate that was made: what its owner has.
#[derive(Debug)]
pub struct Identity {
    /// Its name in the file.
    pub name: String,
    /// What a server sends: itself first, then its intermediates, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key in PKCS #8.
    pub key: PrivateKeyDer<'static>,
    /// The OCSP answer to staple, in DER.
    pub staple: Option<Vec<u8>>,
}

impl Identity {
    /// The certificate itself.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// The chain as PEM, the certificate itself first.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
    }

    /// The private key as PEM.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.secret_der())
    }
}

/// PEM (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| core::str::from_utf8(line).expect("base64 is ASCII"));
    let lines: String = lines.flat_map(|line| [line, "\n"]).collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

/// All certificates of a scenario. They are made when somebody asks for them.
pub struct Pki {
    tables: BTreeMap<String, Certificate>,
    made: Mutex<BTreeMap<String, Arc<make::Made>>>,
}

impl core::fmt::Debug for Pki {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pki").field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl Default for Pki {
    /// Only the default authority.
    fn default() -> Pki {
        Pki::new(&IndexMap::new()).expect("nothing is written, so nothing is wrong")
    }
}

impl Pki {
    /// Checks the tables of a file, by name.
    ///
    /// # Errors
    /// Everything that is wrong with them, each at its place below `certificates`.
    pub fn new(tables: &IndexMap<String, Certificate>) -> Result<Pki, Vec<Problem>> {
        let mut all: BTreeMap<_, _> =
            tables.iter().map(|(name, table)| (name.clone(), table.clone())).collect();
        all.entry(DEFAULT_CA.into()).or_insert_with(Certificate::default_ca);
        let mut problems = Vec::new();
        if all.len() > MAX_CERTIFICATES {
            problems.push(problem(&[], format!("more than {MAX_CERTIFICATES} certificates"), None));
        }
        for (name, table) in tables {
            check(name, table, &all, &mut problems);
        }
        if problems.is_empty() { Ok(Pki { tables: all, made: Mutex::default() }) } else { Err(problems) }
    }

    /// What the file says about a certificate.
    pub fn table(&self, name: &str) -> Option<&Certificate> {
        self.tables.get(name)
    }

    /// The names of all certificates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// A certificate with its chain and key. `None` when there is none of this name.
    pub fn identity(&self, name: &str) -> Option<Arc<Identity>> {
        self.tables.contains_key(name).then(|| self.make(name).identity.clone())
    }

    /// A certificate that `issuer` signs on the spot for these names, as an interceptor does. `None` when there is no
    /// such issuer, or a name that no certificate can bear.
    pub fn forge(&self, issuer: &str, name: &str, key: KeyWord) -> Option<Arc<Identity>> {
        let issuer = self.tables.contains_key(issuer).then(|| self.make(issuer))?;
        let table = Certificate { names: vec![name.into()], key, ..Certificate::default() };
        let mut problems = Vec::new();
        check_names("", &table, &mut problems);
        problems
            .is_empty()
            .then(|| make::make(&format!("{name} by {}", issuer.identity.name), &table, Some(&issuer)))
            .map(|made| made.identity.clone())
    }

    fn make(&self, name: &str) -> Arc<make::Made> {
        let made = |name: &str| self.made.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        // From the root down; the check has found every loop.
        let mut path = vec![name];
        while let Some(issuer) = self.tables[path[path.len() - 1]].issuer() {
            path.push(issuer);
        }
        let mut above = None;
        for name in path.into_iter().rev() {
            let this = made(name).unwrap_or_else(|| {
                let this = Arc::new(make::make(name, &self.tables[name], above.as_deref()));
                self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), this.clone());
                this
            });
            above = Some(this);
        }
        above.expect("the path has at least the name itself")
    }
}

fn problem(path: &[&str], message: impl Into<String>, help: Option<&str>) -> Problem {
    let path = path.iter().map(ToString::to_string).collect();
    Problem { path, message: message.into(), help: help.map(Into::into) }
}

fn check(name: &str, table: &Certificate, all: &BTreeMap<String, Certificate>, problems: &mut Vec<Problem>) {
    check_names(name, table, problems);
    if let (Some(_), true) = (&table.issuer, table.self_signed) {
        let help = "leave one of them out";
        problems.push(problem(&[name, "issuer"], "it is self_signed, so nobody else issues it", Some(help)));
    }
    if let Some(issuer) = table.issuer() {
        check_issuer(name, issuer, table, all, problems);
    }
    for (key, value) in [("not_before", &table.not_before), ("not_after", &table.not_after)] {
        let Some(value) = value else { continue };
        if make::date(value).is_none() {
            let help = "such as 2027-01-15 or 2027-01-15T12:00:00Z";
            problems.push(problem(&[name, key], format!("`{value}` is no date"), Some(help)));
        } else if table.expired {
            let help = "leave one of them out";
            problems.push(problem(&[name, key], "`expired` chooses the dates", Some(help)));
        }
    }
    let (from, until) = make::dates(table);
    if from >= until {
        let key = if table.not_after.is_some() { "not_after" } else { "not_before" };
        problems.push(problem(&[name, key], "it would end before it begins", None));
    }
    if table.ocsp != OcspWord::None && table.is_root() {
        problems.push(problem(&[name, "ocsp"], "a root's own certificate has no authority to ask", None));
    }
}

fn check_names(name: &str, table: &Certificate, problems: &mut Vec<Problem>) {
    if table.names.is_empty() {
        let help = "such as names = [\"shop.example\"]";
        problems.push(problem(&[name], "it has no names", Some(help)));
    }
    if table.names.len() > MAX_NAMES {
        problems.push(problem(&[name, "names"], format!("more than {MAX_NAMES} names"), None));
    }
    for (index, value) in table.names.iter().enumerate() {
        let good = match table.kind {
            KindWord::Ca | KindWord::Client => (1..=64).contains(&value.chars().count()),
            KindWord::Dv | KindWord::Ov | KindWord::Ev => is_host_name(value),
        };
        if !good {
            let help = "DNS names such as shop.example or *.shop.example, or addresses";
            let path = [name, "names", &index.to_string()];
            problems.push(problem(&path, format!("`{value}` is no name of a server"), Some(help)));
        }
    }
}

fn check_issuer(
    name: &str,
    issuer: &str,
    table: &Certificate,
    all: &BTreeMap<String, Certificate>,
    problems: &mut Vec<Problem>,
) {
    // The key `issuer` may not be there: then the name of the table is the place.
    let path = if table.issuer.is_some() { vec![name, "issuer"] } else { vec![name] };
    let Some(above) = all.get(issuer) else {
        let known: Vec<_> =
            all.iter().filter(|(_, t)| t.kind == KindWord::Ca).map(|(n, _)| n.as_str()).collect();
        let help = format!("authorities are {}", known.join(", "));
        problems.push(problem(&path, format!("there is no certificate `{issuer}`"), Some(&help)));
        return;
    };
    if above.kind != KindWord::Ca {
        let help = format!("write kind = \"ca\" in [certificates.{issuer}]");
        problems.push(problem(&path, format!("`{issuer}` is no authority: it cannot sign"), Some(&help)));
        return;
    }
    let mut at = Some(issuer);
    for _ in 0..MAX_CHAIN {
        match at.and_then(|name| all.get(name)) {
            None => return,
            Some(above) => at = above.issuer(),
        }
    }
    let message = format!("its chain has no root within {MAX_CHAIN} certificates");
    problems.push(problem(&path, message, Some("an authority without `issuer` is a root")));
}

/// A DNS name, also with a wildcard for its first label (RFC 6125 §6.4.3), or an address.
fn is_host_name(name: &str) -> bool {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let name = name.strip_prefix("*.").unwrap_or(name);
    rustls::pki_types::DnsName::try_from(name).is_ok()
}
