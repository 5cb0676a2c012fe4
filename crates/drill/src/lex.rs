//! Tokens of a script: packetdrill's lexical rules, longest match first.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::parse::ParseError;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// `--name`
    Option(String),
    /// `[-]digits`, with its text: cookies are hex digits.
    Int(i64, String),
    /// `0x…`
    Hex(i64),
    /// `[-]digits.digits`: whole microseconds, and its text.
    Float(i64, String),
    /// A word that is no number.
    Word(String),
    /// `"…"`, escapes as written.
    Text(String),
    /// `` `…` ``
    Shell(String),
    /// `%{ … }%`, without the white space at its ends.
    Code(String),
    /// `...`
    Ellipsis,
    /// An IPv4 address.
    Ip4(Ipv4Addr),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// Any other character.
    Char(char),
    /// The end.
    End,
}

impl Token {
    /// As messages show it.
    pub(crate) fn show(&self) -> String {
        match self {
            Token::Option(s) => format!("--{s}"),
            Token::Int(_, s) | Token::Float(_, s) | Token::Word(s) => s.clone(),
            Token::Hex(n) => format!("{n:#x}"),
            Token::Text(s) => format!("\"{s}\""),
            Token::Shell(_) => "a shell command".into(),
            Token::Code(_) => "a code block".into(),
            Token::Ellipsis => "...".into(),
            Token::Ip4(a) => a.to_string(),
            Token::Ip6(a) => a.to_string(),
            Token::Char(c) => c.to_string(),
            Token::End => "the end of the script".into(),
        }
    }
}

/// A token and the line of its last character.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) token: Token,
    pub(crate) line: u32,
}

/// Splits a script. The last token is [`Token::End`].
pub(crate) fn lex(text: &str) -> Result<Vec<Located>, ParseError> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token == Token::End;
        tokens.push(Located { token, line: lexer.line });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

fn word_len(s: &str) -> usize {
    s.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

fn digits(s: &str) -> usize {
    s.bytes().take_while(u8::is_ascii_digit).count()
}

/// `[-]?[0-9]*[.][0-9]+`
fn float_len(s: &str) -> usize {
    let sign = usize::from(s.starts_with('-'));
    let whole = digits(&s[sign..]);
    let rest = &s[sign + whole..];
    match rest.strip_prefix('.').map(digits) {
        Some(n) if n > 0 => sign + whole + 1 + n,
        _ => 0,
    }
}

fn int_len(s: &str) -> usize {
    let sign = usize::from(s.starts_with('-'));
    match digits(&s[sign..]) {
        0 => 0,
        n => sign + n,
    }
}

fn hex_len(s: &str) -> usize {
    match s.strip_prefix("0x").map(|s| s.bytes().take_while(u8::is_ascii_hexdigit).count()) {
        Some(n) if n > 0 => 2 + n,
        _ => 0,
    }
}

fn ip4(s: &str) -> Option<(usize, Ipv4Addr)> {
    let len = s.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let s = &s[..len];
    if s.bytes().filter(|b| *b == b'.').count() != 3 {
        return None;
    }
    s.parse().ok().map(|a| (len, a))
}

/// Sequence ranges such as `1:1001` are no addresses: those have `::` or all eight groups.
fn ip6(s: &str) -> Option<(usize, Ipv6Addr)> {
    let len = s.bytes().take_while(|b| b.is_ascii_hexdigit() || *b == b':').count();
    let mut s = &s[..len];
    // `ipv6 a::1 > b::2:` ends with a colon of its own.
    loop {
        if s.contains("::") || s.bytes().filter(|b| *b == b':').count() == 7 {
            if let Ok(a) = s.parse() {
                return Some((s.len(), a));
            }
            s = s.strip_suffix(':')?;
        } else {
            return None;
        }
    }
}

/// Decimal seconds as whole microseconds.
fn micros(s: &str) -> Option<i64> {
    let (negative, s) = match s.strip_prefix('-') {
        Some(s) => (true, s),
        None => (false, s),
    };
    let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut padded: String = fraction.chars().take(6).collect();
    while padded.len() < 6 {
        padded.push('0');
    }
    let total = whole.checked_mul(1_000_000)?.checked_add(padded.parse().ok()?)?;
    Some(if negative { -total } else { total })
}

impl Lexer<'_> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { line: self.line, message: message.into() }
    }

    fn take(&mut self, len: usize) -> String {
        let taken = &self.text[self.at..self.at + len];
        self.at += len;
        self.line += u32::try_from(taken.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX);
        taken.to_owned()
    }

    /// Skips white space and comments.
    fn skip(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = &self.text[self.at..];
            let len = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").ok_or_else(|| self.error("a comment without end"))? + 2
            } else {
                rest.len() - rest.trim_start().len()
            };
            if len == 0 {
                return Ok(());
            }
            self.take(len);
        }
    }

    /// The text up to the `end` quote that no backslash stands before.
    fn quoted(&mut self, end: char) -> Result<String, ParseError> {
        let rest = &self.text[self.at + 1..];
        let mut escaped = false;
        let close = rest.char_indices().find(|(_, c)| {
            let here = *c == end && !escaped;
            escaped = *c == '\\' && !escaped;
            here
        });
        let Some((len, _)) = close else { return Err(self.error(format!("a {end} without end"))) };
        self.take(1);
        let inside = self.take(len);
        self.take(1);
        Ok(inside)
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        self.skip()?;
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if let Some((len, address)) = ip4(rest) {
            self.take(len);
            return Ok(Token::Ip4(address));
        }
        if let Some((len, address)) = ip6(rest) {
            self.take(len);
            return Ok(Token::Ip6(address));
        }
        if rest.starts_with("...") {
            self.take(3);
            return Ok(Token::Ellipsis);
        }
        if first == '"' {
            return Ok(Token::Text(self.quoted('"')?));
        }
        if first == '`' {
            return Ok(Token::Shell(self.quoted('`')?));
        }
        if rest.starts_with("%{") {
            let len = rest.find("}%").ok_or_else(|| self.error("a code block without end"))?;
            let all = self.take(len + 2);
            return Ok(Token::Code(all[2..len].trim_matches([' ', '\t']).to_owned()));
        }
        if let Some(name) = rest.strip_prefix("--")
            && word_len(name) > 0
        {
            let len = word_len(name);
            return Ok(Token::Option(self.take(len + 2)[2..].to_owned()));
        }
        self.number_or_word(first)
    }

    fn number_or_word(&mut self, first: char) -> Result<Token, ParseError> {
        let rest = &self.text[self.at..];
        let (word, float, int, hex) = (word_len(rest), float_len(rest), int_len(rest), hex_len(rest));
        let longest = word.max(float).max(int).max(hex);
        if longest == 0 {
            self.take(first.len_utf8());
            return Ok(Token::Char(first));
        }
        let text = self.take(longest);
        let too_big = || self.error(format!("{text} does not fit 64 bits"));
        if float == longest {
            return Ok(Token::Float(micros(&text).ok_or_else(too_big)?, text));
        }
        if int == longest {
            return Ok(Token::Int(text.parse().map_err(|_| too_big())?, text));
        }
        if hex == longest {
            let n = u64::from_str_radix(&text[2..], 16).map_err(|_| too_big())?;
            return Ok(Token::Hex(n.cast_signed()));
        }
        Ok(Token::Word(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let mut all: Vec<Token> = lex(text).unwrap().into_iter().map(|l| l.token).collect();
        assert_eq!(all.pop(), Some(Token::End));
        all
    }

    #[test]
    fn a_blocking_call_is_two_times_around_an_ellipsis() {
        let all = tokens("0.1...0.25 read");
        assert_eq!(all[0], Token::Float(100_000, "0.1".into()));
        assert_eq!(all[1], Token::Ellipsis);
        assert_eq!(all[2], Token::Float(250_000, "0.25".into()));
        assert_eq!(
            tokens("+0...2")[1..],
            [Token::Int(0, "0".into()), Token::Ellipsis, Token::Int(2, "2".into())]
        );
    }

    #[test]
    fn sequence_ranges_are_no_ipv6_addresses() {
        assert_eq!(tokens("1:1001(1000)").len(), 6);
        assert_eq!(tokens("2001:db8::1"), [Token::Ip6("2001:db8::1".parse().unwrap())]);
        assert_eq!(tokens("1:2:3:4:5:6:7:8"), [Token::Ip6("1:2:3:4:5:6:7:8".parse().unwrap())]);
        let all = tokens("ipv6 fd::1 > fd::2: .");
        assert_eq!(
            all[1..],
            [
                Token::Ip6("fd::1".parse().unwrap()),
                Token::Char('>'),
                Token::Ip6("fd::2".parse().unwrap()),
                Token::Char(':'),
                Token::Char('.'),
            ]
        );
    }

    #[test]
    fn flags_with_a_counter_are_a_word_and_a_fraction() {
        assert_eq!(tokens("P.5"), [Token::Word("P".into()), Token::Float(500_000, ".5".into())]);
        assert_eq!(tokens("S. 0"), [Token::Word("S".into()), Token::Char('.'), Token::Int(0, "0".into())]);
    }

    #[test]
    fn lines_are_counted_through_comments_and_quotes() {
        let all = lex("/* a\nb */ x // c\n`d\ne` y").unwrap();
        let lines: Vec<u32> = all.iter().map(|l| l.line).collect();
        assert_eq!(lines, [2, 4, 4, 4]);
        assert!(lex("\"abc").is_err());
    }

    #[test]
    fn times_are_exact_microseconds() {
        assert_eq!(tokens("0.29")[0], Token::Float(290_000, "0.29".into()));
        assert_eq!(tokens(".0000019")[0], Token::Float(1, ".0000019".into()));
    }
}
