//! The kernel's watches over a directory tree, as far as they are to be had.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::events::Pending;

/// Watches that feed [`Pending`]; without a watcher, the word why.
pub(super) struct Watches {
    pending: Arc<Pending>,
    watcher: Option<RecommendedWatcher>,
    /// Directories elsewhere that are watched because links lead to files in them.
    outside: HashSet<PathBuf>,
    problem: Option<String>,
}

impl Watches {
    pub(super) fn new(pending: Arc<Pending>) -> Self {
        Self {
            pending,
            watcher: None,
            outside: HashSet::new(),
            problem: None,
        }
    }

    pub(super) fn is_watching(&self) -> bool {
        self.watcher.is_some()
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Begins anew with `root`, which need not exist yet.
    pub(super) fn restart(&mut self, root: &Path) {
        self.watcher = None;
        self.outside.clear();
        self.problem = None;
        let anchors = anchors(root);
        self.pending.set_root(root, anchors.clone());
        let pending = Arc::clone(&self.pending);
        let handler = move |event: notify::Result<notify::Event>| match event {
            Ok(event) => pending.add(&event),
            Err(_) => pending.add_unknown(),
        };
        // Links are followed by the scan, which knows when it goes round in circles.
        let config = Config::default().with_follow_symlinks(false);
        match RecommendedWatcher::new(handler, config) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => return self.give_up(&error),
        }
        for anchor in anchors {
            if let Some(parent) = anchor.parent() {
                self.add(parent, RecursiveMode::NonRecursive);
            }
        }
        self.add_dir(root);
    }

    /// A link below the root, and what it leads to. The kernel has one watch per directory, whatever the
    /// names it was added by, and the last name is the one that events carry: so every link is told to
    /// [`Pending`], which then knows all names of a place.
    pub(super) fn add_link(&mut self, link: &Path, meta: &Metadata) {
        let Ok(target) = std::fs::canonicalize(link) else {
            return;
        };
        if meta.is_dir() {
            self.pending.add_link(link, &target);
            self.add_dir(link);
        } else if let Some(dir) = target.parent()
            && !self.pending.add_link(link, &target)
            && self.outside.insert(dir.to_owned())
        {
            self.add(dir, RecursiveMode::NonRecursive);
        }
    }

    /// Before everything is looked at again: links are told anew.
    pub(super) fn forget_links(&mut self) {
        self.pending.forget_links();
    }

    /// A directory, or a link to one, with everything in it. Must come before reading it: what is
    /// created in between is then seen by one or the other.
    pub(super) fn add_dir(&mut self, dir: &Path) {
        if std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_symlink()) {
            // The recursive watch below begins behind the link.
            self.add(dir, RecursiveMode::NonRecursive);
        }
        self.add(dir, RecursiveMode::Recursive);
    }

    fn add(&mut self, path: &Path, mode: RecursiveMode) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        match watcher.watch(path, mode) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => self.give_up(&error),
        }
    }

    /// Half a watched tree is worse than none: everything is polled.
    fn give_up(&mut self, error: &notify::Error) {
        self.watcher = None;
        let why = match &error.kind {
            ErrorKind::MaxFilesWatch => {
                "no more watches to be had, raise the sysctl fs.inotify.max_user_watches".to_owned()
            }
            // EMFILE: the limit on inotify instances, or on open files.
            ErrorKind::Io(io) if io.raw_os_error() == Some(EMFILE) => {
                "no watcher to be had, raise the sysctl fs.inotify.max_user_instances or the limit on open files"
                    .to_owned()
            }
            _ => format!("directory cannot be watched: {error}"),
        };
        self.problem = Some(format!("{why}; polling it"));
    }
}

const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();

/// Removed while we were about to watch it; its parent's watch tells.
fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(io) => io.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The root, and every link on the way to it: a change of one of them changes what the root is.
fn anchors(root: &Path) -> Vec<PathBuf> {
    let mut anchors = vec![root.to_owned()];
    let above = root.ancestors().skip(1);
    anchors.extend(
        above
            .filter(|path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()))
            .map(Path::to_owned),
    );
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_up_watches_are_told_with_the_setting_to_raise() {
        let check = |error: notify::Error, expected: &str| {
            let mut watches = Watches::new(Arc::default());
            watches.give_up(&error);
            let problem = watches.problem().unwrap_or_default();
            assert!(problem.contains(expected), "{problem}");
            assert!(problem.ends_with("; polling it"), "{problem}");
            assert!(!watches.is_watching());
        };
        check(
            notify::Error::new(ErrorKind::MaxFilesWatch),
            "fs.inotify.max_user_watches",
        );
        check(
            notify::Error::io(std::io::Error::from_raw_os_error(EMFILE)),
            "fs.inotify.max_user_instances",
        );
        check(notify::Error::generic("odd"), "cannot be watched: odd");
    }
}
