//! `updraft doc`: a rule as a page that reads well in a terminal and is Markdown.
//!
//! The formula is the rule's own text in its canonical layout, so it cannot say anything else than what is compiled.

use super::list::{Kept, default_plan};
use super::{Failure, indented, load_any, markdown_table, print};
use crate::check::program::{Extent, HyperDefault};
use crate::check::{expression_text, print_program};
use crate::ir::Access;
use crate::plan::Sweep;
use crate::syntax::ast::{FileKind, Item, ItemKind};
use crate::syntax::parse;
use crate::{Rule, SourceFile};
use std::path::PathBuf;

/// Show what a rule, a fragment or a schedule does: formula, hypers, states, memory traffic
#[derive(clap::Args)]
pub(super) struct Args {
    /// A path, or the name of a shipped rule, fragment or schedule
    rule: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let rule = load_any(&args.rule)?;
    print(&page(&rule)?)
}

fn page(rule: &Rule) -> Result<String, Failure> {
    let program = rule.program();
    let mut text = format!("# {}\n", program.name);
    if !program.docs.is_empty() {
        let docs: Vec<&str> = program.docs.iter().map(|line| line.trim_end()).collect();
        text += &format!("\n{}\n", docs.join("\n"));
    }
    let formula = formula(rule);
    text += &format!("\n## Formula\n\n{}", indented(&formula));
    if uses(rule) {
        // The statements come after the declarations, which have no blank line among them.
        let whole = print_program(program);
        let statements = whole.split_once("\n\n").map_or("", |(_, statements)| statements);
        let brackets = if statements.contains('[') { " ([ ] hold what is an expression of its own)" } else { "" };
        text += &format!("\nWith what it uses in place, this is{brackets}\n\n{}", indented(statements));
    }
    if !program.hypers.is_empty() {
        let mut rows = vec![["hyper", "default", "values", ""].map(String::from).to_vec()];
        for (hyper, declared) in rule.hypers().zip(&program.hypers) {
            let modes = match &declared.default {
                HyperDefault::Mode(modes) => Some(modes.join(", ")),
                _ => None,
            };
            let values = match (&hyper.interval, hyper.default.as_bool(), hyper.fixed) {
                _ if modes.is_some() => modes.unwrap_or_default(),
                (Some(interval), _, true) => format!("{interval} fixed"),
                (Some(interval), _, false) => interval.clone(),
                (None, Some(_), _) => "true, false".to_string(),
                (None, None, true) => "fixed".to_string(),
                (None, None, false) => "any".to_string(),
            };
            rows.push(vec![hyper.name.to_string(), hyper.default.to_string(), values, doc(hyper.doc)]);
        }
        text += &format!("\n## Hypers\n\n{}", markdown_table(&rows));
    }
    if !program.requires.is_empty() {
        let lines =
            program.requires.iter().map(|it| format!("- `{}`: {}\n", expression_text(program, it.cond), it.message));
        text += &format!("\nRequired:\n\n{}", lines.collect::<String>());
    }
    if !program.states.is_empty() {
        let mut rows = vec![["state", "per", "starts as", ""].map(String::from).to_vec()];
        for state in &program.states {
            let init = expression_text(program, state.init);
            rows.push(vec![state.name.to_string(), state.extent.name().to_string(), init, doc(state.doc.as_deref())]);
        }
        text += &format!("\n## States\n\n{}", markdown_table(&rows));
    }
    if !program.inputs.is_empty() {
        let mut rows = vec![["input", "per", "default", ""].map(String::from).to_vec()];
        for input in &program.inputs {
            let default = input.default.map_or("none".to_string(), |id| expression_text(program, id));
            let row = [input.name.to_string(), input.extent.name().to_string(), default, doc(input.doc.as_deref())];
            rows.push(row.to_vec());
        }
        text += &format!("\n## Inputs\n\n{}", markdown_table(&rows));
    }
    if !program.reports.is_empty() {
        let mut rows = vec![["report", "per", ""].map(String::from).to_vec()];
        for report in &program.reports {
            let row = [report.name.to_string(), report.extent.name().to_string(), doc(report.doc.as_deref())];
            rows.push(row.to_vec());
        }
        text += &format!("\n## Reports\n\nScalars for the host, computed if it asks.\n\n{}", markdown_table(&rows));
    }
    if !program.views.is_empty() {
        let mut rows = vec![["view", "is", ""].map(String::from).to_vec()];
        for view in &program.views {
            let is = expression_text(program, view.value);
            rows.push(vec![view.name.to_string(), is, doc(view.doc.as_deref())]);
        }
        text += &format!("\n## Views\n\nTensors for the host, computed when it asks.\n\n{}", markdown_table(&rows));
    }
    // The others are not run by themselves.
    if program.kind != FileKind::Optimizer {
        return Ok(text);
    }
    Ok(text + &memory(rule)?)
}

/// Whether statements of other rules are part of it.
fn uses(rule: &Rule) -> bool {
    fn any(items: &[Item]) -> bool {
        items.iter().any(|item| match &item.kind {
            ItemKind::Use { .. } => true,
            ItemKind::If { branches, otherwise } => {
                branches.iter().map(|branch| &branch.block).chain(otherwise).any(|block| any(&block.items))
            }
            _ => false,
        })
    }
    any(&parse(&rule.program().file).ast.items)
}

/// A comment as the cell of a table.
fn doc(text: Option<&str>) -> String {
    text.unwrap_or_default().trim().replace('|', "\\|")
}

/// The statements, with the `def`s that they call, in canonical layout.
fn formula(rule: &Rule) -> String {
    let parsed = parse(&rule.program().file);
    // A rule that passed the checker has no errors, so it always has a layout.
    let text = crate::syntax::print(&parsed).unwrap_or_default();
    let file = SourceFile::new(rule.program().file.name(), text);
    let items = parse(&file).ast.items;
    let is_declaration = |item: &&Item| {
        use ItemKind::{Def, Hyper, Input, Require, State};
        matches!(item.kind, Def { .. } | Hyper { .. } | Input { .. } | Require { .. } | State { .. })
    };
    // Declarations come before the first statement, and comments between them belong to the statement.
    let declarations: Vec<&Item> = items.iter().take_while(is_declaration).collect();
    let defs = declarations.iter().filter(|item| matches!(item.kind, ItemKind::Def { .. }));
    let out: String = defs.map(|item| format!("{}\n", file.slice(item.span))).collect();
    let last = declarations.last().map(|item| item.span.end).or(parse(&file).ast.header.map(|header| header.span.end));
    let rest = &file.text()[last.unwrap_or(0) as usize..];
    // What is left of the last declaration's own line is its documentation.
    out + rest.split_once('\n').map_or("", |(_, statements)| statements).trim_start_matches('\n')
}

/// What a step moves, and what is kept.
fn memory(rule: &Rule) -> Result<String, Failure> {
    let plan = default_plan(rule)?;
    let of = if plan.needs_axes.is_some() { "a matrix of f32" } else { "f32" };
    let mut text = format!("\n## Memory\n\nPer element, for {of} at the defaults:\n\n");
    let sweeps: Vec<&Sweep> = plan.sweeps().filter(|sweep| sweep.over == Extent::Element).collect();
    for sweep in &sweeps {
        let side = |verb: &str, takes: fn(Access) -> bool| {
            let streams = sweep.kernel.streams.iter().filter(|stream| !stream.block && takes(stream.access));
            let streams: Vec<_> = streams.collect();
            let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
            let bytes: usize = streams.iter().map(|stream| stream.storage.bytes()).sum();
            (bytes > 0).then(|| format!("{verb} {} ({bytes} bytes)", names.join(" ")))
        };
        let mut reductions: Vec<String> = sweep.folds.iter().map(|fold| fold.reduced.text(&plan.program)).collect();
        reductions.dedup();
        let folds = (!reductions.is_empty()).then(|| format!("for {}", reductions.join(", ")));
        let sides = [side("reads", Access::reads), folds, side("writes", Access::writes)];
        text += &format!("- {}\n", sides.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    let sweeps = super::count(sweeps.len(), "sweep");
    text += &format!("- {} bytes moved in {sweeps}, {}\n", plan.bytes_per_element(), Kept::of(&plan).long());
    Ok(text)
}
