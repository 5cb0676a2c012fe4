//! Values of options, each with a message that says what it takes.

/// Most things side by side.
const MAX_JOBS: usize = 256;

/// What all randomness comes from.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
}

/// How many at a time.
pub(crate) fn jobs(text: &str) -> Result<usize, String> {
    let jobs = text.parse().ok().filter(|n| (1..=MAX_JOBS).contains(n));
    jobs.ok_or_else(|| format!("a whole number from 1 to {MAX_JOBS} is expected"))
}

/// Ticks a second.
pub(crate) fn hz(text: &str) -> Result<u32, String> {
    let hz = text.parse().ok().filter(|n| [0, 100, 250, 300, 1000].contains(n));
    hz.ok_or_else(|| "timers tick 100, 250, 300 or 1000 times a second; 0 is for exact timers".into())
}

/// A kernel's version: `6.12`, `6.12.117`, or the release of a kernel that was built from a tree, `6.12.9-rc1`.
pub(crate) fn version(text: &str) -> Result<String, String> {
    let is_version = is_version(text);
    is_version.then(|| text.to_owned()).ok_or_else(|| "a version is written as 6.12 or 6.12.117".into())
}

/// The same, or this machine's own.
pub(crate) fn version_or_host(text: &str) -> Result<String, String> {
    let fits = text == "host" || is_version(text);
    let wanted = "a version as `wirelab kernel list` shows it (6.12, 6.12.117), or `host` for this machine's own kernel";
    fits.then(|| text.to_owned()).ok_or_else(|| wanted.into())
}

fn is_version(text: &str) -> bool {
    let (numbers, suffix) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let parts: Vec<&str> = numbers.split('.').collect();
    (2..=3).contains(&parts.len())
        && parts.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
        && suffix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_other_words() {
        for good in ["6.12", "6.12.117", "4.4", "6.12.9-rc1", "6.1.0+deb13"] {
            assert_eq!(version(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "6",
            "6.",
            ".6",
            "6.12.",
            "6.12.1.1",
            "nonsense",
            "../../etc",
            "6.12/..",
            "6.12-a/b",
            " 6.12",
        ] {
            assert!(version(bad).is_err(), "{bad}");
            assert!(version_or_host(bad).is_err(), "{bad}");
        }
        assert!(version("host").is_err());
        assert!(version_or_host("host").is_ok());
    }

    #[test]
    fn numbers_have_their_ranges() {
        assert_eq!((jobs("1"), jobs("256")), (Ok(1), Ok(256)));
        for bad in ["0", "257", "-1", "x", ""] {
            assert!(jobs(bad).is_err(), "{bad}");
        }
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        assert!(seed("-1").unwrap_err().contains("from 0 to 18446744073709551615"));
        assert_eq!((hz("0"), hz("300")), (Ok(0), Ok(300)));
        assert!(hz("7").unwrap_err().contains("100, 250, 300 or 1000"));
    }
}
