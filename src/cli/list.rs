//! `updraft list`: the shipped rules, fragments and schedules.
//!
//! What a rule costs depends on its hypers and its types; the figures are those of the defaults in f32.

use super::{Failure, columns, print, wrap};
use crate::ir::step::Array;
use crate::ir::{Storage, lower};
use crate::plan::{Plan, plan};
use crate::syntax::ast::FileKind;
use crate::{Rule, SHIPPED, SHIPPED_FRAGMENTS, SHIPPED_SCHEDULES};

/// List the shipped rules, fragments and schedules
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<(), Failure> {
    let mut rows = vec![["rule", "states", "bytes", ""].map(String::from)];
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name)?;
        let plan = default_plan(&rule)?;
        let description = rule.program().docs.iter().find(|line| !line.trim().is_empty());
        rows.push([
            name.to_string(),
            states(&plan).to_string(),
            plan.bytes_per_element().to_string(),
            description.map_or(String::new(), |line| line.trim().to_string()),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let margin = widths.iter().sum::<usize>() + 6;
    let mut text = String::new();
    for [name, states, bytes, description] in &rows {
        let [first, second, third] = widths;
        let description = columns().map_or(description.clone(), |columns| wrap(description, columns, margin));
        let line = format!("{name:<first$}  {states:>second$}  {bytes:>third$}  {description}");
        text += line.trim_end();
        text.push('\n');
    }
    text += "\nstates: values kept per element; bytes: moved per element and step\n(for f32 at the defaults)\n\n";
    text += &described("fragment, for rules to use", FileKind::Fragment, SHIPPED_FRAGMENTS)?;
    text.push('\n');
    text += &described("schedule", FileKind::Schedule, SHIPPED_SCHEDULES)?;
    print(&text)
}

/// What is not run by itself: its name and the first line about it.
fn described(title: &str, kind: FileKind, table: &[(&str, &str)]) -> Result<String, Failure> {
    let width = table.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("{title}\n");
    for (name, _) in table {
        let rule = Rule::shipped_kind(kind, name)?;
        let description = rule.program().docs.iter().find(|line| !line.trim().is_empty());
        let description = description.map_or(String::new(), |line| line.trim().to_string());
        let description = columns().map_or(description.clone(), |columns| wrap(&description, columns, width + 2));
        text += format!("{name:<width$}  {description}").trim_end();
        text.push('\n');
    }
    Ok(text)
}

/// The plan that the rule runs in f32 with its default hypers, once the first steps are over.
pub(super) fn default_plan(rule: &Rule) -> Result<Plan, Failure> {
    let optimizer = rule.optimizer().build()?;
    Ok(plan(&lower(rule.program(), &optimizer.facts(Storage::F32, 1000))))
}

/// How many states of elements a plan touches.
pub(super) fn states(plan: &Plan) -> usize {
    let mut states: Vec<Array> =
        plan.sweeps().flat_map(|sweep| sweep.arrays()).filter(|it| matches!(it, Array::State(_))).collect();
    states.sort();
    states.dedup();
    states.len()
}
