//! The command line of `curl`.

use core::time::Duration;
use std::net::IpAddr;

use http::Method;
use http::header::{HeaderName, HeaderValue};

use crate::http::client::Version;
use crate::tls::{ClientOptions, Verify, VersionWord};
use crate::{CommandError, Env};

/// What a command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// One request each.
    pub urls: Vec<String>,
    /// `-X`
    pub method: Option<Method>,
    /// `-H`, those that are sent; one without a value removes curl's own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `-H 'Name:'`
    pub without: Vec<HeaderName>,
    /// `-d` and its friends, joined with `&`.
    pub data: Option<String>,
    /// The type of `data`.
    pub data_type: Option<&'static str>,
    /// `-G`: the data goes into the query.
    pub get: bool,
    /// `-b name=value`
    pub cookies: Vec<String>,
    /// `-c`: the jar is printed at the end when it is `-`.
    pub jar: Option<String>,
    /// `-v`
    pub verbose: bool,
    /// `-i`
    pub include: bool,
    /// `-I`
    pub head: bool,
    /// `-s`
    pub silent: bool,
    /// `-S`
    pub show_error: bool,
    /// `-f`
    pub fail: bool,
    /// `-o`: the bodies are not printed.
    pub discard: bool,
    /// `-L`
    pub follow: bool,
    /// `--max-redirs`; 50.
    pub max_redirects: Option<u32>,
    /// `--compressed`
    pub compressed: bool,
    /// `-r`
    pub range: Option<String>,
    /// `-m`
    pub max_time: Option<Duration>,
    /// `--connect-timeout`
    pub connect_timeout: Option<Duration>,
    /// `--retry`
    pub retry: u32,
    /// `--retry-connrefused`
    pub retry_refused: bool,
    /// `-w`
    pub write_out: Option<String>,
    /// `--http1.0` and so on.
    pub version: Version,
    /// `--alt-svc`: what answers say of HTTP/3 is believed within this command.
    pub alt_svc: bool,
    /// `--resolve`
    pub resolve: Vec<(String, u16, Vec<IpAddr>)>,
    /// `-k`, `--cacert`, `--cert`, `--tlsv1.2`, `--tls-max`.
    pub tls: ClientOptions,
    /// Words of options with files or things that are not here are refused when the command is read.
    pub user: Option<String>,
}

/// The number of an option's words.
const MAX_URLS: usize = 1000;

/// One option as it was written.
struct Parser<'a> {
    words: &'a [String],
    at: usize,
}

impl Parser<'_> {
    fn wrong(&self, message: impl Into<String>, help: Option<&str>) -> CommandError {
        CommandError { word: self.at, message: message.into(), help: help.map(Into::into) }
    }

    /// The argument of an option: what follows in the word, or the next word.
    fn argument(&mut self, option: &str, rest: &str) -> Result<String, CommandError> {
        if !rest.is_empty() {
            return Ok(rest.into());
        }
        match self.words.get(self.at + 1) {
            Some(word) => {
                self.at += 1;
                Ok(word.clone())
            }
            None => Err(CommandError {
                word: self.words.len(),
                message: format!("curl: option {option}: requires parameter"),
                help: None,
            }),
        }
    }

    fn seconds(&mut self, option: &str, rest: &str) -> Result<Duration, CommandError> {
        let text = self.argument(option, rest)?;
        let seconds: Option<f64> =
            text.parse().ok().filter(|s: &f64| s.is_finite() && (0.0..1e8).contains(s));
        seconds.map(Duration::from_secs_f64).ok_or_else(|| {
            self.wrong(
                format!("curl: option {option}: expected a proper numerical parameter"),
                Some("seconds, such as 2.5"),
            )
        })
    }

    fn number(&mut self, option: &str, rest: &str) -> Result<u32, CommandError> {
        let text = self.argument(option, rest)?;
        text.parse().map_err(|_| {
            self.wrong(format!("curl: option {option}: expected a proper numerical parameter"), None)
        })
    }
}

/// Short options and their long names.
const SHORT: &[(char, &str)] = &[
    ('0', "--http1.0"),
    ('4', "--ipv4"),
    ('A', "--user-agent"),
    ('b', "--cookie"),
    ('c', "--cookie-jar"),
    ('d', "--data"),
    ('e', "--referer"),
    ('E', "--cert"),
    ('f', "--fail"),
    ('G', "--get"),
    ('H', "--header"),
    ('i', "--include"),
    ('I', "--head"),
    ('k', "--insecure"),
    ('L', "--location"),
    ('m', "--max-time"),
    ('N', "--no-buffer"),
    ('o', "--output"),
    ('O', "--remote-name"),
    ('r', "--range"),
    ('s', "--silent"),
    ('S', "--show-error"),
    ('u', "--user"),
    ('v', "--verbose"),
    ('w', "--write-out"),
    ('X', "--request"),
    ('#', "--progress-bar"),
];

/// Long options that take an argument, of those that have a short name.
const WITH_ARGUMENT: &[&str] = &[
    "--user-agent",
    "--cookie",
    "--cookie-jar",
    "--data",
    "--referer",
    "--cert",
    "--header",
    "--max-time",
    "--output",
    "--range",
    "--user",
    "--write-out",
    "--request",
];

impl Options {
    /// Reads the words, the first of which is `curl`.
    ///
    /// # Errors
    /// The word that is wrong.
    pub fn parse(words: &[String], env: &Env) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut parser = Parser { words, at: 0 };
        let mut literal = false;
        loop {
            parser.at += 1;
            let Some(word) = words.get(parser.at) else { break };
            if literal || !word.starts_with('-') || word == "-" {
                if options.urls.len() >= MAX_URLS {
                    return Err(parser.wrong(format!("more than {MAX_URLS} URLs"), None));
                }
                options.urls.push(word.clone());
            } else if word == "--" {
                literal = true;
            } else if word.starts_with("--") {
                options.set(&mut parser, word, "")?;
            } else {
                options.short(&mut parser, word)?;
            }
        }
        if options.urls.is_empty() {
            let message = "curl: no URL specified!".into();
            return Err(CommandError {
                word: words.len(),
                message,
                help: Some("curl http://server/".into()),
            });
        }
        if let Some(problem) = options.tls.check(env).into_iter().next() {
            let word =
                words.iter().position(|word| problem.message.contains(&format!("`{word}`"))).unwrap_or(0);
            return Err(CommandError { word, message: problem.message, help: problem.help });
        }
        Ok(options)
    }

    /// `-sSv`, `-XPOST`, `-X POST`.
    fn short(&mut self, parser: &mut Parser<'_>, word: &str) -> Result<(), CommandError> {
        let mut letters = word[1..].chars();
        while let Some(letter) = letters.next() {
            let Some((_, name)) = SHORT.iter().find(|(short, _)| *short == letter) else {
                return Err(parser.wrong(format!("curl: option -{letter}: is unknown"), Some(KNOWN)));
            };
            if WITH_ARGUMENT.contains(name) {
                return self.set(parser, name, letters.as_str());
            }
            self.set(parser, name, "")?;
        }
        Ok(())
    }

    fn set(&mut self, parser: &mut Parser<'_>, name: &str, rest: &str) -> Result<(), CommandError> {
        match name {
            "--verbose" => self.verbose = true,
            "--include" => self.include = true,
            "--head" => self.head = true,
            "--silent" => self.silent = true,
            "--show-error" => self.show_error = true,
            "--fail" => self.fail = true,
            "--get" => self.get = true,
            "--location" => self.follow = true,
            "--compressed" => self.compressed = true,
            "--insecure" => self.tls.verify = Verify::Off,
            "--retry-connrefused" => self.retry_refused = true,
            // There is one stack of addresses, no buffer and no progress here.
            "--ipv4" | "--no-buffer" | "--progress-bar" | "--no-progress-meter" => {}
            "--http1.0" => self.version = Version::Http10,
            "--http1.1" => self.version = Version::Http11,
            "--http2" => self.version = Version::Http2,
            "--http3" | "--http3-only" => self.version = Version::Http3,
            "--http2-prior-knowledge" => self.version = Version::Http2PriorKnowledge,
            "--tlsv1.2" => self.tls.versions = vec![VersionWord::Tls12, VersionWord::Tls13],
            "--tlsv1.3" => self.tls.versions = vec![VersionWord::Tls13],
            "--alt-svc" => {
                // curl's file keeps it for the next command.
                if parser.argument(name, rest)? != "-" {
                    return Err(parser
                        .wrong("there are no files here", Some("--alt-svc - remembers within the command")));
                }
                self.alt_svc = true;
            }
            "--output" | "--remote-name" => {
                // "-" is standard output, and there is no other file here.
                self.discard = name == "--remote-name" || parser.argument(name, rest)? != "-";
            }
            "--max-time" => self.max_time = Some(parser.seconds(name, rest)?),
            "--connect-timeout" => self.connect_timeout = Some(parser.seconds(name, rest)?),
            "--retry" => self.retry = parser.number(name, rest)?.min(100),
            "--max-redirs" => self.max_redirects = Some(parser.number(name, rest)?),
            "--request" => {
                let text = parser.argument(name, rest)?;
                let method = Method::from_bytes(text.as_bytes());
                self.method = Some(method.map_err(|_| parser.wrong(format!("{text:?} is no method"), None))?);
            }
            "--write-out" => self.write_out = Some(parser.argument(name, rest)?),
            "--range" => self.range = Some(parser.argument(name, rest)?),
            "--cookie-jar" => self.jar = Some(parser.argument(name, rest)?),
            "--user" => self.user = Some(parser.argument(name, rest)?),
            "--cacert" => self.tls.trust = vec![parser.argument(name, rest)?],
            "--cert" => self.tls.certificate = Some(parser.argument(name, rest)?),
            "--tls-max" => {
                self.tls.versions = match parser.argument(name, rest)?.as_str() {
                    "1.2" => vec![VersionWord::Tls12],
                    "1.3" | "default" => vec![VersionWord::Tls12, VersionWord::Tls13],
                    other => {
                        return Err(
                            parser.wrong(format!("{other} is no version of TLS here"), Some("1.2, 1.3"))
                        );
                    }
                };
            }
            "--header" | "--user-agent" | "--referer" | "--cookie" | "--resolve" => {
                self.field(parser, name, rest)?
            }
            "--data" | "--data-raw" | "--data-ascii" | "--data-binary" | "--data-urlencode" | "--json" => {
                self.data(parser, name, rest)?;
            }
            _ => return Err(parser.wrong(format!("curl: option {name}: is unknown"), Some(KNOWN))),
        }
        Ok(())
    }

    fn field(&mut self, parser: &mut Parser<'_>, name: &str, rest: &str) -> Result<(), CommandError> {
        let text = parser.argument(name, rest)?;
        let line = match name {
            "--header" => text,
            "--user-agent" => format!("User-Agent: {text}"),
            "--referer" => format!("Referer: {text}"),
            "--cookie" => {
                if !text.contains('=') {
                    let help = "-b 'name=value'; there are no files here";
                    return Err(parser.wrong(format!("{text:?} is no cookie"), Some(help)));
                }
                self.cookies.push(text);
                return Ok(());
            }
            _ => {
                let resolve = resolve(&text);
                let help = "--resolve name:port:address";
                self.resolve.push(resolve.ok_or_else(|| {
                    parser.wrong(
                        format!("curl: (49) Couldn't parse CURLOPT_RESOLVE entry '{text}'"),
                        Some(help),
                    )
                })?);
                return Ok(());
            }
        };
        let wrong = || parser.wrong(format!("{line:?} is no header field"), Some("-H 'Name: value'"));
        let (field, value) = match line.split_once(':') {
            Some(parts) => parts,
            // curl's way to send a field without a value.
            None => line.strip_suffix(';').map(|field| (field, "\u{0}")).ok_or_else(wrong)?,
        };
        let field = HeaderName::from_bytes(field.trim().as_bytes()).map_err(|_| wrong())?;
        match value.trim() {
            "" => self.without.push(field),
            "\u{0}" => self.headers.push((field, HeaderValue::from_static(""))),
            value => self.headers.push((field, HeaderValue::from_str(value).map_err(|_| wrong())?)),
        }
        Ok(())
    }

    fn data(&mut self, parser: &mut Parser<'_>, name: &str, rest: &str) -> Result<(), CommandError> {
        let mut text = parser.argument(name, rest)?;
        if text.starts_with('@') && name != "--data-raw" {
            return Err(parser
                .wrong("there are no files here", Some("write the data itself, or --data-raw for an @")));
        }
        if name == "--data-urlencode" {
            let encode =
                |value: &str| url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>();
            text = match text.split_once('=') {
                Some(("", value)) => encode(value),
                Some((key, value)) => format!("{key}={}", encode(value)),
                None => encode(&text),
            };
        }
        self.data_type =
            Some(if name == "--json" { "application/json" } else { "application/x-www-form-urlencoded" });
        self.data = Some(match self.data.take() {
            Some(before) if name == "--json" => before + &text,
            Some(before) => format!("{before}&{text}"),
            None => text,
        });
        Ok(())
    }
}

/// For options that are not here.
const KNOWN: &str = "known: -0 -4 -A -b -c -d -e -E -f -G -H -i -I -k -L -m -N -o -O -r -s -S -u -v -w -X -#, --http1.1 --http2 \
                     --http2-prior-knowledge --http3 --http3-only --alt-svc --compressed --resolve --retry --connect-timeout --max-redirs --json \
                     --data-urlencode --cacert --tlsv1.2 --tlsv1.3 --tls-max";

/// `name:port:address[,address]`.
fn resolve(text: &str) -> Option<(String, u16, Vec<IpAddr>)> {
    let mut parts = text.trim_start_matches('+').splitn(3, ':');
    let (name, port, addresses) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let addresses = addresses.split(',').map(|ip| ip.trim_matches(['[', ']']).parse().ok());
    Some((name.to_ascii_lowercase(), port, addresses.collect::<Option<Vec<IpAddr>>>()?))
}
