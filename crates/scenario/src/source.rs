//! Where each value of a scenario file stands: spans by path, kept beside the plain data.
//!
//! The types of [`crate::file`] stay free of spans; a check names the path of what it dislikes
//! (`hosts.client.address.0`) and finds its place here.

use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;

/// The text of a file and the place of every key and value in it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) origin: Arc<str>,
    pub(crate) text: Arc<str>,
    values: BTreeMap<String, Range<usize>>,
    keys: BTreeMap<String, Range<usize>>,
}

/// Joins a path as [`Source`] knows it.
pub(crate) fn join(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_string() } else { format!("{path}\u{1}{part}") }
}

/// Builds a path from its parts.
macro_rules! place {
    ($($part:expr),+ $(,)?) => {{
        let mut path = String::new();
        $( path = $crate::source::join(&path, &$part.to_string()); )+
        path
    }};
}
pub(crate) use place;

impl Source {
    /// A source without places: text from the command line.
    pub(crate) fn command_line(option: &str, text: &str) -> Source {
        Source { origin: option.into(), text: text.into(), values: BTreeMap::new(), keys: BTreeMap::new() }
    }

    pub(crate) fn new(origin: &str, text: &str, table: &Spanned<DeTable<'_>>) -> Source {
        let mut source = Source::command_line(origin, text);
        source.values.insert(String::new(), table.span());
        source.walk_table("", table.get_ref());
        source
    }

    fn walk_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            self.keys.insert(path.clone(), key.span());
            self.walk(path, value);
        }
    }

    // The depth is bounded: the TOML parser refuses deep nesting (its recursion limit is 80).
    fn walk(&mut self, path: String, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.walk_table(&path, table),
            DeValue::Array(array) => {
                for (i, item) in array.iter().enumerate() {
                    self.walk(join(&path, &i.to_string()), item);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
        self.values.insert(path, value.span());
    }

    /// Whether the file has a value there (as opposed to a default).
    pub(crate) fn has(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// The place of a key's name.
    pub(crate) fn key(&self, path: &str) -> Option<Range<usize>> {
        self.keys.get(path).cloned()
    }

    /// The place of a value, without the quotes of a string.
    pub(crate) fn value(&self, path: &str) -> Option<Range<usize>> {
        let span = self.values.get(path)?.clone();
        let raw = &self.text[span.clone()];
        let quote = opening_quote(raw);
        if raw.len() >= 2 * quote && quote > 0 && raw.len() > 2 {
            return Some(span.start + quote..span.end - quote);
        }
        if raw.contains('\n') {
            // A table or a list over many lines: its key says it better.
            return self.key(path).or(Some(span.start..span.start + raw.find('\n').unwrap_or(raw.len())));
        }
        Some(span)
    }

    /// The place of some bytes of a string value, escapes counted.
    pub(crate) fn inside(&self, path: &str, part: Range<usize>) -> Option<Range<usize>> {
        let whole = self.values.get(path)?.clone();
        let raw = &self.text[whole.clone()];
        let quote = opening_quote(raw);
        if quote == 0 {
            return Some(whole);
        }
        let escapes = raw.starts_with('"');
        let end = raw.len() - quote;
        let mut at = quote;
        if quote == 3 && raw[at..].starts_with('\n') {
            at += 1;
        }
        let mut decoded = 0;
        let mut found = None;
        while at < end {
            if decoded >= part.start && found.is_none() {
                found = Some(at);
            }
            if decoded >= part.end {
                break;
            }
            let (raw_len, len) = one_char(&raw[at..end], escapes);
            at += raw_len;
            decoded += len;
        }
        let start = whole.start + found.unwrap_or(at);
        Some(start..(whole.start + at).max(start))
    }

    /// A diagnostic at a place.
    pub(crate) fn diagnostic(&self, span: Option<Range<usize>>, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            message: message.into(),
            help: None,
            span,
            origin: self.origin.clone(),
            text: self.text.clone(),
        }
    }

    /// A diagnostic about a value.
    pub(crate) fn at_value(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(self.value(path), message)
    }

    /// A diagnostic about a key.
    pub(crate) fn at_key(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        self.diagnostic(self.key(path).or_else(|| self.value(path)), message)
    }
}

impl Diagnostic {
    /// Adds what to write instead.
    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Diagnostic {
        self.help = help.into();
        self
    }
}

/// Bytes of the opening quote of a TOML string; 0 when it is none.
fn opening_quote(raw: &str) -> usize {
    if raw.starts_with("\"\"\"") || raw.starts_with("'''") {
        3
    } else {
        usize::from(raw.starts_with('"') || raw.starts_with('\''))
    }
}

/// Bytes of the next character as written and as meant.
fn one_char(raw: &str, escapes: bool) -> (usize, usize) {
    let c = raw.chars().next().expect("not at the end");
    if !(escapes && c == '\\') {
        return (c.len_utf8(), c.len_utf8());
    }
    let digits = match raw.as_bytes().get(1) {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        _ => return (2.min(raw.len()), 1),
    };
    let len = (2 + digits).min(raw.len());
    let meant = u32::from_str_radix(raw.get(2..len).unwrap_or("0"), 16).ok().and_then(char::from_u32);
    (len, meant.map_or(1, char::len_utf8))
}
