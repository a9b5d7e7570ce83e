//! What kernels become: Cranelift's IR of one kernel per feature of the emitter, and facts about the instructions.
//!
//! Instructions are asserted by what they contain and lack, never whole: register names are not ours.
#![cfg(feature = "jit")]

use updraft::codegen::{Backend, Code, Codegen, CodegenError, Cranelift, Isa, Lanes, Target, Text, Wide};
use updraft::ir::{Args, ArgsError, Buffer, Kernel, Problem, Uniforms, parse_kernel, print_kernel, verify_kernel};

const X86: Target = Target { isa: Isa::X86_64Fma, lanes: Lanes::Simd };
const ARM: Target = Target { isa: Isa::Aarch64, lanes: Lanes::Simd };

const SGD: &str = "kernel sgd f32 {
  uniform lr
  stream p f32 rw
  stream g f32 r

  %0 = load p
  %1 = load g
  %2 = uniform lr
  %3 = neg %2
  %4 = fma %3, %1, %0
  store p, %4
}";

const ADAM: &str = "kernel adam f32 {
  uniform beta1
  uniform \"1 - beta1\"
  uniform beta2
  uniform \"1 - beta2\"
  uniform \"1 / (1 - beta2^t)\"
  uniform eps
  uniform \"lr / (1 - beta1^t)\"
  stream p f32 rw
  stream g f32 r
  stream m f32 rw
  stream v f32 rw

  %0 = load p
  %1 = load g
  %2 = load m
  %3 = load v
  %4 = uniform beta1
  %5 = uniform 1
  %6 = uniform beta2
  %7 = uniform 3
  %8 = uniform 4
  %9 = uniform eps
  %10 = uniform 6
  %11 = mul %4, %2
  %12 = fma %5, %1, %11
  %13 = mul %6, %3
  %14 = mul %1, %1
  %15 = fma %7, %14, %13
  %16 = mul %8, %15
  %17 = sqrt %16
  %18 = add %17, %9
  %19 = div %12, %18
  %20 = neg %10
  %21 = fma %20, %19, %0
  store p, %21
  store m, %12
  store v, %15
}";

fn kernel(text: &str) -> Kernel {
    let kernel = parse_kernel(text).unwrap();
    verify_kernel(&kernel).unwrap();
    kernel
}

/// The kernel with what it becomes below it.
fn clif(text: &str, target: Target) -> String {
    let kernel = kernel(text);
    format!("{}\n{}", print_kernel(&kernel), Cranelift::default().text(&kernel, target, Text::Clif).unwrap())
}

fn asm(text: &str, target: Target) -> String {
    Cranelift::default().text(&kernel(text), target, Text::Asm).unwrap()
}

/// The operations that the kernels below have not: each instruction of the emitter is frozen in one of them.
#[test]
fn roundings_and_extremes() {
    let text = "kernel shapes f32 {
  stream p f32 rw
  stream g f32 r

  %0 = load p
  %1 = load g
  %2 = floor %0
  %3 = ceil %1
  %4 = round %0
  %5 = abs %1
  %6 = min %2, %3
  %7 = max %4, %5
  %8: bool = le %6, %7
  %9 = select %8, %6, %7
  %10: bool = eq %9, %0
  %11 = select %10, %0, %9
  %12: bool = gt %11, %1
  %13 = select %12, %11, %1
  %14: bool = ge %13, %0
  %15 = select %14, %13, %0
  store p, %15
}";
    insta::assert_snapshot!("roundings_and_extremes", clif(text, X86));
}

#[test]
fn arithmetic_in_f64() {
    let text = "kernel wide f64 {
  uniform lr
  stream p f64 rw
  stream g f64 r

  %0 = load p
  %1 = load g
  %2 = uniform lr
  %3 = sqrt %1
  %4 = div %0, %3
  %5 = sub %4, %1
  %6 = add %5, %0
  %7 = mul %6, %2
  %8 = fma %7, %2, %0
  store p, %8
}";
    insta::assert_snapshot!("arithmetic_in_f64", clif(text, X86));
}

#[test]
fn a_short_body_is_unrolled() {
    insta::assert_snapshot!("unrolled", clif(SGD, X86));
}

#[test]
fn one_lane_code_is_the_tail_alone() {
    insta::assert_snapshot!("one_lane", clif(SGD, Target { lanes: Lanes::One, ..X86 }));
}

#[test]
fn a_long_body_is_not_unrolled() {
    insta::assert_snapshot!("adam", clif(ADAM, X86));
}

#[test]
fn bools_are_masks_in_vectors_and_bytes_in_scalars() {
    let text = "kernel bools f32 {
  stream p f32 rw
  stream g f32 r
  %0 = load p
  %1 = load g
  %2 = const 0.0
  %3: bool = lt %1, %2
  %4: bool = ne %0, %0
  %5: bool = not %4
  %6: bool = const true
  %7: bool = and %3, %5
  %8: bool = select %7, %6, %4
  %9 = select %8, %1, %0
  store p, %9
}";
    insta::assert_snapshot!("bools", clif(text, X86));
}

#[test]
fn integers_shift_by_one_constant_or_lane_by_lane() {
    let text = "kernel integers f32 {
  stream p f32 rw
  %0 = load p
  %1: i32 = bitcast %0
  %2: i32 = const 23
  %3: i32 = shr %1, %2
  %4: i32 = to_int %0
  %5: i32 = shl %3, %4
  %6: i32 = iadd %5, %2
  %7 = to_float %6
  store p, %7
}";
    insta::assert_snapshot!("integers", clif(text, X86));
}

#[test]
fn two_f64_become_integers_lane_by_lane() {
    let text = "kernel wide f64 {
  uniform s
  stream p f64 rw
  %0 = load p
  %1 = uniform s
  %2 = max %0, %1
  %3: i64 = to_int %2
  %4 = to_float %3
  store p, %4
}";
    insta::assert_snapshot!("wide_integers", clif(text, X86));
}

#[test]
fn a_stream_of_another_width_is_converted_lane_by_lane() {
    let text = "kernel mixed f64 {
  stream p f64 rw
  stream m f32 rw
  %0 = load p
  %1 = load m
  %2 = sub %0, %1
  store p, %2
  store m, %2
}";
    insta::assert_snapshot!("mixed_storage", clif(text, X86));
}

#[test]
fn halves_are_converted_four_at_a_time() {
    let text = "kernel halves f32 {
  stream p bf16 rw
  stream m f16 rw
  %0 = load p
  %1 = load m
  %2 = sub %0, %1
  %3 = narrow_bf16 %2
  %4 = narrow_f16 %2
  store p, %3
  store m, %4
}";
    insta::assert_snapshot!("halves", clif(text, X86));
    for target in [X86, ARM] {
        let text = asm(text, target);
        let calls = |line: &str| ["call", "bl ", "blr "].iter().any(|call| line.trim_start().starts_with(call));
        assert!(!text.lines().any(calls), "{text}");
    }
}

#[test]
fn a_kernel_without_streams_loops_over_nothing() {
    insta::assert_snapshot!("empty", clif("kernel empty f32 {\n}", X86));
}

#[test]
fn the_text_does_not_depend_on_the_instruction_set() {
    for text in [SGD, ADAM] {
        assert_eq!(clif(text, X86), clif(text, ARM));
    }
}

#[test]
fn adam_is_fused_multiply_adds_without_calls() {
    let x86 = asm(ADAM, X86);
    for wanted in ["vfmadd213ps", "vfnmadd213ps", "vsqrtps", "vdivps", "vfmadd213ss", "vdivss"] {
        assert!(x86.contains(wanted), "{wanted} is missing:\n{x86}");
    }
    let arm = asm(ADAM, ARM);
    for wanted in ["fmla", "fmls", "fsqrt v", "fdiv v", "fmadd s", "fdiv s"] {
        assert!(arm.contains(wanted), "{wanted} is missing:\n{arm}");
    }
    for text in [x86, arm] {
        for unwanted in ["call ", "bl ", "blr ", "ymm", "zmm", "xorps %xmm"] {
            let found = text.lines().find(|line| line.trim_start().starts_with(unwanted));
            assert_eq!(found, None, "{text}");
        }
    }
    let one = asm(ADAM, Target { lanes: Lanes::One, ..X86 });
    assert!(one.contains("vdivss") && !one.contains("vdivps"), "{one}");
}

#[test]
fn what_cannot_be_compiled_is_an_error() {
    let ill = parse_kernel("kernel k f32 {\nstream g f32 r\n%0 = load g\nstore g, %0\n}").unwrap();
    for error in [
        Cranelift::default().compile(&ill, X86).unwrap_err(),
        Cranelift::default().text(&ill, X86, Text::Clif).unwrap_err(),
    ] {
        assert!(matches!(&error, CodegenError::Invalid(e) if e.problem == Problem::NotWritable), "{error}");
    }
    for isa in Isa::ALL {
        let result = Cranelift::default().compile(&kernel(SGD), Target { isa, lanes: Lanes::Simd });
        match isa.is_available() {
            true => assert!(result.is_ok()),
            false => assert_eq!(result.unwrap_err(), CodegenError::OtherHost(isa)),
        }
        let result = Wide.compile(&kernel(SGD), Target { isa, lanes: Lanes::Simd });
        match (isa.codegen(), isa.is_available()) {
            (Codegen::Cranelift, _) => assert_eq!(result.unwrap_err(), CodegenError::OtherBackend(isa)),
            (Codegen::Wide, true) => assert!(result.is_ok()),
            (Codegen::Wide, false) => assert_eq!(result.unwrap_err(), CodegenError::OtherHost(isa)),
        }
        let text = Wide.text(&kernel(SGD), Target { isa, lanes: Lanes::Simd }, Text::Asm);
        match isa.codegen() {
            Codegen::Cranelift => assert_eq!(text, Err(CodegenError::OtherBackend(isa))),
            Codegen::Wide => assert!(text.is_ok()),
        }
    }
    assert!(matches!(Wide.compile(&ill, X86), Err(CodegenError::Invalid(_))));
}

#[test]
fn code_runs_only_on_arguments_of_its_shape() {
    let code = Cranelift::default().compile(&kernel(ADAM), Target::host().unwrap()).unwrap();
    let sgd = kernel(SGD);
    let (mut p, g) = ([1.0f32; 5], [1.0f32; 5]);
    let mut args = Args::new(&sgd, [Buffer::F32Mut(&mut p), Buffer::F32(&g)], Uniforms::F32(&[0.5])).unwrap();
    assert_eq!(code.run(&mut args), Err(ArgsError::UniformCount { expected: 7, found: 1 }));
    // The same counts, but a stream that the code would write is shared.
    let reader = kernel("kernel r f32 {\nuniform u\nstream p f32 r\nstream g f32 r\n}");
    let mut args = Args::new(&reader, [Buffer::F32(&g), Buffer::F32(&g)], Uniforms::F32(&[0.5])).unwrap();
    let code = Cranelift::default().compile(&sgd, Target::host().unwrap()).unwrap();
    assert_eq!(code.run(&mut args), Err(ArgsError::NotMutable { stream: 0 }));
    assert_eq!(g, [1.0; 5]);
}

#[test]
fn code_is_shared_between_threads() {
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    shareable::<Code>();
    let sgd = kernel(SGD);
    let code = Cranelift::default().compile(&sgd, Target::host().unwrap()).unwrap();
    let (mut p, g) = (vec![1.0f32; 1000], vec![2.0f32; 1000]);
    std::thread::scope(|scope| {
        for (p, g) in p.chunks_mut(300).zip(g.chunks(300)) {
            let (code, sgd) = (code.clone(), &sgd);
            scope.spawn(move || {
                let buffers = [Buffer::F32Mut(p), Buffer::F32(g)];
                code.run(&mut Args::new(sgd, buffers, Uniforms::F32(&[0.25])).unwrap()).unwrap();
            });
        }
    });
    drop(code);
    assert_eq!(p, vec![0.5; 1000]);
}
