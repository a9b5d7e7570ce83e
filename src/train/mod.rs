//! The built-in trainer: a small network on handwritten digits, with any rule as its optimizer.
//!
//! In come digits ([`Digits`]), an optimizer and [`Options`]; out comes a [`Run`] with every loss, the accuracy after each
//! epoch (of the parameters, or of [`Weights`] that the optimizer makes of them) and where the time went; [`table`] and
//! [`page`] turn runs into text and into one HTML page.
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
//! `network` (forward, loss, backward), `inputs` (the loss, for rules that read it), `weights` (what is tested), `start`
//! (from nothing, or from a checkpoint), `run` (the loop), `report` (text and page; its curves are `chart`'s).

mod data;
mod inputs;
mod network;
mod random;
mod report;
mod run;
mod start;
mod weights;

pub use data::{DataError, Digits, Split};
pub use inputs::check;
pub use network::{HIDDEN, Place};
pub use report::{page, table};
pub use run::{
    BatchDone, Diverged, Driven, Epoch, Options, Phase, Progress, Run, Seconds, TrainError, train, train_from,
};
pub use start::Start;
pub use weights::Weights;

/// What the tests of runs share.
#[cfg(test)]
mod testing {
    use super::{Digits, Options, Split};

    /// 40 images of 2 x 2 that are easy to tell apart, 12 of them again to test on.
    pub(super) fn corners() -> Digits {
        let split = |count: usize| {
            let labels: Vec<u8> = (0..count).map(|index| (index % 4) as u8).collect();
            let pixels =
                labels.iter().flat_map(|&label| (0..4).map(move |at| if at == label { 250 } else { 5 })).collect();
            Split::from_parts(pixels, labels, 2, 2)
        };
        Digits::from_parts(split(40), split(12))
    }

    pub(super) fn options(epochs: usize, batch: usize, seed: u64) -> Options {
        Options { epochs, batch, seed, ..Options::default() }
    }
}
