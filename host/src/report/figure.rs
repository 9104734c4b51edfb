//! Draws charts for slides and papers: the same picture as PNG and as SVG.
//!
//! Lines differ in colour, marker and, where there are many, dashes, so that they can be told apart without colour.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{DashedPathElement, PathElement};
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::{COLOURS, colour};

/// Pixels of a PNG for each unit of an SVG: 288 dots per inch where a unit is a point's 4/3.
const SCALE: f64 = 3.0;
/// Width of one panel, and what each further column adds.
const PANEL_WIDTH: u32 = 640;
const COLUMN_WIDTH: u32 = 180;
const MOST_COLUMNS: usize = 3;
/// With more lines in a panel, intervals are bars and no longer bands.
const MOST_BANDS: usize = 4;
const MARKERS: usize = 6;
const INK: RGBColor = RGBColor(0x22, 0x25, 0x2a);
const SOFT: RGBColor = RGBColor(0x64, 0x6a, 0x73);
const RULE: RGBColor = RGBColor(0xe3, 0xe5, 0xe8);

type Area<DB> = DrawingArea<DB, Shift>;
type Chart<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// What the drawing library said.
pub(super) type DrawError = Box<dyn std::error::Error>;

/// Panels that share their axes, and a legend below them.
#[derive(Debug, Default)]
pub(super) struct Figure {
    pub(super) x_title: String,
    pub(super) y_title: String,
    pub(super) panels: Vec<Panel>,
    /// Name and style of each line.
    pub(super) legend: Vec<(String, usize)>,
    /// What the intervals are, below the legend.
    pub(super) caption: String,
}

/// One chart.
#[derive(Debug, Default)]
pub(super) struct Panel {
    /// Empty where there is one panel.
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// What stands at x = 0, 1, ...; empty for an axis of numbers.
    pub(super) categories: Vec<String>,
}

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    /// Chooses colour, marker and dashes.
    pub(super) style: usize,
    pub(super) marks: Vec<Mark>,
}

/// One point of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) mean: f64,
    pub(super) interval: Option<(f64, f64)>,
    /// Drawn with a ring.
    pub(super) best: bool,
}

impl Line {
    /// Its marks, moved aside and cut to a range of values.
    fn at(&self, aside: f64, y: &std::ops::Range<f64>) -> Vec<Mark> {
        let cut = |value: f64| value.clamp(y.start, y.end);
        let mark = |mark: &Mark| Mark {
            x: mark.x + aside,
            mean: cut(mark.mean),
            interval: mark.interval.map(|(low, high)| (cut(low), cut(high))),
            best: mark.best,
        };
        self.marks.iter().map(mark).collect()
    }
}

impl Figure {
    /// The figure as an encoded PNG.
    pub(super) fn png(&self) -> Result<Vec<u8>, DrawError> {
        register_fonts()?;
        let (width, height) = self.size();
        let (width, height) = ((width as f64 * SCALE) as u32, (height as f64 * SCALE) as u32);
        let mut pixels_hwc = vec![0; (width * height * 3) as usize];
        Painter { figure: self, scale: SCALE }
            .paint(&BitMapBackend::with_buffer(&mut pixels_hwc, (width, height)).into_drawing_area())?;
        let mut png = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut png);
        image::ImageEncoder::write_image(encoder, &pixels_hwc, width, height, image::ExtendedColorType::Rgb8)?;
        Ok(png)
    }

    /// The figure as an SVG whose text is text.
    pub(super) fn svg(&self) -> Result<String, DrawError> {
        register_fonts()?;
        let mut svg = String::new();
        Painter { figure: self, scale: 1.0 }
            .paint(&SVGBackend::with_string(&mut svg, self.size()).into_drawing_area())?;
        Ok(svg)
    }

    fn columns(&self) -> usize {
        self.panels.len().clamp(1, MOST_COLUMNS)
    }

    fn rows(&self) -> usize {
        self.panels.len().div_ceil(self.columns()).max(1)
    }

    /// Width and height of the SVG.
    fn size(&self) -> (u32, u32) {
        let width = PANEL_WIDTH + COLUMN_WIDTH * (self.columns() as u32 - 1);
        let panel = if self.columns() == 1 { 360 } else { 280 };
        (width, panel * self.rows() as u32 + self.legend_height(width))
    }

    fn legend_height(&self, width: u32) -> u32 {
        let rows = self.legend.len().div_ceil(self.legend_columns(width));
        LEGEND_ROW * (rows as u32 + 1) + 10
    }

    /// As many as the longest name leaves room for.
    fn legend_columns(&self, width: u32) -> usize {
        let longest = self.legend.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        let column = LEGEND_KEY + LETTER * longest as f64 + 14.0;
        ((f64::from(width) - 2.0 * LEGEND_MARGIN) / column).floor().clamp(1.0, 6.0) as usize
    }
}

const LEGEND_ROW: u32 = 17;
const LEGEND_MARGIN: f64 = 46.0;
/// Room for the line before a name.
const LEGEND_KEY: f64 = 34.0;
/// Width of a letter of the legend, generously.
const LETTER: f64 = 6.6;
const TEXT: f64 = 11.0;

/// The font comes with the program, so that a machine without any draws the same picture.
fn register_fonts() -> Result<(), DrawError> {
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| "the embedded font is unreadable".into())
}

struct Painter<'a> {
    figure: &'a Figure,
    scale: f64,
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

    fn paint<DB: DrawingBackend>(&self, root: &Area<DB>) -> Result<(), DrawError>
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
