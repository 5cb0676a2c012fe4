//! Any bytes through `exercise::scenario_file`.
#![no_main]

#[path = "../../crates/scenario/tests/exercise/mod.rs"]
#[expect(dead_code, reason = "the other targets' part")]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::scenario_file(bytes));
