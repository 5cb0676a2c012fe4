//! `browser URL…`: visits pages one after the other and prints every request.

use core::time::Duration;
use std::sync::Arc;

use url::Url;

use super::entry::Entry;
use super::{Browser, Options, cache};
use crate::http::client::Version;
use crate::tls::VersionWord;
use crate::units::Span;
use crate::{App, AppFuture, CommandError, Cx, Env, Ready};

/// The command line, read.
#[derive(Clone, Debug)]
pub struct BrowserCommand {
    options: Options,
    steps: Vec<Step>,
    /// Requests as JSON values, a line each.
    json: bool,
    /// No line per request.
    silent: bool,
    /// The exit status also tells of objects that failed.
    strict: bool,
    /// Times are also told in round trips.
    round_trips: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Visit(Url, cache::Mode),
    Wait(Duration),
    /// A form is filled in and sent.
    Submit(Vec<(String, String)>),
    /// A link whose URL has this in it is followed.
    Click(String),
    /// Connections that are not used are closed.
    Close,
}

/// What TLS 1.2 has whose server's key decrypts instead of signing (RFC 5288).
const STATIC_RSA: [&str; 2] = ["TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_RSA_WITH_AES_128_GCM_SHA256"];

/// All options, for errors.
const USAGE: &str = "browser [--http 1.1|2|3] [--alt-svc] [--tls 1.2|1.2-rsa|1.3] [--early-data] [--false-start] [--fast-open] [--no-resume] [--no-cache] [--no-compress] [--old-cookies] \
                     [--preload DOMAIN] [--connections N] [--trust NAME] [--json] [--silent] [--strict] [--round-trips] \
                     {URL | --reload URL | --fill 'user=alice&password=…' | --click PART-OF-URL | --wait TIME | --close}…";

/// Reads the command line.
///
/// # Errors
/// What is wrong with it.
pub fn read(words: &[String], env: &Env) -> Result<Ready, CommandError> {
    let wrong = |word: usize, message: String| CommandError { word, message, help: Some(USAGE.into()) };
    let mut all = BrowserCommand {
        options: Options::default(),
        steps: Vec::new(),
        json: false,
        silent: false,
        strict: false,
        round_trips: false,
    };
    let mut trust: Vec<String> = Vec::new();
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let mut value = |what: &str| {
            at += 1;
            words.get(at).cloned().ok_or_else(|| wrong(at, format!("`{word}` needs {what}")))
        };
        match word.as_str() {
            "--http" => {
                all.options.version = match value("a version")?.as_str() {
                    "1.1" => Version::Http11,
                    "2" => Version::Http2,
                    "3" => Version::Http3,
                    other => return Err(wrong(at, format!("HTTP {other} is neither 1.1 nor 2 nor 3"))),
                }
            }
            "--tls" => {
                all.options.tls.versions = match value("a version")?.as_str() {
                    "1.2" => vec![VersionWord::Tls12],
                    "1.2-rsa" => {
                        all.options.tls.suites = STATIC_RSA.map(String::from).into();
                        vec![VersionWord::Tls12]
                    }
                    "1.3" => vec![VersionWord::Tls13],
                    other => return Err(wrong(at, format!("TLS {other} is none of 1.2, 1.2-rsa and 1.3"))),
                }
            }
            "--false-start" => all.options.tls.false_start = true,
            "--fast-open" => all.options.fast_open = true,
            "--alt-svc" => all.options.alt_svc = true,
            "--early-data" => all.options.tls.early_data = true,
            "--no-resume" => all.options.tls.resume = false,
            "--no-cache" => all.options.cache = false,
            "--no-compress" => all.options.compress = false,
            "--old-cookies" => all.options.lax_by_default = false,
            "--preload" => all.options.preload.push(value("a domain")?),
            "--trust" => trust.push(value("a certificate of the scenario")?),
            "--connections" => {
                let text = value("a number")?;
                let count = text.parse().ok().filter(|n| (1..=256).contains(n));
                all.options.per_host =
                    count.ok_or_else(|| wrong(at, format!("{text} is no number from 1 to 256")))?;
            }
            "--json" => all.json = true,
            "--silent" => all.silent = true,
            "--strict" => all.strict = true,
            "--round-trips" => all.round_trips = true,
            "--close" => all.steps.push(Step::Close),
            "--click" => all.steps.push(Step::Click(value("a part of a URL")?)),
            "--fill" => {
                let text = value("fields such as 'user=alice&password=secret'")?;
                let fields: Vec<_> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
                if fields.is_empty() || !text.contains('=') {
                    return Err(wrong(at, format!("`{text}` has no field and its value")));
                }
                all.steps.push(Step::Submit(fields));
            }
            "--wait" => {
                let text = value("a time such as 5s")?;
                let span: Result<Span, _> = serde_json::from_value(text.as_str().into());
                all.steps.push(Step::Wait(span.map_err(|error| wrong(at, error.to_string()))?.0));
            }
            "--reload" => {
                let url = value("a URL")?;
                all.steps.push(Step::Visit(read_url(&url).map_err(|m| wrong(at, m))?, cache::Mode::Validate));
            }
            option if option.starts_with('-') => return Err(wrong(at, format!("no option `{option}`"))),
            url => {
                all.steps.push(Step::Visit(read_url(url).map_err(|m| wrong(at, m))?, cache::Mode::Default))
            }
        }
        at += 1;
    }
    if !all.steps.iter().any(|step| matches!(step, Step::Visit(..))) {
        return Err(wrong(words.len(), "which URL?".into()));
    }
    if !trust.is_empty() {
        all.options.tls.trust = trust;
    } else if env.pki.table(crate::pki::DEFAULT_CA).is_none() {
        // A scenario without certificates has http only.
        all.options.tls.trust = Vec::new();
    }
    if let Some(problem) = all.options.tls.check(env).into_iter().next() {
        return Err(CommandError { word: 0, message: problem.message, help: problem.help });
    }
    Ok(Arc::new(all))
}

/// Reads a URL as an address bar does, but without a search engine: what has no scheme is https.
///
/// # Errors
/// What is wrong with it.
pub fn read_url(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_string() } else { format!("https://{text}") };
    let url = Url::parse(&whole).map_err(|error| format!("`{text}` is no URL: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(format!("`{text}`: {} is neither http nor https", url.scheme()));
    }
    if url.port() == Some(0) {
        return Err(format!("`{text}`: port 0 is nobody's"));
    }
    Ok(url)
}

impl BrowserCommand {
    /// A time in round trips: of the fastest TCP handshake that this browser made.
    fn in_round_trips(&self, ms: f64, entries: &[Entry]) -> String {
        let connects = entries.iter().filter_map(|entry| entry.connect).filter(|connect| *connect > 0.0);
        let fastest = connects.fold(f64::INFINITY, f64::min);
        if !self.round_trips || fastest.is_infinite() {
            return String::new();
        }
        format!(" ({:.1} round trips of {fastest:.1} ms)", ms / fastest)
    }
}

impl App for BrowserCommand {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let browser = Browser::new(self.options.clone(), cx.clone());
            let mut status = 0;
            let mut printed = 0;
            for step in &self.steps {
                let (what, visited) = match step {
                    Step::Wait(time) => {
                        tokio::time::sleep(*time).await;
                        continue;
                    }
                    Step::Close => {
                        browser.close_idle();
                        continue;
                    }
                    Step::Visit(url, mode) => (url.to_string(), browser.visit(url.clone(), *mode).await),
                    Step::Submit(fields) => ("by a form".into(), browser.submit(fields).await),
                    Step::Click(part) => (format!("by a link to {part}"), browser.click(part).await),
                };
                let entries = browser.entries();
                for entry in &entries[printed..] {
                    if self.json {
                        cx.print(serde_json::to_string(entry).expect("plain data"));
                    } else if !self.silent {
                        cx.print(entry.line());
                    }
                }
                let of_visit = &entries[printed..];
                printed = entries.len();
                match visited {
                    Ok(page) => {
                        let sent = of_visit.iter().filter(|e| e.wire + e.head > 0).count();
                        let bytes: usize = of_visit.iter().map(|e| e.wire + e.head).sum();
                        if self.json {
                            let value = serde_json::json!({ "page": page.number, "url": page.url.as_str(), "on_load": page.on_load });
                            cx.print(value.to_string());
                        } else {
                            cx.print(format!(
                                "page {} {} after {:.1} ms{}: {} requests, {sent} answer{} of {bytes} bytes from the network{}",
                                page.url,
                                page.status.unwrap_or(0),
                                page.on_load,
                                self.in_round_trips(page.on_load, &entries),
                                of_visit.len(),
                                if sent == 1 { "" } else { "s" },
                                if page.failed == 0 { String::new() } else { format!(", {} objects failed", page.failed) },
                            ));
                        }
                        if page.failed > 0 && self.strict || page.status.is_none_or(|status| status >= 400) {
                            status = 22;
                        }
                    }
                    Err(error) => {
                        cx.print(format!("no page {what}: {error}"));
                        status = 1;
                    }
                }
            }
            status
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let error = read(&words, &Env::default()).expect_err(line);
        format!("{}: {}", error.word, error.message)
    }

    #[test]
    fn mistakes_are_told_at_their_word() {
        let rows = [
            ("browser", "1: which URL?"),
            ("browser --http 4 https://a.example/", "2: HTTP 4 is neither 1.1 nor 2 nor 3"),
            ("browser --tls", "2: `--tls` needs a version"),
            ("browser ftp://a.example/", "1: `ftp://a.example/`: ftp is neither http nor https"),
            ("browser --what a.example", "1: no option `--what`"),
            ("browser --connections 0 a.example", "2: 0 is no number from 1 to 256"),
            ("browser --fill what", "2: `what` has no field and its value"),
            ("browser http://[::1", "1: `http://[::1` is no URL: invalid IPv6 address"),
        ];
        for (line, message) in rows {
            assert_eq!(wrong(line), message);
        }
    }

    #[test]
    fn without_a_scheme_https_is_meant() {
        assert_eq!(read_url("shop.example").map(String::from), Ok("https://shop.example/".into()));
    }
}
