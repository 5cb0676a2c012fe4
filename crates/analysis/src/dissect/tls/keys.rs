//! Secrets from key log lines (draft-ietf-tls-keylogfile), as NSS, OpenSSL, BoringSSL, rustls and ring's users write them
//! and pcapng's decryption secrets blocks hold them: `LABEL client-random secret`, by the client's random.

use std::collections::BTreeMap;

use stack::record::{Journal, What};

/// Most connections whose secrets are kept.
const MAX_CONNECTIONS: usize = 100_000;
/// Longest secret (SHA-512 is the longest hash that any suite could bring).
const MAX_SECRET: usize = 64;

/// Most secrets of one name and one client's random.
const MAX_SAME: usize = 8;

/// A secret's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dissect) enum Label {
    /// TLS 1.2's master secret.
    Master,
    ClientEarly,
    ClientHandshake,
    ServerHandshake,
    ClientApplication,
    ServerApplication,
}

impl Label {
    fn of(word: &str) -> Option<Label> {
        Some(match word {
            "CLIENT_RANDOM" => Label::Master,
            "CLIENT_EARLY_TRAFFIC_SECRET" => Label::ClientEarly,
            // The QUIC_ forms are those of old drafts.
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" | "QUIC_CLIENT_HANDSHAKE_TRAFFIC_SECRET" => {
                Label::ClientHandshake
            }
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" | "QUIC_SERVER_HANDSHAKE_TRAFFIC_SECRET" => {
                Label::ServerHandshake
            }
            "CLIENT_TRAFFIC_SECRET_0" | "QUIC_CLIENT_TRAFFIC_SECRET_0" => Label::ClientApplication,
            "SERVER_TRAFFIC_SECRET_0" | "QUIC_SERVER_TRAFFIC_SECRET_0" => Label::ServerApplication,
            _ => return None,
        })
    }
}

/// A client's random: what a connection's secrets are found by.
pub(in crate::dissect) type Random = [u8; 32];

/// Secrets of any number of TLS and QUIC connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLog {
    secrets: BTreeMap<Random, Vec<(Label, Vec<u8>)>>,
}

impl KeyLog {
    /// The lines that a journal's records hold.
    pub fn of(journal: &Journal) -> KeyLog {
        let mut log = KeyLog::default();
        for r in &journal.records {
            if let What::KeyLog { line } = &r.what {
                log.add(line);
            }
        }
        log
    }

    /// All lines of an SSLKEYLOGFILE.
    pub fn from_text(text: &str) -> KeyLog {
        let mut log = KeyLog::default();
        for line in text.lines() {
            log.add(line);
        }
        log
    }

    /// One line; comments and labels that nothing here needs are passed over.
    pub fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(label), Some(random), Some(secret)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let (Some(label), Some(random), Some(secret)) =
            (Label::of(label), bytes(random).and_then(|r| Random::try_from(r).ok()), bytes(secret))
        else {
            return;
        };
        if secret.len() > MAX_SECRET || secret.is_empty() {
            return;
        }
        if self.secrets.len() >= MAX_CONNECTIONS && !self.secrets.contains_key(&random) {
            return;
        }
        let of = self.secrets.entry(random).or_default();
        // Both ends of a connection may log: the same secret comes twice. A ClientHello that is replayed leads to others.
        of.retain(|known| *known != (label, secret.clone()));
        if of.iter().filter(|(l, _)| *l == label).count() < MAX_SAME {
            of.push((label, secret));
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    pub(in crate::dissect) fn secret(&self, random: &Random, label: Label) -> Option<&[u8]> {
        self.secrets(random, label).last()
    }

    /// All secrets of this name: several when a ClientHello was replayed.
    pub(in crate::dissect) fn secrets(&self, random: &Random, label: Label) -> impl Iterator<Item = &[u8]> {
        let of = self.secrets.get(random).into_iter().flatten();
        of.filter(move |(l, _)| *l == label).map(|(_, s)| s.as_slice())
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if hex.len() > 2 * MAX_SECRET || !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return None;
    }
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{KeyLog, Label};

    #[test]
    fn lines_are_read_and_what_is_none_is_passed_over() {
        let random = "ab".repeat(32);
        let text = format!(
            "# comment\nCLIENT_RANDOM {random} {}\nSERVER_TRAFFIC_SECRET_0 {random} 0102\nEXPORTER_SECRET {random} 03\nCLIENT_RANDOM xy 01\n",
            "cd".repeat(48)
        );
        let log = KeyLog::from_text(&text);
        assert_eq!(log.secret(&[0xab; 32], Label::Master), Some(&[0xcd; 48][..]));
        assert_eq!(log.secret(&[0xab; 32], Label::ServerApplication), Some(&[1, 2][..]));
        assert_eq!(log.secret(&[0xab; 32], Label::ClientApplication), None);
        assert_eq!(log.secret(&[0; 32], Label::Master), None);
    }
}
