//! What a packet costs a socket's buffers. Linux: net/core/skbuff.c `__alloc_skb`, include/linux/skbuff.h
//! `SKB_TRUESIZE`.
//!
//! Measured on 6.18.44 (UDP over lo, `SO_MEMINFO` divided by datagrams): payloads to 100 B cost 832, 200 and 500 B
//! 1280, 700 to 1472 B 2304, 2000 B 4352, 4000 B 8448, 9000 B 16640, 20000 B 20832, 65000 B 65832.
//!
//! What an Ethernet card delivers costs what its driver says. Ours counts like a TAP that is written without blocking
//! (`tun_build_skb`): head room, frame and `skb_shared_info` stand in a piece of a page, exact to the cache line.
//! Measured by `SO_MEMINFO`: 0 and 22 B cost 704, 23 and 86 B 768, 87 B 832, 1000 B 1728, 1472 B 2176, 3414 B 4096,
//! and from 3415 B on as above.

/// `sizeof(struct sk_buff)`, aligned to the cache line.
const SK_BUFF: u32 = 256;
/// `sizeof(struct skb_shared_info)`, aligned.
const SHARED_INFO: u32 = 320;
/// `SKB_SMALL_HEAD_CACHE_SIZE` of the measured kernel.
const SMALL_HEAD: u32 = 576;
/// Link-layer header room and rounding of `sock_alloc_send_skb`'s callers.
const LINK_ROOM: u32 = 16 + 15;
/// Larger heads are split into a small head and page fragments.
const LARGEST_HEAD: u32 = 16_384;

/// `skb->truesize` of a packet of `len` bytes from the network header on.
#[inline]
pub(crate) fn truesize(len: usize) -> u32 {
    let len = u32::try_from(len).unwrap_or(u32::MAX / 2);
    let head = len + LINK_ROOM + SHARED_INFO;
    if head <= SMALL_HEAD {
        SK_BUFF + SMALL_HEAD
    } else if head <= LARGEST_HEAD {
        SK_BUFF + head.next_power_of_two()
    } else {
        // The headers stand in the head, the payload in pages: exact.
        SK_BUFF + SMALL_HEAD + len.saturating_sub(28)
    }
}

/// `NET_SKB_PAD`: room in front of a frame that a TAP takes.
const TAP_ROOM: u32 = 64;
/// `XDP_PACKET_HEADROOM`, for which there must be room in the page as well.
const XDP_ROOM: u32 = 256;
const CACHE_LINE: u32 = 64;
const PAGE: u32 = 4096;
/// The Ethernet header.
const LINK_HEADER: usize = 14;

/// `skb->truesize` of a packet of `len` bytes from the network header on that an Ethernet interface received.
pub(crate) fn truesize_received(len: usize) -> u32 {
    let frame = u32::try_from(len + LINK_HEADER).unwrap_or(u32::MAX / 2);
    let head = |room: u32| (frame + room).next_multiple_of(CACHE_LINE) + SHARED_INFO;
    if head(TAP_ROOM + XDP_ROOM) > PAGE { truesize(len) } else { SK_BUFF + head(TAP_ROOM) }
}

/// Where the bytes of a received packet stand, which decides how it can be joined with others
/// (`skb_try_coalesce`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SkbHead {
    /// In a head from the slab (a TUN device): its bytes can only be copied.
    #[default]
    Slab,
    /// In a piece of a page (a TAP device, most cards): the head becomes a fragment of the other.
    Page,
    /// In pages that the sender's queue shares until it is acknowledged (lo).
    Shared,
}

/// What a received TCP packet costs, and what can be done with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SkbMemory {
    /// `skb->truesize`
    pub(crate) truesize: u32,
    /// Free bytes behind the payload (`skb_tailroom`).
    pub(crate) tailroom: u32,
    pub(crate) head: SkbHead,
}

impl SkbMemory {
    /// Of a packet that came over lo, which is the sender's own.
    pub(crate) fn looped(payload: usize) -> SkbMemory {
        let payload = u32::try_from(payload).unwrap_or(u32::MAX / 2);
        SkbMemory { truesize: SK_BUFF + SMALL_HEAD + payload, tailroom: 0, head: SkbHead::Shared }
    }

    /// Of a packet of `len` bytes from the network header on, from a TUN device (`tun_alloc_skb`). Measured by
    /// `SO_MEMINFO` on 6.18: 1052 and 1500 B cost 2304, 628 B 1280, 52 B 832.
    pub(crate) fn from_tun(len: usize) -> SkbMemory {
        let used = TAP_ROOM + u32::try_from(len).unwrap_or(u32::MAX / 4);
        let head = used.next_multiple_of(CACHE_LINE) + SHARED_INFO;
        let head = if head <= SMALL_HEAD { SMALL_HEAD } else { head.next_power_of_two() };
        SkbMemory { truesize: SK_BUFF + head, tailroom: head - SHARED_INFO - used, head: SkbHead::Slab }
    }

    /// Of a packet of `len` bytes from the network header on, from Ethernet.
    pub(crate) fn from_ethernet(len: usize) -> SkbMemory {
        let truesize = truesize_received(len);
        let used = TAP_ROOM + u32::try_from(len + LINK_HEADER).unwrap_or(u32::MAX / 4);
        let tailroom = (truesize - SK_BUFF - SHARED_INFO).saturating_sub(used);
        SkbMemory { truesize, tailroom, head: SkbHead::Page }
    }

    /// Of a buffer that `tcp_collapse` fills (`alloc_skb(size)`).
    pub(crate) fn plain(size: u32) -> SkbMemory {
        let head = size.next_multiple_of(CACHE_LINE) + SHARED_INFO;
        let head = if head <= SMALL_HEAD { SMALL_HEAD } else { head.next_power_of_two() };
        SkbMemory { truesize: SK_BUFF + head, tailroom: head - SHARED_INFO - size, head: SkbHead::Slab }
    }
}

/// `SKB_MAX_ORDER(0, 0)`: payload of a buffer of one page.
pub(crate) const PAGE_PAYLOAD: u32 = PAGE - SHARED_INFO;
/// `SKB_TRUESIZE` of a small head without payload: what an entry of a TCP queue costs besides its bytes.
pub(crate) const SKB_OVERHEAD: u32 = SK_BUFF + SMALL_HEAD;
/// What remains of a packet that gave its head away.
pub(crate) const SKB_STRUCT: u32 = SK_BUFF;
/// `SKB_DATA_ALIGN(sizeof(struct skb_shared_info))`
pub(crate) const SKB_SHARED: u32 = SHARED_INFO;

/// The sum of what the fragments of a datagram cost that came in packets of `mtu` bytes, `each` as it says.
pub(crate) fn truesize_fragments(len: usize, header: usize, mtu: usize, each: fn(usize) -> u32) -> u32 {
    let per_fragment = (mtu.saturating_sub(header) & !7).max(8);
    let mut left = len.saturating_sub(header);
    let mut sum = 0u32;
    while left > 0 {
        let part = left.min(per_fragment);
        sum = sum.saturating_add(each(part + header));
        left -= part;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_cost_what_the_kernel_charges() {
        let measured = [
            (0, 832),
            (1, 832),
            (100, 832),
            (200, 1280),
            (500, 1280),
            (700, 2304),
            (1472, 2304),
            (2000, 4352),
            (4000, 8448),
            (9000, 16640),
            (20_000, 20_832),
            (65_000, 65_832),
        ];
        for (payload, cost) in measured {
            assert_eq!(truesize(payload + 28), cost, "{payload} bytes");
        }
    }

    #[test]
    fn packets_from_ethernet_cost_what_a_tap_charges() {
        let measured = [
            (0, 704),
            (22, 704),
            (23, 768),
            (86, 768),
            (87, 832),
            (200, 896),
            (300, 1024),
            (500, 1216),
            (700, 1408),
            (1000, 1728),
            (1400, 2112),
            (1472, 2176),
            (1900, 2624),
            (3000, 3712),
            (3414, 4096),
            (3415, 4352),
            (5000, 8448),
        ];
        for (payload, cost) in measured {
            assert_eq!(truesize_received(payload + 28), cost, "{payload} bytes");
        }
    }

    /// Measured on 6.18.44 by `SO_MEMINFO` of a connection over TUN that does not read: 3 x 1000 B hold 6912, 724 +
    /// 276 + 448 B fit one head (2304), 576 + (424 + 152) two of 1280.
    #[test]
    fn tun_packets_stand_in_slab_heads_with_room_behind() {
        assert_eq!(SkbMemory::from_tun(1052).truesize, 2304);
        assert_eq!(SkbMemory::from_tun(1500).truesize, 2304);
        let first = SkbMemory::from_tun(724 + 52);
        assert_eq!(first.truesize, 2304);
        assert!(first.tailroom >= 276 + 448);
        let small = SkbMemory::from_tun(576 + 52);
        assert_eq!((small.truesize, small.tailroom), (1280, 12));
        assert!(SkbMemory::from_tun(424 + 52).tailroom >= 152);
    }

    #[test]
    fn fragments_cost_one_packet_each() {
        assert_eq!(truesize_fragments(2028, 20, 1500, truesize), truesize(1500) + truesize(548));
    }
}
