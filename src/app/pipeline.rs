//! The journey of a change: snapshot, texts, units, plan, swap.
//!
//! ```text
//! snapshot ── open ── render ──► texts ── config ──► verdicts ── court ──► changes ── plan ──► stage ──► commit
//!                                                       │
//!                                                   refused ──► status, log
//! ```
//!
//! Every step costs what changed. What is refused on the way leaves everything else as it is.

mod certificates;
mod names;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::app::lastgood::{LastGood, Saved};
use crate::apply::accept::{Court, Decision, Verdict};
use crate::apply::certificates::Watch;
use crate::apply::{Applier, Staged};
use crate::config::{self, Accepted, Asks, Balancer, Compat, Unit};
use crate::diag::Diagnostic;
use crate::dns::Known;
use crate::names::UnitName;
use crate::render::{Rendered, Renderer, Templates, UnitText};
use crate::resolve::Wanted;
use crate::seal::{Opener, SealKeys};
use crate::snapshot::Snapshot;
use crate::status::generations::{Generations, Reason};
use crate::status::{NodeStatus, Refusal, digest_text};

use certificates::Proof;
pub(super) use certificates::{told_of_upstream_tls, unix_time};

/// Whom it tells what.
pub(super) struct Outlets {
    /// Whoever looks: the admin listener, the status board.
    pub(super) status: watch::Sender<NodeStatus>,
    /// The resolver.
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) generations: Arc<Generations>,
}

pub(super) struct Pipeline {
    /// Behind it everything is plain text.
    opener: Opener,
    renderer: Renderer,
    /// The balancer as the flags made it.
    defaults: Balancer,
    /// The same with the `compat` that is in force, where a key changed it: services are read by it.
    by_key: Option<Balancer>,
    court: Court,
    applier: Applier,
    saved: Option<LastGood>,
    /// What this node tells: the admin listener and the status board read it.
    status: watch::Sender<NodeStatus>,
    refusals: BTreeMap<UnitName, Refusal>,
    /// What is worth telling about units that went live.
    warnings: BTreeMap<UnitName, Vec<Diagnostic>>,
    /// Units whose warnings changed and were not told yet.
    warned: BTreeSet<UnitName>,
    /// The same about certificates that are live: it changes as time goes by.
    certificates: Watch,
    /// Units that are refused because their certificates are not valid yet, and from when on they are.
    not_yet: BTreeMap<UnitName, i64>,
    /// What the names of upstreams stand for, as far as DNS said.
    known: Known,
    /// What DNS has to be asked.
    wanted: watch::Sender<Wanted>,
    /// What was swapped in, for those who look.
    generations: Arc<Generations>,
    /// Whether a plan was committed: before that, even one without services is news.
    has_committed: bool,
    /// Units of the saved config that no store has spoken of yet.
    unconfirmed: bool,
    /// Those of them that could not be opened: nothing else here knows of them.
    closed: Vec<UnitName>,
}

impl Pipeline {
    pub(super) fn new(
        opener: Opener,
        templates: Templates,
        defaults: Balancer,
        court: Court,
        applier: Applier,
        saved: Option<LastGood>,
        Outlets {
            status,
            wanted,
            generations,
        }: Outlets,
    ) -> Self {
        Self {
            opener,
            renderer: Renderer::new(templates),
            defaults,
            by_key: None,
            court,
            applier,
            saved,
            status,
            refusals: BTreeMap::new(),
            warnings: BTreeMap::new(),
            warned: BTreeSet::new(),
            certificates: Watch::default(),
            not_yet: BTreeMap::new(),
            known: Known::default(),
            wanted,
            generations,
            has_committed: false,
            unconfirmed: false,
            closed: Vec::new(),
        }
    }

    /// Starts from what was accepted last, until a store says what is true now.
    pub(super) fn boot(&mut self, saved: Saved) {
        self.closed = saved.closed.keys().cloned().collect();
        self.known.answers = saved.answers.clone();
        if saved.units.is_empty() {
            return;
        }
        let started = Instant::now();
        let mut verdicts = self.judge_saved(&saved);
        if self.take_compat(&verdicts) {
            verdicts = self.judge_saved(&saved);
        }
        tracing::info!(
            units = verdicts.len(),
            revision = saved.revision,
            "starting from the saved config"
        );
        self.unconfirmed = true;
        // Nothing has read a key yet that a warning could name: the store's own tree tells. That anybody can
        // be an upstream is told as long as it is so.
        self.warnings.retain(|_, all| {
            all.retain(|warning| warning.code == "unverified-upstreams");
            !all.is_empty()
        });
        self.warned.clear();
        let decision = self.court.decide(verdicts);
        self.enforce(decision, saved.revision, started, Reason::SavedConfig);
    }

    fn judge_saved(&mut self, saved: &Saved) -> Vec<(UnitName, Verdict)> {
        let units = saved.units.iter();
        units
            .map(|(unit, text)| {
                let verdict = self.judge(unit, text.clone(), Vec::new(), Proof::Given);
                (unit.clone(), verdict)
            })
            .collect()
    }

    /// Follows the keys to a new snapshot.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        let started = Instant::now();
        let rendered = self.renderer.update(&self.opener.follow(snapshot));
        let compat = self.habits().compat;
        let mut verdicts = self.verdicts(rendered);
        if std::mem::take(&mut self.unconfirmed) {
            let there = self.renderer.units();
            let gone = self
                .court
                .units()
                .filter(|unit| there.binary_search(unit).is_err());
            verdicts.extend(
                gone.map(|unit| (unit.clone(), Verdict::Gone))
                    .collect::<Vec<_>>(),
            );
        }
        let mut read_again = Vec::new();
        let habits = self.by_key.as_ref().unwrap_or(&self.defaults);
        if habits.compat != compat {
            read_again = self.court.read_again(|unit, text| {
                let accepted = config::parse(unit, text, habits).ok()?.for_serving();
                matches!(accepted.unit, Unit::Service(_)).then_some(accepted.unit)
            });
        }
        let mut decision = self.court.decide(verdicts);
        let closed = std::mem::take(&mut self.closed);
        if !closed.is_empty() {
            let there = self.renderer.units();
            let gone = closed
                .into_iter()
                .filter(|unit| there.binary_search(unit).is_err());
            decision.saved.extend(gone.map(|unit| (unit, None)));
        }
        // What was decided now goes over what was only read again.
        decision.changes.splice(..0, read_again);
        let digest = digest_text(snapshot.digest());
        self.status.send_modify(|status| status.digest = digest);
        self.enforce(decision, snapshot.revision(), started, Reason::Keys);
    }

    /// Renders everything anew by other templates, if there is something to render yet.
    pub(super) fn follow_templates(&mut self, templates: Templates, newest: Option<&Snapshot>) {
        self.renderer.replace_templates(templates);
        if let Some(snapshot) = newest {
            self.follow(snapshot);
        }
    }

    /// Opens everything anew with other seal keys, and seals the saved config with the newest of them.
    pub(super) fn follow_seal_keys(&mut self, keys: SealKeys, newest: Option<&Snapshot>) {
        if let Some(saved) = &self.saved {
            saved.replace_keys(keys.clone());
        }
        self.opener.replace_keys(keys);
        if let Some(snapshot) = newest {
            self.follow(snapshot);
        }
    }

    /// Tries again what failed for reasons outside the keys.
    pub(super) fn retry(&mut self) {
        self.applier.fleet().shared.published.free_retired();
        self.applier.tell_lost_lines();
        self.applier.retry_https();
        let free = self.court.unbound();
        let free = free.filter(|(_, port)| self.applier.can_bind(*port));
        let free: BTreeSet<_> = free.map(|(unit, _)| unit.clone()).collect();
        if !free.is_empty() {
            let decision = self.court.retry_binds(free);
            let revision = self.applier.current().revision;
            self.enforce(decision, revision, Instant::now(), Reason::Port);
        }
        self.follow_time();
    }

    /// Opens the files of the access log anew: somebody moved them away.
    pub(super) fn reopen_logs(&self) {
        self.applier.reopen_logs();
    }

    /// Ends: stops accepting, lets requests finish. Blocks for up to the drain time.
    pub(super) fn drain(self) {
        drop(self.saved);
        self.applier.drain();
    }

    fn verdicts(&mut self, rendered: Rendered) -> Vec<(UnitName, Verdict)> {
        let mut verdicts = Vec::new();
        for UnitText {
            unit,
            text,
            warnings,
        } in rendered.changed
        {
            let verdict = self.judge(&unit, text, warnings, Proof::Needed);
            verdicts.push((unit, verdict));
        }
        for (unit, diagnostics) in rendered.failed {
            self.warn(&unit, Vec::new());
            self.not_yet.remove(&unit);
            let asks = asks_by_keys(&self.renderer, &unit);
            let verdict = Verdict::Bad {
                diagnostics,
                asks,
                closed: None,
            };
            verdicts.push((unit, verdict));
        }
        for unit in rendered.removed {
            self.warn(&unit, Vec::new());
            self.not_yet.remove(&unit);
            verdicts.push((unit, Verdict::Gone));
        }
        if self.take_compat(&verdicts) {
            for unit in self.renderer.units() {
                if let Some(text) = self.renderer.text(unit.as_str()) {
                    let warnings = self.renderer.warnings(unit.as_str());
                    let verdict = self.judge(&unit, text, warnings, Proof::Needed);
                    verdicts.push((unit, verdict));
                }
            }
        }
        verdicts
    }

    /// Whose habits hold decides how texts are read: if a key changed it, all of them are to be read
    /// again.
    fn take_compat(&mut self, verdicts: &[(UnitName, Verdict)]) -> bool {
        let Some(compat) = new_compat(verdicts) else {
            return false;
        };
        if compat == self.habits().compat {
            return false;
        }
        let defaults = self.defaults.clone();
        self.by_key = (compat != defaults.compat).then_some(Balancer { compat, ..defaults });
        true
    }

    /// What services are read by.
    fn habits(&self) -> &Balancer {
        self.by_key.as_ref().unwrap_or(&self.defaults)
    }

    fn judge(
        &mut self,
        unit: &UnitName,
        text: Arc<str>,
        mut warnings: Vec<Diagnostic>,
        proof: Proof,
    ) -> Verdict {
        self.not_yet.remove(unit);
        let mut parsed = config::parse(unit, &text, &self.defaults);
        if let Some(by_key) = &self.by_key
            && !matches!(
                &parsed,
                Ok(Accepted {
                    unit: Unit::Balancer(_),
                    ..
                })
            )
        {
            parsed = config::parse(unit, &text, by_key);
        }
        if let Ok(Accepted {
            unit: Unit::Certificate(certificate),
            ..
        }) = &parsed
            && proof == Proof::Needed
            && let Err(problems) = self.prove(unit, certificate)
        {
            parsed = Err(problems);
        }
        match parsed.map(Accepted::for_serving) {
            Ok(Accepted {
                unit: form,
                warnings: more,
                ..
            }) => {
                if form == Unit::Ignored {
                    tracing::debug!(unit = unit.as_str(), "unit says nothing here");
                }
                warnings.extend(more);
                warnings.extend(certificates::told_of_upstream_tls(unit, &form));
                self.renderer.name_keys(unit, &mut warnings);
                self.warn(unit, warnings);
                let unit = Box::new(form);
                Verdict::Good { text, unit }
            }
            Err(mut diagnostics) => {
                // What was told of the form that serves on still holds.
                if !self.court.has_form(unit) {
                    self.warn(unit, Vec::new());
                }
                self.renderer.name_keys(unit, &mut diagnostics);
                refused(unit, text, diagnostics, self.habits())
            }
        }
    }

    /// Notes what is worth telling about a unit from now on.
    fn warn(&mut self, unit: &UnitName, warnings: Vec<Diagnostic>) {
        let before = match warnings.is_empty() {
            true => self.warnings.remove(unit),
            false => self.warnings.insert(unit.clone(), warnings),
        };
        if before.as_ref() != self.warnings.get(unit) {
            self.warned.insert(unit.clone());
        }
    }

    /// Makes a decision true: plan, stage, commit, save, tell.
    fn enforce(&mut self, mut decision: Decision, revision: u64, started: Instant, reason: Reason) {
        let mut swap = None;
        let current = &self.applier.current().plan;
        let is_due = !current.is_as_of(unix_time()) || !current.has_answers(&self.known.answers);
        if !decision.changes.is_empty() || is_due || !self.has_committed {
            let staged = self.stage(&mut decision);
            swap = self.applier.commit(staged, revision);
            self.has_committed = true;
            self.ask();
        } else {
            self.applier.note_revision(revision);
        }
        if let Some(saved) = &self.saved
            && (swap.is_some() || !decision.saved.is_empty())
        {
            saved.save(revision, std::mem::take(&mut decision.saved));
        }
        let took = started.elapsed();
        self.tell(&decision, swap.as_ref(), revision, took);
        if let Some(swap) = swap {
            self.note_swap(swap, revision, took, reason);
        }
    }

    /// Meets the needs of a plan with these changes. Units whose port cannot be had fall back, which
    /// may need other ports in turn; each round has one failure less to offer.
    fn stage(&mut self, decision: &mut Decision) -> Staged {
        let current = self.applier.current();
        let known = current.plan.answered(&self.known.answers);
        let mut plan = known.with(decision.changes.clone()).at(unix_time());
        loop {
            match self.applier.stage(plan) {
                Ok(staged) => return staged,
                Err(failures) => {
                    let more = self.court.bind_failed(failures);
                    decision.changes.extend(more.changes);
                    decision.saved.extend(more.saved);
                    decision.healed.retain(|unit| !more.refused.contains(unit));
                    decision.refused.extend(more.refused);
                    decision.healed.extend(more.healed);
                    plan = known.with(decision.changes.clone()).at(unix_time());
                }
            }
        }
    }
}

/// What the keys of a unit that could not be rendered say about who may come in: without a text there is nothing
/// else to ask.
pub(super) fn asks_by_keys(renderer: &Renderer, unit: &UnitName) -> Asks {
    let keys = renderer.snapshot().under(unit.as_str());
    let lines = keys.map(|(key, value)| {
        let name = &key[unit.as_str().len()..];
        let value = String::from_utf8_lossy(&value[..value.len().min(64)]);
        match name.contains("verify") {
            true => format!("{name}: {value}\n"),
            false => format!("{name}:\n"),
        }
    });
    Asks::of_text(&lines.collect::<String>())
}

/// The verdict on a text that could not be accepted.
pub(super) fn refused(
    unit: &UnitName,
    text: Arc<str>,
    diagnostics: Vec<Diagnostic>,
    habits: &Balancer,
) -> Verdict {
    let asks = Asks::of_text(&text);
    let closed = match asks {
        Asks::Nothing => None,
        _ => config::closed(unit, &text, habits),
    };
    Verdict::Bad {
        diagnostics,
        asks,
        closed: closed.map(|form| (text, Box::new(form))),
    }
}

/// Whose habits hold, if the balancer's unit is among these.
pub(super) fn new_compat(verdicts: &[(UnitName, Verdict)]) -> Option<Compat> {
    verdicts.iter().find_map(|(_, verdict)| match verdict {
        Verdict::Good { unit, .. } => match &**unit {
            Unit::Balancer(balancer) => Some(balancer.compat),
            Unit::Service(_) | Unit::Certificate(_) | Unit::Ignored => None,
        },
        _ => None,
    })
}
