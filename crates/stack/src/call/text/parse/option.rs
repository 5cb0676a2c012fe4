//! Socket options and their values: numbers, names, `struct linger`, `timeval`, `ip_mreqn`.

use std::net::{IpAddr, Ipv4Addr};

use super::super::super::{OptValue, SockOpt};
use super::super::scan::{Parsed, Parser};
use crate::socket::options::{LEVELS, VALUES};

impl Parser<'_> {
    pub(super) fn sockopt(&mut self) -> Parsed<SockOpt> {
        self.next("the option's level")?;
        self.space();
        let digit = |p: &Self| p.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let level = if digit(self) { self.int("level")? } else { self.one_of("level of options", LEVELS)? };
        self.next("the option")?;
        self.space();
        if digit(self) {
            return Ok(SockOpt { level, name: self.int("option")? });
        }
        let word = self.word("socket option")?;
        let start = self.at - word.len();
        let Some(opt) = SockOpt::from_symbol(word) else {
            let known = SockOpt::NAMES.iter().map(|(name, _)| *name);
            return Err(self.unknown(start, "socket option", known));
        };
        if opt.level != level {
            let right = opt.level_symbol().expect("every named option has a named level");
            let hint = Some(format!("write {right}, {word}"));
            return Err(self.fail(start, self.at, format!("{word} is no option of this level"), hint));
        }
        Ok(opt)
    }

    pub(in crate::call::text) fn opt_value(&mut self, opt: SockOpt) -> Parsed<OptValue> {
        match self.peek() {
            Some('"') => {
                let start = self.at;
                let text = String::from_utf8(self.string()?)
                    .map_err(|_| self.fail(start, self.at, "the text is not UTF-8".into(), None))?;
                return Ok(OptValue::Text(text));
            }
            Some('{') => return self.opt_struct(),
            _ => {}
        }
        if self.eat_word("bytes") {
            return Ok(OptValue::Bytes(self.string()?.into()));
        }
        let start = self.at;
        let end = self.token_end();
        let token = &self.text[start..end];
        if let Some((_, value)) = VALUES.iter().find(|(name, _)| *name == token) {
            self.at = end;
            return Ok(OptValue::Int(*value));
        }
        if token.contains('.') || token.contains(':') {
            return self.ip().map(|ip| match (opt, ip) {
                (SockOpt::IP_MULTICAST_IF, IpAddr::V4(addr)) => {
                    OptValue::Membership(Ipv4Addr::UNSPECIFIED.into(), Some(addr), 0)
                }
                (_, group) => OptValue::Membership(group, None, 0),
            });
        }
        if matches!(opt, SockOpt::SO_RCVTIMEO | SockOpt::SO_SNDTIMEO) {
            if let Some(ms) = token.strip_suffix("ms").and_then(|n| n.parse::<i64>().ok()) {
                self.at = end;
                return Ok(OptValue::Timeval(ms / 1000, ms % 1000 * 1000));
            }
            if let Some(s) = token.strip_suffix('s').and_then(|n| n.parse::<i64>().ok()) {
                self.at = end;
                return Ok(OptValue::Timeval(s, 0));
            }
        }
        if token.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return self.int("value of the option").map(OptValue::Int);
        }
        if let Some(ifindex) = self.env.ifindex(token) {
            self.at = end;
            return Ok(OptValue::Int(i64::from(ifindex)));
        }
        self.at = end;
        Err(self.unknown(start, "value of an option", VALUES.iter().map(|(name, _)| *name)))
    }

    /// `{l_onoff=1, l_linger=5}`, `{tv_sec=1, tv_usec=0}`, `{group=239.1.1.1, addr=192.0.2.1, ifindex=eth0}`.
    pub(super) fn opt_struct(&mut self) -> Parsed<OptValue> {
        const KNOWN: &[&str] = &["l_onoff", "l_linger", "tv_sec", "tv_usec", "group", "addr", "ifindex"];
        let start = self.at;
        self.expect('{')?;
        let (mut linger, mut timeval) = ((None, None), (None, None));
        let (mut group, mut addr, mut ifindex) = (None, None, None);
        while !self.eat('}') {
            let word = self.word("field")?;
            if !KNOWN.contains(&word) {
                return Err(self.unknown(
                    self.at - word.len(),
                    "field of an option's value",
                    KNOWN.iter().copied(),
                ));
            }
            self.expect('=')?;
            match word {
                "l_onoff" => linger.0 = Some(self.number("l_onoff")?),
                "l_linger" => linger.1 = Some(self.int("l_linger")?),
                "tv_sec" => timeval.0 = Some(self.number("tv_sec")?),
                "tv_usec" => timeval.1 = Some(self.number("tv_usec")?),
                "group" => group = Some(self.ip()?),
                "addr" => {
                    let from = self.at;
                    let IpAddr::V4(v4) = self.ip()? else {
                        return Err(self.fail(from, self.at, "addr is an IPv4 address".into(), None));
                    };
                    addr = Some(v4);
                }
                _ => ifindex = Some(self.ifindex()?),
            }
            self.eat(',');
        }
        match (linger, timeval, group, addr, ifindex) {
            ((Some(on), seconds), (None, None), None, None, None) => {
                Ok(OptValue::Linger(on != 0, seconds.unwrap_or(0)))
            }
            ((None, None), (s, us), None, None, None) if s.or(us).is_some() => {
                Ok(OptValue::Timeval(s.unwrap_or(0), us.unwrap_or(0)))
            }
            ((None, None), (None, None), group, addr, ifindex)
                if group.is_some() || addr.is_some() || ifindex.is_some() =>
            {
                let group = group.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
                Ok(OptValue::Membership(group, addr, ifindex.unwrap_or(0)))
            }
            _ => Err(self.fail(start, self.at, "these fields do not belong together".into(), None)),
        }
    }
}
