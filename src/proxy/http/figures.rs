//! `stats_uri`: who may see the figures, and what of the admin listener is shown on the HTTP listeners.
//!
//! What is shown is read only: the page and what it asks for. Keys, the plan and whatever changes something stay
//! with the admin listener, whose answers these are.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::accesslog::Cause;
use crate::config::{Stats, StatsUsers};
use crate::proxy::buffers::Input;
use crate::proxy::figures::{PATIENCE, Told};
use crate::proxy::http::auth::{CREDENTIALS, credentials};
use crate::proxy::http::id::RequestId;
use crate::proxy::http::{Client, Next};
use crate::proxy::http1::{Answer, FieldId, Method, RequestHead};

/// Paths of the admin listener that are shown here, besides the page itself.
const SHOWN: &[&[u8]] = &[
    b"/v1/overview",
    b"/v1/generations",
    b"/v1/refused",
    b"/v1/events",
    b"/v1/nodes",
];
/// All below these.
const SHOWN_BELOW: &[&[u8]] = &[b"/v1/running/"];
/// The page's own files: `/page/page.css` and so on.
const FILES: &[u8] = b"/page/";

const CSV: &str = "/;csv";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The page has its files beside it, so it stands in a directory.
    Directory,
    /// What the admin listener has at this path.
    Path(String),
    /// Below it is nobody else's: browsers send the password of the figures to all of that.
    Nothing,
}

impl Wanted {
    /// `None`: it is not about the figures.
    pub(super) fn read(uri: &str, path: &[u8], query: &[u8]) -> Option<Self> {
        let rest = path.strip_prefix(uri.as_bytes())?;
        // `/lbstats;csv`, `/lbstats/;csv`, and `/haproxy?stats;csv` as HAProxy itself has it.
        let (rest, options) = split(rest);
        let is_csv = wants_csv(options) || wants_csv(split(query).1);
        let is_directory = uri.ends_with('/');
        match rest {
            b"" | b"/" if is_csv => Some(Self::Path(CSV.to_owned())),
            b"" if !is_directory => Some(Self::Directory),
            b"" => Some(Self::Path("/".to_owned())),
            // Such as `;norefresh`, which changes nothing here.
            b"/" if !is_directory => Some(Self::Path("/".to_owned())),
            _ => {
                let below = match is_directory {
                    true => [b"/", rest].concat(),
                    false => rest.to_vec(),
                };
                if !below.starts_with(b"/") {
                    return None;
                }
                let shown = String::from_utf8(below).ok();
                match shown.filter(|path| options.is_empty() && is_shown(path.as_bytes())) {
                    Some(path) => Some(Self::Path(path)),
                    // At the root everything is below, and is not all ours.
                    None if uri == "/" => None,
                    None => Some(Self::Nothing),
                }
            }
        }
    }
}

/// What stands before the first `;`, and what from there on.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| *b == b';').unwrap_or(text.len()))
}

/// Other options that HAProxy knows behind the `;` change nothing.
fn wants_csv(options: &[u8]) -> bool {
    let mut options = options.split(|b| *b == b';');
    options.any(|option| option == b"csv")
}

fn is_shown(path: &[u8]) -> bool {
    // A path that climbs is of somewhere else.
    if path.split(|b| *b == b'/').any(|part| part == b"..") {
        return false;
    }
    let is_file = path
        .strip_prefix(FILES)
        .is_some_and(|rest| !rest.contains(&b'/'));
    is_file
        || SHOWN.contains(&path)
        || SHOWN_BELOW.iter().any(|below| {
            let rest = path.strip_prefix(*below);
            rest.is_some_and(|rest| !rest.is_empty())
        })
}

impl Client {
    pub(super) async fn figures(
        &self,
        stats: &Stats,
        wanted: Wanted,
        input: &mut Input,
        head: &RequestHead,
        id: &RequestId,
    ) -> Next {
        let mut answer = Answer::default();
        let given = head.fields.get(FieldId::Authorization);
        let given = given.map(|field| field.value.get(input.filled()));
        let (told, extra);
        if !may_see(&stats.users, given) {
            answer.status = 401;
            extra = format!("WWW-Authenticate: Basic realm=\"{}\"\r\n", stats.realm);
        } else if !matches!(head.method, Method::Get | Method::Head) {
            answer.status = 405;
            extra = "Allow: GET, HEAD\r\n".to_owned();
        } else {
            match wanted {
                Wanted::Directory => {
                    answer.status = 307;
                    extra = format!("Location: {}/\r\n", stats.uri);
                }
                Wanted::Nothing => {
                    answer.status = 404;
                    extra = String::new();
                }
                Wanted::Path(path) => match self.told(path, input, head).await {
                    Ok(Some(whole)) => {
                        told = whole;
                        answer.status = told.status;
                        answer.page = Some((&told.content_type, &told.body));
                        extra = told.extra.clone();
                    }
                    Ok(None) => {
                        answer.status = 503;
                        extra = "Retry-After: 1\r\n".to_owned();
                    }
                    Err(Gone) => {
                        self.trace.stop(Cause::ClientAbort);
                        return Next::Cut;
                    }
                },
            }
        }
        answer.extra = extra.as_bytes();
        self.answer_whole(answer, input, head, Some(id)).await
    }

    /// `None`: nobody could answer in time.
    async fn told(
        &self,
        path: String,
        input: &Input,
        head: &RequestHead,
    ) -> Result<Option<Told>, Gone> {
        let query = head.query.get(input.filled());
        let query = query.strip_prefix(b"?").unwrap_or(query);
        let query = String::from_utf8_lossy(query).into_owned();
        let client = self.ends.peer;
        let asked = self.worker.shared.figures.ask(client, path, query);
        let Some(asked) = asked else {
            return Ok(None);
        };
        let told = self.stream.unless_reset(asked);
        match self.deadline.limit(PATIENCE, told).await {
            Ok(Some(told)) => Ok(told.ok()),
            Ok(None) => Err(Gone),
            Err(_) => Ok(None),
        }
    }
}

/// The client reset its connection meanwhile.
struct Gone;

/// Takes the same time whichever user is asked for and however much of a password is right: digests
/// are compared, and all of them.
fn may_see(users: &StatsUsers, authorization: Option<&[u8]>) -> bool {
    if users.is_empty() {
        return true;
    }
    let mut buffer = [0; CREDENTIALS + 3];
    let given = authorization.and_then(|line| credentials(line, &mut buffer));
    let Some((name, password)) = given else {
        return false;
    };
    let given = digest(&SHA256, &[name, b":", password].concat());
    users.iter().fold(false, |is_one, user| {
        let known = digest(&SHA256, user.as_bytes());
        is_one | verify_slices_are_equal(known.as_ref(), given.as_ref()).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, target: &str, expected: Option<&str>) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = format!("?{query}");
        let found = Wanted::read(uri, path.as_bytes(), query.as_bytes());
        let found = found.map(|wanted| match wanted {
            Wanted::Directory => "directory".to_owned(),
            Wanted::Path(path) => path,
            Wanted::Nothing => "nothing".to_owned(),
        });
        assert_eq!(found.as_deref(), expected, "{uri} {target}");
    }

    #[test]
    fn the_form_stands_behind_a_semicolon() {
        let check = |target, expected| check("/lbstats", target, expected);
        for csv in [
            "/lbstats;csv",
            "/lbstats/;csv",
            "/lbstats;norefresh;csv",
            "/lbstats?stats;csv",
            "/lbstats/?;csv;norefresh",
        ] {
            check(csv, Some("/;csv"));
        }
        check("/lbstats", Some("directory"));
        check("/lbstats;norefresh", Some("directory"));
        check("/lbstats?csv", Some("directory"));
        check("/lbstats/", Some("/"));
        check("/lbstats/;norefresh", Some("/"));
        check("/lbstats/x;csv", Some("nothing"));
        for strange in ["/lbstatsx", "/lbstatsx;csv", "/lb", ""] {
            check(strange, None);
        }
    }

    #[test]
    fn what_the_page_asks_for_is_shown_and_nothing_else() {
        for (path, is_shown) in [
            ("/page/page.css", true),
            ("/page/page.js", true),
            ("/page/page.css/x", false),
            ("/v1/overview", true),
            ("/v1/running/services", true),
            ("/v1/running/services/http/web", true),
            ("/v1/running/", false),
            ("/v1/running/../services", false),
            ("/v1/nodes", true),
            ("/v1/services", false),
            ("/v1/services/web", false),
            ("/v1/status", false),
            ("/v1/plan", false),
            ("/v1/stream", false),
            ("/metrics", false),
            ("/live", false),
            ("//v1/overview", false),
        ] {
            let expected = is_shown.then_some(path);
            let below = expected.or(Some("nothing"));
            check("/lbstats", &format!("/lbstats{path}"), below);
            check("/all/", &format!("/all{path}"), below);
            check("/", path, expected);
        }
        check("/", "/", Some("/"));
        check("/", "/;csv", Some("/;csv"));
        check("/all/", "/all/;csv", Some("/;csv"));
        check("/all/", "/all", None);
    }
}
