//! Numbers that are none.
//!
//! Comes in: where the grammar stopped. Goes out: a diagnostic about the number there, with the number as it is written here,
//! if digits stand on one side of a point only, or if something clings to them.

use super::{Stop, printable};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::scan::ends_operand;
use crate::syntax::token::{Kind, continues_name};

/// `1.`, `.5`, `1e`, `0x10`, `1_000`, `1f`
pub(super) fn malformed(stop: &Stop<'_>) -> Option<Diagnostic> {
    let found = stop.found()?;
    let sign = found.text(stop.text);
    let before = stop.before().filter(|b| b.kind == Kind::Number && b.end == found.start);
    let run_from = |start: usize| {
        let rest = &stop.text[start..stop.span.end as usize];
        let plain = |text: &str| text.find(|c: char| c != '.' && !continues_name(c)).unwrap_or(text.len());
        let mut length = plain(rest);
        let (run, after) = rest.split_at(length);
        if run.ends_with(['e', 'E']) && after.starts_with(['-', '+']) {
            length += 1 + plain(&after[1..]);
        }
        Span::new(start, start + length)
    };
    let malformed = |span: Span, label: &str, help: String| {
        let message = format!("`{}` is not a number", printable(&stop.text[span.range()]));
        Some(Diagnostic::new(Code::MalformedNumber, span, message).label(label).help(help))
    };
    match (before, sign) {
        (Some(before), ".") => {
            let run = run_from(before.start);
            let (whole, rest) = (before.text(stop.text), &stop.text[found.end..run.end as usize]);
            if whole.contains(['e', 'E']) {
                return malformed(run, "an exponent is a whole number", "write `1e-3`, for example".to_owned());
            }
            if rest.contains('.') || whole.contains('.') {
                return malformed(run, "more than one point", "a number has one point, as in `0.5`".to_owned());
            }
            let rest = if rest.starts_with(['e', 'E']) { rest } else { "" };
            malformed(run, "a digit must follow the point", format!("write `{whole}.0{rest}`"))
        }
        (Some(before), word) if found.kind == Kind::Word => {
            let run = run_from(before.start);
            let number = before.text(stop.text);
            if word.starts_with('_') && word.chars().all(|c| c == '_' || c.is_ascii_digit()) {
                let plain = stop.text[run.range()].replace('_', "");
                return malformed(run, "digits are not grouped", format!("write `{plain}`"));
            }
            match word {
                "e" | "E" => malformed(run, "an exponent needs digits", format!("write `{number}e-3`, for example")),
                "f" | "f32" | "f64" | "F" | "L" => {
                    malformed(run, "numbers have no suffix", format!("write `{number}`"))
                }
                _ if number == "0" && word.starts_with(['x', 'X', 'b', 'B', 'o']) && word.len() > 1 => {
                    malformed(run, "numbers are decimal", "write it in decimal digits".to_owned())
                }
                _ => None,
            }
        }
        (_, ".") if stop.before().is_some_and(|b| b.end == found.start && ends_operand(b, stop.text)) => None,
        (_, ".") if stop.get(stop.index + 1).is_some_and(|t| t.kind == Kind::Number && t.start == found.end) => {
            let run = run_from(found.start);
            let digits = &stop.text[run.range()];
            malformed(run, "a digit must stand before the point", format!("write `0{digits}`"))
        }
        _ => None,
    }
}
