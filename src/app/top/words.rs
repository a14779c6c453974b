//! Figures and texts, short enough for a column.

use ratatui::text::Span;

/// What a node, its keys and its checks say goes to a terminal: without what would steer it.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Columns that it takes on a screen.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// In lines of at most `most` columns, broken between words where there are any; the last of at most `lines` ends in
/// an ellipsis if there is more.
pub(super) fn wrapped(text: &str, most: usize, lines: usize) -> Vec<String> {
    let most = most.max(1);
    let mut done = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let space = usize::from(!line.is_empty());
        if width(&line) + space + width(word) <= most {
            line += if space == 1 { " " } else { "" };
            line += word;
            continue;
        }
        if !line.is_empty() {
            done.push(std::mem::take(&mut line));
        }
        for letter in word.chars() {
            let letter = letter.to_string();
            if width(&line) + width(&letter) > most && !line.is_empty() {
                done.push(std::mem::take(&mut line));
            }
            line += &letter;
        }
    }
    if !line.is_empty() {
        done.push(line);
    }
    if done.len() > lines {
        done.truncate(lines);
        if let Some(last) = done.last_mut() {
            while width(last) >= most && last.pop().is_some() {}
            last.push('…');
        }
    }
    done
}

pub(super) fn figure(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v > 0.0 => format!("{v:.1}"),
        _ => "0".to_owned(),
    }
}

pub(super) fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1} GB", v / 1e9),
        v if v >= 1e6 => format!("{:.1} MB", v / 1e6),
        v if v >= 1e3 => format!("{:.1} kB", v / 1e3),
        v => format!("{v:.0} B"),
    }
}

pub(super) fn share(value: f64) -> String {
    match value {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 0.001 => "<0.1%".to_owned(),
        v => format!("{:.1}%", v * 100.0),
    }
}

pub(super) fn ms(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v >= 1000.0 => format!("{:.1} s", v / 1000.0),
        Some(v) if v >= 10.0 => format!("{v:.0} ms"),
        Some(v) => format!("{v:.1} ms"),
    }
}

pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// How long ago `since` was, by the clock that says `now`; both as a node writes times.
pub(super) fn age(since: &str, now: &str) -> Option<String> {
    let [since, now] = [since, now].map(|text| text.parse::<jiff::Timestamp>());
    let seconds = now.ok()?.duration_since(since.ok()?).as_secs();
    Some(duration(u64::try_from(seconds).unwrap_or(0)))
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
        assert_eq!(one_line("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
    }

    #[test]
    fn ages_are_by_the_clock_of_the_node() {
        let age = |since| age(since, "2026-01-01T10:03:05.000Z");
        assert_eq!(age("2026-01-01T10:00:00.500Z").as_deref(), Some("3 min"));
        assert_eq!(age("2026-01-01T11:00:00.000Z").as_deref(), Some("0 s"));
        assert_eq!(age(""), None);
    }

    #[test]
    fn lines_are_broken_between_words_and_what_is_too_much_is_marked() {
        assert_eq!(wrapped("one two three", 7, 9), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 7, 1), ["one tw…"]);
        assert_eq!(wrapped("abcdefgh ij", 3, 9), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3, 9), Vec::<String>::new());
    }
}
