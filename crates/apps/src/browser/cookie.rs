//! The cookie jar of a browser: which `Set-Cookie` is taken, which cookie travels with which request, and why not (RFC 6265bis
//! draft 20 §5; `SameSite` as Chromium has it: "Lax" unless the cookie says otherwise).

use core::fmt;
use core::time::Duration;
use std::time::SystemTime;

use url::Url;

use super::date::cookie_date;
use super::site::{is_address, is_public_suffix, is_trustworthy};

/// When a cookie goes with requests that another site began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SameSite {
    /// It does not say; the jar's rule decides.
    Unset,
    /// Only when it is a navigation of the whole page with a safe method.
    Lax,
    /// Never.
    Strict,
    /// Always; needs `Secure`.
    None,
}

/// A cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The host, or the domain that it was set for.
    pub domain: String,
    /// Only the host itself gets it, its subdomains do not.
    pub host_only: bool,
    /// Paths below this one get it.
    pub path: String,
    /// Only secure connections carry it.
    pub secure: bool,
    /// Scripts do not see it.
    pub http_only: bool,
    /// See [`SameSite`].
    pub same_site: SameSite,
    /// When it ends; `None` with the browser's session.
    pub expires: Option<SystemTime>,
    /// When it was first set.
    pub created: SystemTime,
    serial: u64,
}

/// Why a `Set-Cookie` was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Neither name nor value, or longer than 4,096 bytes.
    Malformed,
    /// A control character.
    ControlCharacter,
    /// Its domain is a public suffix.
    PublicSuffix,
    /// The host is not within its domain.
    ForeignDomain,
    /// `Secure` over an insecure connection.
    SecureFromInsecure,
    /// It would replace a `Secure` cookie over an insecure connection.
    WouldShadowSecure,
    /// `SameSite=None` without `Secure`.
    NoneWithoutSecure,
    /// `SameSite` in an answer to another site's subresource request.
    CrossSite,
    /// `__Secure-` without `Secure`, or `__Host-` without `Secure`, with a domain, or with another path than `/`.
    Prefix,
    /// A script may neither set nor replace an `HttpOnly` cookie.
    HttpOnlyFromScript,
    /// The jar is full of cookies of this domain.
    Full,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Malformed => "it is malformed or longer than 4096 bytes",
            Refused::ControlCharacter => "it has a control character",
            Refused::PublicSuffix => "its Domain is a public suffix",
            Refused::ForeignDomain => "its Domain is not the host's",
            Refused::SecureFromInsecure => "Secure, but it came over http",
            Refused::WouldShadowSecure => "it would replace a Secure cookie, but came over http",
            Refused::NoneWithoutSecure => "SameSite=None needs Secure",
            Refused::CrossSite => "SameSite, but it came with another site's request",
            Refused::Prefix => "what its name's prefix promises does not hold",
            Refused::HttpOnlyFromScript => "a script cannot set an HttpOnly cookie",
            Refused::Full => "too many cookies of this domain",
        })
    }
}

/// Why a cookie of this host stayed at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The path is not below its own.
    Path,
    /// The connection is not secure.
    Insecure,
    /// `SameSite=Strict`, and another site began the request.
    Strict,
    /// `SameSite=Lax`, said or not, and another site began a request that is no navigation with a safe method.
    Lax,
    /// It belongs to the host itself only.
    HostOnly,
    /// The request was made without credentials.
    Omitted,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Withheld::Path => "Path",
            Withheld::Insecure => "Secure",
            Withheld::Strict => "SameSite=Strict",
            Withheld::Lax => "SameSite=Lax",
            Withheld::HostOnly => "host-only",
            Withheld::Omitted => "credentials omitted",
        })
    }
}

/// Who began a request, as far as cookies care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Everyone in the chain of redirects and the page itself are of the request's site.
    pub same_site: bool,
    /// The page itself is fetched, by a link, a form or the address bar.
    pub navigation: bool,
    /// GET, HEAD, OPTIONS or TRACE.
    pub safe_method: bool,
}

impl Context {
    /// The user typed the URL.
    pub const TYPED: Context = Context { same_site: true, navigation: true, safe_method: true };
}

/// Cookies that one domain may have (Chromium's kDomainMaxCookies).
const PER_DOMAIN: usize = 180;
/// Name and value together (RFC 6265bis §5.6).
const MAX_PAIR: usize = 4096;
/// An attribute's value (RFC 6265bis §5.6).
const MAX_ATTRIBUTE: usize = 1024;
/// No cookie lives longer (RFC 6265bis §5.5).
const MAX_AGE: Duration = Duration::from_secs(400 * 86_400);

/// All cookies of a browser.
#[derive(Clone, Debug)]
pub struct CookieJar {
    cookies: Vec<Cookie>,
    next: u64,
    lax_by_default: bool,
}

impl Default for CookieJar {
    fn default() -> CookieJar {
        CookieJar { cookies: Vec::new(), next: 0, lax_by_default: true }
    }
}

impl CookieJar {
    /// How browsers were before 2020: a cookie that does not say `SameSite` goes with every request.
    pub fn before_lax_by_default() -> CookieJar {
        CookieJar { lax_by_default: false, ..CookieJar::default() }
    }

    /// All cookies, in the order in which they were set.
    pub fn cookies(&self) -> &[Cookie] {
        &self.cookies
    }

    /// Takes a `Set-Cookie` line of an answer from `url`.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn set(&mut self, line: &str, url: &Url, context: Context, now: SystemTime) -> Result<(), Refused> {
        let cookie = self.read(line, url, now)?;
        if cookie.same_site != SameSite::None && !context.same_site && !context.navigation {
            // Unset counts as Lax here only where Lax is the rule.
            if cookie.same_site != SameSite::Unset || self.lax_by_default {
                return Err(Refused::CrossSite);
            }
        }
        self.insert(cookie, now)
    }

    /// `document.cookie = line` on a page at `url`.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn set_by_script(&mut self, line: &str, url: &Url, now: SystemTime) -> Result<(), Refused> {
        let cookie = self.read(line, url, now)?;
        if cookie.http_only || self.cookies.iter().any(|old| old.same_as(&cookie) && old.http_only) {
            return Err(Refused::HttpOnlyFromScript);
        }
        self.insert(cookie, now)
    }

    /// The `Cookie` header for a request, and what else this domain has and why it stays.
    pub fn header(
        &self,
        url: &Url,
        context: Context,
        now: SystemTime,
    ) -> (Option<String>, Vec<(&Cookie, Withheld)>) {
        let (sent, kept): (Vec<_>, Vec<_>) = self
            .live(url, now)
            .map(|cookie| (cookie, self.withheld(cookie, url, context)))
            .partition(|(_, why)| why.is_none());
        let sent: Vec<&Cookie> = sent.into_iter().map(|(cookie, _)| cookie).collect();
        (joined(sent), kept.into_iter().filter_map(|(cookie, why)| Some((cookie, why?))).collect())
    }

    /// `document.cookie` on a page at `url`.
    pub fn script_view(&self, url: &Url, now: SystemTime) -> String {
        let seen = self
            .live(url, now)
            .filter(|cookie| !cookie.http_only && self.withheld(cookie, url, Context::TYPED).is_none());
        joined(seen.collect()).unwrap_or_default()
    }

    /// Cookies of the host's domains that are not over.
    fn live<'a>(&'a self, url: &Url, now: SystemTime) -> impl Iterator<Item = &'a Cookie> {
        let host = host_of(url);
        self.cookies.iter().filter(move |cookie| {
            domain_match(&host, &cookie.domain) && cookie.expires.is_none_or(|end| end > now)
        })
    }

    fn withheld(&self, cookie: &Cookie, url: &Url, context: Context) -> Option<Withheld> {
        let lax = match cookie.same_site {
            SameSite::Lax => true,
            SameSite::Unset => self.lax_by_default,
            SameSite::Strict | SameSite::None => false,
        };
        if cookie.host_only && host_of(url) != cookie.domain {
            return Some(Withheld::HostOnly);
        }
        if !path_match(url.path(), &cookie.path) {
            return Some(Withheld::Path);
        }
        if cookie.secure && !is_trustworthy(url) {
            return Some(Withheld::Insecure);
        }
        if cookie.same_site == SameSite::Strict && !context.same_site {
            return Some(Withheld::Strict);
        }
        (lax && !context.same_site && !(context.navigation && context.safe_method)).then_some(Withheld::Lax)
    }

    /// RFC 6265bis §5.6 and the checks of §5.7 that need no other cookie.
    fn read(&mut self, line: &str, url: &Url, now: SystemTime) -> Result<Cookie, Refused> {
        if line.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
            return Err(Refused::ControlCharacter);
        }
        let mut parts = line.split(';');
        let pair = parts.next().unwrap_or_default();
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() && value.is_empty() || name.len() + value.len() > MAX_PAIR {
            return Err(Refused::Malformed);
        }
        let attributes = Attributes::read(parts, now);
        let host = host_of(url);
        let (domain, host_only) = match attributes.domain.as_deref() {
            None | Some("") => (host.clone(), true),
            Some(domain) if is_public_suffix(domain) && domain == host => (host.clone(), true),
            Some(domain) if is_public_suffix(domain) => return Err(Refused::PublicSuffix),
            Some(domain) if domain_match(&host, domain) => (domain.to_string(), false),
            Some(_) => return Err(Refused::ForeignDomain),
        };
        let path = attributes.path.clone().unwrap_or_else(|| default_path(url.path()));
        let secure_scheme = is_trustworthy(url);
        if attributes.secure && !secure_scheme {
            return Err(Refused::SecureFromInsecure);
        }
        if attributes.same_site == SameSite::None && !attributes.secure {
            return Err(Refused::NoneWithoutSecure);
        }
        let promised = match prefix(name, value) {
            Some("__secure-") => attributes.secure,
            Some("__host-") => attributes.secure && host_only && attributes.path.as_deref() == Some("/"),
            _ => true,
        };
        if !promised {
            return Err(Refused::Prefix);
        }
        let Attributes { secure, http_only, same_site, expires, .. } = attributes;
        let cookie = Cookie {
            name: name.into(),
            value: value.into(),
            domain,
            host_only,
            path,
            secure,
            http_only,
            same_site,
            expires,
            created: now,
            serial: self.next,
        };
        let shadows = |old: &&Cookie| {
            old.secure
                && old.name == cookie.name
                && (domain_match(&old.domain, &cookie.domain) || domain_match(&cookie.domain, &old.domain))
                && path_match(&cookie.path, &old.path)
        };
        if !secure_scheme && self.cookies.iter().find(shadows).is_some() {
            return Err(Refused::WouldShadowSecure);
        }
        Ok(cookie)
    }

    fn insert(&mut self, mut cookie: Cookie, now: SystemTime) -> Result<(), Refused> {
        if let Some(at) = self.cookies.iter().position(|old| old.same_as(&cookie)) {
            let old = self.cookies.remove(at);
            (cookie.created, cookie.serial) = (old.created, old.serial);
        } else {
            self.next += 1;
        }
        self.cookies.retain(|old| old.expires.is_none_or(|end| end > now));
        if cookie.expires.is_some_and(|end| end <= now) {
            // That is how cookies are deleted.
            return Ok(());
        }
        if self.cookies.iter().filter(|old| old.domain == cookie.domain).count() >= PER_DOMAIN {
            return Err(Refused::Full);
        }
        self.cookies.push(cookie);
        Ok(())
    }
}

impl Cookie {
    fn same_as(&self, other: &Cookie) -> bool {
        self.name == other.name
            && self.domain == other.domain
            && self.host_only == other.host_only
            && self.path == other.path
    }
}

/// Longer paths first, then older ones (RFC 6265bis §5.8.3).
fn joined(mut cookies: Vec<&Cookie>) -> Option<String> {
    cookies.sort_by_key(|cookie| (core::cmp::Reverse(cookie.path.len()), cookie.created, cookie.serial));
    let pairs: Vec<String> = cookies
        .iter()
        .map(|cookie| match cookie.name.as_str() {
            "" => cookie.value.clone(),
            name => format!("{name}={}", cookie.value),
        })
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

/// What a name's prefix promises, in lower case; a nameless cookie is judged by its value.
fn prefix(name: &str, value: &str) -> Option<&'static str> {
    let text = if name.is_empty() { value } else { name }.to_ascii_lowercase();
    ["__secure-", "__host-"].into_iter().find(|prefix| text.starts_with(prefix))
}

struct Attributes {
    domain: Option<String>,
    path: Option<String>,
    secure: bool,
    http_only: bool,
    same_site: SameSite,
    expires: Option<SystemTime>,
}

impl Attributes {
    fn read<'a>(parts: impl Iterator<Item = &'a str>, now: SystemTime) -> Attributes {
        let mut all = Attributes {
            domain: None,
            path: None,
            secure: false,
            http_only: false,
            same_site: SameSite::Unset,
            expires: None,
        };
        let mut max_age = None;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if value.len() > MAX_ATTRIBUTE {
                continue;
            }
            match name.as_str() {
                "domain" => all.domain = Some(value.strip_prefix('.').unwrap_or(value).to_ascii_lowercase()),
                "path" => all.path = Some(value).filter(|path| path.starts_with('/')).map(str::to_string),
                "secure" => all.secure = true,
                "httponly" => all.http_only = true,
                "samesite" => {
                    all.same_site = match value.to_ascii_lowercase().as_str() {
                        "strict" => SameSite::Strict,
                        "lax" => SameSite::Lax,
                        "none" => SameSite::None,
                        _ => SameSite::Unset,
                    }
                }
                "expires" => {
                    all.expires = cookie_date(value).map(|end| end.min(now + MAX_AGE)).or(all.expires)
                }
                "max-age" => max_age = seconds(value).or(max_age),
                _ => {}
            }
        }
        if let Some(seconds) = max_age {
            let alive = u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs);
            all.expires = Some(alive.map_or(SystemTime::UNIX_EPOCH, |age| now + age.min(MAX_AGE)));
        }
        all
    }
}

/// Digits with a sign before them; more than fit are very many.
fn seconds(value: &str) -> Option<i64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(value.parse().unwrap_or(if value.starts_with('-') { i64::MIN } else { i64::MAX }))
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_ascii_lowercase()
}

/// RFC 6265bis §5.1.3.
fn domain_match(host: &str, domain: &str) -> bool {
    host == domain || !is_address(host) && host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'))
}

/// RFC 6265bis §5.1.4.
fn path_match(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

/// RFC 6265bis §5.1.4: up to the last slash, without it.
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".into(),
        Some(at) => path[..at].into(),
    }
}

#[cfg(test)]
mod tests;
