//! Packets of a script: prefix, IP information, TCP with options, UDP, ICMP.

use wire::tcp::Flags;

use super::{Parsed, Parser};
use crate::ast::{Body, Icmp, IpInfo, Outer, Packet, Quoted, Tcp, TcpOption, Tos};
use crate::lex::Token;

/// Bytes that TCP options may take.
const MAX_OPTIONS: usize = 40;

impl Parser {
    pub(super) fn packet(&mut self) -> Parsed<Packet> {
        let inbound = self.next() == Token::Char('<');
        let mut outer = Vec::new();
        while let Some(header) = self.outer()? {
            outer.push(header);
        }
        let ip = self.ip_info()?;
        if inbound && ip.tos == Tos::Ect01 {
            return self.error("[ect01] can only be used with outbound packets");
        }
        if self.eat_word("udp") {
            let ports = self.ports()?;
            self.need('(')?;
            let len = self.number("UDP payload size")?;
            self.need(')')?;
            return Ok(Packet { inbound, outer, ip, psp: None, ports, body: Body::Udp { len } });
        }
        if self.eat_word("icmp") {
            let body = Body::Icmp(self.icmp()?);
            return Ok(Packet { inbound, outer, ip, psp: None, ports: None, body });
        }
        let mut psp = None;
        if self.eat_word("encap") {
            if !(self.eat_word("psp") && self.eat_word("spi")) {
                return self.unexpected("`psp spi`");
            }
            psp = Some(self.number("SPI")?);
        }
        let ports = self.ports()?;
        let body = Body::Tcp(self.tcp(inbound)?);
        Ok(Packet { inbound, outer, ip, psp, ports, body })
    }

    fn outer(&mut self) -> Parsed<Option<Outer>> {
        if self.is_word("ipv4") || self.is_word("ipv6") {
            self.next();
            let info = self.ip_info()?;
            let mut address = || match self.next() {
                Token::Ip4(a) => Some(std::net::IpAddr::V4(a)),
                Token::Ip6(a) => Some(std::net::IpAddr::V6(a)),
                _ => None,
            };
            let src = address();
            let arrow = self.eat('>');
            let dst = match self.next() {
                Token::Ip4(a) => Some(std::net::IpAddr::V4(a)),
                Token::Ip6(a) => Some(std::net::IpAddr::V6(a)),
                _ => None,
            };
            let (Some(src), true, Some(dst)) = (src, arrow, dst) else {
                return self.error("expected `source > destination:` of an outer header");
            };
            self.need(':')?;
            return Ok(Some(Outer::Ip { src, dst, info }));
        }
        let gre = self.is_word("gre") || self.is_word("GREv0");
        if !gre && !self.is_word("mpls") {
            return Ok(None);
        }
        self.next();
        let mut words = Vec::new();
        while !self.eat(':') {
            if self.peek() == Token::End {
                return self.unexpected("`:`");
            }
            words.push(self.next().show());
        }
        let words = words.join(" ");
        Ok(Some(if gre { Outer::Gre(words) } else { Outer::Mpls(words) }))
    }

    fn ip_info(&mut self) -> Parsed<IpInfo> {
        let close = match self.peek() {
            Token::Char('(') => ')',
            Token::Char('[') => ']',
            _ => return Ok(IpInfo::default()),
        };
        self.next();
        let mut info = IpInfo::default();
        loop {
            match self.word("noecn, ect0, ect1, ce, ect01, tos, flowlabel or ttl")?.as_str() {
                "noecn" => info.tos = Tos::Ecn(0),
                "ect1" => info.tos = Tos::Ecn(1),
                "ect0" => info.tos = Tos::Ecn(2),
                "ce" => info.tos = Tos::Ecn(3),
                "ect01" => info.tos = Tos::Ect01,
                "tos" => info.tos = Tos::Byte(self.number("tos")?),
                "ttl" => info.ttl = self.number("ttl")?,
                "flowlabel" => {
                    info.flow_label = self.number("flowlabel")?;
                    if info.flow_label > 0xf_ffff {
                        return self.error("flowlabel out of range for 20 bits");
                    }
                }
                other => return self.error(format!("unknown IP information {other}")),
            }
            if self.eat(close) {
                return Ok(info);
            }
            self.need(',')?;
        }
    }

    fn ports(&mut self) -> Parsed<Option<(u16, u16)>> {
        if !(matches!(self.peek(), Token::Int(..)) && *self.peek_second() == Token::Char('>')) {
            return Ok(None);
        }
        let src = self.number("source port")?;
        self.need('>')?;
        Ok(Some((src, self.number("destination port")?)))
    }

    fn icmp(&mut self) -> Parsed<Icmp> {
        let kind = self.word("an ICMP type")?;
        let code = match self.peek() {
            Token::Word(word) if word != "mtu" && word != "id" => Some(self.word("a code")?),
            _ => None,
        };
        let mtu = if self.eat_word("mtu") { Some(self.number("mtu")?) } else { None };
        let id = if self.eat_word("id") { self.number("id")? } else { 0 };
        let mut quoted = Quoted::Tcp { seq: 0, len: 0 };
        if self.eat('[') {
            let udp = self.is_word("udp");
            if self.eat_word("udp") || self.eat_word("raw") {
                self.need('(')?;
                let len = self.number("payload size")?;
                self.need(')')?;
                quoted = if udp { Quoted::Udp { len } } else { Quoted::Raw { len } };
            } else {
                let (seq, len) = self.seq()?;
                quoted = Quoted::Tcp { seq, len };
            }
            self.need(']')?;
        }
        Ok(Icmp { kind, code, mtu, id, quoted })
    }

    fn seq(&mut self) -> Parsed<(u32, u16)> {
        let seq: u32 = self.number("TCP start sequence number")?;
        self.need(':')?;
        let end: u32 = self.number("TCP end sequence number")?;
        self.need('(')?;
        let len: u16 = self.number("TCP payload size")?;
        self.need(')')?;
        if u64::from(end) != u64::from(seq) + u64::from(len) {
            return self.error("inconsistent TCP sequence numbers and payload size");
        }
        Ok((seq, len))
    }

    fn flags(&mut self) -> Parsed<(u16, bool)> {
        let mut text = String::new();
        if self.eat('-') {
            return Ok((0, false));
        }
        if let Token::Word(word) = self.peek() {
            self.next();
            text.push_str(&word);
        }
        match self.peek() {
            Token::Char('.') => {
                self.next();
                text.push('.');
            }
            Token::Float(_, fraction) => {
                self.next();
                text.push_str(&fraction);
            }
            _ if text.is_empty() => return self.unexpected("TCP flags"),
            _ => {}
        }
        let (mut bits, mut counter) = (0, None);
        for c in text.chars() {
            let flag = crate::packet::letters().find(|(_, letter)| *letter == c);
            match (flag, c) {
                (Some((flag, _)), _) => bits |= flag.0,
                (None, '0'..='7') if counter.is_none() => counter = c.to_digit(8),
                (None, _) => return self.error(format!("invalid TCP flag {c:?}")),
            }
        }
        let ecn = Flags::ECE.0 | Flags::CWR.0 | Flags::AE.0;
        if let Some(n) = counter {
            if bits & ecn != 0 {
                return self.error("E, W or A together with a counter of congestion marks");
            }
            for (bit, flag) in [(1, Flags::ECE.0), (2, Flags::CWR.0), (4, Flags::AE.0)] {
                if n & bit != 0 {
                    bits |= flag;
                }
            }
        }
        Ok((bits, counter.is_some()))
    }

    fn tcp(&mut self, inbound: bool) -> Parsed<Tcp> {
        let (flags, ace) = self.flags()?;
        let (seq, len) = self.seq()?;
        let ack = if self.eat_word("ack") { self.number("TCP ack sequence number")? } else { 0 };
        let window = if self.eat_word("win") { Some(self.number("TCP window")?) } else { None };
        let urgent = if self.eat_word("urg") { self.number("urg_ptr")? } else { 0 };
        if inbound && window.is_none() {
            return self.error("window must be specified for inbound packets");
        }
        let mut options = Some(Vec::new());
        if self.eat('<') {
            if self.peek() == Token::Ellipsis {
                self.next();
                self.need('>')?;
                if inbound {
                    return self.error("<...> for TCP options can only be used with outbound packets");
                }
                options = None;
            } else {
                options = Some(self.options()?);
            }
        }
        Ok(Tcp { flags, ace, seq, len, ack, window, urgent, options })
    }

    fn options(&mut self) -> Parsed<Vec<TcpOption>> {
        let mut all = Vec::new();
        loop {
            all.push(self.option()?);
            if self.eat('>') {
                break;
            }
            self.need(',')?;
        }
        let len: usize = all.iter().map(TcpOption::wire_len).sum();
        if len > MAX_OPTIONS {
            return self.error("TCP option list too long");
        }
        if !len.is_multiple_of(4) {
            return self.error(format!(
                "TCP options are not padded correctly to ensure TCP header is a multiple of 4 bytes: {} excess bytes",
                len % 4
            ));
        }
        Ok(all)
    }

    fn option(&mut self) -> Parsed<TcpOption> {
        let name = self.word("a TCP option")?;
        Ok(match name.as_str() {
            "nop" => TcpOption::Nop,
            "eol" => TcpOption::Eol,
            "mss" => TcpOption::Mss(self.number("mss value")?),
            "wscale" => TcpOption::WindowScale(self.number("window scale shift count")?),
            "sackOK" => TcpOption::SackPermitted,
            "sack" => {
                let mut blocks = Vec::new();
                while matches!(self.peek(), Token::Int(..)) {
                    let left = self.number("TCP SACK left sequence number")?;
                    self.need(':')?;
                    blocks.push((left, self.number("TCP SACK right sequence number")?));
                }
                if blocks.is_empty() {
                    return self.unexpected("a SACK block");
                }
                TcpOption::Sack(blocks)
            }
            "TS" => {
                if !self.eat_word("val") {
                    return self.unexpected("`val`");
                }
                let val = self.number("ts val")?;
                if !self.eat_word("ecr") {
                    return self.unexpected("`ecr`");
                }
                TcpOption::Timestamps { val, ecr: self.number("ecr val")? }
            }
            "FO" | "FOEXP" => TcpOption::FastOpen { cookie: self.hex()?, experimental: name == "FOEXP" },
            "md5" => TcpOption::Md5(self.hex()?),
            "ECN" => self.acc_ecn()?,
            other => return self.error(format!("unknown TCP option {other}")),
        })
    }

    /// Hex digits, which can look like a number or a word; none is allowed.
    fn hex(&mut self) -> Parsed<Vec<u8>> {
        let text = match self.peek() {
            Token::Int(_, text) | Token::Word(text) => text,
            _ => return Ok(Vec::new()),
        };
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        match digits {
            Some(digits) if digits.len() % 2 == 0 => {
                self.next();
                let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).expect("two hex digits");
                Ok(digits.chunks(2).map(byte).collect())
            }
            _ => self.error(format!("{text} is not a whole number of hex bytes")),
        }
    }

    fn acc_ecn(&mut self) -> Parsed<TcpOption> {
        let first = self.word("e0b or e1b")?;
        let (e1b_first, last) = match first.as_str() {
            "e0b" => (false, "e1b"),
            "e1b" => (true, "e0b"),
            _ => return self.error("ECN begins with e0b or e1b"),
        };
        let mut counters = vec![self.counter()?];
        if self.eat_word("ceb") {
            counters.push(self.counter()?);
            if self.eat_word(last) {
                counters.push(self.counter()?);
            }
        }
        Ok(TcpOption::AccEcn { e1b_first, counters })
    }

    fn counter(&mut self) -> Parsed<u32> {
        let n: u32 = self.number("AccECN field")?;
        if n > 0xff_ffff { self.error("TCP AccECN field value out of range") } else { Ok(n) }
    }
}
