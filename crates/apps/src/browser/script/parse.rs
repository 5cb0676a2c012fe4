//! The text of a script to steps for a machine with a stack.

use super::{ScriptError, Value, beyond};

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Push(Value),
    Drop,
    Load(String),
    Store(String),
    Add,
    Object(Vec<String>),
    Member(String),
    Assign(String),
    Call(usize),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Sign(char),
}

/// Bytes of a script.
const TEXT: usize = 64 << 10;
/// How deep brackets may stand in each other.
const DEPTH: usize = 32;

pub(super) fn parse(text: &str) -> Result<Vec<Op>, ScriptError> {
    if text.len() > TEXT {
        return Err(beyond(format_args!("more than {TEXT} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, ops: Vec::new(), depth: 0 };
    while parser.at < parser.tokens.len() {
        parser.statement()?;
    }
    Ok(parser.ops)
}

fn tokens(text: &str) -> Result<Vec<Token>, ScriptError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| beyond("a comment without an end"))?;
            rest = &comment[end + 2..];
        } else if matches!(c, '"' | '\'' | '`') {
            let (value, after) = string(&rest[1..], c)?;
            tokens.push(Token::Text(value));
            rest = after;
        } else if word(c) {
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let (front, after) = rest.split_at(end);
            tokens.push(match front.parse() {
                Ok(number) => Token::Number(number),
                Err(_) if c.is_ascii_digit() => return Err(beyond(format_args!("the number {front}"))),
                Err(_) => Token::Word(front.into()),
            });
            rest = after;
        } else if "(){}[].,;:+=".contains(c) && !rest.starts_with("==") && !rest.starts_with("=>") {
            tokens.push(Token::Sign(c));
            rest = &rest[1..];
        } else {
            let front: String = rest.chars().take(12).collect();
            return Err(beyond(format_args!("`{front}`")));
        }
    }
    Ok(tokens)
}

/// A string after its first quote, and what stands behind it.
fn string(text: &str, quote: char) -> Result<(String, &str), ScriptError> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((out, &text[at + c.len_utf8()..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('\\' | '/' | '"' | '\'' | '`' | '$')) => out.push(c),
                _ => return Err(beyond("this escape in a string")),
            },
            '\n' if quote != '`' => break,
            '$' if quote == '`' && text[at..].starts_with("${") => return Err(beyond("`${…}` in a string")),
            c => out.push(c),
        }
    }
    Err(ScriptError("SyntaxError: Invalid or unexpected token".into()))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    ops: Vec<Op>,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn eat(&mut self, sign: char) -> bool {
        let is = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(is);
        is
    }

    fn need(&mut self, sign: char) -> Result<(), ScriptError> {
        if self.eat(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> ScriptError {
        match self.peek() {
            None => ScriptError("SyntaxError: Unexpected end of input".into()),
            Some(Token::Word(word)) => ScriptError(format!("SyntaxError: Unexpected identifier '{word}'")),
            Some(Token::Text(_)) => ScriptError("SyntaxError: Unexpected string".into()),
            Some(Token::Number(_)) => ScriptError("SyntaxError: Unexpected number".into()),
            Some(Token::Sign(sign)) => ScriptError(format!("SyntaxError: Unexpected token '{sign}'")),
        }
    }

    fn word(&mut self) -> Result<String, ScriptError> {
        match self.peek().cloned() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn statement(&mut self) -> Result<(), ScriptError> {
        const BEYOND: [&str; 12] = [
            "function", "if", "for", "while", "class", "try", "throw", "return", "async", "import", "export",
            "switch",
        ];
        if self.eat(';') {
            return Ok(());
        }
        let first = match self.peek() {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        };
        if BEYOND.contains(&first.as_str()) {
            return Err(beyond(format_args!("`{first}`")));
        }
        if ["let", "const", "var"].contains(&first.as_str()) {
            self.at += 1;
            let name = self.word()?;
            self.need('=')?;
            self.expression()?;
            self.ops.push(Op::Store(name));
        } else {
            self.expression()?;
            if self.eat('=') {
                let place = match self.ops.pop() {
                    Some(Op::Load(name)) => Op::Store(name),
                    Some(Op::Member(name)) => Op::Assign(name),
                    _ => return Err(ScriptError("SyntaxError: Invalid left-hand side in assignment".into())),
                };
                self.expression()?;
                self.ops.push(place);
            } else {
                self.ops.push(Op::Drop);
            }
        }
        Ok(())
    }

    /// The depth is limited, so that a page cannot exhaust the machine's stack.
    fn expression(&mut self) -> Result<(), ScriptError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(beyond("brackets that deep"));
        }
        self.operand()?;
        while self.eat('+') {
            self.operand()?;
            self.ops.push(Op::Add);
        }
        self.depth -= 1;
        Ok(())
    }

    fn operand(&mut self) -> Result<(), ScriptError> {
        while self.peek() == Some(&Token::Word("await".into())) {
            // Everything is awaited here: a script does one thing at a time.
            self.at += 1;
        }
        self.primary()?;
        loop {
            if self.eat('.') {
                let name = self.word()?;
                self.ops.push(Op::Member(name));
            } else if self.eat('[') {
                let name = match self.peek() {
                    Some(Token::Text(text)) => text.clone(),
                    Some(Token::Number(n)) => n.to_string(),
                    _ => return Err(beyond("an index that is computed")),
                };
                self.at += 1;
                self.need(']')?;
                self.ops.push(Op::Member(name));
            } else if self.eat('(') {
                let count = self.list(')')?;
                self.ops.push(Op::Call(count));
            } else {
                return Ok(());
            }
        }
    }

    fn list(&mut self, end: char) -> Result<usize, ScriptError> {
        let mut count = 0;
        while !self.eat(end) {
            self.expression()?;
            count += 1;
            if !self.eat(',') {
                self.need(end)?;
                break;
            }
        }
        Ok(count)
    }

    fn primary(&mut self) -> Result<(), ScriptError> {
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected()) };
        match token {
            Token::Text(text) => self.ops.push(Op::Push(Value::Text(text))),
            Token::Number(number) => self.ops.push(Op::Push(Value::Number(number))),
            Token::Word(word) => match word.as_str() {
                "true" | "false" => self.ops.push(Op::Push(Value::Bool(word == "true"))),
                "undefined" | "null" => self.ops.push(Op::Push(Value::Undefined)),
                "new" => return self.image(),
                "function" | "async" | "typeof" | "this" => return Err(beyond(format_args!("`{word}`"))),
                _ => self.ops.push(Op::Load(word)),
            },
            Token::Sign('(') => {
                self.at += 1;
                self.expression()?;
                return self.need(')');
            }
            Token::Sign('{') => return self.object(),
            Token::Sign(_) => return Err(self.unexpected()),
        }
        self.at += 1;
        Ok(())
    }

    fn image(&mut self) -> Result<(), ScriptError> {
        self.at += 1;
        let class = self.word()?;
        if class != "Image" {
            return Err(beyond(format_args!("`new {class}`")));
        }
        if self.eat('(') {
            self.need(')')?;
        }
        self.ops.push(Op::Push(Value::Image));
        Ok(())
    }

    fn object(&mut self) -> Result<(), ScriptError> {
        self.need('{')?;
        let mut names = Vec::new();
        while !self.eat('}') {
            let name = match self.peek().cloned() {
                Some(Token::Word(name) | Token::Text(name)) => name,
                _ => return Err(self.unexpected()),
            };
            self.at += 1;
            self.need(':')?;
            self.expression()?;
            names.push(name);
            if !self.eat(',') {
                self.need('}')?;
                break;
            }
        }
        self.ops.push(Op::Object(names));
        Ok(())
    }
}
