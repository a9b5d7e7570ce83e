//! `updraft list`: the shipped rules, fragments and schedules.
//!
//! What a rule costs depends on its hypers, its types and shapes; the figures are those of the defaults, for a matrix of f32.

use super::{Failure, columns, print, wrap};
use crate::check::program::Extent;
use crate::ir::lower;
use crate::ir::step::Array;
use crate::plan::{Plan, plan};
use crate::syntax::ast::FileKind;
use crate::{EmitOptions, Rule, SHIPPED, SHIPPED_FRAGMENTS, SHIPPED_SCHEDULES};
use std::collections::BTreeSet;

/// List the shipped rules, fragments and schedules
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Result<(), Failure> {
    let mut rows = vec![["rule", "state", "bytes", ""].map(String::from)];
    for (name, _) in SHIPPED {
        let rule = Rule::shipped(name)?;
        let plan = default_plan(&rule)?;
        let description = rule.program().docs.iter().find(|line| !line.trim().is_empty());
        rows.push([
            name.to_string(),
            Kept::of(&plan).short(),
            plan.bytes_per_element().to_string(),
            description.map_or(String::new(), |line| line.trim().to_string()),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let margin = widths.iter().sum::<usize>() + 6;
    let mut text = String::new();
    for [name, state, bytes, description] in &rows {
        let [first, second, third] = widths;
        let description = columns().map_or(description.clone(), |columns| wrap(description, columns, margin));
        let line = format!("{name:<first$}  {state:<second$}  {bytes:>third$}  {description}");
        text += line.trim_end();
        text.push('\n');
    }
    text += "\nstate: bytes kept per element; rows, cols and the like: a value for each of them instead\n\
             bytes: moved per element and step (both for a matrix of f32, at the defaults)\n\n";
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

/// The plan that the rule runs on a matrix of f32 with its default hypers, once the first steps are over.
pub(super) fn default_plan(rule: &Rule) -> Result<Plan, Failure> {
    let optimizer = rule.optimizer().build()?;
    let EmitOptions { shape, storage, t, .. } = EmitOptions::default();
    Ok(plan(&lower(rule.program(), &optimizer.facts_of(&shape, storage, t))))
}

/// The arrays that a plan keeps from step to step.
pub(super) struct Kept {
    /// Bytes for each element.
    bytes: usize,
    /// How many arrays of smaller extents.
    smaller: Vec<(Extent, usize)>,
}

impl Kept {
    pub(super) fn of(plan: &Plan) -> Kept {
        let is_state = |array: &Array| matches!(array, Array::State(_));
        let states: BTreeSet<Array> = plan.sweeps().flat_map(|sweep| sweep.arrays()).filter(is_state).collect();
        let count = |extent| states.iter().filter(|state| state.extent(&plan.program) == extent).count();
        let smaller = Extent::ALL.into_iter().filter(|extent| extent.needs_axes());
        let smaller = smaller.map(|extent| (extent, count(extent))).filter(|(_, n)| *n > 0);
        Kept { bytes: plan.facts.storage.bytes() * count(Extent::Element), smaller: smaller.collect() }
    }

    /// `8`, `rows + cols`, `4 + 2 units`.
    fn short(&self) -> String {
        let bytes = (self.bytes > 0 || self.smaller.is_empty()).then(|| self.bytes.to_string());
        let smaller = self.smaller.iter().map(|(extent, n)| match n {
            1 => extent.plural().to_string(),
            n => format!("{n} {}", extent.plural()),
        });
        bytes.into_iter().chain(smaller).collect::<Vec<_>>().join(" + ")
    }

    /// `8 bytes of state kept`, `4 bytes of state kept, and a value for each row and each col`.
    pub(super) fn long(&self) -> String {
        let each = |(extent, n): &(Extent, usize)| match n {
            1 => format!("a value for each {}", extent.name()),
            n => format!("{n} values for each {}", extent.name()),
        };
        let smaller = self.smaller.iter().map(each).collect::<Vec<_>>().join(" and ");
        match (self.bytes, self.smaller.is_empty()) {
            (bytes, true) => format!("{bytes} bytes of state kept"),
            (0, false) => format!("{smaller} kept"),
            (bytes, false) => format!("{bytes} bytes of state kept, and {smaller}"),
        }
    }
}
