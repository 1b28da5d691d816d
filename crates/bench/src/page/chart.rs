//! Charts as SVG, readable on light and dark pages.

use std::fmt::Write as _;

const COLOURS: [&str; 6] = ["#9aa5b1", "#f0a202", "#c8553d", "#1f7a8c", "#5b3f8c", "#4c9f70"];

const ROW: f64 = 22.0;
const LABELS: f64 = 150.0;
const TOP: f64 = 64.0;

/// Horizontal bars in groups, on a logarithmic scale.
pub(crate) struct Bars {
    pub title: String,
    pub series: Vec<&'static str>,
    /// Name and one figure for each of the series.
    pub groups: Vec<(String, Vec<f64>)>,
}

/// A table of ratios by colour: above one is good.
pub(crate) struct Heat {
    pub title: &'static str,
    pub columns: Vec<String>,
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// Lines over a common axis.
pub(crate) struct Lines {
    pub title: &'static str,
    /// Something to stay below.
    pub level: Option<f64>,
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

struct Svg {
    text: String,
}

impl Svg {
    fn begin(width: f64, height: f64, title: &str) -> Self {
        let mut svg = Self { text: String::new() };
        svg.add(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">"
        ));
        svg.add("<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#ffffff\"/>");
        svg.add(&format!(
            "<text x=\"14\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1b1f24\">{}</text>",
            escape(title)
        ));
        svg
    }

    fn add(&mut self, element: &str) {
        let _ = writeln!(self.text, "{element}");
    }

    fn label(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#1b1f24\">{}</text>",
            escape(text)
        ));
    }

    fn bar(&mut self, [x, y, width, height]: [f64; 4], colour: &str) {
        self.add(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        ));
    }

    fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], colour: &str, dashes: &str) {
        self.add(&format!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\"/>"
        ));
    }

    fn legend(&mut self, names: &[&str]) {
        let mut x = 14.0;
        for (name, colour) in names.iter().zip(COLOURS.iter().cycle()) {
            self.bar([x, 36.0, 10.0, 10.0], colour);
            self.label(x + 14.0, 45.0, "start", name);
            x += 30.0 + width_of(name);
        }
    }

    fn end(mut self) -> String {
        self.add("</svg>");
        self.text
    }
}

impl Bars {
    pub(crate) fn svg(&self) -> String {
        const PLOT: f64 = 560.0;
        const BAR: f64 = 9.0;
        let figures =
            || self.groups.iter().flat_map(|(_, figures)| figures.iter().copied()).filter(|figure| *figure > 0.0);
        let least = figures().fold(f64::INFINITY, f64::min).min(1e9).log10().floor();
        let most = figures().fold(1.0, f64::max).log10().ceil().max(least + 1.0);
        let group = count(self.series.len()) * BAR + 10.0;
        let bottom = TOP + count(self.groups.len()) * group;
        let at = |figure: f64| ((figure.log10() - least) / (most - least)).clamp(0.0, 1.0) * PLOT;
        let mut svg = Svg::begin(LABELS + PLOT + 70.0, bottom + 30.0, &self.title);
        svg.legend(&self.series);
        let mut decade = least;
        while decade <= most {
            let x = LABELS + at(10f64.powf(decade));
            svg.line([x, TOP - 6.0, x, bottom], "#d5dae0", "2 3");
            svg.label(x, bottom + 16.0, "middle", &short(10f64.powf(decade)));
            decade += 1.0;
        }
        for (number, (name, figures)) in self.groups.iter().enumerate() {
            let y = TOP + count(number) * group;
            svg.label(LABELS - 8.0, y + group / 2.0, "end", name);
            for (place, (figure, colour)) in figures.iter().zip(COLOURS.iter().cycle()).enumerate() {
                if *figure <= 0.0 {
                    continue;
                }
                let y = y + count(place) * BAR;
                svg.bar([LABELS, y, at(*figure).max(1.0), BAR - 1.0], colour);
                svg.add(&format!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"8\" fill=\"#57606a\">{}</text>",
                    LABELS + at(*figure) + 3.0,
                    y + 7.0,
                    short(*figure)
                ));
            }
        }
        svg.end()
    }
}

impl Heat {
    pub(crate) fn svg(&self) -> String {
        const CELL: f64 = 46.0;
        // The names of the columns stand upright.
        let names = self.columns.iter().map(|name| width_of(name)).fold(0.0, f64::max);
        let top = 44.0 + names;
        let width = LABELS + count(self.columns.len()) * CELL + 14.0;
        let title = width_of(self.title) * 1.35 + 28.0;
        let mut svg = Svg::begin(width.max(title), top + count(self.rows.len()) * ROW + 14.0, self.title);
        for (number, name) in self.columns.iter().enumerate() {
            let x = LABELS + (count(number) + 0.6) * CELL;
            svg.add(&format!(
                "<text transform=\"translate({x:.1} {:.1}) rotate(-90)\" fill=\"#1b1f24\">{}</text>",
                top - 6.0,
                escape(name)
            ));
        }
        for (number, (name, ratios)) in self.rows.iter().enumerate() {
            let y = top + count(number) * ROW;
            svg.label(LABELS - 8.0, y + 15.0, "end", name);
            for (place, ratio) in ratios.iter().enumerate() {
                let Some(ratio) = ratio else { continue };
                let x = LABELS + count(place) * CELL;
                svg.bar([x, y, CELL - 2.0, ROW - 2.0], &tint(*ratio));
                svg.label(x + CELL / 2.0 - 1.0, y + 15.0, "middle", &short(*ratio));
            }
        }
        svg.end()
    }
}

impl Lines {
    pub(crate) fn svg(&self) -> String {
        const PLOT: [f64; 2] = [560.0, 260.0];
        let left = 50.0;
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let most_x = points().map(|point| point.0).fold(1.0, f64::max);
        let most_y = points().map(|point| point.1).chain(self.level).fold(1.0, f64::max) * 1.1;
        let names: Vec<&str> = self.lines.iter().map(|(name, _)| name.as_str()).collect();
        let legend = names.iter().map(|name| width_of(name) + 30.0).sum::<f64>() + 28.0;
        let bottom = TOP + PLOT[1];
        let mut svg = Svg::begin((left + PLOT[0] + 30.0).max(legend), bottom + 34.0, self.title);
        svg.legend(&names);
        let at = |(x, y): (f64, f64)| (left + x / most_x * PLOT[0], bottom - y / most_y * PLOT[1]);
        for part in 0..=4 {
            let share = f64::from(part) / 4.0;
            let (x, y) = at((most_x * share, most_y * share));
            svg.line([left, y, left + PLOT[0], y], "#d5dae0", "2 3");
            svg.label(left - 6.0, y + 4.0, "end", &short(most_y * share));
            svg.label(x, bottom + 18.0, "middle", &short(most_x * share));
        }
        if let Some(level) = self.level {
            let (_, y) = at((0.0, level));
            svg.line([left, y, left + PLOT[0], y], "#c8553d", "6 4");
        }
        for ((_, points), colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let path: Vec<String> =
                points.iter().map(|point| at(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            svg.add(&format!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            ));
            for (x, y) in points.iter().map(|point| at(*point)) {
                svg.add(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
            }
        }
        svg.end()
    }
}

/// From red below one over white to blue above, by powers of ten.
fn tint(ratio: f64) -> String {
    let depth = (ratio.max(1e-3).log10() / 1.5).clamp(-1.0, 1.0);
    let pale = |strength: f64| (255.0 - strength * 110.0).round();
    let (strong, weak) = (255.0, pale(depth.abs()));
    let [red, green, blue] =
        if depth < 0.0 { [strong, weak, weak] } else { [weak, pale(depth.abs() * 0.35), strong] };
    format!("rgb({red:.0},{green:.0},{blue:.0})")
}

/// About how wide a text is.
fn width_of(text: &str) -> f64 {
    count(text.chars().count()) * 6.6
}

#[expect(clippy::cast_precision_loss, reason = "they are few")]
fn count(number: usize) -> f64 {
    number as f64
}

/// A figure in few characters.
fn short(figure: f64) -> String {
    match figure {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
