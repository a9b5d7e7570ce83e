//! The text of joined schedules, to and from.
//!
//! Loosest first: `A for N then B` (from the right), `A + B`, `A * B`, then `min(A, B)`, `max(A, B)`, numbers, parentheses
//! and `NAME(hyper = value, ...)`. NAME is a shipped schedule, or a path if it has a `/`, a `\` or ends in `.sched`.

use super::{Expr, Join, Schedule};
use crate::check::number_text;
use crate::runtime::{Error, HyperValue};
use std::fmt;

/// How tightly an expression binds.
pub(super) const LOOSEST: u8 = 0;
const SUM: u8 = 1;
const PRODUCT: u8 = 2;

/// How deep parentheses may nest.
const MAX_DEPTH: usize = 64;
/// How many schedules may be joined.
const MAX_PARTS: usize = 256;
/// How long a text may be, in bytes.
const MAX_LENGTH: usize = 1 << 16;
/// How much of a text a message shows, in characters.
const SHOWN: usize = 200;

pub(super) fn write(expr: &Expr, least: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let binding = match expr {
        Expr::Then(..) => LOOSEST,
        Expr::Join(Join::Sum, ..) => SUM,
        Expr::Join(Join::Product, ..) => PRODUCT,
        _ => PRODUCT + 1,
    };
    if binding < least {
        f.write_str("(")?;
    }
    match expr {
        Expr::Constant(x) => f.write_str(&number_text(*x))?,
        Expr::Then(a, steps, b) => {
            write(a, SUM, f)?;
            write!(f, " for {steps} then ")?;
            write(b, LOOSEST, f)?;
        }
        Expr::Join(join @ (Join::Min | Join::Max), a, b) => {
            f.write_str(if *join == Join::Min { "min(" } else { "max(" })?;
            write(a, LOOSEST, f)?;
            f.write_str(", ")?;
            write(b, LOOSEST, f)?;
            f.write_str(")")?;
        }
        Expr::Join(join, a, b) => {
            write(a, binding, f)?;
            f.write_str(if *join == Join::Sum { " + " } else { " * " })?;
            write(b, binding + 1, f)?;
        }
        Expr::Part(part) => {
            f.write_str(&part.name)?;
            let set: Vec<String> =
                part.hypers.settings(part.rule.program()).map(|(name, x)| format!("{name}={x}")).collect();
            if !set.is_empty() {
                write!(f, "({})", set.join(", "))?;
            }
        }
    }
    if binding < least { f.write_str(")") } else { Ok(()) }
}

pub(super) fn parse(text: &str) -> Result<Schedule, Error> {
    let mut parser = Parser { text, rest: text, parts: 0 };
    if text.len() > MAX_LENGTH {
        return Err(parser.error(format!("it is {} bytes long; {MAX_LENGTH} are enough for any", text.len())));
    }
    let expr = parser.then(0)?;
    parser.skip();
    if !parser.rest.is_empty() {
        let found = parser.rest.chars().take(12).collect::<String>();
        return Err(parser
            .error(format!("`{found}` is left over; schedules are joined by `for N then`, `*`, `+`, `min`, `max`")));
    }
    Ok(Schedule(expr))
}

/// Whether a name is that of a file.
pub(super) fn is_path(name: &str) -> bool {
    name.contains(['/', '\\']) || name.ends_with(".sched")
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    parts: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, reason: String) -> Error {
        let mut text: String = self.text.chars().take(SHOWN).collect();
        if text.len() < self.text.len() {
            text.push_str("...");
        }
        Error::ScheduleText { text, reason }
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, symbol: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A word that is not the beginning of a longer one.
    fn word(&mut self, word: &str) -> bool {
        self.skip();
        let follows = self.rest.strip_prefix(word);
        let ends = follows.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        ends && self.take(word)
    }

    fn expect(&mut self, symbol: &str, after: &str) -> Result<(), Error> {
        if self.take(symbol) { Ok(()) } else { Err(self.error(format!("expected `{symbol}` {after}"))) }
    }

    fn then(&mut self, depth: usize) -> Result<Expr, Error> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("parentheses and `then` nest more than {MAX_DEPTH} deep")));
        }
        let first = self.sum(depth)?;
        if !self.word("for") {
            return Ok(first);
        }
        self.skip();
        let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Ok(steps) = self.rest[..digits].parse::<u64>() else {
            return Err(self.error("`for` is followed by a number of steps: `linear() for 100 then cosine()`".into()));
        };
        self.rest = &self.rest[digits..];
        if !self.word("then") {
            return Err(self.error(format!("expected `then` after `for {steps}`")));
        }
        Ok(Expr::Then(Box::new(first), steps, Box::new(self.then(depth + 1)?)))
    }

    fn sum(&mut self, depth: usize) -> Result<Expr, Error> {
        let mut sum = self.product(depth)?;
        while self.take("+") {
            sum = Expr::Join(Join::Sum, Box::new(sum), Box::new(self.product(depth)?));
        }
        Ok(sum)
    }

    fn product(&mut self, depth: usize) -> Result<Expr, Error> {
        let mut product = self.atom(depth)?;
        while self.take("*") {
            product = Expr::Join(Join::Product, Box::new(product), Box::new(self.atom(depth)?));
        }
        Ok(product)
    }

    fn atom(&mut self, depth: usize) -> Result<Expr, Error> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(self.error(format!("more than {MAX_PARTS} schedules are joined")));
        }
        if self.take("(") {
            let inner = self.then(depth + 1)?;
            self.expect(")", "to close `(`")?;
            return Ok(inner);
        }
        self.skip();
        let end = self.rest.find(|c: char| "()*+,=[]".contains(c) || c.is_whitespace()).unwrap_or(self.rest.len());
        // The sign of an exponent belongs to its number.
        let end = exponent_end(self.rest, end);
        let name = &self.rest[..end];
        if name.is_empty() {
            return Err(self.error("expected the name of a schedule".into()));
        }
        self.rest = &self.rest[end..];
        if let Ok(x) = name.parse::<f64>() {
            if !x.is_finite() {
                return Err(self.error(format!("{name} is not finite")));
            }
            return Ok(Expr::Constant(x));
        }
        if name == "min" || name == "max" {
            let join = if name == "min" { Join::Min } else { Join::Max };
            self.expect("(", &format!("after `{name}`"))?;
            let a = self.then(depth + 1)?;
            self.expect(",", &format!("in `{name}(A, B)`"))?;
            let b = self.then(depth + 1)?;
            self.expect(")", &format!("to close `{name}(`"))?;
            return Ok(Expr::Join(join, Box::new(a), Box::new(b)));
        }
        let mut schedule = if is_path(name) { Schedule::load(name)? } else { Schedule::shipped(name)? };
        if self.take("(") {
            while !self.take(")") {
                let (hyper, value) = self.setting(name)?;
                schedule = schedule.set(hyper, value)?;
                if !self.take(",") {
                    self.expect(")", &format!("to close `{name}(`"))?;
                    break;
                }
            }
        }
        Ok(schedule.0)
    }

    /// `hyper = value`.
    fn setting(&mut self, schedule: &str) -> Result<(&'a str, HyperValue), Error> {
        self.skip();
        let end = self.rest.find(['=', ',', ')', '(']).unwrap_or(self.rest.len());
        let hyper = self.rest[..end].trim();
        if hyper.is_empty() || !self.rest[end..].starts_with('=') {
            return Err(self.error(format!("expected `hyper=value` in `{schedule}(...)`")));
        }
        self.rest = self.rest[end + 1..].trim_start();
        let end = if self.rest.starts_with('[') {
            self.rest.find(']').map(|end| end + 1)
        } else {
            self.rest.find([',', ')'])
        };
        let Some(end) = end else {
            return Err(self.error(format!("the value of `{hyper}` has no end: close the bracket")));
        };
        let value = self.rest[..end].trim();
        if value.is_empty() {
            return Err(self.error(format!("`{hyper}=` has no value")));
        }
        self.rest = &self.rest[end..];
        let Ok(value) = value.parse::<HyperValue>();
        Ok((hyper, value))
    }
}

/// Where a number such as `1e+3` ends, if `end` is at the sign of its exponent.
fn exponent_end(text: &str, end: usize) -> usize {
    let before = &text[..end];
    let is_exponent = before.ends_with(['e', 'E']) && before[..before.len() - 1].parse::<f64>().is_ok();
    if !is_exponent || !text[end..].starts_with('+') {
        return end;
    }
    let digits = text[end + 1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - end - 1);
    end + 1 + digits
}
