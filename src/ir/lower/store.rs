//! Rounding to how things are kept: evaluation rule 4.
//!
//! The last assignment to the parameter or to a state rounds to its storage type; what reads it after that sees what is
//! stored, what reads it before sees the value itself. So every value that is stored is one that its array can hold, and
//! reading the array again gives it back: `plan` relies on that. An assignment is the last where none to the same variable
//! follows it, on the way that the facts leave open; of an `if` that chooses by element both arms are on the way, and what
//! they leave is rounded after it too.

use super::Lowering;
use crate::check::program::{DrawId, IfKind, StateId, Stmt, StmtKind, Var};
use crate::ir::op::{Binary, Compare, Const, Op, Storage, Type, Unary, Value};
use crate::ir::step::{Array, Outcome, StepInst, Target};
use crate::ir::store::Store;
use std::collections::BTreeSet;

/// The bits of an f32 that a bf16 has.
const BF16: i32 = 0xffff_0000_u32 as i32;

impl Lowering<'_> {
    /// For each statement of a block, what is assigned after it: behind it in the block, or behind the block.
    pub(super) fn assigned_after(&self, stmts: &[Stmt]) -> Vec<BTreeSet<Var>> {
        let mut after = self.later.clone();
        let mut all: Vec<BTreeSet<Var>> = Vec::with_capacity(stmts.len());
        for stmt in stmts.iter().rev() {
            all.push(after.clone());
            self.assigned(stmt, &mut after);
        }
        all.reverse();
        all
    }

    /// Adds what a statement assigns of what is kept in arrays.
    fn assigned(&self, stmt: &Stmt, vars: &mut BTreeSet<Var>) {
        match &stmt.kind {
            StmtKind::Assign(var, _) if self.is_kept(*var) => drop(vars.insert(*var)),
            StmtKind::If(kind, then, otherwise) => {
                let taken = match (kind, self.outcomes) {
                    (IfKind::Plan(id), Some(outcomes)) => Some(outcomes.get(id.index()) == Some(&Outcome::True)),
                    _ => None,
                };
                let then = then.iter().filter(|_| taken != Some(false));
                let otherwise = otherwise.iter().filter(|_| taken != Some(true));
                then.chain(otherwise).for_each(|stmt| self.assigned(stmt, vars));
            }
            _ => {}
        }
    }

    fn is_kept(&self, var: Var) -> bool {
        match var {
            Var::Param => true,
            Var::State(_) => !self.program.var_extent(var).is_scalar(),
            _ => false,
        }
    }

    /// Rounds what a statement has assigned for the last time.
    pub(super) fn round_after(&mut self, stmt: &Stmt) {
        if self.facts.is_none() {
            return;
        }
        let mut assigned = BTreeSet::new();
        self.assigned(stmt, &mut assigned);
        for var in assigned.difference(&self.later).copied().collect::<Vec<_>>() {
            if let Some(value) = self.now.get(&var).copied() {
                let value = self.rounded(var, value);
                self.now.insert(var, value);
            }
        }
    }

    /// How a variable is kept, and the array; nothing is kept where only scalar code is wanted.
    fn kept(&self, var: Var) -> (Array, Store) {
        let own = Store::from(self.storage);
        let (array, store) = match (var, self.facts) {
            (Var::State(id), None) => (Array::State(id), own),
            (Var::State(id), Some(facts)) => (Array::State(id), facts.stores.state(id, facts.storage, self.program)),
            (_, Some(facts)) if facts.stores.has_master(facts.storage) => (Array::Master, Store::F32),
            (_, Some(facts)) => (Array::Param, facts.stores.param(facts.storage)),
            (_, None) => (Array::Param, own),
        };
        // Whoever builds an optimizer has been told; a step of such facts rounds to nearest.
        let is_too_wide = store.is_of_f32() && self.storage.compute() != Type::F32;
        (array, if is_too_wide { Store::Bf16 } else { store })
    }

    /// Where the compensation of a variable is.
    fn rest(var: Var) -> Array {
        match var {
            Var::State(id) => Array::StateRest(id),
            _ => Array::ParamRest,
        }
    }

    /// What is kept of a variable, as it is before the step.
    pub(super) fn load_kept(&mut self, var: Var) -> Value {
        let (array, store) = self.kept(var);
        let value = self.load(array);
        if store != Store::Bf16Kahan {
            return value;
        }
        let rest = self.load(Self::rest(var));
        self.op(Op::Binary(Binary::Add, value, rest))
    }

    /// A value as it is after it has been stored.
    fn rounded(&mut self, var: Var, value: Value) -> Value {
        let value = self.raise(value, self.program.var_extent(var));
        match self.kept(var) {
            // As it was: nothing is stored.
            _ if self.load_kept(var) == value => value,
            (_, Store::Bf16Stochastic) if self.fits(Storage::Bf16, value) => value,
            (_, Store::Bf16Stochastic) => self.stochastic(var, value),
            (_, Store::Bf16Kahan) if self.compensated.contains_key(&value) => value,
            (_, Store::Bf16Kahan) => {
                let (kept, rest) = self.compensate(value);
                let value = self.op(Op::Binary(Binary::Add, kept, rest));
                self.compensated.insert(value, (kept, rest));
                value
            }
            (_, store) => self.narrow(store.storage(), value),
        }
    }

    /// Stores a variable whose last assignment is over.
    pub(super) fn store_kept(&mut self, var: Var, value: Value) {
        let (array, store) = self.kept(var);
        let value = self.rounded(var, value);
        let (kept, rest) = match (store, self.compensated.get(&value)) {
            (Store::Bf16Kahan, Some((kept, rest))) => (*kept, Some(*rest)),
            _ => (value, None),
        };
        self.store(Target::Array(array), kept);
        if let Some(rest) = rest {
            self.store(Target::Array(Self::rest(var)), rest);
        }
        if array == Array::Master {
            let rounded = self.narrow(self.storage, value);
            self.store(Target::Array(Array::Param), rounded);
        }
    }

    /// Stores the first value of a state, rounded to nearest: no step has drawn a number for it.
    pub(super) fn store_first(&mut self, id: StateId, value: Value) {
        let var = Var::State(id);
        let value = self.raise(value, self.program.var_extent(var));
        let (array, store) = self.kept(var);
        if store == Store::Bf16Kahan {
            let (kept, rest) = self.compensate(value);
            self.store(Target::Array(array), kept);
            self.store(Target::Array(Self::rest(var)), rest);
        } else {
            let value = self.narrow(store.storage(), value);
            self.store(Target::Array(array), value);
        }
    }

    /// A value rounded to nearest.
    fn narrow(&mut self, storage: Storage, value: Value) -> Value {
        if storage.holds(self.storage.compute()) || self.fits(storage, value) {
            return value;
        }
        self.op(Op::Narrow(storage, value))
    }

    /// Whether a value is one that the storage type has, as far as is seen at once.
    fn fits(&self, storage: Storage, value: Value) -> bool {
        let is_one = |v: Value| match (self.insts[v.index()], self.facts) {
            (StepInst::Op(Op::Narrow(own, _)), _) => own == storage,
            (StepInst::Load(array), Some(facts)) => facts.storage_of(array, self.program) == storage,
            _ => false,
        };
        match self.insts[value.index()] {
            StepInst::Op(Op::Select(_, a, b)) => is_one(a) && is_one(b),
            _ => is_one(value),
        }
    }

    /// The nearest bf16, and the nearest bf16 of what that leaves; what is not finite leaves nothing.
    fn compensate(&mut self, value: Value) -> (Value, Value) {
        let kept = self.narrow(Storage::Bf16, value);
        let left = self.op(Op::Binary(Binary::Sub, value, kept));
        let (size, infinity, zero) =
            (self.op(Op::Unary(Unary::Abs, left)), self.constant(f64::INFINITY), self.constant(0.0));
        let finite = self.compare(Compare::Lt, size, infinity);
        let left = self.select(finite, left, zero);
        (kept, self.narrow(Storage::Bf16, left))
    }

    /// One of the two bf16 around a value, each the likelier the nearer it is: a random number below the last bit that
    /// stays is added to the bits, which may carry into it, and the rest is cut off.
    fn stochastic(&mut self, var: Var, value: Value) -> Value {
        let (extent, ty) = self.values[value.index()];
        debug_assert_eq!(ty, Type::F32, "only f32 is rounded at random");
        // Draws of the rule come first.
        let number = self.program.draws + if let Var::State(id) = var { 1 + id.0 } else { 0 };
        let uniform = self.define(StepInst::Draw(DrawId(number), 0), extent, ty);
        let scale = self.constant(65536.0);
        let scaled = self.arithmetic(Binary::Mul, uniform, scale);
        let random = self.array_op(Op::ToInt(scaled), extent);
        let bits = self.array_op(Op::Bitcast(Type::I32, value), extent);
        let sum = self.array_op(Op::Binary(Binary::IAdd, bits, random), extent);
        let mask = self.array_op(Op::Const(Const::I32(BF16)), extent);
        let cut = self.array_op(Op::Binary(Binary::And, sum, mask), extent);
        let rounded = self.array_op(Op::Bitcast(Type::F32, cut), extent);
        let (size, infinity) = (self.op(Op::Unary(Unary::Abs, value)), self.constant(f64::INFINITY));
        let finite = self.compare(Compare::Lt, size, infinity);
        let rounded = self.select(finite, rounded, value);
        // It is one already, which the storage does not see; of a NaN the bits change, and no one asks for them.
        self.op(Op::Narrow(Storage::Bf16, rounded))
    }
}
