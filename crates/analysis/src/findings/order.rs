//! In which order a run is told. Where names, TLS or HTTP were at work they come first, in the order of time; what only carries
//! them comes behind, and what every conversation begins with is left out.

use crate::explain::Sentence;

/// Findings about what runs above TCP and UDP begin so.
const ABOVE: &[&str] = &["dns", "tls", "http", "page", "layers", "quic"];
/// A run about neighbours is told as it happened, whatever its programs say over it.
const BELOW: &[&str] =
    &["gratuitous", "proxy-arp", "misled", "overwritten", "two-claims", "static", "dad", "redirect"];
/// What is left out then.
const ROUTINE: &[&str] = &["learnt-from-question", "ageing", "probe", "connect-udp", "udp-reordered", "hop"];

fn is_any(sentence: &Sentence, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| sentence.finding.starts_with(kind))
}

/// Puts the sentences into the order in which they are told.
pub(super) fn put(sentences: &mut Vec<Sentence>) {
    if !sentences.iter().any(|s| is_any(s, ABOVE)) || sentences.iter().any(|s| is_any(s, BELOW)) {
        return;
    }
    sentences.retain(|s| !is_any(s, ROUTINE));
    let resolution = |s: &Sentence| matches!(s.finding, "arp-resolution" | "ndp-resolution");
    // A stable sort: within each kind they stay in the order of time.
    sentences.sort_by_key(|s| (!is_any(s, ABOVE), resolution(s)));
}
