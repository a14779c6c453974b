//! Bytes both ways between two sockets: TCP services, and connections upgraded by a 101.
//!
//! Each direction copies through a leased buffer as long as reads are small, and splices through a
//! leased pipe once they fill it. A direction that is silent holds neither. The end of one direction
//! is passed on and the other lives on; silence in both ends the tunnel.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::proxy::buffers::{Buffers, Input, READ_SIZE};
use crate::proxy::pipe::{Pipe, Pipes};
use crate::proxy::stream::Stream;
use crate::proxy::timer::Deadline;

/// What one direction moves before it is somebody else's turn: a fast flow always finds more to move,
/// and a worker with many of them would come to its requests and deadlines seconds late.
const TURN: u64 = 256 * 1024;

/// How a tunnel ended, and what went through it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Bytes from the client to the upstream.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) how: End,
}

#[derive(Debug)]
pub(crate) enum End {
    /// Both sides said they were done.
    Finished,
    /// Nothing came from either side for the idle time.
    Silence,
    /// The upstream left the plan, and the time to finish was over.
    Cut,
    Broken(Side, io::Error),
}

/// Whose connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Upstream,
}

/// What a worker lends to a tunnel.
pub(crate) struct Lender<'a> {
    pub(crate) buffers: &'a Buffers,
    pub(crate) pipes: &'a Pipes,
}

/// Runs until both directions ended. `early` are bytes that the client sent before the tunnel stood.
///
/// Dropping the future closes nothing by itself: the sockets belong to the caller.
pub(crate) async fn tunnel(
    client: &Stream,
    upstream: &Stream,
    early: Early,
    idle: Duration,
    deadline: &Deadline,
    lender: Lender<'_>,
) -> Ended {
    let mut up = Flow::new(client, upstream, early.to_upstream, &lender);
    let mut down = Flow::new(upstream, client, early.to_client, &lender);
    deadline.arm(idle);
    let how = poll_fn(|cx| {
        let moved = up.moved + down.moved;
        let up_done = match up.poll(cx) {
            Poll::Ready(Err(error)) => {
                let side = up.broken(Side::Client, Side::Upstream);
                return Poll::Ready(End::Broken(side, error));
            }
            poll => poll.is_ready(),
        };
        let down_done = match down.poll(cx) {
            Poll::Ready(Err(error)) => {
                let side = down.broken(Side::Upstream, Side::Client);
                return Poll::Ready(End::Broken(side, error));
            }
            poll => poll.is_ready(),
        };
        if up_done && down_done {
            // No socket has to be told, both are closed next; a session has.
            let (up_told, down_told) = (up.to.poll_end(cx), down.to.poll_end(cx));
            if up_told.is_ready() && down_told.is_ready() {
                return Poll::Ready(End::Finished);
            }
        } else {
            up.pass_end(cx);
            down.pass_end(cx);
        }
        if up.moved + down.moved > moved {
            deadline.arm(idle);
        }
        deadline.poll_expired(cx).map(|()| match deadline.is_cut() {
            true => End::Cut,
            false => End::Silence,
        })
    })
    .await;
    deadline.disarm();
    Ended {
        sent: up.moved,
        received: down.moved,
        how,
    }
}

/// Bytes that were read before the tunnel stood and belong into it.
#[derive(Default)]
pub(crate) struct Early {
    pub(crate) to_upstream: Option<Input>,
    pub(crate) to_client: Option<Input>,
}

/// One direction.
struct Flow<'a> {
    from: &'a Stream,
    to: &'a Stream,
    /// Both, where bytes go through as they are: only then may the kernel move them.
    sockets: Option<Sockets<'a>>,
    lender: &'a Lender<'a>,
    carried: Carried<'a>,
    /// The next read goes through a pipe: the last ones filled the buffer.
    bulk: bool,
    ended: bool,
    end_passed: bool,
    moved: u64,
}

/// Bytes on their way, and what carries them.
enum Carried<'a> {
    Nothing,
    Buffer(Input),
    Pipe(Pipe, Sockets<'a>),
}

#[derive(Clone, Copy)]
struct Sockets<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
}

impl<'a> Sockets<'a> {
    fn of(from: &'a Stream, to: &'a Stream) -> Option<Self> {
        let (from, to) = (from.plain()?, to.plain()?);
        Some(Self { from, to })
    }
}

impl<'a> Flow<'a> {
    fn new(from: &'a Stream, to: &'a Stream, early: Option<Input>, lender: &'a Lender<'a>) -> Self {
        let carried = match early {
            Some(buffer) if !buffer.is_empty() => Carried::Buffer(buffer),
            _ => Carried::Nothing,
        };
        Self {
            from,
            to,
            sockets: Sockets::of(from, to),
            lender,
            carried,
            bulk: false,
            ended: false,
            end_passed: false,
            moved: 0,
        }
    }

    /// Ready when this direction has ended and everything before its end was passed on.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let turn_ends = self.moved + TURN;
        while !self.ended {
            if self.moved >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match &mut self.carried {
                Carried::Nothing => {
                    ready!(self.from.poll_read_ready(cx))?;
                    match self.sockets {
                        Some(sockets) if self.bulk => self.fill_pipe(sockets)?,
                        _ => ready!(self.fill_buffer(cx))?,
                    }
                }
                Carried::Buffer(buffer) => {
                    let n = ready!(self.to.poll_write(cx, buffer.filled()))?;
                    buffer.consume(n);
                    self.moved += n as u64;
                    if buffer.is_empty() {
                        self.carried = Carried::Nothing;
                    }
                }
                Carried::Pipe(pipe, sockets) => {
                    ready!(sockets.to.poll_write_ready(cx))?;
                    match pipe.try_drain(sockets.to) {
                        Ok(n) => self.moved += n as u64,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                    if pipe.filled() == 0 {
                        self.refill()?;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Which end an error came from: who carries something was writing it.
    fn broken(&self, from: Side, to: Side) -> Side {
        match &self.carried {
            Carried::Nothing => from,
            Carried::Pipe(pipe, _) if pipe.filled() == 0 => from,
            Carried::Buffer(_) | Carried::Pipe(..) => to,
        }
    }

    fn fill_buffer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = self.lender.buffers.input();
        let n = ready!(self.from.poll_read(cx, buffer.room()))?;
        if n == 0 {
            self.end();
        } else {
            self.bulk = n == READ_SIZE;
            buffer.add(n);
            self.carried = Carried::Buffer(buffer);
        }
        Poll::Ready(Ok(()))
    }

    fn fill_pipe(&mut self, sockets: Sockets<'a>) -> io::Result<()> {
        match self.lender.pipes.lease() {
            Ok(pipe) => {
                self.carried = Carried::Pipe(pipe, sockets);
                self.refill()
            }
            // No descriptors left for a pipe: copying needs none.
            Err(_) => {
                self.bulk = false;
                Ok(())
            }
        }
    }

    /// Fills the empty pipe again, or gives it back when nothing is there.
    fn refill(&mut self) -> io::Result<()> {
        let Carried::Pipe(pipe, sockets) = &mut self.carried else {
            return Ok(());
        };
        match pipe.try_fill(sockets.from) {
            Ok(0) => {
                self.carried = Carried::Nothing;
                self.end();
            }
            // Small again, such as questions and answers after a large result: copying is cheaper.
            Ok(n) => self.bulk = n >= READ_SIZE,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.carried = Carried::Nothing;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
    }

    /// Tells the other side, once, that nothing more comes from here.
    fn pass_end(&mut self, cx: &mut Context<'_>) {
        if self.ended && !self.end_passed {
            self.end_passed = self.to.poll_shutdown_write(cx).is_ready();
        }
    }
}
