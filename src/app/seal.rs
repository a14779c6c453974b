//! The seal key file, and `pointsman seal`.

use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::app::cli::SealArgs;
use crate::app::look;
use crate::seal::{self, Place, SealKeys};

/// Sealed it is a third longer, and a value has 1 MiB at most.
const MAX_PLAIN: u64 = 512 * 1024;

/// More is no file of keys.
const MAX_FILE: u64 = 64 * 1024;

/// The seal keys of a file, and what is odd about it; none without a file.
pub(super) fn keys(file: Option<&Path>) -> anyhow::Result<(SealKeys, Option<String>)> {
    let Some(file) = file else {
        return Ok((SealKeys::default(), None));
    };
    let (text, meta) = read(file)?;
    let keys = parse(file, &text)?;
    let mode = meta.mode() & 0o777;
    let warning = (mode & 0o077 != 0).then(|| {
        let what = called(file);
        format!(
            "{what} can be read by others (mode {mode:o}); chmod go= keeps it from them, unless its \
             group is there for the balancer alone"
        )
    });
    Ok((keys, warning))
}

fn called(file: &Path) -> String {
    format!("seal key file {}", file.display())
}

fn read(file: &Path) -> anyhow::Result<(String, Metadata)> {
    let what = || called(file);
    let open = fs::File::open(file).with_context(what)?;
    let meta = open.metadata().with_context(what)?;
    let mut text = String::new();
    let read = open.take(MAX_FILE + 1).read_to_string(&mut text);
    if read.with_context(what)? as u64 > MAX_FILE {
        bail!("{}: larger than {MAX_FILE} bytes", what());
    }
    Ok((text, meta))
}

fn parse(file: &Path, text: &str) -> anyhow::Result<SealKeys> {
    SealKeys::read(text).map_err(|why| anyhow::anyhow!("{}: {why}", called(file)))
}

/// The file, looked at now and then.
pub(super) struct KeyFile {
    file: Option<PathBuf>,
    keys: SealKeys,
    problem: Option<String>,
}

impl KeyFile {
    pub(super) fn new(file: Option<PathBuf>, keys: SealKeys) -> Self {
        Self {
            file,
            keys,
            problem: None,
        }
    }

    /// Other keys than before. A file that cannot be read leaves them as they are, and is told once.
    pub(super) fn changed(&mut self) -> Option<SealKeys> {
        let problem = match keys(Some(self.file.as_deref()?)) {
            Ok((keys, _)) => {
                self.problem = None;
                if keys == self.keys {
                    return None;
                }
                tracing::info!(keys = keys.ids().count(), "seal keys read anew");
                self.keys = keys.clone();
                return Some(keys);
            }
            Err(error) => format!("{error:#}"),
        };
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(
                error = problem,
                "seal keys cannot be read anew, those from before stay"
            );
            self.problem = Some(problem);
        }
        None
    }
}

pub(super) fn seal(args: &SealArgs) -> anyhow::Result<ExitCode> {
    if args.new_key {
        return new_key(&args.seal_key_file);
    }
    let (keys, warning) = keys(Some(&args.seal_key_file))?;
    warning.iter().for_each(|w| eprintln!("warning: {w}"));
    let mut plain = Vec::new();
    io::stdin()
        .take(MAX_PLAIN + 1)
        .read_to_end(&mut plain)
        .context("standard input")?;
    if plain.trim_ascii().is_empty() {
        bail!("there is nothing on standard input to seal");
    }
    if plain.len() as u64 > MAX_PLAIN {
        bail!("more than {MAX_PLAIN} bytes on standard input: no value is that large");
    }
    if seal::is_sealed(&plain) {
        bail!("what is on standard input is sealed already");
    }
    let (place, warning) = place(&args.place)?;
    warning.iter().for_each(|w| eprintln!("warning: {w}"));
    let sealed = keys.seal(Place::Keys(place), &plain)?;
    look::print(&(sealed + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Directories of keys that have a meaning.
const DIRECTORIES: [&str; 4] = ["certs", "services", "settings", "tcp-services"];

/// What `--for` means, and what is odd about it. An empty one is a variable that was not set, and no wish
/// to have the value open everywhere.
fn place(written: &str) -> anyhow::Result<(&str, Option<String>)> {
    let place = written.trim_start_matches('/');
    if place.is_empty() && written != "/" {
        bail!("--for {written:?} names no key; / is all keys there are");
    }
    let is_root = ["pointsman/", "kontena/"]
        .iter()
        .any(|root| place.starts_with(root));
    let warning = if is_root {
        Some(format!(
            "--for {written}: keys are named from --root on, without it; such as certs/www"
        ))
    } else if DIRECTORIES.contains(&place) {
        Some(format!(
            "--for {written} is one key of that name; {place}/ is all keys below it"
        ))
    } else {
        None
    };
    Ok((place, warning))
}

/// Puts a new key in front of the others in one step: a crash leaves the file as it was. Who may read a
/// file that is there, and whose it is, stays.
fn new_key(file: &Path) -> anyhow::Result<ExitCode> {
    let what = || called(file);
    // A link stays one.
    let (file, known, meta) = match fs::canonicalize(file) {
        Ok(file) => {
            let (known, meta) = read(&file)?;
            // One that was made empty, to have an owner and a mode, gets its first key.
            if !known.trim().is_empty() {
                parse(&file, &known)?;
            }
            (file, known, Some(meta))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (file.to_owned(), String::new(), None)
        }
        Err(error) => return Err(error).with_context(what),
    };
    let line = seal::new_key_line()?;
    let mut temporary = file.clone().into_os_string();
    temporary.push(".new");
    let open = || {
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        options.open(&temporary)
    };
    let write = |mut out: fs::File| {
        if let Some(meta) = &meta {
            let own = out.metadata()?;
            if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
                fchown(&out, Some(meta.uid()), Some(meta.gid()))?;
            }
            out.set_permissions(Permissions::from_mode(meta.mode() & 0o777))?;
        }
        out.write_all(format!("{line}\n{known}").as_bytes())?;
        out.sync_all()?;
        fs::rename(&temporary, &file)
    };
    let how = || format!("{} (written as {} first)", what(), temporary.display());
    let out = open().with_context(how)?;
    if let Err(error) = write(out) {
        // Ours, and in the way of the next try.
        let _ = fs::remove_file(&temporary);
        return Err(error).with_context(how);
    }
    let (keys, _) = keys(Some(&file))?;
    let id = keys.ids().next().unwrap_or_default();
    look::print(&format!("{id}\n"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slash_alone_is_everywhere() {
        for (written, expected) in [
            ("/", ""),
            ("certs/", "certs/"),
            ("/services/web/auth", "services/web/auth"),
        ] {
            assert_eq!(place(written).unwrap(), (expected, None), "{written}");
        }
        for nowhere in ["", "//", "///"] {
            let told = place(nowhere).unwrap_err().to_string();
            assert!(told.contains("names no key"), "{told}");
        }
    }

    #[test]
    fn a_place_where_no_value_will_be_is_told() {
        for (written, told) in [
            ("/pointsman/lb/certs/", "named from --root on"),
            ("kontena/haproxy/lb/certs/www", "named from --root on"),
            ("certs", "certs/ is all keys below it"),
            ("/tcp-services", "tcp-services/ is all keys below it"),
        ] {
            let (_, warning) = place(written).unwrap();
            assert!(
                warning.as_ref().is_some_and(|w| w.contains(told)),
                "{warning:?}"
            );
        }
    }
}
