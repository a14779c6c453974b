//! The last generations of this node: when each was swapped in, why, and what it changed. Kept by whoever swaps,
//! read by whoever looks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

const KEPT: usize = 50;

/// Units of one generation that are named; the rest is counted.
pub const NAMED: usize = 20;

/// One swap.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    pub generation: u64,
    pub revision: u64,
    /// RFC 3339 in UTC.
    pub at: String,
    /// From the news to the swap.
    pub took_ms: f64,
    pub reason: Reason,
    /// The first of them by name.
    pub changed: Vec<String>,
    pub changed_total: usize,
    pub removed: Vec<String>,
    pub removed_total: usize,
    /// Listeners.
    pub opened: usize,
    pub closed: usize,
    /// Units that are refused now.
    pub refused: usize,
}

/// What led to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// What was accepted before the program started.
    SavedConfig,
    Keys,
    /// Answers of DNS.
    Names,
    /// A certificate began or ended.
    Time,
    /// A port that another program had is free.
    Port,
}

#[derive(Debug, Default)]
pub struct Generations(Mutex<VecDeque<Made>>);

impl Generations {
    pub fn add(&self, made: Made) {
        let mut all = self.lock();
        if all.len() >= KEPT {
            all.pop_front();
        }
        all.push_back(made);
    }

    /// The newest first.
    pub fn newest(&self) -> Vec<Made> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
