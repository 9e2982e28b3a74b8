//! Mini-batches in a seeded random order.

use crate::error::{Error, Result};
use crate::rng::Rng;
use crate::state::{Persist, State};

/// The numbers of the samples of one mini-batch after another, without end: each epoch goes through
/// all samples in a new random order.
///
/// ```
/// use costate_nn::Batches;
/// use ndarray::{Axis, arr2};
///
/// let x = arr2(&[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
/// let mut batches = Batches::new(3, 2, 7);
/// let rows = x.select(Axis(0), batches.next_batch());
/// assert_eq!(rows.dim(), (2, 2));
/// assert_eq!((batches.next_batch().len(), batches.epoch()), (1, 0));
/// batches.next_batch();
/// assert_eq!(batches.epoch(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    order: Vec<usize>,
    size: usize,
    whole: bool,
    next: usize,
    epoch: u64,
    rng: Rng,
}

impl Batches {
    /// Batches of `size` out of `samples`; the last of an epoch is smaller if they do not divide.
    ///
    /// # Panics
    /// If there are no samples or batches have none.
    #[track_caller]
    pub fn new(samples: usize, size: usize, seed: u64) -> Batches {
        assert!(samples > 0 && size > 0, "Batches: {samples} samples in batches of {size}");
        let mut rng = Rng::seeded(seed);
        let mut order: Vec<usize> = (0..samples).collect();
        rng.shuffle(&mut order);
        Batches { order, size, whole: false, next: 0, epoch: 0, rng }
    }

    /// Leaves a smaller batch at the end of an epoch out.
    ///
    /// # Panics
    /// If there is no other.
    #[track_caller]
    pub fn whole(mut self) -> Batches {
        let (samples, size) = (self.order.len(), self.size);
        assert!(samples >= size, "Batches: {samples} samples have no whole batch of {size}");
        self.whole = true;
        self
    }

    /// How many batches an epoch has.
    pub fn per_epoch(&self) -> usize {
        let samples = self.order.len();
        if self.whole { samples / self.size } else { samples.div_ceil(self.size) }
    }

    /// The number of the epoch that the last batch belongs to, from 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The samples of the next batch.
    pub fn next_batch(&mut self) -> &[usize] {
        if self.next == self.per_epoch() {
            self.rng.shuffle(&mut self.order);
            (self.next, self.epoch) = (0, self.epoch + 1);
        }
        let start = self.next * self.size;
        self.next += 1;
        &self.order[start..(start + self.size).min(self.order.len())]
    }
}

impl Persist for Batches {
    fn store(&self, state: &mut State) {
        let order: Vec<u64> = self.order.iter().map(|&i| i as u64).collect();
        state.put_integers("order", &order);
        state.put_integers("place", &[self.next as u64, self.epoch]);
        self.rng.store(state);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let order = state.integers("order", Some(self.order.len()))?;
        let place = state.integers("place", Some(2))?;
        let mut seen = vec![false; order.len()];
        for &i in &order {
            match seen.get_mut(i as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(Error::state("\"order\" does not name each sample once")),
            }
        }
        if place[0] > self.per_epoch() as u64 {
            let message = format!("batch {} of {} in an epoch", place[0], self.per_epoch());
            return Err(Error::state(message));
        }
        self.rng.restore(state)?;
        self.order = order.into_iter().map(|i| i as usize).collect();
        (self.next, self.epoch) = (place[0] as usize, place[1]);
        Ok(())
    }
}
