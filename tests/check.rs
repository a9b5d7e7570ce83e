//! The checker, from the outside: what it accepts and rejects, what its lints know, and input made to break it.

#[path = "generate/rule.rs"]
mod generate;
mod sources;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sources::Random;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use updraft::check::program::{NodeKind, Reduction};
use updraft::check::{Checked, check, check_with, expression_text, print_program};
use updraft::diagnostic::{Color, render_all};
use updraft::ir::{Facts, Math, Outcome, Storage, lower, lower_conditions, lower_init};
use updraft::library::{Library, Shipped};
use updraft::syntax::ast::FileKind;
use updraft::{Code, Diagnostic, Schedule, SourceFile, syntax};

fn run(text: &str) -> Result<Checked, Vec<Diagnostic>> {
    check(&syntax::parse(&SourceFile::new("sample.opt", text)))
}

fn rule(body: &str) -> String {
    format!("optimizer sample\nhyper lr = 0.5 in [0, inf)\n{body}")
}

/// The codes of everything that is said about a rule with the hyper `lr`.
fn codes(body: &str) -> Vec<&'static str> {
    let found = run(&rule(body)).map_or_else(|errors| errors, |checked| checked.lints);
    found.iter().map(|d| d.code.slug()).collect()
}

/// The statements of the printed program of a rule with the hyper `lr` that has no errors.
fn statements(body: &str) -> String {
    let file = SourceFile::new("sample.opt", rule(body));
    match check(&syntax::parse(&file)) {
        Ok(checked) => print_program(&checked.program).split_once("\n\n").unwrap().1.trim_end().to_string(),
        Err(errors) => panic!("{}", render_all(&file, &errors, Color::Never)),
    }
}

/// Runs on a stack of 2 MiB, as threads have it, whatever the test runner was started with.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}

/// Checks a text and, if it is a rule, does what later stages do: all that is asked for is that it comes to an end.
fn survives(text: &str) -> bool {
    let after = |keyword: &str| text.split_once(keyword).and_then(|(_, rest)| rest.split_whitespace().next());
    let name = after("optimizer ").or_else(|| after("schedule ")).unwrap_or("sample");
    let file = SourceFile::new(format!("{name}.opt"), text);
    match check(&syntax::parse(&file)) {
        Ok(checked) => {
            let program = Arc::new(checked.program);
            assert!(!print_program(&program).is_empty());
            if program.kind == FileKind::Schedule {
                let schedule = Schedule::parse(name, text).unwrap();
                if let Ok(mut run) = schedule.run() {
                    for observed in [&[][..], &[("metric", 1.0), ("loss", f64::NAN)], &[]] {
                        let _ = run.next(0.5, observed);
                    }
                }
                return true;
            }
            lower_conditions(&program, Storage::F32);
            for outcome in [Outcome::False, Outcome::True] {
                for math in [Math::Strict, Math::Fast] {
                    let outcomes = vec![outcome; program.conditions.len()];
                    let facts = Facts::new(Storage::F32, math, outcomes);
                    updraft::plan::plan(&lower(&program, &facts));
                    for index in 0..program.states.len() {
                        lower_init(&program, updraft::check::program::StateId(index as u32), &facts);
                    }
                }
            }
            true
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            render_all(&file, &errors[..errors.len().min(3)], Color::Never);
            false
        }
    }
}

// What is accepted. -------------------------------------------------------------------------------------------------

#[test]
fn rules_are_accepted() {
    for body in [
        // A `def` may be a condition, and have no parameters.
        "def up(x) = x > 0\ndef big() = lr > 1\nif up(g) and not big() { p -= lr * g }\n",
        "def up(x) = x > 0\np -= if up(lr) then g else p\n",
        // A local of a block ends with it; its name may be declared again.
        "if lr > 1 {\n    let x = g\n    p -= x\n} else {\n    let x = 2*g\n    p -= x\n}\nlet x = lr\np -= x*g\n",
        // Conditions are values.
        "let c = g > 0\nlet d = if lr > 1 then c else lr > 0\nif d or c { p -= lr * g }\n",
        "let c per element = lr > 0\nif c { p -= g }\n",
        "let c = lr > 0\nif t > 2 and c { p -= g }\nif g > 0 and c or not c { p += g }\n",
        "let c = if g > 0 then lr > 1 else m > 0\nm = g\nif c { p -= m }\n",
        // A scalar condition inside a condition of elements around scalars only.
        "if lr > 0 {\n    if g > 0 and lr > 1 {\n        let s = lr\n        p -= s * g\n    }\n}\n",
        // A scalar local of a block under a condition of elements belongs to that block.
        "if g > 0 {\n    let s = lr\n    s = 2*s\n    p -= s*g\n}\n",
        // Lists and modes are scalar code; their conditions select plans.
        "hyper xs = [30, 60]\np -= lr * prod(xs, count(xs <= t)) * xs[t % len(xs)] * g\n",
        "hyper shape = one of g | abs | rms\nif shape == abs { p -= abs(g) } else if shape != rms { p -= lr*g }\n",
        "hyper shape = one of a | b\np -= if shape == b or not (shape == a) then g else if g > 0 and shape == a then lr else p\n",
        "hyper xs = []\nif increasing(xs) and len(xs) == 0 or count(xs > t) > 1 { p -= lr*g }\n",
        "hyper xs = [1] in (0, inf) fixed\ndef at(i) = xs[i]\nlet c = at(t) > 1\nif c and g > at(0) { p -= lr*g }\n",
        "input loss\ninput scale = 2\nif given(loss) { p -= loss*g } else { p -= if given(scale) then scale*g else lr }\n",
        "hyper xs = [1, 4]\nhyper n = count(xs <= 3) in 0..\nrequire len(xs) > 1, \"two\"\nstate w = xs[0]\nw += g\np -= lr * n * w\n",
        // Reductions, of every extent and of conditions; `min`, `max` and `count` are also something else.
        "let r = mean(g^2 per row)\nlet c = max(abs(g) per col)\nlet u = norm(g per unit)\nlet b = sum(r per matrix)\n\
         p -= lr * g * r * c * u * b * min(max(g), mean(b)) * count(g > 0) * dot(g, lr per row) * mean(g > 0 per model)\n",
        "state r per row = mean(p^2 per row)\nstate n per model = norm(p per model)\nr = lerp(r, mean(g^2 per row), 0.1)\n\
         n = max(n, max(t per model) + sum(lr per model))\np -= n * g / (sqrt(r) + 1)\n",
        "hyper xs = [1, 2]\nlet n = count(xs <= t) + count(g > t) + count(t > 2 per group)\np -= lr * n * g\n",
        "def size(x) = sqrt(mean(x^2))\ndef rows_of(x) = max(x per row)\np -= lr * g / (size(g) + 1) * rows_of(abs(g)) * size(t*g)\n",
        // An argument is reduced before the body asks.
        "def shrunk(x, n) = if x > 0 then x / n else x\np -= lr * shrunk(g, norm(g) + 1)\n",
        // Elements have every function of one and two numbers.
        "p -= lr * tanh(exp(g) * g^0.5 * abs(g)^lr * 2^g * g^65) + log(abs(g) + 1) * sigmoid(cbrt(g)) * sin(g) * cos(p)\n",
        // Late conditions.
        "if norm(g per model) > 1 { g /= norm(g per model) }\nif any(g != g) or t > 3 { g = 0 }\np -= if rms(g) > lr then g else lr\n",
        // What a step does beside the update.
        "skip if not (sum(g) < inf)\nif t > 2 { skip if lr == 0 }\np -= lr * g\nreport size = norm(p)\nview twice = 2 * p * norm(p)\n",
        "input mask per element\ndef noisy(x) = x + lr * normal()\nif given(mask) { g *= mask }\np -= lr * noisy(g) * rademacher() * uniform()\n",
        "let x = (lr\n  + 1)\np -= x * g * 2^-3 * lr^64 * t^0.5 * (-lr)^2 * 2^lr^t\n",
        // An interval may hold one number.
        "hyper one = 1 in [1, 1]\nhyper two = 2 in 2..2\np -= lr * one * two * g\n",
    ] {
        let body = if body.contains("m ") { format!("state m = 0\n{body}") } else { body.to_string() };
        assert_eq!(codes(&body), [""; 0], "{body}");
        assert!(survives(&rule(&body)), "{body}");
    }
}

#[test]
fn names_are_the_same_in_either_normal_form() {
    let rule = "optimizer e\u{301}te\u{301}\nhyper \u{e9} = 1\np -= e\u{301} * g\n";
    for name in ["\u{e9}t\u{e9}.opt", "e\u{301}te\u{301}.opt"] {
        assert!(check(&syntax::parse(&SourceFile::new(name, rule))).is_ok(), "{name}");
    }
    assert_eq!(codes("hyper e\u{301} = 1\nhyper \u{e9} = 2\np -= \u{e9} * g\n"), ["duplicate-name"]);
}

// What is rejected, once. -------------------------------------------------------------------------------------------

#[test]
fn one_mistake_is_one_error() {
    for (body, code) in [
        ("state m = 0\ndef f(m) = m*m\nm += g\np -= f(m)\n", "duplicate-name"),
        ("state g = 0\ng += p\np -= lr * g * old(g)\n", "reserved-name"),
        ("hyper max = 1\np -= max(g, lr) * max\n", "reserved-name"),
        ("let a = lr\nlet a = g\na += g\np -= a\n", "duplicate-name"),
        ("if lr > 0 {\n    state m = 0\n}\nm = g\np -= m\n", "misplaced-declaration"),
        ("p -= scale * g\nhyper scale = 1\n", "misplaced-declaration"),
        ("hyper a = 0.5 in (1, 0)\np -= a * g\n", "empty-interval"),
        ("hyper n = 1 in 3..2\np -= n * g\n", "empty-interval"),
        ("def a(x) = b(x)\ndef b(x) = a(x)\np -= a(g) * b(g)\n", "recursive-def"),
        ("def size(x) = norm(x)\np -= size(lr) + size(lr + 1) + g * size(g)\n", "nothing-to-reduce"),
        ("def up(x) = if x > 0 then max(x) else x\np -= lr * up(g)\n", "reduction-under-condition"),
        ("state s per tensor = 0\ns += g^2\np -= lr * g * s\n", "extent-grows"),
        ("let s per col = mean(g per row)\np -= lr * g * s\n", "extent-grows"),
        ("state n per model = 0\nif t > 1 { n += 1 }\np -= lr * g * n\n", "extent-grows"),
        ("let d = if norm(g) > 1 then g % 2 else g\np -= lr * d\n", "scalar-only"),
        ("p -= lr * sqrt(g per row)\n", "not-a-reduction"),
        ("p -= lr * min(g, p per layer)\n", "not-a-reduction"),
        ("p -= lr * sum(g per layer)\n", "unknown-extent"),
        ("p -= lr * sum(g > 0)\n", "not-a-number"),
        ("p -= lr * any(g)\n", "not-a-condition"),
        ("if norm(g) > 1 {\n    skip if t < 10\n}\np -= lr * g\n", "misplaced-statement"),
        ("if t > 1 { p -= lr * g }\nskip if t > 2\n", "misplaced-statement"),
        ("if t > 1 { report x = lr }\np -= lr * g\n", "misplaced-statement"),
        ("p -= lr * g\nview x = g\n", "not-allowed-here"),
        ("state m = normal()\nm = g\np -= lr * m\n", "not-allowed-here"),
        ("p -= lr * g\nreport x = lr\nreport x = t\n", "duplicate-name"),
        ("input mask per row\np -= lr * g * mask\n", "not-allowed-here"),
        ("input mask per element = 1\np -= lr * g * mask\n", "not-allowed-here"),
        ("m = g\np -= m\n", "unknown-name"),
        ("hyper f = true\np -= if f == true then lr else g\n", "not-a-number"),
        ("hyper a = epsilon\np -= a * g\n", "not-allowed-here"),
        ("hyper a = log(-1)\np -= a * g\n", "default-out-of-interval"),
        ("p -= lr * g^1e999\n", "literal-out-of-range"),
        ("hyper xs = [1, lr]\np -= xs[0] * len(xs) * g\n", "not-allowed-here"),
        ("hyper xs = [1, 2]\np -= xs * g\n", "not-a-number"),
        ("hyper xs = [1, 2]\np -= count(xs < g) * g\n", "scalar-only"),
        ("hyper form = one of a | b\nif form == c { p -= g } else { p -= lr * g }\n", "unknown-name"),
        ("hyper form = one of a | a\nif form == a { p -= g } else { p -= lr * g }\n", "duplicate-name"),
        ("hyper form = one of a | b\nif form { p -= g } else { p -= lr * g }\n", "not-a-number"),
        ("if given(lr) { p -= g } else { p -= lr * g }\n", "not-allowed-here"),
        ("p -= lr * cosine(at = t) * g\n", "unknown-function"),
        ("p -= base * g\n", "unknown-name"),
        ("let x = g\ndef f(y) = if lr > 0 then x else y\np -= f(g)\n", "not-allowed-here"),
    ] {
        let mut found = codes(body);
        // That a declaration stands below the statements is a mistake of its own.
        if body.starts_with("let x = g\ndef") {
            found.retain(|code| *code != "misplaced-declaration");
        }
        assert_eq!(found, [code], "{body}");
    }
}

// Reductions. -------------------------------------------------------------------------------------------------------

/// For each reduction of the statements of a rule with the hyper `lr`, per what it is and the phase in which it is known.
fn reductions(body: &str) -> String {
    let checked = run(&rule(body)).unwrap_or_else(|errors| panic!("{body}{errors:?}"));
    let of = |reduction: &Reduction| format!("{} {}", reduction.to.name(), reduction.phase);
    checked.program.reductions.iter().map(of).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_reduction_of_the_model_ends_a_phase() {
    for (body, expected) in [
        ("p -= lr * g * norm(g) * max(g per row)\n", "tensor 0, row 0"),
        ("p -= lr * g * norm(g per model) * norm(g per group)\n", "model 1, group 1"),
        ("let n = norm(g per model)\ng /= n\np -= lr * g * sum(g) * sum(g per model)\n", "model 1, tensor 1, model 2"),
        (
            "let n = norm(g per model)\np -= lr * g * sum(g) * n\nlet m = old(p) - old(g)\np -= m * sum(m)\n",
            "model 1, tensor 0, tensor 0",
        ),
        // What is assigned under a condition is known when the condition is.
        ("let n = lr\nif norm(g per model) > 1 { n = 2 }\np -= g * n * sum(n per model)\n", "model 1, model 2"),
        // After two blocks, what either assigned is known when both are.
        (
            "let n = g\nif t > 1 { n = g * sum(g per model) } else if t > 2 { n = sum(g) }\np -= n * sum(n)\n",
            "model 1, tensor 0, tensor 1",
        ),
        (
            "state s per tensor = 0\np -= g * sum(g * s)\ns = sum(g per group)\np -= g * sum(g * s) * sum(old(s) * g)\n",
            "tensor 0, group 1, tensor 1, tensor 0",
        ),
        ("p -= g * max(max(t per group) per model)\n", "group 1, model 2"),
        // Each call of a `def` has its own; arguments come first.
        ("def size(x) = norm(x per model)\np -= g * size(g) * size(g * size(p))\n", "model 1, model 1, model 2"),
    ] {
        assert_eq!(reductions(body), expected, "{body}");
    }
    let phases = |body: &str| run(&rule(body)).unwrap().program.phases();
    assert_eq!(phases("p -= lr * g * norm(g)\n"), 1);
    assert_eq!(phases("g /= norm(g per model)\np -= lr * g * norm(g per model)\n"), 3);
    // First values and views are not part of a step.
    assert_eq!(
        phases("state n per model = norm(p per model)\nn += 1\np -= lr * g * n\nview x = norm(p per group)\n"),
        1
    );
}

#[test]
fn a_condition_that_reads_a_reduction_selects_values() {
    let selects = |body: &str| {
        let program = run(&rule(body)).unwrap_or_else(|errors| panic!("{body}{errors:?}")).program;
        program.conditions.iter().map(|c| expression_text(&program, c.cond)).collect::<Vec<_>>().join("; ")
    };
    for (body, plans) in [
        ("if t > 1 { p -= lr * g }\n", "t > 1"),
        ("if norm(g) > 1 { p -= lr * g }\n", ""),
        ("p -= if norm(g) > 1 and t > 2 then g else lr * p\n", ""),
        // Joined with one of elements, each scalar condition is for itself.
        ("p -= if g > 0 and t > 2 then g else lr * p\n", "t > 2"),
        ("p -= if g > 0 and any(g > 1) then g else lr * p\n", ""),
        // Through a local, a state, and what is assigned under such a condition.
        ("let n = norm(g)\nlet c = n > lr\nif c { p -= g }\n", ""),
        (
            "state s per tensor = 0\nif s > 1 { p -= g }\ns = norm(g)\nif s > lr { p -= g }\nif old(s) > 2 { p -= g }\n",
            "s > 1; old(s) > 2",
        ),
        ("let n = t\nif any(g > 1) { n = 2 }\nif n > lr { p -= g }\n", ""),
        ("let n = t\nif t > 1 { n = sum(g) }\nif n > lr { p -= g }\n", "t > 1"),
        // Within a late block, others may still select plans.
        ("if norm(g) > 1 {\n    if t > 5 { p -= lr * g }\n}\n", "t > 5"),
        // A block whose scalars need a sweep is not for every plan.
        ("let n = t\nif t > 1 { n = sum(if lr > 1 then g else p) }\np -= n * g\n", "t > 1; lr > 1"),
        ("if t > 1 { skip if lr > 2 }\np -= g\n", "t > 1"),
        // A row is no scalar, and a view has no plan.
        ("let r = mean(g per row)\nif r > lr { p -= g }\n", ""),
        ("p -= lr * g\nview x = if t > 1 then p else if lr > 0 and p > 0 then 2*p else t\n", ""),
        // The first value of a state may have a plan of its own.
        ("state m = if lr > 0 then p else 1\nm += g\np -= m\n", "lr > 0"),
        ("state m = if norm(p) > lr then p else 1\nm += g\np -= m\n", ""),
        ("if rank >= 2 { p -= lr * mean(g per row) } else { p -= g }\n", "rank >= 2"),
    ] {
        assert_eq!(selects(body), plans, "{body}");
    }
}

/// A condition around a block selects a plan if a plan without the block does less with arrays; else it is scalar code.
#[test]
fn conditions_around_scalars_select_plans_if_arrays_are_read_for_them() {
    for (block, plans) in [("let n = lr\n    s = n", 0), ("let n = norm(g)\n    s = n", 1), ("s = norm(g)", 1)] {
        let text = rule(&format!("state s per tensor = 0\nif lr > 1 {{\n    {block}\n}}\np -= s * g\n"));
        assert_eq!(run(&text).unwrap().program.conditions.len(), plans, "{block}");
    }
}

#[test]
fn draws_are_numbered_as_they_are_written() {
    let body = "def noisy(x) = x + normal()\nlet a = uniform() - uniform()\nlet b = noisy(rademacher())\np -= lr * noisy(a) * b * g\n";
    let program = run(&rule(body)).unwrap().program;
    let draws: Vec<String> = (program.nodes.iter())
        .filter_map(|node| match &node.kind {
            NodeKind::Draw(function, id) => Some(format!("{} {}", id.0, function.name())),
            _ => None,
        })
        .collect();
    assert_eq!(draws, ["0 uniform", "1 uniform", "2 rademacher", "3 normal", "4 normal"]);
    assert_eq!(program.draws, 5);
}

#[test]
fn a_program_says_per_what_everything_is() {
    let body = "state r per row = mean(p^2 per row)\nstate k per unit = 0\ninput mask per element\n\
        skip if norm(g per model) > 10\n\
        let n = norm(g)\n\
        if n > 1 { g /= n }\n\
        r = lerp(r, mean(g^2 per row), 0.1)\n\
        k = max(k, max(abs(g) per unit))\n\
        p -= lr * g / (sqrt(r) + k + 1) * mask * (1 + normal()) * dot(g, p)\n\
        report size = n / numel  # of the gradient\n\
        view averaged = p * rms(p per col)\n";
    let program = run(&rule(body)).unwrap().program;
    insta::assert_snapshot!(print_program(&program));
}

// Lints. ------------------------------------------------------------------------------------------------------------

/// A rule with states m, v, w and a divisor `d`, around the line that matters.
fn lints_of(update: &str, root: &str) -> Vec<&'static str> {
    let body = format!(
        "hyper b = 0.9 in [0, 1)\nhyper eps = 1e-8 in [0, inf)\nhyper free = 1\nstate v = 0\nstate w = 0\n{update}\
         p -= lr * g / (sqrt({root}) + eps + 1)\nw += v * b * free + eps\n"
    );
    codes(&body)
}

#[test]
fn a_root_is_known_not_to_be_negative() {
    for (update, root) in [
        ("v = b*v + (1 - b)*g^2\n", "v"),
        ("v = b*v + (1 - b)*g*g\n", "v / (1 - b^t)"),
        ("v = lerp(v, g*g, 1 - b)\n", "v"),
        ("v = max(v, abs(g))\n", "v"),
        ("v = max(v - g, 0)\n", "v"),
        ("v -= g\nv = max(v, 0)\n", "v"),
        ("v = clamp(v + g, 0, 1)\n", "v"),
        ("if lr > 1 {\n    v = g^2\n} else {\n    v += abs(g)\n}\n", "v"),
        ("if g > 1 {\n    v = g^2\n}\n", "old(v)"),
        ("let x = -g\nx = x*x\nv += x\n", "x + v"),
        ("v = v / (1 + eps) + sqrt(v)\n", "v"),
        ("v += fma(g, g, eps)\n", "v"),
        ("v += (g + p)*(g + p) + (2*g - v)^2\n", "v"),
        ("v += abs(g)\n", "if g > 0 then v else g^2"),
        ("v += g^-2\n", "v * eps"),
        ("v += abs(g)\n", "v^0.5 * lr^t * exp(lr) * sigmoid(lr)"),
        ("v += abs(g)\n", "max(g - v, 0) + min(v, 1)"),
        ("v += 1 - sign(g)\n", "v"),
        ("v += (if g > 0 then 1 else 2)\n", "v"),
        ("v += g^2\n", "0.6 - sigmoid(0) + v"),
        ("v += abs(g)\n", "(abs(g) + 1)^2 - 1"),
        // A comparison with NaN is false.
        ("v += abs(g)\n", "if inf - inf > g then -1 else v"),
    ] {
        assert_eq!(lints_of(update, root), [""; 0], "{update} {root}");
    }
}

#[test]
fn a_root_may_be_negative() {
    for (update, root) in [
        ("v = b*v + g\n", "v"),
        ("v = b*v + (1 - 2*b)*g^2\n", "v"),
        ("v = b*v - (1 - b)*g^2\n", "v"),
        ("v = free*v + g^2\n", "v"),
        ("v = lerp(v, g, b)\n", "v"),
        ("v = lerp(v, g^2, 2*b)\n", "v"),
        ("v = min(v, g)\n", "v"),
        ("if lr > 1 {\n    v = g^2\n} else {\n    v = g\n}\n", "v"),
        ("if g > 1 {\n    v = -v\n    v -= 1\n}\n", "v"),
        ("v += g^2\n", "v - g^2"),
        ("v += g^2\n", "v*g"),
        ("v += g^3\n", "v"),
        ("let x = g\nx = -x\nv += x*g\n", "v"),
        ("v += sign(g)\n", "v"),
        ("v += g^2\n", "clamp(v, -1, 1) - 1"),
        ("v += g^2\n", "g^3 * g^2"),
        ("v += g^2\n", "tanh(g) * sin(g)"),
        ("v += g^2\n", "1 - g / p"),
        ("v += g^2\n", "if g == p then -1 else 1"),
        ("v += g^2\n", "1 - sum(g per row)"),
        ("v += g^2\n", "1 - dot(g, p per row)"),
        // Any mode may be set.
        ("hyper k = one of safe | raw\nv += g^2\n", "if k == raw then g else v"),
    ] {
        assert_eq!(lints_of(update, root), ["sqrt-of-negative"], "{update} {root}");
    }
}

#[test]
fn zero_over_zero_is_found_where_it_is() {
    let state = "state v = 0\nhyper eps = 0 in [0, inf)\nhyper b = 0.9 in [0, 1)\nv = b*v + (1 - b)*g^2\n";
    for (divide, is) in [
        ("g / sqrt(v)", true),
        ("g / (sqrt(v) + eps)", true),
        ("g / (sqrt(v) + 1e-8)", false),
        ("g * rsqrt(v)", true),
        ("g * rsqrt(v + 1e-8)", false),
        ("(g + p) / sqrt(v)", false),
        ("(g + 1) / sqrt(v)", false),
        ("(if v > 0 then g / v else 0)", false),
        ("(if v == 0 then 0 else g / v)", false),
        ("(if v >= 0 then g / v else 0)", true),
        ("g / (1 - b^t)", false),
        ("g / (1 - b^(t - 1))", true),
        ("g / max(v, 1)", false),
        ("g / abs(g)", true),
        ("g / (g / g)", true),
        ("old(g) / (t - 1)", true),
        ("sign(g) / clamp(v, 0, 1)", true),
        ("g / norm(g)", true),
        ("g / rms(v)", true),
        ("g / sqrt(mean(g^2 per row))", true),
        ("g / (norm(g per model) + 1e-8)", false),
        ("g / norm(g - p)", false),
        ("(if any(g != 0) then g / norm(g) else 0)", false),
        ("(if all(g == 0) then g / dot(g, p) else 0)", true),
    ] {
        let mut found = codes(&format!("{state}p -= lr * ({divide})\n"));
        found.retain(|code| *code != "unused-hyper");
        assert_eq!(found.contains(&"zero-over-zero"), is, "{divide}: {found:?}");
        assert!(found.len() <= 1, "{divide}: {found:?}");
    }
    let skipped =
        |cond: &str| format!("{state}skip if {cond}\np -= lr * g / norm(g)\n").replace("v = b*v + (1 - b)*g^2\n", "");
    assert!(!codes(&skipped("norm(g) == 0")).contains(&"zero-over-zero"));
    assert!(codes(&skipped("norm(g) > 1")).contains(&"zero-over-zero"));
    let guarded = format!("{state}if v > 0 {{\n    p -= lr * g / sqrt(v)\n}}\nif t > 1 {{ p -= g / v }}\n");
    assert_eq!(codes(&guarded), ["unused-hyper"]);
    // The first mode is the default.
    let by_mode = |mode: &str| {
        format!("hyper k = one of safe | raw\n{state}if k == {mode} {{ p -= lr * g / (sqrt(v) + eps) }}\n")
    };
    assert_eq!(codes(&by_mode("safe")), ["zero-over-zero"]);
    assert_eq!(codes(&by_mode("raw")), [""; 0]);
    // So is the list that is written.
    let by_length =
        |length: u32| format!("hyper xs = [1, 2]\n{state}if len(xs) == {length} {{ p -= lr * g / (sqrt(v) + eps) }}\n");
    assert_eq!(codes(&by_length(2)), ["zero-over-zero"]);
    assert_eq!(codes(&by_length(0)), [""; 0]);
}

#[test]
fn values_that_nothing_reads_are_found() {
    for (body, lints) in [
        ("state m = 0\nm = g\nm = lerp(old(m), g, 0.1)\np -= lr * m\n", &["unused-value"][..]),
        ("let x = g\nif lr > 1 {\n    x = 2*g\n}\np -= x\n", &[]),
        ("let x = g\nif lr > 1 {\n    x = 2*g\n} else {\n    x = 3*g\n}\np -= x\n", &["unused-value"]),
        ("p -= lr * g\ng = 0\n", &["unused-value"]),
        ("p -= lr * g\np = old(p) - g\n", &["unused-value"]),
        ("let c = g > 0\nlet d = lr > 0\nif c and d { p -= lr * g }\n", &[]),
        ("state m = 0\nm = g\np -= lr * g\n", &["unused-state"]),
    ] {
        assert_eq!(codes(body), lints, "{body}");
    }
}

// Limits. -----------------------------------------------------------------------------------------------------------

/// Checks a hostile text within a time that only a wrong order of growth exceeds.
fn quickly(what: &str, text: &str) -> Vec<Code> {
    let start = Instant::now();
    let found = run(text).map_or_else(|errors| errors, |checked| checked.lints);
    assert!(start.elapsed() < Duration::from_secs(10), "{what} took {:?}", start.elapsed());
    let mut codes: Vec<Code> = found.iter().map(|d| d.code).collect();
    codes.dedup();
    codes
}

#[test]
fn hostile_rules_are_judged_quickly() {
    on_a_small_stack(|| {
        let nested =
            |f: &str, x: &str, depth: usize| format!("{}{x}{}", format!("{f}(").repeat(depth), ")".repeat(depth));
        let doubling = "def s(y) = y*y\n";
        let s60 = nested("s", "lr", 60);
        let chains: String = (0..64).map(|_| "} else if t > 1 {\n").collect();
        let chain = chains.trim_start_matches("} else ").to_string();
        let deep = format!("{}p -= g\n{}", chain.repeat(60), "}\n".repeat(60));
        let defs: String = (1..6000).map(|i| format!("def a{i}(x) = a{}(x)\n", i - 1)).collect();
        let wide: String = (1..3000).map(|i| format!("def b{i}(x) = a(x)\n")).collect();
        let body = "x+".repeat(4000);
        let backwards: String = (1..8000).map(|i| format!("def a{i}(x) = a{}(x)\n", i + 1)).collect();
        let flags: String = (0..250).map(|i| format!("hyper f{i} = true\n")).collect();
        let conditions: String = (0..4000).map(|i| format!("if f{} or f{} {{ p = g }}\n", i % 250, i / 16)).collect();
        let factors = "(g*p*lr*t)".to_string();
        let powers = format!("{}{factors}{}", "(".repeat(60), "^64)".repeat(60));
        let max: Vec<Code> = vec![Code::TooManyOperations];
        let cases: Vec<(&str, String, Option<Vec<Code>>)> = vec![
            ("a shared argument", format!("{doubling}if {s60} > 1 {{ p -= g }}\n"), Some(max.clone())),
            (
                "squares of shared arguments",
                format!("{doubling}p -= sqrt({}*{})\n", nested("s", "g", 30), nested("s", "g", 30)),
                Some(max.clone()),
            ),
            (
                "s in s",
                format!(
                    "{doubling}{}p -= s40(g)\n",
                    (1..41)
                        .map(|i| format!(
                            "def s{i}(y) = s{}(y)*s{}(y)\n",
                            if i == 1 { String::new() } else { (i - 1).to_string() },
                            if i == 1 { String::new() } else { (i - 1).to_string() }
                        ))
                        .collect::<String>()
                ),
                Some(max.clone()),
            ),
            ("else-ifs in else-ifs", deep, Some(vec![Code::NestingTooDeep])),
            ("a long chain of defs", format!("def a0(x) = x\n{defs}p -= a5999(g)\n"), Some(max.clone())),
            ("many long defs", format!("def a(x) = {body}x\n{wide}p -= a(g)\n"), Some(max.clone())),
            ("calls of what is declared below", format!("{backwards}p -= a1(g)\n"), None),
            ("many conditions", format!("{flags}{conditions}"), None),
            ("powers of products", format!("p -= {powers}\n"), Some(max.clone())),
            ("a power of a long product", format!("p -= ({}g)^64\n", "g*".repeat(100)), Some(max.clone())),
            ("4096 operations", format!("p -= {}lr\n", "g + ".repeat(4094)), Some(vec![])),
            ("4097 operations", format!("p -= {}lr\n", "g + ".repeat(4095)), Some(max.clone())),
            (
                "ten thousand hypers",
                (0..10_000).map(|i| format!("hyper h{i} = 1\n")).collect::<String>() + "p -= lr*g\n",
                Some(vec![Code::TooManyNames]),
            ),
            ("ten thousand statements", "p = g\n".repeat(10_000), Some(max.clone())),
            (
                "thousands of locals",
                (0..6_000).map(|i| format!("let l{i} = g\nif lr > 0 {{ p -= l{i} }}\n")).collect(),
                Some(max.clone()),
            ),
            (
                "ten thousand inputs",
                (0..15_000).map(|i| format!("input i{i}\n")).collect::<String>() + "p -= lr*g\n",
                Some(vec![Code::TooManyNames]),
            ),
            (
                "thousands of lints and allows",
                (0..2_000).map(|i| format!("let l{i} = g  # allow(unused-value): one\n")).collect::<String>()
                    + "p -= lr*g\n",
                Some(vec![]),
            ),
            ("many mistakes", "p -= x\n".repeat(10_000), Some(vec![Code::UnknownName])),
            ("huge exponents", "p -= lr^99999999999999 * g + (1 + lr^-1e308) * p\n".into(), Some(vec![])),
            (
                "unused arguments",
                format!(
                    "def f({}) = x0\ndef f0(y) = f({})\np -= f0(g)\n",
                    (0..1000).map(|i| format!("x{i}")).collect::<Vec<_>>().join(", "),
                    vec!["y*y"; 1000].join(", ")
                ),
                None,
            ),
        ];
        for (what, text, expected) in cases {
            let found = quickly(what, &rule(&text));
            if let Some(expected) = expected {
                assert_eq!(found, expected, "{what}");
            }
        }
    });
}

#[test]
fn the_largest_rules_pass_every_stage_on_a_small_stack() {
    on_a_small_stack(|| {
        let ifs = format!("{}p -= g\n{}", "if g > 0 {\n".repeat(64), "}\n".repeat(64));
        assert!(survives(&rule(&ifs)));
        let chain: String = (0..63).map(|i| format!("if t == {i} {{\n    p -= g\n}} else ")).collect();
        assert!(survives(&rule(&format!("{chain}{{\n    p += g\n}}\n"))));
        assert!(survives(&rule(&format!("p -= {}g\n", "g + ".repeat(4000)))));
        assert!(survives(&rule(&format!("p -= {}g{}\n", "(g + ".repeat(63), ")".repeat(63)))));
    });
}

// Printed programs. -------------------------------------------------------------------------------------------------

/// Programs that differ in meaning print differently.
#[test]
fn printed_programs_are_not_ambiguous() {
    let mut texts = Vec::new();
    for body in [
        "p = lr*(g*p)\n",
        "def f(x, y) = x*y\np = lr*f(g, p)\n",
        "p = lr*g*p\n",
        "p = lr^2*g\n",
        "def f(x, n) = x^n\np = f(lr, 2)*g\n",
        "def f(x) = x^2\np = f(lr)*g\n",
        "p = lr^-2*g\n",
        "p = -lr^2*g\n",
        "p = (-lr)^2*g\n",
        "p = -(lr^2*g)\n",
        "p = (-lr^2)*g*1\n",
        "p = lr^t^2*g\n",
        "p = (lr^t)^2*g\n",
        "p = lr^(-t)*g\n",
        "p = (1/lr^t)*g\n",
        "p = g - (p - lr)\n",
        "p = g - p - lr\n",
        "p = g / (p / lr)\n",
        "p = g / p / lr\n",
        "p = (if g > 0 then g else p) + 1\n",
        "p = if g > 0 then g else p + 1\n",
        "p = if (if lr > 1 then g > 0 else p > 0) then g else p\n",
        "p = if g > 0 then if lr > 1 then g else p else 2\n",
        "p = if g > 0 and (lr > 1 or p > 0) then g else 1\n",
        "p = if g > 0 and lr > 1 or p > 0 then g else 1\n",
        "p = if not (g > 0) and lr > 1 then g else 1\n",
        "p = if not (g > 0 and lr > 1) then g else 1\n",
        "let x = lr\nlet y per element = lr\np = x*g*y\n",
        "let x per element = lr\nlet y = lr\np = x*g*y\n",
    ] {
        texts.push((statements(body), body));
    }
    for (i, (text, body)) in texts.iter().enumerate() {
        for (other, another) in &texts[..i] {
            assert_ne!(text, other, "{body}{another}");
        }
    }
    assert_eq!(statements("def f(x, n) = x^n\np = g*f(lr, 2)\n"), "p = g*[lr^[2]]");
    assert_eq!(
        statements("def f(x) = 2*x\ndef h(x) = f(f(x + 1))\np = lr*h(g)\n"),
        "p = lr*[[2*[[2*[g + 1]]]]]".replace("[[2*[[2*", "[2*[2*").replace("]]]]]", "]]]")
    );
    assert_eq!(statements("if lr > 1 { p -= g }\n"), "if lr > 1 {  # selects the plan\n    p = p - g\n}");
}

fn generated(count: usize) -> Vec<String> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = generate::rule();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current().text()).collect()
}

/// The printed program of a rule called `generated` that must have no errors.
fn program(text: &str) -> String {
    let file = SourceFile::new("generated.opt", text);
    match check(&syntax::parse(&file)) {
        Ok(checked) => print_program(&checked.program),
        Err(errors) => panic!("{}\n{text}", render_all(&file, &errors, Color::Never)),
    }
}

#[test]
fn formatting_changes_no_program() {
    for text in generated(500) {
        let print = |text: &str| syntax::print(&syntax::parse(&SourceFile::new("generated.opt", text))).unwrap();
        let printed = print(&text);
        assert_eq!(print(&printed), printed);
        assert_eq!(program(&printed), program(&text), "{text}\n----\n{printed}");
    }
}

// Schedules. --------------------------------------------------------------------------------------------------------

/// Schedules in memory, then the shipped ones.
#[derive(Default)]
struct Files {
    bodies: BTreeMap<String, String>,
    /// How often one was asked for.
    found: Cell<usize>,
}

impl Files {
    fn new<'a>(bodies: impl IntoIterator<Item = (&'a str, &'a str)>) -> Files {
        Files { bodies: bodies.into_iter().map(|(a, b)| (a.into(), b.into())).collect(), found: Cell::new(0) }
    }
}

impl Library for Files {
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile> {
        self.found.set(self.found.get() + 1);
        match self.bodies.get(stem) {
            Some(body) => Some(SourceFile::new(format!("{stem}.sched"), format!("schedule {stem}\n{body}"))),
            None => Shipped.find(kind, stem),
        }
    }

    fn stems(&self, kind: FileKind) -> Vec<String> {
        self.bodies.keys().cloned().chain(Shipped.stems(kind)).collect()
    }
}

fn schedule(files: &Files, body: &str) -> Result<Checked, Vec<Diagnostic>> {
    let file = SourceFile::new("sample.sched", format!("schedule sample\n{body}"));
    check_with(&syntax::parse(&file), files)
}

/// The codes and messages of everything that is said about a schedule.
fn said(files: &Files, body: &str) -> Vec<String> {
    let found = schedule(files, body).map_or_else(|errors| errors, |checked| checked.lints);
    found.iter().map(|d| format!("{}: {}", d.code, d.message)).collect()
}

/// What follows the declarations in the printed program of a schedule without errors, its requirements before it.
fn expansion(files: &Files, body: &str) -> String {
    match schedule(files, body) {
        Ok(checked) => {
            let text = print_program(&checked.program);
            let requires = text.lines().filter(|line| line.starts_with("require")).map(|line| format!("{line}\n"));
            requires.collect::<String>() + text.split_once("\n\n").unwrap().1.trim_end()
        }
        Err(errors) => panic!("{body}\n{errors:#?}"),
    }
}

#[test]
fn schedules_are_accepted() {
    let files = Files::default();
    for body in [
        "value = base",
        "hyper form = one of abs | if_ | cosine | exp | s | base\nvalue = if form == s or form != abs then base else 0",
        "hyper cosine = 2\nhyper form = one of cosine | linear\nvalue = if (form) == (cosine) then cosine else base",
        "hyper none = []\nvalue = base * prod(none, 3) + count(none <= s) + len(none)",
        "hyper xs = [1, -2.5, 3e2] fixed\nvalue = if increasing(xs) and len(xs) > 2 then xs[2] else xs[s % 2]",
        "hyper xs = [1]\nvalue = xs[1000000] + xs[1e300] + xs[-s] + prod(xs, -1) + prod(xs, inf) + xs[0 / 0]",
        "hyper xs = [1]\nlet n = count((xs) >= s) + count(xs == 1) + count(xs != s) + len((xs))\nvalue = base + n",
        "def cosine(x) = x / 2\nvalue = cosine(s) + cosine(base)",
        "input loss = 1\nstate m = 1\nif given(loss) and not given(loss) { m = old(m) * loss }\nvalue = m * base",
        "if s < 3 {\n    value = 1\n} else if s < 4 {\n    value = 2\n} else {\n    value = 3\n}\nvalue += value",
        "let x = if cosine() > 0.5 then step(step_size = 2) else 3\nif cosine() > x { value = x } else { value = cosine() }",
        "value = cosine(at = cosine(at = cosine(base = step(gamma = step()))), base = exponential(gamma = 1 / (s + 2)))",
    ] {
        let found = said(&files, body);
        assert!(found.is_empty(), "{body}\n{found:?}");
        assert!(survives(&format!("schedule sample\n{body}\n")), "{body}");
    }
}

#[test]
fn one_mistake_in_a_schedule_is_one_error() {
    let files = Files::new([("sound", "hyper k = 2 in [0, 9]\nvalue = k * base"), ("unsound", "value = k\nvalue = j")]);
    for (body, expected) in [
        // A broken line may have been the assignment.
        ("value == base", "unexpected-token"),
        ("value = bas", "unknown-name"),
        (
            "hyper form = one of linear | cosine in [0, 1]\nvalue = if form == linear then 1 else base",
            "not-allowed-here",
        ),
        (
            "hyper xs = [1, x]\nvalue = xs[0] + len(xs) + count(xs > s) + prod(xs, xs[1]) + multistep(milestones = xs)",
            "not-allowed-here",
        ),
        ("hyper xs = [1, 1e999]\nvalue = xs[0]", "literal-out-of-range"),
        ("let x = unsound() + 1\nlet y = x + unsound(at = 2)\nvalue = y + x", "broken-call"),
        ("let x = missing(at = s)\nvalue = x * base", "unknown-function"),
        ("let x = sound(q = s)\nvalue = x * base", "unknown-name"),
        ("let x = sound(k = 10)\nif x > 1 { value = x } else { value = base }", "default-out-of-interval"),
        ("def f(x) = sound(base = x)\nvalue = f(1) + f(2)", "not-allowed-here"),
        ("value = old(p)", "unknown-name"),
        ("value = g", "unknown-name"),
        ("value = base + t", "unknown-name"),
        ("value = base * later(s)\ndef later(x) = x", "misplaced-declaration"),
        ("value = base * sum(s)", "not-allowed-here"),
        ("value = sound(at = s per model)", "not-allowed-here"),
        ("if s < 1 { value = 1 }\nif s >= 1 { value = 2 }", "value-not-assigned"),
        ("if value > 1 { value = 1 } else { value = 2 }", "value-not-assigned"),
        ("let x = value\nvalue = x", "value-not-assigned"),
        ("", "value-not-assigned"),
    ] {
        let found = said(&files, body);
        let codes: Vec<&str> = found.iter().map(|d| d.split_once(':').unwrap().0).collect();
        assert_eq!(codes, [expected], "{body}\n{found:?}");
    }
}

#[test]
fn a_call_is_the_formula_of_the_schedule() {
    let files = Files::new([
        (
            "inner",
            "hyper k = 2 in 1..\nhyper twice = 2 * k in [0, 100)\nhyper form = one of a | b\nhyper up = false\n\
             hyper xs = [1, 2]\nrequire increasing(xs), \"up\"\nrequire k < twice or up, \"more\"\n\
             let u = s / k\nif form == b or up { value = base * u } else { value = twice + count(xs <= s) }",
        ),
        ("middle", "hyper n = 3 in 1..\nhyper kind = one of b | a\nvalue = inner(at = s + 1, k = n, form = kind)"),
    ]);
    let body = "hyper m = 4\nhyper mine = [3]\nhyper shape = one of a | b\n\
                value = inner(at = s - 1, k = m, form = shape, xs = mine)";
    insta::assert_snapshot!("call_of_a_schedule", expansion(&files, body));
    insta::assert_snapshot!("call_in_a_call", expansion(&files, "value = middle(base = 2 * base, kind = a)"));
}

#[test]
fn what_a_called_schedule_requires_is_required() {
    let sample = |body: &str| Schedule::parse("sample", &format!("schedule sample\n{body}\n")).unwrap();
    let ordered = sample("hyper xs = [1, 2]\nvalue = multistep(milestones = xs)");
    assert_eq!(ordered.value(1, 1.0).unwrap(), 0.1);
    let error = ordered.set("xs", [2.0, 1.0]).unwrap().value(1, 1.0).unwrap_err().to_string();
    assert!(error.contains("`multistep`: each milestone has to be greater than the one before"), "{error}");
    let steps = sample("hyper n = 2\nvalue = step(step_size = 2 * n)");
    assert_eq!(steps.clone().set("n", 1.5).unwrap().value(3, 1.0).unwrap(), 0.1);
    for wrong in [0.25, 0.0, -1.0, f64::INFINITY] {
        let error = steps.clone().set("n", wrong).unwrap().value(3, 1.0).unwrap_err().to_string();
        assert!(error.contains("`step_size` of `step` has to be in 1.."), "{error}");
    }
}

#[test]
fn calls_in_a_circle_or_too_deep_are_refused() {
    let deep: Vec<(String, String)> = (0..12).map(|i| (format!("a{i}"), format!("value = 1 + a{}()", i + 1))).collect();
    let mut files = Files::new(deep.iter().map(|(a, b)| (a.as_str(), b.as_str())));
    files.bodies.insert("a12".into(), "value = base".into());
    // a5 calls seven more, so it is the eighth.
    assert_eq!(said(&files, "value = a5()"), [] as [&str; 0]);
    let too_deep = ["broken-call: schedules call each other more than 8 deep"];
    assert_eq!(said(&files, "value = a4()"), too_deep);
    // However the depth is first come by.
    assert_eq!(said(&files, "value = a12() + a11() + a8() + a5()"), [] as [&str; 0]);
    assert_eq!(said(&files, "value = a12() + a5() + a4()"), too_deep);
    files.bodies.extend([
        ("a12".to_string(), "value = a0()".to_string()),
        ("x".to_string(), "value = y() + y()".to_string()),
        ("y".to_string(), "value = z()".to_string()),
        ("z".to_string(), "value = y()".to_string()),
        ("w".to_string(), "value = sample()".to_string()),
        ("rule".to_string(), String::new()),
    ]);
    assert_eq!(said(&files, "value = a0()"), too_deep);
    assert_eq!(said(&files, "value = x()"), ["broken-call: the schedule `y` calls itself through `z`"]);
    assert_eq!(said(&files, "value = w()"), ["broken-call: the schedule `sample` calls itself through `w`"]);
    assert_eq!(said(&files, "value = sample()"), ["broken-call: the schedule `sample` calls itself"]);
    assert_eq!(
        said(&files, "value = rule()"),
        ["broken-call: `rule.sched` has an error in line 1: this schedule never assigns `value`"]
    );
}

#[test]
fn short_schedules_do_not_become_long_ones() {
    on_a_small_stack(|| {
        let chain = |name: &str, body: &dyn Fn(usize) -> String, last: &str| -> Vec<(String, String)> {
            let mut files: Vec<_> = (0..8).map(|i| (format!("{name}{i}"), body(i))).collect();
            files.push((format!("{name}8"), last.to_string()));
            files
        };
        let sum = |name: String, n: usize| format!("value = {}", vec![format!("{name}()"); n].join(" + "));
        let ifs = |depth: usize, inner: &str| {
            let open: String = (0..depth).map(|i| format!("if s > {i} {{\n")).collect();
            format!("value = base\n{open}{inner}\n{}", "}\n".repeat(depth))
        };
        let parens =
            |depth: usize, inner: &str| format!("value = {}{inner}{}", "abs(".repeat(depth), ")".repeat(depth));
        let hypers: String = (0..256).map(|i| format!("hyper h{i} = [1, 2]\n")).collect();
        let sums: String = (1..200).map(|i| format!("hyper h{i} = h{} + h{0}\n", i - 1)).collect();
        let mut files = Files::default();
        files.bodies.extend(chain("two", &|i| sum(format!("two{}", i + 1), 2), "value = base"));
        files.bodies.extend(chain("three", &|i| sum(format!("three{}", i + 1), 3), "value = base"));
        files.bodies.extend(chain("many", &|i| sum(format!("many{}", i + 1), 400), "value = base"));
        files.bodies.extend(chain("broken", &|i| sum(format!("broken{}", i + 1), 400), "value = bse"));
        files.bodies.extend(chain("nested", &|i| ifs(60, &format!("value = nested{}()", i + 1)), "value = base"));
        files.bodies.extend(chain("deep", &|i| parens(60, &format!("deep{}()", i + 1)), "value = base"));
        files.bodies.extend([
            ("lists".to_string(), format!("{hypers}value = base")),
            ("sums".to_string(), format!("hyper h0 = 1 in [0, 9]\n{sums}require h199 > 0, \"so\"\nvalue = h199")),
            ("long".to_string(), format!("value = {}base", "1 + ".repeat(4000))),
            ("ifs".to_string(), ifs(60, "value = 1")),
        ]);
        let shown = |found: Vec<String>| found.join(" | ");
        for (body, expected) in [
            ("value = two1()", ""),
            ("value = three1()", "more than 4096 operations"),
            ("value = two6() + two6()", ""),
            ("value = many1()", "more than 4096 operations"),
            ("value = broken1()", "broken-call"),
            ("value = deep1()", ""),
            ("value = nested6()", "more than 64 conditions"),
            ("value = nested7()", ""),
            ("value = nested8()", ""),
            ("value = long() + long()", "too-many-operations"),
            ("value = 1\nif s > 1 {\nif s > 2 {\nif s > 3 {\nvalue = ifs()\n}\n}\n}", ""),
            ("value = sums()", ""),
            ("hyper q = 1\nvalue = sums(h0 = q)", ""),
        ] {
            let start = Instant::now();
            files.found.set(0);
            let found = shown(said(&files, body));
            assert!(start.elapsed() < Duration::from_secs(10), "{body} took {:?}", start.elapsed());
            let matches = if expected.is_empty() { found.is_empty() } else { found.contains(expected) };
            assert!(matches, "{body}\n{found}");
            assert!(files.found.get() < 4000, "{body} looked for {} files", files.found.get());
        }
        // Each call binds every hyper.
        let found = shown(said(&files, &sum("lists".to_string(), 100)));
        assert!(found.contains("too-many-operations"), "{found}");
        let inner = ifs(62, "value = ifs()");
        assert!(shown(said(&files, &inner)).contains("nesting-too-deep"));
    });
}

// Damage. -----------------------------------------------------------------------------------------------------------

/// Shipped and generated rules, and the files about diagnostics: what mutations begin with.
fn seeds() -> Vec<String> {
    let mut seeds = generated(40);
    for folder in ["optimizers", "optimizers/schedules", "tests/diagnostics"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.retain(|path| path.extension().is_some_and(|e| e == "opt" || e == "sched"));
        seeds.extend(paths.iter().map(|path| std::fs::read_to_string(path).unwrap()));
    }
    seeds
}

/// Words and signs with the blanks after them; line ends stand alone.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = ' ';
    for c in text.chars() {
        let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        match tokens.last_mut() {
            Some(token) if joins(last) && joins(c) || c == ' ' => token.push(c),
            _ => tokens.push(c.to_string()),
        }
        last = c;
    }
    tokens
}

fn mutated(seeds: &[String], random: &mut Random) -> String {
    let text = &seeds[random.below(seeds.len())];
    let other = tokens(&seeds[random.below(seeds.len())]);
    let mut words = tokens(text);
    for _ in 0..1 + random.below(4) {
        let (i, j) = (random.below(words.len()), random.below(words.len()));
        match random.below(7) {
            0 => drop(words.remove(i)),
            1 => words.swap(i, j),
            2 => words[i] = words[j].clone(),
            3 => words.insert(i, words[j].clone()),
            4 => words[i] = other[random.below(other.len())].clone(),
            5 => {
                // A whole line of another rule.
                let lines: Vec<&[String]> = other.split(|token| token == "\n").collect();
                let mut line = lines[random.below(lines.len())].to_vec();
                line.push("\n".into());
                let at = words[i..].iter().position(|token| token == "\n").map_or(words.len(), |n| i + n + 1);
                words.splice(at..at, line);
            }
            _ => {
                let mut bytes = words[i].clone().into_bytes();
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
                words[i] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        if words.is_empty() {
            words.push("\n".into());
        }
    }
    words.concat()
}

#[test]
fn damaged_rules_survive() {
    // More of them: UPDRAFT_MUTATIONS=100000.
    let count = std::env::var("UPDRAFT_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(4000);
    on_a_small_stack(move || {
        let seeds = seeds();
        let mut accepted = 0;
        for seed in 0..count {
            let text = mutated(&seeds, &mut Random(seed));
            let result = std::panic::catch_unwind(|| survives(&text));
            accepted += u64::from(result.unwrap_or_else(|_| panic!("seed {seed}\n{text}")));
        }
        // Otherwise the later stages are not reached.
        assert!(accepted > count / 50, "only {accepted} were rules");
    });
}
