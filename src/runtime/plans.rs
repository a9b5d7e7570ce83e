//! The plans that an optimizer has compiled.

#[cfg(feature = "jit")]
use super::memory::FlushDenormals;
use crate::check::program::{Extent, Program, ReportId};
use crate::ir::region::Region;
pub(crate) use crate::ir::region::outcomes;
use crate::ir::step::{Array, Source};
use crate::ir::{Args, Facts, Kernel, Math, Value, eval_kernel, lower};
use crate::plan::{Part, Plan, StreamOf, Sweep, Whole, plan};
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

/// What kernels do with denormal numbers: those so near to 0 that they have fewer digits (below 1.2e-38 for f32). Many
/// processors take many times as long for them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Denormals {
    /// They are numbers like all others, in every engine.
    #[default]
    Keep,
    /// Machine code takes them for zeros, and gives zeros for them. It still gives the same bits in any vector width and on
    /// any number of threads; the evaluator keeps denormals whatever is asked for, and then gives others. So do scalars and
    /// reductions, which no kernel computes.
    Flush,
}

impl Denormals {
    /// Every one, in the order in which they are listed.
    pub const ALL: [Denormals; 2] = [Denormals::Keep, Denormals::Flush];

    /// `keep`, `flush`.
    pub fn name(self) -> &'static str {
        match self {
            Denormals::Keep => "keep",
            Denormals::Flush => "flush",
        }
    }
}

/// How many plans are kept.
const KEPT: usize = 64;

/// Compiled plans, the last used first.
pub(super) struct Plans {
    pub(super) math: Math,
    pub(super) engine: Engine,
    denormals: Denormals,
    #[cfg(feature = "jit")]
    pub(super) lanes: crate::codegen::Lanes,
    /// What makes the code, if not the fastest there is.
    #[cfg(feature = "jit")]
    pub(super) codegen: Option<crate::codegen::Codegen>,
    /// What makes the code in a test.
    #[cfg(all(test, feature = "jit"))]
    backend: Option<&'static dyn crate::codegen::Backend>,
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
    pub(super) plan: Plan,
    /// What runs the sweep of each part that has one.
    runners: Vec<Option<Runner>>,
    denormals: Denormals,
    /// Every scalar from outside that its scalar code reads.
    pub(super) sources: Vec<Source>,
    /// Whether any of its scalar code runs once a tensor.
    pub(super) has_tensor_level: bool,
    /// Every array that it touches, and whether it reads what the array is before the step.
    pub(super) arrays: Vec<(Array, bool)>,
    /// By part: see [`Compiled::plain`].
    plain: Vec<Option<Vec<Array>>>,
    /// Whether it asks anything of a tensor but its elements and states.
    pub(super) asks: bool,
    /// Whether each temporary array outlives a phase.
    pub(super) kept: Vec<bool>,
    /// Whether anything is folded.
    pub(super) folds: bool,
}

impl Compiled {
    pub(super) fn facts(&self) -> &Facts {
        &self.plan.facts
    }

    /// The parts of a phase, with their indices.
    pub(super) fn parts(&self, phase: u32) -> impl Iterator<Item = (usize, &Part)> {
        self.plan.parts.iter().enumerate().filter(move |(_, part)| part.phase == phase)
    }

    /// All scalar code.
    fn regions(plan: &Plan) -> impl Iterator<Item = &Region> {
        let skip = plan.skip.as_ref().map(|skip| &skip.scalars);
        plan.parts.iter().map(|part| &part.scalars).chain(skip).chain([&plan.end])
    }

    /// The reports that are asked for, each with its output of the scalar code after the last part.
    pub(super) fn reports(&self) -> impl Iterator<Item = (ReportId, Value)> {
        self.plan.reports.iter().copied().zip(self.plan.end.outputs.iter().copied())
    }

    fn new(id: u64, plan: Plan, runners: Vec<Option<Runner>>, denormals: Denormals) -> Compiled {
        let mut sources: Vec<Source> = Vec::new();
        for source in Compiled::regions(&plan).flat_map(Region::sources) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        let mut arrays: Vec<(Array, bool)> = Vec::new();
        let mut phases: Vec<Option<u32>> = vec![None; plan.temps.len()];
        let mut kept = vec![false; plan.temps.len()];
        for part in &plan.parts {
            let Some(sweep) = &part.sweep else { continue };
            let mut temp = |index: u32| {
                let index = index as usize;
                kept[index] |= phases[index].is_some_and(|phase| phase != part.phase);
                phases[index] = Some(part.phase);
            };
            for (index, (stream, of)) in sweep.streams.iter().zip(&sweep.kernel.streams).enumerate() {
                let (array, reads) = match *stream {
                    StreamOf::Array(array) => {
                        let index = index as u32;
                        let folded = sweep.folds.iter().any(|fold| {
                            (fold.of.0 == index || fold.of.1 == Some(index)) && !(fold.after && of.access.writes())
                        });
                        (array, of.access.reads() || folded)
                    }
                    StreamOf::Spread(Whole::Array(array)) => (array, true),
                    StreamOf::Temp(index) | StreamOf::Spread(Whole::Temp(index)) => {
                        temp(index);
                        continue;
                    }
                    StreamOf::Draw(..) | StreamOf::Folded(_) => continue,
                };
                if !arrays.iter().any(|(known, _)| *known == array) {
                    arrays.push((array, reads));
                }
            }
            sweep.folds.iter().filter_map(|fold| fold.into).for_each(&mut temp);
        }
        let has_tensor_level = Compiled::regions(&plan).any(Region::has_tensor_level);
        let folds = plan
            .parts
            .iter()
            .any(|part| !part.folds.is_empty() || part.sweep.as_ref().is_some_and(|sweep| !sweep.folds.is_empty()));
        let plain = plan.parts.iter().map(|part| plain(part.sweep.as_ref()?)).collect();
        let is_given = |(array, _): &(Array, bool)| matches!(array, Array::Input(_) | Array::Copy);
        let asks = plan.needs_axes.is_some() || has_tensor_level || folds || arrays.iter().any(is_given);
        Compiled { id, plan, runners, denormals, sources, has_tensor_level, arrays, plain, asks, kept, folds }
    }

    /// What each stream of a part's sweep is, if all are parameter, gradient, copy and states, which ascend, and nothing is
    /// folded.
    pub(super) fn plain(&self, part: usize) -> Option<&[Array]> {
        self.plain[part].as_deref()
    }

    /// Runs the kernel of a part.
    pub(super) fn run(&self, part: usize, args: &mut Args<'_>) {
        let (Some(Some(runner)), Some(sweep)) = (self.runners.get(part), &self.plan.parts[part].sweep) else { return };
        runner.run(&sweep.kernel, self.denormals, args);
    }
}

/// See [`Compiled::plain`].
fn plain(sweep: &Sweep) -> Option<Vec<Array>> {
    if !sweep.folds.is_empty() || sweep.over != Extent::Element {
        return None;
    }
    let array = |stream: &StreamOf| match stream {
        StreamOf::Array(array @ (Array::Param | Array::Grad | Array::State(_) | Array::Copy)) => Some(*array),
        _ => None,
    };
    let streams = sweep.streams.iter().map(array).collect::<Option<Vec<Array>>>()?;
    let is_state = |array: &&Array| matches!(array, Array::State(_));
    streams.iter().filter(is_state).is_sorted().then_some(streams)
}

/// What runs a kernel.
pub(super) enum Runner {
    Eval,
    #[cfg(feature = "jit")]
    Code(crate::codegen::Code),
}

impl Runner {
    /// Runs the kernel that it was made for, on arguments that were made for it.
    pub(super) fn run(&self, kernel: &Kernel, denormals: Denormals, args: &mut Args<'_>) {
        #[cfg(not(feature = "jit"))]
        let _ = denormals;
        match self {
            Runner::Eval => eval_kernel(kernel, args),
            #[cfg(feature = "jit")]
            Runner::Code(code) => {
                let _mode = (denormals == Denormals::Flush).then(FlushDenormals::enter);
                if let Err(error) = code.run(args) {
                    unreachable!("the arguments were made for this kernel: {error}");
                }
            }
        }
    }
}

impl Plans {
    pub(super) fn new(math: Math, engine: Engine, denormals: Denormals) -> Plans {
        Plans {
            math,
            engine,
            denormals,
            #[cfg(feature = "jit")]
            lanes: crate::codegen::Lanes::Simd,
            #[cfg(feature = "jit")]
            codegen: None,
            #[cfg(all(test, feature = "jit"))]
            backend: None,
            compiled: Vec::new(),
            made: 0,
            warning: None,
        }
    }

    #[cfg(feature = "cli")]
    pub(super) fn denormals(&self) -> Denormals {
        self.denormals
    }

    /// The plan for these facts, compiled now if it is not among those kept.
    pub(super) fn get(&mut self, program: &Arc<Program>, facts: &Facts) -> Arc<Compiled> {
        let found = self.compiled.iter().position(|compiled| *compiled.facts() == *facts);
        if let Some(index) = found {
            self.compiled[..=index].rotate_right(1);
            return self.compiled[0].clone();
        }
        let plan = plan(&lower(program, facts));
        let compiled = self.compile(plan);
        self.compiled.truncate(KEPT - 1);
        self.compiled.insert(0, Arc::new(compiled));
        self.compiled[0].clone()
    }

    /// Compiles the sweeps of a plan.
    pub(super) fn compile(&mut self, plan: Plan) -> Compiled {
        self.made += 1;
        let kernel = |part: &Part| Some(part.sweep.as_ref()?.kernel.clone());
        let kernels: Vec<Option<Kernel>> = plan.parts.iter().map(kernel).collect();
        let runners = kernels.iter().map(|kernel| kernel.as_ref().map(|kernel| self.code(kernel))).collect();
        Compiled::new(self.made, plan, runners, self.denormals)
    }

    /// What runs a kernel.
    pub(super) fn code(&mut self, kernel: &Kernel) -> Runner {
        #[cfg(feature = "jit")]
        if self.engine == Engine::Jit {
            use crate::codegen::{Codegen, Isa, Target, backend};
            let Some(isa) = self.codegen.map_or_else(Isa::host, Codegen::host) else {
                self.warn("this CPU has not the instructions that the code generator needs");
                return Runner::Eval;
            };
            let backend = backend(isa);
            #[cfg(test)]
            let backend = self.backend.unwrap_or(backend);
            match backend.compile(kernel, Target { isa, lanes: self.lanes }) {
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

#[cfg(all(test, feature = "jit"))]
mod tests {
    use crate::codegen::{Backend, Code, CodegenError, Target, Text, contained};
    use crate::ir::Kernel;
    use crate::{Engine, Rule, Tensor};

    /// It panics as Cranelift does where it has no instruction for an operation.
    struct Broken;

    impl Backend for Broken {
        fn compile(&self, kernel: &Kernel, _: Target) -> Result<Code, CodegenError> {
            contained(|| panic!("should be implemented in ISLE: kernel `{}`", kernel.name))
        }

        fn text(&self, _: &Kernel, _: Target, _: Text) -> Result<String, CodegenError> {
            Err(CodegenError::Failed("no text".into()))
        }
    }

    #[test]
    fn where_the_code_generator_panics_the_evaluator_goes_on() {
        // Several kernels, and another plan from some step on.
        for name in ["sgd", "clip_adamw", "radam", "lamb"] {
            let steps = |engine: Engine, broken_from: Option<usize>| {
                let mut opt = Rule::shipped(name)?.optimizer().engine(engine).build()?;
                let (mut w, mut warnings) = ([0.5f32; 21], Vec::new());
                let mut bits = Vec::new();
                for step in 0..10 {
                    if Some(step) == broken_from {
                        opt.plans.backend = Some(&Broken);
                        opt.plans.compiled.clear();
                    }
                    let g = [0.1 * (step as f32 - 4.0); 21];
                    opt.step(&mut [Tensor::new("w", &mut w, &g)])?;
                    bits.extend(w.map(f32::to_bits));
                    warnings.extend(opt.warning().map(str::to_string));
                }
                warnings.dedup();
                Ok::<_, crate::Error>((bits, warnings))
            };
            let (expected, warnings) = steps(Engine::Eval, None).unwrap();
            assert_eq!(warnings, [""; 0]);
            assert_eq!(steps(Engine::Jit, None).unwrap(), (expected.clone(), Vec::new()));
            for from in [0, 3] {
                let (bits, warnings) = steps(Engine::Jit, Some(from)).unwrap();
                assert_eq!(bits, expected, "{name}");
                assert_eq!(warnings.len(), 1, "{warnings:?}");
                let says = |text: &str| warnings[0].contains(text);
                assert!(says("the code generator failed: should be implemented in ISLE") && says("the evaluator runs"));
            }
        }
    }
}
