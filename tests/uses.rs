//! `use` and fragments: that a used rule does what it does by itself, and what is said where it cannot.

use std::collections::BTreeMap;
use updraft::check::{Checked, check_with, print_program};
use updraft::diagnostic::{Color, render_all};
use updraft::library::{Library, Shipped};
use updraft::syntax::ast::FileKind;
use updraft::{
    Diagnostic, Engine, Error, Math, Optimizer, Rule, SHIPPED, SHIPPED_FRAGMENTS, SourceFile, Tensor, syntax,
};

/// Rule files in memory, then the shipped ones.
#[derive(Default)]
struct Files(BTreeMap<String, String>);

impl Files {
    fn new<'a>(files: impl IntoIterator<Item = &'a str>) -> Files {
        let stem = |text: &str| text.split_whitespace().nth(1).unwrap_or_default().to_string();
        Files(files.into_iter().map(|text| (stem(text), text.to_string())).collect())
    }
}

impl Library for Files {
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile> {
        let here = self.0.get(stem).filter(|_| kind != FileKind::Schedule);
        here.map(|text| SourceFile::new(format!("{stem}.opt"), text.as_str())).or_else(|| Shipped.find(kind, stem))
    }

    fn stems(&self, kind: FileKind) -> Vec<String> {
        self.0.keys().cloned().chain(Shipped.stems(kind)).collect()
    }
}

fn sample(body: &str) -> SourceFile {
    SourceFile::new("sample.opt", format!("optimizer sample\n{body}\n"))
}

fn run(files: &Files, body: &str) -> Result<Checked, Vec<Diagnostic>> {
    check_with(&syntax::parse(&sample(body)), files)
}

/// The printed program of a rule without errors and lints.
fn program(files: &Files, body: &str) -> String {
    match run(files, body) {
        Ok(checked) if checked.lints.is_empty() => print_program(&checked.program),
        Ok(checked) => panic!("{}", render_all(&sample(body), &checked.lints, Color::Never)),
        Err(errors) => panic!("{}", render_all(&sample(body), &errors, Color::Never)),
    }
}

/// The codes and messages of everything that is said.
fn said(files: &Files, body: &str) -> Vec<String> {
    let found = run(files, body).map_or_else(|errors| errors, |checked| checked.lints);
    found.iter().map(|d| format!("{}: {}", d.code, d.message)).collect()
}

fn built(files: &Files, body: &str, set: &[(&str, f64)], math: Math, engine: Engine) -> Optimizer {
    let rule = Rule::compile_with(sample(body), files).unwrap();
    let builder = rule.optimizer().math(math).engine(engine);
    set.iter().fold(builder, |builder, (name, value)| builder.set(name, *value).unwrap()).build().unwrap()
}

/// The bits of parameters after some steps.
fn stepped(mut opt: Optimizer) -> Vec<u32> {
    let mut p: Vec<f32> = (0..37).map(|i| (i as f32 * 0.37).sin()).collect();
    for t in 1..=5 {
        let g: Vec<f32> = (0..37).map(|i| ((i * t) as f32 * 0.73).cos() * 3.0).collect();
        opt.step(&mut [Tensor::new("w", &mut p, &g)]).unwrap();
    }
    p.into_iter().map(f32::to_bits).collect()
}

fn same(files: &Files, body: &str, alone: &str, set: &[(&str, f64)]) {
    for math in [Math::Fast, Math::Strict] {
        for engine in [Engine::Eval, Engine::Jit] {
            let rule = Rule::compile_with(files.find(FileKind::Optimizer, alone).unwrap(), files).unwrap();
            let builder = rule.optimizer().math(math).engine(engine);
            let alone = set.iter().fold(builder, |builder, (name, value)| builder.set(name, *value).unwrap());
            let used = built(files, body, &[], math, engine);
            assert_eq!(stepped(used), stepped(alone.build().unwrap()), "{body} {math:?} {engine:?}");
        }
    }
}

#[test]
fn a_used_rule_does_what_it_does_by_itself() {
    let files = Files::default();
    for (name, _) in SHIPPED {
        same(&files, &format!("use {name}"), name, &[]);
    }
    same(&files, "use adamw(lr = 0.5, eps = 1e-3)", "adamw", &[("lr", 0.5), ("eps", 1e-3)]);
    same(&files, "hyper lr = 0.25\nuse adamw as inner(lr = 2 * lr)", "adamw", &[("lr", 0.5)]);
    same(&files, "hyper lr = 0.25\nuse adamw", "adamw", &[("lr", 0.25)]);
    same(&files, "if t > 0 { use adamw(lr = 0.5) }", "adamw", &[("lr", 0.5)]);
    // A value that only a step knows.
    same(&files, "use adamw(lr = if t > 0 then 0.5 else 0)", "adamw", &[("lr", 0.5)]);
}

#[test]
fn the_statements_come_here() {
    let files = Files::new([
        "fragment clip\nhyper most = 1 in (0, inf)  # the largest magnitude\n\
         hyper half = most / 2\ninput scale = 1\nlet low = -most\ng = clamp(g*scale, low, half)",
        "optimizer heavy\nhyper lr = 0.1 in [0, inf)  # rate\nhyper mu = 0.9 in [0, 1)\nhyper nesterov = false\n\
         hyper form = one of a | b\nstate m = mu * p\nrequire mu < lr + 1, \"mu is small\"\nuse clip(most = 2)\n\
         m = mu*m + g\nif nesterov { g += mu*m } else { g = m }\nif form == b { g *= 2 }\np -= lr * g",
    ]);
    let all = "input scale = 1\nhyper lr = 0.5 in [0, 2]\nuse heavy as h(mu = lr/4, nesterov = true, form = b)\n\
               use clip(most = abs(g), half = 1)\nlet x = h.m + clip.low + h.clip.low\np -= scale*x + half";
    insta::assert_snapshot!(program(&files, all));
}

/// One mistake is one error, and what is said is about this file.
#[test]
fn one_mistake_is_one_error() {
    let files = Files::new([
        "fragment clip\nhyper most = 1 in (0, 9]\nhyper half = most / 2 in (0, 3]\nstate m = most\ninput loss per group = most\n\
         require most < 5, \"most is small\"\nm = m + loss\ng = clamp(g, -most, half + m)",
        "fragment kinds\nhyper flag = true\nhyper form = one of a | b\nhyper xs = [1, 2]\nhyper one per model = 1\n\
         let c = one\nif flag and form == a { g *= c + xs[0] }",
        "fragment deep\nuse deeper",
        "fragment deeper\nuse deep",
        "fragment broken\ng = h\np = q",
        "schedule timed\nvalue = base",
    ]);
    let mut wrong = Vec::new();
    for (body, expected) in [
        ("use clop", "broken-call: no optimizer and no fragment is called `clop`"),
        ("use sample", "broken-call: the rule `sample` uses itself"),
        ("use deep", "broken-call: the rule `deep` uses itself through `deeper`"),
        (
            "use broken\np -= broken.x + lr",
            "broken-call: `broken.opt` has 2 errors, the first in line 2: nothing is called `h`",
        ),
        ("use clip(mots = 1)", "unknown-name: `clip` has no hyper `mots`"),
        ("use clip(most = 1, most = 2)", "duplicate-name: `most` is given twice"),
        ("use clip(most = 10)", "default-out-of-interval: `most` of `clip` is in (0, 9], not 10"),
        ("use clip(most = 7, half = 1)", "default-out-of-interval: `clip`: most is small"),
        ("use clip(most = 8)", "default-out-of-interval: the default of `half` is 4 then, which is not in (0, 3]"),
        ("use clip(most = t, half = 1)", "not-allowed-here: `clip` needs `most` in the default of the input `loss`"),
        ("use clip(most = t)", "not-allowed-here: `clip` needs `most` in the default of `half`"),
        (
            "use clip\nuse clip as c(most = 1)",
            "duplicate-name: `half` is a hyper of both `clip` and `c`, and not declared here",
        ),
        ("use clip\nuse clip", "duplicate-name: two rules that are used here are called `clip`"),
        ("use clip\nclip.m = 2", "not-assignable: `clip.m` belongs to `clip`: this file reads it only"),
        ("use clip\np -= clip.n", "unknown-name: `clip` has no state and no local `n`"),
        ("use clip\np -= clp.m", "unknown-name: nothing is called `clp.m`"),
        ("p -= clip.m", "unknown-name: nothing is called `clip.m`"),
        (
            "input loss = 2\nuse clip",
            "duplicate-name: `loss` is `input loss per group = most` in `clip`, not `input loss = 2`",
        ),
        (
            "input loss = 1\nuse clip(most = 1)",
            "duplicate-name: `loss` is `input loss per group = 1` in `clip`, not `input loss = 1`",
        ),
        (
            "state most = 1\nmost = g\np -= most\nuse clip",
            "duplicate-name: `most` is a hyper of `clip`, and a state here",
        ),
        ("hyper most per model = 1\nuse clip", "duplicate-name: `most` is per model here, and per group in `clip`"),
        ("hyper flag = 1\nuse kinds", "duplicate-name: `flag` is a hyper here, and a flag in `kinds`"),
        (
            "hyper form = one of a | c\nuse kinds",
            "duplicate-name: `form` is one of a | c here, and one of a | b in `kinds`",
        ),
        ("use kinds(flag = 1)", "not-a-condition: a number where a condition is needed"),
        ("use kinds(form = c)", "unknown-name: `form` of `kinds` is one of a | b"),
        ("use kinds(xs = 1)", "not-allowed-here: `xs` of `kinds` is a list"),
        ("let c per model = 1\nif g > 0 { use clip }\np -= c", "extent-grows: x"),
        ("use timed", "broken-call: `timed.opt` holds no rule, but a schedule"),
        ("use ./clip", "unexpected-token: x"),
        ("use clip.opt", "unexpected-token: x"),
        ("use \"clip\"", "unexpected-token: x"),
    ] {
        let found: Vec<String> =
            said(&files, body).into_iter().filter(|said| !said.starts_with("parameter-never")).collect();
        println!("{body:?}\n   {found:?}");
        if !expected.ends_with(": x") && found != [expected] {
            wrong.push(format!("{body}\n   {found:?}\n   {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
