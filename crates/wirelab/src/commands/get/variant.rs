//! How the default world is changed: protocols of the browser, and what the links are like.

use core::fmt;

use crate::GetArgs;

/// What is different from the world as its file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant {
    http: Option<String>,
    tls: Option<String>,
    early_data: bool,
    no_resume: bool,
    no_cache: bool,
    no_compress: bool,
    rtt_ms: Option<u64>,
    rate: Option<String>,
    loss: Option<String>,
}

/// What a wrong word is answered with: the message and a hint.
type Wrong = (String, String);

const WORDS: &str = "words of --compare: http1.1, http2, tls1.2, tls1.3, early-data, no-resume, no-cache, no-compress, rtt=100ms, \
                     rate=10mbit, loss=2%; `+` joins several, as in http1.1+tls1.2";

impl Variant {
    /// As the options say.
    pub(super) fn of(args: &GetArgs) -> Result<Variant, Wrong> {
        let mut all = Variant::default();
        if let Some(version) = &args.http {
            all.http(version)?;
        }
        if let Some(version) = &args.tls {
            all.tls(version)?;
        }
        if args.false_start {
            return Err(needs_boring("--false-start"));
        }
        all.early_data = args.early_data;
        if let Some(rtt) = &args.rtt {
            all.rtt(rtt)?;
        }
        all.rate.clone_from(&args.rate);
        all.loss.clone_from(&args.loss);
        Ok(all)
    }

    /// With the words of one variant of `--compare`.
    pub(super) fn with(&self, words: &str) -> Result<Variant, Wrong> {
        let mut all = self.clone();
        for word in words.split('+') {
            match word.split_once('=') {
                Some(("rtt", value)) => all.rtt(value)?,
                Some(("rate", value)) => all.rate = Some(value.into()),
                Some(("loss", value)) => all.loss = Some(value.into()),
                Some(_) => return Err((format!("--compare: {word} is no variant"), WORDS.into())),
                None => match word {
                    "default" => {}
                    "early-data" => all.early_data = true,
                    "no-resume" => all.no_resume = true,
                    "no-cache" => all.no_cache = true,
                    "no-compress" => all.no_compress = true,
                    "false-start" => return Err(needs_boring(word)),
                    _ => match (word.strip_prefix("http"), word.strip_prefix("tls")) {
                        (Some(version), _) => all.http(version)?,
                        (None, Some(version)) => all.tls(version)?,
                        (None, None) => {
                            return Err((format!("--compare: {word} is no variant"), WORDS.into()));
                        }
                    },
                },
            }
        }
        Ok(all)
    }

    fn http(&mut self, version: &str) -> Result<(), Wrong> {
        match version {
            "1.1" | "2" => self.http = Some(version.into()),
            "3" => return Err(("HTTP/3 is not there yet".into(), "--http 1.1 or 2".into())),
            other => return Err((format!("there is no HTTP/{other} here"), "--http 1.1 or 2".into())),
        }
        Ok(())
    }

    fn tls(&mut self, version: &str) -> Result<(), Wrong> {
        match version {
            "1.2" | "1.3" => self.tls = Some(version.into()),
            "1.2-rsa" => return Err(needs_boring("static RSA")),
            other => return Err((format!("there is no TLS {other} here"), "--tls 1.2 or 1.3".into())),
        }
        Ok(())
    }

    fn rtt(&mut self, text: &str) -> Result<(), Wrong> {
        let wrong = || (format!("--rtt {text}: between 1ms and 10s"), "such as --rtt 100ms".into());
        let span =
            apps::units::Span::parse(text).map_err(|message| (message, "such as --rtt 100ms".to_string()))?;
        let ms = u64::try_from(span.0.as_millis()).map_err(|_| wrong())?;
        if !(1..=10_000).contains(&ms) {
            return Err(wrong());
        }
        self.rtt_ms = Some(ms);
        Ok(())
    }

    /// The world's file with this variant, without its expectations, which are those of the row.
    pub(super) fn world(&self, file: &str, url: &str, visits: usize) -> String {
        let end = file.find("\n[[expect]]").unwrap_or(file.len());
        let mut text = String::with_capacity(end);
        let mut link = String::new();
        for line in file[..end].lines() {
            if let Some(name) = line.strip_prefix("[links.").and_then(|rest| rest.strip_suffix(']')) {
                link = name.into();
            } else if line.starts_with('[') {
                link.clear();
            }
            let line = self.line(&link, line, url, visits);
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    fn line(&self, link: &str, line: &str, url: &str, visits: usize) -> String {
        if line.starts_with("run = 'browser ") {
            return format!("run = {}", toml_string(&self.command(url, visits)));
        }
        if link.is_empty() {
            return line.into();
        }
        let delay = line.strip_prefix("delay = \"").and_then(|rest| rest.strip_suffix('"'));
        let delay = delay.and_then(|text| apps::units::Span::parse(text).ok());
        if let (Some(rtt), Some(delay)) = (self.rtt_ms, delay) {
            // All links keep their share of the way.
            return format!("delay = \"{}us\"", delay.0.as_micros() * u128::from(rtt) / NOMINAL_RTT_MS);
        }
        if link == "access" && line.starts_with("rate = ") {
            let rate =
                self.rate.as_ref().map_or(line.to_string(), |rate| format!("rate = {}", toml_string(rate)));
            let loss =
                self.loss.as_ref().map_or(String::new(), |loss| format!("\nloss = {}", toml_string(loss)));
            return rate + &loss;
        }
        line.into()
    }

    fn command(&self, url: &str, visits: usize) -> String {
        let mut words = vec!["browser".to_string(), "--json".into()];
        let mut option = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                words.extend([name.to_string(), value.clone()]);
            }
        };
        option("--http", self.http.as_ref());
        option("--tls", self.tls.as_ref());
        let switches = [
            ("--early-data", self.early_data),
            ("--no-resume", self.no_resume),
            ("--no-cache", self.no_cache),
            ("--no-compress", self.no_compress),
        ];
        words.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_string()));
        words.push(quoted(url));
        for _ in 1..visits {
            words.extend(["--close".to_string(), "--wait".into(), "2s".into(), quoted(url)]);
        }
        words.join(" ")
    }
}

/// Between the client and the origin, as the file has it.
const NOMINAL_RTT_MS: u128 = 40;

fn needs_boring(what: &str) -> Wrong {
    (
        format!("{what} is not in this browser"),
        "the rows under tls/ have it: `wirelab ask false start`".into(),
    )
}

/// A word of a command line, whatever is in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A basic string of TOML.
fn toml_string(text: &str) -> String {
    serde_json::to_string(text).expect("text prints")
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.http.as_ref().map(|v| format!("HTTP/{v}")));
        words.extend(self.tls.as_ref().map(|v| format!("TLS {v}")));
        let switches = [
            ("0-RTT", self.early_data),
            ("no resumption", self.no_resume),
            ("no cache", self.no_cache),
            ("no compression", self.no_compress),
        ];
        words.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_string()));
        words.extend(self.rtt_ms.map(|ms| format!("rtt {ms} ms")));
        words.extend(self.rate.as_ref().map(|rate| format!("rate {rate}")));
        words.extend(self.loss.as_ref().map(|loss| format!("loss {loss}")));
        f.write_str(if words.is_empty() { "as it is".into() } else { words.join(", ") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> &'static str {
        scenario::catalogue::find(super::super::WORLD).expect("it is in the catalogue").text
    }

    #[test]
    fn the_world_is_changed_where_it_is_asked() {
        let variant =
            Variant::default().with("http1.1+tls1.2+rtt=80ms+rate=1mbit+loss=2%").expect("known words");
        let text = variant.world(world(), "https://shop.example/", 2);
        assert!(text.contains("--http 1.1 --tls 1.2"), "{text}");
        assert!(text.contains("rate = \"1mbit\"\nloss = \"2%\""), "{text}");
        assert!(text.contains("delay = \"8000us\"") && text.contains("delay = \"14000us\""), "{text}");
        assert!(!text.contains("[[expect]]"));
        let plain = Variant::default().world(world(), "https://shop.example/", 1);
        assert!(!plain.contains("--wait") && plain.contains("delay = \"7ms\""));
    }

    #[test]
    fn a_url_cannot_leave_its_word() {
        let text = Variant::default().world(world(), "https://a.example/\"\n[[programs]]", 1);
        let line = text.lines().find(|line| line.starts_with("run = ")).expect("the browser");
        assert!(line.contains("\\n[[programs]]"), "{line}");
    }

    #[test]
    fn wrong_words_are_refused() {
        for word in ["http3", "http9", "tls1.1", "quick", "rtt=0ms", "rtt=soon", "what=x", "false-start"] {
            assert!(Variant::default().with(word).is_err(), "{word}");
        }
    }
}
