//! [`Program`]: a checked rule. Names are ids, every value has its extent, `def` is inlined.
//!
//! Expressions live in one arena in which operands come before the expression that reads them, so that every later
//! pass is a loop, not a recursion, and no rule can be too deep for the stack.

use crate::ir::Storage;
pub use crate::syntax::ast::{BinaryOp, CompareOp, FileKind};

use crate::source::{SourceFile, Span};
use std::collections::BTreeSet;
use std::sync::Arc;

macro_rules! ids {
    ($($(#[doc = $doc:literal])* $name:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// As an index into the list that it belongs to.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// One of [`Program::hypers`].
    HyperId;
    /// One of [`Program::states`].
    StateId;
    /// One of [`Program::inputs`].
    InputId;
    /// One of [`Program::locals`].
    LocalId;
    /// One of [`Program::nodes`].
    ExprId;
    /// One of [`Program::conditions`].
    ConditionId;
    /// One of [`Program::reductions`].
    ReductionId;
    /// One of [`Program::draws`], in file order.
    DrawId;
    /// One of [`Program::reports`].
    ReportId;
    /// One of [`Program::views`].
    ViewId;
}

/// How many of a value there are.
///
/// `Model < Group < Tensor < Matrix < Row, Col < Element` and `Tensor < Unit < Element`: a partial order, which
/// [`Extent::fits_in`] and [`Extent::join`] know. (That it is `Ord` too is for maps.) Those from `Matrix` to `Unit` are
/// of tensors with two axes or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extent {
    /// One for all tensors.
    Model,
    /// One for each group.
    Group,
    /// One for each tensor.
    Tensor,
    /// One for each setting of all axes but the last two.
    Matrix,
    /// One for each setting of all axes but the last.
    Row,
    /// One for each setting of all axes but the last but one.
    Col,
    /// One for each index of the first axis.
    Unit,
    /// One for each element of each tensor.
    Element,
}

impl Extent {
    /// Every extent, smaller ones first.
    pub const ALL: [Extent; 8] = [
        Extent::Model,
        Extent::Group,
        Extent::Tensor,
        Extent::Matrix,
        Extent::Row,
        Extent::Col,
        Extent::Unit,
        Extent::Element,
    ];

    /// As written after `per`.
    pub fn name(self) -> &'static str {
        match self {
            Extent::Model => "model",
            Extent::Group => "group",
            Extent::Tensor => "tensor",
            Extent::Matrix => "matrix",
            Extent::Row => "row",
            Extent::Col => "col",
            Extent::Unit => "unit",
            Extent::Element => "element",
        }
    }

    /// Several of what there is one for.
    pub fn plural(self) -> &'static str {
        match self {
            Extent::Model => "models",
            Extent::Group => "groups",
            Extent::Tensor => "tensors",
            Extent::Matrix => "matrices",
            Extent::Row => "rows",
            Extent::Col => "cols",
            Extent::Unit => "units",
            Extent::Element => "elements",
        }
    }

    /// Whether a value of this extent may be used where one of `other` is expected: `other` tells apart all that this does.
    pub fn fits_in(self, other: Extent) -> bool {
        use Extent::*;
        match (self, other) {
            (Model | Group | Tensor, _) => self <= other,
            (Matrix, Matrix | Row | Col | Element) | (_, Element) => true,
            _ => self == other,
        }
    }

    /// The smallest extent that holds both.
    pub fn join(self, other: Extent) -> Extent {
        if self.fits_in(other) {
            other
        } else if other.fits_in(self) {
            self
        } else {
            Extent::Element
        }
    }

    /// Whether a value of this extent is an f64 computed by scalar code.
    pub fn is_scalar(self) -> bool {
        matches!(self, Extent::Model | Extent::Group | Extent::Tensor)
    }

    /// Whether only tensors with two axes or more have values of this extent.
    pub fn needs_axes(self) -> bool {
        matches!(self, Extent::Matrix | Extent::Row | Extent::Col | Extent::Unit)
    }
}

/// A number or a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Ty {
    Number,
    Condition,
}

/// A checked rule. Only `check` makes one; everything in it is consistent, so later stages cannot fail.
#[derive(Clone, Debug)]
pub struct Program {
    /// The rule's name.
    pub name: Arc<str>,
    /// A rule for an optimizer, or a schedule.
    pub kind: FileKind,
    /// The file it came from.
    pub file: SourceFile,
    /// The comment block before the header.
    pub docs: Vec<String>,
    /// In file order.
    pub hypers: Vec<Hyper>,
    /// In file order.
    pub states: Vec<State>,
    /// In file order.
    pub inputs: Vec<Input>,
    /// In file order.
    pub requires: Vec<Require>,
    /// Every `let`, in file order.
    pub locals: Vec<Local>,
    /// Lists that are constant: the defaults of the lists of schedules that are called.
    pub lists: Vec<Arc<[f64]>>,
    /// The arena of expressions.
    pub nodes: Vec<Node>,
    /// The scalar conditions that decide which code runs over elements: each selects a plan.
    pub conditions: Vec<Condition>,
    /// The reductions, operands before those that read them.
    pub reductions: Vec<Reduction>,
    /// How many random draws there are.
    pub draws: u32,
    /// Scalars for the host, in file order.
    pub reports: Vec<Report>,
    /// Derived tensors on demand, in file order.
    pub views: Vec<View>,
    /// The statements.
    pub body: Vec<Stmt>,
}

/// A hyperparameter.
#[derive(Clone, Debug)]
pub struct Hyper {
    /// Its name.
    pub name: Arc<str>,
    /// The comment at the end of its line.
    pub doc: Option<String>,
    /// Model or Group.
    pub extent: Extent,
    /// What it is when it has not been set.
    pub default: HyperDefault,
    /// The values that it may take; never on a flag.
    pub interval: Option<Range>,
    /// Whether it can be set when building only.
    pub fixed: bool,
    /// Where its name stands.
    pub span: Span,
}

/// The default of a hyper.
#[derive(Clone, Debug)]
pub enum HyperDefault {
    /// A number, which may depend on earlier hypers.
    Number(ExprId),
    /// A flag.
    Flag(bool),
    /// One of several modes, of which the first is the default.
    Mode(Arc<[Arc<str>]>),
    /// A list of numbers.
    List(Arc<[f64]>),
}

/// The values that a hyper may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least.
    pub low: f64,
    /// Whether it may be taken.
    pub low_closed: bool,
    /// The greatest.
    pub high: f64,
    /// Whether it may be taken.
    pub high_closed: bool,
    /// Whole numbers only.
    pub integers: bool,
}

impl Range {
    /// Whether `x` lies in it. NaN never does.
    pub fn contains(&self, x: f64) -> bool {
        let above = if self.low_closed { x >= self.low } else { x > self.low };
        let below = if self.high_closed { x <= self.high } else { x < self.high };
        above && below && (!self.integers || x.fract() == 0.0)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.integers {
            write!(f, "{}..", self.low)?;
            return if self.high == f64::INFINITY { Ok(()) } else { write!(f, "{}", self.high) };
        }
        let open = if self.low_closed { '[' } else { '(' };
        let close = if self.high_closed { ']' } else { ')' };
        write!(f, "{open}{}, {}{close}", self.low, self.high)
    }
}

/// A value that is kept from step to step.
#[derive(Clone, Debug)]
pub struct State {
    /// Its name.
    pub name: Arc<str>,
    /// The comment at the end of its line.
    pub doc: Option<String>,
    /// One per what.
    pub extent: Extent,
    /// What it is stored as unless the host says otherwise; as the parameter, if the rule does not say.
    pub storage: Option<Storage>,
    /// Its value before the first step that touches it.
    pub init: ExprId,
    /// Where its name stands.
    pub span: Span,
}

/// What the host gives each step: a scalar, or an array of the parameter's shape and type.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name.
    pub name: Arc<str>,
    /// The comment at the end of its line.
    pub doc: Option<String>,
    /// One per model, group, tensor or element.
    pub extent: Extent,
    /// What it is if the host gives none.
    pub default: Option<ExprId>,
    /// Where its name stands.
    pub span: Span,
}

/// A condition on hypers.
#[derive(Clone, Debug)]
pub struct Require {
    /// What must hold.
    pub cond: ExprId,
    /// What is said if it does not.
    pub message: Arc<str>,
}

/// Many values made one.
#[derive(Clone, Copy, Debug)]
pub struct Reduction {
    /// One result per what.
    pub to: Extent,
    /// In which phase of a step its result is known. The first is 0; one to model or group ends the phase of its operands.
    pub phase: u32,
    /// Where it stands.
    pub span: Span,
}

/// A scalar for the host, computed only if it is asked for.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub name: Arc<str>,
    /// The comment at the end of its line.
    pub doc: Option<String>,
    /// One per what: model, group or tensor.
    pub extent: Extent,
    /// Where its name stands.
    pub span: Span,
}

/// A derived tensor on demand; not part of a step.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub name: Arc<str>,
    /// The comment at the end of its line.
    pub doc: Option<String>,
    /// Its formula: of p, states, hypers and t.
    pub value: ExprId,
    /// Where its name stands.
    pub span: Span,
}

/// A local value.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its name. Two locals of different blocks may share one.
    pub name: Arc<str>,
    /// One per what.
    pub extent: Extent,
    /// Where its name stands.
    pub span: Span,
}

/// A scalar condition that meets elements. Its outcome is a fact of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// The expression.
    pub cond: ExprId,
    /// The condition whose block this one stands in, and the outcome under which it is reached.
    pub parent: Option<(ConditionId, bool)>,
}

/// What an expression or an assignment names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Var {
    /// The parameter.
    Param,
    /// The gradient: assigning changes the local value only.
    Grad,
    /// A state.
    State(StateId),
    /// A local.
    Local(LocalId),
    /// The result of a schedule.
    Value,
}

/// An expression with what is known of it.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// One per what.
    pub extent: Extent,
    /// A number or a condition.
    pub ty: Ty,
    /// Where it was written (a `def`'s body: in the `def`).
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// A literal, `pi` or `inf`.
    Number(f64),
    /// The machine epsilon of the parameter's type.
    Epsilon,
    /// `true` or `false`.
    Bool(bool),
    /// A hyper that is a number.
    Hyper(HyperId),
    /// A hyper that is a flag.
    Flag(HyperId),
    /// A scalar, or an array, from the host.
    Input(InputId),
    /// What is known of the tensor's shape.
    Shape(Shape),
    /// Many values made one; two operands for `dot`.
    Reduce(ReduceFn, Vec<ExprId>, ReductionId),
    /// A random number of its own for each element and step.
    Draw(DrawFn, DrawId),
    /// Whether the host has given an input.
    Given(InputId),
    /// Whether a hyper is the mode of this index.
    IsMode(HyperId, u32),
    /// What a list gives: an operand where the function takes one.
    List(ListFn, ListRef, Option<ExprId>),
    /// The completed steps of a schedule, from 0.
    S,
    /// The driven hyper's own value.
    Base,
    /// The steps that this tensor has taken, this one included.
    T,
    /// The value as it stands.
    Read(Var),
    /// The value before the step.
    Old(Var),
    /// `-a`
    Neg(ExprId),
    /// `not a`
    Not(ExprId),
    /// `a + b` and the like; `and`, `or`.
    Binary(BinaryOp, ExprId, ExprId),
    /// `a < b`
    Compare(CompareOp, ExprId, ExprId),
    /// `a^n` for a literal n of at most 64: multiplications.
    Power(ExprId, i32),
    /// A function of its arguments.
    Call(Function, Vec<ExprId>),
    /// `if c then a else b`. A scalar condition over element arms is a [`NodeKind::Outcome`].
    If(ExprId, ExprId, ExprId),
    /// The outcome of a scalar condition, as elements see it.
    Outcome(ConditionId),
    /// The same value, but a source expression of its own: the body of a `def` and each of its arguments.
    Own(ExprId),
}

/// What is known of a tensor's shape, as scalars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Elements.
    Numel,
    /// Axes.
    Rank,
    /// The last axis but one; 1 if there is none.
    Rows,
    /// The last axis; 1 if there is none.
    Cols,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 4] = [Shape::Numel, Shape::Rank, Shape::Rows, Shape::Cols];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Numel => "numel",
            Shape::Rank => "rank",
            Shape::Rows => "rows",
            Shape::Cols => "cols",
        }
    }

    /// Of a shape. (A shape that exists in memory has fewer elements than an f64 counts exactly.)
    pub fn of(self, shape: &[usize]) -> f64 {
        let axis = |from_last: usize| shape.len().checked_sub(1 + from_last).map_or(1, |axis| shape[axis]);
        let value = match self {
            Shape::Numel => shape.iter().product(),
            Shape::Rank => shape.len(),
            Shape::Rows => axis(1),
            Shape::Cols => axis(0),
        };
        value as f64
    }
}

/// The reductions of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ReduceFn {
    Sum,
    Mean,
    /// The root of the sum of squares.
    Norm,
    /// The root of the mean square.
    Rms,
    Min,
    Max,
    Any,
    All,
    /// How many conditions hold.
    Count,
    /// The sum of products.
    Dot,
}

impl ReduceFn {
    /// All of them.
    pub const ALL: [ReduceFn; 10] = [
        ReduceFn::Sum,
        ReduceFn::Mean,
        ReduceFn::Norm,
        ReduceFn::Rms,
        ReduceFn::Min,
        ReduceFn::Max,
        ReduceFn::Any,
        ReduceFn::All,
        ReduceFn::Count,
        ReduceFn::Dot,
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            ReduceFn::Sum => "sum",
            ReduceFn::Mean => "mean",
            ReduceFn::Norm => "norm",
            ReduceFn::Rms => "rms",
            ReduceFn::Min => "min",
            ReduceFn::Max => "max",
            ReduceFn::Any => "any",
            ReduceFn::All => "all",
            ReduceFn::Count => "count",
            ReduceFn::Dot => "dot",
        }
    }

    /// A number or a condition.
    pub fn result(self) -> Ty {
        if matches!(self, ReduceFn::Any | ReduceFn::All) { Ty::Condition } else { Ty::Number }
    }
}

/// The random numbers of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DrawFn {
    /// In [0, 1).
    Uniform,
    /// Of mean 0 and variance 1.
    Normal,
    /// 1 or -1.
    Rademacher,
}

impl DrawFn {
    /// All of them.
    pub const ALL: [DrawFn; 3] = [DrawFn::Uniform, DrawFn::Normal, DrawFn::Rademacher];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            DrawFn::Uniform => "uniform",
            DrawFn::Normal => "normal",
            DrawFn::Rademacher => "rademacher",
        }
    }
}

/// What can be asked of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListFn {
    /// `count(NAME <= x)`: how many elements compare so.
    Count(CompareOp),
    /// `NAME[i]`, from 0; NaN where there is none.
    Index,
    /// `prod(NAME, n)`: the product of the first n, or of all if there are fewer.
    Prod,
    /// `len(NAME)`.
    Len,
    /// `increasing(NAME)`: whether each is greater than the one before it.
    Increasing,
}

/// A list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListRef {
    /// A hyper.
    Hyper(HyperId),
    /// One of [`Program::lists`].
    Constant(u32),
}

/// The functions of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Function {
    Abs,
    Sign,
    Sqrt,
    Rsqrt,
    Cbrt,
    Exp,
    Log,
    Tanh,
    Sigmoid,
    Sin,
    Cos,
    Floor,
    Ceil,
    Round,
    Min,
    Max,
    Clamp,
    Lerp,
    Fma,
    Isfinite,
    /// Written `a^b`.
    Pow,
}

impl Function {
    /// Every function that is called by name.
    pub const NAMED: [Function; 20] = [
        Function::Abs,
        Function::Sign,
        Function::Sqrt,
        Function::Rsqrt,
        Function::Cbrt,
        Function::Exp,
        Function::Log,
        Function::Tanh,
        Function::Sigmoid,
        Function::Sin,
        Function::Cos,
        Function::Floor,
        Function::Ceil,
        Function::Round,
        Function::Min,
        Function::Max,
        Function::Clamp,
        Function::Lerp,
        Function::Fma,
        Function::Isfinite,
    ];

    /// As written.
    pub fn name(self) -> &'static str {
        match self {
            Function::Abs => "abs",
            Function::Sign => "sign",
            Function::Sqrt => "sqrt",
            Function::Rsqrt => "rsqrt",
            Function::Cbrt => "cbrt",
            Function::Exp => "exp",
            Function::Log => "log",
            Function::Tanh => "tanh",
            Function::Sigmoid => "sigmoid",
            Function::Sin => "sin",
            Function::Cos => "cos",
            Function::Floor => "floor",
            Function::Ceil => "ceil",
            Function::Round => "round",
            Function::Min => "min",
            Function::Max => "max",
            Function::Clamp => "clamp",
            Function::Lerp => "lerp",
            Function::Fma => "fma",
            Function::Isfinite => "isfinite",
            Function::Pow => "pow",
        }
    }

    /// The names of its arguments, for messages.
    pub fn params(self) -> &'static [&'static str] {
        match self {
            Function::Min | Function::Max | Function::Pow => &["a", "b"],
            Function::Clamp => &["x", "low", "high"],
            Function::Lerp => &["a", "b", "weight"],
            Function::Fma => &["a", "b", "c"],
            _ => &["x"],
        }
    }

    /// Whether no instruction computes it: of elements it becomes a polynomial.
    pub fn is_polynomial(self) -> bool {
        matches!(
            self,
            Function::Cbrt
                | Function::Exp
                | Function::Log
                | Function::Tanh
                | Function::Sigmoid
                | Function::Sin
                | Function::Cos
                | Function::Pow
        )
    }

    /// A number or a condition.
    pub fn result(self) -> Ty {
        if self == Function::Isfinite { Ty::Condition } else { Ty::Number }
    }
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it does.
    pub kind: StmtKind,
    /// Where it stands; of a block statement, its first line.
    pub span: Span,
}

/// The kinds of statements.
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// A new local.
    Let(LocalId, ExprId),
    /// A new value of a variable. `x += e` is `x = x + (e)` here.
    Assign(Var, ExprId),
    /// Two blocks, of which the condition takes one (each element its own, if it is a condition of elements).
    If(IfKind, Vec<Stmt>, Vec<Stmt>),
    /// Where the condition holds, the step is not taken. It stands before the first assignment to p or a state.
    Skip(ExprId),
    /// A scalar for the host.
    Report(ReportId, ExprId),
}

/// How a block statement is decided.
#[derive(Clone, Copy, Debug)]
pub enum IfKind {
    /// A scalar condition around statements on elements: it selects the plan.
    Plan(ConditionId),
    /// A condition around scalar statements only, one that reads a reduction of this step, or one of larger extent than
    /// tensor: each assigned value is selected.
    Select(ExprId),
}

impl Program {
    /// The node of an expression.
    pub fn node(&self, id: ExprId) -> &Node {
        &self.nodes[id.index()]
    }

    /// How many phases a step has: every plan of the rule has as many. (The first values of states and views are no part
    /// of it, and have phases of their own.)
    pub fn phases(&self) -> u32 {
        let mut last = 0;
        let mut roots = Vec::new();
        roots_of(&self.body, &mut roots);
        for id in roots.into_iter().flat_map(|root| self.postorder(root)) {
            if let NodeKind::Reduce(_, _, id) = self.node(id).kind {
                last = last.max(self.reductions[id.index()].phase);
            }
        }
        last + 1
    }

    /// The name of a variable, as written.
    pub fn var_name(&self, var: Var) -> &str {
        match var {
            Var::Param => "p",
            Var::Grad => "g",
            Var::Value => "value",
            Var::State(id) => &self.states[id.index()].name,
            Var::Local(id) => &self.locals[id.index()].name,
        }
    }

    /// The extent of a variable.
    pub fn var_extent(&self, var: Var) -> Extent {
        match var {
            Var::Param | Var::Grad => Extent::Element,
            Var::Value => Extent::Model,
            Var::State(id) => self.states[id.index()].extent,
            Var::Local(id) => self.locals[id.index()].extent,
        }
    }

    /// The expressions that `root` is made of, itself included, operands before the expression that reads them. (The
    /// expression behind a [`NodeKind::Outcome`] is not part of it.)
    pub fn postorder(&self, root: ExprId) -> Vec<ExprId> {
        postorder(&self.nodes, root).into_iter().collect()
    }
}

/// The expressions of statements, but for conditions that select the plan: those reduce nothing.
fn roots_of(stmts: &[Stmt], roots: &mut Vec<ExprId>) {
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::Let(_, value) | StmtKind::Assign(_, value) => roots.push(*value),
            StmtKind::Skip(value) | StmtKind::Report(_, value) => roots.push(*value),
            StmtKind::If(kind, then, otherwise) => {
                if let IfKind::Select(cond) = kind {
                    roots.push(*cond);
                }
                roots_of(then, roots);
                roots_of(otherwise, roots);
            }
        }
    }
}

/// What `root` is made of, in an order of evaluation: operands have smaller ids.
pub(super) fn postorder(nodes: &[Node], root: ExprId) -> BTreeSet<ExprId> {
    let mut reached = BTreeSet::from([root]);
    let mut pending = vec![root];
    while let Some(id) = pending.pop() {
        nodes[id.index()].kind.for_each_operand(|operand| {
            if reached.insert(operand) {
                pending.push(operand);
            }
        });
    }
    reached
}

impl NodeKind {
    /// Calls `f` with each operand, in the order written.
    pub fn for_each_operand(&self, mut f: impl FnMut(ExprId)) {
        match self {
            NodeKind::Neg(a) | NodeKind::Not(a) | NodeKind::Power(a, _) | NodeKind::Own(a) => f(*a),
            NodeKind::Binary(_, a, b) | NodeKind::Compare(_, a, b) => {
                f(*a);
                f(*b);
            }
            NodeKind::If(c, a, b) => {
                f(*c);
                f(*a);
                f(*b);
            }
            NodeKind::Call(_, args) | NodeKind::Reduce(_, args, _) => args.iter().copied().for_each(f),
            NodeKind::List(_, _, operand) => operand.iter().copied().for_each(f),
            NodeKind::Number(_)
            | NodeKind::Epsilon
            | NodeKind::Bool(_)
            | NodeKind::Hyper(_)
            | NodeKind::Flag(_)
            | NodeKind::Input(_)
            | NodeKind::Shape(_)
            | NodeKind::Draw(..)
            | NodeKind::Given(_)
            | NodeKind::IsMode(..)
            | NodeKind::S
            | NodeKind::Base
            | NodeKind::T
            | NodeKind::Read(_)
            | NodeKind::Old(_)
            | NodeKind::Outcome(_) => {}
        }
    }
}
