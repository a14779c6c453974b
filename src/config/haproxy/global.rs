//! Lines of HAProxy's `global` section, which `global_settings` holds.

use std::time::Duration;

use super::settings::{Settings, say, says_nothing, within};
use super::words::Line;
use super::{Problem, global_tls};
use crate::config::balancer::DRAIN;
use crate::config::service::CONNECTIONS;
use crate::config::values;
use crate::diag::{nearest, quoted};

const KNOWN: &[&str] = &["hard-stop-after", "log", "maxconn", "tune.http.maxhdr"];

/// What has no meaning in this program and does no harm.
const OTHER_WAYS: &[(&str, &str)] = &[
    ("chroot", "the service manager confines the program"),
    ("cpu-map", "--workers says how many threads there are"),
    ("daemon", "the service manager keeps the program"),
    ("description", "nobody reads it"),
    ("gid", "the service manager says who runs the program"),
    ("group", "the service manager says who runs the program"),
    (
        "log",
        "what is logged is said by settings of its own, see docs/keys.md",
    ),
    (
        "log-send-hostname",
        "what is logged is said by settings of its own",
    ),
    ("log-tag", "what is logged is said by settings of its own"),
    ("master-worker", "there is one process"),
    ("maxconnrate", "connections are limited by number"),
    ("maxpipes", "pipes are taken as they are needed"),
    ("nbproc", "there is one process"),
    ("nbthread", "--workers says how many threads there are"),
    ("node", "--node names this node"),
    ("pidfile", "the service manager knows the process"),
    (
        "server-state-base",
        "state is kept over changes without a file",
    ),
    (
        "server-state-file",
        "state is kept over changes without a file",
    ),
    ("spread-checks", "checks are always spread"),
    ("stats", "--stats is the admin listener"),
    ("uid", "the service manager says who runs the program"),
    ("ulimit-n", "the limit is raised as far as it goes"),
    ("user", "the service manager says who runs the program"),
];

pub(super) fn line(
    settings: &mut Settings,
    line: &Line,
    warnings: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let number = line.number;
    match words[..] {
        ["maxconn", text] => {
            let value =
                values::count(text, CONNECTIONS).map_err(|problem| within("maxconn", problem))?;
            say(
                &mut settings.max_connections,
                number,
                value,
                "maxconn",
                warnings,
            );
        }
        ["hard-stop-after", text] => {
            let value = values::duration_in(text, DRAIN)
                .map_err(|problem| within("hard-stop-after", problem))?;
            let place = &mut settings.timeouts.drain;
            say::<Duration>(place, number, value, "hard-stop-after", warnings);
        }
        ["tune.http.maxhdr", text] => {
            let value = values::count(text, 1..=1000)
                .map_err(|problem| within("tune.http.maxhdr", problem))?;
            let place = &mut settings.max_headers;
            say(place, number, value, "tune.http.maxhdr", warnings);
        }
        [word, ..] if global_tls::is_tls(word) => {
            return global_tls::line(settings, line, &words, warnings);
        }
        [word, ..] if word.starts_with("tune.") => {
            warnings.push(says_nothing(word, "it is about another program's buffers"));
        }
        [word, ..] => {
            let other = OTHER_WAYS.iter().find(|(known, _)| *known == word);
            let Some((word, why)) = other else {
                let known = KNOWN.iter().chain(global_tls::KNOWN).copied();
                let all = OTHER_WAYS.iter().map(|(known, _)| *known);
                let help = match nearest(word, known.chain(all)) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "docs/custom_settings.md lists what is understood".to_owned(),
                };
                return Err(Problem::new(format!("{} is unknown", quoted(word)), help));
            };
            warnings.push(says_nothing(word, why));
        }
        [] => {}
    }
    Ok(())
}
