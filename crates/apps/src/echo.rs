//! The echo service: what comes in goes out again (RFC 862).

use std::io;
use std::sync::Arc;

use net::{TcpListener, TcpStream, UdpSocket};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{App, AppFuture, Cx};

/// The echo service over TCP and UDP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    /// Its port; 7 unless given.
    #[serde(default = "well_known")]
    pub port: u16,
}

fn well_known() -> u16 {
    7
}

/// The longest datagram.
const DATAGRAM: usize = 65_535;
/// What one connection holds at a time.
const BUFFER: usize = 16 << 10;

impl App for Echo {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let (tcp, udp) = tokio::join!(tcp(self.port), udp(self.port));
            for error in [tcp, udp].into_iter().filter_map(Result::err) {
                cx.print(format!("echo: port {}: {error}", self.port));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

async fn tcp(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that breaks is its peer's business.
        net::spawn(async move { drop(connection(stream).await) });
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn udp(port: u16) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", port)).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (n, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..n], from).await?;
    }
}
