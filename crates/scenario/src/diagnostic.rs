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
            let [before, marked, after] = window(source, from, to);
            let shown = format!("{before}{marked}{after}").replace('\t', " ");
            out += &format!("{} {bar} {shown}\n", paint("34", &number));
            let carets = "^".repeat(marked.width_cjk_safe().max(1));
            let lead = " ".repeat(before.width_cjk_safe());
            out += &format!("{pad} {bar} {lead}{}\n", paint("1;31", &carets));
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

/// What is shown of a line around its marked bytes: what stands before them, they, what stands after.
fn window(line: &str, from: usize, to: usize) -> [String; 3] {
    /// Characters before, in and after the mark: lines that people write are shorter.
    const MOST: [usize; 3] = [80, 80, 80];
    let head = |text: &str, most: usize| match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    };
    let before = match line[..from].char_indices().rev().nth(MOST[0]) {
        Some((at, _)) => format!("…{}", &line[ceil(line, at + 1)..from]),
        None => line[..from].to_owned(),
    };
    [before, head(&line[from..to], MOST[1]), head(&line[to..], MOST[2])]
}

/// The smallest character boundary that is not before `at`.
fn ceil(text: &str, at: usize) -> usize {
    (at..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_many_thousand_characters_is_shown_around_its_mark() {
        let text: Arc<str> = format!("{}X{}", "ä".repeat(50_000), "ö".repeat(50_000)).into();
        let mark = 100_000..100_001;
        let wrong = Diagnostic {
            message: "wrong".into(),
            help: None,
            span: Some(mark),
            origin: "a.toml".into(),
            text,
        };
        let shown = wrong.render(false);
        assert!(shown.contains("a.toml:1:50001"), "{shown}");
        let mut lines = shown.lines().skip(3);
        let (line, carets) = (lines.next().expect("the line"), lines.next().expect("the mark"));
        assert!(line.chars().count() < 200, "{line}");
        let at = |text: &str, c: char| text.chars().position(|x| x == c).expect("it is shown");
        assert_eq!(at(line, 'X'), at(carets, '^'));
    }
}
