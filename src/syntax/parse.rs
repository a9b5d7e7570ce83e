//! The parser: from pieces to the tree.
//!
//! Comes in: a [`SourceFile`]. Goes out: [`Parsed`]: the tree, the comments, and every error of the file, sorted. It never
//! fails, never panics and takes linear time: the scan limits what pest is given, pest matches one piece at a time, and a
//! piece that does not match becomes [`ItemKind::Broken`]. No pest type leaves this file. Where a declaration may stand, what a
//! name means and whether a part of the language is available are left to the checker.

use super::ast::{
    Allow, Arg, AssignOp, Ast, BinaryOp, Block, Branch, CompareOp, Expr, ExprKind, FileKind, Header, HyperValue, Ident,
    Interval, Item, ItemKind, UnaryOp,
};
use super::expression::{self, Infix, Part};
use super::mistake::{self, Expected};
use super::scan::{self, Piece, Place};
use crate::diagnostic::{self, Code, Diagnostic, MAX_ERRORS, Severity};
use crate::source::{SourceFile, Span};
use pest::Parser;
use pest::error::{Error, ErrorVariant, InputLocation};
use pest::iterators::Pair;
use std::sync::Arc;
use unicode_normalization::{UnicodeNormalization, is_nfc};

#[derive(pest_derive::Parser)]
#[grammar = "grammar/updraft.pest"]
struct Grammar;

/// A file, parsed.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The file.
    pub file: SourceFile,
    /// What it says.
    pub ast: Ast,
    /// Its comments, in order.
    pub comments: Vec<Comment>,
    /// What is wrong with it, sorted by place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether something in the file did not parse.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity() == Severity::Error)
    }
}

/// A comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// What follows the `#`, without blanks at the end.
    pub text: String,
    /// Where, from the `#`.
    pub span: Span,
    /// Whether nothing but blanks stands before it on its line.
    pub own_line: bool,
}

/// Parses a file.
///
/// ```
/// let file = updraft::SourceFile::new("sgd.opt", "optimizer sgd\nhyper lr = 1e-3\np -= lr * g\n");
/// let parsed = updraft::syntax::parse(&file);
/// assert!(parsed.diagnostics.is_empty());
/// assert_eq!(parsed.ast.items.len(), 2);
/// ```
pub fn parse(file: &SourceFile) -> Parsed {
    let scanned = scan::scan(file);
    let mut parser = FileParser {
        file,
        clean: &scanned.clean,
        comments: &scanned.comments,
        header: None,
        header_tried: false,
        diagnostics: scanned.diagnostics,
    };
    let readable = file.text().len() <= scan::MAX_SOURCE_BYTES;
    let first = scanned.pieces.first().map(|piece| piece.span);
    let items = parser.items(scanned.pieces, true);
    let enough = parser.diagnostics.len() >= MAX_ERRORS;
    if parser.header.is_none() && !parser.header_tried && readable && !enough {
        parser.report_missing_header(first);
    }
    let docs = match &parser.header {
        Some(header) => docs_before(file, &scanned.comments, header.span),
        None => Vec::new(),
    };
    let ast = Ast { docs, header: parser.header, items };
    let mut diagnostics = parser.diagnostics;
    diagnostics.truncate(MAX_ERRORS);
    diagnostics.iter_mut().for_each(Diagnostic::shorten);
    diagnostic::sort(&mut diagnostics);
    Parsed { file: file.clone(), ast, comments: scanned.comments, diagnostics }
}

/// The lines of the last block of comments before the header.
fn docs_before(file: &SourceFile, comments: &[Comment], header: Span) -> Vec<String> {
    let mut docs = Vec::new();
    let mut next: Option<&Comment> = None;
    for comment in comments.iter().rev().filter(|c| c.own_line && c.span.end <= header.start) {
        if let Some(next) = next {
            let between = &file.text()[comment.span.end as usize..next.span.start as usize];
            if between.bytes().filter(|&b| b == b'\n').count() > 1 {
                break;
            }
        }
        docs.push(comment.text.strip_prefix(' ').unwrap_or(&comment.text).to_owned());
        next = Some(comment);
    }
    docs.reverse();
    docs
}

/// What one piece says.
enum Node {
    Header(Header),
    Item(ItemKind),
    If(Expr),
    Else(Option<Expr>),
}

struct FileParser<'a> {
    file: &'a SourceFile,
    clean: &'a str,
    comments: &'a [Comment],
    header: Option<Header>,
    /// Whether a line was plainly meant to be the header, though it is broken.
    header_tried: bool,
    diagnostics: Vec<Diagnostic>,
}

impl FileParser<'_> {
    fn items(&mut self, pieces: Vec<Piece>, top: bool) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for piece in pieces {
            if self.diagnostics.len() >= MAX_ERRORS {
                break;
            }
            let Piece { span, place, broken, block, comment } = piece;
            let node = match broken {
                true => None,
                false => match parse_piece(self.file, self.clean, span) {
                    Ok(node) => Some(node),
                    Err(diagnostic) => {
                        self.diagnostics.push(*diagnostic);
                        None
                    }
                },
            };
            if place == Place::AfterBlock && !broken && !matches!(node, Some(Node::Else(_))) {
                self.report_after_block(span, node.is_none());
            }
            let is_broken = node.is_none();
            let whole = block.as_ref().map_or(span, |block| span.to(block.span));
            let kind = match node {
                Some(Node::If(cond)) => match block {
                    Some(block) => {
                        let block = Block { span: block.span, items: self.items(block.pieces, false) };
                        ItemKind::If { branches: vec![Branch { cond, block }], otherwise: None }
                    }
                    None => {
                        self.diagnostics.push(mistake::missing_block(self.file, span));
                        ItemKind::Broken { declares: None }
                    }
                },
                Some(Node::Else(cond)) => {
                    let Some(block) = block else {
                        self.diagnostics.push(mistake::missing_block(self.file, span));
                        continue;
                    };
                    let block = Block { span: block.span, items: self.items(block.pieces, false) };
                    self.attach_else(&mut items, (cond, block), span, place);
                    continue;
                }
                Some(Node::Header(header)) => {
                    if let Some(block) = block {
                        self.report_stray_block(block.span);
                        self.items(block.pieces, false);
                    }
                    self.take_header(header, items.first(), top);
                    continue;
                }
                other => {
                    if let Some(block) = block {
                        // A block behind something broken may belong to it; behind a whole statement it cannot.
                        if !is_broken {
                            self.report_stray_block(block.span);
                        }
                        self.items(block.pieces, false);
                    }
                    match other {
                        Some(Node::Item(kind)) => kind,
                        _ => {
                            self.header_tried |= top && mistake::looks_like_header(self.file.text(), span);
                            ItemKind::Broken { declares: mistake::declares(self.file, span) }
                        }
                    }
                }
            };
            let (doc, allow) = self.comment_of(comment);
            items.push(Item { kind, span: whole, doc, allow });
        }
        items
    }

    fn comment_of(&self, comment: Option<usize>) -> (Option<String>, Option<Allow>) {
        let Some(comment) = comment.and_then(|i| self.comments.get(i)) else { return (None, None) };
        match allow(comment) {
            Some(allow) => (None, Some(allow)),
            None => (Some(comment.text.trim().to_owned()).filter(|text| !text.is_empty()), None),
        }
    }

    /// Adds an `else` to the `if` before it.
    fn attach_else(&mut self, items: &mut [Item], branch: (Option<Expr>, Block), span: Span, place: Place) {
        let keyword = Span { start: span.start, end: span.start + 4 };
        let mut diagnostic = (place == Place::Start).then(|| {
            Diagnostic::new(Code::UnexpectedToken, keyword, "`else` stands on the line of the `}` before it")
                .label("a line cannot begin with `else`")
                .help(if branch.0.is_some() { "write `} else if ... {`" } else { "write `} else {`" })
        });
        match items.last_mut() {
            Some(Item { kind: ItemKind::If { branches, otherwise }, span: whole, .. }) => {
                if otherwise.is_some() {
                    diagnostic = Some(
                        Diagnostic::new(Code::UnexpectedToken, keyword, "this `if` has had its `else`")
                            .label("a second `else`")
                            .help("write `} else if CONDITION {` for all branches but the last"),
                    );
                }
                *whole = whole.to(branch.1.span);
                match branch {
                    (Some(cond), block) => branches.push(Branch { cond, block }),
                    (None, block) => *otherwise = Some(block),
                }
            }
            Some(Item { kind: ItemKind::Broken { .. }, .. }) => diagnostic = None,
            _ if place == Place::AfterStray => {}
            _ => {
                diagnostic = Some(
                    Diagnostic::new(Code::UnexpectedToken, keyword, "this `else` belongs to no `if`")
                        .label("no `if` block ends before it")
                        .help("write `if CONDITION { ... } else { ... }`"),
                );
            }
        }
        self.diagnostics.extend(diagnostic);
    }

    fn take_header(&mut self, header: Header, first_item: Option<&Item>, top: bool) {
        let keyword = header.kind.keyword();
        match &self.header {
            Some(first) => {
                let message = "a file holds one rule, and has one header";
                let diagnostic = Diagnostic::new(Code::MisplacedHeader, header.span, message)
                    .label("a second header")
                    .also(first.span, "the first one")
                    .help(format!("move what follows to a file of its own, `{}`", file_name(&header)));
                self.diagnostics.push(diagnostic);
            }
            None => {
                if !top || first_item.is_some() {
                    let message = format!("`{keyword} {}` must be the first line", header.name.text);
                    let mut diagnostic = Diagnostic::new(Code::MisplacedHeader, header.span, message)
                        .label("the header stands here")
                        .help("move it to the top of the file; only comments may stand before it");
                    if let Some(item) = first_item {
                        diagnostic = diagnostic.also(item.span, "this stands before it");
                    }
                    self.diagnostics.push(diagnostic);
                }
                self.header = Some(header);
            }
        }
    }

    fn report_missing_header(&mut self, first: Option<Span>) {
        let text = self.file.text();
        let place = first.map_or(Span::new(text.len(), text.len()), |span| {
            let line = self.file.slice(span).lines().next().unwrap_or_default();
            Span { start: span.start, end: span.start + line.len() as u32 }
        });
        let stem: String = self.file.stem().nfc().collect();
        let stem = if mistake::is_name(&stem) { stem } else { "NAME".to_owned() };
        let kind = if self.file.name().ends_with(".sched") { "schedule" } else { "optimizer" };
        let label = if first.is_some() { "expected the header before this" } else { "the file says nothing" };
        let diagnostic = Diagnostic::new(Code::MisplacedHeader, place, "this file has no header")
            .label(label)
            .help(format!("make `{kind} {stem}` its first line"));
        self.diagnostics.push(diagnostic);
    }

    /// Something stands behind a `}`; if it is broken too, this is the better of the two messages.
    fn report_after_block(&mut self, span: Span, is_broken: bool) {
        if is_broken {
            if mistake::looks_like_else(self.file.text(), span) {
                return;
            }
            self.diagnostics.pop();
        }
        let diagnostic = Diagnostic::new(Code::UnexpectedToken, span, "only `else` may follow a `}` on its line")
            .label("expected the end of the line")
            .help("start a new line after the `}`");
        self.diagnostics.push(diagnostic);
    }

    fn report_stray_block(&mut self, span: Span) {
        let brace = Span { start: span.start, end: span.start + 1 };
        let diagnostic = Diagnostic::new(Code::UnexpectedToken, brace, "only `if` and `else` have a block")
            .label("this block belongs to no condition")
            .help("delete the braces, or write `if CONDITION {`");
        self.diagnostics.push(diagnostic);
    }
}

/// The file that a rule with this header must be in.
fn file_name(header: &Header) -> String {
    let extension = if header.kind == FileKind::Schedule { "sched" } else { "opt" };
    format!("{}.{extension}", header.name.text)
}

/// `allow(CODE): reason`, if the comment says that.
fn allow(comment: &Comment) -> Option<Allow> {
    let blanks = comment.text.len() - comment.text.trim_start().len();
    let rest = comment.text[blanks..].strip_prefix("allow(")?;
    let (code, after) = rest.split_once(')')?;
    let start = comment.span.start as usize + 1 + blanks + "allow(".len();
    let span = Span::new(start, start + code.len());
    let reason = after.trim_start().strip_prefix(':').unwrap_or(after).trim();
    Some(Allow { code: Ident { text: code.trim().into(), span }, reason: reason.to_owned() })
}

/// Matches one piece.
fn parse_piece(file: &SourceFile, clean: &str, span: Span) -> Result<Node, Box<Diagnostic>> {
    let text = &clean[span.range()];
    let mut pairs = match Grammar::parse(Rule::piece, text) {
        Ok(pairs) => pairs,
        Err(error) => return Err(Box::new(explain(file, span, *boxed(error)))),
    };
    let reader = Reader { file, base: span.start as usize };
    let node = match pairs.next() {
        Some(pair) => reader.node(pair)?,
        None => None,
    };
    // The grammar makes every part that a node needs; a missing one would be a fault of this file, and must not panic.
    node.ok_or_else(|| Box::new(Diagnostic::new(Code::UnexpectedToken, span, "this is no statement")))
}

fn boxed(error: Error<Rule>) -> Box<Error<Rule>> {
    Box::new(error)
}

/// Says in our words what pest says about a piece.
fn explain(file: &SourceFile, span: Span, error: Error<Rule>) -> Diagnostic {
    let at = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => span.start as usize + at,
    };
    match error.variant {
        ErrorVariant::ParsingError { positives, .. } => {
            let expected: Vec<Expected> = positives.into_iter().filter_map(expected).collect();
            mistake::explain(file, span, at, &expected)
        }
        // pest ran out of stack, which the nesting limit prevents on any thread of a sane size.
        ErrorVariant::CustomError { .. } => Diagnostic::new(Code::NestingTooDeep, span, "this nests too deeply"),
    }
}

/// What a rule is for a person who reads a message.
fn expected(rule: Rule) -> Option<Expected> {
    Some(match rule {
        Rule::expr
        | Rule::conditional
        | Rule::number
        | Rule::boolean
        | Rule::name_or_call
        | Rule::parenthesised
        | Rule::minus
        | Rule::negation
        | Rule::list
        | Rule::modes
        | Rule::one_of
        | Rule::argument
        | Rule::label => Expected::Expression,
        Rule::infix => Expected::Operator,
        Rule::equals => Expected::Equals,
        Rule::assign_op => Expected::AssignOp,
        Rule::own_name | Rule::name | Rule::binding => Expected::Name,
        Rule::parameters | Rule::open_paren => Expected::OpenParen,
        Rule::comma => Expected::Comma,
        Rule::close_paren => Expected::CloseParen,
        Rule::close_square => Expected::CloseSquare,
        Rule::then_word => Expected::Then,
        Rule::else_word => Expected::Else,
        Rule::if_word => Expected::If,
        Rule::interval | Rule::integers | Rule::interval_open => Expected::Interval,
        Rule::bound => Expected::Bound,
        Rule::interval_close => Expected::CloseInterval,
        Rule::dots => Expected::Dots,
        Rule::bar => Expected::Bar,
        Rule::text => Expected::Text,
        Rule::EOI => Expected::End,
        Rule::header
        | Rule::header_kind
        | Rule::hyper
        | Rule::hyper_word
        | Rule::state
        | Rule::state_word
        | Rule::input
        | Rule::input_word
        | Rule::function
        | Rule::def_word
        | Rule::require
        | Rule::require_word
        | Rule::local
        | Rule::let_word
        | Rule::used
        | Rule::use_word
        | Rule::skip
        | Rule::skip_word
        | Rule::report
        | Rule::report_word
        | Rule::view
        | Rule::view_word
        | Rule::if_head
        | Rule::else_head
        | Rule::assign => Expected::Statement,
        _ => return None,
    })
}

/// What the rule of a piece is made of, gathered in the order written.
#[derive(Default)]
struct Parts {
    names: Vec<Ident>,
    exprs: Vec<Expr>,
    per: Option<Ident>,
    /// `as`: a storage type or another name.
    renamed: Option<Ident>,
    params: Vec<Ident>,
    bindings: Vec<(Ident, Expr)>,
    modes: Option<Vec<Ident>>,
    list: Option<Vec<Expr>>,
    interval: Option<Interval>,
    fixed: Option<Span>,
    text: Option<String>,
    kind: Option<FileKind>,
    op: Option<AssignOp>,
}

impl Parts {
    fn name(&mut self) -> Option<Ident> {
        self.names.pop()
    }

    fn expr(&mut self) -> Option<Expr> {
        self.exprs.pop()
    }
}

/// Makes nodes of what pest matched in the piece that begins at byte `base` of `file`.
struct Reader<'a> {
    file: &'a SourceFile,
    base: usize,
}

type Read<T> = Result<T, Box<Diagnostic>>;

impl Reader<'_> {
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        let span = pair.as_span();
        let length = pair.as_str().trim_end_matches([' ', '\t']).len();
        Span::new(self.base + span.start(), self.base + span.start() + length)
    }

    fn ident(&self, pair: &Pair<'_, Rule>) -> Ident {
        let text = pair.as_str();
        let text: Arc<str> = if is_nfc(text) { text.into() } else { text.nfc().collect::<String>().into() };
        Ident { text, span: self.span(pair) }
    }

    /// The name behind the word of `per EXTENT`, `as DTYPE` or `as NAME`.
    fn inner_ident(&self, pair: Pair<'_, Rule>) -> Option<Ident> {
        pair.into_inner().find(|inner| inner.as_rule() == Rule::own_name).map(|inner| self.ident(&inner))
    }

    fn idents(&self, pair: Pair<'_, Rule>) -> Vec<Ident> {
        pair.into_inner().filter(|inner| inner.as_rule() == Rule::own_name).map(|inner| self.ident(&inner)).collect()
    }

    fn exprs(&self, pair: Pair<'_, Rule>) -> Read<Vec<Expr>> {
        pair.into_inner().filter(|inner| inner.as_rule() == Rule::expr).map(|inner| self.expr(inner)).collect()
    }

    fn node(&self, pair: Pair<'_, Rule>) -> Read<Option<Node>> {
        let rule = pair.as_rule();
        let span = self.span(&pair);
        let mut parts = self.parts(pair)?;
        Ok(node_of(rule, span, &mut parts))
    }

    fn parts(&self, pair: Pair<'_, Rule>) -> Read<Parts> {
        let mut parts = Parts::default();
        for inner in pair.into_inner() {
            match inner.as_rule() {
                Rule::own_name | Rule::name => parts.names.push(self.ident(&inner)),
                Rule::expr => parts.exprs.push(self.expr(inner)?),
                Rule::per => parts.per = self.inner_ident(inner),
                Rule::dtype | Rule::alias => parts.renamed = self.inner_ident(inner),
                Rule::parameters => parts.params = self.idents(inner),
                Rule::modes => parts.modes = Some(self.idents(inner)),
                Rule::list => parts.list = Some(self.exprs(inner)?),
                Rule::within => parts.interval = self.interval(inner)?,
                Rule::fixed => parts.fixed = Some(self.span(&inner)),
                Rule::text => parts.text = Some(inner.as_str().trim_matches('"').to_owned()),
                Rule::bindings => {
                    for binding in inner.into_inner().filter(|b| b.as_rule() == Rule::binding) {
                        let mut bound = self.parts(binding)?;
                        parts.bindings.extend(bound.name().zip(bound.expr()));
                    }
                }
                Rule::header_kind => {
                    parts.kind = Some(match inner.as_str() {
                        "fragment" => FileKind::Fragment,
                        "schedule" => FileKind::Schedule,
                        _ => FileKind::Optimizer,
                    });
                }
                Rule::assign_op => {
                    parts.op = Some(match inner.as_str() {
                        "+=" => AssignOp::Add,
                        "-=" => AssignOp::Sub,
                        "*=" => AssignOp::Mul,
                        "/=" => AssignOp::Div,
                        _ => AssignOp::Set,
                    });
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    fn interval(&self, pair: Pair<'_, Rule>) -> Read<Option<Interval>> {
        let Some(pair) = pair.into_inner().find(|p| matches!(p.as_rule(), Rule::interval | Rule::integers)) else {
            return Ok(None);
        };
        let span = self.span(&pair);
        let integers = pair.as_rule() == Rule::integers;
        let (mut bounds, mut open, mut close) = (Vec::new(), "[", "]");
        for inner in pair.into_inner() {
            match inner.as_rule() {
                Rule::bound => {
                    // `inf` and `-inf` are numbers to Rust, too.
                    let value: f64 = inner.as_str().parse().unwrap_or(f64::NAN);
                    if integers && value.is_finite() && value.fract() != 0.0 {
                        let diagnostic = Diagnostic::new(
                            Code::UnexpectedToken,
                            self.span(&inner),
                            "`..` holds whole numbers, and so are its ends",
                        )
                        .label("not a whole number")
                        .help(format!("write `[{}, inf)` for all numbers from there", inner.as_str()));
                        return Err(Box::new(diagnostic));
                    }
                    bounds.push(value);
                }
                Rule::interval_open => open = inner.as_str(),
                Rule::interval_close => close = inner.as_str(),
                _ => {}
            }
        }
        let Some(&low) = bounds.first() else { return Ok(None) };
        let high = bounds.get(1).copied();
        Ok(Some(Interval {
            low,
            low_closed: open == "[",
            high: high.unwrap_or(f64::INFINITY),
            high_closed: close == "]" && high.is_some(),
            integers,
            span,
        }))
    }

    fn expr(&self, pair: Pair<'_, Rule>) -> Read<Expr> {
        let span = self.span(&pair);
        let mut parts = Vec::new();
        for inner in pair.into_inner() {
            let span = self.span(&inner);
            parts.push(match inner.as_rule() {
                Rule::minus => Part::Prefix(UnaryOp::Neg, span),
                Rule::negation => Part::Prefix(UnaryOp::Not, span),
                Rule::infix => Part::Infix(infix(inner.as_str()), span),
                _ => Part::Operand(self.operand(inner, span)?),
            });
        }
        expression::build(self.file, parts, span).map_err(Box::new)
    }

    fn operand(&self, pair: Pair<'_, Rule>, span: Span) -> Read<Expr> {
        let text = pair.as_str();
        let kind = match pair.as_rule() {
            Rule::number => Some(ExprKind::Number { value: text.parse().unwrap_or(f64::NAN), text: text.into() }),
            Rule::boolean => Some(ExprKind::Bool(text == "true")),
            Rule::parenthesised => self.exprs(pair)?.pop().map(|inner| ExprKind::Paren(Box::new(inner))),
            Rule::conditional => {
                let mut exprs = self.exprs(pair)?.into_iter();
                match (exprs.next(), exprs.next(), exprs.next()) {
                    (Some(cond), Some(then), Some(otherwise)) => Some(ExprKind::If {
                        cond: Box::new(cond),
                        then: Box::new(then),
                        otherwise: Box::new(otherwise),
                    }),
                    _ => None,
                }
            }
            _ => self.name_or_call(pair)?,
        };
        let kind = kind.ok_or_else(|| Diagnostic::new(Code::UnexpectedToken, span, "this is no expression"))?;
        Ok(Expr { kind, span })
    }

    fn name_or_call(&self, pair: Pair<'_, Rule>) -> Read<Option<ExprKind>> {
        let mut inner = pair.into_inner();
        let Some(name) = inner.next().map(|name| self.ident(&name)) else { return Ok(None) };
        let Some(suffix) = inner.next() else { return Ok(Some(ExprKind::Name(name))) };
        if suffix.as_rule() == Rule::index {
            let index = self.exprs(suffix)?.pop();
            return Ok(index.map(|index| ExprKind::Index { list: name, index: Box::new(index) }));
        }
        let (mut args, mut per) = (Vec::new(), None);
        for part in suffix.into_inner() {
            match part.as_rule() {
                Rule::argument => {
                    let mut name = None;
                    for part in part.into_inner() {
                        match part.as_rule() {
                            Rule::label => name = self.inner_ident(part),
                            Rule::expr => args.push(Arg { name: name.take(), value: self.expr(part)? }),
                            _ => {}
                        }
                    }
                }
                Rule::per => per = self.inner_ident(part),
                _ => {}
            }
        }
        Ok(Some(ExprKind::Call { function: name, args, per }))
    }
}

/// The node that `rule` makes of its parts; `None` if one is missing, which the grammar does not allow.
fn node_of(rule: Rule, span: Span, parts: &mut Parts) -> Option<Node> {
    let per = parts.per.take();
    let item = match rule {
        Rule::header => return Some(Node::Header(Header { kind: parts.kind?, name: parts.name()?, span })),
        Rule::if_head => return Some(Node::If(parts.expr()?)),
        Rule::else_head => return Some(Node::Else(parts.expr())),
        Rule::hyper => {
            let value = match (parts.modes.take(), parts.list.take()) {
                (Some(modes), _) => HyperValue::Modes(modes),
                (None, Some(list)) => HyperValue::List(list),
                (None, None) => HyperValue::Expr(parts.expr()?),
            };
            ItemKind::Hyper { name: parts.name()?, per, value, interval: parts.interval.take(), fixed: parts.fixed }
        }
        Rule::state => ItemKind::State { name: parts.name()?, per, dtype: parts.renamed.take(), init: parts.expr()? },
        Rule::input => ItemKind::Input { name: parts.name()?, per, default: parts.expr() },
        Rule::function => {
            ItemKind::Def { name: parts.name()?, params: std::mem::take(&mut parts.params), body: parts.expr()? }
        }
        Rule::require => ItemKind::Require { cond: parts.expr()?, message: parts.text.take()? },
        Rule::local => ItemKind::Let { name: parts.name()?, per, value: parts.expr()? },
        Rule::assign => ItemKind::Assign { name: parts.name()?, op: parts.op?, value: parts.expr()? },
        Rule::used => ItemKind::Use {
            rule: parts.name()?,
            alias: parts.renamed.take(),
            bindings: std::mem::take(&mut parts.bindings),
        },
        Rule::skip => ItemKind::Skip { cond: parts.expr()? },
        Rule::report => ItemKind::Report { name: parts.name()?, value: parts.expr()? },
        Rule::view => ItemKind::View { name: parts.name()?, value: parts.expr()? },
        _ => return None,
    };
    Some(Node::Item(item))
}

fn infix(sign: &str) -> Infix {
    match sign {
        "==" => Infix::Compare(CompareOp::Eq),
        "!=" => Infix::Compare(CompareOp::Ne),
        "<" => Infix::Compare(CompareOp::Lt),
        "<=" => Infix::Compare(CompareOp::Le),
        ">" => Infix::Compare(CompareOp::Gt),
        ">=" => Infix::Compare(CompareOp::Ge),
        "or" => Infix::Binary(BinaryOp::Or),
        "and" => Infix::Binary(BinaryOp::And),
        "+" => Infix::Binary(BinaryOp::Add),
        "-" => Infix::Binary(BinaryOp::Sub),
        "*" => Infix::Binary(BinaryOp::Mul),
        "/" => Infix::Binary(BinaryOp::Div),
        "%" => Infix::Binary(BinaryOp::Rem),
        _ => Infix::Power,
    }
}
