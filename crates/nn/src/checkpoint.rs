//! Parameters in files, in the safetensors format.

use std::path::Path;

use costate_ops::Real;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use crate::error::{Error, Result};
use crate::params::Params;

fn dtype<T: Real>() -> Dtype {
    if size_of::<T>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

impl<T: Real> Params<T> {
    /// Writes all parameters to a safetensors file, each under its name.
    ///
    /// The file is written beside its place and then renamed, so that an interruption leaves
    /// either the old file or the new one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let views = self.entries().iter().map(|e| {
            let bytes = bytemuck::cast_slice(&self.values()[e.start..][..e.shape.numel()]);
            let view = TensorView::new(dtype::<T>(), e.shape.to_vec(), bytes);
            (e.name.as_str(), view.expect("as many bytes as the shape has"))
        });
        let bytes = serialize(views, None).map_err(|e| Error::file(path, e.to_string()))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let beside = path.with_file_name(name);
        std::fs::write(&beside, bytes).map_err(|e| Error::io(&beside, "cannot write", e))?;
        std::fs::rename(&beside, path).map_err(|e| Error::io(path, "cannot replace", e))
    }

    /// Reads all parameters from a safetensors file that has exactly the same names, shapes and
    /// element type.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or does not match; the parameters are then as they
    /// were.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "cannot read", e))?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| Error::file(path, format!("not an intact safetensors file: {e}")))?;
        if let Some(name) =
            file.names().iter().find(|n| self.entries().iter().all(|e| e.name != **n))
        {
            return Err(Error::file(path, format!("has a tensor {name:?} that the model lacks")));
        }
        let mut values = Vec::with_capacity(self.len());
        for entry in self.entries() {
            let tensor = file
                .tensor(&entry.name)
                .map_err(|_| Error::file(path, format!("has no tensor {:?}", entry.name)))?;
            if tensor.shape() != &*entry.shape {
                let (found, expected) = (tensor.shape(), &entry.shape);
                let reason = format!("{:?} has shape {found:?}, the model {expected}", entry.name);
                return Err(Error::file(path, reason));
            }
            if tensor.dtype() != dtype::<T>() {
                let reason = format!(
                    "{:?} has type {:?}, the model {}",
                    entry.name,
                    tensor.dtype(),
                    T::NAME
                );
                return Err(Error::file(path, reason));
            }
            let start = values.len();
            values.resize(start + entry.shape.numel(), T::zero());
            // The file may hold the numbers at any alignment, so bytes are copied.
            bytemuck::cast_slice_mut(&mut values[start..]).copy_from_slice(tensor.data());
        }
        self.values_mut().copy_from_slice(&values);
        Ok(())
    }
}
