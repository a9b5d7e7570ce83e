//! [`Region`]: scalar code, and the one evaluator that every engine runs it with.
//!
//! Comes in: the scalar instructions of a lowered step, and what is wanted of them. Goes out: straight-line f64 code,
//! cut into [`Level`]s by how often each part has to run. All arithmetic is f64 with the pinned `libm`, in the order
//! written; nothing here depends on the host.

use super::eval::{Scalar, apply_scalar};
use super::op::{Binary, Const, Op, Type, Unary, Value};
use super::print::{op_name, print_op};
use super::step::{Outcome, Source, StepInst, Target, list_text};
use crate::check::program::{CompareOp, Extent, ListFn, ListRef, Program, StateId};
use std::fmt::Write as _;

/// How often a part of a region runs. A part reads values of its own level and of those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Level {
    /// Once a step.
    Model,
    /// Once a group.
    Group,
    /// Once for the tensors of a group that have taken equally many steps.
    Steps,
    /// Once a tensor.
    Tensor,
}

impl Level {
    const ALL: [Level; 4] = [Level::Model, Level::Group, Level::Steps, Level::Tensor];

    /// As printed.
    fn name(self) -> &'static str {
        match self {
            Level::Model => "once a step",
            Level::Group => "once a group",
            Level::Steps => "once a group and t",
            Level::Tensor => "once a tensor",
        }
    }
}

/// Straight-line scalar code.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    insts: Vec<ScalarInst>,
    types: Vec<Type>,
    /// Where each level ends.
    ends: [usize; 4],
    /// The values that it is run for.
    pub outputs: Vec<Value>,
    /// The names of what the stores change, for printing.
    names: Vec<(StateId, String)>,
    sources: Vec<(Source, String)>,
    /// The text of each list instruction, in order.
    lists: Vec<(ListRef, String)>,
}

/// What scalar code reads from outside. A closure gives scalars and has no lists.
pub trait Outside {
    /// The scalar from this source.
    fn scalar(&self, source: Source) -> Scalar;

    /// The elements of a list.
    fn list(&self, list: ListRef) -> &[f64] {
        let _ = list;
        &[]
    }
}

impl<F: Fn(Source) -> Scalar> Outside for F {
    fn scalar(&self, source: Source) -> Scalar {
        self(source)
    }
}

/// One instruction of a region.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ScalarInst {
    /// A value from outside.
    Source(Source),
    /// A pure operation.
    Op(Op),
    /// What a list gives.
    List(ListFn, ListRef, Option<Value>),
    /// What a scalar state is after the step.
    Store(StateId, Value),
}

impl Region {
    /// The scalar code of a step: its stores to scalar states, and what `outputs` (values of the step) need.
    pub fn new(insts: &[StepInst], values: &[(Extent, Type)], outputs: Vec<Value>, program: &Program) -> Region {
        Region::of(insts, values, outputs, program, true)
    }

    /// What `outputs` need, and the stores to scalar states if they are wanted.
    pub fn of(
        insts: &[StepInst],
        values: &[(Extent, Type)],
        outputs: Vec<Value>,
        program: &Program,
        with_stores: bool,
    ) -> Region {
        let mut needed = vec![false; insts.len()];
        outputs.iter().for_each(|v| needed[v.index()] = true);
        let mut levels = vec![Level::Model; insts.len()];
        for (index, inst) in insts.iter().enumerate() {
            let mut level = match inst {
                StepInst::Source(Source::T) => Level::Steps,
                StepInst::Store(Target::Scalar(id), _) => level_of(program.states[id.index()].extent),
                StepInst::Source(_) => level_of(values[index].0),
                _ => Level::Model,
            };
            inst.for_each_operand(|v| level = level.max(levels[v.index()]));
            levels[index] = level;
        }
        for (index, inst) in insts.iter().enumerate().rev() {
            needed[index] |= with_stores && matches!(inst, StepInst::Store(Target::Scalar(_), _));
            if needed[index] {
                inst.for_each_operand(|v| needed[v.index()] = true);
            }
        }
        let mut region = Region {
            insts: Vec::new(),
            types: Vec::new(),
            ends: [0; 4],
            outputs: Vec::new(),
            names: Vec::new(),
            sources: Vec::new(),
            lists: Vec::new(),
        };
        let mut place = vec![Value(0); insts.len()];
        for (end, level) in Level::ALL.into_iter().enumerate() {
            for (index, inst) in insts.iter().enumerate().filter(|(i, _)| needed[*i] && levels[*i] == level) {
                let at = |v: Value| place[v.index()];
                let inst = match *inst {
                    StepInst::Source(source) => {
                        region.sources.push((source, source.text(program)));
                        ScalarInst::Source(source)
                    }
                    StepInst::Op(op) => ScalarInst::Op(op.map_operands(at)),
                    StepInst::List(function, list, operand) => {
                        let operand = operand.map(at);
                        region.lists.push((list, list_text(function, list, operand, program)));
                        ScalarInst::List(function, list, operand)
                    }
                    StepInst::Store(Target::Scalar(id), v) => {
                        region.names.push((id, program.states[id.index()].name.to_string()));
                        ScalarInst::Store(id, at(v))
                    }
                    // Arrays never feed scalars without a reduction.
                    _ => continue,
                };
                place[index] = Value(region.insts.len() as u32);
                region.insts.push(inst);
                region.types.push(values[index].1);
            }
            region.ends[end] = region.insts.len();
        }
        region.outputs = outputs.into_iter().map(|v| place[v.index()]).collect();
        region
    }

    /// How many registers a run needs.
    pub fn len(&self) -> usize {
        self.insts.len()
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.insts.is_empty()
    }

    /// The level of a value.
    pub fn level(&self, v: Value) -> Level {
        let end = self.ends.iter().position(|end| v.index() < *end).unwrap_or(Level::ALL.len() - 1);
        Level::ALL[end]
    }

    /// Whether anything runs once a tensor.
    pub fn has_tensor_level(&self) -> bool {
        self.ends[3] > self.ends[2]
    }

    /// The scalars that it reads.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.sources.iter().map(|(source, _)| *source)
    }

    /// Marks in `needed` what `outputs` depend on in the run that left `registers`: of a selection, the side taken.
    pub fn trace(&self, outputs: impl Iterator<Item = Value>, registers: &[Scalar], needed: &mut Vec<bool>) {
        needed.clear();
        needed.resize(self.insts.len(), false);
        outputs.for_each(|v| needed[v.index()] = true);
        for index in (0..self.insts.len()).rev() {
            if !needed[index] {
                continue;
            }
            match self.insts[index] {
                ScalarInst::Op(Op::Select(c, a, b)) => {
                    needed[c.index()] = true;
                    let taken = if registers[c.index()] == Scalar::Bool(true) { a } else { b };
                    needed[taken.index()] = true;
                }
                ScalarInst::Op(op) => op.for_each_operand(|v| needed[v.index()] = true),
                ScalarInst::List(_, _, operand) => operand.into_iter().for_each(|v| needed[v.index()] = true),
                ScalarInst::Source(_) | ScalarInst::Store(..) => {}
            }
        }
    }

    /// The scalars from outside that `outputs` depend on, whatever is selected.
    pub fn sources_of(&self, outputs: impl Iterator<Item = Value>) -> Vec<Source> {
        let mut needed = vec![false; self.insts.len()];
        outputs.for_each(|v| needed[v.index()] = true);
        for index in (0..self.insts.len()).rev() {
            match self.insts[index] {
                ScalarInst::Op(op) if needed[index] => op.for_each_operand(|v| needed[v.index()] = true),
                ScalarInst::List(_, _, Some(v)) if needed[index] => needed[v.index()] = true,
                _ => {}
            }
        }
        self.needed_sources(&needed).collect()
    }

    /// The scalars from outside that [`Region::trace`] has marked.
    pub fn needed_sources<'a>(&'a self, needed: &'a [bool]) -> impl Iterator<Item = Source> + 'a {
        self.insts.iter().zip(needed).filter_map(|(inst, needed)| match inst {
            ScalarInst::Source(source) if *needed => Some(*source),
            _ => None,
        })
    }

    /// The values that its stores take.
    pub fn stored(&self) -> impl Iterator<Item = Value> + '_ {
        self.insts.iter().filter_map(|inst| match inst {
            ScalarInst::Store(_, v) => Some(*v),
            _ => None,
        })
    }

    /// The scalar states that it stores.
    pub fn stores(&self) -> impl Iterator<Item = StateId> + '_ {
        self.names.iter().map(|(id, _)| *id)
    }

    /// Runs the levels from `first` to `last`. `registers` holds the values of the levels before and takes those of
    /// these; `outside` gives the scalars and lists, `store` takes the scalar states.
    pub fn run(
        &self,
        (first, last): (Level, Level),
        registers: &mut Vec<Scalar>,
        outside: impl Outside,
        mut store: impl FnMut(StateId, f64),
    ) {
        registers.resize(self.insts.len(), Scalar::F64(0.0));
        let start = if first == Level::Model { 0 } else { self.ends[first as usize - 1] };
        for index in start..self.ends[last as usize] {
            registers[index] = match self.insts[index] {
                ScalarInst::Source(from) => outside.scalar(from),
                ScalarInst::List(function, which, operand) => {
                    list(function, outside.list(which), operand.map(|v| registers[v.index()]))
                }
                ScalarInst::Op(op) => apply_scalar(op, |v| registers[v.index()]),
                ScalarInst::Store(id, v) => {
                    if let Scalar::F64(x) = registers[v.index()] {
                        store(id, x);
                    }
                    continue;
                }
            };
        }
    }

    /// The canonical text, indented by two spaces.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut lists = self.lists.iter();
        let mut start = 0;
        for (level, end) in Level::ALL.into_iter().zip(self.ends) {
            if start < end {
                let _ = writeln!(out, "  # {}", level.name());
            }
            for index in start..end {
                let ty = self.types[index].name();
                let _ = match self.insts[index] {
                    ScalarInst::Source(from) => {
                        let text = self.source_text(from);
                        writeln!(out, "  %{index}: {ty} = {text}")
                    }
                    ScalarInst::Op(op) => writeln!(out, "  %{index}: {ty} = {}", print_op(op)),
                    ScalarInst::List(..) => {
                        let text = lists.next().map_or("", |(_, text)| text);
                        writeln!(out, "  %{index}: {ty} = {text}")
                    }
                    ScalarInst::Store(id, v) => {
                        let name = self.names.iter().find(|(state, _)| *state == id).map_or("", |(_, name)| name);
                        writeln!(out, "  store {name}, %{}", v.0)
                    }
                };
            }
            start = end;
        }
        out
    }

    /// A name for a value: its formula where that is short, else its number in the text.
    pub(crate) fn value_name(&self, v: Value) -> String {
        let text = self.formula(v, 0).map(|(text, _)| text).filter(|text| text.chars().count() <= LONGEST_NAME);
        text.unwrap_or_else(|| format!("%{}", v.0))
    }

    fn source_text(&self, of: Source) -> &str {
        self.sources.iter().find(|(source, _)| *source == of).map_or("", |(_, text)| text)
    }

    /// The reduction that a value is the fold of.
    fn reduced(&self, v: Value) -> Option<(String, u8)> {
        match self.insts.get(v.index())? {
            ScalarInst::Source(from @ Source::Reduced(_)) => {
                self.source_text(*from).strip_prefix("fold of ").map(|name| (name.to_string(), 3))
            }
            _ => None,
        }
    }

    /// The reduction of this function that a value is the fold of.
    fn folded(&self, v: Value, function: &str) -> Option<(String, u8)> {
        self.reduced(v).filter(|(name, _)| name.starts_with(function))
    }

    /// The same of a fold that is divided by how many there are.
    fn mean(&self, v: Value, function: &str) -> Option<(String, u8)> {
        let ScalarInst::Op(Op::Binary(Binary::Div, a, n)) = self.insts.get(v.index())? else { return None };
        let is_count = |inst: &ScalarInst| matches!(inst, ScalarInst::Source(Source::Count(..) | Source::Counted(_)));
        self.insts.get(n.index()).filter(|inst| is_count(inst))?;
        self.folded(*a, function)
    }

    /// The formula of a value, and how tightly it binds: sums 0, products 1, signs 2, anything else 3. `None` if it is
    /// too deep to be short.
    fn formula(&self, v: Value, depth: usize) -> Option<(String, u8)> {
        if depth > LONGEST_NAME / 4 {
            return None;
        }
        let operand = |v: Value, least: u8| {
            let (text, binding) = self.formula(v, depth + 1)?;
            Some(if binding < least { format!("({text})") } else { text })
        };
        let op = match self.insts.get(v.index())? {
            ScalarInst::Source(Source::Reduced(_)) => return self.reduced(v).filter(|(name, _)| is_whole(name)),
            ScalarInst::Source(from @ (Source::Count(..) | Source::Counted(_))) => {
                return Some((self.source_text(*from).to_string(), 0));
            }
            ScalarInst::Source(from) => {
                let text = self.source_text(*from);
                return Some((text.rsplit(' ').next().unwrap_or(text).to_string(), 3));
            }
            ScalarInst::Op(op) => *op,
            ScalarInst::List(..) | ScalarInst::Store(..) => return None,
        };
        // What is left of a reduction when its values have been folded.
        let rest = match op {
            Op::Unary(Unary::Sqrt, a) => self.folded(a, "norm(").or_else(|| self.mean(a, "rms(")),
            Op::Binary(Binary::Div, ..) => self.mean(v, "mean("),
            _ => None,
        };
        if rest.is_some() {
            return rest;
        }
        let reduces = || self.sources.iter().any(|(source, _)| matches!(source, Source::Reduced(_)));
        Some(match op {
            Op::Const(Const::F64(bits)) => (crate::check::number_text(f64::from_bits(bits)), 3),
            Op::Binary(Binary::Min | Binary::Max, a, b) if reduces() => {
                (format!("{}({}, {})", op_name(op), operand(a, 0)?, operand(b, 0)?), 3)
            }
            Op::Unary(Unary::Neg, a) => (format!("-{}", operand(a, 2)?), 2),
            Op::Binary(Binary::Add, a, b) => (format!("{} + {}", operand(a, 0)?, operand(b, 1)?), 0),
            Op::Binary(Binary::Sub, a, b) => (format!("{} - {}", operand(a, 0)?, operand(b, 1)?), 0),
            Op::Binary(Binary::Mul, a, b) => (format!("{}*{}", operand(a, 1)?, operand(b, 2)?), 1),
            Op::Binary(Binary::Div, a, b) => (format!("{}/{}", operand(a, 1)?, operand(b, 2)?), 1),
            Op::Binary(Binary::Pow, a, b) => (format!("{}^{}", operand(a, 3)?, operand(b, 2)?), 3),
            Op::Unary(Unary::Math(_) | Unary::Sqrt | Unary::Abs, a) => {
                (format!("{}({})", op_name(op), operand(a, 0)?), 3)
            }
            _ => return None,
        })
    }
}

/// Whether a reduction is nothing but its fold.
fn is_whole(reduction: &str) -> bool {
    ["sum(", "dot(", "count(", "min(", "max("].iter().any(|whole| reduction.starts_with(whole))
}

/// The longest formula that serves as a name, in characters.
const LONGEST_NAME: usize = 48;

/// What a list function gives.
pub(crate) fn list(function: ListFn, elements: &[f64], operand: Option<Scalar>) -> Scalar {
    let x = match operand {
        Some(Scalar::F64(x)) => x,
        _ => f64::NAN,
    };
    Scalar::F64(match function {
        ListFn::Count(op) => elements.iter().filter(|element| holds(op, **element, x)).count() as f64,
        ListFn::Index if x >= 0.0 && x.fract() == 0.0 => elements.get(x as usize).copied().unwrap_or(f64::NAN),
        ListFn::Index => f64::NAN,
        ListFn::Prod => elements.iter().take(x.max(0.0) as usize).product(),
        ListFn::Len => elements.len() as f64,
        ListFn::Increasing => return Scalar::Bool(elements.windows(2).all(|pair| pair[0] < pair[1])),
    })
}

fn holds(op: CompareOp, a: f64, b: f64) -> bool {
    match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    }
}

fn level_of(extent: Extent) -> Level {
    match extent {
        Extent::Model => Level::Model,
        Extent::Group => Level::Group,
        _ => Level::Tensor,
    }
}

/// The outcomes of a program's conditions, from a run of [`lower_conditions`](super::lower_conditions)'s code, in the
/// form that plans are kept by: a condition in a block that is not taken is unreached, whatever it would be.
pub fn outcomes(program: &Program, conditions: &Region, registers: &[Scalar], out: &mut Vec<Outcome>) {
    out.clear();
    for (condition, output) in program.conditions.iter().zip(&conditions.outputs) {
        let reached = condition
            .parent
            .is_none_or(|(parent, taken)| out[parent.index()] == if taken { Outcome::True } else { Outcome::False });
        let holds = registers[output.index()] == Scalar::Bool(true);
        out.push(match (reached, holds) {
            (false, _) => Outcome::Unreached,
            (true, true) => Outcome::True,
            (true, false) => Outcome::False,
        });
    }
}
