//! Our own scripts: one claim a file, the file's name is the claim; true of our stack, and certified on the kernel of this
//! machine where it lets us.

use std::path::Path;

use drill::config::Config;
use drill::host::StackHost;
use drill::kernel::Kernel;
use drill::report;
use drill::suite::{self, Case, Variant};
use drill::target::Host;
use stack::Granularity;

const VARIANTS: [Variant; 3] = [Variant::V4, Variant::Mapped, Variant::V6];

fn cases(variants: &[Variant]) -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certified");
    let paths = suite::find(&dir).expect("the folder is here");
    assert!(paths.len() >= 120, "only {} scripts", paths.len());
    paths.iter().flat_map(|p| variants.iter().map(|v| Case { path: p.clone(), variant: *v })).collect()
}

/// The scripts that fail, and how.
fn failures(cases: &[Case], host: &dyn Host, jobs: usize) -> Vec<(Case, String)> {
    let mut failures = Vec::new();
    for ran in suite::run_all(cases, &[], host, jobs, &|_| {}) {
        if let Some(fault) = report::fault(&ran.outcome.verdict) {
            let path = ran.case.path.display().to_string();
            let text = format!("{} ({})", report::message(&path, fault), ran.case.variant.name());
            failures.push((ran.case, text));
        }
    }
    failures
}

fn assert_all_pass(host: &dyn Host, variants: &[Variant], jobs: usize) {
    let failures = failures(&cases(variants), host, jobs);
    let texts: Vec<&str> = failures.iter().map(|(_, text)| text.as_str()).collect();
    assert!(failures.is_empty(), "{}", texts.join("\n"));
}

#[test]
fn every_claim_is_true_of_our_stack_with_every_clock() {
    for granularity in
        [Granularity::Wheel { hz: 1000 }, Granularity::Wheel { hz: 250 }, Granularity::Wheel { hz: 100 }]
    {
        assert_all_pass(&StackHost { granularity, ..StackHost::default() }, &VARIANTS, 2);
    }
}

#[test]
fn every_claim_is_true_of_this_machines_kernel() {
    if let Err(why) = Kernel.make(&Config::default()) {
        linux::testing::skip("every_claim_is_true_of_this_machines_kernel", &format!("root: {why}"));
        return;
    }
    // They sleep most of the time. On a busy machine the kernel's timers and the writer come late: what fails in the crowd is
    // run again alone, three times at most. A false claim fails every time.
    let alone = |failed: Vec<(Case, String)>| {
        let cases: Vec<Case> = failed.into_iter().map(|(case, _)| case).collect();
        failures(&cases, &Kernel, 1)
    };
    let crowd = failures(&cases(&[Variant::V4, Variant::V6]), &Kernel, 12);
    assert!(crowd.len() <= 12, "{} scripts fail", crowd.len());
    let failures = alone(alone(alone(crowd)));
    let texts: Vec<&str> = failures.iter().map(|(_, text)| text.as_str()).collect();
    assert!(failures.is_empty(), "{}", texts.join("\n"));
}

#[test]
fn a_false_claim_fails() {
    let dir = std::env::temp_dir().join(format!("drill-false-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let path = dir.join("a_listener_answers_with_a_reset.pkt");
    let script = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, ..., ...) = 0\n+0 listen(3, 1) = 0\n\
                  +0 < S 0:0(0) win 1000 <mss 1000>\n+0 > R. 0:0(0) ack 1\n";
    std::fs::write(&path, script).expect("written");
    let outcome = suite::run_case(&Case { path, variant: Variant::V4 }, &[], &StackHost::default());
    std::fs::remove_dir_all(&dir).expect("removed");
    let fault = report::fault(&outcome.verdict).expect("it is false");
    assert_eq!(fault.line, 5, "{}", fault.message);
}
