//! Expressions: names become ids, types and extents are inferred, calls of `def` are inlined.
//!
//! The syntax tree is checked for names and types by recursion, which the scan's nesting limit bounds. Every node is made by
//! [`Checker::build`], the one place that knows the rules of extents; inlining a `def` replays its nodes through it.

use super::names::{self, Symbol};
use super::program::{
    BinaryOp, Condition, DrawFn, ExprId, Extent, FileKind, Function, Hyper, HyperDefault, HyperId, ListFn, ListRef,
    Node, NodeKind, ReduceFn, Reduction, Shape, Ty, Var,
};
use super::reduce::{Mark, Timing};
use super::{Checker, Elsewhere, MAX_OPERATIONS, Place, print};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{self, Expr, ExprKind, UnaryOp};
use std::sync::Arc;

/// The largest literal exponent that is multiplied out.
const MAX_POWER: f64 = 64.0;

impl Checker<'_> {
    pub(super) fn node(&self, id: ExprId) -> &Node {
        &self.arena()[id.index()]
    }

    fn arena(&self) -> &Vec<Node> {
        self.template.as_ref().unwrap_or(&self.program.nodes)
    }

    /// An expression that is a number. `None`: an error has been reported.
    pub(super) fn number(&mut self, expr: &Expr) -> Option<ExprId> {
        let id = self.expression(expr)?;
        if self.node(id).ty == Ty::Number {
            return Some(id);
        }
        let help = match &expr.kind {
            ExprKind::Bool(value) => format!("write `{}`", u8::from(*value)),
            _ => format!("write `(if {} then 1 else 0)`", self.text(expr)),
        };
        self.report(
            Diagnostic::new(Code::NotANumber, expr.span, "a condition where a number is needed")
                .label("this is a condition")
                .help(help),
        );
        None
    }

    /// An expression that is a condition. `None`: an error has been reported.
    pub(super) fn condition(&mut self, expr: &Expr) -> Option<ExprId> {
        let id = self.expression(expr)?;
        if self.node(id).ty == Ty::Condition {
            return Some(id);
        }
        let text = self.text(expr);
        let help = match (&without_parentheses(expr).kind, &self.node(id).kind) {
            (ExprKind::Number { value, .. }, _) => format!("write `{}`", *value != 0.0),
            (_, NodeKind::Hyper(_)) => {
                format!("write `{text} != 0`, or make it a flag: `hyper {text} = true` or `= false`")
            }
            (ExprKind::If { .. }, _) => format!("write `({text}) != 0`"),
            _ => format!("write `{text} != 0`"),
        };
        self.report(
            Diagnostic::new(Code::NotACondition, expr.span, "a number where a condition is needed")
                .label("this is a number")
                .help(help),
        );
        None
    }

    /// An expression as written, for a help that repeats it: without parentheses around it, and not too long.
    pub(super) fn text(&self, expr: &Expr) -> &str {
        let text = self.parsed.file.slice(without_parentheses(expr).span);
        if text.len() > 60 || text.contains(['\n', '#']) { "..." } else { text }
    }

    /// Any expression. `None`: an error has been reported.
    pub(super) fn expression(&mut self, expr: &Expr) -> Option<ExprId> {
        if self.has_enough_errors() {
            return None;
        }
        let span = expr.span;
        match &expr.kind {
            ExprKind::Number { value, text } => {
                if !value.is_finite() {
                    self.report(
                        Diagnostic::new(Code::LiteralOutOfRange, span, format!("{text} is too large for an f64"))
                            .label("the greatest is about 1.8e308")
                            .help("write `inf` if infinity is meant"),
                    );
                    return None;
                }
                self.build(NodeKind::Number(*value), span)
            }
            ExprKind::Bool(value) => self.build(NodeKind::Bool(*value), span),
            ExprKind::Name(name) => self.name(&name.text, span),
            ExprKind::Index { list, index } => self.index(list, index, span),
            ExprKind::Paren(inner) => self.expression(inner),
            ExprKind::Unary { op: UnaryOp::Neg, operand } => {
                let operand = self.number(operand)?;
                self.build(NodeKind::Neg(operand), span)
            }
            ExprKind::Unary { op: UnaryOp::Not, operand } => {
                let operand = self.condition(operand)?;
                self.build(NodeKind::Not(operand), span)
            }
            ExprKind::Power { base, exponent } => self.power(base, exponent, span),
            ExprKind::Chain { first, rest } => self.chain(first, rest),
            ExprKind::Compare { op, left, right } => {
                if let Some(mode) = self.mode(*op, left, right, span) {
                    return mode;
                }
                if let Some(help) = self.compares_conditions(*op, left, right) {
                    self.report(
                        Diagnostic::new(Code::NotANumber, span, "conditions are not compared, they are joined")
                            .help(help),
                    );
                    return None;
                }
                let left = self.number(left);
                let right = self.number(right);
                self.build(NodeKind::Compare(*op, left?, right?), span)
            }
            ExprKind::If { cond, then, otherwise } => {
                let cond = self.condition(cond);
                let then_id = self.expression(then);
                let otherwise = match then_id.map(|id| self.node(id).ty) {
                    Some(Ty::Number) => self.number(otherwise),
                    Some(Ty::Condition) => self.condition(otherwise),
                    None => self.expression(otherwise),
                };
                self.build(NodeKind::If(cond?, then_id?, otherwise?), span)
            }
            ExprKind::Call { function, args, per } => self.call(function, args, per.as_ref(), span),
        }
    }

    /// What to write for a comparison with `true` or `false`, and for one of two flags.
    fn compares_conditions(&self, op: ast::CompareOp, left: &Expr, right: &Expr) -> Option<String> {
        let wanted = match op {
            ast::CompareOp::Eq => true,
            ast::CompareOp::Ne => false,
            _ => return None,
        };
        let (a, b) = (self.text(left), self.text(right));
        let not = |expr: &Expr| match &without_parentheses(expr).kind {
            ExprKind::Name(_) | ExprKind::Call { .. } => format!("write `not {}`", self.text(expr)),
            _ => format!("write `not ({})`", self.text(expr)),
        };
        match (&left.kind, &right.kind) {
            (ExprKind::Bool(value), _) if *value == wanted => Some(format!("write `{b}`")),
            (ExprKind::Bool(_), _) => Some(not(right)),
            (_, ExprKind::Bool(value)) if *value == wanted => Some(format!("write `{a}`")),
            (_, ExprKind::Bool(_)) => Some(not(left)),
            _ if self.is_flag(left) && self.is_flag(right) => Some(if wanted {
                format!("write `({a} and {b}) or not ({a} or {b})`")
            } else {
                format!("write `({a} or {b}) and not ({a} and {b})`")
            }),
            _ => None,
        }
    }

    /// Whether an expression is the name of a flag or of a local that holds a condition.
    fn is_flag(&self, expr: &Expr) -> bool {
        let ExprKind::Name(name) = &expr.kind else { return false };
        match self.scopes.find(&name.text) {
            Some((Symbol::Hyper(id), _)) => matches!(self.program.hypers[id.index()].default, HyperDefault::Flag(_)),
            Some((Symbol::Local(id), _)) => self.local_ty[id.index()] == Ty::Condition,
            _ => false,
        }
    }

    fn chain(&mut self, first: &Expr, rest: &[(BinaryOp, Expr)]) -> Option<ExprId> {
        let logical = matches!(rest.first(), Some((BinaryOp::And | BinaryOp::Or, _)));
        let operand = |this: &mut Self, e: &Expr| if logical { this.condition(e) } else { this.number(e) };
        let mut left = operand(self, first);
        let mut span = first.span;
        for (op, right) in rest {
            let right_id = operand(self, right);
            span = span.to(right.span);
            left = match (left, right_id) {
                (Some(a), Some(b)) => self.build(NodeKind::Binary(*op, a, b), span),
                _ => None,
            };
        }
        left
    }

    fn power(&mut self, base: &Expr, exponent: &Expr, span: Span) -> Option<ExprId> {
        let base_id = self.number(base);
        if let Some(n) = literal(exponent).filter(|n| n.fract() == 0.0 && n.abs() <= MAX_POWER) {
            return self.build(NodeKind::Power(base_id?, n as i32), span);
        }
        let exponent = self.number(exponent);
        self.build(NodeKind::Call(Function::Pow, vec![base_id?, exponent?]), span)
    }

    fn name(&mut self, name: &str, span: Span) -> Option<ExprId> {
        if name.contains('.') && self.scopes.find(name).is_none() {
            self.unknown_name_of_used(name, span);
            return None;
        }
        let kind = match self.scopes.find(name) {
            Some((Symbol::Broken, _)) => return None,
            Some((Symbol::Hyper(id), _)) => {
                if let Some(used) = self.uses.hypers.get_mut(id.index()) {
                    *used = true;
                }
                match &self.program.hypers[id.index()].default {
                    HyperDefault::Number(_) => NodeKind::Hyper(id),
                    HyperDefault::Flag(_) => NodeKind::Flag(id),
                    HyperDefault::Mode(modes) => {
                        let help = format!("compare it: `{name} == {}`", modes.first().map_or("MODE", |mode| mode));
                        let message = format!("`{name}` is one of several modes, not a value");
                        let label = format!("is one of {}", modes.join(" | "));
                        self.report(Diagnostic::new(Code::NotANumber, span, message).label(label).help(help));
                        return None;
                    }
                    HyperDefault::List(_) => {
                        let message = format!("`{name}` is a list, not a number");
                        let help =
                            format!("write `{name}[0]`, `count({name} <= x)`, `prod({name}, n)` or `len({name})`");
                        self.report(Diagnostic::new(Code::NotANumber, span, message).label("a whole list").help(help));
                        return None;
                    }
                }
            }
            Some((Symbol::State(id), _)) => NodeKind::Read(Var::State(id)),
            Some((Symbol::Local(id), _)) => NodeKind::Read(Var::Local(id)),
            Some((Symbol::Input(id), _)) => {
                self.uses.inputs[id.index()] = true;
                NodeKind::Input(id)
            }
            Some((Symbol::Param(index), _)) => return Some(ExprId(index as u32)),
            Some((Symbol::Def(_), declared)) => {
                self.report(
                    Diagnostic::new(Code::UnknownName, span, format!("`{name}` is a function, not a value"))
                        .also(declared, "declared here")
                        .help(format!("call it: `{name}(...)`")),
                );
                return None;
            }
            None if self.program.kind == FileKind::Schedule => match name {
                "s" => NodeKind::S,
                "base" => NodeKind::Base,
                "value" => NodeKind::Read(Var::Value),
                "pi" => NodeKind::Number(std::f64::consts::PI),
                "inf" => NodeKind::Number(f64::INFINITY),
                _ => {
                    self.unknown_name(name, span);
                    return None;
                }
            },
            None => match name {
                "p" => NodeKind::Read(Var::Param),
                "g" => NodeKind::Read(Var::Grad),
                "t" => NodeKind::T,
                "pi" => NodeKind::Number(std::f64::consts::PI),
                "inf" => NodeKind::Number(f64::INFINITY),
                "epsilon" => NodeKind::Epsilon,
                _ => match Shape::ALL.into_iter().find(|shape| shape.name() == name) {
                    Some(shape) => NodeKind::Shape(shape),
                    None => {
                        self.unknown_name(name, span);
                        return None;
                    }
                },
            },
        };
        self.build(kind, span)
    }

    fn unknown_name(&mut self, name: &str, span: Span) {
        if names::is_built_in(name, self.program.kind) {
            let message = format!("`{name}` is a function, not a value");
            self.report(
                Diagnostic::new(Code::UnknownName, span, message)
                    .label("called without arguments")
                    .help(format!("call it: `{name}(...)`")),
            );
            return;
        }
        if self.named_elsewhere(name, span) {
            return;
        }
        // It may be a hyper that a `use` would have added.
        if self.used.broken && self.place == Place::Statement {
            return;
        }
        // What may stand here, so that who follows the advice is not told off for it.
        let place = self.place;
        let is_schedule = self.program.kind == FileKind::Schedule;
        let mut candidates = self.scopes.names(|symbol| match symbol {
            Symbol::Hyper(_) | Symbol::Param(_) => true,
            Symbol::State(_) => place.has_states(),
            Symbol::Input(_) | Symbol::Local(_) => place == Place::Statement,
            Symbol::Def(_) | Symbol::Broken => false,
        });
        candidates.extend(names::values(self.program.kind).iter().filter(|value| match **value {
            "p" => place.has_parameter(),
            "g" | "value" => place == Place::Statement,
            "t" | "s" | "base" => place.has_step(),
            // Who types `eps` means a number of the usual size.
            "epsilon" => place.has_tensor() && name != "eps",
            "numel" | "rank" | "rows" | "cols" => place.has_tensor(),
            _ => true,
        }));
        // Names of the other kind of file are too short to be taken for others.
        let foreign = matches!(name, "s" | "base" | "value" | "p" | "g" | "t" | "epsilon");
        let help = match did_you_mean(name, candidates).filter(|_| !foreign) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => match (name, place) {
                _ if self.mode_of(name).is_some() => {
                    let hyper = self.mode_of(name).unwrap_or_default();
                    format!("it is a mode of `{hyper}`: write `{hyper} == {name}`")
                }
                ("s" | "base" | "value", _) if !is_schedule => {
                    format!("only a schedule has `{name}`: `schedule NAME` in the first line")
                }
                ("epsilon", _) if is_schedule => "a schedule is computed in f64: write a number, such as `1e-8`".into(),
                ("t" | "step" | "steps" | "iter" | "iteration" | "epoch" | "last_epoch", place)
                    if is_schedule && place.has_step() =>
                {
                    "the completed steps are `s`".into()
                }
                ("lr" | "base_lr" | "p", place) if is_schedule && place.has_step() => {
                    "the driven hyper's own value is `base`".into()
                }
                ("t" | "step" | "steps" | "iter" | "iteration" | "epoch" | "last_epoch", _) if is_schedule => {
                    format!("the completed steps are `s`, which means nothing in {}", place.describe())
                }
                ("lr" | "base_lr" | "p", _) if is_schedule => {
                    format!("the driven hyper's own value is `base`, which means nothing in {}", place.describe())
                }
                ("result" | "out" | "output" | "y", Place::Statement) if is_schedule => {
                    "the result of a schedule is `value`".into()
                }
                ("g" | "grad" | "grads" | "gradient" | "dw" | "dx", _) if is_schedule => {
                    "a schedule has no gradient; what was observed is an input: `input grad_norm_squared`".into()
                }
                ("step" | "steps" | "iter" | "iteration", place) if place.has_step() => {
                    "the steps so far, this one included, are `t`".into()
                }
                ("param" | "params" | "w" | "x" | "theta" | "weight", place) if place.has_parameter() => {
                    "the parameter is `p`".into()
                }
                ("grad" | "grads" | "gradient" | "dw" | "dx", Place::Statement) => "the gradient is `g`".into(),
                ("grad" | "grads" | "gradient" | "dw" | "dx", _) => {
                    format!("the gradient is `g`, which means nothing in {}", place.describe())
                }
                ("shape" | "dim" | "dims" | "ndim" | "size" | "n", place) if !is_schedule && place.has_tensor() => {
                    "of its shape, a tensor has `numel`, `rank`, `rows` and `cols`".into()
                }
                ("eps", _) => "declare it above: `hyper eps = 1e-8 in [0, inf)`".into(),
                ("e", _) => "write `exp(1)`".into(),
                (_, Place::Statement) if is_schedule && self.is_schedule(name) => {
                    format!("to call that schedule, write `{name}(at = s)`")
                }
                (_, Place::Statement) => {
                    format!("declare it: `hyper {name} = ...`, `state {name} = 0` or `let {name} = ...`")
                }
                (_, Place::DefBody) => format!("make it a parameter: `def NAME(..., {name}) = ...`"),
                (_, Place::View) => "a view may use `p`, states, hypers and `t`".to_string(),
                _ => format!("declare it above: `hyper {name} = ...`"),
            },
        };
        self.report(
            Diagnostic::new(Code::UnknownName, span, format!("nothing is called `{name}`"))
                .label("not declared")
                .help(help),
        );
    }

    /// The first hyper that has a mode of that name.
    fn mode_of(&self, name: &str) -> Option<String> {
        let has = |hyper: &&Hyper| match &hyper.default {
            HyperDefault::Mode(modes) => modes.iter().any(|mode| **mode == *name),
            _ => false,
        };
        self.program.hypers.iter().find(has).map(|hyper| hyper.name.to_string())
    }

    /// Reports a name that is declared, but not in force here. False: nothing declares it.
    pub(super) fn named_elsewhere(&mut self, name: &str, span: Span) -> bool {
        let Some(elsewhere) = self.elsewhere.get(name).copied() else { return false };
        let unknown = |message: String| Diagnostic::new(Code::UnknownName, span, message).label("not declared yet");
        let diagnostic = match elsewhere {
            Elsewhere::Declaration(declared) | Elsewhere::Local(declared)
                if self.declaring.as_deref() == Some(name) =>
            {
                unknown(format!("`{name}` has no value in its own declaration"))
                    .also(declared, "declared by this line")
                    .help("a formula may use what is declared above it")
            }
            // That the declaration stands below a statement is reported there.
            Elsewhere::Declaration(_) if matches!(self.place, Place::Statement | Place::View) => return true,
            Elsewhere::Declaration(declared) => unknown(format!("`{name}` is declared below"))
                .also(declared, "declared here")
                .help(format!("move the declaration of `{name}` above this line")),
            Elsewhere::Local(declared) if self.place != Place::Statement => {
                Diagnostic::new(Code::UnknownName, span, format!("`{name}` is a local of the statements"))
                    .label("not declared here")
                    .also(declared, "declared here")
                    .help(match self.place {
                        Place::DefBody => format!("make it a parameter: `def NAME(..., {name}) = ...`"),
                        Place::View => "a view is computed after the step: keep the value in a `state`".to_string(),
                        _ => "only what is declared above has a value here".to_string(),
                    })
            }
            Elsewhere::Local(declared) if declared.start > span.start => unknown(format!("`{name}` is declared below"))
                .also(declared, "declared here")
                .help(format!("move the `let {name}` above this line")),
            Elsewhere::Local(declared) => {
                Diagnostic::new(Code::UnknownName, span, format!("`{name}` ended with the block that declares it"))
                    .label("not declared here")
                    .also(declared, "a `let` is for its own block only")
                    .help(format!("write `let {name} = ...` before the block, and `{name} = ...` without `let` in it"))
            }
        };
        self.report(diagnostic);
        true
    }

    fn call(
        &mut self,
        function: &ast::Ident,
        args: &[ast::Arg],
        per: Option<&ast::Ident>,
        span: Span,
    ) -> Option<ExprId> {
        let name = &*function.text;
        if let Some(reduction) = self.reduction_called(name, args) {
            self.without_names(name, args)?;
            return self.call_reduction(reduction, args, per, span);
        }
        let is_known = names::is_function(name) || self.scopes.find(name).is_some();
        if let Some(per) = per.filter(|_| is_known || self.program.kind == FileKind::Schedule) {
            self.not_a_reduction(function, args, per);
            return None;
        }
        if let Some((symbol, declared)) = self.scopes.find(name) {
            return match symbol {
                Symbol::Def(index) => self.call_def(index, args, function, span),
                Symbol::Broken => None,
                // Its declaration was rejected.
                _ if names::is_function(name) => self.built_in(name, args, function, span),
                _ => {
                    let message = format!("`{name}` is a value, not a function");
                    self.report(
                        Diagnostic::new(Code::UnknownFunction, function.span, message)
                            .also(declared, "declared here")
                            .help(format!("to multiply, write `{name} * (...)`")),
                    );
                    None
                }
            };
        }
        self.built_in(name, args, function, span)
    }

    /// The reduction that a call is of, if it is one: of several arguments, `min` and `max` are functions, and `count` may
    /// be about a list.
    fn reduction_called(&self, name: &str, args: &[ast::Arg]) -> Option<ReduceFn> {
        let is_schedule = self.program.kind == FileKind::Schedule;
        names::reduction(name).filter(|reduction| match reduction {
            ReduceFn::Min | ReduceFn::Max => args.len() == 1 && !is_schedule,
            ReduceFn::Count => !is_schedule && !args.iter().any(|arg| self.is_about_a_list(&arg.value)),
            _ => true,
        })
    }

    /// A call of a function of the language.
    fn built_in(&mut self, name: &str, args: &[ast::Arg], function: &ast::Ident, span: Span) -> Option<ExprId> {
        if names::is_function(name) {
            self.without_names(name, args)?;
        }
        if name == "old" {
            return self.old(args, span);
        }
        if let Some(built_in) = names::function(name) {
            let args: Vec<Option<ExprId>> = {
                self.arity(name, built_in.params(), args, span, None)?;
                args.iter().map(|arg| self.number(&arg.value)).collect()
            };
            return self.build(NodeKind::Call(built_in, args.into_iter().collect::<Option<_>>()?), span);
        }
        if names::NAME_FUNCTIONS.contains(&name) {
            return self.name_function(name, args, span);
        }
        if let Some(draw) = names::draw(name) {
            return self.call_draw(draw, args, span);
        }
        if names::values(self.program.kind).contains(&name) {
            let message = format!("`{name}` is a value, not a function");
            let help = match name {
                "numel" | "rank" | "rows" | "cols" => format!("write `{name}`: it is that of the parameter's tensor"),
                _ => format!("to multiply, write `{name} * (...)`"),
            };
            self.report(Diagnostic::new(Code::UnknownFunction, function.span, message).help(help));
            return None;
        }
        if let Some(Elsewhere::Declaration(declared)) = self.elsewhere.get(name).copied() {
            // In a statement, that the declaration stands below is reported there.
            if self.place != Place::Statement {
                self.report(
                    Diagnostic::new(Code::UnknownFunction, function.span, format!("`{name}` is declared below"))
                        .label("not declared yet")
                        .also(declared, "declared here")
                        .help(format!("move the declaration of `{name}` above this line")),
                );
            }
            return None;
        }
        let is_schedule = self.program.kind == FileKind::Schedule;
        if self.is_schedule(name) {
            if is_schedule {
                return self.call_schedule(function, args, span);
            }
            let message = format!("`{name}` is a schedule, which a rule does not call");
            self.report(
                Diagnostic::new(Code::UnknownFunction, function.span, message).label("a schedule").help(format!(
                    "make the value a hyper, and attach the schedule to it: `--schedule lr={name}(...)`"
                )),
            );
            return None;
        }
        let schedules = if is_schedule && self.place == Place::Statement { self.schedules() } else { Vec::new() };
        let mut candidates = self.scopes.names(|symbol| matches!(symbol, Symbol::Def(_)));
        candidates.extend(Function::NAMED.map(Function::name));
        candidates.extend(schedules.iter().map(String::as_str));
        candidates.extend(names::NAME_FUNCTIONS);
        if self.place == Place::Statement {
            candidates.push("old");
        }
        if !is_schedule && self.place.has_tensor() {
            candidates.extend(ReduceFn::ALL.map(ReduceFn::name));
        }
        if !is_schedule && matches!(self.place, Place::Statement | Place::DefBody) {
            candidates.extend(DrawFn::ALL.map(DrawFn::name));
        }
        let names_given = args.iter().any(|arg| arg.name.is_some());
        let help = match name {
            "ln" => "the natural logarithm is `log`".to_string(),
            "pow" | "power" => "a power is written `a^b`".to_string(),
            "maximum" => "it is called `max`".to_string(),
            "minimum" => "it is called `min`".to_string(),
            "where" | "select" => "write `(if CONDITION then A else B)`".to_string(),
            "square" => "a square is written `x^2`".to_string(),
            "sgn" => "it is called `sign`".to_string(),
            "avg" | "average" if !is_schedule => "it is called `mean`".to_string(),
            "rand" | "random" if !is_schedule => "a random number in [0, 1) is `uniform()`".to_string(),
            "randn" | "gauss" | "gaussian" if !is_schedule => {
                "a random number of mean 0 and variance 1 is `normal()`".to_string()
            }
            "var" | "variance" | "std" if !is_schedule => {
                let x = args.first().map_or("x", |arg| self.text(&arg.value));
                let variance = format!("mean(({x} - mean({x}))^2)");
                format!("write `{}`", if name == "std" { format!("sqrt({variance})") } else { variance })
            }
            _ => match did_you_mean(name, candidates) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None if is_schedule && names_given => {
                    "a schedule is found beside this file, or among the shipped ones: `updraft list`".to_string()
                }
                None => {
                    let params: Vec<String> = (1..=args.len()).map(|i| format!("x{i}")).collect();
                    let params = if params.len() == 1 { "x".to_string() } else { params.join(", ") };
                    format!("declare it: `def {name}({params}) = ...`")
                }
            },
        };
        let message = match is_schedule && names_given {
            true => format!("no schedule is called `{name}`"),
            false => format!("no function is called `{name}`"),
        };
        self.report(Diagnostic::new(Code::UnknownFunction, function.span, message).label("not declared").help(help));
        None
    }

    /// Reports arguments with names: only schedules take them. `None`: there are such.
    fn without_names(&mut self, function: &str, args: &[ast::Arg]) -> Option<()> {
        let Some(name) = args.iter().find_map(|arg| arg.name.as_ref()) else { return Some(()) };
        let values: Vec<&str> = args.iter().map(|arg| self.text(&arg.value)).collect();
        let help = format!("write `{function}({})`", values.join(", "));
        self.report(
            Diagnostic::new(Code::UnexpectedToken, name.span, "only the arguments of a schedule have names")
                .label(format!("`{function}` is a function"))
                .help(help),
        );
        None
    }

    /// A list hyper.
    pub(super) fn list(&mut self, name: &ast::Ident) -> Option<ListRef> {
        let (message, label, declared, help) = match self.scopes.find(&name.text) {
            Some((Symbol::Hyper(id), declared)) => {
                if let Some(used) = self.uses.hypers.get_mut(id.index()) {
                    *used = true;
                }
                if matches!(self.program.hypers[id.index()].default, HyperDefault::List(_)) {
                    return Some(ListRef::Hyper(id));
                }
                let help = format!("a list is declared `hyper {} = [1, 2]`", name.text);
                (format!("`{}` is not a list", name.text), "a list is needed here", Some(declared), help)
            }
            Some((Symbol::Broken, _)) => return None,
            Some((_, declared)) => {
                let help = "only hypers are lists: `hyper NAME = [1, 2]`".to_string();
                (format!("`{}` is not a list", name.text), "a list is needed here", Some(declared), help)
            }
            None if names::is_built_in(&name.text, self.program.kind) => {
                let help = "only hypers are lists: `hyper NAME = [1, 2]`".to_string();
                (format!("`{}` is not a list", name.text), "a list is needed here", None, help)
            }
            None => {
                if self.named_elsewhere(&name.text, name.span) {
                    return None;
                }
                let lists = self.scopes.names(|symbol| match symbol {
                    Symbol::Hyper(id) => matches!(self.program.hypers[id.index()].default, HyperDefault::List(_)),
                    _ => false,
                });
                let help = match did_you_mean(&name.text, lists) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("declare it above: `hyper {} = [1, 2]`", name.text),
                };
                let message = format!("no list is called `{}`", name.text);
                self.report(Diagnostic::new(Code::UnknownName, name.span, message).label("not declared").help(help));
                return None;
            }
        };
        let mut diagnostic = Diagnostic::new(Code::NotAllowedHere, name.span, message).label(label).help(help);
        if let Some(declared) = declared {
            diagnostic = diagnostic.also(declared, "declared here");
        }
        self.report(diagnostic);
        None
    }

    /// `NAME[i]`
    fn index(&mut self, list: &ast::Ident, index: &Expr, span: Span) -> Option<ExprId> {
        let which = self.list(list);
        let id = self.number(index);
        if let (Some(_), Some(x)) = (which, literal(index).filter(|x| *x < 0.0 || x.fract() != 0.0)) {
            let name = &list.text;
            let help = match x {
                x if x < 0.0 && x.fract() == 0.0 => format!("from the end, write `{name}[len({name}) - {}]`", -x),
                _ => format!("the first element is `{name}[0]`"),
            };
            self.report(
                Diagnostic::new(Code::NotAllowedHere, index.span, "an index is a whole number from 0 on")
                    .label("no element has it")
                    .help(help),
            );
            return None;
        }
        self.build(NodeKind::List(ListFn::Index, which?, Some(id?)), span)
    }

    /// The hyper of that name that is one of several modes, and those.
    pub(super) fn mode_hyper(&self, name: &str) -> Option<(HyperId, Arc<[Arc<str>]>)> {
        let Some((Symbol::Hyper(id), _)) = self.scopes.find(name) else { return None };
        match &self.program.hypers[id.index()].default {
            HyperDefault::Mode(modes) => Some((id, modes.clone())),
            _ => None,
        }
    }

    /// `NAME == MODE` for a hyper that is one of several modes; `None` if neither side is such a hyper.
    fn mode(&mut self, op: ast::CompareOp, left: &Expr, right: &Expr, span: Span) -> Option<Option<ExprId>> {
        let hyper = |this: &Self, expr: &Expr| match &without_parentheses(expr).kind {
            ExprKind::Name(name) => this.mode_hyper(&name.text).map(|(id, modes)| (name.clone(), id, modes)),
            _ => None,
        };
        let (hyper, other, turned) = match (hyper(self, left), hyper(self, right)) {
            (Some(hyper), _) => (hyper, right, false),
            (None, Some(hyper)) => (hyper, left, true),
            (None, None) => return None,
        };
        let (name, id, modes) = hyper;
        if let Some(used) = self.uses.hypers.get_mut(id.index()) {
            *used = true;
        }
        let other = without_parentheses(other);
        let position = match &other.kind {
            ExprKind::Name(mode) => modes.iter().position(|known| *known == mode.text),
            _ => None,
        };
        let Some(position) = position else {
            let message = format!("`{}` is one of {}", name.text, modes.join(" | "));
            let text = self.text(other);
            let help = match did_you_mean(text, modes.iter().map(|mode| &**mode)) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("compare it with one of them: `{} == {}`", name.text, modes[0]),
            };
            self.report(Diagnostic::new(Code::UnknownName, other.span, message).label("none of its modes").help(help));
            return Some(None);
        };
        if turned {
            let message = "in a comparison the hyper comes first, then its mode";
            let help = format!("write `{} {} {}`", name.text, op.symbol(), modes[position]);
            self.report(Diagnostic::new(Code::NotAllowedHere, span, message).label("the other way around").help(help));
            return Some(None);
        }
        let is = self.build(NodeKind::IsMode(id, position as u32), span);
        Some(match op {
            ast::CompareOp::Eq => is,
            ast::CompareOp::Ne => is.and_then(|is| self.build(NodeKind::Not(is), span)),
            _ => {
                let message = format!("modes have no order, so `{}` means nothing", op.symbol());
                let help = format!("write `{0} == {1}` or `{0} != {1}`", name.text, modes[position]);
                self.report(
                    Diagnostic::new(Code::NotANumber, span, message)
                        .label(format!("`{}` is one of {}", name.text, modes.join(" | ")))
                        .help(help),
                );
                None
            }
        })
    }

    /// `count(NAME <= x)`, `prod(NAME, n)`, `len(NAME)`, `increasing(NAME)`, `given(NAME)`.
    fn name_function(&mut self, name: &str, args: &[ast::Arg], span: Span) -> Option<ExprId> {
        let params: &[&str] = match name {
            "count" => &["LIST <= x"],
            "prod" => &["LIST", "n"],
            "given" => &["INPUT"],
            _ => &["LIST"],
        };
        self.arity(name, params, args, span, None)?;
        let first = without_parentheses(&args[0].value);
        match name {
            "count" => self.count_of_list(first, span),
            "given" => self.given(first, span),
            "prod" => {
                let list = self.named_list(first);
                let n = self.number(&args[1].value);
                self.build(NodeKind::List(ListFn::Prod, list?, Some(n?)), span)
            }
            "len" => {
                let list = self.named_list(first)?;
                self.build(NodeKind::List(ListFn::Len, list, None), span)
            }
            _ => {
                let list = self.named_list(first)?;
                self.build(NodeKind::List(ListFn::Increasing, list, None), span)
            }
        }
    }

    /// Whether an expression is the name of a list.
    fn is_list(&self, expr: &Expr) -> bool {
        let ExprKind::Name(name) = &without_parentheses(expr).kind else { return false };
        match self.scopes.find(&name.text) {
            Some((Symbol::Hyper(id), _)) => matches!(self.program.hypers[id.index()].default, HyperDefault::List(_)),
            _ => false,
        }
    }

    /// Whether an argument of `count` is a list, or compares one.
    fn is_about_a_list(&self, arg: &Expr) -> bool {
        match &without_parentheses(arg).kind {
            ExprKind::Compare { left, right, .. } => self.is_list(left) || self.is_list(right),
            _ => self.is_list(arg),
        }
    }

    /// `count(NAME <= x)`
    fn count_of_list(&mut self, arg: &Expr, span: Span) -> Option<ExprId> {
        if let ExprKind::Compare { op, left, right } = &arg.kind {
            if self.is_list(right) && !self.is_list(left) {
                let (list, x) = (self.text(right), self.text(left));
                let help = format!("write `count({list} {} {x})`", turned(*op).symbol());
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, arg.span, "in `count` the list comes first")
                        .label("the other way around")
                        .help(help),
                );
                return None;
            }
            if self.is_list(left) || self.program.kind == FileKind::Schedule {
                let (list, right) = (self.named_list(without_parentheses(left)), self.number(right));
                return self.build(NodeKind::List(ListFn::Count(*op), list?, Some(right?)), span);
            }
        }
        if self.is_list(arg) {
            let list = self.text(arg);
            let help = format!("for their number write `len({list})`, or compare: `count({list} <= x)`");
            let message = "`count` counts the elements of a list that compare so";
            self.report(
                Diagnostic::new(Code::NotACondition, arg.span, message).label("this compares nothing").help(help),
            );
            return None;
        }
        self.condition(arg)?;
        let message = "`count` counts the elements of a list that compare so";
        self.report(
            Diagnostic::new(Code::NotAllowedHere, arg.span, message)
                .label("this is about no list")
                .help("write `count(LIST <= x)`; a list is declared `hyper LIST = [1, 2]`"),
        );
        None
    }

    /// `given(NAME)`
    fn given(&mut self, arg: &Expr, span: Span) -> Option<ExprId> {
        let ExprKind::Name(name) = &arg.kind else {
            let message = "`given` takes the name of an input";
            self.report(
                Diagnostic::new(Code::NotAllowedHere, arg.span, message)
                    .label("not a name")
                    .help("write `given(NAME)`; an input is declared `input NAME`"),
            );
            return None;
        };
        let name = &name.text;
        let (message, label, help, declared) = match self.scopes.find(name) {
            Some((Symbol::Broken, _)) => return None,
            Some((Symbol::Input(id), _)) => {
                self.uses.inputs[id.index()] = true;
                return self.build(NodeKind::Given(id), span);
            }
            Some((_, declared)) => {
                let message = format!("`given` takes the name of an input, and `{name}` is none");
                let help = "everything but an input has a value always: leave `given` out".to_string();
                (message, "always has a value", help, Some(declared))
            }
            None if names::is_built_in(name, self.program.kind) => {
                let message = format!("`given` takes the name of an input, and `{name}` is none");
                (message, "always has a value", "leave `given` out".to_string(), None)
            }
            None => {
                if self.named_elsewhere(name, arg.span) {
                    return None;
                }
                let help = match did_you_mean(name, self.scopes.names(|symbol| matches!(symbol, Symbol::Input(_)))) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("declare it above: `input {name}`"),
                };
                let message = format!("no input is called `{name}`");
                self.report(Diagnostic::new(Code::UnknownName, arg.span, message).label("not declared").help(help));
                return None;
            }
        };
        let mut diagnostic = Diagnostic::new(Code::NotAllowedHere, arg.span, message).label(label).help(help);
        if let Some(declared) = declared {
            diagnostic = diagnostic.also(declared, "declared here");
        }
        self.report(diagnostic);
        None
    }

    fn named_list(&mut self, expr: &Expr) -> Option<ListRef> {
        if let ExprKind::Name(name) = &expr.kind {
            return self.list(name);
        }
        self.report(
            Diagnostic::new(Code::NotAllowedHere, expr.span, "the name of a list is needed here")
                .label("not the name of a list")
                .help("a list is declared `hyper NAME = [1, 2]`"),
        );
        None
    }

    pub(super) fn arity(
        &mut self,
        name: &str,
        params: &[&str],
        args: &[ast::Arg],
        span: Span,
        declared: Option<Span>,
    ) -> Option<()> {
        if args.len() == params.len() {
            return Some(());
        }
        let takes = match params.len() {
            0 => "no arguments".to_string(),
            1 => "one argument".to_string(),
            n => format!("{n} arguments"),
        };
        let message = format!("`{name}` takes {takes}, not {}", args.len());
        let help = match args {
            [a, b, c] if matches!(name, "min" | "max") => {
                let [a, b, c] = [a, b, c].map(|arg| self.text(&arg.value));
                format!("write `{name}({a}, {name}({b}, {c}))`")
            }
            [x] if name == "dot" => {
                let x = self.text(&x.value);
                format!("the sum of squares is `dot({x}, {x})`")
            }
            _ => format!("write `{name}({})`", params.join(", ")),
        };
        let mut diagnostic = Diagnostic::new(Code::WrongArity, span, message).help(help);
        if let Some(declared) = declared {
            diagnostic = diagnostic.also(declared, "declared here");
        }
        self.report(diagnostic);
        None
    }

    fn old(&mut self, args: &[ast::Arg], span: Span) -> Option<ExprId> {
        self.arity("old", &["x"], args, span, None)?;
        let arg = without_parentheses(&args[0].value);
        let is_schedule = self.program.kind == FileKind::Schedule;
        let var = match &arg.kind {
            ExprKind::Name(name) => match (self.scopes.find(&name.text), &*name.text) {
                (Some((Symbol::State(id), _)), _) => Some(Var::State(id)),
                (Some((Symbol::Broken, _)), _) => return None,
                (None, "p") if !is_schedule => Some(Var::Param),
                (None, "g") if !is_schedule => Some(Var::Grad),
                _ => None,
            },
            _ => None,
        };
        let Some(var) = var else {
            // A name that means nothing is another mistake.
            let id = self.expression(arg)?;
            let (label, help) = match self.node(id).kind {
                NodeKind::Hyper(_) | NodeKind::Flag(_) | NodeKind::Input(_) | NodeKind::T | NodeKind::Number(_) => {
                    ("this does not change within a step", format!("write `{}`", self.text(arg)))
                }
                NodeKind::Read(Var::Local(_)) => (
                    "a local begins in the step",
                    "give the value that it has now a name of its own, with another `let`".to_string(),
                ),
                NodeKind::S | NodeKind::Base => {
                    ("this does not change within a step", format!("write `{}`", self.text(arg)))
                }
                NodeKind::Read(Var::Value) => {
                    ("this begins in the step", "what is kept from step to step is a `state`".to_string())
                }
                _ if is_schedule => {
                    ("this is a formula", "apply `old` to the states in it, each by its name".to_string())
                }
                _ => ("this is a formula", "apply `old` to the names in it: `old(p)`, `old(g)`".to_string()),
            };
            let what = if is_schedule { "the name of a state" } else { "`p`, `g` or the name of a state" };
            self.report(
                Diagnostic::new(Code::NotAllowedHere, arg.span, format!("`old` takes {what}")).label(label).help(help),
            );
            return None;
        };
        self.build(NodeKind::Old(var), span)
    }

    fn call_def(&mut self, index: usize, args: &[ast::Arg], function: &ast::Ident, span: Span) -> Option<ExprId> {
        self.uses.defs[index].2 = true;
        self.without_names(&function.text, args)?;
        let params: Vec<String> = self.defs[index].params.iter().map(|p| p.to_string()).collect();
        let params: Vec<&str> = params.iter().map(String::as_str).collect();
        let declared = self.defs[index].span;
        self.arity(&function.text, &params, args, span, Some(declared))?;
        let ids: Vec<Option<ExprId>> = args.iter().map(|arg| self.number(&arg.value)).collect();
        let ids = ids.into_iter().collect::<Option<Vec<_>>>()?;
        let template = self.defs[index].template.clone()?;
        if self.too_many_operations {
            return None;
        }
        let outer = self.inlining;
        self.inlining = outer.or(Some(span));
        let root = self.replay(&template, &ids, span);
        self.inlining = outer;
        root
    }

    /// Builds the nodes of a `def`'s body again, its parameters replaced.
    fn replay(&mut self, template: &super::items::Template, args: &[ExprId], call: Span) -> Option<ExprId> {
        let mut map: Vec<ExprId> = Vec::with_capacity(template.nodes.len());
        for (index, node) in template.nodes.iter().enumerate() {
            let id = if !template.needed.contains(&ExprId(index as u32)) {
                ExprId(u32::MAX)
            } else if let Some(&arg) = args.get(index) {
                // The first nodes of a template stand for its parameters.
                let id = self.build(NodeKind::Own(arg), self.node(arg).span)?;
                // It is computed before the call, whatever the body asks.
                self.marks[id.index()].reduces = false;
                id
            } else {
                match &node.kind {
                    NodeKind::Reduce(function, of, reduction) => {
                        let of = of.iter().map(|id| map[id.index()]).collect();
                        let to = template.reductions[reduction.index()].to;
                        self.reduce(*function, of, Some(to), node.span)?
                    }
                    NodeKind::Draw(function, _) => self.draw(*function, node.span)?,
                    kind => self.build(remap(kind, &|id| map[id.index()]), node.span)?,
                }
            };
            map.push(id);
        }
        let root = *map.get(template.root.index())?;
        self.build(NodeKind::Own(root), call)
    }

    pub(super) fn too_many_operations(&mut self, span: Span) {
        // One such error is enough: everything after it would repeat it.
        if std::mem::replace(&mut self.too_many_operations, true) {
            return;
        }
        self.report(
            Diagnostic::new(
                Code::TooManyOperations,
                span,
                format!("the rule has more than {MAX_OPERATIONS} operations once every `def` is inlined"),
            )
            .label("the limit is passed here")
            .help("keep a value that is used more than once in a `let`"),
        );
    }

    /// Counts a whole expression. False: there are too many operations, which has been reported.
    pub(super) fn count(&mut self, root: ExprId, span: Span) -> bool {
        self.operations = self.operations.saturating_add(self.sizes[root.index()]);
        if self.operations > MAX_OPERATIONS {
            self.too_many_operations(span);
        }
        !self.too_many_operations
    }

    /// Makes a node: infers its extent and holds it to the rules of extents. `None`: an error has been reported.
    pub(super) fn build(&mut self, kind: NodeKind, span: Span) -> Option<ExprId> {
        let mut kind = kind;
        self.allowed_here(&kind, span)?;
        let mut extent = Extent::Model;
        let mut size = self.cost(&kind);
        let mut mark = Mark::default();
        kind.for_each_operand(|operand| {
            extent = extent.join(self.node(operand).extent);
            size = size.saturating_add(self.sizes[operand.index()]);
            mark = mark.join(self.mark(operand));
        });
        let ty = match &kind {
            NodeKind::Bool(_) | NodeKind::Flag(_) | NodeKind::Not(_) | NodeKind::Compare(..) => Ty::Condition,
            NodeKind::Given(_) | NodeKind::IsMode(..) | NodeKind::List(ListFn::Increasing, ..) => Ty::Condition,
            NodeKind::Binary(BinaryOp::And | BinaryOp::Or, ..) => Ty::Condition,
            NodeKind::If(_, a, _) | NodeKind::Own(a) => self.node(*a).ty,
            NodeKind::Call(function, _) => function.result(),
            NodeKind::Reduce(function, ..) => function.result(),
            NodeKind::Read(Var::Local(id)) => self.local_ty[id.index()],
            _ => Ty::Number,
        };
        match &mut kind {
            NodeKind::Hyper(id) | NodeKind::Flag(id) | NodeKind::IsMode(id, _) => {
                extent = self.program.hypers[id.index()].extent;
            }
            NodeKind::List(function, list, operand) => {
                if let ListRef::Hyper(id) = list {
                    extent = extent.join(self.program.hypers[id.index()].extent);
                }
                if !extent.is_scalar() {
                    let operand = operand.map(|operand| self.node(operand).span);
                    let mut diagnostic = Diagnostic::new(Code::ScalarOnly, span, "only scalars can ask a list")
                        .help("compare or count with scalars, such as hypers and `t`");
                    if let (Some(operand), true) = (operand, *function != ListFn::Len) {
                        diagnostic = diagnostic.also(operand, format!("this differs per {}", extent.name()));
                    }
                    self.report(diagnostic);
                    return None;
                }
            }
            NodeKind::Input(id) => extent = self.program.inputs[id.index()].extent,
            // An array is given or not as a whole.
            NodeKind::Given(id) => {
                let input = self.program.inputs[id.index()].extent;
                extent = if input.is_scalar() { input } else { Extent::Tensor };
            }
            NodeKind::T | NodeKind::Epsilon | NodeKind::Shape(_) => extent = Extent::Tensor,
            NodeKind::Draw(..) => extent = Extent::Element,
            NodeKind::Reduce(_, _, id) => {
                let Reduction { to, phase, .. } = *self.reduction(*id);
                extent = to;
                mark = Mark { timing: Timing { phase, late: true }, reduces: true, ..mark };
            }
            NodeKind::Old(var) => extent = self.program.var_extent(*var),
            NodeKind::Read(var) => {
                extent = self.program.var_extent(*var);
                mark.timing = self.timing(*var);
            }
            NodeKind::Binary(BinaryOp::Rem, a, b) if !extent.is_scalar() => {
                let which = if self.node(*a).extent.is_scalar() { *b } else { *a };
                let which = self.node(which);
                let (which, of) = (which.span, which.extent.name());
                self.report(
                    Diagnostic::new(Code::ScalarOnly, span, "only scalars have `%`")
                        .also(which, format!("this differs per {of}"))
                        .help("write `x - floor(x / y)*y`"),
                );
                return None;
            }
            NodeKind::If(cond, a, b) if !extent.is_scalar() => {
                if !self.node(*cond).extent.is_scalar() {
                    self.arms_do_not_reduce(*cond, [*a, *b])?;
                }
                *cond = self.outcome(*cond);
                if ty == Ty::Condition {
                    *a = self.outcome(*a);
                    *b = self.outcome(*b);
                }
            }
            NodeKind::Binary(BinaryOp::And | BinaryOp::Or, a, b) if !extent.is_scalar() => {
                *a = self.outcome(*a);
                *b = self.outcome(*b);
            }
            _ => {}
        }
        if size > MAX_OPERATIONS {
            self.too_many_operations(self.inlining.unwrap_or(span));
        }
        if self.too_many_operations {
            return None;
        }
        let arena = self.template.as_mut().unwrap_or(&mut self.program.nodes);
        let id = ExprId(arena.len() as u32);
        arena.push(Node { kind, extent, ty, span });
        self.sizes.push(size);
        mark.arrays |= !extent.is_scalar();
        self.marks.push(mark);
        Some(id)
    }

    /// How many operations a node becomes. A power of a product may be multiplied out factor by factor.
    fn cost(&self, kind: &NodeKind) -> u64 {
        match kind {
            NodeKind::Neg(_) | NodeKind::Not(_) | NodeKind::Binary(..) | NodeKind::Compare(..) | NodeKind::If(..) => 1,
            NodeKind::List(..) => 1,
            // sign, clamp and lerp are the longest.
            NodeKind::Call(function, args) => {
                let is_array = args.iter().any(|arg| !self.node(*arg).extent.is_scalar());
                // Of elements it is a polynomial; that of the sine is the longest.
                if is_array && function.is_polynomial() { 210 } else { 4 }
            }
            NodeKind::Reduce(..) => 4,
            // A generator of a few rounds, and what makes a number of its bits: a logarithm and a cosine at most.
            NodeKind::Draw(..) => 100,
            NodeKind::Power(base, n) => {
                let factors = self.factors(*base);
                let n = u64::from(n.unsigned_abs());
                if factors > 1 { factors.saturating_mul(n) } else { 2 * u64::from(n.max(1).ilog2()) + 1 }
            }
            NodeKind::Own(_) => u64::from(self.inlining.is_some()),
            _ => 0,
        }
    }

    /// How many factors the product at `root` has, powers multiplied out.
    fn factors(&self, root: ExprId) -> u64 {
        let arena = self.arena();
        let mut memo = std::collections::BTreeMap::<ExprId, u64>::new();
        let mut pending = vec![root];
        while let Some(&id) = pending.last() {
            let mut missing = None;
            let mut of = |id: ExprId| {
                memo.get(&id).copied().unwrap_or_else(|| {
                    missing = Some(id);
                    0
                })
            };
            let count = match arena[id.index()].kind {
                NodeKind::Binary(BinaryOp::Mul | BinaryOp::Div, a, b) => of(a).saturating_add(of(b)),
                NodeKind::Power(a, n) => of(a).saturating_mul(u64::from(n.unsigned_abs()).max(1)),
                _ => 1,
            };
            match missing {
                Some(id) => pending.push(id),
                None => {
                    memo.insert(id, count);
                    pending.pop();
                }
            }
        }
        memo[&root]
    }

    /// A scalar condition as elements see it: the outcome selects the plan, so it never reaches the loop. One that is late
    /// is known when the plan has been selected, and a view has no plan: those select values.
    pub(super) fn outcome(&mut self, cond: ExprId) -> ExprId {
        let node = self.node(cond);
        let selects = !node.extent.is_scalar() || self.is_late(cond) || self.place == Place::View;
        if selects || matches!(node.kind, NodeKind::Bool(_) | NodeKind::Outcome(_)) {
            return cond;
        }
        let (extent, span) = (node.extent, node.span);
        let id = self.plan_condition(cond);
        let kind = NodeKind::Outcome(id);
        self.program.nodes.push(Node { kind, extent, ty: Ty::Condition, span });
        self.sizes.push(self.sizes[cond.index()]);
        self.marks.push(Mark::default());
        ExprId(self.program.nodes.len() as u32 - 1)
    }

    /// Numbers a condition that selects the plan. One that is written twice and cannot change within a step is one.
    pub(super) fn plan_condition(&mut self, cond: ExprId) -> super::program::ConditionId {
        let new = Condition { cond, parent: self.inside };
        let mut hash = None;
        if self.is_stable(cond) {
            let text = print::expression_text(&self.program, cond);
            hash = Some(hash_of(&text));
            // Texts are made again only of conditions that are all but certain to have the same.
            let same = |(old, known): (&Condition, &Option<u64>)| {
                *known == hash
                    && (old.parent.is_none() || old.parent == new.parent)
                    && print::expression_text(&self.program, old.cond) == text
            };
            if let Some(index) = self.program.conditions.iter().zip(&self.condition_hashes).position(same) {
                return super::program::ConditionId(index as u32);
            }
        }
        self.condition_hashes.truncate(self.program.conditions.len());
        self.condition_hashes.push(hash);
        self.program.conditions.push(new);
        super::program::ConditionId(self.program.conditions.len() as u32 - 1)
    }

    /// Whether an expression has one value throughout a step.
    fn is_stable(&self, root: ExprId) -> bool {
        self.program.postorder(root).iter().all(|id| !matches!(self.program.node(*id).kind, NodeKind::Read(_)))
    }

    /// Whether such a node may stand where the expression being checked stands.
    pub(super) fn allowed_here(&mut self, kind: &NodeKind, span: Span) -> Option<()> {
        use Place::*;
        let (what, allowed): (String, bool) = match kind {
            NodeKind::Read(Var::Param) => ("`p`".into(), self.place.has_parameter()),
            NodeKind::Read(Var::Grad) => ("`g`".into(), self.place == Statement),
            NodeKind::Read(var @ Var::Local(_)) => {
                (format!("the local `{}`", self.program.var_name(*var)), self.place == Statement)
            }
            NodeKind::Read(var @ Var::State(_)) => {
                (format!("the state `{}`", self.program.var_name(*var)), self.place.has_states())
            }
            NodeKind::Old(_) => ("`old`".into(), self.place == Statement),
            NodeKind::T => ("`t`".into(), self.place.has_step()),
            NodeKind::S => ("`s`".into(), self.place.has_step()),
            NodeKind::Base => ("`base`".into(), self.place.has_step()),
            NodeKind::Epsilon => ("`epsilon`".into(), self.place.has_tensor()),
            NodeKind::Shape(shape) => (format!("`{}`", shape.name()), self.place.has_tensor()),
            NodeKind::Reduce(function, ..) => (format!("the reduction `{}`", function.name()), self.place.has_tensor()),
            NodeKind::Draw(function, _) => {
                (format!("`{}`", function.name()), matches!(self.place, Statement | DefBody))
            }
            NodeKind::Read(Var::Value) => ("`value`".into(), self.place == Statement),
            NodeKind::Input(id) | NodeKind::Given(id) => {
                (format!("the input `{}`", self.program.inputs[id.index()].name), self.place == Statement)
            }
            _ => return Some(()),
        };
        if allowed {
            return Some(());
        }
        let help = match self.place {
            Init if matches!(kind, NodeKind::Draw(..)) => "draw it in the first step: `if t == 1 { NAME = ... }`",
            HyperDefault | Require | InputDefault => "it may use numbers, hypers and functions of them",
            Init if self.program.kind == FileKind::Schedule => "it may use numbers, hypers and functions of them",
            Init => "it may use `p`, numbers, hypers, the shape, and functions and reductions of them",
            DefBody => "make it a parameter of the `def`, and pass it in the call",
            View => "it is computed after the step, of `p`, states, hypers and `t`: keep what it needs in a `state`",
            Statement => "",
        };
        let message = format!("{what} means nothing in {}", self.place.describe());
        self.report(Diagnostic::new(Code::NotAllowedHere, span, message).help(help));
        None
    }
}

pub(super) fn without_parentheses(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

/// The comparison that says the same of its sides exchanged.
fn turned(op: ast::CompareOp) -> ast::CompareOp {
    match op {
        ast::CompareOp::Lt => ast::CompareOp::Gt,
        ast::CompareOp::Le => ast::CompareOp::Ge,
        ast::CompareOp::Gt => ast::CompareOp::Lt,
        ast::CompareOp::Ge => ast::CompareOp::Le,
        same => same,
    }
}

/// The value of a literal number, parenthesised and signed or not.
pub(super) fn literal(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number { value, .. } => Some(*value),
        ExprKind::Paren(inner) => literal(inner),
        ExprKind::Unary { op: UnaryOp::Neg, operand } => literal(operand).map(|x| -x),
        _ => None,
    }
}

/// The same node over other operands.
pub(super) fn remap(kind: &NodeKind, map: &dyn Fn(ExprId) -> ExprId) -> NodeKind {
    let at = |id: &ExprId| map(*id);
    match kind {
        NodeKind::Neg(a) => NodeKind::Neg(at(a)),
        NodeKind::Not(a) => NodeKind::Not(at(a)),
        NodeKind::Power(a, n) => NodeKind::Power(at(a), *n),
        NodeKind::Own(a) => NodeKind::Own(at(a)),
        NodeKind::Binary(op, a, b) => NodeKind::Binary(*op, at(a), at(b)),
        NodeKind::Compare(op, a, b) => NodeKind::Compare(*op, at(a), at(b)),
        NodeKind::If(c, a, b) => NodeKind::If(at(c), at(a), at(b)),
        NodeKind::Call(function, args) => NodeKind::Call(*function, args.iter().map(at).collect()),
        NodeKind::Reduce(function, args, id) => NodeKind::Reduce(*function, args.iter().map(at).collect(), *id),
        NodeKind::List(function, list, operand) => NodeKind::List(*function, *list, operand.as_ref().map(at)),
        leaf => leaf.clone(),
    }
}

fn hash_of(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}
