//! Reductions and draws, and when in a step a value is known.
//!
//! A reduction to model or group ends a phase of the program: what it gives is known one phase later than what it is of.
//! A scalar that depends on a reduction of this step is *late*: a condition on it selects values, never a plan.

use super::names;
use super::program::{DrawFn, DrawId, ExprId, Extent, NodeKind, ReduceFn, Reduction, ReductionId, Ty, Var};
use super::{Checker, Place};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast::{Arg, Expr, FileKind, Ident};
use std::collections::BTreeMap;

/// When in a step a value is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// In which phase.
    pub(super) phase: u32,
    /// Whether it depends on a reduction of this step.
    pub(super) late: bool,
}

impl Timing {
    /// When both are known.
    pub(super) fn join(self, other: Timing) -> Timing {
        Timing { phase: self.phase.max(other.phase), late: self.late || other.late }
    }
}

/// What is kept of each node beside the node itself.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    pub(super) timing: Timing,
    /// Whether a reduction is part of it.
    pub(super) reduces: bool,
    /// Whether anything that it is made of, itself included, is an array: then a sweep computes it.
    pub(super) arrays: bool,
}

impl Mark {
    pub(super) fn join(self, other: Mark) -> Mark {
        Mark {
            timing: self.timing.join(other.timing),
            reduces: self.reduces || other.reduces,
            arrays: self.arrays || other.arrays,
        }
    }
}

/// When each variable is known, if it has been assigned.
pub(super) type Timings = BTreeMap<Var, Timing>;

/// What holds after two blocks of which one is taken.
pub(super) fn after_either(mut a: Timings, b: Timings) -> Timings {
    for (var, timing) in b {
        let both = a.entry(var).or_default();
        *both = both.join(timing);
    }
    a
}

impl Checker<'_> {
    pub(super) fn mark(&self, id: ExprId) -> Mark {
        self.marks[id.index()]
    }

    /// Whether a scalar depends on a reduction of this step.
    pub(super) fn is_late(&self, id: ExprId) -> bool {
        self.mark(id).timing.late
    }

    /// When the value that a variable has now is known.
    pub(super) fn timing(&self, var: Var) -> Timing {
        // A view is computed after the step.
        if self.place == Place::View { Timing::default() } else { self.timings.get(&var).copied().unwrap_or_default() }
    }

    /// Notes that a variable is assigned a value, here.
    pub(super) fn assigned_when(&mut self, var: Var, value: ExprId) {
        let under = self.under.iter().fold(Timing::default(), |all, (timing, _)| all.join(*timing));
        self.timings.insert(var, self.mark(value).timing.join(under));
    }

    pub(super) fn reduction(&self, id: ReductionId) -> &Reduction {
        let list = if self.template.is_some() { &self.template_reductions } else { &self.program.reductions };
        &list[id.index()]
    }

    /// A call of a reduction. `None`: an error has been reported.
    pub(super) fn call_reduction(
        &mut self,
        function: ReduceFn,
        args: &[Arg],
        per: Option<&Ident>,
        span: Span,
    ) -> Option<ExprId> {
        if self.program.kind == FileKind::Schedule {
            let message = format!("a schedule has no tensors, so `{}` has nothing to reduce", function.name());
            self.report(
                Diagnostic::new(Code::NotAllowedHere, span, message)
                    .label("a reduction")
                    .help("of a few scalars, write it out: `a + b`, `max(a, b)`"),
            );
            return None;
        }
        let per = match per {
            Some(per) => Some(self.extent_named(per)?),
            None => None,
        };
        let params: &[&str] = match function {
            ReduceFn::Dot => &["a", "b"],
            ReduceFn::Any | ReduceFn::All | ReduceFn::Count => &["CONDITION"],
            _ => &["x"],
        };
        self.arity(function.name(), params, args, span, None)?;
        let ids: Vec<Option<ExprId>> = args.iter().map(|arg| self.reduced_argument(function, &arg.value)).collect();
        self.reduce(function, ids.into_iter().collect::<Option<_>>()?, per, span)
    }

    /// The argument of a reduction: a number or a condition, as the function takes it.
    fn reduced_argument(&mut self, function: ReduceFn, arg: &Expr) -> Option<ExprId> {
        let instead = match function {
            ReduceFn::Any | ReduceFn::All | ReduceFn::Count => return self.condition(arg),
            ReduceFn::Mean => return self.expression(arg),
            ReduceFn::Norm | ReduceFn::Rms | ReduceFn::Dot => return self.number(arg),
            ReduceFn::Sum => ("count", "how many hold is"),
            ReduceFn::Min => ("all", "whether all hold is"),
            ReduceFn::Max => ("any", "whether any holds is"),
        };
        let id = self.expression(arg)?;
        if self.node(id).ty == Ty::Number {
            return Some(id);
        }
        let help = format!("{} `{}({})`", instead.1, instead.0, self.text(arg));
        let message = format!("`{}` is of numbers, and this is a condition", function.name());
        self.report(Diagnostic::new(Code::NotANumber, arg.span, message).label("this is a condition").help(help));
        None
    }

    /// Makes a reduction, with a number of its own.
    pub(super) fn reduce(
        &mut self,
        function: ReduceFn,
        args: Vec<ExprId>,
        per: Option<Extent>,
        span: Span,
    ) -> Option<ExprId> {
        let to = per.unwrap_or(Extent::Tensor);
        let in_template = self.template.is_some();
        let timing = args.iter().fold(Timing::default(), |all, arg| all.join(self.mark(*arg).timing));
        let of = args.iter().fold(Extent::Model, |all, arg| all.join(self.node(*arg).extent));
        let ends_phase = matches!(to, Extent::Model | Extent::Group);
        let reduction = Reduction { to, phase: timing.phase + u32::from(ends_phase), span };
        let list = if in_template { &self.template_reductions } else { &self.program.reductions };
        let kind = NodeKind::Reduce(function, args, ReductionId(list.len() as u32));
        self.allowed_here(&kind, span)?;
        // What the parameters of a `def` are is known at its calls only.
        if !in_template {
            self.is_smaller(function, of, per, span)?;
            self.is_unconditional(function, span)?;
        }
        let list = if in_template { &mut self.template_reductions } else { &mut self.program.reductions };
        list.push(reduction);
        self.build(kind, span)
    }

    /// Reports a reduction whose result is not of smaller extent than its argument.
    fn is_smaller(&mut self, function: ReduceFn, of: Extent, per: Option<Extent>, span: Span) -> Option<()> {
        let to = per.unwrap_or(Extent::Tensor);
        if to.fits_in(of) && to != of {
            return Some(());
        }
        let smaller: Vec<&str> =
            Extent::ALL.into_iter().rev().filter(|e| e.fits_in(of) && *e != of).map(Extent::name).collect();
        let name = function.name();
        let text = self.parsed.file.slice(span);
        let message = format!("a value per {} leaves nothing to reduce per {}", of.name(), to.name());
        let help = match (text.strip_suffix(')'), smaller.as_slice()) {
            (_, []) => format!("there is one of it in the whole model: leave `{name}` out"),
            (Some(call), smaller) if per.is_none() && text.len() <= 60 && self.inlining.is_none() => {
                let calls: Vec<String> = smaller.iter().map(|e| format!("`{call} per {e})`")).collect();
                format!("did you mean {}?", calls.join(" or "))
            }
            (_, smaller) => format!("it can be reduced {}", either(smaller)),
        };
        self.report(Diagnostic::new(Code::NothingToReduce, span, message).help(help));
        None
    }

    /// Reports a reduction in a block under a condition of larger extent than tensor.
    fn is_unconditional(&mut self, function: ReduceFn, span: Span) -> Option<()> {
        let around = self.around.iter().find(|(extent, _)| !extent.is_scalar()).copied();
        let Some((extent, cond)) = around.filter(|_| self.place == Place::Statement) else { return Some(()) };
        self.conditional(function, span, extent, cond, "before the block");
        None
    }

    /// Reports a reduction in an arm of an `if` whose condition is of larger extent than tensor.
    pub(super) fn arms_do_not_reduce(&mut self, cond: ExprId, arms: [ExprId; 2]) -> Option<()> {
        let (extent, cond) = (self.node(cond).extent, self.node(cond).span);
        let Some(arm) = arms.into_iter().find(|arm| self.mark(*arm).reduces) else { return Some(()) };
        let mut pending = vec![arm];
        let mut found = None;
        while let Some(id) = pending.pop().filter(|_| found.is_none()) {
            let node = self.node(id);
            if let NodeKind::Reduce(function, ..) = node.kind {
                found = Some((function, node.span));
            }
            node.kind.for_each_operand(|operand| pending.extend(self.mark(operand).reduces.then_some(operand)));
        }
        let (function, span) = found?;
        self.conditional(function, span, extent, cond, "before this line");
        None
    }

    fn conditional(&mut self, function: ReduceFn, span: Span, extent: Extent, cond: Span, place: &str) {
        let name = function.name();
        let text = self.parsed.file.slice(span);
        let call = if text.len() <= 40 && !text.contains('\n') { text.to_string() } else { format!("{name}(...)") };
        let some = match function {
            ReduceFn::Sum | ReduceFn::Norm => format!("`{name}(if CONDITION then ... else 0)`"),
            ReduceFn::Min => format!("`{name}(if CONDITION then ... else inf)`"),
            ReduceFn::Max => format!("`{name}(if CONDITION then ... else -inf)`"),
            ReduceFn::Any | ReduceFn::Count => format!("`{name}(CONDITION and ...)`"),
            ReduceFn::All => format!("`{name}(not CONDITION or ...)`"),
            ReduceFn::Mean | ReduceFn::Rms | ReduceFn::Dot => {
                "`sum(if CONDITION then ... else 0)` and `count(CONDITION)`".to_string()
            }
        };
        let message = format!("`{name}` stands under a condition that differs per {}", extent.name());
        self.report(
            Diagnostic::new(Code::ReductionUnderCondition, span, message)
                .label("of all, or only of those where it holds?")
                .also(cond, format!("this condition differs per {}", extent.name()))
                .help(match self.inlining {
                    Some(_) => format!("of all: make it a parameter of the `def`; of those where it holds: {some}"),
                    None => format!("of all: write `let x = {call}` {place}; of those where it holds: {some}"),
                }),
        );
    }

    /// `per` in a call of something that is no reduction.
    pub(super) fn not_a_reduction(&mut self, function: &Ident, args: &[Arg], per: &Ident) {
        if self.program.kind == FileKind::Schedule {
            // Which has a message of its own.
            self.extent(Some(per), Extent::Model, &[], "a schedule");
            return;
        }
        let name = &*function.text;
        let values: Vec<&str> = args.iter().map(|arg| self.text(&arg.value)).collect();
        let call = format!("{name}({})", values.join(", "));
        let help = match (name, values.as_slice()) {
            ("min" | "max", [_, _, ..]) => {
                format!("for the {name} of those, write `{name}({call} per {})`", per.text)
            }
            ("old" | "given" | "count" | "len" | "prod" | "increasing", _) => format!("write `{call}`"),
            _ if !names::is_function(name) => {
                format!("say it in the body of `{name}`, where the reduction is: `mean(x per {})`", per.text)
            }
            _ => format!("for its mean, write `mean({call} per {})`; else leave `per {0}` out", per.text),
        };
        let message = match (name, args.len()) {
            ("min" | "max", n) if n > 1 => format!("`{name}` of {n} arguments is no reduction, so it has no `per`"),
            ("count", _) => "`count` of a list is no reduction, so it has no `per`".to_string(),
            _ => format!("`{name}` is no reduction, so it has no `per`"),
        };
        self.report(
            Diagnostic::new(Code::NotAReduction, per.span, message)
                .label("only reductions say per what they are")
                .help(help),
        );
    }

    /// A call of a function that draws random numbers.
    pub(super) fn call_draw(&mut self, function: DrawFn, args: &[Arg], span: Span) -> Option<ExprId> {
        let name = function.name();
        if self.program.kind == FileKind::Schedule {
            self.report(
                Diagnostic::new(
                    Code::NotAllowedHere,
                    span,
                    format!("a schedule has no elements, and `{name}` is for each"),
                )
                .label("a random number")
                .help("a schedule gives the same value to every run: leave it out"),
            );
            return None;
        }
        if !args.is_empty() {
            let values: Vec<&str> = args.iter().map(|arg| self.text(&arg.value)).collect();
            let help = match (function, values.as_slice()) {
                (DrawFn::Uniform, [a, b]) => format!("from {a} to {b} is `lerp({a}, {b}, uniform())`"),
                (DrawFn::Normal, [mean, deviation]) => {
                    format!("of that mean and deviation is `{mean} + {deviation}*normal()`")
                }
                _ => format!("write `{name}()`: there is one for each element of the parameter"),
            };
            let message = format!("`{name}` takes no arguments, not {}", args.len());
            self.report(Diagnostic::new(Code::WrongArity, span, message).help(help));
            return None;
        }
        self.draw(function, span)
    }

    /// A random number per element, with a number of its own.
    pub(super) fn draw(&mut self, function: DrawFn, span: Span) -> Option<ExprId> {
        let id = self.build(NodeKind::Draw(function, DrawId(self.program.draws)), span)?;
        // In the body of a `def` it is no draw yet: each call makes one.
        if self.template.is_none() {
            self.program.draws += 1;
        }
        Some(id)
    }
}

/// `per a, per b or per c`
fn either(extents: &[&str]) -> String {
    let extents: Vec<String> = extents.iter().map(|extent| format!("`per {extent}`")).collect();
    match extents.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => extents.concat(),
    }
}
