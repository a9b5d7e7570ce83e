//! What a rule does beside its update: steps that are not taken, numbers for the host, tensors on demand.

use super::program::{FileKind, Report, ReportId, Stmt, StmtKind, View};
use super::{Checker, Place};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::ast::{Expr, Ident, Item};

impl Checker<'_> {
    /// Whether the file is a rule; that a schedule has no such statement is reported.
    fn is_rule(&mut self, what: &str, span: Span) -> Option<()> {
        if self.program.kind != FileKind::Schedule {
            return Some(());
        }
        self.report(
            Diagnostic::new(Code::NotAllowedHere, span, format!("a schedule gives one value: it has no `{what}`"))
                .label("only rules have it")
                .help("remove this line"),
        );
        None
    }

    /// `skip if COND`. `None`: an error has been reported.
    pub(super) fn skip_statement(&mut self, span: Span, cond: &Expr) -> Option<Stmt> {
        self.is_rule("skip", span)?;
        let id = self.condition(cond);
        let text = self.text(cond).to_string();
        self.may_skip(span, &text)?;
        let id = id?;
        let extent = self.node(id).extent;
        if !extent.is_scalar() {
            let message =
                format!("a whole tensor takes a step or skips it, but this condition is per {}", extent.name());
            let help = format!("write `skip if any({text})` or `skip if all({text})`");
            self.report(
                Diagnostic::new(Code::ExtentGrows, cond.span, message)
                    .label(format!("differs per {}", extent.name()))
                    .help(help),
            );
            return None;
        }
        self.count(id, span).then_some(Stmt { kind: StmtKind::Skip(id), span })
    }

    /// Reports a `skip` where a step cannot be skipped. `cond`: its condition as written.
    pub(super) fn may_skip(&mut self, span: Span, cond: &str) -> Option<()> {
        if let Some(changed) = self.changed {
            self.report(
                Diagnostic::new(Code::MisplacedStatement, span, "a step is skipped before it has changed anything")
                    .label("too late")
                    .also(changed, "this has changed something already")
                    .help("move this line up, before the first assignment to `p` or a state"),
            );
            return None;
        }
        if let Some((extent, around)) = self.around.iter().find(|(extent, _)| !extent.is_scalar()).copied() {
            let message =
                format!("a whole tensor takes a step or skips it, but this line is reached per {}", extent.name());
            self.report(
                Diagnostic::new(Code::MisplacedStatement, span, message)
                    .also(around, format!("this condition differs per {}", extent.name()))
                    .help("move it out of the block, and join the conditions: `skip if any(...)`"),
            );
            return None;
        }
        if let Some((_, around)) = self.under.iter().find(|(timing, _)| timing.late).copied() {
            let outer = self.short(around);
            self.report(
                Diagnostic::new(
                    Code::MisplacedStatement,
                    span,
                    "this `skip` stands in a block whose condition reads a reduction of this step",
                )
                .also(around, "this condition is known too late")
                .help(format!("move it out of the block, and join the conditions: `skip if {outer} and {cond}`")),
            );
            return None;
        }
        Some(())
    }

    /// `report NAME = EXPR`. `None`: an error has been reported.
    pub(super) fn report_statement(&mut self, item: &Item, name: &Ident, value: &Expr) -> Option<Stmt> {
        self.is_rule("report", item.span)?;
        self.is_at_top("report", item.span, "let x = ...", &name.text);
        let id = self.number(value).filter(|id| self.count(*id, item.span));
        let first = self.program.reports.iter().find(|report| report.name == name.text).map(|report| report.span);
        self.is_new("report", name, first)?;
        let id = id?;
        let extent = self.node(id).extent;
        if !extent.is_scalar() {
            let text = self.text(value);
            let message = format!("a report is one number, but this value is per {}", extent.name());
            let help = format!(
                "did you mean `mean({text})` or `norm({text})`? A whole tensor is `view {} = ...`, made of `p` and states",
                name.text
            );
            self.report(
                Diagnostic::new(Code::ExtentGrows, value.span, message)
                    .label(format!("differs per {}", extent.name()))
                    .help(help),
            );
            return None;
        }
        let report = ReportId(self.program.reports.len() as u32);
        let (name, span) = (name.text.clone(), name.span);
        self.program.reports.push(Report { name, doc: item.doc.clone(), extent, span });
        Some(Stmt { kind: StmtKind::Report(report, id), span: item.span })
    }

    /// `view NAME = EXPR`
    pub(super) fn view_statement(&mut self, item: &Item, name: &Ident, value: &Expr) {
        if self.is_rule("view", item.span).is_none() {
            return;
        }
        self.is_at_top("view", item.span, "state x = ...", &name.text);
        let id = self.at(Place::View, |this| this.number(value)).filter(|id| self.count(*id, item.span));
        let first = self.program.views.iter().find(|view| view.name == name.text).map(|view| view.span);
        if let (Some(()), Some(value)) = (self.is_new("view", name, first), id) {
            let (name, span) = (name.text.clone(), name.span);
            self.program.views.push(View { name, doc: item.doc.clone(), value, span });
        }
    }

    /// Reports a statement in a block that only the top level has.
    pub(super) fn is_at_top(&mut self, what: &str, span: Span, before: &str, name: &str) {
        let Some((_, around)) = self.around.last().copied() else { return };
        let message = format!("a `{what}` does not depend on conditions: it stands outside of blocks");
        self.report(
            Diagnostic::new(Code::MisplacedStatement, span, message)
                .also(around, "in the block of this condition")
                .help(format!(
                    "write `{before}` before the block, assign `x` in it, and write `{what} {name} = x` after it"
                )),
        );
    }

    fn is_new(&mut self, what: &str, name: &Ident, first: Option<Span>) -> Option<()> {
        let Some(first) = first else { return Some(()) };
        let message = format!("there are two {what}s `{}`", name.text);
        self.report(
            Diagnostic::new(Code::DuplicateName, name.span, message)
                .label("declared again")
                .also(first, "first declared here")
                .help("choose another name"),
        );
        None
    }

    /// A piece of the file, for a help that repeats it, if it is not too long.
    pub(super) fn short(&self, span: Span) -> String {
        let text = self.parsed.file.slice(span);
        if text.len() > 60 || text.contains(['\n', '#']) { "...".to_string() } else { text.to_string() }
    }
}
