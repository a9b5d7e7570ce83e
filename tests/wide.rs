//! The code for AVX2: its text for kernels that show each of its ways, and that it stays right where registers run out.
#![cfg(feature = "jit")]

use updraft::codegen::{Backend, Codegen, Isa, Lanes, Target, Text, Wide};
use updraft::ir::{Args, Buffer, Kernel, Uniforms, eval_kernel, parse_kernel, print_kernel, verify_kernel};

const AVX2: Target = Target { isa: Isa::X86_64Avx2Fma, lanes: Lanes::Simd };

/// The kernel with the code that it becomes below it.
fn asm(text: &str) -> String {
    let kernel = parse_kernel(text).unwrap();
    format!("{}\n{}", print_kernel(&kernel), Wide.text(&kernel, AVX2, Text::Asm).unwrap())
}

#[test]
fn uniforms_have_the_registers_that_are_free() {
    let text = "kernel momentum f32 {
  uniform beta
  uniform \"-lr\"
  stream p f32 rw
  stream g f32 r
  stream m f32 rw

  %0 = load m
  %1 = load g
  %2 = uniform beta
  %3 = fma %0, %2, %1
  %4 = load p
  %5 = uniform 1
  %6 = fma %3, %5, %4
  store m, %3
  store p, %6
}";
    insta::assert_snapshot!("momentum", asm(text));
}

/// Minimum and maximum by the rules of the IR, and in one instruction where a constant says that they do not matter.
#[test]
fn extremes_and_masks() {
    let text = "kernel extremes f32 {
  stream p f32 rw
  stream g f32 r

  %0 = load p
  %1 = load g
  %2 = min %0, %1
  %3 = max %0, %1
  %4 = const 0.5
  %5 = min %2, %4
  %6: bool = ne %3, %5
  %7: bool = not %6
  %8 = neg %5
  %9 = abs %3
  %10 = floor %9
  %11 = select %7, %8, %10
  store p, %11
}";
    insta::assert_snapshot!("extremes", asm(text));
}

#[test]
fn integers_of_both_widths() {
    for (compute, int) in [("f32", "i32"), ("f64", "i64")] {
        let text = format!(
            "kernel integers {compute} {{
  stream p {compute} rw

  %0 = load p
  %1: {int} = to_int %0
  %2: {int} = const 3
  %3: {int} = sar %1, %2
  %4: {int} = shl %1, %3
  %5: bool = le %3, %4
  %6: {int} = select %5, %3, %4
  %7 = to_float %6
  store p, %7
}}"
        );
        insta::assert_snapshot!(format!("integers_{compute}"), asm(&text));
    }
}

#[test]
fn streams_of_every_storage() {
    for compute in ["f32", "f64"] {
        let text = format!(
            "kernel storages {compute} {{
  stream a f32 rw
  stream b f64 rw
  stream c bf16 rw
  stream d f16 rw

  %0 = load a
  %1 = load b
  %2 = load c
  %3 = load d
  %4 = add %0, %1
  %5 = add %2, %3
  %6 = narrow_bf16 %5
  store a, %5
  store b, %5
  store c, %6
  store d, %4
}}"
        );
        insta::assert_snapshot!(format!("storages_{compute}"), asm(&text));
    }
}

#[test]
fn one_lane_code_is_the_tail_alone() {
    let kernel = parse_kernel("kernel k f64 {\nstream p f64 rw\n\n%0 = load p\n%1 = sqrt %0\nstore p, %1\n}").unwrap();
    let text = Wide.text(&kernel, Target { lanes: Lanes::One, ..AVX2 }, Text::Asm).unwrap();
    assert!(text.contains("vsqrtpd         xmm0, xmm0") && !text.contains("ymm"), "{text}");
}

/// Runs the code and the evaluator on the same numbers, at lengths with and without whole vectors.
fn agrees(kernel: &Kernel) {
    verify_kernel(kernel).unwrap();
    let compile = |lanes| Wide.compile(kernel, Target { lanes, ..AVX2 }).unwrap();
    if !Codegen::Wide.is_available() {
        return;
    }
    for code in [compile(Lanes::One), compile(Lanes::Simd)] {
        for len in [0, 1, 7, 8, 9, 31, 64, 100] {
            let value = |stream: usize, i: usize| ((stream * 131 + i * 17) % 97) as f32 / 16.0 - 2.5;
            let arrays: Vec<Vec<f32>> =
                (0..kernel.streams.len()).map(|stream| (0..len).map(|i| value(stream, i)).collect()).collect();
            let uniforms: Vec<f32> = (0..kernel.uniforms.len()).map(|i| 0.25 + i as f32 / 8.0).collect();
            let (mut expected, mut found) = (arrays.clone(), arrays);
            let buffers = expected.iter_mut().map(|x| Buffer::F32Mut(x));
            eval_kernel(kernel, &mut Args::new(kernel, buffers, Uniforms::F32(&uniforms)).unwrap());
            let buffers = found.iter_mut().map(|x| Buffer::F32Mut(x));
            code.run(&mut Args::new(kernel, buffers, Uniforms::F32(&uniforms)).unwrap()).unwrap();
            let bits = |arrays: &[Vec<f32>]| -> Vec<u32> { arrays.iter().flatten().map(|x| x.to_bits()).collect() };
            assert_eq!(bits(&found), bits(&expected), "{len} elements:\n{}", print_kernel(kernel));
        }
    }
}

/// A sum of products of each with each, all loaded first: many values live at once, and more are read than stay.
fn pressure(streams: usize, uniforms: usize, rounds: usize) -> Kernel {
    let mut text = String::from("kernel pressure f32 {\n");
    (0..uniforms).for_each(|i| text += &format!("uniform u{i}\n"));
    (0..streams).for_each(|i| text += &format!("stream s{i} f32 {}\n", if i % 3 == 0 { "rw" } else { "r" }));
    let mut values = 0;
    let mut push = |line: String, text: &mut String| {
        *text += &format!("%{values} = {line}\n");
        values += 1;
        values - 1
    };
    let mut live: Vec<usize> = (0..streams).map(|i| push(format!("load s{i}"), &mut text)).collect();
    live.extend((0..uniforms).map(|i| push(format!("uniform {i}"), &mut text)));
    for round in 0..rounds {
        let next: Vec<usize> = (0..live.len())
            .map(|i| {
                let (a, b, c) = (live[i], live[(i + round + 1) % live.len()], live[(i * 7 + 3) % live.len()]);
                match (i + round) % 4 {
                    0 => push(format!("fma %{a}, %{b}, %{c}"), &mut text),
                    1 => push(format!("sub %{a}, %{b}"), &mut text),
                    2 => push(format!("max %{a}, %{c}"), &mut text),
                    _ => push(format!("mul %{b}, %{c}"), &mut text),
                }
            })
            .collect();
        live = next;
    }
    (0..streams).step_by(3).for_each(|i| text += &format!("store s{i}, %{}\n", live[i]));
    parse_kernel(&(text + "}")).unwrap()
}

#[test]
fn what_does_not_fit_the_registers_is_spilled() {
    for (streams, uniforms, rounds) in [(4, 3, 2), (9, 9, 3), (12, 12, 4), (10, 0, 2), (11, 1, 2), (20, 20, 3)] {
        agrees(&pressure(streams, uniforms, rounds));
    }
}

/// A frame of several pages: each is touched on the way.
#[test]
fn a_large_frame_does_not_step_over_the_guard_page() {
    let kernel = pressure(400, 400, 1);
    let text = Wide.text(&kernel, AVX2, Text::Asm).unwrap();
    assert!(text.matches("sub             rsp").count() > 2, "{text}");
    agrees(&kernel);
    // On a stack that has little more than that.
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(move || agrees(&kernel)).unwrap().join().unwrap();
}

/// Operands that are read twice, that die, that are uniforms or constants, in each place of a fused multiply-add.
#[test]
fn every_form_of_fma() {
    let operands = ["%0", "%1", "%2", "%3", "%4"];
    for a in operands {
        for b in operands {
            for c in operands {
                for keep in [false, true] {
                    let kept = if keep { "%6 = add %0, %1\n%7 = add %6, %5\n" } else { "%6 = neg %5\n%7 = neg %6\n" };
                    let text = format!(
                        "kernel k f32 {{\nuniform u\nstream p f32 rw\nstream g f32 r\n\n%0 = load p\n%1 = load g\n%2 = uniform 0\n\
                         %3 = const 1.5\n%4 = mul %1, %2\n%5 = fma {a}, {b}, {c}\n{kept}store p, %7\n}}"
                    );
                    agrees(&parse_kernel(&text).unwrap());
                }
            }
        }
    }
}
