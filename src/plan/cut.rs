//! The fewest bytes that a sweep has to read.
//!
//! Comes in: the operations that may have to be repeated in a sweep, what it has to compute, and which values lie in
//! memory at what cost. Goes out: the values to read. Everything between them and what is computed is repeated; so they
//! are a smallest cut between what is loaded first and what is wanted last. Of equally small cuts it is the one nearest to
//! what is wanted: it repeats the least.

/// A value of the graph.
pub(super) struct Node {
    /// The values that it is computed from, each before it.
    pub(super) operands: Vec<usize>,
    /// What reading it costs; `None`: it does not lie in memory.
    pub(super) cost: Option<u32>,
    /// Whether it is computed from nothing and costs nothing: a uniform, say.
    pub(super) free: bool,
}

const NEVER: u32 = u32::MAX / 4;

/// One direction of a residual edge; the other is its index with the last bit flipped.
struct Edge {
    to: usize,
    left: u32,
}

/// The values to read, and what that costs. `None`: something that is wanted cannot be computed any more.
pub(super) fn smallest_cut(nodes: &[Node], wanted: &[usize]) -> Option<(Vec<usize>, u32)> {
    let mut needed = vec![false; nodes.len()];
    for &root in wanted {
        needed[root] = true;
    }
    for index in (0..nodes.len()).rev() {
        if needed[index] {
            nodes[index].operands.iter().for_each(|operand| needed[*operand] = true);
        }
    }
    // Node i is the edge from 2i to 2i + 1.
    let (source, sink) = (2 * nodes.len(), 2 * nodes.len() + 1);
    let mut edges: Vec<Edge> = Vec::new();
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); sink + 1];
    let mut join = |from: usize, to: usize, capacity: u32| {
        leaving[from].push(edges.len());
        edges.push(Edge { to, left: capacity });
        leaving[to].push(edges.len());
        edges.push(Edge { to: from, left: 0 });
    };
    for (index, node) in nodes.iter().enumerate().filter(|(index, _)| needed[*index]) {
        join(2 * index, 2 * index + 1, node.cost.unwrap_or(NEVER));
        for &operand in &node.operands {
            join(2 * operand + 1, 2 * index, NEVER);
        }
        if node.operands.is_empty() && !node.free {
            join(source, 2 * index, NEVER);
        }
    }
    for &root in wanted {
        join(2 * root + 1, sink, NEVER);
    }
    let mut flow = 0u32;
    loop {
        // A shortest way on which something more can flow.
        let mut by: Vec<Option<usize>> = vec![None; sink + 1];
        let mut queue = std::collections::VecDeque::from([source]);
        while let Some(at) = queue.pop_front() {
            for &edge in &leaving[at] {
                let to = edges[edge].to;
                if edges[edge].left > 0 && by[to].is_none() && to != source {
                    by[to] = Some(edge);
                    queue.push_back(to);
                }
            }
        }
        let mut way = Vec::new();
        let mut at = sink;
        while let Some(edge) = by[at] {
            way.push(edge);
            at = edges[edge ^ 1].to;
        }
        let Some(more) = way.iter().map(|edge| edges[*edge].left).min() else { break };
        if more >= NEVER / 2 {
            return None;
        }
        for edge in way {
            edges[edge].left -= more;
            edges[edge ^ 1].left += more;
        }
        flow += more;
    }
    // What still reaches the sink lies behind the cut.
    let mut behind = vec![false; sink + 1];
    behind[sink] = true;
    let mut pending = vec![sink];
    while let Some(at) = pending.pop() {
        for &edge in &leaving[at] {
            let from = edges[edge].to;
            if edges[edge ^ 1].left > 0 && !behind[from] {
                behind[from] = true;
                pending.push(from);
            }
        }
    }
    let cut = (0..nodes.len()).filter(|i| needed[*i] && behind[2 * i + 1] && !behind[2 * i]);
    Some((cut.filter(|i| nodes[*i].cost.is_some()).collect(), flow))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(operands: &[usize], cost: Option<u32>) -> Node {
        Node { operands: operands.to_vec(), cost, free: false }
    }

    #[test]
    fn what_lies_in_memory_is_read_where_it_is_cheaper() {
        // u = (a + b) * c, of which u lies in memory too.
        let mut nodes = vec![
            node(&[], Some(4)),
            node(&[], Some(4)),
            node(&[0, 1], None),
            node(&[], Some(4)),
            node(&[2, 3], Some(4)),
        ];
        assert_eq!(smallest_cut(&nodes, &[4]), Some((vec![4], 4)));
        nodes[4].cost = None;
        assert_eq!(smallest_cut(&nodes, &[4]), Some((vec![0, 1, 3], 12)));
        nodes[2].cost = Some(4);
        assert_eq!(smallest_cut(&nodes, &[4]), Some((vec![2, 3], 8)));
        nodes[0].cost = None;
        assert_eq!(smallest_cut(&nodes, &[2, 4]), Some((vec![2, 3], 8)));
        nodes[2].cost = None;
        assert_eq!(smallest_cut(&nodes, &[4]), None);
    }

    #[test]
    fn of_equal_cuts_the_one_that_repeats_least() {
        let nodes = vec![node(&[], Some(4)), node(&[0], Some(4)), node(&[1], None)];
        assert_eq!(smallest_cut(&nodes, &[2]), Some((vec![1], 4)));
        let free = Node { operands: vec![], cost: None, free: true };
        assert_eq!(smallest_cut(&[free, node(&[0], None)], &[1]), Some((vec![], 0)));
    }
}
