//! Parameters and the state of training in files, in the safetensors format.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use costate_odeint::Real;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};

use crate::error::{Error, Result};
use crate::params::Params;
use crate::state::{Array, Persist, State, dtype, from_bytes};

/// Replaces a file so that an interruption at any moment leaves the old one or the new one, whole.
///
/// The new content is written beside it, forced to the disk, and renamed; a left-over of an earlier
/// interruption is overwritten.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let beside = path.with_file_name(name);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        // Without this the rename may reach the disk before the content does.
        file.sync_all()
    });
    written.map_err(|e| Error::io(&beside, "cannot write", e))?;
    std::fs::rename(&beside, path).map_err(|e| Error::io(path, "cannot replace", e))?;
    // The rename itself is on the disk once the folder is. Not every system can do that, and the
    // file is whole either way.
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

fn write(path: &Path, state: &State) -> Result<()> {
    let views = state.arrays().iter().map(|(name, a)| {
        let view = TensorView::new(a.dtype, a.shape.clone(), &a.bytes);
        (name, view.expect("as many bytes as the shape has"))
    });
    let bytes = serialize(views, None).map_err(|e| Error::file(path, e.to_string()))?;
    replace(path, &bytes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path, "cannot read", e))
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| Error::file(path, format!("not an intact safetensors file: {e}")))
}

/// Writes objects to a file, each under its name, so that training can go on from there to the
/// same bits: parameters, optimiser, schedule, batches, averages, generators.
///
/// The file is written beside its place, forced to the disk and then renamed: a kill at any moment
/// leaves the last whole file. It is a safetensors file whose arrays are called
/// `object/array`.
///
/// ```
/// use costate_nn::{Adam, Linear, Params, Rng, load_checkpoint, save_checkpoint};
///
/// let mut params = Params::<f32>::seeded(0);
/// Linear::new(&mut params, "out", 4, 3);
/// let (mut adam, mut rng) = (Adam::<f32>::new(1e-3), Rng::seeded(1));
/// let path = std::env::temp_dir().join(format!("costate-doc-{}", std::process::id()));
/// save_checkpoint(&path, &[("params", &params), ("optimiser", &adam), ("rng", &rng)])?;
/// // …in another run, with the same objects made anew:
/// load_checkpoint(
///     &path,
///     &mut [("params", &mut params), ("optimiser", &mut adam), ("rng", &mut rng)],
/// )?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), costate_nn::Error>(())
/// ```
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If two objects have one name.
#[track_caller]
pub fn save_checkpoint(path: impl AsRef<Path>, objects: &[(&str, &dyn Persist)]) -> Result<()> {
    let mut state = State::default();
    for (i, (name, object)) in objects.iter().enumerate() {
        let before = &objects[..i];
        assert!(
            before.iter().all(|(other, _)| other != name),
            "save_checkpoint: two objects are called {name:?}"
        );
        state.put_object(name, *object);
    }
    write(path.as_ref(), &state)
}

/// Restores objects from a file of [`save_checkpoint`]. What the file holds beside them is left
/// alone.
///
/// # Errors
/// If the file cannot be read, is damaged, or does not match; all objects are then as they were.
pub fn load_checkpoint(
    path: impl AsRef<Path>,
    objects: &mut [(&str, &mut dyn Persist)],
) -> Result<()> {
    let path = path.as_ref();
    let bytes = read(path)?;
    let file = parse(path, &bytes)?;
    let mut state = State::default();
    for (name, view) in file.iter() {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        state.insert(name.to_owned(), Array { dtype, shape, bytes: view.data().to_vec() });
    }
    let mut before = State::default();
    for (name, object) in objects.iter() {
        before.put_object(name, *object);
    }
    for i in 0..objects.len() {
        let (name, object) = &mut objects[i];
        if let Err(e) = state.restore_object(name, *object) {
            for (name, object) in &mut objects[..=i] {
                before.restore_object(name, *object).expect("what it has just stored");
            }
            return Err(Error::file(path, e.to_string()));
        }
    }
    Ok(())
}

impl<T: Real> Persist for Params<T> {
    fn store(&self, state: &mut State) {
        for e in self.entries() {
            state.put_shaped(&e.name, &e.shape, &self.values()[e.range()]);
        }
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let arrays = state.arrays();
        let found = arrays.iter().map(|(name, a)| (name.as_str(), a.dtype, &*a.shape, &*a.bytes));
        let values = self.matching(found).map_err(Error::state)?;
        self.values_mut().copy_from_slice(&values);
        Ok(())
    }
}

impl<T: Real> Params<T> {
    /// Writes all parameters to a safetensors file, each under its name.
    ///
    /// The file is written beside its place, forced to the disk and then renamed, so that an
    /// interruption leaves either the old file or the new one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut state = State::default();
        self.store(&mut state);
        write(path.as_ref(), &state)
    }

    /// Reads all parameters from a safetensors file that has exactly the same names, shapes and
    /// element type.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or does not match; the parameters are then as they
    /// were.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = read(path)?;
        let file = parse(path, &bytes)?;
        let names = file.names();
        let views = names.iter().map(|n| (*n, file.tensor(n).expect("one of its own names")));
        let views: Vec<_> = views.collect();
        let found = views.iter().map(|(name, v)| (*name, v.dtype(), v.shape(), v.data()));
        let values = self.matching(found).map_err(|reason| Error::file(path, reason))?;
        self.values_mut().copy_from_slice(&values);
        Ok(())
    }

    /// The numbers of all parameters from named arrays, or why they do not match.
    fn matching<'a>(
        &self,
        found: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])> + Clone,
    ) -> std::result::Result<Vec<T>, String> {
        for (name, ..) in found.clone() {
            if self.entries().iter().all(|e| e.name != name) {
                return Err(format!("has a tensor {name:?} that the model lacks"));
            }
        }
        let mut values = Vec::with_capacity(self.len());
        for entry in self.entries() {
            let (_, kind, shape, bytes) = found
                .clone()
                .find(|(name, ..)| *name == entry.name)
                .ok_or_else(|| format!("has no tensor {:?}", entry.name))?;
            if shape != &*entry.shape {
                let expected = &entry.shape;
                return Err(format!("{:?} has shape {shape:?}, the model {expected}", entry.name));
            }
            if kind != dtype::<T>() {
                return Err(format!("{:?} has type {kind:?}, the model {}", entry.name, T::NAME));
            }
            values.extend(from_bytes::<T>(bytes));
        }
        Ok(values)
    }
}
