//! JSON Web Tokens (RFC 7519, 7515): made and checked by `jsonwebtoken`, whose cryptography is ring here. What a server must not
//! leave out is RFC 8725 §3: it alone says which algorithm and which key, and every claim that it relies on is required.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Once;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result as TokenResult};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use p256::ecdsa::signature::{Error as SignatureError, Signer, Verifier};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use ring::{hmac, signature::KeyPair};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::naive;
use crate::pki::{KeyWord, pem};
use crate::units::Span;
use crate::{Env, Problem};

/// How tokens are signed (RFC 7518 §3).
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: who can check a token can also make one.
    #[default]
    HS256,
    /// RSA with SHA-256: anybody may have the key that checks.
    RS256,
}

impl Algorithm {
    fn in_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        }
    }

    /// As `alg` says it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::HS256 => "HS256",
            Algorithm::RS256 => "RS256",
        }
    }
}

/// What a server leaves out when it checks a token. Each was the fault of real libraries.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Mistake {
    /// `alg: none` is taken at its word: no signature is needed.
    AcceptNone,
    /// The token's own `alg` says how its signature is checked, with whatever key the server has.
    AlgorithmFromToken,
    /// `exp` is not looked at.
    IgnoreExpiry,
    /// The payload is read and the signature is not.
    IgnoreSignature,
}

/// Where a client gets its token.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// In the body, as JSON: a script keeps it and sends it in `Authorization`.
    #[default]
    Body,
    /// In a cookie: the browser keeps it and sends it.
    Cookie,
}

/// Tokens instead of sessions.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenTable {
    /// `HS256` unless given.
    pub algorithm: Algorithm,
    /// The secret of HS256: 32 bytes at least (RFC 7518 §3.2).
    pub secret: Option<String>,
    /// false: a shorter secret is let through, to show why it should not be.
    pub strong_secret: bool,
    /// The key of RS256: that of a certificate in the file.
    pub key: Option<String>,
    /// How long a token is good; 15 minutes unless given.
    pub lifetime: Span,
    /// Its `iss`, which is also required; "wirelab" unless given.
    pub issuer: String,
    /// Its `aud`; then a token must be for it.
    pub audience: Option<String>,
    /// `body` or `cookie`.
    pub delivery: Delivery,
    /// true: after a logout the token's `jti` is remembered, and refused, until it would have expired anyway.
    pub deny_list: bool,
    /// What is left out when tokens are checked; nothing unless given.
    pub mistakes: BTreeSet<Mistake>,
}

impl Default for TokenTable {
    fn default() -> TokenTable {
        TokenTable {
            algorithm: Algorithm::default(),
            secret: None,
            strong_secret: true,
            key: None,
            lifetime: Span(Duration::from_secs(15 * 60)),
            issuer: "wirelab".into(),
            audience: None,
            delivery: Delivery::default(),
            deny_list: false,
            mistakes: BTreeSet::new(),
        }
    }
}

/// Bytes of an HS256 secret at least (RFC 7518 §3.2).
const SECRET: usize = 32;

impl TokenTable {
    pub(super) fn check(&self, env: &Env) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut wrong = |key: &str, message: String, help: &str| {
            let path = Some(key.to_string()).into_iter().filter(|key| !key.is_empty()).collect();
            found.push(Problem { path, message, help: Some(help.into()) });
        };
        match (self.algorithm, &self.secret, &self.key) {
            (Algorithm::HS256, None, _) => {
                wrong("", "HS256 needs a secret".into(), "secret = \"…\" of 32 bytes or more");
            }
            (Algorithm::HS256, Some(secret), _) if secret.len() < SECRET && self.strong_secret => {
                let message =
                    format!("a secret of {} bytes can be guessed: HS256 wants {SECRET}", secret.len());
                wrong("secret", message, "strong_secret = false lets it through");
            }
            (Algorithm::HS256, _, Some(_)) => {
                wrong("key", "HS256 has a secret and no key".into(), "algorithm = \"RS256\"")
            }
            (Algorithm::RS256, Some(_), _) => {
                wrong("secret", "RS256 has a key and no secret".into(), "algorithm = \"HS256\"")
            }
            (Algorithm::RS256, _, None) => {
                wrong(
                    "",
                    "RS256 needs a key".into(),
                    "key = \"signer\" and [certificates.signer] with key = \"rsa2048\"",
                );
            }
            (Algorithm::RS256, _, Some(name)) => match env.pki.table(name) {
                None => wrong(
                    "key",
                    format!("there is no certificate `{name}`"),
                    "[certificates.…] with key = \"rsa2048\"",
                ),
                Some(table) if table.key != KeyWord::Rsa2048 => {
                    wrong(
                        "key",
                        format!("the key of `{name}` is not RSA's"),
                        "key = \"rsa2048\" in its table",
                    );
                }
                Some(_) => {}
            },
            (Algorithm::HS256, Some(_), None) => {}
        }
        if self.lifetime.0.as_secs() == 0 {
            wrong("lifetime", "tokens count in whole seconds: one at least".into(), "lifetime = \"15m\"");
        }
        found
    }
}

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// Whom it is about.
    pub sub: String,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// When it was made, in seconds after 1970.
    pub iat: u64,
    /// When it ends.
    pub exp: u64,
    /// Its own name.
    pub jti: String,
    /// What forms must bring when the token comes in a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
}

/// Makes and checks tokens.
pub struct Tokens {
    table: TokenTable,
    encoding: EncodingKey,
    decoding: DecodingKey,
    public_pem: Option<String>,
}

impl core::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tokens").field("table", &self.table).finish_non_exhaustive()
    }
}

/// Random bytes, as text for cookies, forms and `jti`.
pub(crate) fn random_text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    SystemRandom::new().fill(&mut random).expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(random)
}

/// Now, in seconds after 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Tokens {
    /// With the keys that a table names. The table must be in order; `None` when its key is not there.
    pub fn new(table: &TokenTable, env: &Env) -> Option<Tokens> {
        install_ring();
        let (encoding, decoding, public_pem) = match table.algorithm {
            Algorithm::HS256 => {
                let secret = table.secret.as_ref()?.as_bytes();
                (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret), None)
            }
            Algorithm::RS256 => {
                let identity = env.pki.identity(table.key.as_ref()?)?;
                let private = identity.key.secret_der();
                let pair = RsaKeyPair::from_pkcs8(private).ok()?;
                let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
                let (_, certificate) = x509_parser::parse_x509_certificate(identity.certificate()).ok()?;
                let public_pem = pem("PUBLIC KEY", certificate.public_key().raw);
                (EncodingKey::from_rsa_der(private), public, Some(public_pem))
            }
        };
        Some(Tokens { table: table.clone(), encoding, decoding, public_pem })
    }

    /// What this server was told.
    pub fn table(&self) -> &TokenTable {
        &self.table
    }

    /// The public key of RS256 as PEM: everybody may have it.
    pub fn public_pem(&self) -> Option<&str> {
        self.public_pem.as_deref()
    }

    /// A token for a user.
    pub fn issue(&self, user: &str, csrf: bool) -> (String, Claims) {
        let now = seconds();
        let claims = Claims {
            iss: self.table.issuer.clone(),
            sub: user.into(),
            aud: self.table.audience.clone(),
            iat: now,
            exp: now + self.table.lifetime.0.as_secs(),
            jti: random_text(12),
            csrf: csrf.then(|| random_text(16)),
        };
        let header = Header::new(self.table.algorithm.in_library());
        let token =
            jsonwebtoken::encode(&header, &claims, &self.encoding).expect("the key fits its algorithm");
        (token, claims)
    }

    /// What a token says, when it is believed.
    ///
    /// # Errors
    /// Why it is not, in the library's words.
    pub fn check(&self, token: &str) -> Result<Claims, String> {
        if !self.table.mistakes.is_empty() {
            // What goes for a key where nobody asks what kind of key it is.
            let any =
                self.public_pem.as_ref().or(self.table.secret.as_ref()).map_or(&[][..], |key| key.as_bytes());
            return naive::check(token, self.table.algorithm, &self.table.mistakes, any, |token, expiry| {
                self.checked(token, expiry)
            });
        }
        self.checked(token, true)
    }

    fn checked(&self, token: &str, expiry: bool) -> Result<Claims, String> {
        let mut validation = Validation::new(self.table.algorithm.in_library());
        validation.leeway = 0;
        validation.validate_exp = expiry;
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.set_issuer(&[&self.table.issuer]);
        match &self.table.audience {
            Some(audience) => {
                validation.required_spec_claims.insert("aud".into());
                validation.set_audience(&[audience]);
            }
            None => validation.validate_aud = false,
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation);
        decoded.map(|token| token.claims).map_err(|error| match error.kind() {
            // An `alg` that the library has never heard of, such as none, does not even read.
            ErrorKind::Json(_) if !naive::says(token, self.table.algorithm.name()) => {
                "InvalidAlgorithm".into()
            }
            _ => error.to_string(),
        })
    }
}

/// ring under jsonwebtoken, whose own choices are two large libraries.
fn install_ring() {
    static RING: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        // Keys come as DER and as secrets, never as JWK.
        key_utils: KeyUtils::new_unimplemented(),
    };
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // Somebody else's, if there is one, signs as well.
        let _ = RING.install_default();
    });
}

fn signer(algorithm: &jsonwebtoken::Algorithm, key: &EncodingKey) -> TokenResult<Box<dyn JwtSigner>> {
    match algorithm {
        jsonwebtoken::Algorithm::HS256 => {
            Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))))
        }
        jsonwebtoken::Algorithm::RS256 => {
            let pair = RsaKeyPair::from_pkcs8(key.as_bytes()).map_err(|_| ErrorKind::InvalidKeyFormat)?;
            Ok(Box::new(Rs256Signer(pair)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn verifier(algorithm: &jsonwebtoken::Algorithm, key: &DecodingKey) -> TokenResult<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let bytes = key.try_get_as_bytes()?;
    match algorithm {
        jsonwebtoken::Algorithm::HS256 => Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, bytes)))),
        jsonwebtoken::Algorithm::RS256 => Ok(Box::new(Rs256Verifier(bytes.to_vec()))),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct Hs256(hmac::Key);

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, text: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(hmac::sign(&self.0, text).as_ref().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        jsonwebtoken::Algorithm::HS256
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, text: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        hmac::verify(&self.0, text, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        jsonwebtoken::Algorithm::HS256
    }
}

struct Rs256Signer(RsaKeyPair);

impl Signer<Vec<u8>> for Rs256Signer {
    fn try_sign(&self, text: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let mut out = vec![0; self.0.public().modulus_len()];
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut out);
        signed.map(|()| out).map_err(|_| SignatureError::new())
    }
}

impl JwtSigner for Rs256Signer {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        jsonwebtoken::Algorithm::RS256
    }
}

/// The public key as PKCS #1.
struct Rs256Verifier(Vec<u8>);

impl Verifier<Vec<u8>> for Rs256Verifier {
    fn verify(&self, text: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.0);
        key.verify(text, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Rs256Verifier {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        jsonwebtoken::Algorithm::RS256
    }
}
