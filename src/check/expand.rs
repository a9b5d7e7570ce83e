//! The statements of another file, here: a schedule that is called, a rule that is used.
//!
//! Its hypers are bound, its states and locals are made anew, and every node is built again by [`Checker::build`], so that
//! extents and conditions are those of this file. Every statement and every node points at the call or the `use`.

use super::expressions::without_parentheses;
use super::names::Symbol;
use super::program::{
    BinaryOp, CompareOp, ConditionId, ExprId, Extent, Function, Hyper, IfKind, InputId, ListRef, Local, LocalId,
    NodeKind, Program, Range, Report, ReportId, Require, StateId, Stmt, StmtKind, Ty, Var,
};
use super::range::{self, Facts, Known};
use super::schedules::modes_of;
use super::{Checker, MAX_OPERATIONS};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind, Ident};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the names of the other file become.
pub(super) struct Bindings {
    /// What stands before the dot in the names of what is its own.
    pub(super) name: Arc<str>,
    /// Of a schedule.
    pub(super) step: Option<Step>,
    /// By index of the hyper.
    pub(super) hypers: Vec<Bound>,
    /// The same, if it can be told when hypers are set, to hold it to what the other file requires.
    pub(super) settled: Vec<Option<Bound>>,
    pub(super) states: Vec<StateId>,
    pub(super) inputs: Vec<InputId>,
    pub(super) locals: BTreeMap<LocalId, LocalId>,
    /// Where the call or the `use` stands: what every expanded node points at.
    pub(super) call: Span,
}

/// What only a schedule has.
pub(super) struct Step {
    pub(super) at: ExprId,
    pub(super) base: ExprId,
    pub(super) value: LocalId,
}

#[derive(Clone)]
pub(super) enum Bound {
    Value(ExprId),
    /// For each mode, whether it is the one.
    Mode(Vec<ExprId>),
    List(ListRef),
}

impl Checker<'_> {
    /// For each mode of a hyper of the other file, whether it is the one.
    pub(super) fn bind_mode(
        &mut self,
        callee: &Program,
        hyper: &Hyper,
        modes: &[Arc<str>],
        given: Option<&Expr>,
        call: Span,
    ) -> Option<Vec<ExprId>> {
        self.expanded_modes(modes, call)?;
        let named = match given.map(|expr| &without_parentheses(expr).kind) {
            None => Some(&modes[0]),
            Some(ExprKind::Name(name)) => {
                if let Some((id, mine)) = self.mode_hyper(&name.text).filter(|_| !modes.contains(&name.text)) {
                    if let Some(other) = mine.iter().find(|mode| !modes.contains(mode)) {
                        let message = format!("`{}` may be `{other}`, which `{}` has not", name.text, callee.name);
                        self.report(
                            Diagnostic::new(Code::UnknownName, name.span, message)
                                .label(format!("is one of {}", modes_of(&mine)))
                                .help(format!("`{}` of `{}` is one of {}", hyper.name, callee.name, modes_of(modes))),
                        );
                        return None;
                    }
                    let mine = modes.iter().map(|mode| mine.iter().position(|known| known == mode));
                    let is = |this: &mut Self, position: Option<usize>| match position {
                        Some(mode) => this.build(NodeKind::IsMode(id, mode as u32), call),
                        None => this.build(NodeKind::Bool(false), call),
                    };
                    return mine.map(|position| is(self, position)).collect();
                }
                modes.iter().find(|mode| **mode == name.text)
            }
            Some(_) => None,
        };
        let Some(named) = named else {
            let expr = given?;
            let message = format!("`{}` of `{}` is one of {}", hyper.name, callee.name, modes_of(modes));
            let text = self.text(expr);
            let help = match did_you_mean(text, modes.iter().map(|mode| &**mode)) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("write `{} = {}`", hyper.name, modes[0]),
            };
            self.report(Diagnostic::new(Code::UnknownName, expr.span, message).label("none of its modes").help(help));
            return None;
        };
        modes.iter().map(|mode| self.build(NodeKind::Bool(mode == named), call)).collect()
    }

    /// The list of this file that an argument names, for a hyper of the other file.
    pub(super) fn bind_list(&mut self, callee: &Program, hyper: &Hyper, expr: &Expr) -> Option<ListRef> {
        if let ExprKind::Name(list) = &without_parentheses(expr).kind {
            return self.list(list);
        }
        let message = format!("`{}` of `{}` is a list", hyper.name, callee.name);
        self.report(
            Diagnostic::new(Code::NotAllowedHere, expr.span, message)
                .label("not the name of a list")
                .help(format!("declare a list above, `hyper {0} = [1, 2]`, and write `{0} = {0}`", hyper.name)),
        );
        None
    }

    /// Reports an argument that the hyper may not have.
    pub(super) fn fits(&mut self, callee: &Program, hyper: &Hyper, value: ExprId, span: Span) -> Option<()> {
        let Some(x) = self.evaluate_at_defaults(value).value() else { return Some(()) };
        let message = match &hyper.interval {
            Some(range) if !range.contains(x) => {
                format!("`{}` of `{}` is in {range}, not {x}", hyper.name, callee.name)
            }
            _ if x.is_nan() => format!("`{}` of `{}` would be NaN", hyper.name, callee.name),
            _ => return Some(()),
        };
        let constant = !self.depends_on_hypers(value);
        let label = if constant { format!("this is {x}") } else { format!("this is {x}, with the defaults") };
        let help = match &hyper.interval {
            Some(range) => format!("give it a value in {range}"),
            None => "no hyper may be NaN".to_string(),
        };
        self.report(Diagnostic::new(Code::DefaultOutOfInterval, span, message).label(label).help(help));
        None
    }

    /// Whether an expression is made of hypers and numbers alone.
    pub(super) fn is_settled(&self, root: ExprId) -> bool {
        let outside = |kind: &NodeKind| {
            matches!(
                kind,
                NodeKind::Read(_)
                    | NodeKind::Old(_)
                    | NodeKind::S
                    | NodeKind::Base
                    | NodeKind::T
                    | NodeKind::Epsilon
                    | NodeKind::Input(_)
                    | NodeKind::Given(_)
                    | NodeKind::Outcome(_)
                    | NodeKind::Shape(_)
                    | NodeKind::Reduce(..)
                    | NodeKind::Draw(..)
            )
        };
        !self.program.postorder(root).iter().any(|id| outside(&self.program.node(*id).kind))
    }

    /// An expression of the other file's hypers in terms of this file's hypers, if it is made of them and short.
    pub(super) fn settled(&mut self, callee: &Program, root: ExprId, bindings: &Bindings) -> Option<ExprId> {
        // Formulas of formulas: what is longer is not looked at before it is run.
        const LONGEST: u64 = 256;
        let mut size = 1_u64;
        for id in callee.postorder(root) {
            size += 1;
            if let NodeKind::Hyper(id) | NodeKind::Flag(id) = callee.node(id).kind {
                match bindings.settled.get(id.index()) {
                    Some(Some(Bound::Value(value))) => size = size.saturating_add(self.sizes[value.index()]),
                    _ => return None,
                }
            }
        }
        if size > LONGEST {
            return None;
        }
        self.copy(callee, root, &bindings.settled_hypers(), bindings)
    }

    /// What the other file requires of its hypers, this file requires of those that it gives for them.
    pub(super) fn requires_of(&mut self, callee: &Program, bindings: &Bindings) -> Option<()> {
        let mut requires = Vec::new();
        for (hyper, settled) in callee.hypers.iter().zip(&bindings.settled) {
            let (Some(range), Some(Bound::Value(x))) = (&hyper.interval, settled) else { continue };
            if self.depends_on_hypers(*x) && !self.always_in(*x, range) {
                let message = format!("`{}` of `{}` has to be in {range}", hyper.name, callee.name);
                requires.push((self.lies_in(*x, range, bindings.call)?, message));
            }
        }
        for require in &callee.requires {
            let cond = match bindings.step {
                Some(_) => self.settled(callee, require.cond, bindings),
                None => Some(self.copy(callee, require.cond, &bindings.settled_hypers(), bindings)?),
            };
            if let Some(cond) = cond {
                requires.push((cond, format!("`{}`: {}", bindings.name, require.message)));
            }
        }
        for (cond, message) in requires {
            self.expanded(bindings.call)?;
            if !self.count(cond, bindings.call) {
                return None;
            }
            let constant = !self.depends_on_hypers(cond);
            match self.evaluate_at_defaults(cond) {
                Known::Condition(Some(true)) if constant => {}
                Known::Condition(Some(false)) if constant => {
                    let here = if bindings.step.is_some() { "this call" } else { "this `use`" };
                    self.report(
                        Diagnostic::new(Code::DefaultOutOfInterval, bindings.call, message)
                            .label(format!("does not hold for {here}"))
                            .help(format!("`{}` requires it: give it other values", callee.name)),
                    );
                    return None;
                }
                _ => self.program.requires.push(Require { cond, message: message.into() }),
            }
        }
        Some(())
    }

    /// Whether an expression is a hyper of this file whose own interval lies in that one.
    fn always_in(&self, mut x: ExprId, range: &Range) -> bool {
        while let NodeKind::Own(inner) = self.node(x).kind {
            x = inner;
        }
        let NodeKind::Hyper(id) = self.node(x).kind else { return false };
        let Some(mine) = &self.program.hypers[id.index()].interval else { return false };
        let low = mine.low > range.low || mine.low == range.low && (range.low_closed || !mine.low_closed);
        let high = mine.high < range.high || mine.high == range.high && (range.high_closed || !mine.high_closed);
        low && high && (mine.integers || !range.integers)
    }

    /// What is known of an expression where every hyper is its default.
    pub(super) fn evaluate_at_defaults(&mut self, root: ExprId) -> Known {
        let stale = |facts: &Facts| {
            facts.hypers.len() != self.program.hypers.len() || facts.inputs.len() != self.program.inputs.len()
        };
        if self.defaults.as_ref().is_some_and(stale) {
            self.defaults = None;
        }
        let facts = self.defaults.get_or_insert_with(|| Facts::defaults(&self.program));
        range::evaluate(&self.program, root, facts)
    }

    /// Whether an expression has another value if a hyper is set.
    pub(super) fn depends_on_hypers(&self, root: ExprId) -> bool {
        self.program.postorder(root).iter().any(|id| is_of_hypers(&self.program.node(*id).kind))
    }

    /// Whether a number lies in an interval.
    fn lies_in(&mut self, x: ExprId, range: &Range, span: Span) -> Option<ExprId> {
        let (low, high) =
            (self.build(NodeKind::Number(range.low), span)?, self.build(NodeKind::Number(range.high), span)?);
        let above = if range.low_closed { CompareOp::Ge } else { CompareOp::Gt };
        let below = if range.high_closed { CompareOp::Le } else { CompareOp::Lt };
        let above = self.build(NodeKind::Compare(above, x, low), span)?;
        let below = self.build(NodeKind::Compare(below, x, high), span)?;
        let inside = self.build(NodeKind::Binary(BinaryOp::And, above, below), span)?;
        if !range.integers {
            return Some(inside);
        }
        // Infinity is no whole number.
        let floor = self.build(NodeKind::Call(Function::Floor, vec![x]), span)?;
        let fraction = self.build(NodeKind::Binary(BinaryOp::Sub, x, floor), span)?;
        let zero = self.build(NodeKind::Number(0.0), span)?;
        let whole = self.build(NodeKind::Compare(CompareOp::Eq, fraction, zero), span)?;
        self.build(NodeKind::Binary(BinaryOp::And, inside, whole), span)
    }

    /// A value that is computed once, before the statement that calls.
    pub(super) fn keep(&mut self, name: &str, value: ExprId, span: Span) -> Option<ExprId> {
        let node = self.node(value);
        let local = self.new_local(name, node.ty, node.extent, span);
        self.put_before(local, value, span)?;
        self.build(NodeKind::Read(Var::Local(local)), span)
    }

    /// Puts a `let` before the statement that calls.
    pub(super) fn put_before(&mut self, local: LocalId, value: ExprId, span: Span) -> Option<()> {
        self.expanded(span)?;
        if !self.count(value, span) {
            return None;
        }
        self.timings.insert(Var::Local(local), self.mark(value).timing);
        self.pending.push(Stmt { kind: StmtKind::Let(local, value), span });
        Some(())
    }

    /// Counts a statement of an expansion, or a hyper that it binds. `None`: there are too many operations.
    pub(super) fn expanded(&mut self, span: Span) -> Option<()> {
        self.operations = self.operations.saturating_add(1);
        if self.operations > MAX_OPERATIONS {
            self.too_many_operations(span);
        }
        (!self.too_many_operations).then_some(())
    }

    /// Counts what stands for the modes of a hyper that is bound: a condition each.
    pub(super) fn expanded_modes(&mut self, modes: &[Arc<str>], span: Span) -> Option<()> {
        self.operations = self.operations.saturating_add(modes.len() as u64);
        self.expanded(span)
    }

    pub(super) fn new_local(&mut self, name: &str, ty: Ty, extent: Extent, span: Span) -> LocalId {
        let id = LocalId(self.program.locals.len() as u32);
        self.program.locals.push(Local { name: Arc::from(name), extent, span });
        self.local_depth.push(self.around.len());
        self.local_ty.push(ty);
        id
    }

    /// The statements of the other file, in terms of this one. `top`: they stand in no block of it.
    pub(super) fn expand(
        &mut self,
        callee: &Program,
        stmts: &[Stmt],
        top: bool,
        bindings: &mut Bindings,
    ) -> Option<Vec<Stmt>> {
        let span = bindings.call;
        let mut expanded = Vec::new();
        for stmt in stmts {
            self.expanded(span)?;
            match &stmt.kind {
                StmtKind::Let(local, value) => {
                    let id = self.copy_whole(callee, *value, bindings)?;
                    let old = &callee.locals[local.index()];
                    let node = self.node(id);
                    let (ty, extent) = (node.ty, old.extent.join(node.extent));
                    let id = self.as_elements_see_it(id, extent);
                    let name = format!("{}.{}", bindings.name, old.name);
                    let new = self.new_local(&name, ty, extent, span);
                    if top && bindings.step.is_none() {
                        self.scopes.declare(name.into(), Symbol::Local(new), span);
                    }
                    bindings.locals.insert(*local, new);
                    self.timings.insert(Var::Local(new), self.mark(id).timing);
                    expanded.push(Stmt { kind: StmtKind::Let(new, id), span });
                }
                StmtKind::Assign(var, value) => {
                    let id = self.copy_whole(callee, *value, bindings)?;
                    let var = bindings.var(*var);
                    let name = Ident { text: self.program.var_name(var).into(), span };
                    self.assigned_extent(var, &name, id, None)?;
                    let id = self.as_elements_see_it(id, self.program.var_extent(var));
                    if matches!(var, Var::Param | Var::State(_)) {
                        self.changed = self.changed.or(Some(span));
                    }
                    self.assigned_when(var, id);
                    expanded.push(Stmt { kind: StmtKind::Assign(var, id), span });
                }
                StmtKind::If(kind, then, otherwise) => {
                    let cond = match kind {
                        IfKind::Select(cond) => *cond,
                        IfKind::Plan(id) => callee.conditions[id.index()].cond,
                    };
                    let cond = self.copy_whole(callee, cond, bindings)?;
                    // What is given decides it once and for all: the other block does not come in.
                    if let Some(holds) = self.constant(cond) {
                        let taken = if holds { then } else { otherwise };
                        expanded.extend(self.expand(callee, taken, false, bindings)?);
                        continue;
                    }
                    self.stands_in_few_conditions(span)?;
                    let mut whole = true;
                    let stmt = self.blocks(Some(cond), span, span, &mut |this, holds| {
                        let stmts = this.expand(callee, if holds { then } else { otherwise }, false, bindings);
                        whole &= stmts.is_some();
                        stmts.unwrap_or_default()
                    });
                    expanded.push(stmt.filter(|_| whole)?);
                }
                StmtKind::Skip(cond) => {
                    let id = self.copy_whole(callee, *cond, bindings)?;
                    self.may_skip(span, "...")?;
                    self.is_scalar(id, "a step is one of a whole tensor, but the condition of its `skip`", span)?;
                    expanded.push(Stmt { kind: StmtKind::Skip(id), span });
                }
                StmtKind::Report(report, value) => {
                    let id = self.copy_whole(callee, *value, bindings)?;
                    let old = &callee.reports[report.index()];
                    let name = format!("{}.{}", bindings.name, old.name).into();
                    let extent = self.node(id).extent;
                    self.is_at_top("report", span, "let x = ...", &old.name);
                    self.is_scalar(id, &format!("the report `{}` is one number, but its value", old.name), span)?;
                    let new = ReportId(self.program.reports.len() as u32);
                    self.program.reports.push(Report { name, doc: old.doc.clone(), extent, span });
                    expanded.push(Stmt { kind: StmtKind::Report(new, id), span });
                }
            }
        }
        Some(expanded)
    }

    /// Reports a value that is larger here than the other file meant it to be.
    fn is_scalar(&mut self, value: ExprId, what: &str, span: Span) -> Option<()> {
        let extent = self.node(value).extent;
        if extent.is_scalar() {
            return Some(());
        }
        self.report(Diagnostic::new(Code::ExtentGrows, span, format!("{what} is per {}", extent.name())));
        None
    }

    /// The outcome of a condition that is made of numbers.
    fn constant(&mut self, cond: ExprId) -> Option<bool> {
        if !self.is_settled(cond) || self.depends_on_hypers(cond) {
            return None;
        }
        match self.evaluate_at_defaults(cond) {
            Known::Condition(outcome) => outcome,
            Known::Number(..) => None,
        }
    }

    /// A whole expression of the other file, counted.
    pub(super) fn copy_whole(&mut self, callee: &Program, root: ExprId, bindings: &Bindings) -> Option<ExprId> {
        let id = self.copy(callee, root, &bindings.hypers, bindings)?;
        self.count(id, bindings.call).then_some(id)
    }

    /// An expression of the other file, in terms of this one, its hypers being `hypers`.
    pub(super) fn copy(
        &mut self,
        callee: &Program,
        root: ExprId,
        hypers: &[Bound],
        bindings: &Bindings,
    ) -> Option<ExprId> {
        let span = bindings.call;
        let mut map = BTreeMap::<ExprId, ExprId>::new();
        let mut outcomes = BTreeMap::<ConditionId, ExprId>::new();
        let mut decided = BTreeMap::<ExprId, Option<bool>>::new();
        let mut pending = vec![root];
        while let Some(&id) = pending.last() {
            let kind = &callee.node(id).kind;
            // In the order written, so that draws are numbered in that order; an arm that is never taken is left out.
            let mut needed = Vec::new();
            match kind {
                NodeKind::If(cond, then, otherwise) => match decided.get(cond) {
                    None => needed.push(*cond),
                    Some(Some(true)) => needed.push(*then),
                    Some(Some(false)) => needed.push(*otherwise),
                    Some(None) => needed.extend([*then, *otherwise]),
                },
                _ => kind.for_each_operand(|operand| needed.push(operand)),
            }
            needed.retain(|operand| !map.contains_key(operand));
            if !needed.is_empty() {
                pending.extend(needed.into_iter().rev());
                continue;
            }
            if let NodeKind::If(cond, ..) = kind
                && !decided.contains_key(cond)
            {
                let holds = self.constant(map[cond]);
                decided.insert(*cond, holds);
                continue;
            }
            pending.pop();
            if map.contains_key(&id) {
                continue;
            }
            let copied = match kind {
                NodeKind::S => bindings.step.as_ref()?.at,
                NodeKind::Base => bindings.step.as_ref()?.base,
                NodeKind::Hyper(id) | NodeKind::Flag(id) => match hypers.get(id.index()) {
                    Some(Bound::Value(value)) => *value,
                    _ => return None,
                },
                NodeKind::IsMode(id, mode) => match hypers.get(id.index()) {
                    Some(Bound::Mode(modes)) => *modes.get(*mode as usize)?,
                    _ => return None,
                },
                NodeKind::Read(var) => self.build(NodeKind::Read(bindings.var(*var)), span)?,
                NodeKind::Old(var) => self.build(NodeKind::Old(bindings.var(*var)), span)?,
                NodeKind::Input(id) => self.build(NodeKind::Input(bindings.inputs[id.index()]), span)?,
                NodeKind::Given(id) => self.build(NodeKind::Given(bindings.inputs[id.index()]), span)?,
                NodeKind::List(function, list, operand) => {
                    let list = match list {
                        ListRef::Hyper(id) => match hypers.get(id.index()) {
                            Some(Bound::List(list)) => *list,
                            _ => return None,
                        },
                        ListRef::Constant(index) => {
                            self.program.lists.push(callee.lists[*index as usize].clone());
                            ListRef::Constant(self.program.lists.len() as u32 - 1)
                        }
                    };
                    let operand = operand.map(|operand| map[&operand]);
                    self.build(NodeKind::List(*function, list, operand), span)?
                }
                // Whether the outcome of a condition is one here too, what it is part of decides when it is built.
                NodeKind::Outcome(condition) => match outcomes.get(condition) {
                    Some(cond) => *cond,
                    None => {
                        let cond = self.copy(callee, callee.conditions[condition.index()].cond, hypers, bindings)?;
                        outcomes.insert(*condition, cond);
                        cond
                    }
                },
                NodeKind::If(cond, then, otherwise) if decided[cond].is_some() => {
                    let arm = if decided[cond] == Some(true) { then } else { otherwise };
                    self.build(NodeKind::Own(map[arm]), span)?
                }
                NodeKind::Draw(function, _) => self.draw(*function, span)?,
                NodeKind::Reduce(function, args, reduction) => {
                    let to = callee.reductions[reduction.index()].to;
                    let args = args.iter().map(|arg| map[arg]).collect();
                    self.reduce(*function, args, Some(to), span)?
                }
                other => {
                    let kind = super::expressions::remap(other, &|operand| map[&operand]);
                    self.build(kind, span)?
                }
            };
            map.insert(id, copied);
        }
        map.get(&root).copied()
    }
}

impl Bindings {
    pub(super) fn var(&self, var: Var) -> Var {
        match (var, &self.step) {
            (Var::Local(id), _) => Var::Local(self.locals.get(&id).copied().unwrap_or(id)),
            (Var::State(id), _) => Var::State(self.states[id.index()]),
            (_, Some(step)) => Var::Local(step.value),
            (other, None) => other,
        }
    }

    /// Each hyper in terms of this file's hypers alone, as far as it is.
    pub(super) fn settled_hypers(&self) -> Vec<Bound> {
        let settled = self.settled.iter().zip(&self.hypers);
        settled.map(|(settled, bound)| settled.as_ref().unwrap_or(bound).clone()).collect()
    }
}

/// Whether what such a node is depends on a hyper.
fn is_of_hypers(kind: &NodeKind) -> bool {
    matches!(
        kind,
        NodeKind::Hyper(_) | NodeKind::Flag(_) | NodeKind::IsMode(..) | NodeKind::List(_, ListRef::Hyper(_), _)
    )
}
