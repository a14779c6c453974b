//! `pointsman run`: everything wired together, until a signal ends it.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::accesslog::Logs;
use crate::admin::access::{Given, Guard, Identities};
use crate::admin::api::Api;
use crate::admin::{self, AdminSocket};
use crate::app::change::Changer;
use crate::app::cli::RunArgs;
use crate::app::lastgood::{LastGood, Saved};
use crate::app::pipeline::{Outlets, Pipeline};
use crate::app::settings::HttpsAt;
use crate::app::{cli, environment, logging, seal, settings, tickets};
use crate::apply::accept::Court;
use crate::apply::{Applier, Https, unbound_help};
use crate::diag::Diagnostic;
use crate::dns::Known;
use crate::plan::Plan;
use crate::proxy::{Bound, Fleet, Generation, Published, Termination, bind, now_ms};
use crate::render::{Templates, fingerprint};
use crate::resolve::{self, Wanted};
use crate::seal::{Opener, SealKeys};
use crate::snapshot::Snapshot;
use crate::status::generations::Generations;
use crate::status::{NodeStatus, Phase, time_text};
use crate::store::{self, SharedTickets, StatusBoard};
use crate::tls::tickets::Ring;

/// A third of a worker's weight, by the kernel's table.
const CONTROL_NICENESS: i32 = 5;

/// How often failed binds are tried again, templates are looked at and old generations are freed.
const UPKEEP: Duration = Duration::from_secs(2);

/// The status is published at least this often, so that counts in it are not stale, and so that it
/// comes back if somebody took it away.
const REPORT: Duration = Duration::from_secs(10);

/// How often upstreams that are being emptied are looked at, and every how many looks their counts are told.
const DRAINS: Duration = Duration::from_millis(250);
const DRAINS_TOLD: u64 = 12;

/// Signals within this time are one.
const ONE_MIND: Duration = Duration::from_millis(200);

pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    // Control work gets threads of its own and can never delay a request.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .on_thread_start(yield_to_workers)
        .enable_all()
        .build()?;
    let result = runtime.block_on(run_until_signal(args));
    // Blocking work that hangs (a file system that went away) does not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    logging::flush();
    result
}

async fn run_until_signal(args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    // Log rotation; it would end the program otherwise.
    let mut hang_up = signal(SignalKind::hangup())?;
    let (specs, mut store_options) = settings::stores(&args.store)?;
    let all = settings::with_own(&args.own, &specs);
    let (defaults, mut warnings) = settings::balancer(&args.settings, &args.store.root)?;
    let (seal_keys, warning) = seal::keys(args.own.seal_key_file.as_deref())?;
    warnings.extend(warning);
    for reason in warnings {
        tracing::warn!(reason, "flag accepted, but");
    }
    let api = api(&args)?;
    let (identities, admin_tls) = identities(&args)?;
    let pages = settings::pages(args.error_pages.as_deref())?;
    let node = node_name(&args)?;
    let workers = match args.workers {
        Some(workers) => usize::from(workers),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };

    raise_open_files();
    let http = bind_all("--http", &args.listen.http, workers)?;
    let https_at = HttpsAt::read(&args.listen.https)?;
    let https = match &https_at {
        HttpsAt::Usual => Https::with_first_certificate(cli::HTTPS),
        HttpsAt::These(addresses) => Https::bound(bind_all("--https", addresses, workers)?),
    };
    let stats = args.listen.stats;
    let stats = admin::bind(stats)
        .await
        .map_err(|error| unbound("--stats", stats, &error))?;
    let admin_socket = args.admin_socket.as_deref().map(AdminSocket::bind);
    let admin_socket = admin_socket.transpose().map_err(anyhow::Error::msg)?;
    let (templates, problems) = Templates::load(args.template.templates.as_deref());
    for problem in &problems {
        tracing::warn!(%problem, "template refused");
    }

    let ticket_keys = Arc::new(Ring::new(now_ms())?);
    let first = Generation {
        id: 0,
        revision: 0,
        plan: Plan::new(defaults.clone()),
        access_log: None,
        tls: Termination::none(ticket_keys.clone())?,
    };
    let logs = Logs::default();
    let published = Published::new(first);
    let fleet = Fleet::start(workers, published, pages, &node, logs.tally())?;
    // Not before: the workers would have inherited it.
    yield_to_workers();
    let shared = fleet.shared.clone();
    let addresses: Vec<_> = http.iter().map(|bound| bound.address).collect();
    let court = Court::new(settings::reserved_ports(
        &addresses,
        &https_at,
        args.listen.stats,
    ));
    let (status, mut status_seen) = watch::channel(NodeStatus {
        node: node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: Some(std::process::id()),
        started: time_text(SystemTime::now()),
        templates: problems,
        ..NodeStatus::default()
    });
    let tree = settings::tree(&specs, &store_options);
    let (last_good, saved) = open_last_good(&args.state_dir, &tree, seal_keys.clone());
    let mut applier = Applier::new(fleet, http, https, args.tcp_address, logs);
    if defaults
        .front
        .as_ref()
        .is_some_and(|front| front.answers_from_the_start())
    {
        applier.open_http();
    }
    let (wanted, names_wanted) = watch::channel(Wanted::default());
    let (names_known, mut known) = watch::channel(Known {
        answers: saved.answers.clone(),
        ..Known::default()
    });
    let generations = Arc::new(Generations::default());
    let mut pipeline = Pipeline::new(
        Opener::new(seal_keys.clone()),
        templates.clone(),
        defaults,
        court,
        applier,
        last_good,
        Outlets {
            status: status.clone(),
            wanted,
            generations: generations.clone(),
        },
    );

    store_options.expect_services = saved
        .units
        .keys()
        .any(|unit| unit.as_str().contains("services/"));
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    tracing::info!(
        node, stores = names.join(" "), root = args.store.root, workers,
        http = ?addresses, stats = %args.listen.stats, "pointsman starts"
    );
    pipeline.boot(saved);
    let resolver = tokio::spawn(resolve::run(names_wanted, names_known));
    let _resolver = AbortOnDropHandle::new(resolver);
    let mut board = StatusBoard::open(&specs, &store_options)?;
    let read_board = StatusBoard::open(&specs, &store_options)?;
    let (seal_keys_now, seal_keys_seen) = watch::channel(seal_keys.clone());
    let keeper = tickets::Keeper {
        ring: ticket_keys,
        shared: SharedTickets::open(&specs, &store_options),
        seal_keys: seal_keys_seen,
        published: shared.published.clone(),
    };
    let _keeper = AbortOnDropHandle::new(tokio::spawn(keeper.run()));
    let mut store = store::open(all, store_options);
    let guard = Guard::new(Arc::new(identities), shared.clone())?;
    let sources = admin::Sources {
        status: status_seen.clone(),
        shared,
        stores: store.monitor(),
        generations,
        board: read_board,
    };
    let views = admin::Views::new(sources, api);
    let admin = tokio::spawn(admin::serve(stats, views.clone(), guard, admin_tls));
    let admin_socket = admin_socket
        .map(|socket| AbortOnDropHandle::new(tokio::spawn(admin::serve_socket(socket, views))));

    let mut watcher = TemplateWatch::new(args.template.templates.clone(), templates);
    let mut key_file = seal::KeyFile::new(args.own.seal_key_file.clone(), seal_keys);
    let mut upkeep = tokio::time::interval(UPKEEP);
    let mut report = tokio::time::interval(REPORT);
    let mut drains = tokio::time::interval(DRAINS);
    let mut looks = 0u64;
    let mut newest: Option<Snapshot> = None;
    let mut was_ready = false;
    loop {
        tokio::select! {
            biased;
            () = signals.end() => break,
            snapshot = store.next() => {
                if newest.is_none() {
                    greet(&snapshot, &tree);
                }
                pipeline.follow(&snapshot);
                newest = Some(snapshot);
            }
            Ok(()) = known.changed() => {
                let known = known.borrow_and_update().clone();
                pipeline.follow_names(known);
            }
            _ = upkeep.tick() => {
                pipeline.retry();
                if let Some((templates, problems)) = watcher.changed() {
                    status.send_modify(|status| status.templates = problems);
                    pipeline.follow_templates(templates, newest.as_ref());
                }
                if let Some(keys) = key_file.changed() {
                    seal_keys_now.send_replace(keys.clone());
                    pipeline.follow_seal_keys(keys, newest.as_ref());
                }
            }
            Some(()) = hang_up.recv() => pipeline.reopen_logs(),
            _ = drains.tick() => {
                looks += 1;
                pipeline.look_at_drains(looks.is_multiple_of(DRAINS_TOLD));
            }
            _ = report.tick() => {
                pipeline.count();
                status_seen.mark_changed();
            }
        }
        // Every write is a revision of the cluster: none at a look that found nothing.
        let is_news = status_seen.has_changed().unwrap_or(false);
        let is_running = status_seen.borrow_and_update().phase == Phase::Running;
        if is_running && is_news {
            board.publish(&status_seen.borrow());
        }
        if is_running && !was_ready {
            was_ready = true;
            // Without systemd there is nobody to notify.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
    }

    tracing::info!("told to end: draining");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    status.send_modify(|status| status.phase = Phase::Draining);
    drop(store);
    board.close().await;
    let drained = tokio::task::spawn_blocking(move || pipeline.drain());
    let code = tokio::select! {
        result = drained => {
            result?;
            tracing::info!("ended");
            ExitCode::SUCCESS
        }
        () = signals.end_again() => {
            tracing::warn!("told to end again: what is left is cut");
            ExitCode::from(1)
        }
    };
    admin.abort();
    if let Some(socket) = admin_socket {
        socket.abort();
        // Its end takes the file away.
        let _ = socket.await;
    }
    Ok(code)
}

/// Takes all the descriptors that are allowed: what a shell or a service manager gives at first is
/// often 1024, which is 500 requests under way and then refusals.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Lets the calling thread step back where control work and workers share a core: a change may wait
/// for a request, no request for a change.
fn yield_to_workers() {
    // A system that does not allow it runs as fair as it can.
    let _ = rustix::process::setpriority_process(None, CONTROL_NICENESS);
}

/// What the admin listener changes: keys.
fn api(args: &RunArgs) -> anyhow::Result<Api> {
    let changer = Changer::new(
        &args.store,
        &args.own,
        &args.template,
        &args.settings,
        &args.listen,
    )?;
    Ok(Api::new(Arc::new(changer)))
}

/// Who may come in there, and how handshakes go.
fn identities(args: &RunArgs) -> anyhow::Result<(Identities, Option<admin::Tls>)> {
    let access = &args.access;
    let given = Given {
        stats: args.listen.stats,
        password_file: access.stats_password_file.clone(),
        password: environment::stats_password(),
        users: access.stats_users.clone(),
        admins: access.stats_admins.clone(),
        token: access.api_token_file.clone(),
        read_token: access.api_read_token_file.clone(),
        has_certificate: access.stats_certificate.is_some(),
        has_client_ca: access.stats_client_ca.is_some(),
    };
    let tls = access.stats_certificate.as_deref().map(|certificate| {
        admin::Tls::open(certificate, access.stats_client_ca.as_deref()).map_err(anyhow::Error::msg)
    });
    let (identities, mut warnings) = Identities::open(&given).map_err(anyhow::Error::msg)?;
    let tls = tls.transpose()?.map(|(tls, more)| {
        warnings.extend(more);
        tls
    });
    for reason in warnings {
        tracing::warn!(reason, "flag accepted, but");
    }
    Ok((identities, tls))
}

fn bind_all(flag: &str, addresses: &[SocketAddr], workers: usize) -> anyhow::Result<Vec<Bound>> {
    addresses
        .iter()
        .map(|address| bind(*address, workers).map_err(|error| unbound(flag, *address, &error)))
        .collect()
}

/// What can be done about an address that cannot be had.
fn unbound(flag: &str, address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let help = unbound_help(flag, error);
    anyhow::anyhow!("{flag} {address}: {error}; {help}")
}

fn node_name(args: &RunArgs) -> anyhow::Result<String> {
    let name = match &args.node {
        Some(name) => name.clone(),
        None => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
    };
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    anyhow::ensure!(
        !name.is_empty() && name.len() <= 128 && name.chars().all(is_good),
        "--node {name:?}: a node's name has letters, digits, dots, dashes and underscores"
    );
    Ok(name)
}

/// A wrong root is no error: the keys may come later. It should be seen, though.
fn greet(first: &Snapshot, tree: &str) {
    let keys = first.len();
    if ["services", "tcp-services"]
        .iter()
        .any(|dir| first.has_dir(dir))
    {
        tracing::info!(tree, keys, "keys read");
    } else {
        tracing::warn!(
            tree,
            keys,
            "no services among the keys: is this the right place?"
        );
    }
}

/// A disk that refuses is no reason not to serve, but one to be told about.
fn open_last_good(dir: &Path, tree: &str, keys: SealKeys) -> (Option<LastGood>, Saved) {
    match LastGood::open(dir, tree, keys) {
        Ok((last_good, saved)) => {
            if saved.lost > 0 {
                tracing::warn!(
                    lines = saved.lost, state_dir = %dir.display(),
                    "saved config is damaged: these lines of it are left out"
                );
            }
            if !saved.closed.is_empty() {
                let units = saved.closed.len();
                tracing::warn!(
                    units, state_dir = %dir.display(),
                    "saved config is sealed: these units of it cannot be opened by the seal keys of \
                     today, and serve when a store speaks of them"
                );
            }
            (Some(last_good), saved)
        }
        Err(error) => {
            tracing::warn!(
                state_dir = %dir.display(), %error,
                "accepted config is not saved: a start without a store will have nothing to serve; \
                 choose a writable --state-dir"
            );
            (None, Saved::default())
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// A signal that comes with the first one is not a second one: a terminal and the script that
    /// it runs, or `timeout`, send one each.
    async fn end_again(&mut self) {
        let _ = tokio::time::timeout(ONE_MIND, async {
            loop {
                self.end().await;
            }
        })
        .await;
        self.end().await;
    }

    async fn end(&mut self) {
        let signal = tokio::select! {
            signal = self.terminate.recv() => signal,
            signal = self.interrupt.recv() => signal,
        };
        if signal.is_none() {
            pending::<()>().await;
        }
    }
}

/// The templates directory, looked at now and then: a few small files.
struct TemplateWatch {
    dir: Option<PathBuf>,
    seen: u64,
    templates: Templates,
}

impl TemplateWatch {
    fn new(dir: Option<PathBuf>, templates: Templates) -> Self {
        let seen = dir.as_deref().map(fingerprint).unwrap_or_default();
        Self {
            dir,
            seen,
            templates,
        }
    }

    /// Other templates than before, and what is wrong with files that are not among them.
    fn changed(&mut self) -> Option<(Templates, Vec<Diagnostic>)> {
        let dir = self.dir.as_deref()?;
        let seen = fingerprint(dir);
        if std::mem::replace(&mut self.seen, seen) == seen {
            return None;
        }
        let (templates, problems) = self.templates.reload(dir);
        for problem in &problems {
            tracing::warn!(%problem, "template refused, the one before stays");
        }
        self.templates = templates.clone();
        Some((templates, problems))
    }
}
