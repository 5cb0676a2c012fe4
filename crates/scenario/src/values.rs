//! The small notations of a scenario file: durations, rates, shares, time ranges, counts. Decimal text becomes
//! integers without floats, so that every machine reads the same number.

use core::ops::Range;
use core::time::Duration;

use wire::Instant;

/// What is wrong with a value: the bytes to underline, the sentence, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadValue {
    pub(crate) part: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl BadValue {
    pub(crate) fn new(text: &str, message: impl Into<String>, help: impl Into<String>) -> BadValue {
        BadValue { part: 0..text.len(), message: message.into(), help: Some(help.into()) }
    }

    fn told(self) -> (String, String) {
        (self.message, self.help.unwrap_or_default())
    }

    fn shifted(mut self, by: usize) -> BadValue {
        self.part = self.part.start + by..self.part.end + by;
        self
    }
}

/// Splits `1.5ms` into 1_500_000_000 billionths and `ms`.
fn number(text: &str) -> Option<(u128, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || whole.len() > 12 || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let padded = format!("{fraction:0<9}");
    let fraction: u128 = padded.parse().ok()?;
    Some((whole * 1_000_000_000 + fraction, unit.trim()))
}

/// `10ms`, `1.5s`, `2min`, `0s`.
pub(crate) fn duration(text: &str) -> Result<Duration, BadValue> {
    let trimmed = text.trim();
    let help = "write a number with its unit: ns, us, ms, s, min or h, such as 10ms";
    let (value, unit) =
        number(trimmed).ok_or_else(|| BadValue::new(text, format!("`{trimmed}` is no duration"), help))?;
    let nanos_per_unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" | "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" if value == 0 => 1,
        "" => return Err(BadValue::new(text, format!("the duration `{trimmed}` has no unit"), help)),
        other => {
            let start = text.find(other).unwrap_or(0);
            let message = format!("`{other}` is no unit of time");
            return Err(BadValue { part: start..start + other.len(), message, help: Some(help.into()) });
        }
    };
    let nanos = value * nanos_per_unit / 1_000_000_000;
    let nanos = u64::try_from(nanos).map_err(|_| BadValue::new(text, "longer than 584 years", help))?;
    Ok(Duration::from_nanos(nanos))
}

/// A time of the run, counted from its start.
pub(crate) fn instant(text: &str) -> Result<Instant, BadValue> {
    duration(text).map(|d| Instant::ZERO + d)
}

/// `2s..5s`, `2s..` (for ever), `..5s`, or `2s` for one moment.
pub(crate) fn range(text: &str) -> Result<(Instant, Instant), BadValue> {
    let Some((from, to)) = text.split_once("..") else {
        let at = instant(text)?;
        return Ok((at, at));
    };
    let start = if from.trim().is_empty() { Instant::ZERO } else { instant(from)? };
    let shift = from.len() + 2;
    let end =
        if to.trim().is_empty() { Instant::FAR_FUTURE } else { instant(to).map_err(|e| e.shifted(shift))? };
    if end < start {
        return Err(BadValue::new(
            text,
            format!("`{text}` ends before it starts"),
            "write the earlier time first",
        ));
    }
    Ok((start, end))
}

/// `100mbit`, `1gbit`, `64kbit`, `9600bit`: tc's decimal units, in bits per second.
pub(crate) fn rate(text: &str) -> Result<u64, BadValue> {
    let help = "write a number with its unit: bit, kbit, mbit or gbit (per second), such as 100mbit";
    let (value, unit) =
        number(text.trim()).ok_or_else(|| BadValue::new(text, format!("`{text}` is no rate"), help))?;
    let per_unit: u128 = match unit.to_ascii_lowercase().as_str() {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return Err(BadValue::new(text, format!("`{text}` has no unit that tc knows"), help)),
    };
    let bits = u64::try_from(value * per_unit / 1_000_000_000).unwrap_or(0);
    if bits == 0 {
        return Err(BadValue::new(
            text,
            "a link without any rate carries nothing",
            "for a dead link use `down`",
        ));
    }
    Ok(bits)
}

/// `1%`, `0.1%`: millionths.
pub(crate) fn share(text: &str) -> Result<u32, BadValue> {
    let help = "write a percentage from 0% to 100%, such as 1% or 0.5%";
    let bad = || BadValue::new(text, format!("`{text}` is no share"), help);
    let (value, unit) = number(text.trim()).ok_or_else(bad)?;
    if unit != "%" {
        return Err(bad());
    }
    let ppm = value / 100_000;
    if ppm > 1_000_000 {
        return Err(BadValue::new(text, format!("`{text}` is more than everything"), help));
    }
    u32::try_from(ppm).map_err(|_| bad())
}

/// Whether a command line's text is a rate as links have it, such as `50mbit`.
///
/// # Errors
/// What is wrong, and what to write.
pub fn check_rate(text: &str) -> Result<(), (String, String)> {
    rate(text).map(drop).map_err(BadValue::told)
}

/// Whether it is a share, such as `1%`.
///
/// # Errors
/// What is wrong, and what to write.
pub fn check_share(text: &str) -> Result<(), (String, String)> {
    share(text).map(drop).map_err(BadValue::told)
}

/// How many are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountRange {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl CountRange {
    pub(crate) const AT_LEAST_ONE: CountRange = CountRange { min: 1, max: u64::MAX };

    pub(crate) fn exactly(n: u64) -> CountRange {
        CountRange { min: n, max: n }
    }

    pub(crate) fn contains(self, n: u64) -> bool {
        (self.min..=self.max).contains(&n)
    }
}

impl core::fmt::Display for CountRange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.min, self.max) {
            (0, 0) => f.write_str("none"),
            (min, max) if min == max => write!(f, "{min}"),
            (min, u64::MAX) => write!(f, "at least {min}"),
            (0, max) => write!(f, "at most {max}"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}

/// `2..`, `..3`, `2..4`, `2`.
pub(crate) fn count(text: &str) -> Result<CountRange, BadValue> {
    let help = "write a number, or a range such as 2.., ..3 or 2..4 (both ends count)";
    let bad = || BadValue::new(text, format!("`{text}` is no count"), help);
    let part = |s: &str| s.trim().trim_start_matches('=').parse::<u64>().map_err(|_| bad());
    let Some((min, max)) = text.split_once("..") else { return Ok(CountRange::exactly(part(text)?)) };
    let min = if min.trim().is_empty() { 0 } else { part(min)? };
    let max = if max.trim().is_empty() { u64::MAX } else { part(max)? };
    if max < min {
        return Err(bad());
    }
    Ok(CountRange { min, max })
}

/// A time as the file would write it: `1.02s`, `200ms`.
pub(crate) fn show(at: Instant) -> String {
    show_duration(at - Instant::ZERO)
}

/// A duration as the file would write it.
pub(crate) fn show_duration(d: Duration) -> String {
    let ns = d.as_nanos();
    let (unit, per_unit) = match ns {
        0 => return "0s".into(),
        _ if ns >= 1_000_000_000 => ("s", 1_000_000_000),
        _ if ns >= 1_000_000 => ("ms", 1_000_000),
        _ if ns >= 1_000 => ("us", 1_000),
        _ => ("ns", 1),
    };
    let whole = ns / per_unit;
    let fraction = ns % per_unit * 1_000 / per_unit;
    let text = format!("{whole}.{fraction:03}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_nanoseconds() {
        assert_eq!(duration("10ms").unwrap(), Duration::from_millis(10));
        assert_eq!(duration("1.02s").unwrap(), Duration::from_millis(1020));
        assert_eq!(duration("0").unwrap(), Duration::ZERO);
        assert_eq!(duration("2min").unwrap(), Duration::from_secs(120));
        assert_eq!(duration("0.5ns").unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_bad_duration_says_which_part_is_wrong() {
        assert_eq!(duration("10").unwrap_err().message, "the duration `10` has no unit");
        assert_eq!(duration("10 sec").unwrap_err().part, 3..6);
        assert!(duration("soon").is_err());
        assert!(duration("1.2.3s").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("999999999999h").is_err());
        assert_eq!(range("1s..2parsecs").unwrap_err().part, 5..12);
        assert!(range("5s..2s").is_err());
    }

    #[test]
    fn rates_shares_and_counts_have_tc_s_units() {
        assert_eq!(rate("100mbit").unwrap(), 100_000_000);
        assert_eq!(rate("1.5gbit").unwrap(), 1_500_000_000);
        assert!(rate("100").is_err());
        assert!(rate("0mbit").is_err());
        assert_eq!(share("1%").unwrap(), 10_000);
        assert_eq!(share("0.0001%").unwrap(), 1);
        assert_eq!(share("100%").unwrap(), 1_000_000);
        assert!(share("101%").is_err());
        assert!(share("0.1").is_err());
        assert_eq!(count("2..").unwrap(), CountRange { min: 2, max: u64::MAX });
        assert_eq!(count("..3").unwrap(), CountRange { min: 0, max: 3 });
        assert!(count("3..2").is_err());
    }

    #[test]
    fn times_print_as_the_file_writes_them() {
        assert_eq!(show(Instant::from_millis(1020)), "1.02s");
        assert_eq!(show(Instant::from_millis(200)), "200ms");
        assert_eq!(show(Instant::ZERO), "0s");
        assert_eq!(show(Instant::from_secs(3600)), "3600s");
    }
}
