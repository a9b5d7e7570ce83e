//! How diagnostics are drawn, and how they are written as JSON.

use updraft::diagnostic::{Color, json, render, render_all};
use updraft::{Code, Diagnostic, SourceFile, Span};

fn find(text: &str, part: &str) -> Span {
    let start = text.find(part).unwrap();
    Span::new(start, start + part.len())
}

#[test]
fn a_diagnostic_is_drawn_with_everything_it_has() {
    let text = "optimizer example\nhyper lr = 1e-3\nstate m = 0\np -= lrr * g\n";
    let file = SourceFile::new("example.opt", text);
    let error = Diagnostic::new(Code::UnknownName, find(text, "lrr"), "there is no `lrr`")
        .label("not declared")
        .also(find(text, "lr"), "did you mean this?")
        .help("write `lr`");
    let lint = Diagnostic::new(Code::UnusedState, find(text, "m ="), "nothing reads `m`");
    insta::assert_snapshot!(render_all(&file, &[lint.clone(), error.clone()], Color::Never));
    insta::assert_snapshot!(render(&file, &error, Color::Always));
    insta::assert_snapshot!(format!("{:#}\n{:#}", json(&file, &error), json(&file, &lint)));
}

#[test]
fn every_place_of_a_file_can_be_drawn() {
    let texts = [
        "",
        "\n",
        "a",
        "a\n",
        "\n\n",
        "a\r\nb\r\n",
        "\tp = 漢字 + e\u{301}\n\t\tq",
        "a\n\n\nb",
        "\u{FEFF}a",
        "ends in a tab\t",
    ];
    let mut drawn = String::new();
    for text in texts {
        let file = SourceFile::new("example.opt", text);
        let places: Vec<usize> = (0..=text.len()).filter(|&i| text.is_char_boundary(i)).collect();
        for &start in &places {
            for &end in places.iter().filter(|&&end| end >= start) {
                let one = Diagnostic::new(Code::UnexpectedToken, Span::new(start, end), "message").label("label");
                let two = one.clone().also(Span::new(0, 0), "start").also(Span::new(text.len(), text.len()), "end");
                let shown = render(&file, &one, Color::Never);
                assert!(shown.contains("label") && shown.contains("example.opt:"), "{text:?} {start}..{end}\n{shown}");
                assert!(shown.ends_with('\n') && !shown.ends_with("\n\n"), "{text:?} {start}..{end}\n{shown}");
                let shown = render(&file, &two, Color::Never);
                assert!(shown.contains("start") && shown.contains("end"), "{text:?} {start}..{end}\n{shown}");
            }
        }
        let whole =
            Diagnostic::new(Code::UnexpectedToken, Span::new(0, text.len()), "the whole file").label("all of it");
        let behind = Diagnostic::new(Code::UnexpectedToken, Span::new(text.len(), text.len()), "the end").label("here");
        drawn += &format!("{text:?}\n{}", render_all(&file, &[whole, behind], Color::Never));
    }
    insta::assert_snapshot!(drawn);
}

/// A place outside of the file is a fault of the compiler, but not one to die of while it reports something else.
#[test]
fn a_place_outside_of_the_file_is_drawn_at_its_end() {
    let file = SourceFile::new("example.opt", "p -= g\n");
    let diagnostic = Diagnostic::new(Code::UnexpectedToken, Span::new(100, 200), "message");
    assert!(render(&file, &diagnostic, Color::Never).contains("message"));
}

#[test]
fn nothing_of_the_source_reaches_the_terminal_unfiltered() {
    for c in (0..0x3000).chain(0xFE00..0xFF00).filter_map(char::from_u32).filter(|&c| c != '\n') {
        let text = format!("p -= \"{c}[31m\" # {c}\n");
        let file = SourceFile::new(format!("{c}.opt"), text.clone());
        let diagnostic = Diagnostic::new(Code::UnexpectedToken, find(&text, "\""), format!("found {c}"))
            .label(format!("label {c}"))
            .also(find(&text, "#"), format!("also {c}"))
            .help(format!("help {c}"));
        let drawn = render(&file, &diagnostic, Color::Never);
        let harmful = |c: char| {
            (c.is_control() && c != '\n' && c != '\t')
                || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!drawn.contains(harmful), "{:04X}: {drawn:?}", u32::from(c));
    }
}

#[test]
fn drawing_many_findings_takes_no_longer_than_reading_them() {
    // Each is drawn from the lines around it: were the whole file looked at each time, this would take hours.
    let file = SourceFile::new("example.opt", "p = )\n".repeat(40_000));
    let one = |at: usize| Diagnostic::new(Code::UnexpectedToken, Span::new(at, at + 1), "message").label("label");
    let found: Vec<Diagnostic> = (0..40_000).map(|line| one(6 * line + 4)).collect();
    assert!(render_all(&file, &found, Color::Never).lines().count() > 200_000);
}
