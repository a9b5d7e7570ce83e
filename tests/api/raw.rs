//! Raw memory: overlap and bad pointers are errors, and nothing is read or written then.
#![allow(unsafe_code)]

use crate::optimizer;
use updraft::{Error, Tensor};

const SGD: &str = "p -= g\n";

/// A tensor of f32 at an offset in `memory`, in elements.
///
/// The tests keep to the promise of `raw_f32`: offset and length stay in the memory, which nothing else uses meanwhile.
fn at<'a>(name: &'a str, memory: *mut f32, param: usize, grad: usize, len: usize) -> Tensor<'a> {
    // SAFETY: see above.
    unsafe { Tensor::raw_f32(name, memory.wrapping_add(param), memory.wrapping_add(grad), &[len]) }
}

fn overlaps(result: Result<(), Error>) -> Option<(String, String)> {
    match result {
        Ok(()) => None,
        Err(Error::Overlap { first, second }) => Some((first, second)),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn raw_memory_gives_what_slices_give() {
    let mut memory: Vec<f32> = (0..20).map(|i| i as f32).collect();
    let mut opt = optimizer(SGD);
    opt.step(&mut [at("a", memory.as_mut_ptr(), 0, 10, 10)]).unwrap();
    assert_eq!(memory[..10], [-10.0; 10]);
    assert_eq!(memory[10..], (10..20).map(|i| i as f32).collect::<Vec<_>>()[..]);
    let (mut p, g) = ([1.0f64; 6], [0.25f64; 6]);
    // SAFETY: both arrays outlive the call and are not used during it.
    let tensor = unsafe { Tensor::raw_f64("b", p.as_mut_ptr(), g.as_ptr(), &[2, 3]) };
    opt.step(&mut [tensor]).unwrap();
    assert_eq!(p, [0.75; 6]);
}

#[test]
fn what_overlaps_is_refused_and_what_adjoins_is_not() {
    let mut memory = [1.0f32; 64];
    let start = memory.as_mut_ptr();
    let mut opt = optimizer(SGD);
    // (param, grad, length) of each tensor, and whether they are refused.
    type Case<'a> = (&'a [(usize, usize, usize)], bool);
    let cases: [Case; 13] = [
        (&[(0, 8, 8)], false),
        (&[(8, 0, 8)], false),
        (&[(0, 7, 8)], true),
        (&[(7, 0, 8)], true),
        (&[(0, 0, 8)], true),
        (&[(0, 8, 8), (16, 24, 8)], false),
        (&[(0, 8, 8), (7, 24, 8)], true),
        (&[(0, 8, 8), (16, 7, 8)], true),
        (&[(0, 40, 8), (8, 40, 8)], false),
        (&[(0, 40, 8), (8, 44, 8)], false),
        (&[(0, 10, 8), (12, 40, 1)], true),
        (&[(10, 40, 0), (8, 40, 8)], false),
        (&[(0, 40, 30), (2, 50, 2), (32, 60, 2)], true),
    ];
    for (index, (tensors, refused)) in cases.into_iter().enumerate() {
        memory.fill(1.0);
        opt.reset();
        let names: Vec<String> = (0..tensors.len()).map(|i| format!("w{i}")).collect();
        let tensors = names.iter().zip(tensors);
        let mut tensors: Vec<Tensor> = tensors.map(|(name, (p, g, len))| at(name, start, *p, *g, *len)).collect();
        let found = overlaps(opt.step(&mut tensors));
        assert_eq!(found.is_some(), refused, "case {index}: {found:?}");
        if refused {
            assert_eq!(memory, [1.0; 64], "case {index}");
            assert_eq!(opt.steps("w0"), 0);
        }
    }
}

#[test]
fn the_message_names_both_buffers() {
    let mut memory = [1.0f32; 16];
    let start = memory.as_mut_ptr();
    let mut opt = optimizer(SGD);
    let found = overlaps(opt.step(&mut [at("a", start, 0, 4, 4), at("b", start, 8, 2, 4)]));
    assert_eq!(found, Some(("the parameter `a`".into(), "the gradient of `b`".into())));
}

/// A tensor is compared in every call, not only in the first that it is used in.
#[test]
fn a_tensor_used_again_is_compared_again() {
    let mut memory = [1.0f32; 16];
    let start = memory.as_mut_ptr();
    let mut opt = optimizer(SGD);
    let mut tensors = [at("a", start, 0, 8, 4), at("b", start, 2, 8, 4)];
    opt.step(&mut tensors[..1]).unwrap();
    opt.step(&mut tensors[1..]).unwrap();
    assert!(overlaps(opt.step(&mut tensors)).is_some());
}

#[test]
fn raw_memory_is_compared_with_slices_too() {
    let mut memory = [1.0f32; 16];
    let start = memory.as_mut_ptr();
    let mut opt = optimizer(SGD);
    // SAFETY: the slices stay in the memory, which nothing else uses during the calls; that they overlap with raw
    // tensors is what the calls refuse before they touch anything.
    let (mut own, g) = ([0.0f32; 4], unsafe { std::slice::from_raw_parts(start.wrapping_add(4), 4) });
    let found = overlaps(opt.step(&mut [at("a", start, 0, 8, 8), Tensor::new("b", &mut own, g)]));
    assert_eq!(found, Some(("the parameter `a`".into(), "the gradient of `b`".into())));
}

#[test]
fn pointers_that_cannot_be_are_refused() {
    let mut memory = [1.0f64; 16];
    let start = memory.as_mut_ptr().cast::<f32>();
    let mut opt = optimizer(SGD);
    let g = [1.0f32; 4];
    let mut refused = |param: *mut f32, grad: *const f32, shape: &[usize]| {
        // SAFETY: not all of these keep the promise of `raw_f32`, but each breach is one that the step finds before it
        // makes a slice of the memory.
        let tensor = unsafe { Tensor::raw_f32("w", param, grad, shape) };
        let error = opt.step(&mut [tensor]).unwrap_err();
        assert!(matches!(error, Error::BadPointer { .. }), "{error}");
        assert_eq!(opt.steps("w"), 0);
        error.to_string()
    };
    assert!(refused(std::ptr::null_mut(), g.as_ptr(), &[4]).contains("null"));
    assert!(refused(start, std::ptr::null(), &[4]).contains("gradient"));
    assert!(refused(start.wrapping_byte_add(2), g.as_ptr(), &[4]).contains("aligned"));
    assert!(refused(start, g.as_ptr().wrapping_byte_add(1), &[4]).contains("aligned"));
    for shape in [&[usize::MAX, 2][..], &[usize::MAX][..], &[1 << 40, 1 << 40], &[isize::MAX as usize / 4 + 1]] {
        assert!(refused(start, g.as_ptr(), shape).contains("large"), "{shape:?}");
    }
    assert_eq!(memory, [1.0; 16]);
}

#[test]
fn raw_tensors_of_no_element_may_dangle() {
    let mut opt = optimizer("state m = 0\n\nm += g\np -= m\n");
    for (k, shape) in [&[0][..], &[3, 0, 2], &[usize::MAX, 0, usize::MAX]].into_iter().enumerate() {
        let name = format!("w{k}");
        // SAFETY: no element is promised.
        let tensor = unsafe { Tensor::raw_f32(&name, std::ptr::null_mut(), 7 as *const f32, shape) };
        opt.step(&mut [tensor]).unwrap();
        assert_eq!(opt.steps(&name), 1);
    }
}
