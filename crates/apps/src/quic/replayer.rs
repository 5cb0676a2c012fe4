//! `quic-replayer`: one on the way who passes datagrams on unread and says a client's first flight again later, as whoever
//! copied 0-RTT can (RFC 9001 §9.2). It only ever runs on hosts of the simulated world.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use net::UdpSocket;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::http::client::locked;
use crate::units::Span;
use crate::{App, AppFuture, Cx};

/// One who repeats what he cannot read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuicReplayer {
    /// The port on which it passes datagrams on; 443 unless given.
    #[serde(default = "https")]
    pub port: u16,
    /// The real server: `server:443`.
    pub to: String,
    /// Which connection's first flight it says again, counted from 1.
    pub connection: u16,
    /// How often; once unless given.
    #[serde(default = "one")]
    pub times: u16,
    /// How long after that flight; `1s` unless given.
    #[serde(default = "second")]
    pub after: Span,
}

fn https() -> u16 {
    443
}

fn one() -> u16 {
    1
}

fn second() -> Span {
    Span(Duration::from_secs(1))
}

/// The longest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Clients that it passes on.
const MAX_CLIENTS: usize = 1_024;
/// Connection IDs that it remembers.
const MAX_IDS: usize = 65_536;
/// Datagrams of a first flight.
const MAX_FLIGHT: usize = 64;
/// How long an answer to a replay is waited for.
const LISTEN: Duration = Duration::from_secs(5);

/// What a long header says in every version (RFC 8999 §5.1): to whom it goes, and from whom.
fn ids(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = datagram.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let rest = rest.get(4..)?;
    let (len, rest) = rest.split_first()?;
    let (to, rest) = rest.split_at_checked(usize::from(*len))?;
    let (len, rest) = rest.split_first()?;
    Some((to, rest.get(..usize::from(*len))?))
}

/// What it has learnt of connections.
#[derive(Default)]
struct Seen {
    /// IDs that the server gave itself.
    of_server: BTreeSet<Vec<u8>>,
    /// IDs that clients began with, and the number of each connection.
    begun: BTreeMap<Vec<u8>, u16>,
    flight: Vec<Vec<u8>>,
    /// The server has answered: the flight is whole.
    answered: bool,
}

impl Seen {
    /// A client's datagram; whether it is the first of the connection that is wanted.
    fn client_sent(&mut self, datagram: &[u8], wanted: u16) -> bool {
        let Some((to, _)) = ids(datagram) else { return false };
        if self.of_server.contains(to) || self.begun.len() >= MAX_IDS {
            return false;
        }
        let next = u16::try_from(self.begun.len() + 1).unwrap_or(u16::MAX);
        let number = *self.begun.entry(to.to_vec()).or_insert(next);
        if number != wanted || self.answered || self.flight.len() >= MAX_FLIGHT {
            return false;
        }
        self.flight.push(datagram.to_vec());
        self.flight.len() == 1
    }

    fn server_sent(&mut self, datagram: &[u8]) {
        self.answered |= !self.flight.is_empty();
        if let Some((_, from)) = ids(datagram)
            && self.of_server.len() < MAX_IDS
        {
            self.of_server.insert(from.to_vec());
        }
    }
}

impl App for QuicReplayer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if let Err(error) = self.listen(&cx).await {
                cx.print(format!("quic-replayer: {error}"));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

impl QuicReplayer {
    async fn listen(self: &Arc<Self>, cx: &Cx) -> io::Result<()> {
        let near = Arc::new(UdpSocket::bind(("0.0.0.0", self.port)).await?);
        let to = net::lookup_host(self.to.as_str()).await?.next();
        let to = to.ok_or_else(|| io::Error::other(format!("{} has no address", self.to)))?;
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let mut far: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let (n, client) = near.recv_from(&mut buffer).await?;
            let begins = locked(&seen).client_sent(&buffer[..n], self.connection);
            let socket = match far.get(&client) {
                Some(socket) => socket.clone(),
                None if far.len() >= MAX_CLIENTS => continue,
                None => {
                    let socket = Arc::new(UdpSocket::bind(("0.0.0.0", 0)).await?);
                    far.insert(client, socket.clone());
                    net::spawn(back(socket.clone(), near.clone(), client, seen.clone()));
                    socket
                }
            };
            socket.send_to(&buffer[..n], to).await?;
            if begins {
                let (app, cx, seen) = (self.clone(), cx.clone(), seen.clone());
                net::spawn(async move {
                    if let Err(error) = app.again(client, to, &seen, &cx).await {
                        cx.print(format!("quic-replayer: {error}"));
                    }
                });
            }
        }
    }

    /// Says the flight again from a socket of its own, and listens to what comes.
    async fn again(&self, client: SocketAddr, to: SocketAddr, seen: &Mutex<Seen>, cx: &Cx) -> io::Result<()> {
        for _ in 0..self.times {
            tokio::time::sleep(self.after.0).await;
            let flight = locked(seen).flight.clone();
            let bytes: usize = flight.iter().map(Vec::len).sum();
            let plural = if flight.len() == 1 { "" } else { "s" };
            cx.print(format!(
                "says the first {} datagram{plural} of {client} again, {bytes} bytes",
                flight.len()
            ));
            let socket = UdpSocket::bind(("0.0.0.0", 0)).await?;
            for datagram in &flight {
                socket.send_to(datagram, to).await?;
            }
            let (mut answered, mut buffer) = (0, vec![0; MAX_DATAGRAM]);
            let end = Instant::now() + LISTEN;
            while let Ok(received) = timeout_at(end, socket.recv_from(&mut buffer)).await {
                answered += received?.0;
            }
            cx.print(format!("the server answers {answered} bytes that nobody can read"));
        }
        Ok(())
    }
}

/// The server's datagrams on their way to a client.
async fn back(far: Arc<UdpSocket>, near: Arc<UdpSocket>, client: SocketAddr, seen: Arc<Mutex<Seen>>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    while let Ok((n, _)) = far.recv_from(&mut buffer).await {
        locked(&seen).server_sent(&buffer[..n]);
        // A client that is gone needs nothing.
        let _ = near.send_to(&buffer[..n], client).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initial(to: u8, from: u8) -> Vec<u8> {
        vec![0xc0, 0, 0, 0, 1, 1, to, 1, from, 0]
    }

    #[test]
    fn a_first_flight_is_what_comes_before_the_server_answers() {
        let mut seen = Seen::default();
        assert!(!seen.client_sent(&initial(1, 9), 2), "another connection");
        seen.server_sent(&initial(9, 5));
        assert!(!seen.client_sent(&initial(5, 9), 2), "to an ID of the server");
        assert!(seen.client_sent(&initial(2, 9), 2));
        assert!(!seen.client_sent(&initial(2, 9), 2), "its second datagram");
        seen.server_sent(&initial(9, 6));
        assert!(!seen.client_sent(&initial(2, 9), 2));
        assert_eq!(seen.flight.len(), 2);
    }

    #[test]
    fn headers_that_are_cut_off_have_no_ids() {
        let whole = initial(1, 9);
        assert_eq!(ids(&whole), Some((&[1][..], &[9][..])));
        for len in 0..9 {
            assert_eq!(ids(&whole[..len]), None, "{len}");
        }
        assert_eq!(ids(&[0x40; 30]), None, "a short header");
    }
}
