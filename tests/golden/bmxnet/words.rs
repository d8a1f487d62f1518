//! BMXNet's words of signs: bit `i`, lowest first, of word `j` is the sign of number `B j + i`.

use crate::report::{Check, failed};
use ndarray::Array2;
use serde_json::Value;

/// Words of 32 or 64 bits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Words {
    pub(crate) words: Vec<u64>,
    pub(crate) width: usize,
}

impl Words {
    /// Reads a list of hexadecimal strings.
    pub(crate) fn parse(list: &[Value], width: usize) -> Check<Self> {
        let parse = |word: &Value| {
            let digits = word.as_str().and_then(|word| word.strip_prefix("0x"));
            match digits.map(|digits| u64::from_str_radix(digits, 16)) {
                Some(word) => Ok(word?),
                None => failed(format!("not a word: {word}")),
            }
        };
        let words = list.iter().map(parse).collect::<Check<_>>()?;
        Ok(Words { words, width })
    }

    /// Our rows of 64-bit words for rows of `inputs` numbers, as words of another width.
    pub(crate) fn from_rows(
        rows: impl Iterator<Item = Vec<u64>>,
        inputs: usize,
        width: usize,
    ) -> Check<Self> {
        if !matches!(width, 32 | 64) {
            return failed(format!("words of {width} bits"));
        }
        let mut words = Vec::new();
        for row in rows {
            let parts = row.iter().flat_map(|&word| match width {
                32 => vec![word & u64::from(u32::MAX), word >> 32],
                _ => vec![word],
            });
            words.extend(parts.take(inputs.div_ceil(width)));
        }
        Ok(Words { words, width })
    }

    /// The words of `rows` rows that lie row after row, as memory that goes through the rows
    /// first: BMXNet's order of a matrix's columns.
    pub(crate) fn interleaved(&self, rows: usize) -> Check<Self> {
        let columns = self.words.len() / rows.max(1);
        let by_row = Array2::from_shape_vec((rows, columns), self.words.clone())?;
        Ok(Words { words: by_row.t().iter().copied().collect(), width: self.width })
    }

    /// The signs, -1 and +1, of `rows` rows that lie row after row.
    pub(crate) fn signs(&self, rows: usize) -> Check<Array2<f64>> {
        let bits = self
            .words
            .iter()
            .flat_map(|&word| (0..self.width).map(move |bit| word >> bit & 1 == 1));
        let signs: Vec<f64> = bits.map(|bit| if bit { 1.0 } else { -1.0 }).collect();
        let columns = signs.len() / rows.max(1);
        Ok(Array2::from_shape_vec((rows, columns), signs)?)
    }

    /// The signs of `rows` rows that lie interleaved.
    pub(crate) fn signs_of_interleaved(&self, rows: usize) -> Check<Array2<f64>> {
        let columns = self.words.len() / rows.max(1);
        self.interleaved(columns)?.signs(rows)
    }
}
