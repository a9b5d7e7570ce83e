//! What a rule means for a model: `eval_steps` on whole arrays, without planner, kernels and runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use updraft::check::program::{Extent, NodeKind, Program, ReportId, StateId};
use updraft::ir::eval_step::eval_steps;
use updraft::ir::random::Key;
use updraft::ir::region::{Level, outcomes};
use updraft::ir::step::{Array, Source, StepInst};
use updraft::ir::{Alone, Arrays, Column, Scalar, Scalars, Step, TensorStep, lower, lower_conditions, lower_init};
use updraft::{Facts, Math, Outcome, Rule, Storage, Stores};

/// A tensor as a case describes it.
#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub shape: Vec<usize>,
    pub storage: Storage,
    /// The type of its gradients.
    pub grad: Storage,
    pub group: usize,
    /// How many elements it is off the start of its buffer.
    pub offset: usize,
}

impl Place {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A model under a rule.
pub struct Oracle {
    program: Arc<Program>,
    math: Math,
    seed: u64,
    stores: Stores,
    /// Of each group.
    hypers: Vec<Vec<Option<Scalar>>>,
    model: BTreeMap<StateId, f64>,
    groups: Vec<BTreeMap<StateId, f64>>,
    pub tensors: Vec<OracleTensor>,
}

pub struct OracleTensor {
    pub place: Place,
    pub t: u64,
    pub param: Column,
    /// The states, and what is kept beside them.
    pub arrays: BTreeMap<Array, Column>,
    pub scalars: BTreeMap<StateId, f64>,
    /// Those of the last step that had this tensor, if it was taken.
    pub reports: BTreeMap<ReportId, f64>,
    /// Whether the last step had this tensor, and did not take it.
    pub skipped: bool,
}

/// A tensor of a step under way.
struct Work {
    index: usize,
    facts: Facts,
    arrays: Arrays,
    scalars: Scalars,
}

impl Oracle {
    /// `groups`: the hypers that each group sets.
    pub fn new(
        rule: &Rule,
        (math, stores): (Math, &Stores),
        seed: u64,
        groups: &[&[(&str, f64)]],
        tensors: &[(Place, Column)],
    ) -> Oracle {
        let hypers = |own: &&[(&str, f64)]| {
            let value = |hyper: updraft::HyperInfo<'_>| match own.iter().find(|(name, _)| *name == hyper.name) {
                Some((_, x)) => Some(Scalar::F64(*x)),
                None => match (hyper.default.as_f64(), hyper.default.as_bool()) {
                    (Some(x), _) => Some(Scalar::F64(x)),
                    (_, flag) => flag.map(Scalar::Bool),
                },
            };
            rule.hypers().map(value).collect()
        };
        let tensor = |(place, param): &(Place, Column)| OracleTensor {
            place: place.clone(),
            t: 0,
            param: param.clone(),
            arrays: BTreeMap::new(),
            scalars: BTreeMap::new(),
            reports: BTreeMap::new(),
            skipped: false,
        };
        Oracle {
            program: rule.program().clone(),
            math,
            seed,
            stores: stores.clone(),
            hypers: groups.iter().map(hypers).collect(),
            model: BTreeMap::new(),
            groups: vec![BTreeMap::new(); groups.len()],
            tensors: tensors.iter().map(tensor).collect(),
        }
    }

    /// A scalar state as a tensor sees it; `None` if nothing that was taken has touched it.
    pub fn scalar(&self, tensor: usize, id: StateId) -> Option<f64> {
        let tensor = &self.tensors[tensor];
        let scope = match self.program.states[id.index()].extent {
            Extent::Model => &self.model,
            Extent::Group => &self.groups[tensor.place.group],
            _ => &tensor.scalars,
        };
        scope.get(&id).copied()
    }

    /// One step of the tensors that have a gradient.
    pub fn step(&mut self, grads: &[Option<Column>]) {
        let given = grads.iter().enumerate().filter_map(|(index, grad)| Some((index, grad.clone()?)));
        let mut works: Vec<Work> = given.map(|(index, grad)| self.begin(index, grad)).collect();
        self.conditions(&mut works);
        let steps: Vec<Step> = works.iter().map(|work| lower(&self.program, &work.facts)).collect();
        for index in 0..self.program.states.len() {
            let id = StateId(index as u32);
            let reads = |inst: &StepInst| match inst {
                StepInst::Source(Source::State(read)) | StepInst::Load(Array::State(read)) => *read == id,
                _ => false,
            };
            let touches: Vec<bool> = steps.iter().map(|step| step.insts.iter().any(reads)).collect();
            self.first_values(&mut works, id, &touches);
        }
        for (work, step) in works.iter_mut().zip(&steps) {
            keep_param(step, &mut work.arrays);
        }
        let tensors = works.iter_mut().zip(&steps);
        let tensors = tensors.map(|(work, step)| TensorStep {
            step,
            arrays: &mut work.arrays,
            scalars: &mut work.scalars,
            group: self.tensors[work.index].place.group,
        });
        eval_steps(&mut tensors.collect::<Vec<_>>(), &Alone);
        for tensor in &mut self.tensors {
            tensor.reports.clear();
            tensor.skipped = false;
        }
        for work in works {
            self.commit(work);
        }
    }

    fn begin(&self, index: usize, grad: Column) -> Work {
        let tensor = &self.tensors[index];
        let number = |id: &updraft::check::program::ExprId| match self.program.node(*id).kind {
            NodeKind::Number(x) => x,
            NodeKind::Neg(of) => match self.program.node(of).kind {
                NodeKind::Number(x) => -x,
                _ => f64::NAN,
            },
            _ => f64::NAN,
        };
        let mut states = self.model.clone();
        states.extend(&self.groups[tensor.place.group]);
        states.extend(&tensor.scalars);
        let mut arrays = Arrays::default();
        arrays.0.insert(Array::Param, tensor.param.clone());
        arrays.0.insert(Array::Grad, grad);
        arrays.0.extend(tensor.arrays.clone());
        let scalars = Scalars {
            hypers: self.hypers[tensor.place.group].clone(),
            inputs: self.program.inputs.iter().map(|input| input.default.as_ref().map_or(0.0, number)).collect(),
            t: tensor.t + 1,
            states,
            shape: Some(tensor.place.shape.clone()),
            key: Key::new(self.seed, &tensor.place.name),
            ..Scalars::default()
        };
        let facts = Facts::new(tensor.place.storage, self.math, Vec::new());
        let facts = Facts { grad: tensor.place.grad, stores: self.stores.clone(), ..facts };
        Work { index, facts, arrays, scalars }
    }

    /// The outcomes of the conditions of each tensor, and the first values of the states that they read.
    fn conditions(&self, works: &mut [Work]) {
        let regions: Vec<_> = works.iter().map(|work| lower_conditions(&self.program, work.facts.storage)).collect();
        // First values depend on no states, so that these outcomes are good enough for them.
        let all = |work: &mut Work, conditions: &updraft::ir::region::Region| {
            let mut registers = Vec::new();
            let source = |source: Source| match source {
                Source::State(id) => Scalar::F64(work.scalars.states.get(&id).copied().unwrap_or(f64::NAN)),
                source => work.scalars.source(source),
            };
            conditions.run((Level::Model, Level::Tensor), &mut registers, source, |_, _| ());
            outcomes(&self.program, conditions, &registers, &mut work.facts.outcomes);
            registers
        };
        for (work, conditions) in works.iter_mut().zip(&regions) {
            all(work, conditions);
        }
        let before: Vec<BTreeMap<StateId, f64>> = works.iter().map(|work| work.scalars.states.clone()).collect();
        for id in (0..self.program.states.len()).map(|index| StateId(index as u32)) {
            let reads = |conditions: &updraft::ir::region::Region| {
                conditions.sources().any(|source| source == Source::State(id))
            };
            let touches: Vec<bool> = regions.iter().map(reads).collect();
            self.first_values(works, id, &touches);
        }
        // All are computed, but only what a condition that is reached has read is touched; of those that reduce the
        // parameters of all, all.
        for ((work, conditions), before) in works.iter_mut().zip(&regions).zip(before) {
            let registers = all(work, conditions);
            let reached = conditions.outputs.iter().zip(&work.facts.outcomes);
            let reached = reached.filter(|(_, outcome)| **outcome != Outcome::Unreached).map(|(output, _)| *output);
            let mut needed = Vec::new();
            conditions.trace(reached, &registers, &mut needed);
            let touched: Vec<Source> = conditions.needed_sources(&needed).collect();
            let is_touched = |id: StateId| touched.contains(&Source::State(id)) || self.reduces(id);
            work.scalars.states.retain(|id, _| before.contains_key(id) || is_touched(*id));
            work.facts.reports = (0..self.program.reports.len()).map(|index| ReportId(index as u32)).collect();
        }
    }

    /// Whether the first value of a state reduces the parameters.
    fn reduces(&self, id: StateId) -> bool {
        let parts = self.program.postorder(self.program.states[id.index()].init);
        parts.into_iter().any(|id| matches!(self.program.node(id).kind, NodeKind::Reduce(..)))
    }

    /// Gives a state its first value for the tensors that touch it and have none; what it reduces is of those.
    fn first_values(&self, works: &mut [Work], id: StateId, touches: &[bool]) {
        let array = Array::State(id);
        let is_absent = |work: &Work| !work.arrays.0.contains_key(&array) && !work.scalars.states.contains_key(&id);
        let mut together: Vec<(usize, Step, Arrays, Scalars)> = Vec::new();
        for (k, work) in works.iter().enumerate().filter(|(k, work)| touches[*k] && is_absent(work)) {
            let step = lower_init(&self.program, id, &work.facts);
            let mut arrays = work.arrays.clone();
            keep_param(&step, &mut arrays);
            together.push((k, step, arrays, work.scalars.clone()));
        }
        let tensors = together.iter_mut().map(|(k, step, arrays, scalars)| TensorStep {
            step,
            arrays,
            scalars,
            group: self.tensors[works[*k].index].place.group,
        });
        eval_steps(&mut tensors.collect::<Vec<_>>(), &Alone);
        for (k, _, mut arrays, scalars) in together {
            for array in [array, Array::StateRest(id)] {
                works[k].arrays.0.extend(arrays.0.remove(&array).map(|column| (array, column)));
            }
            works[k].scalars.states.extend(scalars.states.get(&id).map(|x| (id, *x)));
        }
    }

    fn commit(&mut self, work: Work) {
        let tensor = &mut self.tensors[work.index];
        tensor.skipped = work.scalars.skipped;
        if tensor.skipped {
            return;
        }
        tensor.t += 1;
        tensor.reports = work.scalars.reports;
        for (array, column) in work.arrays.0 {
            match array {
                Array::Param => tensor.param = column,
                Array::Grad => {}
                array => drop(tensor.arrays.insert(array, column)),
            }
        }
        for (id, x) in work.scalars.states {
            match self.program.states[id.index()].extent {
                Extent::Model => drop(self.model.insert(id, x)),
                Extent::Group => drop(self.groups[tensor.place.group].insert(id, x)),
                _ => drop(tensor.scalars.insert(id, x)),
            }
        }
    }
}

/// What is kept of the parameter begins with it.
fn keep_param(step: &Step, arrays: &mut Arrays) {
    let p = arrays.0[&Array::Param].clone();
    for inst in &step.insts {
        match inst {
            StepInst::Load(array @ Array::Master) => drop(arrays.0.entry(*array).or_insert(p.clone())),
            StepInst::Load(array @ Array::ParamRest) => {
                arrays.0.entry(*array).or_insert(Column::F32(vec![0.0; p.len()]));
            }
            _ => {}
        }
    }
}
