//! Files made to cost as much as a file can: each limit reached, alone and with others, and what no limit counts.
//!
//! Goes out: texts, of one file or of several with `====` between them, the first of which is judged. `benches/limits.rs`
//! prints what each costs, `tests/limits.rs` holds that to the bounds. Which of them is refused is not said here.

#![allow(dead_code, reason = "each crate that includes this uses a part")]

use std::fmt::Write as _;

/// The most bytes that a file may have.
pub const MOST: usize = 256 * 1024;

/// A file by what is hostile about it.
pub struct Hostile {
    /// What.
    pub what: &'static str,
    /// The text.
    pub text: String,
}

/// Lines that are made of their number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for index in 0..count {
        let _ = writeln!(text, "{}", line(index));
    }
    text
}

/// As many repetitions as fit into a file.
fn filled(start: &str, unit: &str, end: &str) -> String {
    let units = (MOST - 64 - start.len() - end.len()) / unit.len();
    format!("{start}{}{end}", unit.repeat(units))
}

/// As many numbered lines as fit into a file.
fn filled_lines(start: &str, line: impl Fn(usize) -> String, end: &str) -> String {
    let mut text = start.to_string();
    for index in 0.. {
        let line = line(index);
        if text.len() + line.len() + 1 + end.len() > MOST {
            break;
        }
        let _ = writeln!(text, "{line}");
    }
    text + end
}

fn sum(count: usize, term: impl Fn(usize) -> String) -> String {
    (0..count).map(term).collect::<Vec<_>>().join(" + ")
}

fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

/// A rule, so far without anything that changes the parameter.
fn rule(body: &str) -> String {
    format!("optimizer sample\nhyper lr = 0.5 in [0, inf)\n{body}")
}

/// Everything that is hostile.
pub fn all() -> Vec<Hostile> {
    let mut all = Vec::new();
    operations(&mut all);
    names(&mut all);
    files(&mut all);
    texts(&mut all);
    schedules(&mut all);
    all
}

/// Rules with as many operations as there may be, of every kind.
fn operations(all: &mut Vec<Hostile>) {
    let mut add = |what: &'static str, body: String| all.push(Hostile { what, text: rule(&body) });
    add("additions", format!("p -= {}lr\n", "g + ".repeat(4094)));
    add("additions of what is different", format!("p -= {}\n", sum(2000, |i| format!("g*{i}.5"))));
    add("divisions", format!("p -= g{}\n", "/p/g".repeat(2046)));
    add("square roots", lines(800, |_| "g = sqrt(g)".into()) + "p -= g\n");
    add(
        "square roots of sums of all before",
        lines(450, |i| {
            format!(
                "let x{i} = sqrt(g + {})\nlet y{i} = x{i} + g",
                if i == 0 { "p".into() } else { format!("y{}", i - 1) }
            )
        }) + "p -= y449\n",
    );
    let lets = lines(1300, |i| format!("let x{i} = g*{i}.5"));
    add("live values, the first read first", format!("{lets}p -= {}\n", sum(1300, |i| format!("x{i}"))));
    add("live values, the last read first", format!("{lets}p -= {}\n", sum(1300, |i| format!("x{}", 1299 - i))));
    add(
        "live values, each read twice",
        format!(
            "{}p -= {}\n",
            lines(600, |i| format!("let x{i} = g/{i}.5")),
            sum(1200, |i| format!("x{}", (i * 571) % 600))
        ),
    );
    add(
        "live divisions in f64 scalars",
        format!("{}p -= g*({})\n", lines(1000, |i| format!("let x{i} = t/{i}.5")), sum(1000, |i| format!("x{i}"))),
    );
    for (what, call, count) in [
        ("exponentials", "exp(X)", 18),
        ("sines", "sin(X)", 18),
        ("powers of elements", "abs(X)^p", 18),
        ("cube roots", "cbrt(X)", 18),
        ("tanhs", "tanh(X)", 18),
        ("draws", "X*normal()", 39),
        ("lerps and clamps", "lerp(X, clamp(X, p, g), p)", 400),
    ] {
        add(what, lines(count, |_| format!("g = {}", call.replace('X', "g"))) + "p -= g\n");
    }
    add("exponentials side by side", format!("p -= {}\n", sum(18, |i| format!("exp(g*{i})"))));
    add("draws side by side", format!("p -= {}\n", sum(39, |_| "normal()".into())));
    add("64th powers", lines(270, |_| "g = g^64".into()) + "p -= g\n");
    add("64th powers of products", format!("p -= {}\n", nested("(", "(g*p*lr)", ")^3", 5)));
    add("powers in powers", format!("p -= {}\n", nested("(", "g", ")^3", 60)));
    add("conditions of elements", lines(1000, |i| format!("if g > {i} {{ p -= g }}")));
    add("64 conditions of elements around", nested("if g > 0 {\n", "p -= g\n", "}\n", 64));
    add("choices in choices", format!("p -= {}g\n", "if g > lr then p else ".repeat(63)));
    add("conditions that select plans", lines(1000, |i| format!("if t == {i} {{ p -= g*{i} }}")));
    add("as many conditions as operations", lines(2047, |i| format!("if t == {i} {{ p -= g }}")));
    add(
        "64 conditions that select plans around",
        (0..64).map(|i| format!("if t > {i} {{\n")).collect::<String>() + "p -= g\n" + &"}\n".repeat(64),
    );
    add(
        "a chain of conditions",
        (0..63).map(|i| format!("if t == {i} {{\n    p -= g\n}} else ")).collect::<String>() + "{\n    p += g\n}\n",
    );
    for per in ["model", "group", "tensor", "row", "col", "unit", "matrix"] {
        let body = lines(500, |_| format!("g = g + norm(g per {per})"));
        all.push(Hostile {
            what: Box::leak(format!("reductions per {per}, one after another").into_boxed_str()),
            text: rule(&(body + "p -= g\n")),
        });
        let body = format!("let x = {}\np -= g*x\n", sum(500, |i| format!("sum(g*{i}.5 per {per})")));
        all.push(Hostile {
            what: Box::leak(format!("reductions per {per}, side by side").into_boxed_str()),
            text: rule(&body),
        });
    }
    let mut add = |what: &'static str, body: String| all.push(Hostile { what, text: rule(&body) });
    add(
        "rows and columns in turn",
        lines(340, |i| format!("g = g + {}", if i % 2 == 0 { "mean(g per row)" } else { "max(g per col)" }))
            + "p -= g\n",
    );
    for (what, ops, reductions) in [
        ("30 reductions of 1000 operations", 30, 31),
        ("15 reductions of 2000 operations", 120, 15),
        ("60 reductions of 500 operations", 4, 60),
    ] {
        let block = |i: usize| {
            format!(
                "{}g = g + norm(g{} per {})\n",
                lines(ops / 2, |k| format!("g = g*{k}.5 + p")),
                if i.is_multiple_of(2) { "" } else { "*m" },
                ["tensor", "model", "row"][i % 3]
            )
        };
        add(what, "state m = 0\n".to_string() + &(0..reductions).map(block).collect::<String>() + "m += g\np -= g*m\n");
    }
    add(
        "60 reductions side by side with 60 states",
        lines(60, |i| format!("state m{i} = 0"))
            + &lines(60, |i| format!("m{i} += g*{i}"))
            + &format!("let x = {}\np -= x*({})\n", sum(60, |i| format!("sum(m{i})")), sum(60, |i| format!("m{i}"))),
    );
    add("skips", lines(1000, |i| format!("skip if t == {i}")) + "p -= g\n");
    add("late skips", lines(450, |i| format!("skip if norm(g per model) > {i}")) + "p -= g\n");
    add("reports", lines(1000, |i| format!("report r{i} = {i}*lr")) + "p -= g\n");
    add("reports of reductions", lines(400, |i| format!("report r{i} = sum(g*{i} per tensor)")) + "p -= g\n");
    add("views", lines(1000, |i| format!("view v{i} = p*{i}")) + "p -= g\n");
    add("requires", lines(1300, |i| format!("require lr < {i} + 1, \"m\"")) + "p -= g\n");
    add(
        "first values",
        lines(64, |i| format!("state m{i} = {}", sum(60, |j| format!("p*{j}"))))
            + &lines(64, |i| format!("p -= m{i}\nm{i} = g")),
    );
    add(
        "first values that reduce",
        lines(64, |i| format!("state m{i} = {}", sum(10, |j| format!("norm(p*{j} per row)"))))
            + &lines(64, |i| format!("p -= m{i}\nm{i} = g")),
    );
    add(
        "old values",
        lines(64, |i| format!("state m{i} = 0"))
            + &lines(64, |i| format!("m{i} = old(m{}) + old(p)*old(g)\np += m{i} + old(m{i})", (i * 7) % 64)),
    );
    add(
        "64 states per element",
        lines(64, |i| format!("state m{i} = 0")) + &lines(64, |i| format!("m{i} = 0.9*m{i} + g*{i}\np -= m{i}")),
    );
    add(
        "64 states of all extents",
        lines(64, |i| {
            format!(
                "state m{i} per {} = 0",
                ["row", "col", "unit", "matrix", "tensor", "group", "model", "element"][i % 8]
            )
        }) + &lines(64, |i| {
            format!(
                "m{i} = {}\np -= m{i}*g",
                match i % 8 {
                    7 => "g".to_string(),
                    k => format!(
                        "m{i} + norm(g per {})",
                        ["row", "col", "unit", "matrix", "tensor", "group", "model"][k]
                    ),
                }
            )
        }),
    );
    add(
        "64 locals around 64 conditions",
        (0..64).map(|i| format!("let x{i} = g*{i}\nif g > {i} {{\n")).collect::<String>()
            + &format!("p -= {}\n", sum(64, |i| format!("x{i}")))
            + &"}\n".repeat(64),
    );
    let hypers = lines(255, |i| if i == 0 { "hyper h0 = 1".into() } else { format!("hyper h{i} = h{} + h0", i - 1) });
    add("256 hypers in a chain", format!("{hypers}p -= g*({})\n", sum(255, |i| format!("h{i}"))));
    let states = lines(64, |i| format!("state m{i} = 0"));
    let updates = lines(64, |i| format!("m{i} = 0.9*m{i} + g^2*h{i}\ng /= sqrt(m{i}) + h{}", i + 64));
    let phases = lines(100, |i| format!("g = g*norm(g per {})", ["model", "row", "tensor", "col"][i % 4]));
    let conditions = lines(64, |i| format!("if t % {} == 0 {{\np += h{i}*m{i}\n}}", i + 2));
    let rest = lines(500, |i| format!("p -= g*h{}", i % 255));
    add(
        "every limit at once",
        format!("{hypers}{states}{updates}{phases}{conditions}p -= exp(g)*tanh(g)*normal()\n{rest}"),
    );
}

/// Many names, long names, and mistakes with both.
fn names(all: &mut Vec<Hostile>) {
    let mut add = |what: &'static str, text: String| all.push(Hostile { what, text });
    let rule = rule("");
    add("inputs", filled_lines(&rule, |i| format!("input i{i}"), "p -= g\n"));
    add(
        "inputs per element that are read",
        format!(
            "{rule}{}p -= {}\n",
            lines(3000, |i| format!("input i{i} per element")),
            sum(3000, |i| format!("i{i}"))
        ),
    );
    add("inputs with defaults", filled_lines(&rule, |i| format!("input i{i} = {i} + lr"), "p -= g\n"));
    add("hypers", filled_lines(&rule, |i| format!("hyper h{i} = 1"), "p -= g\n"));
    add("states", filled_lines(&rule, |i| format!("state m{i} = 0"), "p -= g\n"));
    add("defs", filled_lines(&rule, |i| format!("def f{i}(x) = x"), "p -= g\n"));
    add(
        "defs in a chain",
        filled_lines(
            &rule,
            |i| if i == 0 { "def f0(x) = x".into() } else { format!("def f{i}(x) = f{}(x)", i - 1) },
            "p -= f0(g)\n",
        ),
    );
    add(
        "defs that call all before",
        format!(
            "{rule}{}p -= f300(g)\n",
            lines(301, |i| format!(
                "def f{i}(x) = {}",
                if i == 0 { "x".into() } else { sum(i.min(60), |j| format!("f{}(x)", i - 1 - j)) }
            ))
        ),
    );
    add(
        "a def of many parameters",
        format!(
            "{rule}def f({}) = x0\np -= f({})\n",
            (0..12_000).map(|i| format!("x{i}")).collect::<Vec<_>>().join(", "),
            vec!["g"; 12_000].join(", ")
        ),
    );
    add("modes", filled(&format!("{rule}hyper m = one of a"), " | b", "\np -= g\n"));
    add(
        "different modes",
        format!(
            "{rule}hyper m = one of {}\nif m == x7 {{ p -= g }}\n",
            (0..20_000).map(|i| format!("x{i}")).collect::<Vec<_>>().join(" | ")
        ),
    );
    add("a long list", filled(&format!("{rule}hyper l = [1"), ", 1", "]\np -= g*count(l <= t)\n"));
    add("locals", filled_lines(&rule, |i| format!("let l{i} = g"), "p -= g\n"));
    add("unknown names", filled_lines(&rule, |i| format!("p -= x{i}"), ""));
    add("unknown names in a sum", filled(&format!("{rule}p -= x"), "+x", "\n"));
    add("unknown names beside known ones", {
        let known = lines(8000, |i| format!("input abcdefg{i}"));
        filled_lines(&format!("{rule}{known}"), |i| format!("p-=abcdefh{i}"), "")
    });
    add("unknown functions", filled_lines(&rule, |i| format!("p = f{i}(g)"), ""));
    add("unknown functions of known ones", filled(&format!("{rule}p = 0"), "+sqrt(x(sin(y)))", "\n"));
    add("a long name", filled(&format!("{rule}p -= "), "x", "\n"));
    add("long names", filled_lines(&rule, |i| format!("p -= {}{i}", "x".repeat(1000)), ""));
    add("long names that are declared twice", filled_lines(&rule, |_| format!("hyper {} = 1", "x".repeat(1000)), ""));
    add("names declared twice", filled_lines(&rule, |_| "let x = g".into(), ""));
    add("states that nothing changes", filled_lines(&rule, |i| format!("state s{i} = 0"), ""));
    add(
        "mistakes in one def that is called often",
        format!("{rule}def f(x) = x*g\n{}", lines(10_000, |_| "p -= f(g)".into())),
    );
    add("extents that grow", format!("{rule}{}", lines(8_000, |i| format!("let a{i} per tensor = g"))));
    add("intervals that are empty", filled_lines(&rule, |i| format!("hyper h{i} = 1 in [2, 1]"), ""));
    add("allows", filled_lines(&rule, |i| format!("input i{i} # allow(unused-input): x"), "p -= g\n"));
    add("allows of what is not there", filled_lines(&rule, |_| "p -= g # allow(unused-input): x".into(), ""));
    add("texts", filled_lines(&rule, |i| format!("require lr > {i}, \"{}\"", "x".repeat(200)), "p -= g\n"));
    add("lints", filled_lines(&rule, |i| format!("let l{i} = sqrt(-1 - g^2)"), "p -= g\n"));
}

/// Files that use other files.
fn files(all: &mut Vec<Hostile>) {
    let mut add = |what: &'static str, text: String, others: Vec<String>| {
        all.push(Hostile { what, text: std::iter::once(text).chain(others).collect::<Vec<_>>().join("\n====\n") });
    };
    let rule = rule("");
    let used = |count: usize, name: &str| lines(count, |i| format!("use {name} as u{i}"));
    add(
        "one empty fragment used often",
        filled_lines(&rule, |i| format!("use e as e{i}"), "p -= g\n"),
        vec!["fragment e\n".into()],
    );
    add(
        "one fragment used often",
        format!("{rule}{}p -= g\n", used(1000, "e")),
        vec!["fragment e\nhyper c = 1\ng *= c\n".into()],
    );
    add(
        "a fragment of modes used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![format!(
            "fragment e\nhyper m = one of {}\nif m == x7 {{ g *= 2 }}\n",
            (0..20_000).map(|i| format!("x{i}")).collect::<Vec<_>>().join(" | ")
        )],
    );
    add(
        "a fragment of a list used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![filled("fragment e\nhyper l = [1", ", 1", "]\ng *= len(l)\n")],
    );
    add(
        "a fragment of inputs used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![format!(
            "fragment e\n{}g *= {}\n",
            lines(2000, |i| format!("input i{i}")),
            sum(2000, |i| format!("i{i}"))
        )],
    );
    add(
        "a fragment of unused inputs used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![filled_lines("fragment e\n", |i| format!("input i{i}"), "g *= 2\n")],
    );
    add(
        "a fragment of views used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![format!("fragment e\n{}g *= 2\n", lines(1000, |i| format!("view v{i} = p*{i}")))],
    );
    add(
        "a fragment of locals used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![format!("fragment e\n{}g *= 2\n", lines(1000, |i| format!("let v{i} = g*{i}")))],
    );
    add(
        "a fragment of requires used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![format!("fragment e\nhyper c = 1\n{}g *= c\n", lines(1000, |i| format!("require c < {i} + 2, \"m\"")))],
    );
    add(
        "a fragment of hypers used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![format!(
            "fragment e\n{}g *= {}\n",
            lines(250, |i| format!("hyper h{i} = 1")),
            sum(250, |i| format!("h{i}"))
        )],
    );
    add(
        "a fragment of comments used often",
        format!("{rule}{}p -= g\n", used(4000, "e")),
        vec![filled("fragment e\n", "#\n", "g *= 2\n")],
    );
    add(
        "a fragment with mistakes used often",
        format!("{rule}{}p -= g\n", used(8000, "e")),
        vec![filled("fragment e\n", "g *= x\n", "")],
    );
    add("many files that are not there", filled_lines(&rule, |i| format!("use n{i}"), "p -= g\n"), vec![]);
    add(
        "many files",
        format!("{rule}{}p -= g\n", lines(1000, |i| format!("use f{i}"))),
        (0..1000).map(|i| format!("fragment f{i}\ng *= 2\n")).collect(),
    );
    add(
        "many long files",
        format!("{rule}{}p -= g\n", lines(40, |i| format!("use f{i}"))),
        (0..40).map(|i| filled(&format!("fragment f{i}\ng *= 2\n"), "#\n", "")).collect(),
    );
    add(
        "many files with mistakes",
        format!("{rule}{}p -= g\n", lines(40, |i| format!("use f{i}"))),
        (0..40).map(|i| filled(&format!("fragment f{i}\n"), "g *= )\n", "")).collect(),
    );
    add(
        "unknown hypers of a fragment with many",
        format!("{rule}use e({})\np -= g\n", (0..20_000).map(|i| format!("q{i} = 1")).collect::<Vec<_>>().join(", ")),
        vec![format!(
            "fragment e\n{}g *= {}\n",
            lines(250, |i| format!("hyper {}{i} = 1", "h".repeat(400))),
            sum(250, |i| format!("{}{i}", "h".repeat(400)))
        )],
    );
    add(
        "eight deep, two each",
        rule.clone() + "use f0\np -= g\n",
        (0..8)
            .map(|i| {
                if i == 7 {
                    format!("fragment f7\n{}", lines(14, |_| "g = g*2 + 1".into()))
                } else {
                    format!("fragment f{i}\nuse f{0} as a\nuse f{0} as b\n", i + 1)
                }
            })
            .collect(),
    );
    add(
        "all in a circle",
        format!("{rule}{}p -= g\n", lines(500, |i| format!("use f{i}"))),
        (0..500).map(|i| format!("fragment f{i}\nuse f{}\ng *= 2\n", (i + 1) % 500)).collect(),
    );
    add(
        "each uses all",
        format!("{rule}{}p -= g\n", lines(60, |i| format!("use f{i}"))),
        (0..60).map(|i| format!("fragment f{i}\n{}g *= 2\n", lines(60, |j| format!("use f{j}")))).collect(),
    );
    add(
        "each uses all after it",
        format!("{rule}{}p -= g\n", lines(60, |i| format!("use f{i}"))),
        (0..60)
            .map(|i| format!("fragment f{i}\n{}g *= 2\n", lines(59 - i, |j| format!("use f{}", i + 1 + j))))
            .collect(),
    );
    add("shipped rules used often", filled_lines(&rule, |i| format!("use adamw as a{i}"), ""), vec![]);
}

/// Texts that are no rules, as long as a text may be.
fn texts(all: &mut Vec<Hostile>) {
    let mut add = |what: &'static str, start: &str, unit: &str, end: &str| {
        all.push(Hostile { what, text: filled(&format!("optimizer sample\n{start}"), unit, &format!("{end}\n")) });
    };
    for (what, start, unit, end) in [
        ("( ( (", "p = ", "(", ""),
        ("(a + (a + ", "p = ", "(a + ", ""),
        ("f(f(f(", "p = ", "f(", "1"),
        ("a[a[a[", "p = ", "a[", ""),
        ("{ { {", "", "{", ""),
        ("} } }", "", "}", ""),
        ("if a { if a {", "", "if a {", ""),
        ("if a {, a line each", "", "if a {\n", "p = 1"),
        ("} else if a { on one line", "if a { p = 1 ", "} else if a { p = 1 ", "}"),
        ("} else if a {, a line each", "if a {\n", "} else if a {\n", "}"),
        ("a+a+a", "p = ", "a+", "a"),
        ("a a a", "p = ", "a ", "a"),
        ("a < a < a", "p = ", "a < ", "a"),
        ("not not not", "p = ", "not ", "a"),
        ("- - -", "p = ", "-", "a"),
        ("and not or", "p = ", "a and not b or ", "a"),
        ("2^2^2", "p = 2", "^2", ""),
        ("if then if then", "p = ", "if a then ", "a"),
        ("if then else if", "p = ", "if a then b else ", "a"),
        ("if if if", "p = ", "if ", "a"),
        ("max(a, a, a", "p = max(", "a, ", "a)"),
        ("a sum on many lines", "p = (", "a +\n", "a)"),
        ("a sum on many lines with comments", "p = (", "a + # c\n", "a)"),
        ("p = ( on each line", "", "p = (\n", ""),
        (") on each line", "", ")\n", ""),
        ("p = ) on each line", "", "p = )\n", ""),
        ("a letter on each line", "", "a\n", ""),
        ("a quote on each line", "", "\"\n", ""),
        ("a # on each line", "", "#\n", ""),
        ("empty lines", "", "\n", ""),
        ("blanks", "", " ", ""),
        ("p=1; on one line", "", "p=1;", ""),
        ("1.", "p = ", "1.", ""),
        ("accents", "p = ", "\u{301}", ""),
        ("accents on a letter", "p = a", "\u{301}", ""),
        ("names with dots", "p = a", ".a", ""),
        ("wide letters", "p = ", "漢", ""),
        ("escapes", "p = ", "\u{1b}[2J", ""),
        ("right to left", "p = ", "\u{202e}", ""),
        ("zeros", "", "\0", ""),
        ("broken hypers", "", "hyper a =\n", ""),
        ("headers", "", "optimizer a\n", ""),
        ("carriage returns", "", "\r", ""),
        ("digits", "p = ", "1", ""),
    ] {
        add(what, start, unit, end);
    }
    all.push(Hostile { what: "a file that is too long", text: "a".repeat(4 << 20) });
}

/// Schedules.
fn schedules(all: &mut Vec<Hostile>) {
    let mut add = |what: &'static str, text: String, others: Vec<String>| {
        let text = format!("schedule sample\n{text}");
        all.push(Hostile { what, text: std::iter::once(text).chain(others).collect::<Vec<_>>().join("\n====\n") });
    };
    add("a schedule of additions", format!("value = base{}\n", " + s".repeat(4094)), vec![]);
    add(
        "a schedule of conditions",
        format!("value = base\n{}", lines(1300, |i| format!("if s == {i} {{ value = {i} }}"))),
        vec![],
    );
    add(
        "64 states of a schedule",
        format!(
            "{}{}value = base\n",
            lines(64, |i| format!("state k{i} = 0")),
            lines(64, |i| format!("k{i} += s*{i}"))
        ),
        vec![],
    );
    add(
        "calls of a schedule with a long list",
        format!("value = {}\n", sum(4000, |_| "l()".into())),
        vec![filled("schedule l\nhyper l = [1", ", 1", "]\nvalue = len(l)\n")],
    );
    add(
        "calls of a schedule with many modes",
        format!("value = {}\n", sum(4000, |_| "l()".into())),
        vec![format!(
            "schedule l\nhyper m = one of {}\nvalue = if m == x7 then 1 else base\n",
            (0..20_000).map(|i| format!("x{i}")).collect::<Vec<_>>().join(" | ")
        )],
    );
    add("calls of schedules that are not there", format!("value = {}\n", sum(20_000, |i| format!("x{i}()"))), vec![]);
    add("calls of one that is not there", format!("value = {}\n", sum(40_000, |_| "x()".into())), vec![]);
    add(
        "calls with unknown names",
        format!("value = cosine({})\n", (0..20_000).map(|i| format!("q{i} = 1")).collect::<Vec<_>>().join(", ")),
        vec![],
    );
    add("calls without names", format!("value = cosine({})\n", vec!["1"; 60_000].join(", ")), vec![]);
    add(
        "long lists that are counted",
        filled("hyper l = [1", ", 1", &format!("]\nvalue = {}\n", sum(200, |i| format!("count(l <= s + {i})")))),
        vec![],
    );
}
