//! Where text goes: data to stdout, messages to stderr; a reader that closes the pipe ends the program quietly.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// When stdout is a terminal and `NO_COLOR` is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Widest ladder; wider terminals leave the rest empty, as long lines read badly.
const MAX_WIDTH: usize = 120;
/// Width when stdout is not a terminal: what mail, issues and code reviews show without wrapping.
const PLAIN_WIDTH: usize = 100;

/// The two streams and what they can show.
pub(crate) struct Output {
    pub(crate) color: bool,
    pub(crate) color_err: bool,
    pub(crate) unicode: bool,
    pub(crate) width: usize,
}

impl Output {
    pub(crate) fn new(color: Color, ascii: bool) -> Output {
        let wanted = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        let terminal = std::io::stdout().is_terminal();
        let width = match terminal_size::terminal_size() {
            Some((terminal_size::Width(w), _)) if terminal => usize::from(w).clamp(60, MAX_WIDTH),
            _ => PLAIN_WIDTH,
        };
        Output {
            color: wanted(terminal),
            color_err: wanted(std::io::stderr().is_terminal()),
            unicode: !ascii,
            width,
        }
    }

    /// Text for stdout, as it is.
    pub(crate) fn data(&mut self, text: impl Display) {
        if let Err(e) = write!(std::io::stdout().lock(), "{text}") {
            // `wirelab … | head` is no error.
            let status = if e.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { 3 };
            std::process::exit(status);
        }
    }

    /// A line for stdout.
    pub(crate) fn line(&mut self, text: impl Display) {
        self.data(format_args!("{text}\n"));
    }

    /// A line for stderr.
    pub(crate) fn message(&mut self, text: impl Display) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// `error: …` with an optional `hint: …` for stderr.
    pub(crate) fn error(&mut self, text: impl Display, hint: Option<&str>) {
        let (on, off) = if self.color_err { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        self.message(format_args!("{on}error:{off} {text}"));
        if let Some(hint) = hint {
            self.message(format_args!("hint: {hint}"));
        }
    }

    /// Bold, when stdout has colour.
    pub(crate) fn strong(&self, text: &str) -> String {
        if self.color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}
