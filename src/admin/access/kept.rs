//! Files that are read anew when they change.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MOST: u64 = 1024 * 1024;

/// What a file says, and said last when it says nothing good any more.
pub(in crate::admin) struct Kept<T> {
    flag: &'static str,
    file: PathBuf,
    read: fn(&str) -> Result<T, String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// As it was looked at last, good or not.
    seen: Result<Vec<u8>, String>,
    good: Arc<T>,
}

impl<T> Kept<T> {
    /// `read` makes of the text what it means, or tells what is wrong with it.
    pub(in crate::admin) fn open(
        flag: &'static str,
        file: &Path,
        read: fn(&str) -> Result<T, String>,
    ) -> Result<Self, String> {
        let told = |why: String| format!("{flag} {}: {why}", file.display());
        let bytes = bytes(file).map_err(told)?;
        let good = Arc::new(text(&bytes).and_then(read).map_err(told)?);
        Ok(Self {
            flag,
            file: file.to_owned(),
            read,
            state: Mutex::new(State {
                seen: Ok(bytes),
                good,
            }),
        })
    }

    pub(in crate::admin) fn get(&self) -> Arc<T> {
        self.lock().good.clone()
    }

    /// Whether it says something else now. What is wrong is told once, and what it said before holds.
    pub(in crate::admin) fn look_again(&self) -> bool {
        let found = bytes(&self.file);
        if self.lock().seen == found {
            return false;
        }
        let read = match &found {
            Ok(bytes) => text(bytes).and_then(self.read),
            Err(error) => Err(error.clone()),
        };
        let mut state = self.lock();
        state.seen = found;
        match read {
            Ok(good) => {
                state.good = Arc::new(good);
                drop(state);
                tracing::info!(flag = self.flag, file = %self.file.display(), "file read anew");
                true
            }
            Err(reason) => {
                drop(state);
                tracing::warn!(
                    flag = self.flag, file = %self.file.display(), reason,
                    "file cannot be read anew, what it said before holds"
                );
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(file: &Path) -> Result<Vec<u8>, String> {
    let open = File::open(file).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let read = open.take(MOST + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    match bytes.len() as u64 > MOST {
        true => Err(format!("it has more than {MOST} bytes")),
        false => Ok(bytes),
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    str::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
}
