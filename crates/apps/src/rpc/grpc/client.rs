//! `grpc-client`: calls the calculator's methods, with deadlines and cancellation, and tells how each ended.

use core::time::Duration;
use std::sync::Arc;

use futures_util::stream::iter;
use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::channel::{Channel, target};
use super::message::{Number, Numbers, Range};
use super::server::check_options;
use super::steps::{Call, Step, What};
use super::{MAX_MESSAGE, SERVICE, code_name, too_large};
use crate::app::read_table;
use crate::tls::ClientOptions;
use crate::units::{Size, Span, ms};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// A gRPC client of the calculator.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcClient {
    /// The server, such as `http://server:50051`, or `https`.
    pub to: String,
    /// What it does, one after the other over one connection: `add 20 22` (unary), `add-many 5m` (a message of that size), `count 5
    /// every 100ms` (server streaming), `total 1 2 3` (client streaming), `add-each 1 2 3` (both), `call /pkg.Service/Method`, `sleep
    /// 1s`. Behind a call: `within 100ms` (a deadline), `asking 100ms` (a deadline that only the server keeps), `leaving 100ms` (the client gives up, deadline or not), `cancel 3` (after
    /// so many answers), and `= DEADLINE_EXCEEDED`, how it must end; OK unless said.
    pub steps: Vec<String>,
    /// The largest message that it takes (RESOURCE_EXHAUSTED); `4m` unless given.
    pub max_message: Option<Size>,
    /// The time after which it asks a silent server whether it is there (PING); never unless given.
    pub ping: Option<Span>,
    /// How long it waits for the answer; `20s` unless given.
    pub ping_timeout: Option<Span>,
    /// TLS for `https`.
    #[serde(default)]
    pub tls: ClientOptions,
}

/// The program as it runs.
#[derive(Debug)]
struct Program {
    given: GrpcClient,
    steps: Vec<Step>,
}

/// Reads a client's table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let given: GrpcClient = read_table(table)?;
    let mut problems =
        check_options(given.max_message, &[("ping", given.ping), ("ping_timeout", given.ping_timeout)]);
    if let Err(message) = target(&given.to) {
        let help = Some("to = \"http://server:50051\", or https".into());
        problems.push(Problem { path: vec!["to".into()], message, help });
    }
    let mut steps = Vec::new();
    for (n, text) in given.steps.iter().enumerate() {
        match Step::parse(text) {
            Ok(step) => steps.push(step),
            Err((message, help)) => {
                problems.push(Problem {
                    path: vec!["steps".into(), n.to_string()],
                    message,
                    help: Some(help),
                });
            }
        }
    }
    for mut problem in given.tls.check(env) {
        problem.path.insert(0, "tls".into());
        problems.push(problem);
    }
    if problems.is_empty() { Ok(Arc::new(Program { given, steps })) } else { Err(problems) }
}

impl App for Program {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.walk(&cx).await {
                Ok(true) => 0,
                Ok(false) => 1,
                Err(why) => {
                    cx.print(format!("grpc-client: {why}"));
                    1
                }
            }
        })
    }
}

/// A client for one call.
pub(in crate::rpc) type Caller = Grpc<Channel>;

/// A client over a connection.
pub(in crate::rpc) fn caller(channel: &Channel, max: usize) -> Caller {
    Grpc::with_origin(channel.clone(), channel.origin.clone()).max_decoding_message_size(max)
}

/// Requests of a call, and where its answers come.
pub(in crate::rpc) async fn call<Req: prost::Message + Send + Sync + 'static>(
    caller: &mut Caller,
    path: &str,
    messages: Vec<Req>,
    limit: Option<Duration>,
) -> Result<Streaming<Number>, Status> {
    let path = PathAndQuery::try_from(path).map_err(|_| Status::internal("the path is no path"))?;
    caller.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(iter(messages));
    if let Some(limit) = limit {
        request.set_timeout(limit);
    }
    let answer = caller.streaming(request, path, ProstCodec::<Req, Number>::default()).await;
    answer.map(tonic::Response::into_inner).map_err(too_large)
}

/// The answers of a call.
async fn answers(
    mut coming: Streaming<Number>,
    got: &mut Vec<i64>,
    cancel_after: Option<usize>,
) -> Result<(), Status> {
    while cancel_after.is_none_or(|n| got.len() < n) {
        match coming.message().await.map_err(too_large)? {
            Some(number) => got.push(number.value),
            None => return Ok(()),
        }
    }
    // Dropped with more to come: RST_STREAM with CANCEL.
    Err(Status::cancelled("given up"))
}

impl Program {
    /// Whether every call ended as it must.
    async fn walk(&self, cx: &Cx) -> Result<bool, String> {
        let given = &self.given;
        let patience = given.ping_timeout.map_or(Duration::from_secs(20), |span| span.0);
        let keepalive = given.ping.map(|ping| (ping.0, patience));
        let channel = Channel::connect(&given.to, &given.tls, keepalive, cx).await;
        let channel = channel.map_err(|error| error.to_string())?;
        let mut good = true;
        for step in &self.steps {
            match step {
                Step::Sleep(time) => tokio::time::sleep(*time).await,
                Step::Call(call) => good &= self.call(&channel, call, cx).await,
            }
        }
        Ok(good)
    }

    async fn call(&self, channel: &Channel, step: &Call, cx: &Cx) -> bool {
        let mut caller = caller(channel, self.given.max_message.map_or(MAX_MESSAGE, Size::bytes));
        let start = Instant::now();
        let mut got = Vec::new();
        let calling = async {
            let coming = match &step.what {
                What::Add(values) => {
                    let messages = vec![Numbers { values: values.clone() }];
                    call(&mut caller, &path("Add"), messages, step.limit).await
                }
                What::AddMany(bytes) => {
                    let messages = vec![Numbers { values: vec![1; *bytes] }];
                    call(&mut caller, &path("Add"), messages, step.limit).await
                }
                What::Count { count, every } => {
                    let interval_ms = u32::try_from(every.as_millis()).unwrap_or(u32::MAX);
                    let messages = vec![Range { count: *count, interval_ms }];
                    call(&mut caller, &path("Count"), messages, step.limit).await
                }
                What::Total(values) => {
                    let messages = values.iter().map(|value| Number { value: *value }).collect();
                    call(&mut caller, &path("Total"), messages, step.limit).await
                }
                What::AddEach(values) => {
                    let messages = values.iter().map(|value| Numbers { values: vec![*value; 2] }).collect();
                    call(&mut caller, &path("AddEach"), messages, step.limit).await
                }
                What::Other(path) => call(&mut caller, path, vec![Number::default()], step.limit).await,
            }?;
            answers(coming, &mut got, step.cancel_after).await
        };
        let limit = step.limit.filter(|_| !step.patient);
        // Whoever waits no longer resets the stream.
        let result = match (limit, step.leaves) {
            (None, None) => calling.await,
            (_, Some(time)) => {
                timeout(time, calling).await.unwrap_or_else(|_| Err(Status::cancelled("given up")))
            }
            (Some(limit), _) => timeout(limit, calling)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("nobody waits any longer"))),
        };
        let took = ms(start.elapsed());
        let code = result.as_ref().map_or_else(Status::code, |()| Code::Ok);
        let told: Vec<String> = got.iter().map(i64::to_string).collect();
        let told = if told.is_empty() { String::new() } else { format!(" = {}", told.join(" ")) };
        let why = result.err().map_or(String::new(), |status| format!(" {:?}", status.message()));
        cx.print(format!("{}{told}: {}{why} after {took}", step.what, code_name(code)));
        if code != step.code {
            cx.print(format!("grpc-client: that must have ended with {}", code_name(step.code)));
        }
        code == step.code
    }
}

/// The path of a method.
pub(in crate::rpc) fn path(method: &str) -> String {
    format!("{SERVICE}/{method}")
}

/// As a call is written: `Add(20, 22)`.
impl core::fmt::Display for What {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let list = |values: &[i64]| values.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        match self {
            What::Add(values) => write!(f, "Add({})", list(values)),
            What::AddMany(bytes) => write!(f, "Add({bytes} numbers)"),
            What::Count { count, every } => write!(f, "Count({count} every {})", ms(*every)),
            What::Total(values) => write!(f, "Total({})", list(values)),
            What::AddEach(values) => write!(f, "AddEach({})", list(values)),
            What::Other(path) => f.write_str(path),
        }
    }
}
