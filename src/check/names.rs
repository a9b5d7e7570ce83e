//! Which names mean what: the built-in names, and the scopes of a rule's own.

use super::program::{DrawFn, FileKind, Function, HyperId, InputId, LocalId, ReduceFn, StateId};
use crate::source::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a name of the rule's own stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Symbol {
    Hyper(HyperId),
    State(StateId),
    Input(InputId),
    Local(LocalId),
    /// A parameter of the `def` whose body is being checked, by its position.
    Param(usize),
    /// A `def`, by its position in file order.
    Def(usize),
    /// Declared by something that was rejected: using it is not another error.
    Broken,
}

/// The names in force, innermost block last, each with where it was declared.
#[derive(Default)]
pub(super) struct Scopes(Vec<BTreeMap<Arc<str>, (Symbol, Span)>>);

impl Scopes {
    pub(super) fn enter(&mut self) {
        self.0.push(BTreeMap::new());
    }

    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    pub(super) fn find(&self, name: &str) -> Option<(Symbol, Span)> {
        self.0.iter().rev().find_map(|scope| scope.get(name).copied())
    }

    /// Declares a name: a local or a parameter in the innermost block, anything else in the file.
    pub(super) fn declare(&mut self, name: Arc<str>, symbol: Symbol, span: Span) {
        let scope = match symbol {
            Symbol::Local(_) | Symbol::Param(_) | Symbol::Broken => self.0.last_mut(),
            _ => self.0.first_mut(),
        };
        if let Some(scope) = scope {
            scope.insert(name, (symbol, span));
        }
    }

    /// The names in force for such symbols, for did-you-mean.
    pub(super) fn names(&self, of: impl Fn(Symbol) -> bool) -> Vec<&str> {
        let all = self.0.iter().flatten();
        all.filter(|(_, (symbol, _))| of(*symbol)).map(|(name, _)| &**name).collect()
    }
}

/// Built-in names that are values, in files of this kind.
pub(super) fn values(kind: FileKind) -> &'static [&'static str] {
    match kind {
        FileKind::Schedule => &["s", "base", "value", "pi", "inf"],
        FileKind::Optimizer | FileKind::Fragment => {
            &["p", "g", "t", "pi", "inf", "epsilon", "numel", "rank", "rows", "cols"]
        }
    }
}

/// Those of them that statements assign.
pub(super) fn assignable(kind: FileKind) -> &'static [&'static str] {
    match kind {
        FileKind::Schedule => &["value"],
        FileKind::Optimizer | FileKind::Fragment => &["p", "g"],
    }
}

/// Functions of a list, or of an input.
pub(super) const NAME_FUNCTIONS: &[&str] = &["count", "prod", "len", "increasing", "given"];

/// The reduction of this name. With one argument only, `min`, `max` and `count` are reductions.
pub(super) fn reduction(name: &str) -> Option<ReduceFn> {
    ReduceFn::ALL.into_iter().find(|f| f.name() == name)
}

/// The draw of this name.
pub(super) fn draw(name: &str) -> Option<DrawFn> {
    DrawFn::ALL.into_iter().find(|f| f.name() == name)
}

/// The function of this name.
pub(super) fn function(name: &str) -> Option<Function> {
    Function::NAMED.into_iter().find(|f| f.name() == name)
}

/// Whether the language has a function of this name.
pub(super) fn is_function(name: &str) -> bool {
    reduction(name).is_some()
        || draw(name).is_some()
        || NAME_FUNCTIONS.contains(&name)
        || name == "old"
        || function(name).is_some()
}

/// Whether a file of this kind may not declare this name, because the language has it.
pub(super) fn is_built_in(name: &str, kind: FileKind) -> bool {
    values(kind).contains(&name) || is_function(name)
}
