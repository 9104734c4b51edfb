//! The interactive learning curves, and the colours that page and PNG share.

use std::collections::BTreeMap;

use plotly::color::Rgba;
use plotly::common::{Fill, HoverInfo, Line, Marker, Mode, Title};
use plotly::configuration::DisplayModeBar;
use plotly::layout::{Axis, HoverMode, Margin};
use plotly::{Configuration, Layout, Plot, Scatter};
use plotters::style::{Color, HSLColor};

use super::arms::Arm;
use super::curve::{MeanPoint, Measure, Point, mean_curve, points};
use super::run::Run;

/// Red, green and blue.
pub(super) type Colour = [u8; 3];

/// How many colours the palette has.
pub(super) const COLOURS: usize = 8;

/// Legible on white and on near-black, and told apart by people who see red and green alike: after Okabe and Ito 2008, without their
/// black and yellow.
const PALETTE: [Colour; COLOURS] = [
    [0x2f, 0x7f, 0xc1],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x9e, 0x73],
    [0xc6, 0x6a, 0xa0],
    [0xd8, 0x97, 0x0b],
    [0x4a, 0xae, 0xdf],
    [0x7a, 0x84, 0x8f],
    [0x8a, 0x5a, 0x44],
];

/// The colour of an arm: from the palette, then hues that step round the circle by the golden section.
pub(super) fn colour(arm: usize) -> Colour {
    PALETTE.get(arm).copied().unwrap_or_else(|| {
        let (r, g, b) = HSLColor((arm as f64 * 0.618_034).fract(), 0.45, 0.5).to_backend_color().rgb;
        [r, g, b]
    })
}

/// The colour as CSS writes it.
pub(super) fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// One chart per measure, under the measure's key. Every trace carries its arm's place as legend group.
pub(super) fn charts(arms: &[Arm]) -> BTreeMap<&'static str, Plot> {
    Measure::ALL.into_iter().map(|measure| (measure.key(), chart(arms, measure))).collect()
}

/// The script that draws the charts, as one `<script>` element.
pub(super) fn script() -> String {
    let scripts = Plot::offline_js_sources();
    // The crate appends MathJax, another 2 MB, which nothing here uses.
    scripts.split_inclusive("</script>").next().unwrap_or_default().to_owned()
}

fn chart(arms: &[Arm], measure: Measure) -> Plot {
    let mut plot = Plot::new();
    for (index, arm) in arms.iter().enumerate() {
        let mean = mean_curve(&arm.runs, measure);
        if let Some(band) = band(index, &mean) {
            plot.add_trace(band);
        }
        let single = arm.runs.len() == 1;
        if !single {
            plot.add_trace(mean_trace(index, arm, &mean, measure));
        }
        for run in &arm.runs {
            plot.add_trace(run_trace(index, arm, run, &points(run, measure), measure, single));
        }
    }
    plot.set_layout(layout(measure));
    plot.set_configuration(Configuration::new().responsive(true).display_mode_bar(DisplayModeBar::False));
    plot
}

/// The interval as a closed outline: along the upper edge and back along the lower.
fn band(index: usize, mean: &[MeanPoint]) -> Option<Box<Scatter<f64, f64>>> {
    let edges = mean.iter().filter_map(|point| Some((point.labels, point.interval?)));
    let (lower, upper): (Vec<_>, Vec<_>) = edges.map(|(x, (low, high))| ((x, low), (x, high))).unzip();
    if lower.is_empty() {
        return None;
    }
    let (x, y) = upper.into_iter().chain(lower.into_iter().rev()).unzip();
    let [r, g, b] = colour(index);
    Some(
        Scatter::new(x, y)
            .legend_group(index.to_string())
            .mode(Mode::Lines)
            .line(Line::new().width(0.0))
            .fill(Fill::ToSelf)
            .fill_color(Rgba::new(r, g, b, 0.14))
            .hover_info(HoverInfo::Skip),
    )
}

fn mean_trace(index: usize, arm: &Arm, mean: &[MeanPoint], measure: Measure) -> Box<Scatter<f64, f64>> {
    let hover = |point: &MeanPoint| {
        let interval = point.half_width.map_or(String::new(), |half| format!(" ± {half:.4}"));
        let (runs, labels) = (point.runs, point.labels);
        format!(
            "<b>{}</b><br>mean of {runs} of {} runs<br>round {}, {labels} labels<br>{} {:.4}{interval}",
            escape(&arm.name),
            arm.runs.len(),
            point.round,
            measure.title(),
            point.mean
        )
    };
    Scatter::new(mean.iter().map(|p| p.labels).collect(), mean.iter().map(|p| p.mean).collect())
        .legend_group(index.to_string())
        .mode(Mode::LinesMarkers)
        .line(Line::new().color(hex(colour(index))).width(2.5))
        .marker(Marker::new().color(hex(colour(index))).size(7))
        .hover_text_array(mean.iter().map(hover).collect())
        .hover_info(HoverInfo::Text)
}

/// One run: the arm's line where it stands alone, otherwise small dots around the mean.
fn run_trace(
    index: usize,
    arm: &Arm,
    run: &Run,
    points: &[Point],
    measure: Measure,
    single: bool,
) -> Box<Scatter<f64, f64>> {
    let hover = |point: &Point| {
        let (arm, run, seed) = (escape(&arm.name), escape(&run.name()), escape(run.seed()));
        let Point { round, labels, value } = point;
        format!(
            "<b>{arm}</b><br>{run}, seed {seed}<br>round {round}, {labels} labels<br>{} {value:.4}",
            measure.title()
        )
    };
    let (mode, size) = if single { (Mode::LinesMarkers, 7) } else { (Mode::Markers, 5) };
    Scatter::new(points.iter().map(|p| p.labels as f64).collect(), points.iter().map(|p| p.value).collect())
        .legend_group(index.to_string())
        .mode(mode)
        .line(Line::new().color(hex(colour(index))).width(2.5))
        .marker(Marker::new().color(hex(colour(index))).size(size))
        .opacity(if single { 1.0 } else { 0.5 })
        .hover_text_array(points.iter().map(hover).collect())
        .hover_info(HoverInfo::Text)
}

/// No colours of its own: the page's style sheet gives them, for light, dark and paper.
fn layout(measure: Measure) -> Layout {
    let axis = |title: &str| Axis::new().title(Title::with_text(title)).zero_line(false).auto_margin(true);
    Layout::new()
        .x_axis(axis("labels bought"))
        .y_axis(axis(measure.title()))
        .hover_mode(HoverMode::Closest)
        .show_legend(false)
        .margin(Margin::new().left(56).right(16).top(12).bottom(48))
        .paper_background_color("transparent")
        .plot_background_color("transparent")
}

/// Plotly reads a small dialect of HTML in its texts.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
