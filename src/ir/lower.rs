//! From a [`Program`] to a [`Step`]: this stage fixes every rounding.
//!
//! Comes in: a checked program and [`Facts`]. Goes out: SSA in which each value has an extent and a type. Conditions that
//! select the plan are decided here and gone afterwards; other conditions become selects. Equal operations on equal
//! operands are one instruction from the start, and what no store needs is dropped at the end. Lowering cannot fail.
//!
//! [`Math::Fast`] is applied here and nowhere else, bottom-up and without recursion: see [`Product`].

use super::op::{Binary, Compare, Const, Math1, Op, Storage, Type, Unary, Value};
use super::passes;
use super::region::Region;
use super::step::{Array, Facts, Math, Outcome, Source, Step, StepInst, Target};
use crate::check::program::{
    BinaryOp, ConditionId, ExprId, Extent, Function, IfKind, ListFn, ListRef, NodeKind, Program, StateId, Stmt,
    StmtKind, Var,
};
use crate::check::statement_text;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Lowers the step of a program for given facts.
pub fn lower(program: &Arc<Program>, facts: &Facts) -> Step {
    let mut lowering = Lowering::new(program, facts.storage, facts.math, Some(&facts.outcomes));
    lowering.statements(&program.body);
    lowering.store_all();
    let step = Step {
        program: program.clone(),
        facts: facts.clone(),
        insts: lowering.insts,
        values: lowering.values,
        statements: lowering.statements,
        needs_axes: None,
    };
    passes::drop_unused(step)
}

/// Lowers the first value of a state to a step that stores only that state.
pub fn lower_init(program: &Arc<Program>, state: StateId, facts: &Facts) -> Step {
    let mut lowering = Lowering::new(program, facts.storage, facts.math, Some(&facts.outcomes));
    let value = lowering.expression(program.states[state.index()].init);
    let target = if program.states[state.index()].extent.is_scalar() {
        Target::Scalar(state)
    } else {
        Target::Array(Array::State(state))
    };
    lowering.store(target, value);
    let (insts, values) = (lowering.insts, lowering.values);
    passes::drop_unused(Step {
        program: program.clone(),
        facts: facts.clone(),
        insts,
        values,
        statements: Vec::new(),
        needs_axes: None,
    })
}

/// Lowers the conditions that select the plan to scalar code, whose outputs are their outcomes, one each. Blocks that a
/// condition does not take are computed too: scalar code has no effects, so their values are simply not used.
pub fn lower_conditions(program: &Arc<Program>, storage: Storage) -> Region {
    let mut lowering = Lowering::new(program, storage, Math::Strict, None);
    for state in &program.states {
        lowering.conditions_in(state.init);
    }
    lowering.statements(&program.body);
    let absent = lowering.op(Op::Const(Const::Bool(false)));
    let outputs = (0..program.conditions.len())
        .map(|index| lowering.conditions.get(&ConditionId(index as u32)).copied().unwrap_or(absent))
        .collect();
    Region::new(&lowering.insts, &lowering.values, outputs, program)
}

/// Lowers expressions of hypers to scalar code with one output each.
pub fn lower_scalars(program: &Arc<Program>, roots: &[ExprId]) -> Region {
    let mut lowering = Lowering::new(program, Storage::F64, Math::Strict, None);
    let outputs = roots.iter().map(|root| lowering.expression(*root)).collect();
    Region::new(&lowering.insts, &lowering.values, outputs, program)
}

/// Lowers a schedule to scalar code with one output, its value; stores change its states.
pub fn lower_schedule(program: &Arc<Program>) -> Region {
    let mut lowering = Lowering::new(program, Storage::F64, Math::Strict, Some(&[]));
    lowering.statements(&program.body);
    let value = lowering.read(Var::Value);
    lowering.store_all();
    Region::new(&lowering.insts, &lowering.values, vec![value], program)
}

/// A lowered expression.
#[derive(Clone, Debug)]
enum Lowered {
    /// A value.
    Value(Value),
    /// A product of elements whose scalar factors are still to be placed; under [`Math::Fast`] only.
    Product(Product),
}

/// A tree of `*` and `/` that is not finished.
///
/// Evaluation rule 5a gathers the scalar factors of the whole tree, and multiplies the tree of the element factors by
/// the result at the end; or, where a numerator holds no element factor, puts the result there. So the scalars are kept
/// in a list until the tree is complete, and so is the path from such a numerator to the root.
#[derive(Clone, Debug)]
struct Product {
    /// The scalar factors in the order written; `true`: in a numerator.
    scalars: Vec<(bool, Value)>,
    elements: Elements,
}

/// The element factors of a [`Product`].
#[derive(Clone, Debug)]
enum Elements {
    /// None.
    Empty,
    /// A finished value that is not a multiplication.
    Value(Value),
    /// The multiplication of two values, not yet an instruction: an addition may contract it.
    Mul(Value, Value),
    /// The first numerator without an element factor, and what is done to it from there to the root.
    Numerator(Vec<Outward>),
}

/// One operation on the way from a numerator to the root of its tree.
#[derive(Clone, Copy, Debug)]
enum Outward {
    /// Times a value on its right.
    Times(Value),
    /// A value on its left times it.
    TimedBy(Value),
    /// Divided by a value.
    Over(Value),
}

/// What the root of a finished product is.
enum Root {
    Mul(Value, Value),
    Value(Value),
}

struct Lowering<'a> {
    program: &'a Program,
    /// `None`: only scalar code is wanted, and every condition is computed.
    outcomes: Option<&'a [Outcome]>,
    storage: Storage,
    math: Math,
    insts: Vec<StepInst>,
    values: Vec<(Extent, Type)>,
    /// The value that each instruction defines: equal instructions are one.
    shared: HashMap<StepInst, Value>,
    /// What each variable is now, if it has been assigned.
    now: BTreeMap<Var, Value>,
    statements: Vec<(usize, String)>,
    /// The values of the conditions that select the plan.
    conditions: BTreeMap<ConditionId, Value>,
}

impl<'a> Lowering<'a> {
    fn new(program: &'a Program, storage: Storage, math: Math, outcomes: Option<&'a [Outcome]>) -> Lowering<'a> {
        Lowering {
            program,
            outcomes,
            storage,
            math,
            insts: Vec::new(),
            values: Vec::new(),
            shared: HashMap::new(),
            now: BTreeMap::new(),
            statements: Vec::new(),
            conditions: BTreeMap::new(),
        }
    }

    // Statements.

    fn statements(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            match &stmt.kind {
                StmtKind::Let(local, value) => self.assign(stmt, Var::Local(*local), *value),
                StmtKind::Assign(var, value) => self.assign(stmt, *var, *value),
                StmtKind::If(kind, then, otherwise) => self.branch(*kind, then, otherwise),
                StmtKind::Skip(_) | StmtKind::Report(..) => {}
            }
        }
    }

    fn assign(&mut self, stmt: &Stmt, var: Var, value: ExprId) {
        let extent = self.program.var_extent(var);
        if self.outcomes.is_none() && !extent.is_scalar() {
            self.conditions_in(value);
            return;
        }
        self.statements.push((self.insts.len(), statement_text(self.program, stmt)));
        let value = self.expression(value);
        let value = if extent.is_scalar() { value } else { self.element(value) };
        self.now.insert(var, value);
    }

    /// Computes the plan conditions that an expression of elements depends on.
    fn conditions_in(&mut self, root: ExprId) {
        for id in self.program.postorder(root) {
            if let NodeKind::Outcome(condition) = self.program.node(id).kind {
                self.condition(condition);
            }
        }
    }

    fn condition(&mut self, id: ConditionId) -> Value {
        let cond = self.program.conditions[id.index()].cond;
        let value = self.expression(cond);
        *self.conditions.entry(id).or_insert(value)
    }

    fn branch(&mut self, kind: IfKind, then: &[Stmt], otherwise: &[Stmt]) {
        let cond = match (kind, self.outcomes) {
            (IfKind::Plan(id), Some(outcomes)) => {
                let taken = outcomes.get(id.index()) == Some(&Outcome::True);
                return self.statements(if taken { then } else { otherwise });
            }
            (IfKind::Plan(id), None) => self.condition(id),
            (IfKind::Select(cond), None) if !self.program.node(cond).extent.is_scalar() => {
                // Nothing scalar is assigned in there, but plan conditions may stand in it.
                self.conditions_in(cond);
                self.statements(then);
                return self.statements(otherwise);
            }
            (IfKind::Select(cond), _) => self.expression(cond),
        };
        if let Some(taken) = self.known(cond) {
            return self.statements(if taken { then } else { otherwise });
        }
        // Both blocks are computed from the same beginning; what either assigned is selected.
        let before = self.now.clone();
        self.statements(then);
        let after_then = std::mem::replace(&mut self.now, before.clone());
        self.statements(otherwise);
        let after_otherwise = std::mem::replace(&mut self.now, before);
        let mut assigned: Vec<Var> = after_then.keys().chain(after_otherwise.keys()).copied().collect();
        assigned.sort_unstable();
        assigned.dedup();
        for var in assigned {
            let is_new_local = matches!(var, Var::Local(_)) && !self.now.contains_key(&var);
            let unchanged = after_then.get(&var) == after_otherwise.get(&var);
            if is_new_local {
                continue;
            }
            if unchanged {
                if let Some(value) = after_then.get(&var) {
                    self.now.insert(var, *value);
                }
                continue;
            }
            let was = self.read(var);
            let a = after_then.get(&var).copied().unwrap_or(was);
            let b = after_otherwise.get(&var).copied().unwrap_or(was);
            let selected = self.select(cond, a, b);
            self.now.insert(var, selected);
        }
    }

    fn store_all(&mut self) {
        let assigned: Vec<(Var, Value)> = self.now.iter().map(|(var, value)| (*var, *value)).collect();
        self.statements.push((self.insts.len(), "after the step".to_string()));
        for (var, value) in assigned {
            let target = match var {
                Var::Param => Target::Array(Array::Param),
                Var::State(id) if self.program.var_extent(var).is_scalar() => Target::Scalar(id),
                Var::State(id) => Target::Array(Array::State(id)),
                // Assigning to `g` changes the local value only.
                Var::Grad | Var::Local(_) | Var::Value => continue,
            };
            // What a variable was before the step need not be stored again.
            if value != self.before(var) {
                self.store(target, value);
            }
        }
    }

    fn store(&mut self, target: Target, value: Value) {
        let value = if matches!(target, Target::Array(_)) { self.element(value) } else { value };
        self.insts.push(StepInst::Store(target, value));
        self.values.push(self.values[value.index()]);
    }

    // Expressions.

    /// Lowers an expression that is a source expression of its own.
    fn expression(&mut self, root: ExprId) -> Value {
        let mut lowered = BTreeMap::<ExprId, Lowered>::new();
        for id in self.program.postorder(root) {
            let node = self.program.node(id);
            let value = self.node(&node.kind, &lowered);
            // A value is per element exactly where the language says so, whatever the facts have made of it.
            let value = match value {
                Lowered::Value(v) if node.extent == Extent::Element => Lowered::Value(self.element(v)),
                other => other,
            };
            lowered.insert(id, value);
        }
        match lowered.remove(&root) {
            Some(value) => self.finish(value),
            None => self.constant(f64::NAN),
        }
    }

    fn node(&mut self, kind: &NodeKind, lowered: &BTreeMap<ExprId, Lowered>) -> Lowered {
        let of = |id: &ExprId| lowered[id].clone();
        let value = match kind {
            NodeKind::Number(x) => self.constant(*x),
            NodeKind::Epsilon => self.constant(match self.storage {
                Storage::F32 => f64::from(f32::EPSILON),
                Storage::F64 => f64::EPSILON,
            }),
            NodeKind::Bool(b) => self.op(Op::Const(Const::Bool(*b))),
            NodeKind::Hyper(id) => self.source(Source::Hyper(*id)),
            NodeKind::Flag(id) => self.source(Source::Flag(*id)),
            NodeKind::Input(id) => self.source(Source::Input(*id)),
            NodeKind::Given(id) => self.source(Source::Given(*id)),
            NodeKind::IsMode(id, mode) => self.source(Source::Mode(*id, *mode)),
            NodeKind::S => self.source(Source::S),
            NodeKind::Base => self.source(Source::Base),
            NodeKind::List(function, list, operand) => {
                let operand = operand.as_ref().map(|operand| self.finish(of(operand)));
                self.list(*function, *list, operand)
            }
            NodeKind::T => self.source(Source::T),
            NodeKind::Shape(_) | NodeKind::Reduce(..) | NodeKind::Draw(..) => self.constant(f64::NAN),
            NodeKind::Read(var) => self.read(*var),
            NodeKind::Old(var) => self.before(*var),
            NodeKind::Outcome(id) => {
                let taken = self.outcomes.and_then(|outcomes| outcomes.get(id.index())) == Some(&Outcome::True);
                self.op(Op::Const(Const::Bool(taken)))
            }
            NodeKind::Own(a) => self.finish(of(a)),
            NodeKind::Neg(a) => {
                let a = self.finish(of(a));
                self.op(Op::Unary(Unary::Neg, a))
            }
            NodeKind::Not(a) => {
                let a = self.finish(of(a));
                self.not(a)
            }
            NodeKind::Binary(op, a, b) => return self.binary(*op, of(a), of(b)),
            NodeKind::Compare(op, a, b) => {
                let (a, b) = (self.finish(of(a)), self.finish(of(b)));
                self.compare(*op, a, b)
            }
            NodeKind::Power(a, n) => return self.power(of(a), *n),
            NodeKind::If(c, a, b) => {
                let (c, a, b) = (self.finish(of(c)), self.finish(of(a)), self.finish(of(b)));
                self.select(c, a, b)
            }
            NodeKind::Call(function, args) => {
                let args: Vec<Value> = args.iter().map(|arg| self.finish(of(arg))).collect();
                return self.call(*function, &args);
            }
        };
        Lowered::Value(value)
    }

    fn call(&mut self, function: Function, args: &[Value]) -> Lowered {
        let x = args[0];
        let math = |f: Math1| Op::Unary(Unary::Math(f), x);
        let op = match function {
            Function::Abs => Op::Unary(Unary::Abs, x),
            Function::Sqrt => Op::Unary(Unary::Sqrt, x),
            Function::Floor => Op::Unary(Unary::Floor, x),
            Function::Ceil => Op::Unary(Unary::Ceil, x),
            Function::Round => Op::Unary(Unary::Round, x),
            Function::Exp => math(Math1::Exp),
            Function::Log => math(Math1::Log),
            Function::Tanh => math(Math1::Tanh),
            Function::Sin => math(Math1::Sin),
            Function::Cos => math(Math1::Cos),
            Function::Cbrt => math(Math1::Cbrt),
            Function::Sigmoid => math(Math1::Sigmoid),
            Function::Pow => Op::Binary(Binary::Pow, x, args[1]),
            Function::Rsqrt => {
                let root = self.op(Op::Unary(Unary::Sqrt, x));
                let one = self.constant(1.0);
                let value = self.arithmetic(Binary::Div, one, root);
                return Lowered::Value(value);
            }
            Function::Min => return Lowered::Value(self.arithmetic(Binary::Min, x, args[1])),
            Function::Max => return Lowered::Value(self.arithmetic(Binary::Max, x, args[1])),
            Function::Clamp => {
                let least = self.arithmetic(Binary::Max, x, args[1]);
                return Lowered::Value(self.arithmetic(Binary::Min, least, args[2]));
            }
            Function::Sign => {
                let [zero, one, minus_one] = [0.0, 1.0, -1.0].map(|c| self.constant(c));
                let negative = self.compare(Compare::Lt, x, zero);
                let otherwise = self.select(negative, minus_one, x);
                let positive = self.compare(Compare::Gt, x, zero);
                return Lowered::Value(self.select(positive, one, otherwise));
            }
            Function::Isfinite => {
                let size = self.op(Op::Unary(Unary::Abs, x));
                let infinity = self.constant(f64::INFINITY);
                return Lowered::Value(self.compare(Compare::Lt, size, infinity));
            }
            // Expanded before the rewrites of Fast: a + weight*(b - a).
            Function::Lerp => {
                let [a, b, weight] = [args[0], args[1], args[2]].map(Lowered::Value);
                let difference = self.binary(BinaryOp::Sub, b, a.clone());
                let change = self.binary(BinaryOp::Mul, weight, difference);
                return self.binary(BinaryOp::Add, a, change);
            }
            Function::Fma => {
                let (a, b, c) = if args.iter().any(|v| self.is_element(*v)) {
                    (self.element(args[0]), self.element(args[1]), self.element(args[2]))
                } else {
                    (args[0], args[1], args[2])
                };
                Op::Fma(a, b, c)
            }
        };
        Lowered::Value(self.op(op))
    }

    /// `+ - * / % and or` by the rules of the math mode.
    fn binary(&mut self, op: BinaryOp, a: Lowered, b: Lowered) -> Lowered {
        let elements = self.is_elements(&a) || self.is_elements(&b);
        let fast = self.math == Math::Fast && elements;
        match op {
            BinaryOp::And | BinaryOp::Or => {
                let (a, b) = (self.finish(a), self.finish(b));
                Lowered::Value(self.logic(op, a, b))
            }
            BinaryOp::Mul if fast => {
                let (a, b) = (self.product(a), self.product(b));
                Lowered::Product(self.times(a, b))
            }
            BinaryOp::Div if fast => {
                let (a, b) = (self.product(a), self.product(b));
                Lowered::Product(self.over(a, b))
            }
            BinaryOp::Add | BinaryOp::Sub if fast => Lowered::Value(self.contract(op, a, b)),
            _ => {
                let op = match op {
                    BinaryOp::Add => Binary::Add,
                    BinaryOp::Sub => Binary::Sub,
                    BinaryOp::Mul => Binary::Mul,
                    BinaryOp::Div => Binary::Div,
                    _ => Binary::Rem,
                };
                let (a, b) = (self.finish(a), self.finish(b));
                Lowered::Value(self.arithmetic(op, a, b))
            }
        }
    }

    /// Left-to-right binary multiplication; 1 over that for a negative exponent.
    fn power(&mut self, base: Lowered, n: i32) -> Lowered {
        let one = Lowered::Value(self.constant(1.0));
        let exponent = n.unsigned_abs();
        if exponent == 0 {
            return one;
        }
        let mut power = base.clone();
        for bit in (0..exponent.ilog2()).rev() {
            power = self.binary(BinaryOp::Mul, power.clone(), power);
            if exponent >> bit & 1 == 1 {
                power = self.binary(BinaryOp::Mul, power, base.clone());
            }
        }
        if n < 0 { self.binary(BinaryOp::Div, one, power) } else { power }
    }

    // Math::Fast, rule 5a: products.

    fn product(&mut self, lowered: Lowered) -> Product {
        match lowered {
            Lowered::Product(product) => product,
            Lowered::Value(v) if self.is_element(v) => Product { scalars: Vec::new(), elements: Elements::Value(v) },
            Lowered::Value(v) => Product { scalars: vec![(true, v)], elements: Elements::Empty },
        }
    }

    fn times(&mut self, a: Product, b: Product) -> Product {
        let mut scalars = a.scalars;
        scalars.extend(b.scalars);
        let elements = match (a.elements, b.elements) {
            (Elements::Empty, b) => b,
            (a, Elements::Empty) => a,
            (Elements::Numerator(mut path), b) => {
                let b = self.with_one(b);
                path.push(Outward::Times(b));
                Elements::Numerator(path)
            }
            (a, Elements::Numerator(mut path)) => {
                let a = self.with_one(a);
                path.push(Outward::TimedBy(a));
                Elements::Numerator(path)
            }
            (a, b) => Elements::Mul(self.with_one(a), self.with_one(b)),
        };
        Product { scalars, elements }
    }

    fn over(&mut self, a: Product, b: Product) -> Product {
        let mut scalars = a.scalars;
        scalars.extend(b.scalars.iter().map(|(in_numerator, v)| (!in_numerator, *v)));
        let elements = match (a.elements, b.elements) {
            (a, Elements::Empty) => a,
            (Elements::Empty, b) => {
                let b = self.with_one(b);
                Elements::Numerator(vec![Outward::Over(b)])
            }
            (Elements::Numerator(mut path), b) => {
                let b = self.with_one(b);
                path.push(Outward::Over(b));
                Elements::Numerator(path)
            }
            (a, b) => {
                let (a, b) = (self.with_one(a), self.with_one(b));
                Elements::Value(self.op(Op::Binary(Binary::Div, a, b)))
            }
        };
        Product { scalars, elements }
    }

    /// The value of element factors; an empty numerator among them is 1, because it is not the first of its tree.
    fn with_one(&mut self, elements: Elements) -> Value {
        match elements {
            Elements::Value(v) => v,
            Elements::Mul(a, b) => self.op(Op::Binary(Binary::Mul, a, b)),
            Elements::Empty => {
                let one = self.constant(1.0);
                self.element(one)
            }
            Elements::Numerator(path) => {
                let one = self.constant(1.0);
                let root = self.outward(one, &path);
                self.root_value(root)
            }
        }
    }

    /// From a numerator to the root.
    fn outward(&mut self, factor: Value, path: &[Outward]) -> Root {
        let mut root = Root::Value(self.element(factor));
        for step in path {
            let value = self.root_value(root);
            root = match *step {
                Outward::Times(b) => Root::Mul(value, b),
                Outward::TimedBy(a) => Root::Mul(a, value),
                Outward::Over(b) => Root::Value(self.op(Op::Binary(Binary::Div, value, b))),
            };
        }
        root
    }

    fn root_value(&mut self, root: Root) -> Value {
        match root {
            Root::Value(v) => v,
            Root::Mul(a, b) => self.op(Op::Binary(Binary::Mul, a, b)),
        }
    }

    /// Places the gathered scalar factor.
    fn root(&mut self, product: Product) -> Root {
        let factor = self.gather(&product.scalars);
        match (product.elements, factor) {
            (Elements::Value(v), None) => Root::Value(v),
            (Elements::Mul(a, b), None) => Root::Mul(a, b),
            (Elements::Numerator(path), factor) => {
                let factor = match factor {
                    Some(factor) => factor,
                    None => self.constant(1.0),
                };
                self.outward(factor, &path)
            }
            (Elements::Empty, Some(factor)) => Root::Value(factor),
            (elements, Some(factor)) => {
                let value = self.with_one(elements);
                let factor = self.element(factor);
                Root::Mul(value, factor)
            }
            (Elements::Empty, None) => Root::Value(self.constant(1.0)),
        }
    }

    /// The scalar factors in f64, in the order written, beginning with the first one in a numerator (else 1).
    fn gather(&mut self, scalars: &[(bool, Value)]) -> Option<Value> {
        if scalars.is_empty() {
            return None;
        }
        let first = scalars.iter().position(|(in_numerator, _)| *in_numerator);
        let mut factor = match first {
            Some(index) => scalars[index].1,
            None => self.constant(1.0),
        };
        for (index, (in_numerator, v)) in scalars.iter().enumerate() {
            if Some(index) == first {
                continue;
            }
            let op = if *in_numerator { Binary::Mul } else { Binary::Div };
            factor = self.op(Op::Binary(op, factor, *v));
        }
        Some(factor)
    }

    /// Rule 5b: `a + b` and `a - b`, contracted to fma if the right operand is an element multiplication, else if the
    /// left is.
    fn contract(&mut self, op: BinaryOp, a: Lowered, b: Lowered) -> Value {
        let subtract = op == BinaryOp::Sub;
        let b = match b {
            Lowered::Product(product) => match self.root(product) {
                Root::Mul(x, y) => {
                    let a = self.finish(a);
                    let a = self.element(a);
                    let (x, y) = if subtract { self.negate_product(x, y) } else { (x, y) };
                    return self.op(Op::Fma(x, y, a));
                }
                Root::Value(v) => v,
            },
            Lowered::Value(v) => v,
        };
        let a = match a {
            Lowered::Product(product) => match self.root(product) {
                Root::Mul(x, y) => {
                    let b = if subtract { self.negate(b) } else { self.element(b) };
                    return self.op(Op::Fma(x, y, b));
                }
                Root::Value(v) => v,
            },
            Lowered::Value(v) => v,
        };
        self.arithmetic(if subtract { Binary::Sub } else { Binary::Add }, a, b)
    }

    /// Factors of `-(x*y)`: the sign goes to a scalar where there is one, so that it is changed once a step.
    fn negate_product(&mut self, x: Value, y: Value) -> (Value, Value) {
        if matches!(self.insts[y.index()], StepInst::Round(_)) { (x, self.negate(y)) } else { (self.negate(x), y) }
    }

    /// `-v` for elements. Changing the sign is exact, before rounding as after it.
    fn negate(&mut self, v: Value) -> Value {
        let scalar = match self.insts[v.index()] {
            StepInst::Round(scalar) => Some(scalar),
            _ if !self.is_element(v) => Some(v),
            _ => None,
        };
        match scalar {
            Some(scalar) => {
                let negated = self.op(Op::Unary(Unary::Neg, scalar));
                self.element(negated)
            }
            None => self.op(Op::Unary(Unary::Neg, v)),
        }
    }

    fn finish(&mut self, lowered: Lowered) -> Value {
        match lowered {
            Lowered::Value(v) => v,
            Lowered::Product(product) => {
                let root = self.root(product);
                self.root_value(root)
            }
        }
    }

    // Values.

    fn is_element(&self, v: Value) -> bool {
        !self.values[v.index()].0.is_scalar()
    }

    fn is_elements(&self, lowered: &Lowered) -> bool {
        match lowered {
            Lowered::Value(v) => self.is_element(*v),
            Lowered::Product(_) => true,
        }
    }

    /// A value as elements see it: a scalar is rounded once to the compute type.
    fn element(&mut self, v: Value) -> Value {
        let (extent, ty) = self.values[v.index()];
        if !extent.is_scalar() {
            return v;
        }
        if ty == Type::Bool {
            return self.element_condition(v);
        }
        self.define(StepInst::Round(v), Extent::Element, self.storage.compute())
    }

    /// A scalar condition as elements see it. A kernel has no conditions from outside, so it comes as a number; one that
    /// is known stays as it is, for whoever reads it to decide.
    fn element_condition(&mut self, v: Value) -> Value {
        if self.known(v).is_some() {
            return v;
        }
        let (one, zero) = (self.constant(1.0), self.constant(0.0));
        let number = self.select(v, one, zero);
        let (number, zero) = (self.element(number), self.element(zero));
        self.op(Op::Compare(Compare::Ne, number, zero))
    }

    /// Both operands scalars, or both elements.
    fn level(&mut self, a: Value, b: Value) -> (Value, Value) {
        if self.is_element(a) || self.is_element(b) { (self.element(a), self.element(b)) } else { (a, b) }
    }

    fn arithmetic(&mut self, op: Binary, a: Value, b: Value) -> Value {
        let (a, b) = self.level(a, b);
        self.op(Op::Binary(op, a, b))
    }

    fn compare(&mut self, op: Compare, a: Value, b: Value) -> Value {
        let (a, b) = self.level(a, b);
        self.op(Op::Compare(op, a, b))
    }

    /// The outcome of a condition that is known while lowering.
    fn known(&self, cond: Value) -> Option<bool> {
        match self.insts[cond.index()] {
            StepInst::Op(Op::Const(Const::Bool(b))) => Some(b),
            _ => None,
        }
    }

    fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
        match self.known(cond) {
            Some(true) => return a,
            Some(false) => return b,
            None => {}
        }
        if a == b {
            return a;
        }
        // An arm that is a known condition leaves `and` or `or`.
        if let Some(taken) = self.known(a) {
            let cond = if taken { cond } else { self.not(cond) };
            return self.logic(if taken { BinaryOp::Or } else { BinaryOp::And }, cond, b);
        }
        if let Some(taken) = self.known(b) {
            let cond = if taken { self.not(cond) } else { cond };
            return self.logic(if taken { BinaryOp::Or } else { BinaryOp::And }, cond, a);
        }
        let (a, b) = if self.is_element(cond) { (self.element(a), self.element(b)) } else { self.level(a, b) };
        self.op(Op::Select(cond, a, b))
    }

    fn not(&mut self, a: Value) -> Value {
        match self.known(a) {
            Some(b) => self.op(Op::Const(Const::Bool(!b))),
            None => self.op(Op::Unary(Unary::Not, a)),
        }
    }

    fn logic(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        // `and` is decided by false, `or` by true; the other outcome leaves the other operand.
        let decides = op == BinaryOp::Or;
        for (x, y) in [(a, b), (b, a)] {
            match self.known(x) {
                Some(outcome) if outcome == decides => return x,
                Some(_) => return y,
                None => {}
            }
        }
        let (a, b) = self.level(a, b);
        self.op(Op::Binary(if decides { Binary::Or } else { Binary::And }, a, b))
    }

    fn constant(&mut self, x: f64) -> Value {
        self.op(Op::Const(Const::f64(x)))
    }

    fn read(&mut self, var: Var) -> Value {
        match self.now.get(&var) {
            Some(value) => *value,
            None => self.before(var),
        }
    }

    /// What a variable is before the step.
    fn before(&mut self, var: Var) -> Value {
        match var {
            Var::Param => self.load(Array::Param),
            Var::Grad => self.load(Array::Grad),
            Var::State(id) if self.program.var_extent(var).is_scalar() => self.source(Source::State(id)),
            Var::State(id) => self.load(Array::State(id)),
            // check has seen to it that a local is assigned before it is read.
            Var::Local(_) | Var::Value => self.constant(f64::NAN),
        }
    }

    fn load(&mut self, array: Array) -> Value {
        self.define(StepInst::Load(array), Extent::Element, self.storage.compute())
    }

    fn source(&mut self, source: Source) -> Value {
        let (extent, ty) = match source {
            Source::Hyper(id) => (self.program.hypers[id.index()].extent, Type::F64),
            Source::Flag(id) | Source::Mode(id, _) => (self.program.hypers[id.index()].extent, Type::Bool),
            Source::Given(id) => (self.program.inputs[id.index()].extent, Type::Bool),
            Source::S | Source::Base | Source::LossScale | Source::AverageDecay => (Extent::Model, Type::F64),
            Source::Shape(_) | Source::Count(..) => (Extent::Tensor, Type::F64),
            Source::Counted(reduced) | Source::Reduced(reduced) => (reduced.to(self.program), Type::F64),
            Source::Input(id) => (self.program.inputs[id.index()].extent, Type::F64),
            Source::T => (Extent::Tensor, Type::F64),
            Source::State(id) => (self.program.states[id.index()].extent, Type::F64),
        };
        self.define(StepInst::Source(source), extent, ty)
    }

    fn list(&mut self, function: ListFn, list: ListRef, operand: Option<Value>) -> Value {
        let own = match list {
            ListRef::Hyper(id) => self.program.hypers[id.index()].extent,
            ListRef::Constant(_) => Extent::Model,
        };
        let extent = operand.map_or(own, |v| own.join(self.values[v.index()].0));
        let ty = if function == ListFn::Increasing { Type::Bool } else { Type::F64 };
        self.define(StepInst::List(function, list, operand), extent, ty)
    }

    fn op(&mut self, op: Op) -> Value {
        let mut extent = Extent::Model;
        op.for_each_operand(|v| extent = extent.join(self.values[v.index()].0));
        let ty = match op {
            Op::Const(c) => c.ty(),
            Op::Compare(..) => Type::Bool,
            Op::Unary(_, a) | Op::Binary(_, a, _) | Op::Fma(a, _, _) | Op::Select(_, a, _) => self.values[a.index()].1,
            Op::Bitcast(ty, _) => ty,
            // Rules have no integers; these stand for the functions that become polynomials.
            Op::ToInt(_) => Type::I32,
            Op::ToFloat(_) => self.storage.compute(),
        };
        self.define(StepInst::Op(op), extent, ty)
    }

    fn define(&mut self, inst: StepInst, extent: Extent, ty: Type) -> Value {
        if let Some(value) = self.shared.get(&inst) {
            return *value;
        }
        let value = Value(self.insts.len() as u32);
        self.insts.push(inst);
        self.values.push((extent, ty));
        self.shared.insert(inst, value);
        value
    }
}
