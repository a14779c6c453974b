//! `custom_settings` and `global_settings` beside the keys of our own: what a key says goes over the
//! same thing said in HAProxy's words, and whoever said both is told.

#[cfg(test)]
mod tests;

use super::fields::Fields;
use super::haproxy::{self, LineProblem, Said, Scope, Settings};
use super::sticky::Sticky;
use super::unit::{CheckKind, HealthCheck, HttpCheck};

/// What the lines under `field` say; nothing if any of them is wrong, which is reported.
pub(super) fn settings(fields: &mut Fields<'_>, field: &str, scope: Scope) -> Settings {
    let Some(text) = fields.verbatim(field) else {
        return Settings::default();
    };
    match haproxy::settings(text, scope) {
        Ok(mut settings) => {
            for LineProblem { line, problem } in std::mem::take(&mut settings.warnings) {
                let message = format!("{field} line {line}: {}", problem.message);
                fields.warn("custom", field, message, &problem.help.unwrap_or_default());
            }
            settings
        }
        Err(problems) => {
            for LineProblem { line, problem } in problems {
                let message = format!("{field} line {line}: {}", problem.message);
                let help = problem.help.unwrap_or_default();
                fields.error("bad-value", field, &message, &help);
            }
            Settings::default()
        }
    }
}

/// The key's own value if it is set, else what the line of `custom_settings` says.
pub(super) fn or<T>(
    fields: &mut Fields<'_>,
    key: &str,
    own: Option<T>,
    said: Option<Said<T>>,
) -> Option<T> {
    or_of(fields, "custom_settings", key, own, said)
}

/// The same with a line of `global_settings`.
pub(super) fn or_global<T>(
    fields: &mut Fields<'_>,
    key: &str,
    own: Option<T>,
    said: Option<Said<T>>,
) -> Option<T> {
    or_of(fields, "global_settings", key, own, said)
}

fn or_of<T>(
    fields: &mut Fields<'_>,
    field: &str,
    key: &str,
    own: Option<T>,
    said: Option<Said<T>>,
) -> Option<T> {
    match said {
        Some(said) if fields.is_set(key) => {
            overruled(fields, field, key, said.line);
            own
        }
        Some(said) => Some(said.value),
        None => own,
    }
}

fn overruled(fields: &mut Fields<'_>, field: &str, key: &str, line: usize) {
    fields.warn(
        "overruled",
        field,
        format!("{field} line {line}: says nothing beside {key}"),
        &format!("remove the line, or the key {key}"),
    );
}

/// The stickiness that the keys ask for, else the `cookie` line's. An empty `cookie` key asks too.
pub(super) fn sticky(
    fields: &mut Fields<'_>,
    own: Option<Sticky>,
    said: Option<Said<Sticky>>,
) -> Option<Sticky> {
    let Some(said) = said else { return own };
    let key = ["cookie", "sticky_session_cookie"];
    match key.into_iter().find(|key| fields.place(key).is_some()) {
        Some(key) => {
            overruled(fields, "custom_settings", key, said.line);
            own
        }
        None => Some(said.value),
    }
}

/// Puts `own`, which the keys say, together with what the lines say of checks.
pub(super) fn health_check(
    fields: &mut Fields<'_>,
    own: HealthCheck,
    settings: &mut Settings,
) -> HealthCheck {
    let lines = std::mem::take(&mut settings.check);
    let line = lines.http.as_ref().map(|said| said.line);
    let by_lines = lines.http_check();
    let kind = match (own.kind, by_lines) {
        (CheckKind::Http(own), by_lines) => {
            let has_uri = fields.is_set("health_check_uri");
            let mut check = match by_lines {
                Some(check) => {
                    let is_other = check.uri != own.uri && check.uri != "/";
                    if let Some(line) = line.filter(|_| has_uri && is_other) {
                        overruled(fields, "custom_settings", "health_check_uri", line);
                    }
                    check
                }
                None => {
                    let mut check = HttpCheck::get("/");
                    lines.refine(&mut check);
                    check
                }
            };
            if has_uri {
                check.uri = own.uri;
            }
            CheckKind::Http(Box::new(check))
        }
        (kind, Some(check)) => {
            if fields.is_set("health_check") {
                overruled(fields, "custom_settings", "health_check", line.unwrap_or(1));
                kind
            } else {
                CheckKind::Http(Box::new(check))
            }
        }
        (kind, None) => {
            if let Some(line) = lines.unused() {
                fields.warn(
                    "unused-field",
                    "custom_settings",
                    format!("custom_settings line {line}: http-check says nothing by itself"),
                    "write option httpchk too, or set health_check_uri",
                );
            }
            kind
        }
    };
    let timeout = settings.timeouts.check.take();
    let timeout = or(fields, "health_check_timeout", Some(own.timeout), timeout);
    let interval = or(
        fields,
        "health_check_interval",
        Some(own.interval),
        lines.interval,
    );
    let rise = or(fields, "health_check_rise", Some(own.rise), lines.rise);
    let fall = or(fields, "health_check_fall", Some(own.fall), lines.fall);
    HealthCheck {
        kind,
        port: or(fields, "health_check_port", own.port, lines.port),
        timeout: timeout.unwrap_or(own.timeout),
        interval: interval.unwrap_or(own.interval),
        rise: rise.unwrap_or(own.rise),
        fall: fall.unwrap_or(own.fall),
    }
}
