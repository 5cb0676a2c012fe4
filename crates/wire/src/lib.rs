//! Everything that can stand in a capture file: time stamps, addresses, headers, options, pcapng.
//!
//! No policy and no state: parsing never panics on any bytes, and emitting what was parsed gives the
//! same bytes back. The exception are reserved fields of ICMP, IGMP, NDP, GRE, VXLAN and IPv6 fragment
//! headers, which their RFCs have sent as zero and ignored on receipt: they are not kept.
//!
//! Every header has the same three methods: `parse(&[u8]) -> Result<(Header, usize), ParseError>`, where
//! the number is the header's length in bytes; `header_len()`; and `emit(&mut [u8])`, which writes that
//! many bytes and panics when there is no room. Checksums are verified and filled in by functions beside
//! the header, because they cover more than it.

pub mod arp;
pub mod capture;
pub mod checksum;
pub mod error;
pub mod ethernet;
mod field;
pub mod filter;
pub mod frame;
pub mod gre;
mod group;
pub mod icmpv4;
pub mod icmpv6;
pub mod igmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod mac;
pub mod ndp;
pub mod packet;
pub mod pcap;
pub mod pcapng;
pub mod quoted;
pub mod tcp;
pub mod time;
pub mod udp;
pub mod vxlan;

pub use error::ParseError;
pub use frame::{Bytes, Frame, Medium};
pub use mac::MacAddr;
pub use time::Instant;
