//! `datagram-tunnel`: one end of an encrypted tunnel for UDP between two gateways. Each datagram travels whole in a QUIC DATAGRAM frame
//! (RFC 9221) between them: encrypted and authenticated as WireGuard would do it, neither retransmitted nor put in order, and no longer
//! than what fits into one packet of the way. What is longer is dropped, and only the gateway knows: it sends no ICMP error, as it
//! forwards datagrams and not IP packets. Both ends prove themselves (mutual TLS).

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use net::UdpSocket;
use quinn::{Connection, Incoming, SendDatagramError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::app::read_table;
use crate::http::client::locked;
use crate::quic::{Life, client_config, client_endpoint, server_config, server_endpoint, transport};
use crate::tls::server::below;
use crate::tls::{ClientOptions, ClientTls, ServerOptions, ServerTls, VersionWord};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// An end of a tunnel. With `client` it takes plain datagrams and sends encrypted ones, with `server` the other way round.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatagramTunnel {
    /// The UDP port on which it listens: plain datagrams at the near end, QUIC at the far end.
    pub port: u16,
    /// Where they go on to: the other end, or whom they are for. An address and a port.
    pub to: SocketAddr,
    /// The near end: it opens the tunnel.
    #[serde(default)]
    pub client: Option<ClientOptions>,
    /// The name that the far end must prove, with `client`.
    #[serde(default)]
    pub name: Option<String>,
    /// The far end.
    #[serde(default)]
    pub server: Option<ServerOptions>,
}

/// Senders that are told apart: each has a number of two bytes in front of its datagrams.
const FLOWS: u16 = 1024;
/// The largest datagram.
const LARGEST: usize = 65_535;
/// A tunnel without traffic ends after this time.
const IDLE: Duration = Duration::from_secs(60);
/// What both ends speak, for ALPN.
const ALPN: &str = "wirelab-datagrams";

/// Reads the table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let mut app: DatagramTunnel = read_table(table)?;
    let mut problems = Vec::new();
    if app.client.is_some() == app.server.is_some() || app.client.is_some() != app.name.is_some() {
        let help = "client = {} with name = \"gw2.example\", or server = { certificate = \"…\" }";
        let message = "an end of a tunnel is either its client, with the name of the server, or its server";
        problems.push(Problem { path: Vec::new(), message: message.into(), help: Some(help.into()) });
    }
    if let Some(client) = &mut app.client {
        (client.alpn, client.versions) = (vec![ALPN.into()], vec![VersionWord::Tls13]);
        problems.extend(below("client", client.check(env)));
    }
    if let Some(server) = &mut app.server {
        (server.alpn, server.versions) = (vec![ALPN.into()], vec![VersionWord::Tls13]);
        problems.extend(below("server", server.check(env)));
    }
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

impl App for DatagramTunnel {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let ended = match (&self.client, &self.server) {
                (Some(tls), _) => self.near(tls, &cx).await,
                (None, Some(tls)) => self.far(tls, &cx).await,
                (None, None) => Ok(()),
            };
            if let Err(error) = ended {
                cx.print(format!("datagram-tunnel: {error}"));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// Puts a datagram into the tunnel; one that does not fit is told and dropped.
fn enter(connection: &Connection, flow: u16, payload: &[u8], cx: &Cx) -> io::Result<()> {
    let mut whole = BytesMut::with_capacity(payload.len() + 2);
    whole.put_u16(flow);
    whole.put_slice(payload);
    match connection.send_datagram(whole.freeze()) {
        Err(SendDatagramError::TooLarge) => {
            let room = connection.max_datagram_size().map_or(0, |size| size.saturating_sub(2));
            cx.print(format!(
                "a datagram of {} bytes does not fit into the tunnel, {room} would: dropped",
                payload.len()
            ));
            Ok(())
        }
        other => other.map_err(io::Error::other),
    }
}

/// The number and the datagram.
fn leave(mut whole: Bytes) -> Option<(u16, Bytes)> {
    let flow = u16::from_be_bytes(whole.get(..2)?.try_into().ok()?);
    Some((flow, whole.split_off(2)))
}

impl DatagramTunnel {
    async fn near(&self, tls: &ClientOptions, cx: &Cx) -> io::Result<()> {
        let tls = ClientTls::new(tls, &cx.env().pki, Some(cx))?;
        let plain = UdpSocket::bind(("0.0.0.0", self.port)).await?;
        let any = (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0);
        let mut endpoint = client_endpoint(cx, 0, UdpSocket::bind(any).await?)?;
        endpoint.set_default_client_config(client_config(&tls, transport(IDLE, None)?, Arc::default())?);
        let mut open: Option<Connection> = None;
        let mut flows: Vec<SocketAddr> = Vec::new();
        let mut buffer = vec![0; LARGEST];
        loop {
            let coming = async {
                match &open {
                    Some(connection) => connection.read_datagram().await,
                    None => core::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                came = coming => match came {
                    Ok(whole) => {
                        let Some((flow, payload)) = leave(whole) else { continue };
                        if let Some(peer) = flows.get(usize::from(flow)) {
                            plain.send_to(&payload, *peer).await?;
                        }
                    }
                    // The next datagram opens another one.
                    Err(error) => {
                        cx.print(format!("the tunnel ended: {error}"));
                        open = None;
                    }
                },
                read = plain.recv_from(&mut buffer) => {
                    let (n, peer) = read?;
                    let known = flows.iter().position(|flow| *flow == peer);
                    let flow = match known {
                        Some(flow) => flow,
                        None if flows.len() < usize::from(FLOWS) => {
                            flows.push(peer);
                            flows.len() - 1
                        }
                        None => continue,
                    };
                    let connection = match open.take() {
                        Some(connection) => connection,
                        None => {
                            let name = self.name.as_deref().unwrap_or_default();
                            let connecting = endpoint.connect(self.to, name).map_err(io::Error::other)?;
                            connecting.await.map_err(io::Error::other)?
                        }
                    };
                    enter(&connection, u16::try_from(flow).unwrap_or(u16::MAX), &buffer[..n], cx)?;
                    open = Some(connection);
                }
            }
        }
    }

    async fn far(&self, tls: &ServerOptions, cx: &Cx) -> io::Result<()> {
        let tls = ServerTls::new(tls, &cx.env().pki, Some(cx))?;
        let socket = UdpSocket::bind(("0.0.0.0", self.port)).await?;
        let config = server_config(&tls, transport(IDLE, None)?, true)?;
        let (endpoint, _plug) = server_endpoint(cx, config, &[], Life::default(), Arc::new(socket))?;
        while let Some(incoming) = endpoint.accept().await {
            let (cx, to) = (cx.clone(), self.to);
            net::spawn(async move {
                if let Err(error) = tunnel(incoming, to, &cx).await {
                    cx.print(format!("datagram-tunnel: {error}"));
                }
            });
        }
        Ok(())
    }
}

/// The far end of one tunnel: a socket for each sender, so that answers find their way back.
async fn tunnel(incoming: Incoming, to: SocketAddr, cx: &Cx) -> io::Result<()> {
    let connection = incoming.accept().map_err(io::Error::other)?.await.map_err(io::Error::other)?;
    cx.print(format!("a tunnel to {}", connection.remote_address()));
    let sockets: Mutex<BTreeMap<u16, Arc<UdpSocket>>> = Mutex::default();
    while let Ok(whole) = connection.read_datagram().await {
        let Some((flow, payload)) = leave(whole).filter(|(flow, _)| *flow < FLOWS) else { continue };
        let known = locked(&sockets).get(&flow).cloned();
        let socket = match known {
            Some(socket) => socket,
            None => {
                let socket = Arc::new(UdpSocket::bind(("0.0.0.0", 0)).await?);
                socket.connect(to).await?;
                locked(&sockets).insert(flow, socket.clone());
                net::spawn(back(socket.clone(), connection.clone(), flow, cx.clone()));
                socket
            }
        };
        // Whether anybody is there is not the tunnel's business.
        let _ = socket.send(&payload).await;
    }
    Ok(())
}

async fn back(socket: Arc<UdpSocket>, connection: Connection, flow: u16, cx: Cx) {
    let mut buffer = vec![0; LARGEST];
    loop {
        tokio::select! {
            _ = connection.closed() => return,
            read = socket.recv(&mut buffer) => {
                // ICMP errors about what was sent before.
                let Ok(n) = read else { continue };
                if enter(&connection, flow, &buffer[..n], &cx).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_has_its_sender_in_front() {
        assert_eq!(leave(Bytes::from_static(&[1, 2, 3])), Some((258, Bytes::from_static(&[3]))));
        assert_eq!(leave(Bytes::from_static(&[0, 0])), Some((0, Bytes::new())));
        assert_eq!(leave(Bytes::from_static(&[0])), None);
    }
}
