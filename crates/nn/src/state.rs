//! What a checkpoint is made of: named arrays that an object stores and restores.

use std::collections::BTreeMap;

use costate_odeint::Real;
use safetensors::tensor::Dtype;

use crate::error::{Error, Result};

/// An object whose state can be stored, and restored to the same bits.
///
/// ```
/// use costate_nn::{Persist, Rng, State};
///
/// let mut rng = Rng::seeded(1);
/// let mut state = State::default();
/// rng.store(&mut state);
/// let next = rng.uniform();
/// rng.restore(&state)?;
/// assert_eq!(rng.uniform(), next);
/// # Ok::<(), costate_nn::Error>(())
/// ```
pub trait Persist {
    /// Puts everything that changes in the course of training into `state`.
    fn store(&self, state: &mut State);

    /// Takes it out again. What is set at construction, such as a decay rate, is not part of it.
    ///
    /// # Errors
    /// If something is missing or does not match. The object may then be partly restored.
    fn restore(&mut self, state: &State) -> Result<()>;
}

/// Named arrays, of numbers or whole numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    arrays: BTreeMap<String, Array>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Little-endian, as in the file.
    pub bytes: Vec<u8>,
}

/// The element type as safetensors calls it.
pub(crate) fn dtype<T: Real>() -> Dtype {
    if size_of::<T>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

/// Numbers as the bytes of a file.
pub(crate) fn to_bytes<T: Real>(values: &[T]) -> Vec<u8> {
    // The format is little-endian, whatever the machine is.
    if cfg!(target_endian = "little") {
        return bytemuck::cast_slice(values).to_vec();
    }
    let element = |x: &T| {
        let mut bytes = bytemuck::bytes_of(x).to_vec();
        bytes.reverse();
        bytes
    };
    values.iter().flat_map(element).collect()
}

/// Numbers from the bytes of a file, which may lie at any alignment.
pub(crate) fn from_bytes<T: Real>(bytes: &[u8]) -> Vec<T> {
    let element = |chunk: &[u8]| -> T {
        let mut x = T::zero();
        let place = bytemuck::bytes_of_mut(&mut x);
        place.copy_from_slice(chunk);
        if cfg!(target_endian = "big") {
            place.reverse();
        }
        x
    };
    bytes.chunks_exact(size_of::<T>()).map(element).collect()
}

impl State {
    /// Puts numbers under a name.
    pub fn put<T: Real>(&mut self, name: &str, values: &[T]) {
        self.put_shaped(name, &[values.len()], values);
    }

    pub(crate) fn put_shaped<T: Real>(&mut self, name: &str, shape: &[usize], values: &[T]) {
        let array = Array { dtype: dtype::<T>(), shape: shape.to_vec(), bytes: to_bytes(values) };
        self.arrays.insert(name.to_owned(), array);
    }

    /// Puts whole numbers under a name.
    pub fn put_integers(&mut self, name: &str, values: &[u64]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let array = Array { dtype: Dtype::U64, shape: vec![values.len()], bytes };
        self.arrays.insert(name.to_owned(), array);
    }

    /// Puts what an object stores, under names that begin with `prefix/`.
    pub fn put_object(&mut self, prefix: &str, object: &dyn Persist) {
        let mut inner = State::default();
        object.store(&mut inner);
        let arrays = inner.arrays.into_iter();
        self.arrays.extend(arrays.map(|(name, array)| (format!("{prefix}/{name}"), array)));
    }

    /// The numbers of a name, `len` of them if that is given.
    ///
    /// # Errors
    /// If there are none, or as many, or of this type.
    pub fn get<T: Real>(&self, name: &str, len: Option<usize>) -> Result<Vec<T>> {
        Ok(from_bytes(&self.find(name, dtype::<T>(), len)?.bytes))
    }

    /// The whole numbers of a name, `len` of them if that is given.
    ///
    /// # Errors
    /// If there are none, or as many, or of this type.
    pub fn integers(&self, name: &str, len: Option<usize>) -> Result<Vec<u64>> {
        let bytes = &self.find(name, Dtype::U64, len)?.bytes;
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        Ok(bytes.chunks_exact(8).map(word).collect())
    }

    /// Restores an object from what [`put_object`](State::put_object) put.
    ///
    /// # Errors
    /// Those of the object.
    pub fn restore_object(&self, prefix: &str, object: &mut dyn Persist) -> Result<()> {
        object.restore(&self.part(prefix)).map_err(|e| Error::state(format!("{prefix}: {e}")))
    }

    /// The arrays whose names begin with `prefix/`, without it.
    fn part(&self, prefix: &str) -> State {
        let inside = |(name, array): (&String, &Array)| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('/')?;
            Some((rest.to_owned(), array.clone()))
        };
        State { arrays: self.arrays.iter().filter_map(inside).collect() }
    }

    fn find(&self, name: &str, dtype: Dtype, len: Option<usize>) -> Result<&Array> {
        let Some(array) = self.arrays.get(name) else {
            return Err(Error::state(format!("has no {name:?}")));
        };
        if array.dtype != dtype {
            return Err(Error::state(format!(
                "{name:?} has type {:?}, not {dtype:?}",
                array.dtype
            )));
        }
        let found: usize = array.shape.iter().product();
        match len {
            Some(len) if len != found => {
                Err(Error::state(format!("{name:?} has {found} entries, not {len}")))
            }
            _ => Ok(array),
        }
    }

    pub(crate) fn arrays(&self) -> &BTreeMap<String, Array> {
        &self.arrays
    }

    pub(crate) fn insert(&mut self, name: String, array: Array) {
        self.arrays.insert(name, array);
    }
}
