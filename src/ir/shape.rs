//! How many values of an extent a tensor has, and which of them belong together.
//!
//! The values of an extent lie in row-major order of the axes that tell them apart. Where a smaller extent is used among a
//! larger one, and where values of a larger one are reduced to a smaller, [`owner`] says which belongs to which.

use crate::check::program::Extent;

/// The last axis but one, the last, and how many matrices of that form there are. A tensor with fewer axes is one row.
pub fn matrices(shape: &[usize]) -> (usize, usize, usize) {
    let axis = |from_last: usize| shape.len().checked_sub(1 + from_last).map_or(1, |axis| shape[axis]);
    let (rows, cols) = (axis(1), axis(0));
    (rows, cols, shape.iter().rev().skip(2).product())
}

/// How many values of this extent a tensor of this shape has.
pub fn len(extent: Extent, shape: &[usize]) -> usize {
    let (rows, cols, matrices) = matrices(shape);
    match extent {
        Extent::Model | Extent::Group | Extent::Tensor => 1,
        Extent::Matrix => matrices,
        Extent::Row => matrices * rows,
        Extent::Col => matrices * cols,
        Extent::Unit => shape.first().copied().unwrap_or(1),
        Extent::Element => shape.iter().product(),
    }
}

/// How many values of the larger extent one of the smaller holds; 0 if there is no value.
pub fn per(large: Extent, small: Extent, shape: &[usize]) -> usize {
    len(large, shape).checked_div(len(small, shape)).unwrap_or(0)
}

/// The axes that a state of this extent has.
pub fn axes(extent: Extent, shape: &[usize]) -> Vec<usize> {
    let n = shape.len();
    match extent {
        Extent::Model | Extent::Group | Extent::Tensor => Vec::new(),
        Extent::Matrix => shape[..n.saturating_sub(2)].to_vec(),
        Extent::Row => shape[..n.saturating_sub(1)].to_vec(),
        Extent::Col => shape.iter().enumerate().filter(|(axis, _)| axis + 2 != n).map(|(_, len)| *len).collect(),
        Extent::Unit => shape.iter().take(1).copied().collect(),
        Extent::Element => shape.to_vec(),
    }
}

/// Which value of the smaller extent the i-th of the larger belongs to.
pub fn owner(small: Extent, large: Extent, shape: &[usize], i: usize) -> usize {
    let (rows, cols, _) = matrices(shape);
    match (small, large) {
        (Extent::Col, Extent::Element) => i / (rows * cols) * cols + i % cols,
        // Those of all others lie behind each other.
        _ if small == large => i,
        _ => i / per(large, small, shape).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Extent::*;

    /// Against the indices of the axes, one by one.
    #[test]
    fn owners_have_the_indices_of_their_own() {
        for shape in [vec![3, 5], vec![2, 3, 4], vec![2, 1, 3, 2], vec![1, 1]] {
            let n = shape.len();
            let kept = |extent: Extent| -> Vec<usize> {
                (0..n)
                    .filter(|axis| match extent {
                        Matrix => axis + 2 < n,
                        Row => axis + 1 < n,
                        Col => axis + 2 != n,
                        Unit => *axis == 0,
                        Element => true,
                        _ => false,
                    })
                    .collect()
            };
            let flat =
                |index: &[usize], axes: &[usize]| axes.iter().fold(0, |at, axis| at * shape[*axis] + index[*axis]);
            let numel: usize = shape.iter().product();
            for i in 0..numel {
                let mut index = vec![0; n];
                let mut rest = i;
                for axis in (0..n).rev() {
                    index[axis] = rest % shape[axis];
                    rest /= shape[axis];
                }
                for large in [Matrix, Row, Col, Unit, Element] {
                    for small in [Tensor, Matrix, Row, Col, Unit, Element] {
                        if small.fits_in(large) {
                            let (from, to) = (flat(&index, &kept(large)), flat(&index, &kept(small)));
                            assert_eq!(owner(small, large, &shape, from), to, "{small:?} {large:?} {shape:?} {i}");
                        }
                    }
                    assert_eq!(len(large, &shape), kept(large).iter().map(|axis| shape[*axis]).product::<usize>());
                    assert_eq!(axes(large, &shape), kept(large).iter().map(|a| shape[*a]).collect::<Vec<_>>());
                }
            }
        }
    }
}
