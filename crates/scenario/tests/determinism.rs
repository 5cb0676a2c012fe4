//! One seed is one run, byte for byte, in another process, too.

use std::process::Command;

use scenario::{Overrides, Targets, catalogue, file};

/// Environment variable that makes [`the_same_seed_gives_the_same_journal_in_two_processes`] only print.
const PRINT: &str = "WIRELAB_TEST_PRINT_JOURNALS";

/// The journals of the whole catalogue as text.
fn journals(seed: u64) -> String {
    let mut text = String::new();
    for entry in catalogue::all() {
        let file = file::parse(entry.text, &entry.origin()).expect("the catalogue reads");
        let overrides = Overrides { seed: Some(seed), ..Overrides::default() };
        let plan = scenario::plan(&file, &overrides).expect("the catalogue plans");
        if plan.unmet_need().is_some() {
            continue;
        }
        let outcome = scenario::run(&plan, &Targets::stack()).expect("the catalogue runs");
        text += &format!("== {}\n", entry.name);
        for record in &outcome.journal.records {
            text += &format!("{record:?}\n");
        }
        text += &format!("{:?}\n", outcome.journal.nodes);
    }
    text
}

fn first_difference<'a>(a: &'a str, b: &'a str) -> Option<(&'a str, &'a str)> {
    let pair = a.lines().zip(b.lines()).find(|(x, y)| x != y);
    pair.or_else(|| (a.len() != b.len()).then_some(("one is longer", "than the other")))
}

#[test]
fn the_same_seed_gives_the_same_journal_in_two_processes() {
    let here = journals(7);
    if std::env::var_os(PRINT).is_some() {
        println!("BEGIN\n{here}END");
        return;
    }
    let this = std::env::current_exe().expect("the test knows its own path");
    let output = Command::new(this)
        .args(["--exact", "the_same_seed_gives_the_same_journal_in_two_processes", "--nocapture"])
        .env(PRINT, "1")
        .output()
        .expect("the test can run itself");
    let text = String::from_utf8(output.stdout).expect("the journal is text");
    let there = text.split_once("BEGIN\n").and_then(|(_, t)| t.rsplit_once("END")).expect("it printed").0;
    assert!(here.len() > 10_000);
    assert_eq!(first_difference(&here, there), None);
    // In the same test: a run beside another one in the same process may draw other random numbers for the branches of tokio's
    // `select!` (net::interpose says why), so that one has the process to itself.
    assert!(first_difference(&here, &journals(8)).is_some(), "another seed gives another journal");
}
