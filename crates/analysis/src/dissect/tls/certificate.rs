//! A certificate (RFC 5280) in words: whose, by whom, for which names, from when to when.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::dissect::{Field, cut};

/// Most names of a certificate that are told.
const MAX_NAMES: usize = 64;

/// `shop.example ← wirelab CA`, and the fields.
pub(super) fn words(der: &[u8]) -> (String, Vec<Field>) {
    let Ok((_, cert)) = X509Certificate::from_der(der) else {
        return (format!("unreadable certificate of {} B", der.len()), Vec::new());
    };
    let names: Vec<String> = match cert.subject_alternative_name() {
        Ok(Some(san)) => san.value.general_names.iter().take(MAX_NAMES).filter_map(general).collect(),
        _ => Vec::new(),
    };
    let subject = common_name(cert.subject())
        .or_else(|| names.first().cloned())
        .unwrap_or_else(|| cert.subject().to_string());
    // The name that a client compares is the alternative one, where there is one.
    let shown = names.first().cloned().unwrap_or_else(|| subject.clone());
    let issuer = common_name(cert.issuer()).unwrap_or_else(|| cert.issuer().to_string());
    let own = cert.subject() == cert.issuer();
    let text = if own { format!("{shown} self-signed") } else { format!("{shown} ← {issuer}") };
    let validity = cert.validity();
    let mut fields = vec![
        Field::new("x509af.subject", cert.subject().to_string()),
        Field::new("x509af.issuer", cert.issuer().to_string()),
        Field::new("x509af.serialNumber", cert.raw_serial_as_string()),
        Field::new("x509af.notBefore", validity.not_before),
        Field::new("x509af.notAfter", validity.not_after),
        Field::new("x509af.algorithm.id", cert.signature_algorithm.algorithm.to_id_string()),
        Field::new("length", der.len()),
    ];
    if !names.is_empty() {
        fields.push(Field::new("x509ce.dNSName", names.join(", ")));
    }
    if cert.is_ca() {
        fields.push(Field::new("x509ce.cA", "true"));
    }
    (cut(&text), fields)
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|n| n.as_str().ok()).map(cut)
}

fn general(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(cut(name)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| std::net::Ipv4Addr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| std::net::Ipv6Addr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}
