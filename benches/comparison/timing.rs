//! Times of repeated calls, at once or in turns, and the memory that they took: what the programs in Rust
//! share that `benches/compare` runs.

use std::io::{BufRead, Write};
use std::time::Instant;

/// How long calls take, in milliseconds and ascending order: for so many seconds, or, in turns, for so long
/// after each line of the input. A line of JSON says that it is ready, and one follows each turn.
pub fn times(seconds: f64, in_turns: bool, mut call: impl FnMut()) -> Vec<f64> {
    if !in_turns {
        return turn(seconds, &mut call);
    }
    let mut all = Vec::new();
    say("{\"ready\":true}");
    for line in std::io::stdin().lock().lines() {
        line.expect("lines on the standard input");
        // What others left in the caches is not to be timed.
        call();
        let times = turn(seconds, &mut call);
        say(&format!("{{\"ms_median\":{:.6},\"ms_min\":{:.6}}}", median(&times), times[0]));
        all.extend(times);
    }
    if all.is_empty() {
        all = turn(seconds, &mut call);
    }
    all.sort_by(f64::total_cmp);
    all
}

/// How long calls take, in milliseconds and ascending order: as many as begin in so many seconds, and two at
/// least.
fn turn(seconds: f64, call: &mut impl FnMut()) -> Vec<f64> {
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds || times.len() < 2 {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// The entry in the middle of ascending ones.
pub fn median(ascending: &[f64]) -> f64 {
    ascending[ascending.len() / 2]
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("the standard output can be written to");
}

/// The most memory that this process had, where the system says so.
pub fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
