//! tonic over these sockets: a channel by `Endpoint::connect_with_connector(net::hyper::Connector::new())`, a server by
//! `serve_with_incoming(net::tonic::Incoming::from(listener))`.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use ::tonic::transport::server::{Connected, TcpConnectInfo};
use futures_core::Stream;

use crate::{TcpListener, TcpStream};

/// The connections of a listener, for `serve_with_incoming`.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    nodelay: bool,
}

impl Incoming {
    /// `TCP_NODELAY` for every connection; on by default, as of `tonic::transport::Server`.
    #[must_use]
    pub fn nodelay(self, nodelay: bool) -> Incoming {
        Incoming { nodelay, ..self }
    }
}

impl From<TcpListener> for Incoming {
    fn from(listener: TcpListener) -> Incoming {
        Incoming { listener, nodelay: true }
    }
}

impl Stream for Incoming {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<TcpStream>>> {
        let accepted = self.listener.poll_accept(cx);
        accepted.map(|accepted| Some(accepted.and_then(|(s, _)| s.set_nodelay(self.nodelay).map(|()| s))))
    }
}

impl Connected for TcpStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: self.local_addr().ok(), remote_addr: self.peer_addr().ok() }
    }
}
