//! `get`: from a typed URL to the page, on a world that is in the binary: phases with their packets, totals, what the second visit
//! saves, variants side by side. The world is the catalogue's `path/url-to-page`; what is shown comes from the run's packets and
//! from what the browser printed.

mod show;
mod variant;

use std::path::Path;

use analysis::Dissection;
use analysis::phases::{Phases, phases};
use analysis::traffic::Traffic;
use apps::browser::entry::Entry;
use apps::browser::har;
use scenario::{Outcome, Overrides, Targets};
use serde::Serialize;
use serde_json::{Value, json};
use stack::record::{Journal, NodeId, What};
use wire::Instant;

use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{Exit, GetArgs};
use variant::Variant;

/// The scenario whose world it is.
const WORLD: &str = "path/url-to-page";
/// The host that the user sits at.
const CLIENT: &str = "client";
/// The program that fetches.
const PROGRAM: &str = "browser";

/// Between two visits connections close; that counts as neither.
const CLOSING: core::time::Duration = core::time::Duration::from_secs(1);

/// One visit, taken apart.
#[derive(Clone, Debug, Serialize)]
struct Visit {
    /// What the user typed.
    url: String,
    /// Milliseconds until the page was complete; `None` when there is none.
    on_load_ms: Option<f64>,
    /// Why there is none.
    error: Option<String>,
    entries: Vec<Entry>,
    phases: Phases,
}

impl Visit {
    fn ok(&self) -> bool {
        self.error.is_none() && self.document().is_some_and(|entry| entry.status < 400)
    }

    /// The last request for the page itself.
    fn document(&self) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| entry.destination == "document")
    }
}

/// One variant's run.
struct Ran {
    variant: Variant,
    outcome: Outcome,
    visits: Vec<Visit>,
    /// What the browser said besides.
    remarks: Vec<String>,
}

/// Fetches a URL as the command line says.
pub(crate) fn get(args: &GetArgs, out: &mut Output) -> Exit {
    if let Err(message) = apps::browser::command::read_url(&args.url) {
        let help = "http or https, a host, a port from 1 to 65535 if it is not the scheme's, a path: https://shop.example/";
        out.error(message, Some(help));
        return Exit::Usage;
    }
    let variants = match variants(args) {
        Ok(variants) => variants,
        Err((message, hint)) => {
            out.error(message, Some(&hint));
            return Exit::Usage;
        }
    };
    for path in [&args.pcap, &args.har].into_iter().flatten() {
        if let Err(e) = can_save(path) {
            return unwritable(path, &e, "give another place", out);
        }
    }
    let mut all = Vec::new();
    for variant in variants {
        match ran(args, variant, out) {
            Ok(ran) => all.push(ran),
            Err(exit) => return exit,
        }
    }
    let first = &all[0];
    if let Err(exit) = written(args, first, out) {
        return exit;
    }
    if args.json {
        let values: Vec<Value> = all.iter().map(as_json).collect();
        let value = if args.compare.is_empty() {
            values.into_iter().next().unwrap_or_default()
        } else {
            json!(values)
        };
        out.line(serde_json::to_string_pretty(&value).expect("JSON values print"));
    } else if args.compare.is_empty() {
        show::page(args, first, out);
    } else {
        show::table(&all, out);
    }
    for ran in &all {
        for problem in &ran.outcome.errors {
            out.error(problem, None);
        }
    }
    let good = |ran: &Ran| {
        !ran.visits.is_empty() && ran.visits.iter().all(Visit::ok) && ran.outcome.errors.is_empty()
    };
    if all.iter().all(good) { Exit::Ok } else { Exit::Failed }
}

/// The variants to run: one, or one for each word of `--compare`.
fn variants(args: &GetArgs) -> Result<Vec<Variant>, (String, String)> {
    let base = Variant::of(args)?;
    if args.compare.is_empty() {
        return Ok(vec![base]);
    }
    args.compare.iter().map(|words| base.with(words)).collect()
}

fn ran(args: &GetArgs, variant: Variant, out: &mut Output) -> Result<Ran, Exit> {
    let entry = super::list::entry(WORLD, None, out)?;
    let text = variant.world(entry.text, &args.url, usize::from(args.visits));
    let report = |all: Vec<scenario::Diagnostic>, out: &mut Output| {
        all.iter().for_each(|diagnostic| out.message(diagnostic.render(out.color_err)));
        Exit::Usage
    };
    let file = scenario::file::parse(&text, "the world of `wirelab get`").map_err(|all| report(all, out))?;
    let overrides = Overrides {
        seed: args.seed,
        sets: args.set.clone(),
        faults: args.drop.iter().map(|text| ("drop".to_owned(), text.clone())).collect(),
        kernel: None,
    };
    let plan = scenario::plan(&file, &overrides).map_err(|all| report(all, out))?;
    let outcome = scenario::run(&plan, &Targets::stack()).map_err(|e| {
        out.error(e, None);
        Exit::Usage
    })?;
    let (visits, remarks) = visits(&outcome.journal, &args.url);
    Ok(Ran { variant, outcome, visits, remarks })
}

/// The visits that the browser told of, each with its packets.
fn visits(journal: &Journal, url: &str) -> (Vec<Visit>, Vec<String>) {
    let traffic = Traffic::of(journal);
    let dissection = Dissection::of(journal, &traffic);
    let node = journal.nodes.iter().position(|node| node.name == CLIENT).expect("the world has a client");
    let program = journal.nodes[node].programs.iter().position(|name| name == PROGRAM);
    let (mut visits, mut remarks, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    let mut from = Instant::ZERO;
    for record in &journal.records {
        let What::Output { program: which, line } = &record.what else { continue };
        if record.node.0 as usize != node || program != usize::try_from(*which).ok() {
            continue;
        }
        if let Ok(entry) = serde_json::from_str::<Entry>(line) {
            entries.push(entry);
            continue;
        }
        let end = serde_json::from_str::<Value>(line).ok().filter(|value| value.get("page").is_some());
        let error =
            line.strip_prefix("no page ").map(|text| text.split_once(": ").map_or(text, |(_, why)| why));
        if end.is_none() && error.is_none() {
            remarks.push(line.clone());
            continue;
        }
        let host = NodeId(u32::try_from(node).expect("few hosts"));
        visits.push(Visit {
            url: url.into(),
            on_load_ms: end.as_ref().and_then(|end| end["on_load"].as_f64()),
            error: error.map(str::to_string),
            entries: core::mem::take(&mut entries),
            phases: phases(&traffic, &dissection, host, from, record.at),
        });
        from = record.at + CLOSING;
    }
    (visits, remarks)
}

/// Writes what was asked for.
fn written(args: &GetArgs, ran: &Ran, out: &mut Output) -> Result<(), Exit> {
    if let Some(path) = &args.pcap {
        let journal = &ran.outcome.journal;
        let saved = save(path, |w| analysis::pcapng_of(journal, CLIENT, w).map(drop));
        saved.map_err(|e| unwritable(path, &e, "give another place", out))?;
    }
    if let Some(path) = &args.har {
        let text = serde_json::to_string_pretty(&as_har(ran)).expect("JSON values print");
        let saved = save(path, |w| writeln!(w, "{text}"));
        saved.map_err(|e| unwritable(path, &e, "give another place", out))?;
    }
    Ok(())
}

fn as_har(ran: &Ran) -> Value {
    let visits: Vec<har::Visit<'_>> = (1..)
        .zip(&ran.visits)
        .map(|(number, visit)| har::Visit {
            number,
            title: &visit.url,
            on_load: visit.on_load_ms.unwrap_or(-1.0),
        })
        .collect();
    let entries: Vec<Entry> = ran.visits.iter().flat_map(|visit| visit.entries.iter().cloned()).collect();
    har::har(&visits, &entries)
}

fn as_json(ran: &Ran) -> Value {
    json!({
        "variant": ran.variant.to_string(),
        "visits": ran.visits,
        "remarks": ran.remarks,
        "end_ns": ran.outcome.journal.end.as_nanos(),
    })
}

/// Where a file went, for the last lines.
fn named(path: &Path) -> String {
    path.display().to_string()
}
