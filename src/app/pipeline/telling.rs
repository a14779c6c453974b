//! What came of a change, told: in the log, in the status, and in the list of the last generations.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::Pipeline;
use crate::apply::Swap;
use crate::apply::accept::{Decision, Refused};
use crate::diag::Diagnostic;
use crate::events;
use crate::names::UnitName;
use crate::status::generations::{Made, Reason};
use crate::status::{Drain, Phase, Refusal, Serving, time_text};

/// Units that are logged one by one for one change; the rest are counted.
const LOGGED: usize = 20;

impl Pipeline {
    /// Brings the counts in the status up to date.
    pub(in crate::app) fn count(&self) {
        let shared = &self.applier.fleet().shared;
        let draining = shared.published.free_retired() as u64;
        let active = shared.connections() as u64;
        self.status.send_if_modified(|status| {
            let counts = (status.draining, status.active);
            (status.draining, status.active) = (draining, active);
            counts != (draining, active)
        });
    }

    /// Looks at upstreams that take nothing new. Those who wait for one to be empty hear of it at once; how far it is
    /// otherwise, every few seconds.
    pub(in crate::app) fn look_at_drains(&mut self, is_count_due: bool) {
        if self.status.borrow().drains.is_empty() && !self.applier.has_other_drains() {
            return;
        }
        let drains = self.applier.drains();
        self.status.send_if_modified(|status| {
            let key = |drain: &Drain| (drain.unit.clone(), drain.upstream.clone(), drain.done);
            let is_other = status.drains.iter().map(key).ne(drains.iter().map(key));
            let is_news = is_other || is_count_due && status.drains != drains;
            if is_news {
                status.drains_left = drains.iter().filter(|drain| !drain.done).count();
                status.drains = drains;
            }
            is_news
        });
    }

    pub(super) fn note_swap(&self, swap: Swap, revision: u64, took: Duration, reason: Reason) {
        let names = |units: Vec<UnitName>| units.iter().map(ToString::to_string).collect();
        self.generations.add(Made {
            generation: swap.generation,
            revision,
            at: time_text(SystemTime::now()),
            took_ms: took.as_secs_f64() * 1e3,
            reason,
            changed: names(swap.changed_units),
            changed_total: swap.changed,
            removed: names(swap.removed_units),
            removed_total: swap.removed,
            opened: swap.opened,
            closed: swap.closed,
            refused: self.refusals.len(),
        });
    }

    pub(super) fn tell(
        &mut self,
        decision: &Decision,
        swap: Option<&Swap>,
        revision: u64,
        took: Duration,
    ) {
        let now = SystemTime::now();
        let healed = decision.healed.iter();
        let healed: Vec<_> = healed
            .filter(|unit| self.refusals.remove(*unit).is_some())
            .collect();
        for unit in healed.iter().take(LOGGED) {
            tracing::info!(
                unit = unit.as_str(),
                revision,
                event = "unit_accepted",
                "unit is accepted again"
            );
        }
        if let Some(more) = healed.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            tracing::info!(
                more,
                event = "unit_accepted",
                "more units are accepted again"
            );
            // The line is one of them.
            events::count("info", "unit_accepted", more as u64 - 1);
        }
        let refused: BTreeSet<_> = decision.refused.iter().collect();
        let news = refused
            .into_iter()
            .filter(|unit| self.note_refusal(unit, revision, now))
            .collect::<Vec<_>>();
        self.log_refusals(&news);
        let warned = std::mem::take(&mut self.warned);
        let mut news = self.look_at_certificates();
        // Other services may have the names that do not resolve.
        let has_troubles = swap.is_some() && !self.known.troubles.is_empty();
        news.is_any |= !warned.is_empty() || has_troubles;
        let own = warned.iter().filter_map(|unit| self.warnings.get(unit));
        news.warnings.extend(own.flatten().cloned());
        log_warnings(&news, revision);
        if let Some(swap) = swap {
            tracing::info!(
                generation = swap.generation, revision, services = swap.services,
                certificates = (swap.certificates > 0).then_some(swap.certificates),
                changed = swap.changed, removed = swap.removed, opened = swap.opened,
                closed = swap.closed, refused = self.refusals.len(),
                took = ?took, event = "swapped", "swapped"
            );
        }
        let fleet = self.applier.fleet();
        let draining = fleet.shared.published.free_retired() as u64;
        let active = fleet.shared.connections() as u64;
        // The lists cost their length: they are made anew only when something in them differs.
        let differs = !decision.refused.is_empty() || !decision.healed.is_empty();
        let refused = differs.then(|| {
            let mut newest: Vec<_> = self.refusals.values().cloned().collect();
            newest.sort_by_key(|refusal| std::cmp::Reverse(refusal.revision));
            newest
        });
        let warnings = news.is_any.then(|| self.all_warnings());
        // With the digest of the keys that say so: whoever sees the one sees the other.
        let drains = self
            .applier
            .has_other_drains()
            .then(|| self.applier.drains());
        self.status.send_modify(|status| {
            if let Some(swap) = swap {
                status.generation = swap.generation;
                status.since = time_text(now);
            }
            if status.phase == Phase::Starting {
                status.phase = Phase::Running;
            }
            status.revision = revision;
            status.updated = time_text(now);
            status.draining = draining;
            status.active = active;
            if let Some(refused) = refused {
                status.refused_total = refused.len();
                status.refused = refused;
            }
            if let Some(drains) = drains {
                status.drains_left = drains.iter().filter(|drain| !drain.done).count();
                status.drains = drains;
            }
            if let Some(warnings) = warnings {
                status.warnings_total = warnings.len();
                status.warnings = warnings;
            }
        });
    }

    /// Answers whether it is anything new to the log. The revision is new in any case: whoever waits
    /// for this change of a unit that was refused before has to hear that it is refused too.
    fn note_refusal(&mut self, unit: &UnitName, revision: u64, now: SystemTime) -> bool {
        let Some(refused) = self.court.refused_unit(unit) else {
            return false;
        };
        let Refused {
            mut diagnostics,
            serves_last_good,
            ..
        } = refused;
        self.renderer.name_keys(unit, &mut diagnostics);
        let serving = if serves_last_good {
            Serving::LastGood
        } else {
            Serving::Absent
        };
        if let Some(known) = self.refusals.get_mut(unit)
            && known.serving == serving
            && known.diagnostics == diagnostics
        {
            // Not worth another line, but who waits for this revision has to hear of it.
            known.revision = revision;
            return false;
        }
        let refusal = Refusal {
            unit: unit.to_string(),
            revision,
            since: time_text(now),
            serving,
            diagnostics,
        };
        self.refusals.insert(unit.clone(), refusal);
        true
    }

    fn log_refusals(&self, units: &[&UnitName]) {
        for refusal in units
            .iter()
            .take(LOGGED)
            .filter_map(|unit| self.refusals.get(*unit))
        {
            let serving = match refusal.serving {
                Serving::LastGood => "last good form",
                Serving::Absent => "nothing",
            };
            tracing::warn!(
                unit = refusal.unit,
                revision = refusal.revision,
                serving,
                reason = refusal.reason(),
                event = "unit_refused",
                "unit refused"
            );
        }
        if let Some(more) = units.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            tracing::warn!(
                more,
                event = "unit_refused",
                "more units refused, see the status"
            );
            events::count("warn", "unit_refused", more as u64 - 1);
        }
    }
}

/// What is to be told, and whether it differs from what was told before.
pub(super) struct News {
    pub(super) is_any: bool,
    pub(super) warnings: Vec<Diagnostic>,
}

pub(super) fn log_warnings(News { warnings, .. }: &News, revision: u64) {
    for warning in warnings.iter().take(LOGGED) {
        let reason = warning.to_string();
        let event = match warning.code.as_str() {
            "expires-soon" | "expired" => "certificate_ends",
            _ => "unit_warned",
        };
        tracing::warn!(
            unit = warning.unit,
            revision,
            reason,
            event,
            "unit accepted, but"
        );
    }
    if let Some(more) = warnings.len().checked_sub(LOGGED).filter(|more| *more > 0) {
        tracing::warn!(more, event = "unit_warned", "more warnings, see the status");
        events::count("warn", "unit_warned", more as u64 - 1);
    }
}
