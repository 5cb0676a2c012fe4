//! What a `grpc-client` can be told to do: a call, what it may take, and how it must end.

use core::time::Duration;

use tonic::Code;

use super::{code_name, codes};
use crate::units::{Size, Span};

/// Numbers of one call.
const MAX_NUMBERS: usize = 1000;
/// Bytes of a large message.
const MAX_BYTES: u64 = 64 << 20;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Sleep(Duration),
    Call(Call),
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) what: What,
    /// The deadline.
    pub(super) limit: Option<Duration>,
    /// The client does not look at the deadline itself: the server must.
    pub(super) patient: bool,
    /// Gives up after so long, whatever the deadline.
    pub(super) leaves: Option<Duration>,
    /// Gives up after so many answers.
    pub(super) cancel_after: Option<usize>,
    /// How it must end.
    pub(super) code: Code,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Add(Vec<i64>),
    /// A message of about so many bytes.
    AddMany(usize),
    Count {
        count: u32,
        every: Duration,
    },
    Total(Vec<i64>),
    AddEach(Vec<i64>),
    /// A method by its path, with an empty message.
    Other(String),
}

const ALL: &str = "add 20 22, add-many 5m, count 5 [every 100ms], total 1 2 3, add-each 1 2 3, call /pkg.Service/Method, \
                   sleep 1s; behind a call: within 100ms, asking 100ms, leaving 100ms, cancel 3, = DEADLINE_EXCEEDED";

impl Step {
    /// The step; or what is wrong, and what to write.
    pub(super) fn parse(text: &str) -> Result<Step, (String, String)> {
        let unknown = || (format!("no step `{}`", text.trim()), format!("there are: {ALL}"));
        let span = |word: &str| {
            Span::parse(word).map(|span| span.0).map_err(|why| (why, "within 100ms".to_string()))
        };
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if let ["sleep", time] = words[..] {
            return span(time).map(Step::Sleep);
        }
        let mut code = Code::Ok;
        if let [.., "=", name] = words[..] {
            let names = || codes().map(code_name).collect::<Vec<_>>().join(", ");
            let wrong = || (format!("{name} is no status of gRPC"), format!("there are: {}", names()));
            code = codes().find(|code| code_name(*code) == name).ok_or_else(wrong)?;
            words.truncate(words.len() - 2);
        }
        let (mut limit, mut patient, mut leaves, mut cancel_after, mut every) =
            (None, false, None, None, None);
        loop {
            match words[..] {
                [.., "within", time] => limit = Some(span(time)?),
                [.., "asking", time] => (limit, patient) = (Some(span(time)?), true),
                [.., "leaving", time] => leaves = Some(span(time)?),
                [.., "every", time] => every = Some(span(time)?),
                [.., "cancel", n] => {
                    let wrong = || (format!("{n:?} is no number of answers"), "cancel 3".to_string());
                    cancel_after = Some(n.parse().map_err(|_| wrong())?);
                }
                _ => break,
            }
            words.truncate(words.len() - 2);
        }
        let numbers = |words: &[&str]| -> Option<Vec<i64>> {
            let few = (1..=MAX_NUMBERS).contains(&words.len());
            few.then(|| words.iter().map(|word| word.parse().ok()).collect()).flatten()
        };
        let what = match words[..] {
            ["add", ref rest @ ..] => numbers(rest).map(What::Add),
            ["total", ref rest @ ..] => numbers(rest).map(What::Total),
            ["add-each", ref rest @ ..] => numbers(rest).map(What::AddEach),
            ["add-many", size] => {
                let size = Size::parse(size).map_err(|why| (why, "add-many 5m".to_string()))?;
                (4..=MAX_BYTES).contains(&size.0).then(|| What::AddMany(size.bytes()))
            }
            ["count", n] => {
                n.parse().ok().map(|count| What::Count { count, every: every.unwrap_or_default() })
            }
            ["call", path] if path.starts_with('/') => Some(What::Other(path.into())),
            _ => None,
        };
        let what = what.ok_or_else(unknown)?;
        if every.is_some() && !matches!(what, What::Count { .. }) {
            return Err(("only `count` has a time between numbers".into(), "count 5 every 100ms".into()));
        }
        Ok(Step::Call(Call { what, limit, patient, leaves, cancel_after, code }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_what_is_wrong_is_said() {
        let call = |what| Call {
            what,
            limit: None,
            patient: false,
            leaves: None,
            cancel_after: None,
            code: Code::Ok,
        };
        let ms = Duration::from_millis;
        for (text, step) in [
            ("sleep 2s", Step::Sleep(ms(2000))),
            ("add 20 -22", Step::Call(call(What::Add(vec![20, -22])))),
            ("add-many 2k", Step::Call(call(What::AddMany(2048)))),
            (
                "count 5 every 100ms cancel 3 = CANCELLED",
                Step::Call(Call {
                    cancel_after: Some(3),
                    code: Code::Cancelled,
                    ..call(What::Count { count: 5, every: ms(100) })
                }),
            ),
            (
                "add 1 asking 1s = DEADLINE_EXCEEDED",
                Step::Call(Call {
                    limit: Some(ms(1000)),
                    patient: true,
                    code: Code::DeadlineExceeded,
                    ..call(What::Add(vec![1]))
                }),
            ),
            ("call /a.B/C", Step::Call(call(What::Other("/a.B/C".into())))),
        ] {
            assert_eq!(Step::parse(text), Ok(step), "{text}");
        }
        for text in [
            "",
            "add",
            "add x",
            "add 1 within",
            "add 1 within x",
            "add 1 = FINE",
            "count",
            "count -1",
            "count 1 cancel x",
            "add 1 every 1s",
            "call a",
            "sleep",
            "add-many 1",
            "within 1s",
        ] {
            assert!(Step::parse(text).is_err(), "{text}");
        }
    }
}
