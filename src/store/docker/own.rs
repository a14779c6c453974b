//! Where this process stands: on the host, or in a container of the engine's.

use std::path::Path;

use super::engine::{Engine, EngineError, Look};
use super::inspect::Seen;
use crate::link::Standing;

/// This process's container and the place it stands in.
pub(super) struct Own {
    pub(super) id: Option<String>,
    pub(super) standing: Standing,
}

pub(super) async fn standing(engine: &Engine) -> Result<Own, EngineError> {
    let on_host = Own {
        id: None,
        standing: Standing::Host,
    };
    let Some(id) = own_id() else {
        return Ok(on_host);
    };
    match engine.inspect(&id).await {
        Look::Seen(container) => {
            let seen = Seen::of(&container);
            let standing = match seen.facts.is_on_host {
                true => Standing::Host,
                false => Standing::Container(seen.facts.networks.into_keys().collect()),
            };
            Ok(Own {
                id: container.id,
                standing,
            })
        }
        // In a container of another engine.
        Look::Gone => Ok(on_host),
        Look::Failed(reason) => Err(EngineError::Failed {
            what: "a look at our own container",
            reason,
        }),
    }
}

/// The id of the container that this process is in. Docker puts files of its own over three in `/etc`, and
/// the place they are from has the id; where that is not to be seen, the host's name is its beginning.
fn own_id() -> Option<String> {
    let is_inside = Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists();
    if !is_inside {
        return None;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let id = mounts.lines().find_map(id_in);
    id.or_else(|| {
        let name = std::fs::read_to_string("/etc/hostname").ok()?;
        let name = name.trim();
        (name.len() == 12 && is_hex(name)).then(|| name.to_owned())
    })
}

fn id_in(mount: &str) -> Option<String> {
    let is_ours = ["/hostname ", "/hosts ", "/resolv.conf "]
        .iter()
        .any(|file| mount.contains(file));
    let parts = mount
        .split('/')
        .filter(|part| part.len() == 64 && is_hex(part));
    parts
        .into_iter()
        .next()
        .filter(|_| is_ours)
        .map(str::to_owned)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_in_the_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let line = format!(
            "500 490 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw"
        );
        assert_eq!(id_in(&line), Some(id.clone()));
        assert_eq!(id_in(&line.replace("hostname", "data")), None);
        assert_eq!(id_in("500 490 8:1 / /etc/hostname rw"), None);
    }
}
