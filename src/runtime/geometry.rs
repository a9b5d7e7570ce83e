//! [`Geometry`]: how many values of each extent a tensor has, and which of them belong together.
//!
//! Comes in: a shape, and which run of its elements is here. All indices count the elements of the whole tensor in
//! row-major order. Of a shard only the elements are a part; arrays of every smaller extent are whole everywhere.

use super::tensor::Tensor;
use crate::check::program::Extent;
use crate::ir::sum::{BLOCK, BLOCK_ROWS};

/// Of one tensor. A tensor with fewer than two axes is one row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// The last axis but one.
    rows: usize,
    /// The last axis.
    cols: usize,
    /// The product of the axes before them.
    matrices: usize,
    /// The first axis.
    units: usize,
    /// The product of the axes after it.
    unit: usize,
    /// The index of the first element that is here.
    pub(super) first: usize,
    /// How many elements are here.
    pub(super) len: usize,
}

impl Geometry {
    /// Of a tensor that is whole.
    pub(super) fn new(shape: &[usize]) -> Geometry {
        let (matrices, rows, cols) = match shape {
            [outer @ .., rows, cols] => (product(outer), *rows, *cols),
            [cols] => (1, 1, *cols),
            [] => (1, 1, 1),
        };
        let (units, unit) = match shape {
            [units, inner @ ..] => (*units, product(inner)),
            [] => (1, 1),
        };
        Geometry { rows, cols, matrices, units, unit, first: 0, len: product(shape) }
    }

    /// Of a tensor of a step.
    pub(super) fn of(tensor: &Tensor<'_>) -> Geometry {
        let whole = Geometry::new(tensor.shape());
        match &tensor.shard {
            None => whole,
            Some(shard) => Geometry { first: shard.first, len: product(tensor.param.shape()), ..whole },
        }
    }

    /// Whether all elements are here.
    pub(super) fn is_whole(&self) -> bool {
        self.len == self.total(Extent::Element)
    }

    /// How many values of an extent the whole tensor has.
    pub(super) fn total(&self, extent: Extent) -> usize {
        match extent {
            Extent::Model | Extent::Group | Extent::Tensor => 1,
            Extent::Matrix => self.matrices,
            Extent::Row => product(&[self.matrices, self.rows]),
            Extent::Col => product(&[self.matrices, self.cols]),
            Extent::Unit => self.units,
            Extent::Element => product(&[self.matrices, self.rows, self.cols]),
        }
    }

    /// How many values of an extent are here.
    pub(super) fn here(&self, extent: Extent) -> usize {
        if extent == Extent::Element { self.len } else { self.total(extent) }
    }

    /// How many values of `of` belong to one of `to`.
    pub(super) fn per(&self, of: Extent, to: Extent) -> usize {
        match (of, to) {
            (_, Extent::Model | Extent::Group | Extent::Tensor) => self.total(of),
            (Extent::Element, Extent::Matrix) => self.rows * self.cols,
            (Extent::Element, Extent::Row) | (Extent::Col, Extent::Matrix) => self.cols,
            (Extent::Element, Extent::Col) | (Extent::Row, Extent::Matrix) => self.rows,
            (Extent::Element, Extent::Unit) => self.unit,
            _ => 1,
        }
    }

    /// Values of one matrix that are one column of it apart: the length of a row.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// The multiple of elements at which a sweep may be cut that folds elements to `to`.
    pub(super) fn granule(&self, to: Extent) -> usize {
        let matrix = product(&[self.rows, self.cols]);
        match to {
            Extent::Row => self.cols,
            Extent::Unit => self.unit,
            Extent::Col if self.matrices == 1 => product(&[BLOCK_ROWS, self.cols]),
            Extent::Matrix if self.matrices == 1 => BLOCK,
            Extent::Matrix | Extent::Col => matrix,
            _ => BLOCK,
        }
    }
}

/// How many there are; of more than a number counts, the greatest number: no memory holds them, which is found later.
fn product(shape: &[usize]) -> usize {
    if shape.contains(&0) { 0 } else { shape.iter().fold(1, |product: usize, n| product.saturating_mul(*n)) }
}

/// Writes the values of a smaller array to `out`, each for what belongs to it: `out[i]` is for the value of index
/// `start + i` of the larger extent.
pub(super) fn spread<T: Copy>(
    geometry: &Geometry,
    from: &[T],
    of: Extent,
    (over, start): (Extent, usize),
    out: &mut [T],
) {
    let mut at = start;
    let mut out = out;
    if of == Extent::Col && over == Extent::Element {
        let (cols, matrix) = (geometry.cols, geometry.rows * geometry.cols);
        while !out.is_empty() {
            let (first, col) = ((at / matrix) * cols, at % cols);
            let n = out.len().min(cols - col);
            out[..n].copy_from_slice(&from[first + col..first + col + n]);
            out = &mut out[n..];
            at += n;
        }
        return;
    }
    let run = geometry.per(over, of);
    while !out.is_empty() {
        let n = out.len().min(run - at % run);
        out[..n].fill(from[at / run]);
        out = &mut out[n..];
        at += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index maps, from their definitions.
    #[test]
    fn small_arrays_are_spread_to_what_belongs_to_them() {
        let g = Geometry::new(&[2, 3, 4, 5]);
        let numbered = |extent| (0..g.total(extent)).collect::<Vec<usize>>();
        let all = |of, over| {
            let mut out = vec![0; g.total(over)];
            spread(&g, &numbered(of), of, (over, 0), &mut out);
            let mut pieces = vec![0; g.total(over)];
            pieces.chunks_mut(7).enumerate().for_each(|(k, piece)| spread(&g, &numbered(of), of, (over, 7 * k), piece));
            assert_eq!(out, pieces);
            out
        };
        let map = |over, f: &dyn Fn(usize) -> usize| (0..g.total(over)).map(f).collect::<Vec<_>>();
        assert_eq!(all(Extent::Matrix, Extent::Row), map(Extent::Row, &|i| i / 4));
        assert_eq!(all(Extent::Matrix, Extent::Col), map(Extent::Col, &|i| i / 5));
        assert_eq!(all(Extent::Matrix, Extent::Element), map(Extent::Element, &|i| i / 20));
        assert_eq!(all(Extent::Row, Extent::Element), map(Extent::Element, &|i| i / 5));
        assert_eq!(all(Extent::Col, Extent::Element), map(Extent::Element, &|i| (i / 20) * 5 + i % 5));
        assert_eq!(all(Extent::Unit, Extent::Element), map(Extent::Element, &|i| i / 60));
    }
}
