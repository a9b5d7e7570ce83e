//! [`emit`]: the canonical text of each stage of a rule.
//!
//! Comes in: a rule, a [`Stage`], and what the text is for: types, math, hypers, the step. Goes out: the text that
//! `updraft emit` prints, to the byte. It depends on nothing but its arguments, so that a snapshot of it holds on every
//! machine; it runs no kernel and needs no machine code to be allowed.
//!
//! Conditions that select the plan are decided for a tensor of the group `default` whose scalar states have their first
//! values, with inputs at their defaults, or 0; unless told it is a matrix, so that what a rule does for rows and columns is
//! seen. The conditions and their outcomes are the first lines.

use crate::check::print_program;
use crate::check::program::NodeKind;
#[cfg(feature = "jit")]
use crate::codegen::{Isa, Lanes, Target, Text, backend};
use crate::ir::{Facts, Math, Step, Storage, Store, lower, print_kernel};
use crate::plan::plan;
use crate::runtime::{Error, HyperValue, Rule};
use crate::syntax;
use crate::syntax::ast::FileKind;
use std::fmt::Write as _;

/// A stage of the compiler whose result has a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// The file in canonical layout.
    Ast,
    /// The checked program: extents, `def`s expanded.
    Program,
    /// The whole step in SSA, every rounding fixed.
    Step,
    /// The sweeps over memory, with bytes per element.
    Plan,
    /// The loop body of each sweep; it parses back with [`parse_kernel`](crate::ir::parse_kernel).
    Kernel,
    /// Cranelift's IR before it is optimised.
    #[cfg(feature = "jit")]
    Clif,
    /// The instructions.
    #[cfg(feature = "jit")]
    Asm,
}

impl Stage {
    /// Every stage, in the order in which a rule passes them.
    pub const ALL: &'static [Stage] = &[
        Stage::Ast,
        Stage::Program,
        Stage::Step,
        Stage::Plan,
        Stage::Kernel,
        #[cfg(feature = "jit")]
        Stage::Clif,
        #[cfg(feature = "jit")]
        Stage::Asm,
    ];

    /// As written after `--stage`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Ast => "ast",
            Stage::Program => "program",
            Stage::Step => "step",
            Stage::Plan => "plan",
            Stage::Kernel => "kernel",
            #[cfg(feature = "jit")]
            Stage::Clif => "clif",
            #[cfg(feature = "jit")]
            Stage::Asm => "asm",
        }
    }

    /// What begins a comment in its text.
    fn comment(self) -> char {
        match self {
            #[cfg(feature = "jit")]
            Stage::Clif | Stage::Asm => ';',
            _ => '#',
        }
    }
}

/// What a text is for. Stages look only at what concerns them: [`Stage::Ast`] and [`Stage::Program`] at nothing.
#[derive(Clone, PartialEq, Debug)]
pub struct EmitOptions {
    /// The type of parameter and gradient; f32 by default.
    pub storage: Storage,
    /// Which rewrites apply.
    pub math: Math,
    /// Hypers that are not at their defaults.
    pub set: Vec<(String, HyperValue)>,
    /// How states, or the parameter, are kept, if not by default.
    pub store: Vec<(String, Store)>,
    /// The step that conditions are decided for, from 1; 1000 by default, when what only begins is over.
    pub t: u64,
    /// The shape of the tensor that conditions are decided for; 64 by 64 by default. Nothing else depends on it.
    pub shape: Vec<usize>,
    /// Whether every plan is printed that a change of `t` alone can reach, each with the first `t` that reaches it:
    /// all `t` up to 10,000, those around every number in the rule and every hyper, and the powers of two up to 2^40 are
    /// tried.
    pub all: bool,
    /// The instruction set; by default the widest of this machine's family, whether or not it has the features. Name one
    /// where the text is to be the same everywhere.
    #[cfg(feature = "jit")]
    pub isa: Isa,
    /// How many elements the code takes at a time.
    #[cfg(feature = "jit")]
    pub lanes: Lanes,
}

impl Default for EmitOptions {
    fn default() -> EmitOptions {
        EmitOptions {
            storage: Storage::F32,
            math: Math::default(),
            set: Vec::new(),
            store: Vec::new(),
            t: 1000,
            shape: vec![64, 64],
            all: false,
            #[cfg(feature = "jit")]
            isa: if cfg!(target_arch = "aarch64") { Isa::Aarch64 } else { Isa::X86_64Avx2Fma },
            #[cfg(feature = "jit")]
            lanes: Lanes::Simd,
        }
    }
}

/// The text of a stage of `rule`: what `updraft emit` prints, and what a test of your own rule can freeze.
///
/// ```
/// use updraft::{EmitOptions, Rule, Stage, emit};
/// let rule = Rule::parse("sgd", "optimizer sgd\nhyper lr = 0.1\n\np -= lr * g\n")?;
/// let text = emit(&rule, Stage::Kernel, &EmitOptions::default())?;
/// assert_eq!(text, "\
/// kernel sgd f32 {
///   uniform \"-lr\"
///   stream g f32 r
///   stream p f32 rw
///
///   %0 = load g
///   %1 = load p
///   %2 = uniform 0
///   %3 = fma %0, %2, %1
///   store p, %3
/// } # 12 bytes per element
/// ");
/// # Ok::<(), updraft::Error>(())
/// ```
///
/// # Errors
/// Those of [`set`](crate::OptimizerBuilder::set) and [`build`](crate::OptimizerBuilder::build), and
/// [`Error::Codegen`] if the code generator fails.
pub fn emit(rule: &Rule, stage: Stage, options: &EmitOptions) -> Result<String, Error> {
    let mut builder = rule.optimizer().math(options.math);
    for (name, value) in &options.set {
        builder = builder.set(name, value.clone())?;
    }
    for (name, store) in &options.store {
        builder = builder.store(name, *store)?;
    }
    let optimizer = builder.build()?;
    optimizer.check_stores("", options.storage)?;
    let program = rule.program();
    match stage {
        // A rule that passed the checker has no errors, so it always has a layout.
        Stage::Ast => Ok(syntax::print(&syntax::parse(&program.file)).unwrap_or_default()),
        Stage::Program => Ok(print_program(program)),
        _ if program.kind != FileKind::Optimizer => {
            let kind = program.kind.keyword();
            let because = match program.kind {
                FileKind::Schedule => "it is evaluated".to_string(),
                _ => format!("write `use {}` in an optimizer", program.name),
            };
            let reason = format!("a {kind} has the stages ast and program only, not {}: {because}", stage.name());
            Err(Error::Codegen { rule: rule.name().to_string(), reason })
        }
        _ if !options.all => {
            text(rule, stage, options, &optimizer.facts_of(&options.shape, options.storage, options.t))
        }
        _ => {
            let mut seen: Vec<Facts> = Vec::new();
            let mut out = String::new();
            for t in steps_to_try(&optimizer) {
                let facts = optimizer.facts_of(&options.shape, options.storage, t);
                if seen.contains(&facts) {
                    continue;
                }
                let separator = if seen.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{separator}{} first at t = {t}", stage.comment());
                out += &text(rule, stage, options, &facts)?;
                seen.push(facts);
            }
            Ok(out)
        }
    }
}

/// The steps at which a condition may first have another outcome, in order.
fn steps_to_try(optimizer: &crate::Optimizer) -> Vec<u64> {
    let program = optimizer.rule().program();
    let numbers = program.nodes.iter().filter_map(|node| match node.kind {
        NodeKind::Number(x) => Some(x),
        _ => None,
    });
    let hypers = program.hypers.iter().filter_map(|hyper| optimizer.hyper(&hyper.name).ok()?.as_f64());
    let around = numbers.chain(hypers).filter(|x| (1.0..2f64.powi(53)).contains(x)).flat_map(|x| {
        let t = x as u64;
        t - 1..=t + 2
    });
    let mut steps: Vec<u64> = (1..=10_000).chain((14..=40).map(|exponent| 1 << exponent)).chain(around).collect();
    steps.sort_unstable();
    steps.dedup();
    steps.retain(|t| *t > 0);
    steps
}

/// The text of one plan.
fn text(rule: &Rule, stage: Stage, options: &EmitOptions, facts: &Facts) -> Result<String, Error> {
    let step: Step = lower(rule.program(), facts);
    if stage == Stage::Step {
        return Ok(step.to_string());
    }
    let plan = plan(&step);
    if stage == Stage::Plan {
        return Ok(plan.to_string());
    }
    let comment = stage.comment();
    let mut out = facts.text(rule.program()).lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "{comment}{}", line.strip_prefix('#').unwrap_or(line));
        out
    });
    if plan.sweeps().next().is_none() {
        let _ = writeln!(out, "{comment} no sweep: this plan leaves every element as it is");
    }
    for (index, sweep) in plan.sweeps().enumerate() {
        let separator = if index == 0 { "" } else { "\n" };
        let kernel = kernel_text(stage, options, &sweep.kernel).map_err(|reason| {
            let rule = rule.name().to_string();
            Error::Codegen { rule, reason }
        })?;
        let _ = writeln!(out, "{separator}{}", kernel.trim_end_matches('\n'));
    }
    Ok(out)
}

#[cfg(feature = "jit")]
fn kernel_text(stage: Stage, options: &EmitOptions, kernel: &crate::ir::Kernel) -> Result<String, String> {
    let target = Target { isa: options.isa, lanes: options.lanes };
    match stage {
        Stage::Clif => backend(target.isa).text(kernel, target, Text::Clif).map_err(|error| error.to_string()),
        Stage::Asm => backend(target.isa).text(kernel, target, Text::Asm).map_err(|error| error.to_string()),
        _ => Ok(print_kernel(kernel)),
    }
}

#[cfg(not(feature = "jit"))]
fn kernel_text(_: Stage, _: &EmitOptions, kernel: &crate::ir::Kernel) -> Result<String, String> {
    Ok(print_kernel(kernel))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCH: &str = "optimizer switch
hyper lr = 0.1 in [0, inf)
hyper late = 20000 in [0, inf)
input boost = 1

if boost > 0 { g *= boost }
if t == 1 { g *= 2 }
if t > late { p -= lr * g } else { p += lr * g }
";

    fn switch(stage: Stage, options: &EmitOptions) -> String {
        emit(&Rule::parse("switch", SWITCH).unwrap(), stage, options).unwrap()
    }

    #[test]
    fn every_text_begins_with_the_conditions() {
        for &stage in &Stage::ALL[2..] {
            let text = switch(stage, &EmitOptions::default());
            let c = stage.comment();
            let expected = format!("{c} boost > 0: true\n{c} t == 1: false\n{c} t > late: false\n");
            assert!(text.starts_with(&expected), "{text}");
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{}", stage.name());
        }
    }

    #[test]
    fn options_decide() {
        let options = EmitOptions { t: 1, set: vec![("late".into(), 0.0.into())], ..EmitOptions::default() };
        let text = switch(Stage::Step, &options);
        assert!(text.contains("# t == 1: true\n# t > late: true\n"), "{text}");
        let options = EmitOptions { storage: Storage::F64, math: Math::Strict, ..options };
        assert!(switch(Stage::Plan, &options).contains("plan switch f64 strict\n"));
        let error = emit(
            &Rule::parse("switch", SWITCH).unwrap(),
            Stage::Ast,
            &EmitOptions { set: vec![("lat".into(), 1.0.into())], ..EmitOptions::default() },
        );
        assert!(matches!(error, Err(Error::UnknownHyper { .. })));
    }

    #[test]
    fn all_finds_the_plans_of_late_steps() {
        let all = EmitOptions { all: true, ..EmitOptions::default() };
        let text = switch(Stage::Kernel, &all);
        let firsts: Vec<&str> = text.lines().filter(|line| line.contains("first at")).collect();
        // The hyper `late` is 20000.
        assert_eq!(firsts, ["# first at t = 1", "# first at t = 2", "# first at t = 20001"]);
    }

    #[test]
    fn shapes_decide() {
        let text = "optimizer shaped\n\nif rank >= 2 and cols > 64 { p -= mean(g per row) } else { p -= g }\n";
        let rule = Rule::parse("shaped", text).unwrap();
        let holds = |shape: Vec<usize>| {
            let options = EmitOptions { shape, ..EmitOptions::default() };
            emit(&rule, Stage::Plan, &options).unwrap().starts_with("# rank >= 2 and cols > 64: true\n")
        };
        assert!(holds(vec![2, 65]) && !holds(vec![65, 2]) && !holds(vec![65]) && !holds(vec![]));
    }

    #[test]
    fn kernels_parse_back() {
        let text = switch(Stage::Kernel, &EmitOptions::default());
        let kernel = crate::ir::parse_kernel(&text).unwrap();
        assert!(text.ends_with(&print_kernel(&kernel)));
    }
}
