//! One request of a page with everything that a browser puts before and after it (the Fetch standard §4): HSTS, mixed content, the
//! page's policy, CORS, cookies, the cache, redirects, decoding.

use std::io::Read;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, LOCATION,
    ORIGIN, REFERER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, USER_AGENT,
};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::Browser;
use super::cache::{self, Answer, Asked, Found};
use super::cookie::Context;
use super::cors::{self, Credentials, Mode, Wanted};
use super::csp::Policies;
use super::document::Destination;
use super::entry::{Entry, Source};
use super::site::{Site, is_trustworthy, origin, same_origin};
use crate::http::client::{Request, Timings};

/// Redirects that are followed (the Fetch standard §4.4).
const REDIRECTS: usize = 20;
/// The largest body.
const BODY: usize = 64 << 20;

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) visit: usize,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) destination: Destination,
    pub(super) mode: Mode,
    pub(super) credentials: Credentials,
    /// The page that wants it; `None` when the user typed it.
    pub(super) page: Option<Url>,
    pub(super) policies: Policies,
    pub(super) nonce: Option<String>,
    pub(super) cache: cache::Mode,
}

impl Job {
    /// The user typed it.
    pub(super) fn typed(visit: usize, url: Url, cache: cache::Mode) -> Job {
        Job {
            visit,
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            destination: Destination::Document,
            mode: Mode::Navigate,
            credentials: Credentials::Include,
            page: None,
            policies: Policies::default(),
            nonce: None,
            cache,
        }
    }

    /// The partition of the cache: the site of the page.
    fn partition(&self) -> String {
        Site::of(self.page.as_ref().filter(|_| self.mode != Mode::Navigate).unwrap_or(&self.url)).to_string()
    }
}

/// What came.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// Where it came from in the end.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Fetched {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// How one exchange ended.
struct Exchange {
    entry: Entry,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Browser {
    /// Fetches with all rules; why not, otherwise. Everything is noted.
    pub(super) async fn fetch(&self, mut job: Job) -> Result<Fetched, String> {
        let mut same_site = job.page.as_ref().is_none_or(|page| Site::of(page) == Site::of(&job.url));
        let mut tainted = false;
        for _ in 0..=REDIRECTS {
            self.secured(&mut job);
            if let Err(why) = self.allowed(&job) {
                return Err(self.blocked(&job, 0, why));
            }
            same_site &= job.page.as_ref().is_none_or(|page| Site::of(page) == Site::of(&job.url));
            let crossing = job.mode == Mode::Cors
                && (tainted || job.page.as_ref().is_some_and(|page| !same_origin(page, &job.url)));
            if crossing {
                self.preflighted(&job).await?;
            }
            let mut exchange = self.exchange(&job, same_site, tainted).await?;
            if crossing {
                let page =
                    if tainted { "null".into() } else { job.page.as_ref().map_or("null".into(), origin) };
                let sent = job.credentials == Credentials::Include;
                if let Err(why) = cors::check(&page, sent, &exchange.headers) {
                    let why = format!("CORS: {why}");
                    exchange.entry.error = Some(why.clone());
                    self.note(exchange.entry);
                    return Err(why);
                }
            }
            let target = redirect(&job.url, exchange.status, &exchange.headers);
            let status = exchange.status;
            let failed = exchange.entry.error.clone();
            self.note(exchange.entry);
            if let Some(error) = failed {
                return Err(error);
            }
            let Some(target) = target else {
                let Exchange { headers, body, .. } = exchange;
                return Ok(Fetched { url: job.url, status, headers, body });
            };
            tainted |= crossing && !same_origin(&job.url, &target);
            redirected(&mut job, status, target);
        }
        Err(self.blocked(&job, 0, "ERR_TOO_MANY_REDIRECTS".into()))
    }

    fn blocked(&self, job: &Job, status: u16, why: String) -> String {
        let mut entry = self.entry(job, job.destination.name());
        entry.status = status;
        entry.error = Some(why.clone());
        self.note(entry);
        why
    }

    fn entry(&self, job: &Job, destination: &str) -> Entry {
        Entry::new(job.visit, job.method.as_str(), job.url.as_str(), destination, SystemTime::now())
    }

    /// HSTS, and images of secure pages that are asked for over https (Mixed Content level 2 §4.1).
    fn secured(&self, job: &mut Job) {
        // A lock within `if let` would be held to its end, and what is noted locks again.
        let upgraded = self.state().hsts.upgraded(&job.url, SystemTime::now());
        if let Some(url) = upgraded {
            let mut entry = self.entry(job, job.destination.name());
            (entry.status, entry.source) = (307, Source::Internal);
            entry.response_headers = vec![("location".into(), url.to_string())];
            self.note(entry);
            job.url = url;
        }
        let secure_page = job.page.as_ref().is_some_and(|page| page.scheme() == "https");
        if secure_page && job.destination == Destination::Image && !is_trustworthy(&job.url) {
            let _ = job.url.set_scheme("https");
        }
    }

    /// What needs no packet to be refused.
    fn allowed(&self, job: &Job) -> Result<(), String> {
        if !["http", "https"].contains(&job.url.scheme()) {
            return Err(format!("{} is neither http nor https", job.url.scheme()));
        }
        let Some(page) = &job.page else { return Ok(()) };
        if job.mode == Mode::Navigate {
            return Ok(());
        }
        let violations =
            job.policies.against_fetch(job.destination.directive(), page, &job.url, job.nonce.as_deref());
        for report in violations.iter().filter(|violation| violation.report_only) {
            self.cx.print(format!("{report} would block {}", job.url));
        }
        if let Some(violation) = violations.into_iter().find(|violation| !violation.report_only) {
            return Err(violation.to_string());
        }
        if page.scheme() == "https" && !is_trustworthy(&job.url) {
            return Err("mixed content: an https page does not load this over http".into());
        }
        if job.mode == Mode::SameOrigin && !same_origin(page, &job.url) {
            return Err(format!("CORS: {}", cors::Blocked::OtherOrigin));
        }
        Ok(())
    }

    /// The preflight, if one is needed.
    async fn preflighted(&self, job: &Job) -> Result<(), String> {
        let Some(page) = &job.page else { return Ok(()) };
        let names = cors::unsafe_headers(&job.headers);
        let wanted = Wanted {
            page,
            target: &job.url,
            method: &job.method,
            headers: &names,
            credentials: job.credentials == Credentials::Include,
        };
        if !wanted.needs_preflight() || self.state().preflights.allow(&wanted, SystemTime::now()) {
            return Ok(());
        }
        let mut request = Request::new(Method::OPTIONS, job.url.clone());
        request.headers.insert(USER_AGENT, self.user_agent());
        for (name, value) in wanted.preflight() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers.insert(HeaderName::from_static(name), value);
            }
        }
        let mut entry = self.entry(job, "preflight");
        entry.method = "OPTIONS".into();
        let (mut entry, status, headers, _) = self.send(request, entry).await?;
        let answer = self.state().preflights.answer(&wanted, status, &headers, SystemTime::now());
        let result = answer.map_err(|why| format!("CORS preflight: {why}"));
        entry.error = result.clone().err();
        self.note(entry);
        result
    }

    /// Cache, cookies and the network for one URL.
    async fn exchange(&self, job: &Job, same_site: bool, tainted: bool) -> Result<Exchange, String> {
        let mut headers = self.headers(job, tainted);
        let partition = job.partition();
        let found = {
            let asked = Asked { method: &job.method, url: &job.url, headers: &headers };
            let mut state = self.state();
            if self.options.cache {
                state.cache.find(&partition, asked, job.cache, SystemTime::now())
            } else {
                Found::Miss
            }
        };
        let varied = headers.clone();
        let stored = match found {
            // A browser that shows a stale answer asks again in the background; this one asks before it shows it.
            Found::Fresh(stored, _) => {
                let mut entry = self.entry(job, job.destination.name());
                entry.status = stored.status.as_u16();
                entry.source = Source::Cache;
                entry.size = stored.body.len();
                entry.response_headers = pairs(&stored.headers);
                return Ok(Exchange {
                    entry,
                    status: stored.status,
                    headers: stored.headers,
                    body: stored.body,
                });
            }
            Found::Stale(stored, _, validators) | Found::Validate(stored, validators) => {
                headers.extend(validators);
                Some(stored)
            }
            Found::Miss => None,
        };
        let context =
            Context { same_site, navigation: job.mode == Mode::Navigate, safe_method: job.method.is_safe() };
        self.add_cookies(job, &mut headers, context);
        let mut request = Request::new(job.method.clone(), job.url.clone()).body(job.body.clone());
        request.headers = headers;
        let began = SystemTime::now();
        let mut entry = self.entry(job, job.destination.name());
        entry.request_body = String::from_utf8_lossy(&job.body).into_owned();
        let (mut entry, status, headers, body) = self.send(request, entry).await?;
        self.take_cookies(job, &headers, context);
        let mut state = self.state();
        if let Some(field) = headers.get(STRICT_TRANSPORT_SECURITY).and_then(|field| field.to_str().ok()) {
            state.hsts.note(&job.url, field, SystemTime::now());
        }
        let asked = Asked { method: &job.method, url: &job.url, headers: &varied };
        let times = (began, SystemTime::now());
        if status == StatusCode::NOT_MODIFIED && stored.is_some() {
            let fresh = state.cache.freshen(&partition, asked, &headers, times).or(stored);
            drop(state);
            let stored = fresh.expect("it was found just now");
            entry.status = stored.status.as_u16();
            entry.source = Source::Validated;
            entry.size = stored.body.len();
            return Ok(Exchange { entry, status: stored.status, headers: stored.headers, body: stored.body });
        }
        if self.options.cache {
            state.cache.invalidate(&partition, &job.method, &job.url, status);
            let answer = Answer { status, headers: &headers, body: body.clone(), times };
            // What may not be kept is simply asked for again.
            let _ = state.cache.store(&partition, asked, answer);
        }
        Ok(Exchange { entry, status, headers, body })
    }

    /// Sends a request and reads the whole answer. A failure is noted.
    async fn send(
        &self,
        request: Request,
        mut entry: Entry,
    ) -> Result<(Entry, StatusCode, HeaderMap, Bytes), String> {
        entry.request_headers = pairs(&request.headers);
        let failed = |mut entry: Entry, error: String, timings: Option<Timings>| {
            timings.iter().for_each(|timings| entry.timed(timings));
            entry.error = Some(error.clone());
            self.note(entry);
            error
        };
        let began = tokio::time::Instant::now();
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => {
                let total = Timings { total: began.elapsed(), ..Timings::default() };
                return Err(failed(entry, error.to_string(), Some(total)));
            }
        };
        entry.status = response.status.as_u16();
        entry.source = Source::Network;
        entry.protocol = match response.version {
            http::Version::HTTP_2 => "h2".into(),
            http::Version::HTTP_3 => "h3".into(),
            version => format!("{version:?}"),
        };
        entry.connection = Some(response.connection.id);
        entry.server = Some(response.connection.peer.to_string());
        entry.tls.clone_from(&response.connection.tls);
        entry.response_headers = pairs(&response.headers);
        entry.head = response.head.len();
        let (status, headers) = (response.status, response.headers);
        let clock = response.body.clock();
        let body = match response.body.collect(BODY).await {
            Ok(body) => body,
            Err(error) => return Err(failed(entry, error.to_string(), Some(clock()))),
        };
        entry.timed(&clock());
        entry.wire = body.len();
        let body = match decoded(&headers, body) {
            Ok(body) => body,
            Err(error) => return Err(failed(entry, error, None)),
        };
        entry.size = body.len();
        Ok((entry, status, headers, body))
    }

    fn user_agent(&self) -> HeaderValue {
        HeaderValue::from_static(concat!("wirelab-browser/", env!("CARGO_PKG_VERSION")))
    }

    /// Everything but cookies.
    fn headers(&self, job: &Job, tainted: bool) -> HeaderMap {
        let mut headers = job.headers.clone();
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.entry(name).or_insert(value);
            }
        };
        put(ACCEPT, job.destination.accept());
        if self.options.compress {
            put(ACCEPT_ENCODING, "gzip, br");
        }
        let crossing = job.page.as_ref().is_some_and(|page| !same_origin(page, &job.url));
        if let Some(page) = &job.page {
            let writes = !matches!(job.method, Method::GET | Method::HEAD);
            if job.mode == Mode::Cors && crossing || writes {
                let origin = if tainted { "null".into() } else { origin(page) };
                put(ORIGIN, &origin);
            }
            if let Some(referrer) = referrer(page, &job.url, crossing) {
                put(REFERER, &referrer);
            }
        }
        if is_trustworthy(&job.url) {
            let site = match &job.page {
                None => "none",
                Some(page) if same_origin(page, &job.url) => "same-origin",
                Some(page) if Site::of(page) == Site::of(&job.url) => "same-site",
                Some(_) => "cross-site",
            };
            let mode = match job.mode {
                Mode::Navigate => "navigate",
                Mode::NoCors => "no-cors",
                Mode::Cors => "cors",
                Mode::SameOrigin => "same-origin",
            };
            put(HeaderName::from_static("sec-fetch-dest"), job.destination.name());
            put(HeaderName::from_static("sec-fetch-mode"), mode);
            put(HeaderName::from_static("sec-fetch-site"), site);
        }
        headers.insert(USER_AGENT, self.user_agent());
        headers
    }

    fn add_cookies(&self, job: &Job, headers: &mut HeaderMap, context: Context) {
        if !job.credentials.travel(job.page.as_ref(), &job.url) {
            return;
        }
        let state = self.state();
        let (line, kept) = state.jar.header(&job.url, context, SystemTime::now());
        if let Some(line) = line.and_then(|line| HeaderValue::from_str(&line).ok()) {
            headers.insert(COOKIE, line);
        }
        let kept: Vec<String> =
            kept.into_iter().map(|(cookie, why)| format!("{} ({why})", cookie.name)).collect();
        drop(state);
        if !kept.is_empty() {
            self.cx.print(format!(
                "cookies that stay at home: {} for {} {}",
                kept.join(", "),
                job.method,
                job.url
            ));
        }
    }

    fn take_cookies(&self, job: &Job, headers: &HeaderMap, context: Context) {
        if !job.credentials.travel(job.page.as_ref(), &job.url) {
            return;
        }
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            let taken = self.state().jar.set(line, &job.url, context, SystemTime::now());
            if let Err(why) = taken {
                self.cx.print(format!("Set-Cookie refused, {why}: {line}"));
            }
        }
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// `strict-origin-when-cross-origin`, the default of Referrer Policy §3.
fn referrer(page: &Url, target: &Url, crossing: bool) -> Option<String> {
    if page.scheme() == "https" && !is_trustworthy(target) {
        return None;
    }
    if crossing {
        return Some(format!("{}/", origin(page)));
    }
    let mut page = page.clone();
    page.set_fragment(None);
    Some(page.into())
}

/// Where a redirect leads.
fn redirect(from: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Url> {
    if ![301, 302, 303, 307, 308].contains(&status.as_u16()) {
        return None;
    }
    let mut to = from.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    if to.fragment().is_none() {
        to.set_fragment(from.fragment());
    }
    Some(to)
}

/// The request after a redirect (the Fetch standard §4.4, steps on methods).
fn redirected(job: &mut Job, status: StatusCode, target: Url) {
    let to_get = matches!(status.as_u16(), 301 | 302) && job.method == Method::POST
        || status == StatusCode::SEE_OTHER && !matches!(job.method, Method::GET | Method::HEAD);
    if to_get {
        job.method = Method::GET;
        job.body = Bytes::new();
        job.headers.remove(CONTENT_TYPE);
    }
    if !same_origin(&job.url, &target) {
        job.headers.remove(http::header::AUTHORIZATION);
    }
    job.url = target;
}

/// A body without its codings.
fn decoded(headers: &HeaderMap, body: Bytes) -> Result<Bytes, String> {
    let codings = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<&str> = codings.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut body = body;
    if body.is_empty() {
        return Ok(body);
    }
    for coding in codings.iter().rev() {
        let mut out = Vec::new();
        let limit = BODY as u64 + 1;
        let read = match coding.to_ascii_lowercase().as_str() {
            "" | "identity" => continue,
            "gzip" | "x-gzip" => {
                flate2::read::MultiGzDecoder::new(body.as_ref()).take(limit).read_to_end(&mut out)
            }
            "deflate" => flate2::read::ZlibDecoder::new(body.as_ref()).take(limit).read_to_end(&mut out),
            "br" => brotli::Decompressor::new(body.as_ref(), 4096).take(limit).read_to_end(&mut out),
            other => return Err(format!("the coding {other} was not asked for")),
        };
        read.map_err(|error| format!("ERR_CONTENT_DECODING_FAILED: {coding}: {error}"))?;
        if out.len() > BODY {
            return Err(format!("ERR_CONTENT_DECODING_FAILED: more than {BODY} bytes"));
        }
        body = out.into();
    }
    Ok(body)
}
