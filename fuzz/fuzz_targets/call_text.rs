//! Any bytes through `exercise::call_text`.
#![no_main]

#[path = "../../crates/stack/tests/exercise/mod.rs"]
#[expect(dead_code, reason = "the other targets' part")]
mod exercise;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::call_text(bytes));
