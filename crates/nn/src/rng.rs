//! Seeded random numbers, whose place in their sequence can be saved.

use costate_odeint::Real;
use costate_tape::Shape;
use ndarray::{ArrayD, IxDyn};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

use crate::error::Result;
use crate::state::{Persist, State};

/// Random numbers that follow from a seed: ChaCha with eight rounds, the same on every platform.
///
/// It is [saved](crate::save_checkpoint) as seed, stream and place, so that what is drawn after a
/// resume is what would have been drawn.
///
/// ```
/// use costate_nn::Rng;
///
/// let (mut a, mut b) = (Rng::seeded(7), Rng::seeded(7));
/// assert_eq!(a.normal(), b.normal());
/// assert!((0.0..1.0).contains(&a.uniform()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// From a seed.
    pub fn seeded(seed: u64) -> Rng {
        Rng(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The next number, uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next number from the standard normal distribution, from two uniform ones (G. E. P. Box,
    /// M. E. Muller, Ann. Math. Stat. 29 (1958) 610).
    pub fn normal(&mut self) -> f64 {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The next whole number below `n`, each as likely as the others to about `n / 2⁶⁴`.
    ///
    /// # Panics
    /// If `n` is 0.
    #[track_caller]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below: there is no number below 0");
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Puts entries in random order, each order as likely as the others (R. A. Fisher, F. Yates).
    pub fn shuffle<U>(&mut self, entries: &mut [U]) {
        for i in (1..entries.len()).rev() {
            let j = self.below(i + 1);
            entries.swap(i, j);
        }
    }

    /// An array of standard normal numbers.
    pub fn normals<T: Real>(&mut self, shape: impl Into<Shape>) -> ArrayD<T> {
        ArrayD::from_shape_simple_fn(IxDyn(&shape.into()), || T::from_f64(self.normal()))
    }

    /// An array of numbers that are -1 or 1, each as likely: the best probes for traces.
    pub fn signs<T: Real>(&mut self, shape: impl Into<Shape>) -> ArrayD<T> {
        let sign = || if self.uniform() < 0.5 { -T::one() } else { T::one() };
        ArrayD::from_shape_simple_fn(IxDyn(&shape.into()), sign)
    }
}

impl Persist for Rng {
    fn store(&self, state: &mut State) {
        let word = self.0.get_word_pos();
        let seed = self.0.get_seed();
        let mut words: Vec<u64> = seed
            .chunks(8)
            .map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes")))
            .collect();
        words.extend([self.0.get_stream(), word as u64, (word >> 64) as u64]);
        state.put_integers("rng", &words);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let words = state.integers("rng", Some(7))?;
        let mut seed = [0; 32];
        for (bytes, word) in seed.chunks_mut(8).zip(&words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(words[4]);
        rng.set_word_pos(u128::from(words[5]) | (u128::from(words[6]) << 64));
        self.0 = rng;
        Ok(())
    }
}
