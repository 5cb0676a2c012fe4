//! gRPC over tonic and hyper's HTTP/2: a service with each of the four kinds of methods, and a client that calls it step by
//! step. Messages are protobuf's; what a `.proto` file would say stands beside each.
//!
//! ```proto
//! package wirelab;
//! service Calculator {
//!   rpc Add(Numbers) returns (Number);                  // unary
//!   rpc Count(Range) returns (stream Number);           // server streaming
//!   rpc Total(stream Number) returns (Number);          // client streaming
//!   rpc AddEach(stream Numbers) returns (stream Number); // both
//! }
//! ```
//!
//! Map: `message` is what is said, `channel` a client's connection, `server` and `client` are programs, `steps` what the
//! client can be told to do.

mod channel;
pub(super) mod client;
mod message;
mod server;
mod steps;

pub(super) use channel::target;
pub use channel::{Channel, ChannelError};
pub use client::{GrpcClient, read as read_client};
pub use message::{Number, Numbers, Range};
pub use server::{GrpcServer, read as read_server};

use tonic::{Code, Status};

/// The service's name in paths.
pub const SERVICE: &str = "/wirelab.Calculator";
/// The largest message that is taken unless a table says otherwise: gRPC's default everywhere.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Spawns HTTP/2's tasks on the current host.
#[derive(Clone, Copy, Debug)]
struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        net::spawn(future);
    }
}

/// A code as gRPC's documents write it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// All codes.
fn codes() -> impl Iterator<Item = Code> {
    (0..=16).map(Code::from_i32)
}

/// tonic says OUT_OF_RANGE of a message that is larger than the limit; gRPC's own implementations, and its list of codes, say
/// RESOURCE_EXHAUSTED.
fn too_large(status: Status) -> Status {
    let ours = status.code() == Code::OutOfRange && status.message().contains("message length too large");
    if ours { Status::resource_exhausted(status.message()) } else { status }
}
