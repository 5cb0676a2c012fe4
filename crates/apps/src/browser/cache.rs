//! An HTTP cache (RFC 9111): what is stored, how long it is fresh, what is asked again with which validators, what a 304 renews
//! and what a write makes invalid; `immutable` (RFC 8246) and `stale-while-revalidate` (RFC 5861). Private as a browser's or
//! shared as a CDN's.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, DATE, ETAG, EXPIRES, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, PRAGMA, RANGE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::date::http_date;

/// Whose cache it is (RFC 9111 §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One user's.
    Private,
    /// Many users': `s-maxage` counts, `private` and mostly `Authorization` forbid.
    Shared,
}

/// A request, as far as a cache cares.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What to do.
    pub method: &'a Method,
    /// With what.
    pub url: &'a Url,
    /// Its header fields.
    pub headers: &'a HeaderMap,
}

/// An answer that is kept.
#[derive(Clone, Debug)]
pub struct Stored<B> {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields; those of a 304 replace them.
    pub headers: HeaderMap,
    /// Its body.
    pub body: B,
    /// Header fields of the request that `Vary` names.
    varied: Vec<(HeaderName, Vec<HeaderValue>)>,
    request_time: SystemTime,
    response_time: SystemTime,
}

/// How long an answer is fresh, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// `max-age`, or `s-maxage` in a shared cache.
    MaxAge(Duration),
    /// `Expires` minus `Date`.
    Expires(Duration),
    /// Nobody: a tenth of the time since it was last modified (RFC 9111 §4.2.2).
    Heuristic(Duration),
    /// Nobody, and there is nothing to guess from.
    None,
}

impl Freshness {
    /// The lifetime.
    pub fn lifetime(self) -> Duration {
        match self {
            Freshness::MaxAge(life) | Freshness::Expires(life) | Freshness::Heuristic(life) => life,
            Freshness::None => Duration::ZERO,
        }
    }
}

/// What the cache has for a request.
#[derive(Clone, Debug)]
pub enum Found<B> {
    /// Nothing.
    Miss,
    /// It can be used without asking; with its age.
    Fresh(Stored<B>, Duration),
    /// It can be used now and is asked again meanwhile (`stale-while-revalidate`).
    Stale(Stored<B>, Duration, Validators),
    /// The server must be asked whether it is still the same.
    Validate(Stored<B>, Validators),
}

/// Header fields of a conditional request.
pub type Validators = Vec<(HeaderName, HeaderValue)>;

/// How a request wants the cache to be used (the Fetch standard's cache mode, as far as a reload and a first visit differ).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As the headers say.
    #[default]
    Default,
    /// The user reloads: everything is validated.
    Validate,
    /// The user reloads with shift: nothing is taken from the cache.
    Reload,
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// Another method than GET.
    Method,
    /// A status that needs to be understood (206, 304).
    Status,
    /// `no-store`.
    NoStore,
    /// `private` in a shared cache.
    Private,
    /// An answer to `Authorization` in a shared cache.
    Authorization,
    /// `Vary: *`.
    VaryAny,
    /// Nothing says that it may be kept.
    NoLifetime,
    /// Larger than the cache takes.
    TooLarge,
}

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotStored::Method => "not a GET",
            NotStored::Status => "its status",
            NotStored::NoStore => "no-store",
            NotStored::Private => "private",
            NotStored::Authorization => "an answer to Authorization",
            NotStored::VaryAny => "Vary: *",
            NotStored::NoLifetime => "nothing says how long",
            NotStored::TooLarge => "too large",
        })
    }
}

/// Answers of one URL that differ by `Vary`.
const VARIANTS: usize = 8;

type Key = (String, String);

/// A cache. Entries are split by a partition, which browsers choose to be the site of the page, so that one site cannot tell what
/// another one loaded.
#[derive(Clone, Debug)]
pub struct Cache<B> {
    kind: Kind,
    limit: usize,
    bytes: usize,
    entries: BTreeMap<Key, Vec<Stored<B>>>,
    /// In the order of use; the first is forgotten first.
    order: VecDeque<Key>,
}

impl<B: AsRef<[u8]> + Clone> Cache<B> {
    /// An empty cache for so many bytes of bodies.
    pub fn new(kind: Kind, limit: usize) -> Cache<B> {
        Cache { kind, limit, bytes: 0, entries: BTreeMap::new(), order: VecDeque::new() }
    }

    /// How many URLs it knows.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What there is for a request.
    pub fn find(&mut self, partition: &str, asked: Asked<'_>, mode: Mode, now: SystemTime) -> Found<B> {
        if asked.method != Method::GET || asked.headers.contains_key(RANGE) {
            return Found::Miss;
        }
        let wishes = Directives::of(asked.headers);
        let reload = mode == Mode::Reload || wishes.has("no-store");
        let key = key(partition, asked.url);
        let Some(stored) =
            self.entries.get(&key).filter(|_| !reload).and_then(|all| newest(all, asked.headers))
        else {
            return Found::Miss;
        };
        let stored = stored.clone();
        self.touch(&key);
        let age = stored.age(now);
        let says = Directives::of(&stored.headers);
        let life = stored.freshness(self.kind).lifetime();
        // A request without Cache-Control says no-cache by Pragma (RFC 9111 §5.4).
        let pragma =
            !asked.headers.contains_key(CACHE_CONTROL) && has_word(asked.headers, &PRAGMA, "no-cache");
        let must_ask = says.has("no-cache") || wishes.has("no-cache") || pragma || mode == Mode::Validate;
        let too_old = wishes.seconds("max-age").is_some_and(|limit| age > limit)
            || wishes.seconds("min-fresh").is_some_and(|left| age + left >= life);
        if !must_ask && !too_old && age < life {
            return Found::Fresh(stored, age);
        }
        let validators = stored.validators();
        let strict = says.has("must-revalidate")
            || self.kind == Kind::Shared && (says.has("proxy-revalidate") || says.has("s-maxage"));
        let grace = says.seconds("stale-while-revalidate");
        if !must_ask && !too_old && !strict && grace.is_some_and(|grace| age < life + grace) {
            return Found::Stale(stored, age, validators);
        }
        if validators.is_empty() { Found::Miss } else { Found::Validate(stored, validators) }
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// Why it may not be kept.
    pub fn store(
        &mut self,
        partition: &str,
        asked: Asked<'_>,
        answer: Answer<'_, B>,
    ) -> Result<Freshness, NotStored> {
        let stored = self.storable(asked, answer)?;
        let freshness = stored.freshness(self.kind);
        let key = key(partition, asked.url);
        let all = self.entries.entry(key.clone()).or_default();
        let size = |stored: &Stored<B>| stored.body.as_ref().len();
        self.bytes += size(&stored);
        all.retain(|old| {
            let replaced = old.selected_by(asked.headers);
            self.bytes -= if replaced { size(old) } else { 0 };
            !replaced
        });
        if all.len() == VARIANTS {
            self.bytes -= size(&all.remove(0));
        }
        all.push(stored);
        self.touch(&key);
        while self.bytes > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(&oldest);
        }
        Ok(freshness)
    }

    /// A 304 came: the stored answer with the new header fields (RFC 9111 §4.3.4), which is fresh again.
    pub fn freshen(
        &mut self,
        partition: &str,
        asked: Asked<'_>,
        headers: &HeaderMap,
        times: (SystemTime, SystemTime),
    ) -> Option<Stored<B>> {
        let all = self.entries.get_mut(&key(partition, asked.url))?;
        let at = all.iter().rposition(|stored| stored.selected_by(asked.headers))?;
        let stored = &mut all[at];
        for name in headers.keys().filter(|name| *name != CONTENT_LENGTH) {
            stored.headers.remove(name);
            headers.get_all(name).iter().for_each(|value| {
                stored.headers.append(name, value.clone());
            });
        }
        (stored.request_time, stored.response_time) = times;
        Some(stored.clone())
    }

    /// A request that writes went well: what was known of its URL is no longer (RFC 9111 §4.4).
    pub fn invalidate(&mut self, partition: &str, method: &Method, url: &Url, status: StatusCode) {
        if !method.is_safe() && (status.is_success() || status.is_redirection()) {
            let key = key(partition, url);
            self.order.retain(|other| *other != key);
            self.forget(&key);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Cache::new(self.kind, self.limit);
    }

    fn touch(&mut self, key: &Key) {
        self.order.retain(|other| other != key);
        self.order.push_back(key.clone());
    }

    fn forget(&mut self, key: &Key) {
        for stored in self.entries.remove(key).into_iter().flatten() {
            self.bytes -= stored.body.as_ref().len();
        }
    }

    /// RFC 9111 §3.
    fn storable(&self, asked: Asked<'_>, answer: Answer<'_, B>) -> Result<Stored<B>, NotStored> {
        let Answer { status, headers, body, times } = answer;
        let (says, wishes) = (Directives::of(headers), Directives::of(asked.headers));
        let shared = self.kind == Kind::Shared;
        let allowed = says.has("public") || says.has("must-revalidate") || says.has("s-maxage");
        let refused = if asked.method != Method::GET {
            Some(NotStored::Method)
        } else if status.is_informational() || [206, 304].contains(&status.as_u16()) {
            Some(NotStored::Status)
        } else if says.has("no-store") || wishes.has("no-store") {
            Some(NotStored::NoStore)
        } else if shared && says.has("private") {
            Some(NotStored::Private)
        } else if shared && asked.headers.contains_key(AUTHORIZATION) && !allowed {
            Some(NotStored::Authorization)
        } else if has_word(headers, &VARY, "*") {
            Some(NotStored::VaryAny)
        } else if body.as_ref().len() > self.limit {
            Some(NotStored::TooLarge)
        } else {
            None
        };
        if let Some(refused) = refused {
            return Err(refused);
        }
        let varied = words(headers, &VARY).into_iter().filter_map(|name| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let values = asked.headers.get_all(&name).iter().cloned().collect();
            Some((name, values))
        });
        let stored = Stored {
            status,
            headers: headers.clone(),
            body,
            varied: varied.collect(),
            request_time: times.0,
            response_time: times.1,
        };
        let explicit = says.has("max-age")
            || shared && says.has("s-maxage")
            || headers.contains_key(EXPIRES)
            || says.has("public")
            || says.has("no-cache")
            || !shared && says.has("private");
        if explicit
            || heuristically_cacheable(status)
                && (stored.freshness(self.kind) != Freshness::None || !stored.validators().is_empty())
        {
            Ok(stored)
        } else {
            Err(NotStored::NoLifetime)
        }
    }
}

/// An answer to keep.
#[derive(Debug)]
pub struct Answer<'a, B> {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: B,
    /// When it was asked for and when it came.
    pub times: (SystemTime, SystemTime),
}

impl<B> Stored<B> {
    /// Its age (RFC 9111 §4.2.3).
    pub fn age(&self, now: SystemTime) -> Duration {
        let since = |later: SystemTime, earlier| later.duration_since(earlier).unwrap_or_default();
        let apparent = self.date().map_or(Duration::ZERO, |date| since(self.response_time, date));
        let said = self.headers.get(AGE).and_then(|age| number(age.to_str().ok()?)).unwrap_or_default();
        let corrected = said + since(self.response_time, self.request_time);
        apparent.max(corrected) + since(now, self.response_time)
    }

    /// How long it is fresh (RFC 9111 §4.2.1).
    pub fn freshness(&self, kind: Kind) -> Freshness {
        let says = Directives::of(&self.headers);
        let shared = (kind == Kind::Shared).then(|| says.seconds("s-maxage")).flatten();
        if let Some(life) = shared.or_else(|| says.seconds("max-age")) {
            return Freshness::MaxAge(life);
        }
        let date = self.date().unwrap_or(self.response_time);
        let field = |name| self.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(expires) = field(EXPIRES) {
            // What is no date, above all "0", is over.
            let life = http_date(expires).and_then(|end| end.duration_since(date).ok());
            return Freshness::Expires(life.unwrap_or_default());
        }
        let modified =
            field(LAST_MODIFIED).and_then(http_date).and_then(|then| date.duration_since(then).ok());
        match modified {
            Some(since) if heuristically_cacheable(self.status) || says.has("public") => {
                Freshness::Heuristic(since / 10)
            }
            _ => Freshness::None,
        }
    }

    fn date(&self) -> Option<SystemTime> {
        http_date(self.headers.get(DATE)?.to_str().ok()?)
    }

    /// `If-None-Match` and `If-Modified-Since` (RFC 9111 §4.3.1).
    fn validators(&self) -> Validators {
        let fields = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
        fields.into_iter().filter_map(|(has, asks)| Some((asks, self.headers.get(has)?.clone()))).collect()
    }

    /// Whether the request has what `Vary` names as the one had that brought this answer (RFC 9111 §4.1).
    fn selected_by(&self, headers: &HeaderMap) -> bool {
        self.varied.iter().all(|(name, values)| headers.get_all(name).iter().eq(values))
    }
}

fn newest<'a, B>(all: &'a [Stored<B>], headers: &HeaderMap) -> Option<&'a Stored<B>> {
    all.iter().rev().find(|stored| stored.selected_by(headers))
}

fn key(partition: &str, url: &Url) -> Key {
    let mut url = url.clone();
    url.set_fragment(None);
    (partition.into(), url.into())
}

/// RFC 9110 §15.1.
fn heuristically_cacheable(status: StatusCode) -> bool {
    [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status.as_u16())
}

/// `Cache-Control` (RFC 9111 §5.2): names in lower case, each with its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    /// Those of a message.
    pub fn of(headers: &HeaderMap) -> Directives {
        let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
        let parts = lines.flat_map(split_unquoted).filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value.trim().trim_matches('"').to_string())),
                None => (part, None),
            };
            (name.trim().to_ascii_lowercase(), value)
        });
        Directives(parts.collect())
    }

    /// Whether it is said, with or without a value. `no-cache` and `private` that name fields count as if they named none,
    /// which is allowed and safe.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(has, _)| has == name)
    }

    /// Its seconds; what is no number counts as 0 (RFC 9111 §4.2.1 wants it to be stale). Said twice, the first counts.
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        let (_, value) = self.0.iter().find(|(has, _)| has == name)?;
        Some(value.as_deref().and_then(number).unwrap_or_default())
    }
}

/// Delta-seconds (RFC 9111 §1.2.2): more than fit are 2^31.
fn number(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse::<u64>().unwrap_or(u64::MAX).min(1 << 31)))
}

/// Parts between commas that are not within quotes.
fn split_unquoted(line: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(line[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(line[from..].trim());
    parts
}

fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|word| word.trim().to_string())
        .filter(|word| !word.is_empty())
        .collect()
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).iter().any(|has| has.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
