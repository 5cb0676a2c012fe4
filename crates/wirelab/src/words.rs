//! Values of options, each with a message that says what it takes.

use std::ffi::OsString;

use drill::config::{Config, OptionError};

/// A command line of `drill` may have packetdrill's own options as its users write them (`--tolerance_usecs=10000`): each
/// becomes an `--option`.
pub(crate) fn with_packetdrill_options(
    args: impl Iterator<Item = OsString>,
    cli: &clap::Command,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let Some(drill) = args.iter().position(|a| a == "drill") else { return args };
    let command = cli.find_subcommand("drill").expect("it is a command");
    let ours = |name: &str| {
        command.get_arguments().chain(cli.get_arguments()).any(|a| a.get_long() == Some(name))
            || name == "help"
    };
    for at in drill + 1..args.len() {
        let Some(text) = args[at].to_str().and_then(|t| t.strip_prefix("--")) else { continue };
        let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        let known = || !matches!(Config::default().set(name, value), Err(OptionError::Unknown(_)));
        if name.is_empty() {
            break;
        }
        if !ours(name) && known() {
            args[at] = format!("--option={text}").into();
        }
    }
    args
}

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
    fn packetdrills_options_are_told_from_ours() {
        use clap::CommandFactory as _;
        let changed = |words: &[&str]| -> Vec<String> {
            let args = words.iter().map(|w| OsString::from(*w));
            let all = with_packetdrill_options(args, &crate::Cli::command());
            all.into_iter().map(|w| w.into_string().expect("text")).collect()
        };
        assert_eq!(
            changed(&[
                "wirelab",
                "drill",
                "a.pkt",
                "--tolerance_usecs=10",
                "--strict_segments",
                "--json",
                "--mtu=x"
            ]),
            [
                "wirelab",
                "drill",
                "a.pkt",
                "--option=tolerance_usecs=10",
                "--option=strict_segments",
                "--json",
                "--option=mtu=x"
            ]
        );
        for words in [
            &["wirelab", "drill", "--define=A=1", "--verbose", "--no_such=1", "--", "--mss=5"][..],
            &["wirelab", "run", "--mss=5"],
        ] {
            assert_eq!(changed(words), words);
        }
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
