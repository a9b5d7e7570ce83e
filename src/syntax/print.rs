//! The formatter: the one layout of a rule file.
//!
//! Comes in: a file that parsed without errors. Goes out: the same file in canonical layout, so that `parse(print(x))` is `x`
//! up to places, and printing twice is printing once. Every comment is kept, in order; one that stands inside brackets moves to
//! a line of its own before its statement. Blank lines are kept, one at a time. Four blanks indent a block; nothing is aligned
//! in columns. A line of more than 100 columns is broken inside its brackets, after operators and commas. What is not said by
//! the tree (blank lines, whether a block stands on one line) is read from the source. It never reorders or renames anything.

use super::ast::{Arg, BinaryOp, Block, Branch, Expr, ExprKind, HyperValue, Ident, Item, ItemKind, UnaryOp};
use super::parse::{Comment, Parsed};
use super::token::{Kind, tokens};
use crate::source::{SourceFile, Span};

/// The columns of a line, without the comment at its end.
const WIDTH: usize = 100;
/// The blanks of one level of indentation.
const INDENT: usize = 4;

/// The file in canonical layout; `None` if it has errors, because then the tree does not hold all of it.
///
/// ```
/// use updraft::{SourceFile, syntax};
/// let parsed = syntax::parse(&SourceFile::new("sgd.opt", "optimizer   sgd\n\n\np-=lr*(g+m) #step\n"));
/// assert_eq!(syntax::print(&parsed).unwrap(), "optimizer sgd\n\np -= lr * (g + m)  # step\n");
/// ```
pub fn print(parsed: &Parsed) -> Option<String> {
    if parsed.has_errors() {
        return None;
    }
    let mut printer = Printer {
        file: &parsed.file,
        comments: parsed.comments.iter().peekable(),
        out: String::new(),
        indent: 0,
        last_end: 0,
        fresh: true,
    };
    if let Some(header) = &parsed.ast.header {
        printer.lead(header.span);
        printer.line(Line::from(format!("{} {}", header.kind.keyword(), header.name.text)));
        printer.trail(header.span.end);
    }
    printer.items(&parsed.ast.items);
    printer.comments_before(u32::MAX);
    Some(printer.out)
}

/// An expression in canonical layout, on one line. Parentheses are nodes of the tree: none is added.
pub fn print_expr(expr: &Expr) -> String {
    let mut line = Line::default();
    line.expr(expr, Spacing::Wide);
    line.text
}

struct Printer<'a> {
    file: &'a SourceFile,
    /// Those that are not printed yet.
    comments: std::iter::Peekable<std::slice::Iter<'a, Comment>>,
    out: String,
    indent: usize,
    /// Where in the source that ends which was printed last.
    last_end: u32,
    /// Whether nothing has been printed yet in this block.
    fresh: bool,
}

impl Printer<'_> {
    fn items(&mut self, items: &[Item]) {
        for item in items {
            match &item.kind {
                ItemKind::If { branches, otherwise } => self.if_item(item, branches, otherwise.as_ref()),
                _ => {
                    self.lead(item.span);
                    self.inner_comments(item.span.end);
                    let mut line = Line::default();
                    line.item(&item.kind, self.file);
                    self.line(line);
                    self.trail(item.span.end);
                }
            }
        }
    }

    /// Prints the comments before something at `span`, and the blank line between them and it.
    fn lead(&mut self, span: Span) {
        self.comments_before(span.start);
        self.blank_line(span.start);
    }

    /// Prints the comments that begin before byte `end`, each on its own line.
    fn comments_before(&mut self, end: u32) {
        while let Some(comment) = self.comments.next_if(|comment| comment.span.start < end) {
            self.blank_line(comment.span.start);
            self.comment_line(comment);
            self.last_end = comment.span.end;
        }
    }

    /// Prints the comments inside brackets of what ends at byte `end`, before it.
    fn inner_comments(&mut self, end: u32) {
        while let Some(comment) = self.comments.next_if(|comment| comment.span.start < end) {
            self.comment_line(comment);
        }
    }

    fn comment_line(&mut self, comment: &Comment) {
        self.pad(self.indent);
        push_comment(&mut self.out, comment);
        self.out.push('\n');
        self.fresh = false;
    }

    /// Prints a blank line if the source has one before byte `start`.
    fn blank_line(&mut self, start: u32) {
        let between = &self.file.text()[self.last_end.min(start) as usize..start as usize];
        if !self.fresh && between.bytes().filter(|&b| b == b'\n').count() > 1 {
            self.out.push('\n');
        }
    }

    fn pad(&mut self, columns: usize) {
        self.out.extend(std::iter::repeat_n(' ', columns));
    }

    fn line(&mut self, line: Line) {
        for (index, part) in line.wrapped(self.indent).into_iter().enumerate() {
            self.pad(self.indent + if index == 0 { 0 } else { INDENT });
            self.out.push_str(part);
            self.out.push('\n');
        }
        self.fresh = false;
    }

    /// Prints the comment that follows byte `end` on its line behind the line printed last.
    fn trail(&mut self, end: u32) {
        self.last_end = end;
        let text = self.file.text();
        let follows = |comment: &&Comment| {
            let between = text.get(end as usize..comment.span.start as usize);
            !comment.own_line && between.is_some_and(|between| between.trim_matches([' ', '\t']).is_empty())
        };
        if let Some(comment) = self.comments.next_if(follows) {
            self.last_end = comment.span.end;
            self.out.truncate(self.out.trim_end_matches('\n').len());
            // What is indented in a block of comments has a meaning there; behind a statement it has none.
            let text = comment.text.trim_start().to_owned();
            self.out.push_str("  ");
            push_comment(&mut self.out, &Comment { text, ..comment.clone() });
            self.out.push('\n');
        }
    }

    fn if_item(&mut self, item: &Item, branches: &[Branch], otherwise: Option<&Block>) {
        self.lead(item.span);
        let on_one_line = is_on_one_line(self.file.slice(item.span));
        if on_one_line {
            // All comments in it are inside brackets, and the one behind it is about all of it.
            self.inner_comments(item.span.end);
            let line = one_line_if(branches, otherwise, self.file);
            if let Some(line) = line.filter(|line| self.indent + line.text.chars().count() <= WIDTH) {
                self.line(line);
                return self.trail(item.span.end);
            }
        }
        for (index, Branch { cond, block }) in branches.iter().enumerate() {
            // The comments inside the brackets of this condition stand before it: before the `if`, or at the end of the
            // block before the `else`.
            self.inner_comments(block.span.start);
            let mut line = Line::default();
            line.push(if index == 0 { "if " } else { "} else if " });
            line.expr(cond, Spacing::Wide);
            line.push(" {");
            let doc = (index == 0 && on_one_line).then_some(item.span.end);
            self.head(line, index > 0, doc, block);
        }
        if let Some(block) = otherwise {
            self.inner_comments(block.span.start);
            self.head(Line::from("} else {".to_owned()), true, None, block);
        }
        self.indent -= INDENT;
        self.line(Line::from("}".to_owned()));
        self.trail(item.span.end);
    }

    /// Prints the head of a block and what is in it, but not its `}`. The comment behind the head is the one behind its `{`, or
    /// the one behind byte `doc`, which documented the `if` when it stood on one line.
    fn head(&mut self, line: Line, closes: bool, doc: Option<u32>, block: &Block) {
        if closes {
            self.indent -= INDENT;
        }
        self.line(line);
        self.trail(doc.unwrap_or(block.span.start + 1));
        self.indent += INDENT;
        self.fresh = true;
        self.items(&block.items);
        self.comments_before(block.span.end);
    }
}

/// The whole of an `if` on one line, if every block holds one simple statement or none.
fn one_line_if(branches: &[Branch], otherwise: Option<&Block>, file: &SourceFile) -> Option<Line> {
    let mut line = Line::default();
    for (index, Branch { cond, block }) in branches.iter().enumerate() {
        line.push(if index == 0 { "if " } else { " else if " });
        line.expr(cond, Spacing::Wide);
        line.one_line_block(block, file)?;
    }
    if let Some(block) = otherwise {
        line.push(" else");
        line.one_line_block(block, file)?;
    }
    Some(line)
}

/// Whether a statement is on one line but for the lines inside its brackets.
fn is_on_one_line(text: &str) -> bool {
    let mut depth = 0usize;
    for token in tokens(text, 0) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Newline if depth == 0 => return false,
            _ => {}
        }
    }
    true
}

/// A comment with one blank behind its `#`, unless more signs follow, as in `#!`.
fn push_comment(out: &mut String, comment: &Comment) {
    out.push('#');
    if !comment.text.is_empty() && !comment.text.starts_with([' ', '\t', '!', '#']) {
        out.push(' ');
    }
    out.push_str(&comment.text);
}

/// Whether products have blanks around their signs: not as operands of `+` and `-`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spacing {
    Wide,
    Tight,
}

/// One line, and where it may be broken.
#[derive(Default)]
struct Line {
    text: String,
    /// How many brackets are open.
    depth: usize,
    /// The blanks that may become line ends, each with how reluctantly: the number of brackets open there, then how tightly
    /// the operator before it binds.
    breaks: Vec<(usize, (usize, u8))>,
}

impl Line {
    fn from(text: String) -> Line {
        Line { text, ..Line::default() }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A blank behind something that binds as tightly as `tightness` says, where the line may be broken if a bracket is open.
    fn blank(&mut self, tightness: u8) {
        if self.depth > 0 {
            self.breaks.push((self.text.len(), (self.depth, tightness)));
        }
        self.text.push(' ');
    }

    fn open(&mut self, bracket: &str) {
        self.push(bracket);
        self.depth += 1;
    }

    fn close(&mut self, bracket: &str) {
        self.push(bracket);
        self.depth -= 1;
    }

    fn list<T>(&mut self, parts: &[T], mut each: impl FnMut(&mut Line, &T)) {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.push(",");
                self.blank(0);
            }
            each(self, part);
        }
    }

    /// The line in parts of at most `WIDTH` columns, as far as brackets allow. Each is broken where the fewest brackets are
    /// open, behind the loosest operator there, and as late as possible.
    fn wrapped(&self, indent: usize) -> Vec<&str> {
        let (mut parts, mut start, mut margin) = (Vec::new(), 0, indent);
        loop {
            let rest = &self.text[start..];
            let room = WIDTH.saturating_sub(margin);
            let fitting = rest.char_indices().nth(room).map(|(length, _)| start + length);
            let Some(limit) = fitting else { break };
            let later = || self.breaks.iter().filter(|(at, _)| *at > start);
            let best =
                later().filter(|(at, _)| *at <= limit).min_by_key(|(at, reluctance)| (*reluctance, usize::MAX - at));
            let Some((at, _)) = best.or_else(|| later().next()) else { break };
            parts.push(&self.text[start..*at]);
            start = at + 1;
            margin = indent + INDENT;
        }
        parts.push(&self.text[start..]);
        parts
    }

    fn item(&mut self, kind: &ItemKind, file: &SourceFile) {
        match kind {
            ItemKind::Hyper { name, per, value, interval, fixed } => {
                self.declare("hyper", name, per.as_ref());
                self.push(" = ");
                match value {
                    HyperValue::Expr(expr) => self.expr(expr, Spacing::Wide),
                    HyperValue::Modes(modes) => {
                        let modes: Vec<&str> = modes.iter().map(|mode| &*mode.text).collect();
                        self.push(&format!("one of {}", modes.join(" | ")));
                    }
                    HyperValue::List(list) => {
                        self.open("[");
                        self.list(list, |line, expr| line.expr(expr, Spacing::Wide));
                        self.close("]");
                    }
                }
                if let Some(interval) = interval {
                    self.push(" in ");
                    self.interval(file, interval.span);
                }
                if fixed.is_some() {
                    self.push(" fixed");
                }
            }
            ItemKind::State { name, per, dtype, init } => {
                self.declare("state", name, per.as_ref());
                if let Some(dtype) = dtype {
                    self.push(&format!(" as {}", dtype.text));
                }
                self.value(init);
            }
            ItemKind::Input { name, per, default } => {
                self.declare("input", name, per.as_ref());
                if let Some(default) = default {
                    self.value(default);
                }
            }
            ItemKind::Def { name, params, body } => {
                self.push(&format!("def {}", name.text));
                self.open("(");
                self.list(params, |line, param| line.push(&param.text));
                self.close(")");
                self.value(body);
            }
            ItemKind::Require { cond, message } => {
                self.push("require ");
                self.expr(cond, Spacing::Wide);
                self.push(&format!(", \"{message}\""));
            }
            ItemKind::Let { name, per, value } => {
                self.declare("let", name, per.as_ref());
                self.value(value);
            }
            ItemKind::Assign { name, op, value } => {
                self.push(&format!("{} {} ", name.text, op.symbol()));
                self.expr(value, Spacing::Wide);
            }
            ItemKind::Use { rule, alias, bindings } => {
                self.push(&format!("use {}", rule.text));
                if let Some(alias) = alias {
                    self.push(&format!(" as {}", alias.text));
                }
                if !bindings.is_empty() {
                    self.open("(");
                    self.list(bindings, |line, (name, value)| {
                        line.push(&name.text);
                        line.value(value);
                    });
                    self.close(")");
                }
            }
            ItemKind::Skip { cond } => {
                self.push("skip if ");
                self.expr(cond, Spacing::Wide);
            }
            ItemKind::Report { name, value } => {
                self.declare("report", name, None);
                self.value(value);
            }
            ItemKind::View { name, value } => {
                self.declare("view", name, None);
                self.value(value);
            }
            // An `if` is printed by the printer; what is broken is not printed at all.
            ItemKind::If { .. } | ItemKind::Broken { .. } => {}
        }
    }

    fn declare(&mut self, keyword: &str, name: &Ident, per: Option<&Ident>) {
        self.push(&format!("{keyword} {}", name.text));
        if let Some(per) = per {
            self.push(&format!(" per {}", per.text));
        }
    }

    fn value(&mut self, value: &Expr) {
        self.push(" = ");
        self.expr(value, Spacing::Wide);
    }

    /// The interval as written, because the tree does not keep the text of its numbers.
    fn interval(&mut self, file: &SourceFile, span: Span) {
        let text = file.slice(span);
        for token in tokens(text, 0).filter(|token| !matches!(token.kind, Kind::Comment | Kind::Newline)) {
            self.push(token.text(text));
            if token.text(text) == "," {
                self.push(" ");
            }
        }
    }

    fn one_line_block(&mut self, block: &Block, file: &SourceFile) -> Option<()> {
        match block.items.as_slice() {
            [] => self.push(" {}"),
            [Item { kind: ItemKind::If { .. }, .. }] => return None,
            [item] => {
                self.push(" { ");
                self.item(&item.kind, file);
                self.push(" }");
            }
            _ => return None,
        }
        Some(())
    }

    fn expr(&mut self, expr: &Expr, spacing: Spacing) {
        match &expr.kind {
            ExprKind::Number { text, .. } => self.push(text),
            ExprKind::Bool(value) => self.push(if *value { "true" } else { "false" }),
            ExprKind::Name(name) => self.push(&name.text),
            ExprKind::Index { list, index } => {
                self.push(&list.text);
                self.open("[");
                self.expr(index, Spacing::Wide);
                self.close("]");
            }
            ExprKind::Call { function, args, per } => {
                self.push(&function.text);
                self.open("(");
                self.list(args, Line::arg);
                if let Some(per) = per {
                    self.push(if args.is_empty() { "per " } else { " per " });
                    self.push(&per.text);
                }
                self.close(")");
            }
            ExprKind::Paren(inner) => {
                self.open("(");
                self.expr(inner, Spacing::Wide);
                self.close(")");
            }
            ExprKind::Unary { op, operand } => {
                self.push(match op {
                    UnaryOp::Neg => "-",
                    UnaryOp::Not => "not ",
                });
                self.expr(operand, Spacing::Wide);
            }
            ExprKind::Power { base, exponent } => {
                self.expr(base, Spacing::Wide);
                self.push("^");
                self.expr(exponent, Spacing::Wide);
            }
            ExprKind::Chain { first, rest } => {
                let is_sum = rest.iter().any(|(op, _)| matches!(op, BinaryOp::Add | BinaryOp::Sub));
                let is_product = rest.iter().any(|(op, _)| matches!(op, BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem));
                let inner = if is_sum { Spacing::Tight } else { Spacing::Wide };
                self.expr(first, inner);
                for (op, operand) in rest {
                    if is_product && spacing == Spacing::Tight {
                        self.push(op.symbol());
                    } else {
                        self.push(" ");
                        self.push(op.symbol());
                        self.blank(match op {
                            BinaryOp::Or => 1,
                            BinaryOp::And => 2,
                            BinaryOp::Add | BinaryOp::Sub => 4,
                            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => 5,
                        });
                    }
                    self.expr(operand, inner);
                }
            }
            ExprKind::Compare { op, left, right } => {
                self.expr(left, Spacing::Wide);
                self.push(&format!(" {}", op.symbol()));
                self.blank(3);
                self.expr(right, Spacing::Wide);
            }
            ExprKind::If { cond, then, otherwise } => {
                self.push("if ");
                self.expr(cond, Spacing::Wide);
                self.blank(0);
                self.push("then ");
                self.expr(then, Spacing::Wide);
                self.blank(0);
                self.push("else ");
                self.expr(otherwise, Spacing::Wide);
            }
        }
    }

    fn arg(&mut self, arg: &Arg) {
        if let Some(name) = &arg.name {
            self.push(&format!("{} = ", name.text));
        }
        self.expr(&arg.value, Spacing::Wide);
    }
}
