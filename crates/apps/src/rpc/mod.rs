//! Remote procedure calls, told in three ways: JSON over HTTP/1.1, gRPC, and bytes behind their length. The same service
//! adds numbers in each of them, so that their costs can be compared on one link.
//!
//! Map: `raw` is the length-prefixed protocol, `grpc` the service over tonic, `compare` calls them all and prints a table.

mod compare;
pub mod grpc;
mod raw;

pub use compare::{RpcComparison, Telling, read as read_comparison};
pub use raw::RpcServer;
