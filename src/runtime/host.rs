//! What the host gets from an optimizer beside the parameters: reports, views, averages, whether steps were taken.

use super::error::Error;
use super::first::{alone, param_arrays};
use super::optimizer::Optimizer;
use super::plans::outcomes;
use super::scopes::Slot;
use super::sources::{Sources, scalars_of};
use super::state::{State, StateValues};
use super::tensor::{Element, Grad};
use crate::check::program::{Extent, ReportId, ViewId};
use crate::diagnostic::did_you_mean;
use crate::ir::eval_step::eval_step;
use crate::ir::random::Key;
use crate::ir::region::Level;
use crate::ir::step::{Array, Source, Step, StepInst};
use crate::ir::{Facts, lower_view};
use ndarray::{ArrayD, IxDyn};

impl Optimizer {
    /// Whether the last call of [`step`](Self::step) took no step, of any tensor, because the rule or the host said so.
    pub fn last_skipped(&self) -> bool {
        self.last_skipped
    }

    /// How many calls of [`step`](Self::step) took no step of any tensor.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Says what the loss is multiplied by from now on: of an optimizer that was built with
    /// [`unscale`](super::OptimizerBuilder::unscale).
    ///
    /// # Errors
    /// [`Error::HostOption`], if it is not a finite number greater than 0.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<(), Error> {
        if !(scale.is_finite() && scale > 0.0) {
            let expected = "a finite number greater than 0";
            return Err(Error::HostOption { option: "the loss scale", value: scale, expected });
        }
        self.host.loss_scale = scale;
        Ok(())
    }

    /// The moving average of a parameter, which [`average`](super::OptimizerBuilder::average) asks for; `None` if the tensor
    /// has taken no step.
    pub fn average(&self, tensor: &str) -> Option<StateValues<'_>> {
        match self.by_name.get(tensor) {
            Some(index) => self.tensors[*index as usize].own.get(Array::Average).values(),
            None => self.loaded.get(tensor)?.get(Array::Average)?.values(),
        }
    }

    /// What the last step has reported per model; `None` if it has not: the report was not asked for when building, no
    /// step has computed it, or it is per group or tensor.
    pub fn report(&self, name: &str) -> Option<f64> {
        self.model.reports[self.report_id(name)?.index()]
    }

    /// What the last step of a tensor has reported: for it, for its group or for the model.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let text = "optimizer r\nhyper lr = 0.1\n\nreport size = norm(g)\np -= lr * g\n";
    /// let mut opt = Rule::parse("r", text)?.optimizer().report("size")?.build()?;
    /// opt.step(&mut [Tensor::new("w", &mut [1.0f32, 1.0], &[3.0, 4.0])])?;
    /// assert_eq!(opt.report_of("size", "w"), Some(5.0));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    pub fn report_of(&self, name: &str, tensor: &str) -> Option<f64> {
        let id = self.report_id(name)?.index();
        let slot = &self.tensors[*self.by_name.get(tensor)? as usize];
        match self.rule.program().reports[id].extent {
            Extent::Model => self.model.reports[id],
            Extent::Group => self.groups[slot.group].scope.reports[id],
            _ => slot.own.reports[id],
        }
    }

    fn report_id(&self, name: &str) -> Option<ReportId> {
        let index = self.rule.program().reports.iter().position(|report| &*report.name == name)?;
        Some(ReportId(index as u32))
    }

    /// A view of a tensor: what the rule says that is derived from the parameter as it is now and from what is kept for it.
    /// It changes nothing.
    ///
    /// ```
    /// use updraft::{Rule, Tensor};
    /// let text = "optimizer r\nhyper lr = 1\nstate z = p\n\nz -= lr * g\np = z\nview middle = (p + z)/2\n";
    /// let mut opt = Rule::parse("r", text)?.optimizer().build()?;
    /// let mut w = [1.0f32, 2.0];
    /// opt.step(&mut [Tensor::new("w", &mut w, &[0.5, 0.5])])?;
    /// w = [2.5, 3.5];
    /// assert_eq!(opt.view("middle", "w", &w)?.as_slice(), Some(&[1.5f32, 2.5][..]));
    /// # Ok::<(), updraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownView`], [`Error::UnknownTensor`], [`Error::ArrayShape`], [`Error::ArrayDtype`].
    pub fn view<'a, T: Element>(
        &mut self,
        name: &str,
        tensor: &str,
        param: impl Into<Grad<'a, T>>,
    ) -> Result<ArrayD<T>, Error> {
        let param = param.into().0;
        let views = &self.rule.program().views;
        let Some(view) = views.iter().position(|view| &*view.name == name) else {
            return Err(Error::UnknownView {
                rule: self.rule.name().to_string(),
                view: name.to_string(),
                similar: did_you_mean(name, views.iter().map(|view| &*view.name)).map(str::to_string),
                known: views.iter().map(|view| view.name.to_string()).collect(),
            });
        };
        let index = match self.by_name.get(tensor) {
            Some(index) => *index,
            None if self.loaded.contains_key(tensor) => self.add(tensor, param.shape(), T::STORAGE)?,
            None => {
                let known = self.tensors.iter().map(|slot| &*slot.name);
                let similar = did_you_mean(tensor, known).map(str::to_string);
                return Err(Error::UnknownTensor { tensor: tensor.to_string(), similar });
            }
        };
        let slot = &self.tensors[index as usize];
        let local = [slot.geometry.len];
        let is_shard = slot.geometry.len != slot.geometry.total(Extent::Element);
        let shape = if is_shard { &local[..] } else { &slot.shape };
        slot.check_array("the parameter", (param.shape(), T::STORAGE), (shape, slot.storage))?;
        let values = self.view_values::<T>(ViewId(view as u32), slot, param.iter().copied().collect());
        // A view is per element, and so has as many values as the parameter.
        Ok(ArrayD::from_shape_vec(IxDyn(param.shape()), values).unwrap_or_default())
    }

    fn view_values<T: Element>(&self, view: ViewId, slot: &Slot, param: Vec<T>) -> Vec<T> {
        let program = self.rule.program();
        let hypers = &self.groups[slot.group].hypers;
        let sources = Sources { t: slot.t, ..Sources::of(self.shared(), slot, &slot.own, &[]) };
        let conditions = self.rule.condition_code(slot.storage);
        let (mut registers, mut found) = (Vec::new(), Vec::new());
        conditions.run((Level::Model, Level::Tensor), &mut registers, &sources, |_, _| ());
        outcomes(program, conditions, &registers, &mut found);
        let facts = Facts::new(slot.storage, self.plans.math, found);
        let facts = Facts { stores: self.host.stores.clone(), ..facts };
        let step = lower_view(program, view, &facts);
        let mut scalars = scalars_of(program, hypers, &slot.shape);
        (scalars.t, scalars.first) = (slot.t, slot.geometry.first);
        scalars.key = Key::new(self.host.seed, &slot.name);
        for source in sources_in(&step) {
            if let Source::State(id) = source {
                scalars.states.insert(id, sources.state(id).unwrap_or_else(|| sources.first_value(id)));
            }
        }
        let mut arrays = param_arrays(&facts, slot, T::column(param.clone()));
        let compute = slot.storage.compute();
        for array in arrays_in(&step) {
            // What no step has touched is what it would begin as.
            let begins = |array| match array {
                Array::State(id) => alone(program, &facts, hypers, slot, id, || T::column(param.clone())).0,
                Array::StateRest(id) => {
                    alone(program, &facts, hypers, slot, id, || T::column(param.clone())).1.unwrap_or_default()
                }
                _ => State::Absent,
            };
            let column = match slot.own.get(array) {
                State::Absent => begins(array).column(compute),
                state => state.column(compute),
            };
            arrays.0.extend(column.map(|column| (array, column)));
        }
        eval_step(&step, &mut arrays, &mut scalars);
        T::rounded(arrays.0.remove(&Array::View).unwrap_or_default())
    }
}

fn sources_in(step: &Step) -> impl Iterator<Item = Source> + '_ {
    step.insts.iter().filter_map(|inst| match inst {
        StepInst::Source(source) => Some(*source),
        _ => None,
    })
}

fn arrays_in(step: &Step) -> impl Iterator<Item = Array> + '_ {
    step.insts.iter().filter_map(|inst| match inst {
        StepInst::Load(array) => Some(*array),
        _ => None,
    })
}
