//! The arrays of a problem.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

/// The tensors of a file.
pub struct Data(Vec<u8>);

impl Data {
    pub fn open(folder: &Path, name: &str) -> Result<Data, String> {
        let path = folder.join(format!("{name}.safetensors"));
        Ok(Data(std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?))
    }

    /// The entries, in double precision.
    pub fn f64s(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).expect("an intact file");
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => {
                bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
            }
            Dtype::BF16 => {
                let wide = |b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                bytes.as_chunks().0.iter().map(|b| wide(b).into()).collect()
            }
            other => panic!("{name}: numbers of type {other:?}"),
        }
    }

    /// The entries, rounded once.
    pub fn f32s(&self, name: &str) -> Vec<f32> {
        self.f64s(name).into_iter().map(|x| x as f32).collect()
    }
}
