//! Where connections are let in.

use axum::extract::State;
use serde::Serialize;

use super::{Shown, moment, shown};
use crate::admin::Views;
use crate::proxy::Protocol;

#[derive(Debug, Serialize)]
struct ListenerRow {
    address: String,
    protocol: &'static str,
    /// The unit that has the port for itself.
    service: Option<String>,
    since: Option<String>,
}

pub(super) async fn list(State(views): State<Views>) -> Shown {
    shown(move || {
        let generation = views.shared.published.current();
        let all = views.shared.listening().into_iter();
        let row = |(address, listening): (std::net::SocketAddr, crate::proxy::Listening)| {
            let owner = generation.plan.tcp(address.port());
            ListenerRow {
                address: address.to_string(),
                protocol: match listening.protocol {
                    Protocol::Http => "http",
                    Protocol::Https => "https",
                    Protocol::Tcp => "tcp",
                },
                service: owner
                    .filter(|_| listening.protocol == Protocol::Tcp)
                    .map(|service| service.unit.to_string()),
                since: moment(Some(listening.since_ms)),
            }
        };
        all.map(row).collect::<Vec<_>>()
    })
    .await
}
