//! Borrowed halves: `tokio::net::tcp::{ReadHalf, WriteHalf}`.

use super::TcpStream;
use super::halves::{impl_read, impl_write, read_half, write_half};

/// The reading side, from [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a>(pub(super) &'a TcpStream);

/// The writing side, from [`TcpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a>(pub(super) &'a TcpStream);

impl ReadHalf<'_> {
    read_half!(self => self.0);
}

impl WriteHalf<'_> {
    write_half!(self => self.0);

    fn end(&mut self) -> std::io::Result<()> {
        self.0.shutdown_write()
    }
}

impl AsRef<TcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl_read!(ReadHalf<'_>);
impl_write!(WriteHalf<'_>, end);
