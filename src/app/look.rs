//! Subcommands that look and end: `check`, `render`, `plan`, `status`, `wait`, `whoami`,
//! `completions`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::app::cli::{Cli, LookArgs, StoreArgs};
use crate::app::dryrun::DryRun;
use crate::app::seal;
use crate::app::settings::{self, HttpsAt};
use crate::apply::accept::Court;
use crate::diag::Diagnostic;
use crate::render::Templates;
use crate::seal::{Opener, SealKeys};
use crate::status::{NodeStatus, Serving};
use crate::store::{self, StatusBoard, StoreOptions, StoreSpec, TreeState};
use crate::whoami;

/// Prints every problem; 1 if there is an error among them.
pub(super) fn check(args: &LookArgs) -> anyhow::Result<ExitCode> {
    let Look { dry, problems, .. } = dry_run(args)?;
    let all: Vec<_> = problems.iter().chain(&dry.diagnostics).collect();
    let mut text: String = all.iter().map(|d| format!("{d}\n")).collect();
    let errors = all.iter().filter(|d| d.is_error()).count();
    let warnings = all.len() - errors;
    let services = dry.plan.len();
    let certificates = match dry.plan.certificates().len() {
        0 => String::new(),
        n => format!(", certificates {n}"),
    };
    let code = if errors > 0 {
        writeln!(
            text,
            "refused: errors {errors}, warnings {warnings}; services that would go live: {services}{certificates}"
        )?;
        ExitCode::FAILURE
    } else {
        writeln!(
            text,
            "ok: services {services}{certificates}, warnings {warnings}"
        )?;
        ExitCode::SUCCESS
    };
    print(&text)?;
    Ok(code)
}

pub(super) fn render(unit: Option<&str>, args: &LookArgs) -> anyhow::Result<ExitCode> {
    let Look { dry, problems, .. } = dry_run_with(args, Opener::veiled)?;
    problems.iter().for_each(|problem| eprintln!("{problem}"));
    let units = dry.renderer.units();
    if let Some(unit) = unit {
        return Ok(match dry.renderer.text(unit) {
            Some(text) => {
                print(&text)?;
                ExitCode::SUCCESS
            }
            None => {
                let names = units.iter().map(|u| u.as_str());
                let near = crate::diag::nearest(unit, names.clone());
                let help = match near {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
                };
                let failed = dry.diagnostics.iter().filter(|d| d.unit == unit);
                failed.for_each(|diagnostic| eprintln!("{diagnostic}"));
                anyhow::bail!("no text for unit {unit:?}; {help}");
            }
        });
    }
    let mut all = String::new();
    for unit in &units {
        match dry.renderer.text(unit.as_str()) {
            Some(text) => writeln!(all, "# {unit}\n{text}")?,
            None => dry
                .diagnostics
                .iter()
                .filter(|d| d.unit == unit.as_str())
                .for_each(|diagnostic| eprintln!("{diagnostic}")),
        }
    }
    print(&all)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn plan(args: &LookArgs) -> anyhow::Result<ExitCode> {
    let Look { dry, problems, .. } = dry_run(args)?;
    for problem in problems.iter().chain(&dry.diagnostics) {
        eprintln!("{problem}");
    }
    print(&dry.plan.dump())?;
    Ok(ExitCode::SUCCESS)
}

/// What the stores hold, judged.
pub(super) struct Look {
    pub(super) dry: DryRun,
    /// What is wrong outside the units: templates, keys that were left out.
    pub(super) problems: Vec<Diagnostic>,
    pub(super) tree: TreeState,
    /// The stores of the cluster.
    specs: Vec<StoreSpec>,
    options: StoreOptions,
}

impl Look {
    /// The nodes that report. None of them is no error: a look needs no node.
    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        let listed = block_on(async {
            let board = StatusBoard::open(&self.specs, &self.options)?;
            board.list().await
        });
        match listed {
            Ok(Ok(nodes)) => nodes,
            Ok(Err(error)) => {
                eprintln!("warning: what nodes say of themselves cannot be read: {error}");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }
}

pub(super) fn dry_run(args: &LookArgs) -> anyhow::Result<Look> {
    dry_run_with(args, Opener::new)
}

fn dry_run_with(args: &LookArgs, opener: fn(SealKeys) -> Opener) -> anyhow::Result<Look> {
    let (specs, options) = settings::stores(&args.store)?;
    let all = settings::with_own(&args.own, &specs);
    let (defaults, warnings) = settings::balancer(&args.settings, &args.store.root)?;
    warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    let (templates, mut problems) = Templates::load(args.template.templates.as_deref());
    let mut tree = block_on(store::read_tree(&all, &options, args.timeout))??;
    problems.append(&mut tree.problems);
    let court = Court::new(settings::reserved_ports(
        &args.listen.http,
        &HttpsAt::read(&args.listen.https)?,
        args.listen.stats,
    ));
    let (keys, warning) = seal::keys(args.own.seal_key_file.as_deref())?;
    warning.iter().for_each(|w| eprintln!("warning: {w}"));
    let snapshot = opener(keys).follow(&tree.snapshot);
    let dry = DryRun::new(templates, defaults, court, &snapshot);
    Ok(Look {
        dry,
        problems,
        tree,
        specs,
        options,
    })
}

pub(super) fn status(json: bool, args: &StoreArgs) -> anyhow::Result<ExitCode> {
    let (specs, options) = settings::stores(args)?;
    let (place, nodes) = block_on(async {
        let board = StatusBoard::open(&specs, &options)?;
        let nodes = board.list().await?;
        anyhow::Ok((board.place(), nodes))
    })??;
    if json {
        print(&(serde_json::to_string_pretty(&nodes)? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if nodes.is_empty() {
        print(&format!("no node reports at {place}\n"))?;
        return Ok(ExitCode::FAILURE);
    }
    let width = nodes.iter().map(|n| n.node.len()).max().unwrap_or(0).max(4);
    let mut text = String::new();
    writeln!(
        text,
        "{:width$}  {:>10}  {:>16}  {:>8}  {:>7}  STATE",
        "NODE", "GENERATION", "REVISION", "AGE", "REFUSED"
    )?;
    for node in &nodes {
        write_node(&mut text, node, width)?;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn write_node(text: &mut String, node: &NodeStatus, width: usize) -> std::fmt::Result {
    let age = age(&node.since).map_or_else(|| "-".to_owned(), |age| format!("{age}s"));
    writeln!(
        text,
        "{:width$}  {:>10}  {:>16}  {age:>8}  {:>7}  {}",
        node.node,
        node.generation,
        node.revision,
        node.refused_total,
        format!("{:?}", node.phase).to_lowercase(),
    )?;
    for problem in &node.templates {
        writeln!(text, "    template refused: {problem}")?;
    }
    if node.warnings_total > 0 {
        writeln!(
            text,
            "    {} warnings, see pointsman check",
            node.warnings_total
        )?;
    }
    // Nothing else ends by itself while nobody looks.
    let ends = |d: &&Diagnostic| ["expires-soon", "expired"].contains(&d.code.as_str());
    for warning in node.warnings.iter().filter(ends) {
        writeln!(text, "    {warning}")?;
    }
    for refusal in &node.refused {
        let serving = match refusal.serving {
            Serving::LastGood => "last good form serves",
            Serving::Absent => "not served",
        };
        writeln!(
            text,
            "    refused {} at revision {} ({serving})",
            refusal.unit, refusal.revision
        )?;
        for diagnostic in &refusal.diagnostics {
            writeln!(text, "        {diagnostic}")?;
        }
    }
    Ok(())
}

/// Whole seconds since a time as the status writes it.
fn age(since: &str) -> Option<u64> {
    let since: jiff::Timestamp = since.parse().ok()?;
    let age = jiff::Timestamp::now().duration_since(since);
    u64::try_from(age.as_secs()).ok()
}

pub(super) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pointsman", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn whoami(args: whoami::Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(whoami::run(args))?;
    Ok(ExitCode::SUCCESS)
}

/// Everything a command has to say. Who reads only its first lines (`| head`) is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

pub(super) fn block_on<F: Future>(future: F) -> anyhow::Result<F::Output> {
    Ok(runtime()?.block_on(future))
}

pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
