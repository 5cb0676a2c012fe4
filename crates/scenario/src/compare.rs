//! Variants side by side: the `[compare]` table of a file names rows and columns, each with what it changes of the file; every
//! cell is run with several seeds, and what a program printed is its figure. Nothing here is kept: a table comes from runs.
//!
//! Runs are independent, and each is determined by its file and its seed, so that several threads give the same table.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::diagnostic::{Diagnostic, suggest};
use crate::file::{self, Content, File};
use crate::overrides::Overrides;
use crate::plan::{Checks, Plan, plan};
use crate::run::{RunError, run};
use crate::source::place;
use crate::targets::Targets;

/// Most cells of a table.
const MAX_CELLS: usize = 256;
/// Most seeds of a cell.
pub const MAX_SEEDS: u32 = 100;
/// Seeds of a cell unless the file says.
const SEEDS: u32 = 5;

/// A finished comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What was measured.
    pub what: String,
    /// In what, such as `ms`.
    pub unit: String,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, in the order of the file.
    pub rows: Vec<Row>,
    /// Seeds that each cell was run with.
    pub seeds: Vec<u64>,
    /// What was expected of it, and whether it holds.
    pub expectations: Vec<(String, bool)>,
}

/// A row of it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// What the runs of one cell came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// The figure of each seed, in the order of the seeds; none where the run printed none.
    pub figures: Vec<Option<f64>>,
}

impl Cell {
    fn sorted(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.figures.iter().flatten().copied().collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The lowest figure, the middle one (the lower of two) and the highest.
    pub fn spread(&self) -> Option<(f64, f64, f64)> {
        let all = self.sorted();
        Some((*all.first()?, *all.get((all.len() - 1) / 2)?, *all.last()?))
    }

    /// Runs that printed no figure.
    pub fn failed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.is_none()).count()
    }
}

impl Comparison {
    /// Everything that keeps it from being right.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for row in &self.rows {
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                if cell.failed() > 0 {
                    let (failed, all) = (cell.failed(), cell.figures.len());
                    problems
                        .push(format!("{}, {column}: {failed} of {all} runs printed no figure", row.name));
                }
            }
        }
        let broken = self.expectations.iter().filter(|(_, held)| !held);
        problems.extend(broken.map(|(text, _)| format!("expected {text}: the medians do not say so")));
        problems
    }

    fn median(&self, place: &(usize, usize)) -> Option<f64> {
        self.rows[place.0].cells[place.1].spread().map(|(_, median, _)| median)
    }
}

/// Sets values of a file by their paths, such as `links.lan.loss`; what is not there yet is added to its table.
fn changed(file: &File, sets: &[&IndexMap<String, serde_json::Value>]) -> Result<File, String> {
    let mut whole: toml::Table = toml::from_str(file.text()).map_err(|error| error.to_string())?;
    whole.remove("compare");
    for (path, value) in sets.iter().flat_map(|set| set.iter()) {
        let value = Value::deserialize(value.clone()).map_err(|error| format!("{path}: {error}"))?;
        let (parents, last) = path.rsplit_once('.').map_or((None, path.as_str()), |(p, l)| (Some(p), l));
        let mut table = &mut whole;
        for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
            table = inner(table, part).ok_or_else(|| format!("`{path}`: the file has no table `{part}`"))?;
        }
        table.insert(last.into(), value);
    }
    let content = Content::deserialize(Value::Table(whole)).map_err(|error| error.to_string())?;
    Ok(File { content, source: file.source.clone() })
}

/// A table in a table.
fn inner<'a>(table: &'a mut toml::Table, part: &str) -> Option<&'a mut toml::Table> {
    match table.get_mut(part)? {
        Value::Table(inner) => Some(inner),
        _ => None,
    }
}

/// The number in a line where `{}` stands in the pattern.
fn figure(line: &str, pattern: &str) -> Option<f64> {
    let (before, after) = pattern.split_once("{}")?;
    let at = line.find(before)? + before.len();
    let end = line[at..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(line.len(), |n| at + n);
    let rest = &line[end..];
    rest.starts_with(after).then(|| line[at..end].parse().ok()).flatten()
}

/// `HTTP/3, 2 % < HTTP/2, 2 %`: the places of both cells, and whether equal is right too.
type Claim = ((usize, usize), (usize, usize), bool);

fn claim(text: &str, compare: &file::Compare) -> Result<Claim, String> {
    let (left, or_equal, right) = match (text.split_once("<="), text.split_once('<')) {
        (Some((left, right)), _) => (left, true, right),
        (None, Some((left, right))) => (left, false, right),
        (None, None) => return Err("write `ROW, COLUMN < ROW, COLUMN`".into()),
    };
    let place = |text: &str| {
        let (row, column) = text.rsplit_once(',').ok_or("write `ROW, COLUMN < ROW, COLUMN`".to_string())?;
        let (row, column) = (row.trim(), column.trim());
        let row = compare.rows.get_index_of(row).ok_or_else(|| format!("no row is named `{row}`"))?;
        let found = compare.columns.get_index_of(column);
        Ok::<_, String>((row, found.ok_or_else(|| format!("no column is named `{column}`"))?))
    };
    Ok((place(left)?, place(right)?, or_equal))
}

/// Says what is wrong with a file's `[compare]`, so that no run begins that cannot end.
pub(crate) fn check(checks: &mut Checks<'_>, file: &File, overrides: &Overrides) {
    let Some(compare) = &file.content.compare else { return };
    if compare.measure.matches("{}").count() != 1 {
        let help = "such as measure = \"page in {} ms\"".to_string();
        checks.at_value(&place!("compare", "measure"), "`{}` must stand in it once, for the number", help);
    }
    if compare.rows.is_empty() || compare.columns.is_empty() {
        let help = "columns.\"as it is\" = {} changes nothing".to_string();
        checks.at_key(&place!("compare"), "it needs `rows` and `columns`", help);
    }
    if compare.rows.len() * compare.columns.len() > MAX_CELLS {
        checks.at_key(&place!("compare"), format!("more than {MAX_CELLS} cells"), None);
    }
    if compare.seeds.is_some_and(|seeds| !(1..=MAX_SEEDS).contains(&seeds)) {
        checks.at_value(&place!("compare", "seeds"), format!("1 to {MAX_SEEDS}"), None);
    }
    let names: Vec<&str> = file.content.programs.iter().filter_map(|p| p.name.as_deref()).collect();
    for (name, row) in &compare.rows {
        if let Some(program) = row.program.as_ref().filter(|program| !names.contains(&program.as_str())) {
            let at = place!("compare", "rows", name, "program");
            let help = suggest(program, names.iter().copied());
            checks.at_value(&at, format!("no program has the name `{program}`"), help);
        }
        tried(checks, file, &row.set, &place!("compare", "rows", name), overrides);
    }
    for (name, set) in &compare.columns {
        tried(checks, file, set, &place!("compare", "columns", name), overrides);
    }
    for (n, text) in compare.expect.iter().enumerate() {
        if let Err(why) = claim(text, compare) {
            checks.at_value(&place!("compare", "expect", n), why, None);
        }
    }
}

fn tried(
    checks: &mut Checks<'_>,
    file: &File,
    set: &IndexMap<String, serde_json::Value>,
    at: &str,
    overrides: &Overrides,
) {
    match changed(file, &[set]) {
        Err(why) => checks.at_key(at, why, None),
        Ok(changed) => {
            if let Err(found) = plan(&changed, overrides) {
                let why = found.first().map_or_else(String::new, |first| first.message.clone());
                checks.at_key(at, format!("with this the file is wrong: {why}"), None);
            }
        }
    }
}

/// Runs everything that a file's `[compare]` names: with this many seeds from the file's own (or the given one) on. `None` when
/// it has none.
///
/// # Errors
/// What is wrong with the file, or why it cannot be run.
pub fn compare(
    file: &File,
    overrides: &Overrides,
    seeds: Option<u32>,
) -> Result<Option<Comparison>, CompareError> {
    let base = plan(file, overrides).map_err(CompareError::File)?;
    let Some(table) = &file.content.compare else { return Ok(None) };
    let seeds = seeds.or(table.seeds).unwrap_or(SEEDS).min(MAX_SEEDS);
    let seeds: Vec<u64> = (0..u64::from(seeds)).map(|n| base.seed.wrapping_add(n)).collect();
    // Rows that change nothing of the file share their runs.
    let mut runs: Vec<(Plan, Vec<Place>)> = Vec::new();
    for (c, set) in table.columns.values().enumerate() {
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for (r, row) in table.rows.values().enumerate() {
            let key = serde_json::to_string(&row.set).expect("plain data");
            let first = match known.get(&key) {
                Some(first) => *first,
                None => {
                    let changed = changed(file, &[&row.set, set])
                        .map_err(|why| CompareError::Run(RunError::Setup(why)))?;
                    for seed in &seeds {
                        let overrides = Overrides { seed: Some(*seed), ..overrides.clone() };
                        let plan = plan(&changed, &overrides).map_err(CompareError::File)?;
                        runs.push((plan, Vec::new()));
                    }
                    let first = runs.len() - seeds.len();
                    known.insert(key, first);
                    first
                }
            };
            for n in 0..seeds.len() {
                runs[first + n].1.push((r, c, n));
            }
        }
    }
    let empty = Cell { figures: vec![None; seeds.len()] };
    let mut cells = vec![vec![empty; table.columns.len()]; table.rows.len()];
    for (r, c, n, value) in figures(&runs, table)? {
        cells[r][c].figures[n] = value;
    }
    let rows = table.rows.keys().zip(cells).map(|(name, cells)| Row { name: name.clone(), cells });
    let mut comparison = Comparison {
        what: table.what.clone(),
        unit: table.unit.clone(),
        columns: table.columns.keys().cloned().collect(),
        rows: rows.collect(),
        seeds,
        expectations: Vec::new(),
    };
    for text in &table.expect {
        let (left, right, or_equal) = claim(text, table).expect("the plan was checked");
        let medians = (comparison.median(&left), comparison.median(&right));
        let held = matches!(medians, (Some(l), Some(r)) if l < r || or_equal && l <= r);
        comparison.expectations.push((text.clone(), held));
    }
    Ok(Some(comparison))
}

/// Why there is no comparison.
#[derive(Clone, Debug)]
pub enum CompareError {
    /// The file is wrong.
    File(Vec<Diagnostic>),
    /// It cannot be run.
    Run(RunError),
}

/// Row, column and seed.
type Place = (usize, usize, usize);

/// The same, and what the run printed for them.
type Figure = (usize, usize, usize, Option<f64>);

fn figures(runs: &[(Plan, Vec<Place>)], table: &file::Compare) -> Result<Vec<Figure>, CompareError> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Figure>> = Mutex::default();
    let failed: Mutex<Option<RunError>> = Mutex::default();
    let work = || {
        while let Some((plan, places)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run(plan, &Targets::stack()) {
                Err(error) => {
                    failed.lock().expect("no worker panics").get_or_insert(error);
                    return;
                }
                Ok(outcome) => {
                    let of = |(r, c, n): &Place| {
                        let program = table.rows[*r].program.as_deref();
                        let lines = outcome
                            .programs
                            .iter()
                            .filter(|p| program.is_none_or(|name| p.name == name))
                            .flat_map(|p| &p.output);
                        let value = lines.filter_map(|line| figure(line, &table.measure)).next_back();
                        (*r, *c, *n, value)
                    };
                    done.lock().expect("no worker panics").extend(places.iter().map(of));
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(runs.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    match failed.into_inner().expect("no worker panics") {
        Some(error) => Err(CompareError::Run(error)),
        None => Ok(done.into_inner().expect("no worker panics")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_where_the_pattern_says() {
        let line = "HTTP/3: 21 requests on 1 connections in 412.5 ms (10.3 round trips); bodies 1 B";
        assert_eq!(figure(line, " connections in {} ms"), Some(412.5));
        assert_eq!(figure(line, "HTTP/{}:"), Some(3.0));
        assert_eq!(figure(line, "in {} s"), None);
        assert_eq!(figure(line, "no number"), None);
    }

    #[test]
    fn a_cell_tells_its_spread() {
        let cell = Cell { figures: vec![Some(3.0), None, Some(1.0), Some(2.0), Some(9.0)] };
        assert_eq!(cell.spread(), Some((1.0, 2.0, 9.0)));
        assert_eq!(cell.failed(), 1);
        assert_eq!(Cell::default().spread(), None);
    }

    const PINGS: &str = r#"
question = "How far?"
hosts.a.address = "192.0.2.1/24"
hosts.b.address = "192.0.2.2/24"
links.lan = { between = ["a", "b"], delay = "1ms", jitter = "500us" }
neighbours = "known"
programs = [{ host = "a", name = "ping", run = "ping -c 1 b" }]
[compare]
what = "round trip"
unit = "ms"
measure = "time={} ms"
seeds = 3
rows."ping" = { program = "ping" }
columns."near" = {}
columns."far" = { "links.lan.delay" = "20ms" }
expect = ["ping, near < ping, far"]
"#;

    fn parsed(text: &str) -> File {
        file::parse(text, "test.toml").expect("it reads")
    }

    #[test]
    fn cells_are_runs_of_the_changed_file_with_seeds_of_their_own() {
        let comparison = compare(&parsed(PINGS), &Overrides::default(), None);
        let comparison = comparison.expect("it runs").expect("it has a table");
        assert_eq!(comparison.seeds, [1, 2, 3]);
        let spread = |column: usize| comparison.rows[0].cells[column].spread().expect("three figures");
        let ((low, _, high), (far, ..)) = (spread(0), spread(1));
        assert!(low < high && high <= 3.0, "the seeds draw jitter: {low} to {high}");
        assert!(far >= 39.0, "{far}");
        assert!(comparison.problems().is_empty(), "{:?}", comparison.problems());
        let again = compare(&parsed(PINGS), &Overrides::default(), None).expect("it runs").expect("a table");
        assert_eq!(comparison.rows[0].cells, again.rows[0].cells, "one seed is one run");
    }

    #[test]
    fn what_the_medians_deny_is_a_problem() {
        let wrong = PINGS.replace("ping, near < ping, far", "ping, far < ping, near");
        let comparison = compare(&parsed(&wrong), &Overrides::default(), Some(1)).expect("it runs");
        let problems = comparison.expect("a table").problems();
        assert!(problems[0].contains("the medians do not say so"), "{problems:?}");
    }

    #[test]
    fn what_cannot_be_run_is_said_at_its_place() {
        for (from, to, says) in [
            ("time={} ms", "time", "must stand in it once"),
            ("program = \"ping\"", "program = \"pong\"", "no program has the name `pong`"),
            ("links.lan.delay", "links.wan.delay", "no table `wan`"),
            ("20ms", "20", "with this the file is wrong"),
            ("< ping, far", "< ping, away", "no column is named `away`"),
            ("seeds = 3", "seeds = 0", "1 to 100"),
        ] {
            let file = parsed(&PINGS.replace(from, to));
            let found = plan(&file, &Overrides::default()).expect_err(says);
            assert!(found.iter().any(|d| d.message.contains(says)), "{says}: {found:?}");
            assert!(found[0].span.is_some(), "{says}");
        }
    }
}
