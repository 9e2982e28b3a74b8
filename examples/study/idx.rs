//! The IDX format of MNIST and Fashion-MNIST, compressed by gzip.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::Outcome;

/// An array of bytes.
pub struct Array {
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Reads an array: two zero bytes, the type (8 is a byte), the number of axes, their lengths as
/// big-endian 32-bit numbers, then the entries.
pub fn read(path: &Path) -> Outcome<Array> {
    let place = path.display();
    let missing = |e| {
        format!(
            "cannot read {place}: {e}\nOn Debian and Ubuntu, `apt-get install \
             dataset-fashion-mnist` brings the data; --fashion names another folder."
        )
    };
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(File::open(path).map_err(missing)?)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("{place} is not an intact gzip file: {e}"))?;
    parse(&bytes).ok_or_else(|| format!("{place} is not an IDX file of bytes").into())
}

fn parse(bytes: &[u8]) -> Option<Array> {
    let (head, rest) = bytes.split_at_checked(4)?;
    let &[0, 0, 8, axes] = head else { return None };
    let (lengths, entries) = rest.split_at_checked(4 * usize::from(axes))?;
    let shape: Vec<usize> = lengths
        .chunks_exact(4)
        .map(|c| u32::from_be_bytes(c.try_into().expect("four bytes")) as usize)
        .collect();
    let numel = shape.iter().try_fold(1usize, |n, &length| n.checked_mul(length))?;
    (entries.len() == numel).then(|| Array { shape, bytes: entries.to_vec() })
}
