//! The fuzz targets' corpus (`fuzz/corpus`) and a bounded number of mutations of it, with a fixed seed.

mod exercise;
#[path = "../../wire/tests/mutate/mod.rs"]
mod mutate;

use mutate::{Random, corpus, mutate};

fn replay(target: &str, run: fn(&[u8]), mutations: usize) {
    let mut random = Random::new();
    for seed in corpus(target) {
        run(&seed);
        for _ in 0..mutations {
            let mut bytes = seed.clone();
            mutate(&mut bytes, &mut random);
            run(&bytes);
        }
    }
}

#[test]
fn no_input_makes_a_host_panic_or_grow_without_bound() {
    replay("host", exercise::host, 60);
}

#[test]
fn any_text_of_a_call_is_understood_or_refused_with_its_place() {
    replay("call_text", exercise::call_text, 400);
}
