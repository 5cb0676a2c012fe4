//! Keys that follow from a name, and signatures that follow from the key and the text alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use p256::ecdsa::signature::Signer;
use rand_chacha::rand_core::SeedableRng;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rsa::pkcs8::EncodePrivateKey;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::KeyWord;

/// RFC 8410 §7: PKCS #8 version 1 around the 32 bytes.
const ED25519_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key pair.
pub(super) struct Key {
    signer: Signing,
    public: Vec<u8>,
    pkcs8: Vec<u8>,
}

enum Signing {
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
    P256(p256::ecdsa::SigningKey),
}

/// Keys that were made in this process: an RSA key takes a good part of a second to find.
static MADE: Mutex<BTreeMap<(KeyWord, String), Arc<Key>>> = Mutex::new(BTreeMap::new());
/// How many are kept.
const MAX_KEPT: usize = 1024;

impl Key {
    /// The key of this name.
    pub(super) fn of(kind: KeyWord, name: &str) -> Arc<Key> {
        let id = (kind, name.to_string());
        let kept = || MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = kept().get(&id) {
            return key.clone();
        }
        let key = Arc::new(Key::make(kind, name));
        let mut kept = kept();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(id, key.clone());
        key
    }

    fn make(kind: KeyWord, name: &str) -> Key {
        let seed = seed(kind, name);
        match kind {
            KeyWord::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are a seed");
                let public = pair.public_key().as_ref().to_vec();
                Key { signer: Signing::Ed25519(pair), public, pkcs8: [&ED25519_PREFIX[..], &seed].concat() }
            }
            KeyWord::P256 => {
                let secret =
                    p256::SecretKey::from_slice(&seed).expect("only 2^-32 of all hashes are no scalar");
                let pkcs8 = secret.to_pkcs8_der().expect("a key has an encoding").as_bytes().to_vec();
                let signing = p256::ecdsa::SigningKey::from(secret);
                let public = signing.verifying_key().to_encoded_point(false).as_bytes().to_vec();
                Key { signer: Signing::P256(signing), public, pkcs8 }
            }
            KeyWord::Rsa2048 => {
                let mut random = rand_chacha::ChaCha20Rng::from_seed(seed);
                let secret = rsa::RsaPrivateKey::new(&mut random, 2048).expect("2048 bits are enough");
                let pkcs8 = secret.to_pkcs8_der().expect("a key has an encoding").as_bytes().to_vec();
                let pair = RsaKeyPair::from_pkcs8(&pkcs8).expect("ring takes keys of 2048 bits");
                let public = pair.public_key().as_ref().to_vec();
                Key { signer: Signing::Rsa(Box::new(pair)), public, pkcs8 }
            }
        }
    }

    /// The private key for a TLS library.
    pub(super) fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()))
    }

    /// The subject's public key, without its algorithm.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// The algorithm of its signatures, as certificates and OCSP answers name it (DER).
    pub(super) fn signature_algorithm(&self) -> &'static [u8] {
        match &self.signer {
            // RFC 8410 §3
            Signing::Ed25519(_) => &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70],
            // RFC 4055 §5: sha256WithRSAEncryption, parameters NULL
            Signing::Rsa(_) => &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b, 5, 0],
            // RFC 5758 §3.2: ecdsa-with-SHA256
            Signing::P256(_) => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
        }
    }

    /// Signs.
    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        match &self.signer {
            Signing::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Signing::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(text);
                signature.as_bytes().to_vec()
            }
            Signing::Rsa(pair) => {
                let mut out = vec![0; pair.public().modulus_len()];
                let random = ring::rand::SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut out)
                    .expect("the buffer is of the modulus' size");
                out
            }
        }
    }
}

impl rcgen::PublicKeyData for &Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match &self.signer {
            Signing::Ed25519(_) => &rcgen::PKCS_ED25519,
            Signing::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            Signing::P256(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl rcgen::SigningKey for &Key {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Key::sign(self, text))
    }
}

fn seed(kind: KeyWord, name: &str) -> [u8; 32] {
    hash(&format!("wirelab key {kind:?} {name}"))
}

/// SHA-256 of a text.
pub(super) fn hash(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
