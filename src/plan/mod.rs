//! From a [`Step`] to a [`Plan`]: the fewest sweeps over memory, with scalar code between them.
//!
//! Comes in: a step, whose operations are fixed. Goes out: phases in order, each scalar code or a sweep of a
//! [`Kernel`]; each says what it reads, what it writes and how many bytes an element costs. Operations are moved and
//! shared, never changed: running the phases gives the bits of `eval_step`, which is this stage's oracle. A rule
//! without reductions is one sweep, each array read once and written once. Sizes are not known here.

use crate::check::program::{DrawId, Extent, Program};
use crate::ir::region::Region;
use crate::ir::step::{Array, Facts, Fold, Reduced, Step, StepInst, Target};
use crate::ir::{Access, Kernel, KernelInst, Op, Stream, Value};
use crate::source::Span;
use std::collections::BTreeMap;
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
    /// Scalar code after the last part: the stores of scalar states, and the reports. A plan of at most one part and
    /// without a skip has it in that part's scalar code, and nothing here.
    pub end: Region,
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
    let mut kernel = Kernel {
        name: step.program.name.to_string(),
        compute: step.facts.storage.compute(),
        uniforms: Vec::new(),
        streams: Vec::new(),
        body: Vec::new(),
    };
    let mut streams = Streams::default();
    let mut uniforms: Vec<Value> = Vec::new();
    // Where the value of each instruction of the step is in the kernel; scalars are not.
    let mut place = vec![Value(0); step.insts.len()];
    for (index, inst) in step.insts.iter().enumerate() {
        if step.values[index].0.is_scalar() && !matches!(inst, StepInst::Round(_)) {
            continue;
        }
        let at = |v: Value| place[v.index()];
        let inst = match *inst {
            StepInst::Load(array) => KernelInst::Load(streams.index(array, true)),
            StepInst::Round(scalar) => match constant(step, scalar) {
                Some(constant) => KernelInst::Op(Op::Const(constant)),
                None => {
                    uniforms.push(scalar);
                    KernelInst::Uniform(uniforms.len() as u32 - 1)
                }
            },
            StepInst::Op(op) => KernelInst::Op(op.map_operands(at)),
            StepInst::Store(Target::Array(array), v) => KernelInst::Store(streams.index(array, false), at(v)),
            _ => continue,
        };
        place[index] = Value(kernel.body.len() as u32);
        kernel.body.push(inst);
    }
    let region = Region::new(&step.insts, &step.values, uniforms, &step.program);
    kernel.uniforms = region.outputs.iter().map(|v| region.value_name(*v)).collect();
    let arrays: Vec<StreamOf> = streams.0.iter().map(|(array, _)| StreamOf::Array(*array)).collect();
    let stream = |(array, access): &(Array, Access)| Stream {
        name: array.name(&step.program).to_string(),
        storage: step.facts.storage,
        access: *access,
        block: false,
    };
    kernel.streams = streams.0.iter().map(stream).collect();
    let writes = kernel.streams.iter().any(|stream| stream.access.writes());
    let sweep = writes.then_some(Sweep { over: Extent::Element, kernel, streams: arrays, folds: Vec::new() });
    let parts = vec![Part { phase: 0, scalars: region, folds: Vec::new(), sweep }];
    let end = Region::new(&[], &[], Vec::new(), &step.program);
    let (program, facts) = (step.program.clone(), step.facts.clone());
    Plan { program, facts, parts, skip: None, end, temps: Vec::new(), needs_axes: step.needs_axes }
}

/// A scalar that is the same in every step, rounded to the compute type.
fn constant(step: &Step, scalar: Value) -> Option<crate::ir::Const> {
    use crate::ir::{Const, Type};
    match (step.insts[scalar.index()], step.facts.storage.compute()) {
        (StepInst::Op(Op::Const(Const::F64(bits))), Type::F32) => Some(Const::f32(f64::from_bits(bits) as f32)),
        (StepInst::Op(Op::Const(Const::F64(bits))), _) => Some(Const::F64(bits)),
        _ => None,
    }
}

/// The arrays of a kernel in the order of their first use, and what is done with each.
#[derive(Default)]
struct Streams(Vec<(Array, Access)>, BTreeMap<Array, u32>);

impl Streams {
    fn index(&mut self, array: Array, read: bool) -> u32 {
        let access = if read { Access::Read } else { Access::Write };
        let index = *self.1.entry(array).or_insert_with(|| {
            self.0.push((array, access));
            self.0.len() as u32 - 1
        });
        let stream = &mut self.0[index as usize].1;
        if *stream != access {
            *stream = Access::ReadWrite;
        }
        index
    }
}

/// The canonical text, which `updraft emit --stage plan` prints.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.facts;
        write!(f, "{}", facts.text(&self.program))?;
        writeln!(f, "plan {} {} {}", self.program.name, facts.storage.name(), facts.math.name())?;
        for part in &self.parts {
            if !part.scalars.is_empty() {
                writeln!(f, "scalars")?;
                write!(f, "{}", part.scalars.text())?;
            }
            match &part.sweep {
                None => {}
                Some(sweep) => {
                    let names = |select: fn(Access) -> bool| {
                        let streams = sweep.kernel.streams.iter().filter(|s| select(s.access));
                        streams.map(|s| s.name.as_str()).collect::<Vec<_>>().join(" ")
                    };
                    writeln!(f, "sweep")?;
                    writeln!(f, "  reads {}", names(Access::reads))?;
                    writeln!(f, "  writes {}", names(Access::writes))?;
                    if !sweep.kernel.uniforms.is_empty() {
                        writeln!(f, "  uniforms {}", sweep.kernel.uniforms.join(", "))?;
                    }
                    writeln!(f, "  {} bytes per element", sweep.kernel.bytes_per_element())?;
                }
            }
        }
        writeln!(f, "{} bytes per element in all", self.bytes_per_element())
    }
}
