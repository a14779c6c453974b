//! A look as a screen of text.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Sparkline, Table, TableState};

use super::look::{self, Look, Overview};
use super::state::{Sort, State};

/// Refusals and stores in trouble that are told one by one.
const PROBLEMS: usize = 6;

const KEYS: &str = "q quit  / search  n name  s state  r requests  e errors  p p99  i in flight  \
    Enter upstreams  Esc back  PgUp PgDn page  Space pause";

/// Draws all of it. `has_keys`: somebody can press them.
pub(super) fn screen(frame: &mut Frame<'_>, state: &State, has_keys: bool) {
    let Some(look) = &state.look else {
        let text = match &state.trouble {
            Some(trouble) => format!("cannot be asked, trying on: {trouble}"),
            None => "asking".to_owned(),
        };
        return frame.render_widget(Paragraph::new(text), frame.area());
    };
    let problems = problems(look, state);
    let told = u16::try_from(problems.len()).unwrap_or(u16::MAX);
    let chart = if has_keys { 3 } else { 0 };
    let [head, spark, told, list, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(chart),
        Constraint::Length(told),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(overview(&look.overview, state)), head);
    if let Some(history) = &look.overview.history {
        let points: Vec<u64> = history.requests_per_s.iter().map(|r| *r as u64).collect();
        let first = points.len().saturating_sub(usize::from(spark.width));
        let spark_line = Sparkline::default().style(Style::new().fg(Color::Cyan));
        frame.render_widget(spark_line.data(&points[first..]), spark);
    }
    frame.render_widget(Paragraph::new(problems), told);
    match &look.opened {
        Some(opened) => upstreams(frame, list, opened),
        None => services(frame, list, look, state, has_keys),
    }
    if has_keys {
        let text = match state.is_typing {
            true => format!("search: {}_", state.search),
            false => KEYS.to_owned(),
        };
        let faint = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(text).style(faint), foot);
    }
}

fn overview(overview: &Overview, state: &State) -> Vec<Line<'static>> {
    let own = overview;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let paused = if state.is_paused { "  PAUSED" } else { "" };
    let (services, upstreams) = (&own.services, &own.upstreams);
    vec![
        Line::from(vec![
            Span::styled(own.node.clone(), bold),
            Span::raw(format!(
                "  pointsman {}  {}  up {}  generation {}  revision {}{paused}",
                own.version,
                own.phase,
                duration(own.uptime_s),
                own.generation,
                own.revision
            )),
        ]),
        Line::from(format!(
            "requests {}/s  errors {}/s  p50 {}  p99 {}  connections {}  in {}/s  out {}/s",
            figure(own.requests_per_s),
            figure(own.errors_per_s),
            ms(own.p50_ms),
            ms(own.p99_ms),
            own.connections,
            bytes(own.bytes_in_per_s),
            bytes(own.bytes_out_per_s)
        )),
        Line::from(vec![
            Span::raw(format!(
                "services {} up {} degraded {} down {}  upstreams {} up {} down {}  ",
                services.total,
                services.up,
                services.degraded,
                services.down,
                upstreams.total,
                upstreams.up,
                upstreams.down
            )),
            Span::styled(format!("refused {}", own.refused), alarm(own.refused > 0)),
            Span::raw(format!("  warnings {}", own.warnings)),
        ]),
    ]
}

fn problems(look: &Look, state: &State) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(trouble) = &state.trouble {
        lines.push(Line::styled(format!("not live: {trouble}"), alarm(true)));
    }
    for store in look.overview.stores.iter().filter(|store| !store.connected) {
        let why = store.last_error.as_deref().unwrap_or("not connected");
        let text = format!("store {} since {}: {why}", store.store, store.since);
        lines.push(Line::styled(text, alarm(true)));
    }
    for refusal in &look.refused {
        let first = refusal.diagnostics.first();
        let why = first.map(ToString::to_string).unwrap_or_default();
        let text = format!("refused {}: {}", refusal.unit, one_line(&why));
        lines.push(Line::styled(text, alarm(true)));
    }
    if lines.len() > PROBLEMS {
        let more = lines.len() - PROBLEMS;
        lines.truncate(PROBLEMS);
        lines.push(Line::from(format!("and {more} more: see /v1/refused")));
    }
    lines
}

fn services(frame: &mut Frame<'_>, area: Rect, look: &Look, state: &State, has_keys: bool) {
    let page = &look.services;
    let heads = [
        ("SERVICE", Some(Sort::Name)),
        ("STATE", Some(Sort::State)),
        ("UP", None),
        ("REQ/S", Some(Sort::Requests)),
        ("ERR", Some(Sort::Errors)),
        ("P50", None),
        ("P99", Some(Sort::P99)),
        ("IN FLIGHT", Some(Sort::InFlight)),
        ("QUEUED", None),
        ("LEADS HERE", None),
    ];
    let heads = heads.map(|(head, sort)| match sort == Some(state.sort) {
        true => format!("{head}*"),
        false => head.to_owned(),
    });
    let rows = page.rows.iter().map(|row| {
        let leads = match row.port {
            Some(port) => format!(":{port}"),
            None => row.hosts.join(" "),
        };
        let condition = match row.refused {
            true => format!("{} refused", row.state),
            false => row.state.clone(),
        };
        let cells = [
            row.name.clone(),
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
        Row::new(cells).style(of_state(&row.state, row.refused))
    });
    let widths = [
        Constraint::Fill(3),
        Constraint::Length(16),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Fill(3),
    ];
    let pages = page.matched.div_ceil(page.size.max(1)).max(1);
    let title = format!(
        "{} services{}, page {} of {pages}",
        page.matched,
        match state.search.trim() {
            "" => String::new(),
            word => format!(" with {word:?}"),
        },
        page.page
    );
    let table = table(rows.collect(), heads.to_vec(), &widths, title);
    let selected = has_keys.then_some(state.selected);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

fn upstreams(frame: &mut Frame<'_>, area: Rect, opened: &look::Opened) {
    let heads = [
        "UPSTREAM",
        "ADDRESS",
        "STATE",
        "WEIGHT",
        "REQ/S",
        "ERR",
        "P50",
        "P99",
        "IN FLIGHT",
        "SINCE",
        "LAST CHECK",
    ];
    let rows = opened.upstreams.iter().map(|upstream| {
        let cells = [
            upstream.name.clone(),
            upstream.address.clone(),
            upstream.state.clone(),
            upstream.weight.to_string(),
            figure(upstream.requests_per_s),
            share(upstream.error_share),
            ms(upstream.p50_ms),
            ms(upstream.p99_ms),
            upstream.in_flight.to_string(),
            upstream.since.clone().unwrap_or_default(),
            one_line(&upstream.last_check),
        ];
        Row::new(cells).style(of_state(&upstream.state, false))
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(21),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(24),
        Constraint::Fill(3),
    ];
    let heads = heads.map(str::to_owned).to_vec();
    let title = format!("upstreams of {}", opened.name);
    frame.render_widget(table(rows.collect(), heads, &widths, title), area);
}

fn table<'a>(
    rows: Vec<Row<'a>>,
    heads: Vec<String>,
    widths: &[Constraint],
    title: String,
) -> Table<'a> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let block = ratatui::widgets::Block::new().title(title);
    Table::new(rows, widths.to_vec())
        .header(Row::new(heads).style(bold))
        .row_highlight_style(reversed)
        .block(block)
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

fn alarm(is_one: bool) -> Style {
    match is_one {
        true => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        false => Style::new(),
    }
}

/// What keys and checks say goes to a terminal: without what would steer it.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v > 0.0 => format!("{v:.1}"),
        _ => "0".to_owned(),
    }
}

fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1} GB", v / 1e9),
        v if v >= 1e6 => format!("{:.1} MB", v / 1e6),
        v if v >= 1e3 => format!("{:.1} kB", v / 1e3),
        v => format!("{v:.0} B"),
    }
}

fn share(value: f64) -> String {
    match value {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 0.001 => "<0.1%".to_owned(),
        v => format!("{:.1}%", v * 100.0),
    }
}

fn ms(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v >= 1000.0 => format!("{:.1} s", v / 1000.0),
        Some(v) if v >= 10.0 => format!("{v:.0} ms"),
        Some(v) => format!("{v:.1} ms"),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_what_comes_from_keys_steers_no_terminal() {
        assert_eq!(
            [0.0, 0.25, 12.0, 123.4, 12_345.0, 2e6].map(figure),
            ["0", "0.2", "12.0", "123", "12.3k", "2.0M"]
        );
        assert_eq!([0.0, 0.0001, 0.5].map(share), ["0", "<0.1%", "50.0%"]);
        assert_eq!(
            [Some(0.25), Some(42.4), Some(1500.0), None].map(ms),
            ["0.2 ms", "42 ms", "1.5 s", "-"]
        );
        assert_eq!(
            [5, 65, 3700, 90_000].map(duration),
            ["5 s", "1 min", "1 h 1 min", "1 d 1 h"]
        );
        assert_eq!(one_line("a\x1b[2Jb\nc"), "a [2Jb c");
    }
}
