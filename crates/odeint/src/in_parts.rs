//! Pieces of work shared out among threads part by part.
//!
//! A piece, such as the way back of some rows of a batch, is a row of parts of which each needs the one
//! before, such as its steps. A thread that has begun with a piece goes on with it while it is not far ahead
//! of pieces that wait; then it puts it back and takes the one that is furthest behind. So all pieces end at
//! about the same time also where one thread is slower than another: a processor has slower cores beside its
//! fast ones, or is used by other programs, too.

use std::sync::Mutex;

use costate_ops::alone;
use rayon::prelude::*;
use smallvec::SmallVec;

use crate::error::FieldError;

/// Up to how many pieces need no memory of their own each time.
const PIECES: usize = 32;
/// Into how many stretches the parts of a piece are divided: one is how far it may get ahead of others. To
/// go on with another piece costs what the near caches hold of this one.
const STRETCHES: usize = 4;

/// A piece, and how many of its parts are done.
struct Piece<'t, X> {
    of: &'t mut X,
    done: usize,
}

/// The pieces that no thread is at.
struct Waiting<'t, X>(Mutex<SmallVec<[Piece<'t, X>; PIECES]>>);

impl<'t, X> Waiting<'t, X> {
    /// Takes the one that is furthest behind, and gives back `piece`, unless it is less than `ahead` of that.
    fn exchange(&self, piece: Option<Piece<'t, X>>, ahead: usize) -> Option<Piece<'t, X>> {
        // Nothing panics while it is locked.
        let mut waiting = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let Some((i, least)) = waiting.iter().enumerate().min_by_key(|(_, piece)| piece.done)
        else {
            return piece;
        };
        match piece {
            None => Some(waiting.remove(i)),
            Some(piece) if piece.done < least.done + ahead => Some(piece),
            Some(piece) => Some(std::mem::replace(&mut waiting[i], piece)),
        }
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}

/// Does the parts of each piece, on all threads: `work` gets a piece and the number of a part. Which thread does
/// what is not to matter.
///
/// # Errors
/// The first one of `work`; others may have gone on meanwhile.
pub(crate) fn in_parts<X: Send>(
    pieces: &mut [X],
    parts: usize,
    work: impl Fn(&mut X, usize) -> Result<(), FieldError> + Sync,
) -> Result<(), FieldError> {
    let whole = |piece: &mut X| (0..parts).try_for_each(|part| work(piece, part));
    let threads = rayon::current_num_threads();
    if threads == 1 {
        return pieces.iter_mut().try_for_each(whole);
    }
    if threads > pieces.len() {
        return pieces.par_iter_mut().with_max_len(1).try_for_each(whole);
    }
    let all = pieces.iter_mut().map(|of| Piece { of, done: 0 });
    let waiting = Waiting(Mutex::new(all.collect()));
    let ahead = parts.div_ceil(STRETCHES);
    (0..threads).into_par_iter().with_max_len(1).try_for_each(|_| {
        alone(|| {
            while let Some(mut piece) = waiting.exchange(None, ahead) {
                while piece.done < parts {
                    work(piece.of, piece.done).inspect_err(|_| waiting.clear())?;
                    piece.done += 1;
                    if piece.done < parts {
                        piece = waiting.exchange(Some(piece), ahead).expect("one for another");
                    }
                }
            }
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each part of each piece is done once, in order, on any number of threads.
        #[test]
        fn parts_are_done_in_order(pieces in 0..40usize, parts in 0..12usize, threads in 1..9usize) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut done = vec![Vec::new(); pieces];
            let work = |piece: &mut Vec<usize>, part| {
                piece.push(part);
                Ok(())
            };
            pool.install(|| in_parts(&mut done, parts, work)).unwrap();
            for done in done {
                prop_assert_eq!(done, (0..parts).collect::<Vec<_>>());
            }
        }

        /// An error comes out, and ends the work of all.
        #[test]
        fn errors_come_out(pieces in 1..12usize, bad in 0..12usize, threads in 1..5usize) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut numbers: Vec<usize> = (0..pieces).collect();
            let found = pool.install(|| {
                in_parts(&mut numbers, 3, |&mut piece, part| match (piece == bad, part) {
                    (true, 1) => Err(FieldError::from("here")),
                    _ => Ok(()),
                })
            });
            prop_assert_eq!(found.is_err(), bad < pieces);
        }
    }

    /// A thread that is held up leaves the rest to the other.
    #[test]
    fn a_slow_thread_holds_up_nobody() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::time::{Duration, Instant};

        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let (total, by_others) = (4 * 12, AtomicUsize::new(0));
        let mut pieces = [(); 4];
        pool.install(|| {
            in_parts(&mut pieces, 12, |_, _| {
                if rayon::current_thread_index() == Some(0) {
                    // Until the other one has done what can be done without this part.
                    let start = Instant::now();
                    while by_others.load(Ordering::Relaxed) < total - 12
                        && start.elapsed() < Duration::from_secs(10)
                    {
                        std::thread::yield_now();
                    }
                } else {
                    by_others.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .unwrap();
        assert!(by_others.into_inner() >= total - 12);
    }
}
