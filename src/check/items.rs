//! Declarations and statements.

use super::names::{self, Symbol};
use super::program::{ExprId, HyperId, InputId, StateId};
use super::program::{
    Extent, FileKind, Hyper, HyperDefault, IfKind, Input, Local, LocalId, Node, NodeKind, Range, Reduction, Require,
    State, Stmt, StmtKind, Ty, Var, postorder,
};
use super::reduce::{Mark, Timing, after_either};
use super::{
    Checker, Elsewhere, MAX_CONDITIONS_AROUND, MAX_DEF_NODES, MAX_ELEMENTS, MAX_HYPERS, MAX_INPUTS, MAX_MODES,
    MAX_STATES, Place, range, recursion,
};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::ir::Storage;
use crate::source::Span;
use crate::syntax::ast::{
    AssignOp, Ast, BinaryOp, Block, Branch, Expr, ExprKind, HyperValue, Ident, Interval, Item, ItemKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// A `def`.
pub(super) struct Def {
    pub(super) params: Vec<Arc<str>>,
    /// Where its name stands.
    pub(super) span: Span,
    /// `None`: its body was rejected.
    pub(super) template: Option<Rc<Template>>,
}

/// The checked body of a `def`, to be built again at each call. Its first nodes stand for the parameters.
pub(super) struct Template {
    pub(super) nodes: Vec<Node>,
    /// The reductions among them.
    pub(super) reductions: Vec<Reduction>,
    /// Those that the value is made of.
    pub(super) needed: BTreeSet<ExprId>,
    pub(super) root: ExprId,
}

impl Checker<'_> {
    pub(super) fn items(&mut self, ast: &Ast) {
        let mut first_statement = None;
        for item in &ast.items {
            if self.has_enough_errors() {
                return;
            }
            if let Some(what) = declaration(&item.kind) {
                if let Some(statement) = first_statement {
                    self.misplaced(item, what, statement);
                }
                self.declaration(item);
            } else if let Some(stmt) = self.statement(item) {
                first_statement = first_statement.or(Some(stmt.span));
                self.program.body.append(&mut self.pending);
                self.program.body.push(stmt);
            } else if !matches!(item.kind, ItemKind::Broken { .. }) {
                first_statement = first_statement.or(Some(item.span));
            }
        }
    }

    fn misplaced(&mut self, item: &Item, what: &str, statement: Span) {
        self.report(
            Diagnostic::new(Code::MisplacedDeclaration, item.span, format!("{what} is declared before the statements"))
                .also(statement, "the first statement")
                .help("move this line above the first statement"),
        );
    }

    fn declaration(&mut self, item: &Item) {
        self.declaring = None;
        match &item.kind {
            ItemKind::Hyper { name, per, value, interval, fixed } => {
                self.hyper(item, name, per.as_ref(), value, interval.as_ref(), *fixed);
            }
            ItemKind::State { name, per, dtype, init } => self.state(item, name, per.as_ref(), dtype.as_ref(), init),
            ItemKind::Input { name, per, default } => self.input(item, name, per.as_ref(), default.as_ref()),
            ItemKind::Def { name, params, body } => self.def(name, params, body),
            ItemKind::Require { cond, message } => {
                let cond = self.at(Place::Require, |this| this.condition(cond));
                if let Some(cond) = cond.filter(|cond| self.count(*cond, item.span)) {
                    self.program.requires.push(Require { cond, message: message.as_str().into() });
                }
            }
            _ => {}
        }
    }

    pub(super) fn at<T>(&mut self, place: Place, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.place, place);
        let result = f(self);
        self.place = outer;
        result
    }

    /// Declares a name. If it is taken, that is reported, and using it as it was meant is not another error: the name
    /// means what was declared last, or nothing is said of it if that is something else.
    fn declare(&mut self, name: &Ident, symbol: Symbol) {
        let (symbol, declared) = match self.taken(name, symbol) {
            Some((old, _)) if std::mem::discriminant(&old) != std::mem::discriminant(&symbol) => {
                (Symbol::Broken, name.span)
            }
            Some((_, declared)) => (symbol, declared),
            None => (symbol, name.span),
        };
        self.scopes.declare(name.text.clone(), symbol, declared);
    }

    /// Reports a name that is taken; what it was, and where it was declared.
    fn taken(&mut self, name: &Ident, symbol: Symbol) -> Option<(Symbol, Span)> {
        if name.text.contains('.') {
            self.report(
                Diagnostic::new(Code::ReservedName, name.span, "a name with a dot belongs to a used rule")
                    .help(format!("write `{}`", name.text.replace('.', "_"))),
            );
            return None;
        }
        if names::is_built_in(&name.text, self.program.kind) {
            let message = format!("`{}` is a name of the language", name.text);
            self.report(
                Diagnostic::new(Code::ReservedName, name.span, message)
                    .label("reserved")
                    .help(format!("choose another name, such as `{}_`", name.text)),
            );
            return None;
        }
        if matches!(symbol, Symbol::Hyper(_)) && self.program.kind == FileKind::Schedule && &*name.text == "at" {
            self.report(
                Diagnostic::new(Code::ReservedName, name.span, "a call of a schedule gives it its step as `at`")
                    .label("reserved for the step")
                    .help("choose another name, such as `at_`"),
            );
            return None;
        }
        let (old, declared) = self.scopes.find(&name.text)?;
        if matches!(old, Symbol::Broken) {
            return None;
        }
        let message = format!("`{}` is declared twice", name.text);
        let help = match (old, symbol) {
            (Symbol::Local(_) | Symbol::State(_), Symbol::Local(_)) => {
                format!("to change it, write `{} = ...` without `let`; or choose another name", name.text)
            }
            _ => "choose another name".to_string(),
        };
        self.report(
            Diagnostic::new(Code::DuplicateName, name.span, message)
                .label("declared again")
                .also(declared, "first declared here")
                .help(help),
        );
        Some((old, declared))
    }

    /// The extent after `per`.
    pub(super) fn extent(
        &mut self,
        per: Option<&Ident>,
        default: Extent,
        allowed: &[Extent],
        what: &str,
    ) -> Option<Extent> {
        if self.program.kind == FileKind::Schedule {
            if let Some(per) = per {
                self.report(
                    Diagnostic::new(
                        Code::NotAllowedHere,
                        per.span,
                        "a schedule has one of everything: it knows no extents",
                    )
                    .label("there are no tensors here")
                    .help(format!("remove `per {}`", per.text)),
                );
            }
            return Some(Extent::Model);
        }
        let Some(per) = per else { return Some(default) };
        let extent = self.extent_named(per)?;
        if !allowed.contains(&extent) {
            let names: Vec<String> = allowed.iter().map(|e| format!("`per {}`", e.name())).collect();
            let message = format!("{what} is never per {}", extent.name());
            self.report(
                Diagnostic::new(Code::NotAllowedHere, per.span, message)
                    .help(format!("it may be {}", names.join(" or "))),
            );
            return None;
        }
        Some(extent)
    }

    /// The extent of this name.
    pub(super) fn extent_named(&mut self, per: &Ident) -> Option<Extent> {
        let extent = Extent::ALL.into_iter().find(|e| e.name() == &*per.text);
        if extent.is_none() {
            let help = match &*per.text {
                "layer" | "param" | "parameter" | "weight" => "did you mean `per tensor`?".to_string(),
                "channel" | "filter" | "neuron" | "output" => {
                    "did you mean `per unit`? It is one index of the first axis".to_string()
                }
                name => match did_you_mean(name, Extent::ALL.map(Extent::name)) {
                    Some(similar) => format!("did you mean `per {similar}`?"),
                    None => "the extents are model, group, tensor, matrix, row, col, unit and element".to_string(),
                },
            };
            let message = format!("there is no extent `{}`", per.text);
            self.report(Diagnostic::new(Code::UnknownExtent, per.span, message).help(help));
        }
        extent
    }

    fn hyper(
        &mut self,
        item: &Item,
        name: &Ident,
        per: Option<&Ident>,
        value: &HyperValue,
        interval: Option<&Interval>,
        fixed: Option<Span>,
    ) {
        let extent = self.extent(per, Extent::Group, &[Extent::Model, Extent::Group], "a hyper");
        let range = interval.and_then(|interval| self.range(interval));
        let default = match value {
            HyperValue::Modes(modes) => {
                self.no_interval(interval, "a mode", "one of those names");
                Some(HyperDefault::Mode(self.modes(modes)))
            }
            HyperValue::List(elements) => {
                let range = range.as_ref().zip(interval.map(|interval| interval.span));
                self.list_default(elements, range).map(HyperDefault::List)
            }
            HyperValue::Expr(Expr { kind: ExprKind::Bool(flag), .. }) => {
                self.no_interval(interval, "a flag", "`true` or `false`");
                Some(HyperDefault::Flag(*flag))
            }
            HyperValue::Expr(expr) => self.hyper_default(expr, name).map(HyperDefault::Number),
        };
        let (Some(extent), Some(default)) = (extent, default) else {
            self.declare(name, Symbol::Broken);
            return;
        };
        if let (HyperDefault::Number(id), HyperValue::Expr(expr)) = (&default, value) {
            self.grows(*id, extent, expr, &format!("the default of `{}`", name.text), false);
        }
        if self.program.hypers.len() >= MAX_HYPERS {
            self.too_many_names(name, "hypers", MAX_HYPERS);
            return;
        }
        let id = HyperId(self.program.hypers.len() as u32);
        self.declare(name, Symbol::Hyper(id));
        let fixed = fixed.is_some() || matches!(default, HyperDefault::Flag(_) | HyperDefault::Mode(_));
        self.program.hypers.push(Hyper {
            name: name.text.clone(),
            doc: item.doc.clone(),
            extent,
            default,
            interval: range,
            fixed,
            span: name.span,
        });
        self.uses.hypers.push(false);
        if let HyperValue::Expr(expr) = value {
            self.hyper_default_fits(id, expr.span, interval.map(|interval| interval.span));
        }
    }

    /// The default of a hyper that is a number. `None`: an error has been reported.
    fn hyper_default(&mut self, expr: &Expr, name: &Ident) -> Option<ExprId> {
        self.declaring = Some(name.text.clone());
        let id = self.at(Place::HyperDefault, |this| this.expression(expr))?;
        if self.node(id).ty == Ty::Condition {
            self.report(
                Diagnostic::new(Code::NotANumber, expr.span, "the default of a hyper is a number, `true` or `false`")
                    .label("this is a condition")
                    .help(format!("for a flag, write `hyper {} = true` or `hyper {0} = false`", name.text)),
            );
            return None;
        }
        self.count(id, expr.span).then_some(id)
    }

    /// Reports a default that the hyper may not have.
    fn hyper_default_fits(&mut self, id: HyperId, span: Span, interval: Option<Span>) {
        let Some(x) = range::default_value(&self.program, id) else { return };
        let hyper = &self.program.hypers[id.index()];
        let diagnostic = match (&hyper.interval, interval) {
            (Some(range), Some(interval)) if !range.contains(x) => {
                let message = format!("the default of `{}` is {x}, which is not in {range}", hyper.name);
                Diagnostic::new(Code::DefaultOutOfInterval, span, message)
                    .also(interval, "the values that it may take")
                    .help("change the default or the interval")
            }
            _ if x.is_nan() => {
                let message = format!("the default of `{}` is not a number (NaN)", hyper.name);
                Diagnostic::new(Code::DefaultOutOfInterval, span, message)
                    .help("no hyper may be NaN: change the formula, or the defaults that it uses")
            }
            _ => return,
        };
        self.report(diagnostic);
    }

    /// The values that a hyper may take. `None`: an error has been reported.
    fn range(&mut self, interval: &Interval) -> Option<Range> {
        let range = Range {
            low: interval.low,
            low_closed: interval.low_closed,
            high: interval.high,
            high_closed: interval.high_closed,
            integers: interval.integers,
        };
        let text = self.parsed.file.slice(interval.span);
        let infinite = [range.low, range.high].into_iter().filter(|x| x.is_infinite()).count();
        let written = text.matches("inf").count() + usize::from(range.integers && text.trim_end().ends_with(".."));
        if infinite > written {
            self.report(
                Diagnostic::new(Code::LiteralOutOfRange, interval.span, "a bound is too large for an f64")
                    .label("the greatest is about 1.8e308")
                    .help("write `inf` if infinity is meant"),
            );
            return None;
        }
        let (low, high) = (range.low, range.high);
        let empty = if range.integers {
            low.ceil() > high.floor()
        } else {
            low > high || (low == high && !(range.low_closed && range.high_closed))
        };
        if !empty {
            return Some(range);
        }
        let help = if low > high {
            let swapped = Range { low: high, high: low, ..range };
            format!("the smaller bound comes first: `{swapped}`")
        } else if range.integers {
            format!("write `{}..{}`", low.floor(), high.ceil())
        } else {
            format!("`(` and `)` leave the bound out: write `[{low}, {high}]`, or move a bound")
        };
        self.report(Diagnostic::new(Code::EmptyInterval, interval.span, "no number is in this interval").help(help));
        None
    }

    fn no_interval(&mut self, interval: Option<&Interval>, what: &str, because: &str) {
        if let Some(interval) = interval {
            self.report(
                Diagnostic::new(Code::NotAllowedHere, interval.span, format!("{what} has no interval"))
                    .help(format!("remove it: {what} is {because}")),
            );
        }
    }

    /// The names of modes, each once.
    fn modes(&mut self, modes: &[Ident]) -> Arc<[Arc<str>]> {
        let mut first = BTreeMap::<Arc<str>, Span>::new();
        let mut names = Vec::new();
        if let Some(mode) = modes.get(MAX_MODES) {
            let message = format!("a hyper has at most {MAX_MODES} modes");
            self.report(
                Diagnostic::new(Code::TooManyNames, mode.span, message)
                    .label("one too many")
                    .help("make it a number, or several hypers"),
            );
        }
        for mode in modes.iter().take(MAX_MODES) {
            if let Some(before) = first.get(&mode.text) {
                let message = format!("the mode `{}` is there twice", mode.text);
                self.report(
                    Diagnostic::new(Code::DuplicateName, mode.span, message)
                        .label("there again")
                        .also(*before, "first here")
                        .help("remove one"),
                );
                continue;
            }
            first.insert(mode.text.clone(), mode.span);
            names.push(mode.text.clone());
        }
        names.into()
    }

    /// The elements of a list: numbers, each in the hyper's interval, if it has one.
    fn list_default(&mut self, elements: &[Expr], range: Option<(&Range, Span)>) -> Option<Arc<[f64]>> {
        let mut values = Vec::new();
        if let Some(element) = elements.get(MAX_ELEMENTS) {
            let message = format!("a list has at most {MAX_ELEMENTS} elements");
            self.report(
                Diagnostic::new(Code::TooManyNames, element.span, message)
                    .label("one too many")
                    .help("set it where the rule is used, or write a formula"),
            );
            return None;
        }
        for element in elements {
            let Some(x) = super::expressions::literal(element) else {
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, element.span, "the elements of a list are numbers")
                        .label("not a number")
                        .help("write them out: `[30, 60]`"),
                );
                return None;
            };
            if x.is_infinite() {
                let text = self.parsed.file.slice(element.span);
                self.report(
                    Diagnostic::new(Code::LiteralOutOfRange, element.span, format!("{text} is too large for an f64"))
                        .label("the greatest is about 1.8e308")
                        .help("the elements of a list are finite"),
                );
                return None;
            }
            if let Some((range, interval)) = range.filter(|(range, _)| !range.contains(x)) {
                let message = format!("the element {x} is not in {range}");
                self.report(
                    Diagnostic::new(Code::DefaultOutOfInterval, element.span, message)
                        .also(interval, "the values that each may take")
                        .help("change the element or the interval"),
                );
                return None;
            }
            values.push(x);
        }
        Some(values.into())
    }

    pub(super) fn too_many_names(&mut self, name: &Ident, what: &str, limit: usize) {
        // The first of them is enough.
        let message = format!("a rule has at most {limit} {what}");
        if !self.diagnostics.iter().any(|d| d.code == Code::TooManyNames && d.message == message) {
            self.report(
                Diagnostic::new(Code::TooManyNames, name.span, message)
                    .label("one too many")
                    .help("split the rule in two, or compute one from another"),
            );
        }
        self.declare(name, Symbol::Broken);
    }

    fn state(&mut self, item: &Item, name: &Ident, per: Option<&Ident>, dtype: Option<&Ident>, init: &Expr) {
        let extent = self.extent(per, Extent::Element, &Extent::ALL, "a state");
        let storage = dtype.map_or(Some(None), |dtype| self.state_storage(dtype, extent, name).map(Some));
        self.declaring = Some(name.text.clone());
        let init_id = self.at(Place::Init, |this| this.number(init)).filter(|id| self.count(*id, init.span));
        let (Some(extent), Some(init_id), Some(storage)) = (extent, init_id, storage) else {
            self.declare(name, Symbol::Broken);
            return;
        };
        let is_array = !self.node(init_id).extent.is_scalar();
        self.grows(init_id, extent, init, &format!("the first value of `{}`", name.text), is_array);
        if self.program.states.len() >= MAX_STATES {
            self.too_many_names(name, "states", MAX_STATES);
            return;
        }
        let id = StateId(self.program.states.len() as u32);
        self.declare(name, Symbol::State(id));
        let (name, span) = (name.text.clone(), name.span);
        self.program.states.push(State { name, doc: item.doc.clone(), extent, storage, init: init_id, span });
    }

    /// The storage type behind `as` in the declaration of a state.
    fn state_storage(&mut self, dtype: &Ident, extent: Option<Extent>, name: &Ident) -> Option<Storage> {
        let Some(storage) = Storage::from_name(&dtype.text) else {
            let help = match did_you_mean(&dtype.text, Storage::ALL.map(Storage::name)) {
                Some(similar) => format!("did you mean `as {similar}`?"),
                None => "the storage types are f32, f64, bf16 and f16".to_string(),
            };
            let message = format!("there is no storage type `{}`", dtype.text);
            self.report(Diagnostic::new(Code::UnknownDtype, dtype.span, message).help(help));
            return None;
        };
        if extent.is_some_and(Extent::is_scalar) {
            let message = format!("`{}` is one number for many elements, and such are f64", name.text);
            self.report(
                Diagnostic::new(Code::NotAllowedHere, dtype.span, message)
                    .label("only arrays have a storage type")
                    .help(format!("remove `as {}`", dtype.text)),
            );
            return None;
        }
        Some(storage)
    }

    fn input(&mut self, item: &Item, name: &Ident, per: Option<&Ident>, default: Option<&Expr>) {
        let extents = [Extent::Model, Extent::Group, Extent::Tensor, Extent::Element];
        let extent = self.extent(per, Extent::Model, &extents, "an input");
        self.declaring = Some(name.text.clone());
        let default_id = default.map(|e| {
            let id = self.at(Place::InputDefault, |this| this.number(e));
            id.filter(|id| self.count(*id, e.span))
        });
        let (Some(extent), Some(default_id)) = (extent, default_id.map_or(Some(None), |id| id.map(Some))) else {
            self.declare(name, Symbol::Broken);
            return;
        };
        if let (Some(id), Some(expr)) = (default_id, default) {
            if extent == Extent::Element {
                let message = format!("`{}` is a whole array, which has no default", name.text);
                let help = format!("remove it, and ask: `if given({0}) {{ ... }} else {{ ... }}`", name.text);
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, expr.span, message)
                        .label("a default is one number")
                        .help(help),
                );
            }
            self.grows(id, extent, expr, &format!("the default of `{}`", name.text), false);
        }
        if self.program.inputs.len() >= MAX_INPUTS {
            self.too_many_names(name, "inputs", MAX_INPUTS);
            return;
        }
        let id = InputId(self.program.inputs.len() as u32);
        self.declare(name, Symbol::Input(id));
        let (name, span) = (name.text.clone(), name.span);
        self.program.inputs.push(Input { name, doc: item.doc.clone(), extent, default: default_id, span });
        self.uses.inputs.push(false);
    }

    fn def(&mut self, name: &Ident, params: &[Ident], body: &Expr) {
        if let Some(cycle) = self.recursive.get(&name.text) {
            if let Some(cycle) = cycle.map(<[_]>::to_vec) {
                self.calls_itself(name, &cycle);
            }
            self.declare(name, Symbol::Broken);
            return;
        }
        self.scopes.enter();
        let mut nodes = Vec::new();
        for (position, param) in params.iter().enumerate() {
            self.declare(param, Symbol::Param(position));
            let kind = NodeKind::Number(0.0);
            nodes.push(Node { kind, extent: Extent::Model, ty: Ty::Number, span: param.span });
        }
        let outer_sizes = std::mem::replace(&mut self.sizes, vec![0; nodes.len()]);
        let outer_marks = std::mem::replace(&mut self.marks, vec![Mark::default(); nodes.len()]);
        self.template = Some(nodes);
        let root = self.at(Place::DefBody, |this| this.expression(body));
        self.sizes = outer_sizes;
        self.marks = outer_marks;
        let reductions = std::mem::take(&mut self.template_reductions);
        let nodes = self.template.take().unwrap_or_default();
        self.scopes.leave();
        self.def_nodes += nodes.len();
        if self.def_nodes > MAX_DEF_NODES {
            self.too_many_operations(name.span);
        }
        let template = root.map(|root| Rc::new(Template { needed: postorder(&nodes, root), nodes, reductions, root }));
        for (index, param) in params.iter().enumerate() {
            if template.as_ref().is_some_and(|t| !t.needed.contains(&ExprId(index as u32))) {
                self.uses.params.push((param.text.clone(), param.span, name.text.clone()));
            }
        }
        self.declare(name, Symbol::Def(self.defs.len()));
        let params = params.iter().map(|p| p.text.clone()).collect();
        self.defs.push(Def { params, span: name.span, template });
        self.uses.defs.push((name.text.clone(), name.span, false));
    }

    fn calls_itself(&mut self, name: &Ident, cycle: &[Arc<str>]) {
        let others: Vec<String> = cycle.iter().filter(|n| **n != name.text).map(|n| format!("`{n}`")).collect();
        let message = if others.is_empty() {
            format!("`{}` calls itself", name.text)
        } else {
            format!("`{}` calls itself through {}", name.text, others.join(", "))
        };
        self.report(
            Diagnostic::new(Code::RecursiveDef, name.span, message)
                .label("could never be inlined")
                .help("a `def` is replaced by its formula, so it may only call those declared above it"),
        );
    }

    /// Reports a value that is larger than what it is for; `reducible`: a reduction may stand there.
    fn grows(&mut self, value: ExprId, target: Extent, expr: &Expr, what: &str, reducible: bool) {
        let extent = self.node(value).extent;
        if extent.fits_in(target) {
            return;
        }
        let help = match self.reduced(value, target, expr) {
            Some(reduced) if reducible => format!("did you mean `{reduced}`? Or declare it `per {}`", extent.name()),
            _ => format!("declare it `per {}`", extent.name()),
        };
        let message = format!("{what} is per {}, but {} is per {}", target.name(), self.named(expr), extent.name());
        self.report(
            Diagnostic::new(Code::ExtentGrows, expr.span, message)
                .label(format!("differs per {}", extent.name()))
                .help(help),
        );
    }

    /// What an expression is called in a message: itself, if it is short.
    fn named(&self, expr: &Expr) -> String {
        match self.text(expr) {
            text if text.len() <= 20 && text != "..." => format!("`{text}`"),
            _ => "this value".to_string(),
        }
    }

    /// The reduction that was probably meant where one value per `target` is needed; `None` if there is none.
    fn reduced(&self, value: ExprId, target: Extent, expr: &Expr) -> Option<String> {
        let Node { extent, ty, .. } = *self.node(value);
        let function = match ty {
            Ty::Condition => "any",
            Ty::Number if extent.is_scalar() => "max",
            Ty::Number => "mean",
        };
        let per = if target == Extent::Tensor { String::new() } else { format!(" per {}", target.name()) };
        target.fits_in(extent).then(|| format!("{function}({}{per})", self.text(expr)))
    }

    fn statements(&mut self, block: &Block) -> Vec<Stmt> {
        self.scopes.enter();
        let mut stmts = Vec::new();
        for item in &block.items {
            if self.has_enough_errors() {
                break;
            }
            if let Some(stmt) = self.statement(item) {
                stmts.append(&mut self.pending);
                stmts.push(stmt);
            }
        }
        self.scopes.leave();
        stmts
    }

    /// A statement. `None`: an error has been reported, or it is a declaration in a block.
    fn statement(&mut self, item: &Item) -> Option<Stmt> {
        self.declaring = None;
        // So that there is a limit to statements that compute nothing.
        self.operations = self.operations.saturating_add(1);
        match &item.kind {
            ItemKind::Let { name, per, value } => self.let_statement(item.span, name, per.as_ref(), value),
            ItemKind::Assign { name, op, value } => self.assignment(item.span, name, *op, value),
            ItemKind::If { branches, otherwise } => self.branches(item.span, branches, otherwise.as_ref()),
            ItemKind::Broken { declares } => {
                let kind = self.program.kind;
                let new =
                    |name: &&Ident| self.scopes.find(&name.text).is_none() && !names::is_built_in(&name.text, kind);
                if let Some(name) = declares.as_ref().filter(new) {
                    self.scopes.declare(name.text.clone(), Symbol::Broken, name.span);
                }
                None
            }
            ItemKind::Use { rule, alias, bindings } => self.use_rule(item.span, rule, alias.as_ref(), bindings),
            ItemKind::Skip { cond } => self.skip_statement(item.span, cond),
            ItemKind::Report { name, value } => self.report_statement(item, name, value),
            ItemKind::View { name, value } => {
                self.view_statement(item, name, value);
                None
            }
            ItemKind::Hyper { .. }
            | ItemKind::State { .. }
            | ItemKind::Input { .. }
            | ItemKind::Def { .. }
            | ItemKind::Require { .. } => {
                let what = declaration(&item.kind).unwrap_or("a declaration");
                self.report(
                    Diagnostic::new(
                        Code::MisplacedDeclaration,
                        item.span,
                        format!("{what} is declared at the top of the file, not in a block"),
                    )
                    .help("move this line above the first statement of the file"),
                );
                self.declaration(item);
                None
            }
        }
    }

    fn let_statement(&mut self, span: Span, name: &Ident, per: Option<&Ident>, value: &Expr) -> Option<Stmt> {
        self.declaring = Some(name.text.clone());
        let id = self.expression(value).filter(|id| self.count(*id, span));
        let (extent, ty) = id.map_or((Extent::Element, Ty::Number), |id| (self.node(id).extent, self.node(id).ty));
        let declared = match per {
            Some(_) => self.extent(per, extent, &Extent::ALL, "a local"),
            None => Some(extent),
        };
        let (Some(id), Some(declared)) = (id, declared) else {
            self.declare(name, Symbol::Broken);
            return None;
        };
        self.grows(id, declared, value, &format!("`{}`", name.text), true);
        let id = self.as_elements_see_it(id, declared);
        let local = LocalId(self.program.locals.len() as u32);
        self.declare(name, Symbol::Local(local));
        self.program.locals.push(Local { name: name.text.clone(), extent: declared.join(extent), span: name.span });
        self.local_depth.push(self.around.len());
        self.local_ty.push(ty);
        // Its value is read in its own block only: the conditions around it do not matter to it.
        self.timings.insert(Var::Local(local), self.mark(id).timing);
        Some(Stmt { kind: StmtKind::Let(local, id), span })
    }

    fn assignment(&mut self, span: Span, name: &Ident, op: AssignOp, value: &Expr) -> Option<Stmt> {
        let var = self.assigned(name);
        let is_condition = matches!(var, Some(Var::Local(id)) if self.local_ty[id.index()] == Ty::Condition);
        let value_id = if is_condition && op == AssignOp::Set { self.condition(value) } else { self.number(value) };
        let (var, value_id) = (var?, value_id?);
        if is_condition && op != AssignOp::Set {
            let message = format!("`{}` is a condition, so `{}` cannot change it", name.text, op.symbol());
            self.report(
                Diagnostic::new(Code::NotANumber, name.span, message)
                    .help(format!("write `{0} = {0} and ...`, or `or`", name.text)),
            );
            return None;
        }
        let whole = match op {
            AssignOp::Set => value_id,
            _ => {
                let old = self.build(NodeKind::Read(var), name.span)?;
                let op = match op {
                    AssignOp::Add => BinaryOp::Add,
                    AssignOp::Sub => BinaryOp::Sub,
                    AssignOp::Mul => BinaryOp::Mul,
                    AssignOp::Set | AssignOp::Div => BinaryOp::Div,
                };
                self.build(NodeKind::Binary(op, old, value_id), span)?
            }
        };
        if matches!(var, Var::Param | Var::State(_)) {
            self.changed = self.changed.or(Some(span));
        }
        self.assigned_extent(var, name, value_id, Some(value))?;
        if !self.count(whole, span) {
            return None;
        }
        let whole = self.as_elements_see_it(whole, self.program.var_extent(var));
        self.assigned_when(var, whole);
        Some(Stmt { kind: StmtKind::Assign(var, whole), span })
    }

    /// A scalar condition that becomes one of elements is an outcome, unless it is late; anything else stays what it is.
    pub(super) fn as_elements_see_it(&mut self, value: ExprId, target: Extent) -> ExprId {
        let is_condition = self.node(value).ty == Ty::Condition;
        if is_condition && !target.is_scalar() { self.outcome(value) } else { value }
    }

    /// The variable that an assignment names.
    fn assigned(&mut self, name: &Ident) -> Option<Var> {
        let what = match self.scopes.find(&name.text) {
            Some((Symbol::State(_) | Symbol::Local(_), used)) if name.text.contains('.') => {
                self.assigned_to_used(name, used);
                return None;
            }
            None if name.text.contains('.') => {
                self.unknown_name_of_used(&name.text, name.span);
                return None;
            }
            Some((Symbol::State(id), _)) => return Some(Var::State(id)),
            Some((Symbol::Local(id), _)) => return Some(Var::Local(id)),
            Some((Symbol::Broken, _)) => return None,
            Some((Symbol::Hyper(_), declared)) => Some(("a hyper", Some(declared))),
            Some((Symbol::Input(_), declared)) => Some(("an input", Some(declared))),
            Some((Symbol::Def(_), declared)) => Some(("a function", Some(declared))),
            Some((Symbol::Param(_), _)) | None => match &*name.text {
                "value" if self.program.kind == FileKind::Schedule => return Some(Var::Value),
                "p" if self.program.kind != FileKind::Schedule => return Some(Var::Param),
                "g" if self.program.kind != FileKind::Schedule => return Some(Var::Grad),
                other if names::is_built_in(other, self.program.kind) => Some(("a name of the language", None)),
                _ => None,
            },
        };
        match what {
            Some((what, declared)) => {
                let who = if self.program.kind == FileKind::Schedule { "schedule" } else { "rule" };
                let message = format!("`{}` is {what}: a {who} does not change it", name.text);
                let mut diagnostic =
                    Diagnostic::new(Code::NotAssignable, name.span, message).help(match self.program.kind {
                        FileKind::Schedule => "assign to `value`, a state or a local; `let NAME = ...` makes a local",
                        _ => "assign to `p`, `g`, a state or a local; `let NAME = ...` makes a local",
                    });
                if let Some(declared) = declared {
                    diagnostic = diagnostic.also(declared, "declared here");
                }
                self.report(diagnostic);
            }
            None => {
                if self.named_elsewhere(&name.text, name.span) {
                    return None;
                }
                let mut candidates = self.scopes.names(|s| matches!(s, Symbol::State(_) | Symbol::Local(_)));
                candidates.extend(names::assignable(self.program.kind).iter().copied());
                let help = match did_you_mean(&name.text, candidates) {
                    Some(similar) => format!("did you mean `{similar}`? A new local is `let {} = ...`", name.text),
                    None => format!(
                        "a new local is `let {0} = ...`; a value that is kept from step to step is `state {0} = 0` above",
                        name.text
                    ),
                };
                let message = format!("nothing is called `{}`", name.text);
                self.report(Diagnostic::new(Code::UnknownName, name.span, message).label("not declared").help(help));
                // What was forgotten is a `let` or a `state`; reading the name is not another mistake.
                self.scopes.declare(name.text.clone(), Symbol::Broken, name.span);
            }
        }
        None
    }

    /// Neither the value nor a condition around the assignment may be of larger extent than the variable.
    /// `expr`: the value, if it stands in this file.
    pub(super) fn assigned_extent(&mut self, var: Var, name: &Ident, value: ExprId, expr: Option<&Expr>) -> Option<()> {
        let target = self.program.var_extent(var);
        let extent = self.node(value).extent;
        let declared = match var {
            Var::Local(id) => Some(self.program.locals[id.index()].span),
            Var::State(id) => Some(self.program.states[id.index()].span),
            Var::Param | Var::Grad | Var::Value => None,
        };
        let wider = |extent: Extent| match (var, extent.join(target)) {
            (Var::State(_), Extent::Element) => format!("declare it per element: `state {} = ...`", name.text),
            (Var::State(_), extent) => format!("declare it `state {} per {} = ...`", name.text, extent.name()),
            (_, extent) => format!("declare it `let {} per {} = ...`", name.text, extent.name()),
        };
        if !extent.fits_in(target) {
            let named = expr.map_or("this value".to_string(), |expr| self.named(expr));
            let message = format!("`{}` is per {}, but {named} is per {}", name.text, target.name(), extent.name());
            let help = match expr.and_then(|expr| self.reduced(value, target, expr)) {
                Some(reduced) => format!("did you mean `{reduced}`? Or {}", wider(extent)),
                None => wider(extent),
            };
            let mut diagnostic = Diagnostic::new(Code::ExtentGrows, expr.map_or(name.span, |expr| expr.span), message)
                .label(format!("differs per {}", extent.name()))
                .help(help);
            if let Some(declared) = declared {
                diagnostic = diagnostic.also(declared, format!("one per {}", target.name()));
            }
            self.report(diagnostic);
            return None;
        }
        let depth = match var {
            Var::Local(id) => self.local_depth[id.index()],
            _ => 0,
        };
        if let Some((extent, span)) = self.around[depth..].iter().copied().find(|(extent, _)| !extent.fits_in(target)) {
            let message = format!(
                "`{}` is per {}, but whether it is assigned differs per {}",
                name.text,
                target.name(),
                extent.name()
            );
            let help = match target.fits_in(extent) {
                true if target == Extent::Tensor => {
                    format!("decide once, outside of this block: `if any({})`; or {}", self.short(span), wider(extent))
                }
                _ => wider(extent),
            };
            self.report(
                Diagnostic::new(Code::ExtentGrows, name.span, message)
                    .label(format!("one per {}", target.name()))
                    .also(span, format!("this condition differs per {}", extent.name()))
                    .help(help),
            );
            return None;
        }
        Some(())
    }

    fn branches(&mut self, span: Span, branches: &[Branch], otherwise: Option<&Block>) -> Option<Stmt> {
        let (first, rest) = branches.split_first()?;
        self.stands_in_few_conditions(first.cond.span)?;
        let cond = self.condition(&first.cond).filter(|cond| self.count(*cond, first.cond.span));
        // What the condition calls comes before the whole statement, not into its first block.
        let before = std::mem::take(&mut self.pending);
        let header = Span { start: span.start.min(first.cond.span.start), end: first.cond.span.end };
        let stmt = self.blocks(cond, first.cond.span, header, &mut |this, holds| match (holds, rest, otherwise) {
            (true, ..) => this.statements(&first.block),
            (false, [next, ..], _) => {
                let span = Span { start: next.cond.span.start, end: span.end };
                this.branches(span, rest, otherwise).into_iter().collect()
            }
            (false, [], Some(block)) => this.statements(block),
            (false, [], None) => Vec::new(),
        });
        self.pending.splice(0..0, before);
        stmt
    }

    /// A block statement over a condition; `None` if there is none, which has been reported. `block` checks the block where
    /// the condition holds, then the other.
    pub(super) fn blocks(
        &mut self,
        cond: Option<ExprId>,
        cond_span: Span,
        header: Span,
        block: &mut dyn FnMut(&mut Self, bool) -> Vec<Stmt>,
    ) -> Option<Stmt> {
        let extent = cond.map_or(Extent::Model, |id| self.node(id).extent);
        // A scalar condition is numbered before those inside it; it gives its number back if nothing inside concerns
        // elements.
        let conditions = self.program.conditions.len();
        let selects_plan = |cond: &ExprId| extent.is_scalar() && !self.is_late(*cond);
        let outcome = cond.filter(selects_plan).map(|cond| self.plan_condition(cond));
        let timing = cond.map_or(Timing::default(), |cond| self.mark(cond).timing);
        self.around.push((extent, cond_span));
        self.under.push((timing, cond_span));
        let timings = self.timings.clone();
        let outer = self.inside;
        if let Some(id) = outcome {
            self.inside = Some((id, true));
        }
        let then = block(self, true);
        if let Some(id) = outcome {
            self.inside = Some((id, false));
        }
        let after_then = std::mem::replace(&mut self.timings, timings);
        let otherwise = block(self, false);
        self.inside = outer;
        self.around.pop();
        self.under.pop();
        self.timings = after_either(after_then, std::mem::take(&mut self.timings));
        let cond = cond?;
        let kind = match outcome {
            Some(id) if self.concerns_elements(&then) || self.concerns_elements(&otherwise) => IfKind::Plan(id),
            // What it leaves out does not exist, states that only it touches among it.
            Some(id) if self.is_decided_once(cond) => IfKind::Plan(id),
            _ => {
                if outcome.is_some() {
                    self.program.conditions.truncate(conditions);
                }
                IfKind::Select(cond)
            }
        };
        Some(Stmt { kind: StmtKind::If(kind, then, otherwise), span: header })
    }

    /// Whether there may be one more condition around the statements of a block. `None`: an error has been reported.
    pub(super) fn stands_in_few_conditions(&mut self, span: Span) -> Option<()> {
        if self.around.len() < MAX_CONDITIONS_AROUND {
            return Some(());
        }
        let message = format!("more than {MAX_CONDITIONS_AROUND} conditions stand around a statement");
        self.report(
            Diagnostic::new(Code::NestingTooDeep, span, message)
                .label("one too many; each `else if` counts")
                .help("join conditions with `and` and `or`, or end the block and begin another `if`"),
        );
        None
    }

    /// Whether any of the statements, or a condition among them, does something for each element or for a whole step, so
    /// that a plan without them is another one.
    fn concerns_elements(&self, stmts: &[Stmt]) -> bool {
        stmts.iter().any(|stmt| match &stmt.kind {
            StmtKind::Let(local, value) => {
                !self.program.locals[local.index()].extent.is_scalar() || self.mark(*value).arrays
            }
            StmtKind::Assign(var, value) => !self.program.var_extent(*var).is_scalar() || self.mark(*value).arrays,
            StmtKind::Skip(_) => true,
            StmtKind::Report(..) => false,
            StmtKind::If(IfKind::Select(cond), ..) if self.mark(*cond).arrays => true,
            StmtKind::If(IfKind::Plan(_), ..) => true,
            StmtKind::If(_, then, otherwise) => self.concerns_elements(then) || self.concerns_elements(otherwise),
        })
    }

    /// Whether a condition of a rule is made of flags, modes, `fixed` hypers, numbers and the shape alone, so that it comes
    /// out the same in every step of a tensor.
    fn is_decided_once(&self, cond: ExprId) -> bool {
        let may_change = |id: &ExprId| match &self.node(*id).kind {
            NodeKind::Hyper(id) => !self.program.hypers[id.index()].fixed,
            NodeKind::Input(_)
            | NodeKind::Given(_)
            | NodeKind::T
            | NodeKind::S
            | NodeKind::Base
            | NodeKind::Read(_)
            | NodeKind::Old(_)
            | NodeKind::List(..)
            | NodeKind::Outcome(_)
            | NodeKind::Reduce(..)
            | NodeKind::Draw(..) => true,
            _ => false,
        };
        self.program.kind != FileKind::Schedule && !self.program.postorder(cond).iter().any(may_change)
    }
}

/// What a declaration declares; `None` for statements.
fn declaration(kind: &ItemKind) -> Option<&'static str> {
    match kind {
        ItemKind::Hyper { .. } => Some("a hyper"),
        ItemKind::State { .. } => Some("a state"),
        ItemKind::Input { .. } => Some("an input"),
        ItemKind::Def { .. } => Some("a `def`"),
        ItemKind::Require { .. } => Some("a `require`"),
        _ => None,
    }
}

/// Where each name of a file is declared.
pub(super) fn declarations(ast: &Ast) -> BTreeMap<Arc<str>, Elsewhere> {
    let mut found = BTreeMap::new();
    recursion::each_item(&ast.items, &mut |item| {
        let (name, declared) = match &item.kind {
            ItemKind::Hyper { name, .. }
            | ItemKind::State { name, .. }
            | ItemKind::Input { name, .. }
            | ItemKind::Def { name, .. } => (name, Elsewhere::Declaration(name.span)),
            ItemKind::Let { name, .. } => (name, Elsewhere::Local(name.span)),
            _ => return,
        };
        found.entry(name.text.clone()).or_insert(declared);
    });
    found
}
