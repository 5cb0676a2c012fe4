//! Laws of the small types: time, MAC addresses, and a frame against the plain bytes it stands for.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use wire::{Bytes, Frame, Instant, MacAddr};

/// What can be done to a frame.
#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>),
    PutZeroed(usize),
    Push(Vec<u8>),
    Pull(usize),
    Truncate(usize),
    Tail(Vec<u8>),
    Linearize,
    Copy(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Op::Put),
        (0usize..40).prop_map(Op::PutZeroed),
        vec(any::<u8>(), 0..60).prop_map(Op::Push),
        (0usize..60).prop_map(Op::Pull),
        (0usize..200).prop_map(Op::Truncate),
        vec(any::<u8>(), 0..100).prop_map(Op::Tail),
        Just(Op::Linearize),
        (0usize..200, 0usize..200).prop_map(|(a, b)| Op::Copy(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// The model is a head and a tail in plain vectors; every operation is done to both.
    #[test]
    fn a_frame_is_its_bytes(headroom in 0usize..40, ops in vec(op(), 0..40)) {
        let mut frame = Frame::with_headroom(headroom, 16);
        let (mut head, mut tail): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for op in ops {
            match op {
                Op::Put(bytes) if tail.is_empty() => {
                    frame.put(&bytes);
                    head.extend(&bytes);
                }
                Op::PutZeroed(n) if tail.is_empty() => {
                    prop_assert_eq!(frame.put_zeroed(n), &vec![0; n][..]);
                    head.resize(head.len() + n, 0);
                }
                // Behind a tail nothing can be put.
                Op::Put(_) | Op::PutZeroed(_) => {}
                Op::Push(bytes) => {
                    frame.push(bytes.len()).copy_from_slice(&bytes);
                    head.splice(0..0, bytes);
                }
                Op::Pull(n) => {
                    let n = n.min(head.len());
                    frame.pull(n);
                    head.drain(..n);
                }
                Op::Truncate(n) => {
                    frame.truncate(n);
                    tail.truncate(n.saturating_sub(head.len()));
                    head.truncate(n);
                }
                Op::Tail(bytes) => {
                    frame.set_tail(Bytes::from(bytes.as_slice()));
                    tail = bytes;
                }
                Op::Linearize => {
                    frame.linearize();
                    head.append(&mut tail);
                }
                Op::Copy(a, b) => {
                    let all = [&head[..], &tail[..]].concat();
                    let (a, b) = (a.min(all.len()), b.min(all.len()));
                    let mut out = vec![0xee];
                    frame.copy_range(a.min(b)..a.max(b), &mut out);
                    prop_assert_eq!(&out[1..], &all[a.min(b)..a.max(b)]);
                }
            }
            prop_assert_eq!(frame.head(), &head[..]);
            prop_assert_eq!(frame.tail().as_slice(), &tail[..]);
            prop_assert_eq!(frame.len(), head.len() + tail.len());
            prop_assert_eq!(frame.is_empty(), head.is_empty() && tail.is_empty());
            let all = [&head[..], &tail[..]].concat();
            prop_assert_eq!(frame.to_vec(), all.clone());
            // Where head and tail meet is no part of what a frame is.
            prop_assert_eq!(&frame, &Frame::from_vec(all));
        }
    }

    #[test]
    fn a_slice_of_bytes_is_a_slice(bytes in vec(any::<u8>(), 0..200), cuts in vec((0usize..200, 0usize..200), 0..6)) {
        let (mut ours, mut plain) = (Bytes::from(bytes.as_slice()), bytes);
        for (a, b) in cuts {
            let (a, b) = (a.min(plain.len()), b.min(plain.len()));
            ours = ours.slice(a.min(b)..a.max(b));
            plain = plain[a.min(b)..a.max(b)].to_vec();
            prop_assert_eq!(ours.as_slice(), &plain[..]);
        }
    }

    /// Adding never goes back, taking away undoes it, and nothing wraps at either end.
    #[test]
    fn time_only_saturates(at in any::<u64>(), secs in any::<u64>(), nanos in 0u32..1_000_000_000, other in any::<u64>()) {
        let (t, d) = (Instant::from_nanos(at), Duration::new(secs, nanos));
        let exact = u128::from(at) + d.as_nanos();
        let later = t + d;
        prop_assert_eq!(u128::from(later.as_nanos()), exact.min(u128::from(u64::MAX)));
        prop_assert!(later >= t && later <= Instant::FAR_FUTURE);
        if exact <= u128::from(u64::MAX) {
            prop_assert_eq!(later - d, t);
            prop_assert_eq!(later - t, d);
        }
        prop_assert_eq!(u128::from((t - d).as_nanos()), u128::from(at).saturating_sub(d.as_nanos()));
        let o = Instant::from_nanos(other);
        prop_assert_eq!(t.saturating_since(o).is_zero(), t <= o);
        prop_assert_eq!(t.max(o) - t.min(o), Duration::from_nanos(at.abs_diff(other)));
        let mut moved = t;
        moved += d;
        prop_assert_eq!(moved, later);
    }

    #[test]
    fn a_mac_address_is_read_as_it_was_written(octets in any::<[u8; 6]>(), noise in "[0-9a-fg:-]{0,20}") {
        let mac = MacAddr(octets);
        prop_assert_eq!(mac.to_string().parse::<MacAddr>(), Ok(mac));
        prop_assert_eq!(mac.to_string().to_uppercase().parse::<MacAddr>(), Ok(mac));
        prop_assert_eq!(mac.is_multicast(), octets[0] % 2 == 1);
        prop_assert!(!mac.is_broadcast() || mac.is_multicast());
        if let Ok(read) = noise.parse::<MacAddr>() {
            prop_assert_eq!(read.to_string().parse::<MacAddr>(), Ok(read));
        }
    }

    /// RFC 1112 §6.4 and RFC 2464 §7: the low 23 and 32 bits stand in the address.
    #[test]
    fn a_group_s_mac_address_is_multicast(v4 in 0xe000_0000u32..0xf000_0000, v6 in any::<u128>()) {
        let mac = MacAddr::from_ipv4_multicast(Ipv4Addr::from_bits(v4));
        prop_assert!(mac.is_multicast() && !mac.is_broadcast());
        let o = mac.0;
        prop_assert_eq!(u32::from_be_bytes([0, o[3], o[4], o[5]]), v4 & 0x7f_ffff);
        let mac = MacAddr::from_ipv6_multicast(Ipv6Addr::from_bits(v6));
        prop_assert!(mac.is_multicast());
        prop_assert_eq!(&mac.0[2..], &v6.to_be_bytes()[12..]);
    }
}
