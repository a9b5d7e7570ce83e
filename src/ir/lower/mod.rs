//! From a [`Program`] to a [`Step`]: this stage fixes every rounding.
//!
//! Comes in: a checked program and [`Facts`]. Goes out: SSA in which each value has an extent and a type. Conditions that
//! select the plan are decided here and gone afterwards; other conditions become selects. Equal operations on equal
//! operands are one instruction from the start, and what no store needs is dropped at the end. Lowering cannot fail.
//!
//! [`Math::Fast`] is applied here and nowhere else, bottom-up and without recursion: see `product`.

mod expression;
mod product;
mod store;
mod value;

use super::op::{Binary, Compare, Const, Op, Storage, Type, Unary, Value};
use super::passes;
use super::region::Region;
use super::step::{Array, Facts, Fold, Host, Math, Outcome, Reduced, Source, Step, StepInst, Target};
use crate::check::program::{
    BinaryOp, ConditionId, ExprId, Extent, Function, IfKind, NodeKind, Program, ReportId, StateId, Stmt, StmtKind, Var,
    ViewId,
};
use crate::check::statement_text;
use crate::source::Span;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Lowers the step of a program for given facts.
pub fn lower(program: &Arc<Program>, facts: &Facts) -> Step {
    let mut lowering = Lowering::of(program, facts);
    lowering.wanted = &facts.reports;
    lowering.host_before(facts.host);
    lowering.statements(&program.body);
    lowering.store_all();
    lowering.host_after(facts.host);
    lowering.finish_step(program, facts)
}

/// Lowers the first value of a state to a step that stores only that state.
pub fn lower_init(program: &Arc<Program>, state: StateId, facts: &Facts) -> Step {
    let mut lowering = Lowering::of(program, facts);
    let value = lowering.expression(program.states[state.index()].init);
    if program.states[state.index()].extent.is_scalar() {
        lowering.store(Target::Scalar(state), value);
    } else {
        lowering.store_first(state, value);
    }
    lowering.finish_step(program, facts)
}

/// Lowers a view to a step that stores only [`Array::View`]. Its `t` is the steps that the tensor has taken.
pub fn lower_view(program: &Arc<Program>, view: ViewId, facts: &Facts) -> Step {
    let mut lowering = Lowering::of(program, facts);
    let value = lowering.expression(program.views[view.index()].value);
    lowering.store(Target::Array(Array::View), value);
    lowering.finish_step(program, facts)
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

struct Lowering<'a> {
    program: &'a Program,
    /// `None`: only scalar code is wanted, and every condition is computed.
    outcomes: Option<&'a [Outcome]>,
    storage: Storage,
    /// Where arrays are loaded and stored.
    facts: Option<&'a Facts>,
    /// The parameter and the states that are assigned after the statement being lowered.
    later: BTreeSet<Var>,
    /// What is kept of values that have been stored with compensation.
    compensated: HashMap<Value, (Value, Value)>,
    math: Math,
    insts: Vec<StepInst>,
    values: Vec<(Extent, Type)>,
    /// The value that each instruction defines for an extent: equal instructions are one.
    shared: HashMap<(StepInst, Extent), Value>,
    /// What each variable is now, if it has been assigned.
    now: BTreeMap<Var, Value>,
    statements: Vec<(usize, String)>,
    /// The values of the conditions that select the plan.
    conditions: BTreeMap<ConditionId, Value>,
    /// The scalar conditions around the statement being lowered that are no plan's: a `skip` holds where all do.
    around: Vec<Value>,
    /// Whether the step is not taken, if something says so.
    skip: Option<Value>,
    /// The reports that are asked for, and what they are.
    wanted: &'a [ReportId],
    reports: Vec<(ReportId, Value)>,
    needs_axes: Option<(Extent, Span)>,
}

impl<'a> Lowering<'a> {
    fn new(program: &'a Program, storage: Storage, math: Math, outcomes: Option<&'a [Outcome]>) -> Lowering<'a> {
        Lowering {
            program,
            outcomes,
            storage,
            facts: None,
            later: BTreeSet::new(),
            compensated: HashMap::new(),
            math,
            insts: Vec::new(),
            values: Vec::new(),
            shared: HashMap::new(),
            now: BTreeMap::new(),
            statements: Vec::new(),
            conditions: BTreeMap::new(),
            around: Vec::new(),
            skip: None,
            wanted: &[],
            reports: Vec::new(),
            needs_axes: None,
        }
    }

    fn of(program: &'a Program, facts: &'a Facts) -> Lowering<'a> {
        let lowering = Lowering::new(program, facts.storage, facts.math, Some(&facts.outcomes));
        Lowering { facts: Some(facts), ..lowering }
    }

    fn finish_step(self, program: &Arc<Program>, facts: &Facts) -> Step {
        passes::drop_unused(Step {
            program: program.clone(),
            facts: facts.clone(),
            insts: self.insts,
            values: self.values,
            statements: self.statements,
            needs_axes: self.needs_axes,
        })
    }

    // Statements.

    fn statements(&mut self, stmts: &[Stmt]) {
        let after = self.assigned_after(stmts);
        for (stmt, after) in stmts.iter().zip(after) {
            let outer = std::mem::replace(&mut self.later, after);
            self.statement(stmt);
            self.round_after(stmt);
            self.later = outer;
        }
    }

    fn statement(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Let(local, value) => self.assign(stmt, Var::Local(*local), *value),
            StmtKind::Assign(var, value) => self.assign(stmt, *var, *value),
            StmtKind::If(kind, then, otherwise) => self.branch(*kind, then, otherwise),
            StmtKind::Skip(cond) => self.skip_if(stmt, *cond),
            StmtKind::Report(id, value) => self.report(stmt, *id, *value),
        }
    }

    fn assign(&mut self, stmt: &Stmt, var: Var, value: ExprId) {
        let extent = self.program.var_extent(var);
        self.conditions_in(value);
        if self.outcomes.is_none() && !extent.is_scalar() {
            return;
        }
        self.statements.push((self.insts.len(), statement_text(self.program, stmt)));
        let value = self.expression(value);
        let value = self.raise(value, extent);
        self.now.insert(var, value);
    }

    fn skip_if(&mut self, stmt: &Stmt, cond: ExprId) {
        self.conditions_in(cond);
        self.statements.push((self.insts.len(), statement_text(self.program, stmt)));
        let cond = self.expression(cond);
        let cond = self.around.clone().into_iter().fold(cond, |cond, around| self.logic(BinaryOp::And, around, cond));
        self.skip_where(cond);
    }

    /// The step is not taken where `cond` holds, or where an earlier condition does.
    fn skip_where(&mut self, cond: Value) {
        self.skip = Some(match self.skip {
            Some(skip) => self.logic(BinaryOp::Or, skip, cond),
            None => cond,
        });
    }

    fn report(&mut self, stmt: &Stmt, id: ReportId, value: ExprId) {
        self.conditions_in(value);
        if self.wanted.contains(&id) {
            self.statements.push((self.insts.len(), statement_text(self.program, stmt)));
            let value = self.expression(value);
            self.reports.push((id, value));
        }
    }

    /// Computes the plan conditions that an expression over arrays depends on, if they are what is wanted. (A scalar may
    /// be the reduction of such an expression.)
    fn conditions_in(&mut self, root: ExprId) {
        if self.outcomes.is_some() {
            return;
        }
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
            (IfKind::Select(cond), _) => {
                self.conditions_in(cond);
                self.expression(cond)
            }
        };
        if let Some(taken) = self.known(cond) {
            return self.statements(if taken { then } else { otherwise });
        }
        // Both blocks are computed from the same beginning; what either assigned is selected.
        let before = self.now.clone();
        let scalar = self.values[cond.index()].0.is_scalar();
        self.around.extend(scalar.then_some(cond));
        self.statements(then);
        let after_then = std::mem::replace(&mut self.now, before.clone());
        if scalar {
            self.around.pop();
            let not = self.not(cond);
            self.around.push(not);
        }
        self.statements(otherwise);
        self.around.truncate(self.around.len() - usize::from(scalar));
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
            let selected = self.raise(selected, self.program.var_extent(var));
            self.now.insert(var, selected);
        }
    }

    fn store_all(&mut self) {
        let assigned: Vec<(Var, Value)> = self.now.iter().map(|(var, value)| (*var, *value)).collect();
        self.statements.push((self.insts.len(), "after the step".to_string()));
        for (var, value) in assigned {
            // Assigning to `g` changes the local value only.
            let is_kept = matches!(var, Var::Param | Var::State(_));
            // What a variable was before the step need not be stored again.
            if is_kept && value != self.before(var) {
                match var {
                    Var::State(id) if self.program.var_extent(var).is_scalar() => self.store(Target::Scalar(id), value),
                    _ => self.store_kept(var, value),
                }
            }
        }
        if let Some(skip) = self.skip.filter(|skip| self.known(*skip) != Some(false)) {
            self.store(Target::Skip, skip);
        }
        for (id, value) in std::mem::take(&mut self.reports) {
            self.store(Target::Report(id), value);
        }
    }

    fn store(&mut self, target: Target, value: Value) {
        let value = match target {
            Target::Array(array) => self.raise(value, array.extent(self.program)),
            Target::Scalar(_) | Target::Report(_) | Target::Skip => value,
        };
        self.insts.push(StepInst::Store(target, value));
        self.values.push(self.values[value.index()]);
    }

    // What the host joins.

    /// Before the rule: the gradient is unscaled, and the step not taken if it is not finite.
    fn host_before(&mut self, host: Host) {
        if host.unscale {
            self.statements.push((self.insts.len(), "g = g / (loss scale)".to_string()));
            let (one, scale) = (self.constant(1.0), self.source(Source::LossScale));
            let inverse = self.op(Op::Binary(Binary::Div, one, scale));
            let g = self.before(Var::Grad);
            let unscaled = self.op(Op::Binary(Binary::Mul, g, inverse));
            self.now.insert(Var::Grad, unscaled);
        }
        if host.skip_nonfinite {
            self.statements.push((self.insts.len(), "skip if not all(isfinite(g) per model)".to_string()));
            let g = self.read(Var::Grad);
            let (size, infinity) = (self.op(Op::Unary(Unary::Abs, g)), self.constant(f64::INFINITY));
            let finite = self.compare(Compare::Lt, size, infinity);
            let number = self.number_of(finite, Extent::Element);
            let least = self.define(StepInst::Reduce(Fold::Min, Reduced::Finite, number), Extent::Model, Type::F64);
            let zero = self.constant(0.0);
            let all = self.compare(Compare::Gt, least, zero);
            let not = self.not(all);
            self.skip_where(not);
        }
    }

    /// After the rule: the average, the copy, and the gradient that becomes 0.
    fn host_after(&mut self, host: Host) {
        if host.average {
            self.statements.push((self.insts.len(), "average = lerp(average, p, 1 - decay)".to_string()));
            let p = self.read(Var::Param);
            let average = self.load(Array::Average);
            let (one, decay) = (self.constant(1.0), self.source(Source::AverageDecay));
            let weight = self.op(Op::Binary(Binary::Sub, one, decay));
            let lerped = self.call(Function::Lerp, &[average, p, weight]);
            let lerped = self.finish(lerped);
            self.store(Target::Array(Array::Average), lerped);
        }
        if host.copy.is_some() {
            let p = self.read(Var::Param);
            self.store(Target::Array(Array::Copy), p);
        }
        if host.zero_grad {
            let zero = self.constant(0.0);
            self.store(Target::Array(Array::Grad), zero);
        }
    }
}
