//! Middlewares of a router as keys.

use super::claims::Claims;
use super::{Labels, Options, Word};
use crate::diag::quoted;
use crate::link::draft::{Draft, is_line};
use crate::link::rewrite;

/// Chains inside of chains.
const MAX_DEPTH: usize = 8;

/// What is to be done by keys that several middlewares may want.
#[derive(Default)]
struct Path {
    /// The rule's own prefix is cut off.
    strip: bool,
}

pub(super) fn set(draft: &mut Draft<'_>, labels: &Labels, named: Option<&Word>, claims: &Claims) {
    let mut path = Path::default();
    if let Some(named) = named {
        walk(draft, labels, named, claims, &mut path, 0);
    }
    // The path stays as it was unless a middleware says otherwise.
    if !path.strip && draft.has("virtual_path") {
        let from = named.map_or("the router", |named| named.label.as_str());
        draft.set("keep_virtual_path", "true", from);
    }
}

fn walk(
    draft: &mut Draft<'_>,
    labels: &Labels,
    named: &Word,
    claims: &Claims,
    path: &mut Path,
    depth: usize,
) {
    if depth > MAX_DEPTH {
        let message = format!("{} is a chain of chains without an end", named.label);
        draft.error("bad-value", message, "");
        return;
    }
    for name in named
        .value
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let bare = name
            .strip_suffix("@docker")
            .unwrap_or(name)
            .to_ascii_lowercase();
        let Some(options) = labels.middlewares.get(&bare) else {
            let message = format!(
                "{} names {}, which this container has no labels for",
                named.label,
                quoted(name)
            );
            draft.error("no-middleware", message, "say it here again: middlewares of other containers and of files are not to be had, and without it the route could be open");
            continue;
        };
        let mut kinds = options.keys().filter_map(|word| word.split('.').next());
        let kind = kinds.next();
        if kinds.any(|other| Some(other) != kind) {
            let message = format!(
                "{} names {}, which is several middlewares at once",
                named.label,
                quoted(name)
            );
            draft.error("no-middleware", message, "give each a name of its own");
            continue;
        }
        let mut own = Options::new();
        for (word, option) in options {
            let inner = word.split_once('.').map_or("", |(_, inner)| inner);
            own.insert(inner.to_owned(), option.clone());
        }
        match kind.unwrap_or_default() {
            "chain" => {
                if let Some(next) = own.get("middlewares") {
                    walk(draft, labels, next, claims, path, depth + 1);
                }
            }
            kind => one(draft, kind, &own, claims, path),
        }
    }
}

fn one(draft: &mut Draft<'_>, kind: &str, options: &Options, claims: &Claims, path: &mut Path) {
    let label = options
        .values()
        .next()
        .map_or(String::new(), |word| word.label.clone());
    match kind {
        "stripprefix" => strip_prefix(draft, options, claims, path),
        "stripprefixregex" => {
            each(draft, options, &["regex"], |draft, _, value, label| {
                let regex = value
                    .split(',')
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join("|");
                let line = rewrite::word(&format!("^(?:{regex})/?(.*)$"));
                rule(
                    draft,
                    line.map(|regex| format!("http-request replace-path {regex} '/\\1'")),
                    label,
                    value,
                );
            });
        }
        "addprefix" => each(draft, options, &["prefix"], |draft, _, value, label| {
            rule(draft, rewrite::swap_prefix(&[""], value), label, value);
        }),
        "replacepath" => each(draft, options, &["path"], |draft, _, value, label| {
            let line = rewrite::word(&rewrite::plain(value));
            rule(
                draft,
                line.map(|path| format!("http-request set-path {path}")),
                label,
                value,
            );
        }),
        "replacepathregex" => replace_path(draft, options, &label),
        "redirectscheme" => redirect_scheme(draft, options, &label),
        "headers" => headers(draft, options),
        "basicauth" => basic_auth(draft, options, &label),
        "ipallowlist" | "ipwhitelist" => allow(draft, options, &label),
        "buffering" => each(
            draft,
            options,
            &["maxrequestbodybytes"],
            |draft, _, value, label| {
                draft.set("max_body_size", value, label);
            },
        ),
        "retry" => each(
            draft,
            options,
            &["attempts"],
            |draft, _, value, label| match value.parse::<u32>() {
                Ok(attempts) => draft.set("retries", attempts.saturating_sub(1).to_string(), label),
                Err(_) => draft.bad(label, value, "a whole number"),
            },
        ),
        // Each of these keeps somebody out.
        "forwardauth" | "digestauth" => {
            let message =
                format!("{label} is not to be had, and without it the route would be open");
            draft.error(
                "not-here",
                message,
                "basicauth, ipallowlist and client certificates are there",
            );
        }
        "ratelimit" | "inflightreq" => draft.not_here(
            &label,
            "lb.max_connections limits what is under way, of a service as a whole",
        ),
        "circuitbreaker" => draft.not_here(&label, "upstreams are taken out by health checks"),
        "compress" => draft.not_here(&label, "answers are handed on as they come"),
        "errors" => draft.not_here(&label, "error_pages/<status> are for our own answers"),
        "redirectregex" => draft.not_here(&label, "redirects are lb.redirects, in pairs"),
        "contenttype" | "grpcweb" | "passtlsclientcert" | "encodedcharacters" => {
            draft.not_here(&label, "nothing takes its place");
        }
        other => {
            let message = format!("{label}: there is no middleware {}", quoted(other));
            draft.error(
                "no-middleware",
                message,
                "docs/linking.md has those that are known",
            );
        }
    }
}

/// Hands each known option on, and tells of the others.
fn each(
    draft: &mut Draft<'_>,
    options: &Options,
    known: &[&str],
    mut read: impl FnMut(&mut Draft<'_>, &str, &str, &str),
) {
    for (word, option) in options {
        match known.contains(&word.as_str()) {
            true => read(draft, word, option.value.trim(), &option.label),
            false => draft.not_here(&option.label, "docs/linking.md has what is known of it"),
        }
    }
}

fn rule(draft: &mut Draft<'_>, line: Option<String>, label: &str, value: &str) {
    match line {
        Some(line) => draft.append("custom_settings", "\n", &line, label),
        None => draft.bad(label, value, "a text without quotes and control characters"),
    }
}

/// Prefixes that are the rule's own are cut off as usual; others by a line.
fn strip_prefix(draft: &mut Draft<'_>, options: &Options, claims: &Claims, path: &mut Path) {
    each(
        draft,
        options,
        &["prefixes", "forceslash"],
        |draft, word, value, label| {
            if word == "forceslash" {
                return;
            }
            let mut prefixes: Vec<&str> = value
                .split(',')
                .map(str::trim)
                .filter(|prefix| !prefix.is_empty())
                .collect();
            prefixes.sort_unstable();
            let root = |prefix: &str| prefix.trim_end_matches('/').to_owned();
            let own: Vec<String> = claims.prefixes.iter().map(|prefix| root(prefix)).collect();
            let named: Vec<String> = prefixes.iter().map(|prefix| root(prefix)).collect();
            match own == named && !own.is_empty() {
                true => path.strip = true,
                false => rule(draft, rewrite::swap_prefix(&prefixes, ""), label, value),
            }
        },
    );
}

fn replace_path(draft: &mut Draft<'_>, options: &Options, label: &str) {
    let get = |name: &str| options.get(name).map(|option| option.value.trim());
    let (Some(regex), Some(by)) = (get("regex"), get("replacement")) else {
        let message = format!("{label}: regex and replacement are both needed");
        return draft.error("bad-value", message, "");
    };
    // $1 and ${1} are \1 here.
    let mut out = String::new();
    let mut rest = by;
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(&rewrite::plain(before));
        let behind = behind.strip_prefix('{').unwrap_or(behind);
        match behind.chars().next() {
            Some(digit @ '1'..='9') => {
                out.extend(['\\', digit]);
                rest = behind[1..].strip_prefix('}').unwrap_or(&behind[1..]);
            }
            _ => return draft.bad(label, by, "groups from $1 to $9"),
        }
    }
    out.push_str(&rewrite::plain(rest));
    let line = rewrite::word(regex).zip(rewrite::word(&out));
    let line = line.map(|(regex, by)| format!("http-request replace-path {regex} {by}"));
    rule(draft, line, label, by);
}

fn redirect_scheme(draft: &mut Draft<'_>, options: &Options, label: &str) {
    each(
        draft,
        options,
        &["scheme", "permanent", "port"],
        |draft, word, value, label| match word {
            "scheme" if value == "https" => draft.set("force_ssl", "true", label),
            "scheme" => draft.not_here(label, "https is the only scheme that is redirected to"),
            "port" => draft.set("force_ssl_port", value, label),
            _ => {}
        },
    );
    let permanent = options
        .get("permanent")
        .is_some_and(|option| option.value.trim() == "true");
    if !permanent && draft.has("force_ssl") {
        let message = format!("{label}: clients are sent to https for good, with 308");
        draft.warn("not-here", message, "permanent=true says so");
    }
}

/// Options of `headers` that are one line of an answer.
const LINES: [(&str, &str); 4] = [
    ("referrerpolicy", "Referrer-Policy"),
    ("contentsecuritypolicy", "Content-Security-Policy"),
    ("permissionspolicy", "Permissions-Policy"),
    ("customframeoptionsvalue", "X-Frame-Options"),
];

/// Options of `headers` that are yes or no.
const SWITCHES: [(&str, &str); 3] = [
    ("framedeny", "X-Frame-Options: DENY"),
    ("contenttypenosniff", "X-Content-Type-Options: nosniff"),
    ("browserxssfilter", "X-XSS-Protection: 1; mode=block"),
];

fn headers(draft: &mut Draft<'_>, options: &Options) {
    let mut hsts: Option<(String, String)> = None;
    for (word, option) in options {
        let (value, label) = (option.value.trim(), option.label.as_str());
        if let Some(name) = word.strip_prefix("customrequestheaders.") {
            field(draft, "request_headers", name, value, label);
        } else if let Some(name) = word.strip_prefix("customresponseheaders.") {
            field(draft, "response_headers", name, value, label);
        } else if let Some((_, name)) = LINES.iter().find(|(known, _)| known == word) {
            field(draft, "response_headers", name, value, label);
        } else if let Some((_, line)) = SWITCHES.iter().find(|(known, _)| known == word) {
            if draft.boolean(value, label) == Some(true) {
                draft.append("response_headers", "\n", &format!("set {line}"), label);
            }
        } else {
            match word.as_str() {
                "stsseconds" => hsts = Some((value.to_owned(), label.to_owned())),
                "stsincludesubdomains" | "stspreload" => {}
                "sslredirect" | "sslforcehost" if draft.boolean(value, label) == Some(true) => {
                    draft.set("force_ssl", "true", label);
                }
                _ => draft.not_here(label, "lb.response_headers can say any line"),
            }
        }
    }
    if let Some((seconds, label)) = hsts {
        let is_on = |name: &str| {
            options
                .get(name)
                .is_some_and(|option| option.value.trim() == "true")
        };
        let mut text = seconds;
        for (option, word) in [
            ("stsincludesubdomains", " includeSubDomains"),
            ("stspreload", " preload"),
        ] {
            if is_on(option) {
                text.push_str(word);
            }
        }
        draft.set("hsts", text, &label);
    }
}

/// A line that sets a field, or removes one that is to be empty.
fn field(draft: &mut Draft<'_>, key: &str, name: &str, value: &str, label: &str) {
    if !is_line(value) || !is_line(name) {
        return draft.bad(label, value, "one line");
    }
    let line = match value {
        "" => format!("remove {name}"),
        value => format!("set {name}: {value}"),
    };
    draft.append(key, "\n", &line, label);
}

fn basic_auth(draft: &mut Draft<'_>, options: &Options, label: &str) {
    let Some(users) = options.get("users") else {
        let message =
            format!("{label}: basicauth names no users, and without them the route would be open");
        return draft.error(
            "not-here",
            message,
            "write users into the label users; files are not read",
        );
    };
    let lines: Vec<_> = users
        .value
        .split(',')
        .map(str::trim)
        .filter(|user| !user.is_empty())
        .collect();
    draft.set("basic_auth_secrets", lines.join("\n"), &users.label);
    let mut forward = true;
    for (word, option) in options {
        let value = option.value.trim();
        match word.as_str() {
            "users" => {}
            "realm" => draft.set("basic_auth_realm", value, &option.label),
            "removeheader" => forward = draft.boolean(value, &option.label) != Some(true),
            _ => draft.not_here(
                &option.label,
                "of basicauth users, realm and removeheader are known",
            ),
        }
    }
    if forward {
        draft.set("basic_auth_forward", "true", label);
    }
}

fn allow(draft: &mut Draft<'_>, options: &Options, label: &str) {
    let Some(range) = options.get("sourcerange") else {
        let message = format!("{label}: no sourcerange, and without it the route would be open");
        return draft.error("bad-value", message, "");
    };
    draft.set("allow", range.value.trim(), &range.label);
    for (word, option) in options {
        if word != "sourcerange" {
            draft.not_here(
                &option.label,
                "who the client is, settings/trusted_proxies says for the whole balancer",
            );
        }
    }
}
