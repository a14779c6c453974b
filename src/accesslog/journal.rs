//! Lines of one worker, gathered until they are worth handing over.

use std::sync::Arc;

use super::record::Record;
use super::settings::Format;
use super::time::Stamps;
use super::writer::{Batch, Log, Writer};
use super::{combined, haproxy, json};

/// Handed over at this size, before the worker's next tick.
const FULL: usize = 32 * 1024;

/// One worker's. Dropping it hands over what is left.
#[derive(Default)]
pub struct Journal {
    stamps: Stamps,
    pending: Option<(Arc<Writer>, Batch)>,
}

impl Journal {
    /// Adds the line of a record, if one is wanted.
    pub fn note(&mut self, log: &Log, record: &Record<'_>) {
        if !log.wants(record) {
            return;
        }
        let is_other = |(writer, _): &(Arc<Writer>, Batch)| !Arc::ptr_eq(writer, &log.writer);
        if self.pending.as_ref().is_some_and(is_other) {
            self.hand_over();
        }
        let (_, batch) = self
            .pending
            .get_or_insert_with(|| (log.writer.clone(), Batch::default()));
        let before = batch.bytes.len();
        write_line(log.format, record, &mut self.stamps, &mut batch.bytes);
        if batch.bytes.len() > before {
            batch.bytes.push(b'\n');
            batch.lines += 1;
        }
        if batch.bytes.len() >= FULL {
            self.hand_over();
        }
    }

    /// Gives the writer what there is. Never blocks. Costs nothing if there is nothing.
    pub fn hand_over(&mut self) {
        if let Some((writer, batch)) = self.pending.take() {
            writer.take(batch);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// The line without its end; nothing for what the format cannot tell.
pub(super) fn write_line(
    format: Format,
    record: &Record<'_>,
    stamps: &mut Stamps,
    out: &mut Vec<u8>,
) {
    match (format, &record.http) {
        (Format::Json, _) => json::write(record, stamps, out),
        (Format::Httplog, _) => haproxy::write(record, stamps, out),
        (Format::Common, Some(http)) => combined::write(record, http, false, stamps, out),
        (Format::Combined, Some(http)) => combined::write(record, http, true, stamps, out),
        (Format::Common | Format::Combined, None) => {}
    }
}
