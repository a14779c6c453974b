//! What is looked at, and what keys do to that. Knows no terminal.

use std::time::Instant;

use ratatui::crossterm::event::KeyCode;

use super::look::Look;
use super::words::one_line;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    Name,
    /// The worst first
    State,
    Requests,
    Errors,
    P99,
    InFlight,
}

impl Sort {
    /// As the node calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::P99 => "p99",
            Self::InFlight => "in_flight",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Stay,
    Leave,
}

pub(super) struct State {
    pub(super) sort: Sort,
    pub(super) search: String,
    /// Keys go into the search.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// Counted from 1.
    pub(super) page: usize,
    /// Of the rows shown.
    pub(super) selected: usize,
    /// Mode and name of the service whose upstreams are shown.
    pub(super) opened: Option<(String, String)>,
    /// The rows shown are of a list that was asked for before; what is to be opened is in the next.
    is_stale: bool,
    wants_open: bool,
    pub(super) look: Option<Look>,
    /// The newest look failed.
    pub(super) lost: Option<Lost>,
    /// When the last good one came, or when it began.
    good: Instant,
}

/// What a node is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) sort: Sort,
    pub(super) search: String,
    pub(super) page: usize,
    pub(super) opened: Option<(String, String)>,
}

pub(super) struct Lost {
    /// The last good look.
    pub(super) since: Instant,
    pub(super) reason: String,
}

impl State {
    pub(super) fn new(sort: Sort, search: String) -> Self {
        Self {
            sort,
            search,
            is_typing: false,
            is_paused: false,
            page: 1,
            selected: 0,
            opened: None,
            is_stale: false,
            wants_open: false,
            look: None,
            lost: None,
            good: Instant::now(),
        }
    }

    pub(super) fn wish(&self) -> Wish {
        Wish {
            sort: self.sort,
            search: self.search.clone(),
            page: self.page,
            opened: self.opened.clone(),
        }
    }

    pub(super) fn take(&mut self, look: anyhow::Result<Look>) {
        match look {
            Ok(look) => {
                self.page = look.services.page;
                self.selected = self
                    .selected
                    .min(look.services.rows.len().saturating_sub(1));
                if self.opened.is_some() && look.opened.is_none() {
                    // It is gone.
                    self.opened = None;
                }
                self.look = Some(look);
                (self.lost, self.good) = (None, Instant::now());
                self.is_stale = false;
                if std::mem::take(&mut self.wants_open) {
                    self.open();
                }
            }
            Err(error) => {
                self.lost = Some(Lost {
                    since: self.good,
                    // It may say what somebody answered.
                    reason: one_line(&format!("{error:#}")),
                });
            }
        }
    }

    pub(super) fn press(&mut self, key: KeyCode) -> Pressed {
        let before = (self.sort, self.search.clone(), self.page);
        let pressed = self.follow(key);
        self.is_stale |= before != (self.sort, self.search.clone(), self.page);
        pressed
    }

    fn follow(&mut self, key: KeyCode) -> Pressed {
        if self.is_typing {
            self.type_in(key);
            return Pressed::Stay;
        }
        match key {
            KeyCode::Char('q') => return Pressed::Leave,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.opened = None,
            KeyCode::Char('/') => {
                (self.is_typing, self.opened) = (true, None);
                self.search.clear();
            }
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.rows().saturating_sub(1));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageDown => self.page += 1,
            KeyCode::PageUp => self.page = self.page.saturating_sub(1).max(1),
            KeyCode::Enter | KeyCode::Right => self.open(),
            KeyCode::Char(letter) => {
                let sort = match letter {
                    'n' => Sort::Name,
                    's' => Sort::State,
                    'r' => Sort::Requests,
                    'e' => Sort::Errors,
                    'p' => Sort::P99,
                    'i' => Sort::InFlight,
                    _ => return Pressed::Stay,
                };
                (self.sort, self.page, self.selected) = (sort, 1, 0);
            }
            _ => {}
        }
        Pressed::Stay
    }

    fn type_in(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.search.clear();
            }
            KeyCode::Backspace => drop(self.search.pop()),
            KeyCode::Char(letter) if self.search.len() < 200 => self.search.push(letter),
            _ => {}
        }
        (self.page, self.selected) = (1, 0);
    }

    fn open(&mut self) {
        self.wants_open = self.is_stale;
        if self.is_stale {
            return;
        }
        let look = self.look.as_ref();
        let row = look.and_then(|look| look.services.rows.get(self.selected));
        self.opened = row.map(|row| (row.mode.clone(), row.name.clone()));
    }

    fn rows(&self) -> usize {
        self.look
            .as_ref()
            .map_or(0, |look| look.services.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_search_and_leave() {
        let mut state = State::new(Sort::Requests, String::new());
        state.page = 7;
        assert_eq!(state.press(KeyCode::Char('e')), Pressed::Stay);
        assert_eq!((state.sort, state.page), (Sort::Errors, 1));
        for key in ['/', 'q', 'e'] {
            assert_eq!(state.press(KeyCode::Char(key)), Pressed::Stay);
        }
        assert_eq!((state.search.as_str(), state.sort), ("qe", Sort::Errors));
        state.press(KeyCode::Backspace);
        state.press(KeyCode::Enter);
        assert_eq!(state.search, "q");
        assert_eq!(state.press(KeyCode::Char('q')), Pressed::Leave);
        state.press(KeyCode::PageUp);
        state.press(KeyCode::Up);
        state.press(KeyCode::Down);
        assert_eq!((state.page, state.selected), (1, 0), "there is nothing yet");
        state.press(KeyCode::Enter);
        assert_eq!(state.opened, None);
    }
}
