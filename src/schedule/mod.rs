//! Schedules: hypers that change with the step.
//!
//! Comes in: schedule files, which the rule front end reads, or an expression that joins several
//! (`linear(total_iters = 100) for 100 then cosine(t_max = 900)`). Goes out: [`Schedule`], which gives the value at a step
//! and drives a hyper of a group when an optimizer is built with it. `s` counts completed steps from 0, and each part of
//! a joined schedule counts from its own start. All arithmetic is f64 by the evaluator of scalar code. A schedule without
//! state or inputs gives its value at any step in any order; one with state is stepped by the optimizer that it drives,
//! whose checkpoints keep it.

mod compose;
mod driver;
mod shipped;

pub use driver::Advance;
pub(crate) use driver::Driver;
pub use shipped::SHIPPED_SCHEDULES;

use crate::check::program::{FileKind, InputId, StateId};
use crate::check::without_docs_and_defaults;
use crate::diagnostic::{CompileError, did_you_mean};
use crate::ir::region::{Level, Outside, Region};
use crate::ir::step::Source;
use crate::ir::{Scalar, lower_scalars, lower_schedule};
use crate::library::{Beside, Library, Shipped};
use crate::runtime::{Error, HyperValue, Hypers, Rule, hyper_named};
use crate::source::SourceFile;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// A schedule, or several joined.
///
/// ```
/// use updraft::Schedule;
/// let warmup: Schedule = "linear(total_iters=10) for 10 then cosine(t_max=90)".parse()?;
/// assert!(warmup.value(0, 0.1)? < warmup.value(9, 0.1)?);
/// assert_eq!(warmup.value(10, 0.1)?, 0.1);
/// # Ok::<(), updraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schedule(Expr);

#[derive(Clone, Debug)]
enum Expr {
    /// One schedule file with its hypers set.
    Part(Arc<Part>),
    /// A number.
    Constant(f64),
    /// The first for so many steps, then the second from its own start.
    Then(Box<Expr>, u64, Box<Expr>),
    Join(Join, Box<Expr>, Box<Expr>),
}

/// How two values at one step are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    Product,
    Sum,
    Min,
    Max,
}

/// One schedule file.
#[derive(Clone, Debug)]
struct Part {
    /// What an expression calls it: a shipped schedule, or the path of a file.
    name: String,
    rule: Rule,
    hypers: Hypers,
    /// Its value; stores change its states.
    code: Region,
    /// The first value of each state.
    first: Region,
}

impl Schedule {
    /// A schedule that is part of the crate: see [`SHIPPED_SCHEDULES`].
    ///
    /// # Errors
    /// [`Error::UnknownSchedule`].
    pub fn shipped(name: &str) -> Result<Schedule, Error> {
        match Shipped.find(FileKind::Schedule, name) {
            Some(file) => Schedule::compile(name.to_string(), file, &Shipped),
            None => {
                let known = Shipped.stems(FileKind::Schedule);
                let similar = did_you_mean(name, known.iter().map(String::as_str)).map(str::to_string);
                Err(Error::UnknownSchedule { schedule: name.to_string(), similar })
            }
        }
    }

    /// Reads and checks a schedule file. Schedules that it calls are looked for beside it.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Compile`] with every error of the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Schedule, Error> {
        let path = path.as_ref();
        let text = crate::library::read(path).map_err(|error| Error::Io { path: path.to_path_buf(), error })?;
        let mut name = path.to_string_lossy().into_owned();
        let file = SourceFile::new(name.clone(), text);
        if !compose::is_path(&name) {
            name.insert_str(0, "./");
        }
        Schedule::compile(name, file, &Beside::of(path))
    }

    /// Checks the text of a schedule called `name`.
    ///
    /// # Errors
    /// [`Error::Compile`] with every error of the text.
    ///
    /// ```
    /// let halved = updraft::Schedule::parse("halved", "schedule halved\nvalue = base * 0.5^floor(s / 10)\n")?;
    /// assert_eq!(halved.value(25, 0.8)?, 0.2);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn parse(name: &str, text: &str) -> Result<Schedule, Error> {
        Schedule::compile(name.to_string(), SourceFile::new(name, text), &Shipped)
    }

    fn compile(name: String, file: SourceFile, library: &dyn Library) -> Result<Schedule, Error> {
        let rule = Rule::compile_kind(file, FileKind::Schedule, library)
            .map_err(|error: CompileError| Error::Compile(error))?;
        let inits: Vec<_> = rule.program().states.iter().map(|state| state.init).collect();
        let part = Part {
            name,
            hypers: Hypers::new(&rule),
            code: lower_schedule(rule.program()),
            first: lower_scalars(rule.program(), &inits),
            rule,
        };
        Ok(Schedule(Expr::Part(Arc::new(part))))
    }

    /// A value that does not change.
    pub fn constant(x: f64) -> Schedule {
        Schedule(Expr::Constant(x))
    }

    /// Sets a hyper of the schedule.
    ///
    /// ```
    /// use updraft::Schedule;
    /// let steps = Schedule::shipped("multistep")?.set("milestones", [10.0, 20.0])?.set("gamma", 0.5)?;
    /// assert_eq!(steps.value(15, 1.0)?, 0.5);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownHyper`], [`Error::HyperKind`], [`Error::HyperOutOfRange`]. Of a joined schedule the parts are set
    /// before they are joined: [`Error::ScheduleText`].
    pub fn set(self, name: &str, value: impl Into<HyperValue>) -> Result<Schedule, Error> {
        let Expr::Part(part) = self.0 else {
            let reason = "its parts have hypers, it has none: set them before joining".to_string();
            return Err(Error::ScheduleText { text: self.to_string(), reason });
        };
        let mut part = Arc::unwrap_or_clone(part);
        let value = value.into();
        let index = hyper_named(part.rule.program(), name, &value)?;
        part.hypers.set(index, value);
        part.hypers.evaluate(&part.rule);
        Ok(Schedule(Expr::Part(Arc::new(part))))
    }

    /// This one for so many steps, then the other from its own start.
    pub fn then(self, steps: u64, next: Schedule) -> Schedule {
        Schedule(Expr::Then(Box::new(self.0), steps, Box::new(next.0)))
    }

    /// The product of both at each step. Two schedules are factors of one `base`, as in torch's `ChainedScheduler`: the
    /// product contains it once. A number is a plain factor.
    ///
    /// ```
    /// use updraft::Schedule;
    /// let both: Schedule = "exponential(gamma=0.5) * step(step_size=1, gamma=0.5) * 2".parse()?;
    /// assert_eq!(both.value(1, 0.25)?, 0.25 * 0.5 * 0.5 * 2.0);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn times(self, other: Schedule) -> Schedule {
        self.join(Join::Product, other)
    }

    /// The sum of both at each step.
    pub fn plus(self, other: Schedule) -> Schedule {
        self.join(Join::Sum, other)
    }

    /// The smaller of both at each step.
    pub fn min(self, other: Schedule) -> Schedule {
        self.join(Join::Min, other)
    }

    /// The greater of both at each step.
    pub fn max(self, other: Schedule) -> Schedule {
        self.join(Join::Max, other)
    }

    fn join(self, join: Join, other: Schedule) -> Schedule {
        Schedule(Expr::Join(join, Box::new(self.0), Box::new(other.0)))
    }

    /// Whether it has neither state nor inputs, so that any step can be asked for in any order.
    pub fn is_stateless(&self) -> bool {
        let mut stateless = true;
        each_part(&self.0, &mut |part| {
            stateless &= part.rule.program().states.is_empty() && part.rule.program().inputs.is_empty();
        });
        stateless
    }

    /// The names of the inputs that it reads, sorted.
    pub fn inputs(&self) -> Vec<&str> {
        let mut names = Vec::new();
        each_part(&self.0, &mut |part| names.extend(part.rule.program().inputs.iter().map(|input| &*input.name)));
        names.sort_unstable();
        names.dedup();
        names
    }

    #[cfg(feature = "cli")]
    /// Whether it has an input of this name.
    pub(crate) fn reads(&self, name: &str) -> bool {
        let mut reads = false;
        each_part(&self.0, &mut |part| {
            reads |= part.rule.program().inputs.iter().any(|input| &*input.name == name);
        });
        reads
    }

    /// The value at step `s` for a hyper whose own value is `base`.
    ///
    /// # Errors
    /// [`Error::ScheduleValue`] if the value is not finite, or the schedule has state or inputs (see [`ScheduleRun`]);
    /// [`Error::Require`] if its hypers contradict each other.
    pub fn value(&self, s: u64, base: f64) -> Result<f64, Error> {
        if !self.is_stateless() {
            let reason = "it has state or inputs, so its steps are taken in order".to_string();
            return Err(Error::ScheduleValue { schedule: self.to_string(), step: s, reason });
        }
        self.check()?;
        let mut memory = Memory::new(self);
        evaluate(&self.0, s, base, &|_| None, &mut memory)
    }

    /// Begins to take its steps in order, from 0.
    ///
    /// # Errors
    /// [`Error::Require`], [`Error::HyperOutOfRange`].
    ///
    /// ```
    /// use updraft::Schedule;
    /// let mut plateau = Schedule::shipped("plateau")?.set("patience", 0)?.set("factor", 0.5)?.run()?;
    /// assert_eq!(plateau.next(1.0, &[])?, 1.0);
    /// assert_eq!(plateau.next(1.0, &[("metric", 3.0)])?, 1.0);
    /// assert_eq!(plateau.next(1.0, &[("metric", 3.0)])?, 0.5);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn run(&self) -> Result<ScheduleRun, Error> {
        self.check()?;
        Ok(ScheduleRun { memory: Memory::new(self), schedule: self.clone(), s: 0 })
    }

    /// How many states each part has, in the order in which they are written.
    pub(crate) fn states(&self) -> Vec<usize> {
        let mut counts = Vec::new();
        each_part(&self.0, &mut |part| counts.push(part.rule.program().states.len()));
        counts
    }

    /// What the names in its text stand for: the statements of each part and the values of its hypers. Two files of one
    /// name differ here.
    pub(crate) fn definition(&self) -> String {
        let mut text = String::new();
        each_part(&self.0, &mut |part| {
            let program = part.rule.program();
            text.push_str(&without_docs_and_defaults(program));
            for (index, hyper) in program.hypers.iter().enumerate() {
                text.push_str(&format!("{} = {}\n", hyper.name, part.hypers.value(index)));
            }
        });
        text
    }

    /// Holds the hypers of each part to its intervals and `require`s.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut result = Ok(());
        each_part(&self.0, &mut |part| {
            if result.is_ok() {
                result = part.hypers.clone().check(&part.rule, "");
            }
        });
        result
    }
}

/// A schedule whose steps are taken in order.
#[derive(Clone, Debug)]
pub struct ScheduleRun {
    schedule: Schedule,
    memory: Memory,
    s: u64,
}

impl ScheduleRun {
    /// The completed steps.
    pub fn s(&self) -> u64 {
        self.s
    }

    /// The value at this step, given what was observed in the step just completed; then the next step begins.
    ///
    /// # Errors
    /// [`Error::ScheduleValue`] if the value is not finite or an input that it needs is missing. The step is not taken.
    pub fn next(&mut self, base: f64, observed: &[(&str, f64)]) -> Result<f64, Error> {
        let input = |name: &str| observed.iter().find(|(given, _)| *given == name).map(|(_, x)| *x);
        let mut memory = self.memory.clone();
        let value = evaluate(&self.schedule.0, self.s, base, &input, &mut memory)?;
        self.memory = memory;
        self.s += 1;
        Ok(value)
    }
}

/// What the parts of a schedule keep from step to step, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// For each part, its states; empty until its first step.
    pub(crate) parts: Vec<Vec<f64>>,
    registers: Vec<Scalar>,
}

impl Memory {
    pub(crate) fn new(schedule: &Schedule) -> Memory {
        let mut parts = Vec::new();
        each_part(&schedule.0, &mut |_| parts.push(Vec::new()));
        Memory { parts, registers: Vec::new() }
    }
}

fn each_part<'a>(expr: &'a Expr, f: &mut dyn FnMut(&'a Part)) {
    match expr {
        Expr::Part(part) => f(part),
        Expr::Constant(_) => {}
        Expr::Then(a, _, b) | Expr::Join(_, a, b) => {
            each_part(a, f);
            each_part(b, f);
        }
    }
}

/// The value of a schedule at step `s`; its states are changed in `memory`.
fn evaluate(
    expr: &Expr,
    s: u64,
    base: f64,
    input: &dyn Fn(&str) -> Option<f64>,
    memory: &mut Memory,
) -> Result<f64, Error> {
    let value = evaluate_from(expr, s, base, input, memory, &mut 0)?;
    if value.is_finite() {
        return Ok(value);
    }
    let reason = format!("its value is {value}");
    Err(Error::ScheduleValue { schedule: Schedule(expr.clone()).to_string(), step: s, reason })
}

/// `next_part` counts the parts that have been passed.
fn evaluate_from(
    expr: &Expr,
    s: u64,
    base: f64,
    input: &dyn Fn(&str) -> Option<f64>,
    memory: &mut Memory,
    next_part: &mut usize,
) -> Result<f64, Error> {
    match expr {
        Expr::Constant(x) => Ok(*x),
        Expr::Part(part) => {
            let index = *next_part;
            *next_part += 1;
            part.value(s, base, input, memory, index)
        }
        Expr::Then(a, steps, b) => {
            if s < *steps {
                let value = evaluate_from(a, s, base, input, memory, next_part)?;
                each_part(b, &mut |_| *next_part += 1);
                return Ok(value);
            }
            each_part(a, &mut |_| *next_part += 1);
            // What was observed in the last step of the first is none of the second's affair.
            let nothing: &dyn Fn(&str) -> Option<f64> = &|_| None;
            let input = if s == *steps { nothing } else { input };
            evaluate_from(b, s - steps, base, input, memory, next_part)
        }
        Expr::Join(join, a, b) => {
            // What both contain is contained once in their product: each is `base` times a factor, or a number.
            let once = if carries_base(a) && carries_base(b) && base != 0.0 { base } else { 1.0 };
            let a = evaluate_from(a, s, base, input, memory, next_part)?;
            let b = evaluate_from(b, s, base, input, memory, next_part)?;
            Ok(match join {
                Join::Product => a / once * b,
                Join::Sum => a + b,
                // As everywhere else a NaN is kept: `f64::min` would drop it.
                Join::Min => {
                    if a < b || a.is_nan() {
                        a
                    } else {
                        b
                    }
                }
                Join::Max => {
                    if a > b || a.is_nan() {
                        a
                    } else {
                        b
                    }
                }
            })
        }
    }
}

/// Whether the value of an expression is one for the driven hyper, and not a plain number.
fn carries_base(expr: &Expr) -> bool {
    match expr {
        Expr::Part(_) => true,
        Expr::Constant(_) => false,
        Expr::Then(a, _, b) | Expr::Join(_, a, b) => carries_base(a) || carries_base(b),
    }
}

/// What the code of one part reads.
struct Sources<'a> {
    part: &'a Part,
    s: f64,
    base: f64,
    input: &'a dyn Fn(&str) -> Option<f64>,
    states: &'a [f64],
}

impl Sources<'_> {
    /// What the host observed; nothing at the first step.
    fn given(&self, id: InputId) -> Option<f64> {
        if self.s == 0.0 { None } else { (self.input)(&self.part.rule.program().inputs[id.index()].name) }
    }
}

impl Outside for &Sources<'_> {
    fn scalar(&self, source: Source) -> Scalar {
        match source {
            Source::S => Scalar::F64(self.s),
            Source::Base => Scalar::F64(self.base),
            Source::Given(id) => Scalar::Bool(self.given(id).is_some()),
            Source::Input(id) => Scalar::F64(self.given(id).or_else(|| self.default(id)).unwrap_or(f64::NAN)),
            Source::State(id) => Scalar::F64(self.states.get(id.index()).copied().unwrap_or(f64::NAN)),
            other => self.part.hypers.scalar(self.part.rule.program(), other).unwrap_or(Scalar::F64(f64::NAN)),
        }
    }

    fn list(&self, list: crate::check::program::ListRef) -> &[f64] {
        self.part.hypers.list(self.part.rule.program(), list)
    }
}

impl Sources<'_> {
    fn default(&self, id: InputId) -> Option<f64> {
        self.part.hypers.input_default(id.index())
    }
}

impl Part {
    fn value(
        &self,
        s: u64,
        base: f64,
        input: &dyn Fn(&str) -> Option<f64>,
        memory: &mut Memory,
        index: usize,
    ) -> Result<f64, Error> {
        let Memory { parts, registers } = memory;
        let states = &mut parts[index];
        let whole = (Level::Model, Level::Tensor);
        if states.len() < self.rule.program().states.len() {
            let sources = Sources { part: self, s: 0.0, base, input, states: &[] };
            self.first.run(whole, registers, &sources, |_, _| ());
            states.clear();
            states.extend(self.first.outputs.iter().map(|v| number(registers[v.index()])));
        }
        let mut stored: smallvec::SmallVec<[(StateId, f64); 8]> = smallvec::SmallVec::new();
        let sources = Sources { part: self, s: s as f64, base, input, states };
        self.code.run(whole, registers, &sources, |id, x| stored.push((id, x)));
        // Of a selection only the side that was taken has to be there.
        let missing = |source: &Source| matches!(source, Source::Input(id) if sources.given(*id).is_none() && sources.default(*id).is_none());
        let mut read = None;
        if self.code.sources().any(|source| missing(&source)) {
            let wanted = self.code.outputs.iter().copied().chain(self.code.stored());
            let mut needed = Vec::new();
            self.code.trace(wanted, registers, &mut needed);
            read = self.code.needed_sources(&needed).find(missing);
        }
        if let Some(Source::Input(id)) = read {
            let name = &self.rule.program().inputs[id.index()].name;
            let reason = format!("it needs the input `{name}` of the step just completed, which was not given");
            return Err(Error::ScheduleValue { schedule: self.rule.name().to_string(), step: s, reason });
        }
        let value = number(registers[self.code.outputs[0].index()]);
        if !value.is_finite() {
            let reason = format!("its value is {value}");
            return Err(Error::ScheduleValue { schedule: self.rule.name().to_string(), step: s, reason });
        }
        for (id, x) in stored {
            states[id.index()] = x;
        }
        Ok(value)
    }
}

fn number(scalar: Scalar) -> f64 {
    match scalar {
        Scalar::F64(x) => x,
        Scalar::Bool(_) => f64::NAN,
    }
}

/// The text that reads back as the same schedule.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        compose::write(&self.0, compose::LOOSEST, f)
    }
}

/// Reads an expression: `NAME`, `NAME(hyper = value, ...)`, numbers, `A for N then B`, `A * B`, `A + B`, `min(A, B)`,
/// `max(A, B)` and parentheses. NAME is a shipped schedule or the path of a file.
impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Schedule, Error> {
        compose::parse(text)
    }
}
