//! Long runs made short: rows that repeat are shown once, silences become one row.

use core::time::Duration;

use super::{Row, RowKind};

/// Longest pattern that is looked for.
const MAX_PERIOD: usize = 8;
/// Fewest rows that folding must save.
const MIN_SAVED: usize = 6;

/// Longest pattern in a ladder that is long even so, where rows that differ in numbers only count as alike.
const MAX_LONG_PERIOD: usize = 40;
/// Rows that a reader can be asked to look at.
const LONG: usize = 250;

/// Replaces the second and later turns of a repeated pattern of rows.
pub(super) fn repeats(rows: Vec<Row>) -> Vec<Row> {
    let rows = folded(rows, MAX_PERIOD, key, false);
    if rows.len() > LONG { folded(rows, MAX_LONG_PERIOD, loose_key, true) } else { rows }
}

fn folded(rows: Vec<Row>, longest: usize, key: fn(&Row) -> Option<String>, alike: bool) -> Vec<Row> {
    let keys: Vec<Option<String>> = rows.iter().map(key).collect();
    let mut out = Vec::with_capacity(rows.len());
    let mut i = 0;
    while i < rows.len() {
        let best = (1..=longest)
            .filter(|p| i + 2 * p <= rows.len())
            .map(|p| (p, turns(&keys, i, p)))
            .filter(|&(p, turns)| (turns - 1) * p >= MIN_SAVED)
            .max_by_key(|&(p, turns)| (turns * p, core::cmp::Reverse(p)));
        let Some((period, turns)) = best else {
            out.push(rows[i].clone());
            i += 1;
            continue;
        };
        out.extend_from_slice(&rows[i..i + period]);
        out.push(fold(&rows[i + period..i + period * turns], period, turns - 1, alike));
        i += period * turns;
    }
    out
}

/// The row that stands for those that came again.
fn fold(again: &[Row], period: usize, times: usize, alike: bool) -> Row {
    let numbers = || {
        again.iter().filter_map(|r| match &r.what {
            RowKind::Packet(p) => Some((p.number, p.number)),
            RowKind::Folded { packets, .. } => *packets,
            RowKind::Event(_) | RowKind::Idle { .. } => None,
        })
    };
    let packets = numbers().next().zip(numbers().next_back()).map(|(first, last)| (first.0, last.1));
    let until_ns = again.last().map_or(0, |r| match r.what {
        RowKind::Folded { until_ns, .. } => until_ns,
        _ => r.at_ns,
    });
    Row {
        at_ns: again[0].at_ns,
        what: RowKind::Folded { period, times, packets, until_ns, alike },
        records: again.iter().flat_map(|r| r.records.iter().copied()).collect(),
    }
}

/// How many times the `period` rows from `start` on come one after the other.
fn turns(keys: &[Option<String>], start: usize, period: usize) -> usize {
    let pattern = &keys[start..start + period];
    if pattern.iter().any(Option::is_none) {
        return 1;
    }
    keys[start..].chunks_exact(period).take_while(|chunk| *chunk == pattern).count()
}

/// What makes two rows alike; `None` for rows that must be seen: losses, drops, surprises.
fn key(row: &Row) -> Option<String> {
    match &row.what {
        RowKind::Packet(p) => {
            if p.lost || !p.causes.is_empty() || !p.altered.is_empty() {
                return None;
            }
            let labels: Vec<&str> = p.before.iter().chain(&p.after).map(|l| l.text.as_str()).collect();
            Some(format!("{:?} {:?} {} {labels:?}", p.from, p.to, without_counters(&p.words)))
        }
        RowKind::Event(e) => match e.kind {
            super::EventKind::Unexpected | super::EventKind::Note | super::EventKind::Admin => None,
            _ => Some(format!("{} {:?} {}", e.column, e.kind, without_counters(&e.text))),
        },
        RowKind::Idle { .. } | RowKind::Folded { .. } => None,
    }
}

/// The same for long ladders: descriptors, ports and lengths of another round do not count, nor which segment was pushed.
fn loose_key(row: &Row) -> Option<String> {
    let strict = match &row.what {
        RowKind::Folded { period, .. } => return Some(format!("{period} rows again")),
        _ => key(row)?,
    };
    let mut out = String::with_capacity(strict.len());
    let mut in_number = false;
    for c in strict.replace(" P. ", " . ").chars() {
        match (c.is_ascii_digit(), in_number) {
            (true, true) => {}
            (true, false) => out.push('n'),
            (false, _) => out.push(c),
        }
        in_number = c.is_ascii_digit();
    }
    Some(out)
}

/// The words without the numbers that count: after `id`, `seq` and `ack`.
fn without_counters(words: &str) -> String {
    let mut out = Vec::new();
    let mut counts = false;
    for word in words.split(' ') {
        out.push(if counts { "n" } else { word });
        counts = matches!(word, "id" | "seq" | "ack");
    }
    out.join(" ")
}

/// Puts a row where nothing happened for at least `idle`.
pub(super) fn idle(rows: Vec<Row>, idle: Duration) -> Vec<Row> {
    let least = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
    let mut out: Vec<Row> = Vec::with_capacity(rows.len());
    let mut last = None;
    for row in rows {
        if let Some(before) = last {
            let ns = row.at_ns.saturating_sub(before);
            if ns >= least {
                out.push(Row { at_ns: before, what: RowKind::Idle { ns }, records: Vec::new() });
            }
        }
        last = Some(match row.what {
            RowKind::Folded { until_ns, .. } => until_ns,
            RowKind::Packet(_) | RowKind::Event(_) | RowKind::Idle { .. } => row.at_ns,
        });
        out.push(row);
    }
    out
}
