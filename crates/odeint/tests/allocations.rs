//! What is replayed allocates nothing: a step, and a whole solve with its gradient.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use costate_odeint::{
    Bdf, GaussLegendre6, Integrator, Kvaerno5, Method, Ode, Options, Rodas5P, Tsit5,
};
use costate_tape::{Function, Program, Result, Tape, Var, Workspace};
use ndarray::{ArrayD, IxDyn};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    f();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_step_allocates_nothing() {
    let all = Method::all().into_iter().filter(|m| m.tableau().error.is_some());
    for method in all.chain([Rodas5P.into(), Bdf.into()]) {
        steps_allocate_nothing(method, Options::tolerance(1e-9, 1e-9));
    }
    for method in Method::symplectic().into_iter().chain([GaussLegendre6.into()]) {
        steps_allocate_nothing(method, Options::steps(100));
    }
}

/// Nor does what is between them.
fn steps_allocate_nothing(method: Method, options: Options) {
    let mut f = |_: f64, y: &[f64], dy: &mut [f64]| {
        for (dy, y) in dy.iter_mut().zip(y) {
            *dy = -y;
        }
    };
    let mut integrator = Integrator::new(method, &[1.0; 40], 0.0, 10.0, options).unwrap();
    let mut middle = [0.0; 40];
    // The first step finds out what instruction sets the machine has.
    integrator.step(&mut f).unwrap();
    let count = allocations(|| {
        while !integrator.is_done() {
            integrator.step(&mut f).unwrap();
            integrator.dense_slopes(&mut f).unwrap();
            integrator.last_step().interpolate(0.5, &mut middle);
        }
    });
    assert_eq!(count, 0, "{}", method.tableau().name);
    assert!(integrator.stats().accepted > 5);
}

/// A small network's solve, `[5, 2] → [3, 5, 2]`.
fn solve<'t>(ode: &Ode, x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    ode.solve(|_, y| y.matmul(x[1]).tanh().matmul(x[2]) - y, x[0], [0.0, 0.4, 1.0])
}

fn replay_allocates_nothing<F>(f: F)
where
    F: for<'t> FnOnce(&'t Tape<f64>, &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>>,
{
    let array =
        |shape: &[usize]| ArrayD::from_shape_fn(IxDyn(shape), |i| (i[0] as f64 + 0.3).sin());
    let x = [array(&[5, 2]), array(&[2, 8]), array(&[8, 2])];
    let program = Program::compile(&Function::trace(&x, f).unwrap()).unwrap();
    let mut workspace = Workspace::new(&program);
    let inputs: Vec<&[f64]> = x.iter().map(|x| x.as_slice().unwrap()).collect();
    // The first run finds out how many steps there are; the third one compiles whole steps, if they
    // are of few numbers.
    for _ in 0..3 {
        program.evaluate(&mut workspace, &inputs).unwrap();
    }
    let count = allocations(|| {
        for _ in 0..10 {
            program.evaluate(&mut workspace, &inputs).unwrap();
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_solve_with_its_gradient_allocates_nothing() {
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-6);
    replay_allocates_nothing(|_, x| solve(&ode, x)?.square().sum().grad(x));
}

/// Whose steps are taken at once.
#[test]
fn nor_does_a_solve_of_few_numbers() {
    for ode in [Ode::new(Tsit5), Ode::new(Kvaerno5)] {
        let ode = ode.tolerance(1e-6, 1e-6);
        replay_allocates_nothing(|_, x| {
            let (a, y0) = (x[1].slice_axis(1, 0..2), x[0].slice_axis(0, 0..1).reshape([2]));
            let ys = ode.solve(|t, y| (y.square() - y) * t - a.sum() * y, y0, [0.0, 0.4, 1.0])?;
            ys.square().sum().grad(x)
        });
    }
}

#[test]
fn nor_does_a_product_with_its_hessian() {
    for ode in [
        Ode::new(Tsit5).tolerance(1e-6, 1e-6),
        Ode::new(Kvaerno5).tolerance(1e-6, 1e-6),
        Ode::new(GaussLegendre6).steps(5),
    ] {
        replay_allocates_nothing(|tape, x| {
            let bars = solve(&ode, x)?.square().sum().grad(x)?;
            tape.vjp(&bars, x, x)
        });
    }
}
