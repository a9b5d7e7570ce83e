//! Precedence: from a flat list of operands and operators to a tree.
//!
//! Comes in: what the grammar's `expr` matched, in order. Goes out: one [`Expr`], or the one error that makes the list
//! meaningless: a chained comparison, or a `not` or an `if` where an operand stands. Operators of one precedence become one
//! flat node. Recursion is bounded by the scan, which counts prefix operators and `^`. Loosest first: `or`, `and`, `not`,
//! comparison, `+ -`, `* / %`, unary `-`, `^` (from the right; its exponent may begin with `-`).

use super::ast::{BinaryOp, CompareOp, Expr, ExprKind, UnaryOp};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::{SourceFile, Span};

/// One part of an expression as written.
pub(super) enum Part {
    /// A number, a name, a call, something in parentheses, or a whole `if then else`.
    Operand(Expr),
    /// An operator before an operand.
    Prefix(UnaryOp, Span),
    /// An operator between operands.
    Infix(Infix, Span),
}

/// The operators that stand between operands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Infix {
    /// One that chains.
    Binary(BinaryOp),
    /// One that does not.
    Compare(CompareOp),
    /// `^`
    Power,
}

/// The tree of an expression that spans `span` of `file`.
pub(super) fn build(file: &SourceFile, parts: Vec<Part>, span: Span) -> Result<Expr, Diagnostic> {
    let alone = parts.len() == 1;
    let mut climber = Climber { file, alone, end: span.at_end(), parts: parts.into_iter().peekable() };
    climber.chain(&CHAINS)
}

/// The operators that chain, loosest first. `not` and comparison stand between the second and the third.
const CHAINS: [&[BinaryOp]; 4] = [
    &[BinaryOp::Or],
    &[BinaryOp::And],
    &[BinaryOp::Add, BinaryOp::Sub],
    &[BinaryOp::Mul, BinaryOp::Div, BinaryOp::Rem],
];

struct Climber<'a> {
    file: &'a SourceFile,
    /// Whether the expression is one operand, so that it may be an `if`.
    alone: bool,
    end: Span,
    parts: std::iter::Peekable<std::vec::IntoIter<Part>>,
}

impl Climber<'_> {
    /// Operands joined by the first of `levels`; the operands are what the rest of `levels` makes.
    fn chain(&mut self, levels: &[&[BinaryOp]]) -> Result<Expr, Diagnostic> {
        let Some((operators, tighter)) = levels.split_first() else { return self.unary() };
        let first = self.below(tighter)?;
        let mut rest = Vec::new();
        while let Some(Part::Infix(Infix::Binary(op), _)) = self.parts.peek()
            && operators.contains(op)
        {
            let op = *op;
            self.parts.next();
            rest.push((op, self.below(tighter)?));
        }
        let Some((_, last)) = rest.last() else { return Ok(first) };
        let span = first.span.to(last.span);
        Ok(Expr { kind: ExprKind::Chain { first: Box::new(first), rest }, span })
    }

    fn below(&mut self, tighter: &[&[BinaryOp]]) -> Result<Expr, Diagnostic> {
        if tighter.len() == 2 { self.negation(tighter) } else { self.chain(tighter) }
    }

    fn negation(&mut self, tighter: &[&[BinaryOp]]) -> Result<Expr, Diagnostic> {
        let Some(Part::Prefix(UnaryOp::Not, start)) = self.parts.peek() else { return self.comparison(tighter) };
        let start = *start;
        self.parts.next();
        let operand = self.negation(tighter)?;
        let span = start.to(operand.span);
        Ok(Expr { kind: ExprKind::Unary { op: UnaryOp::Not, operand: Box::new(operand) }, span })
    }

    fn comparison(&mut self, tighter: &[&[BinaryOp]]) -> Result<Expr, Diagnostic> {
        let left = self.chain(tighter)?;
        let Some((op, _)) = self.comparison_sign() else { return Ok(left) };
        let right = self.chain(tighter)?;
        if let Some((second, sign)) = self.comparison_sign() {
            let third = self.chain(tighter)?;
            return Err(self.chained((&left, op), (&right, second, sign), &third));
        }
        let span = left.span.to(right.span);
        Ok(Expr { kind: ExprKind::Compare { op, left: Box::new(left), right: Box::new(right) }, span })
    }

    fn comparison_sign(&mut self) -> Option<(CompareOp, Span)> {
        let Some(Part::Infix(Infix::Compare(op), sign)) = self.parts.peek() else { return None };
        let found = (*op, *sign);
        self.parts.next();
        Some(found)
    }

    fn chained(&self, left: (&Expr, CompareOp), middle: (&Expr, CompareOp, Span), right: &Expr) -> Diagnostic {
        let slice = |expr: &Expr| self.file.slice(expr.span);
        let (a, b, c) = (slice(left.0), slice(middle.0), slice(right));
        let (first, second) = (left.1.symbol(), middle.1.symbol());
        let mended = format!("{a} {first} {b} and {b} {second} {c}");
        let help = match mended.len() <= 80 && !mended.contains('\n') {
            true => format!("write `{mended}`"),
            false => "compare twice and join the two with `and`".to_owned(),
        };
        Diagnostic::new(Code::UnexpectedToken, middle.2, "comparisons do not chain")
            .label("a second comparison of the same value")
            .also(left.0.span.to(middle.0.span), "this is already true or false")
            .help(help)
    }

    fn unary(&mut self) -> Result<Expr, Diagnostic> {
        let Some(Part::Prefix(op, start)) = self.parts.peek() else { return self.power() };
        let (op, start) = (*op, *start);
        if op == UnaryOp::Not {
            return Err(Diagnostic::new(
                Code::UnexpectedToken,
                start,
                "`not` binds looser than the operator before it",
            )
            .label("needs parentheses here")
            .help("write `(not ...)`"));
        }
        self.parts.next();
        let operand = self.unary()?;
        let span = start.to(operand.span);
        Ok(Expr { kind: ExprKind::Unary { op, operand: Box::new(operand) }, span })
    }

    fn power(&mut self) -> Result<Expr, Diagnostic> {
        let base = self.operand()?;
        let Some(Part::Infix(Infix::Power, _)) = self.parts.peek() else { return Ok(base) };
        self.parts.next();
        let exponent = self.unary()?;
        let span = base.span.to(exponent.span);
        Ok(Expr { kind: ExprKind::Power { base: Box::new(base), exponent: Box::new(exponent) }, span })
    }

    fn operand(&mut self) -> Result<Expr, Diagnostic> {
        match self.parts.next() {
            Some(Part::Operand(expr)) if self.alone || !matches!(expr.kind, ExprKind::If { .. }) => Ok(expr),
            Some(Part::Operand(expr)) => {
                let keyword = Span { start: expr.span.start, end: expr.span.start + 2 };
                Err(Diagnostic::new(Code::UnexpectedToken, keyword, "an `if` inside an expression needs parentheses")
                    .label("its `else` would take everything that follows")
                    .help("write `(if ... then ... else ...)`"))
            }
            Some(Part::Infix(_, place)) | Some(Part::Prefix(_, place)) => Err(missing_operand(place)),
            None => Err(missing_operand(self.end)),
        }
    }
}

/// The grammar lets no operator stand without its operands; this is for the type checker.
fn missing_operand(place: Span) -> Diagnostic {
    Diagnostic::new(Code::UnexpectedToken, place, "expected an expression")
}
