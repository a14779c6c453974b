//! All keys under a prefix at one revision, in pages.

use etcd_client::{Client, GetOptions, KeyValue};

use super::super::MAX_KEYS;
use super::connect::{EtcdError, limited};
use super::{MAX_MESSAGE, Position, REQUEST_TIMEOUT};

/// Keys per page. Small enough that etcd, which reads a page in one go, is not held up by it.
const PAGE: i64 = 2000;

/// How often a list is begun anew because its revision was compacted under it.
const TRIES: u32 = 5;

pub(in crate::store) struct Listed {
    pub(super) position: Position,
    /// In key order.
    pub(in crate::store) entries: Vec<KeyValue>,
}

/// Where the cluster is now, by the cheapest linearizable read there is.
pub(super) async fn probe(client: &mut Client, prefix: &str) -> Result<Position, EtcdError> {
    let options = GetOptions::new().with_limit(1).with_keys_only();
    let answer = limited(REQUEST_TIMEOUT, client.get(prefix, Some(options))).await?;
    Position::of(answer.header())
}

pub(in crate::store) async fn list(client: &mut Client, prefix: &str) -> Result<Listed, EtcdError> {
    let mut page = PAGE;
    for _ in 1..TRIES {
        match list_in_pages(client, prefix, page).await {
            Err(error) if error.is_out_of_range() => page = (page / 8).max(1),
            other => return other,
        }
    }
    list_in_pages(client, prefix, page).await
}

/// The first page tells the revision, and all others are read at it.
async fn list_in_pages(client: &mut Client, prefix: &str, page: i64) -> Result<Listed, EtcdError> {
    let mut kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE);
    let end = after_prefix(prefix);
    let mut from = prefix.as_bytes().to_vec();
    let mut position: Option<Position> = None;
    let mut entries = Vec::new();
    loop {
        let mut options = GetOptions::new().with_range(end.clone()).with_limit(page);
        if let Some(position) = position {
            options = options.with_revision(position.revision);
        }
        let mut answer = limited(REQUEST_TIMEOUT, kv.get(from, Some(options))).await?;
        let position = match position {
            Some(position) => position,
            None => *position.insert(Position::of(answer.header())?),
        };
        let kvs = answer.take_kvs();
        let last = kvs.last().map(|kv| kv.key().to_vec());
        entries.extend(kvs);
        if entries.len() > MAX_KEYS {
            return Err(EtcdError::Ended(format!(
                "more than {MAX_KEYS} keys under {prefix}, is the root right?"
            )));
        }
        let Some(last) = last.filter(|_| answer.more()) else {
            return Ok(Listed { position, entries });
        };
        from = last;
        from.push(0);
    }
}

/// The first key that is not under `prefix`, which ends in a slash and so has a next byte.
fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
