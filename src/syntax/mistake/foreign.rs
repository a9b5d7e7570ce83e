//! Habits of other languages: their keywords, operators, line ends and conditionals.
//!
//! Comes in: where the grammar stopped. Goes out: a diagnostic that names our way to write what was meant, if the mistake is
//! one of these. Two tables hold the words and the signs; adding a line to one of them is all that a new one takes.

use super::{Expected, KEYWORDS, STARTERS, Stop, printable, span_of};
use crate::diagnostic::{Code, Diagnostic, did_you_mean};
use crate::source::Span;
use crate::syntax::scan::ends_operand;
use crate::syntax::token::{Kind, tokens};

/// Words with which other languages begin what we begin with another word.
#[rustfmt::skip]
const STARTING_WORDS: &[(&str, &str)] = &[
    ("param", "hyper"), ("parameter", "hyper"), ("hyperparam", "hyper"), ("hyperparameter", "hyper"),
    ("hparam", "hyper"), ("config", "hyper"), ("option", "hyper"), ("const", "hyper"), ("constant", "hyper"),
    ("var", "let"), ("val", "let"), ("local", "let"), ("float", "let"), ("double", "let"), ("auto", "let"),
    ("mut", "let"), ("tensor", "let"), ("buffer", "state"), ("slot", "state"), ("moment", "state"),
    ("static", "state"), ("accumulator", "state"), ("function", "def"), ("func", "def"), ("fn", "def"),
    ("lambda", "def"), ("assert", "require"), ("ensure", "require"), ("import", "use"), ("include", "use"),
    ("from", "use"), ("print", "report"), ("log", "report"), ("optimiser", "optimizer"), ("rule", "optimizer"),
    ("name", "optimizer"), ("scheduler", "schedule"), ("when", "if"), ("elif", "else if"), ("elsif", "else if"),
    ("elseif", "else if"),
];

/// Signs of other languages and of typesetting, what to say about them, and what to type.
#[rustfmt::skip]
const SIGNS: &[(&str, &str, &str)] = &[
    ("**", "`**` is not an operator", "write `^` for a power, as in `g^2`"),
    ("&&", "`&&` is not an operator", "write `and`"),
    ("&", "`&` is not an operator", "write `and`"),
    ("||", "`||` is not an operator", "write `or`"),
    ("|", "`|` is not an operator", "write `or` between conditions, and `abs(x)` for an absolute value"),
    ("!", "`!` is not an operator", "write `not`"),
    ("<>", "`<>` is not an operator", "write `!=`"),
    ("!==", "`!==` is not an operator", "write `!=`"),
    ("===", "`===` is not an operator", "write `==`"),
    (":=", "`:=` is not an operator", "write `=`"),
    ("**=", "there is no `**=`", "write `x = x^...`"),
    ("^=", "there is no `^=`", "write `x = x^...`"),
    ("%=", "there is no `%=`", "write `x = x % ...`"),
    ("//=", "there is no `//=`", "write `x = floor(x / ...)`"),
    ("/*", "a comment begins with `#`", "write `# ...`, on every line of the comment"),
    ("@", "`@` is not an operator", "a rule works element by element: write `*`, or `dot(a, b)` for a sum of products"),
    ("'", "a text stands in double quotes", "write `\"...\"`"),
    ("`", "a text stands in double quotes", "write `\"...\"`"),
    ("\\", "a statement goes on only while a bracket is open", "put the long expression in parentheses"),
    ("...", "`...` stands for nothing here", "write the value"),
    ("×", "`×` is not an operator", "write `*`"),
    ("·", "`·` is not an operator", "write `*`"),
    ("⋅", "`⋅` is not an operator", "write `*`"),
    ("∗", "`∗` is not the sign on your keyboard", "write `*`"),
    ("⊙", "`⊙` is not an operator", "write `*`, which is element by element"),
    ("÷", "`÷` is not an operator", "write `/`"),
    ("∕", "`∕` is not the sign on your keyboard", "write `/`"),
    ("−", "`−` (U+2212) is not the minus on your keyboard", "write `-`"),
    ("–", "`–` is a dash, not a minus", "write `-`"),
    ("—", "`—` is a dash, not a minus", "write `-`"),
    ("≤", "`≤` is not an operator", "write `<=`"),
    ("≥", "`≥` is not an operator", "write `>=`"),
    ("≠", "`≠` is not an operator", "write `!=`"),
    ("←", "`←` is not an operator", "write `=`"),
    ("∈", "`∈` is not an operator", "write `in`, as in `hyper beta = 0.9 in [0, 1)`"),
    ("∞", "`∞` is not a number", "write `inf`"),
    ("∧", "`∧` is not an operator", "write `and`"),
    ("∨", "`∨` is not an operator", "write `or`"),
    ("¬", "`¬` is not an operator", "write `not`"),
    ("√", "`√` is not an operator", "write `sqrt(...)`"),
    ("²", "`²` is not an operator", "write `^2`"),
    ("³", "`³` is not an operator", "write `^3`"),
    ("“", "`“` is not the quote on your keyboard", "write `\"`"),
    ("”", "`”` is not the quote on your keyboard", "write `\"`"),
    ("\u{A0}", "this is a no-break space (U+00A0), not a blank", "delete it and type a blank"),
    ("\u{202F}", "this is a narrow no-break space (U+202F), not a blank", "delete it and type a blank"),
    ("\u{3000}", "this is an ideographic space (U+3000), not a blank", "delete it and type a blank"),
    ("\u{200B}", "this is an invisible zero-width space (U+200B)", "delete it"),
    (
        "\u{FEFF}",
        "this is an invisible byte order mark (U+FEFF)",
        "delete it; it may stand at the start of the file only",
    ),
    ("\r", "this is a carriage return without a line feed", "save the file with Unix or Windows line ends"),
];

/// Our keyword for another language's.
pub(super) fn keyword(word: &str) -> Option<&'static str> {
    STARTING_WORDS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours)
}

/// Whether a piece was plainly meant to be an `else`.
pub(in crate::syntax) fn looks_like_else(text: &str, span: Span) -> bool {
    let first = tokens(text, span.start as usize).next().map_or("", |token| token.text(text));
    first == "else" || STARTING_WORDS.contains(&(first, "else if"))
}

/// `;`, and `//`
pub(super) fn end_of_line(stop: &Stop<'_>) -> Option<Diagnostic> {
    let is_last = stop.index + 1 == stop.tokens.len();
    match stop.found_text() {
        ";" if is_last => {
            Some(stop.error("a statement ends with its line").label("nothing is needed here").help("delete the `;`"))
        }
        ";" if stop.open_bracket().is_none() => Some(
            stop.error("a statement ends with its line")
                .label("another statement follows")
                .help("start a new line instead of writing `;`"),
        ),
        "//" => Some(stop.error("a comment begins with `#`").label("not the sign of a comment").help("write `#`")),
        _ => None,
    }
}

/// A first word that is not ours.
pub(super) fn first_word(stop: &Stop<'_>) -> Option<Diagnostic> {
    let first = stop.get(0).filter(|token| token.kind == Kind::Word && stop.index <= 1)?;
    let word = first.text(stop.text);
    if KEYWORDS.contains(&word) || (stop.index == 1 && stop.is_assign_op(1)) {
        return None;
    }
    let error = |message: String| Diagnostic::new(Code::UnexpectedToken, span_of(first), message);
    match word {
        "for" | "while" | "loop" | "foreach" | "do" => {
            return Some(
                error(format!("there is no `{word}`: a rule has no loops"))
                    .label("not a statement")
                    .help("every statement is done for all elements of a tensor; write it once"),
            );
        }
        "return" => {
            return Some(
                error("a rule returns nothing".to_owned())
                    .label("not a statement")
                    .help("assign the new parameter: `p = ...`, or `p -= ...`"),
            );
        }
        "end" | "endif" | "fi" | "done" => {
            return Some(error(format!("there is no `{word}`")).label("not a statement").help("a block ends with `}`"));
        }
        _ => {}
    }
    let mended = |ours: &str| {
        let rest = stop.excerpt(1, stop.tokens.len() - 1).filter(|_| stop.tokens.len() > 1);
        let rest = rest.map_or(String::new(), |rest| format!(" {}", printable(rest)));
        match ours {
            "if" => format!("write `if{rest} {{ ... }}`"),
            "else if" => format!("write `}} else if{rest} {{`, on the line of the `}}`"),
            "report" => "write `report NAME = ...`".to_owned(),
            "require" => format!("write `require{rest}, \"what to say if it does not hold\"`"),
            _ => format!("write `{ours}{rest}`"),
        }
    };
    if stop.index == 1 && !stop.is_word(1) && !matches!(stop.word(1), "(" | "\"" | "") {
        return None;
    }
    let lower = word.to_lowercase();
    if let Some((theirs, ours)) = STARTING_WORDS.iter().find(|(theirs, _)| *theirs == lower) {
        if stop.tokens.len() == 1 {
            return None;
        }
        return Some(
            error(format!("there is no keyword `{theirs}`"))
                .label(format!("did you mean `{ours}`?"))
                .help(mended(ours)),
        );
    }
    if !stop.is_word(1) {
        return None;
    }
    let ours = did_you_mean(word, STARTERS.iter().copied().chain(["if"]))?;
    Some(
        error(format!("there is no keyword `{}`", printable(word)))
            .label(format!("did you mean `{ours}`?"))
            .help(mended(ours)),
    )
}

/// `t++`, `t--`
pub(super) fn increment(stop: &Stop<'_>) -> Option<Diagnostic> {
    let name = stop.word(0);
    let sign = match (stop.tokens.len(), stop.word(1), stop.word(2)) {
        (2, "++", _) => "+",
        (3, "-", "-") => "-",
        _ if stop.found_text() == "++" => {
            return Some(stop.error("`++` is not an operator").label("one `+` too many").help("write `+`"));
        }
        _ => return None,
    };
    let place = span_of(stop.get(1)?).to(stop.span.at_end());
    Some(
        Diagnostic::new(Code::UnexpectedToken, place, format!("`{sign}{sign}` is not an operator"))
            .label("not an assignment")
            .help(format!("write `{name} {sign}= 1`")),
    )
}

/// Operators of other languages, and characters that look like ours.
pub(super) fn sign(stop: &Stop<'_>) -> Option<Diagnostic> {
    let found = stop.found()?;
    let sign = found.text(stop.text);
    if sign == "?" || sign == ":" {
        return ternary(stop);
    }
    if sign == "!" && stop.word(stop.index + 1) == "=" {
        return None;
    }
    let (_, message, help) = SIGNS.iter().find(|(theirs, _, _)| *theirs == sign)?;
    if sign == "|" && stop.expects(Expected::Name) {
        return None;
    }
    let mut help = (*help).to_owned();
    let simple = |index: usize| {
        stop.get(index).filter(|t| matches!(t.kind, Kind::Word | Kind::Number)).and(stop.excerpt(index, index))
    };
    if sign.len() > 1 && sign.ends_with('=') && stop.index == 1 && help.contains("x = x") {
        help = help.replace('x', stop.word(0));
    }
    if sign == "**"
        && let Some((base, exponent)) = stop.index.checked_sub(1).and_then(simple).zip(simple(stop.index + 1))
    {
        help = format!("write `{base}^{exponent}`");
    }
    Some(stop.error(*message).help(help))
}

/// `c ? a : b`, and `if c:`
fn ternary(stop: &Stop<'_>) -> Option<Diagnostic> {
    let colon = (stop.index..stop.tokens.len()).find(|&i| stop.word(i) == ":");
    if stop.found_text() == ":" {
        let is_head = matches!(stop.word(0), "if" | "else") && stop.index + 1 == stop.tokens.len();
        let head = stop.excerpt(0, stop.index.checked_sub(1)?).filter(|_| is_head)?;
        return Some(
            stop.error("a block stands in braces")
                .label("expected `{`")
                .help(format!("write `{head} {{`, and `}}` behind the block")),
        );
    }
    let start = (0..stop.index).rev().find(|&i| stop.is_assign_op(i) || stop.word(i) == ",").map_or(0, |i| i + 1);
    let start = stop.open_bracket().map_or(start, |open| start.max(open + 1));
    let cond = stop.index.checked_sub(1).and_then(|last| stop.excerpt(start, last));
    let then = colon.and_then(|colon| stop.excerpt(stop.index + 1, colon - 1));
    let otherwise = colon.and_then(|colon| stop.excerpt(colon + 1, stop.operand_end(colon + 1)));
    let help = match (cond, then, otherwise) {
        (Some(cond), Some(then), Some(otherwise)) => format!("write `if {cond} then {then} else {otherwise}`"),
        _ => "write `if condition then a else b`".to_owned(),
    };
    Some(stop.error("`?` is not an operator").label("a choice is written with words").help(help))
}

/// `a if c else b`, and a statement with an `if` behind it
pub(super) fn conditional(stop: &Stop<'_>) -> Option<Diagnostic> {
    let is_after_operand = stop.before().is_some_and(|before| ends_operand(before, stop.text));
    if stop.found_text() != "if" || !is_after_operand || stop.index < 2 {
        return None;
    }
    let open = stop.open_bracket();
    let start = (0..stop.index).rev().find(|&i| stop.is_assign_op(i)).map_or(0, |i| i + 1);
    let start = open.map_or(start, |open| start.max(open + 1));
    let value = stop.excerpt(start, stop.index - 1);
    let otherwise = (stop.index..stop.tokens.len()).find(|&i| stop.word(i) == "else");
    if let Some(otherwise) = otherwise {
        let cond = stop.excerpt(stop.index + 1, otherwise - 1);
        let last = if open.is_some() { stop.operand_end(otherwise + 1) } else { stop.tokens.len() - 1 };
        let help = match (value, cond, stop.excerpt(otherwise + 1, last)) {
            (Some(a), Some(c), Some(b)) => format!("write `if {c} then {a} else {b}`"),
            _ => "write `if condition then a else b`".to_owned(),
        };
        return Some(
            stop.error("the condition of a choice comes first").label("this `if` follows its value").help(help),
        );
    }
    let help = match (stop.excerpt(0, stop.index - 1), stop.excerpt(stop.index + 1, stop.tokens.len() - 1)) {
        (Some(body), Some(cond)) => format!("write `if {cond} {{ {body} }}`"),
        _ => "write `if condition { ... }`".to_owned(),
    };
    Some(stop.error("the condition of a statement comes first").label("this `if` follows its statement").help(help))
}
