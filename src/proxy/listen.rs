//! Listening sockets: bound in stage, opened after commit, emptied before they close.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol as IpProtocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::proxy::worker::Worker;

/// The kernel's own limit (`net.core.somaxconn`) applies besides.
const BACKLOG: i32 = 4096;

/// How long to pause when a connection cannot be accepted for want of something.
const PAUSE: Duration = Duration::from_millis(100);

/// What is spoken behind a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    /// The same behind a TLS handshake.
    Https,
    /// The TCP service that has this port.
    Tcp,
}

/// An address that is ours, one socket for each worker, and nobody can connect to yet.
#[derive(Debug)]
pub struct Bound {
    pub address: SocketAddr,
    sockets: Vec<Socket>,
}

/// Claims an address for `workers` workers. Everything that can fail about a listener fails here.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let first = bind_one(address)?;
    // Port 0 was asked for: the others must take the same port as the first.
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(bind_one(address)?);
    }
    Ok(Bound { address, sockets })
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(IpProtocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Both are inherited by accepted connections, which spares two calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Bound {
    /// Starts listening; from now on connections come.
    pub(crate) fn listen(self) -> io::Result<Vec<StdListener>> {
        for socket in &self.sockets {
            socket.listen(BACKLOG)?;
        }
        Ok(self.sockets.into_iter().map(StdListener::from).collect())
    }
}

/// A connection that was accepted, before anything was read from it.
pub(crate) struct Accepted {
    pub(crate) socket: TcpStream,
    pub(crate) ends: Ends,
    pub(crate) protocol: Protocol,
}

/// Between whom a connection is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Who the client is: the other end of the socket, or whom a PROXY header names.
    pub(crate) peer: SocketAddr,
    /// The listener's address.
    pub(crate) listener: SocketAddr,
    /// What the client connected to, where a PROXY header says so.
    pub(crate) destination: Option<SocketAddr>,
}

impl Ends {
    fn new(peer: SocketAddr, listener: SocketAddr) -> Self {
        Self {
            peer,
            listener,
            destination: None,
        }
    }

    /// The address whose port tells what was asked for.
    pub(crate) fn asked(&self) -> SocketAddr {
        self.destination.unwrap_or(self.listener)
    }
}

/// Accepts until told to stop, then takes in what the kernel had already accepted for us: closing
/// a socket resets the connections that still wait in it.
pub(crate) async fn accept_all(
    worker: Rc<Worker>,
    listener: StdListener,
    address: SocketAddr,
    protocol: Protocol,
    mut stop: oneshot::Receiver<()>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = %address, %error, "listener cannot be used");
            return;
        }
    };
    let mut stopped = false;
    while !stopped {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                // Asked of each connection that came: while this worker waited for it, the
                // others may have filled the last place. It waits here, the rest in the kernel.
                while !stopped && !worker.has_room() {
                    tokio::select! {
                        _ = &mut stop => stopped = true,
                        () = tokio::time::sleep(PAUSE / 10) => {}
                    }
                }
                worker.welcome(Accepted {
                    socket,
                    ends: Ends::new(peer, address),
                    protocol,
                });
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(listener = %address, %error, "cannot accept, pausing");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let backlog = SockRef::from(&listener);
    while let Ok((socket, peer)) = backlog.accept() {
        let Some(peer) = peer.as_socket() else {
            continue;
        };
        if socket.set_nonblocking(true).is_err() {
            continue;
        }
        if let Ok(socket) = TcpStream::from_std(socket.into()) {
            worker.welcome(Accepted {
                socket,
                ends: Ends::new(peer, address),
                protocol,
            });
        }
    }
}

/// The peer went away before we came to it: nothing is wrong here.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
