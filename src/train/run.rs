//! The loop: epochs of shuffled batches through the network and the optimizer.
//!
//! In come [`Digits`], an optimizer, [`Options`] and a [`Progress`] to tell; out comes a [`Run`], or an error if the options
//! make no sense or the optimizer fails. A loss that turns non-finite is not an error of the call: the run stops, keeps what
//! it has measured, and says where it ended in [`Run::diverged`], so that it can be compared with others.
//!
//! It guarantees the same batches for every rule under one seed, and that the optimizer's call site allocates nothing.
//! It deliberately reads no files and prints nothing.

use std::fmt;
use std::time::{Duration, Instant};

use super::data::{CLASSES, Digits, Split};
use super::inputs::{LossInput, check};
use super::network::{Buffers, HIDDEN, Network, Place, backward, first_not_finite, forward, loss};
use super::random::{Purpose, generator, shuffle};
use super::start::{Start, checkpoint};
use super::weights::Weights;
use crate::runtime::{Checkpoint, Error, Optimizer};

/// How to train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often every image is seen, at least 1.
    pub epochs: usize,
    /// Images in a step, at least 1. The last batch of an epoch may be smaller; a batch is at most all images.
    pub batch: usize,
    /// Decides the start and the order of the images.
    pub seed: u64,
    /// What is tested after each epoch.
    pub weights: Weights,
}

impl Default for Options {
    fn default() -> Options {
        Options { epochs: 5, batch: 64, seed: 0, weights: Weights::Trained }
    }
}

/// What one rule did.
#[derive(Clone, Debug)]
pub struct Run {
    /// The rule's name.
    pub rule: String,
    /// The options, with the batch as it was used.
    pub options: Options,
    /// Inputs, both hidden layers, classes.
    pub sizes: [usize; 4],
    /// The number of parameters.
    pub parameters: usize,
    /// The images to train on.
    pub train_images: usize,
    /// The images to test on.
    pub test_images: usize,
    /// The mean loss of each batch before its step, up to and without the one that ended the run. One that is not finite is
    /// that of a step that was skipped.
    pub losses: Vec<f64>,
    /// How many steps were skipped, because the rule or the optimizer said so.
    pub skipped: usize,
    /// The epochs that were completed.
    pub epochs: Vec<Epoch>,
    /// Where the time of the whole run went, that of an unfinished epoch included.
    pub seconds: Seconds,
    /// Why the run stopped early, if it did.
    pub diverged: Option<Diverged>,
    /// The hypers that schedules drove.
    pub driven: Vec<Driven>,
}

/// A hyper that a schedule drove.
#[derive(Clone, Debug, PartialEq)]
pub struct Driven {
    /// Its name.
    pub hyper: String,
    /// The schedule's text.
    pub schedule: String,
    /// The value that each step took.
    pub values: Vec<f64>,
}

impl Run {
    /// The steps in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train_images.div_ceil(self.options.batch.max(1))
    }

    /// The epoch with the highest test accuracy, the earliest of equals.
    pub fn best(&self) -> Option<&Epoch> {
        self.epochs.iter().reduce(|best, epoch| if epoch.test_accuracy > best.test_accuracy { epoch } else { best })
    }
}

/// One epoch, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub number: usize,
    /// The mean loss over the images of the epoch, each as it was when its batch came; without batches whose loss was not
    /// finite, and whose steps were skipped.
    pub train_loss: f64,
    /// The mean loss over the test images after the epoch.
    pub test_loss: f64,
    /// The share of the test images that the network recognises after the epoch, in [0, 1].
    pub test_accuracy: f64,
    /// How many of its steps were skipped.
    pub skipped: usize,
    /// Where the time went.
    pub seconds: Seconds,
}

/// Where time went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// From images to the loss.
    pub forward: f64,
    /// From the loss to the gradients.
    pub backward: f64,
    /// In the optimizer.
    pub step: f64,
    /// Everything else: shuffling, gathering batches, testing, telling progress.
    pub rest: f64,
}

impl Seconds {
    /// The sum of all parts.
    pub fn total(&self) -> f64 {
        self.forward + self.backward + self.step + self.rest
    }

    /// The optimizer's share of training: of forward, backward and step, in [0, 1].
    pub fn step_share(&self) -> f64 {
        let training = self.forward + self.backward + self.step;
        if training > 0.0 { self.step / training } else { 0.0 }
    }
}

impl std::ops::AddAssign for Seconds {
    fn add_assign(&mut self, other: Seconds) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.step += other.step;
        self.rest += other.rest;
    }
}

/// Where a run ended because its loss was no longer finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Diverged {
    /// The rule's name.
    pub rule: String,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step, from 1: the one that the loss was computed for when training, the last one taken when testing.
    pub step: usize,
    /// Which loss it was.
    pub phase: Phase,
    /// NaN or an infinity.
    pub loss: f64,
    /// The values that were the first to be non-finite.
    pub place: Place,
}

/// What a loss was computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A batch to train on.
    Training,
    /// The test images, after an epoch.
    Testing,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diverged { rule, epoch, step, phase, loss, place } = self;
        let (which, at) = match phase {
            Phase::Training => ("training", "at"),
            Phase::Testing => ("test", "after"),
        };
        write!(
            f,
            "rule `{rule}`: the {which} loss is {loss} {at} step {step} (epoch {epoch}); the first values to be non-finite were \
             {place}; try a smaller lr, and look for a division by zero in the rule"
        )
    }
}

impl std::error::Error for Diverged {}

/// Why a run could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainError {
    /// No epochs were asked for.
    NoEpochs,
    /// The batch has no images.
    EmptyBatch,
    /// The rule reads an input that the trainer does not have.
    Input {
        /// The rule's name.
        rule: String,
        /// The input.
        input: String,
        /// One per what it is.
        extent: &'static str,
    },
    /// The rule needs tensors of two axes or more, and biases have one.
    Axes {
        /// The rule's name.
        rule: String,
        /// One per what a value is.
        extent: &'static str,
        /// Where it stands in the rule.
        line: usize,
    },
    /// The optimizer has no weights to be tested.
    Weights {
        /// The rule's name.
        rule: String,
        /// What the optimizer said.
        message: String,
    },
    /// A checkpoint is of no run that could go on here.
    Resume {
        /// What differs.
        reason: String,
    },
    /// A checkpoint could not be saved.
    Save {
        /// Why.
        message: String,
    },
    /// The optimizer refused a step.
    Step {
        /// The rule's name.
        rule: String,
        /// The step, from 1.
        step: usize,
        /// What the optimizer said.
        message: String,
    },
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrainError::NoEpochs => write!(f, "there is nothing to train in 0 epochs; --epochs takes 1 or more"),
            TrainError::EmptyBatch => write!(f, "a batch of 0 images has no gradient; --batch takes 1 or more"),
            TrainError::Input { rule, input, extent } => write!(
                f,
                "rule `{rule}` reads the input `{input}` (per {extent}), which the trainer cannot give: it gives `loss`, the \
                 loss of the batch, and nothing else; `updraft apply` takes any input"
            ),
            TrainError::Axes { rule, extent, line } => write!(
                f,
                "rule `{rule}` has a value per {extent} in line {line}, which needs two axes or more, and the biases of the \
                 network have one: guard it with `if rank >= 2 {{ ... }}`"
            ),
            TrainError::Weights { rule, message } => write!(f, "rule `{rule}` cannot be tested: {message}"),
            TrainError::Resume { reason } => write!(f, "the run cannot go on from this checkpoint: {reason}"),
            TrainError::Save { message } => f.write_str(message),
            TrainError::Step { rule, step, message } => write!(f, "rule `{rule}` failed at step {step}: {message}"),
        }
    }
}

impl std::error::Error for TrainError {}

/// Who is told how a run goes, for instance a progress bar. Every method may be left out; `()` is silent.
pub trait Progress {
    /// A run begins, of this many steps altogether.
    fn start(&mut self, rule: &str, steps: usize) {
        let _ = (rule, steps);
    }

    /// A step was taken. This is called for every one: it should be cheap, its time counts as [`Seconds::rest`].
    fn batch(&mut self, batch: &BatchDone) {
        let _ = batch;
    }

    /// An epoch was completed and tested.
    fn epoch(&mut self, epoch: &Epoch) {
        let _ = epoch;
    }

    /// An epoch is over, and a checkpoint of the run may be taken and kept. An error ends the run.
    fn checkpoint(&mut self, take: &mut dyn FnMut() -> Checkpoint) -> Result<(), String> {
        let _ = take;
        Ok(())
    }

    /// The run is over; what it measured is complete.
    fn finish(&mut self, run: &Run) {
        let _ = run;
    }
}

impl Progress for () {}

/// How far a run is after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchDone {
    /// Steps taken since the run began.
    pub step: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The mean loss of the batch before the step.
    pub loss: f64,
    /// The speed of the epoch so far, in images a second.
    pub images_per_second: f64,
}

/// Trains a new network of `pixels`-512-256-10 ([`HIDDEN`]) on the digits, with the given optimizer.
///
/// # Errors
/// [`TrainError`] if the options make no sense, the rule reads what the trainer does not have, or the optimizer refuses a
/// step. A loss that turns non-finite ends the run early, unless its step is skipped, but is no error: see
/// [`Run::diverged`].
pub fn train(
    digits: &Digits,
    optimizer: &mut Optimizer,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Run, TrainError> {
    train_from(Start::default(), digits, optimizer, options, progress)
}

/// Like [`train`], from where a run was; its optimizer has been restored already. A run that has all its epochs is over.
///
/// # Errors
/// Those of [`train`], and [`TrainError::Save`].
pub fn train_from(
    start: Start,
    digits: &Digits,
    optimizer: &mut Optimizer,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Run, TrainError> {
    if options.epochs == 0 {
        return Err(TrainError::NoEpochs);
    }
    if options.batch == 0 {
        return Err(TrainError::EmptyBatch);
    }
    check(optimizer)?;
    let images = digits.train();
    let batch = options.batch.min(images.len());
    let (rows, cols) = images.size();
    let sizes = [rows * cols, HIDDEN[0], HIDDEN[1], CLASSES];
    let mut work = Work {
        network: Network::new(sizes, options.seed),
        buffers: Buffers::new(sizes, batch.max(TEST_BATCH)),
        order: Vec::with_capacity(images.len()),
        loss: LossInput::of(optimizer),
    };
    let mut run = Run {
        rule: optimizer.rule().name().to_string(),
        options: Options { batch, ..options.clone() },
        sizes,
        parameters: work.network.parameters(),
        train_images: images.len(),
        test_images: digits.test().len(),
        // Room for every loss of an ordinary run, so that the loop does not allocate; longer ones grow.
        losses: Vec::with_capacity(options.epochs.saturating_mul(images.len().div_ceil(batch)).min(1 << 20)),
        skipped: 0,
        epochs: Vec::new(),
        seconds: Seconds::default(),
        diverged: None,
        driven: Vec::new(),
    };
    run.driven.extend(optimizer.driven().map(|(hyper, schedule, _)| Driven {
        hyper: hyper.to_string(),
        schedule: schedule.to_string(),
        values: Vec::with_capacity(run.losses.capacity()),
    }));
    start.give(&mut work.network, &mut run);
    progress.start(&run.rule, options.epochs.saturating_mul(run.steps_per_epoch()));
    for number in run.epochs.len() + 1..=options.epochs {
        let mut clock = Clock::start();
        let skipped = run.skipped;
        let trained = train_epoch(number, images, &mut work, optimizer, &mut run, &mut clock, progress)?;
        let tested = match trained {
            Ok(train_loss) => test(number, digits.test(), &mut work, optimizer, &run)?
                .map(|(test_loss, test_accuracy)| (train_loss, test_loss, test_accuracy)),
            Err(diverged) => Err(diverged),
        };
        let seconds = clock.stop();
        run.seconds += seconds;
        match tested {
            Ok((train_loss, test_loss, test_accuracy)) => {
                let skipped = run.skipped - skipped;
                let epoch = Epoch { number, train_loss, test_loss, test_accuracy, skipped, seconds };
                progress.epoch(&epoch);
                run.epochs.push(epoch);
                optimizer.observe("metric", test_loss);
                optimizer.end_epoch();
                let mut take = || checkpoint(optimizer, &mut work.network, &run, digits);
                progress.checkpoint(&mut take).map_err(|message| TrainError::Save { message })?;
            }
            Err(diverged) => {
                run.diverged = Some(diverged);
                break;
            }
        }
    }
    progress.finish(&run);
    Ok(run)
}

/// What a run works on: made once, changed in place.
struct Work {
    network: Network,
    buffers: Buffers,
    /// The images in the order of this epoch. Indices fit, because a file holds at most 2^30 bytes.
    order: Vec<u32>,
    loss: LossInput,
}

/// Trains for one epoch and returns the mean loss over its images, or why the run cannot go on.
fn train_epoch(
    epoch: usize,
    images: &Split,
    work: &mut Work,
    optimizer: &mut Optimizer,
    run: &mut Run,
    clock: &mut Clock,
    progress: &mut dyn Progress,
) -> Result<Result<f64, Diverged>, TrainError> {
    let Work { network, buffers, order, loss: loss_input } = work;
    // From the file's order every time, so that an epoch's order does not depend on the epochs before it.
    order.clear();
    order.extend(0..images.len() as u32);
    shuffle(order, &mut generator(run.options.seed, Purpose::Order { epoch: epoch - 1 }));
    let mut total = 0.0;
    let (mut seen, mut done) = (0, 0);
    let mut last_not_finite = None;
    for chosen in order.chunks(run.options.batch) {
        buffers.fill(images, chosen);
        let step = run.losses.len() + 1;

        let began = Instant::now();
        forward(network, buffers);
        let loss = loss(buffers);
        let forward_done = Instant::now();
        clock.forward += forward_done - began;
        // What made the loss so is looked for before the step, which may spoil more.
        let not_finite =
            (!loss.is_finite()).then(|| diverged(epoch, step, Phase::Training, loss, network, buffers, run));
        if let Some(diverged) = not_finite.as_ref().filter(|diverged| !matches!(diverged.place, Place::Activations(_)))
        {
            return Ok(Err(diverged.clone()));
        }
        backward(network, buffers);
        let backward_done = Instant::now();
        clock.backward += backward_done - forward_done;
        let stepped = loss_input.step(optimizer, network, loss);
        clock.step += backward_done.elapsed();

        if let Err(error) = stepped {
            let message = match error {
                Error::MissingInput { input, .. } => format!(
                    "it reads the input `{input}`, and the trainer gives `loss` alone; give it a default in the rule"
                ),
                error => error.to_string(),
            };
            return Err(TrainError::Step { rule: run.rule.clone(), step, message });
        }
        if optimizer.last_skipped() {
            // Nothing has happened for schedules either.
            run.skipped += 1;
        } else if let Some(diverged) = not_finite {
            return Ok(Err(diverged));
        } else {
            optimizer.observe("loss", loss);
            if optimizer.observes("grad_norm_squared") {
                optimizer.observe("grad_norm_squared", network.grad_norm_squared());
            }
        }
        for (driven, (.., value)) in run.driven.iter_mut().zip(optimizer.driven()) {
            // A step that was skipped took none.
            let value = value.or(driven.values.last().copied());
            driven.values.extend(value);
        }
        run.losses.push(loss);
        done += chosen.len();
        if loss.is_finite() {
            total += loss * chosen.len() as f64;
            seen += chosen.len();
        } else {
            last_not_finite = Some((step, loss));
        }
        let images_per_second = done as f64 / clock.began.elapsed().as_secs_f64().max(1e-9);
        progress.batch(&BatchDone { step, epoch, loss, images_per_second });
    }
    match last_not_finite.filter(|_| seen == 0) {
        // Nothing but skipping is no training.
        Some((step, loss)) => Ok(Err(diverged(epoch, step, Phase::Training, loss, network, buffers, run))),
        None => Ok(Ok(total / seen as f64)),
    }
}

/// The mean loss over all images and the share that is recognised, or why the run cannot go on.
fn test(
    epoch: usize,
    images: &Split,
    work: &mut Work,
    optimizer: &mut Optimizer,
    run: &Run,
) -> Result<Result<(f64, f64), Diverged>, TrainError> {
    let Work { network, buffers, order, .. } = work;
    order.clear();
    order.extend(0..images.len() as u32);
    let measure = |network: &Network| {
        let (mut total, mut correct) = (0.0, 0);
        for chosen in order.chunks(TEST_BATCH) {
            buffers.fill(images, chosen);
            forward(network, buffers);
            let loss = loss(buffers);
            if !loss.is_finite() {
                return Err(diverged(epoch, run.losses.len(), Phase::Testing, loss, network, buffers, run));
            }
            total += loss * chosen.len() as f64;
            correct += buffers.correct();
        }
        let count = images.len() as f64;
        Ok((total / count, correct as f64 / count))
    };
    let shown = run.options.weights.show(network, optimizer, measure);
    shown.map_err(|error| TrainError::Weights { rule: run.rule.clone(), message: error.to_string() })
}

/// Looks for the place, which takes a sweep over everything: this is why it is looked for only now.
fn diverged(
    epoch: usize,
    step: usize,
    phase: Phase,
    loss: f64,
    network: &Network,
    buffers: &Buffers,
    run: &Run,
) -> Diverged {
    // A finite network has a finite loss, so there always is a place; the logits would be the last one.
    let place = first_not_finite(network, buffers).unwrap_or(Place::Activations(3));
    Diverged { rule: run.rule.clone(), epoch, step, phase, loss, place }
}

/// Images tested at a time: enough to keep the matrix product busy when the training batch is small.
const TEST_BATCH: usize = 250;

/// Measures one epoch: three parts by stopwatch, and the rest as what remains of the whole.
struct Clock {
    began: Instant,
    forward: Duration,
    backward: Duration,
    step: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { began: Instant::now(), forward: Duration::ZERO, backward: Duration::ZERO, step: Duration::ZERO }
    }

    fn stop(self) -> Seconds {
        let parts = self.forward + self.backward + self.step;
        Seconds {
            forward: self.forward.as_secs_f64(),
            backward: self.backward.as_secs_f64(),
            step: self.step.as_secs_f64(),
            rest: self.began.elapsed().saturating_sub(parts).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{corners, options};
    use super::*;
    use crate::runtime::Rule;

    /// Gradient descent that makes a tensor NaN at the step `spoil`, if that is one.
    const DESCENT: &str = "optimizer descent
hyper lr = 0.1 in [0, inf)
hyper spoil = 0 in 0..

p -= lr * g
if t == spoil { p += inf - inf }
";

    /// Gradient descent that cannot take its third step, because nobody gives it what it reads there.
    const REFUSES: &str = "optimizer refuses
hyper lr = 0.1 in [0, inf)
input room

p -= lr * g
if t == 3 { p += room }
";

    fn descent(lr: f64) -> Optimizer {
        Rule::parse("descent", DESCENT).unwrap().optimizer().set("lr", lr).unwrap().build().unwrap()
    }

    #[test]
    fn learns_and_measures() {
        let run = train(&corners(), &mut descent(0.2), &options(6, 7, 0), &mut ()).unwrap();
        assert_eq!(
            (run.rule.as_str(), run.sizes, run.train_images, run.test_images),
            ("descent", [4, 512, 256, 10], 40, 12)
        );
        // 40 images in batches of 7 are 6 steps, the last one with 5 images.
        assert_eq!((run.steps_per_epoch(), run.losses.len(), run.epochs.len()), (6, 36, 6));
        assert!((run.losses[0] - 10_f64.ln()).abs() < 0.1, "a start knows nothing");
        let weighted: f64 = run.losses[..6].iter().zip([7.0, 7.0, 7.0, 7.0, 7.0, 5.0]).map(|(loss, n)| loss * n).sum();
        assert!((run.epochs[0].train_loss - weighted / 40.0).abs() < 1e-12);
        let last = &run.epochs[5];
        assert_eq!((last.number, last.test_accuracy), (6, 1.0));
        assert!(last.train_loss < 0.3 * run.epochs[0].train_loss && last.test_loss < last.train_loss);
        assert_eq!(run.diverged, None);
        let parts = run.epochs.iter().fold(0.0, |sum, epoch| sum + epoch.seconds.total());
        assert!((run.seconds.total() - parts).abs() < 1e-9);
        assert!(
            run.seconds.forward > 0.0 && run.seconds.backward > 0.0 && run.seconds.step > 0.0 && run.seconds.rest > 0.0
        );
        let best = run.best().unwrap();
        assert!(run.epochs.iter().all(|epoch| epoch.test_accuracy <= best.test_accuracy));
    }

    #[test]
    fn a_seed_is_a_run() {
        let losses = |seed| train(&corners(), &mut descent(0.1), &options(2, 7, seed), &mut ()).unwrap().losses;
        assert_eq!(losses(0), losses(0));
        assert_ne!(losses(0), losses(1));
    }

    #[test]
    fn each_epoch_has_its_own_order() {
        // Nothing is learned at lr 0, so losses differ by the order of the images alone.
        let run = train(&corners(), &mut descent(0.0), &options(2, 7, 0), &mut ()).unwrap();
        let (first, second) = run.losses.split_at(6);
        assert_ne!(first, second);
        assert!((run.epochs[0].train_loss - run.epochs[1].train_loss).abs() < 1e-6, "every image is seen once");
    }

    #[test]
    fn batches_beyond_the_set_are_the_set() {
        let run = train(&corners(), &mut descent(0.1), &options(3, usize::MAX, 0), &mut ()).unwrap();
        assert_eq!((run.options.batch, run.losses.len()), (40, 3));
    }

    #[test]
    fn a_loss_that_is_not_finite_ends_the_run() {
        let spoil = |at: i32, tensor: &str| {
            let rule = Rule::parse("descent", DESCENT).unwrap();
            rule.optimizer().group("spoilt", tensor, |g| g.set("spoil", at)).unwrap().build().unwrap()
        };
        // The 9th step spoils w2, the loss of the 10th batch shows it.
        let run = train(&corners(), &mut spoil(9, "w2"), &options(5, 7, 0), &mut ()).unwrap();
        let diverged = run.diverged.unwrap();
        assert_eq!((diverged.epoch, diverged.step, diverged.phase), (2, 10, Phase::Training));
        assert_eq!(diverged.place, Place::Weights(2));
        assert!(diverged.loss.is_nan());
        assert_eq!((run.epochs.len(), run.losses.len()), (1, 9));
        assert!(run.seconds.total() > run.epochs[0].seconds.total());
        assert_eq!(
            diverged.to_string(),
            "rule `descent`: the training loss is NaN at step 10 (epoch 2); the first values to be non-finite were the weights \
             of layer 2 (w2); try a smaller lr, and look for a division by zero in the rule"
        );
        // The last step of an epoch is found out by the test.
        let run = train(&corners(), &mut spoil(12, "b3"), &options(5, 7, 0), &mut ()).unwrap();
        let diverged = run.diverged.unwrap();
        assert_eq!((diverged.epoch, diverged.step, diverged.phase), (2, 12, Phase::Testing));
        assert_eq!(diverged.place, Place::Biases(3));
        assert_eq!((run.epochs.len(), run.losses.len()), (1, 12));
    }

    #[test]
    fn errors_name_what_to_do() {
        let run = |options| train(&corners(), &mut descent(0.1), &options, &mut ()).unwrap_err();
        assert_eq!(run(options(0, 7, 0)), TrainError::NoEpochs);
        assert_eq!(run(options(1, 0, 0)), TrainError::EmptyBatch);
        let mut refuses = Rule::parse("refuses", REFUSES).unwrap().optimizer().build().unwrap();
        let error = train(&corners(), &mut refuses, &options(1, 7, 0), &mut ()).unwrap_err();
        assert!(error.to_string().starts_with("rule `refuses` failed at step 3: "), "{error}");
        assert!(error.to_string().contains("`room`"), "{error}");
    }

    #[test]
    fn progress_is_told_everything_in_order() {
        struct Log(Vec<String>);
        impl Progress for Log {
            fn start(&mut self, rule: &str, steps: usize) {
                self.0.push(format!("start {rule} {steps}"));
            }
            fn batch(&mut self, batch: &BatchDone) {
                assert!(batch.loss.is_finite() && batch.images_per_second > 0.0);
                self.0.push(format!("batch {} of epoch {}", batch.step, batch.epoch));
            }
            fn epoch(&mut self, epoch: &Epoch) {
                self.0.push(format!("epoch {}", epoch.number));
            }
            fn finish(&mut self, run: &Run) {
                self.0.push(format!("finish {}", run.losses.len()));
            }
        }
        let mut log = Log(Vec::new());
        train(&corners(), &mut descent(0.1), &options(2, 30, 0), &mut log).unwrap();
        assert_eq!(
            log.0,
            [
                "start descent 4",
                "batch 1 of epoch 1",
                "batch 2 of epoch 1",
                "epoch 1",
                "batch 3 of epoch 2",
                "batch 4 of epoch 2",
                "epoch 2",
                "finish 4"
            ]
        );
    }

    /// The main job on a small part of it, so that a wrong sign anywhere is seen.
    #[test]
    fn real_digits_are_learned() {
        let digits = Digits::built_in().unwrap();
        let few = Digits::from_parts(digits.train().first(500), digits.test().first(250));
        let run = train(&few, &mut descent(0.3), &options(2, 20, 0), &mut ()).unwrap();
        assert!(run.epochs[1].test_accuracy > 0.7, "{}", run.epochs[1].test_accuracy);
    }
}
