//! The ways a client can reach the balancer. What a service promises holds on all of them: a test
//! describes the behaviour once and runs it on each.

use std::net::SocketAddr;

use super::certs;
use super::client::Client;
use super::message::Response;
use super::pointsman::Pointsman;
use super::tls;

/// One request as a test writes it: everything but framing and connection handling.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub host: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn get(host: &str, target: &str) -> Self {
        Self::new("GET", host, target)
    }

    pub fn new(method: &str, host: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            host: host.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    fn text(&self, version: &str, connection: Option<&str>) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/{version}\r\nHost: {}\r\n",
            self.method, self.target, self.host
        );
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(connection) = connection {
            text += &format!("Connection: {connection}\r\n");
        }
        if !self.body.is_empty() {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        text += "\r\n";
        [text.as_bytes(), &self.body].concat()
    }
}

/// A client of one transport. Requests on it come one after the other.
pub struct Transport {
    pub name: &'static str,
    addr: SocketAddr,
    kind: Kind,
    kept: Option<Client>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A connection for each request.
    Http11,
    /// One connection for all, as long as the balancer keeps it.
    Http11Kept,
    Http10,
    /// One connection for all, behind a handshake.
    Https11Kept,
}

impl Transport {
    /// A client of each transport without TLS, to the HTTP listener at `addr`.
    pub fn plain(addr: SocketAddr) -> Vec<Transport> {
        let kinds = [
            ("HTTP/1.1", Kind::Http11),
            ("HTTP/1.1 kept alive", Kind::Http11Kept),
            ("HTTP/1.0", Kind::Http10),
        ];
        kinds
            .into_iter()
            .map(|(name, kind)| Transport {
                name,
                addr,
                kind,
                kept: None,
            })
            .collect()
    }

    pub fn all(pointsman: &Pointsman) -> Vec<Transport> {
        let mut all = Self::plain(pointsman.http());
        all.push(Transport {
            name: "HTTP/1.1 kept alive, TLS",
            addr: pointsman.https(),
            kind: Kind::Https11Kept,
            kept: None,
        });
        all
    }

    pub fn is_tls(&self) -> bool {
        self.kind == Kind::Https11Kept
    }

    fn connect(&self) -> Client {
        match self.kind {
            Kind::Https11Kept => tls::town().connect(self.addr, certs::TOWN),
            _ => Client::connect(self.addr),
        }
    }

    pub fn get(&mut self, host: &str, target: &str) -> Response {
        self.ask(&Ask::get(host, target))
    }

    pub fn ask(&mut self, ask: &Ask) -> Response {
        let response = match self.kind {
            Kind::Http11 => {
                let mut client = self.connect();
                client.send(ask.text("1.1", Some("close")));
                client.response_to(&ask.method)
            }
            Kind::Http10 => {
                let mut client = self.connect();
                client.send(ask.text("1.0", None));
                client.response_to(&ask.method)
            }
            Kind::Http11Kept | Kind::Https11Kept => {
                let mut client = self.kept.take().unwrap_or_else(|| self.connect());
                client.send(ask.text("1.1", None));
                let response = client.response_to(&ask.method);
                if response.head.header("connection") != Some("close") {
                    self.kept = Some(client);
                }
                response
            }
        };
        // Seen when the test fails: cargo shows output of failed tests only.
        println!(
            "{}: {} {} -> {}",
            self.name,
            ask.method,
            ask.target,
            response.status()
        );
        response
    }
}

/// Describes a behaviour once and checks it on every transport.
pub fn on_every_transport(pointsman: &Pointsman, behaviour: impl FnMut(&mut Transport)) {
    Transport::all(pointsman).iter_mut().for_each(behaviour);
}

/// For what depends on there being no TLS.
pub fn on_every_plain_transport(pointsman: &Pointsman, behaviour: impl FnMut(&mut Transport)) {
    Transport::plain(pointsman.http())
        .iter_mut()
        .for_each(behaviour);
}
