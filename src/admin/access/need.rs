//! Which role a request needs. What is not in the table needs `read`, and `admin` to change anything.

use axum::http::Method;

use super::Role;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Not even a name: probes come from everywhere, and learn nothing.
    Nothing,
    Role(Role),
}

/// Paths that differ from the rest.
const PATHS: &[(&str, Need)] = &[("/live", Need::Nothing), ("/ready", Need::Nothing)];

pub(super) fn need(method: &Method, path: &str) -> Need {
    if ![Method::GET, Method::HEAD].contains(method) {
        return Need::Role(Role::Admin);
    }
    let own = PATHS.iter().find(|(own, _)| *own == path);
    own.map_or(Need::Role(Role::Read), |(_, need)| *need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_thought_of_is_guarded() {
        for (method, path, expected) in [
            (Method::GET, "/live", Need::Nothing),
            (Method::HEAD, "/ready", Need::Nothing),
            (Method::GET, "/ready/", Need::Role(Role::Read)),
            (Method::GET, "/live/../v1/plan", Need::Role(Role::Read)),
            (Method::GET, "/", Need::Role(Role::Read)),
            (Method::GET, "/metrics", Need::Role(Role::Read)),
            (Method::GET, "/v1/new", Need::Role(Role::Read)),
            (Method::POST, "/live", Need::Role(Role::Admin)),
            (Method::OPTIONS, "/v1/services", Need::Role(Role::Admin)),
            (Method::PUT, "/v1/services/web", Need::Role(Role::Admin)),
        ] {
            assert_eq!(need(&method, path), expected, "{method} {path}");
        }
    }
}
