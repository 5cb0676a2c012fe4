//! TCP sockets shaped as `tokio::net`'s; the halves of a stream stand here, as in `tokio::net::tcp`.

mod halves;
mod listener;
pub(crate) mod options;
mod socket;
mod split;
mod split_owned;
mod stream;

pub use listener::TcpListener;
pub use socket::TcpSocket;
pub use split::{ReadHalf, WriteHalf};
pub use split_owned::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::TcpStream;

/// What cannot be done with a socket that the machine does not know.
pub(crate) fn no_descriptor() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "a socket of a lab has no descriptor on this machine and cannot become a std socket",
    )
}

pub(crate) fn domain_of(addr: std::net::SocketAddr) -> stack::call::Domain {
    if addr.is_ipv4() { stack::call::Domain::Inet } else { stack::call::Domain::Inet6 }
}
