//! How the default world is changed: protocols of the browser, and what the links are like.

use core::fmt;

use crate::GetArgs;

/// What is different from the world as its file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant {
    http: Option<String>,
    alt_svc: bool,
    tls: Option<String>,
    early_data: bool,
    false_start: bool,
    fast_open: bool,
    no_resume: bool,
    no_cache: bool,
    no_compress: bool,
    rtt_ms: Option<u64>,
    rate: Option<String>,
    loss: Option<String>,
}

/// What a wrong word is answered with: the message and a hint.
type Wrong = (String, String);

const WORDS: &str = "words of --compare: http1.1, http2, http3, alt-svc, tls1.2, tls1.2-rsa, tls1.3, false-start, early-data, fast-open, no-resume, no-cache, no-compress, rtt=100ms, \
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
        (all.early_data, all.fast_open) = (args.early_data, args.fast_open);
        all.false_start = args.false_start;
        all.alt_svc = args.alt_svc;
        if let Some(rtt) = &args.rtt {
            all.rtt(rtt)?;
        }
        args.rate.as_ref().map(|rate| all.rate(rate)).transpose()?;
        args.loss.as_ref().map(|loss| all.loss(loss)).transpose()?;
        all.checked()
    }

    /// Nothing of it contradicts the rest or is missing from this build.
    fn checked(mut self) -> Result<Variant, Wrong> {
        if self.false_start {
            let tls = self.tls.get_or_insert_with(|| "1.2".into());
            if tls != "1.2" {
                let message = format!("False Start is TLS 1.2's with a fresh key exchange, not TLS {tls}'s");
                return Err((message, "--false-start alone, or with --tls 1.2".into()));
            }
            needs_boring("False Start")?;
        }
        if self.tls.as_deref() == Some("1.2-rsa") {
            needs_boring("the static RSA key exchange")?;
        }
        if self.early_data && self.tls.as_deref().is_some_and(|tls| tls != "1.3") {
            let message = "early data is TLS 1.3's".to_string();
            return Err((message, "--early-data alone, or with --tls 1.3".into()));
        }
        if self.http.as_deref() == Some("3") && self.tls.as_deref().is_some_and(|tls| tls != "1.3") {
            let message = "HTTP/3 has TLS 1.3 inside".to_string();
            return Err((message, "--http 3 alone, or with --tls 1.3".into()));
        }
        if self.early_data && self.no_resume {
            let message = "early data needs a session to resume".to_string();
            return Err((message, "leave no-resume out".into()));
        }
        Ok(self)
    }

    /// With the words of one variant of `--compare`.
    pub(super) fn with(&self, words: &str) -> Result<Variant, Wrong> {
        let mut all = self.clone();
        for word in words.split('+') {
            match word.split_once('=') {
                Some(("rtt", value)) => all.rtt(value)?,
                Some(("rate", value)) => all.rate(value)?,
                Some(("loss", value)) => all.loss(value)?,
                Some(_) => return Err((format!("--compare: {word} is no variant"), WORDS.into())),
                None => match word {
                    "default" => {}
                    "alt-svc" => all.alt_svc = true,
                    "early-data" => all.early_data = true,
                    "false-start" => all.false_start = true,
                    "fast-open" => all.fast_open = true,
                    "no-resume" => all.no_resume = true,
                    "no-cache" => all.no_cache = true,
                    "no-compress" => all.no_compress = true,
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
        all.checked()
    }

    fn http(&mut self, version: &str) -> Result<(), Wrong> {
        match version {
            "1.1" | "2" | "3" => self.http = Some(version.into()),
            other => return Err((format!("there is no HTTP/{other} here"), "--http 1.1, 2 or 3".into())),
        }
        Ok(())
    }

    fn tls(&mut self, version: &str) -> Result<(), Wrong> {
        match version {
            "1.2" | "1.2-rsa" | "1.3" => self.tls = Some(version.into()),
            other => {
                return Err((format!("there is no TLS {other} here"), "--tls 1.2, 1.2-rsa or 1.3".into()));
            }
        }
        Ok(())
    }

    fn rate(&mut self, text: &str) -> Result<(), Wrong> {
        scenario::check_rate(text)?;
        self.rate = Some(text.into());
        Ok(())
    }

    fn loss(&mut self, text: &str) -> Result<(), Wrong> {
        scenario::check_share(text)?;
        self.loss = Some(text.into());
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
        if let (Some("1.2-rsa"), Some(rest)) = (self.tls.as_deref(), line.strip_prefix("tls = {")) {
            // BoringSSL has neither early data nor anything else that this server says.
            let rest = rest.replace(", early_data = \"once\"", "");
            return format!(
                "tls = {{ versions = [\"1.2\"], suites = [\"TLS_RSA_WITH_AES_256_GCM_SHA384\"],{rest}"
            );
        }
        if self.tls.as_deref() == Some("1.2-rsa") && line.starts_with("names = [") {
            // Its key must decrypt.
            return format!("{line}\nkey = \"rsa2048\"");
        }
        if self.fast_open && (line == "[hosts.origin]" || line == "[hosts.edge]") {
            return format!("{line}\nsysctl = {{ \"net.ipv4.tcp_fastopen\" = {LISTENERS_FAST_OPEN} }}");
        }
        // A server that has HTTP/3 says so in every answer: only where it is the question.
        if line.starts_with("tls = { certificate = ") && (self.alt_svc || self.http.as_deref() == Some("3")) {
            return format!("versions = [\"1.1\", \"2\", \"3\"]\n{line}");
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
            ("--alt-svc", self.alt_svc),
            ("--early-data", self.early_data),
            ("--false-start", self.false_start),
            ("--fast-open", self.fast_open),
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

/// Linux's `TFO_SERVER_ENABLE | TFO_SERVER_WO_SOCKOPT1` beside the client's bit: every listener takes data in a SYN.
const LISTENERS_FAST_OPEN: u32 = 0x403;

fn needs_boring(what: &str) -> Result<(), Wrong> {
    if apps::tls::HAS_BORING {
        return Ok(());
    }
    Err((
        format!("{what} needs BoringSSL, which this build is without"),
        "cargo run --release --features boring -- get …; it needs cmake, g++, git and libclang".into(),
    ))
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
            ("Alt-Svc", self.alt_svc),
            ("0-RTT", self.early_data),
            ("False Start", self.false_start),
            ("Fast Open", self.fast_open),
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
        for word in [
            "http4",
            "http9",
            "tls1.1",
            "quick",
            "rtt=0ms",
            "rtt=soon",
            "what=x",
            "rate=5",
            "loss=2",
            "tls1.2+early-data",
            "tls1.3+false-start",
            "http3+tls1.2",
        ] {
            assert!(Variant::default().with(word).is_err(), "{word}");
        }
    }
}
