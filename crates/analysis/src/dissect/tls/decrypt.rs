//! From secrets to plaintext: TLS 1.3's key schedule (RFC 8446 §7), TLS 1.2's PRF (RFC 5246 §5), and AEAD with the
//! nonces of both (RFC 8446 §5.3, RFC 5288 §3, RFC 7905 §2).

use aes_gcm::aead::{Aead as _, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384};

use super::names::{Aead, Hash, Suite};

const TAG: usize = 16;

/// A key that opens.
pub(in crate::dissect) enum Opener {
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
    ChaCha(Box<ChaCha20Poly1305>),
}

impl core::fmt::Debug for Opener {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Opener")
    }
}

impl Aead {
    /// Bytes of its key.
    pub(in crate::dissect) fn key_len(self) -> usize {
        match self {
            Aead::Aes128Gcm => 16,
            Aead::Aes256Gcm | Aead::ChaCha20Poly1305 => 32,
            Aead::Other => 0,
        }
    }
}

impl Hash {
    pub(in crate::dissect) fn len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
        }
    }
}

impl Opener {
    pub(in crate::dissect) fn new(aead: Aead, key: &[u8]) -> Option<Opener> {
        Some(match aead {
            Aead::Aes128Gcm => Opener::Aes128(Box::new(Aes128Gcm::new_from_slice(key).ok()?)),
            Aead::Aes256Gcm => Opener::Aes256(Box::new(Aes256Gcm::new_from_slice(key).ok()?)),
            Aead::ChaCha20Poly1305 => Opener::ChaCha(Box::new(ChaCha20Poly1305::new_from_slice(key).ok()?)),
            Aead::Other => return None,
        })
    }

    /// The plaintext, when the tag is right.
    pub(in crate::dissect) fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: sealed, aad };
        let nonce = nonce.into();
        match self {
            Opener::Aes128(key) => key.decrypt(&nonce, payload).ok(),
            Opener::Aes256(key) => key.decrypt(&nonce, payload).ok(),
            Opener::ChaCha(key) => key.decrypt(&nonce, payload).ok(),
        }
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 §7.1).
pub(in crate::dissect) fn expand_label(
    hash: Hash,
    secret: &[u8],
    label: &str,
    len: usize,
) -> Option<Vec<u8>> {
    let mut info = u16::try_from(len).ok()?.to_be_bytes().to_vec();
    let label = format!("tls13 {label}");
    info.push(u8::try_from(label.len()).ok()?);
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    let mut out = vec![0; len];
    match hash {
        Hash::Sha256 => Hkdf::<Sha256>::from_prk(secret).ok()?.expand(&info, &mut out).ok()?,
        Hash::Sha384 => Hkdf::<Sha384>::from_prk(secret).ok()?.expand(&info, &mut out).ok()?,
    }
    Some(out)
}

/// P_hash of TLS 1.2 (RFC 5246 §5).
pub(in crate::dissect) fn prf(
    hash: Hash,
    secret: &[u8],
    label: &str,
    seed: &[u8],
    len: usize,
) -> Option<Vec<u8>> {
    let seed = [label.as_bytes(), seed].concat();
    let mut a = seed.clone();
    let mut out = Vec::new();
    while out.len() < len {
        a = hmac(hash, secret, &[&a])?;
        out.extend(hmac(hash, secret, &[&a, &seed])?);
    }
    out.truncate(len);
    Some(out)
}

fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
    fn run<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
        let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
        for part in parts {
            mac.update(part);
        }
        Some(mac.finalize().into_bytes().to_vec())
    }
    match hash {
        Hash::Sha256 => run::<Hmac<Sha256>>(key, parts),
        Hash::Sha384 => run::<Hmac<Sha384>>(key, parts),
    }
}

/// One direction's protection of records, with the number of the next one.
#[derive(Debug)]
pub(super) struct Protection {
    opener: Opener,
    iv: [u8; 12],
    /// TLS 1.2's GCM: four octets of the nonce are secret, eight stand before the record's content.
    explicit: bool,
    pub(super) next: u64,
    hash: Hash,
    /// TLS 1.3's traffic secret, for key updates.
    secret: Vec<u8>,
    suite: Suite,
}

impl Protection {
    /// Of a TLS 1.3 traffic secret (RFC 8446 §7.3).
    pub(super) fn tls13(suite: Suite, secret: &[u8]) -> Option<Protection> {
        if secret.len() != suite.hash.len() {
            return None;
        }
        let key = expand_label(suite.hash, secret, "key", suite.aead.key_len())?;
        let iv = expand_label(suite.hash, secret, "iv", 12)?;
        Some(Protection {
            opener: Opener::new(suite.aead, &key)?,
            iv: iv.try_into().ok()?,
            explicit: false,
            next: 0,
            hash: suite.hash,
            secret: secret.to_vec(),
            suite,
        })
    }

    /// After a key update (RFC 8446 §7.2).
    pub(super) fn updated(&self) -> Option<Protection> {
        let secret = expand_label(self.hash, &self.secret, "traffic upd", self.hash.len())?;
        Protection::tls13(self.suite, &secret)
    }

    /// Of a TLS 1.2 master secret (RFC 5246 §6.3): keys of AEAD suites need no MAC keys.
    pub(super) fn tls12(
        suite: Suite,
        master: &[u8],
        client_random: &[u8],
        server_random: &[u8],
        client: bool,
    ) -> Option<Protection> {
        let seed = [server_random, client_random].concat();
        let key_len = suite.aead.key_len();
        let explicit = suite.aead != Aead::ChaCha20Poly1305;
        let iv_len = if explicit { 4 } else { 12 };
        let block = prf(suite.hash, master, "key expansion", &seed, 2 * (key_len + iv_len))?;
        let (keys, ivs) = block.split_at(2 * key_len);
        let part = |bytes: &[u8], n: usize| bytes[if client { 0..n } else { n..2 * n }].to_vec();
        let mut iv = [0; 12];
        iv[..iv_len].copy_from_slice(&part(ivs, iv_len));
        Some(Protection {
            opener: Opener::new(suite.aead, &part(keys, key_len))?,
            iv,
            explicit,
            next: 0,
            hash: suite.hash,
            secret: Vec::new(),
            suite,
        })
    }

    fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        for (to, from) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *to ^= from;
        }
        nonce
    }

    /// Opens a TLS 1.3 record as the one of this number: its content type and content, padding taken off.
    pub(super) fn open13(&self, number: u64, header: &[u8], sealed: &[u8]) -> Option<(u8, Vec<u8>)> {
        let mut plain = self.opener.open(self.nonce(number), header, sealed)?;
        while plain.last() == Some(&0) {
            plain.pop();
        }
        let content_type = plain.pop()?;
        Some((content_type, plain))
    }

    /// Opens the next TLS 1.2 record.
    pub(super) fn open12(&mut self, content_type: u8, version: u16, body: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = if self.explicit {
            let (explicit, sealed) = body.split_at_checked(8)?;
            let mut nonce = self.iv;
            nonce[4..].copy_from_slice(explicit);
            (nonce, sealed)
        } else {
            (self.nonce(self.next), body)
        };
        let len = u16::try_from(sealed.len().checked_sub(TAG)?).ok()?;
        let mut aad = self.next.to_be_bytes().to_vec();
        aad.push(content_type);
        aad.extend(version.to_be_bytes());
        aad.extend(len.to_be_bytes());
        self.next += 1;
        self.opener.open(nonce, &aad, sealed)
    }
}
