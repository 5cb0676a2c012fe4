//! `compare`: the variants that a scenario's `[compare]` names, side by side: medians and spreads of several seeds, as a table
//! and as bars.

use scenario::compare::{Cell, CompareError, Comparison};
use scenario::{Overrides, RunError};

use super::run::{parsed, refused, report};
use crate::output::Output;
use crate::{CompareArgs, Exit};

/// Runs the comparison of a scenario.
pub(crate) fn compare(args: &CompareArgs, out: &mut Output) -> Exit {
    let (file, name) = match parsed(&args.scenario, out) {
        Ok(parsed) => parsed,
        Err(exit) => return exit,
    };
    let overrides = Overrides { seed: args.seed, ..Overrides::default() };
    let comparison = match scenario::compare::compare(&file, &overrides, args.seeds) {
        Ok(Some(comparison)) => comparison,
        Ok(None) => {
            let hint = format!("`wirelab run {name}` runs it; a table [compare] in its file names variants");
            out.error(format_args!("{name} compares nothing"), Some(&hint));
            return Exit::Usage;
        }
        Err(CompareError::File(all)) => return report(&all, out),
        Err(CompareError::Run(error @ RunError::Setup(_))) => {
            out.error(error, None);
            return Exit::Usage;
        }
        Err(CompareError::Run(error)) => return refused(&error, out),
    };
    if args.json {
        out.line(serde_json::to_string_pretty(&comparison).expect("JSON values print"));
    } else {
        table(&comparison, out);
        for at in 0..comparison.columns.len() {
            bars(&comparison, at, out);
        }
        let held = comparison.expectations.iter().filter(|(_, held)| *held).count();
        if !comparison.expectations.is_empty() {
            out.line(format_args!("expected {held} of {} hold", comparison.expectations.len()));
        }
    }
    let problems = comparison.problems();
    problems.iter().for_each(|problem| out.error(problem, None));
    if problems.is_empty() { Exit::Ok } else { Exit::Failed }
}

/// In as few digits as tell something.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// `812 (790–1,003)`; the spread only where there is one.
fn words(cell: &Cell, out: &Output) -> String {
    let Some((low, median, high)) = cell.spread() else { return "-".into() };
    let dash = if out.unicode { "–" } else { "-" };
    let missing = if cell.failed() > 0 { format!(" {}!", cell.failed()) } else { String::new() };
    if low == high {
        format!("{}{missing}", number(median))
    } else {
        format!("{} ({}{dash}{}){missing}", number(median), number(low), number(high))
    }
}

fn width<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

fn table(comparison: &Comparison, out: &mut Output) {
    let seeds = &comparison.seeds;
    let span = match seeds.as_slice() {
        [one] => format!("seed {one}"),
        [first, .., last] => format!("{} seeds ({first} to {last})", seeds.len()),
        [] => "no seed".into(),
    };
    let unit = if comparison.unit.is_empty() { String::new() } else { format!(", {}", comparison.unit) };
    let title = out.strong(&format!("{}{unit}", comparison.what));
    out.line(format_args!("{title}: median (least to most) of {span}"));
    let names = width(comparison.rows.iter().map(|row| row.name.as_str()));
    let cells: Vec<Vec<String>> =
        comparison.rows.iter().map(|row| row.cells.iter().map(|cell| words(cell, out)).collect()).collect();
    let widths: Vec<usize> = (0..comparison.columns.len())
        .map(|c| width(cells.iter().map(|row| row[c].as_str()).chain([comparison.columns[c].as_str()])))
        .collect();
    let line = |name: &str, texts: Vec<&str>| {
        let mut text = format!("{name}{}", " ".repeat(names - name.chars().count()));
        for (cell, width) in texts.iter().zip(&widths) {
            text += &format!("  {}{cell}", " ".repeat(width - cell.chars().count()));
        }
        text
    };
    out.line(line("", comparison.columns.iter().map(String::as_str).collect()));
    for (row, cells) in comparison.rows.iter().zip(&cells) {
        out.line(line(&row.name, cells.iter().map(String::as_str).collect()));
    }
}

/// One column's medians as bars; the fainter part goes on to the worst seed.
fn bars(comparison: &Comparison, column: usize, out: &mut Output) {
    let most = comparison.rows.iter().filter_map(|row| row.cells[column].spread());
    let most = most.map(|(_, _, high)| high).fold(0.0, f64::max);
    if most <= 0.0 {
        return;
    }
    let names = width(comparison.rows.iter().map(|row| row.name.as_str()));
    let columns = out.width.saturating_sub(names + 14).max(10);
    let title = out.strong(&comparison.columns[column]);
    out.line(format_args!("\n{title}"));
    for row in &comparison.rows {
        let Some((_, median, high)) = row.cells[column].spread() else { continue };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the columns")]
        let length = |value: f64| (value / most * columns as f64).round() as usize;
        let (solid, all) = (length(median).max(1), length(high));
        let (fill, faint) = if out.unicode { ("█", "░") } else { ("#", ".") };
        let (fill, faint) = (fill.repeat(solid), faint.repeat(all.saturating_sub(solid)));
        let pad = " ".repeat(names - row.name.chars().count());
        out.line(format_args!("{}{pad}  {fill}{faint} {}", row.name, number(median)));
    }
}
