//! What `get` prints: bars on one time line, the packets of each phase, totals, variants side by side.

use std::collections::BTreeMap;

use analysis::ladder::{Ladder, Options, PacketRow, RowKind};
use analysis::phases::{Phase, Phases};
use apps::browser::entry::{Entry, Source};

use super::{Ran, Visit, named};
use crate::GetArgs;
use crate::output::Output;

/// Packets of a phase that are shown, unless all are asked for.
const PACKETS: usize = 8;
/// Columns of a name and of a time.
const NAME: usize = 11;
const TIME: usize = 10;

/// One run in full.
pub(super) fn page(args: &GetArgs, ran: &Ran, out: &mut Output) {
    let options = Options { unfold: true, calls: false, ..Options::default() };
    let ladder = Ladder::new(&ran.outcome.journal, &options);
    let client = ladder.columns.iter().position(|column| column.name == super::CLIENT);
    let rows: BTreeMap<u32, (u64, &PacketRow)> = ladder
        .rows
        .iter()
        .filter_map(|row| match &row.what {
            RowKind::Packet(packet) => Some((packet.number, (row.at_ns, packet.as_ref()))),
            _ => None,
        })
        .collect();
    for (at, visit) in ran.visits.iter().enumerate() {
        if at > 0 {
            out.line("");
        }
        visit_lines(args, at, visit, &rows, client, out);
    }
    if let [first, second] = ran.visits.as_slice()
        && first.ok()
        && second.ok()
    {
        out.line("");
        out.line(saved(first, second));
    }
    for remark in &ran.remarks {
        out.line(format_args!("browser    {remark}"));
    }
    if ran.visits.iter().any(|visit| visit.error.is_some()) {
        out.line(
            "world      it has shop.example, www.shop.example and cdn.example; other names: a scenario of your own (`wirelab show url-to-page`)",
        );
    }
    for (what, path) in [("capture", &args.pcap), ("har", &args.har)] {
        if let Some(path) = path {
            out.line(format_args!("{what:10} {}", named(path)));
        }
    }
}

fn visit_lines(
    args: &GetArgs,
    at: usize,
    visit: &Visit,
    rows: &BTreeMap<u32, (u64, &PacketRow)>,
    client: Option<usize>,
    out: &mut Output,
) {
    let title = format!("{} · visit {}", visit.url, at + 1);
    let strong = out.strong(&title);
    out.line(format_args!("{strong} · {}", headline(visit)));
    let phases = &visit.phases;
    let begin = phases.phases.iter().map(|p| p.from_ns).min().unwrap_or(0);
    let end = phases.phases.iter().map(|p| p.until_ns).max().unwrap_or(0).max(begin + 1);
    for phase in &phases.phases {
        out.line(format_args!("{}", bar_line(phase, begin, end, out)));
        if phase.name == "objects" && !args.all {
            object_lines(visit, begin, end, out);
            continue;
        }
        let shown = if args.all { phase.packets.len() } else { PACKETS.min(phase.packets.len()) };
        for number in &phase.packets[..shown] {
            if let Some((at_ns, packet)) = rows.get(number) {
                out.line(packet_line(*at_ns, begin, packet, client, out));
            }
        }
        if shown < phase.packets.len() {
            out.line(format_args!(
                "{:NAME$}   … {} more (--all shows them)",
                "",
                phase.packets.len() - shown
            ));
        }
    }
    out.line(totals(phases));
}

fn headline(visit: &Visit) -> String {
    match (&visit.error, visit.document()) {
        (Some(error), _) => format!("no page: {error}"),
        (None, None) => "no page".into(),
        (None, Some(entry)) => {
            let tls = entry.tls.first().and_then(|line| line.strip_prefix("SSL connection using "));
            let tls = tls.map_or(String::new(), |tls| format!(" · {tls}"));
            let resumed = entry.tls.iter().any(|line| line.contains("resumed"));
            let cache = visit.entries.iter().filter(|e| e.source == Source::Cache).count();
            let validated = visit.entries.iter().filter(|e| e.source == Source::Validated).count();
            let network =
                visit.entries.iter().filter(|e| e.source == Source::Network && e.error.is_none()).count();
            let failed = visit.entries.iter().filter(|e| e.error.is_some()).count();
            let from = [
                (network, "from the network"),
                (validated, "by a 304"),
                (cache, "from the cache"),
                (failed, "failed"),
            ];
            let from: Vec<String> =
                from.iter().filter(|(n, _)| *n > 0).map(|(n, how)| format!("{n} {how}")).collect();
            format!(
                "{} · {}{tls}{} · {}: {} · {:.1} ms",
                entry.status,
                entry.protocol,
                if resumed { ", resumed" } else { "" },
                counted(visit.entries.len(), "object"),
                from.join(", "),
                visit.on_load_ms.unwrap_or_default(),
            )
        }
    }
}

/// A span of time on a line of this many columns, in eighths where characters allow it.
fn bar(from: u64, until: u64, begin: u64, end: u64, columns: usize, unicode: bool) -> String {
    let columns_ns = u128::from(end - begin);
    let place =
        |at: u64| usize::try_from(u128::from(at - begin) * columns as u128 / columns_ns).unwrap_or(columns);
    let start = place(from).min(columns - 1);
    let length = place(until).saturating_sub(start).max(1);
    let (fill, thin) = if unicode { ("█", "▏") } else { ("#", "|") };
    let drawn = if place(until) == start { thin.to_string() } else { fill.repeat(length) };
    format!("{}{drawn}{}", " ".repeat(start), " ".repeat(columns.saturating_sub(start + length)))
}

fn millis(ns: u64) -> String {
    format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10)
}

fn bar_line(phase: &Phase, begin: u64, end: u64, out: &Output) -> String {
    let columns = out.width.saturating_sub(NAME + TIME + 14).max(20);
    let bar = bar(phase.from_ns, phase.until_ns, begin, end, columns, out.unicode);
    let time = if phase.open { "never".into() } else { millis(phase.until_ns - phase.from_ns) };
    let plural = if phase.packets.len() == 1 { "" } else { "s" };
    format!("{:NAME$}{bar} {time:>TIME$} {:>4} packet{plural}", phase.name, phase.packets.len())
}

fn packet_line(at_ns: u64, begin: u64, packet: &PacketRow, client: Option<usize>, out: &Output) -> String {
    let sent = packet.from.is_some() && packet.from == client;
    let arrived = packet.arrivals.iter().find(|arrival| Some(arrival.column) == client);
    let at = if sent { at_ns } else { arrived.map_or(at_ns, |arrival| arrival.at_ns) };
    let arrow = match (sent, out.unicode) {
        (true, true) => "→",
        (true, false) => "->",
        (false, true) => "←",
        (false, false) => "<-",
    };
    let lost = if packet.lost { format!("  lost: {}", packet.causes.join(", ")) } else { String::new() };
    let head = format!("{:NAME$}#{:<4} {:>9} {arrow} ", "", packet.number, millis(at.saturating_sub(begin)));
    let room = out.width.saturating_sub(head.chars().count());
    let words: String = format!("{}{lost}", packet.words).chars().take(room).collect();
    head + &words
}

/// The requests behind the page, each with its bar.
fn object_lines(visit: &Visit, begin: u64, end: u64, out: &mut Output) {
    let first = visit.entries.first().map_or(0.0, |entry| entry.started);
    let columns = out.width.saturating_sub(44).max(20);
    let from_network = |entry: &&Entry| entry.source != Source::Cache;
    let document = visit.document().map(|entry| (entry.url.clone(), entry.started));
    for entry in visit.entries.iter().filter(from_network) {
        if document == Some((entry.url.clone(), entry.started)) {
            continue;
        }
        // Whole microseconds of a run fit by far.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "times of a run, after its beginning"
        )]
        let ns = |ms: f64| (ms.max(0.0) * 1e6) as u64;
        let from = begin + ns(entry.started - first);
        let until = (from + ns(entry.total)).min(end);
        let bar = bar(from.min(end), until, begin, end, columns, out.unicode);
        let path = entry.url.split_once("://").map_or(entry.url.as_str(), |(_, rest)| rest);
        let path: String = path.chars().rev().take(22).collect::<Vec<_>>().into_iter().rev().collect();
        let result = if entry.status == 0 { "failed".to_string() } else { entry.status.to_string() };
        out.line(format_args!("  {path:22} {result:>6} {bar} {:>9.1} ms", entry.total));
    }
    let cached = visit.entries.iter().filter(|entry| entry.source == Source::Cache).count();
    if cached > 0 {
        out.line(format_args!("  {cached} more from the browser's cache: no packet"));
    }
}

/// A number and its noun.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn totals(phases: &Phases) -> String {
    let trips = phases.round_trips;
    let parts = [("dns", trips.dns), ("tcp", trips.tcp), ("tls", trips.tls), ("request", trips.request)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    let lost = if phases.lost == 0 { String::new() } else { format!(", {} lost on links", phases.lost) };
    let detail = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    format!(
        "{:NAME$}{}, {} bytes{lost}, {} to the first byte{detail}",
        "total",
        counted(phases.packets, "packet"),
        phases.bytes,
        counted(usize::try_from(trips.total()).unwrap_or(usize::MAX), "round trip"),
    )
}

fn saved(first: &Visit, second: &Visit) -> String {
    let time = first.on_load_ms.unwrap_or_default() - second.on_load_ms.unwrap_or_default();
    let less = |a: usize, b: usize| i64::try_from(a).unwrap_or(0) - i64::try_from(b).unwrap_or(0);
    format!(
        "saved      {time:.1} ms, {} packets, {} bytes on the second visit",
        less(first.phases.packets, second.phases.packets),
        less(first.phases.bytes, second.phases.bytes),
    )
}

/// Variants side by side.
pub(super) fn table(all: &[Ran], out: &mut Output) {
    let names: Vec<String> = all.iter().map(|ran| ran.variant.to_string()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(7);
    let longest =
        all.iter().flat_map(|ran| &ran.visits).filter_map(|visit| visit.on_load_ms).fold(1.0, f64::max);
    let head = ["dns", "tcp", "tls", "1st byte", "page", "packets", "bytes", "trips"];
    let heads: Vec<String> = head.iter().map(|name| format!("{name:>9}")).collect();
    let visits = all.iter().map(|ran| ran.visits.len()).max().unwrap_or(0);
    for at in 0..visits {
        if at > 0 {
            out.line("");
        }
        let title = out.strong(&format!("visit {}", at + 1));
        out.line(format_args!("{title}"));
        out.line(format_args!("{:width$} {}", "variant", heads.join("")));
        for (name, ran) in names.iter().zip(all) {
            let Some(visit) = ran.visits.get(at) else { continue };
            if let Some(error) = &visit.error {
                out.line(format_args!("{name:width$}  no page: {error}"));
                continue;
            }
            let phase = |name: &str| {
                let phase = visit.phases.phases.iter().find(|phase| phase.name == name);
                phase.map_or("-".into(), |p| format!("{:.1}", (p.until_ns - p.from_ns) as f64 / 1e6))
            };
            let page = visit.on_load_ms.unwrap_or_default();
            let cells = [
                phase("dns"),
                phase("tcp"),
                phase("tls"),
                phase("first byte"),
                format!("{page:.1}"),
                visit.phases.packets.to_string(),
                visit.phases.bytes.to_string(),
                visit.phases.round_trips.total().to_string(),
            ];
            let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>9}")).collect();
            out.line(format_args!("{name:width$} {}", cells.join("")));
        }
        let columns = out.width.saturating_sub(width + 14).max(10);
        for (name, ran) in names.iter().zip(all) {
            let Some(page) = ran.visits.get(at).and_then(|visit| visit.on_load_ms) else { continue };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of the columns"
            )]
            let length = ((page / longest * columns as f64) as usize).max(1);
            let fill = if out.unicode { "█" } else { "#" };
            out.line(format_args!("{name:width$} {} {page:.1} ms", fill.repeat(length)));
        }
    }
    out.line(format_args!("times in ms; trips: round trips until the first byte"));
}
