//! The text form of calls and results, as `strace` writes them: shown, parsed, expected, and sent to the agent.
//!
//! * [`parse_call`] reads `sendto(s, "hello", 0, server:9)`; names come from an [`Env`].
//! * `Call`'s `Display` writes what [`parse_call`] reads back; [`Call::brief`] cuts long data as `strace` does.
//! * [`result_text`] writes what `strace` puts behind the `=`.
//! * [`encode_call`], [`decode_call`], [`encode_result`], [`decode_result`]: one line each, nothing lost.
//! * [`Expect`] holds a result against one string of a scenario file, such as `"hello" from server:9`.

mod codec;
mod expect;
mod parse;
mod scan;
mod show;
mod tcp_info;
#[cfg(test)]
mod tests;

use core::fmt;
use std::net::IpAddr;

pub use codec::{decode_call, decode_result, encode_call, encode_result};
pub use expect::Expect;
pub use parse::parse_call;
pub use show::{errno_text, result_text};
pub use tcp_info::FIELDS as TCP_INFO_FIELDS;

use super::Fd;

/// What names stand for where a call's text is read.
///
/// The unit type knows no name: `parse_call(text, &())` takes numbers and addresses only.
pub trait Env {
    /// The descriptor that a variable holds.
    fn fd(&self, name: &str) -> Option<Fd>;
    /// The address of a host. `ipv6` when the name stood in brackets (`[server]:53`).
    fn host(&self, name: &str, ipv6: bool) -> Option<IpAddr>;
    /// The number of an interface of the host that makes the call.
    fn ifindex(&self, name: &str) -> Option<u32>;
    /// All names it knows, for "did you mean".
    fn names(&self) -> Vec<String>;
}

impl Env for () {
    fn fd(&self, _: &str) -> Option<Fd> {
        None
    }
    fn host(&self, _: &str, _: bool) -> Option<IpAddr> {
        None
    }
    fn ifindex(&self, _: &str) -> Option<u32> {
        None
    }
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A text that is not a call (or an expectation): where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallTextError {
    /// Byte offset of the wrong word in the text.
    pub offset: usize,
    /// Its length in bytes; 0 when something is missing there.
    pub len: usize,
    /// What is wrong, naming the word.
    pub message: String,
    /// What to write instead, when that can be guessed.
    pub hint: Option<String>,
}

impl fmt::Display for CallTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}", self.message, self.offset + 1)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for CallTextError {}

/// The candidate that is most like `word`, when it is like it at all: at most a third of the letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
