//! Which worker holds which client: the supervisor's directory.
//!
//! A worker says `Joined` and `Left` over one ordered channel, so what is known here of its slots is an exact copy that
//! lags behind. The id of each slot is kept once, by location; the table from id to location holds 4-byte locations only
//! and looks ids up there. It is split into shards that grow one by one: no growth moves more than a shard.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Bits of a location that name the slot: as many slots as the kernel's default of fs.nr_open allows descriptors.
const SLOT_BITS: u32 = 20;
/// Slots of a worker.
pub(crate) const MAX_SLOTS: u32 = 1 << SLOT_BITS;
/// Workers of a server.
pub(crate) const MAX_WORKERS: u32 = 1 << (32 - SLOT_BITS);
/// At a million ids a shard holds some 4,000, and growing it takes well below a millisecond.
const SHARDS: usize = 256;
/// A worker's ids grow by this many slots at a time, not by doubling: what is not used is at most 8 KB.
const ID_STEP: usize = 1024;

/// A slot of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Location(u32);

impl Location {
    /// Slot `slot` of worker `worker`.
    ///
    /// # Panics
    /// Beyond the bounds that the settings were checked for.
    pub(crate) fn new(worker: u32, slot: u32) -> Self {
        assert!(worker < MAX_WORKERS && slot < MAX_SLOTS, "location {worker}/{slot} is out of bounds");
        Self(worker << SLOT_BITS | slot)
    }

    pub(crate) fn worker(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 & (MAX_SLOTS - 1)
    }
}

/// Client ids and where they are.
pub(crate) struct Directory {
    shards: Vec<HashTable<Location>>,
    /// The id of each slot, by worker; what stands in a slot that is not in a shard means nothing.
    ids: Vec<Vec<u64>>,
    hasher: DefaultHashBuilder,
}

impl Directory {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            ids: vec![Vec::new(); workers],
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Clients in the directory.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// Where `client_id` is.
    pub(crate) fn find(&self, client_id: u64) -> Option<Location> {
        let hash = self.hasher.hash_one(client_id);
        self.shards[shard(hash)].find(hash, |at| id_at(&self.ids, *at) == client_id).copied()
    }

    /// `client_id` is at `location` from now on; returns where it was, if it was anywhere.
    pub(crate) fn insert(&mut self, client_id: u64, location: Location) -> Option<Location> {
        let ids = &mut self.ids[location.worker()];
        let slot = location.slot() as usize;
        if ids.len() <= slot {
            let length = (slot / ID_STEP + 1) * ID_STEP;
            ids.reserve_exact(length - ids.len());
            ids.resize(length, 0);
        }
        let hash = self.hasher.hash_one(client_id);
        let shard = &mut self.shards[shard(hash)];
        // Looked for before the slot's id is overwritten: the old entry may be in a slot of the same id.
        let old = match shard.find_mut(hash, |at| id_at(&self.ids, *at) == client_id) {
            Some(at) => Some(std::mem::replace(at, location)),
            None => None,
        };
        self.ids[location.worker()][slot] = client_id;
        if old.is_none() {
            let (ids, hasher) = (&self.ids, &self.hasher);
            shard.insert_unique(hash, location, |at| hasher.hash_one(id_at(ids, *at)));
        }
        old
    }

    /// The connection at `location` ended. Its client leaves the directory unless it is elsewhere by now.
    pub(crate) fn remove(&mut self, location: Location) {
        let client_id = id_at(&self.ids, location);
        let hash = self.hasher.hash_one(client_id);
        if let Ok(entry) = self.shards[shard(hash)].find_entry(hash, |at| *at == location) {
            entry.remove();
        }
    }

    /// All connections of `worker` ended.
    pub(crate) fn remove_worker(&mut self, worker: usize) {
        for shard in &mut self.shards {
            shard.retain(|at| at.worker() != worker);
        }
        self.ids[worker] = Vec::new();
    }
}

fn id_at(ids: &[Vec<u64>], at: Location) -> u64 {
    ids[at.worker()][at.slot() as usize]
}

/// The top bits: the table itself uses the bottom ones, and the top seven for its tags, which these may share.
fn shard(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % SHARDS
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_that_moves_leaves_its_old_place() {
        let mut directory = Directory::new(2);
        let (first, second) = (Location::new(0, 5), Location::new(1, 9));
        assert_eq!(directory.insert(42, first), None);
        assert_eq!(directory.insert(42, second), Some(first));
        // The old connection ends after the new one stands: the new one stays.
        directory.remove(first);
        assert_eq!(directory.find(42), Some(second));
        directory.remove(second);
        assert_eq!(directory.find(42), None);
        assert_eq!(directory.len(), 0);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join { worker: u32, slot: u32, id: u64 },
        Leave { worker: u32, slot: u32 },
        Lose { worker: u32 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..3_u32, 0..12_u32, 0..16_u64).prop_map(|(worker, slot, id)| Step::Join { worker, slot, id }),
            4 => (0..3_u32, 0..12_u32).prop_map(|(worker, slot)| Step::Leave { worker, slot }),
            1 => (0..3_u32).prop_map(|worker| Step::Lose { worker }),
        ]
    }

    proptest! {
        /// Against a model: slots are joined only when free, as a worker does; the last to join owns the id.
        #[test]
        fn one_owner_per_id_and_nothing_leaks(steps in prop::collection::vec(step(), 0..300)) {
            let mut directory = Directory::new(3);
            let mut slots: HashMap<Location, u64> = HashMap::new();
            let mut owner: HashMap<u64, Location> = HashMap::new();
            for step in steps {
                match step {
                    Step::Join { worker, slot, id } => {
                        let at = Location::new(worker, slot);
                        if slots.contains_key(&at) { continue }
                        slots.insert(at, id);
                        prop_assert_eq!(directory.insert(id, at), owner.insert(id, at));
                    }
                    Step::Leave { worker, slot } => {
                        let at = Location::new(worker, slot);
                        let Some(id) = slots.remove(&at) else { continue };
                        directory.remove(at);
                        if owner.get(&id) == Some(&at) { owner.remove(&id); }
                    }
                    Step::Lose { worker } => {
                        directory.remove_worker(worker as usize);
                        slots.retain(|at, _| at.worker() != worker as usize);
                        owner.retain(|_, at| at.worker() != worker as usize);
                    }
                }
                prop_assert_eq!(directory.len(), owner.len());
                for id in 0..16 {
                    prop_assert_eq!(directory.find(id), owner.get(&id).copied());
                }
            }
        }
    }
}
