//! The forwarder: workers, listeners, TCP, HTTP/1.1, upstream connections, health.
//!
//! One worker is one thread with its own runtime, sockets, pools and buffers. Workers share the
//! published generation and the state of services and upstreams, and nothing else. This half does
//! not know where a plan came from: no keys, no templates, no stores.

mod accept_proxy;
pub(crate) mod auth;
mod buffers;
mod figures;
mod generation;
pub mod health;
pub(crate) mod http;
pub mod http1;
mod io;
mod known;
mod listen;
mod noted;
mod pipe;
mod probe;
mod send_proxy;
mod stream;
mod tcp;
mod timer;
mod tls;
mod trace;
mod tunnel;
mod upstream;
mod warm_up;
mod worker;

pub use figures::{Question, Told};
pub use generation::{Generation, Published};
pub use listen::{Bound, Protocol, bind};
pub(crate) use tls::verify;
pub use tls::{Termination, now_ms};
pub use worker::{Fleet, Listening, Shared};
