//! Panels, lines, markers and legends, onto whatever can be drawn on.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{DashedPathElement, PathElement};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{DrawError, Figure, LEGEND_KEY, LEGEND_MARGIN, LEGEND_ROW, LETTER, Line, Mark, Panel};
use crate::report::chart::{COLOURS, colour};

/// With more lines in a panel, intervals are bars and no longer bands.
const MOST_BANDS: usize = 4;
const MARKERS: usize = 6;
const INK: RGBColor = RGBColor(0x22, 0x25, 0x2a);
const SOFT: RGBColor = RGBColor(0x64, 0x6a, 0x73);
const RULE: RGBColor = RGBColor(0xe3, 0xe5, 0xe8);
const TEXT: f64 = 11.0;

type Area<DB> = DrawingArea<DB, Shift>;
type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws a figure with so many pixels for each of its units.
pub(super) struct Painter<'a> {
    pub(super) figure: &'a Figure,
    pub(super) scale: f64,
}

impl Painter<'_> {
    fn px(&self, units: f64) -> i32 {
        (units * self.scale).round() as i32
    }

    fn text(&self, size: f64, colour: &RGBColor) -> TextStyle<'static> {
        ("sans-serif", size * self.scale).into_font().color(colour)
    }

    fn stroke(&self, colour: RGBColor, width: f64) -> ShapeStyle {
        colour.stroke_width((width * self.scale).round().max(1.0) as u32)
    }

    /// Draws all of it onto an area of the figure's size.
    pub(super) fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Result<(), DrawError>
    where
        DB::ErrorType: 'static,
    {
        root.fill(&WHITE)?;
        let (width, height) = self.figure.size();
        let (charts, legend) = root.split_vertically(self.px(f64::from(height - self.figure.legend_height(width))));
        let ranges = (self.x_range(), self.y_range());
        let areas = charts.split_evenly((self.figure.rows(), self.figure.columns()));
        for (place, (panel, area)) in self.figure.panels.iter().zip(&areas).enumerate() {
            self.paint_panel(panel, area, ranges.clone(), place % self.figure.columns() == 0)?;
        }
        self.paint_legend(&legend, width)?;
        root.present()?;
        Ok(())
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.figure.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.marks)
    }

    fn x_range(&self) -> std::ops::Range<f64> {
        let categories = self.figure.panels.iter().map(|panel| panel.categories.len()).max().unwrap_or_default();
        if categories > 0 {
            return -0.5..categories as f64 - 0.5;
        }
        padded(self.marks().map(|mark| mark.x), 0.04)
    }

    /// All means with air, and of the intervals what is within one and a half times their spread: two seeds can have an interval
    /// that would flatten everything else.
    fn y_range(&self) -> std::ops::Range<f64> {
        let means = padded(self.marks().map(|mark| mark.mean), 0.05);
        let air = 1.5 * (means.end - means.start);
        let ends = self.marks().flat_map(|mark| mark.interval.map_or([mark.mean; 2], |(low, high)| [low, high]));
        padded(ends.map(|end| end.clamp(means.start - air, means.end + air)), 0.05)
    }

    fn paint_panel<DB: DrawingBackend>(
        &self,
        panel: &Panel,
        area: &Area<DB>,
        (x, y): (std::ops::Range<f64>, std::ops::Range<f64>),
        first: bool,
    ) -> Result<(), DrawError>
    where
        DB::ErrorType: 'static,
    {
        let mut builder = ChartBuilder::on(area);
        builder.margin(self.px(10.0)).margin_bottom(self.px(4.0)).x_label_area_size(self.px(35.0));
        builder.y_label_area_size(self.px(if first { 52.0 } else { 40.0 }));
        if !panel.title.is_empty() {
            builder.caption(&panel.title, self.text(TEXT + 1.0, &INK));
        }
        let mut chart = builder.build_cartesian_2d(x.clone(), y.clone())?;
        let category = |x: &f64| match x.fract() == 0.0 {
            true => panel.categories.get(*x as usize).cloned().unwrap_or_default(),
            false => String::new(),
        };
        let decimals = usize::from(y.end - y.start < 0.05) + 2;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(&self.figure.x_title).light_line_style(TRANSPARENT).axis_style(self.stroke(SOFT, 0.8));
        mesh.bold_line_style(self.stroke(RULE, 0.8)).label_style(self.text(TEXT, &INK));
        mesh.axis_desc_style(self.text(TEXT + 1.0, &INK)).y_labels(7);
        if first {
            mesh.y_desc(&self.figure.y_title);
        }
        let number = |x: &f64| format!("{x:.0}");
        let share = |y: &f64| format!("{y:.decimals$}");
        mesh.y_label_formatter(&share);
        if panel.categories.is_empty() {
            mesh.x_labels(if self.figure.columns() == 1 { 9 } else { 5 }).x_label_formatter(&number).draw()?;
        } else {
            mesh.disable_x_mesh().x_labels(2 * panel.categories.len() + 1).x_label_formatter(&category).draw()?;
        }
        let offset = |place: usize| match (self.bands(panel), panel.lines.len()) {
            (true, _) | (_, 0 | 1) => 0.0,
            // Bars of lines that meet would hide each other.
            (false, n) => {
                (place as f64 / (n - 1) as f64 - 0.5)
                    * if panel.categories.is_empty() { 0.015 * (x.end - x.start) } else { 0.2 }
            }
        };
        let moved = panel
            .lines
            .iter()
            .enumerate()
            .map(|(place, line)| Line { style: line.style, marks: line.at(offset(place), &y) });
        let lines: Vec<Line> = moved.collect();
        for line in &lines {
            self.paint_intervals(line, self.bands(panel), &mut chart)?;
        }
        for line in &lines {
            self.paint_line(line, area, &mut chart)?;
        }
        Ok(())
    }

    /// Bands of more lines, or between categories, would only cover each other.
    fn bands(&self, panel: &Panel) -> bool {
        panel.lines.len() <= MOST_BANDS && panel.categories.is_empty()
    }

    fn paint_intervals<DB: DrawingBackend>(
        &self,
        line: &Line,
        band: bool,
        chart: &mut Chart<DB>,
    ) -> Result<(), DrawError>
    where
        DB::ErrorType: 'static,
    {
        let hue = rgb(line.style);
        let spans: Vec<(f64, f64, f64)> =
            line.marks.iter().filter_map(|mark| mark.interval.map(|(low, high)| (mark.x, low, high))).collect();
        if band {
            let upper = spans.iter().map(|&(x, _, high)| (x, high));
            let outline: Vec<(f64, f64)> = upper.chain(spans.iter().rev().map(|&(x, low, _)| (x, low))).collect();
            chart.draw_series([Polygon::new(outline, hue.mix(0.15))])?;
            return Ok(());
        }
        let thin = ShapeStyle { color: hue.mix(0.6), filled: false, stroke_width: self.px(1.0) as u32 };
        let cap = self.px(2.5);
        for (x, low, high) in spans {
            chart.draw_series([PathElement::new([(x, low), (x, high)], thin)])?;
            let ends =
                [low, high].map(|end| EmptyElement::at((x, end)) + PathElement::new([(-cap, 0), (cap, 0)], thin));
            chart.draw_series(ends)?;
        }
        Ok(())
    }

    fn paint_line<DB: DrawingBackend>(
        &self,
        line: &Line,
        area: &Area<DB>,
        chart: &mut Chart<DB>,
    ) -> Result<(), DrawError>
    where
        DB::ErrorType: 'static,
    {
        let points: Vec<(f64, f64)> = line.marks.iter().map(|mark| (mark.x, mark.mean)).collect();
        let stroke = self.stroke(rgb(line.style), 1.8);
        if let Some((on, off)) = dash(line.style) {
            chart.draw_series([DashedPathElement::new(points.iter().copied(), self.px(on), self.px(off), stroke)])?;
        } else {
            chart.draw_series([PathElement::new(points.clone(), stroke)])?;
        }
        let (left, top) = area.get_base_pixel();
        for (mark, at) in line.marks.iter().zip(&points) {
            let (x, y) = chart.plotting_area().map_coordinate(at);
            self.paint_marker(area, (x - left, y - top), line.style, mark.best)?;
        }
        Ok(())
    }

    fn paint_marker<DB: DrawingBackend>(
        &self,
        area: &Area<DB>,
        (x, y): (i32, i32),
        style: usize,
        best: bool,
    ) -> Result<(), DrawError>
    where
        DB::ErrorType: 'static,
    {
        let hue = rgb(style);
        let r = self.px(3.6);
        let corners: &[(f64, f64)] = match style % MARKERS {
            0 => &[],
            1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            2 => &[(0.0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
            3 => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
            4 => &[(0.0, 1.25), (1.15, -0.85), (-1.15, -0.85)],
            _ => &[
                (-0.4, -1.2),
                (0.4, -1.2),
                (0.4, -0.4),
                (1.2, -0.4),
                (1.2, 0.4),
                (0.4, 0.4),
                (0.4, 1.2),
                (-0.4, 1.2),
                (-0.4, 0.4),
                (-1.2, 0.4),
                (-1.2, -0.4),
                (-0.4, -0.4),
            ],
        };
        if corners.is_empty() {
            area.draw(&Circle::new((x, y), r, hue.filled()))?;
        } else {
            let at =
                |(u, v): &(f64, f64)| (x + (u * f64::from(r)).round() as i32, y + (v * f64::from(r)).round() as i32);
            area.draw(&Polygon::new(corners.iter().map(at).collect::<Vec<_>>(), hue.filled()))?;
        }
        if best {
            area.draw(&Circle::new((x, y), self.px(7.5), self.stroke(INK, 1.2)))?;
        }
        Ok(())
    }

    fn paint_legend<DB: DrawingBackend>(&self, area: &Area<DB>, width: u32) -> Result<(), DrawError>
    where
        DB::ErrorType: 'static,
    {
        let columns = self.figure.legend_columns(width);
        let rows = self.figure.legend.len().div_ceil(columns);
        let column = (f64::from(width) - 2.0 * LEGEND_MARGIN) / columns as f64;
        let most = ((column - LEGEND_KEY - 6.0) / (LETTER - 0.5)) as usize;
        let anchor = Pos::new(HPos::Left, VPos::Center);
        let at = |row: usize| f64::from(LEGEND_ROW) * (row as f64 + 0.5);
        for (place, (name, style)) in self.figure.legend.iter().enumerate() {
            let (x, y) = (LEGEND_MARGIN + (place / rows) as f64 * column, at(place % rows));
            let ends = [(self.px(x), self.px(y)), (self.px(x + 26.0), self.px(y))];
            let stroke = self.stroke(rgb(*style), 1.8);
            match dash(*style) {
                None => area.draw(&PathElement::new(ends, stroke))?,
                Some((on, off)) => area.draw(&DashedPathElement::new(ends, self.px(on), self.px(off), stroke))?,
            }
            self.paint_marker(area, (self.px(x + 13.0), self.px(y)), *style, false)?;
            area.draw(&Text::new(
                cut_short(name, most),
                (self.px(x + LEGEND_KEY), self.px(y)),
                self.text(TEXT, &INK).pos(anchor),
            ))?;
        }
        let below = (self.px(LEGEND_MARGIN), self.px(at(rows) + 2.0));
        area.draw(&Text::new(self.figure.caption.clone(), below, self.text(TEXT - 1.0, &SOFT).pos(anchor)))?;
        Ok(())
    }
}

fn cut_short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Lengths of dash and gap; none for the first lines, which colour and marker tell apart.
fn dash(style: usize) -> Option<(f64, f64)> {
    [None, Some((6.0, 3.0)), Some((2.0, 3.0))][style / COLOURS % 3]
}

fn rgb(style: usize) -> RGBColor {
    let [r, g, b] = colour(style % COLOURS);
    RGBColor(r, g, b)
}

/// The range of the values with a share of air on both sides; 0 to 1 where there are none.
fn padded(values: impl Iterator<Item = f64>, air: f64) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let air = ((high - low) * air).max(0.005);
    low - air..high + air
}
