//! `updraft apply`: a rule on tensors in safetensors files, so that other programs can hold themselves to it.
//!
//! Comes in: parameters, gradients of one or more steps, inputs, a state to go on from. Goes out: the parameters after the
//! last step, those after every step, views, reports, the state. Tensors match by name and are stepped in the order of their
//! names, all in one call per step. Equal inputs give equal bytes, whatever the number of threads.
//!
//! Files are not trusted: everything that does not fit is an [`ApplyError`] that names file and tensor. Outputs are written
//! together after everything has succeeded, so they may replace what was read.

mod error;
mod floats;
mod inputs;
mod params;
mod reports;

pub(super) use error::ApplyError;
pub(super) use inputs::read_numbers;

use super::{
    Failure, count, load_rule, load_schedule, note, parse_schedule, parse_set, parse_store, warn, write_files,
};
use crate::check::program::Extent;
use crate::diagnostic::did_you_mean;
use crate::{Checkpoint, Engine, Error, HyperValue, Math, Optimizer, Restore, Rule, Store};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use inputs::{Input, inputs};
use params::{Params, open};
use reports::Reports;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// Apply a rule to parameters and gradients in safetensors files
#[derive(clap::Args)]
pub(super) struct Args {
    /// A path, or the name of a shipped rule
    rule: PathBuf,
    /// Parameters before the first step
    #[arg(long, value_name = "FILE")]
    params: PathBuf,
    /// Gradients by the names of their parameters: of the same shape for one step, with one more leading axis for several
    #[arg(long, value_name = "FILE")]
    grads: PathBuf,
    /// Where the parameters after the last step go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the parameters after every step go, with a leading axis
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Where a view goes, of every tensor that was stepped, as it is after the last step; may be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = parse_view)]
    view: Vec<(String, PathBuf)>,
    /// Where the reports of every step go: CSV with the columns step, report, tensor and value. Steps count from 1; one that
    /// is skipped has no line. The tensor is empty for a report per model
    #[arg(long, value_name = "FILE")]
    report_out: Option<PathBuf>,
    /// The state to go on from
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where the state after the last step goes
    #[arg(long, value_name = "FILE")]
    state_out: Option<PathBuf>,
    /// Take the state also if the rule has changed since: what both have is taken over, and a note lists the rest
    #[arg(long, requires = "state")]
    migrate: bool,
    /// Set a hyper; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, HyperValue)>,
    /// How a state is kept, for instance m=bf16, or the parameters, as p: f32, f64, bf16, f16, bf16-stochastic or
    /// bf16-kahan; may be repeated. p=f32 keeps master copies of parameters that are bf16 or f16
    #[arg(long, value_name = "NAME=DTYPE", value_parser = parse_store)]
    store: Vec<(String, Store)>,
    /// Let a schedule drive a hyper, for instance 'lr=cosine(t_max=1000)'; may be repeated
    #[arg(long, value_name = "HYPER=SCHED", value_parser = parse_schedule)]
    schedule: Vec<(String, String)>,
    /// Give an input: a number for every step, or @FILE with one number a line, a line for each step; schedules get it
    /// after the step. For an input per element FILE is safetensors, with the names and shapes of the parameters, and one
    /// more leading axis unless it is the same in every step; for one per tensor it may be, without the parameters' axes
    #[arg(long, value_name = "NAME=VALUE|@FILE", value_parser = parse_input)]
    input: Vec<(String, Given)>,
    /// Decides the random numbers of the rule [default: that of the state, else 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What runs the kernels; both give the same bits
    #[arg(long, default_value = "jit", value_parser = engines())]
    engine: Engine,
    /// Compute what is written (strict), or regroup scalar factors and contract to fma (fast)
    #[arg(long, default_value = "fast", value_parser = super::emit::maths())]
    math: Math,
    /// How many threads share the work, 0 for all that the machine has; any number gives the same bits
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=1024))]
    threads: u32,
}

/// The value of an input as an argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Number(f64),
    File(PathBuf),
}

pub(super) fn parse_input(text: &str) -> Result<(String, Given), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write NAME=VALUE or NAME=@FILE, for instance loss=0.5".to_string());
    };
    let given = match value.strip_prefix('@') {
        Some(path) => Given::File(path.into()),
        None => match value.trim().parse() {
            Ok(number) => Given::Number(number),
            Err(_) => return Err(format!("`{value}` is not a number; a file is given as {name}=@FILE")),
        },
    };
    Ok((name.trim().nfc().collect(), given))
}

fn parse_view(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !path.is_empty() => Ok((name.trim().nfc().collect(), path.into())),
        _ => Err("write NAME=FILE, for instance averaged=averaged.safetensors".to_string()),
    }
}

fn engines() -> impl TypedValueParser<Value = Engine> {
    PossibleValuesParser::new(["jit", "eval"]).map(|name| if name == "jit" { Engine::Jit } else { Engine::Eval })
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut outputs = vec![
        ("--out", Some(&args.out)),
        ("--trace", args.trace.as_ref()),
        ("--state-out", args.state_out.as_ref()),
        ("--report-out", args.report_out.as_ref()),
    ];
    outputs.extend(args.view.iter().map(|(_, path)| ("--view", Some(path))));
    distinct(&outputs)?;
    let rule = load_rule(&args.rule)?;
    knows_views(&rule, &args.view)?;
    let mut reports = args.report_out.as_ref().map(|_| Reports::new(&rule)).transpose()?;
    let mut builder = rule.optimizer().engine(args.engine).math(args.math).threads(args.threads as usize);
    for (name, value) in &args.set {
        builder = builder.set(name, value.clone())?;
    }
    for (name, store) in &args.store {
        builder = builder.store(name, *store)?;
    }
    let mut schedules = Vec::new();
    for (hyper, text) in &args.schedule {
        let schedule = load_schedule(text)?;
        schedules.push(schedule.clone());
        builder = builder.schedule(hyper, schedule)?;
    }
    let state = args.state.as_ref().map(|path| Ok::<_, Failure>((path, read_state(path)?))).transpose()?;
    let seed = state.as_ref().and_then(|(_, checkpoint)| checkpoint.metadata("seed").parse().ok());
    builder = builder.seed(args.seed.or(seed).unwrap_or(0));
    for report in reports.iter().flat_map(Reports::names) {
        builder = builder.report(report)?;
    }
    let mut optimizer = builder.build()?;
    if let Some((path, checkpoint)) = state {
        // Hypers are this command's.
        let how = Restore { hypers: false, migrate: args.migrate };
        let migration = optimizer.restore(&checkpoint, how).map_err(|error| error.of_file(path))?;
        if !migration.is_empty() {
            note(&format!("{}: {migration}", path.display()));
        }
    }
    let (params_bytes, grads_bytes) = (read(&args.params)?, read(&args.grads)?);
    let params_file = open(&args.params, &params_bytes)?;
    let grads_file = open(&args.grads, &grads_bytes)?;
    let mut params = Params::new(args, &params_file, &grads_file)?;
    let inputs = inputs(&rule, &schedules, &args.input, params.steps)?;
    for input in &inputs {
        params.take_input(args, input)?;
    }
    let before: Vec<u64> = params.stepped().map(|tensor| optimizer.steps(tensor)).collect();
    let mut skipped = 0;
    for step in 0..params.steps {
        take_step(&mut optimizer, &mut params, &inputs, step).map_err(|error| explained(error, args, step))?;
        skipped += usize::from(optimizer.last_skipped());
        if let Some(reports) = &mut reports {
            reports.record(step + 1, &optimizer, &params);
        }
        if args.trace.is_some() {
            params.record(&args.params)?;
        }
    }
    let metadata = SafeTensors::read_metadata(&params_bytes).ok().and_then(|(_, header)| header.metadata().clone());
    let mut outputs: Vec<(&Path, Vec<u8>)> = vec![(&args.out, params.after(metadata)?)];
    if let Some(path) = &args.trace {
        outputs.push((path, params.trace()?));
    }
    for (name, path) in &args.view {
        outputs.push((path, params.view(&mut optimizer, name)?));
    }
    if let (Some(path), Some(reports)) = (&args.report_out, reports) {
        outputs.push((path, reports.text().into_bytes()));
    }
    if let Some(path) = &args.state_out {
        outputs.push((path, optimizer.to_bytes()?));
    }
    if let Some(warning) = optimizer.warning() {
        warn(warning);
    }
    write_files(&outputs.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect::<Vec<_>>())?;
    say_skipped(&optimizer, &params, &before, skipped);
    Ok(())
}

/// Says which steps were not taken: those of the whole model, then of tensors that skipped more.
fn say_skipped(optimizer: &Optimizer, params: &Params<'_>, before: &[u64], skipped: usize) {
    let steps = params.steps;
    let were = |n: usize| format!("{n} of {} {} skipped", count(steps, "step"), if n == 1 { "was" } else { "were" });
    if skipped > 0 {
        note(&were(skipped));
    }
    let own = params.stepped().zip(before).map(|(tensor, before)| {
        let taken = optimizer.steps(tensor).saturating_sub(*before) as usize;
        (tensor, steps.saturating_sub(taken))
    });
    let more: Vec<(&str, usize)> = own.filter(|(_, own)| *own > skipped).collect();
    const SHOWN: usize = 5;
    for (tensor, own) in more.iter().take(SHOWN) {
        note(&format!("`{tensor}`: {}", were(*own)));
    }
    if more.len() > SHOWN {
        note(&format!("and so were steps of {}", count(more.len() - SHOWN, "other tensor")));
    }
}

fn read_state(path: &Path) -> Result<Checkpoint, Failure> {
    Checkpoint::read(path).map_err(|error| match error {
        Error::Io { path, error } => ApplyError::Read { path, error }.into(),
        error => error.into(),
    })
}

/// Better before the steps than after them.
fn knows_views(rule: &Rule, given: &[(String, PathBuf)]) -> Result<(), Error> {
    let known = || rule.program().views.iter().map(|view| &*view.name);
    let Some((view, _)) = given.iter().find(|(name, _)| !known().any(|view| view == name)) else { return Ok(()) };
    Err(Error::UnknownView {
        rule: rule.name().to_string(),
        view: view.clone(),
        similar: did_you_mean(view, known()).map(String::from),
        known: known().map(String::from).collect(),
    })
}

/// Two outputs in one file would leave one of them.
pub(super) fn distinct(given: &[(&'static str, Option<&PathBuf>)]) -> Result<(), ApplyError> {
    let mut seen: Vec<(&'static str, PathBuf)> = Vec::new();
    for &(flag, path) in given {
        let Some(path) = path else { continue };
        let whole = std::fs::canonicalize(path).or_else(|_| {
            // It does not exist yet, but its folder does.
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            std::fs::canonicalize(folder).map(|folder| folder.join(path.file_name().unwrap_or_default()))
        });
        let whole = whole.unwrap_or_else(|_| path.clone());
        if let Some((first, _)) = seen.iter().find(|(_, other)| *other == whole) {
            return Err(ApplyError::SameOutput { path: path.clone(), first, second: flag });
        }
        seen.push((flag, whole));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, ApplyError> {
    std::fs::read(path).map_err(|error| ApplyError::Read { path: path.to_path_buf(), error })
}

/// Whether the bytes are meant as safetensors, in which JSON follows a length: no line of numbers has a brace.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// One call of the optimizer.
fn take_step(optimizer: &mut Optimizer, params: &mut Params<'_>, inputs: &[Input], step: usize) -> Result<(), Error> {
    for input in inputs {
        let Some(value) = input.at(step) else { continue };
        match input.extent {
            Some(Extent::Model) => optimizer.input_of_rule(&input.name, value)?,
            Some(Extent::Group) => optimizer.group("default")?.input(&input.name, value)?,
            // These go with each tensor; schedules get theirs when the step is complete.
            _ => {}
        }
    }
    let mut tensors = params.at(step);
    for (name, value) in inputs.iter().filter_map(|input| input.of_tensors(step)) {
        tensors = tensors.into_iter().map(|tensor| tensor.input(name, value)).collect();
    }
    optimizer.step(&mut tensors)?;
    if optimizer.last_skipped() {
        // Nothing has been completed that schedules could have observed.
        return Ok(());
    }
    for input in inputs {
        if let Some(value) = input.at(step) {
            optimizer.observe(&input.name, value);
        }
    }
    Ok(())
}

/// An error of a step in terms of the files.
fn explained(error: Error, args: &Args, step: usize) -> Failure {
    let other = |tensor, was, now| match &args.state {
        Some(state) => ApplyError::OtherTensor { state: state.clone(), tensor, was, now }.into(),
        None => Failure::Message(format!("`{tensor}` was {was} and is {now}")),
    };
    // The file of an input that has nothing for this tensor.
    let given = |input: &str| match args.input.iter().rfind(|(name, _)| name == input) {
        Some((_, Given::File(path))) => Some(path.clone()),
        _ => None,
    };
    let step = step + 1;
    match error {
        Error::MissingInput { rule, input, extent, tensor }
            if extent == Extent::Element.name() || extent == Extent::Tensor.name() && given(&input).is_some() =>
        {
            let (per_element, path) = (extent == Extent::Element.name(), given(&input));
            ApplyError::MissingInputOf { rule, input, per_element, tensor, step, path }.into()
        }
        Error::MissingInput { rule, input, .. } => ApplyError::MissingInput { rule, input, step }.into(),
        Error::NeedsAxes { rule, tensor, shape, extent, line } => {
            ApplyError::NeedsAxes { params: args.params.clone(), tensor, shape, rule, line, extent }.into()
        }
        Error::ShapeChanged { tensor, was, now } => {
            other(tensor, format!("of shape {was:?}"), format!("of shape {now:?}"))
        }
        Error::DtypeChanged { tensor, was, now } => {
            other(tensor, format!("of type {}", was.name()), format!("of type {}", now.name()))
        }
        error => error.into(),
    }
}
