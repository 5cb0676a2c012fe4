//! DNS over HTTPS (RFC 8484): a question is the body of a POST or stands in a GET's query, its answer is the body of the response.
//! HTTP/2 carries many of them on one connection, so that only the first costs the handshakes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use super::message::{self, fit};
use super::service::{Asked, IN_WORK, Intake, Service, Transport, intake};
use crate::http::client::{BoxFuture, Client, Config, Request, Retry, Version};
use crate::http::front::{Answer, AnswerBody, Exchange, Front, Handle, Limits, LogFormat, Versions};
use crate::http::tls::Client as HttpTls;
use crate::tls::server::below;
use crate::tls::{ClientOptions, ServerOptions};
use crate::{Cx, Env, Problem};

/// The type of a message (RFC 8484 §6).
const TYPE: &str = "application/dns-message";
/// Where questions go (RFC 8484 has it in its examples, and so do all providers).
const PATH: &str = "/dns-query";
/// The port of HTTPS.
pub(super) const PORT: u16 = 443;

/// How resolvers are asked over HTTPS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardHttps {
    /// Where questions go, such as `https://dns.example/dns-query`; its host is the name that the certificate must prove.
    pub url: String,
    /// More about the TLS.
    #[serde(default)]
    pub tls: ClientOptions,
}

impl ForwardHttps {
    fn url(&self) -> Result<Url, String> {
        let url = Url::parse(&self.url).map_err(|error| format!("`{}` is no URL: {error}", self.url))?;
        if url.scheme() != "https" || url.host_str().is_none() {
            return Err(format!("`{}`: DNS over HTTPS needs an https URL", self.url));
        }
        Ok(url)
    }

    /// What is wrong with it.
    pub(super) fn check(&self, env: &Env) -> Vec<Problem> {
        let mut problems = below("tls", self.tls.check(env));
        if let Err(message) = self.url() {
            let help = Some("such as https://dns.example/dns-query".into());
            problems.push(Problem { path: vec!["url".into()], message, help });
        }
        problems
    }
}

/// Asks over HTTPS: a connection for each server, kept as a browser keeps it.
pub(super) struct Asker {
    url: Url,
    clients: BTreeMap<IpAddr, Client>,
}

impl Asker {
    /// # Errors
    /// A URL that cannot be used.
    pub(super) fn new(forward: &ForwardHttps, servers: &[IpAddr], cx: &Cx) -> Result<Asker, String> {
        let url = forward.url()?;
        let host = url.host_str().unwrap_or_default().to_string();
        let port = url.port().unwrap_or(PORT);
        let client = |server: &IpAddr| {
            let config = Config {
                version: Version::Http2,
                // Questions side by side share one connection from the beginning.
                per_host: 1,
                retry: Retry::Always,
                addresses: BTreeMap::from([((host.clone(), port), vec![*server])]),
                tls: Some(Arc::new(HttpTls::new(forward.tls.clone(), cx))),
                ..Config::default()
            };
            (*server, Client::new(config))
        };
        Ok(Asker { clients: servers.iter().map(client).collect(), url })
    }

    /// Sends a question; the answer, whatever it is an answer to.
    pub(super) async fn ask(&self, server: IpAddr, asked: &Message) -> Result<Message, String> {
        let client = self.clients.get(&server).ok_or("it is not among the servers")?;
        let question = asked.to_vec().map_err(|error| error.to_string())?;
        let mut request = Request::new(Method::POST, self.url.clone()).body(question);
        request.headers.insert(ACCEPT, HeaderValue::from_static(TYPE));
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(TYPE));
        let response = client.send(request).await.map_err(|error| error.to_string())?;
        let status = response.status;
        let kind = response.headers.get(CONTENT_TYPE).cloned();
        let body = response.body.collect(message::LONGEST).await.map_err(|error| error.to_string())?;
        if status != StatusCode::OK || kind.is_none_or(|kind| kind != TYPE) {
            return Err(format!("HTTP status {}", status.as_u16()));
        }
        Message::from_vec(&body).map_err(|error| format!("its answer is no DNS: {error}"))
    }
}

/// Answers over HTTPS until it cannot: what went wrong.
pub(super) async fn serve(service: Arc<impl Service>, at: IpAddr, tls: ServerOptions, cx: Cx) -> String {
    let in_work = Arc::new(Semaphore::new(IN_WORK));
    let versions = Versions { http1: true, http2: true, http3: false };
    let answers = Arc::new(Answers { service, in_work });
    let limits = Limits { client_max_body_size: message::LONGEST, ..Limits::default() };
    let front = Front::new(limits, versions, String::new(), LogFormat::Off, cx, answers);
    front.run_at(SocketAddr::new(at, PORT), Some(&tls)).await
}

struct Answers<S> {
    service: Arc<S>,
    in_work: Arc<Semaphore>,
}

impl<S: Service> Handle for Answers<S> {
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let (client, at) = (exchange.peer, exchange.local.ip());
            let question = match question(exchange).await {
                Ok(question) => question,
                Err(answer) => return answer,
            };
            let reply = match intake(&question) {
                Intake::Drop => return Answer::error(StatusCode::BAD_REQUEST),
                Intake::Refuse(reply) => reply,
                Intake::Answer(query) => {
                    let Ok(_permit) = self.in_work.clone().try_acquire_owned() else {
                        return Answer::error(StatusCode::TOO_MANY_REQUESTS);
                    };
                    let asked = Asked { query, client, at, transport: Transport::Https };
                    match self.service.clone().answer(asked).await {
                        Some(reply) => reply,
                        // A server that says nothing says nothing here either: its client gives up.
                        None => core::future::pending().await,
                    }
                }
            };
            let Some(bytes) = fit(&reply, message::LONGEST) else {
                return Answer::error(StatusCode::INTERNAL_SERVER_ERROR);
            };
            let mut answer = Answer::new(StatusCode::OK).with(CONTENT_TYPE, TYPE);
            if let Some(seconds) = freshness(&reply) {
                answer = answer.with(CACHE_CONTROL, &format!("max-age={seconds}"));
            }
            answer.body = AnswerBody::Whole(Bytes::from(bytes));
            answer
        })
    }
}

/// The bytes of a request's question, or what is wrong with the request (RFC 8484 §4.1).
async fn question(exchange: Exchange) -> Result<Vec<u8>, Answer> {
    if exchange.path() != PATH {
        return Err(Answer::error(StatusCode::NOT_FOUND));
    }
    match exchange.method {
        Method::GET => {
            let pairs = exchange.query().unwrap_or_default().split('&');
            let text = pairs.filter_map(|pair| pair.strip_prefix("dns=")).next();
            text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
                .ok_or_else(|| Answer::error(StatusCode::BAD_REQUEST))
        }
        Method::POST => {
            if exchange.header(CONTENT_TYPE) != Some(TYPE) {
                return Err(Answer::error(StatusCode::UNSUPPORTED_MEDIA_TYPE));
            }
            let whole = exchange.body.collect(message::LONGEST, Limits::default().client_body_timeout).await;
            whole.map(Vec::from).map_err(|error| Answer::error(error.status()))
        }
        _ => Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, "GET, POST")),
    }
}

/// How long HTTP may keep an answer: its shortest TTL, for negative ones what their SOA says (RFC 8484 §5.1).
fn freshness(reply: &Message) -> Option<u32> {
    let of_answers = reply.answers.iter().map(|record| record.ttl).min();
    of_answers.or_else(|| {
        reply.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })
    })
}
