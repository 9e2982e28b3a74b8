//! Products that are computed again and again, and may do something with each entry before it is written.

use crate::elementwise::check_len;
use crate::isa::{Isa, dispatch};
use crate::matmul::{MatMul, matmul_of};
use crate::short::{SHORT, Short};
use crate::vectors::{narrow, short};
use crate::{Binary, Real, binary_in_place_right};

/// What is done with each entry of a product.
#[derive(Clone, Copy, Debug)]
pub enum After<'a, T> {
    /// Nothing.
    Nothing,
    /// This row is added to each row.
    Bias(&'a [T]),
    /// It is multiplied with the entry at its place.
    Mul(&'a [T]),
    /// [`Binary::TanhGrad`] of the entry at its place, and of it.
    TanhGrad(&'a [T]),
    /// [`Binary::SigmoidGrad`] of the entry at its place, and of it.
    SigmoidGrad(&'a [T]),
}

/// What is added to a product.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only vectors add it"))]
pub(crate) enum Add<'a, T> {
    Nothing,
    /// What the result holds already.
    Result,
    /// This row to each row.
    Bias(&'a [T]),
}

/// How a product is computed, found once for one that is computed again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    spec: MatMul,
    /// Of both sides and the result.
    lens: [usize; 3],
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// There is nothing to compute.
    Empty,
    /// By [`Short`].
    Short,
    /// By [`narrow`], which adds a bias.
    Narrow,
    /// By [`matmul`](crate::matmul).
    Other,
}

impl Product {
    /// The way of a product of numbers of type `T`.
    ///
    /// # Panics
    /// If a matrix would have more entries than there are numbers to count them.
    #[track_caller]
    pub fn new<T: Real>(spec: MatMul) -> Product {
        let lens = spec.lens();
        let way = match () {
            _ if lens[2] == 0 => Way::Empty,
            _ if spec.is_short::<T>() => Way::Short,
            _ if spec.is_narrow::<T>() => Way::Narrow,
            _ => Way::Other,
        };
        Product { spec, lens, way }
    }

    /// Whether it does such an operation in the pass of the product; else it is one of its own.
    pub fn takes(&self, op: Binary) -> bool {
        match self.way {
            Way::Short => {
                matches!(op, Binary::Add | Binary::Mul | Binary::TanhGrad | Binary::SigmoidGrad)
            }
            Way::Narrow => op == Binary::Add,
            Way::Empty | Way::Other => false,
        }
    }

    /// `C = op(A) op(B)`, and something done with each entry: the bits of the product and the operation
    /// after it.
    ///
    /// ```
    /// use costate_ops::{After, MatMul, Product};
    ///
    /// let spec = MatMul { m: 2, k: 1, n: 2, ta: false, tb: false, accumulate: false };
    /// let mut c = [0.0; 4];
    /// Product::new::<f64>(spec).run(&[1.0, 2.0], &[3.0, 4.0], After::Bias(&[0.5, -0.5]), &mut c);
    /// assert_eq!(c, [3.5, 3.5, 6.5, 7.5]);
    /// ```
    ///
    /// # Panics
    /// If a length does not fit, or something is to be done after a product that is added to what is there.
    #[inline]
    #[track_caller]
    pub fn run<T: Real>(&self, a: &[T], b: &[T], after: After<'_, T>, c: &mut [T]) {
        check_len("product, left", a.len(), self.lens[0]);
        check_len("product, right", b.len(), self.lens[1]);
        check_len("product, result", c.len(), self.lens[2]);
        match after {
            After::Nothing => {}
            After::Bias(row) => check_len("product, row", row.len(), self.spec.n),
            After::Mul(x) | After::TanhGrad(x) | After::SigmoidGrad(x) => {
                check_len("product, other", x.len(), c.len());
            }
        }
        T::product(self, a, b, after, c);
    }
}

pub(crate) fn product_of<T: Real>(
    product: &Product,
    a: &[T],
    b: &[T],
    after: After<'_, T>,
    c: &mut [T],
) {
    let Product { spec, way, .. } = *product;
    let MatMul { k, n, accumulate, .. } = spec;
    let (op, other) = match (way, after) {
        (Way::Empty, _) => return,
        (Way::Short, _) => {
            let isa = Isa::detect();
            if !short(isa, [k, n], a, b, after, c) {
                dispatch(isa, Short { k, n, a, b, after, c });
            }
            return;
        }
        (_, After::Nothing) => return matmul_of(spec, a, b, c),
        (_, After::Bias(x)) => (Binary::Add, x),
        (_, After::Mul(x)) => (Binary::Mul, x),
        (_, After::TanhGrad(x)) => (Binary::TanhGrad, x),
        (_, After::SigmoidGrad(x)) => (Binary::SigmoidGrad, x),
    };
    assert!(!accumulate, "product: what is there would be counted with what comes after");
    if way == Way::Narrow && op == Binary::Add && narrow(k, Add::Bias(other), a, b, c) {
        return;
    }
    matmul_of(spec, a, b, c);
    binary_in_place_right(op, other, c);
}

impl MatMul {
    /// Whether [`Short`] computes it.
    fn is_short<T: Real>(&self) -> bool {
        let MatMul { k, ta, tb, accumulate, .. } = *self;
        let whole = !(ta || tb || accumulate) && self.is_small::<T>();
        whole && (1..=SHORT).contains(&k) && self.n > SHORT
    }

    /// Whether [`narrow`] does without a copy.
    fn is_narrow<T: Real>(&self) -> bool {
        self.has_long_rows() && (self.tb || self.n == 1) && self.is_small::<T>()
    }
}
