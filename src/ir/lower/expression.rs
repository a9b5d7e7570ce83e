//! Expressions: each becomes one value, or a product that is not finished.

use super::product::Lowered;
use super::{Lowering, Outcome};
use crate::check::program::{
    BinaryOp, ConditionId, DrawFn, DrawId, ExprId, Extent, Function, NodeKind, ReduceFn, ReductionId,
};
use crate::ir::functions;
use crate::ir::op::{Binary, Compare, Const, Math1, Op, Type, Unary, Value};
use crate::ir::step::{Array, Fold, Math, Reduced, Source, StepInst};
use std::collections::{BTreeMap, BTreeSet};

impl Lowering<'_> {
    /// Lowers an expression that is a source expression of its own.
    pub(super) fn expression(&mut self, root: ExprId) -> Value {
        let mut lowered = BTreeMap::<ExprId, Lowered>::new();
        for id in self.reached(root) {
            let node = self.program.node(id);
            let value = match self.arm(id) {
                Some(arm) => Lowered::Value(self.finish(lowered[&arm].clone())),
                None => self.node(&node.kind, &lowered),
            };
            if node.extent.needs_axes() {
                self.needs_axes.get_or_insert((node.extent, node.span));
            }
            // A value is of its extent exactly where the language says so, whatever the facts have made of it.
            let value = match value {
                Lowered::Value(v) => Lowered::Value(self.raise(v, node.extent)),
                other => other,
            };
            lowered.insert(id, value);
        }
        match lowered.remove(&root) {
            Some(value) => self.finish(value),
            None => self.constant(f64::NAN),
        }
    }

    /// The expressions that `root` is made of, operands first, but for the arms that are not taken: what is in them is not
    /// asked of a tensor.
    fn reached(&self, root: ExprId) -> BTreeSet<ExprId> {
        let mut reached = BTreeSet::from([root]);
        let mut pending = vec![root];
        while let Some(id) = pending.pop() {
            let mut reach = |id: ExprId| {
                if reached.insert(id) {
                    pending.push(id);
                }
            };
            match self.arm(id) {
                Some(arm) => reach(arm),
                None => self.program.node(id).kind.for_each_operand(reach),
            }
        }
        reached
    }

    /// The arm that an `if` takes, where a fact says which.
    fn arm(&self, id: ExprId) -> Option<ExprId> {
        let NodeKind::If(cond, then, otherwise) = self.program.node(id).kind else { return None };
        let NodeKind::Outcome(condition) = self.program.node(cond).kind else { return None };
        Some(if self.is_taken(condition) { then } else { otherwise })
    }

    /// Whether a condition that selects the plan holds.
    fn is_taken(&self, id: ConditionId) -> bool {
        self.outcomes.and_then(|outcomes| outcomes.get(id.index())) == Some(&Outcome::True)
    }

    fn node(&mut self, kind: &NodeKind, lowered: &BTreeMap<ExprId, Lowered>) -> Lowered {
        let of = |id: &ExprId| lowered[id].clone();
        let value = match kind {
            NodeKind::Number(x) => self.constant(*x),
            NodeKind::Epsilon => self.constant(match self.storage.compute() {
                Type::F32 => f64::from(f32::EPSILON),
                _ => f64::EPSILON,
            }),
            NodeKind::Bool(b) => self.op(Op::Const(Const::Bool(*b))),
            NodeKind::Hyper(id) => self.source(Source::Hyper(*id)),
            NodeKind::Flag(id) => self.source(Source::Flag(*id)),
            NodeKind::Input(id) if self.program.inputs[id.index()].extent == Extent::Element => {
                self.load(Array::Input(*id))
            }
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
            NodeKind::Shape(shape) => self.source(Source::Shape(*shape)),
            NodeKind::Draw(function, id) => self.draw(*function, *id),
            NodeKind::Reduce(function, args, id) => {
                let extent = args.iter().fold(Extent::Model, |all, arg| all.join(self.program.node(*arg).extent));
                let args: Vec<Value> = args.iter().map(|arg| self.finish(of(arg))).collect();
                self.reduce(*function, &args, extent, *id)
            }
            NodeKind::Read(var) => self.read(*var),
            NodeKind::Old(var) => self.before(*var),
            NodeKind::Outcome(id) => self.op(Op::Const(Const::Bool(self.is_taken(*id)))),
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

    pub(super) fn call(&mut self, function: Function, args: &[Value]) -> Lowered {
        let x = args[0];
        if args.iter().any(|v| self.is_array(*v))
            && let Some(value) = self.element_function(function, args)
        {
            return Lowered::Value(value);
        }
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
                let extent = self.join(args);
                let (a, b, c) = (self.raise(args[0], extent), self.raise(args[1], extent), self.raise(args[2], extent));
                Op::Fma(a, b, c)
            }
        };
        Lowered::Value(self.op(op))
    }

    /// `+ - * / % and or` by the rules of the math mode.
    pub(super) fn binary(&mut self, op: BinaryOp, a: Lowered, b: Lowered) -> Lowered {
        let elements = self.is_arrays(&a) || self.is_arrays(&b);
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

    // Reductions and draws.

    /// A reduction of values of `extent`: a fold, with what comes before and after it.
    fn reduce(&mut self, function: ReduceFn, args: &[Value], extent: Extent, id: ReductionId) -> Value {
        let to = self.program.reductions[id.index()].to;
        let x = args[0];
        let (fold, operand) = match function {
            ReduceFn::Norm | ReduceFn::Rms => (Fold::Sum, self.op(Op::Binary(Binary::Mul, x, x))),
            ReduceFn::Dot => (Fold::Sum, self.op(Op::Binary(Binary::Mul, x, args[1]))),
            ReduceFn::Sum => (Fold::Sum, x),
            ReduceFn::Mean | ReduceFn::Count => (Fold::Sum, self.number_of(x, extent)),
            ReduceFn::Min => (Fold::Min, x),
            ReduceFn::Max => (Fold::Max, x),
            ReduceFn::Any => (Fold::Max, self.number_of(x, extent)),
            ReduceFn::All => (Fold::Min, self.number_of(x, extent)),
        };
        let operand = self.raise(operand, extent);
        let ty = if to.is_scalar() { Type::F64 } else { self.storage.compute() };
        let folded = self.define(StepInst::Reduce(fold, Reduced::Program(id), operand), to, ty);
        match function {
            ReduceFn::Sum | ReduceFn::Dot | ReduceFn::Count | ReduceFn::Min | ReduceFn::Max => folded,
            ReduceFn::Norm => self.op(Op::Unary(Unary::Sqrt, folded)),
            ReduceFn::Mean => self.mean(folded, extent, to, id),
            ReduceFn::Rms => {
                let mean = self.mean(folded, extent, to, id);
                self.op(Op::Unary(Unary::Sqrt, mean))
            }
            ReduceFn::Any | ReduceFn::All => {
                let zero = self.constant(0.0);
                self.compare(Compare::Gt, folded, zero)
            }
        }
    }

    /// A sum over how many values it is of.
    fn mean(&mut self, sum: Value, of: Extent, to: Extent, id: ReductionId) -> Value {
        let count = match to {
            Extent::Model | Extent::Group => Source::Counted(Reduced::Program(id)),
            _ => Source::Count(of, to),
        };
        let count = self.source(count);
        self.arithmetic(Binary::Div, sum, count)
    }

    /// A condition as 1 or 0; a number as it is.
    pub(super) fn number_of(&mut self, x: Value, extent: Extent) -> Value {
        if self.values[x.index()].1 != Type::Bool {
            return x;
        }
        let (one, zero) = (self.constant(1.0), self.constant(0.0));
        let number = self.select(x, one, zero);
        self.raise(number, extent)
    }

    /// Random numbers of elements, from one or two uniform words.
    fn draw(&mut self, function: DrawFn, id: DrawId) -> Value {
        let word =
            |this: &mut Self, word| this.define(StepInst::Draw(id, word), Extent::Element, this.storage.compute());
        let uniform = word(self, 0);
        match function {
            DrawFn::Uniform => uniform,
            DrawFn::Rademacher => {
                let [half, one, minus_one] = [0.5, 1.0, -1.0].map(|c| self.constant(c));
                let low = self.compare(Compare::Lt, uniform, half);
                self.select(low, one, minus_one)
            }
            // Box and Muller: sqrt(-2*log(1 - u)) * cos(2*pi*v), where 1 - u is never 0.
            DrawFn::Normal => {
                let turns = word(self, 1);
                let [one, minus_two] = [1.0, -2.0].map(|c| self.constant(c));
                let u = self.arithmetic(Binary::Sub, one, uniform);
                let log = self.raw(Extent::Element, functions::log, u);
                let square = self.arithmetic(Binary::Mul, minus_two, log);
                let radius = self.op(Op::Unary(Unary::Sqrt, square));
                let cos = self.raw(Extent::Element, functions::cos_turns, turns);
                self.op(Op::Binary(Binary::Mul, radius, cos))
            }
        }
    }

    /// A function of arrays that no instruction computes: a polynomial. `None`: there is an instruction for it.
    fn element_function(&mut self, function: Function, args: &[Value]) -> Option<Value> {
        let extent = self.join(args);
        let x = self.raise(args[0], extent);
        Some(match function {
            Function::Exp => self.raw(extent, functions::exp, x),
            Function::Log => self.raw(extent, functions::log, x),
            Function::Tanh => self.raw(extent, functions::tanh, x),
            Function::Sigmoid => self.raw(extent, functions::sigmoid, x),
            Function::Sin => self.raw(extent, functions::sin, x),
            Function::Cos => self.raw(extent, functions::cos, x),
            Function::Cbrt => self.raw(extent, functions::cbrt, x),
            Function::Pow => {
                let (y, ty) = (self.raise(args[1], extent), self.storage.compute());
                functions::pow(&mut |op| self.array_op(op, extent), ty, x, y)
            }
            _ => return None,
        })
    }

    /// The operations that a function of this crate's own is made of.
    fn raw(
        &mut self,
        extent: Extent,
        function: fn(&mut dyn FnMut(Op) -> Value, Type, Value) -> Value,
        x: Value,
    ) -> Value {
        let ty = self.storage.compute();
        function(&mut |op| self.array_op(op, extent), ty, x)
    }
}
