//! A step whose tensors and plans have been seen before allocates nothing.
//!
//! Every allocation of the thread is counted. Machine code only: the evaluator works in columns of its own.
#![cfg(feature = "jit")]
#![allow(unsafe_code)]

use ndarray::{Array, ArrayD, Axis, IxDyn, Slice};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use updraft::check::program::Input;
use updraft::{Engine, Optimizer, Rule, SHIPPED, Tensor};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nobody asks for it.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it came, and what it gives is given back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of one step.
fn allocations(opt: &mut Optimizer, tensors: &mut [Tensor<'_>]) -> usize {
    assert!(opt.warning().is_none() && opt.engine() == Engine::Jit);
    let before = ALLOCATIONS.get();
    opt.step(tensors).unwrap();
    ALLOCATIONS.get() - before
}

/// A hundred tensors of mixed shapes and types.
struct Model {
    names: Vec<String>,
    narrow: Vec<(ArrayD<f32>, ArrayD<f32>)>,
    wide: Vec<(ArrayD<f64>, ArrayD<f64>)>,
}

impl Model {
    fn new() -> Model {
        let shape = |i: usize| match i % 6 {
            0 => vec![],
            1 => vec![i],
            2 => vec![i % 7, 3],
            3 => vec![0, 4],
            4 => vec![2, 3, 1 + i % 5],
            _ => vec![2, 1, 3, 2, 2],
        };
        let array = |i| (ArrayD::from_elem(shape(i), 1.0), ArrayD::from_elem(shape(i), 0.25));
        let narrow = |i| (array(i).0.mapv(|x| x as f32), array(i).1.mapv(|x| x as f32));
        Model {
            names: (0..100).map(|i| format!("layer{}.{}", i / 2, ["weight", "bias"][i % 2])).collect(),
            narrow: (0..60).map(narrow).collect(),
            wide: (60..100).map(array).collect(),
        }
    }

    fn tensors(&mut self) -> Vec<Tensor<'_>> {
        let (first, second) = self.names.split_at(60);
        let narrow = first.iter().zip(&mut self.narrow).map(|(name, (p, g))| Tensor::new(name, p, &*g));
        narrow.chain(second.iter().zip(&mut self.wide).map(|(name, (p, g))| Tensor::new(name, p, &*g))).collect()
    }
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1u8; 3]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
    let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    assert!(allocations(&mut opt, &mut Model::new().tensors()) > 100);
}

#[test]
fn warm_steps_of_adam() {
    let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    let mut model = Model::new();
    (0..2).for_each(|_| opt.step(&mut model.tensors()).unwrap());
    for step in 0..20 {
        if step % 3 == 0 {
            opt.set("lr", 0.1 / f64::from(step + 1)).unwrap();
        }
        assert_eq!(allocations(&mut opt, &mut model.tensors()), 0, "step {step}");
    }
}

#[test]
fn warm_steps_with_groups_missing_tensors_and_other_orders() {
    let builder = Rule::shipped("adam").unwrap().optimizer().set("weight_decay", 0.1).unwrap();
    let builder = builder.group("bias", "*.bias", |g| g.set("weight_decay", 0.0)).unwrap();
    let flat = |_: &str, shape: &[usize]| shape.len() < 2;
    let mut opt = builder.group("flat", flat, |g| g.set("lr", 0.01)).unwrap().build().unwrap();
    let mut model = Model::new();
    for step in 0..20 {
        opt.group("flat").unwrap().set("lr", 0.1 / f64::from(step + 1)).unwrap();
        let mut tensors = model.tensors();
        if step == 9 {
            tensors.truncate(50);
        }
        if step % 2 == 0 {
            tensors.reverse();
        }
        let found = allocations(&mut opt, &mut tensors);
        // The first two steps make room, one in each order. After the ninth, tensors differ in `t`, so that more scalars
        // are kept than ever before: the same again.
        assert!(found == 0 || [0, 1, 10, 11].contains(&step), "step {step}: {found}");
    }
}

#[test]
fn warm_steps_of_every_shipped_rule() {
    for (name, _) in SHIPPED {
        let mut opt = Rule::shipped(name).unwrap().optimizer().build().unwrap();
        let mut model = Model::new();
        let program = opt.rule().program().clone();
        let is_array = |input: &&Input| input.extent.name() == "element";
        let arrays: Vec<&str> = program.inputs.iter().filter(is_array).map(|input| &*input.name).collect();
        let scalars: Vec<&str> = program.inputs.iter().filter(|i| !is_array(i)).map(|input| &*input.name).collect();
        let (narrow, wide) = (model.narrow.clone(), model.wide.clone());
        // Enough for every plan that a change of t reaches here.
        for step in 0..15 {
            scalars.iter().for_each(|input| opt.input(input, 0.5).unwrap());
            let mut tensors = Vec::new();
            for (k, tensor) in model.tensors().into_iter().enumerate() {
                tensors.push(arrays.iter().fold(tensor, |tensor, input| match k.checked_sub(60) {
                    None => tensor.input_array(input, &narrow[k].1),
                    Some(k) => tensor.input_array(input, &wide[k].1),
                }));
            }
            let found = allocations(&mut opt, &mut tensors);
            assert!(found == 0 || step < 12, "{name}, step {step}: {found}");
        }
    }
}

/// Reductions to every extent, over several phases, random draws, reports, and what hosts join.
#[test]
fn warm_steps_with_reductions() {
    let text = "optimizer r\nhyper lr = 0.01\nstate r per row = 0\nstate c per col = 1\nstate u per unit = 0\n\
                state m per matrix = 0\nstate k per tensor = 0\nstate n per model = 0\n\n\
                let size = norm(g per model)\nreport gradient = size\nreport own = max(g)\n\
                skip if not isfinite(size)\ng *= min(1, 1/size)\n\
                if rank >= 2 {\n    r = 0.5*r + mean(g^2 per row)\n    c = 0.5*c + mean(g^2 per col)\n    \
                u = max(abs(g) per unit)\n    m = m + dot(g, p per matrix)\n    \
                g /= sqrt(r*c) + u + abs(m) + 1\n}\n\
                k = k + norm(g)\nn = n + sum(p per model) + min(g per model)\n\
                p -= lr * (g + normal()/k) * (1 + norm(g per group))\n";
    let builder = Rule::parse("r", text).unwrap().optimizer().group("b", "*.bias", |g| Ok(g)).unwrap();
    let builder = builder.skip_nonfinite(true).unscale(true).average(0.5).unwrap();
    let mut opt = builder.report("own").unwrap().report("gradient").unwrap().build().unwrap();
    let mut model = Model::new();
    for step in 0..8 {
        let found = allocations(&mut opt, &mut model.tensors());
        assert!(found == 0 || step < 3, "step {step}: {found}");
        assert!(opt.report("gradient").is_some_and(|x| x > 0.0) && !opt.last_skipped());
    }
}

#[test]
fn warm_steps_with_scalar_states_inputs_and_conditions_per_tensor() {
    let text = "optimizer r\nhyper lr = 0.1\ninput loss = 1\ninput scale per group = lr\ninput extra per tensor = 2*lr\n\
                state m = p\nstate k per tensor = 1\nstate c per group = lr\nstate n per model = 0\n\n\
                n += loss\nc = c*0.5 + n*scale\nk = k + c + extra\nif k > 1 { m *= 2 }\nif n > 3 and t > 2 { m -= g }\n\
                p -= lr*m*k\n";
    let mut opt = Rule::parse("r", text).unwrap().optimizer().group("b", "*.bias", |g| Ok(g)).unwrap().build().unwrap();
    let mut model = Model::new();
    for step in 0..12 {
        if step % 2 == 0 {
            opt.input("loss", 0.5).unwrap();
            opt.group("b").unwrap().input("scale", 0.25).unwrap();
        }
        let given = model.tensors().into_iter().map(|tensor| tensor.input("extra", 0.125));
        let mut tensors: Vec<Tensor> = given.collect();
        let found = allocations(&mut opt, &mut tensors);
        assert!(found == 0 || step < 8, "step {step}: {found}");
    }
}

/// What is copied in and back has its memory from the first step on.
#[test]
fn warm_steps_of_strided_views_and_raw_memory() {
    let mut opt = Rule::shipped("adam").unwrap().optimizer().build().unwrap();
    let mut square = Array::<f32, _>::ones((9, 11));
    let mut gaps = ArrayD::<f64>::ones(IxDyn(&[4, 6, 5, 2]));
    let grad = ArrayD::<f64>::ones(IxDyn(&[4, 3, 5, 2]));
    let (mut raw, raw_grad, one) = ([1.0f32; 33], [0.5f32; 33], ndarray::arr0(0.5f32));
    for step in 0..6 {
        let mut halves = gaps.view_mut();
        halves.slice_axis_inplace(Axis(1), Slice::new(0, None, 2));
        // SAFETY: both arrays outlive the step, and nothing else uses them in it.
        let raw = unsafe { Tensor::raw_f32("raw", raw.as_mut_ptr(), raw_grad.as_ptr(), &[3, 11]) };
        let mut tensors = [
            Tensor::new("transposed", square.view_mut().reversed_axes(), one.broadcast((11, 9)).unwrap()),
            Tensor::new("halves", halves, &grad),
            raw,
        ];
        let found = allocations(&mut opt, &mut tensors);
        assert!(found == 0 || step < 2, "step {step}: {found}");
    }
}
