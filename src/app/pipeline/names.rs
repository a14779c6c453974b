//! Names of upstreams: what DNS is to be asked, and what becomes of its answers.

use std::time::Instant;

use super::Pipeline;
use crate::apply::accept::Decision;
use crate::diag::Diagnostic;
use crate::dns::{Known, Question, Trouble};
use crate::names::UnitName;
use crate::resolve::Wanted;
use crate::status::generations::Reason;

impl Pipeline {
    /// Follows DNS, as if somebody had changed the addresses of those services by hand. An answer that
    /// changes no service makes no swap.
    pub(in crate::app) fn follow_names(&mut self, known: Known) {
        let before = std::mem::replace(&mut self.known, known);
        if !self.applier.current().plan.has_answers(&self.known.answers) {
            if let Some(saved) = &self.saved {
                saved.save_answers(self.known.answers.clone());
            }
            if self.has_committed {
                let revision = self.applier.current().revision;
                self.enforce(Decision::default(), revision, Instant::now(), Reason::Names);
            }
        }
        // The resolver has logged them.
        if before.troubles != self.known.troubles {
            let warnings = self.all_warnings();
            self.status.send_modify(|status| {
                status.warnings_total = warnings.len();
                status.warnings = warnings;
            });
        }
    }

    /// Tells the resolver what the plan in force has to know.
    pub(super) fn ask(&self) {
        let plan = &self.applier.current().plan;
        let wanted = Wanted {
            questions: plan.questions().clone(),
            settings: plan.balancer().dns.clone(),
        };
        self.wanted.send_if_modified(|before| {
            let differs = !before.is_like(&wanted);
            if differs {
                *before = wanted;
            }
            differs
        });
    }

    /// What is to be told of names, at each upstream that has one.
    pub(super) fn told_of_names(&self) -> Vec<Diagnostic> {
        let plan = &self.applier.current().plan;
        let mut told = Vec::new();
        for (question, trouble) in &self.known.troubles {
            let has_answer = self.known.answers.contains_key(question);
            let units = plan.questions().get(question).into_iter().flatten();
            for unit in units {
                let Some(service) = plan.service(unit) else {
                    continue;
                };
                let upstreams = service.config.upstreams.iter();
                let asking = upstreams.filter(|u| u.address.question().as_ref() == Some(question));
                let fields = asking.map(|upstream| format!("upstreams.{}", upstream.name));
                told.extend(
                    fields.map(|field| warning(unit, field, question, trouble, has_answer)),
                );
            }
        }
        told
    }
}

fn warning(
    unit: &UnitName,
    field: String,
    question: &Question,
    trouble: &Trouble,
    has_answer: bool,
) -> Diagnostic {
    let (code, message, help) = match trouble {
        Trouble::Failed(reason) if has_answer => (
            "kept-answer",
            format!("{question} does not resolve: {reason}"),
            "the addresses that it had serve on; look at the DNS servers",
        ),
        Trouble::Failed(reason) => (
            "unresolved",
            format!("{question} does not resolve: {reason}"),
            "it has no upstreams until it does; look at the name, and at the DNS servers",
        ),
        Trouble::TooMany(_) => (
            "too-many-addresses",
            format!("{question} has {trouble}"),
            "the first in order are",
        ),
        Trouble::Beyond => (
            "too-many-names",
            format!("{question} is not resolved: there are {trouble}"),
            "write addresses, or use fewer names",
        ),
    };
    Diagnostic::warning(code, message)
        .in_unit(unit)
        .for_field(field)
        .help(help)
}
