//! What a client asks of a server's certificate: its chain, its name and its dates (RFC 5280 §6, RFC 6125, by webpki), the key
//! that is pinned, and a stapled OCSP answer (RFC 6960).

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::certificate_words;
use super::options::{ClientOptions, StapleWord, Verify};
use crate::pki::{Pki, StapleStatus, check_staple};

/// A client's verifier.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None when nothing at all is trusted.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    roots: Vec<CertificateDer<'static>>,
    pins: Vec<Vec<u8>>,
    staple: StapleWord,
    mode: Verify,
}

/// The `SubjectPublicKeyInfo` of a certificate.
fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().raw.to_vec())
}

/// Trust anchors by name.
pub(super) fn roots(pki: &Pki, names: &[String]) -> Vec<CertificateDer<'static>> {
    let identities = names.iter().filter_map(|name| pki.identity(name));
    identities.map(|identity| identity.certificate().clone()).collect()
}

/// The same as rustls keeps them; what is no certificate for it is left out.
pub(super) fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    store
}

impl Verifier {
    pub(super) fn new(options: &ClientOptions, pki: &Pki, provider: Arc<CryptoProvider>) -> Verifier {
        let roots = roots(pki, &options.trust);
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(store(&roots)), provider.clone());
        let pins = options.pin.iter().filter_map(|name| pki.identity(name));
        let pins = pins.filter_map(|identity| public_key(identity.certificate())).collect();
        let (staple, mode) = (options.staple, options.verify);
        Verifier { webpki: builder.build().ok(), provider, roots, pins, staple, mode }
    }

    /// What [`Verify::Note`] tells: what is wrong with a chain that is let in.
    pub(super) fn doubt(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Option<String> {
        let (first, rest) = chain.split_first()?;
        match self.check(first, rest, name, staple, now) {
            Ok(()) => None,
            Err(Error::InvalidCertificate(error)) => Some(certificate_words(&error)),
            Err(other) => Some(other.to_string()),
        }
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        // A self-signed certificate that is trusted by itself: webpki wants an authority.
        let trusted_itself = self.roots.iter().any(|root| root == end_entity);
        match &self.webpki {
            _ if trusted_itself => {
                let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&parsed, name)?;
            }
            Some(webpki) => {
                webpki.verify_server_cert(end_entity, intermediates, name, &[], now)?;
            }
            None => return Err(CertificateError::UnknownIssuer.into()),
        }
        if !self.pins.is_empty() {
            let mut chain = core::iter::once(end_entity).chain(intermediates);
            let pinned =
                |der: &CertificateDer<'_>| public_key(der).is_some_and(|key| self.pins.contains(&key));
            if !chain.any(pinned) && !self.pinned_root(end_entity, intermediates) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        self.check_staple(end_entity, intermediates, staple, now)
    }

    /// A root is not sent: the last certificate names it.
    fn pinned_root(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
        let last = intermediates.last().unwrap_or(end_entity);
        let issuer = self.issuer_of(last, &[]);
        issuer.and_then(|der| public_key(&der)).is_some_and(|key| self.pins.contains(&key))
    }

    fn issuer_of(&self, der: &[u8], intermediates: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut candidates =
            intermediates.iter().map(AsRef::as_ref).chain(self.roots.iter().map(AsRef::as_ref));
        let found = candidates.find(|der: &&[u8]| {
            X509Certificate::from_der(der).is_ok_and(|(_, other)| other.subject() == certificate.issuer())
        });
        found.map(<[u8]>::to_vec)
    }

    fn check_staple(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        staple: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.staple == StapleWord::Ignore {
            return Ok(());
        }
        let issuer = self.issuer_of(end_entity, intermediates).unwrap_or_default();
        match check_staple(staple, end_entity, &issuer, now) {
            StapleStatus::Good => Ok(()),
            StapleStatus::None if self.staple == StapleWord::Check => Ok(()),
            StapleStatus::None => Err(CertificateError::UnknownRevocationStatus.into()),
            StapleStatus::Revoked => Err(CertificateError::Revoked.into()),
            StapleStatus::Unknown | StapleStatus::Invalid => {
                Err(CertificateError::InvalidOcspResponse.into())
            }
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.mode == Verify::Refuse {
            self.check(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A verifier of one connection that lets everything in and remembers what it saw. rustls resumes sessions only under the
/// verifier that it knew then: so not with this one.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) verifier: Arc<Verifier>,
    pub(super) seen: Mutex<Seen>,
}

/// What a [`Witness`] saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) doubt: Option<String>,
    pub(super) staple: Vec<u8>,
}

impl Witness {
    pub(super) fn take(&self) -> Seen {
        core::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = core::iter::once(end_entity).chain(intermediates).cloned().collect();
        let doubt = self.verifier.doubt(&chain, server_name, ocsp_response, now);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            Seen { doubt, staple: ocsp_response.to_vec() };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
