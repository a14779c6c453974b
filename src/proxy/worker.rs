//! Workers: one thread each, and the handle by which the control side directs them all.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use crate::accesslog::{Journal, Tally};
use crate::balance::{DepartedServices, UpstreamState};
use crate::proxy::buffers::Buffers;
use crate::proxy::figures::{Figures, Question};
use crate::proxy::generation::{Published, View};
use crate::proxy::http1::Pages;
use crate::proxy::listen::{Accepted, Bound, Ends, Protocol, accept_all};
use crate::proxy::noted::Noted;
use crate::proxy::now_ms;
use crate::proxy::pipe::Pipes;
use crate::proxy::timer::{TICK, Wheel};
use crate::proxy::tls::Handshakes;
use crate::proxy::trace::Stories;
use crate::proxy::upstream::Pools;
use crate::proxy::{accept_proxy, auth, http, tcp, tls};

/// A worker may have this many connections more than the one with the fewest, and a quarter of
/// those, before it hands a fresh one over.
const UNEVEN: usize = 8;

/// Lines about what peers did wrong, per worker and second; a flood must not become a flood of lines.
const LOGGED_PER_SECOND: u32 = 10;

/// What all workers see.
pub struct Shared {
    pub published: Arc<Published>,
    pub pages: Pages,
    /// Where passwords are checked.
    pub(crate) passwords: auth::Pool,
    /// Client connections by worker.
    connections: Vec<CachePadded<AtomicUsize>>,
    /// Requests that were refused for what they are, by no fault of an upstream.
    pub(crate) rejected: AtomicU64,
    /// Requests that no route takes.
    pub(crate) unrouted: AtomicU64,
    /// TLS handshakes that came to nothing.
    pub(crate) failed_handshakes: AtomicU64,
    /// Services that are in no plan any more.
    pub departed: DepartedServices,
    /// What this process is called among the nodes of its balancer.
    pub(crate) node: Box<str>,
    tally: Arc<Tally>,
    /// Where connections are let in.
    listening: Mutex<BTreeMap<SocketAddr, Listening>>,
    /// Where workers ask for what `stats_uri` shows.
    pub(crate) figures: Figures,
}

/// An address where connections are let in.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    pub protocol: Protocol,
    /// In milliseconds since 1970.
    pub since_ms: u64,
}

impl Shared {
    /// What workers are asked for at `stats_uri`, for who answers; `None` if somebody has taken it.
    pub fn questions(&self) -> Option<mpsc::Receiver<Question>> {
        self.figures.questions()
    }

    pub fn workers(&self) -> usize {
        self.connections.len()
    }

    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// Requests that no service takes: of a host or a path that nobody has.
    pub fn unrouted(&self) -> u64 {
        self.unrouted.load(Relaxed)
    }

    /// Lines of the access log that were lost.
    pub fn access_log_dropped(&self) -> u64 {
        self.tally.dropped()
    }

    pub fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Relaxed)
    }

    /// Where connections are let in, in the order of addresses.
    pub fn listening(&self) -> Vec<(SocketAddr, Listening)> {
        self.listeners()
            .iter()
            .map(|(at, how)| (*at, *how))
            .collect()
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Listening>> {
        let listening = self.listening.lock();
        listening.unwrap_or_else(PoisonError::into_inner)
    }

    pub fn connections(&self) -> usize {
        self.connections.iter().map(|c| c.load(Relaxed)).sum()
    }
}

/// The workers as the control side sees them.
pub struct Fleet {
    pub shared: Arc<Shared>,
    workers: Vec<Handle>,
}

struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Open {
        listener: std::net::TcpListener,
        address: SocketAddr,
        protocol: Protocol,
    },
    Close {
        address: SocketAddr,
    },
    Adopt {
        socket: std::net::TcpStream,
        ends: Ends,
        protocol: Protocol,
    },
    /// End what waits for a connection to these upstreams, and the tunnels there when the time has passed.
    Retire {
        upstreams: Vec<Arc<UpstreamState>>,
        after: Duration,
    },
    Drain {
        within: Duration,
    },
}

impl Fleet {
    /// Starts `count` workers; they idle until a listener is opened.
    /// `node` is how this process calls itself, and `tally` where its lost lines are counted.
    pub fn start(
        count: usize,
        published: Arc<Published>,
        pages: Pages,
        node: &str,
        tally: Arc<Tally>,
    ) -> io::Result<Fleet> {
        let shared = Arc::new(Shared {
            published,
            pages,
            passwords: auth::Pool::start()?,
            connections: (0..count).map(|_| CachePadded::default()).collect(),
            rejected: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            departed: DepartedServices::default(),
            node: node.into(),
            tally,
            figures: Figures::default(),
            listening: Mutex::default(),
        });
        let channels: Vec<_> = (0..count).map(|_| mpsc::unbounded_channel()).collect();
        let peers: Vec<_> = channels.iter().map(|(sender, _)| sender.clone()).collect();
        let mut workers = Vec::new();
        for (index, (commands, receiver)) in channels.into_iter().enumerate() {
            let (shared, peers) = (shared.clone(), peers.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || run(index, shared, peers, receiver))?;
            workers.push(Handle {
                commands,
                thread: Some(thread),
            });
        }
        Ok(Fleet { shared, workers })
    }

    pub fn size(&self) -> usize {
        self.workers.len()
    }

    /// Lets connections in at an address that was bound for this fleet.
    pub fn open(&self, bound: Bound, protocol: Protocol) -> io::Result<()> {
        let address = bound.address;
        for (worker, listener) in self.workers.iter().zip(bound.listen()?) {
            worker.send(Command::Open {
                listener,
                address,
                protocol,
            });
        }
        let since_ms = now_ms();
        let listening = Listening { protocol, since_ms };
        self.shared.listeners().insert(address, listening);
        Ok(())
    }

    /// No new connections at this address; established ones live on.
    pub fn close(&self, address: SocketAddr) {
        self.shared.listeners().remove(&address);
        for worker in &self.workers {
            worker.send(Command::Close { address });
        }
    }

    /// Cuts what still runs to these upstreams `after` a while. They have left the plan.
    pub fn retire(&self, upstreams: &[Arc<UpstreamState>], after: Duration) {
        for worker in &self.workers {
            worker.send(Command::Retire {
                upstreams: upstreams.to_vec(),
                after,
            });
        }
    }

    /// Stops accepting, lets requests finish, and returns when nothing is left or `within` is over.
    pub fn drain(mut self, within: Duration) {
        for worker in &self.workers {
            worker.send(Command::Drain { within });
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Handle {
    fn send(&self, command: Command) {
        // A worker ends only by `drain`; then there is nothing left to command.
        let _ = self.commands.send(command);
    }
}

/// What a kept connection without a request gets for one more when we drain: its answer says that it is the
/// last. Closing at once would hit requests that are on their way.
const PARTING: Duration = Duration::from_secs(1);

/// One worker, seen from its own tasks.
pub(crate) struct Worker {
    index: usize,
    pub(crate) shared: Arc<Shared>,
    peers: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) view: View,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) buffers: Buffers,
    pub(crate) pipes: Pipes,
    pub(crate) pools: Pools,
    pub(crate) http: http::Scratch,
    pub(crate) handshakes: Handshakes,
    pub(crate) stories: Stories,
    pub(crate) journal: RefCell<Journal>,
    /// The second that lines were counted in, and how many.
    logged: Cell<(u64, u32)>,
    draining: Cell<bool>,
    /// When connections without a request are closed, by the wheel.
    parting_at: Cell<u64>,
    listeners: RefCell<HashMap<SocketAddr, oneshot::Sender<()>>>,
    pub(crate) tunnels: Rc<Noted>,
    /// Connections that are being made.
    pub(crate) connects: Rc<Noted>,
}

fn run(
    index: usize,
    shared: Arc<Shared>,
    peers: Vec<mpsc::UnboundedSender<Command>>,
    commands: mpsc::UnboundedReceiver<Command>,
) {
    let runtime = match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(worker = index, %error, "worker cannot start");
            return;
        }
    };
    let wheel = Wheel::new();
    let worker = Rc::new(Worker {
        index,
        view: View::new(shared.published.clone()),
        shared,
        peers,
        buffers: Buffers::default(),
        pipes: Pipes::default(),
        pools: Pools::new(wheel.clone()),
        http: http::Scratch::default(),
        handshakes: Handshakes::default(),
        stories: Stories::default(),
        journal: RefCell::default(),
        wheel,
        logged: Cell::default(),
        draining: Cell::new(false),
        parting_at: Cell::new(u64::MAX),
        listeners: RefCell::default(),
        tunnels: Rc::default(),
        connects: Rc::default(),
    });
    runtime.block_on(worker.clone().obey(commands));
    // Whatever did not finish within the drain time is dropped here with the runtime.
}

impl Worker {
    /// Whether new requests should be told to go elsewhere.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether a connection without a request is to be closed because we drain.
    pub(crate) fn is_parting(&self) -> bool {
        self.wheel.now_ms() >= self.parting_at.get()
    }

    /// Whether one more line may be written in this second about what a peer did wrong.
    pub(crate) fn may_log(&self) -> bool {
        let second = self.wheel.now_ms() / 1000;
        let (counted, lines) = self.logged.get();
        let lines = if counted == second { lines } else { 0 };
        self.logged.set((second, lines + 1));
        lines < LOGGED_PER_SECOND
    }

    /// Whether another client connection may come in.
    pub(crate) fn has_room(&self) -> bool {
        let limit = self.view.pin().plan.balancer().max_connections as usize;
        self.shared.connections() < limit
    }

    /// Serves a new connection, here or on a worker that has clearly fewer.
    pub(crate) fn welcome(self: &Rc<Self>, accepted: Accepted) {
        let counts = &self.shared.connections;
        let mine = counts[self.index].load(Relaxed);
        let fewest = (0..counts.len()).min_by_key(|i| counts[*i].load(Relaxed));
        if let Some(other) = fewest.filter(|other| *other != self.index)
            && !self.is_draining()
        {
            let fewest = counts[other].load(Relaxed);
            if mine > fewest + fewest / 4 + UNEVEN {
                let Accepted {
                    socket,
                    ends,
                    protocol,
                } = accepted;
                if let Ok(socket) = socket.into_std() {
                    let adopt = Command::Adopt {
                        socket,
                        ends,
                        protocol,
                    };
                    if let Err(mpsc::error::SendError(command)) = self.peers[other].send(adopt) {
                        // It has drained and ended already.
                        self.clone().follow(command);
                    }
                }
                return;
            }
        }
        self.serve(accepted);
    }

    fn serve(self: &Rc<Self>, accepted: Accepted) {
        let counted = Counted::new(self);
        let is_announced = {
            let pinned = self.view.pin();
            let peer = accepted.ends.peer.ip();
            pinned.plan.balancer().is_announced_by(peer)
        };
        match is_announced {
            true => drop(spawn_local(accept_proxy::serve(counted, accepted))),
            false => counted.begin(accepted),
        }
    }

    /// The worker's own life: commands and upkeep, until it has drained.
    async fn obey(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticks = 0u64;
        let mut end_at = u64::MAX;
        let mut has_parted = false;
        loop {
            let command = tokio::select! {
                _ = tick.tick() => None,
                command = commands.recv() => command,
            };
            match command {
                None => {
                    ticks += 1;
                    self.wheel.turn();
                    self.journal.borrow_mut().hand_over();
                    if self.is_draining() {
                        if self.has_drained(end_at) {
                            return;
                        }
                        if self.is_parting() && !std::mem::replace(&mut has_parted, true) {
                            self.wheel.wake_all();
                        }
                    }
                    if ticks.is_multiple_of(1000 / TICK.as_millis() as u64) {
                        self.pools.sweep();
                        self.view.refresh();
                    }
                }
                Some(Command::Drain { within }) => {
                    self.draining.set(true);
                    self.listeners.borrow_mut().clear();
                    let now = self.wheel.now_ms();
                    self.parting_at
                        .set(now + PARTING.min(within).as_millis() as u64);
                    end_at = now + within.as_millis() as u64;
                }
                Some(command) => self.clone().follow(command),
            }
        }
    }

    /// Whether a draining worker may end. Asked at ticks only, so that accept loops which were just
    /// stopped have brought in what they had.
    fn has_drained(&self, end_at: u64) -> bool {
        let left = self.shared.connections[self.index].load(Relaxed);
        let is_late = self.wheel.now_ms() >= end_at;
        if left > 0 && is_late {
            tracing::warn!(
                worker = self.index,
                connections = left,
                "cut at the end of the drain"
            );
        }
        left == 0 || is_late
    }

    fn follow(self: Rc<Self>, command: Command) {
        match command {
            Command::Open {
                listener,
                address,
                protocol,
            } => {
                let (stop, stopped) = oneshot::channel();
                self.listeners.borrow_mut().insert(address, stop);
                spawn_local(accept_all(self, listener, address, protocol, stopped));
            }
            Command::Close { address } => drop(self.listeners.borrow_mut().remove(&address)),
            Command::Adopt {
                socket,
                ends,
                protocol,
            } => match TcpStream::from_std(socket) {
                Ok(socket) => self.serve(Accepted {
                    socket,
                    ends,
                    protocol,
                }),
                Err(error) => {
                    tracing::warn!(peer = %ends.peer, %error, "connection lost between workers");
                }
            },
            Command::Retire { upstreams, after } => {
                // Whoever waits there goes elsewhere.
                self.connects.cut(&upstreams);
                spawn_local(async move {
                    tokio::time::sleep(after).await;
                    self.tunnels.cut(&upstreams);
                });
            }
            Command::Drain { .. } => {}
        }
    }
}

/// A client connection that counts for its worker as long as this lives.
pub(crate) struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.shared.connections[worker.index].fetch_add(1, Relaxed);
        Self(worker.clone())
    }
}

impl Counted {
    /// Serves a connection whose client is known. A task of its own: none has to have room for what
    /// another protocol, or reading a header, remembers.
    pub(crate) fn begin(self, accepted: Accepted) {
        let Accepted {
            socket,
            ends,
            protocol,
        } = accepted;
        match protocol {
            Protocol::Http => drop(spawn_local(http::serve(self, socket.into(), ends))),
            Protocol::Https => drop(spawn_local(tls::serve(self, socket, ends))),
            Protocol::Tcp => drop(spawn_local(tcp::serve(self, socket.into(), ends))),
        }
    }
}

impl std::ops::Deref for Counted {
    type Target = Rc<Worker>;

    fn deref(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.connections[self.0.index].fetch_sub(1, Relaxed);
    }
}
