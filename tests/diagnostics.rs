//! Every message of the compiler, as a person sees it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use updraft::check::check_with;
use updraft::diagnostic::{Color, Diagnostic, render_all};
use updraft::library::{Beside, Library};
use updraft::syntax::ast::FileKind;
use updraft::{Code, Severity, SourceFile, syntax};

/// All that is said about a file, errors and lints. What it calls is found beside it first.
fn findings(file: &SourceFile) -> Vec<Diagnostic> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics").join(file.name());
    match check_with(&syntax::parse(file), &Named(Beside::of(&beside))) {
        Ok(checked) => checked.lints,
        Err(errors) => errors,
    }
}

/// Files whose names are shown without their folder.
struct Named(Beside);

impl Library for Named {
    fn find(&self, kind: FileKind, stem: &str) -> Option<SourceFile> {
        let file = self.0.find(kind, stem)?;
        let name = file.name().rsplit(['/', '\\']).next().unwrap_or_default();
        Some(SourceFile::new(name, file.text()))
    }

    fn stems(&self, kind: FileKind) -> Vec<String> {
        self.0.stems(kind)
    }
}

fn drawn(file: &SourceFile) -> String {
    render_all(file, &findings(file), Color::Never)
}

/// The code that a file is named for: `unknown_name_of_a_local.opt` is about `unknown-name`.
fn code_of(stem: &str) -> Option<Code> {
    let stem = stem.replace('-', "_");
    let about = |code: &Code| {
        let slug = code.slug().replace('-', "_");
        stem.strip_prefix(&slug).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    Code::ALL.iter().copied().filter(about).max_by_key(|code| code.slug().len())
}

fn read(path: &std::path::Path) -> SourceFile {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    SourceFile::new(name, std::fs::read_to_string(path).unwrap())
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_rule = |path: &PathBuf| path.extension().is_some_and(|e| e == "opt" || e == "sched");
    let mut files: Vec<PathBuf> = paths.filter(is_rule).collect();
    files.sort();
    files
}

#[test]
fn messages_are_worth_reading() {
    insta::glob!("diagnostics/*.{opt,sched}", |path| insta::assert_snapshot!(drawn(&read(path))));
}

/// Files for limits that no file of a sensible size exceeds.
fn too_large() -> Vec<(Code, SourceFile)> {
    let long = format!("optimizer long\n{}", "#".repeat(256 * 1024));
    let hypers: String = (0..300).map(|i| format!("hyper h{i} = 1\n")).collect();
    let product = format!("p -= {}g\n", "g * ".repeat(4200));
    let chain: String = (0..70).map(|i| format!("if t == {i} {{\n    p -= g\n}} else ")).collect();
    [
        (Code::SourceTooLong, "long", long),
        (Code::TooManyNames, "hypers", format!("optimizer hypers\n{hypers}p -= g * h299\n")),
        (Code::TooManyOperations, "product", format!("optimizer product\n{product}{product}")),
        (Code::NestingTooDeep, "chain", format!("optimizer chain\n{chain}{{\n    p += g\n}}\n")),
    ]
    .into_iter()
    .map(|(code, stem, text)| (code, SourceFile::new(format!("{stem}.opt"), text)))
    .collect()
}

#[test]
fn limits_are_said_once() {
    for (code, file) in too_large() {
        let found = findings(&file);
        assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), [code]);
        // The line itself may be as long as the file.
        let mut texts: Vec<String> = vec![format!("{}: {}", code, found[0].message), found[0].primary.text.clone()];
        texts.extend(found[0].help.clone());
        insta::assert_snapshot!(file.stem(), texts.join("\n"));
    }
}

#[test]
fn every_code_has_a_file_that_has_it() {
    let mut seen: BTreeSet<Code> = too_large().iter().map(|(code, _)| *code).collect();
    for path in files("tests/diagnostics") {
        let file = read(&path);
        let code = code_of(file.stem()).unwrap_or_else(|| panic!("{} is named for no code", file.name()));
        let found = findings(&file);
        assert!(found.iter().any(|d| d.code == code), "{} has no {code}\n{}", file.name(), drawn(&file));
        // A lint is not shown together with errors.
        assert!(
            code.severity() == Severity::Error || found.iter().all(|d| d.severity() == Severity::Warning),
            "{}\n{}",
            file.name(),
            drawn(&file)
        );
        seen.insert(code);
    }
    let missing: Vec<&Code> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "no file in tests/diagnostics for {missing:?}");
}

#[test]
fn explained_examples_have_what_they_explain_and_nothing_else() {
    for code in Code::ALL {
        let example = |text: &str| SourceFile::new("example.opt", text);
        let explanation = code.explain();
        assert_eq!(drawn(&example(explanation.good)), "", "{code}");
        assert_eq!(
            syntax::print(&syntax::parse(&example(explanation.good))).as_deref(),
            Some(explanation.good),
            "{code}"
        );
        if let Some(bad) = explanation.bad {
            let codes: Vec<Code> = findings(&example(bad)).iter().map(|d| d.code).collect();
            assert_eq!(codes, [*code], "{}", drawn(&example(bad)));
        }
    }
}

#[test]
fn shipped_rules_are_clean_and_formatted() {
    let (rules, schedules) = (files("optimizers"), files("optimizers/schedules"));
    assert!(rules.len() >= 23 && schedules.len() >= 34, "{} and {}", rules.len(), schedules.len());
    for path in rules.into_iter().chain(schedules) {
        let file = read(&path);
        assert_eq!(drawn(&file), "", "{}", file.name());
        assert_eq!(syntax::print(&syntax::parse(&file)).as_deref(), Some(file.text()), "{}", file.name());
    }
}
