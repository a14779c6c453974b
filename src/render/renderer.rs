//! The renderer: what was rendered, from what, and what has to be rendered again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::attempt::attempt;
use super::pattern;
use super::reads::{Between, Read, ReadIndex, UnitReads};
use super::templates::Templates;
use super::{Rendered, UnitText};
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::snapshot::{ChangeKind, KeyChange, Snapshot};

/// Keeps the texts of all units and follows snapshots. Not `Clone`: there is one truth about what
/// was told already.
pub struct Renderer {
    templates: Templates,
    last: Snapshot,
    units: HashMap<UnitName, Unit>,
    index: ReadIndex,
    /// Nothing known about `last` holds: at first, and when templates were replaced.
    is_stale: bool,
}

struct Unit {
    kind: Kind,
    reads: UnitReads,
    outcome: Outcome,
}

/// What a unit stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    WholeTree,
    /// The directory of its name.
    Directory,
    /// The key of its name.
    Key,
}

enum Outcome {
    New,
    Failed,
    Text {
        text: Arc<str>,
        warnings: Vec<Diagnostic>,
    },
}

impl Renderer {
    pub fn new(templates: Templates) -> Self {
        Self {
            templates,
            last: Snapshot::default(),
            units: HashMap::new(),
            index: ReadIndex::default(),
            is_stale: true,
        }
    }

    /// Takes other templates; the next [`Renderer::update`] renders everything and tells what differs.
    pub fn replace_templates(&mut self, templates: Templates) {
        self.templates = templates;
        self.is_stale = true;
    }

    /// Renders what `snapshot` changes. The cost is that of the difference to the snapshot before,
    /// and of the units that read something in it.
    pub fn update(&mut self, snapshot: &Snapshot) -> Rendered {
        let old = std::mem::replace(&mut self.last, snapshot.clone());
        let mut plan = Plan::default();
        if self.is_stale {
            self.plan_all(&mut plan);
            self.is_stale = false;
        } else {
            let between = Between {
                old: &old,
                new: snapshot,
            };
            for change in old.diff(snapshot) {
                self.plan_change(&change, between, &mut plan);
            }
        }
        self.carry_out(plan)
    }

    /// The text a unit has now, if its template did not fail.
    pub fn text(&self, unit: &str) -> Option<Arc<str>> {
        match &self.units.get(unit)?.outcome {
            Outcome::Text { text, .. } => Some(text.clone()),
            Outcome::New | Outcome::Failed => None,
        }
    }

    /// What the template of a unit warned of.
    pub fn warnings(&self, unit: &str) -> Vec<Diagnostic> {
        match self.units.get(unit).map(|unit| &unit.outcome) {
            Some(Outcome::Text { warnings, .. }) => warnings.clone(),
            _ => Vec::new(),
        }
    }

    /// The snapshot that was followed last.
    pub fn snapshot(&self) -> &Snapshot {
        &self.last
    }

    /// The names of all units, sorted.
    pub fn units(&self) -> Vec<UnitName> {
        let mut names: Vec<_> = self.units.keys().cloned().collect();
        names.sort();
        names
    }

    /// The key that a field of a unit's text came from: fields are called what keys are called, so
    /// it is the key of that name among what the unit read.
    pub fn key_of(&self, unit: &str, field: &str) -> Option<String> {
        let state = self.units.get(unit)?;
        if state.kind == Kind::Key {
            return self.last.get(unit).map(|_| unit.to_owned());
        }
        let path = field.replacen('.', "/", 1);
        if state.kind == Kind::Directory {
            let key = format!("{unit}/{path}");
            if self.last.get(&key).is_some() {
                return Some(key);
            }
        }
        let suffix = format!("/{path}");
        let own = state.reads.own.iter().filter_map(|read| match read {
            Read::Key(key) => Some(format!("{unit}/{key}")),
            _ => None,
        });
        own.chain(state.reads.far_keys().map(str::to_owned))
            .find(|key| (*key == path || key.ends_with(&suffix)) && self.last.get(key).is_some())
    }

    /// Names the key in each diagnostic about a field, where it can be told, and veils what may show a
    /// value that was sealed.
    pub fn name_keys(&self, unit: &UnitName, diagnostics: &mut [Diagnostic]) {
        for diagnostic in diagnostics {
            if diagnostic.key.is_none()
                && let Some(field) = &diagnostic.field
            {
                diagnostic.key = self.key_of(unit.as_str(), field);
            }
            if self.may_show_secret(unit.as_str(), diagnostic) {
                veil(diagnostic);
            }
        }
    }

    /// Messages quote what they are about. Those of certificates never show a private key, and those of
    /// keys that nobody reads show names alone.
    fn may_show_secret(&self, unit: &str, diagnostic: &Diagnostic) -> bool {
        let is_harmless =
            diagnostic.field.as_deref() == Some("pem") || diagnostic.code == "unknown-key";
        match &diagnostic.key {
            _ if is_harmless => false,
            Some(key) => self.last.is_secret(key),
            None => {
                let quotes = |text: &str| text.contains('"');
                let is_quoting =
                    quotes(&diagnostic.message) || diagnostic.help.as_deref().is_some_and(quotes);
                is_quoting && self.reads_secret(unit)
            }
        }
    }

    fn reads_secret(&self, unit: &str) -> bool {
        let Some(state) = self.units.get(unit) else {
            return false;
        };
        self.last.secrets().any(|key| {
            let is_below = state.kind != Kind::WholeTree
                && key
                    .strip_prefix(unit)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            is_below || state.reads.reads_from_afar(key)
        })
    }

    fn plan_all(&self, plan: &mut Plan) {
        for (_, unit) in self.templates.once() {
            plan.render(UnitName::from(unit));
        }
        for (_, glob) in self.templates.each() {
            // Keys come in order, so those of one directory follow one another.
            let mut last = "";
            for (key, _) in self.last.under(pattern::base(glob)) {
                match pattern::directory(glob, key) {
                    Some(dir) if dir != last => {
                        plan.render(UnitName::from(dir));
                        last = dir;
                    }
                    _ => {}
                }
            }
        }
        for (_, glob) in self.templates.each_key() {
            if self.last.get(glob).is_some() {
                plan.render(UnitName::from(glob));
            }
            for (key, _) in self.last.under(pattern::base(glob)) {
                if self.templates.for_key(key).is_some() {
                    plan.render(UnitName::from(&**key));
                }
            }
        }
        for unit in self.units.keys() {
            if !plan.dirty.contains(unit) {
                plan.remove(unit.clone());
            }
        }
    }

    fn plan_change(&self, change: &KeyChange, between: Between<'_>, plan: &mut Plan) {
        if change.kind != ChangeKind::Updated {
            for (_, glob) in self.templates.each() {
                let Some(dir) = pattern::directory(glob, &change.key) else {
                    continue;
                };
                self.plan_unit(dir, between.new, plan);
            }
            if self.templates.for_key(&change.key).is_some() {
                self.plan_unit(&change.key, between.new, plan);
            }
        }
        for (at, _) in change.key.match_indices('/') {
            let dir = &change.key[..at];
            if let Some((name, unit)) = self.units.get_key_value(dir)
                && unit.kind == Kind::Directory
                && unit.reads.own.see(dir, change, between)
            {
                plan.render(name.clone());
            }
        }
        for unit in self.index.far_readers(change, between) {
            plan.render(unit.clone());
        }
    }

    /// Whether a directory or key that came or went makes a unit of its name come, go or stand for
    /// something else.
    fn plan_unit(&self, name: &str, new: &Snapshot, plan: &mut Plan) {
        let known = self.units.get(name).map(|unit| unit.kind);
        let wanted = self.asked_for(name, new).map(|(_, kind)| kind);
        match wanted {
            Some(_) if wanted != known => plan.render(UnitName::from(name)),
            None if known.is_some() => plan.remove(UnitName::from(name)),
            _ => {}
        }
    }

    /// The template file of a unit and what it stands for, if anything asks for it. Where a directory and
    /// a key have one name, the directory has it.
    fn asked_for(&self, name: &str, snapshot: &Snapshot) -> Option<(&str, Kind)> {
        let mut once = self.templates.once();
        if let Some((file, _)) = once.find(|(_, unit)| *unit == name) {
            return Some((file, Kind::WholeTree));
        }
        if let Some(file) = self.templates.for_directory(name)
            && snapshot.has_dir(name)
        {
            return Some((file, Kind::Directory));
        }
        let file = self.templates.for_key(name)?;
        snapshot.get(name).map(|_| (file, Kind::Key))
    }

    fn carry_out(&mut self, plan: Plan) -> Rendered {
        let mut rendered = Rendered::default();
        for name in plan.gone {
            if let Some(unit) = self.units.remove(&name) {
                self.index.remove(&name, unit.reads);
                rendered.removed.push(name);
            }
        }
        for name in plan.dirty {
            self.render(name, &mut rendered);
        }
        rendered
    }

    fn render(&mut self, name: UnitName, rendered: &mut Rendered) {
        let Some((file, kind)) = self.asked_for(name.as_str(), &self.last) else {
            return;
        };
        let dir = (kind == Kind::Directory).then_some(name.as_str());
        let attempt = attempt(&self.templates, file, &name, dir, &self.last);
        rendered.rendered += 1;
        let before = self.units.remove(&name);
        let before = before.map_or(Outcome::New, |unit| {
            self.index.remove(&name, unit.reads);
            unit.outcome
        });
        let reads = self.index.add(&name, dir, attempt.reads);
        let outcome = match attempt.text {
            Err(problem) => {
                let mut diagnostics = vec![*problem];
                diagnostics.extend(attempt.warnings);
                rendered.failed.push((name.clone(), diagnostics));
                Outcome::Failed
            }
            Ok(text) => {
                let is_same = matches!(
                    &before,
                    Outcome::Text { text: last, warnings } if *last == text && *warnings == attempt.warnings
                );
                if !is_same {
                    rendered.changed.push(UnitText {
                        unit: name.clone(),
                        text: text.clone(),
                        warnings: attempt.warnings.clone(),
                    });
                }
                Outcome::Text {
                    text,
                    warnings: attempt.warnings,
                }
            }
        };
        let unit = Unit {
            kind,
            reads,
            outcome,
        };
        self.units.insert(name, unit);
    }
}

/// Leaves of a message what cannot show the value: where it is, and its code.
fn veil(diagnostic: &mut Diagnostic) {
    let field = diagnostic.field.as_deref().unwrap_or("a value");
    diagnostic.message = format!(
        "{field}: {}; the message may show what is sealed, and is left out",
        diagnostic.code
    );
    diagnostic.help = Some("check the plain value before it is sealed".to_owned());
}

/// Units to render and units to drop, in name order.
#[derive(Default)]
struct Plan {
    dirty: BTreeSet<UnitName>,
    gone: BTreeSet<UnitName>,
}

impl Plan {
    fn render(&mut self, unit: UnitName) {
        if !self.gone.contains(&unit) {
            self.dirty.insert(unit);
        }
    }

    fn remove(&mut self, unit: UnitName) {
        self.dirty.remove(&unit);
        self.gone.insert(unit);
    }
}
