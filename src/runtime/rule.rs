//! [`Rule`]: a rule that has passed the checker.

use super::builder::OptimizerBuilder;
use super::error::Error;
use super::hyper::{HyperValue, Hypers};
use super::shipped::{SHIPPED, SHIPPED_FRAGMENTS};
use crate::check::program::{FileKind, HyperDefault, Program, Ty};
use crate::check::{Checked, check_with};
use crate::diagnostic::{Code, CompileError, Diagnostic, did_you_mean};
use crate::ir::region::Region;
use crate::ir::{Storage, Type};
use crate::ir::{lower_conditions, lower_scalars};
use crate::library::{Beside, Library, Shipped};
use crate::source::{SourceFile, Span};
use crate::syntax::parse;
use std::path::Path;
use std::sync::Arc;

/// A rule that can be run. Cheap to clone; any number of optimizers can be built from it.
///
/// ```
/// let rule = updraft::Rule::shipped("adam")?;
/// assert_eq!(rule.name(), "adam");
/// assert!(rule.hypers().any(|hyper| hyper.name == "beta1"));
/// # Ok::<(), updraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rule(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    program: Arc<Program>,
    lints: Vec<Diagnostic>,
    /// The default of each hyper that is a number.
    defaults: Vec<Option<Region>>,
    /// The default of each input that has one.
    input_defaults: Vec<Option<Region>>,
    /// What every `require` comes to.
    requires: Region,
    /// The outcomes of the conditions that select the plan, for f32 and f64 (the machine epsilon differs).
    conditions: [Region; 2],
}

/// A hyper of a rule, for listings.
#[derive(Clone, Debug)]
pub struct HyperInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is if nothing is set.
    pub default: HyperValue,
    /// The values that it may take, as written.
    pub interval: Option<String>,
    /// Whether it can be set when building only.
    pub fixed: bool,
    /// Its documentation.
    pub doc: Option<&'a str>,
}

impl Rule {
    /// Reads and checks a rule file. What it uses is found beside it, then among the shipped rules and fragments.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Compile`] with every error of the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Rule, Error> {
        let path = path.as_ref();
        let text = crate::library::read(path).map_err(|error| Error::Io { path: path.to_path_buf(), error })?;
        let file = SourceFile::new(path.to_string_lossy().into_owned(), text);
        Ok(Rule::compile_with(file, &Beside::of(path))?)
    }

    /// A rule that is part of the crate: see [`SHIPPED`].
    ///
    /// # Errors
    /// [`Error::UnknownRule`]; [`Error::Compile`] if it is a fragment, which does not run by itself.
    pub fn shipped(name: &str) -> Result<Rule, Error> {
        if let Some((name, text)) = SHIPPED_FRAGMENTS.iter().find(|(shipped, _)| *shipped == name) {
            return Ok(Rule::compile(SourceFile::shipped(format!("{name}.opt"), *text))?);
        }
        let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) else {
            let similar = did_you_mean(name, SHIPPED.iter().map(|(name, _)| *name)).map(str::to_string);
            return Err(Error::UnknownRule { rule: name.to_string(), similar });
        };
        Ok(Rule::compile(SourceFile::shipped(format!("{name}.opt"), *text))?)
    }

    /// A shipped schedule or fragment, to look at.
    #[cfg(feature = "cli")]
    pub(crate) fn shipped_kind(kind: FileKind, name: &str) -> Result<Rule, Error> {
        match Shipped.find(kind, name) {
            Some(file) => Ok(Rule::compile_kind(file, kind, &Shipped)?),
            None if kind == FileKind::Schedule => {
                Err(Error::UnknownSchedule { schedule: name.to_string(), similar: None })
            }
            None => Err(Error::UnknownRule { rule: name.to_string(), similar: None }),
        }
    }

    /// Checks the text of a rule called `name`.
    ///
    /// # Errors
    /// [`Error::Compile`] with every error of the text.
    ///
    /// ```
    /// let rule = updraft::Rule::parse("sgd", "optimizer sgd\nhyper lr = 0.1\n\np -= lr * g\n")?;
    /// let error = updraft::Rule::parse("sgd", "optimizer sgd\n\np -= lr * g\n").unwrap_err();
    /// assert!(error.to_string().contains("nothing is called `lr`"));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn parse(name: &str, text: &str) -> Result<Rule, Error> {
        Ok(Rule::compile(SourceFile::new(name, text))?)
    }

    /// Checks a source file. What it uses is found among the shipped rules and fragments.
    ///
    /// # Errors
    /// Every error of the file.
    pub fn compile(file: SourceFile) -> Result<Rule, CompileError> {
        Rule::compile_with(file, &Shipped)
    }

    /// Checks a source file. What it uses is found in the library.
    ///
    /// # Errors
    /// Every error of the file.
    pub fn compile_with(file: SourceFile, library: &dyn Library) -> Result<Rule, CompileError> {
        Rule::compile_kind(file, FileKind::Optimizer, library)
    }

    /// Checks a source file that has to hold this kind of thing.
    pub(crate) fn compile_kind(file: SourceFile, kind: FileKind, library: &dyn Library) -> Result<Rule, CompileError> {
        let parsed = parse(&file);
        let Checked { program, lints } = match check_with(&parsed, library) {
            Ok(checked) => checked,
            Err(found) => return Err(CompileError::new(file, found)),
        };
        if program.kind != kind {
            let span = parsed.ast.header.as_ref().map_or(Span::new(0, 0), |header| header.span);
            let (is, needed) = (program.kind.keyword(), kind.keyword());
            let article = if is.starts_with('o') { "an" } else { "a" };
            let message = format!("this file holds {article} {is}, but the {needed} of this name was asked for");
            let mut diagnostic = Diagnostic::new(Code::NotAllowedHere, span, message);
            if program.kind == FileKind::Fragment && kind == FileKind::Optimizer {
                let help = format!("a fragment is part of a rule: write `use {}` in an optimizer", program.name);
                diagnostic = diagnostic.label("cannot run on its own").help(help);
            }
            return Err(CompileError::new(file, vec![diagnostic]));
        }
        let program = Arc::new(program);
        let defaults = program.hypers.iter().map(|hyper| match &hyper.default {
            HyperDefault::Number(id) => Some(lower_scalars(&program, &[*id])),
            HyperDefault::Flag(_) | HyperDefault::Mode(_) | HyperDefault::List(_) => None,
        });
        let requires: Vec<_> = program.requires.iter().map(|require| require.cond).collect();
        debug_assert!(requires.iter().all(|id| program.node(*id).ty == Ty::Condition));
        let input_defaults = program.inputs.iter().map(|input| input.default.map(|id| lower_scalars(&program, &[id])));
        let inner = Inner {
            input_defaults: input_defaults.collect(),
            defaults: defaults.collect(),
            requires: lower_scalars(&program, &requires),
            conditions: [Storage::F32, Storage::F64].map(|storage| lower_conditions(&program, storage)),
            lints,
            program,
        };
        Ok(Rule(Arc::new(inner)))
    }

    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.0.program.name
    }

    /// The checked program.
    pub fn program(&self) -> &Arc<Program> {
        &self.0.program
    }

    /// What is suspicious about the rule.
    pub fn lints(&self) -> &[Diagnostic] {
        &self.0.lints
    }

    /// The hypers in file order, with their defaults.
    pub fn hypers(&self) -> impl Iterator<Item = HyperInfo<'_>> {
        let defaults = Hypers::new(self);
        self.0.program.hypers.iter().enumerate().map(move |(index, hyper)| HyperInfo {
            name: &hyper.name,
            default: defaults.value(index).clone(),
            interval: hyper.interval.map(|range| range.to_string()),
            fixed: hyper.fixed,
            doc: hyper.doc.as_deref(),
        })
    }

    /// Begins to build an optimizer that runs this rule.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let mut opt = Rule::shipped("sgd")?.optimizer().set("lr", 0.5)?.build()?;
    /// let (mut w, g) = (vec![1.0f32, 2.0], vec![1.0f32, -1.0]);
    /// opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
    /// assert_eq!(w, [0.5, 2.5]);
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn optimizer(&self) -> OptimizerBuilder {
        OptimizerBuilder::new(self.clone())
    }

    pub(crate) fn default_code(&self, index: usize) -> Option<&Region> {
        self.0.defaults[index].as_ref()
    }

    pub(crate) fn input_default(&self, index: usize) -> Option<&Region> {
        self.0.input_defaults[index].as_ref()
    }

    pub(crate) fn require_code(&self) -> &Region {
        &self.0.requires
    }

    /// The code of the conditions that select the plan.
    pub(crate) fn condition_code(&self, storage: Storage) -> &Region {
        &self.0.conditions[usize::from(storage.compute() == Type::F64)]
    }
}
