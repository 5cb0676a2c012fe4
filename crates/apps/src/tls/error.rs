//! What went wrong with a TLS connection, and by which alert the ends said so (RFC 8446 §6).

use core::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// A TLS connection that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// What happened.
    pub message: String,
    /// The alert that this end sent.
    pub sent: Option<&'static str>,
    /// The alert that came.
    pub received: Option<&'static str>,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.sent, self.received) {
            (Some(alert), _) => write!(f, "{} (alert sent: {alert})", self.message),
            (_, Some(alert)) => write!(f, "{} (alert received: {alert})", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl core::error::Error for TlsError {}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> TlsError {
        match error.downcast::<TlsError>() {
            Ok(error) => error,
            Err(error) => TlsError::plain(error.to_string()),
        }
    }
}

impl TlsError {
    /// One without an alert.
    pub fn plain(message: impl Into<String>) -> TlsError {
        TlsError { message: message.into(), sent: None, received: None }
    }

    /// What rustls says; `pending` is what it wants to send on account of it.
    pub(super) fn of(error: &Error, pending: &[u8]) -> TlsError {
        if let Error::AlertReceived(alert) = error {
            return TlsError {
                message: "the peer refused".into(),
                sent: None,
                received: Some(alert_name(u8::from(*alert))),
            };
        }
        // The alert itself is the best witness, when it is not encrypted.
        let seen = match pending.last_chunk() {
            Some([21, 3, _, 0, 2, 2, alert]) => Some(*alert),
            _ => None,
        };
        let sent = seen.or_else(|| (!pending.is_empty()).then(|| u8::from(alert_for(error))));
        TlsError { message: words(error), sent: sent.map(alert_name), received: None }
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate_words(error),
        Error::DecryptError => "a record does not decrypt: it was changed on the way".into(),
        Error::InvalidMessage(_) => "what came is no TLS record".into(),
        Error::NoApplicationProtocol => "no application protocol in common".into(),
        Error::NoCertificatesPresented => "the client showed no certificate".into(),
        Error::PeerIncompatible(reason) => format!("nothing in common with the peer: {}", apart(reason)),
        Error::PeerMisbehaved(reason) => format!("the peer broke the protocol: {}", apart(reason)),
        other => other.to_string(),
    }
}

/// `NoCipherSuitesInCommon` in words.
fn apart(reason: &impl fmt::Debug) -> String {
    let mut text = String::new();
    for (index, letter) in format!("{reason:?}").chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            text.push(' ');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// A certificate's fault in words.
pub(super) fn certificate_words(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "the certificate has expired".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => "the certificate is not valid yet".into(),
        E::Revoked => "the certificate is revoked".into(),
        E::UnknownIssuer => "the certificate's issuer is not trusted".into(),
        E::NotValidForNameContext { expected, presented } => {
            format!(
                "the certificate is not for {} but for {}",
                expected.to_str(),
                presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ")
            )
        }
        E::NotValidForName => "the certificate is not for this name".into(),
        E::InvalidOcspResponse => "the stapled OCSP answer is no good".into(),
        E::UnknownRevocationStatus => "the server staples no OCSP answer".into(),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "the certificate is not for this purpose".into()
        }
        E::ApplicationVerificationFailure => "the certificate's key is not the one that is pinned".into(),
        E::BadEncoding => "the certificate cannot be read".into(),
        E::BadSignature => "a signature is wrong".into(),
        other => other.to_string(),
    }
}

/// `DnsName("shop.example")` without its wrapping.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// The alert that rustls sends for an error, where it does not tell: RFC 8446 §6.2.
fn alert_for(error: &Error) -> AlertDescription {
    match error {
        Error::InvalidCertificate(error) => error.clone().into(),
        Error::InvalidMessage(message) => (*message).into(),
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => AlertDescription::ProtocolVersion,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        _ => AlertDescription::InternalError,
    }
}

/// Its name in RFC 8446 §6, and in RFC 5246 §7.2 for the older ones.
pub(super) fn alert_name(code: u8) -> &'static str {
    match code {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => "an alert of no known name",
    }
}
