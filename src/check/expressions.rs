//! Expressions: names become ids, types and extents are inferred, calls of `def` are inlined.
//!
//! The syntax tree is checked for names and types by recursion, which the scan's nesting limit bounds. Every node is made by
//! [`Checker::build`], the one place that knows the rules of extents; inlining a `def` replays its nodes through it.

use super::names::{self, Symbol};
use super::program::{
    BinaryOp, Condition, ExprId, Extent, FileKind, Function, HyperDefault, ListFn, ListRef, Node, NodeKind, Ty, Var,
};
use super::{Checker, MAX_OPERATIONS, Place, print};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{self, Expr, ExprKind, UnaryOp};

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
            ExprKind::Bool(_) => "write 1 or 0".to_string(),
            ExprKind::Name(name) => format!("write `if {} then 1 else 0`", name.text),
            _ => "write `if CONDITION then A else B` to turn it into a number".to_string(),
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
        let text = self.parsed.file.slice(expr.span);
        let help = match expr.kind {
            ExprKind::Name(_) => format!("write `{text} != 0`"),
            _ => "compare it with something: `... != 0`".to_string(),
        };
        self.report(
            Diagnostic::new(Code::NotACondition, expr.span, "a number where a condition is needed")
                .label("this is a number")
                .help(help),
        );
        None
    }

    /// Any expression. `None`: an error has been reported.
    pub(super) fn expression(&mut self, expr: &Expr) -> Option<ExprId> {
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
            ExprKind::Index { list, index } => {
                let list = self.list(list);
                let index = self.number(index);
                self.build(NodeKind::List(ListFn::Index, list?, Some(index?)), span)
            }
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
        if name.contains('.') {
            self.not_available(span, &format!("`{name}`, a name of a used rule,"));
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
                        let message = format!("`{name}` is a mode, not a value");
                        self.report(Diagnostic::new(Code::NotANumber, span, message).help(help));
                        return None;
                    }
                    HyperDefault::List(_) => {
                        let message = format!("`{name}` is a list, not a number");
                        let help =
                            format!("write `{name}[0]`, `count({name} <= x)`, `prod({name}, n)` or `len({name})`");
                        self.report(Diagnostic::new(Code::NotANumber, span, message).help(help));
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
                "numel" | "rank" | "rows" | "cols" => {
                    self.not_available(span, &format!("`{name}`"));
                    return None;
                }
                _ => {
                    self.unknown_name(name, span);
                    return None;
                }
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
        let mut candidates = self.scopes.names();
        candidates.extend(names::values(self.program.kind));
        let help = match did_you_mean(name, candidates.iter().copied()) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None => match (name, self.place) {
                ("t" | "step" | "epoch" | "last_epoch", _) if self.program.kind == FileKind::Schedule => {
                    "the completed steps are `s`".into()
                }
                ("lr" | "p", _) if self.program.kind == FileKind::Schedule => {
                    "the driven hyper's own value is `base`".into()
                }
                ("step" | "steps" | "iter" | "iteration", _) => "the steps so far, this one included, are `t`".into(),
                ("param" | "params" | "w" | "x" | "theta" | "weight", Place::Statement) => {
                    "the parameter is `p`".into()
                }
                ("grad" | "grads" | "gradient" | "dw" | "dx", _) => "the gradient is `g`".into(),
                (_, Place::Statement) => {
                    format!("declare it: `hyper {name} = ...`, `state {name} = 0` or `let {name} = ...`")
                }
                (_, Place::DefBody) => format!("make it an argument: `def f(..., {name}) = ...`"),
                (_, Place::HyperDefault) => "the default of a hyper may use the hypers declared above it".into(),
                _ => format!("declare it: `hyper {name} = ...`"),
            },
        };
        self.report(
            Diagnostic::new(Code::UnknownName, span, format!("nothing is called `{name}`"))
                .label("not declared")
                .help(help),
        );
    }

    fn call(
        &mut self,
        function: &ast::Ident,
        args: &[ast::Arg],
        per: Option<&ast::Ident>,
        span: Span,
    ) -> Option<ExprId> {
        let name = &*function.text;
        let is_call_of_schedule = self.program.kind == FileKind::Schedule
            && self.scopes.find(name).is_none()
            && !names::is_built_in(name, self.program.kind);
        if is_call_of_schedule && (args.is_empty() || args.iter().any(|arg| arg.name.is_some())) {
            return self.call_schedule(function, args, span);
        }
        if let Some(arg) = args.iter().find_map(|arg| arg.name.as_ref()) {
            self.report(
                Diagnostic::new(Code::UnexpectedToken, arg.span, "arguments of functions have no names")
                    .help(format!("write `{name}(...)` with the values alone")),
            );
            return None;
        }
        if let Some(per) = per {
            self.not_available(per.span, "a reduction (`per` in a call)");
            return None;
        }
        if let Some((symbol, declared)) = self.scopes.find(name) {
            return match symbol {
                Symbol::Def(index) => self.call_def(index, args, function, span),
                Symbol::Broken => None,
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
        if name == "old" {
            return self.old(args, span);
        }
        if let Some(built_in) = names::function(name) {
            // `min(x)` and `max(x)` of one argument are reductions.
            if args.len() == 1 && matches!(built_in, Function::Min | Function::Max) {
                self.not_available(span, &format!("the reduction `{name}(x)`"));
                return None;
            }
            let args: Vec<Option<ExprId>> = {
                self.arity(name, built_in.params(), args, span)?;
                args.iter().map(|arg| self.number(&arg.value)).collect()
            };
            return self.build(NodeKind::Call(built_in, args.into_iter().collect::<Option<_>>()?), span);
        }
        if names::NAME_FUNCTIONS.contains(&name) {
            return self.name_function(name, args, span);
        }
        if names::REDUCTIONS.contains(&name) {
            self.not_available(span, &format!("the reduction `{name}`"));
            return None;
        }
        if names::RESERVED_FUNCTIONS.contains(&name) {
            self.not_available(span, &format!("`{name}`"));
            return None;
        }
        if names::values(self.program.kind).contains(&name) {
            let message = format!("`{name}` is a value, not a function");
            self.report(
                Diagnostic::new(Code::UnknownFunction, function.span, message)
                    .help(format!("to multiply, write `{name} * (...)`")),
            );
            return None;
        }
        let mut candidates = self.scopes.names();
        candidates.extend(Function::NAMED.map(Function::name));
        candidates.push("old");
        let help = match name {
            "ln" => "the natural logarithm is `log`".to_string(),
            "pow" | "power" => "write `a^b`".to_string(),
            "maximum" => "write `max(a, b)`".to_string(),
            "minimum" => "write `min(a, b)`".to_string(),
            "where" | "select" => "write `if CONDITION then A else B`".to_string(),
            "square" => "write `x^2`".to_string(),
            "sgn" => "write `sign(x)`".to_string(),
            _ => match did_you_mean(name, candidates.iter().copied()) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("declare it: `def {name}(x) = ...`"),
            },
        };
        self.report(
            Diagnostic::new(Code::UnknownFunction, function.span, format!("no function is called `{name}`")).help(help),
        );
        None
    }

    /// A list hyper.
    pub(super) fn list(&mut self, name: &ast::Ident) -> Option<ListRef> {
        match self.scopes.find(&name.text) {
            Some((Symbol::Hyper(id), declared)) => {
                if let Some(used) = self.uses.hypers.get_mut(id.index()) {
                    *used = true;
                }
                if matches!(self.program.hypers[id.index()].default, HyperDefault::List(_)) {
                    return Some(ListRef::Hyper(id));
                }
                let message = format!("`{}` is not a list", name.text);
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, name.span, message)
                        .also(declared, "declared here")
                        .help(format!("a list is declared `hyper {} = [1, 2]`", name.text)),
                );
            }
            Some((Symbol::Broken, _)) => {}
            _ => {
                let message = format!("no list is called `{}`", name.text);
                self.report(
                    Diagnostic::new(Code::UnknownName, name.span, message)
                        .help(format!("a list is declared `hyper {} = [1, 2]`", name.text)),
                );
            }
        }
        None
    }

    /// `NAME == MODE` for a hyper that is one of several modes; `None` if the left side is no such hyper.
    fn mode(&mut self, op: ast::CompareOp, left: &Expr, right: &Expr, span: Span) -> Option<Option<ExprId>> {
        let ExprKind::Name(name) = &left.kind else { return None };
        let Some((Symbol::Hyper(id), _)) = self.scopes.find(&name.text) else { return None };
        let HyperDefault::Mode(modes) = self.program.hypers[id.index()].default.clone() else { return None };
        if let Some(used) = self.uses.hypers.get_mut(id.index()) {
            *used = true;
        }
        let mode = match &right.kind {
            ExprKind::Name(mode) => modes.iter().position(|known| *known == mode.text),
            _ => None,
        };
        let Some(mode) = mode else {
            let message = format!("`{}` is one of {}", name.text, modes.join(" | "));
            self.report(Diagnostic::new(Code::UnknownName, right.span, message).help("compare it with one of them"));
            return Some(None);
        };
        let is = self.build(NodeKind::IsMode(id, mode as u32), span);
        Some(match op {
            ast::CompareOp::Eq => is,
            ast::CompareOp::Ne => is.and_then(|is| self.build(NodeKind::Not(is), span)),
            _ => {
                let message = format!("modes have no order, so `{}` means nothing", op.symbol());
                self.report(Diagnostic::new(Code::NotANumber, span, message).help("write `==` or `!=`"));
                None
            }
        })
    }

    /// `count(NAME <= x)`, `prod(NAME, n)`, `len(NAME)`, `increasing(NAME)`, `given(NAME)`.
    fn name_function(&mut self, name: &str, args: &[ast::Arg], span: Span) -> Option<ExprId> {
        let params: &[&str] = match name {
            "count" => &["LIST <= x"],
            "prod" => &["LIST", "n"],
            _ => &["NAME"],
        };
        self.arity(name, params, args, span)?;
        let first = &args[0].value;
        if name == "count" {
            let ExprKind::Compare { op, left, right } = &first.kind else {
                let message = "`count` counts the elements of a list that compare so";
                self.report(Diagnostic::new(Code::NotACondition, first.span, message).help("write `count(LIST <= x)`"));
                return None;
            };
            let (list, right) = (self.named_list(left), self.number(right));
            return self.build(NodeKind::List(ListFn::Count(*op), list?, Some(right?)), span);
        }
        if name == "given" {
            let input = match &first.kind {
                ExprKind::Name(input) => self.scopes.find(&input.text),
                _ => None,
            };
            let Some((Symbol::Input(id), _)) = input else {
                let message = "`given` takes the name of an input";
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, first.span, message).help("declare it: `input NAME`"),
                );
                return None;
            };
            self.uses.inputs[id.index()] = true;
            return self.build(NodeKind::Given(id), span);
        }
        let list = self.named_list(first);
        match name {
            "prod" => {
                let n = self.number(&args[1].value);
                self.build(NodeKind::List(ListFn::Prod, list?, Some(n?)), span)
            }
            "len" => self.build(NodeKind::List(ListFn::Len, list?, None), span),
            _ => self.build(NodeKind::List(ListFn::Increasing, list?, None), span),
        }
    }

    fn named_list(&mut self, expr: &Expr) -> Option<ListRef> {
        match &expr.kind {
            ExprKind::Name(name) => self.list(name),
            _ => {
                let message = "the name of a list is needed here";
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, expr.span, message).help("declare it: `hyper NAME = [1, 2]`"),
                );
                None
            }
        }
    }

    fn arity(&mut self, name: &str, params: &[&str], args: &[ast::Arg], span: Span) -> Option<()> {
        if args.len() == params.len() {
            return Some(());
        }
        let takes = match params.len() {
            0 => "no arguments".to_string(),
            1 => "one argument".to_string(),
            n => format!("{n} arguments"),
        };
        let message = format!("`{name}` takes {takes}, not {}", args.len());
        self.report(
            Diagnostic::new(Code::WrongArity, span, message).help(format!("write `{name}({})`", params.join(", "))),
        );
        None
    }

    fn old(&mut self, args: &[ast::Arg], span: Span) -> Option<ExprId> {
        self.arity("old", &["x"], args, span)?;
        let mut arg = &args[0].value;
        while let ExprKind::Paren(inner) = &arg.kind {
            arg = inner;
        }
        let var = match &arg.kind {
            ExprKind::Name(name) => match (self.scopes.find(&name.text), &*name.text) {
                (Some((Symbol::State(id), _)), _) => Some(Var::State(id)),
                (Some((Symbol::Broken, _)), _) => return None,
                (None, "p") => Some(Var::Param),
                (None, "g") => Some(Var::Grad),
                _ => None,
            },
            _ => None,
        };
        let Some(var) = var else {
            self.report(
                Diagnostic::new(Code::NotAllowedHere, arg.span, "`old` takes `p`, `g` or the name of a state")
                    .label("this has no value before the step")
                    .help("keep the value in a `let` before it is changed"),
            );
            return None;
        };
        self.build(NodeKind::Old(var), span)
    }

    fn call_def(&mut self, index: usize, args: &[ast::Arg], function: &ast::Ident, span: Span) -> Option<ExprId> {
        self.uses.defs[index].2 = true;
        let params: Vec<String> = self.defs[index].params.iter().map(|p| p.to_string()).collect();
        let params: Vec<&str> = params.iter().map(String::as_str).collect();
        self.arity(&function.text, &params, args, span)?;
        let ids: Vec<Option<ExprId>> = args.iter().map(|arg| self.number(&arg.value)).collect();
        let ids = ids.into_iter().collect::<Option<Vec<_>>>()?;
        let template = self.defs[index].template.clone()?;
        if self.operations.saturating_add(template.operations) > MAX_OPERATIONS {
            self.too_many_operations(span);
            return None;
        }
        if let Some(depth) = &mut self.def_depth {
            *depth = (*depth).max(template.depth + 1);
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
            let id = if let Some(&arg) = args.get(index) {
                // The first nodes of a template stand for its parameters.
                self.build(NodeKind::Own(arg), self.node(arg).span)?
            } else {
                self.build(remap(&node.kind, &|id| map[id.index()]), node.span)?
            };
            map.push(id);
        }
        let root = *map.get(template.root.index())?;
        self.build(NodeKind::Own(root), call)
    }

    pub(super) fn too_many_operations(&mut self, span: Span) {
        // One such error is enough: everything after it would repeat it.
        if self.diagnostics.iter().any(|d| d.code == Code::TooManyOperations) {
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

    /// Makes a node: infers its extent and holds it to the rules of extents. `None`: an error has been reported.
    pub(super) fn build(&mut self, kind: NodeKind, span: Span) -> Option<ExprId> {
        let mut kind = kind;
        self.allowed_here(&kind, span)?;
        let mut extent = Extent::Model;
        kind.for_each_operand(|operand| extent = extent.join(self.node(operand).extent));
        let ty = match &kind {
            NodeKind::Bool(_) | NodeKind::Flag(_) | NodeKind::Not(_) | NodeKind::Compare(..) => Ty::Condition,
            NodeKind::Given(_) | NodeKind::IsMode(..) | NodeKind::List(ListFn::Increasing, ..) => Ty::Condition,
            NodeKind::Binary(BinaryOp::And | BinaryOp::Or, ..) | NodeKind::Outcome(_) => Ty::Condition,
            NodeKind::If(_, a, _) | NodeKind::Own(a) => self.node(*a).ty,
            NodeKind::Call(function, _) => function.result(),
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
                if extent == Extent::Element {
                    let operand = operand.map(|operand| self.node(operand).span);
                    let mut diagnostic = Diagnostic::new(Code::ScalarOnly, span, "only scalars can ask a list")
                        .help("lists are for hypers, `t` and other scalars");
                    if let (Some(operand), true) = (operand, *function != ListFn::Len) {
                        diagnostic = diagnostic.also(operand, "this differs per element");
                    }
                    self.report(diagnostic);
                    return None;
                }
            }
            NodeKind::Input(id) | NodeKind::Given(id) => extent = self.program.inputs[id.index()].extent,
            NodeKind::T | NodeKind::Epsilon => extent = Extent::Tensor,
            NodeKind::Read(var) | NodeKind::Old(var) => extent = self.program.var_extent(*var),
            NodeKind::Binary(BinaryOp::Rem, a, b) if extent == Extent::Element => {
                let which = if self.node(*a).extent == Extent::Element { *a } else { *b };
                let which = self.node(which).span;
                self.report(
                    Diagnostic::new(Code::ScalarOnly, span, "only scalars have `%`")
                        .also(which, "this differs per element")
                        .help("write `x - floor(x / y)*y`"),
                );
                return None;
            }
            NodeKind::Call(function, args) if extent == Extent::Element && !function.per_element() => {
                let (function, args) = (*function, args.clone());
                self.no_element_function(function, &args, span);
                return None;
            }
            NodeKind::If(cond, ..) if extent == Extent::Element => *cond = self.outcome(*cond),
            NodeKind::Binary(BinaryOp::And | BinaryOp::Or, a, b) if extent == Extent::Element => {
                *a = self.outcome(*a);
                *b = self.outcome(*b);
            }
            NodeKind::Outcome(id) => {
                let cond = self.program.conditions[id.index()].cond;
                extent = self.program.node(cond).extent;
            }
            _ => {}
        }
        self.operations = self.operations.saturating_add(self.cost(&kind));
        if self.operations > MAX_OPERATIONS {
            self.too_many_operations(self.inlining.unwrap_or(span));
            return None;
        }
        let arena = self.template.as_mut().unwrap_or(&mut self.program.nodes);
        let id = ExprId(arena.len() as u32);
        arena.push(Node { kind, extent, ty, span });
        Some(id)
    }

    fn no_element_function(&mut self, function: Function, args: &[ExprId], span: Span) {
        let which = args.iter().find(|id| self.node(**id).extent == Extent::Element).map(|id| self.node(*id).span);
        let mut diagnostic = if function == Function::Pow {
            Diagnostic::new(Code::NotAvailable, span, "this power of an element value is not part of this version").help(
                "per element the exponent is a whole number from -64 to 64; `x^0.5` is `sqrt(x)`, `x^-0.5` is `rsqrt(x)`",
            )
        } else {
            let name = function.name();
            Diagnostic::new(Code::NotAvailable, span, format!("`{name}` per element is not part of this version"))
                .help("per element there are + - * / abs sqrt rsqrt min max clamp sign fma lerp floor ceil round")
        };
        if let Some(which) = which.filter(|which| *which != span) {
            diagnostic = diagnostic.also(which, "this differs per element");
        }
        self.report(diagnostic);
    }

    /// How many operations a node becomes. A power of a product may be multiplied out factor by factor.
    fn cost(&self, kind: &NodeKind) -> u64 {
        match kind {
            NodeKind::Neg(_) | NodeKind::Not(_) | NodeKind::Binary(..) | NodeKind::Compare(..) | NodeKind::If(..) => 1,
            NodeKind::List(..) => 1,
            // sign, clamp and lerp are the longest.
            NodeKind::Call(..) => 4,
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

    /// A scalar condition as elements see it: the outcome selects the plan, so it never reaches the loop.
    pub(super) fn outcome(&mut self, cond: ExprId) -> ExprId {
        let node = self.node(cond);
        if node.extent == Extent::Element || matches!(node.kind, NodeKind::Bool(_) | NodeKind::Outcome(_)) {
            return cond;
        }
        let (extent, span) = (node.extent, node.span);
        let id = self.plan_condition(cond);
        let kind = NodeKind::Outcome(id);
        self.program.nodes.push(Node { kind, extent, ty: Ty::Condition, span });
        ExprId(self.program.nodes.len() as u32 - 1)
    }

    /// Numbers a condition that selects the plan. One that is written twice and cannot change within a step is one.
    pub(super) fn plan_condition(&mut self, cond: ExprId) -> super::program::ConditionId {
        let new = Condition { cond, parent: self.inside };
        if self.is_stable(cond) {
            let text = print::expression_text(&self.program, cond);
            let same = |old: &Condition| {
                (old.parent.is_none() || old.parent == new.parent)
                    && self.is_stable(old.cond)
                    && print::expression_text(&self.program, old.cond) == text
            };
            if let Some(index) = self.program.conditions.iter().position(same) {
                return super::program::ConditionId(index as u32);
            }
        }
        self.program.conditions.push(new);
        super::program::ConditionId(self.program.conditions.len() as u32 - 1)
    }

    /// Whether an expression has one value throughout a step.
    fn is_stable(&self, root: ExprId) -> bool {
        self.program.postorder(root).iter().all(|id| !matches!(self.program.node(*id).kind, NodeKind::Read(_)))
    }

    /// Whether such a node may stand where the expression being checked stands.
    fn allowed_here(&mut self, kind: &NodeKind, span: Span) -> Option<()> {
        use Place::*;
        let (what, allowed): (String, bool) = match kind {
            NodeKind::Read(Var::Param) => ("`p`".into(), matches!(self.place, Statement | Init)),
            NodeKind::Read(Var::Grad) => ("`g`".into(), self.place == Statement),
            NodeKind::Read(Var::Local(_)) => return Some(()),
            NodeKind::Read(var @ Var::State(_)) => {
                (format!("the state `{}`", self.program.var_name(*var)), self.place == Statement)
            }
            NodeKind::Old(_) => ("`old`".into(), self.place == Statement),
            NodeKind::T => ("`t`".into(), matches!(self.place, Statement | DefBody)),
            NodeKind::S => ("`s`".into(), matches!(self.place, Statement | DefBody)),
            NodeKind::Base => ("`base`".into(), matches!(self.place, Statement | DefBody)),
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
            HyperDefault | Require | InputDefault => "it may use numbers, hypers and functions of them",
            Init => "it may use `p`, numbers, hypers and functions of them",
            DefBody => "pass it as an argument",
            Statement => "",
        };
        let message = format!("{what} means nothing in {}", self.place.describe());
        self.report(Diagnostic::new(Code::NotAllowedHere, span, message).help(help));
        None
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
        NodeKind::List(function, list, operand) => NodeKind::List(*function, *list, operand.as_ref().map(at)),
        leaf => leaf.clone(),
    }
}
