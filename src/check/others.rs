//! Files that a file names: schedules that are called, rules that are used.
//!
//! Comes in: a name. Goes out: the program of that file, checked by itself and once, however often it is named; or what
//! is wrong with it, in words. A file that names itself, through others or not, is found out here, and so is one that
//! goes too deep.

use super::program::Program;
use super::{Checker, check_inside};
use crate::diagnostic::{Code, Diagnostic, Severity, did_you_mean};
use crate::library::{Library, Shipped};
use crate::source::SourceFile;
use crate::syntax::ast::{FileKind, Ident};
use crate::syntax::{MAX_SOURCE_BYTES, parse};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// How deep files may name each other.
const MAX_CALLS: usize = 8;
/// The most bytes of all files together that one file names, itself or through others.
const MAX_BYTES: usize = MAX_SOURCE_BYTES;

/// The files that a file and those that it names have named: each is checked once, however often it is named.
#[derive(Clone, Default)]
pub(super) struct Callees {
    judged: Rc<RefCell<BTreeMap<Named, Judged>>>,
    /// How many bytes they have together.
    bytes: Rc<Cell<usize>>,
}

/// A file by its name, and whether it is shipped; of one that is looked for, whether a shipped one is.
pub(super) type Named = (bool, Arc<str>);

type Judged = Result<Callee, Broken>;

/// A schedule that can be called, or a rule that can be used.
#[derive(Clone)]
struct Callee {
    program: Rc<Program>,
    /// How deep it goes: 0 if it names no other file.
    calls: usize,
}

/// Why it cannot be.
#[derive(Clone)]
struct Broken {
    message: String,
    help: String,
}

impl Checker<'_> {
    fn is_schedule_file(&self) -> bool {
        self.program.kind == FileKind::Schedule
    }

    /// The schedule that a call names or the rule that a `use` names, checked. `None`: an error has been reported.
    pub(super) fn callee(&mut self, function: &Ident) -> Option<Rc<Program>> {
        let name = &function.text;
        let (what, names, named) = match self.is_schedule_file() {
            true => ("schedule", "calls", "called"),
            false => ("rule", "uses", "used"),
        };
        if let Some(first) = self.callers.iter().position(|caller| self.is_caller(caller, name)) {
            let through: Vec<String> = self.callers[first + 1..].iter().map(|(_, n)| format!("`{n}`")).collect();
            let message = match through.as_slice() {
                [] => format!("the {what} `{name}` {names} itself"),
                _ => format!("the {what} `{name}` {names} itself through {}", through.join(", ")),
            };
            if self.has_said(&message) {
                return None;
            }
            self.report(
                Diagnostic::new(Code::BrokenCall, function.span, message)
                    .label("could never be expanded")
                    .help(self.is_replaced()),
            );
            return None;
        }
        let callees = self.callees.clone();
        let key = (self.parsed.file.is_shipped(), name.clone());
        let known = callees.judged.borrow().get(&key).cloned();
        let found = known.unwrap_or_else(|| {
            let found = self.checked_callee(name);
            callees.judged.borrow_mut().insert(key, found.clone());
            found
        });
        let found = found.and_then(|callee| match self.callers.len() + callee.calls {
            deep if deep > MAX_CALLS => Err(self.too_deep()),
            _ => Ok(callee),
        });
        match found {
            Ok(callee) => {
                self.calls = self.calls.max(1 + callee.calls);
                Some(callee.program)
            }
            Err(Broken { message, .. }) if self.has_said(&message) => None,
            Err(Broken { message, help }) => {
                self.report(
                    Diagnostic::new(Code::BrokenCall, function.span, message)
                        .label(format!("cannot be {named}"))
                        .help(help),
                );
                None
            }
        }
    }

    /// Whether that name means, here, a file that names this one. A shipped rule of the same name may be another.
    fn is_caller(&self, (shipped, caller): &Named, name: &Arc<str>) -> bool {
        caller == name && self.other_file(name).is_none_or(|file| file.is_shipped() == *shipped)
    }

    /// Where files that this one names are found.
    fn beside(&self) -> &dyn Library {
        if self.parsed.file.is_shipped() { &Shipped } else { self.library }
    }

    /// Whether that has been reported of another file: that the same one is named again is not another mistake.
    fn has_said(&self, message: &str) -> bool {
        self.diagnostics.iter().any(|d| d.code == Code::BrokenCall && d.message == message)
    }

    fn is_replaced(&self) -> &'static str {
        match self.is_schedule_file() {
            true => "a call is replaced by the formula of the schedule: write one of them without the call",
            false => "a `use` is replaced by the statements of the rule: write one of them without the `use`",
        }
    }

    fn too_deep(&self) -> Broken {
        let message = match self.is_schedule_file() {
            true => format!("schedules call each other more than {MAX_CALLS} deep"),
            false => format!("rules use each other more than {MAX_CALLS} deep"),
        };
        Broken { message, help: self.is_replaced().to_string() }
    }

    fn checked_callee(&self, name: &str) -> Judged {
        if self.callers.len() > MAX_CALLS {
            return Err(self.too_deep());
        }
        let Some(file) = self.other_file(name) else {
            return Err(self.refused_file(name).unwrap_or_else(|| self.no_such_file(name)));
        };
        let bytes = self.callees.bytes.get().saturating_add(file.text().len());
        self.callees.bytes.set(bytes);
        if bytes > MAX_BYTES {
            let message = format!("the files that are named have more than {MAX_BYTES} bytes together");
            let help = "an update rule is a page of formulas: are these the right files?".to_string();
            return Err(Broken { message, help });
        }
        match check_inside(&parse(&file), self.library, &self.callers, &self.callees) {
            Ok((checked, calls)) => {
                let kind = checked.program.kind;
                let message = match (self.is_schedule_file(), kind) {
                    (true, FileKind::Optimizer) => "holds no schedule, but a rule for an optimizer",
                    (true, FileKind::Fragment) => "holds no schedule, but a fragment of a rule",
                    (false, FileKind::Schedule) => "holds no rule, but a schedule",
                    _ => return Ok(Callee { program: Rc::new(checked.program), calls }),
                };
                let help = match self.is_schedule_file() {
                    true => format!("call a file that begins `schedule {name}`"),
                    false => format!("use a file that begins `optimizer {name}` or `fragment {name}`"),
                };
                Err(Broken { message: format!("`{}` {message}", file.name()), help })
            }
            Err(found) => Err(has_errors(&file, &found)),
        }
    }

    /// The file of that name: for a rule, an optimizer or a fragment, beside this file or shipped.
    fn other_file(&self, name: &str) -> Option<SourceFile> {
        if self.is_schedule_file() {
            return self.beside().find(FileKind::Schedule, name);
        }
        let library = self.beside();
        library.find(FileKind::Optimizer, name).or_else(|| library.find(FileKind::Fragment, name))
    }

    /// Why the file of that name is not read, if it is there.
    fn refused_file(&self, name: &str) -> Option<Broken> {
        let kinds: &[FileKind] = match self.is_schedule_file() {
            true => &[FileKind::Schedule],
            false => &[FileKind::Optimizer, FileKind::Fragment],
        };
        let message = kinds.iter().find_map(|kind| self.beside().refused(*kind, name))?;
        let help = "what a file names lies beside it, or is shipped".to_string();
        Some(Broken { message, help })
    }

    fn no_such_file(&self, name: &str) -> Broken {
        if self.is_schedule_file() {
            return Broken {
                message: format!("no schedule is called `{name}`"),
                help: "a schedule is found beside this file, or among the shipped ones".to_string(),
            };
        }
        let mut stems = self.library.stems(FileKind::Optimizer);
        stems.extend(self.library.stems(FileKind::Fragment));
        let others = stems.iter().map(String::as_str).filter(|stem| self.callers.iter().all(|(_, it)| **it != **stem));
        let help = match did_you_mean(name, others) {
            Some(similar) => format!("did you mean `{similar}`?"),
            None if self.library.find(FileKind::Schedule, name).is_some() => {
                format!("it is a schedule: make the value a hyper, and attach it: `--schedule lr={name}(...)`")
            }
            None => {
                format!("a rule is found beside this file, as `{name}.opt`, or among the shipped ones: `updraft list`")
            }
        };
        Broken { message: format!("no optimizer and no fragment is called `{name}`"), help }
    }
}

fn has_errors(file: &SourceFile, found: &[Diagnostic]) -> Broken {
    let errors: Vec<&Diagnostic> = found.iter().filter(|d| d.severity() == Severity::Error).collect();
    // What is wrong further down is said as it was said there.
    if let [one] = errors.as_slice()
        && one.code == Code::BrokenCall
    {
        let (message, help) = (one.message.clone(), one.help.clone().unwrap_or_default());
        return Broken { message, help };
    }
    let (message, line) = errors
        .first()
        .map_or((String::new(), 1), |first| (first.message.clone(), file.line_column(first.primary.span.start).0));
    let message = match errors.len() {
        1 => format!("`{}` has an error in line {line}: {message}", file.name()),
        n => format!("`{}` has {n} errors, the first in line {line}: {message}", file.name()),
    };
    Broken { message, help: format!("`updraft check {}` shows all", file.name()) }
}
