//! Two sequences side by side: the longest common subsequence, and what stands in only one of them.

/// A step through both sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The same in both, at these indices.
    Both(usize, usize),
    /// Only in the first.
    Left(usize),
    /// Only in the second.
    Right(usize),
}

/// Most cells of the table; longer middles are not aligned but listed.
const MAX_CELLS: usize = 16_000_000;

/// Aligns `a` and `b`. Equal beginnings and ends are matched first, so that the table stays small.
pub(crate) fn align<T: PartialEq>(a: &[T], b: &[T]) -> Vec<Step> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (middle_a, middle_b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut steps: Vec<Step> = (0..head).map(|i| Step::Both(i, i)).collect();
    middle(middle_a, middle_b, head, &mut steps);
    steps.extend((0..tail).map(|i| Step::Both(a.len() - tail + i, b.len() - tail + i)));
    steps
}

fn middle<T: PartialEq>(a: &[T], b: &[T], offset: usize, steps: &mut Vec<Step>) {
    let (n, m) = (a.len(), b.len());
    if n * m > MAX_CELLS {
        steps.extend((0..n).map(|i| Step::Left(offset + i)));
        steps.extend((0..m).map(|j| Step::Right(offset + j)));
        return;
    }
    // length[i][j]: the longest common subsequence of a[i..] and b[j..].
    let mut length = vec![vec![0u32; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            length[i][j] =
                if a[i] == b[j] { length[i + 1][j + 1] + 1 } else { length[i + 1][j].max(length[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < n || j < m {
        if i < n && j < m && a[i] == b[j] {
            steps.push(Step::Both(offset + i, offset + j));
            i += 1;
            j += 1;
        } else if i < n && (j == m || length[i + 1][j] >= length[i][j + 1]) {
            steps.push(Step::Left(offset + i));
            i += 1;
        } else {
            steps.push(Step::Right(offset + j));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_new_stand_at_their_places() {
        let steps = align(b"abcde", b"abxde");
        assert_eq!(
            steps,
            [
                Step::Both(0, 0),
                Step::Both(1, 1),
                Step::Left(2),
                Step::Right(2),
                Step::Both(3, 3),
                Step::Both(4, 4)
            ]
        );
        assert_eq!(align(b"", b"a"), [Step::Right(0)]);
        assert_eq!(align::<u8>(b"", b""), []);
    }
}
