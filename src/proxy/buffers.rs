//! Buffers that a worker leases while bytes are pending, and takes back at once.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// What one read takes at most: the largest head by default, and what fits into one TLS record.
pub(crate) const READ_SIZE: usize = 16 * 1024;

/// Bytes of one buffer: a read, and what TLS adds to it.
pub(crate) const BUFFER_SIZE: usize = READ_SIZE + 512;

/// Buffers of each kind kept for the next lease; more go back to the allocator.
const KEPT: usize = 256;

#[derive(Clone, Default)]
pub(crate) struct Buffers(Rc<Stock>);

#[derive(Default)]
struct Stock {
    /// Each [`BUFFER_SIZE`] long, so that reading into one never has to clear it first.
    inputs: RefCell<Vec<Box<[u8]>>>,
    outputs: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn input(&self) -> Input {
        Input {
            bytes: Box::default(),
            start: 0,
            end: 0,
            home: self.clone(),
        }
    }

    pub(crate) fn output(&self) -> Output {
        let bytes = self.0.outputs.borrow_mut().pop().unwrap_or_default();
        Output {
            bytes,
            home: self.clone(),
        }
    }

    fn lend(&self) -> Box<[u8]> {
        let kept = self.0.inputs.borrow_mut().pop();
        kept.unwrap_or_else(|| vec![0; BUFFER_SIZE].into_boxed_slice())
    }

    fn take_back(&self, bytes: Box<[u8]>) {
        let mut kept = self.0.inputs.borrow_mut();
        // One that grew is not kept: a single large head would otherwise be paid for ever.
        if bytes.len() == BUFFER_SIZE && kept.len() < KEPT {
            kept.push(bytes);
        }
    }
}

/// Bytes that were read and not used up yet. Holds memory only while there are any, or a read is
/// about to happen.
pub(crate) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    home: Buffers,
}

impl Input {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the next bytes go. Empty only when the buffer is full; see [`Input::grow`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = self.home.lend();
        }
        if self.start > 0 && (self.is_empty() || self.end == self.bytes.len()) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Where `n` more bytes go, however many there are already.
    pub(crate) fn room_for(&mut self, n: usize) -> &mut [u8] {
        if self.room().len() < n && !self.grow(self.filled().len() + n) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.room()
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.room_for(bytes.len())[..bytes.len()].copy_from_slice(bytes);
            self.add(bytes.len());
        }
    }

    pub(crate) fn add(&mut self, n: usize) {
        debug_assert!(self.end + n <= self.bytes.len());
        self.end += n;
    }

    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.end - self.start);
        self.start += n;
    }

    /// Makes room beyond the usual size, up to `most` bytes in all. Answers whether there is any.
    pub(crate) fn grow(&mut self, most: usize) -> bool {
        if self.bytes.len() >= most {
            return false;
        }
        let mut larger = vec![0; most].into_boxed_slice();
        let len = self.end - self.start;
        larger[..len].copy_from_slice(self.filled());
        (self.start, self.end) = (0, len);
        let old = std::mem::replace(&mut self.bytes, larger);
        self.home.take_back(old);
        true
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn park(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            (self.start, self.end) = (0, 0);
            self.home.take_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.home.take_back(std::mem::take(&mut self.bytes));
        }
    }
}

/// Bytes that are put together to be written at once.
pub(crate) struct Output {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Deref for Output {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Output {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut kept = self.home.0.outputs.borrow_mut();
        if kept.len() < KEPT && self.bytes.capacity() <= 4 * BUFFER_SIZE {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            kept.push(bytes);
        }
    }
}
