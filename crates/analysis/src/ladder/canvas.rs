//! One line of text, cell by cell: what is placed may not overlap, wide characters take two cells.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How a cell looks when colours are on; never the only carrier of a meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Dim,
    Bold,
    Arrow,
    State,
    Bad,
    Call,
}

impl Style {
    fn sgr(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Dim => "\x1b[2m",
            Style::Bold => "\x1b[1m",
            Style::Arrow => "\x1b[36m",
            Style::State => "\x1b[32m",
            Style::Bad => "\x1b[31m",
            Style::Call => "\x1b[33m",
        }
    }
}

/// The cell behind a wide character.
const COVERED: char = '\0';

pub(super) struct Canvas {
    cells: Vec<(char, Style)>,
}

impl Canvas {
    pub(super) fn new(width: usize) -> Canvas {
        Canvas { cells: vec![(' ', Style::Plain); width] }
    }

    /// Puts text at a column; what does not fit the line is cut off.
    pub(super) fn put(&mut self, at: usize, text: &str, style: Style) {
        let mut x = at;
        for c in text.chars() {
            let c = if c.is_control() { '.' } else { c };
            let w = c.width().unwrap_or(0);
            if w == 0 || x + w > self.cells.len() {
                continue;
            }
            self.cells[x] = (c, style);
            if w == 2 {
                self.cells[x + 1] = (COVERED, style);
            }
            x += w;
        }
    }

    /// Nothing but blanks (and lifelines) stands there.
    pub(super) fn is_free(&self, from: usize, to: usize, lifeline: char) -> bool {
        let to = to.min(self.cells.len());
        from <= to && self.cells[from..to].iter().all(|(c, _)| *c == ' ' || *c == lifeline)
    }

    pub(super) fn finish(&self, color: bool) -> String {
        let end = self.cells.iter().rposition(|(c, _)| *c != ' ').map_or(0, |i| i + 1);
        let mut out = String::new();
        let mut now = Style::Plain;
        for &(c, style) in &self.cells[..end] {
            if c == COVERED {
                continue;
            }
            let style = if c == ' ' { Style::Plain } else { style };
            if color && style != now {
                if now != Style::Plain {
                    out.push_str("\x1b[0m");
                }
                out.push_str(style.sgr());
                now = style;
            }
            out.push(c);
        }
        if color && now != Style::Plain {
            out.push_str("\x1b[0m");
        }
        out
    }
}

/// Columns that text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Text cut to `most` columns, with a mark where something is missing.
pub(super) fn cut(text: &str, most: usize, unicode: bool) -> String {
    if width(text) <= most {
        return text.to_string();
    }
    let mark = if unicode { "…" } else { "~" };
    let mut out = String::new();
    let mut x = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if x + w + 1 > most {
            break;
        }
        out.push(c);
        x += w;
    }
    if most > 0 {
        out.push_str(mark);
    }
    out
}
