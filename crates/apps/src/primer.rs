//! `crypto-primer`: the parts that TLS is made of, one by one, by real library calls: hash, MAC, symmetric and asymmetric
//! encryption, key agreement, signatures. Sizes always; speeds where time is real, because virtual time stands still meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::rand_core::SeedableRng;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use ring::{aead, agreement, digest, hmac};
use rsa::pkcs8::DecodePrivateKey;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::pki::{DEFAULT_CA, KeyWord};
use crate::{App, AppFuture, Cx};

/// The parts that TLS is made of.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CryptoPrimer {
    /// The message; `pay 10 to Bob` unless given.
    #[serde(default = "message")]
    pub message: String,
}

fn message() -> String {
    "pay 10 to Bob".into()
}

/// What RSA encrypts: a premaster secret (RFC 5246 §8.1.1).
const SECRET: [u8; 48] = [7; 48];
/// How long each speed is measured.
const MEASURED: Duration = Duration::from_millis(50);

impl App for CryptoPrimer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.show(&cx) {
                Ok(()) => 0,
                Err(what) => {
                    cx.print(format!("crypto-primer: {what}"));
                    1
                }
            }
        })
    }
}

fn refused(what: &str) -> impl FnOnce(ring::error::Unspecified) -> String {
    let what = what.to_string();
    move |_| format!("{what} failed")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl CryptoPrimer {
    fn show(&self, cx: &Cx) -> Result<(), String> {
        let text = self.message.as_bytes();
        let mut changed = text.to_vec();
        if let Some(byte) = changed.last_mut() {
            *byte ^= 1;
        }
        hash(cx, text, &changed);
        mac(cx, text, &changed)?;
        symmetric(cx, text)?;
        agree(cx)?;
        let keys = Keys::new(cx)?;
        keys.encrypt(cx)?;
        keys.sign(cx, text, &changed)?;
        keys.speeds(cx)
    }
}

/// Anybody can compute it: it finds accidents, not forgers.
fn hash(cx: &Cx, text: &[u8], changed: &[u8]) {
    let [a, b] = [text, changed].map(|text| digest::digest(&digest::SHA256, text));
    let bits: u32 = a.as_ref().iter().zip(b.as_ref()).map(|(a, b)| (a ^ b).count_ones()).sum();
    cx.print(format!(
        "hash, SHA-256: {} bytes become {}: {}…",
        text.len(),
        a.as_ref().len(),
        hex(&a.as_ref()[..8])
    ));
    cx.print(format!("  one bit of the message changes {bits} of its 256; no key: a forger computes it too"));
}

/// Only who has the key can compute it, or check it.
fn mac(cx: &Cx, text: &[u8], changed: &[u8]) -> Result<(), String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
    let tag = hmac::sign(&key, text);
    hmac::verify(&key, text, tag.as_ref()).map_err(refused("HMAC"))?;
    if hmac::verify(&key, changed, tag.as_ref()).is_ok() {
        return Err("HMAC takes a changed message".into());
    }
    let size = tag.as_ref().len();
    cx.print(format!("MAC, HMAC-SHA256: key 32 bytes, tag {size}; a changed message is refused"));
    Ok(())
}

/// One key for both ends.
fn symmetric(cx: &Cx, text: &[u8]) -> Result<(), String> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &[2; 32]).map_err(refused("AES"))?;
    let key = aead::LessSafeKey::new(key);
    let nonce = || aead::Nonce::assume_unique_for_key([3; 12]);
    let mut sealed = text.to_vec();
    key.seal_in_place_append_tag(nonce(), aead::Aad::empty(), &mut sealed).map_err(refused("AES-256-GCM"))?;
    let mut flipped = sealed.clone();
    flipped[0] ^= 1;
    let size = sealed.len();
    let opened =
        key.open_in_place(nonce(), aead::Aad::empty(), &mut sealed).map_err(refused("AES-256-GCM"))?;
    if opened != text || key.open_in_place(nonce(), aead::Aad::empty(), &mut flipped).is_ok() {
        return Err("AES-256-GCM takes a changed message".into());
    }
    cx.print(format!(
        "symmetric, AES-256-GCM: key 32 bytes on both sides, nonce 12; {} bytes become {size}, tag included",
        text.len()
    ));
    cx.print("  it encrypts and authenticates: one flipped bit and nothing is opened");
    Ok(())
}

/// Two strangers agree on a secret that was never sent.
fn agree(cx: &Cx) -> Result<(), String> {
    let random = SystemRandom::new();
    let private = || agreement::EphemeralPrivateKey::generate(&agreement::X25519, &random);
    let (alice, bob) = (private().map_err(refused("X25519"))?, private().map_err(refused("X25519"))?);
    let share = |private: &agreement::EphemeralPrivateKey| private.compute_public_key();
    let (from_alice, from_bob) =
        (share(&alice).map_err(refused("X25519"))?, share(&bob).map_err(refused("X25519"))?);
    let secret = |private, share: &agreement::PublicKey| {
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, share);
        agreement::agree_ephemeral(private, &peer, <[u8]>::to_vec).map_err(refused("X25519"))
    };
    let (a, b) = (secret(alice, &from_bob)?, secret(bob, &from_alice)?);
    if a != b {
        return Err("X25519 gives two secrets".into());
    }
    let (size, secret) = (from_alice.as_ref().len(), a.len());
    cx.print(format!(
        "key agreement, X25519: shares of {size} bytes each way, the same secret of {secret} on both sides"
    ));
    Ok(())
}

/// Keys of three kinds.
struct Keys {
    rsa: RsaKeyPair,
    plain: rsa::RsaPrivateKey,
    ecdsa: signature::EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
    seed: u64,
}

impl Keys {
    fn new(cx: &Cx) -> Result<Keys, String> {
        let random = SystemRandom::new();
        let of = |kind| {
            let identity = cx.env().pki.forge(DEFAULT_CA, "primer.example", kind);
            identity.map(|identity| identity.key.secret_der().to_vec()).ok_or("the authority does not sign")
        };
        let key = of(KeyWord::Rsa2048)?;
        let rsa = RsaKeyPair::from_pkcs8(&key).map_err(|error| error.to_string())?;
        let plain = rsa::RsaPrivateKey::from_pkcs8_der(&key).map_err(|error| error.to_string())?;
        let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let ecdsa = signature::EcdsaKeyPair::from_pkcs8(algorithm, &of(KeyWord::P256)?, &random);
        let ecdsa = ecdsa.map_err(|error| error.to_string())?;
        let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&of(KeyWord::Ed25519)?);
        let ed25519 = ed25519.map_err(|error| error.to_string())?;
        Ok(Keys { rsa, plain, ecdsa, ed25519, random, seed: cx.seed("primer") })
    }

    /// What anybody may lock, only the owner of the private key opens.
    fn encrypt(&self, cx: &Cx) -> Result<(), String> {
        let mut random = rand_chacha::ChaCha20Rng::seed_from_u64(self.seed);
        let public = rsa::RsaPublicKey::from(&self.plain);
        let locked =
            public.encrypt(&mut random, rsa::Pkcs1v15Encrypt, &SECRET).map_err(|error| error.to_string())?;
        let opened = self.plain.decrypt(rsa::Pkcs1v15Encrypt, &locked).map_err(|error| error.to_string())?;
        if opened != SECRET {
            return Err("RSA opens something else".into());
        }
        let too_long = public.encrypt(&mut random, rsa::Pkcs1v15Encrypt, &[0; 246]);
        if too_long.is_ok() {
            return Err("RSA takes more than its modulus".into());
        }
        let (from, to) = (SECRET.len(), locked.len());
        cx.print(format!(
            "asymmetric, RSA 2048: {from} bytes under the public key become {to}; 245 is the most it takes"
        ));
        Ok(())
    }

    /// One signs, everybody can check.
    fn sign(&self, cx: &Cx, text: &[u8], changed: &[u8]) -> Result<(), String> {
        let mut rsa = vec![0; self.rsa.public().modulus_len()];
        let padding = &signature::RSA_PSS_SHA256;
        self.rsa.sign(padding, &self.random, text, &mut rsa).map_err(refused("RSA"))?;
        let ecdsa = self.ecdsa.sign(&self.random, text).map_err(refused("ECDSA"))?;
        let ed25519 = self.ed25519.sign(text);
        let cases: [Signed<'_>; 3] = [
            ("RSA 2048", &signature::RSA_PSS_2048_8192_SHA256, self.rsa.public().as_ref(), &rsa),
            (
                "ECDSA P-256",
                &signature::ECDSA_P256_SHA256_ASN1,
                self.ecdsa.public_key().as_ref(),
                ecdsa.as_ref(),
            ),
            ("Ed25519", &signature::ED25519, self.ed25519.public_key().as_ref(), ed25519.as_ref()),
        ];
        for (name, algorithm, public, signed) in cases {
            verify(algorithm, public, text, signed).map_err(refused(name))?;
            if verify(algorithm, public, changed, signed).is_ok() {
                return Err(format!("{name} takes a changed message"));
            }
            let (key, size) = (public.len(), signed.len());
            cx.print(format!(
                "signature, {name}: public key {key} bytes, signature {size}; a changed message is refused"
            ));
        }
        Ok(())
    }

    fn speeds(&self, cx: &Cx) -> Result<(), String> {
        let block = vec![0; 1 << 20];
        let start = Instant::now();
        let _ = digest::digest(&digest::SHA256, &block);
        if start.elapsed().is_zero() {
            cx.print("speeds: time is virtual here and stands still while a program computes");
            return Ok(());
        }
        let hashes = per_second(|| digest::digest(&digest::SHA256, &block));
        cx.print(format!("SHA-256: {hashes:.0} MiB/s"));
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &[2; 32]).map_err(refused("AES"))?;
        let key = aead::LessSafeKey::new(key);
        let mut sealed = block.clone();
        let seals = per_second(|| {
            let nonce = aead::Nonce::assume_unique_for_key([3; 12]);
            key.seal_in_place_separate_tag(nonce, aead::Aad::empty(), &mut sealed).is_ok()
        });
        cx.print(format!("AES-256-GCM: {seals:.0} MiB/s"));
        let mut signed = vec![0; self.rsa.public().modulus_len()];
        let signs = per_second(|| self.rsa.sign(&signature::RSA_PSS_SHA256, &self.random, b"x", &mut signed));
        let public = self.rsa.public().as_ref();
        let verifies = per_second(|| verify(&signature::RSA_PSS_2048_8192_SHA256, public, b"x", &signed));
        cx.print(format!("RSA 2048: {signs:.0} signatures/s, {verifies:.0} checks/s"));
        let signs = per_second(|| self.ed25519.sign(b"x"));
        let signed = self.ed25519.sign(b"x");
        let public = self.ed25519.public_key().as_ref();
        let verifies = per_second(|| verify(&signature::ED25519, public, b"x", signed.as_ref()));
        cx.print(format!("Ed25519: {signs:.0} signatures/s, {verifies:.0} checks/s"));
        let mut nothing = [0; 32];
        let draws = per_second(|| self.random.fill(&mut nothing));
        cx.print(format!("random numbers: {draws:.0} of 32 bytes/s"));
        Ok(())
    }
}

/// A name, how it is checked, the public key and the signature.
type Signed<'a> = (&'a str, &'static dyn VerificationAlgorithm, &'a [u8], &'a [u8]);

fn verify(
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    text: &[u8],
    signed: &[u8],
) -> Result<(), ring::error::Unspecified> {
    UnparsedPublicKey::new(algorithm, public).verify(text, signed)
}

/// How often in a second.
fn per_second<T>(mut work: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    let mut count = 0.0;
    while start.elapsed() < MEASURED {
        core::hint::black_box(work());
        count += 1.0;
    }
    count / start.elapsed().as_secs_f64()
}
