//! `ssl-stripper`: one on the way who speaks http to the client and https to the server (Marlinspike, 2009). He takes from the answers
//! whatever would lead the client to https, and reads what passes. He cannot take the place of the server where the client itself
//! begins with https. With `upstream = "http"` he only listens.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, REFERER, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, UPGRADE_INSECURE_REQUESTS,
};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::application::naive::parts;
use super::{is_simulated, wrong};
use crate::app::read_table;
use crate::http::client::{BoxFuture, Client, Config, Request, Version};
use crate::http::front::{
    Answer, AnswerBody, Exchange, Front, Handle, Limits, LogFormat, RequestBody, Versions,
};
use crate::tls::ClientOptions;
use crate::tls::server::below;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// What he speaks to the server.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Upstream {
    /// https: what the server asks for.
    #[default]
    Https,
    /// http: nothing is changed, everything is read.
    Http,
}

/// One who keeps clients on http.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SslStripper {
    /// The port on which clients come; 80 unless given.
    #[serde(default)]
    pub port: Option<u16>,
    /// The names that he stands in for, and where the true servers are.
    pub names: std::collections::BTreeMap<String, IpAddr>,
    /// `https` (the default) or `http`.
    #[serde(default)]
    pub upstream: Upstream,
    /// The port of the true servers; 443 or 80 unless given.
    #[serde(default)]
    pub upstream_port: Option<u16>,
    /// His TLS towards the servers.
    #[serde(default)]
    pub tls: ClientOptions,
}

/// The largest body that passes.
const BODY: usize = 16 << 20;
/// What is shown of a body.
const SHOWN: usize = 200;

/// Reads the table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let app: SslStripper = read_table(table)?;
    let mut problems = Vec::new();
    if app.names.is_empty() {
        problems.push(wrong(
            "names",
            "whose place does he take?",
            "names = { \"shop.example\" = \"198.51.100.80\" }",
        ));
    }
    problems.extend(below("tls", app.tls.check(env)));
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

struct Stripper {
    table: Arc<SslStripper>,
    client: Client,
    cx: Cx,
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn insecure(text: &str) -> String {
    text.replace("https://", "http://")
}

/// A cookie that http carries as well: without `Secure`, and without `SameSite=None`, which needs it.
fn bared(cookie: &str) -> String {
    let keep =
        |part: &&str| !part.eq_ignore_ascii_case("secure") && !part.eq_ignore_ascii_case("samesite=none");
    cookie.split(';').map(str::trim).filter(keep).collect::<Vec<_>>().join("; ")
}

impl Stripper {
    fn strips(&self) -> bool {
        self.table.upstream == Upstream::Https
    }

    /// What of a request is worth reading.
    fn read(&self, exchange: &Exchange, body: &[u8]) {
        let who =
            format!("{} {} http://{}{}", exchange.peer.ip(), exchange.method, exchange.host, exchange.target);
        for name in [COOKIE, AUTHORIZATION] {
            let Some(value) = exchange.headers.get(&name).map(text) else { continue };
            self.cx.print(format!("{who} {name}: {value}"));
            let token = value.split([' ', '=', ';']).find_map(|word| parts(word).ok());
            if let Some((header, payload, _)) = token {
                self.cx.print(format!("  a token, and it says {header} {payload}"));
            }
        }
        if !body.is_empty() {
            let shown: String = String::from_utf8_lossy(body).chars().take(SHOWN).collect();
            self.cx.print(format!("{who} says: {}", shown.escape_debug()));
        }
    }

    async fn pass(&self, mut exchange: Exchange) -> Answer {
        let host = exchange.host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !self.table.names.contains_key(&host) {
            return Answer::error(StatusCode::MISDIRECTED_REQUEST);
        }
        let incoming = core::mem::replace(&mut exchange.body, RequestBody::Empty);
        let body = match incoming.collect(BODY, Limits::default().client_body_timeout).await {
            Ok(body) => body,
            Err(error) => return Answer::error(error.status()),
        };
        self.read(&exchange, &body);
        match self.asked(&exchange, &host, body).await {
            Ok(answer) => answer,
            Err(error) => {
                self.cx.print(format!("the server {host}: {error}"));
                Answer::error(StatusCode::BAD_GATEWAY)
            }
        }
    }

    async fn asked(&self, exchange: &Exchange, host: &str, body: Bytes) -> Result<Answer, String> {
        let (scheme, port) = if self.strips() { ("https", 443) } else { ("http", 80) };
        let port = self.table.upstream_port.unwrap_or(port);
        let url = Url::parse(&format!("{scheme}://{host}:{port}{}", exchange.target))
            .map_err(|error| error.to_string())?;
        let mut request = Request::new(exchange.method.clone(), url).body(body);
        for (name, value) in &exchange.headers {
            // Their connection is not ours, and compressed pages cannot be changed.
            let ours = [
                HOST,
                CONNECTION,
                CONTENT_LENGTH,
                TRANSFER_ENCODING,
                ACCEPT_ENCODING,
                UPGRADE_INSECURE_REQUESTS,
            ];
            if ours.contains(name) {
                continue;
            }
            // The server would be surprised by pages of its own that came over http.
            let secured = [ORIGIN, REFERER].contains(name) && self.strips();
            let said = if secured { text(value).replace("http://", "https://") } else { String::new() };
            let value = if secured {
                HeaderValue::from_str(&said).map_err(|error| error.to_string())?
            } else {
                value.clone()
            };
            request.headers.append(name.clone(), value);
        }
        let response = self.client.send(request).await.map_err(|error| error.to_string())?;
        let (status, headers) = (response.status, response.headers);
        let body = response.body.collect(BODY).await.map_err(|error| error.to_string())?;
        let mut answer = Answer::new(status);
        answer.headers = headers;
        for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
            answer.headers.remove(name);
        }
        let body = if self.strips() && exchange.method != Method::HEAD {
            self.strip(&mut answer.headers, body)
        } else {
            body
        };
        answer.body = AnswerBody::Whole(body);
        Ok(answer)
    }

    /// Takes https out of an answer.
    fn strip(&self, headers: &mut HeaderMap, body: Bytes) -> Bytes {
        let mut done: Vec<String> = Vec::new();
        let taken: [HeaderName; 3] = [STRICT_TRANSPORT_SECURITY, ALT_SVC, CONTENT_SECURITY_POLICY];
        for name in taken {
            if headers.remove(&name).is_some() {
                done.push(format!("{name} is taken out"));
            }
        }
        if let Some(to) =
            headers.get(LOCATION).map(text).filter(|to| to.starts_with("https://")).map(insecure)
        {
            done.push(format!("the redirect goes to {to}"));
            headers.insert(LOCATION, HeaderValue::from_str(&to).unwrap_or(HeaderValue::from_static("/")));
        }
        let cookies: Vec<String> =
            headers.get_all(SET_COOKIE).iter().map(|value| text(value).to_string()).collect();
        headers.remove(SET_COOKIE);
        for cookie in cookies {
            let bare = bared(&cookie);
            if bare != cookie {
                done.push(format!("Set-Cookie loses Secure: {bare}"));
            }
            if let Ok(value) = HeaderValue::from_str(&bare) {
                headers.append(SET_COOKIE, value);
            }
        }
        let is_html = headers.get(CONTENT_TYPE).is_some_and(|kind| text(kind).starts_with("text/html"));
        let page = core::str::from_utf8(&body).ok().filter(|page| is_html && page.contains("https://"));
        let body = match page {
            Some(page) => {
                done.push(format!("{} links lead to http", page.matches("https://").count()));
                Bytes::from(insecure(page))
            }
            None => body,
        };
        if !done.is_empty() {
            self.cx.print(format!("  stripped: {}", done.join("; ")));
        }
        body
    }
}

impl Handle for Stripper {
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.pass(exchange).await })
    }
}

impl App for SslStripper {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if !is_simulated(&cx) {
                return 1;
            }
            let tls = crate::http::tls::Client::new(self.tls.clone(), &cx);
            let port = self.upstream_port.unwrap_or(if self.upstream == Upstream::Https { 443 } else { 80 });
            let addresses =
                self.names.iter().map(|(name, at)| ((name.to_ascii_lowercase(), port), vec![*at]));
            let client = Client::new(Config {
                version: Version::Http11,
                tls: Some(Arc::new(tls)),
                addresses: addresses.collect(),
                ..Config::default()
            });
            let stripper = Arc::new(Stripper { table: self.clone(), client, cx: cx.clone() });
            let versions = Versions { http1: true, http2: false, http3: false };
            // What the server says of itself is passed on.
            let front = Front::new(Limits::default(), versions, String::new(), LogFormat::Off, cx, stripper);
            front.run(Some(self.port.unwrap_or(80)), None).await;
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bared_cookie_is_one_that_http_carries() {
        let rows = [
            ("sid=1; Path=/; Secure; HttpOnly", "sid=1; Path=/; HttpOnly"),
            ("sid=1; secure; SameSite=None", "sid=1"),
            ("sid=1; SameSite=Lax", "sid=1; SameSite=Lax"),
        ];
        for (cookie, wanted) in rows {
            assert_eq!(bared(cookie), wanted);
        }
    }
}
