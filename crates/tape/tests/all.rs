//! Tests of the tape. One program for many files: each would compile what it tests anew.

mod cases;
mod checkpoint;
mod golden;
mod keeping;
mod operations;
mod programs;
mod recording;
mod row_blocks;
mod rows;
mod rules;
mod strategies;
mod sums;
mod traces;
mod transform;
mod vmap;

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
