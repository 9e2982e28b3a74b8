//! Tests of the solvers on slices. One program for many files: each would compile the solvers anew.

mod auto;
mod defects;
mod events;
mod geometric;
mod imex;
mod implicit;
mod methods;
mod multistep;
mod reversible;
mod robust;
mod solver;
mod stepping;
mod stiff;

/// A file that no program names would not run.
#[test]
fn every_file_runs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let programs = [include_str!("plain.rs"), include_str!("gradients.rs")];
    let alone = ["plain", "gradients", "allocations", "sparse"];
    for entry in std::fs::read_dir(folder).expect("the folder of this file") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        if path.extension().is_some_and(|e| e == "rs") && !alone.contains(&name) {
            let line = format!("\nmod {name};");
            assert!(programs.iter().any(|p| p.contains(&line)), "tests/{name}.rs does not run");
        }
    }
}
