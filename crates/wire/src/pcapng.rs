//! pcapng (draft-ietf-opsawg-pcapng): a writer for captures with explanations, and a reader of blocks.

mod read;
mod write;

pub use read::{Block, Interface, Packet, Reader};
pub use write::{PacketInfo, SectionInfo, Writer};

/// Block types.
mod block {
    pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    /// Obsolete, still found.
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const NAMES: u32 = 4;
    pub(super) const STATISTICS: u32 = 5;
    pub(super) const ENHANCED_PACKET: u32 = 6;
    pub(super) const SECRETS: u32 = 10;
}

/// Option codes; those from 2 on mean different things in different blocks.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_HARDWARE: u16 = 2;
    pub(super) const SHB_OS: u16 = 3;
    pub(super) const SHB_APPLICATION: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_DESCRIPTION: u16 = 3;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const IF_TSOFFSET: u16 = 14;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const ISB_IFRECV: u16 = 4;
    pub(super) const ISB_IFDROP: u16 = 5;
}

/// The byte-order magic of a section header, in the section's own order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// What a decryption secrets block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretsType(pub u32);

impl SecretsType {
    /// Lines of an SSLKEYLOGFILE.
    pub const TLS_KEY_LOG: SecretsType = SecretsType(0x544c_534b);
    /// Lines of an SSH key log.
    pub const SSH_KEY_LOG: SecretsType = SecretsType(0x5353_484b);
    /// Lines of a WireGuard key log.
    pub const WIREGUARD_KEY_LOG: SecretsType = SecretsType(0x5747_4b4c);
}

/// Which way a packet went through its interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Not recorded.
    #[default]
    Unknown,
    /// Received.
    Inbound,
    /// Sent.
    Outbound,
}
