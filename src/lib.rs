//! pointsman: a load balancer that is reconfigured under moving traffic.
//!
//! The floors, from the bottom (a module names only lower ones): names, diag, backoff; snapshot, balance,
//! status, yaml, rules, password, accesslog, tls, proxy_header, dns, link; store, seal, render, config, resolve; plan, change; proxy; apply, admin; app. `whoami` stands aside.
//! `docs/architecture.md` says more, and `tests/structure.rs` holds them.

pub mod accesslog;
pub mod admin;
pub mod app;
pub mod apply;
pub mod backoff;
pub mod balance;
pub mod change;
pub mod config;
pub mod diag;
pub mod dns;
pub mod events;
pub mod link;
pub mod names;
pub mod password;
pub mod plan;
pub mod proxy;
pub mod proxy_header;
pub mod render;
pub mod resolve;
pub mod rules;
pub mod seal;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod tls;
pub mod whoami;
pub mod yaml;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
