//! Values: what reads a variable, what is of which extent, and the one place that makes instructions.

use super::Lowering;
use super::product::Lowered;
use crate::check::program::{BinaryOp, Extent, ListFn, ListRef, Var};
use crate::ir::op::{Binary, Compare, Const, Op, Type, Unary, Value};
use crate::ir::step::{Array, Source, StepInst};
use crate::source::Span;

impl Lowering<'_> {
    pub(super) fn is_array(&self, v: Value) -> bool {
        !self.values[v.index()].0.is_scalar()
    }

    pub(super) fn is_arrays(&self, lowered: &Lowered) -> bool {
        match lowered {
            Lowered::Value(v) => self.is_array(*v),
            Lowered::Product(_) => true,
        }
    }

    /// The smallest extent that holds all of these.
    pub(super) fn join(&self, values: &[Value]) -> Extent {
        values.iter().fold(Extent::Model, |all, v| all.join(self.values[v.index()].0))
    }

    /// A value as one of `extent`, which holds its own: a scalar among arrays is rounded once to the compute type, a
    /// smaller array is spread. Among scalars nothing changes.
    pub(super) fn raise(&mut self, v: Value, extent: Extent) -> Value {
        let (own, ty) = self.values[v.index()];
        if extent.is_scalar() || own == extent {
            return v;
        }
        if ty == Type::Bool {
            return self.raise_condition(v, extent);
        }
        let inst = if own.is_scalar() { StepInst::Round(v) } else { StepInst::Spread(v) };
        self.define(inst, extent, self.storage.compute())
    }

    /// A condition as one of a larger extent. A kernel has no conditions from outside, so it comes as a number; one that
    /// is known stays as it is, for whoever reads it to decide.
    fn raise_condition(&mut self, v: Value, extent: Extent) -> Value {
        if self.known(v).is_some() {
            return v;
        }
        let (one, zero) = (self.constant(1.0), self.constant(0.0));
        let number = self.select(v, one, zero);
        let (number, zero) = (self.raise(number, extent), self.raise(zero, extent));
        self.op(Op::Compare(Compare::Ne, number, zero))
    }

    /// Both operands scalars, or both of one extent.
    fn level(&mut self, a: Value, b: Value) -> (Value, Value) {
        let extent = self.join(&[a, b]);
        (self.raise(a, extent), self.raise(b, extent))
    }

    pub(super) fn arithmetic(&mut self, op: Binary, a: Value, b: Value) -> Value {
        let (a, b) = self.level(a, b);
        self.op(Op::Binary(op, a, b))
    }

    pub(super) fn compare(&mut self, op: Compare, a: Value, b: Value) -> Value {
        let (a, b) = self.level(a, b);
        self.op(Op::Compare(op, a, b))
    }

    /// The outcome of a condition that is known while lowering.
    pub(super) fn known(&self, cond: Value) -> Option<bool> {
        match self.insts[cond.index()] {
            StepInst::Op(Op::Const(Const::Bool(b))) => Some(b),
            _ => None,
        }
    }

    pub(super) fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
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
        let extent = self.join(&[cond, a, b]);
        let (a, b) = (self.raise(a, extent), self.raise(b, extent));
        self.op(Op::Select(cond, a, b))
    }

    pub(super) fn not(&mut self, a: Value) -> Value {
        match self.known(a) {
            Some(b) => self.op(Op::Const(Const::Bool(!b))),
            None => self.op(Op::Unary(Unary::Not, a)),
        }
    }

    pub(super) fn logic(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
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

    pub(super) fn constant(&mut self, x: f64) -> Value {
        self.op(Op::Const(Const::f64(x)))
    }

    pub(super) fn read(&mut self, var: Var) -> Value {
        match self.now.get(&var) {
            Some(value) => *value,
            None => self.before(var),
        }
    }

    /// What a variable is before the step.
    pub(super) fn before(&mut self, var: Var) -> Value {
        match var {
            Var::Grad => self.load(Array::Grad),
            Var::State(id) if self.program.var_extent(var).is_scalar() => self.source(Source::State(id)),
            Var::Param | Var::State(_) => self.load_kept(var),
            // check has seen to it that a local is assigned before it is read.
            Var::Local(_) | Var::Value => self.constant(f64::NAN),
        }
    }

    pub(super) fn load(&mut self, array: Array) -> Value {
        let extent = array.extent(self.program);
        if extent.needs_axes() {
            let span = match array {
                Array::State(id) => self.program.states[id.index()].span,
                _ => Span::default(),
            };
            self.needs_axes.get_or_insert((extent, span));
        }
        self.define(StepInst::Load(array), extent, self.storage.compute())
    }

    pub(super) fn source(&mut self, source: Source) -> Value {
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

    pub(super) fn list(&mut self, function: ListFn, list: ListRef, operand: Option<Value>) -> Value {
        let own = match list {
            ListRef::Hyper(id) => self.program.hypers[id.index()].extent,
            ListRef::Constant(_) => Extent::Model,
        };
        let extent = operand.map_or(own, |v| own.join(self.values[v.index()].0));
        let ty = if function == ListFn::Increasing { Type::Bool } else { Type::F64 };
        self.define(StepInst::List(function, list, operand), extent, ty)
    }

    /// An operation. Where one operand is an array all become arrays of one extent.
    pub(super) fn op(&mut self, op: Op) -> Value {
        let mut extent = Extent::Model;
        op.for_each_operand(|v| extent = extent.join(self.values[v.index()].0));
        let op = op.map_operands(|v| self.raise(v, extent));
        self.define(StepInst::Op(op), extent, self.op_type(op))
    }

    /// An operation on arrays of this extent; a constant too is one for each value of it.
    pub(super) fn array_op(&mut self, op: Op, extent: Extent) -> Value {
        match op {
            // As every other constant of the compute type: a scalar, rounded, which changes no bit of it.
            Op::Const(Const::F32(bits)) => {
                let scalar = self.constant(f64::from(f32::from_bits(bits)));
                self.raise(scalar, extent)
            }
            Op::Const(Const::F64(bits)) => {
                let scalar = self.constant(f64::from_bits(bits));
                self.raise(scalar, extent)
            }
            _ => self.define(StepInst::Op(op), extent, self.op_type(op)),
        }
    }

    pub(super) fn op_type(&self, op: Op) -> Type {
        let of = |v: Value| self.values[v.index()].1;
        match op {
            Op::Const(c) => c.ty(),
            Op::Compare(..) => Type::Bool,
            Op::Unary(_, a) | Op::Binary(_, a, _) | Op::Fma(a, _, _) | Op::Select(_, a, _) | Op::Narrow(_, a) => of(a),
            Op::Bitcast(ty, _) => ty,
            Op::ToInt(a) if of(a) == Type::F32 => Type::I32,
            Op::ToInt(_) => Type::I64,
            Op::ToFloat(_) => self.storage.compute(),
        }
    }

    pub(super) fn define(&mut self, inst: StepInst, extent: Extent, ty: Type) -> Value {
        if let Some(value) = self.shared.get(&(inst, extent)) {
            return *value;
        }
        let value = Value(self.insts.len() as u32);
        self.insts.push(inst);
        self.values.push((extent, ty));
        self.shared.insert((inst, extent), value);
        value
    }
}
