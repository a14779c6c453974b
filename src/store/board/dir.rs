//! The board beside a directory store: one file per node, touched while the node lives.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::fs;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::super::dir::absolute;
use super::super::{MAX_VALUE, StoreError};
use super::{HEARTBEAT, LIFETIME, PAUSE, file_name, parse};
use crate::backoff::Backoff;
use crate::status::NodeStatus;

#[derive(Clone)]
pub(super) struct Board {
    nodes: PathBuf,
}

impl Board {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            nodes: beside(path).join("nodes"),
        }
    }

    pub(super) fn place(&self) -> String {
        self.nodes.display().to_string()
    }

    pub(super) async fn list(&self) -> Result<Vec<NodeStatus>, StoreError> {
        match self.read_all().await {
            Ok(nodes) => Ok(nodes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::Failed {
                store: self.place(),
                reason: error.to_string(),
            }),
        }
    }

    async fn read_all(&self) -> io::Result<Vec<NodeStatus>> {
        let mut nodes = Vec::new();
        let mut entries = fs::read_dir(&self.nodes).await?;
        while let Some(entry) = entries.next_entry().await? {
            let path = entry.path();
            if path.extension().is_none_or(|ext| ext != "json") {
                continue;
            }
            // Removed or replaced at this moment: the next look will tell.
            let Ok(meta) = entry.metadata().await else {
                continue;
            };
            let age = meta
                .modified()
                .map(|at| SystemTime::now().duration_since(at));
            let is_dead = matches!(age, Ok(Ok(age)) if age > LIFETIME);
            if is_dead || !meta.is_file() || meta.len() > MAX_VALUE as u64 {
                continue;
            }
            if let Ok(text) = fs::read(&path).await {
                nodes.extend(parse(&path.display().to_string(), &text));
            }
        }
        Ok(nodes)
    }

    /// Writes what is published until the publisher goes; then takes the file away.
    pub(super) async fn write(self, mut newest: watch::Receiver<Option<NodeStatus>>) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut told = false;
        loop {
            let status = newest.borrow_and_update().clone();
            let wait = match &status {
                None => HEARTBEAT,
                Some(status) => match self.put(status).await {
                    Ok(()) => {
                        backoff.reset();
                        told = false;
                        HEARTBEAT
                    }
                    Err(error) if told => {
                        debug!(%error, "status cannot be written");
                        backoff.next_wait()
                    }
                    Err(error) => {
                        warn!(place = %self.place(), %error, event = "status_unwritten", "status cannot be written, trying on");
                        told = true;
                        backoff.next_wait()
                    }
                },
            };
            sleep(PAUSE.min(wait)).await;
            let again = Instant::now() + wait;
            let changed = tokio::select! {
                changed = newest.changed() => changed,
                () = sleep_until(again) => Ok(()),
            };
            if changed.is_err() {
                if let Some(status) = &status {
                    // Nobody left to tell if it fails; it is dead by its age soon.
                    let _ = fs::remove_file(self.file(&status.node)).await;
                }
                return;
            }
        }
    }

    /// Written beside and renamed, so that nobody reads half a status.
    async fn put(&self, status: &NodeStatus) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(status)?;
        let file = self.file(&status.node);
        let written = file.with_extension("json.new");
        fs::create_dir_all(&self.nodes).await?;
        fs::write(&written, text).await?;
        fs::rename(&written, &file).await
    }

    fn file(&self, node: &str) -> PathBuf {
        self.nodes.join(format!("{}.json", file_name(node)))
    }
}

/// `keys` to `keys.status`. A path without a last name (`.`, `..`, `a/..`) gets the one it stands for.
fn beside(path: &Path) -> PathBuf {
    let path = absolute(path);
    let ends_in_name = matches!(path.components().next_back(), Some(Component::Normal(_)));
    let path = if ends_in_name {
        path
    } else {
        std::fs::canonicalize(&path).unwrap_or(path)
    };
    let mut beside = path.into_os_string();
    beside.push(".status");
    beside.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_beside_the_keys() {
        assert_eq!(
            beside(Path::new("/srv/keys")),
            Path::new("/srv/keys.status")
        );
        let here = std::env::current_dir().expect("a working directory");
        let mut expected = here.clone().into_os_string();
        expected.push(".status");
        assert_eq!(beside(Path::new(".")), PathBuf::from(expected));
    }
}
