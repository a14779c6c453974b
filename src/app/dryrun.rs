//! The journey of the keys without a forwarder: what `check`, `render` and `plan` look at.

use crate::app::pipeline::{asks_by_keys, new_compat, refused, told_of_upstream_tls, unix_time};
use crate::apply::accept::{Court, Verdict};
use crate::apply::certificates;
use crate::config::{self, Accepted, Balancer, Unit};
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
            let asks = asks_by_keys(&renderer, &unit);
            let verdict = Verdict::Bad {
                diagnostics,
                asks,
                closed: None,
            };
            verdicts.push((unit, verdict));
        }
        let changes: Vec<Change> = court.decide(verdicts).changes;
        for mut refused in court.refused() {
            renderer.name_keys(&refused.unit, &mut refused.diagnostics);
            diagnostics.extend(refused.diagnostics);
        }
        let plan = Plan::new(defaults).with(changes);
        diagnostics.extend(told_of_certificates(&renderer, &plan));
        diagnostics.sort_by(|a, b| (&a.unit, a.line).cmp(&(&b.unit, b.line)));
        Self {
            renderer,
            plan,
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
        let parsed = config::parse(&text.unit, &text.text, defaults).map(Accepted::for_serving);
        let proved = parsed.and_then(|accepted| prove(&text.unit, accepted));
        let verdict = match proved {
            Ok(mut accepted) => {
                let told = told_of_upstream_tls(&text.unit, &accepted.unit);
                accepted.warnings.extend(told);
                renderer.name_keys(&text.unit, &mut accepted.warnings);
                let mut own = text.warnings.clone();
                renderer.name_keys(&text.unit, &mut own);
                warnings.append(&mut own);
                warnings.extend(accepted.warnings);
                Verdict::Good {
                    text: text.text.clone(),
                    unit: Box::new(accepted.unit),
                }
            }
            Err(diagnostics) => refused(&text.unit, text.text.clone(), diagnostics, defaults),
        };
        verdicts.push((text.unit.clone(), verdict));
    }
}

/// What a running node asks of a certificate that it does not serve yet.
fn prove(unit: &UnitName, accepted: Accepted) -> Result<Accepted, Vec<Diagnostic>> {
    if let Unit::Certificate(certificate) = &accepted.unit {
        certificates::judge(unit, &certificate.bundle, unix_time())?;
    }
    Ok(accepted)
}

/// What is to be told of certificates that would go live.
fn told_of_certificates(renderer: &Renderer, plan: &Plan) -> Vec<Diagnostic> {
    let mut watch = certificates::Watch::default();
    let units = watch.look(plan.certificates(), unix_time());
    let mut told = Vec::new();
    for unit in units {
        let mut own = watch.of_unit(&unit).to_vec();
        renderer.name_keys(&unit, &mut own);
        told.append(&mut own);
    }
    told
}
