//! Every engine gives the bits of the oracle, for rules with reductions that nobody wrote.
//!
//! `eval_steps` runs the lowered steps of a whole model on whole arrays; it is the oracle of the planner and of the
//! runtime's phases. The evaluator of kernels, one-lane and SIMD machine code follow. All are compared after every step,
//! for several tensors of different shapes and of both types at once, in two groups, some of which miss a step.

mod engines;
#[path = "../generate/mod.rs"]
mod generate;
mod oracle;
mod plans;

use engines::{compare, stores};
use generate::Random;
use generate::reductions::{Axes, GenRule, rule};
use oracle::Place;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use updraft::check::program::{Extent, Node, NodeKind, Program, Stmt, StmtKind};
use updraft::{Math, Rule, Storage};

/// Shapes of any rank; of values that need axes, those from the first on with two.
const SHAPES: [&[usize]; 20] = [
    &[],
    &[0],
    &[1],
    &[7],
    &[1030],
    &[2051],
    &[1, 1],
    &[3, 5],
    &[5, 3],
    &[4, 16],
    &[0, 4],
    &[5, 0],
    &[40, 33],
    &[130, 17],
    &[3, 700],
    &[2, 3, 5],
    &[2, 0, 3],
    &[2, 66, 3],
    &[2, 3, 1, 4],
    &[3, 1, 2, 2],
];

/// The seed of the rules: `UPDRAFT_SEED`, else one that never changes.
fn seed() -> u64 {
    std::env::var("UPDRAFT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2_026)
}

/// A text that a failure prints with its line ends.
#[derive(Clone)]
struct Shown(String);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\n{}", self.0)
    }
}

/// Runs `test` on `cases` generated rules. A failure prints the smallest rule that fails, and the seed.
fn for_rules(cases: u32, salt: u64, test: impl Fn(&Rule, Axes, u64) -> Result<(), String>) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    bytes[8..16].copy_from_slice(&salt.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 16384, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy =
        (rule(), any::<u64>()).prop_map(|(rule, values): (GenRule, u64)| (Shown(rule.text()), rule.axes, values));
    let result = runner.run(&strategy, |(Shown(text), axes, values)| {
        let rule = Rule::parse("generated", &text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        test(&rule, axes, values).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("UPDRAFT_SEED={} (of this test: {salt})\n{error}", seed());
    }
}

/// A model for a rule: tensors of the shapes that it can take.
fn places(axes: Axes, random: &mut Random) -> Vec<Place> {
    let shapes = if axes == Axes::Two { &SHAPES[6..] } else { &SHAPES[..] };
    let place = |index: usize, random: &mut Random| {
        let group = random.below(2);
        let storage = if random.once_in(3) { Storage::F64 } else { Storage::F32 };
        Place {
            name: format!("{}.{index}", ["rest", "own"][group]),
            shape: random.pick(shapes).to_vec(),
            storage,
            grad: storage,
            group,
            offset: random.below(4),
        }
    };
    (0..4).map(|index| place(index, random)).collect()
}

/// Whether a rule lets tensors or groups skip a step on their own.
fn skips_apart(rule: &Rule) -> bool {
    fn skips(program: &Program, stmts: &[Stmt], around: Extent) -> bool {
        stmts.iter().any(|stmt| match &stmt.kind {
            StmtKind::Skip(cond) => around.join(program.node(*cond).extent) != Extent::Model,
            StmtKind::If(_, then, otherwise) => {
                skips(program, then, Extent::Tensor) || skips(program, otherwise, Extent::Tensor)
            }
            _ => false,
        })
    }
    skips(rule.program(), &rule.program().body, Extent::Model)
}

/// Whether a rule reduces a scalar of groups. The value is the group's, so whether it counts when all of the group's tensors
/// skip the step is left open.
fn reduces_groups(rule: &Rule) -> bool {
    let program = rule.program();
    let of_group = |node: &Node| match &node.kind {
        NodeKind::Reduce(_, args, _) => args.iter().any(|arg| program.node(*arg).extent == Extent::Group),
        _ => false,
    };
    program.nodes.iter().any(of_group)
}

fn generated(cases: u32, salt: u64, math: Math) {
    for_rules(cases, salt, |rule, axes, values| {
        if skips_apart(rule) && reduces_groups(rule) {
            return Ok(());
        }
        let mut random = Random::new(values);
        let mut places = places(axes, &mut random);
        // Of its own, so that it changes none of the others.
        let stores = stores(rule, &mut places, &mut Random::new(values ^ 0x5107));
        compare(rule, (math, &stores), &places, 3, &mut random)
            .map_err(|e| format!("{}: {e}\n{places:?}\n{stores:?}", math.name()))
    });
}

// Four tests, so that they run side by side.

#[test]
fn generated_rules_as_written() {
    generated(550, 1, Math::Strict);
}

#[test]
fn more_generated_rules_as_written() {
    generated(550, 2, Math::Strict);
}

#[test]
fn generated_rules_with_fast_math() {
    generated(550, 3, Math::Fast);
}

#[test]
fn more_generated_rules_with_fast_math() {
    generated(550, 4, Math::Fast);
}

/// A generator that never reaches a form tests nothing with it.
#[test]
fn the_generator_reaches_every_form() {
    let mut seen = String::new();
    let collected = std::cell::RefCell::new(&mut seen);
    let mut bytes = [0; 32];
    bytes[0] = 9;
    let config = Config { cases: 4000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let text = rule().prop_map(|rule| rule.text());
    runner
        .run(&text, |text| {
            collected.borrow_mut().push_str(&text);
            Ok(())
        })
        .unwrap();
    // Reductions of numbers and of conditions, to every extent.
    for function in ["sum(", "mean(", "norm(", "rms(", "min(", "max(", "dot(", "any(", "all(", "count("] {
        assert!(seen.contains(function), "no generated rule has `{function}`");
    }
    for extent in ["model", "group", "matrix", "row", "col", "unit"] {
        for form in [format!(" per {extent})"), format!("let l0 per {extent} = "), format!(" per {extent} = ")] {
            assert!(seen.contains(&form), "no generated rule has `{form}`");
        }
    }
    for form in [
        "skip if ",
        "    skip if ",
        "report r0 = ",
        "report r1 = ",
        "uniform()",
        "normal()",
        "rademacher()",
        "old(m)",
        "old(sr)",
        "old(kg)",
        "if rank >= 2 {",
        "if rank < 2 {",
        "if rank >= 2 then",
        "cols > rows",
        "numel",
        "rows",
        "log(",
        "exp(",
        "sin(",
        "cos(",
        "tanh(",
        "sigmoid(",
        "cbrt(",
        "%",
        "centered(",
        "relative(",
        "share(",
        "greatest(",
        "noisy(",
        "across(",
        "along(",
        "(numel per ",
        "(sr per ",
        "(sc per ",
        "(sx per ",
        "(su",
        "per row per ",
        "let q",
        "if q",
        "state kt per tensor = norm(p",
        "} else {",
        "sr += ",
        "sc = ",
        "su = ",
        "sx = ",
        "kg = ",
        "km = ",
        "clamp(",
        "lerp(",
        "fma(",
        "isfinite(",
    ] {
        // Of two reductions one within the other the inner one ends with ` per E)`; then the outer one says its own.
        let form = form.replace("per row per ", "per row) per ");
        assert!(seen.contains(&form), "no generated rule has `{form}`");
    }
}
