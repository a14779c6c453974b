//! Keys in etcd: one transaction for each change.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, Txn, TxnOp, TxnOpResponse,
};

use super::super::etcd::{EtcdError, connect, limited};
use super::super::spec::EtcdSpec;
use super::super::{StoreError, StoreOptions};
use super::{Edit, Entry, Held, WriteError};

const LIMIT: Duration = Duration::from_secs(5);

/// For what is read: a service of ten thousand upstreams has half a megabyte.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

pub(super) struct Keys {
    spec: EtcdSpec,
    options: StoreOptions,
    prefix: String,
    client: Option<Client>,
}

impl Keys {
    pub(super) fn new(spec: EtcdSpec, options: StoreOptions) -> Self {
        Self {
            prefix: options.key_prefix(),
            spec,
            options,
            client: None,
        }
    }

    pub(super) async fn read(&mut self, places: &[String]) -> Result<Held, WriteError> {
        let gets: Vec<_> = places.iter().map(|place| self.get(place)).collect();
        let mut reasons = Vec::new();
        if let Some(client) = self.client.take() {
            match read(&client, gets.clone(), &self.prefix).await {
                Ok(held) => {
                    self.client = Some(client);
                    return Ok(held);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        for endpoint in &self.spec.endpoints {
            let answer = match connect(endpoint, self.spec.tls, &self.options.etcd).await {
                Ok(client) => read(&client, gets.clone(), &self.prefix)
                    .await
                    .map(|held| (client, held)),
                Err(error) => Err(error),
            };
            match answer {
                Ok((client, held)) => {
                    self.client = Some(client);
                    return Ok(held);
                }
                Err(error) => reasons.push(format!("{endpoint}: {error}")),
            }
        }
        Err(self.failed(reasons.join("; ")))
    }

    fn get(&self, place: &str) -> TxnOp {
        let options = place
            .ends_with('/')
            .then(|| GetOptions::new().with_prefix());
        TxnOp::get(self.key(place), options)
    }

    /// Goes to the member that was read from. A try elsewhere could make the change twice: whether the first one
    /// did is not known when its answer is lost.
    pub(super) async fn write(&mut self, edit: &Edit, held: &Held) -> Result<u64, WriteError> {
        let Some(client) = self.client.take() else {
            return Err(self.failed("nothing was read from it".to_owned()));
        };
        let txn = Txn::new()
            .when(self.guards(edit, held))
            .and_then(self.steps(edit));
        let mut kv = client.kv_client();
        let answer = match limited(LIMIT, kv.txn(txn)).await {
            Ok(answer) => answer,
            Err(error) if error.is_no() => return Err(self.failed(error.to_string())),
            Err(error) => {
                return Err(self.failed(format!(
                    "{error}; whether the change was made is not known, look at the keys"
                )));
            }
        };
        self.client = Some(client);
        if !answer.succeeded() {
            return Err(WriteError::Conflict);
        }
        let revision = answer.header().map_or(0, |header| header.revision());
        Ok(u64::try_from(revision).unwrap_or(0))
    }

    fn guards(&self, edit: &Edit, held: &Held) -> Vec<Compare> {
        let same = edit.keys.keys().chain(&edit.same);
        let same = same.map(|key| {
            let revision = held.keys.get(key).map_or(0, |entry| entry.revision);
            Compare::mod_revision(self.key(key), CompareOp::Equal, revision)
        });
        // A range without keys holds, whatever is asked of them.
        let removed = edit.removed.iter().map(|dir| (dir.clone(), after(dir)));
        let quiet = edit.quiet.iter().cloned().chain(removed).map(|(from, to)| {
            let next = held.revision.saturating_add(1);
            Compare::mod_revision(self.key(&from), CompareOp::Less, next).with_range(self.key(&to))
        });
        same.chain(quiet).collect()
    }

    fn steps(&self, edit: &Edit) -> Vec<TxnOp> {
        let keys = edit.keys.iter().map(|(key, value)| match value {
            Some(value) => TxnOp::put(self.key(key), value.clone(), None),
            None => TxnOp::delete(self.key(key), None),
        });
        let removed = edit.removed.iter().map(|dir| {
            let all = DeleteOptions::new().with_prefix();
            TxnOp::delete(self.key(dir), Some(all))
        });
        keys.chain(removed).collect()
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn failed(&self, reason: String) -> WriteError {
        WriteError::Store(StoreError::Failed {
            store: self.spec.to_string(),
            reason,
        })
    }
}

/// The end of the range of keys that begin with `dir`, which ends in a slash.
fn after(dir: &str) -> String {
    format!("{}0", dir.trim_end_matches('/'))
}

/// All of it in one transaction, and so of one revision.
async fn read(client: &Client, gets: Vec<TxnOp>, prefix: &str) -> Result<Held, EtcdError> {
    let mut kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE);
    let answer = limited(LIMIT, kv.txn(Txn::new().and_then(gets))).await?;
    let header = answer
        .header()
        .ok_or(EtcdError::Protocol("an answer without a header"))?;
    let mut held = Held {
        revision: header.revision(),
        ..Held::default()
    };
    for response in answer.op_responses() {
        let TxnOpResponse::Get(mut got) = response else {
            return Err(EtcdError::Protocol("another answer than was asked for"));
        };
        for entry in got.take_kvs() {
            let revision = entry.mod_revision();
            let (key, value) = entry.into_key_value();
            let key = String::from_utf8(key).unwrap_or_default();
            if let Some(key) = key.strip_prefix(prefix) {
                held.keys.insert(key.to_owned(), Entry { value, revision });
            }
        }
    }
    Ok(held)
}
