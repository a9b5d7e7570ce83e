//! A multi-layer perceptron of three layers with ReLU between them, and softmax cross-entropy at its end.
//!
//! In come a batch of images and labels in [`Buffers`]; out come the mean loss and, in the [`Network`], the gradient of
//! every parameter. `forward`, `loss` and `backward` are called in this order and work in place.
//!
//! It guarantees that no call allocates an array (matrixmultiply has packing space of its own), that NaN and infinity pass
//! through every layer (ReLU does not hide them), and that the loss is finite whenever the logits are. Gradients are those of
//! the mean loss over the batch.
//!
//! It deliberately has one shape: three layers, so that the optimizer's tensors are an array on the stack.

use std::fmt;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewD, ArrayViewMut2, ArrayViewMutD, Zip, s};

use super::data::{CLASSES, Split};
use super::random::{Purpose, generator, symmetric};
use crate::runtime::Tensor;

/// The widths of the two hidden layers.
pub const HIDDEN: [usize; 2] = [512, 256];

const NAMES: [[&str; 2]; 3] = [["w1", "b1"], ["w2", "b2"], ["w3", "b3"]];

/// `output = input weight^T + bias`, and the gradients of both.
struct Layer {
    /// `(outputs, inputs)`, as torch stores it, so that rules see torch's rows and columns.
    weight: Array2<f32>,
    /// `(outputs,)`
    bias: Array1<f32>,
    weight_grad: Array2<f32>,
    bias_grad: Array1<f32>,
}

/// The parameters of the three layers and their gradients.
pub(super) struct Network {
    layers: [Layer; 3],
}

/// Everything that depends on a batch. Each array has `capacity` rows, of which the first `filled` are in use.
pub(super) struct Buffers {
    filled: usize,
    /// `(capacity, pixels)`
    input: Array2<f32>,
    labels: Vec<u8>,
    /// What each layer puts out, `(capacity, outputs)`; after ReLU for the hidden layers, logits for the last.
    outputs: [Array2<f32>; 3],
    /// The gradient of the mean loss by what each layer puts out before ReLU, `(capacity, outputs)`.
    deltas: [Array2<f32>; 3],
}

/// The first place where values are not finite. Layers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The weights of a layer: the step before made them so.
    Weights(usize),
    /// The biases of a layer: the step before made them so.
    Biases(usize),
    /// What a layer puts out, although every parameter is finite.
    Activations(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Weights(layer) => write!(f, "the weights of layer {layer} (w{layer})"),
            Place::Biases(layer) => write!(f, "the biases of layer {layer} (b{layer})"),
            Place::Activations(layer) => write!(f, "the activations of layer {layer}"),
        }
    }
}

impl Network {
    /// A network with layers between `sizes` (inputs, hidden, hidden, classes), each parameter drawn uniformly from
    /// +-1/sqrt(inputs of its layer), weights before biases, layer after layer.
    pub(super) fn new(sizes: [usize; 4], seed: u64) -> Network {
        let mut random = generator(seed, Purpose::Start);
        let layers = [0, 1, 2].map(|layer| {
            let (inputs, outputs) = (sizes[layer], sizes[layer + 1]);
            let bound = 1.0 / (inputs as f32).sqrt();
            Layer {
                weight: Array2::from_shape_simple_fn((outputs, inputs), || bound * symmetric(&mut random)),
                bias: Array1::from_shape_simple_fn(outputs, || bound * symmetric(&mut random)),
                weight_grad: Array2::zeros((outputs, inputs)),
                bias_grad: Array1::zeros(outputs),
            }
        });
        Network { layers }
    }

    /// The name and the shape of each parameter of a network with this many inputs, in the order of its tensors.
    pub(super) fn shapes(inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
        let sizes = [inputs, HIDDEN[0], HIDDEN[1], CLASSES];
        let layers = NAMES.iter().enumerate();
        let shapes = layers.flat_map(|(layer, [weight, bias])| {
            let (inputs, outputs) = (sizes[layer], sizes[layer + 1]);
            [(*weight, vec![outputs, inputs]), (*bias, vec![outputs])]
        });
        shapes.collect()
    }

    /// The number of parameters.
    pub(super) fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.weight.len() + layer.bias.len()).sum()
    }

    /// The parameters with their gradients, as the optimizer sees them: `w1 b1 w2 b2 w3 b3`.
    pub(super) fn tensors(&mut self) -> [Tensor<'_>; 6] {
        self.params().map(|(name, value, grad)| Tensor::new(name, value, grad))
    }

    /// The sum of the squares of all gradients.
    pub(super) fn grad_norm_squared(&self) -> f64 {
        let square = |x: &f32| f64::from(*x) * f64::from(*x);
        let of = |layer: &Layer| -> f64 {
            layer.weight_grad.iter().map(square).sum::<f64>() + layer.bias_grad.iter().map(square).sum::<f64>()
        };
        self.layers.iter().map(of).sum()
    }

    /// Exchanges the values of parameters for others, in the same order; those without others stay.
    pub(super) fn exchange(&mut self, others: &mut [Option<Vec<f32>>]) {
        for ((_, mut value, _), other) in self.params().into_iter().zip(others) {
            let other = other.iter_mut().flatten();
            value.iter_mut().zip(other).for_each(|(value, other)| std::mem::swap(value, other));
        }
    }

    /// The name, the value and the gradient of each parameter, in the same order.
    pub(super) fn params(&mut self) -> [Param<'_>; 6] {
        let [first, second, third] = &mut self.layers;
        let [w1, b1] = first.params(NAMES[0]);
        let [w2, b2] = second.params(NAMES[1]);
        let [w3, b3] = third.params(NAMES[2]);
        [w1, b1, w2, b2, w3, b3]
    }
}

/// A name, a value, `(outputs, inputs)` for a weight and `(outputs,)` for a bias, and the gradient of the mean loss by it.
pub(super) type Param<'a> = (&'static str, ArrayViewMutD<'a, f32>, ArrayViewD<'a, f32>);

impl Layer {
    fn params(&mut self, [weight, bias]: [&'static str; 2]) -> [Param<'_>; 2] {
        [
            (weight, self.weight.view_mut().into_dyn(), self.weight_grad.view().into_dyn()),
            (bias, self.bias.view_mut().into_dyn(), self.bias_grad.view().into_dyn()),
        ]
    }
}

impl Buffers {
    /// Room for batches of up to `capacity` images in a network of these `sizes`.
    pub(super) fn new(sizes: [usize; 4], capacity: usize) -> Buffers {
        let arrays = || [1, 2, 3].map(|layer| Array2::zeros((capacity, sizes[layer])));
        Buffers {
            filled: 0,
            input: Array2::zeros((capacity, sizes[0])),
            labels: vec![0; capacity],
            outputs: arrays(),
            deltas: arrays(),
        }
    }

    /// Takes the chosen images of `split` as the batch: as many as fit, at most `capacity`.
    pub(super) fn fill(&mut self, split: &Split, chosen: &[u32]) {
        self.filled = chosen.len().min(self.labels.len());
        split.gather(chosen, self.input.slice_mut(s![..self.filled, ..]), &mut self.labels[..self.filled]);
    }

    /// How many images of the batch the network takes for what they are. NaN is no answer.
    pub(super) fn correct(&self) -> usize {
        let logits = self.outputs[2].rows().into_iter();
        logits
            .zip(&self.labels[..self.filled])
            .filter(|(row, label)| {
                let answer = row[usize::from(**label)];
                // Of equal logits the first is the answer, as argmax has it.
                row.iter().enumerate().all(
                    |(class, &logit)| {
                        if class < usize::from(**label) { logit < answer } else { logit <= answer }
                    },
                )
            })
            .count()
    }
}

/// Computes what every layer puts out.
pub(super) fn forward(network: &Network, buffers: &mut Buffers) {
    let rows = buffers.filled;
    let [first, second, third] = &network.layers;
    let [mut out1, mut out2, mut out3] = buffers.outputs.each_mut().map(|array| array.slice_mut(s![..rows, ..]));
    layer_forward(first, buffers.input.slice(s![..rows, ..]), out1.view_mut(), true);
    layer_forward(second, out1.view(), out2.view_mut(), true);
    layer_forward(third, out2.view(), out3.view_mut(), false);
}

fn layer_forward(layer: &Layer, input: ArrayView2<'_, f32>, mut output: ArrayViewMut2<'_, f32>, relu: bool) {
    general_mat_mul(1.0, &input, &layer.weight.t(), 0.0, &mut output);
    for mut row in output.rows_mut() {
        if relu {
            // A comparison rather than `max`, which would turn NaN into 0 and hide it.
            Zip::from(&mut row).and(&layer.bias).for_each(|value, &bias| {
                let sum = *value + bias;
                *value = if sum < 0.0 { 0.0 } else { sum };
            });
        } else {
            row += &layer.bias;
        }
    }
}

/// The mean of `-log softmax(logits)[label]` over the batch; leaves its gradient by the logits for `backward`.
///
/// The logits' maximum is subtracted first, so no exponential overflows and the sum is at least 1; the rest is in f64.
/// `libm` rather than the host's functions, whose last bit differs between hosts.
pub(super) fn loss(buffers: &mut Buffers) -> f64 {
    let rows = buffers.filled;
    let logits = buffers.outputs[2].slice(s![..rows, ..]);
    let mut deltas = buffers.deltas[2].slice_mut(s![..rows, ..]);
    let mut total = 0.0;
    for ((logits, mut deltas), &label) in logits.rows().into_iter().zip(deltas.rows_mut()).zip(&buffers.labels) {
        // A NaN among the logits is not their maximum, but its own exponential makes the sum NaN.
        let max = logits.iter().fold(f32::NEG_INFINITY, |max, &logit| max.max(logit));
        let exponential = |logit: f32| libm::exp(f64::from(logit) - f64::from(max));
        let sum: f64 = logits.iter().map(|&logit| exponential(logit)).sum();
        let label = usize::from(label);
        total += libm::log(sum) - (f64::from(logits[label]) - f64::from(max));
        for (class, (delta, &logit)) in deltas.iter_mut().zip(logits).enumerate() {
            let target = if class == label { 1.0 } else { 0.0 };
            *delta = ((exponential(logit) / sum - target) / rows as f64) as f32;
        }
    }
    total / rows as f64
}

/// Computes the gradient of every parameter from what `loss` left.
pub(super) fn backward(network: &mut Network, buffers: &mut Buffers) {
    let rows = buffers.filled;
    let [first, second, third] = &mut network.layers;
    let [out1, out2, _] = buffers.outputs.each_ref().map(|array| array.slice(s![..rows, ..]));
    let [mut delta1, mut delta2, delta3] = buffers.deltas.each_mut().map(|array| array.slice_mut(s![..rows, ..]));
    layer_gradient(third, out2, delta3.view());
    input_gradient(third, out2, delta3.view(), delta2.view_mut());
    layer_gradient(second, out1, delta2.view());
    input_gradient(second, out1, delta2.view(), delta1.view_mut());
    layer_gradient(first, buffers.input.slice(s![..rows, ..]), delta1.view());
}

/// The gradients of a layer's own parameters, from its input and its delta.
fn layer_gradient(layer: &mut Layer, input: ArrayView2<'_, f32>, delta: ArrayView2<'_, f32>) {
    general_mat_mul(1.0, &delta.t(), &input, 0.0, &mut layer.weight_grad);
    layer.bias_grad.fill(0.0);
    delta.rows().into_iter().for_each(|row| layer.bias_grad += &row);
}

/// The delta of the layer below, whose output after ReLU was `input`.
fn input_gradient(
    layer: &Layer,
    input: ArrayView2<'_, f32>,
    delta: ArrayView2<'_, f32>,
    mut below: ArrayViewMut2<'_, f32>,
) {
    general_mat_mul(1.0, &delta, &layer.weight, 0.0, &mut below);
    Zip::from(&mut below).and(&input).for_each(|delta, &output| {
        *delta = if output > 0.0 { *delta } else { 0.0 };
    });
}

/// The first place that is not finite, in the order in which values came to be: the parameters, which the step before wrote,
/// then the activations of the batch, from the first layer to the logits. Nothing if all of them are finite.
pub(super) fn first_not_finite(network: &Network, buffers: &Buffers) -> Option<Place> {
    let finite = |value: &f32| value.is_finite();
    let parameters = (1..).zip(&network.layers).find_map(|(number, layer)| {
        if !layer.weight.iter().all(finite) {
            Some(Place::Weights(number))
        } else if !layer.bias.iter().all(finite) {
            Some(Place::Biases(number))
        } else {
            None
        }
    });
    parameters.or_else(|| {
        (1..)
            .zip(&buffers.outputs)
            .find(|(_, output)| !output.slice(s![..buffers.filled, ..]).iter().all(finite))
            .map(|(number, _)| Place::Activations(number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array;

    const SIZES: [usize; 4] = [7, 6, 5, 4];
    const LABELS: [u8; 3] = [0, 3, 2];

    /// A small network, with a batch that leaves two rows of its buffers unused.
    fn example() -> (Network, Buffers) {
        let mut buffers = Buffers::new(SIZES, 5);
        let mut random = generator(7, Purpose::Order { epoch: 0 });
        buffers.input = Array2::from_shape_simple_fn((5, 7), || symmetric(&mut random));
        buffers.labels[..3].copy_from_slice(&LABELS);
        buffers.filled = 3;
        (Network::new(SIZES, 3), buffers)
    }

    /// The loss in f64 and plain loops, sharing nothing with the code above but the shapes.
    fn reference_loss(params: &[Vec<f64>], input: &Array2<f32>) -> f64 {
        let mut total = 0.0;
        for (row, label) in LABELS.iter().enumerate() {
            let mut values: Vec<f64> = input.row(row).iter().map(|&it| f64::from(it)).collect();
            for layer in 0..3 {
                let (weight, bias) = (&params[2 * layer], &params[2 * layer + 1]);
                values = (0..bias.len())
                    .map(|out| {
                        let products = values.iter().enumerate().map(|(i, it)| it * weight[out * values.len() + i]);
                        let sum = products.sum::<f64>() + bias[out];
                        if layer < 2 { sum.max(0.0) } else { sum }
                    })
                    .collect();
            }
            total -= values[usize::from(*label)] - values.iter().map(|it| it.exp()).sum::<f64>().ln();
        }
        total / LABELS.len() as f64
    }

    fn values(network: &mut Network) -> Vec<Vec<f64>> {
        network.params().iter().map(|(_, value, _)| value.iter().map(|&it| f64::from(it)).collect()).collect()
    }

    /// Central differences of the f64 loss, whose error is about 1e-9 here; what remains is the rounding of f32.
    #[test]
    fn gradients_are_the_loss_differences() {
        let (mut network, mut buffers) = example();
        forward(&network, &mut buffers);
        let found = loss(&mut buffers);
        // Twice, because gradients are those of this batch and not added to what was there.
        backward(&mut network, &mut buffers);
        backward(&mut network, &mut buffers);

        let mut params = values(&mut network);
        assert!((found - reference_loss(&params, &buffers.input)).abs() < 1e-6);
        let mut largest: f64 = 0.0;
        for (tensor, (name, _, grads)) in network.params().iter().enumerate() {
            for (index, &grad) in grads.iter().enumerate() {
                let at = params[tensor][index];
                let mut moved = |by: f64| {
                    params[tensor][index] = at + by;
                    reference_loss(&params, &buffers.input)
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                params[tensor][index] = at;
                assert!((f64::from(grad) - difference).abs() < 1e-6, "{name}[{index}]: {grad} {difference}");
                largest = largest.max(difference.abs());
            }
        }
        assert!(largest > 0.1, "the check would pass on gradients of zero");
    }

    #[test]
    fn parameters_have_torchs_names_shapes_and_bounds() {
        let mut network = Network::new([784, 512, 256, 10], 0);
        assert_eq!(network.parameters(), 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10);
        let expected: [(&str, &[usize], f32); 6] = [
            ("w1", &[512, 784], 784.0),
            ("b1", &[512], 784.0),
            ("w2", &[256, 512], 512.0),
            ("b2", &[256], 512.0),
            ("w3", &[10, 256], 256.0),
            ("b3", &[10], 256.0),
        ];
        for (param, (name, shape, inputs)) in network.params().iter().zip(expected) {
            let (found, value, grad) = param;
            assert_eq!((*found, value.shape(), grad.shape()), (name, shape, shape));
            let bound = 1.0 / inputs.sqrt();
            let most = value.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            assert!(most <= bound && most > 0.7 * bound, "{name}: {most} of {bound}");
        }
    }

    /// The rest of a larger batch must not leak into a smaller one.
    #[test]
    fn rows_beyond_the_batch_do_not_matter() {
        let run = |rest: f32| {
            let (mut network, mut buffers) = example();
            buffers.input.slice_mut(s![3.., ..]).fill(rest);
            buffers.outputs.iter_mut().chain(&mut buffers.deltas).for_each(|array| array.fill(rest));
            forward(&network, &mut buffers);
            let loss = loss(&mut buffers);
            backward(&mut network, &mut buffers);
            let grads: Vec<f32> =
                network.params().iter().flat_map(|(_, _, grad)| grad.iter().copied().collect::<Vec<_>>()).collect();
            (loss, grads, buffers.correct(), first_not_finite(&network, &buffers))
        };
        assert_eq!(run(0.0), run(f32::NAN));
    }

    #[test]
    fn loss_survives_large_logits() {
        let mut buffers = Buffers::new(SIZES, 1);
        buffers.filled = 1;
        let mut with = |logits: [f32; 4]| {
            buffers.outputs[2] = Array::from_shape_vec((1, 4), logits.to_vec()).unwrap();
            let loss = loss(&mut buffers);
            (loss, buffers.deltas[2].row(0).to_vec())
        };
        assert_eq!(with([1e4, 0.0, 0.0, 0.0]), (0.0, vec![0.0; 4]));
        assert_eq!(with([0.0, 3e38, 0.0, 0.0]), (f64::from(3e38_f32), vec![-1.0, 1.0, 0.0, 0.0]));
        assert_eq!(with([-3e38, 3e38, 0.0, 0.0]).0, 2.0 * f64::from(3e38_f32));
        assert!((with([2.0; 4]).0 - 4_f64.ln()).abs() < 1e-12);
        assert!(with([0.0, f32::NAN, 0.0, 0.0]).0.is_nan());
        assert!(!with([0.0, f32::INFINITY, 0.0, 0.0]).0.is_finite());
    }

    #[test]
    fn correct_is_the_first_of_the_largest() {
        let mut buffers = Buffers::new(SIZES, 3);
        buffers.filled = 3;
        buffers.outputs[2] = ndarray::array![[1.0, 2.0, 2.0, 0.0], [1.0, 2.0, 2.0, 0.0], [f32::NAN, 2.0, 0.0, 0.0]];
        buffers.labels = vec![1, 2, 1];
        assert_eq!(buffers.correct(), 1);
    }

    #[test]
    fn not_finite_is_found_where_it_began() {
        let check = |change: &dyn Fn(&mut Network), expected: Option<Place>| {
            let (mut network, mut buffers) = example();
            change(&mut network);
            forward(&network, &mut buffers);
            assert_eq!(loss(&mut buffers).is_finite(), expected.is_none());
            assert_eq!(first_not_finite(&network, &buffers), expected);
        };
        check(&|_| {}, None);
        check(&|network| network.layers[1].weight[(0, 0)] = f32::NAN, Some(Place::Weights(2)));
        check(&|network| network.layers[0].bias[0] = f32::INFINITY, Some(Place::Biases(1)));
        // A parameter of a later layer came before the activations of an earlier one: the step wrote it.
        check(
            &|network| {
                network.layers[0].weight.fill(3e38);
                network.layers[2].bias[1] = f32::NAN;
            },
            Some(Place::Biases(3)),
        );
        check(
            &|network| {
                network.layers[1].weight.fill(3e38);
                network.layers[1].bias.fill(3e38);
            },
            Some(Place::Activations(2)),
        );
    }
}
