//! What is set for the stores besides where they are.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `--root` where none is given.
pub const DEFAULT_ROOT: &str = "/pointsman/lb";

/// Settings for all stores of one balancer.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The key prefix in etcd, any; slashes are normalised by [`normalise_root`]. A `dir:` store
    /// *is* its root and has no use for it. Default `/pointsman/lb`.
    pub root: String,
    /// A change is passed on when no other came for this long, at the latest after ten times this.
    /// Default 0: at once. For writers that set the keys of one service one by one.
    pub settle: Duration,
    /// How long a store that suddenly has no services any more is not believed; 0: not at all.
    /// Default 30 s.
    pub empty_grace: Duration,
    /// The first tree is distrusted like a later one when it has no services: set this when the
    /// node booted from a saved config that had some. Default false.
    pub expect_services: bool,
    pub etcd: EtcdOptions,
}

/// Settings for etcd alone. Files are read anew at each connect, so that they can be rotated.
#[derive(Clone, Default)]
pub struct EtcdOptions {
    pub user: Option<String>,
    /// Used with `user` only.
    pub password: Option<String>,
    /// PEM file of the authorities that may sign the server's certificate; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and its key; both or none.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name in the server's certificate where it is not the endpoint's host.
    pub server_name: Option<String>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            root: DEFAULT_ROOT.to_owned(),
            settle: Duration::ZERO,
            empty_grace: Duration::from_secs(30),
            expect_services: false,
            etcd: EtcdOptions::default(),
        }
    }
}

impl StoreOptions {
    /// The prefix of every key in etcd: the root and one slash.
    pub fn key_prefix(&self) -> String {
        format!("{}/", normalise_root(&self.root))
    }

    /// Where nodes write what they run. Beside the root, not under it, so that N nodes which report
    /// do not wake N watchers.
    pub fn status_prefix(&self) -> String {
        format!("{}.status/nodes/", normalise_root(&self.root))
    }

    /// Where nodes keep the keys of session tickets, beside the root as well.
    pub fn tickets_key(&self) -> String {
        format!("{}.tickets", normalise_root(&self.root))
    }
}

impl EtcdOptions {
    /// Whether any of the settings asks for TLS, whatever the store's scheme.
    pub fn wants_tls(&self) -> bool {
        self.ca_file.is_some() || self.cert_file.is_some() || self.key_file.is_some()
    }
}

/// One slash between names and none at the end. A leading slash stays if it is there and is not
/// added if it is not: to etcd `lb` and `/lb` are two prefixes, and both may be in use.
/// `/` alone becomes the empty root, whose prefix is `/`.
pub fn normalise_root(root: &str) -> String {
    let lead = if root.starts_with('/') { "/" } else { "" };
    let names: Vec<&str> = root.split('/').filter(|name| !name.is_empty()).collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("{lead}{}", names.join("/")),
    }
}

/// Never shows the password.
impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .field("server_name", &self.server_name)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_lose_needless_slashes_and_keep_the_first() {
        let check = |root: &str, prefix: &str| {
            let options = StoreOptions {
                root: root.to_owned(),
                ..StoreOptions::default()
            };
            assert_eq!(options.key_prefix(), prefix, "root {root:?}");
        };
        check("/pointsman/lb", "/pointsman/lb/");
        check("//kontena/haproxy//lb/", "/kontena/haproxy/lb/");
        check("lb", "lb/");
        check("/", "/");
    }

    #[test]
    fn status_is_beside_the_root_and_the_password_is_not_shown() {
        let options = StoreOptions {
            etcd: EtcdOptions {
                user: Some("root".to_owned()),
                password: Some("hush".to_owned()),
                ..EtcdOptions::default()
            },
            ..StoreOptions::default()
        };
        assert_eq!(options.status_prefix(), "/pointsman/lb.status/nodes/");
        assert_eq!(options.tickets_key(), "/pointsman/lb.tickets");
        assert!(!options.status_prefix().starts_with(&options.key_prefix()));
        assert!(!format!("{options:?}").contains("hush"));
    }
}
