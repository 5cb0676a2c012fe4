//! Times and sizes as tables and command lines write them: `"75s"`, `"100ms"`, `"16k"`; nginx's suffixes and ours.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A span of time: a number with `ns`, `us`, `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: a number, with `k`, `m` or `g` in powers of 1024 when it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// The longest span that may be written.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

impl Span {
    /// Reads `75s`. Fractions are allowed.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Span, String> {
        let wrong =
            || format!("{text:?} is no time: write a number with ns, us, ms, s, m or h, such as \"75s\"");
        let (number, unit) = split(text.trim());
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let unit_ns: u128 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        if whole.is_empty() || whole.len() > 18 || fraction.len() > 9 {
            return Err(wrong());
        }
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().map_err(|_| wrong())? };
        let ns = whole.parse::<u128>().map_err(|_| wrong())? * unit_ns + part * unit_ns / scale;
        let span = Duration::from_nanos(u64::try_from(ns).map_err(|_| wrong())?);
        if span > LONGEST {
            return Err(format!("{text:?} is longer than a year"));
        }
        Ok(Span(span))
    }
}

impl Size {
    /// Reads `16k`.
    ///
    /// # Errors
    /// What is wrong and what to write.
    pub fn parse(text: &str) -> Result<Size, String> {
        let wrong = || format!("{text:?} is no size: write a number of bytes, or one with k, m or g");
        let (number, unit) = split(text.trim());
        let scale: u64 = match unit {
            "" => 1,
            "k" | "K" => 1 << 10,
            "m" | "M" => 1 << 20,
            "g" | "G" => 1 << 30,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(scale).map(Size).ok_or_else(wrong)
    }

    /// As an index; what does not fit is as good as the largest.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// `40.0 ms`, as programs print times.
pub(crate) fn ms(time: Duration) -> String {
    format!("{}.{} ms", time.as_millis(), time.subsec_micros() % 1000 / 100)
}

struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.1)(&number.to_string()).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        (self.1)(&number.to_string()).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        from.deserialize_any(Text("a time such as \"75s\"", Span::parse))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Size, D::Error> {
        from.deserialize_any(Text("a size such as 4096 or \"16k\"", Size::parse))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A time such as \"75s\", \"100ms\", \"2m\"." })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "description": "Bytes: 4096, \"16k\", \"1m\"." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_read_or_refused_with_a_hint() {
        for (text, ns) in [("75s", 75_000_000_000), ("1.5ms", 1_500_000), ("2m", 120_000_000_000), ("7ns", 7)]
        {
            assert_eq!(Span::parse(text), Ok(Span(Duration::from_nanos(ns))), "{text}");
        }
        for text in ["", "s", "5", "5 parsecs", "-1s", "99999999999999999999s", "1..2s", "9999999h"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
        for (text, bytes) in [("0", 0), ("16k", 16 << 10), ("1m", 1 << 20), ("2G", 2 << 30)] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "k", "1.5k", "-1", "99999999999999g"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }
}
