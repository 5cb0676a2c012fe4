//! Arguments as numbers, bytes, lists.

use crate::ast::Expr;
use crate::symbols;

/// Why an argument cannot be had.
pub(super) enum Bad {
    /// The script is wrong.
    Wrong(String),
    /// A symbol or form that is not known here.
    Unknown(String),
}

pub(super) type Value<T> = Result<T, Bad>;

pub(super) fn wrong<T>(text: impl Into<String>) -> Value<T> {
    Err(Bad::Wrong(text.into()))
}

pub(super) fn number(expr: &Expr) -> Value<i64> {
    match expr {
        Expr::Int(n) => Ok(*n),
        Expr::Word(word) => match symbols::number(word) {
            Some(n) => Ok(n),
            None => Err(Bad::Unknown(format!("unknown symbol {word}"))),
        },
        Expr::Or(left, right) => Ok(number(left)? | number(right)?),
        Expr::Apply(name, args) if name == "htons" => match args.as_slice() {
            [one] => number(one),
            _ => wrong("htons wants one argument"),
        },
        Expr::Apply(name, args) if name == "inet_addr" => match args.as_slice() {
            [Expr::Text(text)] => {
                let parsed =
                    core::str::from_utf8(text).ok().and_then(|t| t.parse::<std::net::Ipv4Addr>().ok());
                parsed.map_or_else(
                    || wrong("inet_addr: no IPv4 address"),
                    |a| Ok(u32::from_ne_bytes(a.octets()).into()),
                )
            }
            _ => wrong("inet_addr wants a string"),
        },
        other => wrong(format!("expected a number, found {}", kind(other))),
    }
}

pub(super) fn int<T: TryFrom<i64>>(expr: &Expr) -> Value<T> {
    let n = number(expr)?;
    T::try_from(n).or_else(|_| wrong(format!("{n} is out of range")))
}

/// `int` arguments of the kernel: 32 bits, written signed or unsigned.
pub(super) fn bits(expr: &Expr) -> Value<u32> {
    let n = number(expr)?;
    match (u32::try_from(n), i32::try_from(n)) {
        (Ok(bits), _) => Ok(bits),
        (_, Ok(n)) => Ok(n.cast_unsigned()),
        _ => wrong(format!("{n} does not fit 32 bits")),
    }
}

/// `[n]`
pub(super) fn bracketed(expr: &Expr) -> Value<i64> {
    match expr {
        Expr::List(list) => match list.as_slice() {
            [one] => number(one),
            _ => wrong("expected [<integer>]"),
        },
        other => wrong(format!("expected [<integer>], found {}", kind(other))),
    }
}

pub(super) fn ellipsis(expr: &Expr) -> Value<()> {
    if *expr == Expr::Ellipsis { Ok(()) } else { wrong(format!("expected ellipsis but got {}", kind(expr))) }
}

/// A buffer: `...`, or `NULL`, which is true.
pub(super) fn null_buffer(expr: &Expr) -> Value<bool> {
    match expr {
        Expr::Ellipsis => Ok(false),
        Expr::Word(word) if word == "NULL" => Ok(true),
        other => wrong(format!("expected a buffer, found {}", kind(other))),
    }
}

/// `[{..., n}, …]`: the lengths.
pub(super) fn iovec(expr: &Expr) -> Value<Vec<usize>> {
    let Expr::List(list) = expr else { return wrong("expected an iovec array") };
    let one = |e: &Expr| match e {
        Expr::Tuple(pair) if pair.len() == 2 => {
            ellipsis(&pair[0])?;
            int(&pair[1])
        }
        _ => wrong("expected {..., length}"),
    };
    list.iter().map(one).collect()
}

pub(super) fn member<'a>(expr: &'a Expr, name: &str) -> Value<&'a Expr> {
    expr.field(name).map_or_else(|| wrong(format!("missing {name}")), Ok)
}

pub(super) fn kind(expr: &Expr) -> &'static str {
    match expr {
        Expr::Ellipsis => "ellipsis",
        Expr::Int(_) => "integer",
        Expr::Word(_) => "word",
        Expr::Text(_) => "string",
        Expr::Or(..) => "binary_expression",
        Expr::Assign(..) => "assignment",
        Expr::List(_) => "list",
        Expr::Tuple(_) => "braces",
        Expr::Struct(_) => "structure",
        Expr::Apply(..) => "function",
        Expr::Raw(_) => "header",
    }
}
