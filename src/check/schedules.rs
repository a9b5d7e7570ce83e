//! What only schedules have: `value`, and calls of other schedules.
//!
//! A call is expanded: the statements of the schedule that is called come before the statement that calls it, with its
//! hypers bound, its `s` and `base` replaced and its locals made new. It has no state, so it can be computed whether its
//! value is used or not.

use super::program::{
    ExprId, Extent, HyperDefault, IfKind, ListRef, Local, LocalId, NodeKind, Program, Stmt, StmtKind, Ty, Var,
};
use super::{Checker, MAX_OPERATIONS, Place, check_inside};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, ExprKind, FileKind, Ident};
use crate::syntax::parse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How deep schedules may call each other.
const MAX_CALLS: usize = 8;

/// What the hypers, locals and built-in names of a schedule that is called become.
struct Bindings {
    at: ExprId,
    base: ExprId,
    /// By index of the hyper.
    hypers: Vec<Bound>,
    locals: BTreeMap<LocalId, LocalId>,
    value: LocalId,
    /// Where the call stands: what every expanded node points at.
    call: Span,
}

#[derive(Clone, Copy)]
enum Bound {
    Value(ExprId),
    Mode(u32),
    List(ListRef),
}

impl Checker<'_> {
    /// A schedule has to assign `value` on every path, and before it is read.
    pub(super) fn value_is_assigned(&mut self) {
        if self.program.kind != FileKind::Schedule || !self.diagnostics.is_empty() {
            return;
        }
        let mut early = None;
        if assigns(&self.program, &self.program.body, false, &mut early) && early.is_none() {
            return;
        }
        let header = self.parsed.ast.header.as_ref().map_or(Span::new(0, 0), |header| header.span);
        let diagnostic = match early {
            Some(span) => Diagnostic::new(Code::ValueNotAssigned, span, "`value` is read before it is assigned")
                .help("assign it first: `value = base`"),
            None => {
                Diagnostic::new(Code::ValueNotAssigned, header, "this schedule does not assign `value` on every path")
                    .help("begin with `value = base`, or give every `if` an `else`")
            }
        };
        self.report(diagnostic);
    }

    /// A call of another schedule: `cosine(at = s - warmup, t_max = 100)`. `None`: an error has been reported.
    pub(super) fn call_schedule(&mut self, function: &Ident, args: &[Arg], span: Span) -> Option<ExprId> {
        if self.place != Place::Statement {
            let message = format!("a schedule is not called in {}", self.place.describe());
            self.report(Diagnostic::new(Code::NotAllowedHere, span, message).help("call it in a statement"));
            return None;
        }
        let callee = self.callee(function)?;
        if !callee.states.is_empty() || !callee.inputs.is_empty() {
            let what = if callee.states.is_empty() { "inputs" } else { "state" };
            let message = format!("`{}` has {what}, so it cannot be called at any step", function.text);
            self.report(
                Diagnostic::new(Code::StatefulCall, function.span, message)
                    .help("join it where it is attached: `... for 100 then ...`"),
            );
            return None;
        }
        let mut given: BTreeMap<&str, &Expr> = BTreeMap::new();
        for arg in args {
            let Some(name) = &arg.name else {
                self.report(
                    Diagnostic::new(Code::UnexpectedToken, arg.value.span, "a schedule is called with names")
                        .help(format!("write `{}(at = s, ...)`", function.text)),
                );
                return None;
            };
            let known = ["at", "base"].contains(&&*name.text) || callee.hypers.iter().any(|h| h.name == name.text);
            if !known {
                let names = callee.hypers.iter().map(|h| &*h.name).chain(["at", "base"]);
                let help = match did_you_mean(&name.text, names.clone()) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("it has {}", names.collect::<Vec<_>>().join(", ")),
                };
                let message = format!("`{}` has no hyper `{}`", function.text, name.text);
                self.report(Diagnostic::new(Code::UnknownName, name.span, message).help(help));
                return None;
            }
            if given.insert(&name.text, &arg.value).is_some() {
                let message = format!("`{}` is given twice", name.text);
                self.report(Diagnostic::new(Code::DuplicateName, name.span, message).help("remove one"));
                return None;
            }
        }
        let at = match given.get("at") {
            Some(expr) => self.number(expr),
            None => self.build(NodeKind::S, span),
        };
        let base = match given.get("base") {
            Some(expr) => self.number(expr),
            None => self.build(NodeKind::Base, span),
        };
        let at = self.keep(&format!("{}.s", function.text), at?, span)?;
        let base = self.keep(&format!("{}.base", function.text), base?, span)?;
        let value = self.new_local(&format!("{}.value", function.text), Ty::Number, span);
        let nothing = self.build(NodeKind::Number(f64::NAN), span)?;
        self.put_before(value, nothing, span)?;
        let mut bindings = Bindings { at, base, hypers: Vec::new(), locals: BTreeMap::new(), value, call: span };
        for hyper in &callee.hypers {
            self.expanded(span)?;
            let bound = self.bind(&callee, hyper, given.get(&*hyper.name).copied(), &bindings)?;
            bindings.hypers.push(bound);
        }
        let body = self.expand(&callee, &callee.body, &mut bindings)?;
        self.pending.extend(body);
        self.build(NodeKind::Read(Var::Local(value)), span)
    }

    /// The schedule that a call names, checked.
    fn callee(&mut self, function: &Ident) -> Option<Program> {
        let name = &function.text;
        if self.callers.contains(name) || self.callers.len() >= MAX_CALLS {
            let message = if self.callers.contains(name) {
                format!("`{name}` calls itself, through {}", self.callers.join(", "))
            } else {
                format!("schedules call each other more than {MAX_CALLS} deep")
            };
            self.report(Diagnostic::new(Code::BrokenCall, function.span, message).help("write the formula out"));
            return None;
        }
        let Some(file) = self.library.find(FileKind::Schedule, name) else {
            let stems = self.library.stems(FileKind::Schedule);
            let help = match did_you_mean(name, stems.iter().map(String::as_str)) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => "a schedule is found beside this file, or among the shipped ones".to_string(),
            };
            let message = format!("no function or schedule is called `{name}`");
            self.report(Diagnostic::new(Code::UnknownFunction, function.span, message).help(help));
            return None;
        };
        match check_inside(&parse(&file), self.library, &self.callers) {
            Ok(checked) if checked.program.kind == FileKind::Schedule => Some(checked.program),
            Ok(_) => {
                let message = format!("`{}` holds no schedule", file.name());
                self.report(Diagnostic::new(Code::BrokenCall, function.span, message));
                None
            }
            Err(found) => {
                let first = found.first().map_or(String::new(), |d| format!(": {}", d.message));
                let message = format!("`{}` has errors{first}", file.name());
                let help = format!("`updraft check {}` shows all", file.name());
                self.report(Diagnostic::new(Code::BrokenCall, function.span, message).help(help));
                None
            }
        }
    }

    /// The value of a hyper of the schedule that is called: what the call gives, else its default.
    fn bind(
        &mut self,
        callee: &Program,
        hyper: &super::program::Hyper,
        given: Option<&Expr>,
        bindings: &Bindings,
    ) -> Option<Bound> {
        let name = format!("{}.{}", callee.name, hyper.name);
        match (&hyper.default, given) {
            (HyperDefault::Number(_), Some(expr)) => {
                let id = self.number(expr)?;
                if let (NodeKind::Number(x), Some(range)) = (&self.node(id).kind, &hyper.interval)
                    && !range.contains(*x)
                {
                    let message = format!("`{}` of `{}` is in {range}, not {x}", hyper.name, callee.name);
                    self.report(Diagnostic::new(Code::DefaultOutOfInterval, expr.span, message));
                    return None;
                }
                self.keep(&name, id, expr.span).map(Bound::Value)
            }
            (HyperDefault::Number(default), None) => {
                let id = self.copy(callee, *default, bindings)?;
                self.keep(&name, id, bindings.call).map(Bound::Value)
            }
            (HyperDefault::Flag(_), Some(expr)) => {
                let id = self.condition(expr)?;
                self.keep(&name, id, expr.span).map(Bound::Value)
            }
            (HyperDefault::Flag(flag), None) => self.build(NodeKind::Bool(*flag), bindings.call).map(Bound::Value),
            (HyperDefault::Mode(_), None) => Some(Bound::Mode(0)),
            (HyperDefault::Mode(modes), Some(expr)) => {
                let named = match &expr.kind {
                    ExprKind::Name(name) => modes.iter().position(|mode| *mode == name.text),
                    _ => None,
                };
                if named.is_none() {
                    let message = format!("`{}` of `{}` is one of {}", hyper.name, callee.name, modes.join(" | "));
                    self.report(Diagnostic::new(Code::UnknownName, expr.span, message).help("write one of them"));
                }
                named.map(|mode| Bound::Mode(mode as u32))
            }
            (HyperDefault::List(elements), None) => {
                self.program.lists.push(elements.clone());
                Some(Bound::List(ListRef::Constant(self.program.lists.len() as u32 - 1)))
            }
            (HyperDefault::List(_), Some(expr)) => match &expr.kind {
                ExprKind::Name(name) => self.list(name).map(Bound::List),
                _ => {
                    let message = format!("`{}` of `{}` is a list", hyper.name, callee.name);
                    self.report(
                        Diagnostic::new(Code::NotAllowedHere, expr.span, message)
                            .help("name a list of this file: `hyper NAME = [1, 2]`"),
                    );
                    None
                }
            },
        }
    }

    /// A value that is computed once, before the statement that calls.
    fn keep(&mut self, name: &str, value: ExprId, span: Span) -> Option<ExprId> {
        let local = self.new_local(name, self.node(value).ty, span);
        self.put_before(local, value, span)?;
        self.build(NodeKind::Read(Var::Local(local)), span)
    }

    /// Puts a `let` before the statement that calls.
    fn put_before(&mut self, local: LocalId, value: ExprId, span: Span) -> Option<()> {
        self.expanded(span)?;
        if !self.count(value, span) {
            return None;
        }
        self.pending.push(Stmt { kind: StmtKind::Let(local, value), span });
        Some(())
    }

    /// Counts a statement of an expansion, or a hyper that it binds. `None`: there are too many operations.
    fn expanded(&mut self, span: Span) -> Option<()> {
        self.operations = self.operations.saturating_add(1);
        if self.operations > MAX_OPERATIONS {
            self.too_many_operations(span);
        }
        (!self.too_many_operations).then_some(())
    }

    fn new_local(&mut self, name: &str, ty: Ty, span: Span) -> LocalId {
        let id = LocalId(self.program.locals.len() as u32);
        self.program.locals.push(Local { name: Arc::from(name), extent: Extent::Model, span });
        self.local_depth.push(self.around.len());
        self.local_ty.push(ty);
        id
    }

    /// The statements of the schedule that is called, in terms of this one.
    fn expand(&mut self, callee: &Program, stmts: &[Stmt], bindings: &mut Bindings) -> Option<Vec<Stmt>> {
        let span = bindings.call;
        let mut expanded = Vec::new();
        for stmt in stmts {
            self.expanded(span)?;
            let kind = match &stmt.kind {
                StmtKind::Let(local, value) => {
                    let id = self.copy_whole(callee, *value, bindings)?;
                    let name = format!("{}.{}", callee.name, callee.locals[local.index()].name);
                    let new = self.new_local(&name, self.node(id).ty, span);
                    bindings.locals.insert(*local, new);
                    StmtKind::Let(new, id)
                }
                StmtKind::Assign(var, value) => {
                    let id = self.copy_whole(callee, *value, bindings)?;
                    StmtKind::Assign(bindings.var(*var), id)
                }
                StmtKind::If(kind, then, otherwise) => {
                    let cond = match kind {
                        IfKind::Select(cond) => *cond,
                        IfKind::Plan(id) => callee.conditions[id.index()].cond,
                    };
                    let cond = self.copy_whole(callee, cond, bindings)?;
                    self.stands_in_few_conditions(span)?;
                    self.around.push((Extent::Model, span));
                    let then = self.expand(callee, then, bindings);
                    let otherwise = self.expand(callee, otherwise, bindings);
                    self.around.pop();
                    let (then, otherwise) = (then?, otherwise?);
                    StmtKind::If(IfKind::Select(cond), then, otherwise)
                }
            };
            expanded.push(Stmt { kind, span });
        }
        Some(expanded)
    }

    /// A whole expression of the schedule that is called, counted.
    fn copy_whole(&mut self, callee: &Program, root: ExprId, bindings: &Bindings) -> Option<ExprId> {
        let id = self.copy(callee, root, bindings)?;
        self.count(id, bindings.call).then_some(id)
    }

    /// An expression of the schedule that is called, in terms of this one.
    fn copy(&mut self, callee: &Program, root: ExprId, bindings: &Bindings) -> Option<ExprId> {
        let mut map = BTreeMap::<ExprId, ExprId>::new();
        for id in callee.postorder(root) {
            let kind = &callee.node(id).kind;
            let copied = match kind {
                NodeKind::S => bindings.at,
                NodeKind::Base => bindings.base,
                NodeKind::Hyper(id) | NodeKind::Flag(id) => match bindings.hypers.get(id.index()) {
                    Some(Bound::Value(value)) => *value,
                    _ => return None,
                },
                NodeKind::IsMode(id, mode) => {
                    let holds = matches!(bindings.hypers.get(id.index()), Some(Bound::Mode(bound)) if bound == mode);
                    self.build(NodeKind::Bool(holds), bindings.call)?
                }
                NodeKind::Read(var) => self.build(NodeKind::Read(bindings.var(*var)), bindings.call)?,
                NodeKind::List(function, list, operand) => {
                    let list = match list {
                        ListRef::Hyper(id) => match bindings.hypers.get(id.index()) {
                            Some(Bound::List(list)) => *list,
                            _ => return None,
                        },
                        ListRef::Constant(index) => {
                            self.program.lists.push(callee.lists[*index as usize].clone());
                            ListRef::Constant(self.program.lists.len() as u32 - 1)
                        }
                    };
                    let operand = operand.map(|operand| map[&operand]);
                    self.build(NodeKind::List(*function, list, operand), bindings.call)?
                }
                other => {
                    let kind = super::expressions::remap(other, &|operand| map[&operand]);
                    self.build(kind, bindings.call)?
                }
            };
            map.insert(id, copied);
        }
        map.get(&root).copied()
    }
}

impl Bindings {
    fn var(&self, var: Var) -> Var {
        match var {
            Var::Local(id) => Var::Local(self.locals.get(&id).copied().unwrap_or(id)),
            _ => Var::Local(self.value),
        }
    }
}

/// Whether the statements assign `value` on every path; `assigned`: whether it has been before. `early` becomes a place
/// where it is read and has not been.
fn assigns(program: &Program, stmts: &[Stmt], mut assigned: bool, early: &mut Option<Span>) -> bool {
    for stmt in stmts {
        let root = match &stmt.kind {
            StmtKind::Let(_, value) | StmtKind::Assign(_, value) => *value,
            StmtKind::If(IfKind::Select(cond), ..) => *cond,
            StmtKind::If(IfKind::Plan(id), ..) => program.conditions[id.index()].cond,
        };
        if !assigned {
            let read = |id: &ExprId| program.node(*id).kind == NodeKind::Read(Var::Value);
            *early = early.or(program.postorder(root).into_iter().find(read).map(|id| program.node(id).span));
        }
        match &stmt.kind {
            StmtKind::Let(..) => {}
            StmtKind::Assign(var, _) => assigned |= *var == Var::Value,
            StmtKind::If(_, then, otherwise) => {
                let then = assigns(program, then, assigned, early);
                assigned = assigns(program, otherwise, assigned, early) && then;
            }
        }
    }
    assigned
}
