//! Shapes: the lengths of an array's axes, outermost first.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

/// The lengths of an array's axes, outermost first; `[]` is a single number (0-d).
///
/// Up to four axes are stored without allocation. Dereferences to `[usize]`.
#[derive(PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

impl Shape {
    /// The shape of a single number.
    pub fn scalar() -> Shape {
        Shape::default()
    }

    /// How many entries an array of this shape has: the product of its lengths, 1 for 0-d.
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// The number of axes.
    pub fn ndim(&self) -> usize {
        self.0.len()
    }

    /// The shape without the given axis.
    pub(crate) fn without(&self, axis: usize) -> Shape {
        let mut shape = self.clone();
        shape.0.remove(axis);
        shape
    }

    /// The shape with the length of one axis replaced.
    pub(crate) fn with(&self, axis: usize, len: usize) -> Shape {
        let mut shape = self.clone();
        shape.0[axis] = len;
        shape
    }

    /// `(outer, n, inner)`: the array seen as `[outer, n, inner]` around one axis.
    pub(crate) fn around(&self, axis: usize) -> (usize, usize, usize) {
        (self.0[..axis].iter().product(), self.0[axis], self.0[axis + 1..].iter().product())
    }
}

/// The number of a shape of a tape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShapeId(u32);

/// The shapes of a tape, each stored once: most operations have the shape of another one, and then
/// recording copies and compares a number.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    /// With the number of entries of each.
    list: Vec<(Shape, usize)>,
    numbers: HashMap<Shape, ShapeId>,
}

impl Shapes {
    #[inline]
    pub fn get(&self, id: ShapeId) -> &Shape {
        &self.list[id.0 as usize].0
    }

    /// How many entries an array of the shape has.
    #[inline]
    pub fn numel(&self, id: ShapeId) -> usize {
        self.list[id.0 as usize].1
    }

    /// The number of a shape.
    pub fn id(&mut self, shape: &Shape) -> ShapeId {
        // Few programs have more than a few shapes, and these are found sooner than by hashing.
        const FEW: usize = 8;
        let recent = self.list.iter().take(FEW).position(|(known, _)| known == shape);
        if let Some(i) = recent {
            return ShapeId(i as u32);
        }
        if let Some(&id) = self.numbers.get(shape) {
            return id;
        }
        let id = ShapeId(u32::try_from(self.list.len()).expect("fewer than 2^32 shapes"));
        self.list.push((shape.clone(), shape.numel()));
        self.numbers.insert(shape.clone(), id);
        id
    }
}

impl Clone for Shape {
    // The derived one would copy axis by axis.
    #[inline]
    fn clone(&self) -> Shape {
        Shape(SmallVec::from_slice(&self.0))
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<&[usize]> for Shape {
    fn from(axes: &[usize]) -> Shape {
        Shape(SmallVec::from_slice(axes))
    }
}

impl From<Vec<usize>> for Shape {
    fn from(axes: Vec<usize>) -> Shape {
        Shape::from(axes.as_slice())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(axes: [usize; N]) -> Shape {
        Shape::from(axes.as_slice())
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    fn from(axes: &[usize; N]) -> Shape {
        Shape::from(axes.as_slice())
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(axes: I) -> Shape {
        Shape(axes.into_iter().collect())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.as_slice())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.as_slice())
    }
}
