//! `updraft train`: the built-in trainer with rules as its optimizers, compared if there are several.
//!
//! The trainer is [`crate::train`]; here are its arguments, a progress bar where stderr is a terminal, and a line for each
//! epoch on stdout.

use super::apply::distinct;
use super::{
    Failure, check_settings, count, load_rule, load_schedule, note, parse_schedule, parse_set, parse_store, print,
    warn, with_settings, wrap, write_files,
};
use crate::train::{BatchDone, Digits, Epoch, Options, Progress, Run, Start, Weights, check, page, table, train_from};
use crate::{Advance, Checkpoint, Error, HyperValue, Optimizer, Restore, Schedule, Store};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Train a small network on handwritten digits with one or more rules
#[derive(clap::Args)]
#[command(
    after_help = "The network has 784-512-256-10 units with ReLU between them, and softmax cross-entropy as its loss.\n\
                        Every rule starts from the same weights and sees the same batches. A rule that has an input \
                  `loss`\ngets the loss of the batch."
)]
pub(super) struct Args {
    /// Paths, or names of shipped rules
    #[arg(required = true, value_name = "RULE")]
    rules: Vec<PathBuf>,
    /// A folder in MNIST's format [default: 10,000 digits that are built in]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How often every image is seen
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Images in a step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Decides the start, the order of the images, and the random numbers of rules
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Set a hyper of every rule that has it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, HyperValue)>,
    /// How a state of every rule that has it is kept, for instance m=bf16; may be repeated
    #[arg(long, value_name = "NAME=DTYPE", value_parser = parse_store)]
    store: Vec<(String, Store)>,
    /// Let a schedule drive a hyper of every rule, for instance 'lr=cosine(t_max=1000)'; may be repeated. It may read the
    /// inputs loss and grad_norm_squared of each step and metric, the test loss of each epoch
    #[arg(long, value_name = "HYPER=SCHED", value_parser = parse_schedule)]
    schedule: Vec<(String, String)>,
    /// What completes a step of a schedule
    #[arg(long, value_name = "WHEN", default_value = "step", value_parser = advances())]
    advance: Advance,
    /// Keep an exponential moving average of the parameters, of this decay, and test with it. Without this, a rule that has
    /// one view is tested with that
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Skip steps whose gradients are not all finite
    #[arg(long)]
    skip_nonfinite: bool,
    /// How many threads share the work of a step, 0 for all that the machine has; any number gives the same losses
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=1024))]
    threads: u32,
    /// Save parameters, state and progress here after every epoch: the old file or the new one is whole at any moment
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Go on from the checkpoint, if it is there, to the bit; hypers are those of then, but for what --set says
    #[arg(long, requires = "checkpoint")]
    resume: bool,
    /// How many earlier checkpoints stay, as FILE.1 (the last), FILE.2 and so on
    #[arg(long, value_name = "N", default_value_t = 0, requires = "checkpoint", value_parser = clap::value_parser!(u16).range(..=999))]
    keep: u16,
    /// Go on also if the rule has changed since: what both have is taken over, and a note lists the rest
    #[arg(long, requires = "resume")]
    migrate: bool,
    /// Write a page with the curves of all rules
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut optimizers = build(args)?;
    distinct(&[("--checkpoint", args.checkpoint.as_ref()), ("--report", args.report.as_ref())])?;
    for path in [&args.report, &args.checkpoint].into_iter().flatten() {
        // Better now than after minutes of training.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let why = match folder {
            _ if path.is_dir() => Some("this is a folder, not a file"),
            Some(folder) if !folder.is_dir() => Some("there is no such folder"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(Failure::Message(format!("cannot write `{}`: {why}", path.display())));
        }
    }
    if args.checkpoint.is_some() && optimizers.len() > 1 {
        return Err(Failure::Usage("a checkpoint is of one run: give one rule, or no --checkpoint".to_string()));
    }
    for optimizer in &optimizers {
        check(optimizer).map_err(|error| Failure::Message(error.to_string()))?;
    }
    let digits = match &args.data {
        Some(folder) => Digits::read(folder),
        None => Digits::built_in(),
    };
    let digits = digits.map_err(|error| Failure::Message(error.to_string()))?;
    let several = optimizers.len() > 1;
    let mut runs: Vec<Run> = Vec::new();
    for optimizer in &mut optimizers {
        let rule = optimizer.rule().clone();
        let weights = if args.ema.is_some() { Weights::Average } else { Weights::of(&rule) };
        let (epochs, batch) = (args.epochs as usize, args.batch as usize);
        let options = Options { epochs, batch, seed: args.seed, weights };
        let start = start(args, optimizer, &digits, &options)?;
        let weights = &options.weights;
        let title = format!("{}: {}", rule.name(), hypers_text(optimizer, args.advance));
        let width = super::columns().unwrap_or(usize::MAX);
        let title = wrap(&title, width, rule.name().chars().count() + 2);
        print(&format!("{title}\n{}{HEAD}\n", tested_text(weights, args.ema)))?;
        let checkpoint = args.checkpoint.as_deref().map(|path| (path, usize::from(args.keep)));
        let mut display = Display { bar: None, epochs: options.epochs, closed: false, checkpoint };
        let run = train_from(start, &digits, optimizer, &options, &mut display);
        if let Some(warning) = optimizer.warning().filter(|_| runs.is_empty()) {
            warn(warning);
        }
        let run = run.map_err(|error| Failure::Message(error.to_string()))?;
        if !several {
            print(&format!("\n{}", summary(&run)))?;
        } else {
            print("\n")?;
        }
        runs.push(run);
    }
    if several {
        print(&table(&runs))?;
    }
    if let Some(path) = &args.report {
        write_files(&[(path, page(&runs).as_bytes())])?;
        print(&format!("\nThe report is in {}\n", path.display()))?;
    }
    let diverged = runs.iter().filter_map(|run| run.diverged.as_ref());
    match (diverged.clone().count(), diverged.into_iter().next()) {
        (0, _) => Ok(()),
        (1, Some(diverged)) if !several => Err(Failure::Message(diverged.to_string())),
        (n, _) => Err(Failure::Message(format!("{} of {} diverged", n, count(runs.len(), "run")))),
    }
}

/// Where a run begins, with its optimizer restored if it begins at a checkpoint.
fn start(args: &Args, optimizer: &mut Optimizer, digits: &Digits, options: &Options) -> Result<Start, Failure> {
    let Some(path) = &args.checkpoint else { return Ok(Start::default()) };
    let shown = path.display();
    // Nothing is begun anew because a file could not be looked at.
    let exists = path.try_exists().map_err(|error| Failure::Message(format!("cannot read `{shown}`: {error}")))?;
    match (exists, args.resume) {
        (false, false) => return Ok(Start::default()),
        (false, true) => {
            let earlier = format!("{shown}.1");
            if Path::new(&earlier).exists() {
                let message =
                    format!("there is no `{shown}`, but a `{earlier}`: rename it to go on from it, or remove it");
                return Err(Failure::Message(message));
            }
            note(&format!("there is no `{shown}` yet: the run begins at its first epoch"));
            return Ok(Start::default());
        }
        (true, false) => {
            let message =
                format!("`{shown}` is there already: pass --resume to go on from it, or remove it to begin anew");
            return Err(Failure::Message(message));
        }
        (true, true) => {}
    }
    let checkpoint = Checkpoint::read(path)?;
    let of_file = |error: String| Failure::Message(format!("{shown}: {error}"));
    let start = Start::of(&checkpoint, digits, optimizer, options).map_err(|error| of_file(error.to_string()))?;
    let migration = optimizer.restore(&checkpoint, Restore { migrate: args.migrate, hypers: true });
    let migration = migration.map_err(|error| error.of_file(path))?;
    if !migration.is_empty() {
        note(&format!("{shown}: {migration}"));
    }
    // What is decided when building is as it was, or the checkpoint would have been refused.
    let differs = |(name, value): &&(String, HyperValue)| optimizer.own_hyper(name).is_some_and(|was| *was != *value);
    let changed: Vec<(&str, HyperValue)> =
        args.set.iter().filter(differs).map(|(name, value)| (name.as_str(), value.clone())).collect();
    for (name, value) in &changed {
        if let Some(was) = optimizer.own_hyper(name) {
            note(&format!("`{name}` was {was} and is {value} from here"));
        }
    }
    optimizer.set_many(&changed)?;
    note(&format!("going on from `{shown}` after {}", count(start.epochs(), "epoch")));
    Ok(start)
}

fn advances() -> impl TypedValueParser<Value = Advance> {
    PossibleValuesParser::new(["step", "epoch"]).map(|name| if name == "step" { Advance::Step } else { Advance::Epoch })
}

/// `lr=0.001 beta1=0.9`: hypers as they are in force, as `--set` takes them, with the schedules that drive them.
fn hypers_text(optimizer: &Optimizer, advance: Advance) -> String {
    let text = |name: &str| {
        let value = optimizer.own_hyper(name)?;
        let driven = optimizer.driven().find(|(hyper, ..)| *hyper == name);
        let per = if advance == Advance::Epoch { " per epoch" } else { "" };
        Some(format!("{name}={value}{}", driven.map_or(String::new(), |(_, by, _)| format!(" by {by}{per}"))))
    };
    optimizer.rule().hypers().filter_map(|hyper| text(hyper.name)).collect::<Vec<_>>().join(" ")
}

/// A line that says what is tested, unless it is the parameters.
fn tested_text(weights: &Weights, ema: Option<f64>) -> String {
    match (weights, ema) {
        (Weights::Trained, _) => String::new(),
        (_, Some(decay)) => format!("tested with {weights} (--ema {decay})\n"),
        (_, None) => format!("tested with {weights}\n"),
    }
}

/// An optimizer for each rule, with the hypers that it has of those that were set.
fn build(args: &Args) -> Result<Vec<Optimizer>, Failure> {
    let rules = args.rules.iter().map(|rule| load_rule(rule)).collect::<Result<Vec<_>, _>>()?;
    check_settings(&rules, &args.set)?;
    for (name, _) in &args.store {
        let has = |rule: &crate::Rule| rule.program().states.iter().any(|state| *state.name == **name);
        if rules.len() > 1 && name != "p" && !rules.iter().any(has) {
            let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
            return Err(Failure::Message(format!("none of {} has a state `{name}`", names.join(", "))));
        }
    }
    let schedules: Vec<(&String, Schedule)> =
        args.schedule.iter().map(|(hyper, text)| Ok((hyper, load_schedule(text)?))).collect::<Result<_, Failure>>()?;
    let mut optimizers = Vec::new();
    for rule in &rules {
        let mut builder = with_settings(rule, &args.set);
        for (name, store) in &args.store {
            if name == "p" || rules.len() == 1 || rule.program().states.iter().any(|state| *state.name == **name) {
                builder = builder.and_then(|builder| builder.store(name, *store));
            }
        }
        for (hyper, schedule) in &schedules {
            builder = builder.and_then(|builder| builder.schedule_every(hyper, schedule.clone(), args.advance));
        }
        if let Some(decay) = args.ema {
            builder = builder.and_then(|builder| builder.average(decay));
        }
        let (threads, skip) = (args.threads as usize, args.skip_nonfinite);
        let builder = builder.map(|builder| builder.threads(threads).seed(args.seed).skip_nonfinite(skip));
        let optimizer = builder.and_then(|builder| builder.build());
        optimizers.push(optimizer.map_err(|error| match error {
            error @ (Error::HyperOutOfRange { .. } | Error::HyperKind { .. }) => {
                Failure::Message(format!("{}: {error}", rule.name()))
            }
            Error::HostOption { value, expected, .. } => Failure::Message(format!("--ema {value} is not {expected}")),
            error => error.into(),
        })?);
    }
    Ok(optimizers)
}

/// The head of the lines of epochs.
const HEAD: &str = "epoch  train loss  test loss  test accuracy  forward  backward     step     rest";

/// Shows how a run goes.
struct Display<'a> {
    bar: Option<ProgressBar>,
    epochs: usize,
    /// Where checkpoints go, and how many earlier ones stay.
    checkpoint: Option<(&'a Path, usize)>,
    /// Nobody reads stdout any more.
    closed: bool,
}

impl Progress for Display<'_> {
    fn start(&mut self, rule: &str, steps: usize) {
        if !io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(steps as u64).with_prefix(rule.to_string());
        // The template is a constant; a plain bar would do if it were wrong.
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3}%  {msg}  {eta:>4} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
        self.bar = Some(bar);
    }

    fn batch(&mut self, batch: &BatchDone) {
        let Some(bar) = &self.bar else { return };
        // Drawing more often than the eye follows would cost the run time.
        if batch.step.is_multiple_of(8) {
            let BatchDone { epoch, loss, images_per_second, .. } = batch;
            let epochs = self.epochs;
            bar.set_message(format!("epoch {epoch}/{epochs}  loss {loss:.4}  {images_per_second:.0} images/s"));
            bar.set_position(batch.step as u64);
        }
    }

    fn epoch(&mut self, epoch: &Epoch) {
        let line = epoch_line(epoch, self.epochs);
        let say = || matches!(print(&line), Err(Failure::ClosedPipe));
        self.closed |= match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        };
    }

    fn checkpoint(&mut self, take: &mut dyn FnMut() -> Checkpoint) -> Result<(), String> {
        let Some((path, keep)) = self.checkpoint else { return Ok(()) };
        take().save_keeping(path, keep).map_err(|error| error.to_string())
    }

    fn finish(&mut self, _: &Run) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn epoch_line(epoch: &Epoch, epochs: usize) -> String {
    let crate::train::Seconds { forward, backward, step, rest } = epoch.seconds;
    let seconds = |x: f64| format!("{x:.2} s");
    let skipped = match epoch.skipped {
        0 => String::new(),
        n => format!("  {} skipped", count(n, "step")),
    };
    format!(
        "{:>5}  {:>10.4}  {:>9.4}  {:>13}  {:>7}  {:>8}  {:>7}  {:>7}{skipped}\n",
        format!("{}/{epochs}", epoch.number),
        epoch.train_loss,
        epoch.test_loss,
        format!("{:.1}%", 100.0 * epoch.test_accuracy),
        seconds(forward),
        seconds(backward),
        seconds(step),
        seconds(rest),
    )
}

/// What a single run came to.
fn summary(run: &Run) -> String {
    let crate::train::Seconds { forward, backward, step, rest } = run.seconds;
    let total = run.seconds.total().max(1e-9);
    let share = |part: f64| format!("{:.0}%", 100.0 * part / total);
    let reached = run.epochs.last().map_or(String::new(), |last| {
        let with = match &run.options.weights {
            Weights::Trained => String::new(),
            weights => format!(", with {weights}"),
        };
        format!(
            "{}: {:.1}% test accuracy after {}{with}\n",
            run.rule,
            100.0 * last.test_accuracy,
            count(run.epochs.len(), "epoch")
        )
    });
    let skipped = match run.skipped {
        0 => String::new(),
        n => format!("{n} of {} skipped\n", count(run.losses.len(), "step")),
    };
    let steps = run.losses.len().max(1) as f64;
    format!(
        "{reached}{skipped}{total:.2} s: forward {}, backward {}, step {}, rest {}; {:.3} ms per step\n",
        share(forward),
        share(backward),
        share(step),
        share(rest),
        1e3 * step / steps,
    )
}
