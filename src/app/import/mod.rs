//! `pointsman import`: a haproxy.cfg becomes keys, and what could not be carried over is listed.
//!
//! [`file`] reads sections and lines, [`translate`] turns them into keys, [`condition`] knows what
//! conditions mean for routes, [`bind_tls`] and [`server_tls`] what is said of TLS. Lines that `custom_settings` understands are carried over in
//! HAProxy's own words. Nothing here decides what a line means for traffic: that is done where keys
//! are read, by the same parser.

mod backend;
mod bind_tls;
mod condition;
mod file;
mod frontend;
mod passthrough;
mod resolvers;
mod server_tls;
mod translate;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::app::cli;
use crate::app::dryrun::DryRun;
use crate::app::settings::{self, HttpsAt};
use crate::apply::accept::Court;
use crate::config::Balancer;
use crate::diag::Diagnostic;
use crate::render::Templates;
use crate::snapshot::Snapshot;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The haproxy.cfg to read
    pub file: PathBuf,
    /// A directory to write the keys to, for --store dir:DIR; it has to be empty or new [default:
    /// print them]
    #[arg(long, env = "LB_TO", value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Fail if anything could not be carried over
    #[arg(long, env = "LB_STRICT")]
    pub strict: bool,
}

/// What a file became.
#[derive(Debug, Default)]
struct Imported {
    /// Below the root.
    keys: BTreeMap<String, String>,
    /// What `pointsman run` needs besides, such as `--http 0.0.0.0:80`.
    flags: Vec<String>,
    /// Where HTTP is listened.
    doors: Vec<SocketAddr>,
    /// Where HTTPS is listened.
    https: Vec<SocketAddr>,
    /// What is not the same as it was, by line.
    left: Vec<Left>,
    /// Lines of listeners, and whether they take PROXY headers.
    binds: Vec<(usize, bool)>,
}

/// Something that could not be carried over.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Left {
    /// 0: of the keys, not of a line.
    line: usize,
    why: String,
}

impl Imported {
    fn key(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.keys.insert(name.into(), value.into());
    }

    /// A listener of ours, by its flag.
    fn door(&mut self, flag: &str, address: &str) {
        let doors = match flag {
            "--https" => &mut self.https,
            _ => &mut self.doors,
        };
        doors.extend(address.parse::<SocketAddr>().ok());
        self.flags.push(format!("{flag} {address}"));
    }

    fn left(&mut self, line: usize, why: impl Into<String>) {
        self.left.push(Left {
            line,
            why: why.into(),
        });
    }
}

/// Reads the file, tells what is left behind on stderr, and prints or writes the keys.
pub(super) fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let shown = args.file.display();
    let size = fs::metadata(&args.file)
        .with_context(|| format!("{shown}"))?
        .len();
    if size > file::MOST_BYTES {
        bail!("{shown}: larger than {} bytes", file::MOST_BYTES);
    }
    let bytes = fs::read(&args.file).with_context(|| format!("{shown}"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{shown}: not UTF-8"))?;
    let mut imported = translate::translate(&text);
    if imported.keys.is_empty() {
        bail!("{shown}: nothing in it becomes a key; is it a haproxy.cfg?");
    }
    for diagnostic in judge(&imported) {
        imported.left(0, diagnostic.to_string());
    }
    match &args.to {
        Some(dir) => write(dir, &imported.keys)?,
        None => print(&imported.keys)?,
    }
    tell(&imported, args);
    match args.strict && !imported.left.is_empty() {
        true => Ok(ExitCode::FAILURE),
        false => Ok(ExitCode::SUCCESS),
    }
}

/// What `pointsman check` would say of the keys.
fn judge(imported: &Imported) -> Vec<Diagnostic> {
    let keys = imported.keys.iter();
    let snapshot: Snapshot = keys
        .map(|(key, value)| (key.as_str(), value.clone().into_bytes()))
        .collect();
    let (templates, mut problems) = Templates::load(None);
    let https = HttpsAt::These(imported.https.clone());
    let reserved = settings::reserved_ports(&imported.doors, &https, cli::STATS);
    let court = Court::new(reserved);
    problems.extend(DryRun::new(templates, Balancer::default(), court, &snapshot).diagnostics);
    problems
}

fn tell(imported: &Imported, args: &ImportArgs) {
    let shown = args.file.display();
    for Left { line, why } in &imported.left {
        match line {
            0 => eprintln!("{shown}: {why}"),
            line => eprintln!("{shown}:{line}: {why}"),
        }
    }
    let services = |dir: &str| {
        let names = imported.keys.keys().filter_map(|key| key.strip_prefix(dir));
        let mut names: Vec<_> = names.filter_map(|key| key.split('/').next()).collect();
        names.dedup();
        names.len()
    };
    eprintln!(
        "{} keys, {} HTTP and {} TCP services; {} things not carried over",
        imported.keys.len(),
        services("services/"),
        services("tcp-services/"),
        imported.left.len()
    );
    let store = match &args.to {
        Some(dir) => format!(" --store dir:{}", dir.display()),
        None => String::new(),
    };
    eprintln!(
        "start with: pointsman run{store} {}",
        imported.flags.join(" ")
    );
}

/// `key = value`, and values of several lines below their key.
fn print(keys: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (key, value) in keys {
        if value.contains('\n') {
            writeln!(out, "{key} =")?;
            for line in value.lines() {
                writeln!(out, "    {line}")?;
            }
        } else {
            writeln!(out, "{key} = {value}")?;
        }
    }
    Ok(())
}

/// One file for each key. Built beside and moved in, so that a watcher sees all or nothing.
fn write(dir: &Path, keys: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let shown = dir.display();
    let is_used = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("{shown}")),
    };
    if is_used {
        bail!("{shown} is not empty; name a new directory, or empty it");
    }
    let name = dir.file_name().context("--to names no directory")?;
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).with_context(|| format!("{}", parent.display()))?;
    let beside = parent.join(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = write_all(&beside, keys).and_then(|()| {
        fs::rename(&beside, dir).with_context(|| format!("move the keys to {shown}"))
    });
    if written.is_err() {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_dir_all(&beside);
    }
    written
}

fn write_all(dir: &Path, keys: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for (key, value) in keys {
        if key
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'))
        {
            bail!("{key:?} cannot be the name of a file");
        }
        let path = dir.join(key);
        let parent = path.parent().context("a key has a name")?;
        fs::create_dir_all(parent).with_context(|| format!("{}", parent.display()))?;
        fs::write(&path, value).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}
