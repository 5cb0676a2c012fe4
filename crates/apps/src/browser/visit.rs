//! One visit: the page, what it needs, what it runs, and where that leads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use url::Url;

use super::Browser;
use super::cache;
use super::cors::{Credentials, Mode};
use super::csp::{Inline, Policies};
use super::document::{Code, Destination, Document, Form, Subresource};
use super::fetch::{Fetched, Job};
use super::script::{Effect, Fetch, Machine, Value};
use super::site::origin;

/// Pages that follow one another by scripts, forms and refreshes.
const NAVIGATIONS: usize = 10;
/// Scripts that a page may run, those that it writes into itself included.
const SCRIPTS: usize = 100;
/// What `localStorage` holds of one origin.
const STORAGE: usize = 5 << 20;

/// How a visit ended.
#[derive(Clone, Debug)]
pub struct Visited {
    /// The number that its entries have.
    pub number: usize,
    /// The page that is shown in the end.
    pub url: Url,
    /// Its status; `None` when it did not come.
    pub status: Option<u16>,
    /// Its title.
    pub title: String,
    /// Objects of the page that failed.
    pub failed: usize,
    /// Milliseconds until everything was there.
    pub on_load: f64,
}

/// A page that is shown.
#[derive(Clone)]
pub(super) struct Page {
    visit: usize,
    url: Url,
    document: Document,
    policies: Policies,
    /// What came for each of its objects.
    objects: Vec<Option<Fetched>>,
    cache: cache::Mode,
}

impl Browser {
    /// Visits a URL: the page, its objects, its scripts, and the pages that these lead to.
    ///
    /// # Errors
    /// Why there is no page.
    pub async fn visit(self: &Arc<Browser>, url: Url, mode: cache::Mode) -> Result<Visited, String> {
        let visit = self.next_visit();
        self.go(visit, Job::typed(visit, url, mode), mode).await
    }

    /// Fills in the first form of the page that is shown which has all these fields, and sends it.
    ///
    /// # Errors
    /// When there is no such form, or why there is no page.
    pub async fn submit(self: &Arc<Browser>, fields: &[(String, String)]) -> Result<Visited, String> {
        let page = self.shown()?;
        let has =
            |form: &&Form| fields.iter().all(|(name, _)| form.fields.iter().any(|(has, _)| has == name));
        let mut form =
            page.document.forms.iter().find(has).cloned().ok_or("the page has no form with these fields")?;
        for (name, value) in fields {
            form.fields.iter_mut().filter(|(has, _)| has == name).for_each(|(_, has)| has.clone_from(value));
        }
        let visit = self.next_visit();
        let page = Page { visit, ..page };
        let job = self.form_job(&page, &form).ok_or("the page does not allow it")?;
        self.go(visit, job, cache::Mode::Default).await
    }

    /// Follows the first link of the page that is shown whose URL has this in it.
    ///
    /// # Errors
    /// When there is no such link, or why there is no page.
    pub async fn click(self: &Arc<Browser>, part: &str) -> Result<Visited, String> {
        let page = self.shown()?;
        let link = page.document.links.iter().find(|url| url.as_str().contains(part)).cloned();
        let link = link.ok_or("the page has no such link")?;
        let visit = self.next_visit();
        let page = Page { visit, ..page };
        self.go(visit, page.navigation(link), cache::Mode::Default).await
    }

    fn shown(&self) -> Result<Page, String> {
        self.state().shown.clone().ok_or_else(|| "no page is shown".into())
    }

    fn next_visit(&self) -> usize {
        let mut state = self.state();
        state.visits += 1;
        state.visits
    }

    async fn go(self: &Arc<Browser>, visit: usize, job: Job, mode: cache::Mode) -> Result<Visited, String> {
        let began = tokio::time::Instant::now();
        let mut next = Some(job);
        let mut failed = 0;
        let mut last = None;
        for _ in 0..NAVIGATIONS {
            let Some(job) = next.take() else { break };
            let fetched = self.fetch(job).await?;
            let page = self.load(visit, fetched.clone(), mode).await;
            failed += page.objects.iter().filter(|object| object.is_none()).count();
            next = self.run_all(&page).await;
            if next.is_none() {
                next = page.document.refresh.clone().map(|to| page.navigation(to));
            }
            last = Some((page.url.clone(), fetched.status.as_u16(), page.document.title.clone()));
            self.state().shown = Some(page);
        }
        let (url, status, title) = last.ok_or("no page")?;
        let on_load = began.elapsed().as_secs_f64() * 1e3;
        Ok(Visited { number: visit, url, status: Some(status), title, failed, on_load })
    }

    /// Reads the page and fetches what it needs.
    async fn load(self: &Arc<Browser>, visit: usize, fetched: Fetched, cache: cache::Mode) -> Page {
        let kind =
            fetched.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("text/html");
        let html = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"));
        let document = if html { Document::read(&fetched.text(), &fetched.url) } else { Document::default() };
        let mut policies = Policies::from_headers(&fetched.headers);
        document.policies.iter().for_each(|text| policies.add(text, false));
        let mut page = Page { visit, url: fetched.url, document, policies, objects: Vec::new(), cache };
        page.objects = self.objects(&page, &page.document.subresources).await;
        page
    }

    /// What blocks rendering goes first, images last; each URL once.
    async fn objects(self: &Arc<Browser>, page: &Page, wanted: &[Subresource]) -> Vec<Option<Fetched>> {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|at| wanted[*at].destination);
        let mut at_work = Vec::new();
        for at in order {
            let same = |other: &usize| *other != at && wanted[*other].url == wanted[at].url;
            if at_work.iter().map(|(at, _)| at).any(same) {
                continue;
            }
            let (browser, job) = (self.clone(), page.subresource(&wanted[at]));
            at_work.push((at, net::spawn(async move { browser.fetch(job).await.ok() })));
        }
        let mut objects: Vec<Option<Fetched>> = vec![None; wanted.len()];
        for (at, work) in at_work {
            let fetched = work.await.ok().flatten();
            let fetched = fetched.filter(|fetched| fetched.status.is_success());
            for (other, place) in objects.iter_mut().enumerate() {
                if wanted[other].url == wanted[at].url {
                    place.clone_from(&fetched);
                }
            }
        }
        objects
    }

    /// Runs what the page runs; where that leads.
    async fn run_all(self: &Arc<Browser>, page: &Page) -> Option<Job> {
        let mut queue: VecDeque<Code> = page.document.code.iter().cloned().collect();
        let mut leads = None;
        let mut ran = 0;
        while let Some(code) = queue.pop_front() {
            let Some(text) = self.runnable(page, &code) else { continue };
            ran += 1;
            if ran > SCRIPTS {
                self.cx.print(format!("no more than {SCRIPTS} scripts of a page are run"));
                break;
            }
            let mut written = String::new();
            let to = self.run(page, &text, &mut written).await;
            leads = to.or(leads);
            if !written.is_empty() {
                let part = Document::read(&written, &page.url);
                self.written(page, part, &mut queue).await;
            }
        }
        leads
    }

    /// What a script wrote into the page.
    async fn written(self: &Arc<Browser>, page: &Page, part: Document, queue: &mut VecDeque<Code>) {
        let objects = self.objects(page, &part.subresources).await;
        let text = |at: usize| objects.get(at).cloned().flatten().map(|fetched| fetched.text());
        for code in part.code.into_iter().rev() {
            let code = match code {
                // Its policy was asked when it was fetched; the queue only knows the page's own objects.
                Code::External(at) => match text(at) {
                    Some(text) => Code::Handler(text),
                    None => continue,
                },
                Code::OnError(Some(at), code) if text(at).is_none() => Code::OnError(None, code),
                Code::OnError(Some(_), _) => continue,
                other => other,
            };
            queue.push_front(code);
        }
    }

    /// The text, when it may run now.
    fn runnable(&self, page: &Page, code: &Code) -> Option<String> {
        let (inline, text) = match code {
            Code::External(at) => return page.objects.get(*at)?.as_ref().map(Fetched::text),
            Code::Inline(text, nonce) => (Inline::Script(nonce.as_deref(), text), text),
            Code::Handler(text) => (Inline::Handler, text),
            Code::OnError(Some(at), _) if page.objects.get(*at).is_some_and(Option::is_some) => return None,
            Code::OnError(_, text) => (Inline::Handler, text),
        };
        let mut blocked = false;
        for violation in page.policies.against_inline(inline) {
            let short: String = text.trim().chars().take(60).collect();
            self.cx.print(format!("{violation}: does not run {short}"));
            blocked |= !violation.report_only;
        }
        (!blocked).then(|| text.clone())
    }

    async fn run(self: &Arc<Browser>, page: &Page, text: &str, written: &mut String) -> Option<Job> {
        let mut machine = match Machine::new(text, &page.url) {
            Ok(machine) => machine,
            Err(error) => {
                self.cx.print(format!("script of {}: {error}", page.url));
                return None;
            }
        };
        let mut leads = None;
        loop {
            let effect = match machine.run() {
                Ok(Some(effect)) => effect,
                Ok(None) => return leads,
                Err(error) => {
                    self.cx.print(format!("script of {}: Uncaught {error}", page.url));
                    return leads;
                }
            };
            match effect {
                Effect::Fetch(call) => match self.script_fetch(page, &call).await {
                    Ok(value) => machine.resume(value),
                    Err(why) => {
                        self.cx.print(format!(
                            "script of {}: Uncaught TypeError: Failed to fetch {}: {why}",
                            page.url, call.url
                        ));
                        return leads;
                    }
                },
                Effect::Cookie => {
                    let text = self.state().jar.script_view(&page.url, SystemTime::now());
                    machine.resume(Value::Text(text));
                }
                Effect::SetCookie(line) => {
                    let set = self.state().jar.set_by_script(&line, &page.url, SystemTime::now());
                    if let Err(why) = set {
                        self.cx.print(format!("document.cookie refused, {why}: {line}"));
                    }
                }
                Effect::Stored(key) => machine.resume(self.stored(page, &key)),
                Effect::Store(key, value) => self.store(page, key, value),
                Effect::Navigate(to) => leads = page.url.join(&to).ok().map(|to| page.navigation(to)),
                Effect::Submit(form) => leads = self.submission(page, &form).or(leads),
                Effect::Image(to) => {
                    if let Ok(url) = page.url.join(&to) {
                        let image = Subresource {
                            url,
                            destination: Destination::Image,
                            nonce: None,
                            cross_origin: None,
                        };
                        // Whatever becomes of it, the request was made, or blocked and noted.
                        let _ = self.fetch(page.subresource(&image)).await;
                    }
                }
                Effect::Write(html) => written.push_str(&html),
                Effect::Log(text) => self.cx.print(format!("console: {text}")),
            }
        }
    }

    fn stored(&self, page: &Page, key: &str) -> Value {
        let state = self.state();
        let value = state.storage.get(&origin(&page.url)).and_then(|all| all.get(key));
        value.map_or(Value::Undefined, |value| Value::Text(value.clone()))
    }

    fn store(&self, page: &Page, key: String, value: String) {
        let mut state = self.state();
        let all = state.storage.entry(origin(&page.url)).or_default();
        let held: usize = all.iter().map(|(key, value)| key.len() + value.len()).sum();
        if held + key.len() + value.len() <= STORAGE {
            all.insert(key, value);
        } else {
            drop(state);
            self.cx.print("localStorage: QuotaExceededError");
        }
    }

    async fn script_fetch(self: &Arc<Browser>, page: &Page, call: &Fetch) -> Result<Value, String> {
        let url = page.url.join(&call.url).map_err(|error| format!("no URL: {error}"))?;
        let method = call.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method} is no method"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name} is no header name"))?;
            let value = HeaderValue::from_str(value).map_err(|_| "no header value".to_string())?;
            // The browser's own are not the script's to set (the Fetch standard: forbidden request-headers).
            let own = ["cookie", "host", "origin", "referer", "content-length", "connection"];
            if !own.contains(&name.as_str()) && !name.as_str().starts_with("sec-") {
                headers.append(name, value);
            }
        }
        if call.body.is_some() {
            let text = HeaderValue::from_static("text/plain;charset=UTF-8");
            headers.entry(CONTENT_TYPE).or_insert(text);
        }
        let mode = match call.mode.as_deref() {
            None | Some("cors") => Mode::Cors,
            Some("no-cors") => Mode::NoCors,
            Some("same-origin") => Mode::SameOrigin,
            Some(other) => return Err(format!("{other} is no mode")),
        };
        if mode == Mode::NoCors
            && (!super::cors::is_simple_method(&method) || !super::cors::unsafe_headers(&headers).is_empty())
        {
            return Err("no-cors sends only what a form could send".into());
        }
        let credentials = match call.credentials.as_deref() {
            None | Some("same-origin") => Credentials::SameOrigin,
            Some("include") => Credentials::Include,
            Some("omit") => Credentials::Omit,
            Some(other) => return Err(format!("{other} is no credentials mode")),
        };
        let crossing = !super::site::same_origin(&page.url, &url);
        let job = Job {
            method,
            headers,
            body: call.body.clone().map(Bytes::from).unwrap_or_default(),
            mode,
            credentials,
            destination: Destination::Fetch,
            ..page.job(url)
        };
        let fetched = self.fetch(job).await?;
        if mode == Mode::NoCors && crossing {
            // An opaque answer: it came, and nobody may look into it.
            return Ok(Value::Response { status: 0, text: String::new() });
        }
        Ok(Value::Response { status: fetched.status.as_u16(), text: fetched.text() })
    }

    /// The request that a form makes.
    fn submission(&self, page: &Page, which: &str) -> Option<Job> {
        let forms = &page.document.forms;
        let by_number = which.parse::<usize>().ok().and_then(|n| forms.get(n));
        let Some(form) = by_number.or_else(|| forms.iter().find(|form| form.id.as_deref() == Some(which)))
        else {
            self.cx.print(format!("script of {}: Uncaught TypeError: there is no form {which}", page.url));
            return None;
        };
        self.form_job(page, form)
    }

    fn form_job(&self, page: &Page, form: &Form) -> Option<Job> {
        let against = page.policies.against_fetch("form-action", &page.url, &form.action, None);
        if let Some(violation) = against.iter().find(|violation| !violation.report_only) {
            self.cx.print(format!("{violation}: does not submit to {}", form.action));
            return None;
        }
        let mut job = page.navigation(form.action.clone());
        if form.post {
            job.method = Method::POST;
            job.body = form.encoded().into();
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            job.headers.insert(CONTENT_TYPE, kind);
        } else {
            job.url.set_query(Some(&form.encoded()));
        }
        Some(job)
    }
}

impl Page {
    fn job(&self, url: Url) -> Job {
        Job {
            page: Some(self.url.clone()),
            policies: self.policies.clone(),
            ..Job::typed(self.visit, url, self.cache)
        }
    }

    /// Another page, because of this one.
    fn navigation(&self, url: Url) -> Job {
        Job { cache: cache::Mode::Default, ..self.job(url) }
    }

    fn subresource(&self, wanted: &Subresource) -> Job {
        // Fonts are always fetched with CORS (CSS Fonts 4 §4.8.2).
        let cors = wanted.cross_origin.is_some() || wanted.destination == Destination::Font;
        let anonymous = cors && wanted.cross_origin != Some(true);
        Job {
            destination: wanted.destination,
            mode: if cors { Mode::Cors } else { Mode::NoCors },
            credentials: if anonymous { Credentials::SameOrigin } else { Credentials::Include },
            nonce: wanted.nonce.clone(),
            ..self.job(wanted.url.clone())
        }
    }
}
