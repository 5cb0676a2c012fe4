//! Everything that can stand in a capture file: time stamps, addresses, headers, options, pcapng.
//!
//! No policy and no state: parsing never panics on any bytes, and emitting what was parsed gives the
//! same bytes back.

pub mod frame;
pub mod ip;
pub mod mac;
pub mod time;

pub use frame::{Bytes, Frame, Medium};
pub use mac::MacAddr;
pub use time::Instant;
