//! Medians, robust lines and percentiles that own up to their sample size.

use hdrhistogram::Histogram;

/// Samples that must lie beyond a percentile for it to be given: fewer, and the next run gives another number.
pub const SAMPLES_BEYOND: u64 = 10;

/// The median in "one sample in 2 lies beyond".
pub const P50: u64 = 2;
/// The 90th percentile: one sample in 10 lies beyond.
pub const P90: u64 = 10;
/// The 99th percentile: one sample in 100 lies beyond.
pub const P99: u64 = 100;
/// The 99.9th percentile: one sample in 1,000 lies beyond.
pub const P999: u64 = 1_000;

/// A straight line: `y = slope * x + intercept`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Change of y for each unit of x.
    pub slope: f64,
    /// y at x = 0.
    pub intercept: f64,
}

impl Line {
    /// y at `x`.
    #[must_use]
    pub fn at(&self, x: f64) -> f64 {
        self.slope.mul_add(x, self.intercept)
    }
}

/// The middle value, or the mean of the two middle ones. None for no values, or if one is not finite.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() / 2;
    let lower = if sorted.len().is_multiple_of(2) { upper - 1 } else { upper };
    Some(f64::midpoint(sorted[lower], sorted[upper]))
}

/// The middle of whole numbers, rounded down between two. None for no values.
#[must_use]
pub fn median_whole(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = if sorted.len().is_multiple_of(2) { sorted[sorted.len() / 2 - 1] } else { upper };
    Some(u64::midpoint(lower, upper))
}

/// The Theil-Sen line: the median of the slopes between all pairs of points, and the median of what remains.
///
/// Robust to 29% of bad points, unlike least squares, which one page fault at the wrong moment tilts. None without
/// two different x, or if a coordinate is not finite. Takes time in the square of the number of points.
#[must_use]
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Line> {
    let slope = median(&pair_slopes(points))?;
    let rest: Vec<f64> = points.iter().map(|(x, y)| slope.mul_add(-x, *y)).collect();
    Some(Line { slope, intercept: median(&rest)? })
}

/// The 95% interval of the slope of [`theil_sen`], after Sen (1968): the slopes between which the true one lies if the
/// points scatter around a line independently. It says how well the points of one run agree, not how well runs do.
///
/// None without two different x, or if a coordinate is not finite.
#[must_use]
pub fn theil_sen_interval(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mut slopes = pair_slopes(points);
    if slopes.is_empty() || slopes.iter().any(|slope| !slope.is_finite()) {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let (n, pairs) = (points.len() as f64, slopes.len() as f64);
    // The variance of Kendall's S, and the normal quantile of 97.5%.
    let spread = 1.959_964 * (n * (n - 1.0) * 2.0_f64.mul_add(n, 5.0) / 18.0).sqrt();
    let last = slopes.len() - 1;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the places there are")]
    let place = |at: f64| at.round().clamp(0.0, last as f64) as usize;
    Some((slopes[place(((pairs - spread) / 2.0).round() - 1.0)], slopes[place((pairs + spread) / 2.0)]))
}

/// The slopes between all pairs of points of different x.
fn pair_slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut slopes = Vec::new();
    for (index, (x1, y1)) in points.iter().enumerate() {
        for (x2, y2) in &points[index + 1..] {
            if x1 != x2 {
                slopes.push((y2 - y1) / (x2 - x1));
            }
        }
    }
    slopes
}

/// The value that one sample in `one_in` lies beyond ([`P99`] and its like), in the histogram's unit.
///
/// None when fewer than [`SAMPLES_BEYOND`] samples do. Counted in whole numbers: `1 - 0.9` is not 0.1 in floats.
#[must_use]
pub fn percentile(histogram: &Histogram<u64>, one_in: u64) -> Option<u64> {
    if one_in == 0 || histogram.len() / one_in < SAMPLES_BEYOND {
        return None;
    }
    let quantile = 1.0 - 1.0 / one_in as f64;
    Some(histogram.value_at_quantile(quantile).min(histogram.max()))
}

/// The largest value, in the histogram's unit. None without samples.
#[must_use]
pub fn max(histogram: &Histogram<u64>) -> Option<u64> {
    (!histogram.is_empty()).then(|| histogram.max())
}

/// One histogram of all of `parts`. Parts that don't fit (damaged ones) are left out.
///
/// # Panics
/// Never: the precision is a constant that the library accepts.
#[must_use]
pub fn merge<'a>(parts: impl IntoIterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    // Unlike the recorder's, this one grows: it must take whatever the parts hold.
    let mut whole = Histogram::new(2).expect("2 significant digits are supported");
    for part in parts {
        // The count of the merged histogram tells: it is compared with the number of acknowledgements.
        let _ = whole.add(part);
    }
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn medians() {
        let cases: [(&[f64], Option<f64>); 6] = [
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[3.0, 1.0], Some(2.0)),
            (&[9.0, 1.0, 5.0], Some(5.0)),
            (&[1.0, f64::NAN], None),
            (&[f64::INFINITY, 1.0, 2.0], None),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values), expected, "{values:?}");
        }
        assert_eq!(median_whole(&[]), None);
        assert_eq!(median_whole(&[u64::MAX, u64::MAX]), Some(u64::MAX));
        assert_eq!(median_whole(&[4, 1, 2]), Some(2));
    }

    #[test]
    fn no_line_without_two_different_x() {
        let cases: [&[(f64, f64)]; 4] =
            [&[], &[(1.0, 1.0)], &[(1.0, 1.0), (1.0, 2.0)], &[(1.0, f64::NAN), (2.0, 1.0), (3.0, f64::NAN)]];
        for points in cases {
            assert_eq!(theil_sen(points), None, "{points:?}");
        }
    }

    #[test]
    fn the_line_and_its_interval_are_those_of_another_implementation() {
        // scipy.stats.theilslopes(y, x, 0.95) of scipy 1.x: slope, low_slope, high_slope.
        let noise = [3100, -4096, 8192, 100, -2000, 12_288, -8192, 500, 4096, -700, 0, 20_480];
        let mut points: Vec<(f64, f64)> = (1..=12_u32)
            .zip(noise)
            .map(|(i, noise)| (f64::from(i) * 2750.0, 2e6 + 60.0 * f64::from(i) * 2750.0 + f64::from(noise)))
            .collect();
        for expected in [
            [60.137_787_878_787, 59.627_636_363_636, 60.744_727_272_727],
            [59.967_099_567_099, 57.856_727_272_727, 60.893_672_727_272],
        ] {
            let (low, high) = theil_sen_interval(&points).unwrap();
            let found = [theil_sen(&points).unwrap().slope, low, high];
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?} {expected:?}");
            // Two outliers, as the second row of expectations.
            points[4].1 += 5e6;
            points[9].1 -= 3e6;
        }
        assert_eq!(theil_sen_interval(&[(1.0, 1.0)]), None);
        assert_eq!(theil_sen_interval(&[(1.0, f64::NAN), (2.0, 1.0)]), None);
    }

    fn samples(count: u64) -> Histogram<u64> {
        let mut histogram = holdline_record::new_histogram();
        for value in 1..=count {
            histogram.saturating_record(value);
        }
        histogram
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        for (one_in, needed) in [(P50, 20), (P90, 100), (P99, 1_000), (P999, 10_000)] {
            assert_eq!(percentile(&samples(needed - 1), one_in), None, "one in {one_in}");
            assert!(percentile(&samples(needed), one_in).is_some(), "one in {one_in}");
        }
        assert_eq!(percentile(&samples(100), 0), None);
        assert_eq!(max(&samples(0)), None);
        assert_eq!(max(&samples(1)), Some(1));
    }

    #[test]
    fn a_percentile_is_within_the_histograms_precision() {
        let p99 = percentile(&samples(10_000), P99).unwrap();
        assert!((9_900..=9_999).contains(&p99), "{p99}");
    }

    #[test]
    fn merged_histograms_keep_every_sample() {
        let (a, b) = (samples(30), samples(50));
        assert_eq!(merge([&a, &b]).len(), 80);
        assert_eq!(merge([]).len(), 0);
    }

    proptest! {
        #[test]
        fn exact_on_a_line(slope in -1e4..1e4_f64, intercept in -1e8..1e8_f64, n in 2..40_u32) {
            let line = Line { slope, intercept };
            let points: Vec<_> = (0..n).map(|i| (f64::from(i) * 1e3, line.at(f64::from(i) * 1e3))).collect();
            let found = theil_sen(&points).unwrap();
            prop_assert!((found.slope - slope).abs() < 1e-3);
            prop_assert!((found.intercept - intercept).abs() < 1.0);
        }

        #[test]
        fn one_bad_point_in_five_moves_it_little(
            slope in 1.0..1e4_f64, bad in proptest::collection::vec(-1e12..1e12_f64, 2), at in 0..5_u32,
        ) {
            let line = Line { slope, intercept: 1e6 };
            let mut points: Vec<_> = (1..=10_u32).map(|i| (f64::from(i) * 3e3, line.at(f64::from(i) * 3e3))).collect();
            for (i, y) in bad.iter().enumerate() {
                points[at as usize + i * 5].1 = *y;
            }
            let found = theil_sen(&points).unwrap();
            prop_assert!((found.slope - slope).abs() < slope * 1e-6, "{found:?}");
        }

        #[test]
        fn the_median_lies_between(values in proptest::collection::vec(-1e9..1e9_f64, 1..50)) {
            let middle = median(&values).unwrap();
            let below = values.iter().filter(|value| **value <= middle).count();
            let above = values.iter().filter(|value| **value >= middle).count();
            prop_assert!(below * 2 >= values.len() && above * 2 >= values.len());
        }

        #[test]
        fn no_input_panics(points in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..12)) {
            let _ = theil_sen(&points);
        }
    }
}
