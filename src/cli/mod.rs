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
mod check;
mod completions;
mod doc;
mod emit;
mod explain;
mod fmt;
mod list;
mod train;

use crate::check::number_text;
use crate::diagnostic::{Color, CompileError, did_you_mean, harmless, render_all};
use crate::{Error, HyperValue, Rule, SHIPPED, Severity, SourceFile};
use clap::{Parser, Subcommand};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use unicode_normalization::UnicodeNormalization;

/// The arguments.
#[derive(Parser)]
#[command(
    name = "updraft",
    version,
    about = "Compiles deep-learning optimizers written as short update-rule files into fused native kernels",
    after_help = "A RULE is a path or the name of a shipped rule; `updraft list` shows those.",
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
    Train(train::Args),
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
        Command::Train(args) => train::run(&args),
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

fn say_on_stderr(level: &str, before: &str, message: &str) {
    let styles = clap::builder::Styles::styled();
    let style = match (color(&io::stderr()), level) {
        (Color::Never, _) => clap::builder::styling::Style::new(),
        (Color::Always, "error") => *styles.get_error(),
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

/// What is read of a rule file: more than a rule may have, so that a longer one is found out, and never without end.
const READ: u64 = 1 << 20;

/// Reads a rule file; `-` is stdin.
fn read_source(path: &Path) -> Result<SourceFile, Failure> {
    let from_stdin = path == Path::new("-");
    let mut bytes = Vec::new();
    let read = if from_stdin {
        io::stdin().lock().take(READ).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(READ).read_to_end(&mut bytes))
    };
    let name = if from_stdin { "(stdin)".to_string() } else { path.to_string_lossy().into_owned() };
    read.map_err(|error| Failure::Message(format!("cannot read `{name}`: {error}")))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        // It was cut, perhaps inside a character; the parser will say that it is too long.
        Err(error) if error.as_bytes().len() as u64 == READ => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            return Err(Failure::Message(format!("cannot read `{name}`: it is not UTF-8 (byte {at})")));
        }
    };
    let file = SourceFile::new(name, text);
    if !from_stdin {
        return Ok(file);
    }
    // A rule is called what its file is called. What has no file is called what it says it is called.
    let header = crate::syntax::parse(&file).ast.header;
    Ok(header.map_or(file.clone(), |header| SourceFile::new(format!("(stdin)/{}.opt", header.name.text), file.text())))
}

/// The rule that an argument means: a shipped one, if it is no path, else a file.
fn load_rule(argument: &Path) -> Result<Rule, Failure> {
    let name = argument.to_str().filter(|text| !text.contains(['/', '\\']) && !text.ends_with(".opt"));
    if let Some(name) = name {
        if SHIPPED.iter().any(|(shipped, _)| *shipped == name) {
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
    Ok(Rule::compile(read_source(argument)?).map_err(Error::from)?)
}

/// Reads `name=value` for `--set`.
fn parse_set(text: &str) -> Result<(String, HyperValue), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write NAME=VALUE, for instance lr=3e-4".to_string());
    };
    let value = match value.trim() {
        "true" => HyperValue::Flag(true),
        "false" => HyperValue::Flag(false),
        number => match number.parse() {
            Ok(number) => HyperValue::Number(number),
            Err(_) => return Err(format!("`{number}` is neither a number nor true or false")),
        },
    };
    // Names in rule files are in this form, whatever the keyboard gives.
    Ok((name.trim().nfc().collect(), value))
}

/// Writes all files or none.
fn write_files(files: &[(&Path, &[u8])]) -> Result<(), Failure> {
    crate::files::write_all(files)
        .map_err(|(path, error)| Failure::Message(format!("cannot write `{}`: {error}", path.display())))
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

/// `lr=0.001 beta1=0.9`: hypers as they are in force, as `--set` takes them.
fn hypers_text<'a>(hypers: impl Iterator<Item = (&'a str, HyperValue)>) -> String {
    let text = |(name, value): (&str, HyperValue)| match value {
        HyperValue::Number(x) => format!("{name}={}", number_text(x)),
        HyperValue::Flag(flag) => format!("{name}={flag}"),
        HyperValue::Mode(mode) => format!("{name}={mode}"),
        HyperValue::List(elements) => format!("{name}={}", crate::check::list_text(&elements)),
    };
    hypers.map(text).collect::<Vec<_>>().join(" ")
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
    fn settings_are_numbers_or_flags() {
        assert_eq!(parse_set("lr=1e-3"), Ok(("lr".to_string(), HyperValue::Number(1e-3))));
        assert_eq!(parse_set(" lr = -inf"), Ok(("lr".to_string(), HyperValue::Number(f64::NEG_INFINITY))));
        assert_eq!(parse_set("nesterov=true"), Ok(("nesterov".to_string(), HyperValue::Flag(true))));
        // An e with its accent apart is the same letter.
        assert_eq!(parse_set("e\u{301}=1"), Ok(("\u{e9}".to_string(), HyperValue::Number(1.0))));
        assert!(parse_set("lr").is_err() && parse_set("lr=[1]").is_err() && parse_set("lr=").is_err());
    }

    #[test]
    fn text_is_wrapped_at_words() {
        assert_eq!(wrap("a bb  ccc dddd", 5, 0), "a bb\nccc\ndddd");
        assert_eq!(wrap("aaaaaaaa b c", 5, 2), "aaaaaaaa\n  b c");
        assert_eq!(wrap("", 5, 2), "");
    }
}
