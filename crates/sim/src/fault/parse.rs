//! The text form of a fault's place, ordinal and filter: `[PLACE:] [ORDINAL] FILTER`.
//!
//! `server: 2nd tcp.flags.syn == 1`, `client->server: first 3 udp`, `->server: every arp`, `icmp`.

use core::fmt;
use core::ops::Range;

use wire::filter::Filter;

use super::{Direction, Fault, FaultAction, Ordinal};
use crate::World;

/// A fault's text as written: names are not looked up yet.
#[derive(Clone, Debug)]
pub struct FaultSpec {
    /// The whole text.
    pub text: String,
    /// Where, if the text says so.
    pub place: Option<Place>,
    /// Which of the matching packets; the first when the text does not say.
    pub ordinal: Ordinal,
    /// Which packets match.
    pub filter: Filter,
}

/// A place as written; each name with its bytes in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `server` packets that leave this node; or the name of a link, both ways.
    At(String, Range<usize>),
    /// `client->server`, `client->`, `->server`: from a node, to a node.
    Between(Option<(String, Range<usize>)>, Option<(String, Range<usize>)>),
}

/// A text that is not a fault: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError {
    /// The wrong bytes of the text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}", self.message, self.span.start + 1)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for FaultError {}

impl FaultSpec {
    /// Reads `[PLACE:] [ORDINAL] FILTER`.
    pub fn parse(text: &str) -> Result<FaultSpec, FaultError> {
        let (place, after_place) = match split_place(text) {
            Some((place, rest)) => (Some(place), rest),
            None => (None, 0),
        };
        let (ordinal, at) = parse_ordinal(text, after_place)?;
        let filter = Filter::parse(text[at..].trim_end()).map_err(|e| FaultError {
            span: at + e.offset..at + e.offset + e.len,
            message: e.message,
            hint: e.hint,
        })?;
        Ok(FaultSpec { text: text.into(), place, ordinal, filter })
    }

    /// Looks the names up in `world`.
    pub fn resolve(&self, world: &World) -> Result<Direction, FaultError> {
        let node = |name: &Option<(String, Range<usize>)>| match name {
            None => Ok(None),
            Some((name, span)) => match world.find_node(name) {
                Some(node) => Ok(Some(node)),
                None => Err(unknown(world, name, span)),
            },
        };
        Ok(match &self.place {
            None => Direction::default(),
            Some(Place::At(name, span)) => match (world.find_node(name), world.find_link(name)) {
                (Some(node), _) => Direction { from: Some(node), ..Direction::default() },
                (None, Some(link)) => Direction { link: Some(link), ..Direction::default() },
                (None, None) => return Err(unknown(world, name, span)),
            },
            Some(Place::Between(from, to)) => {
                let direction = Direction { from: node(from)?, to: node(to)?, link: None };
                if let (Some(a), Some(b)) = (direction.from, direction.to)
                    && let (Some((a_name, span)), Some((b_name, end))) = (from, to)
                    && !world.are_neighbours(a, b)
                {
                    return Err(FaultError {
                        span: span.start..end.end,
                        message: format!("no link leads from {a_name} to {b_name} directly"),
                        hint: Some(format!(
                            "write `{a_name}:` for packets that leave {a_name} or `->{b_name}:` for those that arrive \
                             at {b_name}, and name the other end in the filter, as in `ip.addr == …`"
                        )),
                    });
                }
                direction
            }
        })
    }
}

impl Fault {
    /// Reads `[PLACE:] [ORDINAL] FILTER` for a world.
    ///
    /// PLACE is `server` (packets that leave server), `->server` (packets that arrive there),
    /// `client->server`, or a link's name; ORDINAL is `2nd`, `first 3`, `2-4` or `every`, and the first packet
    /// when left out.
    pub fn parse(text: &str, action: FaultAction, world: &World) -> Result<Fault, FaultError> {
        let spec = FaultSpec::parse(text)?;
        let direction = spec.resolve(world)?;
        let FaultSpec { text, ordinal, filter, .. } = spec;
        Ok(Fault { text, direction, filter, ordinal, action, optional: false })
    }
}

fn unknown(world: &World, name: &str, span: &Range<usize>) -> FaultError {
    let names = world.names();
    let nearest = stack::call::text::nearest(name, names.iter().map(String::as_str));
    let hint = match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("there are {}", names.join(", ")),
    };
    FaultError {
        span: span.clone(),
        message: format!("no host or link is called `{name}`"),
        hint: Some(hint),
    }
}

/// The place, and where the text goes on; `None` when the text begins with something else.
fn split_place(text: &str) -> Option<(Place, usize)> {
    let colon = text.find(':')?;
    let after = text[colon + 1..].chars().next();
    // `eth.src == 02:00…` and `2001:db8::` have no blank behind their first colon; `client:arp` is meant as a place.
    let address = |s: &str| s.chars().all(|c| c.is_ascii_hexdigit() || ":.%/".contains(c));
    let word_end = text.find(char::is_whitespace).unwrap_or(text.len());
    if after.is_some_and(|c| !c.is_whitespace()) && (word_end < colon || address(&text[..word_end])) {
        return None;
    }
    let is_name = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    let word = |range: Range<usize>| {
        let raw = &text[range.clone()];
        let start = range.start + (raw.len() - raw.trim_start().len());
        let name = raw.trim();
        (name.to_string(), start..start + name.len())
    };
    let (name, span) = word(0..colon);
    let place = match text[..colon].find("->") {
        None => is_name(&name).then_some(Place::At(name, span))?,
        Some(arrow) => {
            let end = |range| match word(range) {
                (name, _) if name.is_empty() => Some(None),
                (name, span) => is_name(&name).then_some(Some((name, span))),
            };
            Place::Between(end(0..arrow)?, end(arrow + 2..colon)?)
        }
    };
    Some((place, colon + 1))
}

/// The ordinal at `from`, and where the filter begins.
fn parse_ordinal(text: &str, from: usize) -> Result<(Ordinal, usize), FaultError> {
    let start = from + (text[from..].len() - text[from..].trim_start().len());
    let word_end = |at: usize| text[at..].find(char::is_whitespace).map_or(text.len(), |n| at + n);
    let skip = |at: usize| at + (text[at..].len() - text[at..].trim_start().len());
    let end = word_end(start);
    let word = &text[start..end];
    let wrong = |message: &str| FaultError {
        span: start..end,
        message: format!("`{word}` {message}"),
        hint: Some("write `2nd`, `first 3`, `2-4` or `every`; packets are counted from 1".into()),
    };
    match word {
        "every" => return Ok((Ordinal::Every, skip(end))),
        "first" => {
            let at = skip(end);
            let number_end = word_end(at);
            return Ok(match text[at..number_end].parse::<u64>() {
                Ok(0) => return Err(wrong("of no packets")),
                Ok(n) => (Ordinal::First(n), skip(number_end)),
                Err(_) => (Ordinal::Nth(1), at),
            });
        }
        _ => {}
    }
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok((Ordinal::Nth(1), start));
    }
    if let Some((low, high)) = word.split_once('-')
        && let (Ok(low), Ok(high)) = (low.parse(), high.parse())
    {
        if low == 0 || low > high {
            return Err(wrong("is not a range"));
        }
        return Ok((Ordinal::Range(low, high), skip(end)));
    }
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    if !matches!(&word[digits..], "st" | "nd" | "rd" | "th") {
        // Not an ordinal: the filter's own parser has better words for it.
        return Ok((Ordinal::Nth(1), start));
    }
    match word[..digits].parse() {
        Ok(0) | Err(_) => Err(wrong("is no number of a packet")),
        Ok(n) => Ok((Ordinal::Nth(n), skip(end))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> FaultSpec {
        FaultSpec::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn place_and_ordinal_are_optional_and_the_first_packet_is_meant() {
        let s = spec("arp");
        assert_eq!((s.place.clone(), s.ordinal, s.filter.as_str()), (None, Ordinal::Nth(1), "arp"));
        let s = spec("server: 2nd tcp.flags.syn==1");
        assert_eq!(s.place, Some(Place::At("server".into(), 0..6)));
        assert_eq!((s.ordinal, s.filter.as_str()), (Ordinal::Nth(2), "tcp.flags.syn==1"));
        assert_eq!(spec("first udp").ordinal, Ordinal::Nth(1));
        assert_eq!(spec("first 3 udp").ordinal, Ordinal::First(3));
        assert_eq!(spec("a->b: 2-4 udp").ordinal, Ordinal::Range(2, 4));
        assert_eq!(spec("->b: every icmp").ordinal, Ordinal::Every);
        assert_eq!(spec("->b: every icmp").place, Some(Place::Between(None, Some(("b".into(), 2..3)))));
    }

    #[test]
    fn colons_of_addresses_do_not_make_a_place() {
        assert_eq!(spec("eth.src == 02:00:00:00:00:01").place, None);
        assert_eq!(spec("ipv6.dst == 2001:db8::1").place, None);
    }

    #[test]
    fn a_place_needs_no_blank_behind_its_colon() {
        let s = spec("client:arp");
        assert_eq!((s.place, s.filter.as_str()), (Some(Place::At("client".into(), 0..6)), "arp"));
        let s = spec("a->b:2nd eth.src == 02:00:00:00:00:01");
        assert_eq!((s.ordinal, s.filter.as_str()), (Ordinal::Nth(2), "eth.src == 02:00:00:00:00:01"));
        assert!(matches!(s.place, Some(Place::Between(..))));
        assert_eq!(split_place("2001:db8::1"), None);
        assert_eq!(split_place("ip.src==02:00"), None, "an operator is part of no name");
    }

    #[test]
    fn errors_point_at_their_word() {
        let e = FaultSpec::parse("server: 0th udp").unwrap_err();
        assert_eq!(e.span, 8..11);
        let e = FaultSpec::parse("server: first 0 udp").unwrap_err();
        assert_eq!(e.span, 8..13);
        let e = FaultSpec::parse("server: udq").unwrap_err();
        assert_eq!(e.span.start, 8, "{e}");
    }
}
