//! `VIRTUAL_HOST` and its kin: the variables of nginx-proxy.

use super::draft::{Draft, Mode};
use super::{Facts, Ground, Said, rewrite};
use crate::diag::quoted;

/// Takes the value of a variable, whose name comes last.
type Read = fn(&mut Draft<'_>, &str, &str);

/// Variables that are read, with how; the test of this table looks at each.
const WORDS: [(&str, Read); 13] = [
    ("VIRTUAL_HOST", hosts),
    ("VIRTUAL_PATH", path),
    // With the path.
    ("VIRTUAL_DEST", |_, _, _| {}),
    ("VIRTUAL_PROTO", proto),
    ("HTTPS_METHOD", https_method),
    ("HSTS", hsts),
    ("NETWORK_ACCESS", network_access),
    ("VIRTUAL_HOST_MULTIPORTS", |draft, _, from| {
        draft.not_here(
            from,
            "one container with several ports can be said with traefik.http labels",
        );
    }),
    ("CERT_NAME", |draft, _, from| {
        draft.not_here(from, CERTIFICATES)
    }),
    ("LETSENCRYPT_HOST", |draft, _, from| {
        draft.not_here(from, CERTIFICATES)
    }),
    ("ACME_HOST", |draft, _, from| {
        draft.not_here(from, CERTIFICATES)
    }),
    ("SSL_POLICY", |draft, _, from| {
        draft.not_here(
            from,
            "ssl_ciphers and ssl_min_version hold for the whole balancer",
        );
    }),
    ("VIRTUAL_ROOT", |draft, _, from| {
        draft.not_here(
            from,
            "files are served by nobody here: FastCGI is not spoken",
        );
    }),
];

const CERTIFICATES: &str = "put the certificate under certs/<name>, or into a directory of --certs: it is chosen by the name that clients ask for";

/// Who is inside, as nginx-proxy has it.
const INTERNAL: &str = "127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16";

pub(super) fn read(facts: &Facts, ground: &Ground) -> Option<Said> {
    facts
        .env
        .get("VIRTUAL_HOST")
        .filter(|hosts| !hosts.trim().is_empty())?;
    let mut draft = Draft::new(facts);
    for (name, read) in WORDS {
        if let Some(value) = facts.env.get(name) {
            read(&mut draft, value.trim(), name);
        }
    }
    let port = match facts.env.get("VIRTUAL_PORT") {
        Some(port) => draft.port(port, "VIRTUAL_PORT"),
        // As it is there: the one exposed port, else 80.
        None => Some(facts.only_port().unwrap_or(80)),
    };
    let (announced, problems) = draft.finish(Mode::Http, &facts.group(), port, ground);
    let services = announced.into_iter().collect();
    Some(Said { services, problems })
}

fn hosts(draft: &mut Draft<'_>, value: &str, from: &str) {
    for host in value
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
    {
        if let Some(regex) = host.strip_prefix('~') {
            if !super::draft::is_line(regex) {
                draft.bad(from, host, "a pattern on one line");
                continue;
            }
            // Without anchors of its own a pattern is found anywhere in the name.
            draft.append(
                "virtual_host_regex",
                "\n",
                &format!(".*(?:{regex}).*"),
                from,
            );
        } else if let Some(start) = host.strip_suffix(".*") {
            let regex = format!("{}\\..*", rewrite::escaped(start));
            draft.append("virtual_host_regex", "\n", &regex, from);
        } else {
            draft.append("virtual_hosts", ", ", host, from);
        }
    }
}

/// A path is a raw prefix there, and stays unless `VIRTUAL_DEST` puts something else in its place.
fn path(draft: &mut Draft<'_>, value: &str, from: &str) {
    let dest = draft.facts.env.get("VIRTUAL_DEST").map(|dest| dest.trim());
    let dest = dest.filter(|dest| !dest.is_empty());
    if value.starts_with(['~', '^', '=']) {
        draft.error(
            "bad-value",
            format!("{from} is {}, a place by pattern", quoted(value)),
            "write a path; LB_VIRTUAL_PATH and LB_MATCH can say more",
        );
        return;
    }
    let root = value.trim_end_matches('/');
    if root.is_empty() && dest.is_none_or(|dest| dest == "/") {
        return;
    }
    if !root.is_empty() {
        let claimed = if root.len() < value.len() {
            root.to_owned()
        } else {
            format!("{root}*")
        };
        draft.set("virtual_path", claimed, from);
    }
    match dest {
        Some("/") => {}
        None => draft.set("keep_virtual_path", "true", from),
        Some(dest) => match rewrite::swap_prefix(&[root], dest) {
            Some(line) if dest.starts_with('/') => {
                draft.set("keep_virtual_path", "true", "VIRTUAL_DEST");
                draft.append("custom_settings", "\n", &line, "VIRTUAL_DEST");
            }
            _ => draft.bad("VIRTUAL_DEST", dest, "a path"),
        },
    }
}

fn proto(draft: &mut Draft<'_>, value: &str, from: &str) {
    match value {
        "http" | "" => {}
        "https" => {
            draft.set("upstream_tls", "true", from);
            // nginx looks at nobody's certificate.
            draft.set("upstream_tls_verify", "false", from);
        }
        "grpc" | "grpcs" | "fastcgi" | "uwsgi" => {
            let message = format!("{from} is {value}, which is not spoken here");
            draft.error(
                "not-here",
                message,
                "upstreams are spoken to by HTTP/1.1: http or https",
            );
        }
        other => draft.bad(from, other, "http or https"),
    }
}

fn https_method(draft: &mut Draft<'_>, value: &str, from: &str) {
    match value {
        "redirect" => draft.set("force_ssl", "true", from),
        "noredirect" => draft.set("force_ssl", "false", from),
        "nohttp" | "nohttps" => {
            let instead = "redirect is the nearest: ports belong to the balancer";
            draft.not_here(&format!("{from} {value}"), instead);
        }
        "" => {}
        other => draft.bad(from, other, "redirect or noredirect"),
    }
}

/// `max-age=31536000; includeSubDomains` or `off`.
fn hsts(draft: &mut Draft<'_>, value: &str, from: &str) {
    let words: Vec<_> = value
        .split(';')
        .map(|word| word.trim().trim_start_matches("max-age="))
        .filter(|word| !word.is_empty())
        .collect();
    draft.set("hsts", words.join(" "), from);
}

fn network_access(draft: &mut Draft<'_>, value: &str, from: &str) {
    match value {
        "internal" => draft.set("allow", INTERNAL, from),
        "external" | "" => {}
        other => draft.bad(from, other, "internal or external"),
    }
}
