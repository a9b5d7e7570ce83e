//! The canonical text of a [`Program`]: what `updraft emit --stage program` prints, and what checkpoints compare.
//!
//! It reads like a rule file, but every value says its extent, `x += e` is written out, and calls of `def` are expanded:
//! `[...]` holds the body of one and each of its arguments, which `Math::Fast` takes for expressions of their own.

use super::program::{
    BinaryOp, ConditionId, ExprId, FileKind, Hyper, HyperDefault, IfKind, ListFn, ListRef, NodeKind, Program, Range,
    State, Stmt, StmtKind,
};
use std::fmt::Write as _;

/// How tightly an expression binds, loosest first. Printing parenthesises what is looser than its place allows.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    If,
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Neg,
    Power,
    #[default]
    Atom,
}

/// The canonical text of a program.
///
/// ```
/// use updraft::{SourceFile, check::{check, print_program}, syntax::parse};
/// let file = SourceFile::new("sgd.opt", "optimizer sgd\nhyper lr = 0.1\n\np -= lr * g\n");
/// let program = check(&parse(&file)).unwrap().program;
/// assert_eq!(print_program(&program), "program sgd\nhyper lr per group = 0.1\n\np = p - lr*g\n");
/// ```
pub fn print_program(program: &Program) -> String {
    text(program, true)
}

/// The canonical text without documentation and defaults: two rules whose texts are equal do the same to the same hypers.
pub fn without_docs_and_defaults(program: &Program) -> String {
    text(program, false)
}

fn text(program: &Program, whole: bool) -> String {
    let mut out = String::new();
    if whole {
        for line in &program.docs {
            let _ = writeln!(out, "{}", if line.is_empty() { "#".to_string() } else { format!("# {line}") });
        }
    }
    let what = if program.kind == FileKind::Schedule { "schedule" } else { "program" };
    let _ = writeln!(out, "{what} {}", program.name);
    for hyper in &program.hypers {
        line(&mut out, &hyper_text(program, hyper, whole), hyper.doc.as_ref().filter(|_| whole));
    }
    for state in &program.states {
        line(&mut out, &state_text(program, state), state.doc.as_ref().filter(|_| whole));
    }
    for input in &program.inputs {
        let mut text = format!("input {} per {}", input.name, input.extent.name());
        if let Some(default) = input.default {
            let _ = write!(text, " = {}", expression_text(program, default));
        }
        line(&mut out, &text, input.doc.as_ref().filter(|_| whole));
    }
    for require in &program.requires {
        let _ = writeln!(out, "require {}, \"{}\"", expression_text(program, require.cond), require.message);
    }
    out.push('\n');
    statements(program, &program.body, 0, whole, &mut out);
    for view in &program.views {
        let text = format!("view {} = {}", view.name, expression_text(program, view.value));
        line(&mut out, &text, view.doc.as_ref().filter(|_| whole));
    }
    out
}

fn line(out: &mut String, text: &str, doc: Option<&String>) {
    let _ = match doc {
        Some(doc) => writeln!(out, "{text}  # {doc}"),
        None => writeln!(out, "{text}"),
    };
}

fn hyper_text(program: &Program, hyper: &Hyper, with_default: bool) -> String {
    let mut text = format!("hyper {} per {}", hyper.name, hyper.extent.name());
    match &hyper.default {
        HyperDefault::Flag(flag) if with_default => {
            let _ = write!(text, " = {flag}");
        }
        HyperDefault::Flag(_) => text.push_str(" flag"),
        HyperDefault::Number(id) if with_default => {
            let _ = write!(text, " = {}", expression_text(program, *id));
        }
        HyperDefault::Number(_) => {}
        HyperDefault::Mode(modes) => {
            let _ = write!(text, " = one of {}", modes.join(" | "));
        }
        HyperDefault::List(elements) if with_default => {
            let _ = write!(text, " = {}", list_text(elements));
        }
        HyperDefault::List(_) => text.push_str(" list"),
    }
    if let Some(range) = &hyper.interval {
        let _ = write!(text, " in {}", range_text(range));
    }
    if hyper.fixed && matches!(hyper.default, HyperDefault::Number(_) | HyperDefault::List(_)) {
        text.push_str(" fixed");
    }
    text
}

fn range_text(range: &Range) -> String {
    range.to_string()
}

fn state_text(program: &Program, state: &State) -> String {
    let storage = state.storage.map_or(String::new(), |storage| format!(" as {}", storage.name()));
    let init = expression_text(program, state.init);
    format!("state {} per {}{storage} = {init}", state.name, state.extent.name())
}

fn statements(program: &Program, stmts: &[Stmt], indent: usize, whole: bool, out: &mut String) {
    let margin = "    ".repeat(indent);
    for stmt in stmts {
        match &stmt.kind {
            StmtKind::If(kind, then, otherwise) => {
                let _ = writeln!(out, "{margin}{}", statement_text(program, stmt));
                statements(program, then, indent + 1, whole, out);
                if !otherwise.is_empty() {
                    let _ = writeln!(out, "{margin}}} else {{");
                    statements(program, otherwise, indent + 1, whole, out);
                }
                let _ = match kind {
                    IfKind::Plan(_) | IfKind::Select(_) => writeln!(out, "{margin}}}"),
                };
            }
            StmtKind::Report(id, _) => {
                let doc = program.reports[id.index()].doc.as_ref();
                line(out, &format!("{margin}{}", statement_text(program, stmt)), doc.filter(|_| whole));
            }
            _ => {
                let _ = writeln!(out, "{margin}{}", statement_text(program, stmt));
            }
        }
    }
}

/// A statement without the blocks that it may have.
pub fn statement_text(program: &Program, stmt: &Stmt) -> String {
    match &stmt.kind {
        StmtKind::Let(local, value) => {
            let local = &program.locals[local.index()];
            format!("let {} per {} = {}", local.name, local.extent.name(), expression_text(program, *value))
        }
        StmtKind::Assign(var, value) => {
            format!("{} = {}", program.var_name(*var), expression_text(program, *value))
        }
        StmtKind::Skip(cond) => format!("skip if {}", expression_text(program, *cond)),
        StmtKind::Report(id, value) => {
            let report = &program.reports[id.index()];
            format!("report {} per {} = {}", report.name, report.extent.name(), expression_text(program, *value))
        }
        StmtKind::If(IfKind::Select(cond), ..) => {
            format!("if {} {{", expression_text(program, *cond))
        }
        StmtKind::If(IfKind::Plan(id), ..) => {
            format!("if {} {{  # selects the plan", condition_text(program, *id))
        }
    }
}

/// A condition that selects the plan.
pub(crate) fn condition_text(program: &Program, id: ConditionId) -> String {
    expression_text(program, program.conditions[id.index()].cond)
}

/// An expression, with as few parentheses as its meaning needs.
pub fn expression_text(program: &Program, root: ExprId) -> String {
    let order = program.postorder(root);
    // The text of each node with how tightly it binds; an operand's text is moved into its reader's where nothing else
    // reads it.
    let mut readers = std::collections::BTreeMap::<ExprId, usize>::new();
    for id in &order {
        program.node(*id).kind.for_each_operand(|operand| *readers.entry(operand).or_default() += 1);
    }
    let mut texts = std::collections::BTreeMap::<ExprId, (String, Binding)>::new();
    for id in &order {
        let text = node_text(program, *id, &mut |operand, least| {
            let left = readers.entry(operand).or_default();
            *left -= 1;
            let (text, binding) =
                if *left == 0 { texts.remove(&operand) } else { texts.get(&operand).cloned() }.unwrap_or_default();
            if binding < least { format!("({text})") } else { text }
        });
        texts.insert(*id, text);
    }
    texts.remove(&root).unwrap_or_default().0
}

fn node_text(program: &Program, id: ExprId, operand: &mut dyn FnMut(ExprId, Binding) -> String) -> (String, Binding) {
    match &program.node(id).kind {
        NodeKind::Number(x) if *x == std::f64::consts::PI => ("pi".into(), Binding::Atom),
        NodeKind::Number(x) => (number_text(*x), Binding::Atom),
        NodeKind::Epsilon => ("epsilon".into(), Binding::Atom),
        NodeKind::Bool(b) => (b.to_string(), Binding::Atom),
        NodeKind::Hyper(id) | NodeKind::Flag(id) => (program.hypers[id.index()].name.to_string(), Binding::Atom),
        NodeKind::Input(id) => (program.inputs[id.index()].name.to_string(), Binding::Atom),
        NodeKind::T => ("t".into(), Binding::Atom),
        NodeKind::Shape(shape) => (shape.name().into(), Binding::Atom),
        NodeKind::Draw(function, _) => (format!("{}()", function.name()), Binding::Atom),
        NodeKind::Reduce(function, args, id) => {
            let args: Vec<String> = args.iter().map(|arg| operand(*arg, Binding::If)).collect();
            let to = program.reductions[id.index()].to.name();
            (format!("{}({} per {to})", function.name(), args.join(", ")), Binding::Atom)
        }
        NodeKind::S => ("s".into(), Binding::Atom),
        NodeKind::Base => ("base".into(), Binding::Atom),
        NodeKind::Given(id) => (format!("given({})", program.inputs[id.index()].name), Binding::Atom),
        NodeKind::IsMode(id, mode) => {
            let hyper = &program.hypers[id.index()];
            let mode = match &hyper.default {
                HyperDefault::Mode(modes) => modes.get(*mode as usize).map_or("", |mode| mode),
                _ => "",
            };
            (format!("{} == {mode}", hyper.name), Binding::Compare)
        }
        NodeKind::List(function, list, of) => {
            let list = match list {
                ListRef::Hyper(id) => program.hypers[id.index()].name.to_string(),
                ListRef::Constant(index) => list_text(&program.lists[*index as usize]),
            };
            let of = of.map_or(String::new(), |of| operand(of, Binding::Sum));
            let text = match function {
                ListFn::Count(op) => format!("count({list} {} {of})", op.symbol()),
                ListFn::Index => format!("{list}[{of}]"),
                ListFn::Prod => format!("prod({list}, {of})"),
                ListFn::Len => format!("len({list})"),
                ListFn::Increasing => format!("increasing({list})"),
            };
            (text, Binding::Atom)
        }
        NodeKind::Read(var) => (program.var_name(*var).to_string(), Binding::Atom),
        NodeKind::Old(var) => (format!("old({})", program.var_name(*var)), Binding::Atom),
        NodeKind::Neg(a) => (format!("-{}", operand(*a, Binding::Neg)), Binding::Neg),
        NodeKind::Not(a) => (format!("not {}", operand(*a, Binding::Not)), Binding::Not),
        NodeKind::Binary(op, a, b) => {
            let (binding, right, space) = match op {
                BinaryOp::Or => (Binding::Or, Binding::And, " "),
                BinaryOp::And => (Binding::And, Binding::Not, " "),
                BinaryOp::Add | BinaryOp::Sub => (Binding::Sum, Binding::Product, " "),
                BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => (Binding::Product, Binding::Neg, ""),
            };
            let left = operand(*a, binding);
            let right = operand(*b, right);
            (format!("{left}{space}{}{space}{right}", op.symbol()), binding)
        }
        NodeKind::Compare(op, a, b) => {
            let left = operand(*a, Binding::Sum);
            let right = operand(*b, Binding::Sum);
            (format!("{left} {} {right}", op.symbol()), Binding::Compare)
        }
        NodeKind::Power(a, n) => (format!("{}^{n}", operand(*a, Binding::Atom)), Binding::Power),
        NodeKind::Call(function, args) if *function == super::program::Function::Pow => {
            let base = operand(args[0], Binding::Atom);
            let exponent = operand(args[1], Binding::Neg);
            (format!("{base}^{exponent}"), Binding::Power)
        }
        NodeKind::Call(function, args) => {
            let args: Vec<String> = args.iter().map(|arg| operand(*arg, Binding::If)).collect();
            (format!("{}({})", function.name(), args.join(", ")), Binding::Atom)
        }
        NodeKind::If(c, a, b) => {
            let cond = operand(*c, Binding::Or);
            let then = operand(*a, Binding::Or);
            let otherwise = operand(*b, Binding::If);
            (format!("if {cond} then {then} else {otherwise}"), Binding::If)
        }
        NodeKind::Outcome(id) => (format!("({})", condition_text(program, *id)), Binding::Atom),
        // What a call of a `def` keeps apart stays apart in the text: parentheses would say something else under
        // `Math::Fast`, and `x^[2]` is not the product `x^2`.
        NodeKind::Own(a) => {
            let text = operand(*a, Binding::If);
            let is_name = matches!(program.node(*a).kind, NodeKind::Read(_) | NodeKind::Hyper(_) | NodeKind::Input(_));
            (
                if is_name || text.starts_with('[') && is_own(program, *a) { text } else { format!("[{text}]") },
                Binding::Atom,
            )
        }
    }
}

fn is_own(program: &Program, id: ExprId) -> bool {
    matches!(program.node(id).kind, NodeKind::Own(_))
}

/// A list as written.
pub(crate) fn list_text(elements: &[f64]) -> String {
    let elements: Vec<String> = elements.iter().map(|x| number_text(*x)).collect();
    format!("[{}]", elements.join(", "))
}

/// The shortest text that reads back as `x`.
pub(crate) fn number_text(x: f64) -> String {
    let plain = format!("{x}");
    let short = format!("{x:e}");
    if plain.len() <= short.len() + 2 { plain } else { short }
}
