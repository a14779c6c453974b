//! Which form of each unit is in force: the newest good one, the last good one, or none.
//!
//! A unit whose newest text is refused keeps the form it was last accepted in, alone; everybody else
//! goes on. Two services that want one port are told apart by name, the same way on every node: the
//! first has it. A refused text that asks for passwords does not leave a form in force that asks for none.
//!
//! Pure: verdicts come in, changes for the plan go out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::config::{self, Asks, Mode, Unit};
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::plan::Change;

/// What is known of a unit's newest text.
pub enum Verdict {
    Good {
        text: std::sync::Arc<str>,
        unit: Box<Unit>,
    },
    Bad {
        diagnostics: Vec<Diagnostic>,
        /// What it says about who may come in: no form that asks for less stays in force.
        asks: Asks,
        /// What answers for it then, with its text, if its routes could be read.
        closed: Option<(std::sync::Arc<str>, Box<Unit>)>,
    },
    Gone,
}

/// A form that passed every check.
#[derive(Clone)]
struct Form {
    text: std::sync::Arc<str>,
    unit: Unit,
}

/// Never the text: there are passwords and private keys in it.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a form of {} bytes", self.text.len())
    }
}

impl Form {
    fn port(&self) -> Option<u16> {
        match &self.unit {
            Unit::Service(service) => match service.mode {
                Mode::Tcp { external_port } => Some(external_port),
                Mode::Http(_) => None,
            },
            Unit::Balancer(_) | Unit::Certificate(_) | Unit::Ignored => None,
        }
    }

    /// How much it wants to know of who comes.
    fn asks(&self) -> Asks {
        match &self.unit {
            Unit::Service(service) => {
                let policy = service.policy.as_ref();
                policy.map(|policy| policy.asks()).unwrap_or_default()
            }
            Unit::Balancer(_) | Unit::Certificate(_) | Unit::Ignored => Asks::First,
        }
    }
}

/// What stands where a service was or would be that must not serve.
struct Closed {
    /// A start from it comes to the same: the refused text, or the one that was in force with a mark.
    text: std::sync::Arc<str>,
    unit: Unit,
}

/// Not the text, as above.
impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed")
    }
}

/// One unit: what it wants, what it had, what it has.
#[derive(Debug, Default)]
struct Standing {
    /// The newest form, if it reads well.
    wanted: Option<Form>,
    /// The last form that was good enough to be in force.
    accepted: Option<Form>,
    /// The one before, in case the accepted one turns out to be impossible to bind.
    before: Option<Form>,
    /// Whether the saved config has a form of it.
    is_saved: bool,
    /// Whether its last form was given up because it was open.
    is_closed: bool,
    /// What answers 503 in its place, so that no other service takes its requests.
    closed: Option<Closed>,
    serving: Serving,
    /// What is wrong with the newest text itself.
    refused: Vec<Diagnostic>,
    /// Somebody else has the port.
    conflict: Option<Diagnostic>,
    /// The address could not be had; tried again now and then.
    bind_failure: Option<Diagnostic>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Serving {
    #[default]
    Nothing,
    /// It has its routes, and nobody comes in.
    Closed,
    Accepted,
}

/// A unit whose newest text is not in force.
#[derive(Clone, Debug)]
pub struct Refused {
    pub unit: UnitName,
    pub diagnostics: Vec<Diagnostic>,
    /// Whether its last good form serves on.
    pub serves_last_good: bool,
}

/// What one batch of verdicts changed.
#[derive(Debug, Default)]
pub struct Decision {
    /// For the plan.
    pub changes: Vec<Change>,
    /// Accepted texts to be saved (`None`: forgotten).
    pub saved: Vec<(UnitName, Option<std::sync::Arc<str>>)>,
    /// Units that this batch spoke of and that are refused, and others that are refused for other
    /// reasons than before or with another form in their place. Who waits for a change of a unit that
    /// was refused already has to hear that it is refused too.
    pub refused: Vec<UnitName>,
    /// Units that were refused and are not any more.
    pub healed: Vec<UnitName>,
}

/// A claim on a port. What a unit wants goes before what another one falls back to.
type Claim = (Rank, UnitName);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Wanted,
    FallenBack,
}

/// The standings of all units.
#[derive(Debug, Default)]
pub struct Court {
    units: BTreeMap<UnitName, Standing>,
    claims: HashMap<u16, BTreeSet<Claim>>,
    /// Ports that no service can have, and who has them.
    reserved: HashMap<u16, String>,
    bind_failures: BTreeSet<UnitName>,
}

impl Court {
    /// `reserved`: ports of our own listeners, with a word for each.
    pub fn new(reserved: HashMap<u16, String>) -> Self {
        Self {
            reserved,
            ..Self::default()
        }
    }

    /// Takes in what was said of the changed units and decides what is in force.
    pub fn decide(&mut self, verdicts: Vec<(UnitName, Verdict)>) -> Decision {
        let mut touched = BTreeSet::new();
        let mut was_refused = BTreeMap::new();
        for (unit, verdict) in verdicts {
            let standing = self.units.entry(unit.clone()).or_default();
            was_refused
                .entry(unit.clone())
                .or_insert_with(|| standing.refusal());
            Self::withdraw(&mut self.claims, &unit, standing, &mut touched);
            self.bind_failures.remove(&unit);
            standing.bind_failure = None;
            match verdict {
                Verdict::Good { text, unit } => {
                    standing.wanted = Some(Form { text, unit: *unit });
                    standing.refused.clear();
                }
                Verdict::Bad {
                    diagnostics,
                    asks,
                    closed,
                } => {
                    standing.wanted = None;
                    standing.refused = diagnostics;
                    if asks > Asks::Nothing {
                        standing.close_if_open(&unit, asks, closed);
                    }
                }
                Verdict::Gone => {
                    standing.wanted = None;
                    standing.accepted = None;
                    standing.before = None;
                    standing.closed = None;
                    standing.refused.clear();
                }
            }
            Self::claim(&mut self.claims, &unit, standing, &mut touched);
            touched.insert(unit);
        }
        self.settle(touched, was_refused)
    }

    /// Reads again what was accepted, because habits hold by which it may mean something else: also
    /// forms that serve on in place of a refused text, as a start from the saved config would. One that
    /// cannot be read any more stays as it is. Gives what is to change in the plan.
    pub fn read_again(
        &mut self,
        mut read: impl FnMut(&UnitName, &str) -> Option<Unit>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, standing) in &mut self.units {
            let mut renew = |form: &mut Form| {
                let Some(unit) = read(name, &form.text) else {
                    return false;
                };
                let text = form.text.clone();
                let renewed = Form { text, unit };
                // Claims go by ports, and no habit is about ports.
                let is_other = renewed.unit != form.unit && renewed.port() == form.port();
                if is_other {
                    *form = renewed;
                }
                is_other
            };
            if let Some(before) = &mut standing.before {
                renew(before);
            }
            if let Some(accepted) = &mut standing.accepted
                && renew(accepted)
                && standing.serving == Serving::Accepted
            {
                changes.push((name.clone(), Some(accepted.unit.clone())));
            }
        }
        changes
    }

    /// Takes in that these units' ports could not be bound.
    pub fn bind_failed(&mut self, failures: Vec<(UnitName, Diagnostic)>) -> Decision {
        let mut touched = BTreeSet::new();
        let mut was_refused = BTreeMap::new();
        for (unit, diagnostic) in failures {
            let Some(standing) = self.units.get_mut(&unit) else {
                continue;
            };
            was_refused.insert(unit.clone(), standing.refusal());
            Self::withdraw(&mut self.claims, &unit, standing, &mut touched);
            // What was just accepted turned out not to be possible.
            standing.accepted = standing.before.take();
            standing.bind_failure = Some(diagnostic);
            Self::claim(&mut self.claims, &unit, standing, &mut touched);
            self.bind_failures.insert(unit.clone());
            touched.insert(unit);
        }
        self.settle(touched, was_refused)
    }

    /// Gives units whose port could not be bound another try, because it can be had by now.
    pub fn retry_binds(&mut self, units: BTreeSet<UnitName>) -> Decision {
        let mut was_refused = BTreeMap::new();
        for unit in &units {
            self.bind_failures.remove(unit);
            if let Some(standing) = self.units.get_mut(unit) {
                was_refused.insert(unit.clone(), standing.refusal());
                standing.bind_failure = None;
            }
        }
        self.settle(units, was_refused)
    }

    /// Units that want a port which could not be bound.
    pub fn unbound(&self) -> impl Iterator<Item = (&UnitName, u16)> {
        self.bind_failures.iter().filter_map(|unit| {
            let wanted = self.units.get(unit)?.wanted.as_ref()?;
            Some((unit, wanted.port()?))
        })
    }

    /// All refused units in name order.
    pub fn refused(&self) -> impl Iterator<Item = Refused> {
        self.units.keys().filter_map(|unit| self.refused_unit(unit))
    }

    /// One unit, if it is refused.
    pub fn refused_unit(&self, unit: &UnitName) -> Option<Refused> {
        let standing = self.units.get(unit)?;
        let diagnostics = standing.refusal();
        (!diagnostics.is_empty()).then(|| Refused {
            unit: unit.clone(),
            diagnostics,
            serves_last_good: standing.serving == Serving::Accepted,
        })
    }

    /// Whether a form of this unit may be in force.
    pub fn has_form(&self, unit: &UnitName) -> bool {
        let standing = self.units.get(unit);
        standing.is_some_and(|standing| standing.accepted.is_some())
    }

    /// All units that are known.
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        self.units.keys()
    }

    fn settle(
        &mut self,
        mut touched: BTreeSet<UnitName>,
        was_refused: BTreeMap<UnitName, Vec<Diagnostic>>,
    ) -> Decision {
        let mut decision = Decision::default();
        while let Some(unit) = touched.pop_first() {
            let Some(mut standing) = self.units.remove(&unit) else {
                continue;
            };
            let is_spoken_of = was_refused.contains_key(&unit);
            let before = was_refused
                .get(&unit)
                .cloned()
                .unwrap_or_else(|| standing.refusal());
            let conflict_of = |form: &Option<Form>, rank| {
                form.as_ref()
                    .and_then(|form| self.conflict(&unit, form, rank))
            };
            let had = standing.serving;
            standing.conflict = conflict_of(&standing.wanted, Rank::Wanted);
            let can_fall_back = standing.accepted.is_some()
                && conflict_of(&standing.accepted, Rank::FallenBack).is_none();
            if standing.may_go_live() {
                if !standing.is_current() {
                    Self::withdraw(&mut self.claims, &unit, &standing, &mut touched);
                    standing.accept(&unit, &mut decision);
                    Self::claim(&mut self.claims, &unit, &standing, &mut touched);
                    touched.remove(&unit);
                }
            } else {
                standing.fall_back(&unit, can_fall_back, &mut decision);
            }
            let has_form = standing.accepted.is_some() || standing.closed.is_some();
            if !has_form && std::mem::take(&mut standing.is_saved) {
                decision.saved.push((unit.clone(), None));
            }
            let after = standing.refusal();
            if after.is_empty() && !before.is_empty() {
                decision.healed.push(unit.clone());
            } else if !after.is_empty()
                && (is_spoken_of || after != before || standing.serving != had)
            {
                decision.refused.push(unit.clone());
            }
            if !standing.is_forgotten() {
                self.units.insert(unit, standing);
            }
        }
        decision
    }

    /// Why this form cannot have its port, if so.
    fn conflict(&self, unit: &UnitName, form: &Form, rank: Rank) -> Option<Diagnostic> {
        let port = form.port()?;
        let refuse = |owner: &str, help: &str| {
            Diagnostic::error("port-conflict", format!("port {port} is taken by {owner}"))
                .in_unit(unit)
                .for_field("external_port")
                .help(help)
        };
        if let Some(owner) = self.reserved.get(&port) {
            return Some(refuse(owner, "choose another external_port"));
        }
        let (first_rank, first) = self.claims.get(&port)?.first()?;
        let is_own = first == unit && *first_rank <= rank;
        let help = "choose another external_port for one of the two";
        (!is_own).then(|| refuse(first.as_str(), help))
    }

    fn claim(
        claims: &mut HashMap<u16, BTreeSet<Claim>>,
        unit: &UnitName,
        standing: &Standing,
        touched: &mut BTreeSet<UnitName>,
    ) {
        for (rank, port) in standing.claims() {
            let claimants = claims.entry(port).or_default();
            claimants.insert((rank, unit.clone()));
            touched.extend(claimants.iter().map(|(_, unit)| unit.clone()));
        }
    }

    fn withdraw(
        claims: &mut HashMap<u16, BTreeSet<Claim>>,
        unit: &UnitName,
        standing: &Standing,
        touched: &mut BTreeSet<UnitName>,
    ) {
        for (rank, port) in standing.claims() {
            if let Some(claimants) = claims.get_mut(&port) {
                claimants.remove(&(rank, unit.clone()));
                touched.extend(claimants.iter().map(|(_, unit)| unit.clone()));
                if claimants.is_empty() {
                    claims.remove(&port);
                }
            }
        }
    }
}

impl Standing {
    fn may_go_live(&self) -> bool {
        self.wanted.is_some() && self.conflict.is_none() && self.bind_failure.is_none()
    }

    /// Whether the wanted form is in force already.
    fn is_current(&self) -> bool {
        self.serving == Serving::Accepted
            && match (&self.wanted, &self.accepted) {
                (Some(wanted), Some(accepted)) => {
                    wanted.text == accepted.text && wanted.unit == accepted.unit
                }
                _ => false,
            }
    }

    fn accept(&mut self, unit: &UnitName, decision: &mut Decision) {
        let Some(form) = self.wanted.clone() else {
            return;
        };
        decision
            .changes
            .push((unit.clone(), Some(form.unit.clone())));
        decision.saved.push((unit.clone(), Some(form.text.clone())));
        self.is_saved = true;
        self.is_closed = false;
        self.closed = None;
        self.refused.clear();
        self.serving = Serving::Accepted;
        self.before = self
            .accepted
            .replace(form)
            .filter(|before| before.port().is_some());
    }

    /// The wanted form cannot be in force (or there is none): the accepted one is, or nothing.
    fn fall_back(&mut self, unit: &UnitName, is_possible: bool, decision: &mut Decision) {
        let had = self.serving;
        self.serving = match &self.closed {
            _ if is_possible => Serving::Accepted,
            Some(_) => Serving::Closed,
            None => Serving::Nothing,
        };
        let lost_its_form = self.bind_failure.is_some();
        match (had, self.serving, &self.accepted) {
            (_, Serving::Closed, _) => {
                if let Some(Closed { text, unit: form }) = &self.closed {
                    decision.changes.push((unit.clone(), Some(form.clone())));
                    decision.saved.push((unit.clone(), Some(text.clone())));
                    self.is_saved = true;
                }
            }
            (Serving::Closed | Serving::Accepted, Serving::Nothing, _) => {
                decision.changes.push((unit.clone(), None));
                // Saved is what is in force: a start from it must not bring this form back against
                // whoever has its port now.
                if std::mem::take(&mut self.is_saved) {
                    decision.saved.push((unit.clone(), None));
                }
            }
            (Serving::Accepted, Serving::Accepted, _) if !lost_its_form => {}
            (_, Serving::Accepted, Some(form)) => {
                decision
                    .changes
                    .push((unit.clone(), Some(form.unit.clone())));
                decision.saved.push((unit.clone(), Some(form.text.clone())));
                self.is_saved = true;
            }
            _ => {}
        }
    }

    /// Forgets forms that ask for less, and puts one in their place that lets nobody in.
    fn close_if_open(
        &mut self,
        unit: &UnitName,
        asks: Asks,
        closed: Option<(std::sync::Arc<str>, Box<Unit>)>,
    ) {
        let is_open = |form: &mut Form| form.asks() < asks;
        self.before.take_if(is_open);
        let given_up = self.accepted.take_if(is_open);
        self.is_closed |= given_up.is_some();
        if self.accepted.is_none() {
            let by_text = closed.map(|(text, unit)| Closed { text, unit: *unit });
            let by_form = || {
                let form = given_up?;
                let Unit::Service(service) = form.unit else {
                    return None;
                };
                let unit = config::in_place_of(service)?;
                // Its text alone would open it again at the next start.
                let text = config::marked_closed(&form.text).into();
                Some(Closed { text, unit })
            };
            self.closed = by_text.or_else(by_form).or(self.closed.take());
        }
        if self.is_closed && self.accepted.is_none() {
            self.refused.push(
                Diagnostic::error(
                    "closed",
                    "the service is closed: it asks for authentication and was last accepted without",
                )
                .in_unit(unit)
                .help("put the other problems right, or remove what asks for authentication"),
            );
        }
    }

    /// Everything that keeps the newest text from being in force.
    fn refusal(&self) -> Vec<Diagnostic> {
        self.refused
            .iter()
            .chain(&self.conflict)
            .chain(&self.bind_failure)
            .cloned()
            .collect()
    }

    fn claims(&self) -> impl Iterator<Item = (Rank, u16)> {
        let wanted = self.wanted.as_ref().and_then(Form::port);
        let accepted = self.accepted.as_ref().and_then(Form::port);
        let fallen = accepted.filter(|port| wanted != Some(*port));
        let wanted = wanted.map(|port| (Rank::Wanted, port));
        wanted
            .into_iter()
            .chain(fallen.map(|port| (Rank::FallenBack, port)))
    }

    fn is_forgotten(&self) -> bool {
        let has_form = self.wanted.is_some() || self.accepted.is_some() || self.closed.is_some();
        !has_form && self.refusal().is_empty()
    }
}

#[cfg(test)]
mod tests;
