//! The time that training takes.

use std::time::Instant;

/// Seconds of processor time of all threads where the system tells them, as Linux does, so that
/// what else the machine does hardly matters; seconds that pass elsewhere.
pub struct Clock {
    start: Instant,
    processor: Option<f64>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { start: Instant::now(), processor: processor() }
    }

    pub fn seconds(&self) -> f64 {
        match (self.processor, processor()) {
            (Some(before), Some(now)) => now - before,
            _ => self.start.elapsed().as_secs_f64(),
        }
    }
}

/// From the 14th and the 15th field of `/proc/self/stat`, in hundredths of a second.
fn processor() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may contain anything.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
