//! Which `def`s call themselves.
//!
//! Comes in: a syntax tree. Goes out: for each `def` that cannot be inlined, the cycle of calls to report, once a cycle.
//! Takes linear time: `def`s that call only what can be inlined are taken away until none is left to take.

use crate::syntax::ast::{Ast, Block, Expr, ExprKind, Item, ItemKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The `def`s that call themselves, or one that does.
pub(super) struct Recursive(BTreeMap<Arc<str>, Option<Vec<Arc<str>>>>);

impl Recursive {
    /// `None`: the `def` of this name can be inlined. Else the names on its way back to itself, if it is the one to
    /// report it.
    pub(super) fn get(&self, name: &str) -> Option<Option<&[Arc<str>]>> {
        self.0.get(name).map(Option::as_deref)
    }
}

pub(super) fn find(ast: &Ast) -> Recursive {
    let mut callees = BTreeMap::<Arc<str>, Vec<Arc<str>>>::new();
    each_item(&ast.items, &mut |item| {
        if let ItemKind::Def { name, body, .. } = &item.kind {
            let mut names = Vec::new();
            calls(body, &mut names);
            callees.entry(name.text.clone()).or_insert(names);
        }
    });
    let mut callers = BTreeMap::<&str, Vec<&str>>::new();
    let mut left = BTreeMap::<&str, usize>::new();
    for (name, names) in &callees {
        let defs = names.iter().filter(|callee| callees.contains_key(*callee));
        left.insert(name, defs.clone().count());
        defs.for_each(|callee| callers.entry(callee).or_default().push(name));
    }
    let mut ready: Vec<&str> = left.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = ready.pop() {
        left.remove(name);
        for caller in callers.get(name).into_iter().flatten() {
            if let Some(count) = left.get_mut(caller) {
                *count -= 1;
                if *count == 0 {
                    ready.push(caller);
                }
            }
        }
    }
    // Each that is left calls another that is left: walking on must come back.
    let next = |name: &Arc<str>| callees[name].iter().find(|callee| left.contains_key(&***callee)).cloned();
    let mut seen = BTreeMap::<Arc<str>, Option<Vec<Arc<str>>>>::new();
    for start in callees.keys().filter(|name| left.contains_key(&***name)) {
        let (mut walk, mut places) = (Vec::new(), BTreeMap::new());
        let mut at = Some(start.clone());
        while let Some(name) = at.filter(|name| !seen.contains_key(name)) {
            if let Some(&place) = places.get(&name) {
                let cycle: Vec<Arc<str>> = walk[place..].to_vec();
                seen.insert(name, Some(cycle));
                break;
            }
            places.insert(name.clone(), walk.len());
            at = next(&name);
            walk.push(name);
        }
        for name in walk {
            seen.entry(name).or_insert(None);
        }
    }
    Recursive(seen)
}

/// Calls `f` with every item, those in blocks too.
pub(super) fn each_item<'a>(items: &'a [Item], f: &mut dyn FnMut(&'a Item)) {
    for item in items {
        f(item);
        if let ItemKind::If { branches, otherwise } = &item.kind {
            for block in branches.iter().map(|branch| &branch.block).chain(otherwise) {
                let Block { items, .. } = block;
                each_item(items, f);
            }
        }
    }
}

/// The names of the functions that an expression calls.
fn calls(expr: &Expr, names: &mut Vec<Arc<str>>) {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::Bool(_) | ExprKind::Name(_) => {}
        ExprKind::Index { index, .. } => calls(index, names),
        ExprKind::Call { function, args, .. } => {
            names.push(function.text.clone());
            args.iter().for_each(|arg| calls(&arg.value, names));
        }
        ExprKind::Paren(inner) => calls(inner, names),
        ExprKind::Unary { operand, .. } => calls(operand, names),
        ExprKind::Power { base, exponent } => [base, exponent].into_iter().for_each(|e| calls(e, names)),
        ExprKind::Chain { first, rest } => {
            calls(first, names);
            rest.iter().for_each(|(_, e)| calls(e, names));
        }
        ExprKind::Compare { left, right, .. } => [left, right].into_iter().for_each(|e| calls(e, names)),
        ExprKind::If { cond, then, otherwise } => [cond, then, otherwise].into_iter().for_each(|e| calls(e, names)),
    }
}
