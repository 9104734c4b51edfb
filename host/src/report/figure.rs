//! Draws charts for slides and papers: the same picture as PNG and as SVG.
//!
//! Lines differ in colour, marker and, where there are many, dashes, so that they can be told apart without colour.

use plotters::prelude::*;
use plotters::style::register_font;

mod paint;

use paint::Painter;

/// Pixels of a PNG for each unit of an SVG, of which an inch has 96.
const SCALE: f64 = 3.0;
/// Width of one panel, and what each further column adds.
const PANEL_WIDTH: u32 = 640;
const COLUMN_WIDTH: u32 = 180;
const MOST_COLUMNS: usize = 3;

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

/// The font comes with the program, so that a machine without any draws the same picture.
fn register_fonts() -> Result<(), DrawError> {
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| "the embedded font is unreadable".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(names: &[String]) -> Figure {
        let mark = |x: f64| Mark { x, mean: 0.5 + x / 100.0, interval: Some((0.0, 1.0)), best: x == 2.0 };
        let line = |style: usize| Line { style, marks: [1.0, 2.0, 3.0].map(mark).to_vec() };
        let panel = |title: &str| Panel {
            title: title.to_owned(),
            lines: (0..names.len()).map(line).collect(),
            ..Panel::default()
        };
        let legend = names.iter().cloned().zip(0..).collect();
        Figure { panels: vec![panel("left & <right>"), panel("right")], legend, ..Figure::default() }
    }

    /// Numbers of an attribute of the SVG's elements.
    fn numbers(svg: &str, attribute: &str) -> Vec<f64> {
        svg.split(&format!(" {attribute}=\"")).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn every_name_has_its_place_in_the_legend() {
        for n in [1, 7, 40] {
            let names: Vec<String> = (0..n).map(|i| format!("initial typiclust, query strategy {i}")).collect();
            let figure = figure(&names);
            let svg = figure.svg().unwrap();
            let (width, height) = figure.size();
            assert!(names.iter().all(|name| svg.contains(name.as_str())) && svg.contains("left &amp; &lt;right&gt;"));
            assert!(!svg.contains("NaN"));
            for (attribute, most) in [("cx", width), ("cy", height), ("x", width), ("y", height)] {
                let outside: Vec<f64> =
                    numbers(&svg, attribute).into_iter().filter(|at| *at < 0.0 || *at > f64::from(most)).collect();
                assert!(outside.is_empty(), "{n} names: {attribute} {outside:?} of {most}");
            }
            let png = image::load_from_memory(&figure.png().unwrap()).unwrap();
            assert_eq!((png.width(), png.height()), (3 * width, 3 * height));
        }
    }

    #[test]
    fn a_name_without_end_is_cut() {
        let svg = figure(&["x".repeat(500)]).svg().unwrap();
        assert!(svg.contains("xx…") && !svg.contains(&"x".repeat(200)));
    }

    #[test]
    fn nothing_can_be_drawn() {
        for figure in [Figure::default(), Figure { panels: vec![Panel::default()], ..Figure::default() }] {
            assert!(figure.svg().unwrap().contains("<svg"));
        }
    }
}
