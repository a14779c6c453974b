//! What rules and routes may know of a connection that nobody has read a request from.

use std::net::SocketAddr;

use crate::proxy::listen::Ends;
use crate::rules::{Facts, Side};

/// A connection, and whom its hello asks for: as a request for that host's `/` would be led.
pub(crate) struct Known<'a> {
    pub(crate) ends: Ends,
    /// Empty: it asks for nobody, or it is not TLS.
    pub(crate) server_name: &'a str,
}

impl Known<'_> {
    pub(crate) fn of(ends: Ends) -> Self {
        Self {
            ends,
            server_name: "",
        }
    }
}

impl Facts for Known<'_> {
    fn method(&self) -> &[u8] {
        b""
    }

    fn host(&self) -> &[u8] {
        self.server_name.as_bytes()
    }

    fn path(&self) -> &[u8] {
        b"/"
    }

    fn query(&self) -> &[u8] {
        b""
    }

    fn version(&self) -> &str {
        ""
    }

    fn client(&self) -> SocketAddr {
        self.ends.peer
    }

    fn listener(&self) -> SocketAddr {
        self.ends.asked()
    }

    fn is_tls(&self) -> bool {
        // None that ends here, as in HAProxy.
        false
    }

    fn request_id(&self) -> &[u8] {
        b""
    }

    fn status(&self) -> u16 {
        0
    }

    fn each_field(&self, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        if (side, name) == (Side::Request, "host") && !self.server_name.is_empty() {
            visit(self.server_name.as_bytes());
        }
    }
}
