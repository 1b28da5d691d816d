//! Random choices that are remembered, so that what was made of them can be made again, and made smaller.
//!
//! Everything random is drawn as a number below a bound, and 0 is the simplest choice. A smaller or shorter sequence of
//! numbers therefore gives a simpler query that is as well-formed as the first.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A source of choices.
pub struct Draw {
    random: Option<StdRng>,
    given: Vec<usize>,
    taken: Vec<usize>,
}

impl Draw {
    /// Choices from a seed; the parts tell sequences of the same seed apart.
    #[must_use]
    pub fn seeded(seed: u64, parts: &[u64]) -> Self {
        let mut mixed = seed;
        for part in parts {
            mixed = (mixed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_add(part + 1);
        }
        Self { random: Some(StdRng::seed_from_u64(mixed)), given: Vec::new(), taken: Vec::new() }
    }

    /// These choices again, and the simplest ones when they have run out.
    #[must_use]
    pub const fn again(given: Vec<usize>) -> Self {
        Self { random: None, given, taken: Vec::new() }
    }

    /// The choices so far.
    #[must_use]
    pub fn into_taken(self) -> Vec<usize> {
        self.taken
    }

    fn next(&mut self, fresh: impl FnOnce(&mut StdRng) -> usize, bound: usize) -> usize {
        let value = match &mut self.random {
            Some(random) => fresh(random),
            None => self.given.get(self.taken.len()).copied().unwrap_or(0).min(bound.saturating_sub(1)),
        };
        self.taken.push(value);
        value
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.next(|random| random.random_range(0..bound.max(1)), bound)
    }

    /// A number from `from` to below `to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    /// True in so many of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.next(|random| usize::from(random.random_range(0..100) < percent), 2) == 1
    }

    /// An index, drawn with these weights.
    pub fn weighted(&mut self, weights: &[usize]) -> usize {
        let total: usize = weights.iter().sum();
        let fresh = |random: &mut StdRng| {
            let mut rest = random.random_range(0..total.max(1));
            for (index, weight) in weights.iter().enumerate() {
                if rest < *weight {
                    return index;
                }
                rest -= weight;
            }
            0
        };
        self.next(fresh, weights.len())
    }

    /// One of these; there must be one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = self.below(from.len());
        &from[index]
    }

    /// Some of these, in their order, at least one if there is one.
    pub fn some<T: Clone>(&mut self, from: &[T], percent: usize) -> Vec<T> {
        let mut chosen = Vec::new();
        for item in from {
            if self.chance(percent) {
                chosen.push(item.clone());
            }
        }
        if chosen.is_empty() && !from.is_empty() {
            chosen.push(self.pick(from).clone());
        }
        chosen
    }
}
