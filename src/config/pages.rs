//! `error_pages/<status>`: the bodies of our own answers, as keys say them.

use std::sync::Arc;

use super::fields::Fields;
use super::haproxy::Said;
use super::values::Problem;
use crate::diag::quoted;

/// The statuses of our own answers that have a page.
pub const PAGE_STATUSES: [u16; 18] = [
    400, 401, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504, 505,
];

/// More than there are statuses, so that each wrong one is told.
const PAGES: usize = 1_000;

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Pages by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(Vec<(u16, ErrorPage)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorPage {
    Text {
        content_type: &'static str,
        body: Arc<str>,
    },
    /// A file of this name in the directory of `--error-pages`. Where there is none, the next page in
    /// the order of precedence stands in.
    File(Arc<str>),
}

impl ErrorPages {
    pub fn get(&self, status: u16) -> Option<&ErrorPage> {
        self.iter().find(|(of, _)| *of == status).map(|(_, p)| p)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u16, &ErrorPage)> {
        self.0.iter().map(|(status, page)| (*status, page))
    }

    /// Puts a page in the place of the one for this status.
    pub fn set(&mut self, status: u16, page: ErrorPage) {
        self.0.retain(|(of, _)| *of != status);
        self.0.push((status, page));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ErrorPage {
    /// HTML if it looks like it.
    fn of_text(body: &str) -> Self {
        ErrorPage::Text {
            content_type: if body.starts_with('<') { HTML } else { TEXT },
            body: body.into(),
        }
    }
}

/// `defaults` with the `errorfile` lines and then the pages of `error_pages` on top; `None` if there are
/// none.
pub(super) fn error_pages(
    fields: &mut Fields<'_>,
    defaults: Option<&Arc<ErrorPages>>,
    files: Vec<Said<(u16, String)>>,
) -> Option<Arc<ErrorPages>> {
    let mut pages = defaults.map(|pages| (**pages).clone()).unwrap_or_default();
    for Said { value, .. } in files {
        let (status, name) = value;
        pages.set(status, ErrorPage::File(name.into()));
    }
    for (entry, written) in fields.pairs("error_pages", PAGES) {
        let status = entry.name.parse().ok();
        match status.filter(|status| PAGE_STATUSES.contains(status)) {
            Some(_) if written.text.is_empty() => {}
            Some(status) => pages.set(status, ErrorPage::of_text(written.text)),
            None => {
                let known = PAGE_STATUSES.map(|status| status.to_string());
                let problem = Problem::new(
                    format!("{} is no status of our own answers", quoted(&entry.name)),
                    format!("it is one of {}", known.join(", ")),
                );
                let field = format!("error_pages.{}", entry.name);
                fields.refuse_as("error_pages", &field, written, &problem);
            }
        }
    }
    (!pages.is_empty()).then(|| Arc::new(pages))
}
