//! Calls that make, name and end sockets, and `fcntl` and `ioctl`.

use super::super::super::{Call, Domain, Shutdown, SockType};
use super::super::scan::{Parsed, Parser};
use super::PROTOCOLS;

impl Parser<'_> {
    /// Calls with a descriptor and at most one word.
    pub(super) fn plain(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        Ok(match self.call {
            "listen" => {
                let backlog = if self.more()? { self.int("backlog")? } else { 4096 };
                Call::Listen { fd, backlog }
            }
            "accept" | "accept4" => {
                let flags = if self.more()? {
                    self.flags("flag of accept4", "", &[("SOCK_NONBLOCK", 1), ("SOCK_CLOEXEC", 0)])?
                } else {
                    0
                };
                Call::Accept { fd, nonblock: flags & 1 != 0 }
            }
            "shutdown" => {
                self.next("SHUT_RD, SHUT_WR or SHUT_RDWR")?;
                let how =
                    [("SHUT_RD", Shutdown::Rd), ("SHUT_WR", Shutdown::Wr), ("SHUT_RDWR", Shutdown::RdWr)];
                Call::Shutdown { fd, how: self.one_of("direction", &how)? }
            }
            "close" => Call::Close { fd },
            "dup" => Call::Dup { fd },
            "getsockname" => Call::GetSockName { fd },
            "getpeername" => Call::GetPeerName { fd },
            other => unreachable!("{other} is in CALLS and has no arm"),
        })
    }

    pub(super) fn socket(&mut self) -> Parsed<Call> {
        self.next("the domain")?;
        let domain = self.one_of("domain", &[("AF_INET", Domain::Inet), ("AF_INET6", Domain::Inet6)])?;
        self.next("the type")?;
        const TYPES: &[(&str, u32)] = &[
            ("SOCK_STREAM", 1),
            ("SOCK_DGRAM", 2),
            ("SOCK_RAW", 3),
            ("SOCK_NONBLOCK", 0x800),
            ("SOCK_CLOEXEC", 0),
        ];
        let start = self.at;
        let bits = self.flags("socket type", "", TYPES)?;
        let ty = match bits & 0xff {
            1 => SockType::Stream,
            2 => SockType::Dgram,
            3 => SockType::Raw,
            _ => {
                return Err(self.fail(
                    start,
                    self.at,
                    "the type is SOCK_STREAM, SOCK_DGRAM or SOCK_RAW".into(),
                    None,
                ));
            }
        };
        let protocol = match self.more()? {
            false => 0,
            true if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.int("protocol")?,
            true => self.one_of("protocol", PROTOCOLS)?,
        };
        Ok(Call::Socket { domain, ty, protocol, nonblock: bits & 0x800 != 0 })
    }

    pub(super) fn control(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        self.next("the command")?;
        if self.call == "ioctl" {
            let inq = [("SIOCINQ", true), ("FIONREAD", true), ("SIOCOUTQ", false), ("TIOCOUTQ", false)];
            let inq = self.one_of("ioctl command", &inq)?;
            return Ok(if inq { Call::IoctlInq { fd } } else { Call::IoctlOutq { fd } });
        }
        if !self.one_of("fcntl command", &[("F_GETFL", false), ("F_SETFL", true)])? {
            return Ok(Call::GetFl { fd });
        }
        self.next("O_NONBLOCK or 0")?;
        let bits = self.flags("file status flag", "", &[("O_NONBLOCK", 0x800), ("O_RDWR", 2)])?;
        Ok(Call::SetFl { fd, nonblock: bits & 0x800 != 0 })
    }
}
