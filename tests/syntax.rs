//! The front end, from the outside: messages for broken files, round trips of the formatter, and hostile input.

mod sources;

use sources::Random;
use updraft::diagnostic::{Color, render_all};
use updraft::{Code, SourceFile, syntax};

/// Every file of `tests/syntax`, with all that is said about it.
#[test]
fn messages_are_worth_reading() {
    insta::glob!("syntax/*.opt", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = syntax::parse(&SourceFile::new(name, text));
        assert!(!parsed.diagnostics.is_empty(), "this file is supposed to be broken");
        insta::assert_snapshot!(render_all(&parsed.file, &parsed.diagnostics, Color::Never));
    });
}

/// What a rule file may contain, once each.
const SAMPLE: &str = "# A sample of everything.\n# Source: none.\noptimizer sample\nhyper lr = 1e-3 in [0, inf)\n\
    hyper β1 per model = 0.9 in (-1, 1] fixed  # decay\nhyper n = 3 in 1..10\nhyper mode = one of linear | cosine\n\
    hyper steps = [30, 60]\nhyper nesterov = true\nstate m per row as bf16 = 0\ninput loss per tensor = inf\n\
    def ema(a, b) = a + (1 - β1)*b\nrequire lr < 1, \"lr # is a rate\"\nuse adam as inner(lr = 2*lr, eps = 1e-6)\n\
    skip if not isfinite(loss) or t == 1\nlet d per tensor = norm(g per model) # allow(unused-value): it is a sample\n\
    if mode == cosine and lr >= 0 { g += m }\nif t % 2 == 0 {\n    m *= -2^-3  # first\n} else if t > steps[0] {\n\
    \x20   m /= (1 +  # inside\n        2)\n} else {\n    # nothing\n}\nreport x = inner.m\nview y = if t < 3 then p else (m)\n\
    p -= lr * m\r\n";

fn parse(text: &str) -> syntax::Parsed {
    syntax::parse(&SourceFile::new("sample.opt", text))
}

/// Runs on a stack of 2 MiB, as threads have it, whatever the test runner was started with.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}

/// Parses, draws and formats; all that is asked for is that it comes to an end.
fn survives(text: &str) {
    let parsed = parse(text);
    let place = |offset: u32| text.is_char_boundary(offset as usize);
    for diagnostic in &parsed.diagnostics {
        let span = diagnostic.primary.span;
        assert!(span.start <= span.end && place(span.start) && place(span.end), "{diagnostic:?} in {text:?}");
        assert!(!diagnostic.message.contains(char::is_control), "{diagnostic:?}");
    }
    let few = &parsed.diagnostics[..parsed.diagnostics.len().min(3)];
    let drawn = render_all(&parsed.file, few, Color::Never);
    assert!(!drawn.contains(|c: char| c.is_control() && c != '\n'), "{drawn:?}");
    let printed = syntax::print(&parsed);
    assert_eq!(printed.is_none(), parsed.has_errors());
}

#[test]
fn the_sample_parses() {
    let parsed = parse(SAMPLE);
    assert_eq!(render_all(&parsed.file, &parsed.diagnostics, Color::Never), "");
    insta::assert_debug_snapshot!(parsed.ast);
}

#[test]
fn every_prefix_and_every_deletion_survives() {
    on_a_small_stack(|| {
        for end in (0..SAMPLE.len()).filter(|&end| SAMPLE.is_char_boundary(end)) {
            survives(&SAMPLE[..end]);
        }
        for (start, c) in SAMPLE.char_indices() {
            survives(&format!("{}{}", &SAMPLE[..start], &SAMPLE[start + c.len_utf8()..]));
        }
    });
}

#[test]
fn noise_survives() {
    on_a_small_stack(|| {
        let words: Vec<&str> = SAMPLE.split_inclusive([' ', '\n', '(', '=']).collect();
        for seed in 0..3000 {
            let mut random = Random(seed);
            let bytes: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
            survives(&String::from_utf8_lossy(&bytes));
            let ascii: String = (0..random.below(200)).map(|_| random.below(128) as u8 as char).collect();
            survives(&ascii);
            let shuffled: String = (0..random.below(40)).map(|_| words[random.below(words.len())]).collect();
            survives(&shuffled);
        }
    });
}

#[test]
fn hostile_files_survive() {
    on_a_small_stack(|| {
        let most = 250 * 1024;
        let repeated = |start: &str, unit: &str, end: &str| {
            format!("optimizer sample\n{start}{}{end}\n", unit.repeat(most / unit.len()))
        };
        for (start, unit, end) in [
            ("p = ", "(", ""),
            ("p = ", "(a + ", ""),
            ("p = ", "f(", "1"),
            ("p = ", "a[", ""),
            ("", "{", ""),
            ("", "}", ""),
            ("", "if a {", ""),
            ("", "if a {\n", "p = 1"),
            ("if a { p = 1 ", "} else if a { p = 1 ", "}"),
            ("if a {\n", "} else if a {\n", "}"),
            ("p = ", "a+", "a"),
            ("p = ", "a ", "a"),
            ("p = ", "a < ", "a"),
            ("p = ", "not ", "a"),
            ("p = ", "-", "a"),
            ("p = ", "a and not b or ", "a"),
            ("p = 2", "^2", ""),
            ("p = 2", "^-2", ""),
            ("p = ", "if a then ", "a"),
            ("p = ", "if a then b else ", "a"),
            ("p = ", "if ", "a"),
            ("p = max(", "a, ", "a)"),
            ("p = max(", "-a, ", "a)"),
            ("p = (", "a +\n", "a)"),
            ("p = (", "a + # c\n", "a)"),
            ("hyper a = [", "1, ", "1]"),
            ("hyper a = one of a", "|a", ""),
            ("def f(", "a, ", "a) = 1"),
            ("use f(", "a = 1, ", "a = 1)"),
            ("", "p = (\n", ""),
            ("", ")\n", ""),
            ("", "\"\n", ""),
            ("", "#\n", ""),
            ("", "p=1;", ""),
            ("p = ", "1.", ""),
            ("p = ", "\u{301}", ""),
            ("p = a", "\u{301}", ""),
            ("p = a", ".a", ""),
            ("", "é̂", " = 1"),
        ] {
            survives(&repeated(start, unit, end));
        }
        survives(&"a".repeat(1 << 20));
        survives(&"(".repeat(100_000));
    });
}

#[test]
fn nesting_is_limited_and_flat_chains_are_not() {
    let nested = |depth: usize, open: &str, close: &str| {
        parse(&format!("optimizer sample\np = {}a{}\n", open.repeat(depth), close.repeat(depth))).diagnostics
    };
    for (open, close) in
        [("(", ")"), ("-", ""), ("f(", ")"), ("not ", ""), ("a^", ""), ("if a then b else ", ""), ("-(", ")")]
    {
        let each = if open == "-(" { 2 } else { 1 };
        assert_eq!(nested(64 / each, open, close), [], "{open}");
        let deeper = nested(64 / each + 1, open, close);
        assert_eq!(deeper.iter().map(|d| d.code.slug()).collect::<Vec<_>>(), ["nesting-too-deep"], "{open}");
    }
    let blocks = |depth: usize| {
        parse(&format!("optimizer sample\n{}p = a\n{}", "if a {\n".repeat(depth), "}\n".repeat(depth))).diagnostics
    };
    assert_eq!(blocks(64), []);
    assert_eq!(blocks(65).iter().map(|d| d.code.slug()).collect::<Vec<_>>(), ["nesting-too-deep"]);
    assert_eq!(nested(1, &"a + ".repeat(5000), ""), []);
    assert_eq!(nested(1, &"-a, f(b)^-2 * ".repeat(500).replace(',', " +"), ""), []);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let plain = parse(SAMPLE);
    let windows = parse(&SAMPLE.replace("\r\n", "\n").replace('\n', "\r\n"));
    let marked = parse(&format!("\u{FEFF}{SAMPLE}"));
    for other in [windows, marked] {
        assert_eq!(other.diagnostics, []);
        assert_eq!(without_spans(&other), without_spans(&plain));
    }
}

/// The tree as text, without the places in it: every `12..34` becomes `..`.
fn without_spans(parsed: &syntax::Parsed) -> String {
    let text = format!("{:?}", parsed.ast);
    let mut parts = text.split("..");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.truncate(kept.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        kept.push_str("..");
        kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    kept
}

/// The layout of `text`, which must parse.
fn formatted(text: &str) -> String {
    let parsed = parse(text);
    assert!(parsed.diagnostics.is_empty(), "{}\n{text}", render_all(&parsed.file, &parsed.diagnostics, Color::Never));
    syntax::print(&parsed).unwrap()
}

#[test]
fn the_sample_is_formatted() {
    insta::assert_snapshot!(formatted(SAMPLE));
}

/// Odd layouts, each with its canonical one.
#[test]
fn layouts_are_canonical() {
    insta::glob!("layout/*.opt", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        insta::assert_snapshot!(formatted(&text));
    });
}

#[test]
fn formatting_changes_nothing_but_the_layout() {
    for seed in 0..1200 {
        let text = sources::source(seed);
        let parsed = parse(&text);
        let printed = formatted(&text);
        let again = parse(&printed);
        assert!(without_spans(&again) == without_spans(&parsed), "seed {seed}\n{text}\n----\n{printed}");
        assert_eq!(formatted(&printed), printed, "seed {seed}\n{text}");
        let comments = |parsed: &syntax::Parsed| -> Vec<String> {
            parsed.comments.iter().map(|c| c.text.trim().to_owned()).collect()
        };
        assert_eq!(comments(&again), comments(&parsed), "seed {seed}\n{text}\n----\n{printed}");
        assert!(
            printed.ends_with('\n') && !printed.ends_with("\n\n") && !printed.contains("\n\n\n"),
            "seed {seed}\n{printed}"
        );
        assert!(printed.lines().all(|line| line.trim_end_matches([' ', '\t']) == line), "seed {seed}\n{printed}");
    }
}

#[test]
fn damaged_files_survive() {
    on_a_small_stack(|| {
        for seed in 0..300 {
            let text = sources::source(seed);
            let mut random = Random(seed);
            let at = |random: &mut Random| text.char_indices().nth(random.below(text.chars().count())).unwrap().0;
            let (start, end) = (at(&mut random), at(&mut random));
            survives(&text[start.min(end)..start.max(end)]);
            survives(&format!("{}{}", &text[..start.min(end)], &text[start.max(end)..]));
            survives(&format!("{}{}", &text[..end], &text[start..]));
        }
    });
}

/// Codes of the scan and of the parser; the others are the checker's.
const SYNTAX_CODES: &[Code] = &[
    Code::UnclosedBracket,
    Code::UnmatchedBrace,
    Code::UnterminatedText,
    Code::UnexpectedToken,
    Code::MalformedNumber,
    Code::MisplacedHeader,
];

#[test]
fn explained_examples_are_what_they_say() {
    for code in Code::ALL {
        let explanation = code.explain();
        let codes = |text: &str| -> Vec<Code> {
            let file = SourceFile::new("example.opt", text);
            syntax::parse(&file).diagnostics.iter().map(|d| d.code).collect()
        };
        assert!(explanation.what.split(". ").count() <= 6, "{code}");
        assert_eq!(codes(explanation.good), [], "{code}");
        assert_eq!(formatted(explanation.good), explanation.good, "{code}");
        if let Some(bad) = explanation.bad {
            assert_eq!(codes(bad), if SYNTAX_CODES.contains(code) { vec![*code] } else { vec![] }, "{code}");
        }
    }
}

#[test]
fn comments_belong_to_what_ends_before_them_on_their_line() {
    let text = "# detached\n\n# docs\n#  indented\noptimizer sample # header\nhyper a = 1 # one\nhyper b = (1 + # inside\n2) # two\n\
        if a > 1 { # three\np = a # four\n} # end\nif a > 1 { p = a } # five\nif (a >\n1) { p = b } else { p = a } # six\n\
        p = a # allow(unused-value): seven\np = b # allow( odd ) eight\n# own line\np = a #\np = b\n";
    let parsed = parse(text);
    assert_eq!(parsed.diagnostics, []);
    assert_eq!(parsed.ast.docs, ["docs", " indented"]);
    let attached: Vec<String> = parsed
        .ast
        .items
        .iter()
        .map(|item| match &item.allow {
            Some(allow) => format!("{}|{}|{}", allow.code.text, parsed.file.slice(allow.code.span), allow.reason),
            None => item.doc.clone().unwrap_or_default(),
        })
        .collect();
    assert_eq!(
        attached,
        ["one", "two", "three", "five", "six", "unused-value|unused-value|seven", "odd| odd |eight", "", ""]
    );
    assert_eq!(parsed.comments.len(), 16);
}

#[test]
fn a_broken_line_costs_one_message_and_still_declares_its_name() {
    let text = "optimizer sample\nhyper lr 1e-3\nparam beta = 0.9\nstate m\ndef f(a) = = a\nlet x = (1 +\nhyper y = 2\nif lr > { p = g }\n\
        p = (m\n";
    let parsed = parse(text);
    let declared: Vec<_> = parsed
        .ast
        .items
        .iter()
        .map(|item| match &item.kind {
            syntax::ast::ItemKind::Broken { declares } => declares.as_ref().map(|name| name.text.to_string()),
            _ => Some("whole".to_owned()),
        })
        .collect();
    let named = |name: &str| Some(name.to_owned());
    let expected = [named("lr"), named("beta"), named("m"), named("f"), named("x"), named("whole"), None, None];
    assert_eq!(declared, expected);
    assert_eq!(parsed.diagnostics.len(), 7);
}

#[test]
fn a_long_file_is_not_read() {
    let limit = 256 * 1024;
    let exact = format!("optimizer sample\n{}", "#".repeat(limit - 17));
    assert_eq!(parse(&exact).diagnostics, []);
    let parsed = parse(&(exact + "#"));
    assert_eq!(parsed.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), [Code::SourceTooLong]);
}
