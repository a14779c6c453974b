//! Services that tell their names, to see which one a request reaches.

use super::message::Response;
use super::origin::{self, Origin};
use super::pointsman::{Builder, Pointsman, Service};
use super::transport::on_every_transport;

/// An origin that answers `<name> <target>`.
pub fn named(name: &str) -> Origin {
    let name = name.to_owned();
    Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            conn.send(origin::ok(&format!("{name} {}", request.head.target())));
        }
    })
}

/// Services of one test, each with an origin that tells its name.
pub struct Town {
    builder: Builder,
    origins: Vec<Origin>,
}

impl Town {
    pub fn new() -> Self {
        Self {
            builder: Pointsman::builder(),
            origins: Vec::new(),
        }
    }

    /// Empty hosts or paths are keys that are not there.
    pub fn service(self, name: &str, hosts: &str, paths: &str) -> Self {
        self.service_with(name, hosts, paths, &[])
    }

    pub fn service_with(
        mut self,
        name: &str,
        hosts: &str,
        paths: &str,
        keys: &[(&str, &str)],
    ) -> Self {
        let origin = named(name);
        let mut service = Service::http(name).upstream(origin.addr());
        if !hosts.is_empty() {
            service = service.hosts(hosts);
        }
        if !paths.is_empty() {
            service = service.paths(paths);
        }
        for (key, value) in keys {
            service = service.key(key, value);
        }
        self.origins.push(origin);
        self.builder = self.builder.service(&service);
        self
    }

    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.setting(name, value);
        self
    }

    /// Starts, and checks on every transport `(host, target, answer)`; an answer is `<name> <target>` or a status.
    pub fn check(self, cases: &[(&str, &str, &str)]) -> (Pointsman, Vec<Origin>) {
        let pointsman = self.builder.start();
        let mut faults = Vec::new();
        on_every_transport(&pointsman, |transport| {
            for (host, target, expected) in cases {
                let got = answer(transport.get(host, target));
                if got != *expected {
                    let by = transport.name;
                    faults.push(format!("{by}, {host}{target}: {got}, not {expected}"));
                }
            }
        });
        assert!(faults.is_empty(), "{faults:#?}");
        (pointsman, self.origins)
    }
}

/// What an origin said, or the status.
pub fn answer(response: Response) -> String {
    match response.status() {
        200 => response.text(),
        status => status.to_string(),
    }
}
