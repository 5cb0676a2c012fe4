//! Cipher suites and groups by their names in IANA's registers and in OpenSSL.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::kx_group;

use super::options::VersionWord;

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its number.
    pub code: u16,
    /// Its name in IANA's register.
    pub iana: &'static str,
    /// Its name in OpenSSL.
    pub openssl: &'static str,
    /// The version that it is of.
    pub version: VersionWord,
    /// Whether it is left to BoringSSL: the static RSA key exchange.
    pub needs_boring: bool,
}

const fn suite(code: u16, iana: &'static str, openssl: &'static str) -> Suite {
    let version = if code >> 8 == 0x13 { VersionWord::Tls13 } else { VersionWord::Tls12 };
    Suite { code, iana, openssl, version, needs_boring: code < 0x1300 }
}

/// All that this build may know, rustls' in its order of preference, then the static RSA ones.
const SUITES: [Suite; 11] = [
    suite(0x1302, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    suite(0x1301, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    suite(0x1303, "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    suite(0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    suite(0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    suite(0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    suite(0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    suite(0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    suite(0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
    suite(0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
    suite(0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
];

impl Suite {
    /// By either name.
    pub fn named(name: &str) -> Option<Suite> {
        SUITES.into_iter().find(|suite| suite.iana == name || suite.openssl == name)
    }

    /// By number.
    pub fn of(code: u16) -> Option<Suite> {
        SUITES.into_iter().find(|suite| suite.code == code)
    }
}

/// OpenSSL's name of a suite that IANA calls so; the same when it is not known.
pub fn openssl_name(iana: &str) -> &str {
    Suite::named(iana).map_or(iana, |suite| suite.openssl)
}

/// For a help line.
pub(super) fn examples() -> String {
    let names: Vec<_> = SUITES.iter().map(|suite| suite.openssl).collect();
    names.join(", ")
}

/// Whether one of these is left to BoringSSL.
pub(super) fn any_needs_boring(names: &[String]) -> bool {
    names.iter().filter_map(|name| Suite::named(name)).any(|suite| suite.needs_boring)
}

/// A group by its name in IANA's register, or OpenSSL's.
pub(super) fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name.to_ascii_lowercase().as_str() {
        "x25519" => Some(kx_group::X25519),
        "secp256r1" | "prime256v1" | "p-256" => Some(kx_group::SECP256R1),
        "secp384r1" | "p-384" => Some(kx_group::SECP384R1),
        _ => None,
    }
}

/// The same group as BoringSSL calls it.
#[cfg(feature = "boring")]
pub(super) fn boring_group(name: &str) -> Option<&'static str> {
    match group(name)?.name() {
        rustls::NamedGroup::X25519 => Some("X25519"),
        rustls::NamedGroup::secp256r1 => Some("P-256"),
        rustls::NamedGroup::secp384r1 => Some("P-384"),
        _ => None,
    }
}
