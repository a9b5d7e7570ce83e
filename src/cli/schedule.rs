//! `updraft schedule`: the values of schedules, as a sparkline, a table, CSV or a plot.
//!
//! Comes in: schedules, a base, how many steps, what was observed. Goes out: text on stdout or files, all or none. A
//! number that was observed in step `s` is given when the value of step `s + 1` is computed, so nothing is given at 0.

use super::apply::{Given, distinct, parse_input, read_numbers};
use super::{Failure, columns, load_schedule, parse_set, print, quoted, write_files};
use crate::chart::{Axis, Line, outline, standalone};
use crate::check::number_text;
use crate::{Error, HyperValue, Schedule};
use std::path::{Path, PathBuf};

/// Show the values of schedules: in the terminal, as CSV, as a plot
#[derive(clap::Args)]
pub(super) struct Args {
    /// Paths, names of shipped schedules, or texts such as 'linear(total_iters=10) for 10 then cosine(t_max=90)'
    #[arg(required = true, value_name = "SCHED")]
    schedules: Vec<String>,
    /// The value of the hyper that is driven
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    base: f64,
    /// How many steps, from step 0
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    steps: u64,
    /// Set a hyper of the schedule, if it is a single one; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, HyperValue)>,
    /// Give an input: a number for every step, or @FILE with one number a line, what each step observed
    #[arg(long, value_name = "NAME=VALUE|@FILE", value_parser = parse_input)]
    input: Vec<(String, Given)>,
    /// Write the columns step and value; - is stdout
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a plot
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    distinct(&[("--csv", args.csv.as_ref()), ("--svg", args.svg.as_ref())])?;
    if !args.base.is_finite() {
        return Err(Failure::Usage(format!("--base {} is not finite", args.base)));
    }
    if args.schedules.len() > 1 && !args.set.is_empty() {
        return Err(Failure::Usage(
            "--set is for a single schedule; of several each has its own: 'cosine(t_max=90)'".to_string(),
        ));
    }
    let mut schedules = Vec::new();
    for text in &args.schedules {
        let mut schedule = load_schedule(text)?;
        for (name, value) in &args.set {
            schedule = schedule.set(name, value.clone())?;
        }
        schedules.push(schedule);
    }
    let steps = args.steps as usize;
    let observed = observed(args, &schedules, steps)?;
    let all: Vec<Vec<f64>> =
        schedules.iter().map(|schedule| values(schedule, args.base, steps, &observed)).collect::<Result<_, _>>()?;
    let names: Vec<String> = schedules.iter().map(Schedule::to_string).collect();
    let to_stdout = args.csv.as_deref() == Some(Path::new("-"));
    let table = args.csv.as_ref().map(|_| csv(&names, &all)).unwrap_or_default();
    let plot = args.svg.as_ref().map(|_| svg(&names, &all)).unwrap_or_default();
    let mut files: Vec<(&Path, &[u8])> = Vec::new();
    files.extend(args.csv.iter().filter(|_| !to_stdout).map(|path| (path.as_path(), table.as_bytes())));
    files.extend(args.svg.iter().map(|path| (path.as_path(), plot.as_bytes())));
    write_files(&files)?;
    match (&args.csv, &args.svg) {
        (None, None) => print(&terminal(&names, &all)),
        _ if to_stdout => print(&table),
        _ => Ok(()),
    }
}

/// An input with what each step observed, or one number for all.
type Observed = (String, Result<Vec<f64>, f64>);

/// The inputs with what each step observed. Of one that is given twice the last counts.
fn observed(args: &Args, schedules: &[Schedule], steps: usize) -> Result<Vec<Observed>, Failure> {
    let mut inputs: Vec<Observed> = Vec::new();
    for (name, given) in &args.input {
        if !schedules.iter().any(|schedule| schedule.reads(name)) {
            let mut known: Vec<&str> = schedules.iter().flat_map(Schedule::inputs).collect();
            known.sort_unstable();
            known.dedup();
            let known = known.into_iter().map(String::from).collect();
            let rule = schedules.iter().map(Schedule::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::UnknownInput { rule, input: name.clone(), known }.into());
        }
        let values = match given {
            Given::Number(value) => Err(*value),
            // What the last step observes is not used any more.
            Given::File(path) => Ok(read_numbers(path, name, steps - 1)?),
        };
        inputs.retain(|(other, _)| other != name);
        inputs.push((name.clone(), values));
    }
    Ok(inputs)
}

fn values(schedule: &Schedule, base: f64, steps: usize, inputs: &[Observed]) -> Result<Vec<f64>, Failure> {
    let mut run = schedule.run()?;
    let mut values = Vec::with_capacity(steps);
    let mut observed: Vec<(&str, f64)> = Vec::new();
    for step in 0..steps {
        observed.clear();
        if let Some(before) = step.checked_sub(1) {
            observed.extend(inputs.iter().map(|(name, values)| {
                let value = values.as_ref().map_or_else(|value| *value, |values| values[before]);
                (name.as_str(), value)
            }));
        }
        values.push(run.next(base, &observed)?);
    }
    Ok(values)
}

fn csv(names: &[String], all: &[Vec<f64>]) -> String {
    let mut out = "step".to_string();
    if all.len() == 1 {
        out += ",value";
    } else {
        names.iter().for_each(|name| out += &format!(",{}", quoted(name)));
    }
    out.push('\n');
    for step in 0..all.first().map_or(0, Vec::len) {
        out += &step.to_string();
        for values in all {
            out.push(',');
            out += &number_text(values[step]);
        }
        out.push('\n');
    }
    out
}

fn svg(names: &[String], all: &[Vec<f64>]) -> String {
    let steps = all.first().map_or(0, Vec::len);
    let x = Axis::counted("step", 0, steps, 10);
    let y = Axis::of_hyper("value", all.iter().flatten().copied());
    let lines: Vec<Line<'_>> = names
        .iter()
        .zip(all)
        .enumerate()
        .map(|(style, (name, values))| Line {
            label: name,
            style,
            points: outline(values, 0.0, 800),
            raw: Vec::new(),
            notes: Vec::new(),
            cut: false,
        })
        .collect();
    standalone(&format!("Values of {} by step", names.join(", ")), &x, &y, &lines)
}

/// A line of blocks, the range, and about ten values of each schedule.
fn terminal(names: &[String], all: &[Vec<f64>]) -> String {
    let width = columns().unwrap_or(80).clamp(10, 400);
    let blocks = names.iter().zip(all).map(|(name, values)| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut text = format!("{name}\n{}\n", sparkline(values, width));
        text += &format!("min {}  max {}\n\n", number_text(least), number_text(most));
        let shown = values.len().min(11);
        let last = values.len() - 1;
        let mut rows: Vec<usize> = (0..shown).map(|row| if shown > 1 { row * last / (shown - 1) } else { 0 }).collect();
        rows.dedup();
        let digits = last.to_string().len().max(4);
        text += &format!("{:>digits$}  value\n", "step");
        rows.iter().for_each(|row| text += &format!("{row:>digits$}  {}\n", number_text(values[*row])));
        text
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// The values in at most `width` blocks, each as high as the mean of what it stands for.
fn sparkline(values: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let width = width.min(values.len()).max(1);
    let mean = |column: usize| {
        let part = &values[column * values.len() / width..(column + 1) * values.len() / width];
        part.iter().map(|x| x / part.len() as f64).sum::<f64>()
    };
    let means: Vec<f64> = (0..width).map(mean).collect();
    let least = means.iter().copied().fold(f64::INFINITY, f64::min);
    let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let block = |x: f64| {
        // Halves, because the whole range may be more than there are numbers.
        let share = (x / 2.0 - least / 2.0) / (most / 2.0 - least / 2.0);
        // What does not change is in the middle.
        if share.is_nan() { BLOCKS[3] } else { BLOCKS[((share * 8.0) as usize).min(7)] }
    };
    means.into_iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_go_from_the_lowest_to_the_highest() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 80), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[7.0, 7.0, 0.0, 0.0], 2), "█▁");
        assert_eq!((sparkline(&[2.0; 3], 80).as_str(), sparkline(&[f64::MAX, f64::MIN], 9).as_str()), ("▄▄▄", "█▁"));
    }
}
