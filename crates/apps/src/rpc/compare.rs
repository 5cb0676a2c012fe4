//! `rpc-comparison`: the same additions by each way of calling, one way after the other, and a table of what they cost. What
//! is in it was measured: bytes by the connections, packets by TCP itself, the round trip by its handshake.

use core::time::Duration;
use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::grpc::{Channel, MAX_MESSAGE, Numbers, client};
use super::raw;
use crate::app::read_table;
use crate::http::client::{Client, Config, Request, Retry, Version};
use crate::tls::ClientOptions;
use crate::units::ms;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// Calls of one way.
const MAX_CALLS: u32 = 100_000;
/// The largest answer in JSON.
const MAX_ANSWER: usize = 64 << 10;
/// Characters of the longest bar.
const BAR: u64 = 30;

/// How a call is told.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Telling {
    /// JSON-RPC over HTTP/1.1.
    Json,
    /// gRPC, a call for each addition.
    Grpc,
    /// gRPC, all additions in one call whose both sides stream.
    GrpcStream,
    /// A length of four bytes, a method of one, numbers of eight.
    Raw,
}

/// One way and where its server is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// How.
    pub by: Telling,
    /// `http://server/rpc` for JSON, `http://server:50051` for gRPC, `server:7000` otherwise.
    pub to: String,
}

/// Calls a service in several ways and compares what they cost.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RpcComparison {
    /// The ways, in the order of the table.
    pub ways: Vec<Way>,
    /// Additions by each; 10 unless given.
    pub calls: Option<u32>,
    /// TLS for `https`.
    #[serde(default)]
    pub tls: ClientOptions,
}

/// Reads a comparison's table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let given: RpcComparison = read_table(table)?;
    let mut problems = Vec::new();
    let mut wrong = |path: &[&str], message: String, help: &str| {
        let path = path.iter().map(|part| (*part).to_string()).collect();
        problems.push(Problem { path, message, help: Some(help.into()) });
    };
    if given.ways.is_empty() {
        wrong(
            &["ways"],
            "there is nothing to compare".into(),
            "ways = [{ by = \"raw\", to = \"server:7000\" }]",
        );
    }
    if given.calls.is_some_and(|calls| !(1..=MAX_CALLS).contains(&calls)) {
        wrong(&["calls"], format!("1 to {MAX_CALLS}"), "calls = 20");
    }
    for (n, way) in given.ways.iter().enumerate() {
        let path = ["ways", &n.to_string(), "to"];
        let port = way.to.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        match way.by {
            Telling::Json => {
                if let Err(error) = Request::get(&way.to).and_then(|request| request.origin()) {
                    wrong(&path, error.to_string(), "to = \"http://server/rpc\"");
                }
            }
            Telling::Grpc | Telling::GrpcStream => {
                if let Err(why) = super::grpc::target(&way.to) {
                    wrong(&path, why, "to = \"http://server:50051\"");
                }
            }
            Telling::Raw if port.is_some() => {}
            Telling::Raw => wrong(&path, format!("{:?} is no name:port", way.to), "to = \"server:7000\""),
        }
    }
    for mut problem in given.tls.check(env) {
        problem.path.insert(0, "tls".into());
        problems.push(problem);
    }
    if problems.is_empty() { Ok(Arc::new(given)) } else { Err(problems) }
}

/// What one way cost.
struct Cost {
    /// TCP's handshake: a round trip.
    round_trip: Duration,
    /// From the SYN until the last answer.
    took: Duration,
    /// Bytes above TCP, and how many of them are HTTP's header fields: up and down.
    bytes: [u64; 2],
    headers: [u64; 2],
    /// TCP segments out and in; unknown on the machine's own sockets.
    segments: Option<[u32; 2]>,
}

fn name(by: Telling) -> &'static str {
    match by {
        Telling::Json => "HTTP/1.1 with JSON",
        Telling::Grpc => "gRPC, unary",
        Telling::GrpcStream => "gRPC, one stream",
        Telling::Raw => "length-prefixed",
    }
}

/// Segments of a connection, on whatever host this runs.
fn segments(ends: [std::net::SocketAddr; 2]) -> Option<[u32; 2]> {
    net::Host::current()?.tcp_segments(ends[0], ends[1])
}

impl RpcComparison {
    async fn json(&self, to: &str, calls: u32, cx: &Cx) -> Result<Cost, String> {
        let said = |error: crate::http::client::Error| error.to_string();
        let tls = Arc::new(crate::http::tls::Client::new(self.tls.clone(), cx));
        let config =
            Config { version: Version::Http11, retry: Retry::Never, tls: Some(tls), ..Config::default() };
        let client = Client::new(config);
        let start = Instant::now();
        let mut round_trip = None;
        for n in 1..=calls {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"add","params":[{n},{n}],"id":{n}}}"#);
            let request = Request { method: Method::POST, ..Request::get(to).map_err(said)? };
            let request = request.header("Content-Type", "application/json").map_err(said)?.body(body);
            let response = client.send(request).await.map_err(said)?;
            round_trip = round_trip.or(response.timings().connect);
            let answer = response.body.collect(MAX_ANSWER).await.map_err(said)?;
            let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
            check(answer.get("result").and_then(Value::as_i64), n)?;
        }
        let took = start.elapsed();
        let connections = client.connections();
        let [connection] = connections.as_slice() else { return Err("the connection was not kept".into()) };
        let (sent, received) = (connection.counts.sent.get(), connection.counts.received.get());
        Ok(Cost {
            round_trip: round_trip.unwrap_or_default(),
            took,
            bytes: [sent[0], received[0]],
            headers: [sent[1], received[1]],
            segments: segments([connection.local, connection.peer]),
        })
    }

    async fn grpc(&self, to: &str, calls: u32, streaming: bool, cx: &Cx) -> Result<Cost, String> {
        let said = |status: tonic::Status| status.to_string();
        let start = Instant::now();
        let channel = Channel::connect(to, &self.tls, None, cx).await.map_err(|error| error.to_string())?;
        let mut caller = client::caller(&channel, MAX_MESSAGE);
        let numbers = |n: u32| Numbers { values: vec![n.into(); 2] };
        if streaming {
            let messages = (1..=calls).map(numbers).collect();
            let mut coming =
                client::call(&mut caller, &client::path("AddEach"), messages, None).await.map_err(said)?;
            for n in 1..=calls {
                check(coming.message().await.map_err(said)?.map(|number| number.value), n)?;
            }
        } else {
            for n in 1..=calls {
                let path = client::path("Add");
                let mut coming =
                    client::call(&mut caller, &path, vec![numbers(n)], None).await.map_err(said)?;
                check(coming.message().await.map_err(said)?.map(|number| number.value), n)?;
                // Its trailers: the status.
                if coming.message().await.map_err(said)?.is_some() {
                    return Err("two answers to one call".into());
                }
            }
        }
        let took = start.elapsed();
        let (sent, received) = (channel.counts.sent.get(), channel.counts.received.get());
        Ok(Cost {
            round_trip: channel.times[0],
            took,
            bytes: [sent[0], received[0]],
            headers: [sent[1], received[1]],
            segments: segments(channel.ends),
        })
    }

    async fn raw(&self, to: &str, calls: u32) -> Result<Cost, String> {
        let said = |error: std::io::Error| error.to_string();
        let start = Instant::now();
        let mut stream = net::TcpStream::connect(to).await.map_err(said)?;
        let round_trip = start.elapsed();
        stream.set_nodelay(true).map_err(said)?;
        let mut bytes = [0, 0];
        for n in 1..=calls {
            let [up, down] = raw::CALL;
            (bytes[0], bytes[1]) = (bytes[0] + up, bytes[1] + down);
            let sum = raw::add(&mut stream, [n.into(); 2]).await.map_err(said)?;
            check(i64::try_from(sum).ok(), n)?;
        }
        let took = start.elapsed();
        let ends = stream.local_addr().and_then(|local| Ok([local, stream.peer_addr()?])).map_err(said)?;
        Ok(Cost { round_trip, took, bytes, headers: [0, 0], segments: segments(ends) })
    }

    async fn compare(&self, cx: &Cx) -> Result<(), String> {
        let calls = self.calls.unwrap_or(10);
        let mut costs = Vec::new();
        for way in &self.ways {
            let cost = match way.by {
                Telling::Json => self.json(&way.to, calls, cx).await,
                Telling::Grpc => self.grpc(&way.to, calls, false, cx).await,
                Telling::GrpcStream => self.grpc(&way.to, calls, true, cx).await,
                Telling::Raw => self.raw(&way.to, calls).await,
            };
            costs.push((name(way.by), cost.map_err(|why| format!("{}: {why}", name(way.by)))?));
        }
        cx.print(format!(
            "{:<20}{:>6}{:>12}{:>13}{:>10}{:>10}{:>12}{:>9}",
            "way", "calls", "time", "round trips", "B up", "B down", "of it HTTP", "packets"
        ));
        for (name, cost) in &costs {
            // Tenths of the length of TCP's handshake.
            let tenths = (cost.took.as_nanos() * 10).checked_div(cost.round_trip.as_nanos()).unwrap_or(0);
            let packets = cost.segments.map_or("?".into(), |[out, back]| (out + back).to_string());
            cx.print(format!(
                "{name:<20}{calls:>6}{:>12}{:>13}{:>10}{:>10}{:>12}{packets:>9}",
                ms(cost.took),
                format!("{}.{}", tenths / 10, tenths % 10),
                cost.bytes[0],
                cost.bytes[1],
                cost.headers.iter().sum::<u64>(),
            ));
        }
        let each = |cost: &Cost| cost.bytes.iter().sum::<u64>() / u64::from(calls);
        let most = costs.iter().map(|(_, cost)| each(cost)).max().unwrap_or(0).max(1);
        cx.print("bytes of a call, both ways:");
        for (name, cost) in &costs {
            let bar = "█".repeat(usize::try_from((each(cost) * BAR).div_ceil(most)).unwrap_or(0));
            cx.print(format!("{name:<20}{:>6} {bar}", each(cost)));
        }
        Ok(())
    }
}

fn check(sum: Option<i64>, n: u32) -> Result<(), String> {
    if sum == Some(2 * i64::from(n)) { Ok(()) } else { Err(format!("{n} + {n} is told to be {sum:?}")) }
}

impl App for RpcComparison {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.compare(&cx).await {
                Ok(()) => 0,
                Err(why) => {
                    cx.print(format!("rpc-comparison: {why}"));
                    1
                }
            }
        })
    }
}
