//! The journey of the keys without a forwarder: what `check`, `render` and `plan` look at.

use crate::app::pipeline::{asks_for_password, new_compat};
use crate::apply::accept::{Court, Verdict};
use crate::config::{self, Balancer};
use crate::diag::Diagnostic;
use crate::names::UnitName;
use crate::plan::{Change, Plan};
use crate::render::{Renderer, Templates, UnitText};
use crate::snapshot::Snapshot;

/// Snapshot to plan, and every problem on the way.
pub(super) struct DryRun {
    pub(super) renderer: Renderer,
    pub(super) plan: Plan,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl DryRun {
    pub(super) fn new(
        templates: Templates,
        defaults: Balancer,
        mut court: Court,
        snapshot: &Snapshot,
    ) -> Self {
        let mut renderer = Renderer::new(templates);
        let rendered = renderer.update(snapshot);
        let mut verdicts = Vec::new();
        let mut diagnostics = Vec::new();
        judge_all(
            &renderer,
            &rendered.changed,
            &defaults,
            &mut verdicts,
            &mut diagnostics,
        );
        if let Some(compat) = new_compat(&verdicts)
            && compat != defaults.compat
        {
            // Read again by the habits that hold.
            (verdicts, diagnostics) = Default::default();
            let by_key = Balancer {
                compat,
                ..defaults.clone()
            };
            judge_all(
                &renderer,
                &rendered.changed,
                &by_key,
                &mut verdicts,
                &mut diagnostics,
            );
        }
        for (unit, diagnostics) in rendered.failed {
            let asks_for_password = asks_for_password(&renderer, &unit);
            let verdict = Verdict::Bad {
                diagnostics,
                asks_for_password,
            };
            verdicts.push((unit, verdict));
        }
        let changes: Vec<Change> = court.decide(verdicts).changes;
        for mut refused in court.refused() {
            renderer.name_keys(&refused.unit, &mut refused.diagnostics);
            diagnostics.extend(refused.diagnostics);
        }
        diagnostics.sort_by(|a, b| (&a.unit, a.line).cmp(&(&b.unit, b.line)));
        Self {
            renderer,
            plan: Plan::new(defaults).with(changes),
            diagnostics,
        }
    }
}

fn judge_all(
    renderer: &Renderer,
    texts: &[UnitText],
    defaults: &Balancer,
    verdicts: &mut Vec<(UnitName, Verdict)>,
    warnings: &mut Vec<Diagnostic>,
) {
    for text in texts {
        let verdict = match config::parse(&text.unit, &text.text, defaults) {
            Ok(mut accepted) => {
                renderer.name_keys(&text.unit, &mut accepted.warnings);
                warnings.extend(text.warnings.iter().cloned());
                warnings.extend(accepted.warnings);
                Verdict::Good {
                    text: text.text.clone(),
                    unit: Box::new(accepted.unit),
                }
            }
            Err(diagnostics) => Verdict::Bad {
                diagnostics,
                asks_for_password: config::asks_for_password(&text.text),
            },
        };
        verdicts.push((text.unit.clone(), verdict));
    }
}
