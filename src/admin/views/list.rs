//! Long lists: what is looked for, in which order, and which page of it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

const MAX_SIZE: usize = 500;

/// Longer words find nothing that is there.
const MAX_WORD: usize = 256;

/// What of a list is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted<State, Sort> {
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

impl<State, Sort: Default> Default for Wanted<State, Sort> {
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

impl<State, Sort> Wanted<State, Sort> {
    /// What is looked for, to be compared with lowercase text.
    pub(super) fn word(&self) -> String {
        let word = self.q.trim();
        let end = word
            .char_indices()
            .nth(MAX_WORD)
            .map_or(word.len(), |(at, _)| at);
        word[..end].to_lowercase()
    }

    /// The page of what was found: each with a key that it is sorted by, names in their order where keys are equal.
    /// `usual` is the order of this key where none is said.
    pub(super) fn page_of<T, K: PartialOrd, Row>(
        &self,
        total: usize,
        mut found: Vec<(K, T)>,
        falls: bool,
        row: impl Fn(&T) -> Row,
    ) -> Page<Row> {
        let falls = self.order.map_or(falls, |order| order == Order::Desc);
        // What was found is in the order of names, and stays so where keys are equal.
        found.sort_by(|(a, _), (b, _)| {
            let order = a.partial_cmp(b).unwrap_or(Ordering::Equal);
            if falls { order.reverse() } else { order }
        });
        let size = self.size.clamp(1, MAX_SIZE);
        let pages = found.len().div_ceil(size).max(1);
        let page = self.page.clamp(1, pages);
        let shown = found.iter().skip((page - 1) * size).take(size);
        Page {
            total,
            matched: found.len(),
            page,
            size,
            rows: shown.map(|(_, item)| row(item)).collect(),
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

    fn rows(wanted: &Wanted<(), ()>, falls: bool) -> Vec<&'static str> {
        let found = vec![(1, "a"), (3, "b"), (3, "c"), (2, "d")];
        wanted.page_of(4, found, falls, |name| *name).rows
    }

    #[test]
    fn pages_are_cut_from_the_sorted_whole_and_equal_keys_keep_their_order() {
        let mut wanted = Wanted::default();
        assert_eq!(rows(&wanted, false), ["a", "d", "b", "c"]);
        assert_eq!(rows(&wanted, true), ["b", "c", "d", "a"]);
        (wanted.size, wanted.page) = (3, 2);
        assert_eq!(rows(&wanted, true), ["a"]);
        wanted.page = 99;
        assert_eq!(rows(&wanted, true), ["a"], "the last there is");
        wanted.order = Some(Order::Asc);
        assert_eq!(rows(&wanted, true), ["c"]);
        (wanted.size, wanted.page) = (0, 0);
        assert_eq!(rows(&wanted, true), ["a"]);
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
        let wanted = Wanted::<(), ()> {
            q: "  WEB ".repeat(1000),
            ..Wanted::default()
        };
        assert!(wanted.word().starts_with("web ") && wanted.word().len() <= MAX_WORD);
    }
}
