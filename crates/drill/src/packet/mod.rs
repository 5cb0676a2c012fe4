//! Packets between script and wire: built to be injected, read to be compared, shown in packetdrill's words.

mod build;
mod compare;
pub mod icmp;
mod live;
pub mod options;
mod show;

pub(crate) use build::{Flow, Segment, build_icmp, build_tcp, build_udp};
pub(crate) use compare::{check_fragment, check_headers, check_options};
pub use live::{Live, LiveBody, LiveTcp};
pub(crate) use show::{letters, show_live, show_script};
