//! What a change would do, by the pipeline of `pointsman check`.

use std::collections::BTreeSet;

use super::Settings;
use crate::app::dryrun::DryRun;
use crate::app::seal;
use crate::apply::accept::Court;
use crate::change::Failure;
use crate::diag::Diagnostic;
use crate::plan::Plan;
use crate::render::Templates;
use crate::seal::Opener;
use crate::snapshot::Snapshot;

/// Names of certificates that one warning tells one by one.
const NAMES_TOLD: usize = 10;

#[derive(Default)]
pub(super) struct Judged {
    /// Of the units that the change is about, and of others that were fine before.
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) warnings: Vec<String>,
}

impl Judged {
    pub(super) fn is_refused(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

impl Settings {
    pub(super) fn judge(
        &self,
        before: &Snapshot,
        after: &Snapshot,
        units: &[String],
    ) -> Result<Judged, Failure> {
        let dry = self.dry_run(after)?;
        let before = self.dry_run(before)?;
        let had = |told: &Diagnostic| {
            let known = before.diagnostics.iter();
            known
                .filter(|d| d.is_error())
                .any(|d| d.unit == told.unit && d.message == told.message)
        };
        let mut judged = Judged::default();
        for told in dry.diagnostics {
            if units.contains(&told.unit) || (told.is_error() && !had(&told)) {
                judged.diagnostics.push(told);
            }
        }
        let served = names(&dry.plan);
        let lost: Vec<_> = names(&before.plan)
            .into_iter()
            .filter(|name| !is_covered(name, &served))
            .collect();
        if !lost.is_empty() {
            let shown = lost.get(..NAMES_TOLD).unwrap_or(&lost);
            let more = match lost.len() - shown.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            judged.warnings.push(format!(
                "no certificate is for {}{more} any more",
                shown.join(", ")
            ));
        }
        Ok(judged)
    }

    fn dry_run(&self, tree: &Snapshot) -> Result<DryRun, Failure> {
        let (templates, _) = Templates::load(self.templates.as_deref());
        let (keys, _) = seal::keys(self.seal_key_file.as_deref())
            .map_err(|error| Failure::Settings(format!("{error:#}")))?;
        let tree = Opener::new(keys).follow(tree);
        let court = Court::new(self.reserved.clone());
        Ok(DryRun::new(templates, self.defaults.clone(), court, &tree))
    }
}

fn names(plan: &Plan) -> BTreeSet<String> {
    let all = plan.certificates().iter();
    all.flat_map(|own| own.certificate.names().iter().map(ToString::to_string))
        .collect()
}

fn is_covered(name: &str, served: &BTreeSet<String>) -> bool {
    let wildcard = || {
        let (_, rest) = name.split_once('.')?;
        served.contains(&format!("*.{rest}")).then_some(())
    };
    served.contains(name) || wildcard().is_some()
}
