//! Which packets? A subset of Wireshark's display filters, with its field names and semantics.
//!
//! ```text
//! filter  := filter ("or" | "||") filter | filter ("and" | "&&") filter | ("not" | "!") filter | "(" filter ")"
//!          | field [slice] ["&" mask] [relation operand | "in" "{" operand [".." operand] {"," …} "}"]
//! relation:= == != < <= > >= === !== eq ne lt le gt ge contains
//! operand := number | true | false | address[/prefix] | de:ad:be:ef | "text" | field
//! slice   := "[" offset ":" length "]" | "[" offset "]" | "[" first "-" last "]"
//! ```
//!
//! A field alone asks whether the packet has it. A field may have several values in one packet (`ip.addr`,
//! `tcp.port`, tunnels, and as in Wireshark the packet quoted by an ICMP error): a relation holds when some
//! value satisfies it, except `!=` and `===`, which every value must satisfy, at least one being there.
//! Numbers that need the rest of the conversation (`tcp.seq` as Wireshark shows it, `tcp.analysis`) are not
//! available: the error says what to write instead.

use crate::packet::{Level, Packet};
use core::fmt;

mod fields;
mod lex;
mod literal;
mod parse;

pub use fields::{Field, Kind, Value, field, fields};
use literal::Literal;

/// Deepest nesting of parentheses and `not`.
pub const MAX_DEPTH: usize = 64;
/// Longest filter, in bytes.
pub const MAX_LEN: usize = 4096;

/// A filter, ready to be matched. Displays as the text it was parsed from.
///
/// ```
/// use wire::filter::Filter;
/// let filter = Filter::parse("tcp.flags.syn == 1 && tcp.flags.ack == 1").unwrap();
/// assert_eq!(filter.to_string(), "tcp.flags.syn == 1 && tcp.flags.ack == 1");
/// let error = Filter::parse("tcp.prot == 80").unwrap_err();
/// assert_eq!((error.offset, error.len), (0, 8));
/// assert_eq!(error.hint.as_deref(), Some("did you mean tcp.port?"));
/// ```
#[derive(Clone)]
pub struct Filter {
    text: String,
    root: Node,
}

/// Why a text is no filter. `offset` and `len` are bytes of the text: underline them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Where the text is wrong; at most its length.
    pub offset: usize,
    /// How many bytes are wrong; at least 1, except at the end of the text.
    pub len: usize,
    /// What is wrong, or what was expected.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for FilterError {}

impl Filter {
    /// Reads a filter.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        Ok(Filter { text: text.to_owned(), root: parse::parse(text)? })
    }

    /// The text it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The packet satisfies the filter.
    pub fn matches(&self, packet: &Packet<'_>) -> bool {
        let quoted = packet.innermost().quoted_level();
        self.root.holds(&Scopes { packet, quoted: quoted.as_ref() })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.text).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        self.text == other.text
    }
}

impl Eq for Filter {}

impl core::str::FromStr for Filter {
    type Err = FilterError;
    fn from_str(text: &str) -> Result<Filter, FilterError> {
        Filter::parse(text)
    }
}

/// The levels in which fields are looked for.
struct Scopes<'p, 'a> {
    packet: &'p Packet<'a>,
    quoted: Option<&'p Level<'a>>,
}

impl Scopes<'_, '_> {
    /// Calls `each` with every value of `field`, cut to `slice` and masked with `mask`.
    fn values(&self, operand: &Operand, each: &mut dyn FnMut(Value<'_>)) {
        let mut visit = |value: Value<'_>| {
            if let Some(value) = operand.adjust(value, &mut [0; 16]) {
                each(value);
            }
        };
        operand.field.values(self.packet, &mut visit);
        if let Some(level) = self.quoted {
            let scope = fields::Scope { packet: self.packet, level, first: false, last: true };
            operand.field.visit(&scope, &mut visit);
        }
    }
}

/// A field with what is applied to its values before they are compared.
#[derive(Clone)]
struct Operand {
    field: &'static Field,
    slice: Option<Slice>,
    mask: Option<u64>,
}

/// Bytes `offset..end`; to the end of the value without `end`.
#[derive(Clone, Copy)]
struct Slice {
    offset: usize,
    end: Option<usize>,
}

impl Operand {
    /// `None` when the value is too short for the slice. `buffer` holds the bytes of a sliced address.
    fn adjust<'v>(&self, value: Value<'v>, buffer: &'v mut [u8; 16]) -> Option<Value<'v>> {
        let value = match self.slice {
            None => value,
            Some(slice) => {
                let bytes = value.into_bytes(buffer)?;
                let end = slice.end.unwrap_or(bytes.len());
                Value::Bytes(bytes.get(slice.offset..end).filter(|b| !b.is_empty())?)
            }
        };
        match (value, self.mask) {
            (Value::Uint(v), Some(mask)) => Some(Value::Uint(v & mask)),
            (value, _) => Some(value),
        }
    }
}

/// How a value relates to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// `==`: some value equals.
    Eq,
    /// `===`: all values equal.
    AllEq,
    /// `!=`: all values differ.
    Ne,
    /// `!==`: some value differs.
    AnyNe,
    Lt,
    Le,
    Gt,
    Ge,
    Contains,
}

/// The right side of a comparison.
#[derive(Clone)]
enum Right {
    Literal(Literal),
    Field(Operand),
}

#[derive(Clone)]
enum Node {
    Or(Vec<Node>),
    And(Vec<Node>),
    Not(Box<Node>),
    /// The field is there; with a mask, some masked value is not zero.
    Exists(Operand),
    Compare(Operand, Relation, Right),
    /// Each literal alone or the first of an inclusive range.
    In(Operand, Vec<(Literal, Option<Literal>)>),
}

impl Node {
    /// Nesting is bounded by the parser.
    fn holds(&self, scopes: &Scopes<'_, '_>) -> bool {
        match self {
            Node::Or(nodes) => nodes.iter().any(|n| n.holds(scopes)),
            Node::And(nodes) => nodes.iter().all(|n| n.holds(scopes)),
            Node::Not(node) => !node.holds(scopes),
            Node::Exists(operand) => {
                let mut found = false;
                scopes.values(operand, &mut |v| {
                    found |= operand.mask.is_none() || !matches!(v, Value::Uint(0));
                });
                found
            }
            Node::Compare(left, relation, right) => compare(scopes, left, *relation, right),
            Node::In(operand, ranges) => {
                let mut found = false;
                scopes.values(operand, &mut |v| {
                    found |= ranges.iter().any(|(low, high)| match high {
                        None => low.relates(v, Relation::Eq),
                        Some(high) => low.relates(v, Relation::Ge) && high.relates(v, Relation::Le),
                    });
                });
                found
            }
        }
    }
}

/// `left relation right`, for all values where the relation asks it, otherwise for any.
fn compare(scopes: &Scopes<'_, '_>, left: &Operand, relation: Relation, right: &Right) -> bool {
    let (mut some, mut every, mut seen) = (false, true, false);
    let mut note = |holds: bool| {
        seen = true;
        some |= holds;
        every &= holds;
    };
    scopes.values(left, &mut |value| match right {
        Right::Literal(literal) => note(literal.relates(value, relation)),
        Right::Field(operand) => scopes.values(operand, &mut |other| {
            note(literal::relates(value, other, relation));
        }),
    });
    match relation {
        Relation::Ne | Relation::AllEq => seen && every,
        _ => some,
    }
}

#[cfg(test)]
mod tests;
