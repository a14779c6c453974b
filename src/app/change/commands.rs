//! `link`, `unlink`, `drain`, `undrain` and `cert`: the command line of changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::{Changer, environment};
use crate::app::cli::{ListenArgs, OwnArgs, StoreArgs, TemplateArgs, duration};
use crate::app::look;
use crate::change::{Change, Done, Failure, How, Link, Mode, SaidUpstream, check_key};
use crate::store::WriteError;

/// A certificate has less, and so have other values.
const MAX_FILE: u64 = 256 * 1024;

#[derive(Debug, Args)]
pub struct LinkArgs {
    /// The service: NAME, or services/NAME and tcp-services/NAME where both are there
    pub service: String,
    /// Upstreams: ADDRESS or NAME=ADDRESS, and weight=N behind one; without a name it is called as its
    /// address is
    #[arg(value_name = "UPSTREAM")]
    pub upstreams: Vec<String>,
    /// A host name that leads to it; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Service")]
    pub host: Vec<String>,
    /// A path that leads to it; may be repeated
    #[arg(long, value_name = "PATH", help_heading = "Service")]
    pub path: Vec<String>,
    /// The port that is opened for it: a TCP service
    #[arg(
        long,
        value_name = "PORT",
        help_heading = "Service",
        conflicts_with_all = ["host", "path"]
    )]
    pub tcp_port: Option<String>,
    /// roundrobin, leastconn, source or random
    #[arg(long, value_name = "WORD", help_heading = "Service")]
    pub balance: Option<String>,
    /// What health checks GET
    #[arg(long, value_name = "PATH", help_heading = "Service")]
    pub health_uri: Option<String>,
    /// Keep clients at one upstream by a cookie: the usual one, or as in HAProxy
    #[arg(
        long,
        value_name = "DIRECTIVE",
        help_heading = "Service",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub cookie: Option<String>,
    /// Any other key of services, see docs/keys.md; may be repeated. @FILE is what is in a file, - standard input
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Service")]
    pub set: Vec<String>,
    /// Remove a key; may be repeated
    #[arg(long, value_name = "KEY", help_heading = "Service")]
    pub unset: Vec<String>,
    /// This is all: keys and upstreams that are not said go
    #[arg(long, env = "LB_REPLACE")]
    pub replace: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct UnlinkArgs {
    /// The service
    pub service: String,
    /// Upstreams of it, by name or address; none: the service goes with all it has
    #[arg(value_name = "UPSTREAM")]
    pub upstreams: Vec<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// SERVICE/NAME, or NAME or ADDRESS of an upstream of one service alone
    #[arg(value_name = "UPSTREAM", required = true)]
    pub upstreams: Vec<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct CertArgs {
    #[command(subcommand)]
    pub command: CertCommand,
}

#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Write a certificate with its chain and private key, once it is found good
    Add(Box<CertAddArgs>),
    /// Remove a certificate
    Remove(Box<CertRemoveArgs>),
}

#[derive(Debug, Args)]
pub struct CertAddArgs {
    /// What it is called; whose names it is for, it says itself
    pub name: String,
    /// PEM, in any order; - is standard input
    pub file: PathBuf,
    /// The private key, where it is in another file
    pub key_file: Option<PathBuf>,
    /// Seal it with --seal-key-file before it is written
    #[arg(long, env = "LB_SEAL")]
    pub seal: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct CertRemoveArgs {
    /// What it is called
    pub name: String,
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// What all changes have.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// Write even what would be refused
    #[arg(long, env = "LB_FORCE")]
    pub force: bool,
    /// Return when every live node runs it; fail if one refused it or time runs out
    #[arg(long, env = "LB_WAIT")]
    pub wait: bool,
    /// How long to wait for nodes
    #[arg(long, env = "LB_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// As JSON
    #[arg(long, env = "LB_JSON")]
    pub json: bool,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub own: OwnArgs,
    #[command(flatten)]
    pub template: TemplateArgs,
    #[command(flatten)]
    pub listen: ListenArgs,
}

pub(in crate::app) fn link(args: &LinkArgs) -> anyhow::Result<ExitCode> {
    match said(args) {
        Ok(link) => make(&args.change, Change::Link(link), false),
        Err(why) => {
            eprintln!("pointsman: {why:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

pub(in crate::app) fn unlink(args: &UnlinkArgs) -> anyhow::Result<ExitCode> {
    let change = Change::Unlink {
        service: args.service.clone(),
        upstreams: args.upstreams.clone(),
    };
    make(&args.change, change, false)
}

pub(in crate::app) fn drain(args: &DrainArgs) -> anyhow::Result<ExitCode> {
    make(&args.change, Change::Drain(args.upstreams.clone()), false)
}

pub(in crate::app) fn undrain(args: &DrainArgs) -> anyhow::Result<ExitCode> {
    make(&args.change, Change::Undrain(args.upstreams.clone()), false)
}

pub(in crate::app) fn cert(args: &CertArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        CertCommand::Add(args) => {
            let mut value = bytes_of(&args.file)?;
            if let Some(file) = &args.key_file {
                if file == Path::new("-") && args.file == Path::new("-") {
                    bail!("standard input can be one of the two files");
                }
                value.push(b'\n');
                value.extend(bytes_of(file)?);
            }
            let name = args.name.clone();
            make(
                &args.change,
                Change::AddCertificate { name, value },
                args.seal,
            )
        }
        CertCommand::Remove(args) => {
            let name = args.name.clone();
            make(&args.change, Change::RemoveCertificate { name }, false)
        }
    }
}

fn said(args: &LinkArgs) -> anyhow::Result<Link> {
    let mut keys: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut say = |key: &str, value: Option<String>| {
        check_key(key)?;
        if keys.insert(key.to_owned(), value).is_some() {
            bail!("{key} is said twice");
        }
        Ok(())
    };
    for (key, values) in [("virtual_hosts", &args.host), ("virtual_path", &args.path)] {
        if !values.is_empty() {
            say(key, Some(values.join(", ")))?;
        }
    }
    for (key, value) in [
        ("external_port", &args.tcp_port),
        ("balance", &args.balance),
        ("health_check_uri", &args.health_uri),
        ("cookie", &args.cookie),
    ] {
        if value.is_some() {
            say(key, value.clone())?;
        }
    }
    for set in &args.set {
        let Some((key, value)) = set.split_once('=') else {
            bail!("--set {set:?} has no value; write KEY=VALUE");
        };
        say(key.trim(), Some(given(key, value)?))?;
    }
    for key in &args.unset {
        say(key, None)?;
    }
    Ok(Link {
        service: args.service.clone(),
        mode: args.tcp_port.is_some().then_some(Mode::Tcp),
        has_to_be: false,
        upstreams: upstreams(&args.upstreams)?,
        keys,
        replace: args.replace,
    })
}

/// Secrets do not stand in lists of processes, and lines are lines.
fn given(key: &str, value: &str) -> anyhow::Result<String> {
    let bytes = match (value, value.strip_prefix('@')) {
        ("-", _) => bytes_of(Path::new("-")),
        (_, Some(file)) => bytes_of(Path::new(file)),
        _ => return Ok(value.to_owned()),
    };
    let bytes = bytes.with_context(|| format!("--set {key}"))?;
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("--set {key}: {value} is no text"))
}

fn upstreams(words: &[String]) -> anyhow::Result<Vec<SaidUpstream>> {
    let mut all: Vec<SaidUpstream> = Vec::new();
    for word in words {
        if word.starts_with("weight=") {
            let Some(last) = all.last_mut() else {
                bail!("{word} stands behind no upstream");
            };
            last.value = format!("{} {word}", last.value);
            continue;
        }
        // `10.0.0.1:80 weight=5` in one word has an equals sign too, and a space before it.
        let named = word
            .split_once('=')
            .filter(|(name, _)| !name.contains(char::is_whitespace));
        all.push(match named {
            Some((name, value)) => SaidUpstream {
                name: Some(name.to_owned()),
                value: value.to_owned(),
            },
            None => SaidUpstream {
                name: None,
                value: word.clone(),
            },
        });
    }
    Ok(all)
}

fn bytes_of(file: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().take(MAX_FILE + 1).read_to_end(&mut bytes)
    } else {
        let open = File::open(file).with_context(|| format!("{shown}"))?;
        open.take(MAX_FILE + 1).read_to_end(&mut bytes)
    };
    read.with_context(|| format!("{shown}"))?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("{shown}: more than {MAX_FILE} bytes");
    }
    Ok(bytes)
}

/// Makes a change, and waits until it is live if that is wished. 1 if it is refused or not everywhere.
fn make(args: &ChangeArgs, change: Change, seal: bool) -> anyhow::Result<ExitCode> {
    let settings = environment()?;
    let changer = Changer::new(
        &args.store,
        &args.own,
        &args.template,
        &settings,
        &args.listen,
    )?;
    let force = args.force;
    let runtime = look::runtime()?;
    let done = match runtime.block_on(changer.change(change, How { force, seal })) {
        Ok(done) => done,
        Err(Failure::Refused(diagnostics)) => {
            diagnostics.iter().for_each(|d| eprintln!("{d}"));
            eprintln!(
                "pointsman: nothing is written: it would be refused; --force writes it all the same"
            );
            return Ok(ExitCode::FAILURE);
        }
        Err(
            error @ (Failure::Problem(_)
            | Failure::Write(WriteError::Conflict | WriteError::Impossible(_))),
        ) => {
            eprintln!("pointsman: {error}");
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    tell(args, &done)?;
    if !args.wait {
        return Ok(ExitCode::SUCCESS);
    }
    match runtime.block_on(changer.wait_for(done, args.timeout)) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("pointsman: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn tell(args: &ChangeArgs, done: &Done) -> anyhow::Result<()> {
    for warning in &done.warnings {
        eprintln!("warning: {warning}");
    }
    done.diagnostics.iter().for_each(|d| eprintln!("{d}"));
    if !done.changed {
        eprintln!("nothing to change");
    }
    let text = match args.json {
        true => serde_json::to_string(done)? + "\n",
        false => format!("revision {}\n", done.revision),
    };
    Ok(look::print(&text)?)
}
