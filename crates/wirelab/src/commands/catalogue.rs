//! `catalogue`: every row at once, as a summary or as the page `docs/catalogue.md`.

use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use analysis::ladder::{Ladder, Options};
use scenario::catalogue::{self, Entry};
use scenario::{Outcome, Plan, Targets};

use super::save::{save, unwritable};
use crate::output::Output;
use crate::{CatalogueArgs, Exit};

/// Width of ladders on the page.
const WIDTH: usize = 100;
/// Lines of a ladder on the page: the first ones and the last ones of a longer one. `wirelab run` shows it whole.
const LADDER_LINES: usize = 40;

/// A row that was run.
struct Row {
    entry: &'static Entry,
    plan: Plan,
    outcome: Outcome,
    took: Duration,
    /// Its part of the page, when one is asked for.
    section: String,
}

/// Runs all rows on our stack and prints them, writes the page, or checks that it is the one that would be written.
pub(crate) fn catalogue(args: &CatalogueArgs, out: &mut Output) -> Exit {
    let start = Instant::now();
    let rows = match run_all(args.jobs, args.write.is_some() || args.check.is_some()) {
        Ok(rows) => rows,
        Err(e) => {
            out.error(e, None);
            return Exit::Failed;
        }
    };
    let took = start.elapsed();
    let mut exit = Exit::Ok;
    for row in rows.iter().filter(|row| !row.outcome.ok()) {
        for problem in row.outcome.problems() {
            out.error(format_args!("{}: {problem}", row.entry.name), None);
        }
        exit = Exit::Failed;
    }
    match (&args.write, &args.check) {
        (Some(path), _) => match save(path, |w| std::io::Write::write_all(w, page(&rows).as_bytes())) {
            Ok(()) => out.message(format_args!("{} rows in {}", rows.len(), path.display())),
            Err(e) => return unwritable(path, &e, "`--write FILE` takes any place", out),
        },
        (None, Some(path)) => return if check(path, &page(&rows), out) { exit } else { Exit::Failed },
        (None, None) => summary(&rows, took, out),
    }
    exit
}

/// Every row, in the order of the catalogue; each core takes the next one.
fn run_all(jobs: Option<usize>, for_page: bool) -> Result<Vec<Row>, String> {
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Row, String>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(entry) = catalogue::all().get(at)
                {
                    let Some(row) = run(entry, for_page).transpose() else { continue };
                    let row = row.map_err(|e| format!("{}: {e}", entry.name));
                    done.lock().expect("no panic while it is held").push((at, row));
                }
            });
        }
    });
    let mut rows = done.into_inner().expect("all threads have ended");
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// `None` when this build lacks what the row needs.
fn run(entry: &'static Entry, for_page: bool) -> Result<Option<Row>, String> {
    let plan = super::list::planned(entry)?;
    if plan.unmet_need().is_some() {
        return Ok(None);
    }
    let start = Instant::now();
    let outcome = scenario::run(&plan, &Targets::stack()).map_err(|e| e.to_string())?;
    let took = start.elapsed();
    let section = if for_page { section(entry, &plan, &outcome) } else { String::new() };
    Ok(Some(Row { entry, plan, outcome, took, section }))
}

fn summary(rows: &[Row], took: Duration, out: &mut Output) {
    for row in rows {
        let word = if row.outcome.ok() { "runs " } else { "FAILS" };
        let verdict = super::list::verdicts(row.entry.name).unwrap_or_default();
        out.line(format_args!(
            "{word} {:7.1} ms  {}  {verdict}",
            row.took.as_secs_f64() * 1e3,
            row.entry.name
        ));
    }
    let right = rows.iter().filter(|row| row.outcome.ok()).count();
    out.line(format_args!("{right} of {} rows are right; {:.1} s", rows.len(), took.as_secs_f64()));
}

/// Whether the page on disk is this one; if not, the first line that differs is told.
fn check(path: &Path, page: &str, out: &mut Output) -> bool {
    const HINT: &str = "`wirelab catalogue --write FILE` writes it anew";
    let kept = match std::fs::read_to_string(path) {
        Ok(kept) => kept,
        Err(e) => {
            out.error(format_args!("cannot read {}: {e}", path.display()), Some(HINT));
            return false;
        }
    };
    if kept == page {
        return true;
    }
    let same = kept.lines().zip(page.lines()).take_while(|(a, b)| a == b).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(its end)").to_owned();
    out.error(
        format_args!("{}:{}: the page is not what the rows say now", path.display(), same + 1),
        Some(HINT),
    );
    out.message(format_args!("  page: {}\n  rows: {}", line(&kept), line(page)));
    false
}

fn page(rows: &[Row]) -> String {
    let mut text = String::from(
        "# The catalogue\n\nWritten by `wirelab catalogue --write docs/catalogue.md`; CI holds it against the rows. Each row \
         is a run: `wirelab run NAME`.\n",
    );
    let groups: Vec<&[Row]> = rows.chunk_by(|a, b| group(a) == group(b)).collect();
    for rows in &groups {
        write!(text, "\n## {}\n\n| row | question | 问题 | kernels |\n|---|---|---|---|\n", group(&rows[0]))
            .expect("a string takes all");
        for row in *rows {
            let zh = row.plan.question_zh.as_deref().unwrap_or("");
            let verdict = super::list::verdicts(row.entry.name).unwrap_or_default();
            let short = row.entry.short();
            writeln!(text, "| [{short}](#{short}) | {} | {zh} | {verdict} |", row.plan.question)
                .expect("a string takes all");
        }
    }
    for row in rows {
        text += &row.section;
    }
    text
}

fn group(row: &Row) -> &'static str {
    row.entry.name.rsplit_once('/').map_or("", |(group, _)| group)
}

fn section(entry: &Entry, plan: &Plan, outcome: &Outcome) -> String {
    let mut text = format!("\n## {}\n\n**{}**", entry.short(), plan.question);
    if let Some(zh) = &plan.question_zh {
        text += &format!(" {zh}");
    }
    text += "\n";
    if let Some(about) = &plan.about {
        text += &format!("\n{}\n", about.trim());
    }
    let why = analysis::explain(&outcome.journal).render(WIDTH);
    let ladder = Ladder::new(&outcome.journal, &Options::default()).render(WIDTH, false, true);
    let said: String = outcome
        .programs
        .iter()
        .filter(|program| !program.output.is_empty())
        .map(|p| {
            format!(
                "\n{} on {}\n{}",
                p.name,
                p.host,
                p.output.iter().map(|l| format!("    {l}\n")).collect::<String>()
            )
        })
        .collect();
    // A fence that nothing inside can close.
    text += &format!("\n~~~~text\n{}{}\n{}~~~~\n", shortened(&ladder), shortened(&said), why);
    text
}

/// The beginning and the end of a long text.
fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= LADDER_LINES {
        return text.to_owned();
    }
    let half = LADDER_LINES / 2;
    let left_out = lines.len() - 2 * half;
    let (first, last) = (lines[..half].join("\n"), lines[lines.len() - half..].join("\n"));
    format!("{first}\n    … {left_out} lines more …\n{last}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_lose_their_middle() {
        let text: String = (0..200).map(|n| format!("{n}\n")).collect();
        let short = shortened(&text);
        assert!(short.starts_with("0\n1\n") && short.ends_with("198\n199\n"), "{short}");
        assert!(short.contains("… 160 lines more …"));
        assert_eq!(shortened("a\nb\n"), "a\nb\n");
    }

    #[test]
    fn a_row_becomes_a_section_with_its_answer() {
        let row = run(catalogue::find("third-ack-lost").expect("it is there"), true)
            .expect("it runs")
            .expect("it needs nothing");
        let text = &row.section;
        assert!(text.contains(&row.plan.question) && text.contains("第三次握手"));
        assert!(text.contains("SYN-RECV") && text.contains("tcp_synack_retries"), "{text}");
    }
}
