//! Kernel pipes for `splice(2)`, pooled per worker.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Asked for; the kernel's limit for unprivileged users may leave the default of 64 KiB.
const PIPE_SIZE: usize = 256 * 1024;

/// Pairs kept for the next flow.
const KEPT: usize = 64;

#[derive(Clone, Default)]
pub(crate) struct Pipes(Rc<RefCell<Vec<Ends>>>);

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

/// A leased pipe and how much is in it. An empty one goes back to its pool, a filled one is closed:
/// the bytes belong to a flow that ended.
pub(crate) struct Pipe {
    ends: Option<Ends>,
    filled: usize,
    home: Pipes,
}

impl Pipes {
    pub(crate) fn lease(&self) -> io::Result<Pipe> {
        let pooled = self.0.borrow_mut().pop();
        let ends = match pooled {
            Some(ends) => ends,
            None => {
                let flags = PipeFlags::NONBLOCK | PipeFlags::CLOEXEC;
                let (read, write) = rustix::pipe::pipe_with(flags)?;
                let size = rustix::pipe::fcntl_setpipe_size(&write, PIPE_SIZE);
                Ends {
                    read,
                    write,
                    size: size.unwrap_or(64 * 1024),
                }
            }
        };
        Ok(Pipe {
            ends: Some(ends),
            filled: 0,
            home: self.clone(),
        })
    }
}

impl Pipe {
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Moves bytes from the socket into the pipe, which must be empty: then `WouldBlock` can only
    /// mean an empty socket, and not a pipe whose slots are used up. 0 is the end.
    pub(crate) fn try_fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        debug_assert_eq!(self.filled, 0);
        let ends = self.ends();
        // Through `try_io`, so that an empty socket clears the readiness and nobody spins.
        let n = from.try_io(Interest::READABLE, || {
            splice(from, &ends.write, ends.size, SpliceFlags::empty())
        })?;
        self.filled = n;
        Ok(n)
    }

    /// Moves bytes from the pipe to the socket.
    pub(crate) fn try_drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let ends = self.ends();
        let n = to.try_io(Interest::WRITABLE, || {
            splice(&ends.read, to, self.filled, SpliceFlags::empty())
        })?;
        self.filled -= n;
        Ok(n)
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("only drop takes them")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut kept = self.home.0.borrow_mut();
        if self.filled == 0 && kept.len() < KEPT {
            kept.extend(self.ends.take());
        }
    }
}

fn splice(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    len: usize,
    flags: SpliceFlags,
) -> io::Result<usize> {
    let flags = flags | SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(rustix::pipe::splice(from, None, to, None, len, flags)?)
}
