//! `grpc-server`: the calculator. Deadlines (`grpc-timeout`) are kept, limits are answered with a status, and each call is
//! told when it is over, also when its client gave it up.

use core::convert::Infallible;
use core::future::ready;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::{Stream, once, unfold};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::message::{Number, Numbers, Range};
use super::{Executor, MAX_MESSAGE, SERVICE, code_name, too_large};
use crate::app::read_table;
use crate::http::BoxStream;
use crate::http::client::BoxFuture;
use crate::tls::{ServerOptions, ServerTls};
use crate::units::{Size, Span, ms};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// Connections at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 512;
/// Calls of one connection at a time (`SETTINGS_MAX_CONCURRENT_STREAMS`).
const MAX_STREAMS: u32 = 100;
/// Streams that were opened and reset before they were looked at (CVE-2023-44487).
const MAX_RESET: usize = 20;
/// The largest header list (`SETTINGS_MAX_HEADER_LIST_SIZE`), as grpc-core's.
const MAX_HEADERS: u32 = 16 << 10;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// Numbers that `Count` tells at most, and the longest time between two.
const MAX_COUNT: u32 = 1_000_000;
const MAX_INTERVAL_MS: u32 = 3_600_000;

/// A gRPC server with a calculator.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcServer {
    /// Its port; 50051 unless given.
    pub port: Option<u16>,
    /// Its TLS; without it the server speaks HTTP/2 without asking.
    pub tls: Option<ServerOptions>,
    /// How long `Add` takes; no time unless given.
    pub delay: Option<Span>,
    /// The largest message that it takes (RESOURCE_EXHAUSTED); `4m` unless given.
    pub max_message: Option<Size>,
    /// The time after which it asks a silent client whether it is there (PING); never unless given.
    pub ping: Option<Span>,
    /// How long it waits for the answer; `20s` unless given.
    pub ping_timeout: Option<Span>,
}

/// Reads a server's table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let server: GrpcServer = read_table(table)?;
    let mut problems =
        check_options(server.max_message, &[("ping", server.ping), ("ping_timeout", server.ping_timeout)]);
    for mut problem in server.tls.iter().flat_map(|tls| tls.check(env)) {
        problem.path.insert(0, "tls".into());
        problems.push(problem);
    }
    if problems.is_empty() { Ok(Arc::new(server)) } else { Err(problems) }
}

/// What a client and a server have in common.
pub(super) fn check_options(max_message: Option<Size>, times: &[(&str, Option<Span>)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |key: &str, message: &str, help: &str| {
        problems.push(Problem { path: vec![key.into()], message: message.into(), help: Some(help.into()) });
    };
    if max_message.is_some_and(|size| !(1..=1 << 30).contains(&size.0)) {
        wrong("max_message", "1 byte to 1g", "max_message = \"64k\"");
    }
    for (key, _) in
        times.iter().filter(|(_, span)| span.is_some_and(|span| span.0 < Duration::from_millis(1)))
    {
        wrong(key, "at least 1 ms", &format!("{key} = \"20s\""));
    }
    problems
}

impl App for GrpcServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let port = self.port.unwrap_or(50051);
            if let Err(why) = self.serve(port, &cx).await {
                cx.print(format!("grpc-server: port {port}: {why}"));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

impl GrpcServer {
    async fn serve(self: Arc<Self>, port: u16, cx: &Cx) -> Result<(), String> {
        let tls = self.tls.clone().map(|mut options| {
            options.alpn = vec!["h2".into()];
            ServerTls::new(&options, &cx.env().pki, Some(cx))
        });
        let tls = tls.transpose().map_err(|error| error.to_string())?;
        let listener = net::TcpListener::bind(("0.0.0.0", port)).await.map_err(|error| error.to_string())?;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let (stream, peer) = listener.accept().await.map_err(|error| error.to_string())?;
            let Ok(place) = places.clone().try_acquire_owned() else {
                cx.print(format!("grpc-server: {peer}: more than {MAX_CONNECTIONS} connections"));
                continue;
            };
            let (server, tls, cx) = (self.clone(), tls.clone(), cx.clone());
            net::spawn(async move {
                if let Err(why) = server.connection(stream, peer, tls, &cx).await {
                    cx.print(format!("grpc-server: {peer}: {why}"));
                }
                drop(place);
            });
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: net::TcpStream,
        peer: SocketAddr,
        tls: Option<ServerTls>,
        cx: &Cx,
    ) -> Result<(), String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream: BoxStream = match &tls {
            None => Box::new(stream),
            Some(tls) => {
                let handshake = timeout(HANDSHAKE, crate::tls::accept(stream, tls)).await;
                let stream = handshake.map_err(|_| "no TLS handshake in time")?;
                Box::new(stream.map_err(|error| error.to_string())?)
            }
        };
        let mut builder = Builder::new(Executor);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS)
            .max_pending_accept_reset_streams(MAX_RESET);
        if let Some(ping) = self.ping {
            let limit = self.ping_timeout.map_or(Duration::from_secs(20), |span| span.0);
            builder.keep_alive_interval(ping.0).keep_alive_timeout(limit);
        }
        let calls = Arc::new(Calls { server: self, peer, cx: cx.clone() });
        let service = service_fn(move |request| {
            let calls = calls.clone();
            let answering = async move { Ok::<_, Infallible>(calls.route(request).await) };
            Box::pin(answering) as BoxFuture<'static, _>
        });
        let served = builder.serve_connection(TokioIo::new(stream), service).await;
        served.map_err(|error| format!("HTTP/2: {error}"))
    }
}

/// The calls of one connection.
struct Calls {
    server: Arc<GrpcServer>,
    peer: SocketAddr,
    cx: Cx,
}

/// Says what became of a call when it goes.
struct Call {
    cx: Cx,
    name: String,
    peer: SocketAddr,
    start: Instant,
    /// By when it must be over (`grpc-timeout`).
    deadline: Option<Instant>,
    ended: Option<Code>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let (peer, name, took) = (self.peer, &self.name, ms(self.start.elapsed()));
        let how = self.ended.map_or("cancelled by the client", code_name);
        self.cx.print(format!("{peer} {name}: {how} after {took}"));
    }
}

impl Call {
    /// Does something before the deadline.
    async fn before_deadline<T>(&self, work: impl Future<Output = T>) -> Result<T, Status> {
        match self.deadline {
            None => Ok(work.await),
            Some(deadline) => timeout_at(deadline, work).await.map_err(|_| {
                Status::deadline_exceeded("the server ran out of the time that the client gave")
            }),
        }
    }

    /// One answer.
    async fn once(mut self, work: impl Future<Output = Result<Number, Status>>) -> Result<Replies, Status> {
        let result = self.before_deadline(work).await.and_then(|done| done);
        self.ended = Some(result.as_ref().map_or_else(Status::code, |_| Code::Ok));
        result.map(|number| Replies(Box::pin(once(ready(Ok(number))))))
    }

    /// Answers as long as `next` gives some.
    fn many<S: Send + 'static>(
        self,
        state: S,
        next: impl for<'a> Fn(&'a mut S) -> BoxFuture<'a, Result<Option<Number>, Status>> + Send + 'static,
    ) -> Replies {
        Replies(Box::pin(unfold(Some((self, state, next)), |all| async {
            let (mut call, mut state, next) = all?;
            let result = call.before_deadline(next(&mut state)).await.and_then(|done| done);
            match result {
                Ok(Some(number)) => Some((Ok(number), Some((call, state, next)))),
                Ok(None) => {
                    call.ended = Some(Code::Ok);
                    None
                }
                Err(status) => {
                    call.ended = Some(status.code());
                    Some((Err(status), None))
                }
            }
        })))
    }
}

/// Answers that come one by one.
struct Replies(Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>);

impl Stream for Replies {
    type Item = Result<Number, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

/// A method of any kind: requests come one by one, so do answers.
struct Handler<F>(Option<F>);

impl<F, Fut, Req> StreamingService<Req> for Handler<F>
where
    F: FnOnce(Streaming<Req>) -> Fut,
    Fut: Future<Output = Result<Replies, Status>> + Send + 'static,
{
    type Response = Number;
    type ResponseStream = Replies;
    type Future = BoxFuture<'static, Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<Streaming<Req>>) -> Self::Future {
        let handler = self.0.take().expect("a request is handled once");
        let running = handler(request.into_inner());
        Box::pin(async move { running.await.map(Response::new) })
    }
}

/// Runs a method.
async fn run<Req, F, Fut>(max: usize, request: http::Request<Incoming>, handler: F) -> http::Response<Body>
where
    Req: prost::Message + Default + Send + Sync + 'static,
    F: FnOnce(Streaming<Req>) -> Fut + Send,
    Fut: Future<Output = Result<Replies, Status>> + Send + 'static,
{
    let codec = ProstCodec::<Number, Req>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(max);
    grpc.streaming(Handler(Some(handler)), request).await
}

impl Calls {
    async fn route(self: Arc<Self>, request: http::Request<Incoming>) -> http::Response<Body> {
        if let Some(refusal) = refuse(&request) {
            return refusal;
        }
        let path = request.uri().path().to_string();
        let name = path.rsplit('/').next().unwrap_or_default().to_string();
        let start = Instant::now();
        let mut call =
            Call { cx: self.cx.clone(), name, peer: self.peer, start, deadline: None, ended: None };
        let known = deadline(request.headers());
        let refused = |mut call: Call, status: Status| {
            call.ended = Some(status.code());
            status.into_http()
        };
        match known {
            Ok(limit) => call.deadline = limit.map(|limit| start + limit),
            Err(status) => return refused(call, status),
        }
        let max = self.server.max_message.map_or(MAX_MESSAGE, Size::bytes);
        let delay = self.server.delay.map_or(Duration::ZERO, |span| span.0);
        match path.strip_prefix(SERVICE) {
            Some("/Add") => {
                run(max, request, |mut requests| {
                    call.once(async move {
                        let numbers: Numbers = only(&mut requests).await?;
                        sleep(delay).await;
                        sum(&numbers.values)
                    })
                })
                .await
            }
            Some("/Total") => {
                run(max, request, |mut requests: Streaming<Number>| {
                    call.once(async move {
                        let mut total = 0;
                        while let Some(number) = requests.message().await.map_err(too_large)? {
                            total = sum(&[total, number.value])?.value;
                        }
                        Ok(Number { value: total })
                    })
                })
                .await
            }
            Some("/Count") => run(max, request, |requests| count(call, requests)).await,
            Some("/AddEach") => {
                run(max, request, |requests: Streaming<Numbers>| async {
                    Ok(call.many(requests, |requests| {
                        Box::pin(async {
                            let numbers = requests.message().await.map_err(too_large)?;
                            numbers.map(|numbers| sum(&numbers.values)).transpose()
                        })
                    }))
                })
                .await
            }
            _ => refused(call, Status::unimplemented(format!("there is no method {path}"))),
        }
    }
}

async fn count(mut call: Call, mut requests: Streaming<Range>) -> Result<Replies, Status> {
    let asked = call.before_deadline(only(&mut requests)).await.and_then(|asked| asked);
    let asked = asked.and_then(|range: Range| {
        let good = range.count <= MAX_COUNT && range.interval_ms <= MAX_INTERVAL_MS;
        let why = || format!("at most {MAX_COUNT} numbers, and {MAX_INTERVAL_MS} ms between two");
        good.then_some(range).ok_or_else(|| Status::invalid_argument(why()))
    });
    let range = asked.inspect_err(|status| call.ended = Some(status.code()))?;
    let interval = Duration::from_millis(range.interval_ms.into());
    let start = Instant::now();
    Ok(call.many(0, move |told: &mut u32| {
        Box::pin(async move {
            if *told == range.count {
                return Ok(None);
            }
            // The first at once.
            sleep_until(start + interval * *told).await;
            *told += 1;
            Ok(Some(Number { value: i64::from(*told) }))
        })
    }))
}

/// The one message of a request that has one.
async fn only<T>(requests: &mut Streaming<T>) -> Result<T, Status> {
    let first = requests.message().await.map_err(too_large)?;
    let first = first.ok_or_else(|| Status::invalid_argument("the request has no message"))?;
    match requests.message().await.map_err(too_large)? {
        None => Ok(first),
        Some(_) => Err(Status::invalid_argument("the request has more than one message")),
    }
}

fn sum(values: &[i64]) -> Result<Number, Status> {
    let sum = values.iter().try_fold(0_i64, |sum, value| sum.checked_add(*value));
    let value = sum.ok_or_else(|| Status::out_of_range("the sum has more than 64 bits"))?;
    Ok(Number { value })
}

/// What is no gRPC is answered as HTTP (gRPC over HTTP/2, "Requests").
fn refuse(request: &http::Request<Incoming>) -> Option<http::Response<Body>> {
    let mut response = http::Response::new(Body::empty());
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if request.method() != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    } else if !kind.starts_with(b"application/grpc") {
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    } else {
        return None;
    }
    Some(response)
}

/// The deadline that a client gave (gRPC over HTTP/2, "Timeout"): at most eight digits and a unit.
fn deadline(headers: &http::HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let wrong =
        || Status::invalid_argument("grpc-timeout must be up to eight digits and one of H, M, S, m, u, n");
    let text = value.to_str().map_err(|_| wrong())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let n: u64 = digits.parse().map_err(|_| wrong())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return Err(wrong()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_the_protocol_writes_them() {
        let read = |text: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(text).unwrap());
            deadline(&headers)
        };
        assert_eq!(deadline(&http::HeaderMap::new()).unwrap(), None);
        for (text, ms) in [("100m", 100), ("100000u", 100), ("2S", 2000), ("1M", 60_000), ("1H", 3_600_000)] {
            assert_eq!(read(text).unwrap(), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(read("99999999H").unwrap(), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "m", "100", "100000000m", "-1m", "1.5S", "1s", "1ä"] {
            assert_eq!(read(text).map_err(|status| status.code()), Err(Code::InvalidArgument), "{text}");
        }
    }
}
