//! For tests that need the real kernel: which binary is the agent, and what to do without permission.

use std::ffi::OsString;
use std::io::Write as _;

/// Makes `binary` the agent of this process, because a test harness cannot be one: its `main` does not call
/// [`crate::agent_main`]. The first call counts. `WIRELAB_AGENT` in the environment does the same.
///
/// ```no_run
/// linux::testing::use_agent("target/debug/wirelab"); // in a test: env!("CARGO_BIN_EXE_wirelab")
/// ```
pub fn use_agent(binary: impl Into<OsString>) {
    crate::agent_handle::choose_agent(binary.into());
}

/// Whether a test may make hosts on the real kernel. When not, it says so on stderr and the test should
/// return; with `CI=true` in the environment it panics instead, so that no test is skipped unseen.
///
/// # Panics
/// Without permission when `CI=true`.
pub fn permitted(test: &str) -> bool {
    match crate::check_permission() {
        Ok(()) => true,
        Err(why) => {
            skip(test, &format!("root: {why}"));
            false
        }
    }
}

/// Says that a test is skipped, and what it needs. With `CI=true` in the environment it panics instead, so that no test
/// is skipped unseen.
///
/// # Panics
/// When `CI=true`.
pub fn skip(test: &str, needs: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{test} may not be skipped in CI: it needs {needs}"
    );
    tell(&format!("SKIPPED: {test} needs {needs}"));
}

/// Python with the libraries of `.ci/peers.txt`, when `.ci/install` was run; a test that finds none is skipped.
///
/// # Panics
/// Without it when `CI=true`.
pub fn peers_python(test: &str) -> Option<std::path::PathBuf> {
    let cache = || {
        let home = std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".cache"));
        std::env::var_os("XDG_CACHE_HOME").map(Into::into).or(home)
    };
    let place = std::env::var_os("WIRELAB_PEERS").map(Into::into);
    let place: Option<std::path::PathBuf> = place.or_else(|| Some(cache()?.join("wirelab/peers")));
    let python = place.map(|place| place.join("bin/python")).filter(|python| python.exists());
    if python.is_none() {
        skip(test, "Python libraries: .ci/install");
    }
    python
}

/// A line on stderr that stands there also when the test passes: the harness keeps what `eprintln!` prints to itself.
pub fn tell(line: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}
