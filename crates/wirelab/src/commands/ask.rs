//! `ask`: which rows of the catalogue answer a question that is put in the asker's own words.

use scenario::search::{Hit, search};

use crate::Exit;
use crate::output::Output;

/// Rows that are shown at most.
const SHOWN: usize = 5;
/// A row that fits so much worse than the best one is not worth its lines.
const WORTH: f64 = 0.35;

/// Prints the rows that fit best, and how to run the first.
pub(crate) fn ask(words: &[String], json: bool, out: &mut Output) -> Exit {
    let question = words.join(" ");
    let mut hits = search(&question);
    if let Some(best) = hits.first().map(|hit| hit.score) {
        hits.retain(|hit| hit.score >= best * WORTH);
    }
    hits.truncate(SHOWN);
    if json {
        let rows: Vec<_> = hits.iter().map(as_json).collect();
        out.line(serde_json::to_string_pretty(&rows).expect("JSON values print"));
        return if rows.is_empty() { Exit::Failed } else { Exit::Ok };
    }
    let Some(best) = hits.first() else {
        out.error(
            format_args!("no row has a word of `{question}`"),
            Some("`wirelab list` shows every question; other words may find it"),
        );
        return Exit::Failed;
    };
    for hit in &hits {
        let name = out.strong(hit.entry.short());
        out.line(format_args!("{name}  {}", super::list::verdicts(hit.entry.name).unwrap_or_default()));
        out.line(format_args!("    {}", hit.question));
        if let Some(zh) = &hit.question_zh {
            out.line(format_args!("    {zh}"));
        }
    }
    out.line(format_args!("\nrun      wirelab run {}", best.entry.short()));
    Exit::Ok
}

fn as_json(hit: &Hit) -> serde_json::Value {
    serde_json::json!({
        "name": hit.entry.name,
        "question": hit.question,
        "question_zh": hit.question_zh,
        "score": hit.score,
        "verdicts": super::list::verdicts_json(hit.entry.name),
    })
}
