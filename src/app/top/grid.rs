//! Tables: which columns there is room for, and how wide they are.

use ratatui::layout::Constraint;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Block, Row, Table};

use super::words::{one_line, width};

const GAP: usize = 1;

/// As it is asked for; [`Grid::fit`] says what of it is shown.
pub(super) struct Grid {
    pub(super) title: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<(Style, Vec<String>)>,
}

pub(super) struct Column {
    pub(super) head: String,
    /// Wider where its cells are.
    pub(super) least: usize,
    /// What it may be cut to where the screen is small; `None`: it is whole.
    pub(super) cut: Option<usize>,
    /// Who is left out first has the highest; 0 stays.
    pub(super) spare: u8,
}

impl Column {
    pub(super) fn new(head: &str, least: usize) -> Self {
        Self {
            head: head.to_owned(),
            least,
            cut: None,
            spare: 0,
        }
    }

    pub(super) fn cut(self, to: usize) -> Self {
        let cut = Some(to);
        Self { cut, ..self }
    }

    pub(super) fn spare(self, spare: u8) -> Self {
        Self { spare, ..self }
    }
}

impl Grid {
    pub(super) fn push(&mut self, style: Style, cells: Vec<String>) {
        let cells = cells.iter().map(|cell| one_line(cell)).collect();
        self.rows.push((style, cells));
    }

    /// Everything, as wide as it is.
    pub(super) fn text(&self) -> String {
        let widths = self.widths();
        let heads: Vec<_> = self.columns.iter().map(|c| c.head.clone()).collect();
        let rows = self.rows.iter().map(|(_, cells)| cells);
        let mut text = format!("{}\n", self.title);
        for cells in [&heads].into_iter().chain(rows) {
            let mut line = String::new();
            for (cell, most) in cells.iter().zip(&widths) {
                let pad = most.saturating_sub(width(cell)) + GAP;
                line += cell;
                line.extend(std::iter::repeat_n(' ', pad));
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// What there is room for in `room` columns of a screen.
    pub(super) fn table(&self, room: usize) -> Table<'static> {
        let shown = self.fit(room);
        let pick = |cells: &[String]| -> Vec<String> {
            shown.iter().map(|(at, _)| cells[*at].clone()).collect()
        };
        let heads: Vec<_> = self.columns.iter().map(|c| c.head.clone()).collect();
        let rows = self.rows.iter();
        let rows = rows.map(|(style, cells)| Row::new(pick(cells)).style(*style));
        let widths = shown.iter().map(|(_, width)| {
            let width = u16::try_from(*width).unwrap_or(u16::MAX);
            Constraint::Length(width)
        });
        Table::new(rows, widths.collect::<Vec<_>>())
            .column_spacing(GAP as u16)
            .header(Row::new(pick(&heads)).style(Style::new().add_modifier(Modifier::BOLD)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .block(Block::new().title(self.title.clone()))
    }

    /// The columns to show and their widths.
    fn fit(&self, room: usize) -> Vec<(usize, usize)> {
        let wanted = self.widths();
        let least = |at: usize| match self.columns[at].cut {
            Some(cut) => wanted[at].min(cut),
            None => wanted[at],
        };
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let needs = |shown: &[usize]| {
            let widths: usize = shown.iter().map(|at| least(*at)).sum();
            widths + GAP * shown.len().saturating_sub(1)
        };
        while needs(&shown) > room {
            let columns = shown.iter().enumerate();
            let spare = columns.max_by_key(|(_, at)| self.columns[**at].spare);
            match spare {
                Some((place, at)) if self.columns[*at].spare > 0 => drop(shown.remove(place)),
                _ => break,
            }
        }
        let mut rest = room.saturating_sub(needs(&shown));
        let widths = shown.into_iter().map(|at| {
            let more = (wanted[at] - least(at)).min(rest);
            rest -= more;
            (at, least(at) + more)
        });
        widths.collect()
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.columns.iter().enumerate();
        let widths = columns.map(|(at, column)| {
            let cells = self.rows.iter().map(|(_, cells)| width(&cells[at]));
            let cells = cells.max().unwrap_or(0);
            cells.max(column.least).max(width(&column.head))
        });
        widths.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_one_by_one_and_the_name_stays() {
        let mut grid = Grid {
            title: String::new(),
            columns: vec![
                Column::new("NAME", 4).cut(6),
                Column::new("A", 4).spare(1),
                Column::new("B", 4).spare(2),
                Column::new("STATE", 5),
            ],
            rows: Vec::new(),
        };
        let row = ["a-long-name", "a", "b", "up"].map(str::to_owned);
        grid.push(Style::new(), row.to_vec());
        let shown = |room| grid.fit(room);
        assert_eq!(shown(99), [(0, 11), (1, 4), (2, 4), (3, 5)]);
        assert_eq!(shown(24), [(0, 8), (1, 4), (2, 4), (3, 5)]);
        assert_eq!(shown(21), [(0, 10), (1, 4), (3, 5)]);
        assert_eq!(shown(13), [(0, 7), (3, 5)]);
        assert_eq!(shown(3), [(0, 6), (3, 5)]);
        assert_eq!(
            grid.text(),
            "\nNAME        A    B    STATE\na-long-name a    b    up\n"
        );
    }
}
