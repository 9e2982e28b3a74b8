//! Tests of the facade. One program for many files: each would compile what it tests anew.

mod instruments;
mod large;
mod same_bits;
mod workloads;

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
