//! What a packet costs a socket's buffers. Linux: net/core/skbuff.c `__alloc_skb`, include/linux/skbuff.h
//! `SKB_TRUESIZE`.
//!
//! Measured on 6.18.44 (UDP over lo, `SO_MEMINFO` divided by datagrams): payloads to 100 B cost 832, 200 and 500 B
//! 1280, 700 to 1472 B 2304, 2000 B 4352, 4000 B 8448, 9000 B 16640, 20000 B 20832, 65000 B 65832. What comes in by a
//! TAP costs the same (0 to 1472 B measured).

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

/// The same for a datagram that came in fragments of `mtu` bytes: each was a packet of its own.
pub(crate) fn truesize_fragments(len: usize, header: usize, mtu: usize) -> u32 {
    let per_fragment = (mtu.saturating_sub(header) & !7).max(8);
    let mut left = len.saturating_sub(header);
    let mut sum = 0u32;
    while left > 0 {
        let part = left.min(per_fragment);
        sum = sum.saturating_add(truesize(part + header));
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
    fn fragments_cost_one_packet_each() {
        assert_eq!(truesize_fragments(2028, 20, 1500), truesize(1500) + truesize(548));
    }
}
