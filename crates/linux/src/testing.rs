//! For tests that need the real kernel: which binary is the agent, and what to do without permission.

use std::ffi::OsString;

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
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} may not be skipped in CI: {why}");
            eprintln!("SKIPPED: {test} needs root: {why}");
            false
        }
    }
}
