//! One TLS session: ciphertext in, plain bytes out, and the other way round.
//!
//! `rustls` without its own buffers, or OpenSSL (`legacy.rs`) in its place: records are opened and sealed in buffers that the worker leases
//! while bytes are pending, so that an idle connection holds none. Nothing here touches a socket but
//! through the functions of [`io`](crate::proxy::io) that plain connections use too.

use std::io;
use std::task::{Context, Poll, ready};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic};
use rustls::{AlertDescription, CommonState, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;

#[cfg(feature = "legacy-tls")]
use super::legacy::Legacy;
use crate::proxy::buffers::{Buffers, Input};
use crate::proxy::io::{poll_read, poll_write, try_write};
use crate::proxy_header::{Details, Tls};
use crate::tls::suites::Suite;

/// The longest record's bytes (RFC 8446, 5.1). More in one call would become two.
pub(super) const RECORD: usize = 16 * 1024;

/// What may stand beside them: a record's own header, nonce and tag (or MAC and padding), and before it an answer to new keys
/// of the peer's and new keys of our own.
pub(super) const OVERHEAD: usize = 128;

/// Handshake messages may be longer than a record; 64 KiB is where `rustls` gives up on one.
const MAX_INCOMING: usize = 80 * 1024;

/// Reads in a row that may bring nothing to hand on.
const READS: usize = 4;

/// Our side of a connection, as `rustls` names them.
pub(crate) enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// By another library.
    #[cfg(feature = "legacy-tls")]
    Legacy(Box<Legacy>),
}

pub(crate) struct Session {
    connection: Connection,
    /// Whom the client asked for.
    server_name: Option<Box<str>>,
    /// Whether the client was asked for a certificate.
    asks_client: bool,
    /// Ciphertext that came and was not opened yet: never more than a part of a record once
    /// [`Session::advance`] has been at it.
    incoming: Input,
    /// Opened, and not taken yet.
    plain: Input,
    /// Sealed, and not in the kernel's hands yet.
    outgoing: Input,
    /// Bytes of the caller's that are in `outgoing`, and that it was not told of yet.
    sealed: usize,
    /// The peer has said that nothing more comes.
    is_over: bool,
    /// We have.
    is_closed: bool,
    /// Why nothing goes on here.
    broken: Option<io::ErrorKind>,
    /// Why nothing more can be said; what the peer has said may still be read. Upstreams answer and stop
    /// reading.
    mute: Option<io::ErrorKind>,
    /// With what words the peer ended it, if it was not the usual end.
    alert: Option<AlertDescription>,
}

/// What is to be said once the session may say something.
pub(super) enum Say<'a> {
    Nothing,
    /// Two pieces as one.
    Bytes(&'a [u8], &'a [u8]),
    Close,
}

impl Session {
    /// `incoming` is what was read before there was a session.
    pub(crate) fn new(connection: Connection, incoming: Input, buffers: &Buffers) -> Self {
        Self {
            connection,
            server_name: None,
            asks_client: false,
            incoming,
            plain: buffers.input(),
            outgoing: buffers.input(),
            sealed: 0,
            is_over: false,
            is_closed: false,
            broken: None,
            mute: None,
            alert: None,
        }
    }

    /// The name in the client's hello, and whether it was asked for a certificate.
    #[must_use]
    pub(crate) fn asked_for(self, server_name: Option<Box<str>>, asks_client: bool) -> Self {
        Self {
            server_name,
            asks_client,
            ..self
        }
    }

    /// The certificates that the client showed, leaf first; empty: none. `None`: it was not asked.
    pub(crate) fn client_chain(&self) -> Option<&[CertificateDer<'static>]> {
        let chain = match &self.connection {
            Connection::Server(connection) => connection.peer_certificates(),
            Connection::Client(_) => None,
            #[cfg(feature = "legacy-tls")]
            Connection::Legacy(legacy) => Some(legacy.client_chain()),
        };
        self.asks_client.then(|| chain.unwrap_or_default())
    }

    /// What an upstream can be told of it.
    pub(crate) fn details(&self) -> Details<'_> {
        let common: &CommonState = match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
            #[cfg(feature = "legacy-tls")]
            Connection::Legacy(legacy) => {
                return self.known(
                    legacy.ssl().selected_alpn_protocol(),
                    legacy.ssl().current_cipher().map(|cipher| cipher.name()),
                );
            }
        };
        let suite = common.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| Suite::of_code(suite.suite().into()));
        self.known(common.alpn_protocol(), suite.map(|suite| suite.name))
    }

    fn known<'a>(&'a self, alpn: Option<&'a [u8]>, cipher: Option<&'a str>) -> Details<'a> {
        Details {
            authority: self.server_name.as_deref(),
            alpn,
            unique_id: None,
            tls: Some(Tls {
                version: self.version(),
                cipher,
                client: None,
            }),
        }
    }

    /// As access logs call it.
    pub(crate) fn version(&self) -> Option<&'static str> {
        let version = match &self.connection {
            Connection::Server(connection) => connection.protocol_version(),
            Connection::Client(connection) => connection.protocol_version(),
            #[cfg(feature = "legacy-tls")]
            Connection::Legacy(legacy) => return Some(legacy.ssl().version_str()),
        };
        match version? {
            ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => None,
        }
    }

    /// Shakes hands to the end, our last message included.
    pub(crate) fn poll_handshake(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), HandshakeError>> {
        loop {
            if let Err(error) = self.advance(Say::Nothing) {
                // The peer is told why, as far as its socket takes it at once.
                self.try_flush(socket);
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_flush(socket, cx))?;
            if !self.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.is_over {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
            ready!(self.poll_fill(socket, cx))?;
        }
    }

    /// Ready when [`Session::poll_read`] has something to tell.
    pub(crate) fn poll_read_ready(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut reads = 0;
        loop {
            if !self.plain.is_empty() || self.is_over {
                return Poll::Ready(Ok(()));
            }
            if let Some(kind) = self.broken {
                return Poll::Ready(Err(kind.into()));
            }
            // What the peer made us say must not wait for the caller's next word; it cannot make us say
            // much, since an answer to new keys is due once, until it is said. What the caller said,
            // and our end, are its own to push.
            if self.sealed == 0 && !self.is_closed {
                let _ = self.poll_flush(socket, cx);
            }
            if self.incoming.is_empty() {
                // No buffer is held while nothing comes.
                self.incoming.park();
                ready!(socket.poll_read_ready(cx))?;
            }
            if reads == READS {
                // Records with nothing in them for us: others have their turn in between.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            reads += 1;
            ready!(self.poll_fill(socket, cx))?;
            if self.advance(Say::Nothing).is_err() {
                // What came before it is still good. The peer is told.
                self.try_flush(socket);
            }
        }
    }

    /// Reads what is there. 0 is the end that the peer announced; without a word it is an error.
    pub(crate) fn poll_read(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_read_ready(socket, cx))?;
        let n = self.plain.filled().len().min(buf.len());
        buf[..n].copy_from_slice(&self.plain.filled()[..n]);
        self.plain.consume(n);
        self.plain.park();
        self.incoming.park();
        Poll::Ready(Ok(n))
    }

    /// Seals and sends some of the two pieces. Ready only when what was taken is in the kernel's
    /// hands: who is told to wait offers the same bytes again.
    pub(crate) fn poll_write(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        a: &[u8],
        b: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.broken.or(self.mute) {
            return Poll::Ready(Err(kind.into()));
        }
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.sealed == 0 {
            // What was said before keeps its place in front, and leaves room for a whole record.
            ready!(self.poll_flush(socket, cx))?;
            self.sealed = self
                .advance(Say::Bytes(a, b))
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if self.sealed == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        ready!(self.poll_flush(socket, cx))?;
        let taken = std::mem::take(&mut self.sealed);
        if taken > a.len() + b.len() {
            // Other bytes than were offered before: what went out is not what was to be said.
            return Poll::Ready(Err(self.breaks(io::ErrorKind::InvalidInput)));
        }
        Poll::Ready(Ok(taken))
    }

    /// Whether the peer has said nothing to us. What it said to the session is taken in.
    pub(crate) fn is_silent(&mut self, socket: &TcpStream) -> bool {
        // Tickets come in one piece. Who says more than that, if nothing for us, is not silent: it could go on for
        // as long as it likes.
        for _ in 0..READS {
            let is_quiet = self.plain.is_empty() && !self.is_over && !self.is_silenced();
            if !is_quiet || self.incoming.room().is_empty() {
                return false;
            }
            match socket.try_read(self.incoming.room()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.incoming.park();
                    self.try_flush(socket);
                    return self.incoming.is_empty();
                }
                Ok(0) | Err(_) => return false,
                Ok(n) => self.incoming.add(n),
            }
            if self.advance(Say::Nothing).is_err() {
                return false;
            }
        }
        false
    }

    /// Says that nothing more comes from us. Ready when that is in the kernel's hands, or nobody would
    /// hear it.
    pub(crate) fn poll_close(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_silenced() {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut self.is_closed, true) {
            // What cannot be said any more makes the session a broken one.
            let _ = self.advance(Say::Close);
        }
        self.poll_flush(socket, cx).map(|_| ())
    }

    /// Nobody will offer the rest of what was being written.
    pub(crate) fn abandon_write(&mut self) {
        if self.sealed > 0 {
            self.breaks(io::ErrorKind::Interrupted);
        }
    }

    /// As [`Session::poll_close`] for who does not wait: it is said as far as the socket takes it at once.
    pub(crate) fn close_now(&mut self, socket: &TcpStream) {
        if !self.is_silenced() {
            if !std::mem::replace(&mut self.is_closed, true) {
                let _ = self.advance(Say::Close);
            }
            self.try_flush(socket);
        }
    }

    /// With what words the peer broke it off.
    pub(crate) fn alert(&self) -> Option<AlertDescription> {
        self.alert
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        match &self.connection {
            Connection::Server(connection) => connection.is_handshaking(),
            Connection::Client(connection) => connection.is_handshaking(),
            #[cfg(feature = "legacy-tls")]
            Connection::Legacy(legacy) => legacy.is_handshaking(),
        }
    }

    /// Reads ciphertext once. The end, unannounced, is an error.
    fn poll_fill(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.incoming.room().is_empty() && !self.incoming.grow(MAX_INCOMING) {
            return Poll::Ready(Err(self.breaks(io::ErrorKind::InvalidData)));
        }
        let Poll::Ready(read) = poll_read(socket, cx, self.incoming.room()) else {
            self.incoming.park();
            return Poll::Pending;
        };
        match read {
            Ok(0) => Poll::Ready(Err(self.breaks(io::ErrorKind::UnexpectedEof))),
            Ok(n) => {
                self.incoming.add(n);
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(self.breaks(error.kind()))),
        }
    }

    fn poll_flush(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            match ready!(poll_write(socket, cx, self.outgoing.filled())) {
                Ok(n) => self.outgoing.consume(n),
                Err(error) => {
                    self.outgoing.consume(self.outgoing.filled().len());
                    self.outgoing.park();
                    self.sealed = 0;
                    self.mute = Some(error.kind());
                    return Poll::Ready(Err(error));
                }
            }
        }
        self.outgoing.park();
        Poll::Ready(Ok(()))
    }

    fn try_flush(&mut self, socket: &TcpStream) {
        while !self.outgoing.is_empty() {
            match try_write(socket, self.outgoing.filled()) {
                Ok(n) if n > 0 => self.outgoing.consume(n),
                _ => return,
            }
        }
        self.outgoing.park();
    }

    /// Whether nothing can be said any more.
    fn is_silenced(&self) -> bool {
        self.broken.is_some() || self.mute.is_some()
    }

    fn breaks(&mut self, kind: io::ErrorKind) -> io::Error {
        self.broken = Some(kind);
        kind.into()
    }

    /// Takes in what came, puts out what the session has to say by itself, then says `say`. Answers
    /// how many of its bytes were taken.
    fn advance(&mut self, say: Say<'_>) -> Result<usize, HandshakeError> {
        let (incoming, plain) = (&mut self.incoming, &mut self.plain);
        let outgoing = &mut self.outgoing;
        let result = match &mut self.connection {
            Connection::Server(connection) => advance(connection, incoming, plain, outgoing, say),
            Connection::Client(connection) => advance(connection, incoming, plain, outgoing, say),
            #[cfg(feature = "legacy-tls")]
            Connection::Legacy(legacy) => legacy.advance(incoming, plain, outgoing, say),
        };
        match result {
            Ok(Advanced { taken, is_over }) => {
                self.is_over |= is_over;
                if self.is_over {
                    // Nothing behind the announced end counts.
                    self.incoming.consume(self.incoming.filled().len());
                    self.incoming.park();
                }
                Ok(taken)
            }
            Err(error) => {
                self.broken = Some(io::ErrorKind::InvalidData);
                if let HandshakeError::Tls(rustls::Error::AlertReceived(alert)) = error {
                    self.alert = Some(alert);
                }
                Err(error)
            }
        }
    }
}

/// What came of it.
#[derive(Default)]
pub(super) struct Advanced {
    /// Of the caller's bytes.
    pub(super) taken: usize,
    /// The peer has announced its end.
    pub(super) is_over: bool,
}

fn advance<C: Process>(
    connection: &mut C,
    incoming: &mut Input,
    plain: &mut Input,
    outgoing: &mut Input,
    say: Say<'_>,
) -> Result<Advanced, HandshakeError> {
    let mut is_over = false;
    let mut refused = None;
    loop {
        let UnbufferedStatus { discard, state } = connection.process(incoming.filled_mut());
        let mut taken = None;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    plain.append(record?.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut message)) => {
                let written = match message.encode(outgoing.room()) {
                    Err(EncodeError::InsufficientSize(size)) => {
                        message.encode(outgoing.room_for(size.required_size))
                    }
                    written => written,
                };
                outgoing.add(written.map_err(internal)?);
            }
            Ok(ConnectionState::TransmitTlsData(message)) => message.done(),
            Ok(ConnectionState::PeerClosed) => is_over = true,
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                taken = Some(match (&refused, &say) {
                    (Some(_), _) | (None, Say::Nothing) => 0,
                    (None, Say::Bytes(a, b)) => seal(&mut traffic, a, b, outgoing)?,
                    (None, Say::Close) => {
                        let room = outgoing.room_for(OVERHEAD);
                        let written = traffic.queue_close_notify(room).map_err(internal)?;
                        outgoing.add(written);
                        0
                    }
                });
            }
            // Early data is never asked for.
            Ok(_) => taken = Some(0),
            Err(error) => refused = Some(error),
        }
        incoming.consume(discard);
        match refused.take() {
            // Once more, for the alert that tells the peer.
            Some(error) if taken.is_none() && connection.has_more_to_say() => refused = Some(error),
            Some(error) => return Err(error.into()),
            None => {}
        }
        if let Some(taken) = taken {
            return Ok(Advanced { taken, is_over });
        }
    }
}

/// Seals as much of both pieces as there is room for.
fn seal<D>(
    traffic: &mut WriteTraffic<'_, D>,
    a: &[u8],
    b: &[u8],
    outgoing: &mut Input,
) -> Result<usize, rustls::Error> {
    let mut taken = 0;
    for piece in [a, b] {
        let room = outgoing.room();
        let most = room.len().saturating_sub(OVERHEAD).min(RECORD);
        let n = piece.len().min(most);
        if n > 0 {
            let written = traffic.encrypt(&piece[..n], room).map_err(internal)?;
            outgoing.add(written);
            taken += n;
        }
        if n < piece.len() {
            break;
        }
    }
    Ok(taken)
}

fn internal(error: impl std::fmt::Display) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// What both kinds of connection do alike.
trait Process {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn has_more_to_say(&self) -> bool;
}

impl Process for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn has_more_to_say(&self) -> bool {
        self.wants_write()
    }
}

impl Process for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn has_more_to_say(&self) -> bool {
        self.wants_write()
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[cfg(feature = "legacy-tls")]
    #[error("OpenSSL: {0}")]
    OpenSsl(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}
