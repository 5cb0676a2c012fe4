//! `tls-eavesdropper`: passes connections on, keeps what it saw, and later gets the server's private key. Of a TLS 1.2 session with
//! the static RSA key exchange that is enough to read everything (RFC 5246 §7.4.7.1, §8.1; RFC 7627; RFC 5288); of one with
//! ECDHE it is not. Only ever on hosts of the simulated world.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use net::{TcpListener, TcpStream};
use ring::{aead, digest, hmac};
use rsa::pkcs8::DecodePrivateKey;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::read_table;
use crate::pki::KeyWord;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// One who listens now and gets the key later.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsEavesdropper {
    /// The port on which it passes connections on; 443 unless given.
    #[serde(default = "https")]
    pub port: u16,
    /// The real server: `server:443`.
    pub to: String,
    /// Whose private key it gets, by name in the file's certificates; an RSA key.
    pub key: String,
}

fn https() -> u16 {
    443
}

/// What is passed on at a time.
const BUFFER: usize = 16 << 10;
/// What is kept of one direction.
const MAX_KEPT: usize = 1 << 20;
/// When it gets the key.
const LATER: Duration = Duration::from_secs(1);

/// `TLS_RSA_WITH_AES_256_GCM_SHA384`
const STATIC_RSA: u16 = 0x009d;

/// Reads its table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let app: TlsEavesdropper = read_table(table)?;
    let message = match env.pki.table(&app.key) {
        None => format!("there is no certificate `{}`", app.key),
        Some(table) if table.key != KeyWord::Rsa2048 => "its key is not RSA's".into(),
        Some(_) => return Ok(Arc::new(app)),
    };
    Err(vec![Problem { path: vec!["key".into()], message, help: None }])
}

impl App for TlsEavesdropper {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if let Err(error) = self.listen(&cx).await {
                cx.print(format!("tls-eavesdropper: {error}"));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

impl TlsEavesdropper {
    async fn listen(&self, cx: &Cx) -> io::Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", self.port)).await?;
        loop {
            let (client, peer) = listener.accept().await?;
            let (cx, this) = (cx.clone(), self.clone());
            net::spawn(async move {
                let said = match this.pass(client).await {
                    Ok(kept) => {
                        tokio::time::sleep(LATER).await;
                        this.read(&kept, &cx)
                    }
                    Err(error) => vec![error.to_string()],
                };
                said.iter().for_each(|line| cx.print(format!("{peer}: {line}")));
            });
        }
    }

    /// Passes a connection on: what the client and the server said.
    async fn pass(&self, client: TcpStream) -> io::Result<[Vec<u8>; 2]> {
        client.set_nodelay(true)?;
        let server = TcpStream::connect(self.to.as_str()).await?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (up, down) = tokio::join!(keep(from_client, to_server), keep(from_server, to_client));
        Ok([up, down])
    }

    fn read(&self, kept: &[Vec<u8>; 2], cx: &Cx) -> Vec<String> {
        let Some(identity) = cx.env().pki.identity(&self.key) else { return Vec::new() };
        let key = rsa::RsaPrivateKey::from_pkcs8_der(identity.key.secret_der());
        let key = key.map_err(|error| error.to_string());
        match key.and_then(|key| decrypt(kept, &key)) {
            Ok(lines) => lines,
            Err(why) => vec![why],
        }
    }
}

/// Until one side ends; what went by.
async fn keep(mut from: net::tcp::OwnedReadHalf, mut to: net::tcp::OwnedWriteHalf) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..n.min(MAX_KEPT - kept.len())]);
        if to.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    kept
}

/// A record: its type and its body.
type Record<'a> = (u8, &'a [u8]);

fn records(mut bytes: &[u8]) -> Vec<Record<'_>> {
    let mut found = Vec::new();
    while let Some(([kind, _, _, high, low], rest)) = bytes.split_first_chunk() {
        let Some((body, after)) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
        else {
            break;
        };
        found.push((*kind, body));
        bytes = after;
    }
    found
}

/// The handshake messages before ChangeCipherSpec, each with its header.
fn messages(records: &[Record<'_>]) -> Vec<Vec<u8>> {
    let clear = records.iter().take_while(|(kind, _)| *kind != 20).filter(|(kind, _)| *kind == 22);
    let bytes: Vec<u8> = clear.flat_map(|(_, body)| body.iter().copied()).collect();
    let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
    while let [_, a, b, c, ..] = *rest {
        let length = 4 + usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
        let Some((message, after)) = rest.split_at_checked(length) else { break };
        found.push(message.to_vec());
        rest = after;
    }
    found
}

fn decrypt([up, down]: &[Vec<u8>; 2], key: &rsa::RsaPrivateKey) -> Result<Vec<String>, String> {
    let (up, down) = (records(up), records(down));
    let (client, server) = (messages(&up), messages(&down));
    let of = |from: &[Vec<u8>], kind: u8| from.iter().find(|message| message[0] == kind).cloned();
    let random = |hello: &[u8]| hello.get(6..38).map(<[u8]>::to_vec).ok_or("a hello without a random number");
    let (client_hello, server_hello) =
        of(&client, 1).zip(of(&server, 2)).ok_or("the key is of no use: there is no handshake")?;
    let (client_random, server_random) = (random(&client_hello)?, random(&server_hello)?);
    let session = usize::from(*server_hello.get(38).ok_or("a short hello")?);
    let suite = server_hello.get(39 + session..41 + session).ok_or("a short hello")?;
    if suite != STATIC_RSA.to_be_bytes() {
        return Err("the key is of no use: the premaster secret was never sent, only shares of it".into());
    }
    let exchange = of(&client, 16).ok_or("there is no ClientKeyExchange")?;
    let locked = exchange.get(6..).ok_or("a short ClientKeyExchange")?;
    let premaster = key.decrypt(rsa::Pkcs1v15Encrypt, locked).map_err(|error| error.to_string())?;
    // RFC 7627: with its extension (23) the master secret is bound to the handshake so far, otherwise to the randoms.
    let extended = has_extension(&server_hello, 23);
    let seed = if extended {
        // Until the ServerHelloDone: a ticket comes later.
        let end = server.iter().position(|message| message[0] == 14).map_or(server.len(), |at| at + 1);
        let so_far = client_hello.iter().chain(server[..end].iter().flatten()).chain(&exchange);
        let so_far: Vec<u8> = so_far.copied().collect();
        digest::digest(&digest::SHA384, &so_far).as_ref().to_vec()
    } else {
        [client_random.clone(), server_random.clone()].concat()
    };
    let label: &[u8] = if extended { b"extended master secret" } else { b"master secret" };
    let master = prf(&premaster, label, &seed, 48);
    let keys = prf(&master, b"key expansion", &[server_random, client_random].concat(), 72);
    let mut lines = vec!["the private key opens the premaster secret, and that everything:".to_string()];
    for (who, records, key, salt) in
        [("client", &up, &keys[..32], &keys[64..68]), ("server", &down, &keys[32..64], &keys[68..72])]
    {
        for text in open(records, key, salt)? {
            let text = String::from_utf8_lossy(&text).into_owned();
            lines.extend(text.lines().map(|line| format!("the {who} said: {}", line.escape_debug())));
        }
    }
    Ok(lines)
}

fn has_extension(hello: &[u8], wanted: u16) -> bool {
    let session = usize::from(hello.get(38).copied().unwrap_or(0));
    // Behind the suite (2), the compression (1) and the length of all extensions (2).
    let mut rest = hello.get(39 + session + 5..).unwrap_or_default();
    while let Some(([a, b, high, low], after)) = rest.split_first_chunk() {
        if u16::from_be_bytes([*a, *b]) == wanted {
            return true;
        }
        rest = after.get(usize::from(u16::from_be_bytes([*high, *low]))..).unwrap_or_default();
    }
    false
}

/// RFC 5246 §5 with SHA-384.
fn prf(secret: &[u8], label: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA384, secret);
    let seed = [label, seed].concat();
    let (mut a, mut out) = (seed.clone(), Vec::new());
    while out.len() < length {
        a = hmac::sign(&key, &a).as_ref().to_vec();
        out.extend_from_slice(hmac::sign(&key, &[&a[..], &seed].concat()).as_ref());
    }
    out.truncate(length);
    out
}

/// Application data behind ChangeCipherSpec (RFC 5288 §3: nonce of the salt and eight bytes of the record).
fn open(records: &[Record<'_>], key: &[u8], salt: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).map_err(|_| "a key of another size")?;
    let key = aead::LessSafeKey::new(key);
    let encrypted = records.iter().skip_while(|(kind, _)| *kind != 20).skip(1);
    let mut found = Vec::new();
    for (number, (kind, body)) in (0_u64..).zip(encrypted) {
        let (explicit, sealed) = body.split_at_checked(8).ok_or("a short record")?;
        let nonce = [salt, explicit].concat();
        let nonce = aead::Nonce::try_assume_unique_for_key(&nonce).map_err(|_| "a nonce of another size")?;
        let plain = u16::try_from(sealed.len().saturating_sub(16)).map_err(|_| "a long record")?;
        let about = [&number.to_be_bytes()[..], &[*kind, 3, 3], &plain.to_be_bytes()].concat();
        let mut sealed = sealed.to_vec();
        let text = key.open_in_place(nonce, aead::Aad::from(about), &mut sealed);
        let text = text.map_err(|_| "a record does not open")?;
        if *kind == 23 {
            found.push(text.to_vec());
        }
    }
    Ok(found)
}
