//! The command line: the one part of the crate that reads arguments, prints, and ends the process.
//!
//! Comes in: the arguments, files, the terminal. Goes out: text on stdout, what went wrong on stderr, files, and an exit
//! code: 0, 1 for errors, 2 for arguments that make no sense. Each subcommand is a file here with its `Args` and its
//! `run`; this one holds the tree and what they share. Nothing is decided here that the library could decide: a
//! subcommand reads, calls, prints.
//!
//! Nothing is written before all of a command has succeeded. Text from files reaches a terminal only without control
//! characters. A reader that closes its pipe ends the command quietly.

mod apply;
mod bench;
mod check;
mod completions;
mod doc;
mod emit;
mod explain;
mod fmt;
mod inspect;
mod list;
mod schedule;
mod train;

use crate::diagnostic::{Color, CompileError, did_you_mean, harmless, render_all};
use crate::library::{self, Beside};
use crate::syntax::ast::FileKind;
use crate::{
    Error, HyperValue, OptimizerBuilder, Rule, SHIPPED, SHIPPED_FRAGMENTS, SHIPPED_SCHEDULES, Schedule, Severity,
    SourceFile, Store,
};
use clap::{Parser, Subcommand};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use unicode_normalization::UnicodeNormalization;

/// The arguments.
#[derive(Parser)]
#[command(
    name = "updraft",
    version,
    about = "Compiles deep-learning optimizers written as short update-rule files into fused native kernels",
    after_help = "A RULE is a path or the name of a shipped rule, a SCHED a path or the name of a shipped schedule,\nor several \
                  that are joined: `linear(total_iters=100) for 100 then cosine(t_max=900)`.\n`updraft list` shows what is shipped.",
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Fmt(fmt::Args),
    Explain(explain::Args),
    List(list::Args),
    Doc(doc::Args),
    Emit(emit::Args),
    Apply(apply::Args),
    Schedule(schedule::Args),
    Train(train::Args),
    Inspect(inspect::Args),
    Bench(bench::Args),
    Completions(completions::Args),
}

/// Reads the arguments of the process, does what they say, and gives the exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::List(args) => list::run(&args),
        Command::Doc(args) => doc::run(&args),
        Command::Emit(args) => emit::run(&args),
        Command::Apply(args) => apply::run(&args),
        Command::Schedule(args) => schedule::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    match result {
        Ok(()) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            if matches!(failure, Failure::Usage(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Why a command did not succeed.
enum Failure {
    /// In words.
    Message(String),
    /// Arguments that are fine one by one, but not together.
    Usage(String),
    /// A rule does not compile.
    Compile(CompileError),
    /// Everything has been said.
    Told,
    /// Nobody reads stdout any more.
    ClosedPipe,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Compile(error) => Failure::Compile(error),
            error => Failure::Message(error.to_string()),
        }
    }
}

/// Says on stderr what went wrong.
fn tell(failure: &Failure) {
    let (diagnostics, message) = match failure {
        Failure::Message(message) | Failure::Usage(message) => (String::new(), message.clone()),
        Failure::Compile(error) => {
            let file = error.file();
            let found = error.diagnostics();
            let errors = found.iter().filter(|diagnostic| diagnostic.severity() == Severity::Error).count();
            let drawn = render_all(file, found, color(&io::stderr()));
            (drawn + "\n", format!("`{}` does not compile: {}", file.name(), count(errors, "error")))
        }
        Failure::Told | Failure::ClosedPipe => return,
    };
    say_on_stderr("error", &diagnostics, &message);
}

/// Says on stderr what is no error.
fn warn(message: &str) {
    say_on_stderr("warning", "", message);
}

/// Says on stderr what is as it was asked for, but worth knowing.
fn note(message: &str) {
    say_on_stderr("note", "", message);
}

fn say_on_stderr(level: &str, before: &str, message: &str) {
    let styles = clap::builder::Styles::styled();
    let style = match (color(&io::stderr()), level) {
        (Color::Never, _) => clap::builder::styling::Style::new(),
        (Color::Always, "error") => *styles.get_error(),
        (Color::Always, "note") => *styles.get_valid(),
        (Color::Always, _) => *styles.get_invalid(),
    };
    // If nobody reads stderr there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{before}{style}{level}:{style:#} {}", harmless(message));
}

/// Writes to stdout.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ClosedPipe),
        Err(error) => Err(Failure::Message(format!("cannot write to stdout: {error}"))),
    }
}

/// Colours are for terminals, unless the user wants none (no-color.org) or the terminal has none.
fn color(stream: &impl IsTerminal) -> Color {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let unknown = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    if stream.is_terminal() && !unwanted && !unknown { Color::Always } else { Color::Never }
}

/// The columns of the terminal that stdout is, if it is one.
fn columns() -> Option<usize> {
    console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
}

/// Reads a rule file; `-` is stdin.
fn read_source(path: &Path) -> Result<SourceFile, Failure> {
    let from_stdin = path == Path::new("-");
    let read = if from_stdin { library::text(io::stdin().lock()) } else { library::read(path) };
    let name = if from_stdin { "(stdin)".to_string() } else { path.to_string_lossy().into_owned() };
    let text = read.map_err(|error| Failure::Message(format!("cannot read `{name}`: {error}")))?;
    let file = SourceFile::new(name, text);
    if !from_stdin {
        return Ok(file);
    }
    // A rule is called what its file is called. What has no file is called what it says it is called.
    let header = crate::syntax::parse(&file).ast.header;
    Ok(header.map_or(file.clone(), |header| {
        SourceFile::new(format!("(stdin)/{}.{}", header.name.text, header.kind.extension()), file.text())
    }))
}

/// The rule that an argument means: a shipped one, if it is no path, else a file.
fn load_rule(argument: &Path) -> Result<Rule, Failure> {
    let name = argument.to_str().filter(|text| !text.contains(['/', '\\']) && !text.ends_with(".opt"));
    if let Some(name) = name {
        // That a fragment does not run by itself is said by what does not compile it.
        if SHIPPED.iter().chain(SHIPPED_FRAGMENTS).any(|(shipped, _)| *shipped == name) {
            return Ok(Rule::shipped(name)?);
        }
        if !argument.exists() && name != "-" {
            let similar = did_you_mean(name, SHIPPED.iter().map(|(shipped, _)| *shipped));
            let hint = similar.map_or(String::new(), |similar| format!(" (did you mean `{similar}`?)"));
            return Err(Failure::Message(format!(
                "no shipped rule is called `{name}`{hint}, and there is no such file; `updraft list` shows what is shipped"
            )));
        }
    }
    Ok(Rule::compile_with(read_source(argument)?, &Beside::of(argument)).map_err(Error::from)?)
}

/// What an argument means that may be a rule, a fragment or a schedule.
fn load_any(argument: &Path) -> Result<Rule, Failure> {
    let name = argument.to_str().filter(|text| !text.contains(['/', '\\', '.']));
    let has = |table: &[(&str, &str)], name: &str| table.iter().any(|(shipped, _)| *shipped == name);
    let file = match name {
        Some(name) if has(SHIPPED, name) => return load_rule(argument),
        Some(name) if has(SHIPPED_FRAGMENTS, name) => return Ok(Rule::shipped_kind(FileKind::Fragment, name)?),
        Some(name) if has(SHIPPED_SCHEDULES, name) => return Ok(Rule::shipped_kind(FileKind::Schedule, name)?),
        Some(name) if name != "-" && !argument.exists() => {
            let all = [SHIPPED, SHIPPED_FRAGMENTS, SHIPPED_SCHEDULES].concat();
            let similar = did_you_mean(name, all.iter().map(|(shipped, _)| *shipped));
            let hint = similar.map_or(String::new(), |similar| format!(" (did you mean `{similar}`?)"));
            return Err(Failure::Message(format!(
                "no shipped rule, fragment or schedule is called `{name}`{hint}, and there is no such file; `updraft list` \
                 shows what is shipped"
            )));
        }
        _ => read_source(argument)?,
    };
    let kind = crate::syntax::parse(&file).ast.header.map_or(FileKind::Optimizer, |header| header.kind);
    Ok(Rule::compile_kind(file, kind, &Beside::of(argument)).map_err(Error::from)?)
}

/// The schedule that an argument means: a path, or a text of names, calls and what joins them.
fn load_schedule(text: &str) -> Result<Schedule, Failure> {
    let path = Path::new(text);
    if text.contains(['/', '\\']) && path.is_file() || text.ends_with(".sched") && !text.contains(['(', '*', '+']) {
        // The same look at the file as at rules: as much as it may have, and that it is text.
        read_source(path)?;
        return Ok(Schedule::load(path)?);
    }
    Ok(text.parse()?)
}

/// Reads `hyper=SCHED` for `--schedule`.
fn parse_schedule(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((hyper, schedule)) if !schedule.trim().is_empty() => {
            Ok((hyper.trim().nfc().collect(), schedule.trim().to_string()))
        }
        _ => Err("write HYPER=SCHED, for instance 'lr=cosine(t_max=1000)'".to_string()),
    }
}

/// Reads `name=value` for `--set`.
fn parse_set(text: &str) -> Result<(String, HyperValue), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write NAME=VALUE, for instance lr=3e-4".to_string());
    };
    if value.trim().is_empty() {
        return Err(format!("`{}` has no value: write NAME=VALUE, for instance lr=3e-4", name.trim()));
    }
    let Ok(value) = value.parse::<HyperValue>();
    // Names in rule files are in this form, whatever the keyboard gives.
    Ok((name.trim().nfc().collect(), value))
}

/// Reads `m=bf16`.
fn parse_store(text: &str) -> Result<(String, Store), String> {
    let names = || Store::ALL.map(Store::name);
    let Some((name, store)) = text.split_once('=') else {
        return Err("write NAME=DTYPE, for instance m=bf16".to_string());
    };
    let Some(store) = Store::from_name(store.trim()) else {
        let similar = did_you_mean(store.trim(), names());
        let similar = similar.map_or(String::new(), |similar| format!(" (did you mean `{similar}`?)"));
        return Err(format!("`{}` is none of {}{similar}", store.trim(), names().join(", ")));
    };
    Ok((name.trim().nfc().collect(), store))
}

/// Holds settings to several rules: each is a hyper of one of them at least.
fn check_settings(rules: &[Rule], set: &[(String, HyperValue)]) -> Result<(), Failure> {
    for (name, value) in set {
        if rules.iter().any(|rule| has_hyper(rule, name)) {
            continue;
        }
        if let [rule] = rules {
            // It says which there are.
            rule.optimizer().set(name, value.clone())?;
        }
        let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
        return Err(Failure::Message(format!("none of {} has a hyper `{name}`", names.join(", "))));
    }
    Ok(())
}

/// An optimizer of a rule, with the hypers that it has of those that were set.
fn with_settings(rule: &Rule, set: &[(String, HyperValue)]) -> Result<OptimizerBuilder, Error> {
    let own = set.iter().filter(|(name, _)| has_hyper(rule, name));
    own.into_iter().try_fold(rule.optimizer(), |builder, (name, value)| builder.set(name, value.clone()))
}

fn has_hyper(rule: &Rule, name: &str) -> bool {
    rule.hypers().any(|hyper| hyper.name == name)
}

/// Writes all files or none.
fn write_files(files: &[(&Path, &[u8])]) -> Result<(), Failure> {
    crate::files::write_all(files)
        .map_err(|(path, error)| Failure::Message(format!("cannot write `{}`: {error}", path.display())))
}

/// A field of a line of CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

/// `1 file`, `2 files`.
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Text in lines of at most `width` columns, each but the first behind `margin` blanks.
fn wrap(text: &str, width: usize, margin: usize) -> String {
    let mut out = String::new();
    let mut column = margin;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > margin && column + 1 + length > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', margin));
            column = margin;
        } else if column > margin {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += length;
    }
    out
}

/// The lines of `text`, each behind four blanks.
fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_string() } else { format!("    {line}\n") }).collect()
}

/// A table in Markdown whose columns are aligned in plain text too.
fn markdown_table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out += &format!("| {} |\n", cells.join(" | "));
        if index == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            out += &format!("| {} |\n", rules.join(" | "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_arguments_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_are_numbers_flags_lists_or_modes() {
        assert_eq!(parse_set("lr=1e-3"), Ok(("lr".to_string(), HyperValue::Number(1e-3))));
        assert_eq!(parse_set(" lr = -inf"), Ok(("lr".to_string(), HyperValue::Number(f64::NEG_INFINITY))));
        assert_eq!(parse_set("nesterov=true"), Ok(("nesterov".to_string(), HyperValue::Flag(true))));
        assert_eq!(parse_set("at=[30, 60]"), Ok(("at".to_string(), HyperValue::List([30.0, 60.0].into()))));
        assert_eq!(parse_set("mode=max"), Ok(("mode".to_string(), HyperValue::Mode("max".into()))));
        // An e with its accent apart is the same letter.
        assert_eq!(parse_set("e\u{301}=1"), Ok(("\u{e9}".to_string(), HyperValue::Number(1.0))));
        assert!(parse_set("lr").is_err() && parse_set("lr=").is_err() && parse_set("lr= ").is_err());
    }

    #[test]
    fn fields_are_quoted_where_they_need_it() {
        assert_eq!([quoted("step"), quoted("a(b=1, c=\"x\")")], ["step", "\"a(b=1, c=\"\"x\"\")\""]);
    }

    #[test]
    fn text_is_wrapped_at_words() {
        assert_eq!(wrap("a bb  ccc dddd", 5, 0), "a bb\nccc\ndddd");
        assert_eq!(wrap("aaaaaaaa b c", 5, 2), "aaaaaaaa\n  b c");
        assert_eq!(wrap("", 5, 2), "");
    }
}
