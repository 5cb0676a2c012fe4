//! Packets between script and wire: built to be injected, read to be compared, shown in packetdrill's words.

pub mod options;
