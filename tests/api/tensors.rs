//! Tensors of every kind, rank, layout and type: the same bits as a contiguous slice.

use crate::{optimizer, values, values_f32};
use ndarray::{Array, ArrayD, ArrayView, Axis, Ix1, IxDyn, ShapeBuilder, Slice, arr0};
use updraft::{Optimizer, Rule, StateValues, Tensor};

fn adam() -> Optimizer {
    Rule::shipped("adam")
        .unwrap()
        .optimizer()
        .set("weight_decay", 0.1)
        .unwrap()
        .set("lr", 0.1)
        .unwrap()
        .build()
        .unwrap()
}

/// Three steps of a contiguous slice: what every other layout has to give.
fn contiguous(p: &[f32], grads: &[Vec<f32>]) -> (Vec<f32>, Vec<f32>) {
    let (mut opt, mut p) = (adam(), p.to_vec());
    for g in grads {
        opt.step(&mut [Tensor::new("w", &mut p, g)]).unwrap();
    }
    let Some(StateValues::F32(v)) = opt.state("w", "v") else { panic!("no state") };
    let v = v.to_vec();
    (p, v)
}

#[test]
fn every_way_to_give_a_slice() {
    let mut opt = adam();
    let (mut vec, mut array, mut boxed) = (vec![1.0f32; 3], [1.0f32; 3], vec![1.0f32; 3].into_boxed_slice());
    let (mut owned, mut zero_d) = (Array::<f32, Ix1>::ones(3), arr0(1.0f32));
    let g = vec![0.5f32; 3];
    opt.step(&mut [
        Tensor::new("vec", &mut vec, &g),
        Tensor::new("array", &mut array, &[0.5; 3]),
        Tensor::new("slice", &mut boxed[..], &g[..]),
        Tensor::new("owned", &mut owned, ArrayView::from(&g[..])),
        Tensor::new("zero_d", &mut zero_d, &arr0(0.5)),
    ])
    .unwrap();
    assert_eq!(vec, array);
    assert_eq!(vec, *boxed);
    assert_eq!(vec, owned.to_vec());
    assert_eq!(vec[0], zero_d[()]);
    assert_ne!(vec[0], 1.0);
}

#[test]
fn views_of_rank_zero_to_five_in_any_layout() {
    let shapes: [&[usize]; 6] = [&[], &[7], &[5, 3], &[2, 3, 4], &[3, 1, 2, 2], &[2, 2, 1, 3, 2]];
    for shape in shapes {
        let len: usize = shape.iter().product();
        let start = values_f32(1, len);
        let grads: Vec<Vec<f32>> = (0..3).map(|k| values_f32(k + 2, len)).collect();
        let (p, v) = contiguous(&start, &grads);
        let array = |values: &[f32]| ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap();
        // The layouts of a parameter, each a view into memory of its own.
        for layout in 0..4 {
            let mut memory = lay(&array(&start), layout);
            let mut opt = adam();
            for (k, g) in grads.iter().enumerate() {
                let grad = lay(&array(g), (layout + k) % 4);
                opt.step(&mut [Tensor::new("w", view(&mut memory, layout), read(&grad, (layout + k) % 4))]).unwrap();
            }
            let logical: Vec<f32> = view(&mut memory, layout).iter().copied().collect();
            assert_eq!(logical, p, "{shape:?} in layout {layout}");
            assert_eq!(opt.state("w", "v"), Some(StateValues::F32(&v)), "states are row-major");
            // What lies between the elements is as it was.
            let mut gaps = memory.clone();
            view(&mut gaps, layout).fill(-77.0);
            assert!(gaps.iter().all(|x| *x == -77.0), "{shape:?} in layout {layout} wrote outside of the view");
        }
    }
}

/// Memory in which an array lies: row-major, column-major, every second index of every axis, or all axes reversed.
fn lay(array: &ArrayD<f32>, layout: usize) -> ArrayD<f32> {
    let shape = array.shape().to_vec();
    let mut memory = match layout {
        0 | 3 => ArrayD::from_elem(IxDyn(&shape), -77.0),
        1 => ArrayD::from_elem(IxDyn(&shape).f(), -77.0),
        _ => ArrayD::from_elem(IxDyn(&shape.iter().map(|n| 2 * n + 1).collect::<Vec<_>>()), -77.0),
    };
    view(&mut memory, layout).assign(array);
    memory
}

fn view(memory: &mut ArrayD<f32>, layout: usize) -> ndarray::ArrayViewMutD<'_, f32> {
    let mut view = memory.view_mut();
    for axis in 0..view.ndim() {
        match layout {
            2 => view.slice_axis_inplace(Axis(axis), Slice::new(1, None, 2)),
            3 => view.invert_axis(Axis(axis)),
            _ => {}
        }
    }
    view
}

fn read(memory: &ArrayD<f32>, layout: usize) -> ndarray::ArrayViewD<'_, f32> {
    let mut view = memory.view();
    for axis in 0..view.ndim() {
        match layout {
            2 => view.slice_axis_inplace(Axis(axis), Slice::new(1, None, 2)),
            3 => view.invert_axis(Axis(axis)),
            _ => {}
        }
    }
    view
}

#[test]
fn a_gradient_may_be_broadcast() {
    let start = values_f32(1, 12);
    let row = values_f32(2, 4);
    let repeated: Vec<f32> = row.iter().cycle().take(12).copied().collect();
    let (p, _) = contiguous(&start, &[repeated.clone(), vec![0.25; 12]]);
    let mut w = Array::from_shape_vec((3, 4), start).unwrap();
    let mut opt = adam();
    let (row, one) = (ndarray::aview1(&row), arr0(0.25f32));
    opt.step(&mut [Tensor::new("w", &mut w, row.broadcast((3, 4)).unwrap())]).unwrap();
    opt.step(&mut [Tensor::new("w", &mut w, one.broadcast((3, 4)).unwrap())]).unwrap();
    assert_eq!(w.into_raw_vec_and_offset().0, p);
}

#[test]
fn tensors_of_both_types_in_one_call() {
    let (mut opt, mut narrow, mut wide) = (adam(), adam(), adam());
    let (mut a, mut b) = (values_f32(1, 9), values(2, 11));
    let (mut c, mut d) = (a.clone(), b.clone());
    for k in 0..3 {
        let (ga, gb) = (values_f32(3 + k, 9), values(6 + k, 11));
        opt.step(&mut [Tensor::new("a", &mut a, &ga), Tensor::new("b", &mut b, &gb)]).unwrap();
        narrow.step(&mut [Tensor::new("a", &mut c, &ga)]).unwrap();
        wide.step(&mut [Tensor::new("b", &mut d, &gb)]).unwrap();
    }
    assert_eq!((a, b), (c, d));
    assert!(matches!(opt.state("a", "m"), Some(StateValues::F32(x)) if x.len() == 9));
    assert!(matches!(opt.state("b", "m"), Some(StateValues::F64(x)) if x.len() == 11));
    assert_eq!(opt.state_bytes(), 2 * (9 * 4 + 11 * 8));
}

#[test]
fn no_element_and_one_element() {
    let mut opt = adam();
    let mut empty: [f32; 0] = [];
    let mut flat = Array::<f64, _>::zeros((3, 0, 2));
    let (mut one, g) = ([1.0f32], Array::<f64, _>::zeros((3, 0, 2)));
    for _ in 0..3 {
        opt.step(&mut [
            Tensor::new("empty", &mut empty, &[]),
            Tensor::new("flat", &mut flat, &g),
            Tensor::new("one", &mut one, &[1.0]),
        ])
        .unwrap();
    }
    assert_eq!((opt.steps("empty"), opt.steps("flat"), opt.steps("one")), (3, 3, 3));
    assert_eq!(opt.state("empty", "m"), Some(StateValues::F32(&[])));
    assert_eq!(opt.state("flat", "m"), Some(StateValues::F64(&[])));
    assert!(one[0] < 1.0);
    // No tensor at all is a step of nothing.
    opt.step(&mut []).unwrap();
}

#[test]
fn tensors_come_and_go_in_any_order() {
    let names: Vec<String> = (0..20).map(|i| format!("layer{}.{i}", i % 3)).collect();
    let start: Vec<Vec<f64>> = (0..20).map(|i| values(i, i as usize)).collect();
    let (mut opt, mut together) = (adam(), start.clone());
    // Each tensor alone, in an optimizer of its own.
    let mut alone: Vec<(Optimizer, Vec<f64>)> = start.iter().map(|p| (adam(), p.clone())).collect();
    for step in 0..30u64 {
        let mut order: Vec<usize> = (0..20).filter(|i| !(i + step as usize).is_multiple_of(4)).collect();
        let keys = values(1000 + step, 20);
        order.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
        let grads: Vec<Vec<f64>> = (0..20).map(|i| values(step * 100 + i, i as usize)).collect();
        let mut by_index: Vec<Option<&mut Vec<f64>>> = together.iter_mut().map(Some).collect();
        let tensor = |i: &usize| Tensor::new(&names[*i], by_index[*i].take().unwrap(), &grads[*i]);
        let mut tensors: Vec<Tensor> = order.iter().map(tensor).collect();
        opt.step(&mut tensors).unwrap();
        for i in order {
            let (opt, p) = &mut alone[i];
            opt.step(&mut [Tensor::new("w", p, &grads[i])]).unwrap();
        }
    }
    for (i, (own, p)) in alone.iter().enumerate() {
        assert_eq!(together[i], *p);
        assert_eq!(opt.steps(&names[i]), own.steps("w"));
        assert_eq!(opt.state(&names[i], "v"), own.state("w", "v"));
    }
}

#[test]
fn tensors_can_be_used_in_several_calls() {
    let (mut opt, mut p, mut q) = (adam(), [1.0f32; 5], [1.0f32; 5]);
    let g = [0.5f32; 5];
    let mut tensors = [Tensor::new("w", &mut p, &g)];
    (0..3).for_each(|_| opt.step(&mut tensors).unwrap());
    drop(tensors);
    let mut opt = adam();
    (0..3).for_each(|_| opt.step(&mut [Tensor::new("w", &mut q, &g)]).unwrap());
    assert_eq!(p, q);
}

/// Draws of signs are of both, about equally often.
#[test]
fn signs_are_drawn_evenly() {
    let mut w = vec![0.0f32; 10_000];
    optimizer("p = rademacher() + 0*g\n").step(&mut [Tensor::new("w", &mut w, &vec![0.0; 10_000])]).unwrap();
    assert!(w.iter().all(|x| x.abs() == 1.0));
    let above = w.iter().filter(|x| **x > 0.0).count();
    assert!((4_800..5_200).contains(&above), "{above}");
}
