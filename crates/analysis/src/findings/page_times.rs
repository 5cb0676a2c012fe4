//! How long pages took that several browsers fetched: the comparison of a run, from what they printed.

use stack::record::What;

use super::{Case, Findings};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut pages: Vec<(String, &str, usize)> = Vec::new();
    for (record, r) in case.journal.records.iter().enumerate() {
        let What::Output { program, line } = &r.what else { continue };
        let Some(took) = took(line) else { continue };
        let program = usize::try_from(*program)
            .ok()
            .and_then(|at| case.journal.nodes[r.node.0 as usize].programs.get(at));
        let Some(name) = program else { continue };
        let visit = 1 + pages
            .iter()
            .filter(|(known, ..)| known == name || known.starts_with(&format!("{name}, visit ")))
            .count();
        let name = if visit == 1 { name.clone() } else { format!("{name}, visit {visit}") };
        pages.push((name, took, record));
    }
    // One browser's visits are told by itself.
    if pages.len() < 3 {
        return;
    }
    let listed: Vec<String> = pages.iter().map(|(name, took, _)| format!("{name} {took}")).collect();
    let refs = pages.iter().map(|(.., record)| Ref::Record(*record));
    out.say("page-times", format!("pages were complete after: {}", listed.join(" · ")), refs);
}

/// The time in `page URL 200 after 12.3 ms: …`.
fn took(line: &str) -> Option<&str> {
    let (head, rest) = line.strip_prefix("page ")?.split_once(" after ")?;
    let time = rest.split_once(':')?.0;
    (head.contains("://") && time.ends_with(" ms")).then_some(time)
}
