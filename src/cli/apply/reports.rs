//! What a rule reports in each step, as CSV.

use super::error::ApplyError;
use super::params::Params;
use crate::check::number_text;
use crate::check::program::Extent;
use crate::cli::quoted;
use crate::{Optimizer, Rule};
use std::fmt::Write as _;

/// The reports of a rule, and the lines so far.
pub(super) struct Reports {
    reports: Vec<(String, Extent)>,
    text: String,
}

impl Reports {
    pub(super) fn new(rule: &Rule) -> Result<Reports, ApplyError> {
        let reports = rule.program().reports.iter().map(|report| (report.name.to_string(), report.extent));
        let reports: Vec<(String, Extent)> = reports.collect();
        if reports.is_empty() {
            return Err(ApplyError::NoReports { rule: rule.name().to_string() });
        }
        Ok(Reports { reports, text: "step,report,tensor,value\n".to_string() })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.reports.iter().map(|(name, _)| name.as_str())
    }

    /// Takes what has been reported in a step. One that was skipped, or reported nothing, leaves no line.
    pub(super) fn record(&mut self, step: usize, optimizer: &Optimizer, params: &Params<'_>) {
        let Reports { reports, text } = self;
        let mut line = |report: &str, tensor: &str, value: Option<f64>| {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{step},{},{},{}", quoted(report), quoted(tensor), number_text(value));
            }
        };
        for (report, extent) in &*reports {
            match extent {
                Extent::Model => line(report, "", optimizer.report(report)),
                _ => {
                    for tensor in params.stepped() {
                        line(report, tensor, optimizer.report_of(report, tensor));
                    }
                }
            }
        }
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}
