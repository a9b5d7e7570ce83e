//! [`Step`]: the whole step of one tensor on whole arrays, in SSA, for given [`Facts`].
//!
//! Comes in from `lower`, which has fixed every rounding: what is scalar and what is per element, where a scalar is
//! rounded to the compute type, what [`Math::Fast`] rewrites. No later stage changes an operation; they move, share and
//! repeat. `eval_step` gives it its meaning, and is the oracle of `plan`.

use super::op::{Op, Storage, Type, Value};
use super::print::print_op;
use super::store::Stores;
use crate::check::program::{
    DrawId, ExprId, Extent, HyperDefault, HyperId, InputId, ListFn, ListRef, NodeKind, Program, ReductionId, ReportId,
    Shape, StateId,
};
use crate::source::Span;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Whether the compiler may regroup scalar factors and contract to fma, by the rules that the crate docs state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Math {
    /// Scalar factors are gathered and products contracted to fma: evaluation rule 5.
    #[default]
    Fast,
    /// What is written.
    Strict,
}

impl Math {
    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Math::Fast => "fast",
            Math::Strict => "strict",
        }
    }
}

/// The outcome of a condition that selects the plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Outcome {
    True,
    False,
    /// It stands in a block that is not taken.
    Unreached,
}

/// What a [`Step`] is made for: the key of the plan cache. It holds no sizes and no values of hypers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Facts {
    /// What the parameter is stored as; it sets the compute type.
    pub storage: Storage,
    /// What the gradient is stored as.
    pub grad: Storage,
    /// How the parameter and the states are kept.
    pub stores: Stores,
    /// Which rewrites apply.
    pub math: Math,
    /// One per condition of the program.
    pub outcomes: Vec<Outcome>,
    /// What the host has joined to the rule.
    pub host: Host,
    /// The reports that are asked for, in order.
    pub reports: Vec<ReportId>,
}

/// What a host joins to a rule, as statements of the same step, in this order around the rule's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Host {
    /// First, the gradient is multiplied by 1 over the loss scale.
    pub unscale: bool,
    /// Then the step is not taken if any gradient of the model has an element that is not finite.
    pub skip_nonfinite: bool,
    /// After the rule, an exponential moving average of the parameter is kept.
    pub average: bool,
    /// Then the parameter is written to another array too, stored like this.
    pub copy: Option<Storage>,
    /// Last, the gradient in memory becomes 0.
    pub zero_grad: bool,
}

/// The step of one tensor.
#[derive(Clone, Debug)]
pub struct Step {
    /// The program it was lowered from: names and extents of hypers, states and inputs.
    pub program: Arc<Program>,
    /// What it was made for.
    pub facts: Facts,
    /// The instructions.
    pub insts: Vec<StepInst>,
    /// The extent and the type of each instruction's value; of a store, of what it stores.
    pub values: Vec<(Extent, Type)>,
    /// Each statement's text with the index of its first instruction.
    pub statements: Vec<(usize, String)>,
    /// The place of the rule that only a tensor with two axes or more can run, if there is one.
    pub needs_axes: Option<(Extent, Span)>,
}

/// One instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StepInst {
    /// A scalar from outside: f64, a flag Bool.
    Source(Source),
    /// What a list gives: f64, or Bool for `increasing`.
    List(ListFn, ListRef, Option<Value>),
    /// An array as it is before the step, as the compute type.
    Load(Array),
    /// A uniform random number in [0, 1) for every element, as the compute type: this word of this draw.
    Draw(DrawId, u32),
    /// A scalar rounded once to the compute type, for every value of the extent.
    Round(Value),
    /// An array of smaller extent, for every value of the extent.
    Spread(Value),
    /// The values of an array, or a scalar of each tensor, made one.
    Reduce(Fold, Reduced, Value),
    /// A pure operation: f64 on scalars, the compute type on arrays. Operands are of one extent, if it is no scalar's.
    Op(Op),
    /// What a parameter or a state is after the step, or what the host gets. Defines nothing.
    Store(Target, Value),
}

/// How many values become one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Fold {
    /// Evaluation rule 7: one value, whatever the order.
    Sum,
    /// NaN if any is; -0 is less than 0; infinity if there is none.
    Min,
    /// NaN if any is; -0 is less than 0; minus infinity if there is none.
    Max,
}

impl Fold {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Fold::Sum => "sum",
            Fold::Min => "min",
            Fold::Max => "max",
        }
    }
}

/// Which reduction: one of the program, or the host's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Reduced {
    /// Whether all gradients of the model are finite: it comes before those of the program.
    Finite,
    /// Of the program.
    Program(ReductionId),
}

impl Reduced {
    /// One operand per what. (A value may be of smaller extent than what it stands for: so many times it counts.)
    pub fn of(self, program: &Program) -> Extent {
        let of = |kind: &NodeKind| match (kind, self) {
            (NodeKind::Reduce(_, args, id), Reduced::Program(own)) if *id == own => {
                Some(args.iter().fold(Extent::Model, |all, arg| all.join(program.node(*arg).extent)))
            }
            _ => None,
        };
        program.nodes.iter().find_map(|node| of(&node.kind)).unwrap_or(Extent::Element)
    }

    /// One result per what.
    pub fn to(self, program: &Program) -> Extent {
        match self {
            Reduced::Program(id) => program.reductions[id.index()].to,
            Reduced::Finite => Extent::Model,
        }
    }
}

/// Where a scalar comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// A hyper that is a number.
    Hyper(HyperId),
    /// A hyper that is a flag.
    Flag(HyperId),
    /// Whether a hyper is the mode of this index.
    Mode(HyperId, u32),
    /// From the host.
    Input(InputId),
    /// Whether the host has given an input.
    Given(InputId),
    /// The steps of this tensor, this one included.
    T,
    /// Of the tensor's shape; of the whole tensor, where it is a shard.
    Shape(Shape),
    /// How many values of the first extent one of the second, tensor or larger, holds.
    Count(Extent, Extent),
    /// How many values a reduction to model or group has folded.
    Counted(Reduced),
    /// The result of a reduction, in the scalar code of a plan.
    Reduced(Reduced),
    /// What the loss was multiplied by.
    LossScale,
    /// How much of the average stays in a step.
    AverageDecay,
    /// The completed steps of a schedule.
    S,
    /// The driven hyper's own value.
    Base,
    /// A scalar state as it is before the step.
    State(StateId),
}

/// An array of a tensor: one value per element, or per matrix, row, col or unit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Array {
    /// The parameter.
    Param,
    /// The gradient.
    Grad,
    /// A state.
    State(StateId),
    /// An input per element.
    Input(InputId),
    /// The host's exponential moving average of the parameter.
    Average,
    /// The host's copy of the parameter.
    Copy,
    /// What a view gives.
    View,
    /// The f32 copy that the rule works on instead of a narrower parameter.
    Master,
    /// What the parameter, kept with compensation, has lost by rounding.
    ParamRest,
    /// What a state, kept with compensation, has lost by rounding.
    StateRest(StateId),
}

/// What a store changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// An array.
    Array(Array),
    /// A scalar state.
    Scalar(StateId),
    /// A scalar for the host.
    Report(ReportId),
    /// Bool: whether the step is not taken.
    Skip,
}

/// The text of a list function.
pub(crate) fn list_text(function: ListFn, list: ListRef, operand: Option<Value>, program: &Program) -> String {
    let name = match list {
        ListRef::Hyper(id) => program.hypers[id.index()].name.to_string(),
        ListRef::Constant(index) => format!("{:?}", program.lists[index as usize]),
    };
    let operand = operand.map_or(String::new(), |v| format!(" %{}", v.0));
    match function {
        ListFn::Count(op) => format!("count {name} {}{operand}", op.symbol()),
        ListFn::Index => format!("index {name}{operand}"),
        ListFn::Prod => format!("prod {name}{operand}"),
        ListFn::Len => format!("len {name}"),
        ListFn::Increasing => format!("increasing {name}"),
    }
}

impl Array {
    /// Its name.
    pub fn name(self, program: &Program) -> Cow<'_, str> {
        let name: &str = match self {
            Array::Param => "p",
            Array::Grad => "g",
            Array::State(id) => &program.states[id.index()].name,
            Array::Input(id) => &program.inputs[id.index()].name,
            Array::Average => "@average",
            Array::Copy => "@copy",
            Array::View => "@view",
            Array::Master => "@master",
            Array::ParamRest => "@p.compensation",
            Array::StateRest(id) => return format!("@{}.compensation", program.states[id.index()].name).into(),
        };
        name.into()
    }

    /// One value per what.
    pub fn extent(self, program: &Program) -> Extent {
        match self {
            Array::State(id) | Array::StateRest(id) => program.states[id.index()].extent,
            _ => Extent::Element,
        }
    }
}

impl Target {
    /// Its name.
    pub fn name(self, program: &Program) -> String {
        match self {
            Target::Array(array) => array.name(program).to_string(),
            Target::Scalar(id) => program.states[id.index()].name.to_string(),
            Target::Report(id) => format!("report {}", program.reports[id.index()].name),
            Target::Skip => "skip".to_string(),
        }
    }
}

impl StepInst {
    /// Calls `f` with each operand, in order.
    pub fn for_each_operand(self, mut f: impl FnMut(Value)) {
        match self {
            StepInst::Round(a) | StepInst::Spread(a) | StepInst::Reduce(_, _, a) | StepInst::Store(_, a) => f(a),
            StepInst::Op(op) => op.for_each_operand(f),
            StepInst::List(_, _, operand) => operand.into_iter().for_each(f),
            StepInst::Source(_) | StepInst::Load(_) | StepInst::Draw(..) => {}
        }
    }

    /// The same instruction on other operands.
    pub fn map_operands(self, mut f: impl FnMut(Value) -> Value) -> StepInst {
        match self {
            StepInst::Round(a) => StepInst::Round(f(a)),
            StepInst::Spread(a) => StepInst::Spread(f(a)),
            StepInst::Reduce(fold, reduced, a) => StepInst::Reduce(fold, reduced, f(a)),
            StepInst::Store(target, a) => StepInst::Store(target, f(a)),
            StepInst::Op(op) => StepInst::Op(op.map_operands(f)),
            StepInst::List(function, list, operand) => StepInst::List(function, list, operand.map(f)),
            source => source,
        }
    }
}

impl Source {
    /// As printed: `hyper lr`.
    pub(crate) fn text(self, program: &Program) -> String {
        match self {
            Source::Hyper(id) => format!("hyper {}", program.hypers[id.index()].name),
            Source::Flag(id) => format!("flag {}", program.hypers[id.index()].name),
            Source::Mode(id, mode) => {
                let hyper = &program.hypers[id.index()];
                let mode = match &hyper.default {
                    HyperDefault::Mode(modes) => modes.get(mode as usize).map_or("", |mode| mode),
                    _ => "",
                };
                format!("mode {} == {mode}", hyper.name)
            }
            Source::Input(id) => format!("input {}", program.inputs[id.index()].name),
            Source::Given(id) => format!("given {}", program.inputs[id.index()].name),
            Source::T => "t".to_string(),
            Source::Shape(shape) => shape.name().to_string(),
            Source::Count(of, to) => format!("{} per {}", of.plural(), to.name()),
            Source::Counted(reduced) => format!("count of {}", reduced.text(program)),
            Source::Reduced(reduced) => format!("fold of {}", reduced.text(program)),
            Source::LossScale => "loss scale".to_string(),
            Source::AverageDecay => "average decay".to_string(),
            Source::S => "s".to_string(),
            Source::Base => "base".to_string(),
            Source::State(id) => format!("state {}", program.states[id.index()].name),
        }
    }
}

impl Reduced {
    /// The reduction as the rule has it: `norm(g per model)`.
    pub(crate) fn text(self, program: &Program) -> String {
        let Reduced::Program(id) = self else { return "all(isfinite(g) per model)".to_string() };
        let is_it = |kind: &NodeKind| matches!(kind, NodeKind::Reduce(_, _, own) if *own == id);
        match program.nodes.iter().position(|node| is_it(&node.kind)) {
            Some(index) => crate::check::expression_text(program, ExprId(index as u32)),
            None => format!("reduction {}", id.0),
        }
    }
}

impl Facts {
    /// Facts of a step that the host joins nothing to, whose gradient and states are of the parameter's type.
    pub fn new(storage: Storage, math: Math, outcomes: Vec<Outcome>) -> Facts {
        let (grad, stores, host) = (storage, Stores::default(), Host::default());
        Facts { storage, grad, stores, math, outcomes, host, reports: Vec::new() }
    }

    /// The conditions of the program and their outcomes, one a line: what `emit` prints first.
    pub fn text(&self, program: &Program) -> String {
        let mut out = String::new();
        for (index, outcome) in self.outcomes.iter().enumerate() {
            let id = crate::check::program::ConditionId(index as u32);
            let outcome = match outcome {
                Outcome::True => "true",
                Outcome::False => "false",
                Outcome::Unreached => "not reached",
            };
            out += &format!("# {}: {outcome}\n", crate::check::condition_text(program, id));
        }
        out
    }
}

/// The canonical text, which `updraft emit --stage step` prints.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compute = self.facts.storage.compute();
        write!(f, "{}", self.facts.text(&self.program))?;
        writeln!(f, "step {} {} {}", self.program.name, compute.name(), self.facts.math.name())?;
        let mut statements = self.statements.iter().peekable();
        for (index, inst) in self.insts.iter().enumerate() {
            while let Some((_, text)) = statements.next_if(|(first, _)| *first <= index) {
                // A statement that brings no instruction of its own (all of it is shared) is passed over.
                if statements.peek().is_none_or(|(next, _)| *next > index) {
                    writeln!(f, "# {text}")?;
                }
            }
            let (extent, ty) = self.values[index];
            let text = match inst {
                StepInst::Source(source) => source.text(&self.program),
                StepInst::Load(array) => format!("load {}", array.name(&self.program)),
                StepInst::Round(a) => format!("round %{}", a.0),
                StepInst::Spread(a) => format!("spread %{}", a.0),
                StepInst::Draw(id, word) => format!("draw {} word {word}", id.0),
                StepInst::Reduce(fold, reduced, a) => {
                    format!("{} %{}  # {}", fold.name(), a.0, reduced.text(&self.program))
                }
                StepInst::Op(op) => print_op(*op),
                StepInst::List(function, list, operand) => list_text(*function, *list, *operand, &self.program),
                StepInst::Store(target, a) => {
                    writeln!(f, "  store {}, %{}", target.name(&self.program), a.0)?;
                    continue;
                }
            };
            // What most values are goes without saying: elements of the compute type.
            match (extent, ty) {
                (Extent::Element, ty) if ty == compute => writeln!(f, "  %{index} = {text}")?,
                (Extent::Element, ty) => writeln!(f, "  %{index}: {} = {text}", ty.name())?,
                (extent, ty) => writeln!(f, "  %{index}: {} per {} = {text}", ty.name(), extent.name())?,
            }
        }
        Ok(())
    }
}
