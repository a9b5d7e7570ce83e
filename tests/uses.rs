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
        let program = opt.rule().program().clone();
        let (arrays, scalars): (Vec<_>, Vec<_>) =
            program.inputs.iter().partition(|input| input.extent == updraft::check::program::Extent::Element);
        scalars.iter().for_each(|input| opt.input(&input.name, 0.75).unwrap());
        // As many elements on one axis as on two: rules per row have something to do.
        let shape = (1, 37);
        let grad = ndarray::ArrayView2::from_shape(shape, &g).unwrap();
        let tensor = Tensor::new("w", ndarray::ArrayViewMut2::from_shape(shape, &mut p).unwrap(), grad);
        let tensor = arrays.iter().fold(tensor, |tensor, input| tensor.input_array(&input.name, grad));
        opt.step(&mut [tensor]).unwrap();
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
        "fragment hollow\nhyper nothing = 1",
        "fragment seen\nhyper nothing = 1\nreport r = t\nview v = p",
        "fragment skips\nhyper most = 1\nskip if t > most",
        "fragment begun\nhyper most = 1\nstate m = if most > 1 then p else 2*p\nm += g\ng = m",
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
        ("if g > 0 { use clip(most = 1, half = 1) }\np -= clip.m", "extent-grows: x"),
        ("use hollow\nuse seen(nothing = 1)\np -= seen.r", "unknown-name: `seen` has no state and no local `r`"),
        (
            "if t > 1 { use seen }",
            "misplaced-statement: in `seen`: a `report` does not depend on conditions: it stands outside of blocks",
        ),
        ("p -= g\nuse skips", "misplaced-statement: in `skips`: a step is skipped before it has changed anything"),
        (
            "use skips(most = abs(g))",
            "extent-grows: in `skips`: a step is one of a whole tensor, but the condition of its `skip` is per element",
        ),
        ("use begun(most = t)\np -= g", "not-allowed-here: `begun` needs `most` in the first value of `m`"),
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

/// Reductions, draws and what is beside the update come along, and phases and plans are those of the whole.
#[test]
fn all_of_a_rule_comes_along() {
    let files = Files::new([
        "fragment whole\nhyper most = 1 in (0, inf)\nstate seen per tensor = mean(p)\n\
         let n = norm(g per model)\nif n > most { g *= most / n }\nreport norm = n  # of all gradients\n\
         seen = seen + sum(g)\nlet at = if most > 2 then uniform() else normal()\ng += at\nview mean = p * seen",
        "fragment finite\nskip if not all(isfinite(g))",
        "fragment outer\nuse whole as inner(most = 3)\nlet m = max(inner.at per model)\ng *= m",
    ]);
    let body = "let m = max(norm(g) per model)\nif t > 1 { use finite }\ng *= m\nuse outer\nuse whole(most = 1)\np -= g * (outer.inner.n + whole.at) * m";
    let checked = run(&files, body).unwrap();
    insta::assert_snapshot!(print_program(&checked.program));
    let phases: Vec<u32> = checked.program.reductions.iter().map(|reduction| reduction.phase).collect();
    // Each norm of the model is of gradients that the one before it has scaled.
    let expected = [0, 1, 0, 0, 2, 2, 1, 0, 3, 3];
    assert_eq!(phases, expected);
    assert_eq!(checked.program.phases(), 4);
    assert_eq!(checked.program.draws, 2);
}

/// A hyper of this file keeps to the interval that the used rule has for it, wherever its own is wider.
#[test]
fn intervals_of_used_rules_hold() {
    let files = Files::new(["fragment open\nhyper x = 0.5 in (0, 1)\ng *= x"]);
    for (mine, required) in [
        ("(0, 1)", false),
        ("[0.25, 0.75]", false),
        ("(0, 0.5]", false),
        ("[0, 1)", true),
        ("(0, 1]", true),
        ("[0.25, 1]", true),
        ("[-1, 0.5]", true),
        ("(0, 2)", true),
    ] {
        let checked = run(&files, &format!("hyper y = 0.5 in {mine}\nuse open(x = y)\np -= g")).unwrap();
        assert_eq!(checked.program.requires.len(), usize::from(required), "{mine}");
    }
}

#[test]
fn limits_hold_after_expansion() {
    let chain = (0..10).map(|i| match i {
        9 => "fragment f9\ng *= 2".to_string(),
        i => format!("fragment f{i}\nuse f{}\ng += 1", i + 1),
    });
    let chain: Vec<String> = chain.collect();
    let states: String = (0..40).map(|i| format!("state s{i} = 0\n")).collect();
    let sums: String = (0..40).map(|i| format!("s{i} += g\ng += s{i}\n")).collect();
    let many = format!("fragment many\n{states}{sums}");
    let long = format!("fragment long\n{}", "g = g*g*g + g*g\n".repeat(400));
    let files = Files::new(chain.iter().map(String::as_str).chain([many.as_str(), long.as_str()]));
    let too_deep = "broken-call: rules use each other more than 8 deep";
    assert_eq!(said(&files, "use f2\np -= g"), [""; 0]);
    assert_eq!(said(&files, "use f1\np -= g"), [too_deep]);
    assert_eq!(said(&files, "use f0\np -= g"), [too_deep]);
    assert_eq!(said(&files, "use many as a\nuse many as b\np -= g"), ["too-many-names: a rule has at most 64 states"]);
    let found = said(&files, "use long as a\nuse long as b\nuse long as c\np -= g");
    assert!(found.len() == 1 && found[0].starts_with("too-many-operations: "), "{found:?}");
}

#[test]
fn fragments_are_files_of_their_own() {
    for (name, text) in SHIPPED_FRAGMENTS {
        let file = SourceFile::new(format!("{name}.opt"), *text);
        let lints = check_with(&syntax::parse(&file), &Shipped).unwrap().lints;
        assert!(lints.is_empty(), "{}", render_all(&file, &lints, Color::Never));
        assert_eq!(syntax::print(&syntax::parse(&file)).as_deref(), Some(*text), "{name}");
        let error = Rule::compile(file).unwrap_err();
        let help = format!("write `use {name}` in an optimizer");
        assert!(error.to_string().contains(&help), "{error}");
        assert!(Rule::shipped(name).unwrap_err().to_string().contains(&help));
    }
    let error = Rule::parse("clip", "fragment clip\ng = -g\n").unwrap_err();
    assert!(matches!(error, Error::Compile(_)));
    // The name of the header is the name of the file here too.
    let file = SourceFile::new("clop.opt", "fragment clip\ng = -g\n");
    let found = check_with(&syntax::parse(&file), &Shipped).unwrap_err();
    assert_eq!(found[0].message, "the file is called `clop`, the fragment `clip`");
}

/// A rule finds what lies beside it; a shipped rule finds what is shipped.
#[test]
fn what_is_beside_a_file_comes_first() {
    let folder = std::env::temp_dir().join(format!("updraft-uses-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("clip_value.opt", "fragment clip_value\nhyper mine = 1\ng *= mine\n");
    write("adam.opt", "optimizer adam\nuse adam\n");
    write("top.opt", "optimizer top\nuse clip_value\nuse sgd\n");
    let hypers = Rule::load(folder.join("top.opt")).map(|rule| rule.hypers().map(|it| it.name.to_string()).collect());
    let cycle = Rule::load(folder.join("adam.opt")).unwrap_err().to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    let hypers: Vec<String> = hypers.unwrap();
    assert!(hypers.contains(&"mine".to_string()) && hypers.contains(&"lr".to_string()), "{hypers:?}");
    assert!(cycle.contains("the rule `adam` uses itself"), "{cycle}");
    // A text has nothing beside it.
    assert_eq!(Rule::parse("adam", "optimizer adam\nuse adam\n").unwrap().program().states.len(), 2);
}
