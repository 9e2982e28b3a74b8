//! Threads that stay awake between pieces of work, and threads that work alone.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether somebody keeps threads awake.
static AWAKE: AtomicBool = AtomicBool::new(false);
/// How long a thread stays awake without work. Serial work between two shared pieces of one solve
/// takes less.
const PATIENCE: Duration = Duration::from_millis(1);
/// How many looks for work are taken between two at the clock.
const LOOKS: usize = 64;

/// Runs `f` on one of rayon's threads, and keeps the others awake meanwhile.
///
/// A thread of the pool goes to sleep when there is nothing to do for some microseconds, and to wake it
/// takes tens of them. What is shared between threads again and again, such as the evaluations of a
/// field in a solve, then gains little by it. Here threads look for work for a millisecond before they
/// give up, and until `f` has ended. That takes their time from other programs, so it is for work that
/// is mostly shared. If somebody does so already, or there is one thread, `f` is just run.
///
/// ```
/// let sum = costate_ops::awake(|| (1..=10).sum::<i32>());
/// assert_eq!(sum, 55);
/// ```
pub fn awake<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    // Threads beyond the processors would only keep each other from working.
    let threads = threads();
    if !(2..=processors()).contains(&threads) || AWAKE.swap(true, Ordering::Acquire) {
        return f();
    }
    // Also where `f` panics.
    struct Asleep<'a>(&'a AtomicBool);
    impl Drop for Asleep<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
            AWAKE.store(false, Ordering::Release);
        }
    }
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        let asleep = Asleep(&done);
        let owner = rayon::current_thread_index();
        for _ in 1..threads {
            let done = &done;
            scope.spawn(move |_| {
                // While it waits for others this thread may be given what was meant for them.
                if rayon::current_thread_index() != owner {
                    look_for_work(done);
                }
            });
        }
        let result = f();
        drop(asleep);
        result
    })
}

thread_local! {
    /// Whether this thread does its work alone.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, in which nothing is shared out to other threads: for one of several pieces of work that
/// keep all threads busy. Bits do not depend on it.
///
/// ```
/// let (x, mut y) = (vec![1.0; 1 << 20], vec![0.0; 1 << 20]);
/// costate_ops::alone(|| costate_ops::copy(&x, &mut y));
/// assert_eq!(x, y);
/// ```
pub fn alone<R>(f: impl FnOnce() -> R) -> R {
    // Also where `f` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _before = Before(ALONE.replace(true));
    f()
}

/// Over how many threads work is shared out here.
pub(crate) fn threads() -> usize {
    if ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// How many threads can run at once.
fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Does what work there is until `done`, or until there has been none for a while.
///
/// This ends in any case: if it was begun by a thread that waits for another one, that other one gets
/// on.
fn look_for_work(done: &AtomicBool) {
    let mut since = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if done.load(Ordering::Acquire) {
                return;
            }
            if rayon::yield_now() == Some(rayon::Yield::Executed) {
                since = Instant::now();
            } else {
                std::hint::spin_loop();
            }
        }
        if since.elapsed() > PATIENCE {
            return;
        }
        // To a thread of another program that waits for this processor.
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    /// On pools of every size, called from their threads and from others, within each other and from
    /// many threads at once; a panic comes out, and threads can be kept awake after it.
    #[test]
    fn work_gets_done() {
        let shared = |n: u32| awake(|| (0..n).into_par_iter().with_max_len(1).sum::<u32>());
        let sum = |n: u32| n * (n - 1) / 2;
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for _ in 0..20 {
                assert_eq!(pool.install(|| shared(100)), sum(100));
                let nested = pool.install(|| awake(|| shared(50) + awake(|| shared(50))));
                assert_eq!(nested, 2 * sum(50));
                let many = pool.install(|| (0..16u32).into_par_iter().map(|_| shared(20)).sum());
                assert_eq!(16 * sum(20), many);
            }
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.install(|| awake(|| panic!("in here")))
            }));
            assert!(caught.is_err());
            assert!(!AWAKE.load(Ordering::Relaxed));
        }
        assert_eq!(shared(1000), sum(1000));
    }

    #[test]
    fn alone_ends_with_its_work() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            assert_eq!(threads(), 3);
            alone(|| {
                alone(|| assert_eq!(threads(), 1));
                assert_eq!(threads(), 1);
            });
            assert!(std::panic::catch_unwind(|| alone(|| panic!("in here"))).is_err());
            assert_eq!(threads(), 3);
        });
    }
}
