//! Saving and loading: what is saved comes back, and what does not match changes nothing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use costate_nn::{Linear, Params, Persist, Rng, load_checkpoint, save_checkpoint};

/// A file of its own for each test, removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        File(std::env::temp_dir().join(format!("costate-{}-{name}", std::process::id())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn model(seed: u64, outputs: usize) -> Params<f32> {
    let mut params = Params::seeded(seed);
    Linear::new(&mut params, "a", 3, 4);
    Linear::new(&mut params, "b", 4, outputs);
    params
}

#[test]
fn what_is_saved_comes_back() {
    let file = File::new("round-trip");
    let saved = model(1, 2);
    saved.save(&file.0).unwrap();
    let mut loaded = model(2, 2);
    assert_ne!(saved.values(), loaded.values());
    loaded.load(&file.0).unwrap();
    assert_eq!(saved.values(), loaded.values());
}

#[track_caller]
fn refuses(params: &mut Params<f32>, file: &File, message: &str) {
    let before = params.values().to_vec();
    let e = params.load(&file.0).unwrap_err().to_string();
    assert!(e.contains(message), "{e}");
    assert!(e.contains("costate-"), "the message names the file: {e}");
    assert_eq!(params.values(), before);
}

#[test]
fn a_damaged_file_changes_nothing() {
    let file = File::new("damaged");
    let mut params = model(1, 2);
    refuses(&mut params, &file, "cannot read");
    params.save(&file.0).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    for len in [0, 4, 20, bytes.len() - 1] {
        std::fs::write(&file.0, &bytes[..len]).unwrap();
        refuses(&mut params, &file, "not an intact safetensors file");
    }
    std::fs::write(&file.0, vec![255; 200]).unwrap();
    refuses(&mut params, &file, "not an intact safetensors file");
}

#[test]
fn a_mismatched_file_changes_nothing() {
    let file = File::new("mismatched");
    model(1, 2).save(&file.0).unwrap();
    refuses(&mut model(1, 5), &file, "\"b.weight\" has shape [4, 2], the model [4, 5]");
    let mut more = model(1, 2);
    more.zeros("c", [1]);
    refuses(&mut more, &file, "has no tensor \"c\"");
    let mut fewer = Params::<f32>::seeded(0);
    Linear::new(&mut fewer, "a", 3, 4);
    refuses(&mut fewer, &file, "that the model lacks");
    let mut wide = Params::<f64>::seeded(0);
    Linear::new(&mut wide, "a", 3, 4);
    Linear::new(&mut wide, "b", 4, 2);
    let e = wide.load(&file.0).unwrap_err().to_string();
    assert!(e.contains("has type F32, the model f64"), "{e}");
}

#[test]
fn saving_where_one_cannot_is_an_error() {
    let path = std::env::temp_dir().join("costate-no-such-folder").join("file");
    let e = model(1, 2).save(&path).unwrap_err().to_string();
    assert!(e.contains("cannot write"), "{e}");
}

/// A file that Python's package wrote: see `data/README.md`.
#[test]
fn a_file_from_python_is_read() {
    let mut params = model(1, 2);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/python.safetensors");
    params.load(path).unwrap();
    let expected: Vec<f32> = (0..12)
        .map(|i| i as f32 / 8.0 - 0.5)
        .chain([0.1, -0.2, 0.3, 1e-30])
        .chain((0..8).map(|i| i as f32 * 1.5 - 3.0))
        .chain([std::f32::consts::PI, f32::NEG_INFINITY])
        .collect();
    assert_eq!(params.values(), expected);
    // The reverse: what is saved has the layout that Python reads, a length, a header in JSON that
    // is padded to eight bytes, and then the numbers, little-endian.
    let file = File::new("to-python");
    params.save(&file.0).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(header % 8, 0);
    let text = std::str::from_utf8(&bytes[8..8 + header]).unwrap();
    let (_, entry) = text.split_once("\"a.weight\":").unwrap();
    assert!(entry.starts_with("{\"dtype\":\"F32\",\"shape\":[3,4],\"data_offsets\":["), "{entry}");
    let (_, offsets) = entry.split_once("\"data_offsets\":[").unwrap();
    let start: usize = offsets.split_once(',').unwrap().0.parse().unwrap();
    let at = 8 + header + start;
    assert_eq!(bytes[at..at + 4], (-0.5f32).to_le_bytes());
}

/// A kill in the middle of a save leaves an unfinished file beside the last whole one.
#[test]
fn an_interrupted_save_loses_nothing() {
    let file = File::new("interrupted");
    let part = File(
        file.0.with_file_name(format!("{}.part", file.0.file_name().unwrap().to_str().unwrap())),
    );
    let old = model(1, 2);
    old.save(&file.0).unwrap();
    let bytes = std::fs::read(&file.0).unwrap();
    for len in [0, 10, bytes.len() / 2, bytes.len()] {
        std::fs::write(&part.0, &bytes[..len]).unwrap();
        let mut loaded = model(2, 2);
        loaded.load(&file.0).unwrap();
        assert_eq!(loaded.values(), old.values());
        // The next save does not mind what lies there.
        old.save(&file.0).unwrap();
        assert!(!part.0.exists());
        assert_eq!(std::fs::read(&file.0).unwrap(), bytes);
    }
}

/// A model whose file is large enough that a kill often falls into the middle of a save.
fn large() -> Params<f32> {
    let mut params = Params::seeded(0);
    params.zeros("x", [1 << 18]);
    params
}

/// Saves again and again, each time other numbers, until it is killed or half a minute is over.
#[test]
#[ignore = "is run, and killed, by a_kill_in_the_middle_of_a_save_loses_nothing"]
fn saves_until_it_is_killed() {
    let Some(path) = std::env::var_os("COSTATE_SAVE_TO") else { return };
    let (start, mut params) = (Instant::now(), large());
    for i in 1u16.. {
        params.values_mut().fill(f32::from(i));
        params.save(&path).unwrap();
        if start.elapsed() > Duration::from_secs(30) {
            return;
        }
    }
}

/// A process that saves is killed, at another place of a save each time: the file is whole.
#[test]
fn a_kill_in_the_middle_of_a_save_loses_nothing() {
    let file = File::new("killed");
    let part = File(
        file.0.with_file_name(format!("{}.part", file.0.file_name().unwrap().to_str().unwrap())),
    );
    let mut params = large();
    params.save(&file.0).unwrap();
    for round in 0..12 {
        let before = std::fs::metadata(&file.0).unwrap().modified().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::saves_until_it_is_killed", "--ignored"])
            .env("COSTATE_SAVE_TO", &file.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Once it has begun.
        let start = Instant::now();
        while std::fs::metadata(&file.0).unwrap().modified().unwrap() == before {
            assert!(start.elapsed() < Duration::from_secs(60), "the other process does not save");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(400 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        params.load(&file.0).unwrap();
        let first = params.values()[0];
        assert!(first > 0.0 && params.values().iter().all(|&x| x == first), "round {round}");
    }
    // What a kill left beside the file is in nobody's way.
    params.save(&file.0).unwrap();
    assert!(!part.0.exists());
}

/// A file of ours is read by Python's package, which writes what it read, and that is read again:
/// the same bits. Needs `python3` with `safetensors` and `numpy`, and says so where they are not.
#[test]
fn python_reads_and_writes_our_files() {
    let python = || Command::new("python3");
    let there = python().args(["-c", "import numpy, safetensors"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 with numpy and safetensors is not installed");
        return;
    }
    let (ours, theirs) = (File::new("ours"), File::new("theirs"));
    let mut params = Params::<f64>::seeded(3);
    Linear::new(&mut params, "a", 3, 4);
    params.values_mut()[..4].copy_from_slice(&[1.0 / 3.0, -0.0, f64::INFINITY, 5e-324]);
    let mut rng = Rng::seeded(5);
    rng.normal();
    save_checkpoint(&ours.0, &[("params", &params), ("single", &model(1, 2)), ("rng", &rng)])
        .unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/through.py");
    let output = python().arg(script).args([&ours.0, &theirs.0]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // What Python sees: types, shapes, numbers.
    assert!(
        text.contains("params/a.weight float64 (3, 4) 0x1.5555555555555p-2 -0x0.0p+0"),
        "{text}"
    );
    assert!(text.contains("inf 0x0.0000000000001p-1022"), "{text}");
    assert!(text.contains("single/b.bias float32 (2,)"), "{text}");
    assert!(text.contains("rng/rng uint64 (7,)"), "{text}");
    let (mut back, mut single, mut other) = (Params::<f64>::seeded(0), model(2, 2), Rng::seeded(0));
    Linear::new(&mut back, "a", 3, 4);
    let objects: &mut [(&str, &mut dyn Persist)] =
        &mut [("params", &mut back), ("single", &mut single), ("rng", &mut other)];
    load_checkpoint(&theirs.0, objects).unwrap();
    let bits =
        |params: &Params<f64>| params.values().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&params));
    assert_eq!(single.values(), model(1, 2).values());
    assert_eq!(other, rng);
}
