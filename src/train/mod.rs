//! The built-in trainer: a small network on handwritten digits, with any rule as its optimizer.
//!
//! In come digits ([`Digits`]), an optimizer and [`Options`]; out comes a [`Run`] with every loss, the accuracy after each
//! epoch and where the time went; [`table`] and [`page`] turn runs into text and into one HTML page.
//!
//! It guarantees that runs with one seed start from the same weights and see the same batches in the same order,
//! whatever the rule, so that runs differ by their rules alone. The start and the order are the same on every host.
//! Matrix products are matrixmultiply's, which rounds differently on processors without fused multiply-add; on processors
//! of one kind a run repeats bit for bit.
//!
//! The trainer deliberately has no other model, no augmentation, no threads and no files to write: it exists to show what
//! a rule does to a real loss, and where a step's time goes. It never touches parameters except through the optimizer.
//!
//! Files, in the order in which data flows: `data` (folders and the embedded set), `random` (the start and the order),
//! `network` (forward, loss, backward), `run` (the loop), `report` and `chart` (text, page and its curves).

mod chart;
mod data;
mod network;
mod random;
mod report;
mod run;

pub use data::{DataError, Digits, Split};
pub use network::{HIDDEN, Place};
pub use report::{page, table};
pub use run::{BatchDone, Diverged, Epoch, Options, Phase, Progress, Run, Seconds, TrainError, train};

/// What the trainer needs of an optimizer: one step over named parameters.
pub trait Stepper {
    /// Updates every parameter from its gradient. The tensors, their order, names and shapes are the same in every call.
    ///
    /// # Errors
    /// A message for the user, if the optimizer cannot take the step.
    fn step(&mut self, tensors: &mut [Param<'_>]) -> Result<(), String>;

    /// The rule's name, for messages and reports.
    fn rule(&self) -> &str;
}

/// One named parameter and its gradient, of equal shape.
pub struct Param<'a> {
    /// `w1 b1 w2 b2 w3 b3`.
    pub name: &'a str,
    /// The parameter: `(outputs, inputs)` for a weight, as torch stores it; `(outputs,)` for a bias.
    pub value: ndarray::ArrayViewMutD<'a, f32>,
    /// The gradient of the mean loss of the batch.
    pub grad: ndarray::ArrayViewD<'a, f32>,
}
