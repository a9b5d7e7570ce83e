//! `updraft bench`: what a step of a rule costs, beside the floor of its memory traffic.
//!
//! The measuring is [`crate::bench`]; here are its arguments, and a line for each case as soon as it is measured.

use super::emit::{dtypes, maths, named};
use super::{Failure, check_settings, color, load_rule, parse_set, print, warn, with_settings};
use crate::bench::{Case, Figures, measure};
use crate::codegen::Codegen;
use crate::diagnostic::Color;
use crate::{Denormals, Error, HyperValue, Math, Rule, Storage};
use clap::builder::TypedValueParser;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Measure what a step of one or more rules costs, beside the least that its memory traffic costs
#[derive(clap::Args)]
#[command(
    after_help = "Every combination is measured; lists are separated by commas: --threads 1,2. A rule and its floor take turns. The\n\
                  floor reads and writes the same arrays, and only adds."
)]
pub(super) struct Args {
    /// Paths, or names of shipped rules
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<PathBuf>,
    /// Elements of each tensor: numbers, also like 16Ki, 1Mi
    #[arg(long, value_name = "N,..", default_value = "16Ki,1Mi", value_delimiter = ',', value_parser = parse_elements)]
    elements: Vec<usize>,
    /// How many tensors a step takes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tensors: u32,
    /// How many threads share the work of a step, 0 for all that the machine has
    #[arg(long, value_name = "N,..", default_value = "1", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(..=1024))]
    threads: Vec<u32>,
    /// The types of parameters and gradients
    #[arg(long, value_name = "T,..", default_value = "f32", value_delimiter = ',', value_parser = dtypes())]
    dtype: Vec<Storage>,
    /// What generates the code [default: all that this machine has]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = codegens())]
    codegen: Vec<Codegen>,
    /// Compute what is written (strict), or regroup scalar factors and contract to fma (fast)
    #[arg(long, value_name = "MATH,..", default_value = "fast", value_delimiter = ',', value_parser = maths())]
    math: Vec<Math>,
    /// What kernels do with denormal numbers: compute with them, or take them for zeros
    #[arg(long, value_name = "WHAT", default_value = "keep", value_parser = denormals())]
    denormals: Denormals,
    /// Set a hyper of every rule that has it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, HyperValue)>,
    /// How long to measure each case
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

/// The most elements of all tensors together: some arrays of that many still fit into a machine.
const MOST: usize = 1 << 31;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let tensors = args.tensors as usize;
    for elements in &args.elements {
        if elements.checked_mul(tensors).is_none_or(|all| all > MOST) {
            return Err(Failure::Usage(format!(
                "--elements {elements} --tensors {tensors} is more than {MOST} elements in all: measure fewer"
            )));
        }
    }
    let codegens: Vec<Codegen> = match args.codegen.as_slice() {
        // Where there is none, the evaluator runs, and a warning says so.
        [] => match Codegen::ALL.into_iter().filter(|codegen| codegen.is_available()).collect::<Vec<_>>() {
            none if none.is_empty() => vec![Codegen::ALL[0]],
            some => some,
        },
        given => given.to_vec(),
    };
    if let Some(codegen) = args.codegen.iter().find(|codegen| !codegen.is_available()) {
        return Err(Failure::Usage(format!("--codegen {}: this CPU does not run its code", codegen.name())));
    }
    let rules = args.rules.iter().map(|rule| load_rule(rule)).collect::<Result<Vec<_>, _>>()?;
    check_settings(&rules, &args.set)?;
    // Before the first is measured, all are found to be sound.
    for rule in &rules {
        with_settings(rule, &args.set).and_then(|builder| builder.build()).map_err(|error| of_rule(rule, error))?;
    }
    let cases = cases(args, &codegens);
    let table = Table::new(&rules, &cases);
    if !args.json {
        print(&table.head())?;
    }
    let mut warned = false;
    for rule in &rules {
        for case in &cases {
            let builder = with_settings(rule, &args.set).map_err(|error| of_rule(rule, error))?;
            let figures =
                measure(builder.denormals(args.denormals), case, args.seconds).map_err(|error| of_rule(rule, error))?;
            if let Some(warning) = figures.warning.as_deref().filter(|_| !warned) {
                warn(warning);
                warned = true;
            }
            print(&if args.json { json(rule, case, &figures) } else { table.row(rule, case, &figures) })?;
        }
    }
    if args.json { Ok(()) } else { print(LEGEND) }
}

const LEGEND: &str = "\n+-: half the distance between the quartiles\n\
                      to floor: the time over that of the same reads and writes with additions only\n";

/// An error of one rule of several.
fn of_rule(rule: &Rule, error: Error) -> Failure {
    match error {
        Error::Compile(error) => Failure::Compile(error),
        error => Failure::Message(format!("{}: {error}", rule.name())),
    }
}

/// What each rule is measured in.
fn cases(args: &Args, codegens: &[Codegen]) -> Vec<Case> {
    let tensors = args.tensors as usize;
    let mut cases = Vec::new();
    for &elements in &args.elements {
        for &storage in &args.dtype {
            for threads in args.threads.iter().map(|threads| all_if_0(*threads)) {
                for &codegen in codegens {
                    for &math in &args.math {
                        cases.push(Case { elements, tensors, storage, threads, codegen, math });
                    }
                }
            }
        }
    }
    cases
}

/// How many threads are meant.
fn all_if_0(threads: u32) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads as usize,
    }
}

fn json(rule: &Rule, case: &Case, figures: &Figures) -> String {
    let ns = figures.rule.median;
    // A number has no more digits than it is worth.
    let rounded = |x: f64| serde_json::json!(format!("{x:.6}").parse::<f64>().ok().filter(|x| x.is_finite()));
    let object = serde_json::json!({
        "rule": rule.name(),
        "dtype": case.storage.name(),
        "elements": case.elements,
        "tensors": case.tensors,
        "threads": case.threads,
        "codegen": case.codegen.name(),
        "math": case.math.name(),
        "ns_per_element": rounded(ns),
        "bytes_per_element": figures.bytes_per_element,
        "gb_per_s": rounded(figures.bytes_per_element as f64 / ns),
        "floor_ratio": rounded(ns / figures.floor.median),
    });
    format!("{object}\n")
}

/// The widths of the columns, known before anything is measured.
struct Table {
    rule: usize,
    elements: usize,
    tensors: usize,
}

impl Table {
    fn new(rules: &[Rule], cases: &[Case]) -> Table {
        let width = |widths: &mut dyn Iterator<Item = usize>, head: &str| widths.max().unwrap_or(0).max(head.len());
        Table {
            rule: width(&mut rules.iter().map(|rule| rule.name().chars().count()), "rule"),
            elements: width(&mut cases.iter().map(|case| case.elements.to_string().len()), "elements"),
            tensors: width(&mut cases.iter().map(|case| case.tensors.to_string().len()), "tensors"),
        }
    }

    fn head(&self) -> String {
        let Table { rule, elements, tensors } = *self;
        let line = format!(
            "{:<rule$}  {:<5}  {:>elements$}  {:>tensors$}  threads  codegen    math    ns/element   +-  bytes/element   GB/s  to \
             floor",
            "rule", "dtype", "elements", "tensors"
        );
        match color(&io::stdout()) {
            Color::Always => {
                let style = clap::builder::styling::Style::new().bold();
                format!("{style}{line}{style:#}\n")
            }
            Color::Never => line + "\n",
        }
    }

    fn row(&self, of: &Rule, case: &Case, figures: &Figures) -> String {
        let Table { rule, elements, tensors } = *self;
        let (ns, bytes) = (figures.rule.median, figures.bytes_per_element);
        format!(
            "{:<rule$}  {:<5}  {:>elements$}  {:>tensors$}  {:>7}  {:<9}  {:<6}  {:>10.3}  {:>2.0}%  {:>13}  {:>5.1}  {:>8.2}\n",
            of.name(),
            case.storage.name(),
            case.elements,
            case.tensors,
            case.threads,
            case.codegen.name(),
            case.math.name(),
            ns,
            100.0 * figures.rule.relative(),
            bytes,
            bytes as f64 / ns,
            ns / figures.floor.median,
        )
    }
}

/// Reads a number of elements: `16384`, `16Ki`, `1Mi`.
fn parse_elements(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    let number = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
    number.filter(|number| *number > 0).ok_or("write a number from 1, for instance 16384, 16Ki or 1Mi".to_string())
}

/// Reads a number of seconds.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 3600.0);
    seconds.map(Duration::from_secs_f64).ok_or("write a number of seconds up to 3600, for instance 0.5".to_string())
}

fn codegens() -> impl TypedValueParser<Value = Codegen> {
    named(&Codegen::ALL, Codegen::name)
}

fn denormals() -> impl TypedValueParser<Value = Denormals> {
    named(&Denormals::ALL, Denormals::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_elements_may_have_a_unit() {
        assert_eq!(["7", "16Ki", " 1Mi", "2Gi"].map(parse_elements), [7, 1 << 14, 1 << 20, 1 << 31].map(Ok));
        assert!(
            ["", "0", "0Ki", "-1", "1k", "1.5Mi", "99999999999Gi"].iter().all(|text| parse_elements(text).is_err())
        );
        assert!(["", "0", "-1", "inf", "nan", "4000"].iter().all(|text| parse_seconds(text).is_err()));
        assert_eq!(parse_seconds("0.25"), Ok(Duration::from_millis(250)));
    }
}
