//! What a QUIC client can be told to do, step by step.

use core::time::Duration;
use std::net::IpAddr;

use quinn::VarInt;

use super::size_of;
use crate::units::Span;

/// Requests of one step.
const MAX_SIDE_BY_SIDE: usize = 256;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// `early`: requests leave with the first packet.
    Connect {
        early: bool,
    },
    /// `lenient`: a failure is told, and the next step follows.
    Get {
        paths: Vec<String>,
        lenient: bool,
    },
    Sleep(Duration),
    Rebind(Option<IpAddr>),
    UpdateKeys,
    /// Waits for the end of the connection, whoever brings it.
    AwaitEnd,
    Close {
        code: VarInt,
        reason: String,
    },
}

/// All steps, for errors.
const KNOWN: &str = "connect, connect 0-rtt, get /SIZE…, try get /SIZE…, sleep TIME, rebind [ADDRESS], update-keys, await-end, \
                     close [CODE [REASON]]";

impl Step {
    pub(super) fn parse(text: &str) -> Result<Step, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["connect"] => Ok(Step::Connect { early: false }),
            ["connect", "0-rtt"] => Ok(Step::Connect { early: true }),
            ["get", paths @ ..] if !paths.is_empty() => get(paths, false),
            ["try", "get", paths @ ..] if !paths.is_empty() => get(paths, true),
            ["sleep", time] => Span::parse(time).map(|span| Step::Sleep(span.0)),
            ["rebind"] => Ok(Step::Rebind(None)),
            ["rebind", addr] => addr
                .parse()
                .map(|addr| Step::Rebind(Some(addr)))
                .map_err(|_| format!("`{addr}` is no address")),
            ["update-keys"] => Ok(Step::UpdateKeys),
            ["await-end"] => Ok(Step::AwaitEnd),
            ["close"] => Ok(Step::Close { code: VarInt::from_u32(0), reason: String::new() }),
            ["close", code, reason @ ..] => {
                let code = code.parse().ok().and_then(|code: u64| VarInt::from_u64(code).ok());
                let code = code.ok_or_else(|| format!("`{}` is no number below 2^62", words[1]))?;
                Ok(Step::Close { code, reason: reason.join(" ") })
            }
            _ => Err(format!("no step `{text}`; there are: {KNOWN}")),
        }
    }
}

fn get(paths: &[&str], lenient: bool) -> Result<Step, String> {
    if paths.len() > MAX_SIDE_BY_SIDE {
        return Err(format!("at most {MAX_SIDE_BY_SIDE} paths"));
    }
    match paths.iter().find(|path| size_of(path).is_none()) {
        Some(path) => Err(format!("`{path}` says no size: /20k is 20,000 bytes")),
        None => Ok(Step::Get { paths: paths.iter().map(|path| (*path).to_owned()).collect(), lenient }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_refused_with_words() {
        let close = Step::Close { code: VarInt::from_u32(7), reason: "had enough".into() };
        assert_eq!(Step::parse("close 7 had enough"), Ok(close));
        assert_eq!(
            Step::parse("try get /1 /2k"),
            Ok(Step::Get { paths: vec!["/1".into(), "/2k".into()], lenient: true })
        );
        for (wrong, why) in [
            ("get", "no step"),
            ("get 20k", "says no size"),
            ("close -1", "no number"),
            ("close 4611686018427387904", "no number"),
            ("rebind here", "no address"),
            ("sleep", "no step"),
            ("dance", "await-end"),
        ] {
            let error = Step::parse(wrong).expect_err(wrong);
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
