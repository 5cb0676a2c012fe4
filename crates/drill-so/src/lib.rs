//! The stack behind google/packetdrill's `--so_filename`: the unmodified tool as a second judge, in virtual time.
//!
//! ```text
//! LD_PRELOAD=libdrill_so.so packetdrill --so_filename=libdrill_so.so --so_flags=ip_version=ipv6,mtu=1520 a.pkt
//! ```
//!
//! packetdrill makes its system calls through a table of functions that [`packetdrill_interface_init`] fills, gives us what
//! its script sends and asks what the stack has sent. The clock is ours: it stands still but for a microsecond each
//! time it is read, and jumps when packetdrill sleeps or waits for a packet. Without the preload packetdrill's own calls of the C
//! library stay its own: code blocks, the last `close` and shell lines then miss the stack.
//!
//! Map: `interface` is the table, `calls` its system calls, `host` the stack and the clock, `flags` reads
//! `--so_flags`, `preload` stands in for functions of the C library.

mod calls;
mod flags;
mod host;
mod interface;
mod preload;

pub use interface::packetdrill_interface_init;
