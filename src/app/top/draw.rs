//! A look as a screen of text, or as text without a screen.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline, TableState};

use super::look::{Look, Overview, Refusal};
use super::state::State;
use super::tables::{alarm, services, upstreams};
use super::words::{age, bytes, duration, figure, ms, one_line, width, wrapped};
use crate::diag::Diagnostic;

/// Of the screen, for one refusal.
const LINES_OF_ONE: usize = 3;

/// Less than this is too little of a list to put a chart above it.
const LEAST_OF_LIST: usize = 12;

const CHART: usize = 3;

/// What keys do, in the order shown; where there is no room for all, those with the highest number go first.
const KEYS: &[(&str, u8)] = &[
    ("q quit", 0),
    ("/ search", 1),
    ("Enter upstreams", 3),
    ("Esc back", 2),
    ("Space pause", 4),
    ("PgUp PgDn page", 6),
    ("n s r e p i sort", 5),
];

/// Where there is room for it in place of the last.
const SORTS: &str = "sort: n name  s state  r requests  e errors  p p99  i in flight";

/// Draws all of it in a terminal.
pub(super) fn screen(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    let room = usize::from(area.width);
    let lost = lost(state);
    let Some(look) = &state.look else {
        let text = match &lost {
            Some(lost) => format!("cannot be asked, trying on: {lost}"),
            None => "asking".to_owned(),
        };
        let lines = wrapped(&text, room, usize::from(area.height));
        let lines: Vec<_> = lines.into_iter().map(Line::from).collect();
        return frame.render_widget(Paragraph::new(lines), area);
    };
    let head = flow(overview(&look.overview, state), room);
    let height = usize::from(area.height);
    let problems = problems(look, room, height / 2);
    let lost = lost.map(|lost| wrapped(&lost, room, LINES_OF_ONE));
    let lost = lost.unwrap_or_default();
    let taken = head.len() + lost.len() + problems.len() + 1;
    let chart = match height.saturating_sub(taken + CHART) >= LEAST_OF_LIST {
        true => CHART,
        false => 0,
    };
    let lines = |n: usize| Constraint::Length(u16::try_from(n).unwrap_or(u16::MAX));
    let [top, head_at, spark_at, problems_at, list, foot] = Layout::vertical([
        lines(lost.len()),
        lines(head.len()),
        lines(chart),
        lines(problems.len()),
        Constraint::Min(3),
        lines(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head), head_at);
    if let Some(history) = &look.overview.history {
        let points: Vec<u64> = history.requests_per_s.iter().map(|r| *r as u64).collect();
        let first = points.len().saturating_sub(usize::from(spark_at.width));
        let spark_line = Sparkline::default().style(Style::new().fg(Color::Cyan));
        frame.render_widget(spark_line.data(&points[first..]), spark_at);
    }
    frame.render_widget(Paragraph::new(problems), problems_at);
    match &look.opened {
        Some(opened) => {
            let table = upstreams(opened, &look.overview.now).table(room);
            frame.render_widget(table, list);
        }
        None => {
            let table = services(&look.services, state).table(room);
            let mut selected = TableState::new().with_selected(state.selected);
            frame.render_stateful_widget(table, list, &mut selected);
        }
    }
    if !lost.is_empty() {
        // What is below is from before.
        let dim = Style::new().remove_modifier(Modifier::BOLD);
        frame
            .buffer_mut()
            .set_style(area, dim.add_modifier(Modifier::DIM));
        let lines: Vec<_> = lost
            .into_iter()
            .map(|line| Line::styled(line, alarm(true).remove_modifier(Modifier::DIM)))
            .collect();
        frame.render_widget(Paragraph::new(lines), top);
    }
    let text = match state.is_typing {
        true => format!("search: {}_", state.search),
        false => keys(room),
    };
    let faint = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new(text).style(faint), foot);
}

/// All of it, whatever its width.
pub(super) fn text(state: &State) -> String {
    let Some(look) = &state.look else {
        return String::new();
    };
    let mut lines = flow(overview(&look.overview, state), usize::MAX);
    lines.extend(problems(look, usize::MAX, usize::MAX));
    let mut text = String::new();
    for line in lines {
        text += line.to_string().trim_end();
        text.push('\n');
    }
    text + "\n" + &services(&look.services, state).text()
}

/// Whether nobody has answered for a while, and why.
fn lost(state: &State) -> Option<String> {
    let lost = state.lost.as_ref()?;
    let seconds = Instant::now().duration_since(lost.since).as_secs();
    Some(format!("lost for {seconds} s: {}", lost.reason))
}

/// Pieces that stay whole, by line: each begins one of its own.
fn overview(own: &Overview, state: &State) -> Vec<Vec<Span<'static>>> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut node = vec![Span::styled(one_line(&own.node), bold)];
    if state.is_paused {
        node.push(Span::styled(
            "PAUSED",
            Style::new().add_modifier(Modifier::REVERSED),
        ));
    }
    let plain = |text: String| Span::raw(one_line(&text));
    node.extend([
        plain(format!("pointsman {}", own.version)),
        plain(own.phase.clone()),
        plain(format!("up {}", duration(own.uptime_s))),
        plain(format!("generation {}", own.generation)),
        plain(format!("revision {}", own.revision)),
    ]);
    let rates = vec![
        plain(format!("requests {}/s", figure(own.requests_per_s))),
        plain(format!("errors {}/s", figure(own.errors_per_s))),
        plain(format!("p50 {}", ms(own.p50_ms))),
        plain(format!("p99 {}", ms(own.p99_ms))),
        plain(format!("connections {}", own.connections)),
        plain(format!("in {}/s", bytes(own.bytes_in_per_s))),
        plain(format!("out {}/s", bytes(own.bytes_out_per_s))),
    ];
    let (services, upstreams) = (&own.services, &own.upstreams);
    let mut of_services = format!(
        "services {} up {} degraded {} down {}",
        services.total, services.up, services.degraded, services.down
    );
    if services.drained > 0 {
        of_services += &format!(" drained {}", services.drained);
    }
    let mut counts = vec![
        plain(of_services),
        plain(format!(
            "upstreams {} up {} down {}",
            upstreams.total, upstreams.up, upstreams.down
        )),
        Span::styled(format!("refused {}", own.refused), alarm(own.refused > 0)),
        plain(format!("warnings {}", own.warnings)),
    ];
    if own.checks_late > 0 {
        let text = format!("checks late {}", own.checks_late);
        counts.push(Span::styled(text, alarm(true)));
    }
    if own.nodes.gone > 0 {
        let text = format!("nodes {} gone {}", own.nodes.total, own.nodes.gone);
        counts.push(Span::styled(text, alarm(true)));
    }
    vec![node, rates, counts]
}

/// As many lines as it takes.
fn flow(groups: Vec<Vec<Span<'static>>>, room: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for group in groups {
        let mut line = Line::default();
        for piece in group {
            if line.width() > 0 {
                if line.width() + 2 + piece.width() > room {
                    lines.push(std::mem::take(&mut line));
                } else {
                    line.push_span("  ");
                }
            }
            line.push_span(piece);
        }
        lines.push(line);
    }
    lines
}

/// What needs somebody, in at most so many lines.
fn problems(look: &Look, room: usize, most: usize) -> Vec<Line<'static>> {
    let own = &look.overview;
    let mut told: Vec<Vec<String>> = Vec::new();
    let lines_of_one = match room {
        usize::MAX => usize::MAX,
        _ => LINES_OF_ONE,
    };
    for store in own.stores.iter().filter(|store| !store.connected) {
        let why = store.last_error.as_deref().unwrap_or("not connected");
        let age = age(&store.since, &own.now);
        let since = age.map(|age| format!(" for {age}")).unwrap_or_default();
        let text = format!("store {} is away{since}: {why}", store.store);
        told.push(wrapped(&one_line(&text), room, lines_of_one));
    }
    let stores = told.len();
    // Advice where there is room for all of it.
    for with_advice in [true, false] {
        told.truncate(stores);
        let refused = look.refused.iter();
        let texts = refused.flat_map(|refusal| refusal_lines(refusal, room, with_advice));
        told.extend(texts.map(|text| wrapped(&text, room, lines_of_one)));
        let is_whole = told.iter().flatten().count() <= most;
        let is_uncut = told.iter().flatten().all(|line| !line.ends_with('…'));
        if is_whole && is_uncut {
            break;
        }
    }
    let others = own.refused.saturating_sub(look.refused.len());
    let all = told.len() + others;
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut shown = 0;
    let whole: usize = told.iter().map(Vec::len).sum();
    let room_for_more = usize::from(whole > most || others > 0);
    for one in told {
        if lines.len() + one.len() + room_for_more > most {
            break;
        }
        shown += 1;
        lines.extend(one.into_iter().map(|line| Line::styled(line, alarm(true))));
    }
    if shown < all && lines.len() < most {
        let more = all - shown;
        lines.push(Line::from(format!(
            "and {more} more: `pointsman status` lists them"
        )));
    }
    lines
}

/// One line each where nothing is cut, and else the first problem alone.
fn refusal_lines(refusal: &Refusal, room: usize, with_advice: bool) -> Vec<String> {
    let line = |diagnostic: &Diagnostic| {
        let mut text = refusal.unit.clone();
        if let Some(key) = &diagnostic.key {
            text += &format!(": {key}");
        }
        text += &format!(": {}", diagnostic.message);
        if let Some(help) = diagnostic.help.as_ref().filter(|_| with_advice) {
            text += &format!("; {help}");
        }
        one_line(&text)
    };
    let all = &refusal.diagnostics;
    match room {
        _ if all.is_empty() => vec![one_line(&format!("{}: refused", refusal.unit))],
        usize::MAX => all.iter().map(line).collect(),
        _ => {
            let first = all.iter().find(|diagnostic| diagnostic.is_error());
            first.or(all.first()).map(line).into_iter().collect()
        }
    }
}

fn keys(room: usize) -> String {
    let joined = |shown: &[(&'static str, u8)]| -> String {
        let words: Vec<_> = shown.iter().map(|(word, _)| *word).collect();
        words.join("  ")
    };
    let mut shown = KEYS.to_vec();
    let mut long = shown.clone();
    if let Some(last) = long.last_mut() {
        last.0 = SORTS;
    }
    if width(&joined(&long)) <= room {
        return joined(&long);
    }
    while width(&joined(&shown)) > room && shown.len() > 1 {
        let most = shown.iter().map(|(_, spare)| *spare).max();
        shown.retain(|(_, spare)| Some(*spare) != most);
    }
    joined(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_help_fits() {
        for room in 6..200 {
            let keys = keys(room);
            assert!(width(&keys) <= room && keys.starts_with("q quit"), "{keys}");
        }
        assert!(keys(80).contains("Space pause"), "{}", keys(80));
        assert!(keys(160).ends_with("i in flight"), "{}", keys(160));
    }
}
