use super::*;
use crate::rules::{Facts, Side};

/// A request as a test tells it: fields are what is not said otherwise.
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) url: &'static str,
    pub(super) version: &'static str,
    pub(super) client: &'static str,
    pub(super) is_tls: bool,
    pub(super) status: u16,
    pub(super) fields: &'static [(&'static str, &'static str)],
    pub(super) answer: &'static [(&'static str, &'static str)],
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET",
            host: "www.example.com",
            url: "/",
            version: "1.1",
            client: "10.1.2.3:4000",
            is_tls: false,
            status: 0,
            fields: &[],
            answer: &[],
        }
    }
}

impl Facts for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.url.split('?').next().unwrap_or_default().as_bytes()
    }

    fn query(&self) -> &[u8] {
        self.url.split_once('?').map_or("", |(_, q)| q).as_bytes()
    }

    fn version(&self) -> &str {
        self.version
    }

    fn client(&self) -> std::net::SocketAddr {
        self.client.parse().unwrap()
    }

    fn listener(&self) -> std::net::SocketAddr {
        "10.0.0.9:80".parse().unwrap()
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }

    fn request_id(&self) -> &[u8] {
        b"id-1"
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn each_field(&self, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let fields = match side {
            Side::Request => self.fields,
            Side::Answer => self.answer,
        };
        let mut named = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.all(|(_, value)| visit(value.as_bytes()));
    }
}

/// Whether a condition holds for a request.
#[track_caller]
fn holds(text: &str, request: &Request) -> bool {
    match condition(text) {
        Ok(condition) => condition.holds(request),
        Err(problems) => panic!("{text}: {problems:?}"),
    }
}

/// One condition, a request that it holds for and one that it does not.
#[track_caller]
fn tells(text: &str, yes: Request, no: Request) {
    assert!(holds(text, &yes), "{text} has to hold");
    assert!(!holds(text, &no), "{text} must not hold");
}

fn at(url: &'static str) -> Request {
    Request {
        url,
        ..Request::default()
    }
}

fn to(host: &'static str) -> Request {
    Request {
        host,
        ..Request::default()
    }
}

fn by(method: &'static str) -> Request {
    Request {
        method,
        ..Request::default()
    }
}

fn with(fields: &'static [(&'static str, &'static str)]) -> Request {
    Request {
        fields,
        ..Request::default()
    }
}

fn from(client: &'static str) -> Request {
    Request {
        client,
        ..Request::default()
    }
}

#[test]
fn paths_and_queries_are_compared_in_every_way() {
    tells("{ path /a }", at("/a?b"), at("/a/"));
    tells("if { path_beg /api }", at("/api/x"), at("/x/api"));
    tells("{ path_end .css .js }", at("/x.js?v=1"), at("/x.png"));
    tells("{ path_sub admin }", at("/x/administrator"), at("/x"));
    tells("{ path_dir b/c }", at("/a/b/c/d"), at("/a/b/cc"));
    tells("{ path_reg ^/v[0-9]+/ }", at("/v12/x"), at("/v/x"));
    tells("{ path_len gt 5 }", at("/12345"), at("/1234"));
    tells("{ path -i /A }", at("/a"), at("/b"));
    tells("{ path -i -m beg /API }", at("/api/x"), at("/x"));
    tells("{ path,lower -m sub admin }", at("/ADMIN"), at("/x"));
    tells("{ url_sub b=1 }", at("/a?b=1"), at("/a?b=2"));
    tells("{ url /a?b=1 }", at("/a?b=1"), at("/a"));
    tells("{ query -m sub debug }", at("/a?debug"), at("/debug"));
    tells("{ query -m found } { query_len gt 0 }", at("/?a"), at("/"));
    tells("{ urlp(id) 7 }", at("/?a=1&id=7"), at("/?xid=7&a=1"));
    tells("{ url_param(id) -m int ge 7 }", at("/?id=70"), at("/?id=6"));
    tells("{ base_beg www.example.com/a }", at("/a/b"), at("/b"));
}
