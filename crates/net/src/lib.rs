//! Sockets shaped as tokio's, over three grounds: a world in virtual time, a TAP in real time, and the machine's own
//! network.
//!
//! The same program runs on all of them; only where it is started differs:
//!
//! * a [`Lab`] is a [`sim::World`] with one paused tokio runtime whose clock is the world's. Programs are ordinary
//!   async code (`tokio::spawn`, `sleep`, `timeout`, `select!`, channels); the world's events run whenever no task
//!   is runnable, so that waiting costs nothing and the same seed gives the same run.
//! * a [`Live`] world keeps the machine's time; TAP devices join it to real kernels.
//! * outside of both, [`TcpStream`] and its friends are tokio's own.
//!
//! Which ground is meant is decided where a socket is made: by the [`Host`] that the task runs on. A task gets its
//! host from [`Lab::start`], [`Host::spawn`], [`Host::scope`] or, inside of such a task, [`spawn`]. Plain
//! `tokio::spawn` does not hand it on (with `--cfg tokio_unstable` it does): a socket made there is an error that
//! says so, and never the machine's network. Sockets keep their host wherever they go.
//!
//! Map: `shared` owns the world, `context` knows the current host, `lab` and `live` move time, `sock` is a descriptor
//! of the stack with wakers, `tcp` and `udp` mirror `tokio::net`; `hyper`, `tonic`, `axum` and `quinn` (features of the same names) fit
//! the sockets to those crates.

mod addr;
#[cfg(feature = "axum")]
pub mod axum;
mod context;
mod either;
mod host;
#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(all(feature = "interpose", target_os = "linux"))]
pub mod interpose;
mod lab;
mod live;
#[cfg(feature = "quinn")]
pub mod quinn;
mod shared;
mod sock;
pub mod tcp;
#[cfg(feature = "tonic")]
pub mod tonic;
mod udp;

pub use addr::{Resolve, ToSocketAddrs, lookup_host};
pub use context::{Scoped, spawn};
pub use host::Host;
pub use lab::{Control, Lab, LabConfig, Stuck};
pub use live::{Live, Port, PortStats};
pub use tcp::{TcpListener, TcpSocket, TcpStream};
pub use udp::UdpSocket;
