//! A hash map in shards that clone on write: a changed entry copies its shard and nothing else.
//!
//! Small maps are one shard; the number of shards grows with the map, so a clone costs one
//! reference per [`SHARD_SIZE`] entries and a write copies about that many.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Entries a shard holds on average before the map doubles its shards.
const SHARD_SIZE: usize = 32;

#[derive(Clone, Debug)]
pub struct CowMap<V> {
    /// A power of two of them, or none: most maps of a plan are empty.
    shards: Vec<Arc<Shard<V>>>,
    len: usize,
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Shard<V>(HashTable<(Arc<[u8]>, V)>);

impl<V: Clone> CowMap<V> {
    pub fn new() -> Self {
        Self {
            shards: Vec::new(),
            len: 0,
            hasher: RandomState::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        match self.len {
            0 => None,
            _ => self.find(key),
        }
    }

    /// Out of line, so that an empty map costs a comparison.
    #[inline(never)]
    fn find(&self, key: &[u8]) -> Option<&V> {
        let hash = self.hash(key);
        self.shards[self.shard_of(hash)]
            .0
            .find(hash, |(k, _)| **k == *key)
            .map(|(_, v)| v)
    }

    /// Puts, replaces or (with `None`) removes an entry.
    pub fn set(&mut self, key: &[u8], value: Option<V>) {
        if self.shards.is_empty() {
            if value.is_none() {
                return;
            }
            self.shards.push(Arc::new(Shard(HashTable::new())));
        }
        let hash = self.hash(key);
        let index = self.shard_of(hash);
        let hasher = &self.hasher;
        let shard = Arc::make_mut(&mut self.shards[index]);
        match (shard.0.find_entry(hash, |(k, _)| **k == *key), value) {
            (Ok(mut entry), Some(value)) => entry.get_mut().1 = value,
            (Ok(entry), None) => {
                entry.remove();
                self.len -= 1;
            }
            (Err(_), Some(value)) => {
                shard
                    .0
                    .insert_unique(hash, (key.into(), value), |(k, _)| hasher.hash_one(k));
                self.len += 1;
                if self.len > self.shards.len() * SHARD_SIZE {
                    self.grow();
                }
            }
            (Err(_), None) => {}
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.shards
            .iter()
            .flat_map(|s| s.0.iter())
            .map(|(k, v)| (&**k, v))
    }

    fn grow(&mut self) {
        let count = self.shards.len() * 2;
        let mut tables: Vec<HashTable<(Arc<[u8]>, V)>> = (0..count)
            .map(|_| HashTable::with_capacity(SHARD_SIZE))
            .collect();
        let hasher = &self.hasher;
        for (key, value) in self.shards.iter().flat_map(|s| s.0.iter()) {
            let hash = hasher.hash_one(key);
            tables[hash as usize >> 16 & (count - 1)].insert_unique(
                hash,
                (key.clone(), value.clone()),
                |(k, _)| hasher.hash_one(k),
            );
        }
        self.shards = tables.into_iter().map(|t| Arc::new(Shard(t))).collect();
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Other bits than those that choose the place inside a shard.
    fn shard_of(&self, hash: u64) -> usize {
        hash as usize >> 16 & (self.shards.len() - 1)
    }
}

impl<V: Clone> Default for CowMap<V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn behaves_as_a_map_and_a_clone_does_not_see_later_writes() {
        let mut model: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let mut map = CowMap::new();
        let mut rng = fastrand::Rng::with_seed(7);
        for step in 0..20_000u32 {
            let key = format!("k{}", rng.u32(..2000)).into_bytes();
            let value = rng.bool().then_some(step);
            match value {
                Some(v) => model.insert(key.clone(), v),
                None => model.remove(&key),
            };
            let before = map.clone();
            let old = before.get(&key).copied();
            map.set(&key, value);
            assert_eq!(before.get(&key).copied(), old);
            assert_eq!(map.get(&key).copied(), value);
            assert_eq!(map.len(), model.len());
        }
        let found: BTreeMap<Vec<u8>, u32> = map.iter().map(|(k, v)| (k.to_vec(), *v)).collect();
        assert_eq!(found, model);
    }

    #[test]
    fn a_write_copies_one_shard_alone() {
        let mut map = CowMap::new();
        for i in 0..10_000u32 {
            map.set(format!("host-{i}.test").as_bytes(), Some(i));
        }
        let old = map.clone();
        map.set(b"host-77.test", Some(0));
        let copied = old
            .shards
            .iter()
            .zip(&map.shards)
            .filter(|(a, b)| !Arc::ptr_eq(a, b))
            .count();
        assert_eq!(copied, 1);
        assert!(map.shards.iter().all(|s| s.0.len() < SHARD_SIZE * 3));
    }
}
