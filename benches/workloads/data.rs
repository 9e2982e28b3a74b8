//! The arrays of a workload.

use std::path::Path;

use costate::prelude::Real;
use costate::prelude::*;
use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};

/// The tensors of a file.
pub struct Data(Vec<u8>);

impl Data {
    pub fn open(folder: &Path, name: &str) -> Data {
        let path = folder.join(format!("{name}.safetensors"));
        Data(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    /// Shape and entries.
    pub fn numbers(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.0).expect("an intact file");
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = tensor.data();
        let entries = match tensor.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => {
                bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
            }
            Dtype::BF16 => {
                let wide = |b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                bytes.as_chunks().0.iter().map(|b| wide(b).into()).collect()
            }
            other => panic!("{name}: numbers of type {other:?}"),
        };
        (tensor.shape().to_vec(), entries)
    }

    pub fn array<T: Real>(&self, name: &str) -> ArrayD<T> {
        let (shape, entries) = self.numbers(name);
        let entries = entries.into_iter().map(T::from_f64).collect();
        ArrayD::from_shape_vec(IxDyn(&shape), entries).expect("as many as the shape has")
    }

    pub fn leaf<'t, T: Real>(&self, tape: &'t Tape<T>, name: &str) -> Var<'t, T> {
        tape.constant(&self.array(name))
    }
}
