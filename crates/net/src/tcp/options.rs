//! Socket options that several of tokio's types have, on a socket of a world.

use std::io;
use std::time::Duration;

use stack::call::{OptValue, SockOpt};

use crate::sock::Sock;

/// `SO_LINGER`
pub(crate) fn linger(sock: &Sock) -> io::Result<Option<Duration>> {
    match sock.get(SockOpt::SO_LINGER)? {
        OptValue::Linger(true, seconds) => Ok(Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))),
        _ => Ok(None),
    }
}

/// `SO_LINGER`; parts of seconds are cut off, as everywhere.
pub(crate) fn set_linger(sock: &Sock, linger: Option<Duration>) -> io::Result<()> {
    let seconds = |d: Duration| i32::try_from(d.as_secs()).unwrap_or(i32::MAX);
    let value = OptValue::Linger(linger.is_some(), linger.map_or(0, seconds));
    sock.set(SockOpt::SO_LINGER, value)
}

/// `SO_BINDTODEVICE`
pub(crate) fn bind_device(sock: &Sock, interface: Option<&[u8]>) -> io::Result<()> {
    let name = core::str::from_utf8(interface.unwrap_or_default());
    let name = name.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    sock.set(SockOpt::SO_BINDTODEVICE, OptValue::Text(name.into()))
}

/// `SO_BINDTODEVICE`
pub(crate) fn device(sock: &Sock) -> io::Result<Option<Vec<u8>>> {
    Ok(match sock.get(SockOpt::SO_BINDTODEVICE)? {
        OptValue::Text(name) => Some(name.into_bytes()),
        OptValue::Bytes(name) => Some(name.iter().copied().take_while(|byte| *byte != 0).collect()),
        _ => None,
    }
    .filter(|name| !name.is_empty()))
}
