//! The stats page: files of the program itself, so that it works without a network, and asks nobody but the node.
//!
//! There is no data in here. The scripts read `./v1/...` beside the page, whatever prefix it is served below.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rapidhash::v3::rapidhash_v3;

use super::Views;

/// One file of the page.
#[derive(Clone, Debug)]
pub(super) struct Asset {
    pub(super) content_type: &'static str,
    pub(super) bytes: &'static [u8],
    /// In quotes, as it is sent.
    pub(super) etag: String,
}

/// What a browser is told with each file: names in keys come from anybody who may write keys, and the page can
/// change what runs. So nothing but the page's own files is run or asked, and nobody puts it into a frame.
pub(super) const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // A node of another version has another page.
    (header::CACHE_CONTROL, "no-cache"),
];

/// `path` is below the page's own address: empty for the page itself.
pub(super) fn asset(path: &str) -> Option<Asset> {
    let (_, content_type, text) = FILES.iter().find(|(name, ..)| *name == path)?;
    Some(Asset {
        content_type,
        bytes: text.as_bytes(),
        etag: format!("\"{:016x}\"", rapidhash_v3(text.as_bytes())),
    })
}

pub(super) fn router() -> Router<Views> {
    FILES.iter().fold(Router::new(), |router, (name, ..)| {
        router.route(
            &format!("/{name}"),
            get(async |headers: HeaderMap| answer(name, &headers)),
        )
    })
}

/// The file, or that the browser has it already.
pub(super) fn answer(path: &str, asked: &HeaderMap) -> Response {
    let Some(asset) = asset(path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = if has(asked, &asset.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::try_from(asset.etag) {
        headers.insert(header::ETAG, etag);
    }
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn has(asked: &HeaderMap, etag: &str) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    known
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().trim_start_matches("W/") == etag)
}

/// What the page consists of, by the name behind its own address.
const FILES: &[(&str, &str, &str)] = &[
    ("", HTML, include_str!("page.html")),
    ("page/page.css", CSS, include_str!("page.css")),
    ("page/theme.js", JS, include_str!("theme.js")),
    ("page/page.js", JS, include_str!("page.js")),
    ("page/place.js", JS, include_str!("place.js")),
    ("page/feed.js", JS, include_str!("feed.js")),
    ("page/dom.js", JS, include_str!("dom.js")),
    ("page/format.js", JS, include_str!("format.js")),
    ("page/parts.js", JS, include_str!("parts.js")),
    ("page/chart.js", JS, include_str!("chart.js")),
    ("page/overview.js", JS, include_str!("overview.js")),
    ("page/problems.js", JS, include_str!("problems.js")),
    ("page/ailing.js", JS, include_str!("ailing.js")),
    ("page/fleet.js", JS, include_str!("fleet.js")),
    ("page/services.js", JS, include_str!("services.js")),
    ("page/drain.js", JS, include_str!("drain.js")),
    ("page/lists.js", JS, include_str!("lists.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that the page names and nobody serves would be found by a browser only.
    #[test]
    fn all_that_the_page_names_is_there_and_all_that_is_there_is_named() {
        let page = include_str!("page.html");
        for (name, _, text) in FILES {
            if !name.is_empty() {
                assert!(page.contains(&format!("\"./{name}\"")), "{name}");
            }
            for (_, rest) in text
                .match_indices("from \"./")
                .map(|(at, all)| text.split_at(at + all.len()))
            {
                let file = rest.split('"').next().unwrap_or_default();
                assert!(
                    asset(&format!("page/{file}")).is_some(),
                    "{name} imports {file}"
                );
            }
        }
        assert!(asset("").is_some_and(|page| page.content_type.starts_with("text/html")));
        assert!(asset("../mod.rs").is_none());
    }

    /// Names come from keys, which others write.
    #[test]
    fn no_script_makes_markup_of_text() {
        for (name, _, text) in FILES {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text.contains(word), "{name} has {word}");
            }
        }
    }
}
