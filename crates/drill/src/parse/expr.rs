//! Arguments of system calls: numbers, symbols, lists, structures.

use super::{Parsed, Parser};
use crate::ast::{Expr, Field};
use crate::lex::Token;

/// Braces in braces: more is no script.
const MAX_DEPTH: usize = 16;

impl Parser {
    /// Expressions separated by commas up to and with `end`.
    pub(super) fn expressions(&mut self, end: char) -> Parsed<Vec<Expr>> {
        self.expressions_at(end, 0)
    }

    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.expression_at(0)
    }

    fn expressions_at(&mut self, end: char, depth: usize) -> Parsed<Vec<Expr>> {
        let mut list = Vec::new();
        if self.eat(end) {
            return Ok(list);
        }
        loop {
            list.push(self.expression_at(depth)?);
            if self.eat(end) {
                return Ok(list);
            }
            self.need(',')?;
        }
    }

    fn expression_at(&mut self, depth: usize) -> Parsed<Expr> {
        let mut left = self.primary(depth)?;
        while self.eat('|') {
            let right = self.primary(depth)?;
            left = Expr::Or(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn primary(&mut self, depth: usize) -> Parsed<Expr> {
        if depth > MAX_DEPTH {
            return self.error("braces nested too deeply");
        }
        match self.peek() {
            Token::Ellipsis => {
                self.next();
                Ok(Expr::Ellipsis)
            }
            Token::Int(n, _) | Token::Hex(n) => {
                self.next();
                Ok(Expr::Int(n))
            }
            Token::Text(_) => self.text(),
            Token::Char('[') => {
                self.next();
                Ok(Expr::List(self.expressions_at(']', depth + 1)?))
            }
            Token::Char('{') => {
                self.next();
                self.braces(depth + 1)
            }
            Token::Word(word) => {
                self.next();
                if self.eat('=') {
                    return Ok(Expr::Assign(word, Box::new(self.expression_at(depth + 1)?)));
                }
                // A note after a result, as in `= 0 (flags O_RDWR)`, follows no function's name.
                if self.is_char('(') && matches!(word.as_str(), "htons" | "inet_addr" | "inet6_addr") {
                    self.next();
                    return Ok(Expr::Apply(word, self.expressions_at(')', depth + 1)?));
                }
                Ok(Expr::Word(word))
            }
            _ => self.unexpected("a value"),
        }
    }

    /// Strings side by side are one; `"…"...` is the string.
    fn text(&mut self) -> Parsed<Expr> {
        let mut all = Vec::new();
        while let Token::Text(text) = self.peek() {
            match unescape(&text) {
                Ok(bytes) => all.extend(bytes),
                Err(message) => return self.error(message),
            }
            self.next();
        }
        if self.peek() == Token::Ellipsis {
            self.next();
        }
        Ok(Expr::Text(all))
    }

    /// After `{`: a structure when its members are named, else a list.
    fn braces(&mut self, depth: usize) -> Parsed<Expr> {
        if self.is_word("gre") || self.is_word("GREv0") || self.is_char('(') || self.flags_without_value() {
            return self.raw();
        }
        let named =
            matches!(self.peek(), Token::Word(_)) && matches!(self.peek_second(), Token::Char('=' | '('));
        if !named {
            return Ok(Expr::Tuple(self.expressions_at('}', depth)?));
        }
        let mut fields = Vec::new();
        loop {
            let name = self.word("a member's name")?;
            let arg = if self.eat('(') {
                let arg = self.expression_at(depth)?;
                self.need(')')?;
                Some(arg)
            } else {
                None
            };
            self.need('=')?;
            let value = self.expression_at(depth)?;
            fields.push(Field { name, arg, value });
            if self.eat('}') {
                return Ok(Expr::Struct(fields));
            }
            self.need(',')?;
        }
    }

    /// `{flags 0x…` or `{flags [`: a GRE header.
    fn flags_without_value(&self) -> bool {
        (self.is_word("flags") || self.is_word("Flags")) && !matches!(self.peek_second(), Token::Char('='))
    }

    /// The words up to the closing brace.
    fn raw(&mut self) -> Parsed<Expr> {
        let mut words = Vec::new();
        while !self.eat('}') {
            if self.peek() == Token::End {
                return self.unexpected("`}`");
            }
            words.push(self.next().show());
        }
        Ok(Expr::Raw(words.join(" ")))
    }
}

/// C's escapes.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let [kind, tail @ ..] = rest else { return Err("a lone backslash in a string".into()) };
        rest = tail;
        out.push(match kind {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'0' => 0,
            b'a' => 7,
            b'b' => 8,
            b'v' => 11,
            b'f' => 12,
            b'x' => {
                let len = rest.iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
                let digits = core::str::from_utf8(&rest[..len]).unwrap_or_default();
                rest = &rest[len..];
                u8::from_str_radix(digits, 16).map_err(|_| "\\x without hex digits".to_owned())?
            }
            b'\\' | b'"' | b'\'' | b'?' => *kind,
            other => return Err(format!("unknown escape \\{}", char::from(*other))),
        });
    }
    Ok(out)
}
