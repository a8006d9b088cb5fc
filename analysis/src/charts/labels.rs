//! Places labels at line ends so that none covers another. Pure.

/// Moves `wanted` positions apart until each is at least `gap` from its neighbours, and all lie in `low..=high`.
///
/// The order is kept and labels move as little as that allows: those in each other's way share the move. If there is
/// no room for all, they are spread evenly.
pub(super) fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let room = (high - low).max(0.0);
    let needed = gap * wanted.len().saturating_sub(1) as f64;
    let gap = if needed > room { room / wanted.len().saturating_sub(1) as f64 } else { gap };
    let clusters = clusters(order.iter().map(|index| wanted[*index].clamp(low, high)), gap, low, high);
    let mut placed = vec![low; wanted.len()];
    let places = clusters.iter().flat_map(|cluster| (0..cluster.count).map(|nth| cluster.first + gap * nth as f64));
    for (index, place) in order.into_iter().zip(places) {
        placed[index] = place;
    }
    placed
}

/// Labels one gap apart each.
struct Cluster {
    /// Where the first stands.
    first: f64,
    count: usize,
    /// The sum of where each would like the first to be.
    wishes: f64,
}

fn clusters(sorted: impl Iterator<Item = f64>, gap: f64, low: f64, high: f64) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for wanted in sorted {
        let mut cluster = Cluster { first: wanted, count: 1, wishes: wanted };
        // A cluster that reaches into the one before becomes part of it, which may then reach further.
        while let Some(before) = clusters.pop_if(|before| before.first + gap * before.count as f64 > cluster.first) {
            let shifted = cluster.wishes - gap * (before.count * cluster.count) as f64;
            let (count, wishes) = (before.count + cluster.count, before.wishes + shifted);
            let last_start = (high - gap * (count - 1) as f64).max(low);
            cluster = Cluster { first: (wishes / count as f64).clamp(low, last_start), count, wishes };
        }
        clusters.push(cluster);
    }
    clusters
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_move_apart_and_stay_inside() {
        let cases: [(&[f64], &[f64]); 7] = [
            (&[], &[]),
            (&[50.0], &[50.0]),
            (&[10.0, 90.0], &[10.0, 90.0]),
            (&[50.0, 50.0], &[40.0, 60.0]),
            (&[60.0, 50.0], &[65.0, 45.0]),
            (&[-10.0, 0.0, 1.0], &[0.0, 20.0, 40.0]),
            (&[100.0, 300.0, 99.0], &[80.0, 100.0, 60.0]),
        ];
        for (wanted, expected) in cases {
            assert_eq!(spread(wanted, 20.0, 0.0, 100.0), expected, "{wanted:?}");
        }
    }

    #[test]
    fn without_room_they_are_spread_evenly() {
        assert_eq!(spread(&[5.0, 5.0, 5.0], 20.0, 0.0, 10.0), [0.0, 5.0, 10.0]);
    }

    proptest! {
        #[test]
        fn never_closer_than_the_gap(wanted in proptest::collection::vec(-50.0..150.0_f64, 0..6)) {
            let mut placed = spread(&wanted, 20.0, 0.0, 100.0);
            placed.sort_by(f64::total_cmp);
            prop_assert!(placed.windows(2).all(|pair| pair[1] - pair[0] >= 20.0 - 1e-9), "{placed:?}");
            prop_assert!(placed.iter().all(|place| (-1e-9..=100.0 + 1e-9).contains(place)), "{placed:?}");
        }
    }
}
