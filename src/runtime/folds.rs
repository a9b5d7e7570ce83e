//! Folding the values of a sweep: into one result, into one for each run of them, or into one for each column.
//!
//! Comes in: the values of one piece of a sweep, in order, in segments of any length. Goes out: results, or partial results
//! that are merged with those of other pieces and processes. What a result is does not depend on how the values were cut:
//! see [`sum`](crate::ir::sum).

use super::geometry::Geometry;
use super::tensor::Erase;
use crate::check::program::Extent;
use crate::ir::Exchange;
use crate::ir::step::Fold;
use crate::ir::sum::{BLOCK_ROWS, ExactSum, Extreme, Lane, RunSum, add_rows};
use crate::plan::ArrayFold;
use std::ops::Range;

/// The operands of a fold.
#[derive(Clone, Copy)]
pub(super) enum Operands<'a, T> {
    Values(&'a [T]),
    Products(&'a [T], &'a [T]),
}

/// How the values of a sweep belong to results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// All to one.
    Total,
    /// So many to each.
    Runs(usize),
    /// Rows of so many, so many rows to a matrix: one result for each column of each matrix.
    Columns(usize, usize),
}

/// One fold of a sweep, over one piece of it.
pub(super) struct Folding<T: Lane> {
    fold: Fold,
    shape: Shape,
    /// Whether others have a part of the matrix whose columns these are.
    cut: bool,
    sum: RunSum<T>,
    /// What others have of the one sum.
    rest: ExactSum,
    extreme: Extreme<T>,
    /// Values of the run, or of the row, that have come.
    filled: usize,
    /// Rows of the matrix that have come.
    row: usize,
    /// The next result.
    next: usize,
    /// The sums of each column in the block of rows at hand, or its extremes.
    columns: Vec<f64>,
    /// The sums of the blocks before, where there are any.
    exact: Vec<ExactSum>,
}

impl<T: Erase> Default for Folding<T> {
    fn default() -> Folding<T> {
        Folding {
            fold: Fold::Sum,
            shape: Shape::Total,
            cut: false,
            sum: RunSum::new(),
            rest: ExactSum::default(),
            extreme: Extreme::least(),
            filled: 0,
            row: 0,
            next: 0,
            columns: Vec::new(),
            exact: Vec::new(),
        }
    }
}

/// What a fold gives that has one result.
#[derive(Clone, Copy)]
pub(super) enum Total<'a> {
    Sum(&'a ExactSum),
    Extreme(f64),
}

impl<T: Erase> Folding<T> {
    /// Begins a piece of a sweep over the values of `over`; `cut` says whether it is not the only one.
    pub(super) fn begin(&mut self, fold: &ArrayFold, over: Extent, geometry: &Geometry, cut: bool) {
        self.fold = fold.fold;
        self.cut = cut && geometry.total(Extent::Matrix) == 1;
        self.shape = if is_total(fold.to, geometry) {
            Shape::Total
        } else if (over, fold.to) == (Extent::Element, Extent::Col) {
            Shape::Columns(geometry.cols(), geometry.per(over, fold.to))
        } else {
            Shape::Runs(geometry.per(over, fold.to))
        };
        (self.filled, self.row, self.next) = (0, 0, 0);
        match fold.fold {
            Fold::Sum => (self.sum, self.rest) = (RunSum::new(), ExactSum::default()),
            Fold::Min => self.extreme = Extreme::least(),
            Fold::Max => self.extreme = Extreme::greatest(),
        }
        if let Shape::Columns(cols, _) = self.shape {
            self.columns.clear();
            self.columns.resize(cols, empty(fold.fold));
            self.exact.clear();
        }
    }

    /// Takes the next values. Results of runs and columns go to `out`, which holds those that this piece begins.
    pub(super) fn push(&mut self, operands: Operands<'_, T>, out: &mut [T]) {
        match self.shape {
            Shape::Total => self.feed(operands),
            Shape::Runs(run) => {
                let mut operands = operands;
                while operands.len() > 0 {
                    let (now, later) = operands.split(operands.len().min(run - self.filled));
                    self.feed(now);
                    self.filled += now.len();
                    if self.filled == run {
                        self.filled = 0;
                        out[self.next] = T::from_f64(self.take());
                        self.next += 1;
                    }
                    operands = later;
                }
            }
            Shape::Columns(cols, rows) => match operands {
                Operands::Values(values) => self.push_columns(values, (cols, rows), out),
                Operands::Products(a, b) => {
                    let mut products = [T::ZERO; 256];
                    for (a, b) in a.chunks(products.len()).zip(b.chunks(products.len())) {
                        let products = &mut products[..a.len()];
                        products.iter_mut().zip(a.iter().zip(b)).for_each(|(product, (&a, &b))| *product = a * b);
                        self.push_columns(products, (cols, rows), out);
                    }
                }
            },
        }
    }

    fn push_columns(&mut self, values: &[T], (cols, rows): (usize, usize), out: &mut [T]) {
        let mut values = values;
        while !values.is_empty() {
            let (now, later) = values.split_at(values.len().min(cols - self.filled));
            let columns = &mut self.columns[self.filled..self.filled + now.len()];
            match self.fold {
                Fold::Sum => add_rows(columns, now),
                Fold::Min => columns.iter_mut().zip(now).for_each(|(least, x)| *least = Lane::min(*least, x.wide())),
                Fold::Max => columns.iter_mut().zip(now).for_each(|(most, x)| *most = Lane::max(*most, x.wide())),
            }
            self.filled += now.len();
            if self.filled == cols {
                self.filled = 0;
                self.row += 1;
                if self.row == rows && !self.cut {
                    self.finish_columns(&mut out[self.next..]);
                    self.next += cols;
                } else if self.row.is_multiple_of(BLOCK_ROWS) {
                    self.flush_columns();
                }
            }
            values = later;
        }
    }

    /// The block of rows at hand is complete.
    fn flush_columns(&mut self) {
        if self.fold != Fold::Sum {
            return;
        }
        self.exact.resize_with(self.columns.len(), ExactSum::default);
        for (exact, sum) in self.exact.iter_mut().zip(&mut self.columns) {
            exact.add(std::mem::take(sum));
        }
    }

    /// The matrix is complete.
    fn finish_columns(&mut self, out: &mut [T]) {
        let columns = self.columns.iter_mut().enumerate();
        for ((index, column), out) in columns.zip(out) {
            *out = T::from_f64(match self.exact.get_mut(index) {
                None => *column,
                Some(exact) => {
                    exact.add(*column);
                    exact.round()
                }
            });
            *column = empty(self.fold);
        }
        self.exact.clear();
        self.row = 0;
    }

    fn feed(&mut self, operands: Operands<'_, T>) {
        match (self.fold, operands) {
            (Fold::Sum, Operands::Values(values)) => self.sum.push(values),
            (Fold::Sum, Operands::Products(a, b)) => self.sum.push_products(a, b),
            (_, Operands::Values(values)) => self.extreme.push(values),
            (_, Operands::Products(a, b)) => a.iter().zip(b).for_each(|(&a, &b)| self.extreme.push(&[a * b])),
        }
    }

    /// Ends a run.
    fn take(&mut self) -> f64 {
        match self.fold {
            Fold::Sum => self.sum.take().0,
            Fold::Min => std::mem::replace(&mut self.extreme, Extreme::least()).value(),
            Fold::Max => std::mem::replace(&mut self.extreme, Extreme::greatest()).value(),
        }
    }

    /// Which results the values from `start` to `end` complete.
    pub(super) fn results(&self, (start, end): (usize, usize)) -> Range<usize> {
        match self.shape {
            Shape::Runs(run) if run > 0 => start / run..end / run,
            Shape::Columns(cols, rows) if cols * rows > 0 && !self.cut => {
                let matrix = cols * rows;
                start / matrix * cols..end / matrix * cols
            }
            _ => 0..0,
        }
    }

    /// Takes what another piece of the same sweep has. Afterwards the results are complete but for
    /// [`finish`](Self::finish).
    pub(super) fn merge(&mut self, other: &mut Folding<T>) {
        match (self.shape, self.fold) {
            (Shape::Runs(_), _) => {}
            (Shape::Total, Fold::Sum) => {
                self.rest.merge(&other.rest);
                self.rest.merge(other.sum.finish());
            }
            (Shape::Total, _) => self.extreme.merge(&other.extreme),
            (Shape::Columns(..), fold) => {
                self.row += other.row;
                match fold {
                    Fold::Sum => {
                        self.flush_columns();
                        other.flush_columns();
                        self.exact.iter_mut().zip(&other.exact).for_each(|(mine, theirs)| mine.merge(theirs));
                    }
                    Fold::Min | Fold::Max => {
                        let least = fold == Fold::Min;
                        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
                            *mine = if least { Lane::min(*mine, *theirs) } else { Lane::max(*mine, *theirs) };
                        }
                    }
                }
            }
        }
    }

    /// The one result.
    pub(super) fn total(&mut self) -> Total<'_> {
        match self.fold {
            Fold::Sum if self.rest.count() == 0 => Total::Sum(self.sum.finish()),
            Fold::Sum => {
                self.rest.merge(self.sum.finish());
                self.sum = RunSum::new();
                Total::Sum(&self.rest)
            }
            Fold::Min | Fold::Max => Total::Extreme(self.extreme.value()),
        }
    }

    /// All values have come: writes the results that are not written yet. `out` holds all of the tensor.
    pub(super) fn finish(&mut self, out: &mut [T]) {
        match self.shape {
            Shape::Total => {
                let result = self.total().value();
                out.iter_mut().for_each(|out| *out = T::from_f64(result));
            }
            Shape::Runs(0) | Shape::Columns(_, 0) => out.fill(T::from_f64(empty(self.fold))),
            Shape::Columns(..) if self.cut => self.finish_columns(out),
            Shape::Runs(_) | Shape::Columns(..) => {}
        }
    }

    /// Puts what is to become whole by an exchange with the other processes that have a part of it. `here` is the run of
    /// elements that this one has.
    pub(super) fn cross(&mut self, crossing: &mut Crossing, here: (usize, usize), out: &[T]) {
        match (self.shape, self.fold) {
            (Shape::Total, Fold::Sum) => {
                self.rest.merge(self.sum.finish());
                self.sum = RunSum::new();
                crossing.push_sum(&mut self.rest);
            }
            (Shape::Total, fold) => crossing.push_extreme(fold, self.extreme.value()),
            (Shape::Columns(..), Fold::Sum) if self.cut => {
                self.exact.resize_with(self.columns.len(), ExactSum::default);
                self.flush_columns();
                self.exact.iter_mut().for_each(|sum| crossing.push_sum(sum));
            }
            (Shape::Columns(..), fold) if self.cut => {
                self.columns.iter().for_each(|x| crossing.push_extreme(fold, *x));
            }
            // Each result has one owner: to what it has, the others add nothing.
            (Shape::Runs(_) | Shape::Columns(..), _) => {
                let mine = self.results(here);
                for (index, x) in out.iter().enumerate() {
                    crossing.push_word(if mine.contains(&index) { x.wide().to_bits() as i64 } else { 0 });
                }
            }
        }
    }

    /// Takes it back, whole.
    pub(super) fn crossed(&mut self, crossing: &mut Crossing, out: &mut [T]) {
        match (self.shape, self.fold) {
            (Shape::Total, Fold::Sum) => self.rest = crossing.next_sum(),
            (Shape::Total, fold) => self.extreme.push(&[T::from_f64(crossing.next_extreme(fold))]),
            (Shape::Columns(..), Fold::Sum) if self.cut => {
                self.exact.iter_mut().for_each(|sum| *sum = crossing.next_sum());
            }
            (Shape::Columns(..), fold) if self.cut => {
                self.columns.iter_mut().for_each(|x| *x = crossing.next_extreme(fold));
            }
            (Shape::Runs(_) | Shape::Columns(..), _) => {
                out.iter_mut().for_each(|x| *x = T::from_f64(f64::from_bits(crossing.next_word() as u64)));
            }
        }
    }
}

impl Total<'_> {
    /// Rounded once.
    pub(super) fn value(self) -> f64 {
        match self {
            Total::Sum(sum) => sum.round(),
            Total::Extreme(x) => x,
        }
    }
}

impl<T: Copy> Operands<'_, T> {
    fn len(&self) -> usize {
        match self {
            Operands::Values(values) | Operands::Products(values, _) => values.len(),
        }
    }

    fn split(self, at: usize) -> (Self, Self) {
        match self {
            Operands::Values(values) => {
                let (now, later) = values.split_at(at);
                (Operands::Values(now), Operands::Values(later))
            }
            Operands::Products(a, b) => {
                let ((now_a, later_a), (now_b, later_b)) = (a.split_at(at), b.split_at(at));
                (Operands::Products(now_a, now_b), Operands::Products(later_a, later_b))
            }
        }
    }
}

/// Whether there is one result.
pub(super) fn is_total(to: Extent, geometry: &Geometry) -> bool {
    to.is_scalar() || (to == Extent::Matrix && geometry.total(Extent::Matrix) == 1)
}

/// The result of no values.
fn empty(fold: Fold) -> f64 {
    match fold {
        Fold::Sum => 0.0,
        Fold::Min => f64::INFINITY,
        Fold::Max => f64::NEG_INFINITY,
    }
}

/// The running values of reductions to model and group, by the scope and the reduction.
#[derive(Default)]
pub(super) struct Totals {
    sums: Vec<ExactSum>,
    extremes: Vec<f64>,
    folds: Vec<Option<Fold>>,
}

impl Totals {
    fn touch(&mut self, index: usize, fold: Fold) {
        if index >= self.folds.len() {
            self.sums.resize_with(index + 1, ExactSum::default);
            self.extremes.resize(index + 1, 0.0);
            self.folds.resize(index + 1, None);
        }
        if self.folds[index].is_none() {
            self.folds[index] = Some(fold);
            match fold {
                Fold::Sum => self.sums[index] = ExactSum::default(),
                fold => self.extremes[index] = empty(fold),
            }
        }
    }

    /// Takes a partial result.
    pub(super) fn add(&mut self, index: usize, fold: Fold, total: Total<'_>) {
        self.touch(index, fold);
        match total {
            Total::Sum(sum) => self.sums[index].merge(sum),
            Total::Extreme(x) => self.add_extreme(index, fold, x),
        }
    }

    /// Takes one value.
    pub(super) fn add_value(&mut self, index: usize, fold: Fold, x: f64) {
        self.touch(index, fold);
        match fold {
            Fold::Sum => self.sums[index].add(x),
            fold => self.add_extreme(index, fold, x),
        }
    }

    fn add_extreme(&mut self, index: usize, fold: Fold, x: f64) {
        let most = &mut self.extremes[index];
        *most = if fold == Fold::Min { Lane::min(*most, x) } else { Lane::max(*most, x) };
    }

    /// Takes what another has, which begins anew.
    pub(super) fn merge(&mut self, other: &mut Totals) {
        for index in 0..other.folds.len() {
            match other.folds[index].take() {
                None => {}
                Some(Fold::Sum) => self.add(index, Fold::Sum, Total::Sum(&other.sums[index])),
                Some(fold) => self.add(index, fold, Total::Extreme(other.extremes[index])),
            }
        }
    }

    /// Gives each result, in the order of the indices; all begin anew. A result is its index, its value and how many values
    /// were summed for it.
    pub(super) fn finish(&mut self, mut result: impl FnMut(usize, f64, u64)) {
        for (index, fold) in self.folds.iter_mut().enumerate() {
            match fold.take() {
                None => {}
                Some(Fold::Sum) => result(index, self.sums[index].round(), self.sums[index].count()),
                Some(_) => result(index, self.extremes[index], 0),
            }
        }
    }

    /// Makes partial results whole. Every process has the same indices here.
    pub(super) fn exchange(&mut self, exchange: &dyn Exchange) {
        let mut crossing = Crossing::default();
        for (index, fold) in self.folds.iter().enumerate() {
            match fold {
                None => {}
                Some(Fold::Sum) => crossing.push_sum(&mut self.sums[index]),
                Some(fold) => crossing.push_extreme(*fold, self.extremes[index]),
            }
        }
        crossing.cross(exchange);
        for (index, fold) in self.folds.iter().enumerate() {
            match fold {
                None => {}
                Some(Fold::Sum) => self.sums[index] = crossing.next_sum(),
                Some(fold) => self.extremes[index] = crossing.next_extreme(*fold),
            }
        }
    }
}

/// What one exchange carries: all in one call each, so that a step has few of them.
#[derive(Default)]
pub(super) struct Crossing {
    words: Vec<i64>,
    extremes: Vec<f64>,
    next_word: usize,
    next_extreme: usize,
}

impl Crossing {
    pub(super) fn push_sum(&mut self, sum: &mut ExactSum) {
        let start = self.words.len();
        self.words.resize(start + ExactSum::WORDS, 0);
        sum.words(&mut self.words[start..]);
    }

    pub(super) fn push_word(&mut self, word: i64) {
        self.words.push(word);
    }

    pub(super) fn push_extreme(&mut self, fold: Fold, x: f64) {
        self.extremes.push(if fold == Fold::Min { -x } else { x });
    }

    pub(super) fn cross(&mut self, exchange: &dyn Exchange) {
        if !self.words.is_empty() {
            exchange.sum(&mut self.words);
        }
        if !self.extremes.is_empty() {
            exchange.max(&mut self.extremes);
        }
    }

    pub(super) fn next_sum(&mut self) -> ExactSum {
        let start = self.next_word;
        self.next_word += ExactSum::WORDS;
        ExactSum::from_words(&self.words[start..self.next_word])
    }

    pub(super) fn next_word(&mut self) -> i64 {
        self.next_word += 1;
        self.words[self.next_word - 1]
    }

    pub(super) fn next_extreme(&mut self, fold: Fold) -> f64 {
        self.next_extreme += 1;
        let x = self.extremes[self.next_extreme - 1];
        if fold == Fold::Min { -x } else { x }
    }
}
