//! A certificate from its table (RFC 5280, the CA/Browser Forum's policy identifiers), and what one says in words.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::key::{Key, hash};
use super::{Certificate, Identity, KindWord, OcspWord, der, ocsp};

/// A certificate with what its children need.
pub(super) struct Made {
    pub(super) identity: Arc<Identity>,
    pub(super) key: Arc<Key>,
    params: CertificateParams,
    root: bool,
}

/// Makes it; `above` is its issuer, if it has one.
pub(super) fn make(name: &str, table: &Certificate, above: Option<&Made>) -> Made {
    let key = Key::of(table.key, name);
    let params = params(name, table);
    let issuer = above.map(|above| Issuer::from_params(&above.params, &*above.key));
    let made = match &issuer {
        Some(issuer) => params.signed_by(&&*key, issuer),
        None => params.self_signed(&&*key),
    };
    let made: CertificateDer<'static> = made.expect("the names were checked").into();
    let staple = above.filter(|_| table.ocsp != OcspWord::None).map(|above| {
        let (from, until) = dates(table);
        ocsp::answer(
            table.ocsp == OcspWord::Revoked,
            &made,
            above.identity.certificate(),
            &above.key,
            from,
            until,
        )
    });
    let mut chain = vec![made];
    // A root is not sent: who does not have it would not believe it.
    if let Some(above) = above.filter(|above| !above.root && !table.without_intermediates) {
        chain.extend_from_slice(&above.identity.chain);
    }
    let identity = Arc::new(Identity { name: name.into(), chain, key: key.private(), staple });
    Made { identity, key, params, root: above.is_none() }
}

fn params(name: &str, table: &Certificate) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = dates(table);
    let mut serial = hash(&format!("wirelab serial {name}"));
    // Positive, and of the same length always.
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial[..16]));
    params.distinguished_name = subject(table);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if table.key == super::KeyWord::Rsa2048 {
        // What the key exchange of TLS_RSA suites needs (RFC 5246 §7.4.2).
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    match table.kind {
        KindWord::Ca => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyCertSign,
                KeyUsagePurpose::CrlSign,
            ];
        }
        KindWord::Client => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names = table.names.iter().filter_map(|name| client_name(name)).collect();
        }
        KindWord::Dv | KindWord::Ov | KindWord::Ev => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = table.names.iter().filter_map(|name| server_name(name)).collect();
            params.custom_extensions.push(policy(table.kind));
        }
    }
    params
}

fn server_name(name: &str) -> Option<SanType> {
    match name.parse() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.try_into().ok().map(SanType::DnsName),
    }
}

/// Countries and serial numbers are PrintableStrings, whatever other attributes are (X.520 §6.2.9, §6.3.1).
fn printable(text: &str) -> rcgen::DnValue {
    let text = rcgen::string::PrintableString::try_from(text).expect("letters and digits");
    rcgen::DnValue::PrintableString(text)
}

fn client_name(name: &str) -> Option<SanType> {
    match name.contains('@') {
        true => name.try_into().ok().map(SanType::Rfc822Name),
        false => rustls::pki_types::DnsName::try_from(name).ok().and_then(|_| server_name(name)),
    }
}

fn subject(table: &Certificate) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    let organization = table.organization.as_deref();
    match table.kind {
        KindWord::Dv => {}
        KindWord::Client | KindWord::Ca => {
            if let Some(name) = organization {
                subject.push(DnType::OrganizationName, name);
            }
        }
        KindWord::Ov | KindWord::Ev => {
            if table.kind == KindWord::Ev {
                // The EV Guidelines §7.1.4.2: businessCategory and the number in the register.
                subject.push(DnType::CustomDnType(vec![2, 5, 4, 15]), "Private Organization");
                subject.push(DnType::CustomDnType(vec![2, 5, 4, 5]), printable("123456"));
            }
            subject.push(DnType::CountryName, printable("ZZ"));
            subject.push(DnType::OrganizationName, organization.unwrap_or("Example Ltd"));
        }
    }
    subject.push(DnType::CommonName, table.names.first().map_or("", String::as_str));
    subject
}

/// `certificatePolicies` (RFC 5280 §4.2.1.4) with the CA/Browser Forum's identifier (Baseline Requirements §7.1.6.1).
fn policy(kind: KindWord) -> CustomExtension {
    let oid: &[u8] = match kind {
        KindWord::Ev => &[0x67, 0x81, 0x0c, 1, 1],
        KindWord::Ov => &[0x67, 0x81, 0x0c, 1, 2, 2],
        _ => &[0x67, 0x81, 0x0c, 1, 2, 1],
    };
    let content = der::sequence(&[&der::sequence(&[&der::value(der::tag::OID, &[oid])])]);
    CustomExtension::from_oid_content(&[2, 5, 29, 32], content)
}

/// From when to when it is good.
pub(super) fn dates(table: &Certificate) -> (OffsetDateTime, OffsetDateTime) {
    let (from, until) = match (table.expired, table.kind) {
        (true, _) => ("2020-01-01", "2020-03-31"),
        (false, KindWord::Ca) => ("2020-01-01", "2045-01-01"),
        (false, _) => ("2026-01-01", "2036-01-01"),
    };
    let date_or = |value: &Option<String>, other| {
        value.as_deref().and_then(date).or_else(|| date(other)).expect("the other one is a date")
    };
    (date_or(&table.not_before, from), date_or(&table.not_after, until))
}

/// `2027-01-15`, or `2027-01-15T12:00:00Z` (RFC 3339).
pub(super) fn date(text: &str) -> Option<OffsetDateTime> {
    let (day, clock) = match text.split_once('T') {
        Some((day, clock)) => (day, clock.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let numbers = |text: &str, by: char, widths: [usize; 3]| -> Option<[u16; 3]> {
        let parts: Vec<&str> = text.split(by).collect();
        let parts: [&str; 3] = parts.try_into().ok()?;
        let fit = parts
            .iter()
            .zip(widths)
            .all(|(part, width)| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()));
        fit.then(|| parts.map(|part| part.parse().expect("up to four digits")))
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let small = |n: u16| u8::try_from(n).ok();
    // GeneralizedTime begins where UTCTime's two digits do.
    let date =
        Date::from_calendar_date(i32::from(year), Month::try_from(small(month)?).ok()?, small(day)?).ok()?;
    let time = Time::from_hms(small(hour)?, small(minute)?, small(second)?).ok()?;
    (1950..=9999).contains(&year).then(|| PrimitiveDateTime::new(date, time).assume_utc())
}

/// What a certificate says, in OpenSSL's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `CN = shop.example`
    pub subject: String,
    /// The issuer's name.
    pub issuer: String,
    /// Names it is good for, as `DNS:shop.example`.
    pub names: Vec<String>,
    /// `rsaEncryption, 2048 (bit)`
    pub key: String,
    /// `RSA-SHA256`
    pub signature: String,
    /// `Jan  1 00:00:00 2026 GMT`
    pub not_before: String,
    /// Its end, likewise.
    pub not_after: String,
    /// `DV`, `OV`, `EV`, `client` or `CA`, when it says so.
    pub kind: Option<&'static str>,
}

/// Reads a certificate for people; `None` when it is none.
pub fn describe(der: &[u8]) -> Option<Description> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| format!("IP Address:{address}")),
        _ => None,
    });
    let key = certificate.public_key();
    let algorithm = key.algorithm.algorithm.to_id_string();
    let bits = match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => key.parsed().ok().map_or(0, |key| key.key_size()),
        _ => 256,
    };
    let algorithm = match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => "rsaEncryption",
        "1.2.840.10045.2.1" => "id-ecPublicKey",
        "1.3.101.112" => "ED25519",
        other => other,
    };
    let signature = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.11" => "RSA-SHA256".to_string(),
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256".to_string(),
        "1.3.101.112" => "ED25519".to_string(),
        other => other.to_string(),
    };
    Some(Description {
        subject: spaced(&certificate.subject().to_string()),
        issuer: spaced(&certificate.issuer().to_string()),
        names: names.collect(),
        key: format!("{algorithm}, {bits} (bit)"),
        signature,
        not_before: openssl_date(certificate.validity().not_before.to_datetime()),
        not_after: openssl_date(certificate.validity().not_after.to_datetime()),
        kind: kind(&certificate),
    })
}

fn kind(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    use x509_parser::extensions::ParsedExtension;
    if certificate.is_ca() {
        return Some("CA");
    }
    let client = certificate.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.client_auth);
    let policies = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CertificatePolicies(policies) => Some(policies),
        _ => None,
    });
    let policy = policies.and_then(|policies| {
        policies.iter().find_map(|policy| match policy.policy_id.to_id_string().as_str() {
            "2.23.140.1.1" => Some("EV"),
            "2.23.140.1.2.2" => Some("OV"),
            "2.23.140.1.2.1" => Some("DV"),
            _ => None,
        })
    });
    policy.or(client.then_some("client"))
}

/// `CN=a, O=b` as OpenSSL 3.0 writes it.
fn spaced(name: &str) -> String {
    name.replace('=', " = ")
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(Into::into),
        16 => <[u8; 16]>::try_from(bytes).ok().map(Into::into),
        _ => None,
    }
}

fn openssl_date(date: OffsetDateTime) -> String {
    let month = &date.month().to_string()[..3];
    let (hour, minute, second) = date.to_hms();
    format!("{month} {:>2} {hour:02}:{minute:02}:{second:02} {} GMT", date.day(), date.year())
}
