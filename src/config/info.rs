//! `info_headers`: what clients are told of how they were served.

use std::fmt;

use super::fields::Fields;
use super::unit::InfoHeaders;
use super::values::{Problem, unknown_word};

/// In the order in which they are written.
const NAMES: [&str; 5] = [
    "x-request-id",
    "x-proxy-id",
    "x-server-info",
    "x-upstream-addr",
    "x-upstream-response-time",
];

/// `None` if the field is not set.
pub(super) fn headers(fields: &mut Fields<'_>) -> Option<InfoHeaders> {
    if !fields.is_set("info_headers") {
        return None;
    }
    let mut headers = InfoHeaders::NONE;
    let items = fields.items("info_headers", NAMES.len());
    let count = items.len();
    for written in items {
        let name = written.text.to_ascii_lowercase();
        if name == "none" && count == 1 {
            break;
        }
        if name == "none" {
            let help = "write none alone, or the names without it";
            let problem = Problem::new("\"none\" stands beside names", help);
            fields.refuse("info_headers", written, &problem);
            continue;
        }
        match NAMES.iter().position(|known| *known == name) {
            Some(at) => *headers.each()[at] = true,
            None => {
                let problem = unknown_word(written.text, &NAMES);
                fields.refuse("info_headers", written, &problem);
            }
        }
    }
    Some(headers)
}

impl InfoHeaders {
    fn each(&mut self) -> [&mut bool; 5] {
        [
            &mut self.request_id,
            &mut self.proxy_id,
            &mut self.server_info,
            &mut self.upstream_addr,
            &mut self.upstream_response_time,
        ]
    }
}

impl fmt::Display for InfoHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut headers = *self;
        let named = NAMES.iter().zip(headers.each());
        let named: Vec<_> = named.filter(|(_, is_set)| **is_set).collect();
        if named.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<_> = named.into_iter().map(|(name, _)| *name).collect();
        f.write_str(&names.join(","))
    }
}
