//! MNIST as it is published: IDX files, gzipped or not.

use flate2::read::MultiGzDecoder;
use ndarray::Array4;
use std::error::Error;
use std::fmt::Debug;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Pixels along each side of an image.
pub(crate) const SIDE: usize = 28;
pub(crate) const CLASSES: usize = 10;

/// Images with the digits that they show.
pub(crate) struct Dataset {
    /// (N, 1, 28, 28), from -1 (background) to 1.
    pub(crate) images: Array4<f32>,
    pub(crate) labels: Vec<u8>,
}

impl Dataset {
    /// Reads the images and labels called `name`, "train" or "t10k", of a directory.
    pub(crate) fn read(directory: &Path, name: &str) -> Result<Self, Box<dyn Error>> {
        let images = Idx::read(directory, &format!("{name}-images-idx3-ubyte"), 3)?;
        let labels = Idx::read(directory, &format!("{name}-labels-idx1-ubyte"), 1)?;
        let count = images.sizes[0].max(1);
        images.expect("sizes", &[count, SIDE, SIDE][..], &images.sizes)?;
        labels.expect("sizes", &[count][..], &labels.sizes)?;
        let largest = labels.bytes.iter().max().copied().unwrap_or_default();
        labels.expect("labels up to", &9, &largest.max(9))?;
        let pixels = images
            .bytes
            .iter()
            .map(|&byte| f32::from(byte) / 127.5 - 1.0);
        Ok(Dataset {
            images: Array4::from_shape_vec((count, 1, SIDE, SIDE), pixels.collect())?,
            labels: labels.bytes,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }
}

/// An array of bytes: a magic number (two zeros, 8 for bytes, the number of dimensions), a
/// big-endian size for each dimension, and the bytes.
struct Idx {
    path: PathBuf,
    sizes: Vec<usize>,
    bytes: Vec<u8>,
}

impl Idx {
    /// Reads a file called `name`, or that with `.gz` if there is none.
    fn read(directory: &Path, name: &str, dimensions: u8) -> Result<Self, Box<dyn Error>> {
        let plain = directory.join(name);
        let path = match plain.exists() {
            true => plain,
            false => directory.join(format!("{name}.gz")),
        };
        let content = read_unzipped(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let header = content.split_at_checked(4 + 4 * usize::from(dimensions));
        let (header, bytes) = header.unwrap_or((&content, &[]));
        let mut numbers = header.chunks_exact(4);
        let size = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| n << 8 | usize::from(byte));
        let magic = numbers.next().unwrap_or_default().to_owned();
        let idx = Idx {
            path,
            sizes: numbers.map(size).collect(),
            bytes: bytes.to_owned(),
        };
        idx.expect("magic number", &vec![0, 0, 8, dimensions], &magic)?;
        idx.expect("dimensions", &usize::from(dimensions), &idx.sizes.len())?;
        // Sizes whose product overflows are more than any file holds.
        let len = idx
            .sizes
            .iter()
            .try_fold(1, |len: usize, &size| len.checked_mul(size));
        idx.expect(
            "bytes of data",
            &len.unwrap_or(usize::MAX),
            &idx.bytes.len(),
        )?;
        Ok(idx)
    }

    fn expect<T: Debug + PartialEq + ?Sized>(
        &self,
        what: &str,
        expected: &T,
        found: &T,
    ) -> Result<(), String> {
        if expected == found {
            return Ok(());
        }
        let path = self.path.display();
        Err(format!(
            "{path}: expected {what} {expected:?}, got {found:?}"
        ))
    }
}

/// The content of a file, which may be gzipped whatever it is called.
fn read_unzipped(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::read(path)?;
    if !file.starts_with(&[0x1f, 0x8b]) {
        return Ok(file);
    }
    let mut content = Vec::new();
    MultiGzDecoder::new(&file[..]).read_to_end(&mut content)?;
    Ok(content)
}
