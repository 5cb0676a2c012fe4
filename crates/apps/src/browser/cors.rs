//! Cross-Origin Resource Sharing (the Fetch standard §3.2, §4.8–4.10): which requests need a preflight, what the answer must say
//! for a script to read it, and the cache of preflights.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::site::{origin, same_origin};

/// How a request treats other origins (the Fetch standard's request mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The page itself.
    Navigate,
    /// Elements: it is sent, and nobody reads the answer.
    NoCors,
    /// Scripts: read only when the server agrees.
    Cors,
    /// Never to another origin.
    SameOrigin,
}

/// When cookies go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Never.
    Omit,
    /// To the page's own origin.
    SameOrigin,
    /// Always.
    Include,
}

impl Credentials {
    /// Whether cookies travel from a page to a target.
    pub fn travel(self, page: Option<&Url>, target: &Url) -> bool {
        match self {
            Credentials::Omit => false,
            Credentials::SameOrigin => page.is_none_or(|page| same_origin(page, target)),
            Credentials::Include => true,
        }
    }
}

/// Why a script does not get an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The request may not leave its origin.
    OtherOrigin,
    /// No `Access-Control-Allow-Origin`.
    NoAllowOrigin,
    /// It allows somebody else.
    WrongOrigin(String),
    /// `*`, but cookies were sent.
    WildcardWithCredentials,
    /// Cookies were sent, and nothing says `Access-Control-Allow-Credentials: true`.
    NoAllowCredentials,
    /// The preflight's status is no success.
    PreflightStatus(StatusCode),
    /// The preflight does not allow the method.
    Method(Method),
    /// The preflight does not allow a header field.
    Header(String),
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::OtherOrigin => f.write_str("mode same-origin"),
            Blocked::NoAllowOrigin => f.write_str("no Access-Control-Allow-Origin"),
            Blocked::WrongOrigin(other) => write!(f, "Access-Control-Allow-Origin is {other}"),
            Blocked::WildcardWithCredentials => {
                f.write_str("Access-Control-Allow-Origin is * and credentials are included")
            }
            Blocked::NoAllowCredentials => f.write_str("no Access-Control-Allow-Credentials: true"),
            Blocked::PreflightStatus(status) => write!(f, "the preflight's answer is {}", status.as_u16()),
            Blocked::Method(method) => write!(f, "{method} is not in Access-Control-Allow-Methods"),
            Blocked::Header(name) => write!(f, "{name} is not in Access-Control-Allow-Headers"),
        }
    }
}

/// The longest that a preflight is remembered (Chromium).
const MAX_AGE: Duration = Duration::from_secs(7200);
/// How long without `Access-Control-Max-Age`.
const DEFAULT_AGE: Duration = Duration::from_secs(5);
/// All values of safelisted fields together.
const SAFE_BYTES: usize = 1024;

/// Fields of a request that need a preflight, in lower case and in order (the Fetch standard: CORS-unsafe request-header names).
pub fn unsafe_headers(headers: &HeaderMap) -> Vec<String> {
    let mut names = Vec::new();
    let mut safe = Vec::new();
    let mut bytes = 0;
    for (name, value) in headers {
        if is_safelisted(name.as_str(), value.as_bytes()) {
            safe.push(name.to_string());
            bytes += value.len();
        } else {
            names.push(name.to_string());
        }
    }
    if bytes > SAFE_BYTES {
        names.append(&mut safe);
    }
    names.sort();
    names.dedup();
    names
}

fn is_safelisted(name: &str, value: &[u8]) -> bool {
    let odd = |b: &u8| (*b < 0x20 && *b != b'\t') || br#""():<>?@[\]{}"#.contains(b) || *b == 0x7f;
    let text = String::from_utf8_lossy(value);
    value.len() <= 128
        && match name {
            "accept" => !value.iter().any(odd),
            "accept-language" | "content-language" => {
                value.iter().all(|b| b.is_ascii_alphanumeric() || b" *,-.;=".contains(b))
            }
            "content-type" => {
                let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                let simple = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
                !value.iter().any(odd) && simple.contains(&essence.as_str())
            }
            "range" => text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).is_some_and(
                |(from, to)| {
                    !from.is_empty() && [from, to].iter().all(|n| n.bytes().all(|b| b.is_ascii_digit()))
                },
            ),
            _ => false,
        }
}

/// GET, HEAD and POST need no preflight.
pub fn is_simple_method(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::POST].contains(method)
}

/// Whether the answer may be read.
///
/// # Errors
/// Why not.
pub fn check(page: &str, credentials: bool, headers: &HeaderMap) -> Result<(), Blocked> {
    let field = |name: &str| -> Option<String> {
        let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    match field("access-control-allow-origin") {
        None => return Err(Blocked::NoAllowOrigin),
        Some(any) if any == "*" && !credentials => return Ok(()),
        Some(any) if any == "*" => return Err(Blocked::WildcardWithCredentials),
        Some(own) if own == page => {}
        Some(other) => return Err(Blocked::WrongOrigin(other)),
    }
    let allowed = field("access-control-allow-credentials").as_deref() == Some("true");
    if credentials && !allowed { Err(Blocked::NoAllowCredentials) } else { Ok(()) }
}

/// A request that a script wants to make.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The page that makes it.
    pub page: &'a Url,
    /// Its target.
    pub target: &'a Url,
    /// Its method.
    pub method: &'a Method,
    /// Fields that need a preflight, from [`unsafe_headers`].
    pub headers: &'a [String],
    /// Whether cookies go along.
    pub credentials: bool,
}

impl Wanted<'_> {
    /// Whether a preflight must go first, whatever is remembered.
    pub fn needs_preflight(&self) -> bool {
        !same_origin(self.page, self.target) && (!is_simple_method(self.method) || !self.headers.is_empty())
    }

    /// Header fields of the preflight.
    pub fn preflight(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("accept", "*/*".to_string()),
            ("access-control-request-method", self.method.to_string()),
            ("origin", origin(self.page)),
        ];
        if !self.headers.is_empty() {
            fields.insert(2, ("access-control-request-headers", self.headers.join(",")));
        }
        fields
    }
}

type Key = (String, String, bool);

/// What servers allowed in preflights.
#[derive(Clone, Debug, Default)]
pub struct Preflights {
    known: BTreeMap<Key, Allowed>,
}

#[derive(Clone, Debug)]
struct Allowed {
    until: SystemTime,
    methods: Vec<String>,
    headers: Vec<String>,
}

/// Preflights that are remembered.
const REMEMBERED: usize = 1000;

impl Preflights {
    /// Whether an earlier preflight still allows this.
    pub fn allow(&self, wanted: &Wanted<'_>, now: SystemTime) -> bool {
        let known = self.known.get(&key(wanted)).filter(|known| known.until > now);
        known.is_some_and(|known| known.against(wanted).is_none())
    }

    /// The answer to a preflight: whether the request may go.
    ///
    /// # Errors
    /// Why not.
    pub fn answer(
        &mut self,
        wanted: &Wanted<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<(), Blocked> {
        check(&origin(wanted.page), wanted.credentials, headers)?;
        if !status.is_success() {
            return Err(Blocked::PreflightStatus(status));
        }
        let list = |name: &str| {
            let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
            lines
                .flat_map(|line| line.split(','))
                .map(|word| word.trim().to_string())
                .filter(|word| !word.is_empty())
        };
        let age =
            headers.get("access-control-max-age").and_then(|age| age.to_str().ok()?.trim().parse().ok());
        let age = age.map_or(DEFAULT_AGE, Duration::from_secs).min(MAX_AGE);
        let allowed = Allowed {
            until: now + age,
            methods: list("access-control-allow-methods").collect(),
            headers: list("access-control-allow-headers").map(|name| name.to_ascii_lowercase()).collect(),
        };
        if let Some(blocked) = allowed.against(wanted) {
            return Err(blocked);
        }
        self.known.retain(|_, known| known.until > now);
        if self.known.len() < REMEMBERED {
            self.known.insert(key(wanted), allowed);
        }
        Ok(())
    }
}

impl Allowed {
    fn against(&self, wanted: &Wanted<'_>) -> Option<Blocked> {
        // With credentials a * is only the name *.
        let any = |list: &[String]| !wanted.credentials && list.iter().any(|word| word == "*");
        let method = wanted.method.as_str();
        if !is_simple_method(wanted.method)
            && !self.methods.iter().any(|m| m == method)
            && !any(&self.methods)
        {
            return Some(Blocked::Method(wanted.method.clone()));
        }
        let missing = |name: &&String| {
            let covered = any(&self.headers) && name.as_str() != "authorization";
            !covered && !self.headers.contains(name)
        };
        wanted.headers.iter().find(missing).map(|name| Blocked::Header(name.clone()))
    }
}

fn key(wanted: &Wanted<'_>) -> Key {
    (origin(wanted.page), wanted.target.as_str().into(), wanted.credentials)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::HeaderName;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        lines.iter().map(field).collect()
    }

    #[test]
    fn fields_that_forms_cannot_make_need_a_preflight() {
        let rows: &[(&str, &str, bool)] = &[
            ("accept", "text/html", true),
            ("accept", "text/html(x)", false),
            ("accept-language", "en-GB, de;q=0.5", true),
            ("content-type", "text/plain; charset=utf-8", true),
            ("content-type", "application/x-www-form-urlencoded", true),
            ("content-type", "application/json", false),
            ("x-csrf-token", "1", false),
            ("authorization", "Bearer x", false),
            ("range", "bytes=0-100", true),
            ("range", "bytes=-100", false),
        ];
        for (name, value, safe) in rows {
            assert_eq!(unsafe_headers(&headers(&[(name, value)])).is_empty(), *safe, "{name}: {value}");
        }
        assert_eq!(unsafe_headers(&headers(&[("accept", &"x".repeat(129))])), ["accept"]);
    }

    #[test]
    fn an_answer_says_who_may_read_it() {
        let page = "https://app.example";
        let acao = "access-control-allow-origin";
        let acac = ("access-control-allow-credentials", "true");
        type Row<'a> = (&'a [(&'a str, &'a str)], bool, Result<(), Blocked>);
        let rows: &[Row<'_>] = &[
            (&[], false, Err(Blocked::NoAllowOrigin)),
            (&[(acao, "*")], false, Ok(())),
            (&[(acao, "*"), acac], true, Err(Blocked::WildcardWithCredentials)),
            (&[(acao, page)], false, Ok(())),
            (&[(acao, page)], true, Err(Blocked::NoAllowCredentials)),
            (&[(acao, page), acac], true, Ok(())),
            (
                &[(acao, page), ("access-control-allow-credentials", "TRUE")],
                true,
                Err(Blocked::NoAllowCredentials),
            ),
            (
                &[(acao, "https://evil.example")],
                false,
                Err(Blocked::WrongOrigin("https://evil.example".into())),
            ),
            (
                &[(acao, page), (acao, "https://b.example")],
                false,
                Err(Blocked::WrongOrigin("https://app.example, https://b.example".into())),
            ),
        ];
        for (lines, credentials, wanted) in rows {
            assert_eq!(check(page, *credentials, &headers(lines)), *wanted, "{lines:?} {credentials}");
        }
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn with_wanted<T>(
        method: &Method,
        names: &[&str],
        credentials: bool,
        f: impl FnOnce(&Wanted<'_>) -> T,
    ) -> T {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let (page, target) = (url("https://app.example/"), url("https://api.example/items"));
        f(&Wanted { page: &page, target: &target, method, headers: &names, credentials })
    }

    #[test]
    fn a_preflight_must_allow_method_and_fields() {
        let ok = ("access-control-allow-origin", "https://app.example");
        let methods = |m| ("access-control-allow-methods", m);
        let fields = |h| ("access-control-allow-headers", h);
        let answer = |method: &Method, names: &[&str], status: u16, lines: &[(&str, &str)]| {
            let status = StatusCode::from_u16(status).expect("a status");
            with_wanted(method, names, false, |w| {
                Preflights::default().answer(w, status, &headers(lines), NOW)
            })
        };
        assert_eq!(answer(&Method::PUT, &[], 204, &[ok, methods("GET, PUT")]), Ok(()));
        assert_eq!(answer(&Method::PUT, &[], 204, &[ok, methods("put")]), Err(Blocked::Method(Method::PUT)));
        assert_eq!(answer(&Method::PUT, &[], 204, &[ok, methods("*")]), Ok(()));
        assert_eq!(answer(&Method::POST, &["content-type"], 200, &[ok, fields("Content-Type")]), Ok(()));
        assert_eq!(
            answer(&Method::POST, &["content-type"], 200, &[ok]),
            Err(Blocked::Header("content-type".into()))
        );
        assert_eq!(
            answer(&Method::GET, &["authorization"], 200, &[ok, fields("*")]),
            Err(Blocked::Header("authorization".into()))
        );
        assert_eq!(
            answer(&Method::PUT, &[], 404, &[ok, methods("PUT")]),
            Err(Blocked::PreflightStatus(StatusCode::NOT_FOUND))
        );
        assert_eq!(answer(&Method::PUT, &[], 204, &[methods("PUT")]), Err(Blocked::NoAllowOrigin));
    }

    #[test]
    fn with_credentials_a_star_allows_nothing() {
        let lines = [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "*"),
        ];
        let answer = with_wanted(&Method::PUT, &[], true, |w| {
            Preflights::default().answer(w, StatusCode::OK, &headers(&lines), NOW)
        });
        assert_eq!(answer, Err(Blocked::Method(Method::PUT)));
    }

    #[test]
    fn a_preflight_is_remembered_for_its_max_age_per_credentials() {
        let mut known = Preflights::default();
        let lines = |age| {
            [
                ("access-control-allow-origin", "https://app.example"),
                ("access-control-allow-methods", "PUT"),
                ("access-control-max-age", age),
            ]
        };
        let secs = Duration::from_secs;
        for (age, seconds) in [("60", 60), ("100000", 7200), ("x", 5)] {
            with_wanted(&Method::PUT, &[], false, |w| {
                known.answer(w, StatusCode::OK, &headers(&lines(age)), NOW)
            })
            .expect("allowed");
            let allowed = |at| with_wanted(&Method::PUT, &[], false, |w| known.allow(w, NOW + secs(at)));
            assert_eq!([allowed(seconds - 1), allowed(seconds)], [true, false], "{age}");
        }
        assert!(!with_wanted(&Method::PUT, &[], true, |w| known.allow(w, NOW)), "another credentials mode");
        assert!(!with_wanted(&Method::DELETE, &[], false, |w| known.allow(w, NOW)), "another method");
    }

    #[test]
    fn what_a_form_could_send_needs_no_preflight() {
        let needs =
            |method: &Method, names: &[&str]| with_wanted(method, names, false, |w| w.needs_preflight());
        assert!(!needs(&Method::POST, &[]) && needs(&Method::PUT, &[]) && needs(&Method::GET, &["x-a"]));
        let fields = with_wanted(&Method::PUT, &["a", "b"], false, |w| w.preflight());
        assert_eq!(fields[2], ("access-control-request-headers", "a,b".to_string()));
    }
}
