//! MNIST as it is published: IDX files, gzipped or not.

use super::Result;
use flate2::read::MultiGzDecoder;
use ndarray::Array4;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// Pixels along each side of an image.
const SIDE: usize = 28;
pub(crate) const CLASSES: usize = 10;

/// Images with the digits that they show.
pub(crate) struct Dataset {
    /// (N, 1, 28, 28), from -1 (background) to 1.
    pub(crate) images: Array4<f32>,
    pub(crate) labels: Vec<u8>,
}

impl Dataset {
    /// Reads the images and labels called `name`, "train" or "t10k", of a directory.
    pub(crate) fn read(directory: &Path, name: &str) -> Result<Self> {
        let images = read_idx(directory, &format!("{name}-images-idx3-ubyte"), &[SIDE, SIDE])?;
        let labels = read_idx(directory, &format!("{name}-labels-idx1-ubyte"), &[])?;
        let count = images.len() / (SIDE * SIDE);
        if labels.len() != count {
            let found = labels.len();
            return Err(format!(
                "{name}: expected a label for each of {count} images, got {found}"
            )
            .into());
        }
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= CLASSES) {
            return Err(format!("{name}: expected labels from 0 to 9, got {label}").into());
        }
        let pixels = images.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0);
        let images = Array4::from_shape_vec((count, 1, SIDE, SIDE), pixels.collect())?;
        Ok(Dataset { images, labels })
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }
}

/// The bytes of an IDX file of items of a given shape, called `name` or that with `.gz`.
///
/// The header is made of big-endian numbers: 2048 for bytes plus the number of dimensions, then
/// the size of each, beginning with the number of items.
fn read_idx(directory: &Path, name: &str, item: &[usize]) -> Result<Vec<u8>> {
    let plain = directory.join(name);
    let zipped = directory.join(format!("{name}.gz"));
    let path = if plain.exists() { plain } else { zipped };
    let error = |message: String| format!("{}: {message}", path.display()).into();

    let content =
        read_unzipped(&path).map_err(|e| -> Box<dyn std::error::Error> { error(e.to_string()) })?;
    let Some((header, bytes)) = content.split_at_checked(4 * (2 + item.len())) else {
        return Err(error(format!("expected an IDX file, got {} bytes", content.len())));
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| n << 8 | usize::from(byte));
    let header: Vec<usize> = header.chunks_exact(4).map(number).collect();
    let count = header[1].max(1);
    let expected = [&[2048 + 1 + item.len(), count], item].concat();
    if header != expected {
        return Err(error(format!("expected IDX header {expected:?}, got {header:?}")));
    }
    let len = count.saturating_mul(item.iter().product());
    if bytes.len() != len {
        let found = bytes.len();
        return Err(error(format!("expected {len} bytes after the header, got {found}")));
    }
    Ok(bytes.to_vec())
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
