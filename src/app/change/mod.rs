//! Changes to keys: read, judged by the pipeline of `pointsman check`, and written, for the commands and for the
//! HTTP API of a node.

mod commands;
mod judge;
mod services;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use crate::app::cli::{ListenArgs, OwnArgs, SettingArgs, StoreArgs, TemplateArgs, unless_empty};
use crate::app::seal;
use crate::app::settings::{self, HttpsAt};
use crate::change::{
    Answer, Change, Control, Done, Failure, How, Planned, Problem, ServiceView, services as list,
};
use crate::config::Balancer;
use crate::seal::{Place, is_sealed};
use crate::status::NodeStatus;
use crate::store::{
    self, StatusBoard, StoreOptions, StoreSpec, TreeState, WaitError, WriteError, Writer,
};

pub(super) use commands::{CertArgs, DrainArgs, LinkArgs, UnlinkArgs};
pub(super) use commands::{cert, drain, link, undrain, unlink};
pub(super) use services::ServicesArgs;
pub(super) use services::services;

/// For the stores to answer, and for others who write the same keys.
const LIMIT: Duration = Duration::from_secs(10);

/// For a try that was begun in time.
const GRACE: Duration = Duration::from_secs(10);

/// Looks at once, and changes besides: each reads the whole tree.
const AT_ONCE: usize = 2;

/// For those before to be done.
const QUEUE: Duration = Duration::from_secs(2);

/// What a node knows, or a command that stands in for one.
#[derive(Clone)]
pub(super) struct Changer {
    specs: Vec<StoreSpec>,
    /// With what this node has by itself below them.
    all: Vec<StoreSpec>,
    options: StoreOptions,
    settings: Settings,
    looks: Arc<Semaphore>,
    changes: Arc<Semaphore>,
}

/// By what keys are judged.
#[derive(Clone)]
struct Settings {
    defaults: Balancer,
    templates: Option<PathBuf>,
    seal_key_file: Option<PathBuf>,
    reserved: HashMap<u16, String>,
}

impl Changer {
    pub(super) fn new(
        store: &StoreArgs,
        own: &OwnArgs,
        template: &TemplateArgs,
        setting: &SettingArgs,
        listen: &ListenArgs,
    ) -> anyhow::Result<Self> {
        let (specs, options) = settings::stores(store)?;
        let (defaults, _) = settings::balancer(setting, &store.root)?;
        let https = HttpsAt::read(&listen.https)?;
        Ok(Self {
            all: settings::with_own(own, &specs),
            specs,
            options,
            settings: Settings {
                defaults,
                templates: template.templates.clone(),
                seal_key_file: own.seal_key_file.clone(),
                reserved: settings::reserved_ports(&listen.http, &https, listen.stats),
            },
            looks: Arc::new(Semaphore::new(AT_ONCE)),
            changes: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    async fn tree(&self) -> Result<TreeState, Failure> {
        Ok(store::read_tree(&self.all, &self.options, LIMIT).await?)
    }

    async fn change(&self, mut change: Change, how: How) -> Result<Done, Failure> {
        let until = Instant::now() + LIMIT;
        let _permit = turn(&self.changes).await?;
        let mut writer = Writer::open(&self.specs, &self.options)?;
        if how.seal {
            self.seal(&mut change).await?;
        }
        loop {
            match self.attempt(&mut writer, &mut change, how, until).await {
                Err(Failure::Write(WriteError::Conflict)) if Instant::now() < until => {
                    sleep(Duration::from_millis(fastrand::u64(5..60))).await;
                }
                result => return result,
            }
        }
    }

    async fn attempt(
        &self,
        writer: &mut Writer,
        change: &mut Change,
        how: How,
        until: Instant,
    ) -> Result<Done, Failure> {
        let mut tree = self.tree().await?;
        let place = store::place(&self.all)?;
        change.pin(&tree.snapshot)?;
        let places = change.places(&tree.snapshot)?;
        let held = writer.read(&places).await?;
        if held.revision() != tree.revision {
            // What is judged must not be older than what the writing is guarded by.
            tree = self.tree().await?;
            if change.places(&tree.snapshot)? != places {
                return Err(WriteError::Conflict.into());
            }
        }
        let source = |key: &str| tree.others(place, key);
        let Planned {
            edit,
            units,
            mut warnings,
        } = change.edits(&tree.snapshot, &held, source)?;
        if edit.is_empty() {
            return Ok(Done {
                revision: tree.newest_key,
                changed: false,
                warnings,
                diagnostics: Vec::new(),
                is_counted: false,
            });
        }
        for key in edit.keys.keys() {
            if let Some(over) = tree.hides(place, key) {
                warnings.push(format!("{over} has {key} too, and goes over it"));
            }
        }
        let after = tree.with(place, &edit);
        let after_too = after.clone();
        let before = tree.snapshot.clone();
        let settings = self.settings.clone();
        let judged = blocking(move || settings.judge(&before, &after, &units)).await??;
        if judged.is_refused() && !how.force {
            return Err(Failure::Refused(judged.diagnostics));
        }
        if !how.force {
            change.check_risk(&tree.snapshot, &after_too)?;
        }
        warnings.extend(judged.warnings);
        // Who asked for it has gone by now, and does not want it minutes later.
        if Instant::now() > until + GRACE {
            return Err(Failure::Late);
        }
        let revision = writer.write(&edit, &held).await?;
        let is_etcd = |spec: &&StoreSpec| matches!(spec, StoreSpec::Etcd(_));
        Ok(Done {
            revision,
            changed: true,
            warnings,
            diagnostics: judged.diagnostics,
            is_counted: writer.has_revisions() && self.specs.iter().filter(is_etcd).count() == 1,
        })
    }

    async fn seal(&self, change: &mut Change) -> Result<(), Failure> {
        let Change::AddCertificate { name, value } = change else {
            return Ok(());
        };
        if is_sealed(value) {
            return Ok(());
        }
        let Some(file) = self.settings.seal_key_file.clone() else {
            let why = "there is no seal key file to seal it with; --seal-key-file names it";
            return Err(Problem::Bad(why.to_owned()).into());
        };
        let (key, plain) = (format!("certs/{name}"), value.clone());
        let sealed = blocking(move || {
            let (keys, _) = seal::keys(Some(&file))?;
            anyhow::Ok(keys.seal(Place::Keys(&key), plain.trim_ascii())?)
        });
        *value = sealed.await?.map_err(unset)?.into_bytes();
        Ok(())
    }

    async fn wait_for(&self, done: Done, limit: Duration) -> Result<Vec<NodeStatus>, WaitError> {
        let board = StatusBoard::open(&self.specs, &self.options)?;
        let revision = done.is_counted.then_some(done.revision);
        let refused_from = done.changed.then_some(done.revision);
        store::wait(&board, revision, refused_from, limit).await
    }
}

impl Control for Changer {
    fn make(&self, change: Change, how: How) -> Answer<'_, Result<Done, Failure>> {
        Box::pin(self.change(change, how))
    }

    fn services(&self) -> Answer<'_, Result<Vec<ServiceView>, Failure>> {
        Box::pin(async {
            let _permit = turn(&self.looks).await?;
            Ok(list(&self.tree().await?.snapshot))
        })
    }

    fn wait(&self, done: Done, limit: Duration) -> Answer<'_, Result<Vec<NodeStatus>, WaitError>> {
        Box::pin(self.wait_for(done, limit))
    }
}

/// Those who wait too long are told so: what hangs does not make more of them wait.
async fn turn(permits: &Semaphore) -> Result<SemaphorePermit<'_>, Failure> {
    match timeout(QUEUE, permits.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Failure::Busy),
    }
}

/// Rendering a large tree takes a while, and others wait for this thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Failure::Settings("judging the keys ended early".to_owned()))
}

fn unset(error: anyhow::Error) -> Failure {
    Failure::Settings(format!("{error:#}"))
}

/// What `LB_...` variables say of the balancer. Commands that change keys have no flags for it: theirs are about
/// one service.
fn environment() -> anyhow::Result<SettingArgs> {
    let command = SettingArgs::augment_args(clap::Command::new("settings")).mut_args(unless_empty);
    Ok(SettingArgs::from_arg_matches(
        &command.try_get_matches_from(["settings"])?,
    )?)
}
