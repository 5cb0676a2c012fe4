//! What is wrong with a scenario file: file, line, column, the wrong word underlined, and what to write
//! instead. Several are shown at once, in the order of the file.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use unicode_width::UnicodeWidthStr;

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, one line without a full stop: ``no host is named `sever` ``.
    pub message: String,
    /// What to write instead; `None` when there is nothing better to say than the message.
    pub help: Option<String>,
    /// The bytes of `text` that are wrong; `None` when no place of a file is to blame (a command-line option).
    pub span: Option<Range<usize>>,
    /// The file's name, or `--drop` and the like for text from the command line.
    pub origin: Arc<str>,
    /// The whole text of the file.
    pub text: Arc<str>,
}

impl Diagnostic {
    /// Line and column of the first wrong character, both from 1; the column counts characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start.min(self.text.len());
        let before = &self.text[..floor(&self.text, start)];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// The whole message as a terminal shows it: message, place, the line, the underlined words, the help.
    pub fn render(&self, color: bool) -> String {
        let paint =
            |code: &str, s: &str| if color { format!("\x1b[{code}m{s}\x1b[0m") } else { s.to_string() };
        let mut out = format!("{}: {}\n", paint("1;31", "error"), paint("1", &self.message));
        if let (Some((line, column)), Some(span)) = (self.position(), &self.span) {
            let number = line.to_string();
            let pad = " ".repeat(number.len());
            let bar = paint("34", "|");
            let arrow = paint("34", "-->");
            out += &format!("{pad}{arrow} {}:{line}:{column}\n{pad} {bar}\n", self.origin);
            let source = self.text.lines().nth(line - 1).unwrap_or("");
            let line_start = self.text[..floor(&self.text, span.start.min(self.text.len()))].rfind('\n');
            let from = span.start.min(self.text.len()) - line_start.map_or(0, |i| i + 1);
            let from = floor(source, from.min(source.len()));
            let to = floor(source, (from + span.len()).min(source.len()));
            let source_shown = source.replace('\t', " ");
            let lead = source[..from].width_cjk_safe();
            let marked = source[from..to].width_cjk_safe().max(1);
            out += &format!("{} {bar} {source_shown}\n", paint("34", &number));
            let carets = "^".repeat(marked);
            out += &format!("{pad} {bar} {}{}\n", " ".repeat(lead), paint("1;31", &carets));
            if let Some(help) = &self.help {
                out += &format!("{pad} {} {help}\n", paint("34", "= help:"));
            }
        } else {
            out += &format!("  {} {}\n", paint("34", "-->"), self.origin);
            if let Some(help) = &self.help {
                out += &format!("  {} {help}\n", paint("34", "= help:"));
            }
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostic {}

/// The largest character boundary that is not after `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// Columns that a text takes in a terminal.
trait Columns {
    fn width_cjk_safe(&self) -> usize;
}

impl Columns for str {
    fn width_cjk_safe(&self) -> usize {
        self.replace('\t', " ").width()
    }
}

/// ``did you mean `server`?`` when one of `known` is close to `word`, else the list of them.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let closest = known
        .iter()
        .map(|k| (strsim::osa_distance(&word.to_lowercase(), &k.to_lowercase()), *k))
        .filter(|(d, k)| *d <= 1.max(k.len() / 3))
        .min_by_key(|(d, _)| *d);
    match closest {
        Some((_, k)) => Some(format!("did you mean `{k}`?")),
        None if known.is_empty() => None,
        None => {
            const SHOWN: usize = 12;
            let more = if known.len() > SHOWN { ", …" } else { "" };
            Some(format!("known: {}{more}", known[..known.len().min(SHOWN)].join(", ")))
        }
    }
}
