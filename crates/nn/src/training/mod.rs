//! What surrounds the steps of training: rates, batches, averages, when to stop, logs.

mod average;
mod batches;
mod log;
#[cfg(feature = "progress")]
mod progress;
mod schedule;
mod stop;

pub use average::{Ema, Swa};
pub use batches::Batches;
pub use log::CsvLog;
#[cfg(feature = "progress")]
pub use progress::Progress;
pub use schedule::{Constant, Cosine, Plateau, Schedule, StepDecay, Warmup};
pub use stop::EarlyStopping;
