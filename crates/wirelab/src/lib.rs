//! wirelab for `cargo test`: async programs on hosts of ours, exact faults between them, and the ladder when a test fails.
//!
//! ```
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use wirelab::{Lab, TcpListener, TcpStream};
//!
//! let mut lab = Lab::new();
//! let (client, server) = (lab.host("client"), lab.host("server"));
//! lab.link((&client, "192.0.2.1/24"), (&server, "192.0.2.2/24"), Duration::from_millis(10));
//! lab.drop("server: 1st tcp.flags.syn == 1 && tcp.flags.ack == 1");
//!
//! lab.start(&server, async {
//!     let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
//!     let (mut stream, _) = listener.accept().await.unwrap();
//!     stream.write_all(b"hello").await.unwrap();
//! });
//! let took = lab.run_on(&client, async {
//!     let start = tokio::time::Instant::now();
//!     let mut text = String::new();
//!     TcpStream::connect("server:80").await.unwrap().read_to_string(&mut text).await.unwrap();
//!     assert_eq!(text, "hello");
//!     start.elapsed()
//! });
//! // SYN-ACK lost: the client's SYN timer of a second, a round trip to connect, and one each for the data and the FIN: the
//! // server sent its SYN-ACK twice more, so that it starts with a congestion window of one (Linux: `tcp_init_transfer`).
//! assert_eq!(took, Duration::from_millis(1060));
//! ```
//!
//! Time is virtual: the test above takes milliseconds. The programs are ordinary tokio programs whose sockets come from
//! here instead of `tokio::net` (crate `net` says what is the same); `wirelab::spawn` stands for `tokio::spawn` where the new
//! task opens sockets of its own.
//!
//! When a test panics, the lab prints the ladder cut to the packets that matter and leaves `run.pcapng`, `ladder.txt` and
//! `seed` in `target/wirelab/<test>/`; `WIRELAB_SAVE=1` leaves them always. A fault that never acted fails the test.

mod lab;

pub use lab::{Lab, Link};
pub use net::{Host, TcpListener, TcpSocket, TcpStream, ToSocketAddrs, UdpSocket, lookup_host, spawn, tcp};
pub use sim::{FaultAction, Impairment, LinkState};
pub use stack::{Errno, KernelProfile};
