//! What black-box tests stand on: the real program, raw clients and scripted origins.
//!
//! Everything here blocks with a limit and panics with what it saw; nothing sleeps for a fixed time
//! where it can wait for an event. Plain threads and blocking sockets on purpose: these tests judge
//! bytes and order, and share no runtime with what they judge. Only [`load`] is asynchronous.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

pub mod browser;
pub mod certs;
pub mod client;
pub mod dns;
pub mod docker;
pub mod door;
pub mod engine;
pub mod etcd;
pub mod haproxy;
pub mod load;
pub mod message;
pub mod origin;
pub mod pointsman;
pub mod process;
pub mod relay;
pub mod s_client;
pub mod tls;
pub mod town;
pub mod transport;

use std::time::{Duration, Instant};

/// No single wait in a test takes longer. Generous, because builders share their machine.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Waits until `happened`, looking again every few milliseconds; panics with `what` after [`LIMIT`].
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program, without what the machine has set for a real balancer.
pub fn command() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["LB_", "SSL_CERT", "STATS_PASSWORD"]
            .iter()
            .any(|word| name_text.starts_with(word))
        {
            command.env_remove(name);
        }
    }
    command
}

/// A child that does not outlive its test, however that ends.
pub struct Killed(pub std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port nothing listens on, outside the range from which the kernel serves `connect` and port 0,
/// so that no test's outgoing connection takes it in between.
pub fn free_port() -> u16 {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 11_000;
    const COUNT: u32 = 20_000;
    // Test files run beside each other in some runners: each process starts at a place of its own.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(step) % COUNT) as u16;
        let is_free = TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("0.0.0.0", port)).is_ok();
        if is_free {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
