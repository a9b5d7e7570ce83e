//! The plans that an optimizer has compiled.

use crate::check::program::Program;
use crate::ir::region::Region;
pub(crate) use crate::ir::region::outcomes;
use crate::ir::step::Array;
use crate::ir::{Args, Facts, Kernel, Math, eval_kernel, lower};
use crate::plan::{StreamOf, plan};
use std::sync::Arc;

/// What runs the kernels. All give the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    /// Machine code; the evaluator where there is none to be had.
    #[cfg(feature = "jit")]
    #[default]
    Jit,
    /// The evaluator.
    #[cfg_attr(not(feature = "jit"), default)]
    Eval,
}

/// How many plans are kept.
const KEPT: usize = 64;

/// Compiled plans, the last used first.
pub(super) struct Plans {
    pub(super) math: Math,
    pub(super) engine: Engine,
    #[cfg(feature = "jit")]
    lanes: crate::codegen::Lanes,
    compiled: Vec<Arc<Compiled>>,
    /// Counts plans, to tell them apart.
    pub(super) made: u64,
    /// Why the evaluator runs although machine code was asked for.
    pub(super) warning: Option<String>,
}

/// A plan that can be run.
pub(super) struct Compiled {
    /// No two plans of an optimizer share it.
    pub(super) id: u64,
    pub(super) facts: Facts,
    pub(super) scalars: Option<Region>,
    pub(super) sweep: Option<CompiledSweep>,
}

/// A sweep that can be run.
pub(super) struct CompiledSweep {
    pub(super) kernel: Kernel,
    pub(super) arrays: Vec<Array>,
    code: Runner,
}

enum Runner {
    Eval,
    #[cfg(feature = "jit")]
    Code(crate::codegen::Code),
}

impl CompiledSweep {
    /// Runs the sweep.
    pub(super) fn run(&self, args: &mut Args<'_>) {
        match &self.code {
            Runner::Eval => eval_kernel(&self.kernel, args),
            #[cfg(feature = "jit")]
            Runner::Code(code) => {
                if let Err(error) = code.run(args) {
                    unreachable!("the arguments were made for this kernel: {error}");
                }
            }
        }
    }
}

impl Plans {
    pub(super) fn new(math: Math, engine: Engine, #[cfg(feature = "jit")] lanes: crate::codegen::Lanes) -> Plans {
        Plans {
            math,
            engine,
            #[cfg(feature = "jit")]
            lanes,
            compiled: Vec::new(),
            made: 0,
            warning: None,
        }
    }

    /// The plan for these facts, compiled now if it is not among those kept.
    pub(super) fn get(&mut self, program: &Arc<Program>, facts: &Facts) -> Arc<Compiled> {
        let found = self.compiled.iter().position(|compiled| compiled.facts == *facts);
        if let Some(index) = found {
            self.compiled[..=index].rotate_right(1);
            return self.compiled[0].clone();
        }
        let plan = plan(&lower(program, facts));
        self.made += 1;
        let mut compiled = Compiled { id: self.made, facts: facts.clone(), scalars: None, sweep: None };
        for part in plan.parts {
            compiled.scalars = (!part.scalars.is_empty()).then_some(part.scalars);
            if let Some(sweep) = part.sweep {
                let code = self.code(&sweep.kernel);
                let arrays = sweep.streams.iter().filter_map(|stream| match stream {
                    StreamOf::Array(array) => Some(*array),
                    _ => None,
                });
                compiled.sweep = Some(CompiledSweep { arrays: arrays.collect(), kernel: sweep.kernel, code });
            }
        }
        self.compiled.truncate(KEPT - 1);
        self.compiled.insert(0, Arc::new(compiled));
        self.compiled[0].clone()
    }

    fn code(&mut self, kernel: &Kernel) -> Runner {
        #[cfg(feature = "jit")]
        if self.engine == Engine::Jit {
            use crate::codegen::{Backend, Cranelift, Isa, Target};
            let Some(isa) = Isa::host() else {
                self.warn("this CPU has not the instructions that the code generator needs");
                return Runner::Eval;
            };
            match Cranelift.compile(kernel, Target { isa, lanes: self.lanes }) {
                Ok(code) => return Runner::Code(code),
                Err(error) => self.warn(&error.to_string()),
            }
        }
        let _ = kernel;
        Runner::Eval
    }

    #[cfg(feature = "jit")]
    fn warn(&mut self, why: &str) {
        self.warning.get_or_insert_with(|| {
            format!("{why}; the evaluator runs instead: it gives the same bits, many times slower")
        });
    }
}
