//! Lints: what is legal and probably a mistake.
//!
//! Comes in: a program without errors, and the tree that it came from. Goes out: warnings, less those that an
//! `# allow(CODE): reason` at the end of their line silences.

use super::Uses;
use super::program::{
    BinaryOp, ExprId, FileKind, Function, Hyper, HyperDefault, IfKind, NodeKind, Program, StateId, Stmt, StmtKind, Var,
};
use super::range::{ANY, Facts, Known, evaluate, examine};
use crate::diagnostic::{Code, Diagnostic, Severity, did_you_mean};
use crate::source::Span;
use crate::syntax::Parsed;
use crate::syntax::ast::{Item, ItemKind};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn lints(program: &Program, uses: &Uses, parsed: &Parsed) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    unused_declarations(program, uses, parsed, &mut found);
    unused_values(program, &mut found);
    roots(program, &mut found);
    if program.kind == FileKind::Optimizer {
        zero_over_zero(program, &mut found);
    }
    // What a `use` is replaced by has been looked at in its own file; what it gives it is this file's.
    found.retain(|diagnostic| {
        diagnostic.code == Code::ParameterNeverUpdated || !uses.used.contains(&diagnostic.primary.span)
    });
    // An inlined `def` is looked at once a call: what is wrong in its body is said once.
    crate::diagnostic::sort(&mut found);
    found.dedup_by(|a, b| a.code == b.code && a.primary.span == b.primary.span);
    silence(parsed, found)
}

/// Calls `f` with the root of every expression of the statements.
fn each_expression(stmts: &[Stmt], program: &Program, f: &mut dyn FnMut(ExprId)) {
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::Let(_, value) | StmtKind::Assign(_, value) => f(*value),
            StmtKind::Skip(value) | StmtKind::Report(_, value) => f(*value),
            StmtKind::If(kind, then, otherwise) => {
                f(if_condition(program, *kind));
                each_expression(then, program, f);
                each_expression(otherwise, program, f);
            }
        }
    }
}

fn if_condition(program: &Program, kind: IfKind) -> ExprId {
    match kind {
        IfKind::Plan(id) => program.conditions[id.index()].cond,
        IfKind::Select(cond) => cond,
    }
}

/// The variables that an expression reads, those behind its plan conditions among them, and whether as they were
/// before the step.
fn reads(program: &Program, root: ExprId, f: &mut dyn FnMut(Var, bool)) {
    for id in program.postorder(root) {
        match &program.node(id).kind {
            NodeKind::Read(var) => f(*var, false),
            NodeKind::Old(var) => f(*var, true),
            NodeKind::Outcome(condition) => reads(program, program.conditions[condition.index()].cond, f),
            _ => {}
        }
    }
}

fn unused_declarations(program: &Program, uses: &Uses, parsed: &Parsed, found: &mut Vec<Diagnostic>) {
    for (hyper, used) in program.hypers.iter().zip(&uses.hypers) {
        if !used {
            let message = format!("the hyper `{}` is never used", hyper.name);
            found.push(Diagnostic::new(Code::UnusedHyper, hyper.span, message).help("remove its line, or use it"));
        }
    }
    for (input, used) in program.inputs.iter().zip(&uses.inputs) {
        if !used {
            let message = format!("the input `{}` is never used", input.name);
            found.push(Diagnostic::new(Code::UnusedInput, input.span, message).help("remove its line, or use it"));
        }
    }
    for (name, span, used) in &uses.defs {
        if !used {
            let message = format!("the function `{name}` is never called");
            found.push(Diagnostic::new(Code::UnusedDef, *span, message).help("remove its line, or call it"));
        }
    }
    for (name, span, def) in &uses.params {
        let message = format!("the parameter `{name}` of `{def}` is never used");
        let help = format!("remove it here and in the calls of `{def}`, or use it");
        found.push(Diagnostic::new(Code::UnusedValue, *span, message).help(help));
    }
    let mut read = BTreeSet::new();
    each_expression(&program.body, program, &mut |root| reads(program, root, &mut |var, _| read.extend([var])));
    program.views.iter().for_each(|view| reads(program, view.value, &mut |var, _| read.extend([var])));
    let mut assigned = BTreeSet::new();
    each_assignment(&program.body, &mut |var| assigned.extend([var]));
    for (index, state) in program.states.iter().enumerate() {
        // Those with a dot are a used rule's, and its own file has been looked at.
        if state.name.contains('.') {
            continue;
        }
        let var = Var::State(StateId(index as u32));
        let name = &state.name;
        let of_parameter = |id: &ExprId| program.node(*id).kind == NodeKind::Read(Var::Param);
        found.push(match (read.contains(&var), assigned.contains(&var)) {
            (true, true) => continue,
            // What the parameter was at first no hyper can say.
            (true, false) if program.postorder(state.init).iter().any(of_parameter) => continue,
            (true, false) => {
                let message = format!("the state `{name}` is read, but never assigned");
                Diagnostic::new(Code::StateNeverUpdated, state.span, message)
                    .label("keeps its first value for ever")
                    .help(format!("assign it: `{name} = ...`; a constant is a `hyper`"))
            }
            (false, true) => {
                let message = format!("the state `{name}` is assigned, but never read");
                Diagnostic::new(Code::UnusedState, state.span, message)
                    .label("takes memory for nothing")
                    .help("use it in the update; a value that is not kept from step to step is a `let`")
            }
            (false, false) => {
                let message = format!("the state `{name}` is never used");
                Diagnostic::new(Code::UnusedState, state.span, message).help("remove its line, or use it")
            }
        });
    }
    if program.kind == FileKind::Optimizer && !assigned.contains(&Var::Param) {
        let message = "the rule never assigns `p`, so it trains nothing";
        let (span, label) = match (program.body.last(), &parsed.ast.header) {
            (Some(stmt), _) => (stmt.span, "the last statement"),
            (None, Some(header)) => (header.span, "this rule has no statements"),
            (None, None) => return,
        };
        found.push(
            Diagnostic::new(Code::ParameterNeverUpdated, span, message)
                .label(label)
                .help("write the update, such as `p -= 1e-3 * g`"),
        );
    }
}

fn each_assignment(stmts: &[Stmt], f: &mut dyn FnMut(Var)) {
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::Assign(var, _) => f(*var),
            StmtKind::Let(..) | StmtKind::Skip(_) | StmtKind::Report(..) => {}
            StmtKind::If(_, then, otherwise) => {
                each_assignment(then, f);
                each_assignment(otherwise, f);
            }
        }
    }
}

/// Assignments that no later read can see.
fn unused_values(program: &Program, found: &mut Vec<Diagnostic>) {
    let mut live: BTreeSet<Var> = (0..program.states.len()).map(|i| Var::State(StateId(i as u32))).collect();
    live.extend([Var::Param, Var::Value]);
    if program.kind == FileKind::Fragment {
        // What it leaves is for the rule that uses it: the gradient, and what it has by names with a dot.
        live.extend([Var::Grad]);
        live.extend(program.body.iter().filter_map(|stmt| match stmt.kind {
            StmtKind::Let(local, _) => Some(Var::Local(local)),
            _ => None,
        }));
    }
    let mut unused = Vec::new();
    live_before(program, &program.body, &mut live, &mut unused);
    for (var, span) in unused {
        let name = program.var_name(var);
        let message = format!("this value of `{name}` is never read");
        found.push(Diagnostic::new(Code::UnusedValue, span, message).help("remove the statement, or use the value"));
    }
}

/// From what is read after the statements to what is read after they began, backwards.
fn live_before(program: &Program, stmts: &[Stmt], live: &mut BTreeSet<Var>, unused: &mut Vec<(Var, Span)>) {
    for stmt in stmts.iter().rev() {
        match &stmt.kind {
            StmtKind::Let(local, value) => {
                assign(program, Var::Local(*local), *value, stmt.span, live, unused);
            }
            StmtKind::Assign(var, value) => assign(program, *var, *value, stmt.span, live, unused),
            StmtKind::Skip(value) | StmtKind::Report(_, value) => reads_now(program, *value, live),
            StmtKind::If(kind, then, otherwise) => {
                let mut other = live.clone();
                live_before(program, then, live, unused);
                live_before(program, otherwise, &mut other, unused);
                live.append(&mut other);
                reads_now(program, if_condition(program, *kind), live);
            }
        }
    }
}

fn assign(
    program: &Program,
    var: Var,
    value: ExprId,
    span: Span,
    live: &mut BTreeSet<Var>,
    unused: &mut Vec<(Var, Span)>,
) {
    // What the expansion of a call computes is not the author's to remove; only its names have a dot.
    if !live.remove(&var) && !program.var_name(var).contains('.') {
        unused.push((var, span));
    }
    reads_now(program, value, live);
}

/// Adds the variables whose present value an expression reads.
fn reads_now(program: &Program, root: ExprId, live: &mut BTreeSet<Var>) {
    reads(program, root, &mut |var, old| live.extend((!old).then_some(var)));
}

/// What is found out by running the statements over intervals.
struct Walk<'a> {
    program: &'a Program,
    facts: Facts,
    visit: &'a mut dyn FnMut(ExprId, &[Known]),
}

impl Walk<'_> {
    /// Says whether the step goes on after them: it does not where a `skip` is known to take it.
    fn statements(&mut self, stmts: &[Stmt]) -> bool {
        for stmt in stmts {
            match &stmt.kind {
                StmtKind::Let(local, value) => self.assign(Var::Local(*local), *value),
                StmtKind::Assign(var, value) => self.assign(*var, *value),
                StmtKind::Report(_, value) => {
                    examine(self.program, *value, &self.facts, self.visit);
                }
                StmtKind::Skip(cond) => {
                    if examine(self.program, *cond, &self.facts, self.visit) == Known::Condition(Some(true)) {
                        return false;
                    }
                }
                StmtKind::If(kind, then, otherwise) => {
                    let cond = if_condition(self.program, *kind);
                    let goes_on = match examine(self.program, cond, &self.facts, self.visit) {
                        Known::Condition(Some(true)) => self.statements(then),
                        Known::Condition(Some(false)) => self.statements(otherwise),
                        _ => self.either(then, otherwise),
                    };
                    if !goes_on {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Two blocks of which either may be taken.
    fn either(&mut self, then: &[Stmt], otherwise: &[Stmt]) -> bool {
        let before = self.facts.vars.clone();
        let then_goes_on = self.statements(then);
        let after_then = std::mem::replace(&mut self.facts.vars, before);
        let otherwise_goes_on = self.statements(otherwise);
        match (then_goes_on, otherwise_goes_on) {
            (true, true) => self.join(after_then),
            (true, false) => self.facts.vars = after_then,
            (false, _) => {}
        }
        then_goes_on || otherwise_goes_on
    }

    fn assign(&mut self, var: Var, value: ExprId) {
        let known = examine(self.program, value, &self.facts, self.visit);
        self.facts.vars.insert(var, known);
    }

    /// A variable holds what either block left in it; one that a block does not know is unknown.
    fn join(&mut self, other: BTreeMap<Var, Known>) {
        let mine = std::mem::take(&mut self.facts.vars);
        for (var, known) in other {
            if let Some(old) = mine.get(&var) {
                self.facts.vars.insert(var, known.or(*old));
            }
        }
    }
}

/// Runs the statements from what holds of the states before a step; says what holds of every variable after it.
fn walk(
    program: &Program,
    mut facts: Facts,
    states: &BTreeMap<Var, Known>,
    visit: &mut dyn FnMut(ExprId, &[Known]),
) -> BTreeMap<Var, Known> {
    facts.vars.extend(states.clone());
    facts.old.extend(states.clone());
    let mut walk = Walk { program, facts, visit };
    walk.statements(&program.body);
    // Views see what is there after the step.
    for view in &program.views {
        examine(program, view.value, &walk.facts, walk.visit);
    }
    walk.facts.vars
}

fn initial(program: &Program, facts: &Facts) -> BTreeMap<Var, Known> {
    let init = |index: usize, init: ExprId| (Var::State(StateId(index as u32)), evaluate(program, init, facts));
    program.states.iter().enumerate().map(|(i, state)| init(i, state.init)).collect()
}

/// A square root of an element value that may be negative.
fn roots(program: &Program, found: &mut Vec<Diagnostic>) {
    let facts = Facts::intervals(program);
    // A state is [0, inf) if its first value is and every step keeps it so. All are supposed to be, and those that are
    // not lose it until the rest holds together.
    let mut states: BTreeMap<Var, Known> = initial(program, &facts)
        .into_iter()
        .map(|(var, known)| match known {
            Known::Number(low, _) if low >= 0.0 => (var, Known::Number(0.0, f64::INFINITY)),
            _ => (var, ANY),
        })
        .collect();
    loop {
        let after = walk(program, facts.clone(), &states, &mut |_, _| ());
        let mut changed = false;
        for (var, known) in after {
            let keeps = matches!(known, Known::Number(low, _) if low >= 0.0);
            if !keeps && states.get(&var).is_some_and(|old| *old != ANY) {
                states.insert(var, ANY);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    walk(program, facts, &states, &mut |id, operands| {
        let node = program.node(id);
        let NodeKind::Call(Function::Sqrt | Function::Rsqrt, args) = &node.kind else { return };
        if node.extent.is_scalar() {
            return;
        }
        if !matches!(operands.first(), Some(Known::Number(low, _)) if *low < 0.0) {
            return;
        }
        let operand = program.node(args[0]).span;
        let mut help = match program.file.slice(node.span).split_once('(') {
            Some((name, rest)) if rest.len() <= 40 && !rest.contains('\n') => {
                let inner = rest.strip_suffix(')').unwrap_or(rest);
                format!("if it never is, say so: `{name}(max({inner}, 0))`")
            }
            _ => "if it never is, say so: `max(..., 0)`".to_string(),
        };
        let unbounded = |hyper: &&Hyper| matches!(hyper.default, HyperDefault::Number(_)) && hyper.interval.is_none();
        let in_root = program.postorder(args[0]).into_iter().filter_map(|id| match program.node(id).kind {
            NodeKind::Hyper(hyper) => Some(&program.hypers[hyper.index()]),
            _ => None,
        });
        if let Some(hyper) = in_root.into_iter().find(unbounded) {
            help += &format!(", or give the hypers in it intervals: `hyper {} = ... in [0, inf)`", hyper.name);
        }
        found.push(
            Diagnostic::new(Code::SqrtOfNegative, node.span, "this square root may be of a negative number")
                .also(operand, "not known to be at least 0")
                .help(help),
        );
    });
}

/// A division that is 0/0 in the first step, at the defaults, where the gradient is 0.
fn zero_over_zero(program: &Program, found: &mut Vec<Diagnostic>) {
    let mut facts = Facts::defaults(program);
    for (input, known) in program.inputs.iter().zip(&mut facts.inputs) {
        if let Some(default) = input.default {
            *known = evaluate(program, default, &Facts::defaults(program));
        }
    }
    facts.t = Known::point(1.0);
    facts.vars.insert(Var::Grad, Known::point(0.0));
    facts.old.insert(Var::Grad, Known::point(0.0));
    let states = initial(program, &facts);
    walk(program, facts, &states, &mut |id, operands| {
        let node = program.node(id);
        let NodeKind::Binary(op @ (BinaryOp::Div | BinaryOp::Mul), _, b) = &node.kind else { return };
        let (Some(x), Some(y)) = (operands[0].as_point(), operands[1].as_point()) else { return };
        let what = match op {
            BinaryOp::Div if x == 0.0 && y == 0.0 => "0/0",
            BinaryOp::Mul if x == 0.0 && y.is_infinite() || x.is_infinite() && y == 0.0 => "0 times infinity",
            _ => return,
        };
        let message = format!("this is {what} in the first step where the gradient is 0");
        let help = if *op == BinaryOp::Mul {
            "add a small number to what is divided by, as in `rsqrt(v + 1e-8)`".to_string()
        } else {
            match program.file.slice(program.node(*b).span) {
                below if below.len() <= 40 && !below.contains('\n') => {
                    format!("add a small number to what is divided by: `({below} + 1e-8)`")
                }
                _ => "add a small number to what is divided by, such as 1e-8".to_string(),
            }
        };
        found.push(
            Diagnostic::new(Code::ZeroOverZero, node.span, message)
                .label("NaN, with the defaults of the hypers")
                .also(program.node(*b).span, y.to_string())
                .help(help),
        );
    });
}

/// Drops what `allow` comments silence; an `allow` that silences nothing is itself a finding.
fn silence(parsed: &Parsed, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut allowed = Vec::new();
    allows(&parsed.ast.items, &mut |item, span| {
        if let Some(allow) = &item.allow {
            allowed.push((allow, parsed.file.lines_of(span), false));
        }
    });
    let mut kept: Vec<Diagnostic> = found
        .into_iter()
        .filter(|diagnostic| {
            let mut silenced = false;
            for (allow, lines, used) in &mut allowed {
                if lines.contains(&diagnostic.primary.span.start) && *allow.code.text == *diagnostic.code.slug() {
                    *used = true;
                    silenced = true;
                }
            }
            !silenced
        })
        .collect();
    let attached: BTreeSet<u32> = allowed.iter().map(|(allow, ..)| allow.code.span.start).collect();
    for comment in parsed.comments.iter().filter(|comment| comment.text.trim_start().starts_with("allow(")) {
        if attached.range(comment.span.start..comment.span.end).next().is_none() {
            kept.push(
                Diagnostic::new(
                    Code::UnusedAllow,
                    comment.span,
                    "this `allow` belongs to no declaration and no statement",
                )
                .label("silences nothing")
                .help("put it at the end of the line that it is about"),
            );
        }
    }
    for (allow, _, used) in allowed {
        if used && !allow.reason.trim().is_empty() {
            continue;
        }
        if used {
            let message = format!("`allow({})` gives no reason", allow.code.text);
            let help = format!("write `# allow({}): why it is right here`", allow.code.text);
            kept.push(Diagnostic::new(Code::UnusedAllow, allow.code.span, message).help(help));
            continue;
        }
        let slug = &*allow.code.text;
        let is_lint = Code::from_slug(slug).is_some_and(|code| code.severity() == Severity::Warning);
        let (message, help) = if is_lint {
            (format!("there is no `{slug}` here to allow"), "remove the comment".to_string())
        } else {
            let lints = Code::ALL.iter().filter(|c| c.severity() == Severity::Warning).map(|c| c.slug());
            let help = match did_you_mean(slug, lints.clone()) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("the lints are {}", lints.collect::<Vec<_>>().join(", ")),
            };
            (format!("`{slug}` is not a lint"), help)
        };
        kept.push(Diagnostic::new(Code::UnusedAllow, allow.code.span, message).help(help));
    }
    kept
}

/// Calls `f` with every item and the span of its own lines: of a block statement only the line that opens it.
fn allows<'a>(items: &'a [Item], f: &mut dyn FnMut(&'a Item, Span)) {
    for item in items {
        match &item.kind {
            ItemKind::If { branches, otherwise } => {
                let end = branches.first().map_or(item.span.end, |b| b.cond.span.end);
                f(item, Span { start: item.span.start, end });
                for block in branches.iter().map(|b| &b.block).chain(otherwise) {
                    allows(&block.items, f);
                }
            }
            _ => f(item, item.span),
        }
    }
}
