//! A bar that shows how far training is (feature `progress`).

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on standard error: what is done, the time that is left, and a loss. It is not
/// shown where standard error is no terminal.
///
/// ```
/// let bar = costate_nn::Progress::new(100);
/// for step in 0..100 {
///     bar.step(1.0 / f64::from(step + 1));
/// }
/// bar.finish();
/// ```
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// For as many steps.
    pub fn new(steps: u64) -> Progress {
        let bar = ProgressBar::new(steps);
        let template = "{bar:30} {pos}/{len}  loss {msg}  {elapsed}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("a template that is right"));
        Progress(bar)
    }

    /// One step is done, with this loss.
    pub fn step(&self, loss: f64) {
        self.0.set_message(format!("{loss:.4e}"));
        self.0.inc(1);
    }

    /// As many steps were done before, in the run that is resumed.
    pub fn resume(&self, steps: u64) {
        self.0.set_position(steps);
        self.0.reset_eta();
    }

    /// Leaves the bar as it is.
    pub fn finish(&self) {
        self.0.abandon();
    }
}
