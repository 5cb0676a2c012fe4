//! What a failed test tells: the ladder cut to the packets that matter, and files with all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use analysis::explain::{Explanation, Ref};
use analysis::ladder::{EventKind, EventRow, Ladder, Options, PacketRow, Row, RowKind, WIDTH};
use analysis::traffic::Traffic;
use stack::record::Journal;

/// Rows that a message has at most, besides the marks of what is left out.
const MAX_ROWS: usize = 26;
/// Of those, the last ones of the run.
const LAST_ROWS: usize = 8;

/// Packets of one sentence of the explanation that count as its own.
const MAX_CITED: usize = 4;

/// Directories given out in this process: a test may make several labs.
static TAKEN: Mutex<BTreeMap<PathBuf, u32>> = Mutex::new(BTreeMap::new());

/// Where a test's files go, and what makes it repeatable.
pub(crate) struct Report {
    name: String,
    seed: u64,
}

impl Report {
    pub(crate) fn new(seed: u64, caller: &Location<'_>) -> Report {
        // libtest names a test's thread after it; where it does not, the place in the source is as good.
        let thread = std::thread::current();
        let name = match thread.name() {
            Some(name) if name != "main" => name.to_string(),
            _ => format!("{}_{}", caller.file(), caller.line()),
        };
        Report { name: file_name(&name), seed }
    }

    pub(crate) fn rename(&mut self, name: &str) {
        self.name = file_name(name);
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// `WIRELAB_SAVE=1`: files for tests that pass, too.
    pub(crate) fn always(&self) -> bool {
        std::env::var_os("WIRELAB_SAVE").is_some_and(|value| value != "0")
    }

    /// Writes the files; what the message says.
    pub(crate) fn tell(&self, journal: &Journal) -> String {
        let place = match self.save(journal) {
            Ok(dir) => format!("{}: run.pcapng, ladder.txt, seed", shown(&dir)),
            Err(error) => format!("nothing could be saved: {error}"),
        };
        let traffic = Traffic::of(journal);
        let (ladder, mut explanation) = draw(journal, &traffic);
        let (ladder, packets) = cut(ladder, &cited(&explanation));
        explanation.retain_about(&packets);
        format!(
            "{}{}seed {}  {place}",
            ladder.render(WIDTH, false, true),
            explanation.render(WIDTH),
            self.seed
        )
    }

    /// `target/wirelab/<test>/` with `run.pcapng`, `ladder.txt` and `seed`.
    pub(crate) fn save(&self, journal: &Journal) -> io::Result<PathBuf> {
        let mut dir = target_dir().join("wirelab").join(&self.name);
        let count = {
            let mut taken = TAKEN.lock().unwrap_or_else(|e| e.into_inner());
            let count = taken.entry(dir.clone()).or_default();
            *count += 1;
            *count
        };
        if count > 1 {
            dir.set_file_name(format!("{}-{count}", self.name));
        }
        fs::create_dir_all(&dir)?;
        let traffic = Traffic::of(journal);
        let (ladder, explanation) = draw(journal, &traffic);
        let capture = io::BufWriter::new(fs::File::create(dir.join("run.pcapng"))?);
        analysis::export::pcapng_explained(journal, &traffic, &explanation, None, capture)?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let text = ladder.render(WIDTH, false, true) + &explanation.render(WIDTH);
        fs::write(dir.join("ladder.txt"), text)?;
        fs::write(dir.join("seed"), format!("{}\n", self.seed))?;
        Ok(dir)
    }
}

fn draw(journal: &Journal, traffic: &Traffic) -> (Ladder, Explanation) {
    let ladder = Ladder::with_traffic(journal, traffic, &Options::default());
    (ladder, analysis::explain_traffic(journal, traffic))
}

/// Characters that every file system takes: `tests::a::b` is `tests.a.b`.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.replace("::", ".").chars().map(plain).collect()
}

/// cargo's target directory: the test's binary lies in it. A documentation test's does not: then it is `CARGO_TARGET_DIR`, or
/// stands beside the workspace's `Cargo.lock`.
fn target_dir() -> PathBuf {
    let above = |from: Option<PathBuf>, mark: &str| {
        from?.ancestors().find(|dir| dir.join(mark).is_file()).map(Path::to_path_buf)
    };
    above(std::env::current_exe().ok(), "CACHEDIR.TAG")
        .or_else(|| std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from))
        .or_else(|| above(std::env::current_dir().ok(), "Cargo.lock").map(|dir| dir.join("target")))
        .unwrap_or_else(|| PathBuf::from("target"))
}

/// As seen from where the reader stands.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let near = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    near.unwrap_or(path).display().to_string()
}

/// The packets that the explanation is about; of a sentence about many the first ones.
fn cited(explanation: &Explanation) -> BTreeSet<u32> {
    let packet = |r: &Ref| if let Ref::Packet(number) = r { Some(*number) } else { None };
    explanation.sentences.iter().flat_map(|s| s.refs.iter().filter_map(packet).take(MAX_CITED)).collect()
}

/// How much a row tells about what went wrong; 0 is left out.
fn weight(row: &Row, cited: &BTreeSet<u32>) -> u32 {
    match &row.what {
        RowKind::Packet(packet) if cited.contains(&packet.number) => packet_weight(packet).max(65),
        RowKind::Packet(packet) => packet_weight(packet),
        RowKind::Event(event) => match event.kind {
            EventKind::Unexpected => 90,
            EventKind::Note => 40,
            EventKind::Drop => 70,
            EventKind::Timer => 50,
            EventKind::State | EventKind::Admin => 20,
            EventKind::Call => 0,
        },
        RowKind::Idle { .. } => 30,
        RowKind::Folded { .. } => 0,
    }
}

fn packet_weight(packet: &PacketRow) -> u32 {
    let by_fault = packet.causes.iter().chain(&packet.altered).any(|text| text.contains("fault"));
    let dropped = packet.after.iter().any(|label| label.kind == EventKind::Drop);
    let timer = packet.before.iter().any(|label| label.kind == EventKind::Timer);
    // tcpdump's flags stand first in TCP's words.
    let flags = packet.words.split([' ', ',']).next().unwrap_or_default();
    match () {
        () if by_fault => 100,
        () if flags.contains('R') || packet.words.starts_with("ICMP") => 80,
        () if packet.lost || dropped => 60,
        () if timer => 55,
        () if flags.contains('S') || flags.contains('F') => 35,
        () => 0,
    }
}

/// The rows that matter, with a mark where others stood, and the numbers of their packets.
fn cut(mut ladder: Ladder, cited: &BTreeSet<u32>) -> (Ladder, BTreeSet<u32>) {
    let rows = std::mem::take(&mut ladder.rows);
    let mut keep: BTreeSet<usize> = (rows.len().saturating_sub(LAST_ROWS)..rows.len()).collect();
    let weights: Vec<u32> = rows.iter().map(|row| weight(row, cited)).collect();
    let mut order: Vec<usize> = (0..rows.len()).filter(|at| weights[*at] > 0).collect();
    order.sort_by_key(|at| std::cmp::Reverse(weights[*at]));
    for at in order {
        // What a fault hit is understood with its neighbours.
        let around =
            if weights[at] >= 80 { at.saturating_sub(1)..(at + 2).min(rows.len()) } else { at..at + 1 };
        for at in around {
            if keep.len() < MAX_ROWS {
                keep.insert(at);
            }
        }
    }
    let mut packets = BTreeSet::new();
    let mut left_out = 0;
    for (at, row) in rows.into_iter().enumerate() {
        if !keep.contains(&at) {
            left_out += 1;
            continue;
        }
        if left_out > 0 {
            ladder.rows.push(mark(left_out, row.at_ns));
            left_out = 0;
        }
        if let RowKind::Packet(packet) = &row.what {
            packets.insert(packet.number);
        }
        ladder.rows.push(row);
    }
    (ladder, packets)
}

fn mark(left_out: usize, at_ns: u64) -> Row {
    let text = if left_out == 1 { "1 row".to_string() } else { format!("{left_out} rows") };
    let event = EventRow { column: 0, kind: EventKind::Note, text: format!("… {text} left out") };
    Row { at_ns, what: RowKind::Event(event), records: Vec::new() }
}
