//! What several tests use.

use costate_nn::{Bound, Params, Result, Rng};
use costate_tape::{Tape, Var, check};
use ndarray::ArrayD;
use proptest::prelude::*;

/// A layer with one input, or several.
pub type Forward<'a> = &'a dyn for<'t> Fn(&Bound<'t, f64>, &[Var<'t, f64>]) -> Result<Var<'t, f64>>;

/// Checks the gradient of a layer with respect to its inputs and all parameters.
pub fn check_layer(
    params: &Params<f64>,
    inputs: &[ArrayD<f64>],
    forward: Forward<'_>,
) -> std::result::Result<(), TestCaseError> {
    let tape = Tape::new();
    let weights: Vec<_> = params.bind(&tape).vars().iter().map(|x| x.value()).collect();
    let all: Vec<_> = inputs.iter().cloned().chain(weights).collect();
    let n = inputs.len();
    check::gradient(
        |_, x| {
            let p = params.bind_to(&x[n..]);
            forward(&p, &x[..n]).map_err(|e| costate_tape::Error::from_call("layer", e))
        },
        &all,
    )
    .map_err(|e| TestCaseError::fail(e.to_string()))
}

/// Random parameters that are not those of a fresh layer, such as zeros.
pub fn scatter(params: &mut Params<f64>, seed: u64) {
    let mut rng = Rng::seeded(seed);
    params.values_mut().iter_mut().for_each(|x| *x += 0.3 * rng.normal());
}

/// A random array that follows from a seed.
pub fn random(seed: u64, shape: &[usize]) -> ArrayD<f64> {
    Rng::seeded(seed).normals(shape.to_vec())
}

/// The message of a panic and the line that it names.
pub fn panic_of(f: impl FnOnce()) -> (String, u32, String) {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    thread_local! {
        static LAST: RefCell<Option<(String, u32, String)>> = const { RefCell::new(None) };
    }
    // Hooks are global: this one only takes note of the thread that it runs on.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| (l.file().to_owned(), l.line()));
        let (file, line) = place.unwrap_or_default();
        let text = info.payload().downcast_ref::<&str>().map(|s| (*s).to_owned());
        let message = text.or_else(|| info.payload().downcast_ref::<String>().cloned());
        let message = message.unwrap_or_default();
        LAST.with(|last| *last.borrow_mut() = Some((file, line, message)));
    }));
    let result = catch_unwind(AssertUnwindSafe(f));
    let _ = std::panic::take_hook();
    assert!(result.is_err(), "no panic");
    let (file, line, message) = LAST.with(|last| last.borrow_mut().take()).expect("a panic");
    (file, line, message)
}
