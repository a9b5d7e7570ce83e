//! What only schedules have: `value`, and calls of other schedules.
//!
//! A call is expanded: the statements of the schedule that is called come before the statement that calls it, with its
//! hypers bound, its `s` and `base` replaced and its locals made new. It has no state, so it can be computed whether its
//! value is used or not.

use super::expressions::without_parentheses;
use super::program::{
    BinaryOp, CompareOp, ExprId, Extent, Function, Hyper, HyperDefault, IfKind, ListRef, Local, LocalId, NodeKind,
    Program, Range, Require, Stmt, StmtKind, Ty, Var,
};
use super::range::{self, Facts, Known};
use super::{Checker, MAX_OPERATIONS, Place, check_inside};
use crate::diagnostic::{Code, Diagnostic, Severity, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, ExprKind, FileKind, Ident};
use crate::syntax::parse;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// How deep schedules may call each other.
const MAX_CALLS: usize = 8;

/// The schedules that a file and those that it calls have named: each is checked once, however often it is called.
#[derive(Clone, Default)]
pub(super) struct Callees(Rc<RefCell<BTreeMap<Arc<str>, Judged>>>);

type Judged = Result<Callee, Broken>;

/// A schedule that can be called.
#[derive(Clone)]
struct Callee {
    program: Rc<Program>,
    /// How deep the calls in it go: 0 if it calls none.
    calls: usize,
}

/// Why a schedule cannot be called.
#[derive(Clone)]
struct Broken {
    message: String,
    help: String,
}

/// What the hypers, locals and built-in names of a schedule that is called become.
struct Bindings {
    at: ExprId,
    base: ExprId,
    /// By index of the hyper.
    hypers: Vec<Bound>,
    /// The same, if it can be told when hypers are set, to hold it to what the schedule requires.
    settled: Vec<Option<Bound>>,
    locals: BTreeMap<LocalId, LocalId>,
    value: LocalId,
    /// Where the call stands: what every expanded node points at.
    call: Span,
}

#[derive(Clone)]
enum Bound {
    Value(ExprId),
    /// For each mode, whether it is the one.
    Mode(Vec<ExprId>),
    List(ListRef),
}

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
        self.callers.iter().any(|caller| **caller == *name) || self.library.find(FileKind::Schedule, name).is_some()
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
        let value = self.new_local(&format!("{name}.value"), Ty::Number, span);
        let nothing = self.build(NodeKind::Number(f64::NAN), span)?;
        self.put_before(value, nothing, span)?;
        let mut bindings =
            Bindings { at, base, hypers: Vec::new(), settled: Vec::new(), locals: BTreeMap::new(), value, call: span };
        for hyper in &callee.hypers {
            self.expanded(span)?;
            let (bound, settled) = self.bind(&callee, hyper, given.get(&*hyper.name).copied(), &bindings)?;
            bindings.hypers.push(bound);
            bindings.settled.push(settled);
        }
        self.requires_of(&callee, &bindings)?;
        let body = self.expand(&callee, &callee.body, &mut bindings)?;
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

    /// The schedule that a call names, checked.
    fn callee(&mut self, function: &Ident) -> Option<Rc<Program>> {
        let name = &function.text;
        if let Some(first) = self.callers.iter().position(|caller| caller == name) {
            let through: Vec<String> = self.callers[first + 1..].iter().map(|n| format!("`{n}`")).collect();
            let message = match through.as_slice() {
                [] => format!("the schedule `{name}` calls itself"),
                _ => format!("the schedule `{name}` calls itself through {}", through.join(", ")),
            };
            if self.has_said(&message) {
                return None;
            }
            let help = "a call is replaced by the formula of the schedule: write one of them without the call";
            self.report(
                Diagnostic::new(Code::BrokenCall, function.span, message).label("could never be expanded").help(help),
            );
            return None;
        }
        let callees = self.callees.clone();
        let known = callees.0.borrow().get(name).cloned();
        let found = known.unwrap_or_else(|| {
            let found = self.checked_callee(name);
            callees.0.borrow_mut().insert(name.clone(), found.clone());
            found
        });
        let found = found.and_then(|callee| match self.callers.len() + callee.calls {
            deep if deep > MAX_CALLS => Err(too_deep()),
            _ => Ok(callee),
        });
        match found {
            Ok(callee) => {
                self.calls = self.calls.max(1 + callee.calls);
                Some(callee.program)
            }
            Err(Broken { message, .. }) if self.has_said(&message) => None,
            Err(Broken { message, help }) => {
                self.report(
                    Diagnostic::new(Code::BrokenCall, function.span, message).label("cannot be called").help(help),
                );
                None
            }
        }
    }

    /// Whether that has been reported of a call: that the same schedule is called again is not another mistake.
    fn has_said(&self, message: &str) -> bool {
        self.diagnostics.iter().any(|d| d.code == Code::BrokenCall && d.message == message)
    }

    fn checked_callee(&self, name: &str) -> Result<Callee, Broken> {
        if self.callers.len() > MAX_CALLS {
            return Err(too_deep());
        }
        let Some(file) = self.library.find(FileKind::Schedule, name) else {
            return Err(Broken {
                message: format!("no schedule is called `{name}`"),
                help: "a schedule is found beside this file, or among the shipped ones".to_string(),
            });
        };
        let holds_another = |kind: FileKind| Broken {
            message: format!("`{}` holds no schedule, but a rule for an {}", file.name(), kind.keyword()),
            help: format!("call a file that begins `schedule {name}`"),
        };
        match check_inside(&parse(&file), self.library, &self.callers, &self.callees) {
            Ok((checked, calls)) if checked.program.kind == FileKind::Schedule => {
                Ok(Callee { program: Rc::new(checked.program), calls })
            }
            Ok((checked, _)) => Err(holds_another(checked.program.kind)),
            Err(found) => {
                let errors: Vec<&Diagnostic> = found.iter().filter(|d| d.severity() == Severity::Error).collect();
                // What is wrong further down is said as it was said there.
                if let [one] = errors.as_slice()
                    && one.code == Code::BrokenCall
                {
                    let (message, help) = (one.message.clone(), one.help.clone().unwrap_or_default());
                    return Err(Broken { message, help });
                }
                let (message, line) = errors.first().map_or((String::new(), 1), |first| {
                    (first.message.clone(), file.line_column(first.primary.span.start).0)
                });
                let message = match errors.len() {
                    1 => format!("`{}` has an error in line {line}: {message}", file.name()),
                    n => format!("`{}` has {n} errors, the first in line {line}: {message}", file.name()),
                };
                Err(Broken { message, help: format!("`updraft check {}` shows all", file.name()) })
            }
        }
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
            (HyperDefault::List(_), Some(expr)) => {
                if let ExprKind::Name(list) = &without_parentheses(expr).kind {
                    return self.list(list).map(|list| both(Bound::List(list)));
                }
                let message = format!("`{}` of `{}` is a list", hyper.name, callee.name);
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, expr.span, message)
                        .label("not the name of a list")
                        .help(format!("declare a list above, `hyper {0} = [1, 2]`, and write `{0} = {0}`", hyper.name)),
                );
                None
            }
        }
    }

    /// For each mode of a hyper of the schedule that is called, whether it is the one.
    fn bind_mode(
        &mut self,
        callee: &Program,
        hyper: &Hyper,
        modes: &[Arc<str>],
        given: Option<&Expr>,
        call: Span,
    ) -> Option<Vec<ExprId>> {
        let named = match given.map(|expr| &without_parentheses(expr).kind) {
            None => Some(&modes[0]),
            Some(ExprKind::Name(name)) => {
                if let Some((id, mine)) = self.mode_hyper(&name.text).filter(|_| !modes.contains(&name.text)) {
                    if let Some(other) = mine.iter().find(|mode| !modes.contains(mode)) {
                        let message = format!("`{}` may be `{other}`, which `{}` has not", name.text, callee.name);
                        self.report(
                            Diagnostic::new(Code::UnknownName, name.span, message)
                                .label(format!("is one of {}", mine.join(" | ")))
                                .help(format!("`{}` of `{}` is one of {}", hyper.name, callee.name, modes.join(" | "))),
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
            let message = format!("`{}` of `{}` is one of {}", hyper.name, callee.name, modes.join(" | "));
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

    /// Reports an argument that the hyper may not have.
    fn fits(&mut self, callee: &Program, hyper: &Hyper, value: ExprId, span: Span) -> Option<()> {
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
    fn is_settled(&self, root: ExprId) -> bool {
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
            )
        };
        !self.program.postorder(root).iter().any(|id| outside(&self.program.node(*id).kind))
    }

    /// An expression of the called schedule's hypers in terms of this file's hypers, if it is made of them and short.
    fn settled(&mut self, callee: &Program, root: ExprId, bindings: &Bindings) -> Option<ExprId> {
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
        let settled = bindings.settled.iter().zip(&bindings.hypers);
        let settled: Vec<Bound> = settled.map(|(settled, bound)| settled.as_ref().unwrap_or(bound).clone()).collect();
        self.copy(callee, root, &settled, bindings)
    }

    /// What the called schedule requires of its hypers, this file requires of those that it gives for them.
    fn requires_of(&mut self, callee: &Program, bindings: &Bindings) -> Option<()> {
        let mut requires = Vec::new();
        for (hyper, settled) in callee.hypers.iter().zip(&bindings.settled) {
            let (Some(range), Some(Bound::Value(x))) = (&hyper.interval, settled) else { continue };
            if self.depends_on_hypers(*x) {
                let message = format!("`{}` of `{}` has to be in {range}", hyper.name, callee.name);
                requires.push((self.lies_in(*x, range, bindings.call)?, message));
            }
        }
        for require in &callee.requires {
            if let Some(cond) = self.settled(callee, require.cond, bindings) {
                requires.push((cond, format!("`{}`: {}", callee.name, require.message)));
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
                    self.report(
                        Diagnostic::new(Code::DefaultOutOfInterval, bindings.call, message)
                            .label("does not hold for this call")
                            .help(format!("`{}` requires it: give it other values", callee.name)),
                    );
                    return None;
                }
                _ => self.program.requires.push(Require { cond, message: message.into() }),
            }
        }
        Some(())
    }

    /// What is known of an expression where every hyper is its default.
    fn evaluate_at_defaults(&mut self, root: ExprId) -> Known {
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
    fn depends_on_hypers(&self, root: ExprId) -> bool {
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
                // Only rules have these.
                StmtKind::Skip(_) | StmtKind::Report(..) => continue,
            };
            expanded.push(Stmt { kind, span });
        }
        Some(expanded)
    }

    /// A whole expression of the schedule that is called, counted.
    fn copy_whole(&mut self, callee: &Program, root: ExprId, bindings: &Bindings) -> Option<ExprId> {
        let id = self.copy(callee, root, &bindings.hypers, bindings)?;
        self.count(id, bindings.call).then_some(id)
    }

    /// An expression of the schedule that is called, in terms of this one, its hypers being `hypers`.
    fn copy(&mut self, callee: &Program, root: ExprId, hypers: &[Bound], bindings: &Bindings) -> Option<ExprId> {
        let mut map = BTreeMap::<ExprId, ExprId>::new();
        for id in callee.postorder(root) {
            let kind = &callee.node(id).kind;
            let copied = match kind {
                NodeKind::S => bindings.at,
                NodeKind::Base => bindings.base,
                NodeKind::Hyper(id) | NodeKind::Flag(id) => match hypers.get(id.index()) {
                    Some(Bound::Value(value)) => *value,
                    _ => return None,
                },
                NodeKind::IsMode(id, mode) => match hypers.get(id.index()) {
                    Some(Bound::Mode(modes)) => *modes.get(*mode as usize)?,
                    _ => return None,
                },
                NodeKind::Read(var) => self.build(NodeKind::Read(bindings.var(*var)), bindings.call)?,
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

fn too_deep() -> Broken {
    Broken {
        message: format!("schedules call each other more than {MAX_CALLS} deep"),
        help: "a call is replaced by the formula of the schedule: write one of them without the call".to_string(),
    }
}

/// Whether what such a node is depends on a hyper.
fn is_of_hypers(kind: &NodeKind) -> bool {
    matches!(
        kind,
        NodeKind::Hyper(_) | NodeKind::Flag(_) | NodeKind::IsMode(..) | NodeKind::List(_, ListRef::Hyper(_), _)
    )
}

/// `a, b and c`
fn list_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
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
