use super::*;

fn part(offset: usize, len: usize, more: bool) -> Part {
    Part { offset, end: offset + len, more, ecn: 0, dont_fragment: false, size: len + 20 }
}

const KEY: FragKey = FragKey::V4 {
    src: Ipv4Addr::new(192, 0, 2, 1),
    dst: Ipv4Addr::new(192, 0, 2, 2),
    id: 7,
    protocol: Protocol::UDP,
};

fn packet(offset: usize, len: usize, more: bool, fill: u8) -> Frame {
    let header = ipv4::Header {
        total_len: u16::try_from(20 + len).unwrap(),
        id: 7,
        more_fragments: more,
        frag_offset: u16::try_from(offset).unwrap(),
        ..ipv4::Header::default()
    };
    let mut bytes = vec![fill; 20 + len];
    header.emit(&mut bytes);
    Frame::from_vec(bytes)
}

fn put(r: &mut Reassembly, offset: usize, len: usize, more: bool) -> Verdict {
    r.queue(KEY, 2);
    r.insert(KEY, 2, part(offset, len, more), 20, packet(offset, len, more, b'a' + (offset / 8) as u8))
}

#[test]
fn fragments_in_any_order_make_the_packet() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [0, 2, 1], [2, 0, 1]] {
        let mut r = Reassembly::default();
        let mut done = None;
        for (i, n) in order.iter().enumerate() {
            match put(&mut r, n * 16, if *n == 2 { 5 } else { 16 }, *n != 2) {
                Verdict::Complete(f) => {
                    assert_eq!(i, 2);
                    done = Some(f);
                }
                Verdict::Queued => assert!(i < 2),
                other => panic!("{order:?}: {other:?}"),
            }
        }
        let bytes = done.expect("complete").to_vec();
        let (h, n) = ipv4::Header::parse(&bytes).unwrap();
        assert!(ipv4::verify_checksum(&bytes[..n]));
        assert_eq!((h.total_len, h.is_fragment(), h.dont_fragment), (57, false, false));
        assert_eq!(&bytes[20..36], &[b'a'; 16]);
        assert_eq!(&bytes[52..], &[b'e'; 5]);
    }
}

/// Linux: `inet_frag_queue_insert` (the fix for CVE-2018-5391 made v4 as strict as RFC 5722 makes v6).
#[test]
fn an_exact_repetition_is_ignored_and_an_overlap_is_not() {
    let mut r = Reassembly::default();
    assert!(matches!(put(&mut r, 0, 16, true), Verdict::Queued));
    assert!(matches!(put(&mut r, 0, 16, true), Verdict::Duplicate));
    assert!(matches!(put(&mut r, 8, 8, true), Verdict::Duplicate), "inside what is there");
    assert!(matches!(put(&mut r, 8, 16, true), Verdict::Overlap));
}

#[test]
fn a_second_end_that_differs_is_invalid() {
    let mut r = Reassembly::default();
    assert!(matches!(put(&mut r, 32, 8, false), Verdict::Queued));
    assert!(matches!(put(&mut r, 48, 8, false), Verdict::Invalid));
    assert!(matches!(put(&mut r, 40, 8, true), Verdict::Invalid), "beyond the end");
}

#[test]
fn more_than_65535_bytes_are_refused() {
    let mut r = Reassembly::default();
    r.queue(KEY, 2);
    assert!(matches!(
        r.insert(KEY, 2, part(65_528, 100, false), 20, packet(65_528, 100, false, 0)),
        Verdict::Queued
    ));
    let mut at = 0;
    let last = loop {
        let len = 1480.min(65_528 - at);
        let v = r.insert(KEY, 2, part(at, len, true), 20, packet(at, len, true, 0));
        at += len;
        if !matches!(v, Verdict::Queued) || at == 65_528 {
            break v;
        }
    };
    assert!(matches!(last, Verdict::Invalid));
}

/// RFC 3168 §5.3, Linux `ip_frag_ecn_table`.
#[test]
fn ecn_of_the_whole() {
    assert_eq!(ecn_of(0b0001), Some(0));
    assert_eq!(ecn_of(0b1100), Some(3));
    assert_eq!(ecn_of(0b1010), Some(3));
    assert_eq!(ecn_of(0b0110), Some(0));
    assert_eq!(ecn_of(0b1001), None);
    assert_eq!(ecn_of(0b0101), None);
}

#[test]
fn memory_is_given_back() {
    let mut r = Reassembly::default();
    put(&mut r, 0, 16, true);
    put(&mut r, 32, 16, true);
    assert!(r.memory() > 32);
    assert!(r.remove(KEY).unwrap().first_fragment().is_some());
    assert_eq!(r.memory(), 0);
}
