//! How not to check a token: each [`Mistake`] as real servers made it (CVE-2015-9235 and its kin; RFC 8725 §2.1). The rest is left
//! to whoever does it right.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

use super::token::{Algorithm, Claims, Mistake, seconds};

/// The parts of a token as anybody can read them, without any key: header, payload, signature.
///
/// # Errors
/// What is missing or is neither base64 nor JSON.
pub(crate) fn parts(token: &str) -> Result<(Value, Value, Vec<u8>), String> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a token has three parts".into());
    };
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string());
    let json = |text| serde_json::from_slice(&decode(text)?).map_err(|error| error.to_string());
    Ok((json(header)?, json(payload)?, decode(signature)?))
}

/// Whether a token's own `alg` is this one.
pub(super) fn says(token: &str, algorithm: &str) -> bool {
    parts(token).is_ok_and(|(header, ..)| header.get("alg").and_then(Value::as_str) == Some(algorithm))
}

/// Checks a token and leaves things out. `any_key` is what the server calls its key, whatever kind it is of; `properly` is the check
/// that it should have left it to, with or without expiry.
pub(super) fn check(
    token: &str,
    wanted: Algorithm,
    mistakes: &BTreeSet<Mistake>,
    any_key: &[u8],
    properly: impl Fn(&str, bool) -> Result<Claims, String>,
) -> Result<Claims, String> {
    let makes = |mistake| mistakes.contains(&mistake);
    let (header, payload, signature) = parts(token)?;
    let said = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let unsigned =
        makes(Mistake::IgnoreSignature) || makes(Mistake::AcceptNone) && said.eq_ignore_ascii_case("none");
    let by_secret = makes(Mistake::AlgorithmFromToken) && said == "HS256" && wanted != Algorithm::HS256;
    if !unsigned && !by_secret {
        return properly(token, !makes(Mistake::IgnoreExpiry));
    }
    if !unsigned {
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        let key = hmac::Key::new(hmac::HMAC_SHA256, any_key);
        hmac::verify(&key, signed.as_bytes(), &signature).map_err(|_| "InvalidSignature")?;
    }
    let claims: Claims = serde_json::from_value(payload).map_err(|error| error.to_string())?;
    if !makes(Mistake::IgnoreExpiry) && claims.exp < seconds() {
        return Err("ExpiredSignature".into());
    }
    Ok(claims)
}
