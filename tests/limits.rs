//! The limits: what is at one of them compiles, what is one above is refused with the error of that limit, and no file costs
//! more than it may, whatever is in it.
#![cfg(feature = "jit")]
#![allow(unsafe_code)]

mod hostile;
mod memory;
mod oracles;

use memory::{Counting, peak};
use updraft::check::{Checked, check_with};
use updraft::codegen::{Backend, Cranelift, Isa, Lanes, Target, Wide};
use updraft::ir::{Math, lower};
use updraft::plan::plan;
use updraft::syntax::ast::FileKind;
use updraft::{Code, Diagnostic, Rule, Schedule, Storage, Tensor, syntax};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What check and compile may use of memory at once.
const MOST_MEMORY: usize = 64 << 20;

/// Runs on a stack of 2 MiB, as threads have it, whatever the test runner was started with.
fn on_a_small_stack<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap()
}

fn judged(text: &str) -> Result<Checked, Vec<Diagnostic>> {
    let files = oracles::Files::new(text);
    check_with(&syntax::parse(&files.main), &files)
}

/// Everything from the text to the code that a first step needs, and that step.
fn compiled(text: &str) {
    let files = oracles::Files::new(text);
    if files.main.name().ends_with(".sched") {
        if check_with(&syntax::parse(&files.main), &files).is_ok()
            && let Ok(schedule) = Schedule::parse("sample", files.main.text())
        {
            let _ = schedule.run().map(|mut run| run.next(1.0, &[]));
        }
        return;
    }
    let Ok(rule) = Rule::compile_with(files.main.clone(), &files) else { return };
    assert_eq!(rule.program().kind, FileKind::Optimizer);
    let Ok(mut opt) = rule.optimizer().math(Math::Strict).build() else { return };
    let facts = opt.facts_of(&[64, 64], Storage::F32, 1);
    let plan = plan(&lower(rule.program(), &facts));
    for (backend, isa) in [(&Wide as &dyn Backend, Isa::X86_64Avx2Fma), (&Cranelift::default(), Isa::X86_64Fma)] {
        for sweep in plan.sweeps().filter(|_| isa.is_available()) {
            let code = backend.compile(&sweep.kernel, Target { isa, lanes: Lanes::Simd });
            assert!(code.is_ok(), "{:?}", code.err());
        }
    }
    let (mut w, g) = ([1.0f32; 6], [0.5f32; 6]);
    let w = ndarray::ArrayViewMut2::from_shape((2, 3), &mut w).unwrap();
    let g = ndarray::ArrayView2::from_shape((2, 3), &g).unwrap();
    // It may want inputs.
    let _ = opt.step(&mut [Tensor::new("w", w, g)]);
    assert_eq!(opt.warning(), None);
}

/// A third of the hostile files, so that the tests share the processors.
fn cost_little(third: usize) {
    for (index, hostile::Hostile { what, text }) in hostile::all().into_iter().enumerate() {
        if index % 3 == third {
            let (_, most) = on_a_small_stack(move || peak(|| compiled(&text)));
            assert!(most <= MOST_MEMORY, "{what}: {} MiB", most >> 20);
        }
    }
}

#[test]
fn hostile_files_cost_little_1() {
    cost_little(0);
}

#[test]
fn hostile_files_cost_little_2() {
    cost_little(1);
}

#[test]
fn hostile_files_cost_little_3() {
    cost_little(2);
}

/// What is counted is counted: an allocation of 3 MiB is seen.
#[test]
fn memory_is_counted() {
    let (_, most) = peak(|| drop(vec![0u8; 3 << 20]));
    assert!((3 << 20..(3 << 20) + 4096).contains(&most), "{most}");
}

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|index| line(index) + "\n").collect()
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// Of each limit: a text for a size, the size at the limit, and the code and the beginning of the error one above it.
type Limit = (&'static str, Box<dyn Fn(usize) -> String>, usize, Code, &'static str);

fn limits() -> Vec<Limit> {
    let mut all: Vec<Limit> = Vec::new();
    let rule = |body: String| format!("optimizer sample\nhyper lr = 0.5 in [0, inf)\n{body}");
    let mut add =
        |what, text: Box<dyn Fn(usize) -> String>, most, code, message| all.push((what, text, most, code, message));
    // Nesting, wherever something nests.
    let deep = "this nests deeper than 64 levels";
    for (what, open, close) in
        [("parentheses", "(", ")"), ("calls", "abs(", ")"), ("signs", "-", ""), ("powers", "lr^", "")]
    {
        let text = move |depth| rule(format!("p -= g*lr + {}\n", nested(open, "lr", close, depth)));
        add(what, Box::new(text), 64, Code::NestingTooDeep, deep);
        let text = move |depth| rule(format!("def f(x) = x + {}\np -= f(g)\n", nested(open, "lr", close, depth)));
        add("nesting in a def", Box::new(text), 64, Code::NestingTooDeep, deep);
        let text = move |depth| rule(format!("hyper h = 1 + {}\np -= h*g\n", nested(open, "lr", close, depth)));
        add("nesting in a default", Box::new(text), 64, Code::NestingTooDeep, deep);
        let text = move |depth| rule(format!("state m = p + {}\nm += g\np -= m\n", nested(open, "lr", close, depth)));
        add("nesting in a first value", Box::new(text), 64, Code::NestingTooDeep, deep);
        let text = move |depth| rule(format!("if 1 < {} {{ p -= g*lr }}\n", nested(open, "lr", close, depth)));
        add("nesting in a condition", Box::new(text), 64, Code::NestingTooDeep, deep);
        let text = move |depth| rule(format!("require 0 < 1 + {}, \"m\"\np -= g\n", nested(open, "lr", close, depth)));
        add("nesting in a require", Box::new(text), 64, Code::NestingTooDeep, deep);
        let text = move |depth| {
            rule(format!("use clip_norm(max_norm = 1 + {})\np -= g\n", nested(open, "lr", close, depth - 1)))
        };
        add("nesting in what a use gives", Box::new(text), 64, Code::NestingTooDeep, deep);
    }
    let text = move |depth| {
        rule(
            format!("p -= g*if {} lr > 1 then 1 else 2\n", "not ".repeat(depth - 1))
                .replace("g*if", "g*(if")
                .replace("else 2", "else 2)"),
        )
    };
    add("negations", Box::new(text), 63, Code::NestingTooDeep, deep);
    let text = move |depth| rule(nested("if g > 0 {\n", "p -= lr*g\n", "}\n", depth));
    add("blocks", Box::new(text), 64, Code::NestingTooDeep, "blocks nest deeper than 64 levels");
    let text = move |count| {
        rule(
            (0..count).map(|i| format!("if t == {i} {{\n    p -= lr*g\n}} else ")).collect::<String>()
                + "{\n    p += g\n}\n",
        )
    };
    add("else ifs", Box::new(text), 64, Code::NestingTooDeep, "more than 64 conditions stand around a statement");
    let text = move |depth| rule(format!("p = {}lr\n", "if g > lr then p else ".repeat(depth)));
    add("choices", Box::new(text), 64, Code::NestingTooDeep, deep);
    // What is counted.
    let operations = "the rule has more than 4096 operations";
    let text = move |count| rule(format!("p -= {}lr\n", "g + ".repeat(count - 2)));
    add("operations", Box::new(text), 4096, Code::TooManyOperations, operations);
    // A call is four: the addition in it, two for what is inlined, and the addition to the others.
    let text = move |count| rule(format!("def f(x) = x + lr\np -= {}g\n", "f(g) + ".repeat(count)));
    add("operations in defs", Box::new(text), 1023, Code::TooManyOperations, operations);
    let text = move |count| rule(lines(count - 2, |_| "p = g".into()) + "p -= lr*g\n");
    add("statements", Box::new(text), 4095, Code::TooManyOperations, operations);
    let text = move |count: usize| rule(format!("p -= lr{}\n", "*g^64".repeat(count)));
    add("64th powers", Box::new(text), 292, Code::TooManyOperations, operations);
    let text = move |count: usize| rule(format!("p -= lr{}\n", "*exp(g)".repeat(count)));
    add("polynomials", Box::new(text), 19, Code::TooManyOperations, operations);
    let text = move |count: usize| rule(format!("p -= lr{}\n", "*normal()".repeat(count)));
    add("draws", Box::new(text), 40, Code::TooManyOperations, operations);
    let text = move |count| {
        rule(lines(count, |i| format!("state m{i} = 0")) + &lines(count, |i| format!("m{i} += g\np -= lr*m{i}")))
    };
    add("states", Box::new(text), 64, Code::TooManyNames, "a rule has at most 64 states");
    let text = move |count| {
        rule(lines(count - 1, |i| format!("hyper h{i} = 1")) + &lines(count - 1, |i| format!("p -= lr*h{i}*g")))
    };
    add("hypers", Box::new(text), 256, Code::TooManyNames, "a rule has at most 256 hypers");
    let text =
        move |count| rule(lines(count, |i| format!("input i{i}")) + &lines(count, |i| format!("p -= lr*i{i}*g")));
    add("inputs", Box::new(text), 256, Code::TooManyNames, "a rule has at most 256 inputs");
    let text = move |count: usize| {
        rule(format!(
            "hyper m = one of {}\nif m == x7 {{ p -= lr*g }}\n",
            (0..count).map(|i| format!("x{i}")).collect::<Vec<_>>().join(" | ")
        ))
    };
    add("modes", Box::new(text), 256, Code::TooManyNames, "a hyper has at most 256 modes");
    let text = move |count: usize| rule(format!("hyper l = [1{}]\np -= lr*g*count(l <= t)\n", ", 1".repeat(count - 1)));
    add("elements of a list", Box::new(text), 4096, Code::TooManyNames, "a list has at most 4096 elements");
    // 100 operations for each reduction: the product passes 49152 at 23.
    let text = move |count| rule(lines(count, |_| format!("g = g + norm(g){}", "*lr".repeat(95))) + "p -= lr*g\n");
    add("operations times reductions", Box::new(text), 22, Code::TooManyOperations, "the rule has ");
    let text = move |bytes: usize| {
        let text = rule("p -= lr*g\n".into());
        format!("{text}#{}", "x".repeat(bytes - text.len() - 1))
    };
    add("bytes", Box::new(text), 256 * 1024, Code::SourceTooLong, "the file has 262145 bytes");
    // Of others.
    let text = move |depth: usize| {
        let files = (1..depth).map(|i| format!("\n====\nfragment f{i}\nuse f{}\ng += 1\n", i + 1)).collect::<String>();
        rule("use f1\np -= lr*g\n".into()) + &files + &format!("\n====\nfragment f{depth}\ng *= 2\n")
    };
    add("depth of uses", Box::new(text), 8, Code::BrokenCall, "rules use each other more than 8 deep");
    let text = move |bytes: usize| {
        let file = |name: &str, bytes: usize| format!("\n====\nfragment {name}\ng *= 2\n#{}", "x".repeat(bytes - 19));
        rule("use a\nuse b\nuse a as c\np -= lr*g\n".into()) + &file("a", 200_000) + &file("b", bytes - 200_000)
    };
    add(
        "bytes of files that are named",
        Box::new(text),
        256 * 1024,
        Code::BrokenCall,
        "the files that are named have more than 262144",
    );
    all
}

#[test]
fn at_a_limit_it_compiles_and_one_above_it_is_refused() {
    on_a_small_stack(|| {
        let mut wrong = Vec::new();
        for (what, text, most, code, message) in limits() {
            let at = text(most);
            match judged(&at) {
                Ok(_) => compiled(&at),
                Err(found) => wrong.push(format!("{what} at the limit: {} {}", found[0].code, found[0].message)),
            }
            match judged(&text(most + 1)) {
                Ok(_) => wrong.push(format!("{what} above the limit is accepted")),
                Err(found) => {
                    let said: Vec<_> = found.iter().map(|d| (d.code, d.message.as_str())).collect();
                    if said.len() != 1 || said[0].0 != code || !said[0].1.starts_with(message) {
                        wrong.push(format!("{what} above the limit: {said:?}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Of very many errors the first are told; names as long as a file are cut short.
#[test]
fn what_is_said_is_bounded() {
    for hostile::Hostile { what, text } in hostile::all() {
        let Err(found) = judged(&text) else { continue };
        assert!(found.len() <= 2 * updraft::diagnostic::MAX_ERRORS, "{what}: {}", found.len());
        let texts = |d: &Diagnostic| d.message.len() + d.primary.text.len() + d.help.as_ref().map_or(0, String::len);
        assert!(found.iter().all(|d| texts(d) < 7000), "{what}");
    }
}

/// The text that joins schedules has limits of its own, and what is set has the form of a value.
#[test]
fn joined_schedules_are_bounded() {
    on_a_small_stack(|| {
        let parts = |count: usize| vec!["constant()"; count].join(" + ").parse::<Schedule>();
        assert!(parts(256).is_ok());
        assert!(parts(257).unwrap_err().to_string().contains("more than 256 schedules are joined"));
        let deep = |depth: usize| nested("(", "constant()", ")", depth).parse::<Schedule>();
        assert!(deep(64).is_ok());
        assert!(deep(65).unwrap_err().to_string().contains("nest more than 64 deep"));
        let then = |depth: usize| nested("constant() for 1 then ", "constant()", "", depth).parse::<Schedule>();
        assert!(then(64).is_ok());
        assert!(then(65).unwrap_err().to_string().contains("nest more than 64 deep"));
        let long = |bytes: usize| format!("constant(){}", " ".repeat(bytes - 10)).parse::<Schedule>();
        assert!(long(1 << 16).is_ok());
        assert!(long((1 << 16) + 1).unwrap_err().to_string().contains("65536"));
        let many = format!("[{}]", "1,".repeat(100_000));
        let set = Rule::shipped("sgd").unwrap().optimizer().set("lr", many.parse::<updraft::HyperValue>().unwrap());
        assert!(set.unwrap_err().to_string().len() < 2_000_000);
    });
}

/// However many plans a rule has, 64 are kept, and each step makes at most its own.
#[test]
fn plans_are_made_one_at_a_time() {
    let conditions = lines(200, |i| format!("if t % {} == 0 {{ p -= {i}*g }}", i + 2));
    let rule = Rule::parse("many", &format!("optimizer many\n{conditions}p -= g\n")).unwrap();
    let mut opt = rule.optimizer().build().unwrap();
    let (mut w, g) = ([1.0f32; 3], [0.5f32; 3]);
    for step in 1..=100 {
        opt.step(&mut [Tensor::new("w", &mut w, &g)]).unwrap();
        assert!(opt.compiled_plans() <= step);
    }
}
