//! What a person probably meant by a piece that the grammar does not allow.
//!
//! Comes in: where the grammar stopped in a piece, and what it would have taken there. Goes out: one [`Diagnostic`] in words of
//! the language, with a help line that says what to type whenever the mistake is a common one: another language's operator or
//! keyword, a product without `*`, two statements on a line, a missing `=`, brace or value. The functions that know one mistake
//! each are asked in turn; the last one only says what was expected. Nothing here decides whether a piece is well-formed.

mod foreign;
mod number;

pub(super) use foreign::looks_like_else;

use super::ast::Ident;
use super::scan::{STARTERS, ends_operand};
use super::token::{Kind, Token, begins_name, continues_name, tokens};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::{SourceFile, Span};
use unicode_normalization::UnicodeNormalization;

/// What the grammar would have taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Expected {
    /// A whole piece.
    Statement,
    /// A number, a name, a call, parentheses.
    Expression,
    /// `=`
    Equals,
    /// `=`, `+=`, ...
    AssignOp,
    /// A name.
    Name,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `]`
    CloseSquare,
    /// `)` or `]` of an interval.
    CloseInterval,
    /// `,`
    Comma,
    /// `then`
    Then,
    /// `else`
    Else,
    /// `if`
    If,
    /// `[0, 1)`
    Interval,
    /// A number or `inf`.
    Bound,
    /// `..`
    Dots,
    /// `|`
    Bar,
    /// A quoted text.
    Text,
    /// The end of the piece.
    End,
    /// An operator.
    Operator,
}

/// Every word that is no name.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "optimizer", "fragment", "schedule", "hyper", "state", "input", "def", "require", "let", "use", "skip",
    "report", "view", "if", "then", "else", "and", "or", "not", "in", "fixed", "per", "as", "true", "false",
];

/// The piece and the place in it where the grammar stopped.
struct Stop<'a> {
    text: &'a str,
    span: Span,
    /// Words, numbers and signs of the piece, without comments and line ends.
    tokens: Vec<Token>,
    /// The first token that the grammar did not take whole; one past the last if it took all.
    index: usize,
    /// The byte where the grammar stopped.
    at: usize,
    expected: &'a [Expected],
}

/// Says what is wrong with the piece at `span`, whose text the grammar took up to byte `at`, where it expected one of
/// `expected`.
pub(super) fn explain(file: &SourceFile, span: Span, at: usize, expected: &[Expected]) -> Diagnostic {
    let text = file.text();
    let tokens = piece_tokens(text, span);
    let index = tokens.iter().position(|token| token.end > at).unwrap_or(tokens.len());
    let stop = Stop { text, span, tokens, index, at, expected };
    let mistakes: [fn(&Stop<'_>) -> Option<Diagnostic>; 19] = [
        number::malformed,
        path_of_rule,
        pointed_name,
        name_of_rule,
        foreign::end_of_line,
        foreign::first_word,
        foreign::increment,
        equals_and_comparison,
        foreign::sign,
        keyword_as_name,
        missing_brace,
        foreign::conditional,
        second_statement,
        list_in_formula,
        missing_value,
        missing_then,
        unopened_bracket,
        implicit_product,
        no_assignment,
    ];
    mistakes.iter().find_map(|mistake| mistake(&stop)).unwrap_or_else(|| plain(&stop))
}

/// The name that a broken piece was plainly meant to declare.
pub(super) fn declares(file: &SourceFile, span: Span) -> Option<Ident> {
    let text = file.text();
    let tokens: Vec<Token> = tokens(text, span.start as usize)
        .take_while(|token| token.end <= span.end as usize && token.kind != Kind::Newline)
        .take(3)
        .collect();
    let [first, name, rest @ ..] = tokens.as_slice() else { return None };
    let keyword = first.text(text);
    let ours = matches!(keyword, "hyper" | "state" | "input" | "def" | "let" | "report" | "view");
    let theirs = first.kind == Kind::Word
        && !KEYWORDS.contains(&keyword)
        && rest.first().is_some_and(|token| matches!(token.text(text), "=" | "in" | ":=" | "("));
    let word = name.text(text);
    if name.kind != Kind::Word || word.contains('.') || KEYWORDS.contains(&word) || !(ours || theirs) {
        return None;
    }
    Some(Ident { text: word.nfc().collect::<String>().into(), span: span_of(*name) })
}

/// Whether a broken piece was plainly meant to be the header.
pub(super) fn looks_like_header(text: &str, span: Span) -> bool {
    let Some(first) = tokens(text, span.start as usize).next().filter(|token| token.kind == Kind::Word) else {
        return false;
    };
    let word = first.text(text).to_lowercase();
    let kinds = ["optimizer", "fragment", "schedule"];
    kinds.contains(&word.as_str())
        || foreign::keyword(&word).is_some_and(|ours| kinds.contains(&ours))
        || did_you_mean(&word, STARTERS.iter().copied()).is_some_and(|ours| kinds.contains(&ours))
}

/// Whether `text` could name a rule.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(begins_name) && text.chars().all(continues_name) && !KEYWORDS.contains(&text)
}

/// An `if COND` or `else` without a block.
pub(super) fn missing_block(file: &SourceFile, span: Span) -> Diagnostic {
    let text = file.slice(span);
    let (message, label) = match text {
        "else" => ("expected `{` after `else`", "the block is missing"),
        _ => ("expected `{` after the condition", "the block of this condition is missing"),
    };
    let help = match text.len() <= 60 && !text.contains(['\n', '\r', '\t', '#']) {
        true => format!("write `{} {{ ... }}`, with the `{{` on this line", printable(text)),
        false => "put `{` at the end of this line, and `}` behind the last statement".to_owned(),
    };
    Diagnostic::new(Code::UnexpectedToken, span.at_end(), message).label(label).help(help)
}

fn piece_tokens(text: &str, span: Span) -> Vec<Token> {
    tokens(text, span.start as usize)
        .take_while(|token| token.end <= span.end as usize)
        .filter(|token| !matches!(token.kind, Kind::Comment | Kind::Newline))
        .collect()
}

fn span_of(token: Token) -> Span {
    Span::new(token.start, token.end)
}

impl<'a> Stop<'a> {
    fn get(&self, index: usize) -> Option<Token> {
        self.tokens.get(index).copied()
    }

    /// The text of a token; empty past the end.
    fn word(&self, index: usize) -> &'a str {
        self.get(index).map_or("", |token| token.text(self.text))
    }

    fn found(&self) -> Option<Token> {
        self.get(self.index)
    }

    /// The text of the token where the grammar stopped; empty at the end.
    fn found_text(&self) -> &'a str {
        self.word(self.index)
    }

    fn before(&self) -> Option<Token> {
        self.index.checked_sub(1).and_then(|index| self.get(index))
    }

    fn before_text(&self) -> &'a str {
        self.before().map_or("", |token| token.text(self.text))
    }

    /// Where the grammar stopped.
    fn place(&self) -> Span {
        self.found().map_or(self.span.at_end(), span_of)
    }

    fn expects(&self, expected: Expected) -> bool {
        self.expected.contains(&expected)
    }

    fn is_word(&self, index: usize) -> bool {
        self.get(index).is_some_and(|token| token.kind == Kind::Word)
    }

    fn is_keyword(&self, index: usize) -> bool {
        self.is_word(index) && KEYWORDS.contains(&self.word(index))
    }

    fn is_assign_op(&self, index: usize) -> bool {
        matches!(self.word(index), "=" | "+=" | "-=" | "*=" | "/=")
    }

    fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Code::UnexpectedToken, self.place(), message)
    }

    /// The text from one token to another, to be repeated in a help line; `None` if that would not be short and plain, or
    /// if there is nothing between them.
    fn excerpt(&self, first: usize, last: usize) -> Option<&'a str> {
        let text = self.text.get(self.get(first)?.start..self.get(last)?.end)?;
        (text.chars().count() <= 60 && !text.contains(['\n', '\r', '#', '\t'])).then_some(text)
    }

    /// The first token of the operand that ends with token `last`.
    fn operand_start(&self, last: usize) -> usize {
        if self.get(last).is_none_or(|token| token.kind != Kind::Close) {
            return last;
        }
        let mut depth = 0usize;
        for index in (0..=last).rev() {
            match self.get(index).map(|token| token.kind) {
                Some(Kind::Close) => depth += 1,
                Some(Kind::Open) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let is_call = index > 0 && self.is_word(index - 1) && !self.is_keyword(index - 1);
                return if is_call { index - 1 } else { index };
            }
        }
        last
    }

    /// The last token of the operand that begins with token `first`.
    fn operand_end(&self, first: usize) -> usize {
        let is_open = |index: usize| self.get(index).is_some_and(|token| token.kind == Kind::Open);
        let begin = if self.is_word(first) && is_open(first + 1) { first + 1 } else { first };
        if !is_open(begin) {
            return first;
        }
        let mut depth = 0usize;
        for (index, token) in self.tokens.iter().enumerate().skip(begin) {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return index;
            }
        }
        first
    }

    /// The innermost bracket that is open where the grammar stopped.
    fn open_bracket(&self) -> Option<usize> {
        let mut open = Vec::new();
        for (index, token) in self.tokens.iter().enumerate().take(self.index) {
            match token.kind {
                Kind::Open => open.push(index),
                Kind::Close => {
                    open.pop();
                }
                _ => {}
            }
        }
        open.pop()
    }
}

/// `state adam.m = 0`
fn pointed_name(stop: &Stop<'_>) -> Option<Diagnostic> {
    let found = stop.found().filter(|found| found.kind == Kind::Word && found.start < stop.at)?;
    let name = found.text(stop.text);
    Some(
        stop.error("a name that is declared here has no point")
            .label("the point is for names of used rules")
            .help(format!("write `{}`", printable(&name.replace('.', "_")))),
    )
}

/// `use fragments/clip.opt`
fn path_of_rule(stop: &Stop<'_>) -> Option<Diagnostic> {
    let first = stop.get(1).filter(|_| stop.word(0) == "use" && (1..=2).contains(&stop.index))?;
    let rest = &stop.text[first.start..stop.span.end as usize];
    let path = rest.split(|c: char| c == '(' || c.is_whitespace()).next()?;
    let file = path.trim_matches(['"', '\'']).rsplit(['/', '\\']).next()?;
    let stem = file.strip_suffix(".opt").unwrap_or(file);
    (stem != path && is_name(stem)).then(|| {
        let span = Span::new(first.start, first.start + path.len());
        Diagnostic::new(Code::UnexpectedToken, span, "a rule is used by its name, never by a path")
            .label("not a name")
            .help(format!("write `use {stem}`: it is found beside this file, or among the shipped ones"))
    })
}

/// `optimizer my-adam`
fn name_of_rule(stop: &Stop<'_>) -> Option<Diagnostic> {
    let is_header = matches!(stop.word(0), "optimizer" | "fragment" | "schedule") && stop.index >= 1;
    let found = stop.found().filter(|_| is_header && !stop.is_keyword(stop.index))?;
    let first = stop.get(1)?;
    let mended = stop.text[first.start..stop.span.end as usize].trim_matches(['"', '\'']).replace([' ', '-'], "_");
    let help = match is_name(&mended) {
        true => format!("write `{} {mended}`, and call the file the same", stop.word(0)),
        false => format!("write `{} NAME`, where NAME is the file's name", stop.word(0)),
    };
    Some(
        Diagnostic::new(
            Code::UnexpectedToken,
            span_of(found),
            "the name of a rule is one word of letters, digits and `_`",
        )
        .label("not a part of the name")
        .help(help),
    )
}

/// `==` where `=` is meant, and the other way round.
fn equals_and_comparison(stop: &Stop<'_>) -> Option<Diagnostic> {
    let found = stop.found_text();
    if found == "==" && (stop.expects(Expected::Equals) || stop.expects(Expected::AssignOp)) {
        let (name, value) = (stop.excerpt(0, stop.index - 1)?, stop.excerpt(stop.index + 1, stop.tokens.len() - 1));
        return Some(
            stop.error("expected `=`, found `==`")
                .label("`==` compares")
                .help(format!("write `{name} = {}`", value.unwrap_or("..."))),
        );
    }
    if found != "=" || !(stop.expects(Expected::Operator) || stop.before_text() == "!") {
        return None;
    }
    let in_condition = matches!(stop.word(0), "if" | "else" | "require" | "skip")
        || (0..stop.index).any(|i| stop.word(i) == "if") && !(0..stop.index).any(|i| stop.word(i) == "then");
    if in_condition {
        let first = stop.operand_start(stop.index - 1);
        let mended =
            stop.excerpt(first, stop.index - 1).zip(stop.excerpt(stop.index + 1, stop.operand_end(stop.index + 1)));
        let help = mended.map_or("write `==`".to_owned(), |(a, b)| format!("write `{a} == {b}`"));
        return Some(stop.error("expected a comparison, found `=`").label("`=` assigns").help(help));
    }
    if stop.is_word(stop.index - 1) && stop.index >= 2 && !stop.is_assign_op(stop.index - 2) {
        return None;
    }
    let help = match (stop.excerpt(0, stop.index - 1), stop.excerpt(stop.index - 1, stop.tokens.len() - 1)) {
        (Some(outer), Some(inner)) if stop.is_word(stop.index - 1) => {
            format!("write `{inner}`, and on the next line `{outer}`")
        }
        _ => "write `==` to compare".to_owned(),
    };
    Some(stop.error("a statement assigns once").label("a second `=`").help(help))
}

/// `let state = 3`, `input = 3`
fn keyword_as_name(stop: &Stop<'_>) -> Option<Diagnostic> {
    let is_name_place = stop.expects(Expected::Name) && !stop.expects(Expected::Expression);
    let index = if is_name_place && stop.is_keyword(stop.index) {
        stop.index
    } else if stop.index <= 1 && stop.is_keyword(0) && stop.is_assign_op(1) {
        0
    } else {
        return None;
    };
    let token = stop.get(index)?;
    let word = token.text(stop.text);
    Some(
        Diagnostic::new(Code::ReservedName, span_of(token), format!("`{word}` is a keyword and cannot be a name"))
            .label("a name is needed here")
            .help(format!("choose another name, such as `{word}_`")),
    )
}

/// `if c g = 1`, `if c then g = 1`
fn missing_brace(stop: &Stop<'_>) -> Option<Diagnostic> {
    if !matches!(stop.word(0), "if" | "else") || stop.index < 1 {
        return None;
    }
    let found = stop.found()?;
    let begins_statement =
        stop.is_word(stop.index) && (stop.is_assign_op(stop.index + 1) || STARTERS.contains(&stop.found_text()));
    let is_then = stop.found_text() == "then" && stop.expects(Expected::End);
    let is_else_word = stop.index == 1 && stop.word(0) == "else";
    if !(begins_statement || is_then) || (is_else_word && is_then) {
        return None;
    }
    let head = stop.excerpt(0, stop.index - 1);
    let body = stop.excerpt(if is_then { stop.index + 1 } else { stop.index }, stop.tokens.len() - 1);
    let help = match (head, body) {
        (Some(head), Some(body)) => format!("write `{head} {{ {body} }}`"),
        _ => "put the statements between `{` and `}`".to_owned(),
    };
    let after = if stop.word(0) == "else" && stop.index == 1 { "`else`" } else { "the condition" };
    Some(
        Diagnostic::new(Code::UnexpectedToken, span_of(found), format!("expected `{{` after {after}"))
            .label(if is_then { "`then` chooses between values, not statements" } else { "the block begins here" })
            .help(help),
    )
}

/// `m = 0 v = 0`
fn second_statement(stop: &Stop<'_>) -> Option<Diagnostic> {
    if stop.index < 2 || !stop.is_word(stop.index) || !(stop.expects(Expected::Operator) || stop.expects(Expected::End))
    {
        return None;
    }
    let word = stop.found_text();
    let starts = STARTERS.contains(&word);
    let assigns = stop.is_assign_op(stop.index + 1) && !KEYWORDS.contains(&word);
    if !starts && !assigns {
        return None;
    }
    if let Some(open) = stop.open_bracket().and_then(|open| stop.get(open)) {
        let bracket = open.text(stop.text);
        return Some(
            Diagnostic::new(Code::UnclosedBracket, span_of(open), format!("this `{bracket}` is never closed"))
                .label("opened here")
                .also(stop.place(), "here the next statement begins")
                .help(format!("close it with `{}` before the statement ends", closer(bracket))),
        );
    }
    Some(
        stop.error("there is one statement on a line")
            .label("a second statement begins here")
            .help(format!("start a new line before `{}`", printable(word))),
    )
}

/// `hyper lr 1e-3`, `state m`, `let x =`
fn missing_value(stop: &Stop<'_>) -> Option<Diagnostic> {
    let keyword = stop.word(0);
    if !stop.expects(Expected::Equals) || stop.index < 2 {
        return None;
    }
    let so_far = stop.excerpt(0, stop.index - 1).map(printable);
    if let Some(found) = stop.found() {
        let begins_value = matches!(found.kind, Kind::Number | Kind::Open | Kind::Text { .. })
            || (found.kind == Kind::Word && !stop.is_keyword(stop.index))
            || matches!(found.text(stop.text), "-" | "true" | "false");
        if !begins_value {
            return None;
        }
        let rest = stop.excerpt(stop.index, stop.tokens.len() - 1).map(printable);
        let help = match (so_far, rest) {
            (Some(so_far), Some(rest)) => format!("write `{so_far} = {rest}`"),
            _ => "write `=` between the name and the value".to_owned(),
        };
        return Some(
            stop.error(format!("expected `=`, found {}", quoted(stop))).label("the value begins here").help(help),
        );
    }
    let so_far = so_far.unwrap_or_else(|| keyword.to_owned());
    let (message, help) = match keyword {
        "hyper" => ("a hyper needs a default", format!("write `{so_far} = 1e-3`, for example")),
        "state" => ("a state needs an initial value", format!("write `{so_far} = 0`, for example")),
        "let" => ("a local needs a value", format!("write `{so_far} = ...`")),
        "def" => ("a `def` needs a body", format!("write `{so_far} = ...`")),
        _ => ("a value is missing", format!("write `{so_far} = ...`")),
    };
    Some(stop.error(message).label("expected `=` and a value").help(help))
}

/// `if c a else b`
fn missing_then(stop: &Stop<'_>) -> Option<Diagnostic> {
    let found = stop.found().filter(|_| stop.expects(Expected::Then))?;
    let rest = stop.index..stop.tokens.len();
    let begins_value = matches!(found.kind, Kind::Word | Kind::Number | Kind::Open);
    if !begins_value || rest.clone().any(|i| stop.word(i) == "then") || !rest.clone().any(|i| stop.word(i) == "else") {
        return None;
    }
    let start = (0..stop.index).rev().find(|&i| stop.word(i) == "if")?;
    let help = match (stop.excerpt(start, stop.index - 1), stop.excerpt(stop.index, stop.tokens.len() - 1)) {
        (Some(cond), Some(rest)) => format!("write `{cond} then {rest}`"),
        _ => "write `if condition then a else b`".to_owned(),
    };
    Some(stop.error(format!("expected `then`, found {}", quoted(stop))).label("the first value begins here").help(help))
}

/// `a)`
fn unopened_bracket(stop: &Stop<'_>) -> Option<Diagnostic> {
    let found = stop.found().filter(|token| token.kind == Kind::Close && stop.open_bracket().is_none())?;
    let bracket = found.text(stop.text);
    let opener = if bracket == "]" { "[" } else { "(" };
    Some(
        stop.error(format!("this `{bracket}` closes nothing"))
            .label("no bracket is open here")
            .help(format!("delete it, or add the `{opener}` that is missing before it")),
    )
}

/// `2 lr`, `2(x)`, `a b`
fn implicit_product(stop: &Stop<'_>) -> Option<Diagnostic> {
    let (before, found) = (stop.before()?, stop.found()?);
    let is_operand =
        matches!(found.kind, Kind::Number | Kind::Open) || (found.kind == Kind::Word && !stop.is_keyword(stop.index));
    if !stop.expects(Expected::Operator) || !ends_operand(before, stop.text) || !is_operand {
        return None;
    }
    let word = found.text(stop.text);
    let instead = match word.to_lowercase().as_str() {
        "is" | "equals" | "eq" => Some("=="),
        "mod" => Some("%"),
        "and" => Some("and"),
        "or" => Some("or"),
        "then" => Some("then"),
        "else" => Some("else"),
        _ => None,
    };
    if let Some(instead) = instead {
        return Some(
            stop.error(format!("`{word}` is not an operator"))
                .label(format!("did you mean `{instead}`?"))
                .help(format!("write `{instead}`")),
        );
    }
    let left = stop.excerpt(stop.operand_start(stop.index - 1), stop.index - 1).map(printable);
    let right = stop.excerpt(stop.index, stop.operand_end(stop.index)).map(printable);
    let product = match (&left, &right) {
        (Some(left), Some(right)) => format!("write `{left} * {right}` for a product"),
        _ => "write `*` for a product".to_owned(),
    };
    let in_call = stop.open_bracket().is_some() && stop.expects(Expected::Comma);
    let help = match (left, right) {
        (Some(left), Some(right)) if in_call => format!("{product}, or `{left}, {right}` for two arguments"),
        _ => product,
    };
    let after = quote(stop.before_text());
    Some(
        stop.error(format!("expected an operator between {after} and {}", quote(word)))
            .label("no product without `*`")
            .help(help),
    )
}

/// A name alone, or a call alone.
fn no_assignment(stop: &Stop<'_>) -> Option<Diagnostic> {
    if !stop.expects(Expected::AssignOp) || stop.index != 1 {
        return None;
    }
    let name = printable(stop.word(0));
    let error = Diagnostic::new(
        Code::UnexpectedToken,
        stop.place(),
        format!("expected `=` after `{name}`, found {}", quoted(stop)),
    );
    Some(match stop.found_text() {
        "[" => error
            .label("single elements cannot be assigned")
            .help(format!("write `{name} = ...`: a statement is done for all elements")),
        "(" => error
            .label("a call is not a statement")
            .help(format!("a function returns a value and changes nothing: write `p = {name}(...)`")),
        _ => error.label("expected `=`, `+=`, `-=`, `*=` or `/=`").help(format!("write `{name} = ...`")),
    })
}

/// A list where it is used: `prod([1, 2], n)`.
fn list_in_formula(stop: &Stop<'_>) -> Option<Diagnostic> {
    if stop.found_text() != "[" || !stop.expects(Expected::Expression) {
        return None;
    }
    let close = (stop.index..stop.tokens.len()).find(|index| stop.word(*index) == "]");
    let list = close.and_then(|close| stop.excerpt(stop.index, close)).unwrap_or("[30, 60]");
    let message = "a list is not written into a formula";
    let help = format!("declare it above, `hyper NAME = {list}`, and write `NAME` here");
    Some(stop.error(message).label("a list begins here").help(help))
}

/// What was expected, and no more.
fn plain(stop: &Stop<'_>) -> Diagnostic {
    let wanted = wanted(stop);
    let after = match stop.before() {
        Some(_) => format!(" after {}", quote(stop.before_text())),
        None => String::new(),
    };
    let mut diagnostic =
        stop.error(format!("expected {wanted}{after}, found {}", quoted(stop))).label(format!("expected {wanted}"));
    if let Some(found) = stop.found().filter(|token| token.kind == Kind::Close)
        && let Some(open) = stop.open_bracket().and_then(|open| stop.get(open))
    {
        let should_close = closer(open.text(stop.text));
        if stop.before_text() == "," {
            diagnostic = diagnostic.help("delete the `,`");
        } else if found.text(stop.text) != should_close {
            diagnostic = diagnostic.also(span_of(open), "opened here").help(format!("close it with `{should_close}`"));
        }
    } else if stop.found().is_none() && stop.expects(Expected::Expression) && stop.index > 1 {
        diagnostic = diagnostic.help("a statement goes on over the end of its line only inside parentheses");
    } else if stop.index == 0 && stop.found().is_some_and(|token| token.kind != Kind::Word) {
        diagnostic = diagnostic.help("a statement begins with a name, as in `p -= lr * g`, or with a keyword");
    } else if stop.expects(Expected::Else) {
        diagnostic = diagnostic.help("a value with `if` needs both: `if condition then a else b`");
    } else if stop.word(0) == "use" && stop.expects(Expected::Equals) {
        diagnostic =
            diagnostic.help(format!("a hyper is bound by its name: write `{} = ...`", printable(stop.before_text())));
    } else if stop.before_text() == "fixed" && stop.found_text() == "in" {
        diagnostic = diagnostic.help("write `in ...` before `fixed`");
    } else if stop.before_text() == "per" && stop.expects(Expected::Name) {
        diagnostic = diagnostic.help("write an extent, such as `per tensor`");
    } else if stop.before_text() == "as" && stop.word(0) == "state" {
        diagnostic = diagnostic.help("write a storage type, such as `as f32`");
    } else if stop.expects(Expected::OpenParen) && stop.word(0) == "def" {
        diagnostic = diagnostic
            .help(format!("write `def {}(x) = ...`; a value without parameters is a `let`", stop.before_text()));
    } else if stop.expects(Expected::Bar) && stop.found_text() == "," {
        diagnostic = diagnostic.help("write `|` between modes, as in `one of linear | cosine`");
    } else if stop.expects(Expected::Comma) && stop.found().is_some_and(|token| token.kind == Kind::Word) {
        diagnostic =
            diagnostic.help(format!("write `{}, {}`", printable(stop.before_text()), printable(stop.found_text())));
    } else if stop.expects(Expected::Interval) || stop.expects(Expected::Dots) {
        diagnostic = diagnostic.help("write `in [0, 1)`, `in (0, inf)`, or `in 1..` for whole numbers");
    } else if stop.expects(Expected::Bound) {
        diagnostic = diagnostic.help("the ends of an interval are numbers, `inf` or `-inf`");
    } else if stop.expects(Expected::If) && stop.word(0) == "skip" {
        diagnostic = diagnostic.help("write `skip if ...`");
    } else if stop.expects(Expected::Comma) && stop.word(0) == "require" {
        diagnostic = diagnostic.help("write `require condition, \"what to say if it does not hold\"`");
    }
    diagnostic
}

/// What was expected, in words: what is most likely meant, not all that is possible.
fn wanted(stop: &Stop<'_>) -> String {
    let phrase = |expected: Expected| match expected {
        Expected::Statement => "a declaration or a statement",
        Expected::Expression => "an expression",
        Expected::Equals | Expected::AssignOp => "`=`",
        Expected::Name => "a name",
        Expected::OpenParen => "`(`",
        Expected::CloseParen => "`)`",
        Expected::CloseSquare => "`]`",
        Expected::CloseInterval => "`)` or `]`",
        Expected::Comma => "`,`",
        Expected::Then => "`then`",
        Expected::Else => "`else`",
        Expected::If => "`if`",
        Expected::Interval => "an interval",
        Expected::Bound => "a number",
        Expected::Dots => "`..`",
        Expected::Bar => "`|`",
        Expected::Text => "a text in quotes",
        Expected::Operator => "an operator",
        Expected::End => "the end of the line",
    };
    for expected in
        [Expected::Statement, Expected::Expression, Expected::Equals, Expected::AssignOp, Expected::Interval]
    {
        if stop.expects(expected) {
            return phrase(expected).to_owned();
        }
    }
    // Behind an operand nearly everything may follow; what closes or separates is what is missed.
    let is_common = |expected: &Expected| matches!(expected, Expected::Operator | Expected::End);
    let after_operand = stop.expects(Expected::Operator);
    let mut missed: Vec<Expected> = stop.expected.to_vec();
    missed.retain(|expected| !(after_operand && *expected == Expected::OpenParen));
    if !missed.iter().all(is_common) {
        missed.retain(|expected| !is_common(expected));
    }
    missed.sort_by_key(|expected| (*expected == Expected::End, *expected));
    let mut phrases: Vec<&str> = missed.into_iter().map(phrase).collect();
    phrases.dedup();
    match phrases.split_last() {
        None => "the end of the line".to_owned(),
        Some((only, [])) => (*only).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

fn closer(bracket: &str) -> &'static str {
    if bracket == "[" { "]" } else { ")" }
}

/// What stands where the grammar stopped, in words.
fn quoted(stop: &Stop<'_>) -> String {
    match stop.found() {
        None => "the end of the line".to_owned(),
        Some(_) if stop.is_keyword(stop.index) => format!("the keyword `{}`", stop.found_text()),
        Some(_) => quote(stop.found_text()),
    }
}

/// A token in a message: in backquotes, cut if it is long, by its number if it cannot be shown.
fn quote(token: &str) -> String {
    let mut chars = token.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) if c.is_control() || c.is_whitespace() || printable(token) != token => {
            format!("the character U+{:04X}", u32::from(c))
        }
        _ => format!("`{}`", printable(token)),
    }
}

/// A text of the source in a message: short, on one line, and without characters that change how a terminal shows the rest.
fn printable(text: &str) -> String {
    let (text, more) = match text.char_indices().nth(60) {
        Some((end, _)) => (&text[..end], "..."),
        None => (text, ""),
    };
    let text = crate::diagnostic::harmless(text);
    let line: String = text.chars().map(|c| if c == '\t' || c == '\n' { ' ' } else { c }).collect();
    line + more
}
