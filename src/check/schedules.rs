//! What only schedules have: `value`, and calls of other schedules.
//!
//! A call is expanded: the statements of the schedule that is called come before the statement that calls it, with its
//! hypers bound, its `s` and `base` replaced and its locals made new. It has no state, so it can be computed whether its
//! value is used or not.

use super::expand::{Bindings, Bound, Step};
use super::program::{
    ExprId, Extent, Hyper, HyperDefault, IfKind, ListRef, NodeKind, Program, Stmt, StmtKind, Ty, Var,
};
use super::{Checker, Place};
use crate::diagnostic::{Code, Diagnostic, Severity, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, FileKind, Ident};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Checker<'_> {
    /// A schedule has to assign `value` on every path, and before it is read.
    pub(super) fn value_is_assigned(&mut self) {
        // A statement that is rejected may be the assignment.
        let broken = self.diagnostics.iter().chain(&self.parsed.diagnostics).any(|d| d.severity() == Severity::Error);
        if self.program.kind != FileKind::Schedule || broken {
            return;
        }
        let mut early = None;
        let assigned = assigns(&self.program, &self.program.body, false, &mut early);
        let header = self.parsed.ast.header.as_ref().map_or(Span::new(0, 0), |header| header.span);
        let mut assigning = Vec::new();
        assignments_of_value(&self.program.body, &mut assigning);
        let diagnostic = match (early, assigning.first()) {
            (Some(span), _) => Diagnostic::new(Code::ValueNotAssigned, span, "`value` is read before it is assigned")
                .label("has no value yet")
                .help("begin with `value = base`; what is kept from step to step is a `state`"),
            (None, _) if assigned => return,
            (None, None) => Diagnostic::new(Code::ValueNotAssigned, header, "this schedule never assigns `value`")
                .label("has no result")
                .help("end with its formula: `value = base * ...`"),
            (None, Some(&span)) => {
                Diagnostic::new(Code::ValueNotAssigned, header, "this schedule does not assign `value` on every path")
                    .label("may end without a result")
                    .also(span, "assigned here, under a condition")
                    .help("begin with `value = base`, or give every `if` an `else`")
            }
        };
        self.report(diagnostic);
    }

    /// Whether a call in this file may be one of a schedule of that name.
    pub(super) fn is_schedule(&self, name: &str) -> bool {
        self.callers.iter().any(|(_, caller)| **caller == *name)
            || self.library.find(FileKind::Schedule, name).is_some()
            || self.library.refused(FileKind::Schedule, name).is_some()
    }

    /// The stems of the schedules that there are.
    pub(super) fn schedules(&self) -> Vec<String> {
        self.library.stems(FileKind::Schedule)
    }

    /// A call of another schedule: `cosine(at = s - warmup, t_max = 100)`. `None`: an error has been reported.
    pub(super) fn call_schedule(&mut self, function: &Ident, args: &[Arg], span: Span) -> Option<ExprId> {
        if self.too_many_operations {
            return None;
        }
        let name = &function.text;
        if self.place != Place::Statement {
            let message = format!("a schedule is not called in {}", self.place.describe());
            self.report(
                Diagnostic::new(Code::NotAllowedHere, span, message)
                    .label("a call of a schedule")
                    .help("call it in a statement: `let x = ...`"),
            );
            return None;
        }
        let callee = self.callee(function)?;
        let what = match (callee.states.first(), callee.inputs.first()) {
            (Some(state), _) => Some(format!("the state `{}`", state.name)),
            (None, Some(input)) => Some(format!("the input `{}`", input.name)),
            (None, None) => None,
        };
        if let Some(what) = what {
            let message = format!("`{name}` has {what}, so it cannot be asked for any step");
            self.report(
                Diagnostic::new(Code::StatefulCall, function.span, message)
                    .label("only a formula of the step can be called")
                    .help(format!(
                        "join it where schedules are attached: `cosine(t_max = 100) for 100 then {name}(...)`"
                    )),
            );
            return None;
        }
        let given = self.given_by_name(&callee, function, args)?;
        let at = match given.get("at") {
            Some(expr) => self.number(expr),
            None => self.build(NodeKind::S, span),
        };
        let base = match given.get("base") {
            Some(expr) => self.number(expr),
            None => self.build(NodeKind::Base, span),
        };
        let at = self.keep(&format!("{name}.s"), at?, span)?;
        let base = self.keep(&format!("{name}.base"), base?, span)?;
        let value = self.new_local(&format!("{name}.value"), Ty::Number, Extent::Model, span);
        let nothing = self.build(NodeKind::Number(f64::NAN), span)?;
        self.put_before(value, nothing, span)?;
        let mut bindings = Bindings {
            name: callee.name.clone(),
            step: Some(Step { at, base, value }),
            hypers: Vec::new(),
            settled: Vec::new(),
            states: Vec::new(),
            inputs: Vec::new(),
            locals: BTreeMap::new(),
            call: span,
        };
        for hyper in &callee.hypers {
            self.expanded(span)?;
            let (bound, settled) = self.bind(&callee, hyper, given.get(&*hyper.name).copied(), &bindings)?;
            bindings.hypers.push(bound);
            bindings.settled.push(settled);
        }
        self.requires_of(&callee, &bindings)?;
        let body = self.expand(&callee, &callee.body, true, &mut bindings)?;
        self.pending.extend(body);
        self.build(NodeKind::Read(Var::Local(value)), span)
    }

    /// The arguments of a call, by name.
    fn given_by_name<'e>(
        &mut self,
        callee: &Program,
        function: &Ident,
        args: &'e [Arg],
    ) -> Option<BTreeMap<&'e str, &'e Expr>> {
        let mut given: BTreeMap<&str, &Expr> = BTreeMap::new();
        let mut first: BTreeMap<&str, Span> = BTreeMap::new();
        let mut right = true;
        for arg in args {
            if self.has_enough_errors() {
                return None;
            }
            let names = || callee.hypers.iter().map(|h| &*h.name).chain(["at", "base"]);
            let Some(name) = &arg.name else {
                let message = "the arguments of a schedule have names";
                let text = self.text(&arg.value);
                let help = match names().next() {
                    _ if arg.value.span == args[0].value.span => format!("for the step write `at = {text}`"),
                    Some(hyper) => format!("write `{hyper} = {text}`; its names are {}", list_of(names())),
                    None => format!("write `at = {text}`"),
                };
                self.report(
                    Diagnostic::new(Code::UnexpectedToken, arg.value.span, message)
                        .label("an argument without a name")
                        .help(help),
                );
                right = false;
                continue;
            };
            if !names().any(|known| *known == *name.text) {
                let help = match did_you_mean(&name.text, names()) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("it has {}", list_of(names())),
                };
                let message = format!("`{}` has no hyper `{}`", function.text, name.text);
                self.report(
                    Diagnostic::new(Code::UnknownName, name.span, message)
                        .label(format!("not a hyper of `{}`", function.text))
                        .help(help),
                );
                right = false;
            }
            if given.insert(&name.text, &arg.value).is_some() {
                let message = format!("`{}` is given twice", name.text);
                let mut diagnostic =
                    Diagnostic::new(Code::DuplicateName, name.span, message).label("given again").help("remove one");
                if let Some(first) = first.get(&*name.text) {
                    diagnostic = diagnostic.also(*first, "first given here");
                }
                self.report(diagnostic);
                right = false;
            }
            first.entry(&name.text).or_insert(name.span);
        }
        right.then_some(given)
    }

    /// The value of a hyper of the schedule that is called: what the call gives, else its default. The second is the
    /// same in terms of this file's hypers alone, if it is made of them.
    fn bind(
        &mut self,
        callee: &Program,
        hyper: &Hyper,
        given: Option<&Expr>,
        bindings: &Bindings,
    ) -> Option<(Bound, Option<Bound>)> {
        let name = format!("{}.{}", callee.name, hyper.name);
        let call = bindings.call;
        let both = |bound: Bound| (bound.clone(), Some(bound));
        match (&hyper.default, given) {
            (HyperDefault::Number(_), Some(expr)) => {
                let id = self.number(expr)?;
                self.fits(callee, hyper, id, expr.span)?;
                let settled = self.is_settled(id).then_some(Bound::Value(id));
                Some((Bound::Value(self.keep(&name, id, expr.span)?), settled))
            }
            (HyperDefault::Number(default), None) => {
                let id = self.copy(callee, *default, &bindings.hypers, bindings)?;
                let settled = self.settled(callee, *default, bindings).map(Bound::Value);
                Some((Bound::Value(self.keep(&name, id, call)?), settled))
            }
            (HyperDefault::Flag(_), Some(expr)) => {
                let id = self.condition(expr)?;
                let settled = self.is_settled(id).then_some(Bound::Value(id));
                Some((Bound::Value(self.keep(&name, id, expr.span)?), settled))
            }
            (HyperDefault::Flag(flag), None) => Some(both(Bound::Value(self.build(NodeKind::Bool(*flag), call)?))),
            (HyperDefault::Mode(modes), given) => {
                Some(both(Bound::Mode(self.bind_mode(callee, hyper, modes, given, call)?)))
            }
            (HyperDefault::List(elements), None) => {
                self.program.lists.push(elements.clone());
                Some(both(Bound::List(ListRef::Constant(self.program.lists.len() as u32 - 1))))
            }
            (HyperDefault::List(_), Some(expr)) => Some(both(Bound::List(self.bind_list(callee, hyper, expr)?))),
        }
    }
}

/// How many names a message lists.
const SHOWN: usize = 32;

/// `a | b | c`
pub(super) fn modes_of(modes: &[Arc<str>]) -> String {
    match modes.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} | {more} more", modes[..SHOWN].join(" | ")),
        _ => modes.join(" | "),
    }
}

/// `a, b and c`
pub(super) fn list_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names = names.map(|name| format!("`{name}`"));
    let shown: Vec<String> = names.by_ref().take(SHOWN).collect();
    match (names.count(), shown.split_last()) {
        (more @ 1.., _) => format!("{} and {more} more", shown.join(", ")),
        (_, Some((last, others))) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => shown.concat(),
    }
}

/// Where `value` is assigned.
fn assignments_of_value(stmts: &[Stmt], found: &mut Vec<Span>) {
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::Assign(Var::Value, _) => found.push(stmt.span),
            StmtKind::Let(..) | StmtKind::Assign(..) | StmtKind::Skip(_) | StmtKind::Report(..) => {}
            StmtKind::If(_, then, otherwise) => {
                assignments_of_value(then, found);
                assignments_of_value(otherwise, found);
            }
        }
    }
}

/// Whether the statements assign `value` on every path; `assigned`: whether it has been before. `early` becomes a place
/// where it is read and has not been.
fn assigns(program: &Program, stmts: &[Stmt], mut assigned: bool, early: &mut Option<Span>) -> bool {
    for stmt in stmts {
        let root = match &stmt.kind {
            StmtKind::Let(_, value) | StmtKind::Assign(_, value) => *value,
            StmtKind::Skip(value) | StmtKind::Report(_, value) => *value,
            StmtKind::If(IfKind::Select(cond), ..) => *cond,
            StmtKind::If(IfKind::Plan(id), ..) => program.conditions[id.index()].cond,
        };
        if !assigned {
            let read = |id: &ExprId| program.node(*id).kind == NodeKind::Read(Var::Value);
            *early = early.or(program.postorder(root).into_iter().find(read).map(|id| program.node(id).span));
        }
        match &stmt.kind {
            StmtKind::Let(..) | StmtKind::Skip(_) | StmtKind::Report(..) => {}
            StmtKind::Assign(var, _) => assigned |= *var == Var::Value,
            StmtKind::If(_, then, otherwise) => {
                let then = assigns(program, then, assigned, early);
                assigned = assigns(program, otherwise, assigned, early) && then;
            }
        }
    }
    assigned
}
