//! Connections that begin with a PROXY header: those from the networks of `accept_proxy`.
//!
//! From anywhere else no header is ever read, so nobody can say who it is; from there it is never
//! missing, so nothing is guessed. It is read before anything else, TLS too, byte-exact: what stands
//! behind it stays in the socket for whoever comes next.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::proxy::listen::{Accepted, Ends, Protocol};
use crate::proxy::worker::{Counted, Worker};
use crate::proxy_header::{Header, MOST_BYTES, Progress, Reject, read};

/// From the connection to the end of its header. The specification asks for as much at least, so that
/// a lost packet can be sent again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reads the header, then serves the connection as that of the client it names.
pub(crate) async fn serve(worker: Counted, accepted: Accepted) {
    let Accepted {
        socket,
        mut ends,
        protocol,
    } = accepted;
    let patience = {
        let pinned = worker.view.pin();
        let timeouts = &pinned.plan.balancer().timeouts;
        match protocol {
            Protocol::Http => PATIENCE.min(timeouts.head),
            Protocol::Https => PATIENCE.min(timeouts.handshake),
            Protocol::Tcp => PATIENCE,
        }
    };
    let deadline = worker.wheel.deadline();
    let header = match deadline.limit(patience, header(&socket)).await {
        Ok(header) => header,
        Err(_) => Err(Failure::TooLate),
    };
    match header {
        Err(failure) => return worker.note_missing(ends, &failure),
        Ok(Header::Own) => {}
        Ok(Header::Client(pair)) => {
            ends.peer = pair.source;
            ends.destination = Some(pair.destination);
        }
    }
    worker.begin(Accepted {
        socket,
        ends,
        protocol,
    });
}

/// Takes the header out of the socket. No memory is held before its first byte.
async fn header(socket: &TcpStream) -> Result<Header, Failure> {
    let mut held = Vec::new();
    loop {
        socket.readable().await?;
        match socket.try_io(Interest::READABLE, || take(socket, &mut held)) {
            Ok(None) => {}
            Ok(Some(header)) => return Ok(header?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Looks at what is there, and takes out what belongs to the header: never a byte behind it, and
/// always all before, so that the next look waits for new ones.
fn take(socket: &TcpStream, held: &mut Vec<u8>) -> io::Result<Option<Result<Header, Reject>>> {
    let mut bytes = [0; MOST_BYTES];
    let before = held.len();
    bytes[..before].copy_from_slice(held);
    let (there, _) = recv(socket, &mut bytes[before..], RecvFlags::PEEK)?;
    if there == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (header, end) = match read(&bytes[..before + there]) {
        Ok(Progress::More) => (None, before + there),
        Ok(Progress::Whole(header, length)) => (Some(Ok(header)), length),
        Err(reject) => return Ok(Some(Err(reject))),
    };
    let (taken, _) = recv(socket, &mut bytes[before..end], RecvFlags::empty())?;
    if before + taken < end {
        // What was there a moment ago: urgent data, which no header is sent as.
        return Err(io::ErrorKind::InvalidData.into());
    }
    held.extend_from_slice(&bytes[before..end]);
    Ok(header)
}

/// Why nobody knows who the client is.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Reject(#[from] Reject),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("did not come in time")]
    TooLate,
}

impl Worker {
    fn note_missing(&self, ends: Ends, failure: &Failure) {
        let Ends { peer, listener, .. } = ends;
        // Proxies that see whether somebody listens connect and leave.
        let has_left = matches!(
            failure,
            Failure::Io(error) if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            )
        );
        if has_left {
            return tracing::debug!(%peer, %listener, reason = %failure, "no good PROXY header");
        }
        self.shared.rejected.fetch_add(1, Relaxed);
        if self.may_log() {
            tracing::info!(%peer, %listener, reason = %failure, "no good PROXY header");
        }
    }
}
