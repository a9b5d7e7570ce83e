//! Runs as text and as a page.
//!
//! In come runs; out comes a table for a terminal, or one HTML page with curves, a table and where the time went.
//!
//! Both guarantee the same output for the same runs. The page is one file: no script, no request (it forbids itself any),
//! light or dark as the reader has it, and colours that stay apart for colour-blind eyes. Every text from outside is escaped.
//!
//! It deliberately writes no file and measures nothing; what a figure means is written beside it.

use std::fmt::Write;

use super::run::{Run, Seconds};
use super::weights::Weights;
use crate::chart::{self, Axis, Line, Size, cut, escape, style, svg, thousands};

/// The longest rule name in a table, in characters.
const NAME: usize = 24;

/// Compares runs in a table of plain text, about 80 columns wide unless rule names are long, and says below it why runs ended
/// early. Losses and accuracies are those of the last complete epoch; `share` is the optimizer's part of forward, backward
/// and step together.
pub fn table(runs: &[Run]) -> String {
    let header =
        ["rule", "epochs", "train loss", "test", "best", "forward", "backward", "step", "share"].map(String::from);
    let mut rows = vec![header];
    for run in runs {
        let last = run.epochs.last();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
        rows.push([
            cut(&plain(&run.rule), NAME),
            run.epochs.len().to_string(),
            or_dash(last.map(|epoch| loss_text(epoch.train_loss))),
            or_dash(last.map(|epoch| percent(epoch.test_accuracy))),
            or_dash(run.best().map(|epoch| percent(epoch.test_accuracy))),
            seconds_text(run.seconds.forward),
            seconds_text(run.seconds.backward),
            seconds_text(run.seconds.step),
            format!("{:.0}%", 100.0 * run.seconds.step_share()),
        ]);
    }
    let widths: [usize; 9] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
        if index == 0 {
            out.push_str(&widths.map(|width| "-".repeat(width)).join("  "));
            out.push('\n');
        }
    }
    for (index, note) in notes(runs).into_iter().enumerate() {
        // Writing to a String cannot fail, so its results are dropped throughout.
        let _ = writeln!(out, "{}{}", if index == 0 { "\n" } else { "" }, plain(&note));
    }
    for diverged in runs.iter().filter_map(|run| run.diverged.as_ref()) {
        let _ = writeln!(out, "\n{}", plain(&diverged.to_string()));
    }
    out
}

/// What is to be known of runs beside their figures, a sentence without a full stop each: with what they were tested, if not
/// with the parameters, and which of their steps were skipped.
pub fn notes(runs: &[Run]) -> Vec<String> {
    let mut notes = Vec::new();
    if runs.len() > 1 && runs.iter().all(|run| run.options.weights == Weights::Average) {
        notes.push("all are tested with the average of their parameters".to_string());
    } else {
        let others = runs.iter().filter(|run| run.options.weights != Weights::Trained);
        notes.extend(others.map(|run| format!("{} is tested with {}", run.rule, run.options.weights)));
    }
    let skipped = runs.iter().filter(|run| run.skipped > 0);
    notes.extend(skipped.map(|run| {
        let (n, steps) = (run.skipped, run.losses.len());
        format!(
            "{} skipped {} of {} {}",
            run.rule,
            thousands(n),
            thousands(steps),
            if steps == 1 { "step" } else { "steps" }
        )
    }));
    notes
}

/// Text for a terminal, on which a control character could do more than be seen.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

/// Compares runs on one HTML page.
pub fn page(runs: &[Run]) -> String {
    let mut out = String::new();
    let names: Vec<&str> = runs.iter().map(|run| run.rule.as_str()).collect();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta \
         http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{} · \
         Updraft</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&cut(&names.join(", "), 80)),
        chart::STYLE,
    );
    head(&mut out, runs);
    if !runs.is_empty() {
        out.push_str("<div class=\"charts\">\n");
        loss_chart(&mut out, runs);
        accuracy_chart(&mut out, runs);
        driven_charts(&mut out, runs);
        out.push_str("</div>\n");
        results(&mut out, runs);
        times(&mut out, runs);
        epochs(&mut out, runs);
    }
    out.push_str("<footer>Made by <code>updraft train</code>. One file, no scripts, no requests.</footer>\n");
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// What came out, in words: the finding as the headline, then the conditions, the legend, and the runs that ended early.
fn head(out: &mut String, runs: &[Run]) {
    let best = leader(runs).and_then(|index| Some((&runs[index].rule, runs[index].epochs.last()?.test_accuracy)));
    let headline = match best {
        _ if runs.is_empty() => "Nothing was trained".to_string(),
        Some((rule, accuracy)) => {
            format!("{} recognises {} of the test digits", escape(&cut(rule, NAME)), percent(accuracy))
        }
        None => "Every loss turned non-finite before an epoch was complete".to_string(),
    };
    let _ = writeln!(out, "<header>\n<p class=\"mark\">Updraft <span>training report</span></p>\n<h1>{headline}</h1>");
    if let Some(run) = runs.first() {
        let [pixels, first, second, classes] = run.sizes;
        let subject = if runs.len() == 1 { "The rule" } else { "Each rule" };
        let _ = writeln!(
            out,
            "<p class=\"lede\">{subject} trains a {pixels}-{first}-{second}-{classes} ReLU network of {} parameters on {} \
             digits, {} at a time, with seed {}{}. Accuracy is measured on {} other digits after each epoch.</p>",
            thousands(run.parameters),
            thousands(run.train_images),
            thousands(run.options.batch),
            run.options.seed,
            if runs.len() == 1 { "" } else { ", from the same start and in the same order" },
            thousands(run.test_images),
        );
    }
    for diverged in runs.iter().filter_map(|run| run.diverged.as_ref()) {
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", escape(&diverged.to_string()));
    }
    out.push_str("</header>\n");
    if runs.len() > 1 {
        out.push_str("<ul class=\"legend\">\n");
        for (index, run) in runs.iter().enumerate() {
            let _ = writeln!(out, "<li>{}{}</li>", swatch(index), escape(&cut(&run.rule, NAME)));
        }
        out.push_str("</ul>\n");
    }
}

/// The run with the best test accuracy at its end, the first of equals. A run that ended early is not in the race.
fn leader(runs: &[Run]) -> Option<usize> {
    let finished = runs.iter().enumerate().filter(|(_, run)| run.diverged.is_none());
    let accuracies = finished.filter_map(|(index, run)| Some((index, run.epochs.last()?.test_accuracy)));
    accuracies.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(index, _)| index)
}

/// A piece of the run's line, dashed as on the charts.
fn swatch(index: usize) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 22 8\" aria-hidden=\"true\"><path class=\"curve {}\" d=\"M1 4L21 4\"/></svg>",
        style(index)
    )
}

/// A figure at two sizes, of which the page shows the one that fits: text in a chart that is scaled down is too small.
fn figure(out: &mut String, id: &str, title: &str, note: &str, draw: impl Fn(&str, &str, &Size) -> String) {
    let _ = writeln!(out, "<figure>\n<figcaption><h2>{}</h2><p>{}</p></figcaption>", escape(title), escape(note));
    out.push_str(&draw(&format!("{id}-wide"), "chart wide", &Size { width: 540.0, height: 360.0, label: 18 }));
    out.push_str(&draw(&format!("{id}-narrow"), "chart narrow", &Size { width: 340.0, height: 300.0, label: 10 }));
    out.push_str("</figure>\n");
}

fn loss_chart(out: &mut String, runs: &[Run]) {
    let steps = runs.iter().map(|run| run.losses.len()).max().unwrap_or(0);
    let window = (steps / 30).clamp(1, 100);
    let losses: Vec<Vec<f64>> = runs.iter().map(|run| held(&run.losses)).collect();
    let smooth: Vec<Vec<f64>> = losses.iter().map(|losses| smoothed(losses, window)).collect();

    // A run on its way to infinity would press all others flat: its losses beyond a few times the highest start leave the frame.
    let start = losses.iter().filter_map(|losses| losses.first()).fold(0.0_f64, |most, &loss| most.max(loss));
    let most = if runs.iter().any(|run| run.diverged.is_none()) { 4.0 * start } else { f64::INFINITY };
    let shown = || smooth.iter().flatten().copied().map(|loss| loss.min(most));
    let (low, high) = shown().fold((f64::INFINITY, 0.0_f64), |(low, high), loss| (low.min(loss), high.max(loss)));
    // A logarithm shows what happens at small losses, but only over a wide range is it worth its strangeness.
    let log = low > 0.0 && high / low > 6.0;
    let y = if log {
        Axis::logarithmic("training loss, log scale", shown())
    } else {
        Axis::linear("training loss", shown(), f64::INFINITY, |value, digits| format!("{value:.digits$}"))
    };
    let note = if window > 1 {
        format!("Mean loss of a batch, smoothed over about {window} steps; faint: as measured.")
    } else {
        "Mean loss of a batch.".to_string()
    };
    figure(out, "loss", "Training loss by step", &note, |id, class, size| {
        let x = Axis::counted("step", 0, steps, (size.width / 80.0) as usize);
        let lines: Vec<Line<'_>> = runs
            .iter()
            .zip(losses.iter().zip(&smooth))
            .enumerate()
            .map(|(index, (run, (losses, smooth)))| Line {
                label: &run.rule,
                style: index,
                points: thinned(smooth, size.width as usize / 2),
                raw: if window > 1 { outline(losses, size.width as usize / 2) } else { Vec::new() },
                notes: Vec::new(),
                cut: run.diverged.is_some(),
            })
            .collect();
        svg(id, class, "Training loss of each rule by step", size, &x, &y, &lines)
    });
}

fn accuracy_chart(out: &mut String, runs: &[Run]) {
    if runs.iter().all(|run| run.epochs.is_empty()) {
        return;
    }
    let epochs = runs.iter().map(|run| run.epochs.len()).max().unwrap_or(0).max(1);
    let all = || runs.iter().flat_map(|run| &run.epochs).map(|epoch| epoch.test_accuracy);
    // A run that learned nothing would press all others flat. Accuracies below half of the best leave the frame.
    let best = all().fold(0.0_f64, f64::max);
    let shown = || all().filter(|&accuracy| accuracy >= 0.5 * best);
    let y = Axis::linear("test accuracy", shown(), 1.0, |value, digits| {
        format!("{:.*}%", digits.saturating_sub(2), 100.0 * value)
    });
    figure(
        out,
        "accuracy",
        "Test accuracy by epoch",
        "Share of the test digits recognised after each epoch.",
        |id, class, size| {
            let x = Axis::counted("epoch", 1, epochs, (size.width / 50.0) as usize);
            let size = Size { label: size.label + 4, ..*size };
            let label = |run: &Run| {
                // The figure stays whole; the name gives way.
                let value = percent(run.epochs.last()?.test_accuracy);
                Some(format!("{} {value}", cut(&run.rule, size.label.saturating_sub(value.len() + 1))))
            };
            let labels: Vec<String> = runs.iter().map(|run| label(run).unwrap_or_default()).collect();
            let lines: Vec<Line<'_>> = runs
                .iter()
                .zip(&labels)
                .enumerate()
                .map(|(index, (run, label))| Line {
                    label,
                    style: index,
                    points: run.epochs.iter().map(|epoch| (epoch.number as f64, epoch.test_accuracy)).collect(),
                    raw: Vec::new(),
                    notes: run
                        .epochs
                        .iter()
                        .map(|epoch| format!("{}, epoch {}: {}", run.rule, epoch.number, percent(epoch.test_accuracy)))
                        .collect(),
                    cut: run.diverged.is_some(),
                })
                .collect();
            svg(id, class, "Test accuracy of each rule by epoch", &size, &x, &y, &lines)
        },
    );
}

/// The value of each hyper that a schedule drives, by step.
fn driven_charts(out: &mut String, runs: &[Run]) {
    let mut names: Vec<&str> = runs.iter().flat_map(|run| &run.driven).map(|driven| driven.hyper.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for (number, name) in names.into_iter().enumerate() {
        let all: Vec<_> = runs
            .iter()
            .enumerate()
            .flat_map(|(index, run)| run.driven.iter().map(move |driven| (index, run, driven)))
            .filter(|(_, _, driven)| driven.hyper == name)
            .collect();
        let steps = all.iter().map(|(_, _, driven)| driven.values.len()).max().unwrap_or(0);
        let values = all.iter().flat_map(|(_, _, driven)| driven.values.iter().copied());
        let y = Axis::of_hyper(name, values);
        let mut schedules: Vec<&str> = all.iter().map(|(_, _, driven)| driven.schedule.as_str()).collect();
        schedules.dedup();
        let note = format!("As its schedule gives it: {}.", cut(&schedules.join("; "), 200));
        figure(out, &format!("hyper{number}"), &format!("{name} by step"), &note, |id, class, size| {
            let x = Axis::counted("step", 0, steps, (size.width / 80.0) as usize);
            let lines: Vec<Line<'_>> = all
                .iter()
                .map(|(index, run, driven)| Line {
                    label: &run.rule,
                    style: *index,
                    points: outline(&driven.values, size.width as usize / 2),
                    raw: Vec::new(),
                    notes: Vec::new(),
                    cut: run.diverged.is_some(),
                })
                .collect();
            svg(id, class, &format!("{name} of each rule by step"), size, &x, &y, &lines)
        });
    }
}

fn results(out: &mut String, runs: &[Run]) {
    let leader = leader(runs);
    out.push_str(
        "<section>\n<h2>Results</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Rule</th><th \
         scope=\"col\">Epochs</th><th scope=\"col\">Train loss</th><th scope=\"col\">Test loss</th><th scope=\"col\">Test \
         accuracy</th><th scope=\"col\">Best</th><th scope=\"col\">ms per step</th><th scope=\"col\">Step \
         share</th></tr></thead>\n<tbody>\n",
    );
    for (index, run) in runs.iter().enumerate() {
        let last = run.epochs.last();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_string());
        let best =
            run.best().map(|epoch| format!("{} <small>epoch {}</small>", percent(epoch.test_accuracy), epoch.number));
        let per_step =
            (!run.losses.is_empty()).then(|| format!("{:.3}", 1e3 * run.seconds.step / run.losses.len() as f64));
        let _ = writeln!(
            out,
            "<tr{}><th scope=\"row\">{}{}{}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"main\">{}</td><td>{}</td><td>{}</td><td>{:.0}%</td></tr>",
            if leader == Some(index) { " class=\"leader\"" } else { "" },
            swatch(index),
            escape(&cut(&run.rule, NAME)),
            if run.diverged.is_some() { " <small class=\"bad\">diverged</small>" } else { "" },
            run.epochs.len(),
            or_dash(last.map(|epoch| loss_text(epoch.train_loss))),
            or_dash(last.map(|epoch| loss_text(epoch.test_loss))),
            or_dash(last.map(|epoch| percent(epoch.test_accuracy))),
            or_dash(best),
            or_dash(per_step),
            100.0 * run.seconds.step_share(),
        );
    }
    out.push_str(
        "</tbody>\n</table></div>\n<p class=\"note\">Losses and accuracy are those of the last complete epoch. A step is the \
         optimizer alone; its share is of forward, backward and step together.",
    );
    for note in notes(runs) {
        let _ = write!(out, " {}.", escape(&sentence(&note)));
    }
    out.push_str("</p>\n</section>\n");
}

/// Bars as long as the runs took, cut into where the time went.
fn times(out: &mut String, runs: &[Run]) {
    out.push_str(
        "<section>\n<h2>Where the time goes</h2>\n<ul class=\"legend\">\n<li><i class=\"part forward\"></i>forward</li><li><i \
         class=\"part backward\"></i>backward</li><li><i class=\"part step\"></i>step (the optimizer)</li><li><i class=\"part \
         rest\"></i>rest: batches, tests</li>\n</ul>\n<div class=\"bars\">\n",
    );
    let longest = runs.iter().map(|run| run.seconds.total()).fold(0.0_f64, f64::max).max(1e-9);
    for (index, run) in runs.iter().enumerate() {
        let Seconds { forward, backward, step, rest } = run.seconds;
        let _ = writeln!(
            out,
            "<div class=\"bar-row\"><div class=\"bar-name\">{}{}</div><div class=\"bar\">",
            swatch(index),
            escape(&cut(&run.rule, NAME))
        );
        for (name, seconds) in [("forward", forward), ("backward", backward), ("step", step), ("rest", rest)] {
            let width = 100.0 * seconds / longest;
            let text = format!("{} s", seconds_figure(seconds));
            // Text that would not fit on a phone is left out of the bar; pointing at it still tells.
            let inside = if width > 14.0 { text.as_str() } else { "" };
            let _ = writeln!(
                out,
                "<span class=\"part {name}\" style=\"width:{width:.2}%\" title=\"{name} {text}\">{inside}</span>"
            );
        }
        let _ = writeln!(
            out,
            "</div><div class=\"bar-sum\">{} s <small>step {} s</small></div></div>",
            seconds_figure(run.seconds.total()),
            seconds_figure(step)
        );
    }
    out.push_str("</div>\n</section>\n");
}

/// Every epoch in figures, folded away.
fn epochs(out: &mut String, runs: &[Run]) {
    if runs.iter().all(|run| run.epochs.is_empty()) {
        return;
    }
    out.push_str(
        "<details>\n<summary>Every epoch in figures</summary>\n<div class=\"scroll\"><table>\n<thead><tr><th \
         scope=\"col\">Rule</th><th scope=\"col\">Epoch</th><th scope=\"col\">Train loss</th><th scope=\"col\">Test \
         loss</th><th scope=\"col\">Test accuracy</th>",
    );
    let skips = runs.iter().any(|run| run.skipped > 0);
    if skips {
        out.push_str("<th scope=\"col\">Skipped steps</th>");
    }
    out.push_str(
        "<th scope=\"col\">Forward s</th><th scope=\"col\">Backward s</th><th scope=\"col\">Step s</th><th \
         scope=\"col\">Rest s</th></tr></thead>\n<tbody>\n",
    );
    for (index, run) in runs.iter().enumerate() {
        for epoch in &run.epochs {
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{}<td>{:.3}</td><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td></tr>",
                swatch(index),
                escape(&cut(&run.rule, NAME)),
                epoch.number,
                loss_text(epoch.train_loss),
                loss_text(epoch.test_loss),
                percent(epoch.test_accuracy),
                if skips { format!("<td>{}</td>", thousands(epoch.skipped)) } else { String::new() },
                epoch.seconds.forward,
                epoch.seconds.backward,
                epoch.seconds.step,
                epoch.seconds.rest,
            );
        }
    }
    out.push_str("</tbody>\n</table></div>\n</details>\n");
}

/// The losses, each that is not finite (its step was skipped) as the last one before that was; those before the first are
/// that one. Nothing if none is.
fn held(losses: &[f64]) -> Vec<f64> {
    let Some(mut last) = losses.iter().copied().find(|loss| loss.is_finite()) else { return Vec::new() };
    let held = losses.iter().map(|&loss| {
        last = if loss.is_finite() { loss } else { last };
        last
    });
    held.collect()
}

/// A trailing mean whose weights fall by `2 / (window + 1)` a step, without the pull towards 0 at its start.
fn smoothed(losses: &[f64], window: usize) -> Vec<f64> {
    let decay = 1.0 - 2.0 / (window as f64 + 1.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let smooth = losses.iter().map(|loss| {
        mean = decay * mean + (1.0 - decay) * loss;
        weight = decay * weight + (1.0 - decay);
        mean / weight
    });
    smooth.collect()
}

/// About `most` of the values, evenly, with their steps from 1; the last one always.
fn thinned(values: &[f64], most: usize) -> Vec<(f64, f64)> {
    let every = values.len().div_ceil(most.max(1)).max(1);
    let kept = values.iter().enumerate().filter(|(index, _)| index % every == 0 || index + 1 == values.len());
    kept.map(|(index, &value)| (index as f64 + 1.0, value)).collect()
}

/// The values with their steps from 1, or of every few of them the least and the greatest: a line through both looks like
/// the line through all.
fn outline(values: &[f64], most: usize) -> Vec<(f64, f64)> {
    chart::outline(values, 1.0, most)
}

/// With a capital, and its code without quotes: pages are no terminals.
fn sentence(note: &str) -> String {
    let note = note.replace('`', "");
    note.strip_prefix("all ").map_or(note.clone(), |rest| format!("All {rest}"))
}

/// A loss with three significant digits.
fn loss_text(loss: f64) -> String {
    let magnitude = loss.abs();
    if magnitude == 0.0 || (1e-4..1e4).contains(&magnitude) {
        let digits = if magnitude == 0.0 { 1 } else { (2.0 - magnitude.log10().floor()).max(0.0) as usize };
        format!("{loss:.digits$}")
    } else {
        format!("{loss:.2e}")
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// Seconds with two digits after the point, or none from 100 on.
fn seconds_figure(seconds: f64) -> String {
    if seconds < 100.0 { format!("{seconds:.2}") } else { format!("{seconds:.0}") }
}

fn seconds_text(seconds: f64) -> String {
    format!("{} s", seconds_figure(seconds))
}

/// The page's style. Colours are variables, so that charts are drawn once for light and dark.
const STYLE: &str = include_str!("report.css");

#[cfg(test)]
mod tests {
    use super::super::network::Place;
    use super::super::run::{Diverged, Epoch, Options, Phase};
    use super::*;

    fn run(rule: &str, epochs: usize) -> Run {
        let seconds = |scale: f64| Seconds {
            forward: 0.5 * scale,
            backward: 0.75 * scale,
            step: 0.25 * scale,
            rest: 0.1 * scale,
        };
        let epoch = |number: usize| Epoch {
            number,
            train_loss: 1.0 / number as f64,
            test_loss: 1.1 / number as f64,
            test_accuracy: if number == 2 { 0.9613 } else { 0.9487 },
            skipped: 0,
            seconds: seconds(1.0),
        };
        Run {
            rule: rule.to_string(),
            options: Options { epochs: 3, ..Options::default() },
            sizes: [784, 512, 256, 10],
            parameters: 535_818,
            train_images: 8000,
            test_images: 2000,
            losses: (0..epochs * 125).map(|step| 2.3 / (1.0 + step as f64 / 20.0)).collect(),
            skipped: 0,
            epochs: (1..=epochs).map(epoch).collect(),
            seconds: seconds(epochs as f64),
            diverged: None,
            driven: Vec::new(),
        }
    }

    fn diverged(rule: &str) -> Run {
        let diverged = Diverged {
            rule: rule.to_string(),
            epoch: 1,
            step: 13,
            phase: Phase::Training,
            loss: f64::NAN,
            place: Place::Weights(1),
        };
        Run { losses: vec![2.3, 1e9, 1e300], diverged: Some(diverged), ..run(rule, 0) }
    }

    #[test]
    fn table_is_aligned() {
        let expected = "\
rule      epochs  train loss   test   best  forward  backward    step  share
--------  ------  ----------  -----  -----  -------  --------  ------  -----
adam           3       0.333  94.9%  96.1%   1.50 s    2.25 s  0.75 s    17%
sgd\u{fffd}[31m       0           -      -      -   0.00 s    0.00 s  0.00 s     0%

rule `sgd\u{fffd}[31m`: the training loss is NaN at step 13 (epoch 1); the first values to be non-finite were the weights of \
layer 1 (w1); try a smaller lr, and look for a division by zero in the rule
";
        assert_eq!(table(&[run("adam", 3), diverged("sgd\u{1b}[31m")]), expected);
        let long = table(&[run(&"x".repeat(99), 3)]);
        assert!(long.lines().all(|line| line.chars().count() <= 100), "{long}");
    }

    /// Every element is closed in order; `void` elements and the doctype are not opened.
    fn check_nesting(page: &str) {
        let mut open = Vec::new();
        for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or("")) {
            let name = tag.split([' ', '\n']).next().unwrap_or("");
            if let Some(name) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "in {tag}");
            } else if !tag.ends_with('/') && !["!doctype", "meta"].contains(&name) {
                open.push(name);
            }
        }
        assert_eq!(open, Vec::<&str>::new());
    }

    #[test]
    fn pages_are_whole_for_any_runs() {
        let many: Vec<Run> = (0..20).map(|index| run(&format!("rule{index}"), 3)).collect();
        for runs in [
            vec![],
            vec![run("adam", 3)],
            vec![run("adam", 1)],
            vec![diverged("sgd")],
            vec![run("adam", 3), diverged("sgd")],
            vec![Run { losses: vec![0.0; 99], ..run("zero", 1) }],
            vec![Run { losses: vec![], ..diverged("at once") }],
            many,
        ] {
            let page = page(&runs);
            check_nesting(&page);
            assert!(
                !page.replace("loss is NaN", "").contains("NaN") && !page.contains("inf"),
                "a coordinate is not finite"
            );
            assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
        }
    }

    #[test]
    fn pages_say_what_was_found() {
        let page = page(&[run("sgd", 3), Run { epochs: run("", 2).epochs, ..run("adam", 2) }, diverged("bold")]);
        assert!(page.contains("<h1>adam recognises 96.1% of the test digits</h1>"));
        assert!(page.contains("784-512-256-10 ReLU network of 535,818 parameters on 8,000 digits"));
        assert!(page.contains("the training loss is NaN at step 13"));
        assert!(page.contains("<tr class=\"leader\"><th scope=\"row\">"));
        let alone = super::page(&[diverged("bold")]);
        assert!(alone.contains("<h1>Every loss turned non-finite before an epoch was complete</h1>"));
    }

    #[test]
    fn what_was_tested_and_skipped_is_told() {
        let with = |rule: &str, weights: Weights, skipped: usize| {
            let mut run = run(rule, 3);
            run.options.weights = weights;
            run.losses[7] = if skipped > 0 { f64::NAN } else { run.losses[7] };
            run.epochs[0].skipped = skipped;
            Run { skipped, ..run }
        };
        let two = [with("a<b", Weights::View("mean".into()), 0), with("clip", Weights::Trained, 3)];
        let text = table(&two);
        assert!(text.ends_with("\n\na<b is tested with its view `mean`\nclip skipped 3 of 375 steps\n"), "{text}");
        let page = page(&two);
        check_nesting(&page);
        assert!(page.contains(" a&lt;b is tested with its view mean. clip skipped 3 of 375 steps.</p>"));
        assert!(page.contains("<th scope=\"col\">Skipped steps</th>") && !page.contains("NaN"));
        let all = [with("a", Weights::Average, 0), with("b", Weights::Average, 0)];
        assert_eq!(notes(&all), ["all are tested with the average of their parameters"]);
        assert!(super::page(&all).contains(" All are tested with") && !super::page(&all).contains("Skipped steps"));
        assert_eq!(notes(&all[..1]), ["a is tested with the average of its parameters"]);
        assert!(notes(&[run("adam", 3)]).is_empty());
    }

    #[test]
    fn losses_that_are_not_finite_hold_the_last() {
        assert_eq!(held(&[f64::NAN, 2.0, f64::INFINITY, 1.0]), [2.0, 2.0, 2.0, 1.0]);
        assert!(held(&[f64::NAN]).is_empty());
    }

    #[test]
    fn scales_suit_the_losses() {
        let page = |losses: &[f64]| page(&[Run { losses: losses.to_vec(), ..run("adam", 1) }]);
        assert!(page(&[2.0, 1.0, 0.1]).contains("log scale"));
        assert!(!page(&[2.0, 1.9, 1.5]).contains("log scale"), "a narrow range needs no logarithm");
        assert!(!page(&[2.0, 1.0, 0.0]).contains("log scale"), "0 has no logarithm");
        // A run beyond the frame says so, and leaves the scale to the others.
        let far = Run { losses: vec![2.0, 1e9], ..run("far", 1) };
        let both = super::page(&[run("adam", 3), far]);
        assert!(both.contains(">far ↑</text>") && !both.contains("1e8"));
        let mut failed = run("failed", 3);
        failed.epochs.iter_mut().for_each(|epoch| epoch.test_accuracy = 0.1);
        let both = super::page(&[run("schedule_free_adamw", 3), failed]);
        assert!(both.contains(">failed 10.0% ↓</text>") && !both.contains(">50%</text>"));
        assert!(both.contains(">schedule_free_a… 94.9%</text>"), "a long name gives way to the figure");
    }

    #[test]
    fn rule_names_are_escaped() {
        let page = page(&[run("<script>alert(1)</script>", 2), diverged("a\"b&c")]);
        check_nesting(&page);
        assert!(!page.contains("<script") && !page.contains("a\"b"));
        assert!(page.contains("&lt;script&gt;") && page.contains("a&quot;b&amp;c"));
    }

    #[test]
    fn smoothing_starts_unbiased_and_keeps_levels() {
        assert_eq!(smoothed(&[3.0, 1.0], 1), [3.0, 1.0]);
        let smooth = smoothed(&[3.0, 3.0, 3.0, 1.0], 3);
        assert!(smooth[..3].iter().all(|value| (value - 3.0).abs() < 1e-12));
        assert!(smooth[3] > 1.0 && smooth[3] < 3.0);
    }

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let values: Vec<f64> = (0..1000).map(|index| if index == 501 { 9.0 } else { f64::from(index) / 1e3 }).collect();
        let thin = thinned(&values, 100);
        assert_eq!((thin[0], thin[thin.len() - 1]), ((1.0, 0.0), (1000.0, 0.999)));
        assert!(thin.len() <= 101 && thin.iter().all(|(_, value)| *value < 9.0));
        assert!(outline(&values, 100).iter().any(|(_, value)| *value == 9.0));
        let falling: Vec<f64> = values.iter().map(|value| -value).collect();
        assert!(outline(&falling, 100).iter().any(|(_, value)| *value == -9.0));
        assert_eq!(outline(&values[..3], 100), [(1.0, 0.0), (2.0, 0.001), (3.0, 0.002)]);
        assert!(thinned(&[], 10).is_empty() && outline(&[], 10).is_empty());
    }

    #[test]
    fn losses_have_three_digits() {
        let texts = [0.0, 0.01234, 0.1, 2.3126, 123.4, 1e-7, 1e30].map(loss_text);
        assert_eq!(texts, ["0.0", "0.0123", "0.100", "2.31", "123", "1.00e-7", "1.00e30"]);
    }
}
