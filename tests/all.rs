//! Tests of the facade. One program for many files: each would compile what it tests anew.

mod instruments;
mod large;
mod same_bits;
mod workloads;

/// How many cases a property is tried with, unless the variable PROPTEST_CASES says otherwise.
fn cases(usual: u32) -> u32 {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    if given { proptest::prelude::ProptestConfig::default().cases } else { usual }
}

/// A file that is not named here would not run.
#[test]
fn every_file_runs() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|e| e == "rs") && name != "all" {
            let line = format!("\nmod {name};");
            assert!(include_str!("all.rs").contains(&line), "tests/{name}.rs does not run");
        }
    }
}
