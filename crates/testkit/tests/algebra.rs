//! Digests that algebra could answer: `A (B r)` costs O(n k) and gives any bilinear form of the product, but the digest of
//! the fold is not a bilinear form.

use protocol::tile::fold;
use testkit::odds::Draws;

/// Rows and columns of the tile, and k.
const SIDE: usize = 64;
const INNER_DIM: usize = 128;

struct Operands {
    left: Vec<[i8; INNER_DIM]>,
    right: Vec<[i8; INNER_DIM]>,
}

impl Operands {
    fn draw(draws: &mut Draws) -> Self {
        let mut rows = || -> Vec<[i8; INNER_DIM]> {
            let row = |_| std::array::from_fn(|_| draws.draw() as i8);
            (0..SIDE).map(row).collect()
        };
        Operands {
            left: rows(),
            right: rows(),
        }
    }

    /// The exact sums of the product, row by row: O(n^2 k).
    fn sums(&self) -> Vec<i32> {
        let sum = |a: &[i8; INNER_DIM], b: &[i8; INNER_DIM]| -> i32 {
            a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
        };
        self.left
            .iter()
            .flat_map(|a| self.right.iter().map(move |b| sum(a, b)))
            .collect()
    }

    /// `r^T A (B^T r')` modulo 2^64, without the product: O(n k).
    fn by_vectors(&self, keys: &Keys) -> u64 {
        let combined = |rows: &[[i8; INNER_DIM]], key: &[u64]| -> [u64; INNER_DIM] {
            std::array::from_fn(|at| {
                let terms = rows.iter().zip(key).map(|(row, key)| key.wrapping_mul(row[at] as u64));
                terms.fold(0, u64::wrapping_add)
            })
        };
        let (left, right) = (combined(&self.left, &keys.rows), combined(&self.right, &keys.columns));
        let terms = left.iter().zip(right).map(|(a, b)| a.wrapping_mul(b));
        terms.fold(0, u64::wrapping_add)
    }
}

struct Keys {
    rows: Vec<u64>,
    columns: Vec<u64>,
}

impl Keys {
    fn draw(draws: &mut Draws) -> Self {
        let mut key = || (0..SIDE).map(|_| draws.draw()).collect();
        Keys {
            rows: key(),
            columns: key(),
        }
    }

    /// `sum r_i r'_j x_ij` modulo 2^64.
    fn digest(&self, elements: impl IntoIterator<Item = u64>) -> u64 {
        let keys = self
            .rows
            .iter()
            .flat_map(|row| self.columns.iter().map(move |column| row.wrapping_mul(*column)));
        keys.zip(elements)
            .fold(0, |sum, (key, x)| sum.wrapping_add(key.wrapping_mul(x)))
    }
}

/// Attack: keep no product, answer with vectors.
#[test]
fn vectors_answer_for_a_linear_digest_and_not_for_the_folds() {
    let mut draws = Draws::new(31);
    let operands = Operands::draw(&mut draws);
    let sums = operands.sums();
    for _ in 0..100 {
        let keys = Keys::draw(&mut draws);
        let short = operands.by_vectors(&keys);
        assert_eq!(
            keys.digest(sums.iter().map(|&sum| sum as u64)),
            short,
            "without the fold"
        );
        let folded = keys.digest(sums.iter().map(|&sum| u64::from(fold(sum))));
        assert_ne!(folded, short, "with the fold");
        // Folding the results of the vectors does not help either.
        assert_ne!(folded, u64::from(fold(short as i32)));
    }
}

/// Attack: sum the results of slices of k. Linear digests are additive; the fold's parts are not.
#[test]
fn digests_of_slices_of_k_do_not_add_up() {
    let mut draws = Draws::new(32);
    let whole = Operands::draw(&mut draws);
    let half = |keep: fn(usize) -> bool| {
        let cut = |rows: &[[i8; INNER_DIM]]| -> Vec<[i8; INNER_DIM]> {
            let row = |row: &[i8; INNER_DIM]| std::array::from_fn(|at| if keep(at) { row[at] } else { 0 });
            rows.iter().map(row).collect()
        };
        Operands {
            left: cut(&whole.left),
            right: cut(&whole.right),
        }
    };
    let [whole, first, second] =
        [&whole, &half(|at| at < INNER_DIM / 2), &half(|at| at >= INNER_DIM / 2)].map(Operands::sums);
    for _ in 0..100 {
        let keys = Keys::draw(&mut draws);
        let linear = |sums: &[i32]| keys.digest(sums.iter().map(|&sum| sum as u64));
        assert_eq!(linear(&first).wrapping_add(linear(&second)), linear(&whole));
        let folded = |sums: &[i32]| keys.digest(sums.iter().map(|&sum| u64::from(fold(sum))));
        assert_ne!(folded(&first).wrapping_add(folded(&second)), folded(&whole));
    }
    // Element by element, the sum of two folds, or their xor, equals the fold of the sum only as often as by chance.
    let pairs = || first.iter().zip(&second).zip(&whole);
    let added = pairs()
        .filter(|((a, b), c)| fold(**a).wrapping_add(fold(**b)) == fold(**c))
        .count();
    let xored = pairs().filter(|((a, b), c)| fold(**a) ^ fold(**b) == fold(**c)).count();
    for (name, hits) in [("added", added), ("xored", xored)] {
        let elements = (SIDE * SIDE) as u64;
        assert!(
            testkit::odds::is_binomial(hits as u64, elements, 1.0 / 256.0),
            "{name}: {hits} of {elements}"
        );
    }
}
