//! From a [`Step`] to a [`Plan`]: the fewest sweeps over memory, with scalar code between them.
//!
//! Comes in: a step, whose operations are fixed. Goes out: phases in order, each scalar code or a sweep of a
//! [`Kernel`]; each says what it reads, what it writes and how many bytes an element costs. Operations are moved and
//! shared, never changed: running the phases gives the bits of `eval_step`, which is this stage's oracle. A rule
//! without reductions is one sweep, each array read once and written once. Sizes are not known here.

mod build;
mod cut;
mod place;

use crate::check::program::{DrawId, Extent, Program, ReportId};
use crate::ir::region::Region;
use crate::ir::step::{Array, Facts, Fold, Host, Reduced, Step};
use crate::ir::{Access, Kernel, Stream};
use crate::source::Span;
use std::fmt;
use std::sync::Arc;

/// What is to be run for a step of one tensor.
///
/// The parts are run in order. A rule has phases: all tensors finish the parts of one phase, then the reductions to model
/// and group that ended it are known, then come the parts of the next. Every plan of a rule has the same phases.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The rule.
    pub program: Arc<Program>,
    /// What the plan was made for.
    pub facts: Facts,
    /// In order; their phases ascend.
    pub parts: Vec<Part>,
    /// Whether the step is taken.
    pub skip: Option<Skip>,
    /// Scalar code after the last part: the stores of scalar states, and the reports. A plan of at most one part,
    /// without a skip and without a reduction, has it in that part's scalar code, and nothing here.
    pub end: Region,
    /// The reports that its outputs are.
    pub reports: Vec<ReportId>,
    /// Arrays of the compute type that live from one sweep of the step to another, each of this extent.
    pub temps: Vec<Extent>,
    /// The place of the rule that only a tensor with two axes or more can run, if there is one.
    pub needs_axes: Option<(Extent, Span)>,
}

/// The condition under which a step is not taken. No part before it changes anything but temporary arrays.
#[derive(Clone, Debug)]
pub struct Skip {
    /// The index of the first part that must not be run if it holds; the number of parts, if all may.
    pub before: usize,
    /// The phase in which it is known.
    pub phase: u32,
    /// One output, a Bool: whether the step is not taken.
    pub scalars: Region,
    /// Per model (no tensor takes the step), per group or per tensor.
    pub extent: Extent,
}

/// Scalar code, what it folds into the reductions of model and group, and a sweep.
#[derive(Clone, Debug)]
pub struct Part {
    /// The phase that it belongs to.
    pub phase: u32,
    /// Its outputs are the uniforms of the sweep, then the operands of `folds`. It reads the results of reductions of
    /// earlier parts as [`Source::Reduced`](crate::ir::step::Source::Reduced), and repeats what earlier scalar code has computed.
    pub scalars: Region,
    /// Scalars of this tensor that become part of one value for the model or the group.
    pub folds: Vec<ScalarFold>,
    /// One sweep over memory.
    pub sweep: Option<Sweep>,
}

/// A scalar of a tensor (or of its group) that is folded into a reduction to model or group. One per group is folded once
/// a group, one per model once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScalarFold {
    /// How.
    pub fold: Fold,
    /// Into which reduction.
    pub reduced: Reduced,
    /// Which output of the part's scalar code.
    pub output: usize,
    /// What there is one operand of: tensor, or group.
    pub from: Extent,
}

/// A kernel over all values of an extent of one tensor, and what it folds.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Element, or a smaller extent of arrays.
    pub over: Extent,
    /// The loop body.
    pub kernel: Kernel,
    /// What each of the kernel's streams is.
    pub streams: Vec<StreamOf>,
    /// What is folded on the way.
    pub folds: Vec<ArrayFold>,
}

/// What a stream of a sweep's kernel is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StreamOf {
    /// An array of the sweep's extent.
    Array(Array),
    /// A temporary array of the sweep's extent.
    Temp(u32),
    /// A block: the values of a smaller array, each repeated for what it belongs to.
    Spread(Whole),
    /// A block: random numbers.
    Draw(DrawId, u32),
    /// A block that the kernel writes for the fold of this index.
    Folded(u32),
}

/// An array that a block is filled from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Whole {
    Array(Array),
    Temp(u32),
}

/// A reduction of the values of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArrayFold {
    /// How.
    pub fold: Fold,
    /// Which reduction it is: the name of its result, if that is a scalar.
    pub reduced: Reduced,
    /// The stream that holds its operands, or the two whose products, each rounded once, they are.
    pub of: (u32, Option<u32>),
    /// Whether the streams are read after the kernel has run on a block, or before.
    pub after: bool,
    /// One result per what.
    pub to: Extent,
    /// Where results of array extents go, rounded to the compute type.
    pub into: Option<u32>,
}

impl Plan {
    /// Bytes per element that a step moves.
    ///
    /// ```
    /// use updraft::{Facts, Math, Rule, Storage, ir::lower, plan::plan};
    /// let rule = Rule::parse("sgd", "optimizer sgd\nhyper lr = 0.1\n\np -= lr * g\n").unwrap();
    /// let facts = Facts::new(Storage::F32, Math::Fast, vec![]);
    /// assert_eq!(plan(&lower(rule.program(), &facts)).bytes_per_element(), 12);
    /// ```
    pub fn bytes_per_element(&self) -> usize {
        self.sweeps().filter(|sweep| sweep.over == Extent::Element).map(|sweep| sweep.kernel.bytes_per_element()).sum()
    }

    /// The sweeps, in order.
    pub fn sweeps(&self) -> impl Iterator<Item = &Sweep> {
        self.parts.iter().filter_map(|part| part.sweep.as_ref())
    }
}

impl Sweep {
    /// The arrays that it reads or writes, or spreads.
    pub fn arrays(&self) -> impl Iterator<Item = Array> {
        self.streams.iter().filter_map(|stream| match stream {
            StreamOf::Array(array) | StreamOf::Spread(Whole::Array(array)) => Some(*array),
            _ => None,
        })
    }
}

/// Plans a step.
pub fn plan(step: &Step) -> Plan {
    build::build(step, place::place(step))
}

/// The canonical text, which `updraft emit --stage plan` prints.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.facts;
        write!(f, "{}", facts.text(&self.program))?;
        writeln!(f, "plan {} {} {}", self.program.name, facts.storage.name(), facts.math.name())?;
        let phases = self.phases();
        // Where there is much, what belongs together stands together.
        let gap = if self.parts.len() > 1 || self.skip.is_some() { "\n" } else { "" };
        for phase in 0..phases {
            if phases > 1 {
                writeln!(f, "{gap}phase {phase}")?;
            }
            for (index, part) in self.parts.iter().enumerate().filter(|(_, part)| part.phase == phase) {
                if phases == 1 || index > 0 && self.parts[index - 1].phase == phase {
                    f.write_str(gap)?;
                }
                self.skip_text(f, |skip| skip.before == index)?;
                scalars_text(f, &part.scalars)?;
                for fold in &part.folds {
                    let text = fold.reduced.text(&self.program);
                    writeln!(f, "fold {}, once a {}", text, fold.from.name())?;
                }
                if let Some(sweep) = &part.sweep {
                    self.sweep_text(f, sweep)?;
                }
            }
            let all_reduced = self.all_reduced(phase);
            if !all_reduced.is_empty() {
                f.write_str(gap)?;
            }
            for (reduced, shards_only) in all_reduced {
                let when = if shards_only { "all-reduce over shards" } else { "all-reduce" };
                writeln!(f, "{when} {}", reduced.text(&self.program))?;
            }
        }
        let is_last = |skip: &Skip| skip.before == self.parts.len();
        if !self.end.is_empty() || self.skip.as_ref().is_some_and(is_last) {
            f.write_str(gap)?;
        }
        self.skip_text(f, is_last)?;
        scalars_text(f, &self.end)?;
        let gap = if self.end.is_empty() && self.skip.as_ref().is_some_and(is_last) { "" } else { gap };
        writeln!(f, "{gap}{} bytes per element in all", self.bytes_per_element())
    }
}

fn scalars_text(f: &mut fmt::Formatter<'_>, region: &Region) -> fmt::Result {
    if region.is_empty() {
        return Ok(());
    }
    write!(f, "scalars\n{}", region.text())
}

impl Plan {
    /// The phases of a step: all tensors finish one before the next begins.
    pub fn phases(&self) -> u32 {
        phases(&self.program, self.facts.host)
    }

    /// The reductions whose partial results cross between shards when a phase ends, or within it; whether only shards of
    /// one tensor need that, not the tensors of a model.
    fn all_reduced(&self, phase: u32) -> Vec<(Reduced, bool)> {
        let parts = self.parts.iter().filter(|part| part.phase == phase);
        let of_sweeps = parts.clone().filter_map(|part| part.sweep.as_ref()).flat_map(|sweep| &sweep.folds);
        let of_arrays = of_sweeps.map(|fold| (fold.reduced, !matches!(fold.to, Extent::Model | Extent::Group)));
        let of_scalars = parts.flat_map(|part| &part.folds).map(|fold| (fold.reduced, false));
        let mut all: Vec<(Reduced, bool)> = of_arrays.chain(of_scalars).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn skip_text(&self, f: &mut fmt::Formatter<'_>, is_here: impl Fn(&Skip) -> bool) -> fmt::Result {
        match self.skip.as_ref().filter(|skip| is_here(skip)) {
            None => Ok(()),
            Some(skip) => {
                scalars_text(f, &skip.scalars)?;
                writeln!(f, "skip the {} if %{}\n", skip.extent.name(), skip.scalars.outputs[0].0)
            }
        }
    }

    fn sweep_text(&self, f: &mut fmt::Formatter<'_>, sweep: &Sweep) -> fmt::Result {
        let names = |select: fn(Access) -> bool, block: bool| {
            let streams = sweep.kernel.streams.iter().filter(|s| s.block == block && select(s.access));
            let usual = |s: &Stream| s.block || s.storage == self.facts.storage;
            let name = |s: &Stream| match usual(s) {
                true => s.name.clone(),
                false => format!("{} as {}", s.name, s.storage.name()),
            };
            let names: Vec<String> = streams.map(name).collect();
            names.join(if names.iter().any(|name| name.contains(' ')) { ", " } else { " " })
        };
        match sweep.over {
            Extent::Element => writeln!(f, "sweep")?,
            over => writeln!(f, "sweep per {}", over.name())?,
        }
        let blocks = names(Access::reads, true);
        for (what, names) in [("reads", names(Access::reads, false)), ("spreads", blocks)] {
            if !names.is_empty() {
                writeln!(f, "  {what} {names}")?;
            }
        }
        let writes = names(Access::writes, false);
        if !writes.is_empty() {
            writeln!(f, "  writes {writes}")?;
        }
        if !sweep.kernel.uniforms.is_empty() {
            writeln!(f, "  uniforms {}", sweep.kernel.uniforms.join(", "))?;
        }
        for fold in &sweep.folds {
            writeln!(f, "  folds {}", fold.reduced.text(&self.program))?;
        }
        match sweep.over {
            Extent::Element => writeln!(f, "  {} bytes per element", sweep.kernel.bytes_per_element()),
            over => writeln!(f, "  {} bytes per {}", sweep.kernel.bytes_per_element(), over.name()),
        }
    }
}

/// The phases that every plan of a program has, if a host joins this to it.
pub fn phases(program: &Program, host: Host) -> u32 {
    program.phases().max(if host.skip_nonfinite { 2 } else { 1 })
}
