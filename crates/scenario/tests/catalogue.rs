//! Every file of the catalogue reads, plans, and runs on our stack with all its expectations met.

use scenario::{Overrides, Plan, Targets, catalogue, file};

fn plan_of(entry: &catalogue::Entry) -> Result<Plan, String> {
    let text = |found: Vec<scenario::Diagnostic>| found.iter().map(|d| d.render(false)).collect::<String>();
    let file = file::parse(entry.text, &entry.origin()).map_err(text)?;
    scenario::plan(&file, &Overrides::default()).map_err(text)
}

#[test]
fn every_file_of_the_catalogue_reads_and_plans() {
    assert!(catalogue::all().len() > 30);
    let mut wrong = String::new();
    for entry in catalogue::all() {
        match plan_of(entry) {
            Err(e) => wrong += &e,
            Ok(plan) => {
                assert_eq!(plan.name, entry.name);
                let complete = plan.question_zh.is_some() && plan.about.is_some();
                if !complete || !plan.question.contains('?') {
                    wrong += &format!("{}: its question, question_zh or about is not there\n", entry.name);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Everything that is not as a scenario says; the names of scenarios may be narrowed with `ONLY=part`.
fn problems(entry: &catalogue::Entry) -> Vec<String> {
    let plan = match plan_of(entry) {
        Ok(plan) => plan,
        Err(e) => return vec![e],
    };
    if let Some(why) = plan.unmet_need() {
        println!("SKIPPED: {why}");
        let refused = scenario::run(&plan, &Targets::stack()).expect_err("it cannot run");
        assert_eq!(refused.to_string(), why);
        return Vec::new();
    }
    let outcome = match scenario::run(&plan, &Targets::stack()) {
        Ok(outcome) => outcome,
        Err(e) => return vec![e.to_string()],
    };
    let mut problems = outcome.problems();
    if outcome.expectations.is_empty() {
        problems.push("nothing is expected".into());
    }
    problems
}

#[test]
fn every_file_of_the_catalogue_runs_as_it_says() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut wrong = String::new();
    for entry in catalogue::all().iter().filter(|e| e.name.contains(&only)) {
        for problem in problems(entry) {
            wrong += &format!("{}: {problem}\n", entry.name);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_last_part_of_a_name_is_unique_and_enough() {
    let mut short: Vec<&str> = catalogue::all().iter().map(catalogue::Entry::short).collect();
    short.sort_unstable();
    let before = short.len();
    short.dedup();
    assert_eq!(before, short.len());
    assert_eq!(catalogue::find("arp-resolution").unwrap().name, "link/arp-resolution");
    assert_eq!(catalogue::find("link/arp-resolution").unwrap().name, "link/arp-resolution");
    let typo = catalogue::find("arp-resolutoin").unwrap_err();
    assert_eq!(typo.to_string(), "no scenario is named `arp-resolutoin`; did you mean `arp-resolution`?");
}
