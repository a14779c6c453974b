//! Long lists: what is looked for, in which order, and which page of it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

const MAX_SIZE: usize = 500;

/// Longer words find nothing that is there.
const MAX_WORD: usize = 256;

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sort {
    #[default]
    Name,
    State,
    Requests,
    Errors,
    P99,
    InFlight,
    Since,
}

impl Sort {
    /// Where no order is said: the worst and the busiest first.
    fn falls(self) -> bool {
        !matches!(self, Self::Name | Self::State)
    }
}

/// What of a list is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted<State> {
    /// In names, hosts and addresses, whatever the case.
    pub(super) q: String,
    pub(super) state: Option<State>,
    pub(super) sort: Sort,
    order: Option<Order>,
    page: usize,
    size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    Desc,
}

impl<State> Default for Wanted<State> {
    fn default() -> Self {
        Self {
            q: String::new(),
            state: None,
            sort: Sort::default(),
            order: None,
            page: 1,
            size: 50,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Page<Row> {
    pub(super) total: usize,
    pub(super) matched: usize,
    pub(super) page: usize,
    pub(super) size: usize,
    pub(super) rows: Vec<Row>,
}

impl<State> Wanted<State> {
    /// What is looked for, to be compared with lowercase text.
    pub(super) fn word(&self) -> String {
        let word = self.q.trim();
        let end = word
            .char_indices()
            .nth(MAX_WORD)
            .map_or(word.len(), |(at, _)| at);
        word[..end].to_lowercase()
    }

    /// The page of what was found: in the order of names by `compare`, and by `key` where something else is asked for.
    pub(super) fn page_of<T, Row>(
        &self,
        total: usize,
        mut found: Vec<T>,
        compare: impl Fn(&T, &T) -> Ordering,
        key: impl Fn(&T) -> f64,
        row: impl Fn(T) -> Row,
    ) -> Page<Row> {
        found.sort_by(compare);
        let falls = self
            .order
            .map_or(self.sort.falls(), |order| order == Order::Desc);
        if self.sort == Sort::Name {
            if falls {
                found.reverse();
            }
        } else {
            let mut keyed: Vec<_> = found.into_iter().map(|item| (key(&item), item)).collect();
            // Names stay in their order where keys are equal.
            keyed.sort_by(|(a, _), (b, _)| match falls {
                true => b.total_cmp(a),
                false => a.total_cmp(b),
            });
            found = keyed.into_iter().map(|(_, item)| item).collect();
        }
        let size = self.size.clamp(1, MAX_SIZE);
        let pages = found.len().div_ceil(size).max(1);
        let page = self.page.clamp(1, pages);
        let matched = found.len();
        let shown = found.into_iter().skip((page - 1) * size).take(size);
        Page {
            total,
            matched,
            page,
            size,
            rows: shown.map(row).collect(),
        }
    }
}

/// Whether a text has the word in it; the word is lowercase.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    if word.is_empty() {
        return true;
    }
    match text
        .bytes()
        .any(|b| b.is_ascii_uppercase() || !b.is_ascii())
    {
        true => text.to_lowercase().contains(word),
        false => text.contains(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(wanted: &Wanted<()>) -> Vec<&'static str> {
        let found = vec![(3, "c"), (1, "a"), (2, "d"), (3, "b")];
        let compare = |a: &(i32, &str), b: &(i32, &str)| a.1.cmp(b.1);
        let page = wanted.page_of(
            4,
            found,
            compare,
            |(key, _)| f64::from(*key),
            |(_, name)| name,
        );
        page.rows
    }

    #[test]
    fn pages_are_cut_from_the_sorted_whole_and_equal_keys_keep_their_order() {
        let mut wanted = Wanted::default();
        assert_eq!(rows(&wanted), ["a", "b", "c", "d"]);
        wanted.order = Some(Order::Desc);
        assert_eq!(rows(&wanted), ["d", "c", "b", "a"]);
        (wanted.sort, wanted.order) = (Sort::Requests, None);
        assert_eq!(rows(&wanted), ["b", "c", "d", "a"], "the busiest first");
        (wanted.size, wanted.page) = (3, 2);
        assert_eq!(rows(&wanted), ["a"]);
        wanted.page = 99;
        assert_eq!(rows(&wanted), ["a"], "the last there is");
        wanted.order = Some(Order::Asc);
        assert_eq!(rows(&wanted), ["c"]);
        (wanted.size, wanted.page) = (0, 0);
        assert_eq!(rows(&wanted), ["a"]);
    }

    #[test]
    fn words_are_found_whatever_their_case() {
        for (text, word) in [
            ("web", ""),
            ("Web-1", "web"),
            ("ÄPFEL.test", "äpfel"),
            ("a.web.b", "web"),
        ] {
            assert!(has_word(text, word), "{text} {word}");
        }
        assert!(!has_word("web", "webs"));
        let wanted = Wanted::<()> {
            q: "  WEB ".repeat(1000),
            ..Wanted::default()
        };
        assert!(wanted.word().starts_with("web ") && wanted.word().len() <= MAX_WORD);
    }
}
