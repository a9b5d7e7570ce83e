//! Going on from a checkpoint is never having stopped, whatever the number of threads before and after, for every shipped
//! rule in every type that it can be kept in.

use crate::Random;
use updraft::{Optimizer, Rule, SHIPPED, Storage, Store, Tensor};

/// Tensors of a type, with their gradients by the step.
struct Model {
    storage: Storage,
    halves: Vec<Vec<half::bf16>>,
    f16s: Vec<Vec<half::f16>>,
    f32s: Vec<Vec<f32>>,
    f64s: Vec<Vec<f64>>,
}

/// The first is long enough to be cut among threads.
const SHAPES: [&[usize]; 4] = [&[3, 25_000], &[2049], &[], &[2, 3, 4]];

fn values(seed: u64, len: usize) -> Vec<f64> {
    let mut random = Random(seed);
    (0..len).map(|_| random.below(2001) as f64 / 1000.0 - 1.0).collect()
}

fn len(i: usize) -> usize {
    SHAPES[i].iter().product()
}

impl Model {
    fn new(storage: Storage) -> Model {
        let all = |i: usize| values(i as u64, len(i));
        Model {
            storage,
            halves: (0..4).map(|i| all(i).into_iter().map(half::bf16::from_f64).collect()).collect(),
            f16s: (0..4).map(|i| all(i).into_iter().map(half::f16::from_f64).collect()).collect(),
            f32s: (0..4).map(|i| all(i).into_iter().map(|x| x as f32).collect()).collect(),
            f64s: (0..4).map(all).collect(),
        }
    }

    fn step(&mut self, opt: &mut Optimizer, k: u64) {
        let program = opt.rule().program().clone();
        let (arrays, scalars): (Vec<_>, Vec<_>) =
            program.inputs.iter().partition(|input| input.extent.name() == "element");
        scalars.iter().for_each(|input| opt.input(&input.name, 1.0 + 0.25 * k as f64).unwrap());
        let names = ["w1", "w2", "s", "conv"];
        macro_rules! step {
            ($params:expr, $from:expr) => {{
                let grads: Vec<_> = (0..4)
                    .map(|i| {
                        let g = values(1000 * (k + 1) + i as u64, len(i)).into_iter().map($from).collect();
                        ndarray::ArrayD::from_shape_vec(SHAPES[i], g).unwrap()
                    })
                    .collect();
                let mut tensors: Vec<Tensor> = Vec::new();
                for (i, p) in $params.iter_mut().enumerate() {
                    let p = ndarray::ArrayViewMutD::from_shape(SHAPES[i], p).unwrap();
                    let tensor = Tensor::new(names[i], p, &grads[i]);
                    tensors.push(arrays.iter().fold(tensor, |t, input| t.input_array(&input.name, &grads[i])));
                }
                opt.step(&mut tensors).unwrap();
            }};
        }
        match self.storage {
            Storage::F32 => step!(self.f32s, |x| x as f32),
            Storage::F64 => step!(self.f64s, |x| x),
            Storage::Bf16 => step!(self.halves, half::bf16::from_f64),
            Storage::F16 => step!(self.f16s, half::f16::from_f64),
        }
    }

    fn bits(&self) -> Vec<u64> {
        match self.storage {
            Storage::F32 => self.f32s.iter().flatten().map(|x| x.to_bits().into()).collect(),
            Storage::F64 => self.f64s.iter().flatten().map(|x| x.to_bits()).collect(),
            Storage::Bf16 => self.halves.iter().flatten().map(|x| x.to_bits().into()).collect(),
            Storage::F16 => self.f16s.iter().flatten().map(|x| x.to_bits().into()).collect(),
        }
    }
}

/// How each type of parameter may be kept.
fn ways(storage: Storage) -> Vec<Option<(&'static str, Store)>> {
    match storage {
        Storage::F32 => vec![None, Some(("m", Store::Bf16)), Some(("v", Store::F16))],
        Storage::F64 => vec![None],
        Storage::F16 => vec![None, Some(("p", Store::F32))],
        Storage::Bf16 => {
            vec![None, Some(("p", Store::F32)), Some(("p", Store::Bf16Kahan)), Some(("p", Store::Bf16Stochastic))]
        }
    }
}

#[test]
fn every_rule_in_every_type_on_other_threads() {
    let mut runs = 0;
    for (index, (name, _)) in SHIPPED.iter().enumerate() {
        let rule = Rule::shipped(name).unwrap();
        let program = rule.program();
        for storage in Storage::ALL {
            // Scalars are f64 whatever is said.
            let per_element = |what: &str| {
                program.states.iter().any(|state| *state.name == *what && state.extent.name() == "element")
            };
            let has = |(what, _): &(&str, Store)| *what == "p" || per_element(what);
            for way in ways(storage).into_iter().filter(|way| way.as_ref().is_none_or(has)) {
                let build = |threads: usize| {
                    let builder = rule.optimizer().seed(7).threads(threads);
                    way.iter().fold(builder, |b, (what, store)| b.store(what, *store).unwrap()).build().unwrap()
                };
                // Each rule takes other numbers of threads before and after.
                let [before, after] = [[1, 3], [3, 1], [2, 5]][index % 3];
                let (mut straight, mut model) = (build(before), Model::new(storage));
                (0..2).for_each(|k| model.step(&mut straight, k));
                let bytes = straight.to_bytes().unwrap();
                let mut resumed = build(after);
                resumed.load_bytes(&bytes).unwrap();
                let mut other = Model { halves: model.halves.clone(), f16s: model.f16s.clone(), ..Model::new(storage) };
                (other.f32s, other.f64s) = (model.f32s.clone(), model.f64s.clone());
                for k in 2..4 {
                    model.step(&mut straight, k);
                    other.step(&mut resumed, k);
                }
                assert!(other.bits() == model.bits(), "{name}, {storage:?}, {way:?}: parameters");
                assert!(resumed.to_bytes().unwrap() == straight.to_bytes().unwrap(), "{name}, {storage:?}, {way:?}");
                runs += 1;
            }
        }
    }
    println!("{runs} runs of {} rules", SHIPPED.len());
}
