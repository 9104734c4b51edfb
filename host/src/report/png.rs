//! The accuracy curve as a PNG, for slides and papers.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ReportError;
use super::arms::Arm;
use super::chart::colour;
use super::curve::{MeanPoint, Measure, mean_curve};

const WIDTH: u32 = 1280;
const CURVE_HEIGHT: u32 = 720;
const LEGEND_ROW: u32 = 30;
const LEGEND_COLUMNS: usize = 2;
/// Longer arm names are cut, as the legend has two columns.
const LEGEND_LETTERS: usize = 62;
const INK: RGBColor = RGBColor(0x33, 0x37, 0x3d);
const RULE: RGBColor = RGBColor(0xe3, 0xe5, 0xe8);

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type DrawError = Box<dyn std::error::Error>;

/// Draws the arms and returns the encoded PNG; `path` only names the file in an error.
pub(super) fn draw(arms: &[Arm], path: &Path) -> Result<Vec<u8>, ReportError> {
    let failed = |error: DrawError| ReportError::Draw { path: path.to_owned(), reason: error.to_string() };
    let height = CURVE_HEIGHT + LEGEND_ROW * (arms.len().div_ceil(LEGEND_COLUMNS) as u32 + 1) + 12;
    let mut pixels_hwc = vec![0; (WIDTH * height * 3) as usize];
    paint(arms, &mut pixels_hwc, height).map_err(failed)?;
    let mut png = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    image::ImageEncoder::write_image(encoder, &pixels_hwc, WIDTH, height, image::ExtendedColorType::Rgb8)
        .map_err(|error| failed(error.into()))?;
    Ok(png)
}

fn paint(arms: &[Arm], pixels_hwc: &mut [u8], height: u32) -> Result<(), DrawError> {
    register_fonts()?;
    let root = BitMapBackend::with_buffer(pixels_hwc, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (curve, legend) = root.split_vertically(CURVE_HEIGHT);
    paint_curves(arms, &curve)?;
    paint_legend(arms, &legend)?;
    root.present()?;
    Ok(())
}

/// The font comes with the program, so that a machine without any draws the same picture.
fn register_fonts() -> Result<(), DrawError> {
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| "the embedded font is unreadable".into())
}

fn paint_curves(arms: &[Arm], area: &Area) -> Result<(), DrawError> {
    let curves: Vec<Vec<MeanPoint>> = arms.iter().map(|arm| mean_curve(&arm.runs, Measure::Accuracy)).collect();
    let all: Vec<&MeanPoint> = curves.iter().flatten().collect();
    let x = padded(all.iter().map(|point| point.labels));
    let y = padded(all.iter().flat_map(|point| point.interval.map_or([point.mean; 2], |(low, high)| [low, high])));
    let mut chart = ChartBuilder::on(area)
        .margin(24)
        .margin_bottom(8)
        .x_label_area_size(64)
        .y_label_area_size(84)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc("labels bought")
        .y_desc("accuracy")
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(INK.mix(0.4))
        .label_style(("sans-serif", 20).into_font().color(&INK))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .draw()?;
    for (index, mean) in curves.iter().enumerate() {
        let colour = rgb(index);
        chart.draw_series([Polygon::new(outline(mean), colour.mix(0.14))])?;
        let line: Vec<(f64, f64)> = mean.iter().map(|point| (point.labels, point.mean)).collect();
        chart.draw_series(line.iter().map(|&at| Circle::new(at, 5, colour.filled())))?;
        chart.draw_series([PathElement::new(line, colour.stroke_width(3))])?;
    }
    Ok(())
}

/// The interval's upper edge and back along the lower; nothing for single runs.
fn outline(mean: &[MeanPoint]) -> Vec<(f64, f64)> {
    let edges: Vec<_> = mean.iter().filter_map(|point| Some((point.labels, point.interval?))).collect();
    let upper = edges.iter().map(|&(x, (_, high))| (x, high));
    let lower = edges.iter().rev().map(|&(x, (low, _))| (x, low));
    upper.chain(lower).collect()
}

fn paint_legend(arms: &[Arm], area: &Area) -> Result<(), DrawError> {
    let style = ("sans-serif", 20).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    let rows = arms.len().div_ceil(LEGEND_COLUMNS).max(1);
    let column_width = (WIDTH as usize - 108) / LEGEND_COLUMNS;
    for (index, arm) in arms.iter().enumerate() {
        let x = (108 + index / rows * column_width) as i32;
        let y = ((index % rows) as u32 * LEGEND_ROW + LEGEND_ROW / 2) as i32;
        area.draw(&PathElement::new([(x, y), (x + 28, y)], rgb(index).stroke_width(4)))?;
        area.draw(&Text::new(legend_text(arm), (x + 40, y), &style))?;
    }
    let caption = "mean with 95 % t-interval over the runs of an arm";
    let below = (rows as u32 * LEGEND_ROW + LEGEND_ROW / 2) as i32;
    area.draw(&Text::new(caption, (108, below), style.color(&INK.mix(0.6))))?;
    Ok(())
}

fn legend_text(arm: &Arm) -> String {
    let runs = if arm.runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", arm.runs.len()) };
    let mut name: String = arm.name.chars().take(LEGEND_LETTERS).collect();
    if name.len() < arm.name.len() {
        name.push('…');
    }
    format!("{name} ({runs})")
}

fn rgb(arm: usize) -> RGBColor {
    let [r, g, b] = colour(arm);
    RGBColor(r, g, b)
}

/// The range of the values with a little air; 0 to 1 where there are none.
fn padded(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let air = ((high - low) * 0.05).max(0.01);
    low - air..high + air
}
