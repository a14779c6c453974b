//! What a node tells about itself: plain data for `pointsman status`, `pointsman wait`, the API and
//! whoever reads the status keys. No sockets, no files, no clock in here.

pub mod generations;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::diag::Diagnostic;

/// One node of a balancer: what it runs, and what it refused to run.
///
/// Published at every new generation, and also when a revision was worked through without making
/// one (nothing a template reads changed): who waits for a revision has to see it arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `--node`; unique among the nodes of one balancer.
    pub node: String,
    /// Of the program.
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Counts the swaps of this process.
    pub generation: u64,
    /// The newest revision of the key tree that this node has worked through.
    pub revision: u64,
    /// [`Snapshot::digest`](crate::snapshot::Snapshot::digest) of the key tree it has worked through, in
    /// hexadecimal: a number of 64 bits does not survive every JSON reader.
    pub digest: String,
    /// When the current generation was swapped in. Times are RFC 3339 in UTC.
    pub since: String,
    /// When this was written.
    pub updated: String,
    /// When the process started.
    pub started: String,
    pub phase: Phase,
    /// Generations that still have connections, besides the current one.
    pub draining: u64,
    /// Connections under way.
    pub active: u64,
    /// How many units are refused; `refused` may be a shorter list.
    pub refused_total: usize,
    /// The newest refusals first.
    pub refused: Vec<Refusal>,
    /// Template files that are not in force, and why.
    pub templates: Vec<Diagnostic>,
    /// How many warnings there are about units that went live; `warnings` may be a shorter list.
    pub warnings_total: usize,
    /// In the order of the units.
    pub warnings: Vec<Diagnostic>,
    /// How many upstreams take nothing new and have something left; `drains` may be a shorter list.
    pub drains_left: usize,
    /// Upstreams that take nothing new, those that are not done first.
    pub drains: Vec<Drain>,
}

/// An upstream that takes nothing new: it is drained, or it left the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub unit: String,
    pub upstream: String,
    pub address: String,
    /// Requests and flows that it still has.
    pub in_flight: u32,
    /// It is not in the keys any more.
    pub removed: bool,
    /// It has nothing, and nobody is on the way to it.
    pub done: bool,
    /// RFC 3339 in UTC.
    pub since: String,
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No good generation yet.
    #[default]
    Starting,
    Running,
    /// Told to stop: accepts nothing new.
    Draining,
}

/// A unit that did not go live as its keys say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub unit: String,
    /// The revision of the key tree at which it was refused.
    pub revision: u64,
    /// RFC 3339 in UTC.
    pub since: String,
    pub serving: Serving,
    pub diagnostics: Vec<Diagnostic>,
}

/// What a refused unit is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Serving {
    /// Its last accepted form.
    LastGood,
    /// Nothing: it never had one.
    Absent,
}

impl NodeStatus {
    /// Without its lists, which can be long: who writes the status does not wait for whoever looks.
    #[must_use]
    pub fn brief(&self) -> Self {
        Self {
            node: self.node.clone(),
            version: self.version.clone(),
            pid: self.pid,
            generation: self.generation,
            revision: self.revision,
            digest: self.digest.clone(),
            since: self.since.clone(),
            updated: self.updated.clone(),
            started: self.started.clone(),
            phase: self.phase,
            draining: self.draining,
            active: self.active,
            refused_total: self.refused_total,
            refused: Vec::new(),
            templates: Vec::new(),
            warnings_total: self.warnings_total,
            warnings: Vec::new(),
            drains_left: self.drains_left,
            drains: Vec::new(),
        }
    }

    /// As it may be published: the newest `units` refusals with up to `diagnostics` each, and as many
    /// warnings as units. A store
    /// has a limit on the size of a value, and a template that refuses ten thousand services must
    /// not hide the node's status altogether.
    #[must_use]
    pub fn shortened(mut self, units: usize, diagnostics: usize) -> Self {
        self.refused_total = self.refused_total.max(self.refused.len());
        self.refused
            .sort_by(|a, b| b.revision.cmp(&a.revision).then(a.unit.cmp(&b.unit)));
        self.refused.truncate(units);
        self.warnings_total = self.warnings_total.max(self.warnings.len());
        self.warnings.truncate(units);
        self.templates.truncate(units);
        self.drains.sort_by_key(|drain| drain.done);
        self.drains.truncate(units);
        for refusal in &mut self.refused {
            refusal.diagnostics.truncate(diagnostics);
        }
        self
    }
}

impl Drain {
    /// Whether `name` means it: the upstream alone, or with its service. A name of DNS means all its addresses.
    pub fn is_called(&self, name: &str) -> bool {
        let whole = format!("/{}/{}/", self.unit, self.upstream);
        whole.contains(&format!("/{name}/"))
    }
}

impl Refusal {
    /// Why, in one line.
    pub fn reason(&self) -> String {
        match self.diagnostics.as_slice() {
            [] => "refused".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        }
    }
}

/// A digest as [`NodeStatus::digest`] shows it.
pub fn digest_text(digest: u64) -> String {
    format!("{digest:016x}")
}

/// A time as the status shows it: RFC 3339, UTC, milliseconds.
pub fn time_text(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(unit: &str, revision: u64) -> Refusal {
        Refusal {
            unit: unit.to_owned(),
            revision,
            since: String::new(),
            serving: Serving::LastGood,
            diagnostics: vec![Diagnostic::error("a", "one"), Diagnostic::error("b", "two")],
        }
    }

    #[test]
    fn shortened_keeps_the_newest_refusals_and_the_count() {
        let status = NodeStatus {
            refused: vec![refusal("a", 3), refusal("b", 9), refusal("c", 5)],
            ..NodeStatus::default()
        }
        .shortened(2, 1);
        let kept: Vec<_> = status.refused.iter().map(|r| r.unit.as_str()).collect();
        assert_eq!(kept, ["b", "c"]);
        assert_eq!(status.refused[0].diagnostics.len(), 1);
        assert_eq!(status.refused_total, 3);
    }

    #[test]
    fn reads_what_an_older_node_wrote() {
        let status: NodeStatus =
            serde_json::from_str(r#"{"node":"a","revision":7,"field_of_tomorrow":1}"#)
                .expect("unknown and missing fields are fine");
        assert_eq!((status.node.as_str(), status.revision), ("a", 7));
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042);
        assert_eq!(time_text(time), "2023-11-14T22:13:20.042Z");
    }
}
