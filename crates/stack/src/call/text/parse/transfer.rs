//! Calls that read and write.

use super::super::super::{Call, Fd, MsgFlags};
use super::super::scan::{Parsed, Parser};
use super::DEFAULT_CONTROL_LEN;

impl Parser<'_> {
    pub(super) fn input(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        self.next("the buffer's length")?;
        Ok(match self.call {
            "read" => Call::Read { fd, len: self.length()? },
            "readv" => Call::Readv { fd, lens: self.list(Self::length)? },
            "recv" => Call::Recv { fd, len: self.length()?, flags: self.last_flags()? },
            "recvfrom" => Call::RecvFrom { fd, len: self.length()?, flags: self.last_flags()? },
            _ => {
                let lens = self.list(Self::length)?;
                let (mut control_len, mut flags) = (DEFAULT_CONTROL_LEN, MsgFlags(0));
                if self.more()? {
                    if self.label("control") {
                        control_len = self.length()?;
                        flags = self.last_flags()?;
                    } else {
                        flags = self.msg_flags()?;
                    }
                }
                Call::RecvMsg { fd, lens, control_len, flags }
            }
        })
    }

    pub(super) fn output(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        self.next("the data")?;
        Ok(match self.call {
            "write" => Call::Write { fd, data: self.data()? },
            "writev" => Call::Writev { fd, data: self.list(Self::data)? },
            "send" => Call::Send { fd, data: self.data()?, flags: self.last_flags()? },
            "sendto" => {
                let data = self.data()?;
                self.next("the flags or the address")?;
                let end = self.token_end();
                let token = &self.text[self.at..end];
                let is_flags =
                    token.starts_with("MSG_") || !token.contains(':') && token.parse::<u32>().is_ok();
                let flags = if is_flags || token.starts_with("0x") {
                    let flags = self.msg_flags()?;
                    self.next("the address")?;
                    flags
                } else {
                    MsgFlags(0)
                };
                Call::SendTo { fd, data, flags, addr: self.sock_addr()? }
            }
            _ => self.sendmsg(fd)?,
        })
    }

    pub(super) fn sendmsg(&mut self, fd: Fd) -> Parsed<Call> {
        const KNOWN: &[&str] = &["addr", "data", "control"];
        let (mut addr, mut data, mut control) = (None, Vec::new(), Vec::new());
        self.expect('{')?;
        while !self.eat('}') {
            let word = self.word("addr=, data= or control=")?;
            if !KNOWN.contains(&word) {
                return Err(self.unknown(self.at - word.len(), "field of a message", KNOWN.iter().copied()));
            }
            self.expect('=')?;
            match word {
                "addr" => addr = Some(self.sock_addr()?),
                "data" => data = self.list(Self::data)?,
                _ => control = self.list(Self::cmsg)?,
            }
            self.eat(',');
        }
        Ok(Call::SendMsg { fd, addr, data, control, flags: self.last_flags()? })
    }
}
