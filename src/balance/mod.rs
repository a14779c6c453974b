//! Choosing an upstream: pure pickers over shared state.
//!
//! What is here: the state of services and upstreams that survives every swap ([`state`]), the
//! algorithms ([`pick`]), who takes part while some warm up ([`draw`]), how
//! long answers take ([`latency`]), what is left of those that are gone ([`departed`]), and admission to a service ([`gate`]). What is not: sockets, clocks, tasks,
//! addresses of anything but the members themselves. Chance and the client's identity are arguments.

mod departed;
mod draw;
mod gate;
mod latency;
mod pick;
mod state;

pub use departed::{Counted, Departed, DepartedServices, ServiceFigures, UpstreamFigures};
pub use gate::{Admission, Gate, Place};
pub use latency::{Counts, Latencies};
pub use pick::{Balance, Rotation, Tried, can_stay, client_hash, has_eligible, key_hash, pick};
pub use state::{
    Health, InFlight, Member, Outcome, ServiceState, Share, UpstreamId, UpstreamState,
};
