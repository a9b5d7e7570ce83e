//! From a [`Step`] to a [`Plan`]: the fewest sweeps over memory, with scalar code between them.
//!
//! Comes in: a step, whose operations are fixed. Goes out: phases in order, each scalar code or a sweep of a
//! [`Kernel`]; each says what it reads, what it writes and how many bytes an element costs. Operations are moved and
//! shared, never changed: running the phases gives the bits of `eval_step`, which is this stage's oracle. A rule
//! without reductions is one sweep, each array read once and written once. Sizes are not known here.

use crate::check::program::Program;
use crate::ir::region::Region;
use crate::ir::step::{Array, Facts, Step, StepInst, Target};
use crate::ir::{Access, Kernel, KernelInst, Op, Stream, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What is to be run for a step of one tensor.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The rule.
    pub program: Arc<Program>,
    /// What the plan was made for.
    pub facts: Facts,
    /// In order.
    pub phases: Vec<Phase>,
}

/// A part of a plan.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Scalar code; its outputs are the uniforms of the sweep after it.
    Scalars(Region),
    /// One sweep over the elements of a tensor.
    Sweep(Sweep),
}

/// A kernel and the arrays that its streams are.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The loop body.
    pub kernel: Kernel,
    /// One per stream.
    pub arrays: Vec<Array>,
}

impl Plan {
    /// Bytes per element that a step moves.
    ///
    /// ```
    /// use updraft::{Facts, Math, Rule, Storage, ir::lower, plan::plan};
    /// let rule = Rule::parse("sgd", "optimizer sgd\nhyper lr = 0.1\n\np -= lr * g\n").unwrap();
    /// let facts = Facts { storage: Storage::F32, math: Math::Fast, outcomes: vec![] };
    /// assert_eq!(plan(&lower(rule.program(), &facts)).bytes_per_element(), 12);
    /// ```
    pub fn bytes_per_element(&self) -> usize {
        self.sweeps().map(|sweep| sweep.kernel.bytes_per_element()).sum()
    }

    /// The sweeps, in order.
    pub fn sweeps(&self) -> impl Iterator<Item = &Sweep> {
        self.phases.iter().filter_map(|phase| match phase {
            Phase::Sweep(sweep) => Some(sweep),
            Phase::Scalars(_) => None,
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
            StepInst::Source(_) | StepInst::List(..) | StepInst::Store(Target::Scalar(_), _) => continue,
        };
        place[index] = Value(kernel.body.len() as u32);
        kernel.body.push(inst);
    }
    let region = Region::new(&step.insts, &step.values, uniforms, &step.program);
    kernel.uniforms = region.outputs.iter().map(|v| region.value_name(*v)).collect();
    let arrays: Vec<Array> = streams.0.iter().map(|(array, _)| *array).collect();
    let stream = |(array, access): &(Array, Access)| Stream {
        name: array.name(&step.program).to_string(),
        storage: step.facts.storage,
        access: *access,
    };
    kernel.streams = streams.0.iter().map(stream).collect();
    let mut phases = Vec::new();
    if !region.is_empty() {
        phases.push(Phase::Scalars(region));
    }
    if kernel.streams.iter().any(|stream| stream.access.writes()) {
        phases.push(Phase::Sweep(Sweep { kernel, arrays }));
    }
    Plan { program: step.program.clone(), facts: step.facts.clone(), phases }
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
        for phase in &self.phases {
            match phase {
                Phase::Scalars(region) => {
                    writeln!(f, "scalars")?;
                    write!(f, "{}", region.text())?;
                }
                Phase::Sweep(sweep) => {
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
