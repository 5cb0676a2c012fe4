//! Splits a command line as a shell does: quotes, `$((…))`, `$PPID`, redirections, what joins commands.

use crate::target::ShellError;

/// What stands before a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    /// A line end, `;` or nothing.
    Next,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `|`
    Pipe,
}

/// Where the output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// To the next command, or nowhere.
    No,
    /// `> /dev/null`
    Null,
    /// `> FILE`
    File(String),
}

/// One simple command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) before: Separator,
    pub(super) words: Vec<String>,
    pub(super) redirect: Redirect,
}

struct Splitter<'a> {
    rest: &'a str,
    all: Vec<Command>,
    now: Command,
    word: Option<String>,
}

fn empty(before: Separator) -> Command {
    Command { before, words: Vec::new(), redirect: Redirect::No }
}

fn unknown<T>(text: impl Into<String>) -> Result<T, ShellError> {
    Err(ShellError::Unsupported(text.into()))
}

/// The commands of a text.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, ShellError> {
    let joined = text.replace("\\\n", " ");
    let mut splitter = Splitter { rest: &joined, all: Vec::new(), now: empty(Separator::Next), word: None };
    splitter.run()?;
    let words = ["for", "if", "while", "case", "function", "{", "(", "do", "then"];
    for command in &splitter.all {
        if command.words.first().is_some_and(|w| words.contains(&w.as_str())) {
            return unknown(format!("the shell construct `{}`", command.words.join(" ")));
        }
    }
    Ok(splitter.all)
}

impl Splitter<'_> {
    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.now.words.push(word);
        }
    }

    fn end_command(&mut self, next: Separator) {
        self.end_word();
        let done = core::mem::replace(&mut self.now, empty(next));
        if done.words.is_empty() && done.redirect == Redirect::No {
            // An empty line between: what joins the next command is what was said last.
            if next == Separator::Next {
                self.now.before = done.before;
            }
            return;
        }
        self.all.push(done);
    }

    fn push(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn run(&mut self) -> Result<(), ShellError> {
        while let Some(c) = self.rest.chars().next() {
            if self.word.is_none() && c == '#' {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if self.eat("&&") {
                self.end_command(Separator::And);
            } else if self.eat("||") {
                self.end_command(Separator::Or);
            } else if self.eat("\n") || self.eat(";") {
                self.end_command(Separator::Next);
            } else if self.redirection()? {
                continue;
            } else if self.eat("|") {
                self.end_command(Separator::Pipe);
            } else if c == '&' {
                return unknown("a command in the background");
            } else if c.is_whitespace() {
                self.end_word();
                self.rest = &self.rest[c.len_utf8()..];
            } else {
                self.piece(c)?;
            }
        }
        self.end_command(Separator::Next);
        Ok(())
    }

    /// `> FILE`, `&> FILE`, `2>&1`, `2> /dev/null`
    fn redirection(&mut self) -> Result<bool, ShellError> {
        if self.eat("2>&1") {
            return Ok(true);
        }
        let errors_only = self.word.is_none() && self.eat("2>");
        if !errors_only && !self.eat("&>") && !self.eat("1>") && !self.eat(">") {
            return Ok(false);
        }
        if self.rest.starts_with('>') {
            return unknown("appending to a file");
        }
        self.end_word();
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        let end = self.rest.find(|c: char| c.is_whitespace() || ";|&".contains(c)).unwrap_or(self.rest.len());
        let (path, rest) = self.rest.split_at(end);
        self.rest = rest;
        match (path, errors_only) {
            ("/dev/null", false) => self.now.redirect = Redirect::Null,
            ("/dev/null", true) => {}
            (path, false) if !path.is_empty() => self.now.redirect = Redirect::File(path.to_owned()),
            _ => return unknown(format!("redirection to `{path}`")),
        }
        Ok(true)
    }

    /// A quoted string, a substitution or one character.
    fn piece(&mut self, c: char) -> Result<(), ShellError> {
        match c {
            '\'' => {
                let Some(len) = self.rest[1..].find('\'') else { return unknown("a quote without end") };
                let text = self.rest[1..=len].to_owned();
                self.push(&text);
                self.rest = &self.rest[len + 2..];
            }
            '"' => {
                self.rest = &self.rest[1..];
                self.push("");
                loop {
                    match self.rest.chars().next() {
                        None => return unknown("a quote without end"),
                        Some('"') => break,
                        Some('$') => self.substitution()?,
                        Some('\\') => {
                            self.rest = &self.rest[1..];
                            self.take_char();
                        }
                        Some(_) => self.take_char(),
                    }
                }
                self.rest = &self.rest[1..];
            }
            '$' => self.substitution()?,
            '\\' => {
                self.rest = &self.rest[1..];
                self.take_char();
            }
            '`' => return unknown("a command in back quotes"),
            _ => self.take_char(),
        }
        Ok(())
    }

    fn take_char(&mut self) {
        if let Some(c) = self.rest.chars().next() {
            self.push(c.encode_utf8(&mut [0; 4]));
            self.rest = &self.rest[c.len_utf8()..];
        }
    }

    fn substitution(&mut self) -> Result<(), ShellError> {
        if self.rest.starts_with("$((") {
            let Some(end) = self.rest.find("))") else { return unknown("$(( without end") };
            let n = arithmetic(&self.rest[3..end])?;
            self.rest = &self.rest[end + 2..];
            self.push(&n.to_string());
            return Ok(());
        }
        for name in ["${PPID}", "$PPID", "${PACKETDRILL_PID}", "$PACKETDRILL_PID"] {
            if self.eat(name) {
                self.push("1");
                return Ok(());
            }
        }
        let word: String = self.rest.chars().take_while(|c| !c.is_whitespace()).collect();
        unknown(format!("the substitution {word}"))
    }
}

/// Products and sums of whole numbers with parentheses.
fn arithmetic(text: &str) -> Result<i64, ShellError> {
    let bad = || ShellError::Unsupported(format!("the arithmetic $(({text}))"));
    let mut total: i64 = 0;
    let flat: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if flat.contains(['(', ')', '/', '%', '-']) {
        return Err(bad());
    }
    for term in flat.split('+') {
        let mut product: i64 = 1;
        for factor in term.split('*') {
            product = product.checked_mul(factor.parse().map_err(|_| bad())?).ok_or_else(bad)?;
        }
        total = total.checked_add(product).ok_or_else(bad)?;
    }
    Ok(total)
}
