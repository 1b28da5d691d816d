//! AUTO's regret: how many times as long it took as the better of the two ways that it chooses from, over all places. Knows
//! nothing of how that was measured.

/// The regrets of all places.
#[derive(Debug, Default)]
pub(crate) struct Regrets {
    /// (where, how many times as long), the least first once they are sorted.
    places: Vec<(String, f64)>,
}

impl Regrets {
    pub(crate) fn add(&mut self, place: String, regret: f64) {
        let position = self.places.partition_point(|(_, known)| known.total_cmp(&regret).is_le());
        self.places.insert(position, (place, regret));
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn worst(&self) -> f64 {
        self.places.last().map_or(0.0, |(_, regret)| *regret)
    }

    /// The median; the greater of the two in the middle of an even number.
    pub(crate) fn median(&self) -> f64 {
        self.places.get(self.places.len() / 2).map_or(0.0, |(_, regret)| *regret)
    }

    /// At how many places it was no more than that.
    pub(crate) fn within(&self, limit: f64) -> usize {
        self.places.iter().filter(|(_, regret)| *regret <= limit).count()
    }

    /// What there is to say of them, with the places where they are greatest.
    pub(crate) fn sentence(&self, limit: f64) -> String {
        const NAMED: usize = 3;
        let beyond = self.places.iter().rev().filter(|(_, regret)| *regret > limit).take(NAMED);
        let named: Vec<String> = beyond.map(|(place, regret)| format!("{regret:.2} at {place}")).collect();
        let worst = if named.is_empty() { String::new() } else { format!(": {}", named.join("; ")) };
        format!(
            "AUTO's regret, its time as a multiple of the better way's, was {:.2} at the median place and {:.2} at the worst. It was within \
             {limit} in {} of {} places{worst}.",
            self.median(),
            self.worst(),
            self.within(limit),
            self.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_and_the_median_are_told_with_their_places() {
        let mut regrets = Regrets::default();
        assert_eq!((regrets.worst(), regrets.median(), regrets.len()), (0.0, 0.0, 0));
        for (place, regret) in [("a", 1.3), ("b", 0.98), ("c", 1.0), ("d", 2.5), ("e", 1.05)] {
            regrets.add(place.to_owned(), regret);
        }
        assert_eq!((regrets.worst(), regrets.median(), regrets.within(1.1)), (2.5, 1.05, 3));
        let sentence = regrets.sentence(1.1);
        assert!(sentence.contains("1.05 at the median place and 2.50 at the worst"), "{sentence}");
        assert!(sentence.ends_with("in 3 of 5 places: 2.50 at d; 1.30 at a."), "{sentence}");
    }
}
