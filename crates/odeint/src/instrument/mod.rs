//! Instruments of a gradient: what its backward pass went through, whether it is right, and how
//! accurate it is.

#[allow(dead_code, reason = "the instruments that read it follow")]
mod probe;

pub(crate) use probe::{Pass, Probe};
