//! One value that all nodes of a balancer share in etcd, beside the key tree: `<root>.tickets`.
//!
//! It is under no key of the tree, so that a role that may read the tree can be kept from it. What it says is not
//! known here.

use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};

use super::etcd::{EtcdError, connect, limited};
use super::spec::EtcdSpec;
use super::{StoreError, StoreOptions, StoreSpec};

const LIMIT: Duration = Duration::from_secs(5);

/// How often to look again when somebody else wrote first. They wrote what all want.
const TRIES: u32 = 3;

pub struct SharedTickets {
    spec: EtcdSpec,
    options: StoreOptions,
    client: Option<Client>,
}

impl SharedTickets {
    /// `None`: no store of these is one that nodes share. Touches nothing yet.
    pub fn open(specs: &[StoreSpec], options: &StoreOptions) -> Option<Self> {
        let spec = specs.iter().find_map(|spec| match spec {
            StoreSpec::Etcd(spec) => Some(spec.clone()),
            _ => None,
        })?;
        Some(Self {
            spec,
            options: options.clone(),
            client: None,
        })
    }

    /// Reads the value and lets `replace` say what should be there instead, if anything. Of many nodes that replace
    /// it at once one succeeds, and the others read again. Answers what is there in the end.
    pub async fn agree<F>(&mut self, replace: F) -> Result<Option<Vec<u8>>, StoreError>
    where
        F: Fn(Option<&[u8]>) -> Option<Vec<u8>>,
    {
        let mut reasons = Vec::new();
        if let Some(mut client) = self.client.take() {
            match self.agree_with(&mut client, &replace).await {
                Ok(value) => {
                    self.client = Some(client);
                    return Ok(value);
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        for endpoint in &self.spec.endpoints {
            let answer = match connect(endpoint, self.spec.tls, &self.options.etcd).await {
                Ok(mut client) => {
                    let value = self.agree_with(&mut client, &replace).await;
                    value.map(|value| (client, value))
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok((client, value)) => {
                    self.client = Some(client);
                    return Ok(value);
                }
                Err(error) => reasons.push(format!("{endpoint}: {error}")),
            }
        }
        Err(StoreError::Failed {
            store: format!("{} at {}", self.spec, self.options.tickets_key()),
            reason: reasons.join("; "),
        })
    }

    async fn agree_with<F>(
        &self,
        client: &mut Client,
        replace: F,
    ) -> Result<Option<Vec<u8>>, EtcdError>
    where
        F: Fn(Option<&[u8]>) -> Option<Vec<u8>>,
    {
        let key = self.options.tickets_key();
        for _ in 0..TRIES {
            let answer = limited(LIMIT, client.get(key.as_str(), None)).await?;
            let found = answer.kvs().first();
            let (value, revision) = match found {
                Some(kv) => (Some(kv.value().to_vec()), kv.mod_revision()),
                None => (None, 0),
            };
            let Some(next) = replace(value.as_deref()) else {
                return Ok(value);
            };
            let unchanged = Compare::mod_revision(key.as_str(), CompareOp::Equal, revision);
            let put = TxnOp::put(key.as_str(), next.clone(), None);
            let txn = Txn::new().when([unchanged]).and_then([put]);
            if limited(LIMIT, client.txn(txn)).await?.succeeded() {
                return Ok(Some(next));
            }
        }
        Err(EtcdError::Protocol("others write it again and again"))
    }
}
