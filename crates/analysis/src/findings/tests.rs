use super::*;
use crate::build::*;
use crate::explain::explain;

/// All sentences, each with its packets: `text [#1, #2]`.
fn sentences(journal: &Journal) -> Vec<String> {
    let e = explain(journal);
    for s in &e.sentences {
        assert!(!s.refs.is_empty(), "{s:?}");
    }
    e.sentences
        .iter()
        .map(|s| {
            let packets: Vec<String> = s
                .refs
                .iter()
                .filter_map(|r| if let Ref::Packet(n) = r { Some(format!("#{n}")) } else { None })
                .collect();
            format!("{} [{}]", s.text, packets.join(" "))
        })
        .collect()
}

#[test]
fn resolution_tells_who_asked_who_answered_and_what_waited() {
    assert_eq!(
        sentences(&arp_resolution()),
        [
            "client did not know 192.0.2.2's link-layer address, asked by broadcast and server answered by \
             unicast after 20 ms; 1 packet waited for it [#1 #2]",
            "server learnt 192.0.2.1's address from the question itself (STALE) and need not ask back [#1]",
        ]
    );
}
