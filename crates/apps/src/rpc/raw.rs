//! Calls as bytes: a length of four, a method of one, numbers of eight; the answer is a length and a number. Everything
//! big-endian.

use std::io;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{App, AppFuture, Cx};

/// The largest message.
const MAX_MESSAGE: u32 = 1 << 16;
/// The only method.
const ADD: u8 = 1;
/// Bytes of one call: there and back.
pub(super) const CALL: [u64; 2] = [4 + 1 + 2 * 8, 4 + 8];

/// A service that adds numbers, by length-prefixed bytes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RpcServer {
    /// Its port; 7000 unless given.
    pub port: Option<u16>,
}

/// One call and its answer.
pub(super) async fn add(stream: &mut net::TcpStream, numbers: [u64; 2]) -> io::Result<u64> {
    let mut message = vec![0, 0, 0, 17, ADD];
    message.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    stream.write_all(&message).await?;
    match stream.read_u32().await? {
        8 => stream.read_u64().await,
        length => Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {length} bytes"))),
    }
}

impl App for RpcServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let port = self.port.unwrap_or(7000);
            let listener = match net::TcpListener::bind(("0.0.0.0", port)).await {
                Ok(listener) => listener,
                Err(error) => {
                    cx.print(format!("rpc-server: port {port}: {error}"));
                    return 1;
                }
            };
            while let Ok((stream, peer)) = listener.accept().await {
                let cx = cx.clone();
                net::spawn(async move {
                    if let Err(why) = serve(stream).await {
                        cx.print(format!("rpc-server: {}: {why}", peer.ip()));
                    }
                });
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// One connection; a length that is no message's ends it before anything is read for it.
async fn serve(mut stream: net::TcpStream) -> Result<(), String> {
    let broken = |error: io::Error| error.to_string();
    stream.set_nodelay(true).map_err(broken)?;
    loop {
        let length = match stream.read_u32().await {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(broken(error)),
        };
        if length > MAX_MESSAGE {
            return Err(format!("a message of {length} bytes is refused: {MAX_MESSAGE} at most"));
        }
        let mut message = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
        stream.read_exact(&mut message).await.map_err(broken)?;
        let Some((&[ADD], numbers)) = message.split_first_chunk::<1>() else {
            return Err("an unknown method is refused".into());
        };
        let (numbers, rest) = numbers.as_chunks::<8>();
        if !rest.is_empty() {
            return Err("numbers have eight bytes".into());
        }
        let sum = numbers.iter().fold(0_u64, |sum, number| sum.wrapping_add(u64::from_be_bytes(*number)));
        let mut answer = vec![0, 0, 0, 8];
        answer.extend(sum.to_be_bytes());
        stream.write_all(&answer).await.map_err(broken)?;
    }
}
