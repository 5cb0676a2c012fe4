//! `openssl s_client` as a scenario can write it: the options that matter here, and what it prints, in OpenSSL 3.0's words. There is
//! no standard input: it behaves as with `</dev/null`, says goodbye after the handshake and ends.

use std::sync::Arc;

use net::TcpStream;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::suite::Suite;
use super::{ClientOptions, ClientTls, Session, StapleWord, TlsError, Verify, VersionWord, openssl_name};
use crate::pki::{StapleStatus, check_staple, describe, pem};
use crate::{App, AppFuture, CommandError, Cx, Env, Ready};

/// `openssl s_client …`
#[derive(Clone, Debug)]
pub struct SClient {
    connect: String,
    name: String,
    brief: bool,
    show_certificates: bool,
    tls: ClientOptions,
}

const OPTIONS: &str = "-connect HOST:PORT, -servername NAME, -noservername, -verify_hostname NAME, -tls1_2, -tls1_3, -cipher LIST, \
                       -ciphersuites LIST, -groups LIST, -alpn LIST, -CAfile CERTIFICATE, -cert CERTIFICATE, \
                       -verify_return_error, -status, -showcerts, -brief";

/// Reads its command line.
///
/// # Errors
/// The first word that is not understood.
pub fn read(words: &[String], env: &Env) -> Result<Ready, CommandError> {
    let wrong =
        |word: usize, message: String, help: &str| CommandError { word, message, help: Some(help.into()) };
    match words.get(1).map(String::as_str) {
        Some("s_client") => {}
        Some(other) => {
            return Err(wrong(1, format!("no `openssl {other}` is built in"), "openssl s_client …"));
        }
        None => return Err(wrong(1, "openssl needs a command".into(), "openssl s_client …")),
    }
    let mut tls = ClientOptions { verify: Verify::Note, resume: false, ..ClientOptions::default() };
    let (mut connect, mut server_name, mut verify_name) = (None, None, None);
    let (mut brief, mut show_certificates) = (false, false);
    let mut at = 2;
    // The place of each list, for what is wrong in it.
    let mut places = Vec::new();
    while let Some(word) = words.get(at) {
        let value = || {
            let missing = || wrong(words.len(), format!("`{word}` lacks its value"), OPTIONS);
            words.get(at + 1).cloned().ok_or_else(missing)
        };
        let mut takes = 2;
        let list = |value: String, by: char| value.split(by).map(str::to_string).collect::<Vec<_>>();
        match word.as_str() {
            "-connect" | "-host" => connect = Some(value()?),
            "-servername" => server_name = Some(value()?),
            "-verify_hostname" => verify_name = Some(value()?),
            "-cipher" | "-ciphersuites" => tls.suites.extend(list(value()?, ':')),
            "-groups" | "-curves" => tls.groups = list(value()?, ':'),
            "-alpn" => tls.alpn = list(value()?, ','),
            "-CAfile" => tls.trust = vec![value()?],
            "-cert" => tls.certificate = Some(value()?),
            flag => {
                takes = 1;
                match flag {
                    "-tls1_2" => tls.versions = vec![VersionWord::Tls12],
                    "-tls1_3" => tls.versions = vec![VersionWord::Tls13],
                    "-noservername" => tls.sni = false,
                    "-verify_return_error" => tls.verify = Verify::Refuse,
                    "-status" => tls.staple = StapleWord::Check,
                    "-showcerts" => show_certificates = true,
                    "-brief" => brief = true,
                    _ if !flag.starts_with('-') && connect.is_none() => connect = Some(flag.into()),
                    _ => return Err(wrong(at, format!("`{flag}` is no option that is here"), OPTIONS)),
                }
            }
        }
        if takes == 2 {
            places.push((word.trim_start_matches('-'), at + 1));
        }
        at += takes;
    }
    let Some(connect) = connect else {
        return Err(wrong(words.len(), "it needs -connect".into(), "-connect HOST:PORT"));
    };
    if let Some(problem) = tls.check(env).into_iter().next() {
        let key = problem.path.first().map_or("", String::as_str);
        let option = match key {
            "suites" => "cipher",
            "trust" => "CAfile",
            "certificate" => "cert",
            other => other,
        };
        let place = places.iter().find(|(name, _)| name.starts_with(option)).map_or(1, |(_, at)| *at);
        return Err(CommandError { word: place, message: problem.message, help: problem.help });
    }
    let host = connect.rsplit_once(':').map_or(connect.as_str(), |(host, _)| host).to_string();
    let name = verify_name.or(server_name).unwrap_or(host);
    Ok(Arc::new(SClient { connect, name, brief, show_certificates, tls }))
}

impl App for SClient {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.handshake(&cx).await {
                Ok(()) => 0,
                Err(error) => {
                    // `40C7…:error:0A000415:SSL routines::…` says no more than this.
                    let said = match error.received {
                        Some(alert) => format!("error: {} (alert {alert})", error.message),
                        None => format!("error: {error}"),
                    };
                    cx.print(said);
                    1
                }
            }
        })
    }
}

impl SClient {
    async fn handshake(&self, cx: &Cx) -> Result<(), TlsError> {
        let tls = ClientTls::new(&self.tls, &cx.env().pki, Some(cx))?;
        let tcp = TcpStream::connect(self.connect.as_str()).await;
        let tcp = tcp.map_err(|error| TlsError::plain(format!("connect: {error}")))?;
        tcp.set_nodelay(true)?;
        if !self.brief {
            cx.print("CONNECTED(00000003)");
        }
        let mut stream = super::connect(tcp, &tls, &self.name).await?;
        self.report(cx, stream.session());
        stream.shutdown().await?;
        // With TLS 1.3 a server that refuses the client's certificate says so only now.
        stream.read_to_end(&mut Vec::new()).await?;
        cx.print("DONE");
        Ok(())
    }

    fn report(&self, cx: &Cx, session: &Session) {
        let (code, why) = verdict(session.doubt.as_deref());
        if code != 0 {
            cx.print(format!("verify error:num={code}:{why}"));
        }
        let suite = openssl_name(&session.suite);
        if self.brief {
            cx.print("CONNECTION ESTABLISHED");
            cx.print(format!("Protocol version: {}", session.version));
            cx.print(format!("Ciphersuite: {suite}"));
        } else {
            cx.print("---");
            self.chain(cx, &session.peer_chain);
            self.staple(cx, session);
        }
        if let Some(group) = session.group {
            let bits = match group {
                "X25519" => 253,
                "P-384" => 384,
                _ => 256,
            };
            cx.print(format!("Server Temp Key: {group}, {bits} bits"));
        }
        cx.print(match code {
            0 => "Verification: OK".to_string(),
            _ => format!("Verification error: {why}"),
        });
        if self.brief {
            return;
        }
        cx.print("---");
        let new = if session.resumed { "Reused" } else { "New" };
        let era = match Suite::named(&session.suite).map(|suite| suite.version) {
            Some(VersionWord::Tls13) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        cx.print(format!("{new}, {era}, Cipher is {suite}"));
        match &session.alpn {
            Some(name) => cx.print(format!("ALPN protocol: {name}")),
            None => cx.print("No ALPN negotiated"),
        }
        cx.print(format!("Verify return code: {code} ({why})"));
        cx.print("---");
    }

    fn chain(&self, cx: &Cx, chain: &[CertificateDer<'_>]) {
        cx.print("Certificate chain");
        for (number, der) in chain.iter().enumerate() {
            let Some(about) = describe(der) else { continue };
            cx.print(format!(" {number} s:{}", about.subject));
            cx.print(format!("   i:{}", about.issuer));
            cx.print(format!("   a:PKEY: {}; sigalg: {}", about.key, about.signature));
            cx.print(format!("   v:NotBefore: {}; NotAfter: {}", about.not_before, about.not_after));
            if self.show_certificates {
                cx.print(pem("CERTIFICATE", der));
            }
        }
        cx.print("---");
        if let Some(about) = chain.first().and_then(|der| describe(der)) {
            cx.print("Server certificate");
            cx.print(format!("subject={}", about.subject));
            cx.print(format!("issuer={}", about.issuer));
            cx.print(format!("names={}", about.names.join(", ")));
            cx.print("---");
        }
    }

    fn staple(&self, cx: &Cx, session: &Session) {
        let (Some(subject), now) = (session.peer_chain.first(), rustls::pki_types::UnixTime::now()) else {
            return;
        };
        // The issuer is sent behind it, or is a root that the client has.
        let roots = super::verify::roots(&cx.env().pki, &self.tls.trust);
        let issuers = session.peer_chain.iter().skip(1).chain(&roots);
        let found = issuers.map(|issuer| check_staple(&session.staple, subject, issuer, now));
        let status = found.into_iter().find(|status| *status != StapleStatus::Invalid);
        cx.print(match status.unwrap_or(StapleStatus::Invalid) {
            StapleStatus::None => "OCSP response: no response sent",
            StapleStatus::Good => "OCSP response: good",
            StapleStatus::Revoked => "OCSP response: revoked",
            StapleStatus::Unknown => "OCSP response: unknown",
            StapleStatus::Invalid => "OCSP response: not by this certificate's issuer",
        });
    }
}

/// OpenSSL's number and words (`X509_V_ERR_*`) for what is wrong.
fn verdict(doubt: Option<&str>) -> (u32, &'static str) {
    match doubt {
        None => (0, "ok"),
        Some(text) if text.contains("expired") => (10, "certificate has expired"),
        Some(text) if text.contains("not valid yet") => (9, "certificate is not yet valid"),
        Some(text) if text.contains("issuer") => (20, "unable to get local issuer certificate"),
        Some(text) if text.contains("revoked") => (23, "certificate revoked"),
        Some(text) if text.contains("is not for this purpose") => (26, "unsuitable certificate purpose"),
        Some(text) if text.contains("is not for") => (62, "hostname mismatch"),
        Some(_) => (50, "application verification failure"),
    }
}
