//! What a server asks of a request beyond who sends it: that it comes from the server's own pages (CSRF), and what it tells
//! browsers about pages of other origins (CORS; the Fetch standard §3.2).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, HeaderName, ORIGIN, REFERER, VARY,
};
use http::{HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::login::{By, Known};
use crate::Problem;
use crate::http::front::{Answer, Exchange};
use crate::units::Span;

/// Which proofs a request that changes something needs besides its cookie.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Csrf {
    /// The form brings a random value that only the server's own page could read.
    pub token: bool,
    /// `Origin`, or without one `Referer`, is the server's own.
    pub origin: bool,
    /// `Sec-Fetch-Site` says same-origin, or that nobody but the user began it (Fetch Metadata §5).
    pub fetch_metadata: bool,
}

/// Which other origins may read answers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins such as `https://www.shop.example`; `*` is said as it is.
    pub origins: Vec<String>,
    /// Whichever origin asks is told that it may: a mistake that is often made.
    pub reflect: bool,
    /// `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// Header fields that scripts may send.
    pub headers: Vec<String>,
    /// How long a preflight counts.
    pub max_age: Option<Span>,
}

impl Cors {
    pub(super) fn check(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        for (index, text) in self.origins.iter().enumerate() {
            let is_origin = Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == *text);
            if text != "*" && !is_origin {
                let path = vec!["origins".into(), index.to_string()];
                let help = "scheme, host and port without a slash at the end: \"https://www.shop.example\"";
                found.push(Problem {
                    path,
                    message: format!("{text:?} is no origin"),
                    help: Some(help.into()),
                });
            }
        }
        for (index, name) in self.headers.iter().enumerate() {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                let path = vec!["headers".into(), index.to_string()];
                found.push(Problem { path, message: format!("{name:?} is no header field"), help: None });
            }
        }
        found
    }

    /// What `Access-Control-Allow-Origin` says to this origin.
    fn allows(&self, origin: &str) -> Option<String> {
        if self.reflect || self.origins.iter().any(|has| has == origin) {
            return Some(origin.into());
        }
        self.origins.iter().find(|has| *has == "*").cloned()
    }

    /// Tells the browser whether the page that asked may read this.
    pub(super) fn tell(&self, exchange: &Exchange, answer: &mut Answer) {
        answer.headers.append(VARY, HeaderValue::from_static("Origin"));
        let allowed = exchange.header(ORIGIN).and_then(|origin| self.allows(origin));
        let Some(allowed) = allowed.and_then(|origin| HeaderValue::from_str(&origin).ok()) else { return };
        answer.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            answer.headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The answer to a preflight.
    pub(super) fn preflight(&self, exchange: &Exchange, methods: &[Method]) -> Answer {
        let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        let mut answer = Answer::new(StatusCode::NO_CONTENT)
            .with(ACCESS_CONTROL_ALLOW_METHODS, &methods.join(", "))
            .with(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers.join(", "));
        if let Some(age) = self.max_age {
            answer = answer.with(ACCESS_CONTROL_MAX_AGE, &age.0.as_secs().to_string());
        }
        self.tell(exchange, &mut answer);
        answer
    }
}

/// The origin that this request was sent to.
fn own_origin(exchange: &Exchange) -> String {
    let scheme = if exchange.secure { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{}/", exchange.host));
    url.map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

/// Where a request says that it comes from.
pub(super) fn source(exchange: &Exchange) -> Option<String> {
    let referer = || {
        let url = Url::parse(exchange.header(REFERER)?).ok()?;
        Some(url.origin().ascii_serialization())
    };
    exchange.header(ORIGIN).map(str::to_string).or_else(referer)
}

impl Csrf {
    /// Whether a request that changes something is the user's own. A bearer header needs no proof: browsers do not send it by
    /// themselves.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn passes(
        &self,
        exchange: &Exchange,
        known: &Known,
        sent: Option<&str>,
        trusted: &[String],
    ) -> Result<(), String> {
        if known.by == By::Bearer {
            return Ok(());
        }
        if self.token {
            let wanted = known.csrf.as_deref().ok_or("this login has no token for forms")?;
            // Only its length shows how long it takes.
            let same = sent.is_some_and(|sent| {
                sent.len() == wanted.len()
                    && sent.bytes().zip(wanted.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
            });
            if !same {
                let what = if sent.is_some() { "a wrong token" } else { "no token" };
                return Err(format!("CSRF: the form brings {what}"));
            }
        }
        if self.origin {
            let from = source(exchange).ok_or("CSRF: neither Origin nor Referer")?;
            if from != own_origin(exchange) && !trusted.contains(&from) {
                return Err(format!("CSRF: it comes from {from}"));
            }
        }
        if self.fetch_metadata {
            let site = exchange.header(HeaderName::from_static("sec-fetch-site"));
            // Browsers say it over https; who says nothing is too old a browser or none.
            if let Some(site) = site.filter(|site| !["same-origin", "none"].contains(site)) {
                return Err(format!("CSRF: Sec-Fetch-Site is {site}"));
            }
        }
        Ok(())
    }
}
