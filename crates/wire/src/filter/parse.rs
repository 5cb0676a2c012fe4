//! Filter text to nodes, by recursive descent of bounded depth; errors point at the bytes that are wrong.

use super::lex::{Spanned, Token, tokens};
use super::literal::{Literal, Written, uint};
use super::{Field, FilterError, Kind, MAX_DEPTH, MAX_LEN, Node, Operand, Relation, Right, Slice, fields};

pub(super) fn parse(text: &str) -> Result<Node, FilterError> {
    if text.len() > MAX_LEN {
        return Err(FilterError {
            offset: MAX_LEN.min(text.floor_char_boundary(MAX_LEN)),
            len: 1,
            message: format!("a filter is at most {MAX_LEN} bytes long"),
            hint: None,
        });
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let node = parser.or()?;
    match parser.peek().token {
        Token::End => Ok(node),
        Token::Sign("=") => Err(parser.error("a filter compares with ==", Some("write == instead of ="))),
        Token::Sign("|" | "^") => Err(parser.error("only & tests bits", None)),
        Token::Word("matches") | Token::Sign("~=") => {
            Err(parser.error("regular expressions are not available", Some("use contains \"text\"")))
        }
        token => Err(parser.error(&format!("\"and\", \"or\" or the end is expected, not {token}"), None)),
    }
}

struct Parser<'t> {
    tokens: Vec<Spanned<'t>>,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Spanned<'t> {
        self.tokens[self.at]
    }

    /// The next token; `End` stays.
    fn next(&mut self) -> Spanned<'t> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take(&mut self, wanted: &[Token<'_>]) -> bool {
        let found = wanted.contains(&self.peek().token);
        if found {
            self.next();
        }
        found
    }

    fn error(&self, message: &str, hint: Option<&str>) -> FilterError {
        error(self.peek(), message, hint)
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), FilterError> {
        if self.take(&[Token::Sign(sign)]) {
            return Ok(());
        }
        Err(self.error(&format!("{sign:?} is expected, not {}", self.peek().token), None))
    }

    fn or(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.and()?];
        while self.take(&[Token::Sign("||"), Token::Word("or")]) {
            nodes.push(self.and()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Or(nodes) })
    }

    fn and(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.not()?];
        while self.take(&[Token::Sign("&&"), Token::Word("and")]) {
            nodes.push(self.not()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::And(nodes) })
    }

    fn not(&mut self) -> Result<Node, FilterError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(&format!("nested deeper than {MAX_DEPTH}"), None));
        }
        self.depth += 1;
        let node = if self.take(&[Token::Sign("!"), Token::Word("not")]) {
            Node::Not(Box::new(self.not()?))
        } else if self.take(&[Token::Sign("(")]) {
            let node = self.or()?;
            self.expect(")")?;
            node
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(node)
    }

    /// A field, and what it is tested for.
    fn test(&mut self) -> Result<Node, FilterError> {
        let left = self.operand()?;
        if self.take(&[Token::Word("in")]) {
            return self.set(left);
        }
        let Some(relation) = relation(self.peek().token) else { return Ok(Node::Exists(left)) };
        let sign = self.next();
        let kind = left.kind();
        if kind == Kind::Protocol {
            let name = left.field.name;
            return Err(error(sign, &format!("{name} is a protocol and has no value to compare"), None));
        }
        if relation == Relation::Contains && kind != Kind::Bytes {
            let message = format!("{} is {}: contains needs bytes", left.field.name, kind.expected());
            return Err(error(sign, &message, None));
        }
        let right = self.right(&left)?;
        Ok(Node::Compare(left, relation, right))
    }

    /// A field with slice and mask.
    fn operand(&mut self) -> Result<Operand, FilterError> {
        let spanned = self.next();
        let field = match spanned.token {
            Token::Word(word) => fields::field(word).ok_or_else(|| unknown(spanned, word))?,
            token => return Err(error(spanned, &format!("a field is expected, not {token}"), None)),
        };
        let mut operand = Operand { field, slice: None, mask: None };
        if self.peek().token == Token::Sign("[") {
            if matches!(field.kind, Kind::Uint(_) | Kind::Bool | Kind::Protocol) {
                return Err(self.error(&format!("{} has no bytes to take a part of", field.name), None));
            }
            self.next();
            operand.slice = Some(self.slice()?);
        }
        if self.peek().token == Token::Sign("&") {
            if !matches!(field.kind, Kind::Uint(_)) || operand.slice.is_some() {
                return Err(self.error(&format!("{} is no number: & needs one", field.name), None));
            }
            self.next();
            let mask = self.next();
            operand.mask = match mask.token {
                Token::Word(word) => uint(word),
                _ => None,
            };
            if operand.mask.is_none() {
                let message = format!("a number is expected after &, not {}", mask.token);
                return Err(error(mask, &message, Some("write && or \"and\" to join two tests")));
            }
        }
        Ok(operand)
    }

    /// After `[`: `offset:length`, `first-last`, `offset`, `offset:` or `:length`.
    fn slice(&mut self) -> Result<Slice, FilterError> {
        let spanned = self.next();
        let parsed = match spanned.token {
            Token::Word(word) => slice(word),
            _ => None,
        };
        let slice = parsed.ok_or_else(|| {
            error(spanned, "a part of the bytes is expected", Some("[offset:length], as in eth.src[0:3]"))
        })?;
        self.expect("]")?;
        Ok(slice)
    }

    fn right(&mut self, left: &Operand) -> Result<Right, FilterError> {
        if let Token::Word(word) = self.peek().token
            && let Some(field) = fields::field(word)
        {
            let spanned = self.peek();
            let operand = self.operand()?;
            if !same_type(left.kind(), operand.kind()) {
                let (a, b) = (left.kind().expected(), operand.kind().expected());
                let message =
                    format!("{} is {a}, {} is {b}: they do not compare", left.field.name, field.name);
                return Err(error(spanned, &message, None));
            }
            return Ok(Right::Field(operand));
        }
        self.literal(left).map(Right::Literal)
    }

    fn literal(&mut self, left: &Operand) -> Result<Literal, FilterError> {
        let kind = left.kind();
        let spanned = self.next();
        let written = match spanned.token {
            Token::Word(word) => Written::Word(word),
            Token::Text(text) => Written::Text(text),
            token => {
                let message = format!("{} is expected, not {token}", kind.expected());
                return Err(error(spanned, &message, None));
            }
        };
        Literal::read(kind, left.field, written).map_err(|message| error(spanned, &message, kind.example()))
    }

    /// After `in`.
    fn set(&mut self, left: Operand) -> Result<Node, FilterError> {
        if left.kind() == Kind::Protocol {
            let name = left.field.name;
            return Err(self.error(&format!("{name} is a protocol and has no value to compare"), None));
        }
        self.expect("{")?;
        let mut ranges = Vec::new();
        loop {
            let low = self.literal(&left)?;
            let high = if self.take(&[Token::Sign("..")]) { Some(self.literal(&left)?) } else { None };
            ranges.push((low, high));
            if self.take(&[Token::Sign("}")]) {
                return Ok(Node::In(left, ranges));
            }
            if !self.take(&[Token::Sign(",")]) {
                let message = format!("\",\" or \"}}\" is expected, not {}", self.peek().token);
                return Err(self.error(&message, None));
            }
        }
    }
}

impl Operand {
    /// The type of its values: a slice is bytes.
    fn kind(&self) -> Kind {
        if self.slice.is_some() { Kind::Bytes } else { self.field.kind }
    }
}

fn same_type(a: Kind, b: Kind) -> bool {
    a == b || matches!((a, b), (Kind::Uint(_), Kind::Uint(_)))
}

fn relation(token: Token<'_>) -> Option<Relation> {
    Some(match token {
        Token::Sign("==") | Token::Word("eq") => Relation::Eq,
        Token::Sign("!=") | Token::Word("ne") => Relation::Ne,
        Token::Sign("===") => Relation::AllEq,
        Token::Sign("!==") => Relation::AnyNe,
        Token::Sign("<") | Token::Word("lt") => Relation::Lt,
        Token::Sign("<=") | Token::Word("le") => Relation::Le,
        Token::Sign(">") | Token::Word("gt") => Relation::Gt,
        Token::Sign(">=") | Token::Word("ge") => Relation::Ge,
        Token::Word("contains") => Relation::Contains,
        _ => return None,
    })
}

fn slice(word: &str) -> Option<Slice> {
    // Far above any packet; sums cannot overflow.
    let number = |s: &str| s.parse::<usize>().ok().filter(|&n| n <= 0xffff);
    if let Some((offset, len)) = word.split_once(':') {
        let offset = if offset.is_empty() { 0 } else { number(offset)? };
        let end = if len.is_empty() { None } else { Some(offset + number(len)?) };
        return Some(Slice { offset, end });
    }
    if let Some((first, last)) = word.split_once('-') {
        return Some(Slice { offset: number(first)?, end: Some(number(last)? + 1) });
    }
    let offset = number(word)?;
    Some(Slice { offset, end: Some(offset + 1) })
}

fn error(at: Spanned<'_>, message: &str, hint: Option<&str>) -> FilterError {
    FilterError { offset: at.offset, len: at.len, message: message.to_owned(), hint: hint.map(str::to_owned) }
}

/// Wireshark's fields that need more than the packet, and what to write instead.
const NEEDS_MORE: [(&str, &str); 11] = [
    ("tcp.seq", "relative sequence numbers need the whole connection: use tcp.seq_raw"),
    ("tcp.ack", "relative sequence numbers need the whole connection: use tcp.ack_raw"),
    ("tcp.nxtseq", "relative sequence numbers need the whole connection: use tcp.seq_raw and tcp.len"),
    ("tcp.window_size", "scaling needs the handshake: use tcp.window_size_value"),
    ("tcp.stream", "streams need the whole capture: use addresses and ports"),
    ("udp.stream", "streams need the whole capture: use addresses and ports"),
    ("tcp.options.sack_le", "relative sequence numbers need the whole connection: use tcp.options.sack"),
    ("tcp.options.sack_re", "relative sequence numbers need the whole connection: use tcp.options.sack"),
    ("frame.number", "the packet's number in a capture is not part of the packet"),
    ("frame.time", "the packet's time is not part of the packet"),
    ("frame.time_relative", "the packet's time is not part of the packet"),
];

fn unknown(at: Spanned<'_>, word: &str) -> FilterError {
    if let Some((_, why)) = NEEDS_MORE.iter().find(|(name, _)| *name == word) {
        return error(at, &format!("{word} is not available in this filter"), Some(why));
    }
    if word.starts_with("tcp.analysis") {
        let why = "analysis needs the whole connection: test flags and lengths of the packet itself";
        return error(at, &format!("{word} is not available in this filter"), Some(why));
    }
    let near = nearest(word).map(|f| format!("did you mean {}?", f.name));
    error(at, &format!("there is no field {word:?}"), near.as_deref())
}

/// The known field with the fewest letters to change, when those are few; of several the first.
fn nearest(word: &str) -> Option<&'static Field> {
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let (far, field) = fields::fields().map(|f| (distance(&lower, f.name), f)).min_by_key(|(d, _)| *d)?;
    (far <= 1 + word.len() / 5).then_some(field)
}

/// Damerau–Levenshtein distance of neighbours: insertions, deletions, changes and swaps.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = [vec![0; b.len() + 1], vec![0; b.len() + 1], (0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        rows.rotate_left(1);
        rows[2][0] = i;
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[1][j] + 1).min(rows[2][j - 1] + 1).min(rows[1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = best;
        }
    }
    rows[2][b.len()]
}
