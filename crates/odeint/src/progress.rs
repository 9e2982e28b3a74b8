//! A bar that shows how far a solve is.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};

use crate::Real;
use crate::step::Step;

/// An observer for [`Solver::observe`](crate::Solver::observe) that shows on the terminal how much of
/// the time from `start` to `end` is done, with the number of steps and the size of the last one.
pub fn progress_bar<T: Real>(
    start: f64,
    end: f64,
) -> impl FnMut(&Step<'_, T>) -> ControlFlow<()> + use<T> {
    const PARTS: f64 = 10_000.0;
    let style = ProgressStyle::with_template("{bar:40} {percent} %, {elapsed}, left {eta}, {msg}")
        .expect("a valid template");
    let bar = ProgressBar::new(PARTS as u64).with_style(style);
    let mut steps = 0u64;
    move |step| {
        steps += 1;
        let done = ((step.t1 - start) / (end - start)).clamp(0.0, 1.0);
        bar.set_position((PARTS * done) as u64);
        // Formatting costs more than a small step.
        if steps.is_power_of_two() || steps.is_multiple_of(1024) {
            bar.set_message(format!("{steps} steps, the last {:.1e} long", step.h));
        }
        if step.t1 == end {
            bar.finish();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::progress_bar;
    use crate::method::Tsit5;
    use crate::solver::Solver;

    /// A bar changes nothing, in both directions and past an event.
    #[test]
    fn a_bar_changes_nothing() {
        let f = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -y[0]);
        for end in [20.0, -20.0] {
            let plain = Solver::new(Tsit5).solve(f, &[1.0, 0.0], &[0.0, end]).unwrap();
            let shown = Solver::new(Tsit5).observe(progress_bar(0.0, end));
            assert_eq!(shown.solve(f, &[1.0, 0.0], &[0.0, end]).unwrap(), plain);
        }
    }
}
