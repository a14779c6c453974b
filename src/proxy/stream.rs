//! A connection to a client or an upstream: a socket, and a TLS session on it or none.
//!
//! Everything above reads and writes through this and does not know the difference. By shared
//! reference, so that both directions can be under way in one task without splitting anything.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;

use crate::proxy::buffers::READ_SIZE;
use crate::proxy::io as socket;
use crate::proxy::tls::Session;
use crate::proxy_header::Details;

pub(crate) struct Stream {
    socket: TcpStream,
    /// Boxed: most connections of a balancer without TLS would pay for its size.
    session: Option<Box<RefCell<Session>>>,
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self {
            socket,
            session: None,
        }
    }
}

impl Stream {
    /// A connection whose handshake is done.
    pub(crate) fn secured(socket: TcpStream, session: Session) -> Self {
        Self {
            socket,
            session: Some(Box::new(RefCell::new(session))),
        }
    }

    /// The socket of a connection without a session; what was written to it is on its way.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.socket
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.session.is_some()
    }

    /// As access logs call it; `None`: no TLS.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        let session = self.session.as_ref()?;
        session.borrow().version()
    }

    /// Shows what is known of the client's TLS session; nothing of a plain connection.
    pub(crate) fn with_details<T>(&self, look: impl FnOnce(Details<'_>) -> T) -> T {
        match &self.session {
            None => look(Details::default()),
            Some(session) => look(session.borrow().details()),
        }
    }

    /// Shows the certificates that the client showed, leaf first; empty: none. `None`: it was not asked, or
    /// there is no session.
    pub(crate) fn with_client_chain<T>(
        &self,
        look: impl FnOnce(Option<&[CertificateDer<'static>]>) -> T,
    ) -> T {
        match &self.session {
            None => look(None),
            Some(session) => look(session.borrow().client_chain()),
        }
    }

    /// Our end of the connection.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket, if bytes go through it as they are.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        self.session.is_none().then_some(&self.socket)
    }

    /// Ready when a read would have something to tell. Holds no buffer until then.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.session {
            None => self.socket.poll_read_ready(cx),
            Some(session) => session.borrow_mut().poll_read_ready(&self.socket, cx),
        }
    }

    /// Reads what is there. 0 is the end.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &self.session {
            None => {
                // No more than goes on as one record, should the other side have a session.
                let most = buf.len().min(READ_SIZE);
                socket::poll_read(&self.socket, cx, &mut buf[..most])
            }
            Some(session) => session.borrow_mut().poll_read(&self.socket, cx, buf),
        }
    }

    pub(crate) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Waits until there is something to read (or the end) without holding a buffer.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_read_ready(cx)).await
    }

    /// Writes some of it. Who is told to wait offers the same bytes again.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &self.session {
            None => socket::poll_write(&self.socket, cx, buf),
            Some(session) => session.borrow_mut().poll_write(&self.socket, cx, buf, b""),
        }
    }

    pub(crate) async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        let _whole = WholeOrBroken(self);
        while !buf.is_empty() {
            let n = poll_fn(|cx| self.poll_write(cx, buf)).await?;
            buf = &buf[n..];
        }
        Ok(())
    }

    /// Writes two pieces as one, in one system call as long as the socket takes them.
    pub(crate) async fn write_both(&self, mut a: &[u8], b: &[u8]) -> io::Result<()> {
        let _whole = WholeOrBroken(self);
        while !a.is_empty() && !b.is_empty() {
            let n = poll_fn(|cx| match &self.session {
                None => socket::poll_write_both(&self.socket, cx, a, b),
                Some(session) => session.borrow_mut().poll_write(&self.socket, cx, a, b),
            })
            .await?;
            if n >= a.len() {
                return self.write_all(&b[n - a.len()..]).await;
            }
            a = &a[n..];
        }
        self.write_all(a).await?;
        self.write_all(b).await
    }

    /// Whether nothing has happened on a connection that should be silent: no data, no end, no error.
    /// Costs a system call only if something did happen.
    pub(crate) fn is_silent(&self) -> bool {
        match &self.session {
            None => socket::is_silent(&self.socket),
            Some(session) => session.borrow_mut().is_silent(&self.socket),
        }
    }

    /// The same, asked of the kernel: an end that arrived a moment ago is seen too.
    pub(crate) fn is_silent_now(&self) -> bool {
        // The session first: what the peer tells it alone, such as tickets, is no news.
        self.is_silent() && socket::is_silent_now(&self.socket)
    }

    /// Does the work unless the peer resets its connection meanwhile. The end of what it sends is no
    /// reason: who has said everything may still listen.
    pub(crate) async fn unless_reset<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => socket::poll_reset(&self.socket, cx).map(|()| None),
        })
        .await
    }

    /// Ends our direction; the peer may go on. Ready when it was told.
    pub(crate) fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_end(cx));
        socket::shutdown_write(&self.socket);
        Poll::Ready(())
    }

    /// Ends our direction in the middle of what was being said.
    pub(crate) fn cut_write(&self) {
        socket::shutdown_write(&self.socket);
    }

    /// Tells the peer that everything was said, before the connection is closed; a socket alone has
    /// nothing to tell. A session that ends without this was cut off.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.session {
            None => Poll::Ready(()),
            Some(session) => session.borrow_mut().poll_close(&self.socket, cx),
        }
    }

    /// As [`Stream::poll_end`] for who does not wait for it.
    pub(crate) fn end_now(&self) {
        if let Some(session) = &self.session {
            session.borrow_mut().close_now(&self.socket);
        }
    }

    /// With what words a peer broke off its session.
    pub(crate) fn alert(&self) -> Option<rustls::AlertDescription> {
        self.session.as_ref()?.borrow().alert()
    }
}

/// While some bytes are written. A session of which somebody stopped writing in the middle says nothing
/// more: it could not tell the rest of them from what is written next.
struct WholeOrBroken<'a>(&'a Stream);

impl Drop for WholeOrBroken<'_> {
    fn drop(&mut self) {
        if let Some(session) = &self.0.session {
            session.borrow_mut().abandon_write();
        }
    }
}
