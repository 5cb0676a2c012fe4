//! OCSP answers as servers staple them (RFC 6960 §4.2, RFC 6066 §8): made and signed by the issuer itself, and checked by
//! clients. Not done: answers of delegated responders, and asking a responder over HTTP.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::der::{Reader, sequence, tag, value};
use super::key::Key;

/// `id-pkix-ocsp-basic`
const OCSP_BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// `id-sha1`; the hashes only name the issuer.
const SHA1: [u8; 5] = [0x2b, 0x0e, 3, 2, 0x1a];

fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

fn generalized_time(at: OffsetDateTime) -> Vec<u8> {
    let (hour, minute, second) = at.to_hms();
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    value(tag::GENERALIZED_TIME, &[text.as_bytes()])
}

/// `CertID` (RFC 6960 §4.1.1).
fn certificate_id(subject: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Vec<u8> {
    let key = &issuer.public_key().subject_public_key.data;
    sequence(&[
        &sequence(&[&value(tag::OID, &[&SHA1]), &value(tag::NULL, &[])]),
        &value(tag::OCTET_STRING, &[&sha1(issuer.subject().as_raw())]),
        &value(tag::OCTET_STRING, &[&sha1(key)]),
        &value(0x02, &[subject.raw_serial()]),
    ])
}

/// The issuer's answer about a certificate of its own, good from `from` until `until`.
pub(super) fn answer(
    revoked: bool,
    subject: &[u8],
    issuer: &[u8],
    key: &Key,
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> Vec<u8> {
    let read = |der| X509Certificate::from_der(der).expect("it was made here").1;
    let (from, until) = (generalized_time(from), generalized_time(until));
    let status = match revoked {
        true => value(tag::context(1), &[&from]),
        false => value(tag::context_primitive(0), &[]),
    };
    let single = sequence(&[
        &certificate_id(&read(subject), &read(issuer)),
        &status,
        &from,
        &value(tag::context(0), &[&until]),
    ]);
    let responder = value(tag::context(2), &[&value(tag::OCTET_STRING, &[&sha1(key.public())])]);
    let data = sequence(&[&responder, &from, &sequence(&[&single])]);
    let signature = key.sign(&data);
    let basic = sequence(&[&data, key.signature_algorithm(), &value(tag::BIT_STRING, &[&[0], &signature])]);
    let bytes = sequence(&[&value(tag::OID, &[&OCSP_BASIC]), &value(tag::OCTET_STRING, &[&basic])]);
    sequence(&[&value(tag::ENUMERATED, &[&[0]]), &value(tag::context(0), &[&bytes])])
}

/// What a stapled answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StapleStatus {
    /// Nothing was stapled.
    None,
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked,
    /// The authority does not know the certificate.
    Unknown,
    /// It is no answer about this certificate by its issuer that is good now.
    Invalid,
}

/// Checks a stapled answer about `subject`, which `issuer` must have signed. An empty one is [`StapleStatus::None`].
pub fn check_staple(staple: &[u8], subject: &[u8], issuer: &[u8], now: UnixTime) -> StapleStatus {
    if staple.is_empty() {
        return StapleStatus::None;
    }
    read(staple, subject, issuer, now).unwrap_or(StapleStatus::Invalid)
}

fn read(staple: &[u8], subject: &[u8], issuer: &[u8], now: UnixTime) -> Option<StapleStatus> {
    let (_, subject) = X509Certificate::from_der(subject).ok()?;
    let (_, issuer) = X509Certificate::from_der(issuer).ok()?;
    let mut response = Reader(staple).enter(tag::SEQUENCE)?;
    if response.expect(tag::ENUMERATED)? != [0] {
        return None;
    }
    let mut bytes = response.enter(tag::context(0))?.enter(tag::SEQUENCE)?;
    if bytes.expect(tag::OID)? != OCSP_BASIC {
        return None;
    }
    let mut basic = bytes.enter(tag::OCTET_STRING)?.enter(tag::SEQUENCE)?;
    let (_, signed, data) = basic.any()?;
    let (_, algorithm, _) = basic.any()?;
    let signature = basic.expect(tag::BIT_STRING)?.strip_prefix(&[0])?;
    verify(algorithm, &issuer.public_key().subject_public_key.data, signed, signature)?;
    let mut data = Reader(data);
    if data.peek() == Some(tag::context(0)) {
        data.any()?;
    }
    // The signature said who it is; the responder's name adds nothing.
    data.any()?;
    data.expect(tag::GENERALIZED_TIME)?;
    let mut singles = data.enter(tag::SEQUENCE)?;
    let wanted = certificate_id(&subject, &issuer);
    while let Some((_, _, single)) = singles.any() {
        let mut single = Reader(single);
        let (_, id, _) = single.any()?;
        if id != wanted {
            continue;
        }
        let (status, ..) = single.any()?;
        let from = unix(single.expect(tag::GENERALIZED_TIME)?)?;
        let until = match single.peek() {
            Some(next) if next == tag::context(0) => {
                unix(single.enter(next)?.expect(tag::GENERALIZED_TIME)?)?
            }
            _ => u64::MAX,
        };
        return match status {
            _ if !(from..=until).contains(&now.as_secs()) => None,
            status if status == tag::context_primitive(0) => Some(StapleStatus::Good),
            status if status == tag::context(1) => Some(StapleStatus::Revoked),
            _ => Some(StapleStatus::Unknown),
        };
    }
    None
}

fn verify(algorithm: &[u8], key: &[u8], text: &[u8], signature: &[u8]) -> Option<()> {
    use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
    let known: [(&[u8], &'static dyn VerificationAlgorithm); 3] = [
        (&[0x2b, 0x65, 0x70], &signature::ED25519),
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b], &signature::RSA_PKCS1_2048_8192_SHA256),
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], &signature::ECDSA_P256_SHA256_ASN1),
    ];
    let oid = Reader(algorithm).enter(tag::SEQUENCE)?.expect(tag::OID)?;
    let (_, algorithm) = known.into_iter().find(|(known, _)| *known == oid)?;
    UnparsedPublicKey::new(algorithm, key).verify(text, signature).ok()
}

fn unix(time: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(time).ok().filter(|text| text.len() == 15 && text.is_ascii())?;
    let (day, clock) = text.split_at(8);
    let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
    let clock = format!("{}:{}:{}", &clock[..2], &clock[2..4], &clock[4..]);
    let at = super::make::date(&format!("{day}T{clock}"))?;
    u64::try_from(at.unix_timestamp()).ok()
}
