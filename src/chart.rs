//! Line charts as SVG text.
//!
//! In come axes and lines in the units of the data; out comes one `<svg>` element that takes its colours from the page's
//! variables (`--c0` and so on, `--ink`, `--muted`, `--line`), so that light and dark are the page's choice.
//!
//! It guarantees well-formed text whatever the labels hold, lines that stay inside the frame, and labels that do not cover
//! each other. It deliberately knows nothing of training, and lays out no text by true font metrics: widths are estimates.

use std::fmt::Write;

/// What the classes of a chart look like, with colours as variables for light and dark.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// Colours in the page's palette; lines beyond them take the same colours dashed.
pub(crate) const COLOURS: usize = 7;

/// The width of a character of a label, in units of the chart: that of a wide font, since no metrics are at hand.
const CHAR: f64 = 7.8;

/// The least distance between two labels on top of each other.
const LABEL_GAP: f64 = 17.0;

/// A range of values and where its ticks are.
pub(crate) struct Axis {
    /// What is measured, in what unit.
    pub title: String,
    pub min: f64,
    pub max: f64,
    /// Whether equal distances are equal ratios; `min` is above 0 then.
    pub log: bool,
    /// Values with what is written there; ticks outside the range are left out.
    pub ticks: Vec<(f64, String)>,
}

/// A line and what goes with it.
pub(crate) struct Line<'a> {
    pub label: &'a str,
    /// Which colour and dash; equal on every chart of a page.
    pub style: usize,
    /// In order of x.
    pub points: Vec<(f64, f64)>,
    /// The unsmoothed points, drawn faintly under the line. May be empty.
    pub raw: Vec<(f64, f64)>,
    /// What the mark on each point says when it is pointed at. Empty for no marks.
    pub notes: Vec<String>,
    /// Whether the line ends in a cross because there is nothing after it.
    pub cut: bool,
}

/// The size of a chart in its own units, which are CSS pixels when it is shown at its own size.
pub(crate) struct Size {
    pub width: f64,
    pub height: f64,
    /// The longest label, in characters; longer ones are cut.
    pub label: usize,
}

impl Axis {
    /// A linear axis that holds `values` and ends on ticks, but not beyond `limit`. `write` is given a value and how many
    /// digits after the point tell it from the next tick.
    pub(crate) fn linear(
        title: &str,
        values: impl Iterator<Item = f64>,
        limit: f64,
        write: impl Fn(f64, usize) -> String,
    ) -> Axis {
        let (low, high) = bounds(values).unwrap_or((0.0, 1.0));
        // A single value gets a range around it, or the scale would divide by 0.
        let spread = if high > low { high - low } else { high.abs().max(1.0) * 0.1 };
        let step = tick_step(spread / 4.0);
        let min = ((low - 0.02 * spread) / step).floor() * step;
        let max = (((high + 0.02 * spread) / step).ceil() * step).min(limit.max(high));
        let count = ((max - min) / step + 1e-6).floor() as usize;
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let values = (0..=count).map(|index| min + index as f64 * step);
        let ticks = values.map(|value| (value, write(value, digits))).collect();
        Axis { title: title.to_string(), min, max, log: false, ticks }
    }

    /// A linear axis for values of any magnitude, which does not go below 0 if they do not.
    pub(crate) fn of_hyper(title: &str, values: impl Iterator<Item = f64> + Clone) -> Axis {
        let negative = values.clone().any(|value| value < 0.0);
        let mut axis = Axis::linear(title, values, f64::INFINITY, value_text);
        if axis.min < 0.0 && !negative {
            axis.min = 0.0;
        }
        axis
    }

    /// A logarithmic axis that holds positive `values`.
    pub(crate) fn logarithmic(title: &str, values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) = bounds(values.filter(|&value| value > 0.0)).unwrap_or((0.1, 1.0));
        let (min, max) = (low * 0.85, high / 0.85);
        let decades = (max / min).log10();
        let marks: &[f64] = if decades < 2.2 {
            &[1.0, 2.0, 5.0]
        } else if decades < 4.5 {
            &[1.0, 3.0]
        } else {
            &[1.0]
        };
        // Beyond ten decades only every second, third, ... power of ten is marked.
        let every = (decades / 10.0).ceil().max(1.0) as i32;
        let powers = (min.log10().floor() as i32..=max.log10().ceil() as i32).filter(|power| power % every == 0);
        let ticks = powers
            .flat_map(|power| marks.iter().map(move |mark| mark * 10_f64.powi(power)))
            .map(|value| (value, short(value)))
            .collect();
        Axis { title: title.to_string(), min, max, log: true, ticks }
    }

    /// An axis of whole numbers from `min` to `max`, such as steps and epochs.
    pub(crate) fn counted(title: &str, min: usize, max: usize, most_ticks: usize) -> Axis {
        let step = tick_step((max.saturating_sub(min) as f64 / most_ticks as f64).max(1.0)).ceil().max(1.0) as usize;
        let first = min.next_multiple_of(step);
        let ticks = (first..=max).step_by(step).map(|value| (value as f64, thousands(value))).collect();
        let (mut low, mut high) = (min as f64, max as f64);
        if min >= max {
            (low, high) = (low - 0.5, low + 0.5);
        }
        Axis { title: title.to_string(), min: low, max: high, log: false, ticks }
    }

    /// Where a value lies between the ends of the axis, 0 to 1; beyond them for values outside.
    fn place(&self, value: f64) -> f64 {
        if self.log {
            // Zero and below lie under every frame, not at minus infinity, which no path can hold.
            (value.max(f64::MIN_POSITIVE) / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        }
    }
}

/// The chart as one `<svg>` element. `id` is unique on the page; `description` is read aloud in its place.
pub(crate) fn svg(
    id: &str,
    class: &str,
    description: &str,
    size: &Size,
    x: &Axis,
    y: &Axis,
    lines: &[Line<'_>],
) -> String {
    // Two characters more than the longest label, for the arrow of a line that leaves the frame.
    let longest = lines.iter().map(|line| line.label.chars().count().min(size.label) + 2).max().unwrap_or(0);
    let tick_width = y.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0) as f64 * CHAR;
    let (left, top, bottom) = (tick_width + 12.0, 34.0, size.height - 44.0);
    let right = size.width - 8.0 - longest as f64 * CHAR;
    let at = |(px, py): (f64, f64)| {
        // Far outside is as good as just outside, and keeps the numbers short.
        let down = (1.0 - y.place(py)).clamp(-1.0, 2.0);
        (left + x.place(px) * (right - left), top + down * (bottom - top))
    };

    let mut out = String::new();
    // Writing to a String cannot fail, so its results are dropped throughout.
    let _ = write!(
        out,
        "<svg class=\"{class}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n<defs><clipPath id=\"{id}\"><rect \
         x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/></clipPath></defs>\n",
        size.width,
        size.height,
        escape(description),
        top - 6.0,
        right - left + 6.0,
        bottom - top + 6.0,
    );
    let _ = writeln!(out, "<text class=\"axis-title\" x=\"0\" y=\"14\">{}</text>", escape(&y.title));
    let _ = writeln!(
        out,
        "<text class=\"axis-title\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (left + right) / 2.0,
        size.height - 4.0,
        escape(&x.title)
    );
    let inside = |axis: &Axis, value: f64| (-1e-6..=1.0 + 1e-6).contains(&axis.place(value));
    for (value, text) in y.ticks.iter().filter(|(value, _)| inside(y, *value)) {
        let (_, py) = at((x.min, *value));
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{py:.1}\" y2=\"{py:.1}\"/><text class=\"tick\" \
             x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            py + 4.0,
            escape(text)
        );
    }
    let _ = writeln!(
        out,
        "<line class=\"base\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>"
    );
    for (value, text) in x.ticks.iter().filter(|(value, _)| inside(x, *value)) {
        let (px, _) = at((*value, y.min));
        let _ = writeln!(
            out,
            "<line class=\"base\" x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/><text class=\"tick\" \
             x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 5.0,
            bottom + 19.0,
            escape(text)
        );
    }

    // All raw lines lie under all smooth ones.
    let _ = writeln!(out, "<g clip-path=\"url(#{id})\">");
    for line in lines.iter().filter(|line| !line.raw.is_empty()) {
        let _ = writeln!(out, "<path class=\"raw {}\" d=\"{}\"/>", style(line.style), path(&line.raw, at));
    }
    for line in lines {
        let _ = writeln!(out, "<path class=\"curve {}\" d=\"{}\"/>", style(line.style), path(&line.points, at));
    }
    let _ = writeln!(out, "</g>");
    for line in lines {
        for (&point, note) in line.points.iter().zip(&line.notes) {
            let (px, py) = at(point);
            if py < top - 1.0 || py > bottom + 1.0 {
                continue;
            }
            let _ = writeln!(
                out,
                "<circle class=\"dot {}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3.5\"><title>{}</title></circle>",
                style(line.style),
                escape(note)
            );
        }
        if let (true, Some(&last)) = (line.cut, line.points.last()) {
            let (px, py) = at(last);
            let py = py.clamp(top, bottom);
            let _ = writeln!(
                out,
                "<path class=\"cross {}\" d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\"/>",
                style(line.style),
                px - 5.0,
                py - 5.0
            );
        }
    }
    labels(&mut out, size, right, (top, bottom), at, lines);
    out.push_str("</svg>\n");
    out
}

/// Writes each line's label beside its end: on the right for lines that reach the right, spread so that none covers
/// another; beside the cross for lines that were cut before.
fn labels(
    out: &mut String,
    size: &Size,
    right: f64,
    (top, bottom): (f64, f64),
    at: impl Fn((f64, f64)) -> (f64, f64),
    lines: &[Line<'_>],
) {
    let mut ends = Vec::new();
    for line in lines.iter().filter(|line| !line.label.is_empty()) {
        let Some(&last) = line.points.last() else { continue };
        let (px, py) = at(last);
        // A line that left the frame is labelled where it left, with the direction it took.
        let arrow = if py < top - 1.0 {
            " ↑"
        } else if py > bottom + 1.0 {
            " ↓"
        } else {
            ""
        };
        let py = py.clamp(top, bottom);
        if px > right - 12.0 {
            ends.push((py, line, arrow));
        } else {
            // On the side that has more room.
            let (px, anchor) = if px < (right + 40.0) / 2.0 { (px + 11.0, "start") } else { (px - 11.0, "end") };
            label(out, size, line, arrow, (px, py), anchor);
        }
    }
    ends.sort_by(|(first, ..), (second, ..)| first.total_cmp(second));
    let wanted: Vec<f64> = ends.iter().map(|(py, ..)| *py).collect();
    for ((py, line, arrow), place) in ends.iter().zip(spread(&wanted, top, bottom)) {
        if (py - place).abs() > 3.0 {
            let _ = writeln!(
                out,
                "<path class=\"leader {}\" d=\"M{:.1} {py:.1}L{:.1} {place:.1}\"/>",
                style(line.style),
                right + 5.0,
                right + 11.0
            );
        }
        label(out, size, line, arrow, (right + 13.0, place), "start");
    }
}

fn label(out: &mut String, size: &Size, line: &Line<'_>, arrow: &str, (px, py): (f64, f64), anchor: &str) {
    let _ = writeln!(
        out,
        "<text class=\"label {}\" x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}{arrow}</text>",
        style(line.style),
        py + 4.5,
        escape(&cut(line.label, size.label))
    );
}

/// Moves sorted places apart to at least [`LABEL_GAP`], each as little as a pass down and a pass up achieve, between `top`
/// and `bottom` where there is room for all.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    // Pairs that are too close share the distance that each has to give.
    for _ in 0..8 {
        for index in 1..places.len() {
            let lack = LABEL_GAP - (places[index] - places[index - 1]);
            if lack > 0.0 {
                places[index - 1] -= lack / 2.0;
                places[index] += lack / 2.0;
            }
        }
    }
    let mut least = top;
    for place in &mut places {
        *place = place.max(least);
        least = *place + LABEL_GAP;
    }
    let mut most = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - LABEL_GAP;
    }
    places
}

/// The classes that give a line its colour and dash.
pub(crate) fn style(index: usize) -> String {
    format!("c{} d{}", index % COLOURS, (index / COLOURS) % 3)
}

fn path(points: &[(f64, f64)], at: impl Fn((f64, f64)) -> (f64, f64)) -> String {
    let mut out = String::new();
    for (index, &point) in points.iter().enumerate() {
        let (px, py) = at(point);
        let _ = write!(out, "{}{px:.1} {py:.1}", if index == 0 { 'M' } else { 'L' });
    }
    out
}

/// The values with their numbers from `first`, or of every few of them the least and the greatest in the order in which
/// they come: a line through both looks like the line through all.
pub(crate) fn outline(values: &[f64], first: f64, most: usize) -> Vec<(f64, f64)> {
    let every = values.len().div_ceil(most.max(1)).max(1);
    let at = |index: usize| (first + index as f64, values[index]);
    if every < 3 {
        return (0..values.len()).map(at).collect();
    }
    let mut points = Vec::with_capacity(2 * most + 4);
    for start in (0..values.len()).step_by(every) {
        let indices = start..(start + every).min(values.len());
        let low = indices.clone().reduce(|a, b| if values[b] < values[a] { b } else { a }).unwrap_or(start);
        let high = indices.reduce(|a, b| if values[b] > values[a] { b } else { a }).unwrap_or(start);
        points.push(at(low.min(high)));
        if low != high {
            points.push(at(low.max(high)));
        }
    }
    // The ends are where they are.
    if let (Some(&start), Some(&end)) = (values.first(), values.last()) {
        points.insert(0, (first, start));
        points.push((first + (values.len() - 1) as f64, end));
    }
    points
}

/// A value of an axis of any magnitude, with the digits that tell it from the next tick.
fn value_text(value: f64, digits: usize) -> String {
    let magnitude = value.abs();
    if magnitude < 1e-12 && digits < 12 {
        "0".to_string()
    } else if (5..17).contains(&digits) && magnitude < 1e-3 {
        // Not below zero, because a tick is at least as large as its distance to the next.
        let more = (digits as f64 + magnitude.log10().floor()).max(0.0) as usize;
        format!("{value:.more$e}")
    } else if magnitude >= 1e6 || digits >= 17 {
        format!("{value:.1e}")
    } else {
        format!("{value:.digits$}")
    }
}

/// Several lines in one file of its own, light or dark as the reader has it, with a legend of whole labels above.
pub(crate) fn standalone(description: &str, x: &Axis, y: &Axis, lines: &[Line<'_>]) -> String {
    let size = Size { width: 800.0, height: 420.0, label: 0 };
    let legend = 22.0 * lines.len() as f64;
    let longest = lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0) as f64;
    let width = (size.width + 40.0).max(longest * CHAR + 80.0);
    let height = size.height + legend + 48.0;
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} \
         {height:.0}\">\n<style>\n{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" style=\"fill:var(--card)\"/>\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let py = 26.0 + 22.0 * index as f64;
        let _ = writeln!(
            out,
            "<path class=\"curve {}\" d=\"M20 {:.1}L48 {:.1}\"/><text class=\"label {}\" x=\"58\" y=\"{:.1}\">{}</text>",
            style(line.style),
            py,
            py,
            style(line.style),
            py + 4.5,
            escape(line.label)
        );
    }
    let unlabelled: Vec<Line<'_>> = lines
        .iter()
        .map(|line| Line {
            label: "",
            style: line.style,
            points: line.points.clone(),
            raw: Vec::new(),
            notes: Vec::new(),
            cut: false,
        })
        .collect();
    let chart = svg("frame", "chart", description, &size, x, y, &unlabelled);
    let place =
        format!("<svg x=\"20\" y=\"{:.0}\" width=\"{:.0}\" height=\"{:.0}\" ", legend + 28.0, size.width, size.height);
    out += &chart.replacen("<svg ", &place, 1);
    out.push_str("</svg>\n");
    out
}

/// The least and the greatest finite value.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |bounds, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `least`.
fn tick_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].map(|mark| mark * power).into_iter().find(|&step| step >= least * 0.999).unwrap_or(10.0 * power)
}

/// A tick of a logarithmic axis: 0.02, 3, 1e-5.
fn short(value: f64) -> String {
    if (1e-3..1e4).contains(&value) {
        // The digits that a tick of 1, 2, 3 or 5 times a power of ten has, without the rounding of the product.
        let digits = (-value.log10().floor()).max(0.0) as usize;
        format!("{value:.digits$}")
    } else {
        format!("{value:.0e}")
    }
}

/// 12,345
pub(crate) fn thousands(value: usize) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// At most `most` characters, the last one a sign that some are missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Text for HTML and SVG, also within quotes. Control characters, which XML cannot hold, become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char if char.is_control() => out.push('\u{fffd}'),
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        let inside = |value: f64| (0.0..=1.0).contains(&axis.place(value));
        axis.ticks.iter().filter(|(value, _)| inside(*value)).map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn linear_axes_end_on_ticks() {
        let percent = |value: f64, digits: usize| format!("{:.*}%", digits.saturating_sub(2), 100.0 * value);
        let axis = Axis::linear("", [0.72, 0.95].into_iter(), 1.0, percent);
        assert_eq!(texts(&axis), ["70%", "80%", "90%", "100%"]);
        let axis = Axis::linear("", [0.986, 1.0].into_iter(), 1.0, percent);
        assert_eq!(texts(&axis), ["98.5%", "99.0%", "99.5%", "100.0%"]);
        assert_eq!(axis.max, 1.0, "no axis goes beyond its limit");
        for value in [0.5, 0.0, f64::NAN] {
            let axis = Axis::linear("", [value].into_iter(), 1.0, percent);
            assert!(axis.min < axis.max && axis.place(0.5).is_finite());
        }
    }

    #[test]
    fn logarithmic_axes_have_round_ticks() {
        let axis = |low: f64, high: f64| Axis::logarithmic("", [low, high].into_iter());
        assert_eq!(texts(&axis(0.012, 2.3)), ["0.03", "0.1", "0.3", "1"]);
        assert_eq!(texts(&axis(0.05, 2.3)), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(texts(&axis(1e-6, 1.0)), ["1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]);
        assert!(texts(&axis(1e-300, 1e300)).len() < 12);
        assert!((axis(0.1, 10.0).place(1.0) - 0.5).abs() < 1e-9);
        assert!(axis(0.1, 10.0).place(0.0) < 0.0 && axis(0.1, 10.0).place(0.0).is_finite());
    }

    #[test]
    fn counted_axes_count() {
        assert_eq!(texts(&Axis::counted("", 1, 5, 8)), ["1", "2", "3", "4", "5"]);
        assert_eq!(texts(&Axis::counted("", 0, 4690, 6)), ["0", "1,000", "2,000", "3,000", "4,000"]);
        let one = Axis::counted("", 1, 1, 8);
        assert_eq!((texts(&one), one.place(1.0)), (vec!["1"], 0.5));
        assert_eq!([0.1, 1.1, 2.0, 4.0, 6.0, 70.0].map(tick_step), [0.1, 2.0, 2.0, 5.0, 10.0, 100.0]);
    }

    #[test]
    fn labels_are_spread() {
        assert_eq!(spread(&[50.0, 90.0], 0.0, 100.0), [50.0, 90.0]);
        assert_eq!(spread(&[50.0, 50.0], 0.0, 100.0), [41.5, 58.5]);
        assert_eq!(spread(&[99.0, 100.0, 100.0], 0.0, 100.0), [66.0, 83.0, 100.0]);
        assert_eq!(spread(&[0.0, 0.0], 0.0, 100.0), [0.0, 17.0]);
    }

    #[test]
    fn text_from_outside_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&'\u{1b}β"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\u{fffd}β");
        assert_eq!((cut("adam", 4), cut("adamax", 4)), ("adam".to_string(), "ada…".to_string()));
        assert_eq!([7, 1234, 1234567].map(thousands), ["7", "1,234", "1,234,567"]);
        let line = Line {
            label: "<b>",
            style: 0,
            points: vec![(0.0, 1.0)],
            raw: vec![],
            notes: vec!["<i>".into()],
            cut: true,
        };
        let size = Size { width: 300.0, height: 200.0, label: 10 };
        let (x, y) = (Axis::counted("<x>", 0, 9, 5), Axis::logarithmic("<y>", [0.1, 1.0].into_iter()));
        let svg = svg("id", "wide", "<d>", &size, &x, &y, &[line]);
        for text in ["<b>", "<i>", "<x>", "<y>", "<d>"] {
            assert!(!svg.contains(text), "{text}");
            assert!(svg.contains(&escape(text)), "{text}");
        }
    }

    #[test]
    fn every_number_is_finite() {
        let points = vec![(0.0, 1e300), (1.0, 0.0), (2.0, 1e-300), (3.0, 5.0)];
        let line =
            |style| Line { label: "x", style, points: points.clone(), raw: points.clone(), notes: vec![], cut: true };
        let size = Size { width: 300.0, height: 200.0, label: 10 };
        let (x, y) = (Axis::counted("", 0, 3, 5), Axis::logarithmic("", [0.1, 1.0].into_iter()));
        let svg = svg("id", "wide", "", &size, &x, &y, &[line(0), line(20)]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("c6 d2"));
        // Points far outside stay near the frame, where renderers are exact.
        let numbers =
            svg.split(|char: char| !"-.0123456789".contains(char)).filter_map(|text| text.parse::<f64>().ok());
        assert!(numbers.map(f64::abs).fold(0.0, f64::max) < 1000.0);
    }
}
