//! Which states are kept: online in the forward pass, by the binomial schedule in the backward
//! pass. See [`Memory::Checkpoints`](crate::Memory::Checkpoints).

use crate::Real;
use crate::error::Error;
use crate::field::Field;
use crate::grid::GridStep;
use crate::integrator::Integrator;

/// Points of a solve, in the order of its steps, in a number of slots.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints<T: Real> {
    limit: usize,
    len: usize,
    points: Vec<T>,
    kept: Vec<Checkpoint>,
    /// Whether a backward pass has moved them.
    moved: bool,
    /// The most that were kept at any moment.
    peak: usize,
}

/// A point that is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Checkpoint {
    /// The number of the step that starts from it.
    step: usize,
    /// A point is given up only if there is a later one of a higher level.
    level: u32,
    slot: usize,
    has_slope: bool,
}

impl<T: Real> Default for Checkpoints<T> {
    fn default() -> Self {
        Checkpoints {
            limit: 0,
            len: 0,
            points: Vec::new(),
            kept: Vec::new(),
            moved: false,
            peak: 0,
        }
    }
}

impl<T: Real> Checkpoints<T> {
    /// Forgets all but the memory, and keeps the start of a solve. At most `limit` points are kept;
    /// if that is 0, none.
    pub fn start(&mut self, integrator: &Integrator<T>, limit: usize) {
        (self.limit, self.len) = (limit, integrator.point_len());
        self.points.clear();
        self.kept.clear();
        self.moved = false;
        self.peak = 0;
        if limit > 0 {
            self.insert(0, 0, u32::MAX, None, integrator);
        }
    }

    /// In the forward pass: keeps the point from which a step starts, the next one to the last
    /// that was kept, and gives up another if there is no room.
    pub fn push(&mut self, step: usize, integrator: &Integrator<T>) {
        if self.kept.len() < self.limit {
            return self.insert(self.kept.len(), step, 0, None, integrator);
        }
        if self.limit <= 1 {
            return;
        }
        let (gone, level) = match self.dispensable() {
            Some(i) => (self.kept.remove(i), 0),
            None => {
                let last = self.kept.pop().expect("the limit is more than 1");
                (last, last.level + 1)
            }
        };
        self.insert(self.kept.len(), step, level, Some(gone.slot), integrator);
    }

    /// The last point with a later one of a higher level.
    fn dispensable(&self) -> Option<usize> {
        let mut highest = 0;
        for (i, point) in self.kept.iter().enumerate().rev() {
            if point.level < highest {
                return Some(i);
            }
            highest = point.level;
        }
        None
    }

    /// Puts a point in a slot, or in a new one.
    fn insert(
        &mut self,
        i: usize,
        step: usize,
        level: u32,
        slot: Option<usize>,
        integrator: &Integrator<T>,
    ) {
        let slot = slot.unwrap_or(self.points.len() / self.len);
        if slot * self.len == self.points.len() {
            self.points.resize(self.points.len() + self.len, T::zero());
        }
        let has_slope = integrator.point(&mut self.points[slot * self.len..][..self.len]);
        self.kept.insert(i, Checkpoint { step, level, slot, has_slope });
        self.peak = self.peak.max(self.kept.len());
    }

    /// Starts a backward pass. An earlier one has left points that do not suit this one; then only
    /// the start remains.
    pub fn start_backward(&mut self) {
        if self.moved && self.limit < usize::MAX {
            self.kept.truncate(1);
            self.points.truncate(self.len);
        }
        self.moved = true;
    }

    /// The place of the last point from which a step before step `n` starts, and that step.
    fn before(&self, n: usize) -> (usize, usize) {
        let i = self.kept.partition_point(|point| point.step < n) - 1;
        (i, self.kept[i].step)
    }

    /// Makes an integrator go on from a point.
    fn resume(&self, i: usize, steps: &[GridStep], integrator: &mut Integrator<T>) {
        let Checkpoint { step, slot, has_slope, .. } = self.kept[i];
        integrator.resume(steps, step, &self.points[slot * self.len..][..self.len], has_slope);
    }

    /// In the backward pass: takes an integrator to the start of step `n`, from the last point before,
    /// and keeps points on the way.
    pub fn advance(
        &mut self,
        integrator: &mut Integrator<T>,
        field: &mut impl Field<T>,
        steps: &[GridStep],
        n: usize,
    ) -> Result<(), Error> {
        let (mut i, mut at) = self.before(n + 1);
        self.resume(i, steps, integrator);
        while at < n {
            let target = (at + self.next(i, n + 1 - at)).min(n);
            for step in &steps[at..target] {
                integrator.retake(field, step)?;
            }
            at = target;
            if at < n {
                i += 1;
                self.store(i, at, integrator);
            }
        }
        Ok(())
    }

    /// In the backward pass, on the way from point `i`, the last one, to reverse so many steps: how
    /// many to take until a point is to be kept, if one is.
    fn next(&self, i: usize, steps: usize) -> usize {
        match self.limit - i {
            0 | 1 => steps,
            slots => split(steps, slots),
        }
    }

    /// In the backward pass: keeps the point from which a step starts as number `i`. Those of later
    /// steps are no longer of use, and make room.
    fn store(&mut self, i: usize, step: usize, integrator: &Integrator<T>) {
        let room = self.kept.len() < self.limit;
        let gone = if room { None } else { self.kept.pop().map(|point| point.slot) };
        self.insert(i, step, 0, gone, integrator);
    }

    /// Whether no points are to be kept.
    pub fn is_none(&self) -> bool {
        self.limit == 0
    }

    /// The most points that were kept at any moment.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// The bytes of the most points.
    pub fn bytes(&self) -> usize {
        self.peak * (self.len * size_of::<T>() + size_of::<Checkpoint>())
    }
}

/// How many of `steps` steps, the last of which is to be reversed first, to take before a point is
/// kept, if there are `slots` for points, of which the first is taken by the start.
///
/// With `β(s, r) = C(s + r, r)`, the most steps that can be reversed by taking each at most `r` times
/// again, and the `r` for which `β(s, r - 1) < l ≤ β(s, r)`, it is optimal to take `k` steps if
///
/// ```text
/// β(s, r - 2) ≤ k ≤ β(s, r - 1)    and    β(s - 1, r - 1) ≤ l - k ≤ β(s - 1, r)
/// ```
///
/// (A. Griewank, *Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
/// differentiation*, Optim. Methods Softw. 1, 1992).
fn split(steps: usize, slots: usize) -> usize {
    // β(s, r) and β(s, r - 1); β(s - 1, r - 1) is β(s, r - 1) s / (s + r - 1).
    let (l, s) = (steps as u128, slots as u128);
    let (mut r, mut most, mut before) = (0, 1, 0);
    while most < l {
        r += 1;
        before = most;
        most = most * (s + r) / r;
    }
    let right = before * s / (s + r - 1).max(1);
    before.min(l - right) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Euler;
    use crate::options::Options;

    /// How many steps the binomial schedule takes to reverse `l` with `s` points:
    /// `r l - β(s + 1, r - 1)`.
    fn binomial(l: usize, s: usize) -> usize {
        let choose = |n: usize, k: usize| {
            (0..k.min(n - k) as u128).fold(1, |c, i| c * (n as u128 - i) / (i + 1)) as usize
        };
        let r = (0..).find(|&r| choose(s + r, r) >= l).expect("it grows");
        r * l - if r > 0 { choose(s + r, r - 1) } else { 0 }
    }

    /// The least number of steps, from all ways to split.
    fn least(most: usize, slots: usize) -> Vec<Vec<usize>> {
        let mut least = vec![vec![0; slots + 1]; most + 1];
        for l in 2..=most {
            least[l][1] = l * (l - 1) / 2;
            for s in 2..=slots {
                least[l][s] = (1..l)
                    .map(|k| k + least[l - k][s - 1] + least[k][s])
                    .min()
                    .expect("there is a way");
            }
        }
        least
    }

    /// The steps that splitting as `split` says takes.
    fn by_split(l: usize, s: usize) -> usize {
        match (l, s) {
            (0 | 1, _) => 0,
            (_, 1) => l * (l - 1) / 2,
            _ => {
                let k = split(l, s);
                k + by_split(l - k, s - 1) + by_split(k, s)
            }
        }
    }

    #[test]
    fn splits_are_optimal() {
        for (l, least) in least(90, 7).iter().enumerate().skip(1) {
            for (s, &least) in least.iter().enumerate().skip(1) {
                assert_eq!(binomial(l, s), least, "{l} steps, {s} points");
                assert_eq!(by_split(l, s), least, "{l} steps, {s} points");
            }
        }
    }

    /// The number of steps taken again in a backward pass, over whatever the forward pass kept.
    fn retaken(steps: usize, limit: usize) -> (usize, usize) {
        let integrator = Integrator::new(Euler, &[0.0], 0.0, 1.0, Options::steps(1)).unwrap();
        let mut points = Checkpoints::<f64>::default();
        points.start(&integrator, limit);
        (1..steps).for_each(|step| points.push(step, &integrator));
        // Each piece by the binomial schedule, with the slots that are free then.
        let mut ends: Vec<_> = points.kept.iter().map(|point| point.step).collect();
        ends.push(steps);
        let expected: usize =
            ends.windows(2).enumerate().map(|(i, w)| binomial(w[1] - w[0], limit - i)).sum();
        points.start_backward();
        let mut taken = 0;
        for n in (1..=steps).rev() {
            let (mut i, mut at) = points.before(n);
            while at + 1 < n {
                let k = points.next(i, n - at).min(n - 1 - at);
                (at, taken) = (at + k, taken + k);
                if at + 1 < n {
                    i += 1;
                    points.store(i, at, &integrator);
                }
            }
            assert!(points.kept.is_sorted_by_key(|point| point.step) && points.kept.len() <= limit);
        }
        assert!(points.peak() <= limit && points.points.len() <= limit);
        assert_eq!(taken, expected, "{steps} steps, {limit} points");
        (taken, points.peak())
    }

    #[test]
    fn no_more_steps_than_the_bound() {
        for limit in [1, 2, 3, 4, 7, 20] {
            for steps in (1..150).chain([1000, 4321]) {
                let (taken, peak) = retaken(steps, limit);
                assert!(taken <= binomial(steps, limit), "{steps} steps, {limit} points");
                assert_eq!(peak, limit.min(steps));
            }
        }
    }
}
