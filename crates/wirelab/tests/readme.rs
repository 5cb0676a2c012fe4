//! The README shows what the program prints; `BLESS=1 cargo test -p wirelab --test readme` rewrites it.

use std::path::Path;
use std::process::Command;

const FENCE: &str = "```\n";

#[test]
fn the_readme_shows_what_the_main_job_prints() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = Command::new(env!("CARGO_BIN_EXE_wirelab"))
        .args(["run", "third-ack-lost"])
        .current_dir(dir.path())
        .output()
        .expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let printed = String::from_utf8(out.stdout).expect("UTF-8");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(&path).expect("the README is there");
    let start = readme.find(FENCE).expect("the README has a block") + FENCE.len();
    let end = start + readme[start..].find(FENCE).expect("the block ends");
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
