//! A filter's words and signs, each with its place in the text.

use super::FilterError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A field, a keyword, or a value without quotation marks.
    Word(&'t str),
    /// What stands between quotation marks, escapes not yet read.
    Text(&'t str),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

impl core::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Token::Word(w) => write!(f, "{w:?}"),
            Token::Text(t) => write!(f, "\"{t}\""),
            Token::Sign(s) => write!(f, "{s:?}"),
            Token::End => f.write_str("the end of the filter"),
        }
    }
}

/// A token and the bytes of the text it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spanned<'t> {
    pub(super) token: Token<'t>,
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// Longer signs before their beginnings.
const SIGNS: [&str; 24] = [
    "===", "!==", "==", "!=", "<=", ">=", "&&", "||", "..", "~=", "<", ">", "!", "(", ")", "{", "}", "[",
    "]", ",", "&", "=", "|", "^",
];

/// All tokens, the last being `End`.
pub(super) fn tokens(text: &str) -> Result<Vec<Spanned<'_>>, FilterError> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            out.push(Spanned { token: Token::End, offset: at, len: 0 });
            return Ok(out);
        };
        let (token, len) = if first == '"' {
            let end = text_end(rest).ok_or_else(|| FilterError {
                offset: at,
                len: rest.len(),
                message: "this text has no closing quotation mark".into(),
                hint: None,
            })?;
            (Token::Text(&rest[1..end]), end + 1)
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            (Token::Sign(sign), sign.len())
        } else {
            match word_len(rest) {
                0 => {
                    return Err(FilterError {
                        offset: at,
                        len: first.len_utf8(),
                        message: format!("{first:?} has no meaning in a filter"),
                        hint: None,
                    });
                }
                n => (Token::Word(&rest[..n]), n),
            }
        };
        out.push(Spanned { token, offset: at, len });
        at += len;
    }
}

/// Letters, digits and what stands inside fields, addresses and byte strings; not the `..` of a range.
fn word_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut n = 0;
    while let Some(&b) = bytes.get(n) {
        let range = b == b'.' && bytes.get(n + 1) == Some(&b'.');
        if range || !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'/' | b'-' | b'+')) {
            break;
        }
        n += 1;
    }
    n
}

/// The offset of the quotation mark that ends the text `rest` begins with.
fn text_end(rest: &str) -> Option<usize> {
    let mut escaped = false;
    rest.bytes().enumerate().skip(1).find_map(|(i, b)| {
        let end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        end.then_some(i)
    })
}
