//! Which services have names for upstreams, and what those names stand for.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use crate::dns::{Answers, Question};
use crate::names::UnitName;
use crate::plan::Service;

#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    /// What members were made of. May know of more than is asked.
    pub(super) answers: Answers,
    pub(super) askers: OrdMap<Question, OrdSet<UnitName>>,
}

impl Named {
    pub(super) fn edit(&mut self, service: &Service, comes: bool) {
        for upstream in &service.config.upstreams {
            let Some(question) = upstream.address.question() else {
                continue;
            };
            let askers = self.askers.entry(question.clone()).or_default();
            if comes {
                askers.insert(service.unit.clone());
            } else {
                askers.remove(&service.unit);
                if askers.is_empty() {
                    self.askers.remove(&question);
                }
            }
        }
    }

    pub(super) fn has(&self, answers: &Answers) -> bool {
        self.answers.ptr_eq(answers) || self.answers == *answers
    }

    /// Takes over other answers; gives the services that have to be made anew.
    pub(super) fn follow(&mut self, answers: &Answers) -> BTreeSet<UnitName> {
        let mut units = BTreeSet::new();
        for item in self.answers.diff(answers) {
            let question = match item {
                DiffItem::Add(question, _) | DiffItem::Remove(question, _) => question,
                DiffItem::Update {
                    new: (question, _), ..
                } => question,
            };
            units.extend(self.askers.get(question).into_iter().flatten().cloned());
        }
        self.answers = answers.clone();
        units
    }
}

#[cfg(test)]
mod tests;
