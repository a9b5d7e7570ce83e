//! Where a run begins: at its first epoch, or where a checkpoint says that it was.
//!
//! Comes in: a run between two epochs, or a checkpoint of one. Goes out: the checkpoint, or a [`Start`] from which the run
//! goes on to the bit, losses and all. The optimizer's own part is [`Optimizer::checkpoint`] and [`Optimizer::restore`].
//!
//! What the trainer adds: the parameters, the arrays `train.losses` and `train.epochs`, `train.values of <hyper>` for each
//! hyper that a schedule drives, and the text `train`: which data, which batches and which seed.

use super::data::Digits;
use super::network::Network;
use super::run::{Epoch, Options, Run, Seconds, TrainError};
use crate::runtime::{Checkpoint, Optimizer, StateValues};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where a run begins. The default is its first epoch.
///
/// ```
/// use updraft::train::{Digits, Options, Start, train, train_from};
/// use updraft::{Checkpoint, Rule};
/// # use updraft::train::Progress;
/// # struct Keep(Option<Checkpoint>);
/// # impl Progress for Keep {
/// #     fn checkpoint(&mut self, take: &mut dyn FnMut() -> Checkpoint) -> Result<(), String> {
/// #         self.0 = Some(take());
/// #         Ok(())
/// #     }
/// # }
/// let digits = Digits::built_in()?;
/// let build = || Rule::shipped("adam")?.optimizer().build();
/// let options = Options { epochs: 1, batch: 2000, ..Options::default() };
/// # let mut kept = Keep(None);
/// train(&digits, &mut build()?, &options, &mut kept)?; // `Progress::checkpoint` is offered one after each epoch
/// # let checkpoint = kept.0.unwrap();
///
/// let mut resumed = build()?;
/// resumed.restore(&checkpoint, Default::default())?;
/// let options = Options { epochs: 2, ..options };
/// let start = Start::of(&checkpoint, &digits, &resumed, &options)?;
/// let run = train_from(start, &digits, &mut resumed, &options, &mut ())?;
/// assert_eq!((run.epochs.len(), run.losses.len()), (2, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// By name, in the order of the network's tensors.
    params: Vec<Vec<f32>>,
    losses: Vec<f64>,
    skipped: usize,
    epochs: Vec<Epoch>,
    /// By hyper.
    driven: BTreeMap<String, Vec<f64>>,
}

/// What an epoch is in `train.epochs`.
const COLUMNS: usize = 9;

impl Start {
    /// Where a checkpoint says that a run was.
    ///
    /// # Errors
    /// [`TrainError::Resume`], if the checkpoint is of no run, or of one on other data, with other batches, another seed, or
    /// schedules for other hypers.
    pub fn of(
        checkpoint: &Checkpoint,
        digits: &Digits,
        optimizer: &Optimizer,
        options: &Options,
    ) -> Result<Start, TrainError> {
        let start = read(checkpoint, digits, options).and_then(|start| start.driven_as(optimizer));
        start.map_err(|reason| TrainError::Resume { reason })
    }

    /// Itself, if schedules drove the hypers that they drive now.
    fn driven_as(self, optimizer: &Optimizer) -> Result<Start, String> {
        let now: Vec<&str> = optimizer.driven().map(|(hyper, ..)| hyper).collect();
        if let Some(hyper) = now.iter().find(|hyper| !self.driven.contains_key(**hyper)) {
            return Err(format!("no schedule drove `{hyper}` when it was written, and one does now"));
        }
        match self.driven.iter().find(|(hyper, _)| !now.contains(&hyper.as_str())) {
            Some((hyper, _)) => Err(format!("a schedule drove `{hyper}` when it was written: attach the same one")),
            None => Ok(self),
        }
    }

    /// How many epochs are done.
    pub fn epochs(&self) -> usize {
        self.epochs.len()
    }

    /// Gives a run what it had.
    pub(super) fn give(self, network: &mut Network, run: &mut Run) {
        for driven in &mut run.driven {
            driven.values.extend(self.driven.get(&driven.hyper).into_iter().flatten());
        }
        let mut params: Vec<Option<Vec<f32>>> = self.params.into_iter().map(Some).collect();
        network.exchange(&mut params);
        run.losses.extend(self.losses);
        run.skipped = self.skipped;
        self.epochs.iter().for_each(|epoch| run.seconds += epoch.seconds);
        run.epochs = self.epochs;
    }
}

/// A checkpoint of a run between two epochs.
pub(super) fn checkpoint(optimizer: &Optimizer, network: &mut Network, run: &Run, digits: &Digits) -> Checkpoint {
    let mut checkpoint = optimizer.checkpoint();
    let columns = run.epochs.iter().flat_map(|epoch| {
        let Seconds { forward, backward, step, rest } = epoch.seconds;
        let (number, skipped) = (epoch.number as f64, epoch.skipped as f64);
        [number, epoch.train_loss, epoch.test_loss, epoch.test_accuracy, skipped, forward, backward, step, rest]
    });
    let columns: Vec<f64> = columns.collect();
    let mut put = |name: &str, shape: &[usize], values: &[f64]| {
        // The shapes are those of the values.
        let _ = checkpoint.put_array(name, shape, values);
    };
    put("train.losses", &[run.losses.len()], &run.losses);
    put("train.epochs", &[run.epochs.len(), COLUMNS], &columns);
    for driven in &run.driven {
        put(&format!("train.values of {}", driven.hyper), &[driven.values.len()], &driven.values);
    }
    for (name, value, _) in network.params() {
        let values: Vec<f32> = value.iter().copied().collect();
        let _ = checkpoint.put_param(name, value.shape(), &values);
    }
    let (batch, seed) = (run.options.batch, run.options.seed.to_string());
    let about = json!({"batch": batch, "seed": seed, "skipped": run.skipped, "data": digits.fingerprint()});
    checkpoint.put_text("train", &about.to_string());
    checkpoint
}

fn read(checkpoint: &Checkpoint, digits: &Digits, options: &Options) -> Result<Start, String> {
    let about = checkpoint.text("train").ok_or("it is no checkpoint of `updraft train`")?;
    let about: Value = serde_json::from_str(about).map_err(|error| format!("its `train` cannot be read: {error}"))?;
    let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| about.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (batch, now) = (number("batch"), options.batch.min(digits.train().len()));
    if batch != now as u64 {
        return Err(format!("it was trained in batches of {batch}, and they are of {now} now: pass --batch {batch}"));
    }
    if text("seed") != options.seed.to_string() {
        let (was, now) = (text("seed"), options.seed);
        return Err(format!("it was trained with the seed {was}, and it is {now} now: pass --seed {was}"));
    }
    if text("data") != digits.fingerprint() {
        return Err("it was trained on other images: pass the --data of then".to_string());
    }
    let array = |name: &str| match checkpoint.array(name) {
        Some((shape, StateValues::F64(values))) => Ok((shape, values)),
        _ => Err(format!("it has no `{name}`")),
    };
    let (_, losses) = array("train.losses")?;
    let (shape, columns) = array("train.epochs")?;
    if shape.len() != 2 || shape[1] != COLUMNS {
        return Err("its `train.epochs` has other columns".to_string());
    }
    let epochs = columns.chunks_exact(COLUMNS).map(|row| Epoch {
        number: row[0] as usize,
        train_loss: row[1],
        test_loss: row[2],
        test_accuracy: row[3],
        skipped: row[4] as usize,
        seconds: Seconds { forward: row[5], backward: row[6], step: row[7], rest: row[8] },
    });
    let epochs: Vec<Epoch> = epochs.collect();
    let steps = digits.train().len().div_ceil(now.max(1));
    let in_order = epochs.iter().enumerate().all(|(index, epoch)| epoch.number == index + 1);
    if !in_order || epochs.len().checked_mul(steps) != Some(losses.len()) {
        return Err(format!("its {} losses are not those of {} epochs", losses.len(), epochs.len()));
    }
    let mut params = Vec::new();
    for (name, expected) in Network::shapes(digits.size()) {
        match checkpoint.param(name) {
            Some((shape, StateValues::F32(values))) if *shape == *expected => params.push(values.to_vec()),
            Some((shape, _)) => {
                return Err(format!("its parameter `{name}` is not f32 of shape {expected:?} but {shape:?}"));
            }
            None => return Err(format!("it has no parameter `{name}`")),
        }
    }
    let driven = checkpoint.entries().filter_map(|entry| {
        let name = entry.name.strip_suffix("/@host")?;
        let hyper = name.strip_prefix("train.values of ")?;
        Some((hyper.to_string(), array(name).ok()?.1.to_vec()))
    });
    let driven: BTreeMap<String, Vec<f64>> = driven.collect();
    // A first step that was skipped had none.
    if let Some((hyper, values)) = driven.iter().find(|(_, values)| values.len() > losses.len()) {
        return Err(format!("its {} values of `{hyper}` are not those of {} steps", values.len(), losses.len()));
    }
    Ok(Start { params, losses: losses.to_vec(), skipped: number("skipped") as usize, driven, epochs })
}

#[cfg(test)]
mod tests {
    use super::super::run::{Progress, train, train_from};
    use super::super::testing::{corners, options};
    use super::*;
    use crate::runtime::{Restore, Rule};

    /// Takes the checkpoint after one epoch.
    struct Take {
        after: usize,
        taken: Option<Checkpoint>,
    }

    impl Progress for Take {
        fn checkpoint(&mut self, take: &mut dyn FnMut() -> Checkpoint) -> Result<(), String> {
            self.after = self.after.wrapping_sub(1);
            if self.after == 0 {
                self.taken = Some(take());
            }
            Ok(())
        }
    }

    fn build() -> Optimizer {
        let schedule = "linear(total_iters=9, start_factor=0.5)".parse().unwrap();
        let rule = Rule::shipped("adamw").unwrap();
        rule.optimizer().set("lr", 0.01).unwrap().schedule("lr", schedule).unwrap().build().unwrap()
    }

    /// What does not depend on the clock.
    fn measured(run: &Run) -> (Vec<u64>, Vec<[u64; 3]>, Vec<Vec<u64>>) {
        let bits = |x: &f64| x.to_bits();
        let epoch = |epoch: &Epoch| [epoch.train_loss, epoch.test_loss, epoch.test_accuracy].map(f64::to_bits);
        let driven = run.driven.iter().map(|driven| driven.values.iter().map(bits).collect());
        (run.losses.iter().map(bits).collect(), run.epochs.iter().map(epoch).collect(), driven.collect())
    }

    #[test]
    fn a_run_that_goes_on_is_one_that_never_stopped() {
        let (digits, all) = (corners(), options(4, 7, 3));
        let mut last = Take { after: 4, taken: None };
        let straight = train(&digits, &mut build(), &all, &mut last).unwrap();
        for after in 1..=4 {
            let mut take = Take { after, taken: None };
            train(&digits, &mut build(), &options(after, 7, 3), &mut take).unwrap();
            let checkpoint = Checkpoint::from_bytes(&take.taken.unwrap().to_bytes().unwrap()).unwrap();
            let mut optimizer = build();
            optimizer.restore(&checkpoint, Restore::default()).unwrap();
            let start = Start::of(&checkpoint, &digits, &optimizer, &all).unwrap();
            assert_eq!(start.epochs(), after);
            let mut end = Take { after: 4 - after, taken: None };
            let run = train_from(start, &digits, &mut optimizer, &all, &mut end).unwrap();
            assert_eq!(measured(&run), measured(&straight), "after {after}");
            let last = last.taken.as_ref().unwrap();
            if let Some(end) = end.taken {
                let names = |c: &Checkpoint| c.entries().map(|entry| entry.name.to_string()).collect::<Vec<_>>();
                assert_eq!(names(&end), names(last));
                for name in ["w1", "b1", "w2", "b2", "w3", "b3"] {
                    assert_eq!(end.param(name), last.param(name), "{name}");
                }
                assert_eq!(optimizer.steps("w1"), 24);
            }
        }
    }

    #[test]
    fn another_run_is_refused_by_name() {
        let digits = corners();
        let mut take = Take { after: 1, taken: None };
        train(&digits, &mut build(), &options(1, 7, 3), &mut take).unwrap();
        let checkpoint = take.taken.unwrap();
        let refused = |checkpoint: &Checkpoint, digits: &Digits, options: &Options| {
            Start::of(checkpoint, digits, &build(), options).unwrap_err().to_string()
        };
        assert!(refused(&checkpoint, &digits, &options(1, 8, 3)).contains("--batch 7"));
        assert!(refused(&checkpoint, &digits, &options(1, 7, 4)).contains("--seed 3"));
        let fewer = Digits::from_parts(digits.train().first(39), digits.test().first(12));
        assert!(refused(&checkpoint, &fewer, &options(1, 7, 3)).contains("--data"));
        assert!(refused(&build().checkpoint(), &digits, &options(1, 7, 3)).contains("updraft train"));
        // What it holds fits together.
        let changed = |change: &dyn Fn(&mut Checkpoint)| {
            let mut changed = checkpoint.clone();
            change(&mut changed);
            refused(&changed, &digits, &options(1, 7, 3))
        };
        assert!(changed(&|c| c.put_array("train.losses", &[2], &[0.1, 0.2]).unwrap()).contains("2 losses"));
        assert!(changed(&|c| c.put_array("train.epochs", &[9], &[1.0; 9]).unwrap()).contains("columns"));
        assert!(changed(&|c| c.put_param("b3", &[9], &[1.0f32; 9]).unwrap()).contains("`b3` is not f32 of shape [10]"));
        assert!(changed(&|c| c.put_param("w1", &[512, 4], &[1.0f64; 2048]).unwrap()).contains("`w1`"));
        assert!(changed(&|c| c.put_text("train", "{")).contains("cannot be read"));
        let values = |c: &mut Checkpoint| c.put_array("train.values of lr", &[7], &[0.1; 7]).unwrap();
        assert!(changed(&values).contains("7 values of `lr`"));
        let other = |c: &mut Checkpoint| c.put_array("train.values of eps", &[6], &[0.1; 6]).unwrap();
        assert!(changed(&other).contains("a schedule drove `eps`"));
        let plain = Rule::shipped("adamw").unwrap().optimizer().build().unwrap();
        let error = Start::of(&checkpoint, &digits, &plain, &options(1, 7, 3)).unwrap_err().to_string();
        assert!(error.contains("a schedule drove `lr`"), "{error}");
    }
}
