//! `use`: the statements of another rule, in this one.
//!
//! The other rule is checked first, by itself. Then its hypers become expressions or hypers of this file, its inputs are
//! shared, its states and locals come in with names that have a dot, and its statements stand where the `use` stood.
//! What cannot be because of what this file gives it is said at the `use`.

use super::expand::{Bindings, Bound};
use super::names::Symbol;
use super::program::{
    ExprId, Extent, FileKind, Hyper, HyperDefault, HyperId, Input, InputId, ListRef, NodeKind, Program, State, StateId,
    Stmt, Var, View,
};
use super::schedules::{list_of, modes_of};
use super::{Checker, MAX_HYPERS, MAX_STATES, Place, print, range};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::Span;
use crate::syntax::ast::{Expr, Ident};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the `use`s of a file have brought so far.
#[derive(Default)]
pub(super) struct Used {
    /// What each is called here, and where it stands.
    names: BTreeMap<Arc<str>, Span>,
    /// The hypers that this file did not declare, with the name of the `use` that has added each.
    hypers: BTreeMap<HyperId, Arc<str>>,
    /// Whether one was rejected: then what it would have declared is not known.
    pub(super) broken: bool,
}

/// What a `use` gives for a hyper.
struct Given {
    value: Bound,
    /// The same, if it is made of hypers and numbers.
    settled: Option<Bound>,
    /// Where it stands.
    span: Span,
}

impl Checker<'_> {
    /// `use RULE [as NAME](hyper = EXPR, ...)`: its last statement, those before it being pending. `None`: it has none, or
    /// an error has been reported.
    pub(super) fn use_rule(
        &mut self,
        span: Span,
        rule: &Ident,
        alias: Option<&Ident>,
        bound: &[(Ident, Expr)],
    ) -> Option<Stmt> {
        let used = self.used_rule(span, rule, alias, bound);
        self.used.broken |= used.is_none();
        used?;
        self.pending.pop()
    }

    fn used_rule(&mut self, span: Span, rule: &Ident, alias: Option<&Ident>, bound: &[(Ident, Expr)]) -> Option<()> {
        if self.too_many_operations {
            return None;
        }
        if self.program.kind == FileKind::Schedule {
            let help = format!("a schedule calls another: `{}(at = s)`", rule.text);
            self.report(
                Diagnostic::new(Code::NotAllowedHere, span, "a schedule does not use rules")
                    .label("a `use`")
                    .help(help),
            );
            return None;
        }
        let callee = self.callee(rule)?;
        let name = alias.unwrap_or(rule);
        if let Some(first) = self.used.names.insert(name.text.clone(), span) {
            let message = format!("two rules that are used here are called `{}`", name.text);
            self.report(
                Diagnostic::new(Code::DuplicateName, name.span, message)
                    .label("called so again")
                    .also(first, "first used here")
                    .help(format!("give one another name: `use {} as NAME`", rule.text)),
            );
            return None;
        }
        self.uses.used.insert(span);
        let given = self.given_to_used(&callee, rule, &name.text, bound);
        let mut bindings = Bindings {
            name: name.text.clone(),
            step: None,
            hypers: Vec::new(),
            settled: Vec::new(),
            states: Vec::new(),
            inputs: Vec::new(),
            locals: BTreeMap::new(),
            call: span,
        };
        let (given, right) = given;
        let added = self.hypers_of_used(&callee, rule, &given, right, &mut bindings);
        (right && added).then_some(())?;
        self.within_use(&name.text, span, |this| {
            this.inputs_of_used(&callee, &given, &mut bindings)?;
            this.states_of_used(&callee, &given, &mut bindings)?;
            this.needed_by_requires(&callee, &given)?;
            this.requires_of(&callee, &bindings)?;
            let body = this.expand(&callee, &callee.body, true, &mut bindings)?;
            this.pending.extend(body);
            this.views_of_used(&callee, &given, &bindings)
        })
    }

    /// Does what a `use` needs. Of what goes wrong, the first is said, and that it is so in the other file.
    fn within_use<T>(&mut self, name: &str, span: Span, f: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.diagnostics.len();
        let result = f(self);
        let mut found = self.diagnostics.split_off(before).into_iter();
        let Some(mut first) = found.next() else { return result };
        // What points at the `use` as a whole was found in what it is replaced by.
        let limit = matches!(first.code, Code::TooManyOperations | Code::TooManyNames | Code::NestingTooDeep);
        let said_of_this_file = matches!(first.code, Code::DefaultOutOfInterval | Code::DuplicateName);
        if first.primary.span == span && !limit && !said_of_this_file {
            first = Diagnostic::new(first.code, span, format!("in `{name}`: {}", first.message))
                .label("where this `use` puts it")
                .help(format!("give the hypers of `{name}` values per group or smaller, or put the `use` elsewhere"));
        }
        self.diagnostics.push(first);
        None
    }

    /// What the `use` gives, by index of the hyper; and whether all of it could be made out.
    fn given_to_used(
        &mut self,
        callee: &Program,
        rule: &Ident,
        name: &str,
        bound: &[(Ident, Expr)],
    ) -> (BTreeMap<usize, Given>, bool) {
        let mut given = BTreeMap::<usize, Given>::new();
        let mut first = BTreeMap::<&str, Span>::new();
        let mut right = true;
        for (hyper, expr) in bound {
            if self.has_enough_errors() {
                return (given, false);
            }
            if let Some(first) = first.get(&*hyper.text) {
                let message = format!("`{}` is given twice", hyper.text);
                self.report(
                    Diagnostic::new(Code::DuplicateName, hyper.span, message)
                        .label("given again")
                        .also(*first, "first given here")
                        .help("remove one"),
                );
                right = false;
                continue;
            }
            first.insert(&hyper.text, hyper.span);
            let Some(index) = callee.hypers.iter().position(|it| it.name == hyper.text) else {
                let names = || callee.hypers.iter().map(|hyper| &*hyper.name);
                let help = match did_you_mean(&hyper.text, names()) {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None if callee.hypers.is_empty() => format!("it has none: write `use {}`", rule.text),
                    None => format!("it has {}", list_of(names())),
                };
                let message = format!("`{}` has no hyper `{}`", rule.text, hyper.text);
                self.report(
                    Diagnostic::new(Code::UnknownName, hyper.span, message)
                        .label(format!("not a hyper of `{}`", rule.text))
                        .help(help),
                );
                right = false;
                continue;
            };
            match self.give(callee, &callee.hypers[index], name, expr) {
                Some((value, settled)) => {
                    given.insert(index, Given { value, settled, span: expr.span });
                }
                None => right = false,
            }
        }
        (given, right)
    }

    /// What a `use` gives for a hyper, and the same if it is made of hypers and numbers.
    fn give(&mut self, callee: &Program, hyper: &Hyper, name: &str, expr: &Expr) -> Option<(Bound, Option<Bound>)> {
        let local = format!("{name}.{}", hyper.name);
        let id = match &hyper.default {
            HyperDefault::Mode(modes) => {
                let bound = Bound::Mode(self.bind_mode(callee, hyper, modes, Some(expr), expr.span)?);
                self.reads_hyper_named(expr);
                return Some((bound.clone(), Some(bound)));
            }
            HyperDefault::List(_) => {
                let bound = Bound::List(self.bind_list(callee, hyper, expr)?);
                return Some((bound.clone(), Some(bound)));
            }
            HyperDefault::Flag(_) => self.condition(expr)?,
            HyperDefault::Number(_) => {
                let id = self.number(expr)?;
                self.fits(callee, hyper, id, expr.span)?;
                self.build(NodeKind::Own(id), expr.span)?
            }
        };
        if self.is_settled(id) {
            return Some((Bound::Value(id), Some(Bound::Value(id))));
        }
        let kept = self.keep(&local, id, expr.span)?;
        if let NodeKind::Read(Var::Local(id)) = self.node(kept).kind {
            self.scopes.declare(local.into(), Symbol::Local(id), expr.span);
        }
        Some((Bound::Value(kept), None))
    }

    /// A mode of this file that is given for one of the other file is used.
    fn reads_hyper_named(&mut self, expr: &Expr) {
        if let crate::syntax::ast::ExprKind::Name(name) = &super::expressions::without_parentheses(expr).kind
            && let Some((id, _)) = self.mode_hyper(&name.text)
            && let Some(used) = self.uses.hypers.get_mut(id.index())
        {
            *used = true;
        }
    }

    /// Binds every hyper of the other file: to what is given, to this file's of the same name, or to a new one of this
    /// file. False: errors have been reported.
    fn hypers_of_used(
        &mut self,
        callee: &Program,
        rule: &Ident,
        given: &BTreeMap<usize, Given>,
        all_given: bool,
        bindings: &mut Bindings,
    ) -> bool {
        let mut right = true;
        let mut again = Vec::new();
        for (index, hyper) in callee.hypers.iter().enumerate() {
            let (value, settled) = match (given.get(&index), self.scopes.find(&hyper.name)) {
                (Some(given), _) => (Some(given.value.clone()), given.settled.clone()),
                (None, Some((Symbol::Hyper(id), _))) if self.used.hypers.contains_key(&id) => {
                    again.push((hyper, id));
                    (None, None)
                }
                (None, Some((Symbol::Broken, _))) => {
                    right = false;
                    (None, None)
                }
                (None, Some((symbol, declared))) => {
                    let bound = self.same_hyper(callee, hyper, symbol, declared, bindings);
                    right &= bound.is_some();
                    (bound.clone(), bound)
                }
                (None, None) => {
                    let bound = self.add_hyper(callee, hyper, given, bindings);
                    right &= bound.is_some();
                    (bound.clone(), bound)
                }
            };
            // What is missing is not looked at: the expansion does not take place.
            bindings.hypers.push(value.unwrap_or(Bound::Mode(Vec::new())));
            bindings.settled.push(settled);
        }
        // A mistake in what is given may be why they are not bound.
        if !again.is_empty() && all_given {
            self.added_again(rule, &again, bindings);
        }
        right && again.is_empty()
    }

    /// Two `use`s want a hyper of the same name, which this file does not declare.
    fn added_again(&mut self, rule: &Ident, again: &[(&Hyper, HyperId)], bindings: &Bindings) {
        let names = list_of(again.iter().map(|(hyper, _)| &*hyper.name));
        let (each, are) = if again.len() == 1 { ("it", "is a hyper") } else { ("them", "are hypers") };
        let (first, name) = (self.used.hypers[&again[0].1].clone(), &bindings.name);
        let message = format!("{names} {are} of both `{first}` and `{name}`, and not declared here");
        let lines: Vec<String> = again.iter().map(|(_, id)| format!("`{}`", self.declaration_of(*id))).collect();
        let alias = if *name == rule.text { String::new() } else { format!(" as {name}") };
        let mut diagnostic = Diagnostic::new(Code::DuplicateName, bindings.call, message)
            .label(format!("would share {each} with `{first}`"))
            .help(format!(
                "to share {each}, declare {each} above: {}; or bind {each}: `use {}{alias}({} = ...)`",
                lines.join(", "),
                rule.text,
                again[0].0.name
            ));
        if let Some(span) = self.used.names.get(&first) {
            diagnostic = diagnostic.also(*span, "first used here");
        }
        self.report(diagnostic);
    }

    /// The line that declares a hyper.
    fn declaration_of(&self, id: HyperId) -> String {
        let hyper = &self.program.hypers[id.index()];
        let per = if hyper.extent == Extent::Model { " per model" } else { "" };
        let default = match &hyper.default {
            HyperDefault::Number(id) => print::expression_text(&self.program, *id).replace(['[', ']'], ""),
            HyperDefault::Flag(flag) => flag.to_string(),
            HyperDefault::Mode(modes) => format!("one of {}", modes.join(" | ")),
            HyperDefault::List(elements) => print::list_text(elements),
        };
        let interval = hyper.interval.map_or(String::new(), |range| format!(" in {range}"));
        let always = matches!(hyper.default, HyperDefault::Flag(_) | HyperDefault::Mode(_));
        let fixed = if hyper.fixed && !always { " fixed" } else { "" };
        format!("hyper {}{per} = {default}{interval}{fixed}", hyper.name)
    }

    /// This file's hyper of the same name.
    fn same_hyper(
        &mut self,
        callee: &Program,
        hyper: &Hyper,
        symbol: Symbol,
        declared: Span,
        bindings: &Bindings,
    ) -> Option<Bound> {
        let (name, span) = (&hyper.name, bindings.call);
        let bind = format!("bind it: `use {}({name} = ...)`", callee.name);
        let is = match symbol {
            Symbol::Hyper(_) => kind(&hyper.default),
            Symbol::State(_) => "a state",
            Symbol::Input(_) => "an input",
            Symbol::Def(_) => "a function",
            Symbol::Local(_) | Symbol::Param(_) | Symbol::Broken => "a local",
        };
        let Symbol::Hyper(id) = symbol else {
            let message = format!("`{name}` is {} of `{}`, and {is} here", kind(&hyper.default), callee.name);
            self.report(
                Diagnostic::new(Code::DuplicateName, span, message)
                    .label(format!("would add the hyper `{name}` to this file"))
                    .also(declared, "declared here")
                    .help(bind),
            );
            return None;
        };
        if let Some(used) = self.uses.hypers.get_mut(id.index()) {
            *used = true;
        }
        let mine = &self.program.hypers[id.index()];
        let other = match (&mine.default, &hyper.default) {
            _ if mine.extent != hyper.extent => {
                Some((format!("per {}", mine.extent.name()), format!("per {}", hyper.extent.name())))
            }
            (HyperDefault::Mode(mine), HyperDefault::Mode(theirs)) if mine.iter().any(|it| !theirs.contains(it)) => {
                Some((format!("one of {}", modes_of(mine)), format!("one of {}", modes_of(theirs))))
            }
            (mine, theirs) if std::mem::discriminant(mine) != std::mem::discriminant(theirs) => {
                Some((kind(mine).to_string(), kind(theirs).to_string()))
            }
            _ => None,
        };
        if let Some((mine, theirs)) = other {
            let message = format!("`{name}` is {mine} here, and {theirs} in `{}`", callee.name);
            self.report(
                Diagnostic::new(Code::DuplicateName, span, message)
                    .label("would be this file's hyper of that name")
                    .also(declared, "declared here")
                    .help(format!("declare it as `{}` does, or {bind}", callee.name)),
            );
            return None;
        }
        match (&hyper.default, mine.default.clone()) {
            (HyperDefault::Mode(theirs), HyperDefault::Mode(mine)) => {
                self.expanded_modes(theirs, span)?;
                let modes = theirs.iter().map(|mode| match mine.iter().position(|it| it == mode) {
                    Some(position) => self.build(NodeKind::IsMode(id, position as u32), span),
                    None => self.build(NodeKind::Bool(false), span),
                });
                Some(Bound::Mode(modes.collect::<Option<_>>()?))
            }
            (HyperDefault::List(_), _) => Some(Bound::List(ListRef::Hyper(id))),
            (HyperDefault::Flag(_), _) => self.build(NodeKind::Flag(id), span).map(Bound::Value),
            _ => {
                let value = self.build(NodeKind::Hyper(id), span)?;
                self.fits(callee, hyper, value, span)?;
                Some(Bound::Value(value))
            }
        }
    }

    /// A hyper that this file did not have becomes one of it.
    fn add_hyper(
        &mut self,
        callee: &Program,
        hyper: &Hyper,
        given: &BTreeMap<usize, Given>,
        bindings: &Bindings,
    ) -> Option<Bound> {
        let span = bindings.call;
        let default = match &hyper.default {
            HyperDefault::Number(id) => {
                self.needed_by(callee, *id, given, &format!("in the default of `{}`", hyper.name))?;
                let name = &bindings.name.clone();
                HyperDefault::Number(self.within_use(name, span, |this| {
                    let id = this
                        .at(Place::HyperDefault, |this| this.copy(callee, *id, &bindings.settled_hypers(), bindings))?;
                    this.is_not_larger(id, hyper.extent, &format!("the default of `{}`", hyper.name), span)?;
                    this.count(id, span).then_some(id)
                })?)
            }
            other => other.clone(),
        };
        self.expanded(span)?;
        if self.program.hypers.len() >= MAX_HYPERS {
            self.too_many_names(&Ident { text: hyper.name.clone(), span }, "hypers", MAX_HYPERS);
            return None;
        }
        let id = HyperId(self.program.hypers.len() as u32);
        self.scopes.declare(hyper.name.clone(), Symbol::Hyper(id), span);
        self.program.hypers.push(Hyper { default, span, ..hyper.clone() });
        self.uses.hypers.push(true);
        self.used.hypers.insert(id, bindings.name.clone());
        if let (HyperDefault::Number(_), Some(x)) = (&hyper.default, range::default_value(&self.program, id)) {
            let outside = hyper.interval.filter(|range| !range.contains(x));
            if outside.is_some() || x.is_nan() {
                let message = match outside {
                    Some(range) => format!("the default of `{}` is {x} then, which is not in {range}", hyper.name),
                    None => format!("the default of `{}` is not a number (NaN) then", hyper.name),
                };
                self.report(
                    Diagnostic::new(Code::DefaultOutOfInterval, span, message)
                        .label("with these values of its hypers")
                        .help(format!("bind it too: `use {}({} = ...)`", callee.name, hyper.name)),
                );
                return None;
            }
        }
        match &hyper.default {
            HyperDefault::Number(_) => self.build(NodeKind::Hyper(id), span).map(Bound::Value),
            HyperDefault::Flag(_) => self.build(NodeKind::Flag(id), span).map(Bound::Value),
            HyperDefault::List(_) => Some(Bound::List(ListRef::Hyper(id))),
            HyperDefault::Mode(modes) => {
                let modes = (0..modes.len()).map(|mode| self.build(NodeKind::IsMode(id, mode as u32), span));
                Some(Bound::Mode(modes.collect::<Option<_>>()?))
            }
        }
    }

    /// Reports a hyper that is given a value which is not known where the other file needs it.
    fn needed_by(&mut self, callee: &Program, root: ExprId, given: &BTreeMap<usize, Given>, place: &str) -> Option<()> {
        let mut pending = vec![root];
        while let Some(root) = pending.pop() {
            for id in callee.postorder(root) {
                let hyper = match &callee.node(id).kind {
                    NodeKind::Hyper(hyper) | NodeKind::Flag(hyper) => *hyper,
                    NodeKind::Outcome(condition) => {
                        pending.push(callee.conditions[condition.index()].cond);
                        continue;
                    }
                    _ => continue,
                };
                let Some(unsettled) = given.get(&hyper.index()).filter(|given| given.settled.is_none()) else {
                    continue;
                };
                let message = format!("`{}` needs `{}` {place}", callee.name, callee.hypers[hyper.index()].name);
                self.report(
                    Diagnostic::new(Code::NotAllowedHere, unsettled.span, message)
                        .label("is known in a step only")
                        .help("bind it to a formula of hypers and numbers"),
                );
                return None;
            }
        }
        Some(())
    }

    fn needed_by_requires(&mut self, callee: &Program, given: &BTreeMap<usize, Given>) -> Option<()> {
        callee.requires.iter().try_for_each(|require| self.needed_by(callee, require.cond, given, "in a `require`"))
    }

    /// The inputs of the other file are this file's, if it has them, and else become its.
    fn inputs_of_used(
        &mut self,
        callee: &Program,
        given: &BTreeMap<usize, Given>,
        bindings: &mut Bindings,
    ) -> Option<()> {
        let span = bindings.call;
        for input in &callee.inputs {
            self.expanded(span)?;
            let default = match input.default {
                Some(id) => {
                    self.needed_by(callee, id, given, &format!("in the default of the input `{}`", input.name))?;
                    let settled = bindings.settled_hypers();
                    let id = self.at(Place::InputDefault, |this| this.copy(callee, id, &settled, bindings))?;
                    self.is_not_larger(id, input.extent, &format!("the default of `{}`", input.name), span)?;
                    self.count(id, span).then_some(())?;
                    Some(id)
                }
                None => None,
            };
            let id = match self.scopes.find(&input.name) {
                None => {
                    let id = InputId(self.program.inputs.len() as u32);
                    self.scopes.declare(input.name.clone(), Symbol::Input(id), span);
                    self.program.inputs.push(Input { default, span, ..input.clone() });
                    self.uses.inputs.push(true);
                    id
                }
                Some((Symbol::Input(id), declared)) => {
                    self.same_input(callee, input, id, default, declared, span)?;
                    id
                }
                Some((Symbol::Broken, _)) => return None,
                Some((_, declared)) => {
                    let message = format!("`{}` is an input of `{}`, and something else here", input.name, callee.name);
                    self.report(
                        Diagnostic::new(Code::DuplicateName, span, message)
                            .label(format!("would add the input `{}` to this file", input.name))
                            .also(declared, "declared here")
                            .help("choose another name here"),
                    );
                    return None;
                }
            };
            bindings.inputs.push(id);
        }
        Some(())
    }

    /// An input that both files have must be the same in both.
    fn same_input(
        &mut self,
        callee: &Program,
        input: &Input,
        id: InputId,
        default: Option<ExprId>,
        declared: Span,
        span: Span,
    ) -> Option<()> {
        if let Some(used) = self.uses.inputs.get_mut(id.index()) {
            *used = true;
        }
        let mine = &self.program.inputs[id.index()];
        // Brackets say what is a source expression of its own; the value is the same.
        let text = |default: Option<ExprId>| match default {
            Some(id) => print::expression_text(&self.program, id).replace(['[', ']'], ""),
            None => String::new(),
        };
        let (my_default, its_default) = (text(mine.default), text(default));
        let per = |extent: Extent| match extent {
            Extent::Model => String::new(),
            other => format!(" per {}", other.name()),
        };
        if mine.extent == input.extent && my_default == its_default {
            return Some(());
        }
        let line = |input: &Input, default: &str| {
            let equals = if default.is_empty() { "" } else { " = " };
            format!("input {}{}{equals}{default}", input.name, per(input.extent))
        };
        let its_line = line(input, &its_default);
        let message =
            format!("`{}` is `{its_line}` in `{}`, not `{}`", input.name, callee.name, line(mine, &my_default));
        self.report(
            Diagnostic::new(Code::DuplicateName, span, message)
                .label("would share the input")
                .also(declared, "declared here")
                .help(format!("write `{its_line}` here, or choose another name")),
        );
        None
    }

    fn states_of_used(
        &mut self,
        callee: &Program,
        given: &BTreeMap<usize, Given>,
        bindings: &mut Bindings,
    ) -> Option<()> {
        let span = bindings.call;
        let settled = bindings.settled_hypers();
        for state in &callee.states {
            self.expanded(span)?;
            self.needed_by(callee, state.init, given, &format!("in the first value of `{}`", state.name))?;
            let init = self.at(Place::Init, |this| this.copy(callee, state.init, &settled, bindings))?;
            let name: Arc<str> = format!("{}.{}", bindings.name, state.name).into();
            self.is_not_larger(init, state.extent, &format!("the first value of `{name}`"), span)?;
            self.count(init, span).then_some(())?;
            if self.program.states.len() >= MAX_STATES {
                self.too_many_names(&Ident { text: name, span }, "states", MAX_STATES);
                return None;
            }
            let id = StateId(self.program.states.len() as u32);
            self.scopes.declare(name.clone(), Symbol::State(id), span);
            self.program.states.push(State { name, init, span, ..state.clone() });
            bindings.states.push(id);
        }
        Some(())
    }

    /// Reports a value that is larger here than what it is for.
    fn is_not_larger(&mut self, value: ExprId, target: Extent, what: &str, span: Span) -> Option<()> {
        let extent = self.node(value).extent;
        if extent.fits_in(target) {
            return Some(());
        }
        let message = format!("{what} is per {}, but this value is per {}", target.name(), extent.name());
        self.report(Diagnostic::new(Code::ExtentGrows, span, message));
        None
    }

    fn views_of_used(&mut self, callee: &Program, given: &BTreeMap<usize, Given>, bindings: &Bindings) -> Option<()> {
        let settled = bindings.settled_hypers();
        for view in &callee.views {
            self.expanded(bindings.call)?;
            self.is_at_top("view", bindings.call, "state x = ...", &view.name);
            self.needed_by(callee, view.value, given, &format!("in the view `{}`", view.name))?;
            let value = self.at(Place::View, |this| this.copy(callee, view.value, &settled, bindings))?;
            self.count(value, bindings.call).then_some(())?;
            let name = format!("{}.{}", bindings.name, view.name).into();
            self.program.views.push(View { name, value, span: bindings.call, ..view.clone() });
        }
        Some(())
    }

    /// Reports a name with a dot that means nothing.
    pub(super) fn unknown_name_of_used(&mut self, name: &str, span: Span) {
        if self.used.broken {
            return;
        }
        let used =
            self.used.names.keys().filter_map(|used| Some((used, name.strip_prefix(&**used)?.strip_prefix('.')?)));
        let Some((used, own)) = used.max_by_key(|(used, _)| used.len()).map(|(a, b)| (a.clone(), b)) else {
            let candidates = self.scopes.names(|symbol| matches!(symbol, Symbol::State(_) | Symbol::Local(_)));
            let help = match did_you_mean(name, candidates.into_iter().filter(|name| name.contains('.'))) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => {
                    let rule = name.split('.').next().unwrap_or_default();
                    format!("a name with a dot is one of a rule that is used above: `use {rule}`")
                }
            };
            let message = format!("nothing is called `{name}`");
            self.report(Diagnostic::new(Code::UnknownName, span, message).label("not declared").help(help));
            return;
        };
        let message = format!("`{used}` has no state and no local `{own}`");
        let names = self.scopes.names(|symbol| matches!(symbol, Symbol::State(_) | Symbol::Local(_)));
        let names: Vec<&str> =
            names.into_iter().filter(|name| name.strip_prefix(&*used).is_some_and(|it| it.starts_with('.'))).collect();
        let help = match (did_you_mean(name, names.iter().copied()), self.scopes.find(own)) {
            (_, Some((Symbol::Hyper(_), _))) => format!("a hyper has no dot: write `{own}`"),
            (_, Some((Symbol::Input(_), _))) => format!("an input has no dot: write `{own}`"),
            (Some(similar), _) => format!("did you mean `{similar}`?"),
            _ if names.is_empty() => format!("`{used}` has none that could be read"),
            _ => format!("it has {}", list_of(names.iter().copied())),
        };
        self.report(Diagnostic::new(Code::UnknownName, span, message).label("not declared").help(help));
    }

    /// Reports an assignment to a state or a local of a used rule.
    pub(super) fn assigned_to_used(&mut self, name: &Ident, used: Span) {
        let (rule, own) = name.text.rsplit_once('.').unwrap_or_default();
        let message = format!("`{}` belongs to `{rule}`: this file reads it only", name.text);
        self.report(
            Diagnostic::new(Code::NotAssignable, name.span, message)
                .label("not this file's to change")
                .also(used, "used here")
                .help(format!("for a value of your own, write `let {own} = {}`", name.text)),
        );
    }
}

/// What kind of hyper it is.
fn kind(default: &HyperDefault) -> &'static str {
    match default {
        HyperDefault::Number(_) => "a hyper",
        HyperDefault::Flag(_) => "a flag",
        HyperDefault::Mode(_) => "one of several modes",
        HyperDefault::List(_) => "a list",
    }
}
