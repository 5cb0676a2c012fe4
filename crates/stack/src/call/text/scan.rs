//! Letters, words, numbers and strings of a call's text, and errors that point at them.

use super::{CallTextError, Env, nearest};

/// What reading gives.
pub(super) type Parsed<T> = Result<T, CallTextError>;

/// A place in a text.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) env: &'a dyn Env,
    /// No argument of the current call was read yet.
    pub(super) first: bool,
    pub(super) call: &'a str,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, env: &'a dyn Env) -> Self {
        Parser { text, at: 0, env, first: true, call: "" }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// The next character that is not white space.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.space();
        self.rest().chars().next()
    }

    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    pub(super) fn eat_str(&mut self, word: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// The whole word `word`, not just its first letters.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        self.space();
        let found = self.word_here() == word;
        if found {
            self.at += word.len();
        }
        found
    }

    pub(super) fn expect(&mut self, c: char) -> Parsed<()> {
        if self.eat(c) { Ok(()) } else { Err(self.unexpected(&format!("'{c}'"))) }
    }

    pub(super) fn end(&mut self) -> Parsed<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => {
                Err(self.fail(self.at, self.text.len(), format!("'{}' is left over", self.rest()), None))
            }
        }
    }

    pub(super) fn fail(
        &self,
        start: usize,
        end: usize,
        message: String,
        hint: Option<String>,
    ) -> CallTextError {
        CallTextError { offset: start, len: end - start, message, hint }
    }

    /// Names what stands here where `wanted` should.
    pub(super) fn unexpected(&mut self, wanted: &str) -> CallTextError {
        let end = self.token_end();
        let message = match &self.text[self.at..end] {
            "" => format!("{wanted} is missing"),
            found => format!("{wanted} is expected, not '{found}'"),
        };
        self.fail(self.at, end, message, None)
    }

    /// An unknown word in `start..self.at`, with the nearest of `known`.
    pub(super) fn unknown<'n>(
        &self,
        start: usize,
        what: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> CallTextError {
        let word = &self.text[start..self.at];
        let hint = nearest(word, known).map(|near| format!("did you mean '{near}'?"));
        self.fail(start, self.at, format!("'{word}' is no {what}"), hint)
    }

    /// Where the word, number or mark that begins here ends.
    pub(super) fn token_end(&mut self) -> usize {
        self.space();
        let rest = self.rest();
        let word = rest.find(|c: char| !(c.is_alphanumeric() || "_-.:*%".contains(c))).unwrap_or(rest.len());
        match (word, rest.chars().next()) {
            (0, Some(c)) => self.at + c.len_utf8(),
            (n, _) => self.at + n,
        }
    }

    pub(super) fn word_here(&self) -> &'a str {
        let rest = self.rest();
        let starts = rest.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if starts { &rest[..end] } else { "" }
    }

    /// A C identifier.
    pub(super) fn word(&mut self, what: &str) -> Parsed<&'a str> {
        self.space();
        let word = self.word_here();
        if word.is_empty() {
            return Err(self.unexpected(what));
        }
        self.at += word.len();
        Ok(word)
    }

    /// A number in decimal, hexadecimal (`0x`) or with a minus sign.
    pub(super) fn number(&mut self, what: &str) -> Parsed<i64> {
        self.space();
        let rest = self.rest();
        let minus = rest.starts_with('-');
        let digits = &rest[usize::from(minus)..];
        let (radix, skip) = if digits.starts_with("0x") { (16, 2) } else { (10, 0) };
        let end =
            digits[skip..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(digits.len(), |n| n + skip);
        let value = i128::from_str_radix(&digits[skip..end], radix).ok();
        let value = value.and_then(|v| i64::try_from(if minus { -v } else { v }).ok());
        match value {
            Some(value) => {
                self.at += usize::from(minus) + end;
                Ok(value)
            }
            None => Err(self.unexpected(what)),
        }
    }

    pub(super) fn int<T: TryFrom<i64>>(&mut self, what: &str) -> Parsed<T> {
        self.space();
        let start = self.at;
        let value = self.number(what)?;
        T::try_from(value)
            .map_err(|_| self.fail(start, self.at, format!("{value} is out of range for {what}"), None))
    }

    /// A string in C's notation.
    pub(super) fn string(&mut self) -> Parsed<Vec<u8>> {
        self.space();
        let start = self.at;
        self.expect('"')?;
        let mut out = Vec::new();
        let bytes = self.text.as_bytes();
        loop {
            let Some(&byte) = bytes.get(self.at) else {
                let message = "the string has no closing '\"'".into();
                return Err(self.fail(start, self.text.len(), message, None));
            };
            self.at += 1;
            match byte {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escape()?),
                byte => out.push(byte),
            }
        }
    }

    /// What follows a backslash.
    pub(super) fn escape(&mut self) -> Parsed<u8> {
        let bytes = self.text.as_bytes();
        let start = self.at - 1;
        let letter = bytes.get(self.at).copied().unwrap_or(b' ');
        let digits = |from: usize, radix: u32, most: usize| {
            let n = bytes[from..].iter().take(most).take_while(|b| char::from(**b).is_digit(radix)).count();
            (n, u16::from_str_radix(&self.text[from..from + n], radix).unwrap_or(0))
        };
        let (used, value) = match letter {
            b'n' => (1, b'\n'),
            b'r' => (1, b'\r'),
            b't' => (1, b'\t'),
            b'a' => (1, 7),
            b'b' => (1, 8),
            b'v' => (1, 11),
            b'f' => (1, 12),
            b'e' => (1, 27),
            b'"' | b'\\' | b'\'' | b'?' => (1, letter),
            b'x' => match digits(self.at + 1, 16, 2) {
                (n @ 1.., value) => (1 + n, u8::try_from(value).expect("two hexadecimal digits")),
                _ => (0, 0),
            },
            b'0'..=b'7' => {
                let (n, value) = digits(self.at, 8, 3);
                u8::try_from(value).map_or((0, 0), |value| (n, value))
            }
            _ => (0, 0),
        };
        if used == 0 {
            let end = (self.at + 1).min(self.text.len());
            let end =
                (end..=self.text.len()).find(|e| self.text.is_char_boundary(*e)).unwrap_or(self.text.len());
            let message = format!("'{}' is no escape of C", &self.text[start..end]);
            let hint = Some(r#"write \\ for a backslash, \xHH for a byte"#.into());
            return Err(self.fail(start, end, message, hint));
        }
        self.at += used;
        Ok(value)
    }
}
