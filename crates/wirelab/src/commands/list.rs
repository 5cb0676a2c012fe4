//! `list`, `show` and `schema`: the catalogue and the format of its files.

use std::collections::BTreeSet;
use std::path::Path;

use scenario::catalogue::{self, Entry};
use scenario::{Overrides, Plan};

use crate::Exit;
use crate::output::Output;

/// A catalogue row with its question, read from its file.
pub(super) fn planned(entry: &Entry) -> Result<Plan, String> {
    let diagnostics = |all: Vec<scenario::Diagnostic>| {
        all.first().map_or_else(|| "unreadable".to_owned(), |d| d.message.clone())
    };
    let file = scenario::file::parse(entry.text, &entry.origin()).map_err(diagnostics)?;
    scenario::plan(&file, &Overrides::default()).map_err(diagnostics)
}

/// What kernels said of a row, in few words: `Linux 6.12.117 agrees`.
pub(super) fn verdicts(row: &str) -> Option<String> {
    let texts: Vec<String> = scenario::verdicts::of(row)
        .map(|known| format!("Linux {} {}", known.kernel, if known.agrees() { "agrees" } else { "differs" }))
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// The same for programs.
pub(super) fn verdicts_json(row: &str) -> serde_json::Value {
    let verdict = |known: scenario::verdicts::Known| {
        serde_json::json!({
            "kernel": known.kernel,
            "hz": known.hz,
            "date": known.date,
            "agrees": known.agrees(),
            "difference": known.difference,
        })
    };
    scenario::verdicts::of(row).map(verdict).collect()
}

/// Prints names and questions, grouped by area; only those that contain every one of `words`.
pub(crate) fn list(words: &[String], json: bool, out: &mut Output) -> Exit {
    let mut rows = Vec::new();
    for entry in catalogue::all() {
        match planned(entry) {
            Ok(plan) => rows.push((entry, plan)),
            Err(e) => {
                out.error(format_args!("{}: {e}", entry.origin()), None);
                return Exit::Failed;
            }
        }
    }
    let words: Vec<String> = words.iter().map(|w| w.to_lowercase()).collect();
    rows.retain(|(entry, plan)| {
        let zh = plan.question_zh.as_deref().unwrap_or("");
        let text = format!("{} {} {zh}", entry.name, plan.question).to_lowercase();
        words.iter().all(|w| text.contains(w.as_str()))
    });
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(entry, plan)| {
                serde_json::json!({
                    "name": entry.name,
                    "question": plan.question,
                    "question_zh": plan.question_zh,
                    "kernel": plan.kernel,
                    "verdicts": verdicts_json(entry.name),
                })
            })
            .collect();
        out.line(serde_json::to_string_pretty(&rows).expect("JSON values print"));
        return Exit::Ok;
    }
    if rows.is_empty() {
        out.error("no scenario has these words", Some("`wirelab list` without words shows them all"));
        return Exit::Usage;
    }
    let width = rows.iter().map(|(e, _)| e.short().len()).max().unwrap_or(0);
    let mut area = "";
    for (entry, plan) in &rows {
        let group = entry.name.rsplit_once('/').map_or("", |(group, _)| group);
        if group != area {
            if !area.is_empty() {
                out.line("");
            }
            let title = out.strong(group);
            out.line(title);
            area = group;
        }
        let mark = match (
            scenario::verdicts::of(entry.name).map(|known| known.agrees()).reduce(|a, b| a && b),
            plan.kernel,
        ) {
            (Some(true), _) => "=",
            (Some(false), _) => "≠",
            (None, true) => "L",
            (None, false) => " ",
        };
        out.line(format_args!("  {:width$}  {mark}  {}", entry.short(), plan.question));
    }
    let kernels: BTreeSet<String> = scenario::verdicts::all().map(|known| known.kernel).collect();
    let kernels: Vec<String> = kernels.into_iter().collect();
    out.message(format_args!(
        "= a real kernel agrees (Linux {}), ≠ it differs, L not asked yet: `wirelab twin NAME` asks it",
        kernels.join(", ")
    ));
    Exit::Ok
}

/// Prints the file of one scenario.
pub(crate) fn show(name: &str, out: &mut Output) -> Exit {
    let is_file = Path::new(name).is_file();
    match entry(
        name,
        is_file.then_some("`show` prints rows of the catalogue; this is a file: read it as it is"),
        out,
    ) {
        Ok(entry) => {
            out.data(entry.text);
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// The row of that name; if there is none, says so with a hint: `hint`, or the closest names.
pub(super) fn entry(name: &str, hint: Option<&str>, out: &mut Output) -> Result<&'static Entry, Exit> {
    catalogue::find(name).map_err(|e| {
        let hint = match (hint, &e.hint) {
            (Some(hint), _) => hint.to_owned(),
            (None, Some(close)) => format!("{close}; a path to a .toml file can be run, too"),
            (None, None) => {
                "`wirelab list` shows the catalogue; a path to a .toml file can be run, too".into()
            }
        };
        out.error(format_args!("no scenario is named `{}`", e.name), Some(&hint));
        Exit::Usage
    })
}

/// Prints the JSON Schema of scenario files.
pub(crate) fn schema(out: &mut Output) -> Exit {
    out.line(serde_json::to_string_pretty(&scenario::schema()).expect("JSON values print"));
    Exit::Ok
}
