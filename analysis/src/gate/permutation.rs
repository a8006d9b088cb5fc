//! The exact permutation test on midranks, and what belongs to it. No normal approximation anywhere: gates have few runs,
//! and figures that are counted in pages or buckets have many ties.
//!
//! Under "both builds are the same" every way of dealing the runs to the two sides is equally likely. The test counts the
//! ways in which the candidate's ranks sum up to what they do, or more (Hollander, Wolfe, Chicken: Nonparametric
//! Statistical Methods, 3rd ed., 4.1; with ties: the conditional distribution on midranks). Throughout, a larger value is
//! a worse one.

/// Runs of a side at most: the ways to deal twice as many fit into 128 bits.
pub(crate) const MAX_RUNS: usize = 64;

/// The share of all ways to deal the values to the two sides in which the candidate's rank sum is at least what it is:
/// how likely it is to see the candidate this much worse, or worse, if there is no difference.
///
/// None without values on both sides, with more than [`MAX_RUNS`] on one, or with one that is not finite.
pub(crate) fn p_value(base: &[f64], candidate: &[f64]) -> Option<f64> {
    if [base, candidate].iter().any(|side| side.is_empty() || side.len() > MAX_RUNS) {
        return None;
    }
    let all: Vec<f64> = candidate.iter().chain(base).copied().collect();
    if all.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let ranks = doubled_midranks(&all);
    let seen: usize = ranks[..candidate.len()].iter().sum();
    let ways = ways_by_sum(&ranks, candidate.len());
    let total: u128 = ways.iter().sum();
    let as_bad: u128 = ways[seen..].iter().sum();
    Some(as_bad as f64 / total as f64)
}

/// The least p that any values could give: all of the candidate's worse than all of the baseline's, without a tie.
/// Infinite where nothing can be tested.
pub(crate) fn least_p(base: usize, candidate: usize) -> f64 {
    if base == 0 || candidate == 0 {
        return f64::INFINITY;
    }
    // 1 over the number of ways to choose the candidate's runs out of all.
    (1..=candidate).map(|i| i as f64 / (base + i) as f64).product()
}

/// Adjusts `p` for their number (Holm 1979): the chance that any of them is below a bound by chance is then at most that
/// bound, whatever they have to do with each other.
pub(crate) fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (place, index) in order.into_iter().enumerate() {
        largest = largest.max((p[index] * (p.len() - place) as f64).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// By how much the candidate's values lie above the baseline's: all differences between a run of the one and a run of the
/// other, in order.
pub(crate) struct Shift {
    differences: Vec<f64>,
    base: usize,
    candidate: usize,
}

impl Shift {
    /// The shift between values that [`p_value`] takes.
    pub(crate) fn new(base: &[f64], candidate: &[f64]) -> Self {
        let mut differences: Vec<f64> = base.iter().flat_map(|b| candidate.iter().map(move |c| c - b)).collect();
        differences.sort_by(f64::total_cmp);
        Self { differences, base: base.len(), candidate: candidate.len() }
    }

    /// The median of the differences (Hodges and Lehmann 1963).
    pub(crate) fn estimate(&self) -> f64 {
        crate::stats::median(&self.differences).unwrap_or(f64::NAN)
    }

    /// The least shift that a one-sided test at `alpha` does not refute; none where no shift could be.
    pub(crate) fn at_least(&self, alpha: f64) -> Option<f64> {
        self.differences.get(self.rejected(alpha)?).copied()
    }

    /// The largest shift that a one-sided test at `alpha` does not refute; none where no shift could be.
    pub(crate) fn at_most(&self, alpha: f64) -> Option<f64> {
        let index = self.differences.len().checked_sub(1 + self.rejected(alpha)?)?;
        self.differences.get(index).copied()
    }

    /// The smallest worsening that would have been significant at `alpha`, had the runs scattered as they did.
    pub(crate) fn smallest_shown(&self, alpha: f64) -> Option<f64> {
        // Take the shift out and put d in: the test rejects once d carries the lower limit above 0.
        Some((self.estimate() - self.at_least(alpha)?).max(0.0))
    }

    /// How many of the differences, from one end, lie where the test rejects. With the differences above a shift counted as
    /// U (Mann and Whitney 1947), it is the number of differences less the smallest U that is significant. None if none is.
    fn rejected(&self, alpha: f64) -> Option<usize> {
        let ranks: Vec<usize> = (1..=self.base + self.candidate).map(|rank| 2 * rank).collect();
        let ways = ways_by_sum(&ranks, self.candidate);
        let total: u128 = ways.iter().sum();
        let mut tail: u128 = 0;
        let mut significant = None;
        for (sum, count) in ways.iter().enumerate().rev() {
            tail += count;
            if tail as f64 / total as f64 > alpha {
                break;
            }
            if *count > 0 {
                significant = Some(sum);
            }
        }
        let least = self.candidate * (self.candidate + 1) / 2;
        Some(self.differences.len() - (significant? / 2 - least))
    }
}

/// The rank of each value, twice, so that the mean rank of tied values is a whole number.
fn doubled_midranks(values: &[f64]) -> Vec<usize> {
    let less = |x: f64| values.iter().filter(|other| **other < x).count();
    let equal = |x: f64| values.iter().filter(|other| **other == x).count();
    // Ranks less + 1 to less + equal: their mean, doubled.
    values.iter().map(|value| 2 * less(*value) + equal(*value) + 1).collect()
}

/// For each sum, in how many ways `chosen` of the `ranks` have it.
fn ways_by_sum(ranks: &[usize], chosen: usize) -> Vec<u128> {
    let most: usize = ranks.iter().sum();
    // ways[k][s]: the number of sets of k of the ranks seen so far with sum s.
    let mut ways = vec![vec![0_u128; most + 1]; chosen + 1];
    ways[0][0] = 1;
    for (seen, rank) in ranks.iter().enumerate() {
        for size in (0..chosen.min(seen + 1)).rev() {
            let (smaller, larger) = ways.split_at_mut(size + 1);
            let (from, to) = (&smaller[size], &mut larger[0]);
            for (to, from) in to[*rank..].iter_mut().zip(from) {
                *to += from;
            }
        }
    }
    ways.swap_remove(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-12 * expected.abs().max(1e-3)
    }

    /// 25 values each, of which those of `SLOW` are lower.
    const FAST: [f64; 25] = [
        28747., 30367., 28329., 33191., 30659., 28359., 30975., 31477., 31152., 29389., 33024., 30780., 28758., 25571.,
        32250., 29910., 29968., 31888., 31642., 31188., 31838., 31564., 30149., 26021., 31240.,
    ];
    const SLOW: [f64; 25] = [
        27888., 27688., 25058., 27044., 28836., 30717., 27794., 28775., 27892., 25246., 27170., 27211., 27881., 30200.,
        29526., 27671., 27493., 29394., 29113., 26622., 26585., 28729., 29537., 27775., 29762.,
    ];

    #[test]
    fn p_values_are_those_of_other_implementations() {
        // Hollander and Wolfe's table 4.1 (permeability of the amnion), published with p = 0.1272; the others, and more
        // digits, of `coin::wilcox_test(distribution = "exact")`, R package coin.
        let term = [0.8, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let early = [1.15, 0.88, 0.90, 0.74, 1.21];
        let cases: [(&[f64], &[f64], f64); 8] = [
            (&early, &term, 0.127_206_127_206_127_2),
            (&term, &early, 0.896_769_896_769_896_7),
            // Many ties.
            (&[1., 1., 2., 2., 2., 3., 3., 4.], &[2., 2., 3., 3., 3., 4., 4., 5.], 0.056_254_856_254_856_26),
            // Separated but for a tie; separated with ties on each side only.
            (&[10., 10., 10., 10., 11.], &[11., 12., 12., 12., 12.], 0.007_936_507_936_507_936),
            (&[10.; 5], &[11., 12., 12., 12., 12.], 0.003_968_253_968_253_968),
            // Two values only: Fisher's exact test.
            (&[0.; 10], &[0., 0., 0., 0., 0., 0., 1., 1., 1., 1.], 0.043_343_653_250_773_99),
            (&SLOW, &FAST, 5.959_181_102_188_186e-6),
            // No difference to be seen at all.
            (&[5.; 6], &[5.; 6], 1.0),
        ];
        for (base, candidate, expected) in cases {
            let found = p_value(base, candidate).unwrap();
            assert!(close(found, expected), "{found} instead of {expected}");
        }
    }

    #[test]
    fn nothing_is_made_of_what_cannot_be_tested() {
        for (base, candidate) in [(&[][..], &[1.0][..]), (&[1.0], &[]), (&[1.0], &[f64::NAN]), (&[1.0], &[1.0; 65])] {
            assert_eq!(p_value(base, candidate), None);
        }
        assert!(p_value(&[1.0; 64], &[2.0; 64]).unwrap() < 1e-37, "the largest gate fits");
    }

    #[test]
    fn the_least_p_is_one_way_of_all() {
        for (base, candidate, expected) in [(5, 5, 1.0 / 252.0), (4, 4, 1.0 / 70.0), (1, 1, 0.5), (10, 5, 1.0 / 3003.0)]
        {
            assert!(close(least_p(base, candidate), expected));
        }
        assert!(least_p(0, 3).is_infinite());
    }

    #[test]
    fn the_correction_is_that_of_r() {
        // p.adjust(p, "holm") of R.
        let cases: [(&[f64], &[f64]); 3] = [
            (&[0.01, 0.04, 0.03, 0.005, 0.5], &[0.04, 0.09, 0.09, 0.025, 0.5]),
            (&[0.001, 0.02, 0.02, 0.9], &[0.004, 0.06, 0.06, 0.9]),
            (&[], &[]),
        ];
        for (p, expected) in cases {
            let found = holm(p);
            assert!(found.iter().zip(expected).all(|(a, b)| close(*a, *b)) && found.len() == p.len(), "{found:?}");
        }
    }

    #[test]
    fn intervals_are_those_of_r() {
        // wilcox.test(conf.int = TRUE, exact = TRUE) of R: two-sided, so each side has half of what is left.
        let shift = Shift::new(&FAST, &SLOW);
        let found = [shift.estimate(), shift.at_least(0.025).unwrap(), shift.at_most(0.025).unwrap()];
        assert_eq!(found, [-2444.0, -3394.0, -1508.0]);
        assert_eq!([shift.at_least(0.05), shift.at_most(0.05)], [Some(-3287.0), Some(-1651.0)]);
        let small =
            Shift::new(&[0.8, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46], &[1.15, 0.88, 0.90, 0.74, 1.21]);
        assert!(close(small.estimate(), -0.305));
        assert!(close(small.at_least(0.025).unwrap(), -0.76) && close(small.at_most(0.025).unwrap(), 0.15));
        // Too few for any.
        assert_eq!(Shift::new(&[1., 2., 3.], &[4., 5., 6.]).at_least(0.025), None);
    }

    proptest! {
        /// The definition, by brute force over all ways to choose.
        #[test]
        fn it_counts_all_ways_to_deal(values in proptest::collection::vec(0..6_u8, 2..11), dealt in 1..10_usize) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let candidates = dealt.min(values.len() - 1);
            let ranks = doubled_midranks(&values);
            let seen: usize = ranks[..candidates].iter().sum();
            let (mut all, mut as_bad) = (0_u32, 0_u32);
            for set in 0..1_u32 << values.len() {
                if set.count_ones() as usize == candidates {
                    all += 1;
                    let sum: usize = (0..values.len()).filter(|i| set >> i & 1 == 1).map(|i| ranks[i]).sum();
                    as_bad += u32::from(sum >= seen);
                }
            }
            let p = p_value(&values[candidates..], &values[..candidates]).unwrap();
            prop_assert!(close(p, f64::from(as_bad) / f64::from(all)));
        }

        /// What is said to be the smallest that would have been shown is just that.
        #[test]
        fn the_smallest_shown_is_where_the_test_turns(
            base in proptest::collection::vec(-1e3..1e3_f64, 5..12), candidate in proptest::collection::vec(-1e3..1e3_f64, 5..12),
        ) {
            let shift = Shift::new(&base, &candidate);
            let shown = shift.smallest_shown(0.05).unwrap();
            let p = |by: f64| {
                let moved: Vec<f64> = candidate.iter().map(|value| value - shift.estimate() + by).collect();
                p_value(&base, &moved).unwrap()
            };
            prop_assert!(p(shown + 1e-6) <= 0.05);
            prop_assert!(shown < 1e-6 || p(shown - 1e-6) > 0.05);
        }
    }
}
