//! The house rules that a compiler does not hold: crate edges, dependencies, unfinished marks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// ARCHITECTURE.md §3: which crate of the workspace may import which.
const EDGES: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("stack", &["wire"]),
    ("sim", &["wire", "stack"]),
    ("analysis", &["wire", "stack"]),
    ("linux", &["wire", "stack", "sim"]),
    ("net", &["wire", "stack", "sim"]),
    ("apps", &["net"]),
    ("scenario", &["wire", "stack", "sim", "linux", "analysis", "net", "apps"]),
    ("drill", &["wire", "stack", "sim", "linux"]),
    ("drill-so", &["wire", "stack", "linux", "drill"]),
    ("traces", &[]),
    ("wirelab", &["wire", "stack", "sim", "linux", "net", "apps", "analysis", "scenario", "drill", "traces"]),
];

/// Crates without any dependency from outside the workspace.
const PURE: &[&str] = &["wire", "stack", "traces"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is here")
}

/// Normal (not dev, not build) dependencies of every workspace crate, from `cargo metadata`.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let meta: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo prints JSON");
    let mut found = BTreeMap::new();
    for package in meta["packages"].as_array().expect("packages") {
        let normal = package["dependencies"].as_array().expect("dependencies").iter();
        let names =
            normal.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().expect("name").to_owned());
        found.insert(package["name"].as_str().expect("name").to_owned(), names.collect());
    }
    found
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let found = dependencies();
    for name in found.keys() {
        assert!(
            EDGES.iter().any(|(c, _)| c == name),
            "crate {name} is missing from ARCHITECTURE.md §3 and EDGES"
        );
    }
    for (name, allowed) in EDGES {
        let deps = found.get(*name).unwrap_or_else(|| panic!("crate {name} is gone"));
        let inside = deps.iter().filter(|d| found.contains_key(*d));
        for dep in inside {
            assert!(allowed.contains(&dep.as_str()), "{name} must not import {dep} (ARCHITECTURE.md §3)");
        }
        if PURE.contains(name) {
            let outside: Vec<_> = deps.iter().filter(|d| !found.contains_key(*d)).collect();
            assert!(outside.is_empty(), "{name} must have no dependencies, has {outside:?}");
        }
    }
}

/// Every `.rs` file under `crates/`.
fn sources() -> Vec<(PathBuf, String)> {
    let mut todo = vec![root().join("crates")];
    let mut files = Vec::new();
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).expect("readable").map(|e| e.expect("entry").path()) {
            if entry.is_dir() {
                if !entry.ends_with("target") {
                    todo.push(entry);
                }
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&entry).expect("UTF-8");
                files.push((entry, text));
            }
        }
    }
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    files
}

#[test]
fn deterministic_crates_hold_no_hash_maps_clocks_or_threads() {
    // A hasher's seed, the machine's clock and its scheduler must not reach a run.
    let banned =
        ["HashMap", "HashSet", "SystemTime", "std::time::Instant", "std::thread", "thread_rng", "rand::"];
    for (path, text) in sources() {
        let relative = path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
        let inside =
            ["wire", "stack", "sim"].iter().any(|c| relative.starts_with(&format!("crates/{c}/src/")));
        if !inside || relative.contains("/tests") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        for (number, line) in code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in banned {
                assert!(!line.contains(word), "{relative}:{}: {word} in a deterministic crate", number + 1);
            }
        }
    }
}

#[test]
fn unsafe_code_lives_where_the_kernel_or_c_is_and_gives_its_reason() {
    // Two more: the call of an AVX2 function once the processor was asked, and libc's symbols that runs take over.
    let homes = [
        "crates/linux/",
        "crates/drill-so/",
        "crates/wire/src/checksum",
        "crates/net/src/interpose.rs",
        "crates/apps/src/tls/boring.rs",
    ];
    let word = concat!("uns", "afe ");
    for (path, text) in sources() {
        let relative = path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
        let uses = text.lines().filter(|l| !l.trim_start().starts_with("//") && l.contains(word));
        let blocks = uses.filter(|l| l.contains(concat!("uns", "afe {"))).count();
        if blocks == 0 {
            continue;
        }
        assert!(homes.iter().any(|h| relative.starts_with(h)), "{relative}: unsafe code is for {homes:?}");
        let reasons = text.matches("SAFETY:").count();
        assert!(reasons > 0, "{relative}: unsafe without a SAFETY comment");
    }
}

#[test]
fn no_unfinished_marks() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for mark in marks {
                assert!(!line.contains(mark), "{}:{}: {mark}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn every_source_file_says_what_it_decides() {
    for (path, text) in sources() {
        // A test's names are its claims.
        let is_test = path.to_string_lossy().ends_with("tests.rs")
            || path.components().any(|c| c.as_os_str() == "tests");
        assert!(
            is_test || text.starts_with("//!"),
            "{}: the first line says what it decides",
            path.display()
        );
    }
}
