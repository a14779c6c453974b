//! One look at a node: the parts of its answers that are shown.

use std::collections::HashSet;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::state::Wish;

/// Rows of a page that others may ask for.
const MOST_ROWS: u16 = 500;

/// More than anybody has.
const MOST_PAGES: usize = 200;

pub(super) struct Look {
    pub(super) overview: Overview,
    pub(super) services: Services,
    pub(super) refused: Vec<Refusal>,
    pub(super) opened: Option<Opened>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Overview {
    pub(super) node: String,
    pub(super) version: String,
    pub(super) phase: String,
    /// By its clock.
    pub(super) now: String,
    pub(super) uptime_s: u64,
    pub(super) generation: u64,
    pub(super) revision: u64,
    pub(super) requests_per_s: f64,
    pub(super) errors_per_s: f64,
    pub(super) bytes_in_per_s: f64,
    pub(super) bytes_out_per_s: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) connections: u64,
    pub(super) services: ServiceCounts,
    pub(super) upstreams: UpstreamCounts,
    pub(super) refused: usize,
    pub(super) warnings: usize,
    #[serde(default)]
    pub(super) checks_late: usize,
    #[serde(default)]
    pub(super) nodes: NodeCounts,
    pub(super) stores: Vec<Store>,
    pub(super) history: Option<History>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ServiceCounts {
    pub(super) total: usize,
    pub(super) up: usize,
    pub(super) degraded: usize,
    pub(super) down: usize,
    #[serde(default)]
    pub(super) drained: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct UpstreamCounts {
    pub(super) total: usize,
    pub(super) up: usize,
    pub(super) down: usize,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct NodeCounts {
    pub(super) total: usize,
    pub(super) gone: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct Store {
    pub(super) store: String,
    pub(super) connected: bool,
    pub(super) since: String,
    #[serde(default)]
    pub(super) last_error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct History {
    pub(super) requests_per_s: Vec<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Services {
    pub(super) matched: usize,
    pub(super) page: usize,
    pub(super) size: usize,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) mode: String,
    pub(super) state: String,
    pub(super) refused: bool,
    /// The first of them.
    pub(super) hosts: Vec<String>,
    pub(super) hosts_total: usize,
    pub(super) port: Option<u16>,
    pub(super) upstreams_up: usize,
    pub(super) upstreams_total: usize,
    pub(super) requests_per_s: f64,
    pub(super) error_share: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) in_flight: u64,
    pub(super) queued: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Opened {
    pub(super) name: String,
    pub(super) upstreams: Vec<Upstream>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) state: String,
    pub(super) since: Option<String>,
    pub(super) last_check: String,
    pub(super) weight: u16,
    pub(super) in_flight: u64,
    pub(super) requests_per_s: f64,
    pub(super) error_share: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    refused: Vec<Refusal>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) unit: String,
    pub(super) diagnostics: Vec<crate::diag::Diagnostic>,
}

impl Look {
    /// Asks by `get` for what somebody wants to see.
    pub(super) async fn read(
        wish: &Wish,
        rows: u16,
        get: impl AsyncFn(&str) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let overview: Overview = read(&get, "/v1/overview?history=1").await?;
        let refused = match overview.refused {
            0 => Vec::new(),
            _ => read::<Refused>(&get, "/v1/refused").await?.refused,
        };
        let opened = match &wish.opened {
            None => None,
            Some((mode, name)) => {
                let path = format!("/v1/running/services/{mode}/{}", escaped(name));
                // It may have gone since it was opened.
                read(&get, &path).await.ok()
            }
        };
        Ok(Self {
            services: read(&get, &page(wish, rows)).await?,
            overview,
            refused,
            opened,
        })
    }
}

impl Services {
    /// All that matched, page by page, as far as they can be had.
    pub(super) async fn whole(
        wish: &Wish,
        get: impl AsyncFn(&str) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let mut wish = wish.clone();
        wish.page = 1;
        let mut all: Self = read(&get, &page(&wish, MOST_ROWS)).await?;
        let mut seen: HashSet<_> = all.rows.iter().map(Row::key).collect();
        while all.rows.len() < all.matched && wish.page < MOST_PAGES {
            wish.page += 1;
            let next: Self = read(&get, &page(&wish, MOST_ROWS)).await?;
            if next.page != wish.page || next.rows.is_empty() {
                break;
            }
            // In the order of a moment ago it may have been on the page before.
            let rows = next.rows.into_iter();
            all.rows.extend(rows.filter(|row| seen.insert(row.key())));
        }
        // What is here is one page.
        all.size = all.matched.max(1);
        Ok(all)
    }
}

impl Row {
    fn key(&self) -> (String, String) {
        (self.mode.clone(), self.name.clone())
    }
}

fn page(wish: &Wish, rows: u16) -> String {
    format!(
        "/v1/running/services?sort={}&page={}&size={}&q={}",
        wish.sort.word(),
        wish.page.max(1),
        rows.clamp(1, MOST_ROWS),
        escaped(&wish.search)
    )
}

async fn read<T: DeserializeOwned>(
    get: &impl AsyncFn(&str) -> anyhow::Result<Vec<u8>>,
    path: &str,
) -> anyhow::Result<T> {
    let body = get(path).await?;
    serde_json::from_slice(&body).with_context(|| format!("GET {path}: not what a node answers"))
}

/// A word as a part of a path or of a query.
fn escaped(word: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let escape = |byte: u8| match is_plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    word.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_part_of_a_path() {
        assert_eq!(escaped("web-1.test"), "web-1.test");
        assert_eq!(escaped("a/b ?ä&"), "a%2Fb%20%3F%C3%A4%26");
    }
}
