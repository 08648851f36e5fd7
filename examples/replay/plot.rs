//! A plot of allowed and denied requests over time, and of the worst clients, as SVG.
//!
//! It has a background of its own, so that it is legible on any page, and a dark one for viewers
//! with a dark colour scheme.

use crate::log::Log;
use crate::report::{shown, worst};
use crate::run::Outcome;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;
use std::path::Path;

const WIDTH: u32 = 960;
/// Heights: of the panel over time, with the title; of the other panel without its rows; of a row.
const HEIGHTS: (u32, u32, u32) = (400, 92, 24);
/// The most columns over time.
const COLUMNS: i64 = 120;
const CLIENTS: usize = 12;
/// The widths that a column may have, in seconds.
const WIDTHS: [(i64, &str); 18] = [
    (1, "a second"),
    (2, "2 s"),
    (5, "5 s"),
    (10, "10 s"),
    (15, "15 s"),
    (30, "30 s"),
    (60, "a minute"),
    (120, "2 min"),
    (300, "5 min"),
    (600, "10 min"),
    (900, "15 min"),
    (1_800, "30 min"),
    (3_600, "an hour"),
    (7_200, "2 h"),
    (10_800, "3 h"),
    (21_600, "6 h"),
    (43_200, "12 h"),
    (86_400, "a day"),
];
const LONGEST: (i64, &str) = (7 * 86_400, "a week");

const PAPER: RGBColor = RGBColor(0xfb, 0xfb, 0xf8);
const INK: RGBColor = RGBColor(0x2b, 0x2f, 0x36);
const FAINT: RGBColor = RGBColor(0xdd, 0xdd, 0xd6);
const ALLOWED: RGBColor = RGBColor(0x2f, 0x7f, 0xb5);
const DENIED: RGBColor = RGBColor(0xd1, 0x49, 0x2e);
/// The colours of a dark colour scheme, which replace those that plotters writes.
const DARK: &str = "<style>
@media (prefers-color-scheme: dark) {
[fill='#FBFBF8'] { fill: #0d1117 }
[fill='#2B2F36'] { fill: #f0f6fc }
[stroke='#2B2F36'] { stroke: #9da7b3 }
[stroke='#DDDDD6'] { stroke: #262c35 }
[fill='#D1492E'] { fill: #ff7b72 }
}
</style>
";

/// Anchors text at the middle of its left end.
const MIDDLE: Pos = Pos { h_pos: HPos::Left, v_pos: VPos::Center };

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Done = Result<(), Box<dyn Error>>;

pub(crate) fn draw(file: &Path, log: &Log, outcome: &Outcome, title: &str) -> Done {
    // The plot is drawn in memory first, so that a file that cannot be written is not left half
    // drawn.
    let mut svg = String::new();
    let clients = worst(outcome, CLIENTS);
    let (upper, lower, row) = HEIGHTS;
    let height = upper + if clients.is_empty() { 0 } else { lower + row * clients.len() as u32 };
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&PAPER)?;
        let root = root.titled(title, ("sans-serif", 20).into_font().color(&INK))?;
        if clients.is_empty() {
            over_time(&root, log, outcome)?;
        } else {
            let (upper, lower) = root.split_vertically(upper - 30);
            over_time(&upper, log, outcome)?;
            worst_clients(&lower, log, outcome, &clients)?;
        }
        root.present()?;
    }
    if let Some(end) = svg.find('\n') {
        svg.insert_str(end + 1, DARK);
    }
    std::fs::write(file, svg)?;
    Ok(())
}

fn over_time(area: &Area<'_>, log: &Log, outcome: &Outcome) -> Done {
    let first = log.requests.first().map_or(0, |(at, _)| *at);
    let last = log.requests.last().map_or(0, |(at, _)| *at);
    // Columns have widths that people count in, and begin at a round moment.
    let least = (last - first) / COLUMNS + 1;
    let (width, name) = WIDTHS.into_iter().find(|(width, _)| *width >= least).unwrap_or(LONGEST);
    let first = first - first.rem_euclid(width);
    let count = ((last - first) / width + 1) as usize;
    let mut columns = vec![(0_u64, 0_u64); count];
    for ((at, _), admitted) in log.requests.iter().zip(&outcome.admitted) {
        let column = &mut columns[((at - first) / width) as usize];
        if *admitted { column.0 += 1 } else { column.1 += 1 }
    }
    let most = columns.iter().map(|(allowed, denied)| allowed + denied).max().unwrap_or(1);
    let end = first + width * count as i64;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(48)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(first..end, 0..most + most / 4 + 1)?;
    // Days apart need dates; hours within one day need times.
    let format = if end - first > 86_400 { "%d %b %H:%M" } else { "%H:%M:%S" };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_labels(7)
        .y_labels(6)
        .label_style(("sans-serif", 13, &INK))
        .x_label_formatter(&|at| {
            let time = chrono::DateTime::from_timestamp(*at, 0);
            time.map_or_else(String::new, |time| time.format(format).to_string())
        })
        .y_desc(format!("requests in {name}"))
        .draw()?;
    let column = |i: usize, from: u64, to: u64, colour: RGBColor| {
        let left = first + width * i as i64;
        Rectangle::new([(left, from), (left + width, to)], colour.filled())
    };
    let allowed =
        columns.iter().enumerate().map(|(i, (allowed, _))| column(i, 0, *allowed, ALLOWED));
    chart.draw_series(allowed)?.label("allowed").legend(|at| swatch(at, ALLOWED));
    let denied = columns.iter().enumerate().filter(|(_, (_, denied))| *denied > 0);
    let denied = denied.map(|(i, (allowed, denied))| column(i, *allowed, allowed + denied, DENIED));
    chart.draw_series(denied)?.label("denied").legend(|at| swatch(at, DENIED));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(PAPER.filled())
        .border_style(FAINT)
        .label_font(("sans-serif", 14, &INK))
        .draw()?;
    Ok(())
}

fn swatch((x, y): (i32, i32), colour: RGBColor) -> Rectangle<(i32, i32)> {
    Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled())
}

fn worst_clients(area: &Area<'_>, log: &Log, outcome: &Outcome, clients: &[usize]) -> Done {
    let most = clients.iter().map(|key| outcome.clients[*key].0).max().unwrap_or(1);
    let rows = clients.len() as i32;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(80)
        .caption("the worst clients, by denials", ("sans-serif", 16, &INK))
        .x_label_area_size(30)
        .y_label_area_size(270)
        .build_cartesian_2d(0..most + most / 20 + 1, (0..rows).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_labels(8)
        .y_labels(clients.len())
        // Blanks replace the ticks, since plotters draws one too many, above the rows.
        .set_tick_mark_size(LabelAreaPosition::Left, 0)
        .label_style(("sans-serif", 13, &INK))
        .y_label_formatter(&|row| match row {
            SegmentValue::CenterOf(row) | SegmentValue::Exact(row) => {
                let key = usize::try_from(rows - 1 - row).ok().and_then(|row| clients.get(row));
                key.map_or_else(String::new, |key| shown(&log.keys[*key]) + "\u{a0}\u{a0}")
            }
            SegmentValue::Last => String::new(),
        })
        .draw()?;
    for (row, key) in clients.iter().enumerate() {
        let (requests, denied) = outcome.clients[*key];
        let row = rows - 1 - row as i32;
        let mut bar = |from: u64, to: u64, colour: RGBColor| {
            let corners = [(from, SegmentValue::Exact(row)), (to, SegmentValue::Exact(row + 1))];
            let mut bar = Rectangle::new(corners, colour.filled());
            bar.set_margin(2, 2, 0, 0);
            chart.draw_series([bar]).map(|_| ())
        };
        bar(0, requests - denied, ALLOWED)?;
        bar(requests - denied, requests, DENIED)?;
        let label = Text::new(
            format!("{denied} denied"),
            (requests + most / 100 + 1, SegmentValue::CenterOf(row)),
            ("sans-serif", 13).into_font().color(&INK).pos(MIDDLE),
        );
        chart.draw_series([label])?;
    }
    Ok(())
}
