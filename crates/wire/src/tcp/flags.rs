//! TCP control bits (RFC 9293 §3.1, RFC 3168 §6.1; AE: RFC 9768), shown as tcpdump shows them.

use core::fmt;
use core::ops::{BitOr, BitOrAssign, Sub};

/// The low twelve bits of the word that begins with the data offset: nine flags and three reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u16);

impl Flags {
    /// tcpdump's letters, in tcpdump's order.
    pub const LETTERS: [(Flags, char); 9] = [
        (Flags::FIN, 'F'),
        (Flags::SYN, 'S'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::ACK, '.'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'W'),
        (Flags::AE, 'e'),
    ];

    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x001);
    /// Synchronise sequence numbers.
    pub const SYN: Flags = Flags(0x002);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x004);
    /// Push.
    pub const PSH: Flags = Flags(0x008);
    /// The acknowledgment field counts.
    pub const ACK: Flags = Flags(0x010);
    /// The urgent pointer counts.
    pub const URG: Flags = Flags(0x020);
    /// ECN echo.
    pub const ECE: Flags = Flags(0x040);
    /// Congestion window reduced.
    pub const CWR: Flags = Flags(0x080);
    /// Accurate ECN; the nonce sum bit (NS) of old.
    pub const AE: Flags = Flags(0x100);
    /// The three bits without a meaning yet.
    pub const RESERVED: Flags = Flags(0xe00);

    /// All bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Some bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// The bits of both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The FIN bit.
    #[inline]
    pub const fn fin(self) -> bool {
        self.contains(Flags::FIN)
    }

    /// The SYN bit.
    #[inline]
    pub const fn syn(self) -> bool {
        self.contains(Flags::SYN)
    }

    /// The RST bit.
    #[inline]
    pub const fn rst(self) -> bool {
        self.contains(Flags::RST)
    }

    /// The PSH bit.
    #[inline]
    pub const fn psh(self) -> bool {
        self.contains(Flags::PSH)
    }

    /// The ACK bit.
    #[inline]
    pub const fn ack(self) -> bool {
        self.contains(Flags::ACK)
    }

    /// The URG bit.
    #[inline]
    pub const fn urg(self) -> bool {
        self.contains(Flags::URG)
    }

    /// The ECE bit.
    #[inline]
    pub const fn ece(self) -> bool {
        self.contains(Flags::ECE)
    }

    /// The CWR bit.
    #[inline]
    pub const fn cwr(self) -> bool {
        self.contains(Flags::CWR)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    #[inline]
    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}

impl BitOrAssign for Flags {
    #[inline]
    fn bitor_assign(&mut self, other: Flags) {
        *self = self.with(other);
    }
}

impl Sub for Flags {
    type Output = Flags;
    #[inline]
    fn sub(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl fmt::Display for Flags {
    /// tcpdump's letters in tcpdump's order (`S`, `S.`, `P.`, `.`, `R`, `SEW`); `none` without any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(Flags::LETTERS.len());
        text.extend(Flags::LETTERS.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, c)| c));
        f.pad(if text.is_empty() { "none" } else { &text })
    }
}
