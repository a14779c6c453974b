//! Sessions by OpenSSL, for clients that need a suite which `rustls` does not have.
//!
//! The library sees bytes in memory and no socket: [`Session`](super::session::Session) hands its own buffers
//! over for the time of a call, so that everything it promises is kept in one place, whoever seals the records.

use std::cell::OnceCell;
use std::io::{self, Read, Write};
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{
    AlpnError, ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslRef, SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion, select_next_proto,
};

use rustls_pki_types::CertificateDer;

use super::session::{Advanced, HandshakeError, OVERHEAD, RECORD, Say};
use crate::plan::NamedCertificate;
use crate::proxy::buffers::{Buffers, Input};
use crate::tls::KeyType;
use crate::tls::suites::{Auth, Suites};

/// Sessions that are remembered for clients that come again, for two hours at most: about 10 MiB.
const SESSIONS: i32 = 10_000;

/// The longest answer that may wait for its way out: the longest chain of certificates, and some. Peers make
/// a session say something as often as they like (alerts against new handshakes); beyond this it breaks.
const MOST_UNSAID: usize = 160 * 1024;

/// All that a client may say in a handshake: its hello, and a chain of certificates.
const MOST_SHAKING: usize = 32 * 1024;

/// The longest record that anybody may send (RFC 5246, 6.2.3).
const LONGEST: usize = 16 * 1024 + 2048;

const RECORD_HEAD: usize = 5;

/// What all sessions by the same suites share. The library counts who holds it.
pub(super) struct Context {
    unasked: SslContext,
    /// Of those that ask the client for a certificate. They are not resumed.
    asking: SslContext,
}

impl Context {
    pub(super) fn new(suites: Suites) -> Result<Self, ErrorStack> {
        let mut unasked = builder(suites)?;
        unasked.set_session_id_context(b"pointsman")?;
        unasked.set_session_cache_mode(SslSessionCacheMode::SERVER);
        unasked.set_session_cache_size(SESSIONS);
        let mut asking = builder(suites)?;
        asking.set_session_id_context(b"pointsman, asking")?;
        // A session that is remembered keeps what its client showed, and that is his to choose.
        asking.set_session_cache_mode(SslSessionCacheMode::OFF);
        // Any that the client has the key of, or none. Nobody is let in by that: see `asks.rs`.
        asking.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        Ok(Self {
            unasked: unasked.build(),
            asking: asking.build(),
        })
    }

    /// Our side of a handshake that shows one of these certificates: of each kind of key the first, and the
    /// suite says which.
    pub(super) fn connection(
        &self,
        candidates: &[Arc<NamedCertificate>],
        asks_client: bool,
        buffers: &Buffers,
    ) -> Result<Legacy, ErrorStack> {
        let mut ssl = Ssl::new(match asks_client {
            true => &self.asking,
            false => &self.unasked,
        })?;
        for kind in [Auth::Rsa, Auth::Ecdsa] {
            let mut all = candidates.iter().map(|named| &named.certificate);
            let found = all.find(|own| auth(own.key_type()) == Some(kind));
            let Some(certificate) = found else { continue };
            let chain = certificate.for_openssl()?;
            ssl.set_certificate(&chain.leaf)?;
            ssl.set_private_key(&chain.key)?;
            for above in &chain.above {
                ssl.add_chain_cert(above.clone())?;
            }
        }
        ssl.set_accept_state();
        let wire = Wire {
            incoming: buffers.input(),
            outgoing: buffers.input(),
            begun: 0,
            most: MOST_SHAKING,
        };
        Ok(Legacy {
            stream: SslStream::new(ssl, wire)?,
            client_chain: OnceCell::new(),
        })
    }
}

fn builder(suites: Suites) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_server())?;
    // Nothing of what the system's own configuration says of these is left in force.
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    let tls13 = suites.and(Suites::tls13());
    // As much as the whole listener has: who was talked down to TLS 1.2 is to see it (RFC 8446, 4.1.3).
    context.set_max_proto_version(tls13.is_empty().then_some(SslVersion::TLS1_2))?;
    // No signatures with SHA-1; all suites that can be asked for are above it.
    context.set_security_level(1);
    context.set_cipher_list(&suites.without(tls13).names(":"))?;
    context.set_ciphersuites(&tls13.names(":"))?;
    context.set_groups_list("X25519:P-256:P-384")?;
    context.set_options(
        SslOptions::CIPHER_SERVER_PREFERENCE
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_TICKET,
    );
    // Who is idle holds no buffers.
    context.set_mode(SslMode::RELEASE_BUFFERS);
    context.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(context)
}

/// The suites that a key goes with here. Ed25519 is nothing that who needs OpenSSL has heard of.
pub(super) fn auth(key: KeyType) -> Option<Auth> {
    match key {
        KeyType::Rsa(_) => Some(Auth::Rsa),
        KeyType::Ecdsa(_) => Some(Auth::Ecdsa),
        KeyType::Ed25519 => None,
    }
}

/// One session.
pub(crate) struct Legacy {
    stream: SslStream<Wire>,
    client_chain: OnceCell<Vec<CertificateDer<'static>>>,
}

impl Legacy {
    pub(super) fn ssl(&self) -> &SslRef {
        self.stream.ssl()
    }

    /// The certificates that the client showed, leaf first.
    pub(super) fn client_chain(&self) -> &[CertificateDer<'static>] {
        self.client_chain.get_or_init(|| {
            let leaf = self.ssl().peer_certificate();
            let above = self.ssl().peer_cert_chain().into_iter().flatten();
            let leaf = leaf.iter().map(|leaf| &**leaf);
            let all = leaf.chain(above).map(|own| own.to_der());
            let all = all.map(|der| der.map(CertificateDer::from));
            all.collect::<Result<_, _>>().unwrap_or_default()
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        !self.stream.ssl().is_init_finished()
    }

    /// As the function of the same name does it for `rustls`.
    pub(super) fn advance(
        &mut self,
        incoming: &mut Input,
        plain: &mut Input,
        outgoing: &mut Input,
        say: Say<'_>,
    ) -> Result<Advanced, HandshakeError> {
        // The library keeps a list of errors for each thread, and takes those of another session for this one's.
        drop(ErrorStack::get());
        self.stream.get_mut().swap(incoming, outgoing);
        let result = self.go_on(plain, say);
        self.stream.get_mut().swap(incoming, outgoing);
        result.map_err(|error| HandshakeError::OpenSsl(told(&error)))
    }

    fn go_on(&mut self, plain: &mut Input, say: Say<'_>) -> Result<Advanced, openssl::ssl::Error> {
        let mut advanced = Advanced::default();
        if self.is_handshaking() {
            match self.stream.do_handshake() {
                Err(error) if error.code() == ErrorCode::WANT_READ => return Ok(advanced),
                done => done?,
            }
            self.stream.get_mut().most = usize::MAX;
        }
        // To its end, so that nothing is left in the library but what it began to take.
        while !self.stream.get_ref().incoming.is_empty() || self.stream.ssl().pending() > 0 {
            if plain.room().is_empty() {
                plain.room_for(RECORD);
            }
            match self.stream.ssl_read(plain.room()) {
                Ok(n) => plain.add(n),
                Err(error) => match error.code() {
                    ErrorCode::WANT_READ => break,
                    ErrorCode::ZERO_RETURN => {
                        advanced.is_over = true;
                        break;
                    }
                    _ => return Err(error),
                },
            }
        }
        plain.park();
        match say {
            Say::Nothing => {}
            Say::Bytes(a, b) => {
                for piece in [a, b] {
                    let room = self.stream.get_mut().outgoing.room().len();
                    let n = piece.len().min(room.saturating_sub(OVERHEAD)).min(RECORD);
                    if n > 0 {
                        advanced.taken += self.stream.ssl_write(&piece[..n])?;
                    }
                    if n < piece.len() {
                        break;
                    }
                }
            }
            // Said, and heard by nobody here: the answer may be on its way.
            Say::Close => drop(self.stream.shutdown()?),
        }
        Ok(advanced)
    }
}

/// What the library reads from and writes to.
struct Wire {
    /// The session's, while a call goes on; else nothing is in it.
    incoming: Input,
    outgoing: Input,
    /// Bytes of a record that the library has begun to take.
    begun: usize,
    /// Bytes that it may still take.
    most: usize,
}

impl Wire {
    fn swap(&mut self, incoming: &mut Input, outgoing: &mut Input) {
        std::mem::swap(&mut self.incoming, incoming);
        std::mem::swap(&mut self.outgoing, outgoing);
    }
}

/// Whole records alone: half of one stays in the session's buffer, where it is seen and counted.
impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let filled = self.incoming.filled();
        if self.begun == 0 {
            self.begun = first_record(filled).ok_or(io::ErrorKind::WouldBlock)?;
        }
        let n = self.begun.min(buf.len()).min(filled.len());
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let left = self.most.checked_sub(n);
        self.most = left.ok_or_else(|| io::Error::other("the handshake is too long"))?;
        buf[..n].copy_from_slice(&filled[..n]);
        self.begun -= n;
        self.incoming.consume(n);
        Ok(n)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.outgoing.filled().len() + bytes.len() > MOST_UNSAID {
            return Err(io::Error::other("too much is unsaid"));
        }
        self.outgoing.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of the first record, with its head, once it is there as a whole. One that is longer than any may be
/// is handed on as it is: the library says so.
fn first_record(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(3..RECORD_HEAD)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    match length {
        0..=LONGEST => Some(RECORD_HEAD + length).filter(|whole| *whole <= bytes.len()),
        _ => Some(bytes.len()),
    }
}

/// In the library's words, without its codes.
fn told(error: &openssl::ssl::Error) -> String {
    if let Some(stack) = error.ssl_error() {
        return told_of(stack);
    }
    match error.io_error() {
        Some(error) => error.to_string(),
        None => "it broke off".to_owned(),
    }
}

pub(super) fn failed(stack: ErrorStack) -> HandshakeError {
    HandshakeError::OpenSsl(told_of(&stack))
}

fn told_of(stack: &ErrorStack) -> String {
    let reasons = stack.errors().iter().filter_map(|error| error.reason());
    let reasons: Vec<_> = reasons.collect();
    match reasons.is_empty() {
        true => "it does not say why".to_owned(),
        false => reasons.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_records_are_read_and_little_is_kept_unsaid() {
        let buffers = Buffers::default();
        let mut wire = Wire {
            incoming: buffers.input(),
            outgoing: buffers.input(),
            begun: 0,
            most: 1000,
        };
        let mut buf = [0; 64];
        let is_waiting = |read: io::Result<usize>| {
            read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        wire.incoming.append(b"\x17\x03\x03\0\x02a");
        assert!(is_waiting(wire.read(&mut buf)));
        wire.incoming.append(b"b\x17\x03");
        assert_eq!(wire.read(&mut buf[..5]).ok(), Some(5));
        assert_eq!(wire.read(&mut buf).ok(), Some(2));
        assert_eq!(&buf[..2], b"ab");
        assert!(is_waiting(wire.read(&mut buf)));
        assert_eq!(wire.incoming.filled().len(), 2);
        // One that is too long is the library's to refuse, and is not waited for.
        wire.incoming.append(b"\x03\xff\xffx");
        assert_eq!(wire.read(&mut buf).ok(), Some(6));

        wire.incoming.append(&[0x16, 3, 3, 4, 0]);
        wire.incoming.append(&[1; 1024]);
        wire.most = 1000;
        let taken = (0..100).map_while(|_| wire.read(&mut buf).ok());
        assert_eq!(taken.sum::<usize>(), 960, "a handshake ends there");

        let alert = [21; 31];
        let said = (0..100_000).take_while(|_| wire.write(&alert).is_ok());
        assert_eq!(said.count(), MOST_UNSAID / alert.len());
    }
}
