//! Reading and writing sockets by shared reference: what [`Stream`](crate::proxy::stream::Stream)
//! stands on.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what is there. 0 is the end.
pub(crate) fn poll_read(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match try_read(stream, buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(n) => {
                if n > 0 && n < buf.len() {
                    mark_drained(stream);
                }
                return Poll::Ready(Ok(n));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

pub(crate) fn poll_write(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match try_write(stream, buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            result => return Poll::Ready(result),
        }
    }
}

/// Writes some of two pieces as one.
pub(crate) fn poll_write_both(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    a: &[u8],
    b: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_write_vectored(&[IoSlice::new(a), IoSlice::new(b)]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            result => return Poll::Ready(result),
        }
    }
}

/// Whether nothing has happened on a connection that should be silent: no data, no end, no error.
/// Costs a system call only if something did happen.
pub(crate) fn is_silent(stream: &TcpStream) -> bool {
    let mut byte = [0];
    // Asks the cached readiness first; only a socket with news is read.
    matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The same, asked of the kernel: an end that arrived a moment ago is seen too.
pub(crate) fn is_silent_now(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let peeked = socket2::SockRef::from(stream).peek(&mut byte);
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Ready when the peer has reset its connection.
/// Costs a system call only when there is news from the peer: more requests, its end, or a reset.
pub(crate) fn poll_reset(peer: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    if peer.poll_read_ready(cx).is_pending() {
        return Poll::Pending;
    }
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket2::SockRef::from(peer).peek(&mut byte) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Poll::Ready(()),
        _ => Poll::Pending,
    }
}

/// Ends our direction; the peer may go on.
pub(crate) fn shutdown_write(stream: &TcpStream) {
    // The peer may be gone already: there is nobody left to tell.
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}

/// Straight to the kernel: the C library's functions are cancellation points and pay for that with
/// two atomic operations each in a program with threads.
fn try_read(stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    stream.try_io(Interest::READABLE, || {
        rustix::net::recv(stream, &mut *buf, RecvFlags::empty())
            .map(|(n, _)| n)
            .map_err(io::Error::from)
    })
}

pub(crate) fn try_write(stream: &TcpStream, buf: &[u8]) -> io::Result<usize> {
    stream.try_io(Interest::WRITABLE, || {
        rustix::net::send(stream, buf, SendFlags::NOSIGNAL).map_err(io::Error::from)
    })
}

/// Takes a short read for what it is: the socket is empty. This spares the read that would only
/// find that out. An end or an error that has been seen stays seen.
fn mark_drained(stream: &TcpStream) {
    let _ = stream.try_io(Interest::READABLE, || {
        Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock))
    });
}
