//! The fuzz targets' corpus (`fuzz/corpus`) and a bounded number of mutations of it, with a fixed seed.

mod exercise;
mod mutate;
mod sample;

use mutate::{Random, corpus, mutate};

/// A target of `fuzz/fuzz_targets` by the name of its file, and how many mutations of each seed are tried.
type Target = (&'static str, fn(&[u8]), usize);

const TARGETS: [Target; 5] = [
    ("packet", exercise::packet, 12),
    ("headers", exercise::headers, 100),
    ("options", exercise::options, 100),
    ("capture_file", exercise::capture_file, 300),
    ("filter", exercise::filter, 50),
];

#[test]
fn the_corpus_and_mutations_of_it_break_nothing() {
    for (target, run, mutations) in TARGETS {
        let mut seeds = corpus(target);
        match target {
            "packet" => seeds.extend(sample::frames().into_iter().map(|(_, b)| b)),
            "headers" | "options" => {
                // Headers and options stand behind the Ethernet and IPv4 headers of the sample.
                let frames = sample::frames();
                seeds.extend(frames.iter().filter_map(|(_, b)| b.get(14..).map(<[u8]>::to_vec)));
                seeds.extend(frames.iter().filter_map(|(_, b)| b.get(34..).map(<[u8]>::to_vec)));
                seeds.extend(frames.iter().filter_map(|(_, b)| b.get(54..).map(<[u8]>::to_vec)));
            }
            "capture_file" => seeds.push(sample::file()),
            _ => seeds.extend(wire::filter::fields().map(|f| f.name.as_bytes().to_vec())),
        }
        let mut random = Random::new();
        for seed in &seeds {
            run(seed);
            for _ in 0..mutations {
                let mut bytes = seed.clone();
                mutate(&mut bytes, &mut random);
                run(&bytes);
            }
        }
    }
}
