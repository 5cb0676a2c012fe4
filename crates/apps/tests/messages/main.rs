//! Messages in virtual time over our stack: WebSocket, gRPC, length-prefixed calls, server-sent events. What is right, and
//! what each does with hostile input.

mod events;
mod rpc;
mod websocket;
#[path = "../world/mod.rs"]
mod world;

use apps::{Env, Problem};
use serde_json::Value;

/// What is wrong with a table: paths and help.
fn problems(kind: &str, table: &Value) -> Vec<(String, String)> {
    let Value::Object(table) = table else { panic!("a table is an object") };
    let found = (apps::kind(kind).unwrap().read)(table, &Env::default()).err().unwrap_or_default();
    let told = |Problem { path, help, .. }: Problem| (path.join("."), help.unwrap_or_default());
    found.into_iter().map(told).collect()
}
