//! The README shows what the program prints; `BLESS=1 cargo test -p wirelab --test readme` rewrites it.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

const END: &str = "```\n";

/// One test at a time rewrites the file.
static README: Mutex<()> = Mutex::new(());

/// The block that begins with `fence` after `from` is what these arguments print.
fn shows(from: &str, fence: &str, args: &[&str]) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = Command::new(env!("CARGO_BIN_EXE_wirelab")).args(args).current_dir(dir.path()).output();
    let out = out.expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let printed = String::from_utf8(out.stdout).expect("UTF-8");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let _one = README.lock().unwrap_or_else(|e| e.into_inner());
    let readme = std::fs::read_to_string(&path).expect("the README is there");
    let after = readme.find(from).unwrap_or_else(|| panic!("the README has {from}"));
    let start = after + readme[after..].find(fence).expect("the README has a block") + fence.len();
    let end = start + readme[start..].find(END).expect("the block ends");
    if std::env::var_os("BLESS").is_some() {
        let blessed = format!("{}{printed}{}", &readme[..start], &readme[end..]);
        std::fs::write(&path, blessed).expect("writable");
        return;
    }
    assert!(
        readme[start..end] == printed,
        "the README is out of date (BLESS=1 rewrites it); it prints\n{printed}"
    );
}

#[test]
fn the_readme_shows_what_the_main_job_prints() {
    shows("# wirelab", END, &["run", "third-ack-lost"]);
}

#[test]
fn the_readme_shows_the_score() {
    shows("## The score", "```text\n", &["score"]);
}
