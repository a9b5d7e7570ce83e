//! From a syntax tree to a [`Program`]: the only stage that rejects a rule.
//!
//! Comes in: [`Parsed`]. Goes out: [`Checked`], a program in which every name is an id, every value has its extent, and
//! every `def` and every `use` is inlined, with the lints; or every error of the file, those of the parser among them. A
//! program that comes out of here can be lowered, planned and compiled without failing. Nothing here knows types of
//! numbers, rounding or memory.
//!
//! The operations of the inlined rule are counted before a call is expanded, so a short file cannot become a long one.

mod effects;
mod expand;
mod expressions;
mod items;
mod lints;
mod names;
mod others;
mod print;
pub mod program;
mod range;
mod recursion;
mod reduce;
mod schedules;
mod uses;

pub(crate) use print::{condition_text, list_text, number_text};
pub use print::{expression_text, print_program, statement_text, without_docs_and_defaults};
pub use program::Program;

use crate::diagnostic::{Code, Diagnostic, MAX_ERRORS, Severity, sort};
use crate::library::{Library, Shipped};
use crate::source::Span;
use crate::syntax::Parsed;
use crate::syntax::ast::{Ast, FileKind};
use names::Scopes;
use others::{Callees, Named};
use program::{ConditionId, Extent, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Operations of one rule, every `def` inlined. A statement is one too, whatever it assigns.
pub const MAX_OPERATIONS: u64 = 4096;
/// States of one rule.
pub const MAX_STATES: usize = 64;
/// Hypers of one rule.
pub const MAX_HYPERS: usize = 256;
/// Modes of one hyper.
pub const MAX_MODES: usize = 256;
/// Elements of one list.
pub const MAX_ELEMENTS: usize = 4096;
/// Inputs of one rule.
pub const MAX_INPUTS: usize = 256;
/// Operations of one rule times its reductions: before the result of one is known a sweep ends, and the next may have to
/// repeat everything that the one before it has computed.
pub const MAX_REPEATED: u64 = 12 * MAX_OPERATIONS;
/// Nodes of all `def`s together, each with those that it calls: what they may take of memory.
const MAX_DEF_NODES: usize = 64 * 4096;
/// Conditions around a statement; each `else if` is a block in a block to every later stage.
const MAX_CONDITIONS_AROUND: usize = 64;

/// A rule without errors.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The rule.
    pub program: Program,
    /// What is suspicious about it, sorted by place.
    pub lints: Vec<Diagnostic>,
}

/// Checks a parsed file.
///
/// # Errors
/// Every error of the file, sorted by place: those that the parser found, and the checker's own; after
/// [`MAX_ERRORS`] of them no more are looked for. Lints are among them, if the errors let them
/// be found.
///
/// ```
/// use updraft::{SourceFile, check::check, syntax::parse};
/// let file = SourceFile::new("sgd.opt", "optimizer sgd\nhyper lr = 0.1\n\np -= lr * g\n");
/// let checked = check(&parse(&file)).unwrap();
/// assert_eq!(checked.program.hypers[0].name.as_ref(), "lr");
///
/// let file = SourceFile::new("sgd.opt", "optimizer sgd\nhyper lr = 0.1\n\np -= rl * g\n");
/// assert_eq!(check(&parse(&file)).unwrap_err()[0].code.slug(), "unknown-name");
/// ```
pub fn check(parsed: &Parsed) -> Result<Checked, Vec<Diagnostic>> {
    check_with(parsed, &Shipped)
}

/// Checks a parsed file that may name files of a library.
///
/// # Errors
/// Those of [`check`].
pub fn check_with(parsed: &Parsed, library: &dyn Library) -> Result<Checked, Vec<Diagnostic>> {
    check_inside(parsed, library, &[], &Callees::default()).map(|(checked, _)| checked)
}

/// Checks a file that the files `callers` name, outermost first. Says also how deep those go that it names.
fn check_inside(
    parsed: &Parsed,
    library: &dyn Library,
    callers: &[Named],
    callees: &Callees,
) -> Result<(Checked, usize), Vec<Diagnostic>> {
    if parsed.diagnostics.len() >= MAX_ERRORS {
        return Err(parsed.diagnostics.clone());
    }
    let mut checker = Checker::new(parsed, library, callers, callees);
    checker.header(&parsed.ast);
    checker.items(&parsed.ast);
    checker.repeats_little();
    checker.value_is_assigned();
    let mut diagnostics = parsed.diagnostics.clone();
    diagnostics.append(&mut checker.diagnostics);
    let failed = checker.errors > 0 || diagnostics.iter().any(|d| d.severity() == Severity::Error);
    if !failed {
        let mut lints = lints::lints(&checker.program, &checker.uses, parsed);
        lints.append(&mut diagnostics);
        sort(&mut lints);
        lints.dedup();
        return Ok((Checked { program: checker.program, lints }, checker.calls));
    }
    sort(&mut diagnostics);
    // A mistake in the body of a `def` is one, however often it is called.
    diagnostics.dedup_by(|a, b| a.code == b.code && a.primary.span == b.primary.span && a.message == b.message);
    Err(diagnostics)
}

/// The state of one check. It is private to this folder; each file adds the part that its name says.
struct Checker<'a> {
    parsed: &'a Parsed,
    library: &'a dyn Library,
    /// The files that name this one, outermost first, this one last.
    callers: Vec<Named>,
    /// The files that have been named.
    callees: Callees,
    /// How deep the other files that this one names go: 0 if it names none.
    calls: usize,
    /// What `use` has brought here.
    used: uses::Used,
    /// What is known where every hyper is its default, once it is asked for.
    defaults: Option<range::Facts>,
    /// Statements that the expression being checked needs before its own.
    pending: Vec<program::Stmt>,
    program: Program,
    diagnostics: Vec<Diagnostic>,
    /// How many of them, and of those that others stand for, are errors.
    errors: usize,
    /// Of each plan condition that is the same throughout a step: the hash of its text.
    condition_hashes: Vec<Option<u64>>,
    scopes: Scopes,
    defs: Vec<items::Def>,
    /// Which `def`s call themselves.
    recursive: recursion::Recursive,
    /// Where each name is declared that may not be in force where it is used.
    elsewhere: BTreeMap<Arc<str>, Elsewhere>,
    /// The name that the line being checked declares.
    declaring: Option<Arc<str>>,
    /// Which declared things are read, for the lints that need the tree as written.
    uses: Uses,
    /// The extents of the conditions around the statement being checked, outermost first.
    around: Vec<(Extent, Span)>,
    /// How many conditions stood around each local's `let`.
    local_depth: Vec<usize>,
    /// Whether each local holds a condition.
    local_ty: Vec<program::Ty>,
    /// The plan condition whose block is being checked, and which of its blocks.
    inside: Option<(ConditionId, bool)>,
    /// What may be named in the expression being checked.
    place: Place,
    /// The call whose `def` is being inlined.
    inlining: Option<Span>,
    /// The body of the `def` being checked; elsewhere expressions go to the program's arena.
    template: Option<Vec<Node>>,
    /// The reductions in it; elsewhere they go to the program's.
    template_reductions: Vec<program::Reduction>,
    /// How many operations each node of the arena is, with all that it is made of, each use of an argument counted.
    sizes: Vec<u64>,
    /// What else is kept of each node of the arena.
    marks: Vec<reduce::Mark>,
    /// When the present value of each variable is known.
    timings: reduce::Timings,
    /// When the conditions around the statement being checked are known, outermost first.
    under: Vec<(reduce::Timing, Span)>,
    /// The first assignment to the parameter or a state.
    changed: Option<Span>,
    /// Operations of the statements and declarations so far.
    operations: u64,
    /// Whether there were more than a rule may have: then nothing more is built.
    too_many_operations: bool,
    /// Nodes of the `def`s so far.
    def_nodes: usize,
}

/// A declaration that is not in force everywhere.
#[derive(Clone, Copy)]
enum Elsewhere {
    /// A hyper, a state, an input or a `def`.
    Declaration(Span),
    /// A `let`.
    Local(Span),
}

/// What may be named in an expression depends on where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// A statement: everything.
    Statement,
    /// A hyper's default: earlier hypers.
    HyperDefault,
    /// A state's first value: `p`, hypers, the shape and reductions of those.
    Init,
    /// An input's default: hypers.
    InputDefault,
    /// A `require`: hypers.
    Require,
    /// The body of a `def`: its parameters, hypers, `t`, the shape and `epsilon`, reductions and draws.
    DefBody,
    /// A view: what is left after a step, and reductions of it.
    View,
}

impl Place {
    fn has_parameter(self) -> bool {
        matches!(self, Place::Statement | Place::Init | Place::View)
    }

    fn has_step(self) -> bool {
        matches!(self, Place::Statement | Place::DefBody | Place::View)
    }

    fn has_states(self) -> bool {
        matches!(self, Place::Statement | Place::View)
    }

    /// What belongs to a tensor: its shape, reductions over it, and the machine epsilon, which differs between those of
    /// f32 and those of f64.
    fn has_tensor(self) -> bool {
        matches!(self, Place::Statement | Place::Init | Place::DefBody | Place::View)
    }

    fn describe(self) -> &'static str {
        match self {
            Place::Statement => "a statement",
            Place::HyperDefault => "the default of a hyper",
            Place::Init => "the first value of a state",
            Place::InputDefault => "the default of an input",
            Place::Require => "a `require`",
            Place::DefBody => "the body of a `def`",
            Place::View => "a view",
        }
    }
}

/// What the rule reads, by index of its declaration.
#[derive(Default)]
struct Uses {
    hypers: Vec<bool>,
    inputs: Vec<bool>,
    /// Parameters that the body of their `def` does not use: name, place, and whose they are.
    params: Vec<(Arc<str>, Span, Arc<str>)>,
    /// The name and place of each `def`, and whether it is called.
    defs: Vec<(Arc<str>, Span, bool)>,
    /// Where each `use` stands: what it brings is another file's.
    used: BTreeSet<Span>,
}

impl<'a> Checker<'a> {
    fn new(parsed: &'a Parsed, library: &'a dyn Library, callers: &[Named], callees: &Callees) -> Checker<'a> {
        let header = parsed.ast.header.as_ref();
        let program = Program {
            name: header.map_or_else(|| Arc::from(parsed.file.stem()), |h| h.name.text.clone()),
            kind: header.map_or(FileKind::Optimizer, |h| h.kind),
            file: parsed.file.clone(),
            lists: Vec::new(),
            docs: parsed.ast.docs.clone(),
            hypers: Vec::new(),
            states: Vec::new(),
            inputs: Vec::new(),
            requires: Vec::new(),
            locals: Vec::new(),
            nodes: Vec::new(),
            conditions: Vec::new(),
            reductions: Vec::new(),
            draws: 0,
            reports: Vec::new(),
            views: Vec::new(),
            body: Vec::new(),
        };
        let mut scopes = Scopes::default();
        scopes.enter();
        let mut callers = callers.to_vec();
        callers.push((parsed.file.is_shipped(), program.name.clone()));
        Checker {
            parsed,
            library,
            callers,
            callees: callees.clone(),
            calls: 0,
            used: uses::Used::default(),
            defaults: None,
            pending: Vec::new(),
            program,
            diagnostics: Vec::new(),
            errors: 0,
            condition_hashes: Vec::new(),
            scopes,
            defs: Vec::new(),
            recursive: recursion::find(&parsed.ast),
            elsewhere: items::declarations(&parsed.ast),
            declaring: None,
            uses: Uses::default(),
            around: Vec::new(),
            local_depth: Vec::new(),
            local_ty: Vec::new(),
            inside: None,
            place: Place::Statement,
            inlining: None,
            template: None,
            template_reductions: Vec::new(),
            sizes: Vec::new(),
            marks: Vec::new(),
            timings: reduce::Timings::new(),
            under: Vec::new(),
            changed: None,
            operations: 0,
            too_many_operations: false,
            def_nodes: 0,
        }
    }

    /// Whether so much is wrong that nothing more is looked for.
    fn has_enough_errors(&self) -> bool {
        self.errors >= MAX_ERRORS
    }

    /// Reports an error. One that arises while a `def` is inlined also points at the call.
    fn report(&mut self, mut diagnostic: Diagnostic) {
        if diagnostic.severity() == Severity::Error {
            if self.has_enough_errors() {
                return;
            }
            self.errors += 1;
        }
        diagnostic.shorten();
        if let Some(call) = self.inlining {
            diagnostic = diagnostic.also(call, "in the expansion of this call");
        }
        self.diagnostics.push(diagnostic);
    }

    /// Holds operations and reductions to [`MAX_REPEATED`].
    fn repeats_little(&mut self) {
        let (operations, reductions) = (self.operations, self.program.reductions.len() as u64);
        if operations.saturating_mul(reductions) <= MAX_REPEATED || self.too_many_operations {
            return;
        }
        let span = self.program.reductions.last().map_or(Span::new(0, 0), |reduction| reduction.span);
        let message = format!(
            "the rule has {operations} operations and {reductions} reductions: the product may be {MAX_REPEATED} at most"
        );
        self.report(
            Diagnostic::new(Code::TooManyOperations, span, message)
                .label("the last of them")
                .help("every reduction ends a sweep over memory, and the next may repeat all before it: use fewer"),
        );
    }

    /// Whether the header says what the file is called.
    fn header(&mut self, ast: &Ast) {
        let Some(header) = &ast.header else { return };
        let stem: String = {
            use unicode_normalization::UnicodeNormalization;
            self.parsed.file.stem().nfc().collect()
        };
        if *header.name.text != *stem {
            let what = if header.kind == FileKind::Optimizer { "rule" } else { header.kind.keyword() };
            let named = format!("the file is called `{stem}`, the {} `{}`", what, header.name.text);
            let renamed = format!("rename the file to `{}.{}`", header.name.text, header.kind.extension());
            let help = if crate::syntax::is_name(&stem) {
                format!("write `{} {stem}`, or {renamed}", header.kind.keyword())
            } else {
                renamed
            };
            self.report(
                Diagnostic::new(Code::WrongFileName, header.name.span, named).label("not the file's name").help(help),
            );
        }
    }
}
