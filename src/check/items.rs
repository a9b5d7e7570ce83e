//! Declarations and statements.

use super::names::{self, Symbol};
use super::program::{ExprId, HyperId, InputId, StateId};
use super::program::{
    Extent, FileKind, Hyper, HyperDefault, IfKind, Input, Local, LocalId, Node, NodeKind, Range, Require, State, Stmt,
    StmtKind, Ty, Var,
};
use super::{Checker, MAX_BRANCHES, MAX_DEF_DEPTH, MAX_HYPERS, MAX_STATES, Place, range};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{AssignOp, Ast, BinaryOp, Block, Branch, Expr, ExprKind, HyperValue, Ident, Item, ItemKind};
use std::rc::Rc;
use std::sync::Arc;

/// A `def`.
pub(super) struct Def {
    pub(super) params: Vec<Arc<str>>,
    /// `None`: its body was rejected.
    pub(super) template: Option<Rc<Template>>,
}

/// The checked body of a `def`, to be built again at each call. Its first nodes stand for the parameters.
pub(super) struct Template {
    pub(super) nodes: Vec<Node>,
    pub(super) root: ExprId,
    pub(super) operations: u64,
    /// How deep the calls of other `def`s go.
    pub(super) depth: usize,
}

impl Checker<'_> {
    pub(super) fn items(&mut self, ast: &Ast) {
        let mut first_statement = None;
        for item in &ast.items {
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
            Diagnostic::new(
                Code::MisplacedDeclaration,
                item.span,
                format!("a {what} is declared before the statements"),
            )
            .also(statement, "the first statement")
            .help("move the declaration up"),
        );
    }

    fn declaration(&mut self, item: &Item) {
        match &item.kind {
            ItemKind::Hyper { name, per, value, interval, fixed } => {
                self.hyper(item, name, per.as_ref(), value, interval.as_ref(), *fixed);
            }
            ItemKind::State { name, per, dtype, init } => self.state(item, name, per.as_ref(), dtype.as_ref(), init),
            ItemKind::Input { name, per, default } => self.input(item, name, per.as_ref(), default.as_ref()),
            ItemKind::Def { name, params, body } => self.def(name, params, body),
            ItemKind::Require { cond, message } => {
                let cond = self.at(Place::Require, |this| this.condition(cond));
                if let Some(cond) = cond {
                    self.program.requires.push(Require { cond, message: message.as_str().into() });
                }
            }
            _ => {}
        }
    }

    fn at<T>(&mut self, place: Place, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.place, place);
        let result = f(self);
        self.place = outer;
        result
    }

    /// Declares a name unless it is taken; either way using it later is not another error.
    fn declare(&mut self, name: &Ident, symbol: Symbol) -> bool {
        if name.text.contains('.') {
            self.report(
                Diagnostic::new(Code::ReservedName, name.span, "a name with a dot belongs to a used rule")
                    .help(format!("write `{}`", name.text.replace('.', "_"))),
            );
            return false;
        }
        if names::is_built_in(&name.text, self.program.kind) {
            let message = format!("`{}` is a name of the language", name.text);
            self.report(
                Diagnostic::new(Code::ReservedName, name.span, message).label("reserved").help("choose another name"),
            );
            return false;
        }
        if let Some((old, declared)) = self.scopes.find(&name.text) {
            if !matches!(old, Symbol::Broken) {
                let message = format!("`{}` is declared twice", name.text);
                let help = match symbol {
                    Symbol::Local(_) => format!("to change it, write `{} = ...` without `let`", name.text),
                    _ => "choose another name".to_string(),
                };
                self.report(
                    Diagnostic::new(Code::DuplicateName, name.span, message)
                        .label("declared again")
                        .also(declared, "first declared here")
                        .help(help),
                );
                return false;
            }
        }
        self.scopes.declare(name.text.clone(), symbol, name.span);
        true
    }

    /// The extent after `per`.
    fn extent(&mut self, per: Option<&Ident>, default: Extent, allowed: &[Extent], what: &str) -> Option<Extent> {
        if self.program.kind == FileKind::Schedule {
            if let Some(per) = per {
                self.report(
                    Diagnostic::new(
                        Code::NotAllowedHere,
                        per.span,
                        "a schedule has one of everything: it knows no extents",
                    )
                    .help(format!("remove `per {}`", per.text)),
                );
            }
            return Some(Extent::Model);
        }
        let Some(per) = per else { return Some(default) };
        let Some(extent) = Extent::ALL.into_iter().find(|e| e.name() == &*per.text) else {
            if ["matrix", "row", "col", "unit"].contains(&&*per.text) {
                self.not_available(per.span, &format!("`per {}`", per.text));
                return None;
            }
            let help = match did_you_mean(&per.text, Extent::ALL.map(Extent::name)) {
                Some(similar) => format!("did you mean `per {similar}`?"),
                None => "the extents are model, group, tensor and element".to_string(),
            };
            let message = format!("there is no extent `{}`", per.text);
            self.report(Diagnostic::new(Code::UnknownExtent, per.span, message).help(help));
            return None;
        };
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

    fn hyper(
        &mut self,
        item: &Item,
        name: &Ident,
        per: Option<&Ident>,
        value: &HyperValue,
        interval: Option<&crate::syntax::ast::Interval>,
        fixed: Option<Span>,
    ) {
        let extent = self.extent(per, Extent::Group, &[Extent::Model, Extent::Group], "a hyper");
        let range = interval.map(|i| Range {
            low: i.low,
            low_closed: i.low_closed,
            high: i.high,
            high_closed: i.high_closed,
            integers: i.integers,
        });
        if let (Some(range), Some(interval)) = (&range, interval) {
            if range.low > range.high || (range.low == range.high && !(range.low_closed && range.high_closed)) {
                self.report(
                    Diagnostic::new(Code::EmptyInterval, interval.span, "no number lies in this interval")
                        .help("write the smaller bound first: `[LOW, HIGH]`"),
                );
            }
        }
        let default = match value {
            HyperValue::Modes(modes) => {
                self.no_interval(interval, "a mode");
                let mut names: Vec<Arc<str>> = Vec::new();
                for mode in modes {
                    if names.contains(&mode.text) {
                        let message = format!("the mode `{}` is there twice", mode.text);
                        self.report(Diagnostic::new(Code::DuplicateName, mode.span, message).help("remove one"));
                    }
                    names.push(mode.text.clone());
                }
                Some(HyperDefault::Mode(names.into()))
            }
            HyperValue::List(elements) => self.list_default(elements, range.as_ref()).map(HyperDefault::List),
            HyperValue::Expr(Expr { kind: ExprKind::Bool(flag), .. }) => {
                self.no_interval(interval, "a flag");
                Some(HyperDefault::Flag(*flag))
            }
            HyperValue::Expr(expr) => self.at(Place::HyperDefault, |this| this.number(expr)).map(HyperDefault::Number),
        };
        let (Some(extent), Some(default)) = (extent, default) else {
            self.declare(name, Symbol::Broken);
            return;
        };
        if let (HyperDefault::Number(id), HyperValue::Expr(expr)) = (&default, value) {
            self.grows(*id, extent, expr.span, &format!("the default of `{}`", name.text));
        }
        if self.program.hypers.len() >= MAX_HYPERS {
            self.too_many_names(name, "hypers", MAX_HYPERS);
            self.declare(name, Symbol::Broken);
            return;
        }
        let id = HyperId(self.program.hypers.len() as u32);
        if !self.declare(name, Symbol::Hyper(id)) {
            return;
        }
        let is_number = matches!(default, HyperDefault::Number(_));
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
        if let (true, Some(range), HyperValue::Expr(expr)) = (is_number, range, value) {
            if let Some(x) = range::default_value(&self.program, id) {
                if !range.contains(x) {
                    let message = format!("the default of `{}` is {x}, which is not in {range}", name.text);
                    let mut diagnostic = Diagnostic::new(Code::DefaultOutOfInterval, expr.span, message);
                    if let Some(interval) = interval {
                        diagnostic = diagnostic.also(interval.span, "the values that it may take");
                    }
                    self.report(diagnostic.help("change the default or the interval"));
                }
            }
        }
    }

    fn no_interval(&mut self, interval: Option<&crate::syntax::ast::Interval>, what: &str) {
        if let Some(interval) = interval {
            let message = format!("{what} has no interval");
            self.report(Diagnostic::new(Code::NotAllowedHere, interval.span, message).help("remove it"));
        }
    }

    /// The elements of a list: numbers, each in the hyper's interval.
    fn list_default(&mut self, elements: &[Expr], range: Option<&Range>) -> Option<Arc<[f64]>> {
        let mut values = Vec::new();
        for element in elements {
            let Some(x) = super::expressions::literal(element) else {
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, element.span, "the elements of a list are numbers")
                        .help("write them out: `[30, 60]`"),
                );
                return None;
            };
            if !x.is_finite() || range.is_some_and(|range| !range.contains(x)) {
                let message = match range {
                    Some(range) => format!("{x} is not in {range}"),
                    None => format!("{x} is not finite"),
                };
                self.report(Diagnostic::new(Code::DefaultOutOfInterval, element.span, message));
                return None;
            }
            values.push(x);
        }
        Some(values.into())
    }

    fn too_many_names(&mut self, name: &Ident, what: &str, limit: usize) {
        let message = format!("a rule has at most {limit} {what}");
        self.report(Diagnostic::new(Code::TooManyNames, name.span, message).label("one too many"));
    }

    fn state(&mut self, item: &Item, name: &Ident, per: Option<&Ident>, dtype: Option<&Ident>, init: &Expr) {
        let extent = self.extent(per, Extent::Element, &Extent::ALL, "a state");
        if let Some(dtype) = dtype {
            self.not_available(dtype.span, &format!("a storage type of its own (`as {}`)", dtype.text));
        }
        let init_id = self.at(Place::Init, |this| this.number(init));
        let (Some(extent), Some(init_id), None) = (extent, init_id, dtype) else {
            self.declare(name, Symbol::Broken);
            return;
        };
        self.grows(init_id, extent, init.span, &format!("the first value of `{}`", name.text));
        if self.program.states.len() >= MAX_STATES {
            self.too_many_names(name, "states", MAX_STATES);
            self.declare(name, Symbol::Broken);
            return;
        }
        let id = StateId(self.program.states.len() as u32);
        if self.declare(name, Symbol::State(id)) {
            let (name, span) = (name.text.clone(), name.span);
            self.program.states.push(State { name, doc: item.doc.clone(), extent, init: init_id, span });
        }
    }

    fn input(&mut self, item: &Item, name: &Ident, per: Option<&Ident>, default: Option<&Expr>) {
        let extent = match per {
            Some(per) if &*per.text == "element" => {
                self.not_available(per.span, "an input per element");
                None
            }
            _ => self.extent(per, Extent::Model, &[Extent::Model, Extent::Group, Extent::Tensor], "an input"),
        };
        let default_id = default.map(|e| self.at(Place::InputDefault, |this| this.number(e)));
        let (Some(extent), Some(default_id)) = (extent, default_id.map_or(Some(None), |id| id.map(Some))) else {
            self.declare(name, Symbol::Broken);
            return;
        };
        if let (Some(id), Some(expr)) = (default_id, default) {
            self.grows(id, extent, expr.span, &format!("the default of `{}`", name.text));
        }
        let id = InputId(self.program.inputs.len() as u32);
        if self.declare(name, Symbol::Input(id)) {
            let (name, span) = (name.text.clone(), name.span);
            self.program.inputs.push(Input { name, doc: item.doc.clone(), extent, default: default_id, span });
            self.uses.inputs.push(false);
        }
    }

    fn def(&mut self, name: &Ident, params: &[Ident], body: &Expr) {
        let index = self.defs.len();
        if calls(body, &name.text) {
            self.report(
                Diagnostic::new(Code::RecursiveDef, name.span, format!("`{}` calls itself", name.text))
                    .help("a `def` is inlined, so it can only call those declared above it"),
            );
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
        self.template = Some(nodes);
        self.def_depth = Some(0);
        let outer_operations = std::mem::take(&mut self.operations);
        let root = self.at(Place::DefBody, |this| this.number(body));
        let operations = std::mem::replace(&mut self.operations, outer_operations);
        let depth = self.def_depth.take().unwrap_or(0);
        let nodes = self.template.take().unwrap_or_default();
        self.scopes.leave();
        if depth > MAX_DEF_DEPTH {
            let message = format!("`def`s call each other more than {MAX_DEF_DEPTH} deep");
            self.report(Diagnostic::new(Code::NestingTooDeep, name.span, message));
            self.declare(name, Symbol::Broken);
            return;
        }
        let template = root.map(|root| Rc::new(Template { nodes, root, operations, depth }));
        if self.declare(name, Symbol::Def(index)) {
            self.defs.push(Def { params: params.iter().map(|p| p.text.clone()).collect(), template });
            self.uses.defs.push((name.text.clone(), name.span, false));
        }
    }

    /// Reports a value that is larger than what it is for.
    fn grows(&mut self, value: ExprId, target: Extent, span: Span, what: &str) {
        let extent = self.node(value).extent;
        if extent > target {
            let message = format!("{what} is per {}, but this value is per {}", target.name(), extent.name());
            self.report(
                Diagnostic::new(Code::ExtentGrows, span, message)
                    .label(format!("differs per {}", extent.name()))
                    .help(format!("declare it `per {}`", extent.name())),
            );
        }
    }

    fn statements(&mut self, block: &Block) -> Vec<Stmt> {
        self.scopes.enter();
        let mut stmts = Vec::new();
        for item in &block.items {
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
        match &item.kind {
            ItemKind::Let { name, per, value } => self.let_statement(item.span, name, per.as_ref(), value),
            ItemKind::Assign { name, op, value } => self.assignment(item.span, name, *op, value),
            ItemKind::If { branches, otherwise } => self.branches(item.span, branches, otherwise.as_ref()),
            ItemKind::Broken { declares } => {
                if let Some(name) = declares {
                    if self.scopes.find(&name.text).is_none() && !names::is_built_in(&name.text, self.program.kind) {
                        self.scopes.declare(name.text.clone(), Symbol::Broken, name.span);
                    }
                }
                None
            }
            ItemKind::Use { .. } => {
                self.not_available(item.span, "`use`");
                None
            }
            ItemKind::Skip { .. } => {
                self.not_available(item.span, "`skip`");
                None
            }
            ItemKind::Report { .. } => {
                self.not_available(item.span, "`report`");
                None
            }
            ItemKind::View { .. } => {
                self.not_available(item.span, "`view`");
                None
            }
            ItemKind::Hyper { .. }
            | ItemKind::State { .. }
            | ItemKind::Input { .. }
            | ItemKind::Def { .. }
            | ItemKind::Require { .. } => {
                let what = declaration(&item.kind).unwrap_or("declaration");
                self.report(
                    Diagnostic::new(
                        Code::MisplacedDeclaration,
                        item.span,
                        format!("a {what} is declared at the top of the file, not in a block"),
                    )
                    .help("move the declaration up, before the first statement"),
                );
                self.declaration(item);
                None
            }
        }
    }

    fn let_statement(&mut self, span: Span, name: &Ident, per: Option<&Ident>, value: &Expr) -> Option<Stmt> {
        let id = self.expression(value);
        let (extent, ty) = id.map_or((Extent::Element, Ty::Number), |id| (self.node(id).extent, self.node(id).ty));
        let declared = match per {
            Some(_) => self.extent(per, extent, &Extent::ALL, "a local"),
            None => Some(extent),
        };
        let (Some(id), Some(declared)) = (id, declared) else {
            self.declare(name, Symbol::Broken);
            return None;
        };
        self.grows(id, declared, value.span, &format!("`{}`", name.text));
        let id = self.as_elements_see_it(id, declared);
        let local = LocalId(self.program.locals.len() as u32);
        if !self.declare(name, Symbol::Local(local)) {
            return None;
        }
        self.program.locals.push(Local { name: name.text.clone(), extent: declared.max(extent), span: name.span });
        self.local_depth.push(self.around.len());
        self.local_ty.push(ty);
        Some(Stmt { kind: StmtKind::Let(local, id), span })
    }

    fn assignment(&mut self, span: Span, name: &Ident, op: AssignOp, value: &Expr) -> Option<Stmt> {
        let var = self.assigned(name);
        let is_condition = matches!(var, Some(Var::Local(id)) if self.local_ty[id.index()] == Ty::Condition);
        let value_id = if is_condition && op == AssignOp::Set { self.condition(value) } else { self.number(value) };
        let (var, value_id) = (var?, value_id?);
        if is_condition && op != AssignOp::Set {
            let message = format!("`{}` is a condition, so `{}` cannot change it", name.text, op.symbol());
            self.report(Diagnostic::new(Code::NotANumber, name.span, message).help("write `= ... and ...`"));
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
        self.assigned_extent(var, name, value_id, value.span)?;
        let whole = self.as_elements_see_it(whole, self.program.var_extent(var));
        Some(Stmt { kind: StmtKind::Assign(var, whole), span })
    }

    /// A scalar condition that becomes a condition of elements is an outcome; anything else stays what it is.
    fn as_elements_see_it(&mut self, value: ExprId, target: Extent) -> ExprId {
        let is_condition = self.node(value).ty == Ty::Condition;
        if is_condition && target == Extent::Element { self.outcome(value) } else { value }
    }

    /// The variable that an assignment names.
    fn assigned(&mut self, name: &Ident) -> Option<Var> {
        let what = match self.scopes.find(&name.text) {
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
                let message = format!("`{}` is {what}: a rule does not change it", name.text);
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
                let mut candidates = self.scopes.names();
                candidates.extend(if self.program.kind == FileKind::Schedule { vec!["value"] } else { vec!["p", "g"] });
                let help = match did_you_mean(&name.text, candidates.iter().copied()) {
                    Some(similar) => format!("did you mean `{similar}`? A new local is `let {} = ...`", name.text),
                    None => format!(
                        "a new local is `let {0} = ...`; a value that is kept from step to step is `state {0} = 0` above",
                        name.text
                    ),
                };
                let message = format!("nothing is called `{}`", name.text);
                self.report(Diagnostic::new(Code::UnknownName, name.span, message).label("not declared").help(help));
            }
        }
        None
    }

    /// Neither the value nor a condition around the assignment may be of larger extent than the variable.
    fn assigned_extent(&mut self, var: Var, name: &Ident, value: ExprId, value_span: Span) -> Option<()> {
        let target = self.program.var_extent(var);
        let extent = self.node(value).extent;
        let declared = match var {
            Var::Local(id) => Some(self.program.locals[id.index()].span),
            Var::State(id) => Some(self.program.states[id.index()].span),
            Var::Param | Var::Grad | Var::Value => None,
        };
        let wider = |extent: Extent| match var {
            Var::State(_) if extent == Extent::Element => {
                format!("declare it per element: `state {} = ...`", name.text)
            }
            Var::State(_) => format!("declare it `state {} per {} = ...`", name.text, extent.name()),
            _ => format!("declare it `let {} per {} = ...`", name.text, extent.name()),
        };
        if extent > target {
            let message = format!("`{}` is per {}, but this value is per {}", name.text, target.name(), extent.name());
            let mut diagnostic = Diagnostic::new(Code::ExtentGrows, value_span, message)
                .label(format!("differs per {}", extent.name()))
                .help(wider(extent));
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
        if let Some((extent, span)) = self.around[depth..].iter().copied().find(|(extent, _)| *extent > target) {
            let message = format!(
                "`{}` is per {}, but whether it is assigned differs per {}",
                name.text,
                target.name(),
                extent.name()
            );
            self.report(
                Diagnostic::new(Code::ExtentGrows, name.span, message)
                    .label(format!("one per {}", target.name()))
                    .also(span, format!("this condition differs per {}", extent.name()))
                    .help(wider(extent)),
            );
            return None;
        }
        Some(())
    }

    fn branches(&mut self, span: Span, branches: &[Branch], otherwise: Option<&Block>) -> Option<Stmt> {
        let (first, rest) = branches.split_first()?;
        if branches.len() > MAX_BRANCHES {
            let message = format!("an `if` has at most {MAX_BRANCHES} branches");
            self.report(Diagnostic::new(Code::NestingTooDeep, branches[MAX_BRANCHES].cond.span, message));
            return None;
        }
        let cond = self.condition(&first.cond);
        // What the condition calls comes before the whole statement, not into its first block.
        let before = std::mem::take(&mut self.pending);
        let header = Span { start: span.start.min(first.cond.span.start), end: first.cond.span.end };
        let extent = cond.map_or(Extent::Model, |id| self.node(id).extent);
        // A scalar condition is numbered before those inside it; it gives its number back if nothing inside concerns
        // elements.
        let conditions = self.program.conditions.len();
        let outcome = cond.filter(|_| extent.is_scalar()).map(|cond| self.plan_condition(cond));
        self.around.push((extent, first.cond.span));
        let outer = self.inside;
        if let Some(id) = outcome {
            self.inside = Some((id, true));
        }
        let then = self.statements(&first.block);
        if let Some(id) = outcome {
            self.inside = Some((id, false));
        }
        let otherwise = match (rest.is_empty(), otherwise) {
            (false, _) => {
                let span = Span { start: rest[0].cond.span.start, end: span.end };
                self.branches(span, rest, otherwise).into_iter().collect()
            }
            (true, Some(block)) => self.statements(block),
            (true, None) => Vec::new(),
        };
        self.inside = outer;
        self.around.pop();
        self.pending.splice(0..0, before);
        let cond = cond?;
        let kind = match outcome {
            Some(id) if self.concerns_elements(&then) || self.concerns_elements(&otherwise) => IfKind::Plan(id),
            _ => {
                if outcome.is_some() {
                    self.program.conditions.truncate(conditions);
                }
                IfKind::Select(cond)
            }
        };
        Some(Stmt { kind: StmtKind::If(kind, then, otherwise), span: header })
    }

    /// Whether any of the statements does something for each element.
    fn concerns_elements(&self, stmts: &[Stmt]) -> bool {
        stmts.iter().any(|stmt| match &stmt.kind {
            StmtKind::Let(local, _) => !self.program.locals[local.index()].extent.is_scalar(),
            StmtKind::Assign(var, _) => !self.program.var_extent(*var).is_scalar(),
            StmtKind::If(_, then, otherwise) => self.concerns_elements(then) || self.concerns_elements(otherwise),
        })
    }
}

/// What a declaration declares; `None` for statements.
fn declaration(kind: &ItemKind) -> Option<&'static str> {
    match kind {
        ItemKind::Hyper { .. } => Some("hyper"),
        ItemKind::State { .. } => Some("state"),
        ItemKind::Input { .. } => Some("input"),
        ItemKind::Def { .. } => Some("`def`"),
        ItemKind::Require { .. } => Some("`require`"),
        _ => None,
    }
}

/// Whether an expression calls a function of this name.
fn calls(expr: &Expr, name: &str) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::Bool(_) | ExprKind::Name(_) => false,
        ExprKind::Index { index, .. } => calls(index, name),
        ExprKind::Call { function, args, .. } => {
            &*function.text == name || args.iter().any(|arg| calls(&arg.value, name))
        }
        ExprKind::Paren(inner) => calls(inner, name),
        ExprKind::Unary { operand, .. } => calls(operand, name),
        ExprKind::Power { base, exponent } => calls(base, name) || calls(exponent, name),
        ExprKind::Chain { first, rest } => calls(first, name) || rest.iter().any(|(_, e)| calls(e, name)),
        ExprKind::Compare { left, right, .. } => calls(left, name) || calls(right, name),
        ExprKind::If { cond, then, otherwise } => calls(cond, name) || calls(then, name) || calls(otherwise, name),
    }
}
