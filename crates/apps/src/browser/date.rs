//! Dates: the three forms of HTTP (RFC 9110 §5.6.7) and what cookies allow beyond them (RFC 6265bis §5.1.1).

use core::time::Duration;
use std::time::SystemTime;

/// A date in a header field.
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

/// A date in a cookie: a time, a day, a month and a year in any order, between any delimiters.
pub(super) fn cookie_date(text: &str) -> Option<SystemTime> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let delimiter = |c: char| !(c.is_ascii_alphanumeric() || c == ':' || c as u32 >= 0x7f);
    for token in text.split(delimiter).filter(|token| !token.is_empty()) {
        if time.is_none()
            && let Some(found) = clock(token)
        {
            time = Some(found);
        } else if day.is_none()
            && let Some(found) = digits(token, 1, 2)
        {
            day = Some(found);
        } else if month.is_none()
            && let Some(found) = month_of(token)
        {
            month = Some(found);
        } else if year.is_none()
            && let Some(found) = digits(token, 2, 4)
        {
            year = Some(match found {
                70..=99 => found + 1900,
                0..=69 => found + 2000,
                _ => found,
            });
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    let valid = (1..=31).contains(&day) && year >= 1601 && hour <= 23 && minute <= 59 && second <= 59;
    if !valid || day > days_of(month, year) {
        return None;
    }
    let days = days_from_epoch(year, month, day);
    let seconds = i64::from(hour * 3600 + minute * 60 + second) + days * 86_400;
    // Before 1970 it is over in any case.
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// A number of so many digits, followed by anything else than a digit.
fn digits(token: &str, least: usize, most: usize) -> Option<u32> {
    let count = token.bytes().take_while(u8::is_ascii_digit).count();
    (least..=most).contains(&count).then(|| token[..count].parse().ok()).flatten()
}

fn clock(token: &str) -> Option<(u32, u32, u32)> {
    let mut parts = token.splitn(3, ':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = |text: &str| {
        (text.len() <= 2)
            .then(|| digits(text, 1, 2))
            .flatten()
            .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
    };
    Some((whole(hour)?, whole(minute)?, digits(second, 1, 2)?))
}

fn month_of(token: &str) -> Option<u32> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let front = token.get(..3)?.to_ascii_lowercase();
    (1..).zip(MONTHS).find(|(_, name)| *name == front).map(|(n, _)| n)
}

fn days_of(month: u32, year: u32) -> u32 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1 January 1970 in the Gregorian calendar, counted in eras of 400 years from 1 March.
fn days_from_epoch(year: u32, month: u32, day: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * i64::from((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let date = cookie_date(text)?;
        Some(date.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs())
    }

    #[test]
    fn cookie_dates_are_read_generously() {
        let rows = [
            ("Wed, 09 Jun 2021 10:18:14 GMT", Some(1_623_233_894)),
            ("Wednesday, 09-Jun-21 10:18:14 GMT", Some(1_623_233_894)),
            ("Wed Jun  9 10:18:14 2021", Some(1_623_233_894)),
            ("9 JUNE 2021 10:18:14", Some(1_623_233_894)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("29 Feb 2024 00:00:00", Some(1_709_164_800)),
            ("29 Feb 2023 00:00:00", None),
            ("31 Jun 2021 10:18:14", None),
            ("09 Jun 2021 24:18:14", None),
            ("09 Jun 2021", None),
            ("10:18:14", None),
            ("09 Jun 1600 10:18:14", None),
            ("", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(seconds(text), wanted, "{text}");
        }
    }

    #[test]
    fn both_readers_agree_on_http_dates() {
        for days in [0_u64, 59, 60, 365, 10_957, 11_016, 19_782, 47_540] {
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + 3_723);
            let text = httpdate::fmt_http_date(date);
            assert_eq!(http_date(&text), Some(date), "{text}");
            assert_eq!(cookie_date(&text), Some(date), "{text}");
        }
    }
}
