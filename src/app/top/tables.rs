//! The services of a look, and the upstreams of one of them.

use ratatui::style::{Color, Modifier, Style};

use super::grid::{Column, Grid};
use super::look::{Opened, Services};
use super::state::{Sort, State};
use super::words::{age, figure, ms, one_line, share};

/// Of a name, however small the screen is.
const NAME: usize = 20;

/// Of what is told last in a row.
const LAST: usize = 16;

pub(super) fn services(page: &Services, state: &State) -> Grid {
    let pages = page.matched.div_ceil(page.size.max(1)).max(1);
    let search = match state.search.trim() {
        "" => String::new(),
        word => format!(" with {word:?}"),
    };
    let place = match pages {
        1 => String::new(),
        _ => format!(", page {} of {pages}", page.page),
    };
    let column = |head: &str, sort: Option<Sort>, least: usize| match sort == Some(state.sort) {
        true => Column::new(&format!("{head}*"), least),
        false => Column::new(head, least),
    };
    let mut grid = Grid {
        title: format!("{} services{search}{place}", page.matched),
        columns: vec![
            column("SERVICE", Some(Sort::Name), NAME).cut(NAME),
            column("STATE", Some(Sort::State), 8),
            column("UP", None, 5).spare(2),
            column("REQ/S", Some(Sort::Requests), 6).spare(1),
            column("ERR", Some(Sort::Errors), 6).spare(3),
            column("P50", None, 7).spare(6),
            column("P99", Some(Sort::P99), 7).spare(4),
            column("IN FLIGHT", Some(Sort::InFlight), 9).spare(5),
            column("QUEUED", None, 6).spare(7),
            column("LEADS HERE", None, 0).cut(LAST).spare(8),
        ],
        rows: Vec::new(),
    };
    for row in &page.rows {
        let leads = match row.port {
            Some(port) => format!(":{port}"),
            None => match row.hosts_total.saturating_sub(row.hosts.len()) {
                0 => row.hosts.join(" "),
                more => format!("{} and {more} more", row.hosts.join(" ")),
            },
        };
        let name = match row.mode.as_str() {
            "http" => row.name.clone(),
            mode => format!("{} ({mode})", row.name),
        };
        let condition = match row.refused {
            true => format!("{} refused", row.state),
            false => row.state.clone(),
        };
        let cells = vec![
            name,
            condition,
            format!("{}/{}", row.upstreams_up, row.upstreams_total),
            figure(row.requests_per_s),
            share(row.error_share),
            ms(row.p50_ms),
            ms(row.p99_ms),
            row.in_flight.to_string(),
            row.queued.to_string(),
            leads,
        ];
        grid.push(of_state(&row.state, row.refused), cells);
    }
    grid
}

/// `now` is what the node's clock says.
pub(super) fn upstreams(opened: &Opened, now: &str) -> Grid {
    let mut grid = Grid {
        title: one_line(&format!("upstreams of {}", opened.name)),
        columns: vec![
            Column::new("UPSTREAM", 8).cut(NAME),
            Column::new("ADDRESS", 15),
            Column::new("STATE", 8),
            Column::new("FOR", 6),
            Column::new("WEIGHT", 6).spare(2),
            Column::new("REQ/S", 6).spare(3),
            Column::new("ERR", 6).spare(4),
            Column::new("P50", 7).spare(7),
            Column::new("P99", 7).spare(5),
            Column::new("IN FLIGHT", 9).spare(6),
            Column::new("LAST CHECK", 0).cut(LAST),
        ],
        rows: Vec::new(),
    };
    for upstream in &opened.upstreams {
        let since = upstream.since.as_deref();
        let cells = vec![
            upstream.name.clone(),
            upstream.address.clone(),
            upstream.state.clone(),
            since.and_then(|since| age(since, now)).unwrap_or_default(),
            upstream.weight.to_string(),
            figure(upstream.requests_per_s),
            share(upstream.error_share),
            ms(upstream.p50_ms),
            ms(upstream.p99_ms),
            upstream.in_flight.to_string(),
            upstream.last_check.clone(),
        ];
        grid.push(of_state(&upstream.state, false), cells);
    }
    grid
}

/// Words say it too: nobody has to see colours.
fn of_state(state: &str, is_refused: bool) -> Style {
    match state {
        _ if is_refused => alarm(true),
        "down" => alarm(true),
        "degraded" | "starting" | "drained" => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

pub(super) fn alarm(is_one: bool) -> Style {
    match is_one {
        true => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        false => Style::new(),
    }
}
