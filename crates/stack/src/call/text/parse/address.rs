//! Addresses in calls: IP addresses and names of hosts, ports, scopes, interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::super::super::SockAddr;
use super::super::nearest;
use super::super::scan::{Parsed, Parser};

impl Parser<'_> {
    /// An IP address or a host's name, without port.
    pub(in crate::call::text) fn ip(&mut self) -> Parsed<IpAddr> {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_-.:".contains(c))).unwrap_or(rest.len());
        let start = self.at;
        self.at += end;
        self.resolve(start, &rest[..end], rest[..end].contains(':'))
    }

    pub(super) fn resolve(&self, start: usize, name: &str, ipv6: bool) -> Parsed<IpAddr> {
        if let Ok(ip) = name.parse() {
            return Ok(ip);
        }
        if name == "*" {
            return Ok(if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() });
        }
        if let Some(ip) = self.env.host(name, ipv6) {
            return Ok(ip);
        }
        let names = self.env.names();
        let hint =
            nearest(name, names.iter().map(String::as_str)).map(|near| format!("did you mean '{near}'?"));
        let message = match name {
            "" => "an address is missing".into(),
            name => format!("'{name}' is neither an IP address nor a host with one"),
        };
        Err(self.fail(start, start + name.len(), message, hint))
    }

    /// `192.0.2.1:53`, `[2001:db8::1]:53`, `[fe80::1%eth0]:53`, `server:53`, `*:53`, `AF_UNSPEC`.
    pub(in crate::call::text) fn sock_addr(&mut self) -> Parsed<SockAddr> {
        if self.eat_word("AF_UNSPEC") {
            return Ok(SockAddr::Unspec);
        }
        self.address(false).map(|(ip, port, scope)| {
            let port = port.expect("no '*' allowed");
            SockAddr::Ip(match ip {
                IpAddr::V4(_) => SocketAddr::new(ip, port),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
            })
        })
    }

    /// Address, port and scope; port `None` for `*` where that is allowed.
    pub(in crate::call::text) fn address(&mut self, any_port: bool) -> Parsed<(IpAddr, Option<u16>, u32)> {
        self.space();
        let start = self.at;
        let ipv6 = self.eat('[');
        let from = self.at;
        let stop: &[char] = if ipv6 { &[']', '%', ',', ')'] } else { &[':', ',', ')', ' ', '}'] };
        self.at += self.rest().find(stop).unwrap_or(self.rest().len());
        let ip = self.resolve(from, &self.text[from..self.at], ipv6)?;
        let mut scope = 0;
        if ipv6 && self.eat('%') {
            scope = self.ifindex()?;
        }
        if ipv6 {
            self.expect(']')?;
        }
        if !self.rest().starts_with(':') {
            let message = format!("'{}' has no port", &self.text[start..self.at]);
            let hint = Some(format!("write {}:PORT", &self.text[start..self.at]));
            return Err(self.fail(start, self.at, message, hint));
        }
        self.at += 1;
        if any_port && self.eat('*') {
            return Ok((ip, None, scope));
        }
        Ok((ip, Some(self.int("port")?), scope))
    }

    /// An interface by name or number.
    pub(super) fn ifindex(&mut self) -> Parsed<u32> {
        self.space();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.int("interface number");
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_-.@".contains(c))).unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() {
            return Err(self.unexpected("an interface"));
        }
        self.at += end;
        self.env.ifindex(name).ok_or_else(|| {
            let names = self.env.names();
            self.unknown(self.at - end, "interface of this host", names.iter().map(String::as_str))
        })
    }
}
