//! One sweep over the values of one tensor.
//!
//! Comes in: the arrays of the tensor, uniforms, and a sweep of its plan. Without blocks and folds the kernel runs once,
//! over whole slices. Else the sweep goes block by block: small arrays are spread over the block, random numbers drawn,
//! values folded before the kernel, the kernel run, values folded after it. A long sweep is cut into pieces for several
//! threads; what is folded does not depend on where.

use super::arrays::Copies;
use super::folds::{Crossing, Folding, Operands};
use super::geometry::{Geometry, spread};
use super::plans::Compiled;
use super::scopes::Own;
use super::state::State;
use super::tensor::Erase;
use super::threads::Threads;
use super::uniforms::UniformValues;
use crate::check::program::{Extent, InputId, Program, StateId};
use crate::ir::random::{self, Key};
use crate::ir::step::Array;
use crate::ir::sum::{BLOCK, Lane};
use crate::ir::{Args, Buffer, Exchange};
use crate::plan::{ArrayFold, StreamOf, Sweep, Whole};
use smallvec::SmallVec;

/// Memory that a worker keeps from sweep to sweep.
#[derive(Default)]
pub(super) struct Room {
    /// What is not in row-major order, copied.
    pub(super) copies: Copies,
    pub(super) f32: TypedRoom<f32>,
    pub(super) f64: TypedRoom<f64>,
}

/// Of one compute type.
pub(super) struct TypedRoom<T: Lane> {
    /// By index of the plan.
    pub(super) temps: Vec<Vec<T>>,
    pub(super) pieces: PieceRoom<T>,
}

/// What one piece of a sweep works in.
pub(super) struct PieceRoom<T: Lane> {
    blocks: Vec<T>,
    /// By index of the sweep.
    foldings: Vec<Folding<T>>,
}

impl<T: Lane> Default for TypedRoom<T> {
    fn default() -> TypedRoom<T> {
        TypedRoom { temps: Vec::new(), pieces: PieceRoom::default() }
    }
}

impl<T: Lane> Default for PieceRoom<T> {
    fn default() -> PieceRoom<T> {
        PieceRoom { blocks: Vec::new(), foldings: Vec::new() }
    }
}

/// The arrays of a tensor that the host holds, in row-major order.
pub(super) struct HostArrays<'a> {
    pub(super) param: Buffer<'a>,
    pub(super) grad: Buffer<'a>,
    pub(super) inputs: SmallVec<[(InputId, Buffer<'a>); 1]>,
    pub(super) copy: Option<Buffer<'a>>,
}

/// What the pieces of a sweep share.
pub(super) struct SweepRun<'a, T> {
    pub(super) program: &'a Program,
    pub(super) plan: &'a Compiled,
    /// The index of its part.
    pub(super) part: usize,
    pub(super) sweep: &'a Sweep,
    pub(super) geometry: &'a Geometry,
    pub(super) uniforms: &'a UniformValues,
    /// Of its random draws.
    pub(super) key: Key,
    /// The steps of the tensor, this one included.
    pub(super) t: u64,
    pub(super) threads: Threads<'a>,
    /// What makes partial results whole, if other processes have parts of this tensor.
    pub(super) exchange: Option<&'a dyn Exchange>,
    pub(super) _type: std::marker::PhantomData<T>,
}

/// The values that a kernel's stream has in a piece.
enum StreamAt<'a> {
    Array(Buffer<'a>),
    /// The next block.
    Block,
}

/// How a block is filled.
enum Fill<'a, T> {
    Spread(&'a [T], Extent),
    Draw(u32, u32),
    /// The kernel fills it.
    Kernel,
}

/// Values of a sweep that one thread goes through.
struct Piece<'a, T> {
    /// The index of the first.
    start: usize,
    len: usize,
    streams: SmallVec<[StreamAt<'a>; 12]>,
    /// The results that this piece completes, by fold.
    outs: SmallVec<[&'a mut [T]; 8]>,
}

impl<T: Erase> SweepRun<'_, T> {
    /// Runs it. The foldings, by index of the fold, are left in `room`; results of array extents are in `temps`.
    pub(super) fn run(
        &self,
        arrays: &mut HostArrays<'_>,
        own: &mut Own,
        temps: &mut [Vec<T>],
        room: &mut PieceRoom<T>,
    ) {
        if let Some(streams) = self.plan.plain(self.part)
            && self.piece_len(self.geometry.len) == self.geometry.len
        {
            return self.run_plain(streams, arrays, own);
        }
        self.make_temps(temps);
        self.go_through(arrays, own, temps, room);
        self.finish(temps, room);
    }

    /// Runs a sweep whose streams are whole arrays of the host and of the state, and which folds nothing: the kernel, once.
    /// Of thousands of small tensors this is most of the work, so nothing is moved or searched that need not be. States
    /// ascend in `streams`.
    fn run_plain(&self, streams: &[Array], arrays: &mut HostArrays<'_>, own: &mut Own) {
        let (mut states, mut next) = (own.states.iter_mut(), 0);
        let (mut param, mut grad) = (Some(&mut arrays.param), Some(&mut arrays.grad));
        let mut copy = arrays.copy.as_mut();
        self.call(streams.iter().filter_map(|array| match *array {
            Array::Param => param.take().map(Buffer::borrow),
            Array::Grad => grad.take().map(Buffer::borrow),
            Array::State(id) => {
                let state = states.nth(id.index() - next);
                next = id.index() + 1;
                state.and_then(State::buffer)
            }
            Array::Copy => copy.take().map(Buffer::borrow),
            // Such a sweep has none.
            _ => None,
        }));
    }

    fn go_through(&self, arrays: &mut HostArrays<'_>, own: &mut Own, temps: &mut [Vec<T>], room: &mut PieceRoom<T>) {
        let Sweep { over, streams: of, folds, .. } = self.sweep;
        let start = if *over == Extent::Element { self.geometry.first } else { 0 };
        let len = self.geometry.here(*over);
        let piece_len = self.piece_len(len);
        // To know which results are completed here.
        self.begin(room, piece_len < len || self.exchange.is_some());
        let mut fills: SmallVec<[Fill<'_, T>; 12]> = SmallVec::new();
        let mut streams: SmallVec<[Option<StreamAt<'_>>; 12]> = SmallVec::new();
        streams.resize_with(of.len(), || None);
        let mut outs: SmallVec<[&mut [T]; 8]> = SmallVec::new();
        outs.resize_with(folds.len(), || &mut []);
        let mut small: SmallVec<[(Whole, &[T]); 12]> = SmallVec::new();
        let is_spread = |whole: Whole| of.contains(&StreamOf::Spread(whole));
        let place = |stream: StreamOf| of.iter().position(|s| *s == stream);
        let mut put = |stream: usize, buffer| streams[stream] = Some(StreamAt::Array(buffer));
        // Each array is borrowed once, in its own order.
        for (index, temp) in temps.iter_mut().enumerate() {
            let index = index as u32;
            if let Some(fold) = folds.iter().position(|fold| fold.into == Some(index)) {
                outs[fold] = &mut temp[room.foldings[fold].results((start, start + len))];
            } else if let Some(stream) = place(StreamOf::Temp(index)) {
                put(stream, T::buffer_mut(temp));
            } else if is_spread(Whole::Temp(index)) {
                small.push((Whole::Temp(index), temp));
            }
        }
        for (id, state) in own.states.iter_mut().enumerate() {
            let array = Array::State(StateId(id as u32));
            if let Some(stream) = place(StreamOf::Array(array)) {
                state.buffer().into_iter().for_each(|buffer| put(stream, buffer));
            } else if is_spread(Whole::Array(array)) {
                small.extend(T::state_slice(state).map(|slice| (Whole::Array(array), slice)));
            }
        }
        for (array, state) in own.hidden.iter_mut() {
            if let Some(stream) = place(StreamOf::Array(*array)) {
                state.buffer().into_iter().for_each(|buffer| put(stream, buffer));
            }
        }
        if let Some(stream) = place(StreamOf::Array(Array::Param)) {
            put(stream, arrays.param.borrow());
        }
        if let Some(stream) = place(StreamOf::Array(Array::Grad)) {
            put(stream, arrays.grad.borrow());
        }
        if let Some(stream) = place(StreamOf::Array(Array::Copy)) {
            arrays.copy.iter_mut().for_each(|copy| put(stream, copy.borrow()));
        }
        for (id, buffer) in &mut arrays.inputs {
            if let Some(stream) = place(StreamOf::Array(Array::Input(*id))) {
                put(stream, buffer.borrow());
            }
        }
        for (stream, of) in streams.iter_mut().zip(of) {
            fills.push(match *of {
                StreamOf::Array(_) | StreamOf::Temp(_) => continue,
                StreamOf::Spread(from) => {
                    let slice = small.iter().find(|(whole, _)| *whole == from).map_or(&[][..], |(_, slice)| slice);
                    Fill::Spread(slice, self.extent(from))
                }
                StreamOf::Draw(id, word) => Fill::Draw(id.0, word),
                StreamOf::Folded(_) => Fill::Kernel,
            });
            *stream = Some(StreamAt::Block);
        }
        let streams: SmallVec<[StreamAt<'_>; 12]> = streams.into_iter().flatten().collect();
        let whole = Piece { start, len, streams, outs };
        if piece_len < len {
            self.run_pieces(whole, piece_len, &fills, room);
        } else {
            self.run_piece(whole, &fills, room);
        }
    }

    /// The extent of an array that is spread.
    fn extent(&self, whole: Whole) -> Extent {
        match whole {
            Whole::Array(array) => array.extent(self.program),
            Whole::Temp(index) => self.plan.plan.temps[index as usize],
        }
    }

    /// Gives the temporary arrays that this sweep fills their lengths.
    fn make_temps(&self, temps: &mut [Vec<T>]) {
        let streams = self.sweep.streams.iter().filter_map(|stream| match stream {
            StreamOf::Temp(index) => Some(*index),
            _ => None,
        });
        for index in streams.chain(self.sweep.folds.iter().filter_map(|fold| fold.into)) {
            let len = self.geometry.here(self.plan.plan.temps[index as usize]);
            temps[index as usize].resize(len, T::ZERO);
        }
    }

    /// How long the pieces are that several threads run.
    fn piece_len(&self, len: usize) -> usize {
        if self.sweep.over != Extent::Element {
            return len;
        }
        self.threads.piece_len(len, granule(self.sweep, self.geometry))
    }

    fn run_pieces(&self, whole: Piece<'_, T>, len: usize, fills: &[Fill<'_, T>], room: &mut PieceRoom<T>) {
        // Two a thread: on up to eight threads, nothing is allocated for them.
        let mut pieces: SmallVec<[(Piece<'_, T>, PieceRoom<T>); 16]> = SmallVec::new();
        let mut rest = whole;
        while rest.len > len {
            let (first, later) = rest.split(len, &room.foldings);
            pieces.push((first, PieceRoom::default()));
            rest = later;
        }
        pieces.push((rest, PieceRoom::default()));
        self.threads.for_each(&mut pieces, |(piece, room)| {
            let piece = std::mem::replace(piece, Piece::empty());
            self.begin(room, true);
            self.run_piece(piece, fills, room);
        });
        let mut rooms = pieces.into_iter().map(|(_, room)| room);
        if let Some(first) = rooms.next() {
            *room = first;
        }
        for mut other in rooms {
            room.foldings.iter_mut().zip(&mut other.foldings).for_each(|(mine, theirs)| mine.merge(theirs));
        }
    }

    /// Begins the foldings of a piece.
    fn begin(&self, room: &mut PieceRoom<T>, cut: bool) {
        let folds = &self.sweep.folds;
        if room.foldings.len() < folds.len() {
            room.foldings.resize_with(folds.len(), Folding::default);
        }
        for (folding, fold) in room.foldings.iter_mut().zip(folds) {
            folding.begin(fold, self.sweep.over, self.geometry, cut);
        }
    }

    /// Runs a piece whose foldings have begun.
    fn run_piece(&self, mut piece: Piece<'_, T>, fills: &[Fill<'_, T>], room: &mut PieceRoom<T>) {
        let folds = &self.sweep.folds;
        let PieceRoom { blocks, foldings } = room;
        if fills.is_empty() && folds.is_empty() {
            return self.run_kernel(&mut piece.streams, &mut [], (0, piece.len));
        }
        blocks.resize(fills.len() * BLOCK, T::ZERO);
        let runs = self.sweep.kernel.streams.iter().any(|stream| stream.access.writes());
        for low in (0..piece.len).step_by(BLOCK) {
            let len = BLOCK.min(piece.len - low);
            for (fill, block) in fills.iter().zip(blocks.chunks_exact_mut(BLOCK)) {
                let (block, first) = (&mut block[..len], piece.start + low);
                match *fill {
                    Fill::Spread(from, of) => spread(self.geometry, from, of, (self.sweep.over, first), block),
                    Fill::Draw(draw, word) => random::fill(self.key, self.t, draw, word, first as u64, block),
                    Fill::Kernel => {}
                }
            }
            fold(folds, false, foldings, &mut piece, blocks, (low, len));
            if runs {
                self.run_kernel(&mut piece.streams, blocks, (low, len));
            }
            fold(folds, true, foldings, &mut piece, blocks, (low, len));
        }
    }

    /// Runs the kernel on `len` values from `low`.
    fn run_kernel(&self, streams: &mut [StreamAt<'_>], blocks: &mut [T], (low, len): (usize, usize)) {
        let mut blocks = blocks.chunks_exact_mut(BLOCK);
        let buffers = streams.iter_mut().filter_map(|stream| match stream {
            StreamAt::Array(buffer) => Some(buffer.part(low, len)),
            StreamAt::Block => blocks.next().map(|block| T::buffer_mut(&mut block[..len])),
        });
        self.call(buffers);
    }

    /// Runs the kernel.
    fn call<'b>(&'b self, buffers: impl Iterator<Item = Buffer<'b>>) {
        let mut args = Args::unchecked(T::uniforms(self.uniforms));
        args.fill(buffers);
        self.plan.run(self.part, &mut args);
    }

    /// All pieces are done: results of array extents that are not in place yet are written.
    fn finish(&self, temps: &mut [Vec<T>], room: &mut PieceRoom<T>) {
        let folds = &self.sweep.folds;
        let out = |fold: &ArrayFold| fold.into.map_or(usize::MAX, |index| index as usize);
        let is_partial = |fold: &ArrayFold| !matches!(fold.to, Extent::Model | Extent::Group);
        if let Some(exchange) = self.exchange.filter(|_| self.sweep.over == Extent::Element) {
            let here = (self.geometry.first, self.geometry.first + self.geometry.len);
            let mut crossing = Crossing::default();
            // Those to model and group cross when the phase ends.
            for (fold, folding) in folds.iter().zip(&mut room.foldings).filter(|(fold, _)| is_partial(fold)) {
                folding.cross(&mut crossing, here, temps.get(out(fold)).map_or(&[], |temp| temp));
            }
            crossing.cross(exchange);
            for (fold, folding) in folds.iter().zip(&mut room.foldings).filter(|(fold, _)| is_partial(fold)) {
                folding.crossed(&mut crossing, temps.get_mut(out(fold)).map_or(&mut [], |temp| temp));
            }
        }
        for (fold, folding) in folds.iter().zip(&mut room.foldings) {
            if let Some(temp) = temps.get_mut(out(fold)) {
                folding.finish(temp);
            }
        }
    }
}

impl<T: Lane> PieceRoom<T> {
    /// The foldings of the last sweep, by index of the fold.
    pub(super) fn foldings(&mut self) -> &mut [Folding<T>] {
        &mut self.foldings
    }
}

/// The multiple of elements at which a sweep may be cut.
pub(super) fn granule(sweep: &Sweep, geometry: &Geometry) -> usize {
    let granules = sweep.folds.iter().map(|fold| geometry.granule(fold.to));
    granules.reduce(lcm).unwrap_or(BLOCK)
}

/// The least common multiple; of what overflows, a number that no tensor is as long as.
fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).checked_mul(b).filter(|lcm| *lcm > 0).unwrap_or(usize::MAX)
}

/// Folds the values of a block that are to be folded now.
fn fold<T: Erase>(
    folds: &[ArrayFold],
    after: bool,
    foldings: &mut [Folding<T>],
    piece: &mut Piece<'_, T>,
    blocks: &[T],
    (low, len): (usize, usize),
) {
    let Piece { streams, outs, .. } = piece;
    for (index, fold) in folds.iter().enumerate().filter(|(_, fold)| fold.after == after) {
        let values = |stream: u32| Piece::values(streams, stream as usize, blocks, (low, len));
        let operands = match fold.of {
            (a, None) => values(a).map(Operands::Values),
            (a, Some(b)) => values(a).zip(values(b)).map(|(a, b)| Operands::Products(a, b)),
        };
        if let Some(operands) = operands {
            foldings[index].push(operands, outs[index]);
        }
    }
}

impl<'a, T: Erase> Piece<'a, T> {
    fn empty() -> Piece<'a, T> {
        Piece { start: 0, len: 0, streams: SmallVec::new(), outs: SmallVec::new() }
    }

    /// Values of a stream.
    fn values<'b>(
        streams: &'b [StreamAt<'_>],
        stream: usize,
        blocks: &'b [T],
        (low, len): (usize, usize),
    ) -> Option<&'b [T]> {
        match &streams[stream] {
            StreamAt::Array(buffer) => Some(&T::slice(buffer)?[low..low + len]),
            StreamAt::Block => {
                let before = streams[..stream].iter().filter(|stream| matches!(stream, StreamAt::Block)).count();
                Some(&blocks[before * BLOCK..before * BLOCK + len])
            }
        }
    }

    /// The first `len` values, and those after them.
    fn split(self, len: usize, foldings: &[Folding<T>]) -> (Piece<'a, T>, Piece<'a, T>) {
        let (mut first, mut later) = (Piece::empty(), Piece::empty());
        (first.start, first.len) = (self.start, len);
        (later.start, later.len) = (self.start + len, self.len - len);
        for stream in self.streams {
            let (a, b) = match stream {
                StreamAt::Block => (StreamAt::Block, StreamAt::Block),
                StreamAt::Array(buffer) => {
                    let (a, b) = buffer.split_at(len);
                    (StreamAt::Array(a), StreamAt::Array(b))
                }
            };
            first.streams.push(a);
            later.streams.push(b);
        }
        for (out, folding) in self.outs.into_iter().zip(foldings) {
            let (a, b) = out.split_at_mut(folding.results((first.start, first.start + len)).len());
            first.outs.push(a);
            later.outs.push(b);
        }
        (first, later)
    }
}
