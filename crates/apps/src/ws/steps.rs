//! What a `ws-client` can be told to do.

use core::time::Duration;

use super::close::may_be_sent;
use crate::units::{Size, Span};

/// Fragments of one message.
const MAX_FRAGMENTS: usize = 1000;
/// Bytes of one message.
const MAX_BYTES: u64 = 64 << 20;

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Say { text: String, fragments: usize },
    SayUnmasked(String),
    SayBytes(usize),
    Ping,
    Listen(Duration),
    Sleep(Duration),
    Raw(Vec<u8>),
    Closed(u16),
    Close(u16, String),
    Vanish,
}

const ALL: &str = "say WORDS, say-in N WORDS, say-unmasked WORDS, say-bytes SIZE, ping, listen TIME, sleep TIME, raw HEX…, closed CODE, \
                   close CODE [WORDS], vanish";

/// What is wrong, and what to write.
type Wrong = (String, String);

impl Step {
    pub(super) fn parse(text: &str) -> Result<Step, Wrong> {
        let (word, words) = text.trim_start().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = words.trim();
        let wrong = |message: String, help: &str| (message, help.to_string());
        let span = || Span::parse(rest).map(|span| span.0).map_err(|why| wrong(why, &format!("{word} 10s")));
        match (word, rest) {
            ("say", "") => Err(wrong("say what?".into(), "say hello")),
            // Line ends count.
            ("say", _) => Ok(Step::Say { text: words.trim_matches(' ').into(), fragments: 1 }),
            ("say-unmasked", _) if !rest.is_empty() => Ok(Step::SayUnmasked(words.trim_matches(' ').into())),
            ("say-in", rest) => {
                let parts = rest.split_once(' ').and_then(|(n, words)| Some((n.parse().ok()?, words)));
                match parts {
                    Some((n, words)) if (2..=MAX_FRAGMENTS).contains(&n) => {
                        Ok(Step::Say { text: words.into(), fragments: n })
                    }
                    _ => Err(wrong(
                        format!("2 to {MAX_FRAGMENTS} fragments, and the words"),
                        "say-in 3 hello world",
                    )),
                }
            }
            ("say-bytes", size) => match Size::parse(size) {
                Ok(size) if (1..=MAX_BYTES).contains(&size.0) => Ok(Step::SayBytes(size.bytes())),
                Ok(_) => Err(wrong("1 byte to 64m".into(), "say-bytes 300")),
                Err(why) => Err(wrong(why, "say-bytes 300")),
            },
            ("ping", "") => Ok(Step::Ping),
            ("vanish", "") => Ok(Step::Vanish),
            ("listen", _) => span().map(Step::Listen),
            ("sleep", _) => span().map(Step::Sleep),
            ("raw", hex) => {
                let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
                let pair = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
                let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
                match bytes {
                    Some(bytes) if !bytes.is_empty() && digits.len().is_multiple_of(2) => {
                        Ok(Step::Raw(bytes))
                    }
                    _ => Err(wrong(format!("{hex:?} are no bytes"), "raw 81 05 68 65 6c 6c 6f")),
                }
            }
            ("closed", code) => match code.parse() {
                Ok(code @ 1000..=4999) => Ok(Step::Closed(code)),
                _ => Err(wrong(format!("{code:?} is no close code: 1000 to 4999"), "closed 1002")),
            },
            ("close", rest) => {
                let (code, words) = rest.split_once(' ').unwrap_or((rest, ""));
                match code.parse() {
                    Ok(code) if may_be_sent(code) && words.len() <= 123 => {
                        Ok(Step::Close(code, words.trim().into()))
                    }
                    _ => Err(wrong(
                        format!(
                            "{rest:?}: a code that may be sent (RFC 6455 §7.4), and up to 123 bytes of reason"
                        ),
                        "close 1000 done",
                    )),
                }
            }
            _ => Err(wrong(format!("no step `{text}`"), &format!("there are: {ALL}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_what_is_wrong_is_said() {
        let say = |text: &str, fragments| Step::Say { text: text.into(), fragments };
        for (text, step) in [
            ("say hello  world", say("hello  world", 1)),
            ("say GET / HTTP/1.1\r\n\r\n", say("GET / HTTP/1.1\r\n\r\n", 1)),
            ("say-unmasked x\n", Step::SayUnmasked("x\n".into())),
            ("say-in 3 hello world", say("hello world", 3)),
            ("say-bytes 2k", Step::SayBytes(2048)),
            ("listen 1.5s", Step::Listen(Duration::from_millis(1500))),
            ("raw 81 05ff", Step::Raw(vec![0x81, 5, 0xff])),
            ("close 4001 see you", Step::Close(4001, "see you".into())),
            ("closed 1006", Step::Closed(1006)),
        ] {
            assert_eq!(Step::parse(text), Ok(step), "{text}");
        }
        for text in [
            "",
            "say",
            "say-in 1 x",
            "say-in 2",
            "say-bytes 0",
            "say-bytes 1g",
            "ping 2",
            "raw",
            "raw 8",
            "raw xy",
            "close 1005",
            "close 999",
            "close",
            "closed 5",
            "listen",
            "sleep 3",
            "shout",
        ] {
            assert!(Step::parse(text).is_err(), "{text}");
        }
    }
}
