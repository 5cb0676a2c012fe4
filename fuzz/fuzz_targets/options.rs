//! Any bytes through `exercise::options`.
#![no_main]

#[path = "../../crates/wire/tests/exercise/mod.rs"]
#[expect(dead_code, reason = "the other targets' part")]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::options(bytes));
