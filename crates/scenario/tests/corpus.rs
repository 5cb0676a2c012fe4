//! The fuzz targets' corpus (`fuzz/corpus`) and a bounded number of mutations of it, with a fixed seed.

mod exercise;
#[path = "../../wire/tests/mutate/mod.rs"]
mod mutate;

use mutate::{Random, corpus, mutate};

fn replay(seeds: &[Vec<u8>], run: fn(&[u8]), mutations: usize) {
    let mut random = Random::new();
    for seed in seeds {
        run(seed);
        for _ in 0..mutations {
            let mut bytes = seed.clone();
            mutate(&mut bytes, &mut random);
            run(&bytes);
        }
    }
}

#[test]
fn any_scenario_file_is_planned_or_refused() {
    let mut seeds = corpus("scenario_file");
    seeds.extend(scenario::catalogue::all().iter().map(|entry| entry.text.as_bytes().to_vec()));
    replay(&seeds, exercise::scenario_file, 30);
}

#[test]
fn any_text_of_a_fault_is_understood_or_refused() {
    replay(&corpus("fault_text"), exercise::fault_text, 400);
}
