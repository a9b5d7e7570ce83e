//! One kernel on arrays between guard pages.

use crate::generate::Random;
use crate::kernels::Named;
use crate::memory::Guarded;
use half::{bf16, f16};
use std::ptr::NonNull;
use updraft::codegen::Code;
use updraft::ir::{Access, Args, Buffer, Kernel, Storage, Type, Uniforms, eval_kernel};

/// The longest run.
pub const LONGEST: usize = 4097;

/// The greatest distance, in elements, of a slice from the page before or behind it, and one.
pub const OFFSETS: usize = 16;

/// What lies beside a slice, and must be there afterwards.
const CANARY: [u8; 64] = [0xa5; 64];

/// To which of the two pages the distances are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Front,
    Back,
}

/// What is deliberately wrong, to see that it is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Nothing.
    None,
    /// The slice of this stream is said to begin one element before its memory.
    Before(usize),
    /// The slice of this stream is said to end one element behind its memory.
    Behind(usize),
    /// The uniforms are said to begin one before they do.
    Uniforms,
    /// The memory of this stream is for reading alone, although the kernel writes it.
    ReadOnly(usize),
}

/// An array of a kernel: its memory, and what is in it before and after the longest run.
struct Array {
    memory: Guarded,
    storage: Storage,
    access: Access,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// A kernel with its arrays.
pub struct Bench<'k> {
    kernel: &'k Kernel,
    arrays: Vec<Array>,
    uniforms: Guarded,
    lie: Lie,
    /// Where each slice begins, of the run at hand.
    starts: Vec<isize>,
}

/// Ordinary numbers, most of them positive.
fn values(storage: Storage, len: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len * storage.bytes());
    for _ in 0..len {
        let bits = random.bits();
        let x = ((bits & 0xfff) + 1) as f64 / 1024.0;
        let x = if bits >> 61 == 0 { -x } else { x };
        match storage {
            Storage::F32 => bytes.extend((x as f32).to_ne_bytes()),
            Storage::F64 => bytes.extend(x.to_ne_bytes()),
            Storage::Bf16 => bytes.extend(bf16::from_f64(x).to_ne_bytes()),
            Storage::F16 => bytes.extend(f16::from_f64(x).to_ne_bytes()),
        }
    }
    bytes
}

/// The slice of so many elements that begins there.
///
/// # Safety
/// Unless `len` is 0 (or the test wants a fault), all of it is mapped for as long as the buffer lives, for writing if
/// `access` says so, and nobody else uses it.
unsafe fn buffer<'a>(at: *mut u8, storage: Storage, access: Access, len: usize) -> Buffer<'a> {
    macro_rules! of {
        ($ty:ty, $shared:ident, $mutable:ident) => {
            if access.writes() {
                // SAFETY: as the caller says.
                Buffer::$mutable(unsafe { std::slice::from_raw_parts_mut(at.cast::<$ty>(), len) })
            } else {
                // SAFETY: as the caller says.
                Buffer::$shared(unsafe { std::slice::from_raw_parts(at.cast::<$ty>(), len) })
            }
        };
    }
    match storage {
        Storage::F32 => of!(f32, F32, F32Mut),
        Storage::F64 => of!(f64, F64, F64Mut),
        Storage::Bf16 => of!(bf16, Bf16, Bf16Mut),
        Storage::F16 => of!(f16, F16, F16Mut),
    }
}

/// Whether an element is a NaN.
fn is_nan(storage: Storage, bytes: &[u8]) -> bool {
    match storage {
        Storage::F32 => f32::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
        Storage::F64 => f64::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
        Storage::Bf16 => bf16::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
        Storage::F16 => f16::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
    }
}

impl<'k> Bench<'k> {
    pub fn new(named: &'k Named, lie: Lie, random: &mut Random) -> Bench<'k> {
        let kernel = &named.kernel;
        let array = |(index, stream): (usize, &updraft::ir::Stream)| {
            let bytes = (LONGEST + OFFSETS) * stream.storage.bytes();
            let before = values(stream.storage, LONGEST, random);
            Array {
                memory: Guarded::new(bytes, stream.access.writes() && lie != Lie::ReadOnly(index)),
                storage: stream.storage,
                access: stream.access,
                after: before.clone(),
                before,
            }
        };
        let arrays: Vec<Array> = kernel.streams.iter().enumerate().map(array).collect();
        let mut uniforms = Guarded::new(kernel.uniforms.len() * 8, false);
        let own = if kernel.compute == Type::F32 { Storage::F32 } else { Storage::F64 };
        // At both ends.
        let numbers = values(own, kernel.uniforms.len(), random);
        let end = uniforms.bytes();
        uniforms.window()[..numbers.len()].copy_from_slice(&numbers);
        uniforms.window()[end - numbers.len()..].copy_from_slice(&numbers);
        let starts = vec![0; arrays.len()];
        let mut bench = Bench { kernel, arrays, uniforms, lie: Lie::None, starts };
        if !matches!(lie, Lie::ReadOnly(_)) {
            bench.expect();
        }
        bench.lie = lie;
        bench
    }

    /// What the evaluator makes of the longest run. What it makes of a shorter one is the beginning of that, because no
    /// element depends on another.
    fn expect(&mut self) {
        self.prepare(LONGEST, 0, Side::Front);
        self.call(LONGEST, Side::Front, eval_kernel);
        for (array, start) in self.arrays.iter_mut().zip(&self.starts) {
            let (start, bytes) = (*start as usize, array.before.len());
            array.after.copy_from_slice(&array.memory.window()[start..start + bytes]);
        }
    }

    /// Runs the code on slices of `len` elements, each stream's at a distance of its own, all distances in turn as
    /// `offset` goes through them. `Err` says what is wrong with what it did, if it did not fault.
    pub fn run(&mut self, code: &Code, len: usize, offset: usize, side: Side) -> Result<(), String> {
        self.run_told(code, len, len, offset, side)
    }

    /// The same, but the code is told of `told` elements.
    pub fn run_told(&mut self, code: &Code, len: usize, told: usize, offset: usize, side: Side) -> Result<(), String> {
        self.prepare(len, offset, side);
        self.call(told, side, |_, args| code.run(args).unwrap());
        self.compare(len)
    }

    /// Runs the code on slices of no elements that point to nothing.
    pub fn run_dangling(&self, code: &Code) {
        let nothing = NonNull::<u64>::dangling().as_ptr().cast::<u8>();
        let buffers = self.arrays.iter().map(|array| {
            // SAFETY: a slice of no elements may point anywhere that is aligned and not null.
            unsafe { buffer(nothing, array.storage, array.access, 0) }
        });
        code.run(&mut Args::new(self.kernel, buffers, self.uniforms(Side::Back)).unwrap()).unwrap();
    }

    fn prepare(&mut self, len: usize, offset: usize, side: Side) {
        let lie = self.lie;
        for (index, (array, start)) in self.arrays.iter_mut().zip(&mut self.starts).enumerate() {
            let size = array.storage.bytes();
            let distance = (offset + index) % OFFSETS * size;
            let (bytes, taken) = (array.memory.bytes(), len * size);
            let at = match side {
                Side::Front => distance,
                Side::Back => bytes - distance - taken,
            };
            let window = array.memory.window();
            window[at..at + taken].copy_from_slice(&array.before[..taken]);
            if array.access.writes() {
                let beside = CANARY.len().min(at);
                window[at - beside..at].copy_from_slice(&CANARY[..beside]);
                let beside = CANARY.len().min(bytes - at - taken);
                window[at + taken..at + taken + beside].copy_from_slice(&CANARY[..beside]);
            }
            let shift = match lie {
                Lie::Before(stream) if stream == index => -(size as isize),
                Lie::Behind(stream) if stream == index => size as isize,
                _ => 0,
            };
            *start = at as isize + shift;
        }
    }

    fn uniforms(&self, side: Side) -> Uniforms<'_> {
        let len = self.kernel.uniforms.len();
        let size = if self.kernel.compute == Type::F32 { 4 } else { 8 };
        let shift = if self.lie == Lie::Uniforms { size as isize } else { 0 };
        let at = match side {
            Side::Front => self.uniforms.given(-shift),
            Side::Back => self.uniforms.given((self.uniforms.bytes() - len * size) as isize + shift),
        };
        match self.kernel.compute {
            // SAFETY: mapped (unless the test wants a fault) for as long as `self` is borrowed, and written by nobody.
            Type::F32 => Uniforms::F32(unsafe { std::slice::from_raw_parts(at.cast(), len) }),
            // SAFETY: as before.
            _ => Uniforms::F64(unsafe { std::slice::from_raw_parts(at.cast(), len) }),
        }
    }

    fn call(&mut self, len: usize, side: Side, run: impl FnOnce(&Kernel, &mut Args<'_>)) {
        let buffers = self.arrays.iter().zip(&self.starts).map(|(array, start)| {
            // SAFETY: mapped (unless the test wants a fault) for as long as `self` is borrowed; the windows to the same
            // memory are not used before the run is over.
            unsafe { buffer(array.memory.given(*start), array.storage, array.access, len) }
        });
        run(self.kernel, &mut Args::new(self.kernel, buffers, self.uniforms(side)).unwrap());
    }

    fn compare(&mut self, len: usize) -> Result<(), String> {
        for (index, (array, start)) in self.arrays.iter_mut().zip(&self.starts).enumerate() {
            if !array.access.writes() {
                continue;
            }
            let (at, size) = (*start as usize, array.storage.bytes());
            let (bytes, taken) = (array.memory.bytes(), len * size);
            let window = array.memory.window();
            let (found, expected) = (&window[at..at + taken], &array.after[..taken]);
            if found != expected {
                let mut pairs = found.chunks_exact(size).zip(expected.chunks_exact(size));
                let differ = |(a, b): (&[u8], &[u8])| a != b && !(is_nan(array.storage, a) && is_nan(array.storage, b));
                if let Some(element) = pairs.position(differ) {
                    return Err(format!("stream {index} differs in element {element}"));
                }
            }
            let (front, behind) = (CANARY.len().min(at), CANARY.len().min(bytes - at - taken));
            if window[at - front..at] != CANARY[..front] || window[at + taken..at + taken + behind] != CANARY[..behind]
            {
                return Err(format!("stream {index} was written outside of its slice"));
            }
        }
        Ok(())
    }
}
