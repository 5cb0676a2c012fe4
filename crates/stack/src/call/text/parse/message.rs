//! Control messages (`cmsg(3)`) and `struct sock_extended_err` in calls and expectations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::super::Cmsg;
use super::super::scan::{Parsed, Parser};
use crate::errno::Errno;

impl Parser<'_> {
    pub(in crate::call::text) fn cmsg(&mut self) -> Parsed<Cmsg> {
        const KNOWN: &[&str] = &[
            "IP_TTL",
            "IPV6_HOPLIMIT",
            "IP_TOS",
            "IPV6_TCLASS",
            "IP_PKTINFO",
            "IPV6_PKTINFO",
            "IP_RECVERR",
            "IPV6_RECVERR",
            "SO_TIMESTAMPNS",
            "UDP_SEGMENT",
            "UDP_GRO",
            "cmsg",
        ];
        match self.word("control message")? {
            "IP_TTL" | "IPV6_HOPLIMIT" => self.int("TTL").map(Cmsg::Ttl),
            "IP_TOS" | "IPV6_TCLASS" => self.int("TOS").map(Cmsg::Tos),
            "IP_PKTINFO" => self.pktinfo(Ipv4Addr::UNSPECIFIED.into()),
            "IPV6_PKTINFO" => self.pktinfo(Ipv6Addr::UNSPECIFIED.into()),
            "IP_RECVERR" | "IPV6_RECVERR" => {
                let e = self.extended_err()?;
                Ok(Cmsg::ExtendedErr {
                    errno: e.errno.unwrap_or(Errno(0)),
                    origin: e.origin.unwrap_or(0),
                    ty: e.ty.unwrap_or(0),
                    code: e.code.unwrap_or(0),
                    info: e.info.unwrap_or(0),
                    data: e.data.unwrap_or(0),
                    offender: e.offender,
                })
            }
            "SO_TIMESTAMPNS" => self.unsigned().map(Cmsg::Timestamp),
            "UDP_SEGMENT" | "UDP_GRO" => self.int("segment size").map(Cmsg::SegmentSize),
            "cmsg" => {
                let (level, ty) = (self.int("level")?, self.int("type")?);
                Ok(Cmsg::Other(level, ty, self.string()?.into()))
            }
            word => Err(self.unknown(self.at - word.len(), "control message", KNOWN.iter().copied())),
        }
    }

    /// `eth0 src 192.0.2.1 dst 192.0.2.1`, each part optional.
    pub(super) fn pktinfo(&mut self, unspecified: IpAddr) -> Parsed<Cmsg> {
        let (mut spec_dst, mut addr, mut ifindex) = (unspecified, unspecified, 0);
        loop {
            if self.eat_word("src") {
                spec_dst = self.ip()?;
            } else if self.eat_word("dst") {
                addr = self.ip()?;
            } else if ifindex == 0 && self.peek().is_some_and(char::is_alphanumeric) {
                ifindex = self.ifindex()?;
            } else {
                return Ok(Cmsg::PktInfo { ifindex, spec_dst, addr });
            }
        }
    }

    /// The fields of `struct sock_extended_err` that are written.
    pub(in crate::call::text) fn extended_err(&mut self) -> Parsed<ExtendedErrFields> {
        const KNOWN: &[&str] =
            &["ee_errno", "ee_origin", "ee_type", "ee_code", "ee_info", "ee_data", "offender"];
        let mut e = ExtendedErrFields::default();
        self.expect('{')?;
        while !self.eat('}') {
            let word = self.word("field of sock_extended_err")?;
            let start = self.at - word.len();
            if let Some(errno) = Errno::from_name(word) {
                e.errno = Some(errno);
            } else {
                let known = KNOWN.contains(&word);
                if !known {
                    return Err(self.unknown(start, "field of sock_extended_err", KNOWN.iter().copied()));
                }
                self.expect('=')?;
                match word {
                    "ee_errno" => e.errno = Some(self.errno()?),
                    "ee_origin" => e.origin = Some(self.origin()?),
                    "ee_type" => e.ty = Some(self.int("ICMP type")?),
                    "ee_code" => e.code = Some(self.int("ICMP code")?),
                    "ee_info" => e.info = Some(self.int("ee_info")?),
                    "ee_data" => e.data = Some(self.int("ee_data")?),
                    _ => e.offender = Some(self.ip()?),
                }
            }
            self.eat(',');
        }
        Ok(e)
    }

    pub(in crate::call::text) fn errno(&mut self) -> Parsed<Errno> {
        self.space();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.int("errno").map(Errno);
        }
        let word = self.word("errno")?;
        Errno::from_name(word).ok_or_else(|| self.unknown(self.at - word.len(), "errno", Errno::names()))
    }

    pub(super) fn origin(&mut self) -> Parsed<u8> {
        self.space();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.int("ee_origin");
        }
        self.eat_str("SO_EE_ORIGIN_");
        self.one_of(
            "ee_origin",
            &[("NONE", 0), ("LOCAL", 1), ("ICMP", 2), ("ICMP6", 3), ("TIMESTAMPING", 4), ("ZEROCOPY", 5)],
        )
    }
}

/// Fields of an extended error; `None` where the text is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::call::text) struct ExtendedErrFields {
    pub(in crate::call::text) errno: Option<Errno>,
    pub(in crate::call::text) origin: Option<u8>,
    pub(in crate::call::text) ty: Option<u8>,
    pub(in crate::call::text) code: Option<u8>,
    pub(in crate::call::text) info: Option<u32>,
    pub(in crate::call::text) data: Option<u32>,
    pub(in crate::call::text) offender: Option<IpAddr>,
}
