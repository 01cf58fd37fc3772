//! How much a binary property list is when it is written out.
//!
//! Owns: a pass over its tables before the reader, which follows each reference anew: a few hundred bytes can name one list again and again and
//! come to more than a machine has. Reads no value.
//!
//! Source: the layout in Apple's `CFBinaryPList.c`: a trailer of 32 bytes, a table of offsets, objects that name others by number.

/// Parts of a list when it is written out, at most.
const MOST_PARTS: u64 = 200_000;
/// Bytes of its texts and data when it is written out, at most.
const MOST_BYTES: u64 = 4 << 20;
/// How deep parts stand in one another, at most.
const DEEPEST: u32 = 64;

/// How much an object is when everything that it names is written out.
#[derive(Clone, Copy)]
struct Size {
    parts: u64,
    bytes: u64,
    /// How deep others stand in it.
    height: u32,
}

struct Tables<'a> {
    bytes: &'a [u8],
    offset_size: usize,
    ref_size: usize,
    objects: usize,
    table: usize,
}

/// Whether a binary property list is small enough to be read.
pub(super) fn fits(bytes: &[u8]) -> bool {
    let Some((tables, top)) = Tables::read(bytes) else {
        return false;
    };
    let mut known = vec![None; tables.objects];
    tables.size(top, 0, &mut known).is_some()
}

fn number(bytes: &[u8]) -> Option<usize> {
    let mut value: usize = 0;
    for byte in bytes {
        value = value.checked_mul(256)?.checked_add(usize::from(*byte))?;
    }
    Some(value)
}

impl<'a> Tables<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let trailer = bytes.get(bytes.len().checked_sub(32)?..)?;
        let tables = Self {
            bytes,
            offset_size: usize::from(*trailer.get(6)?),
            ref_size: usize::from(*trailer.get(7)?),
            objects: number(trailer.get(8..16)?)?,
            table: number(trailer.get(24..32)?)?,
        };
        let sizes = 1..=8;
        let fits = tables.objects <= bytes.len()
            && sizes.contains(&tables.offset_size)
            && sizes.contains(&tables.ref_size);
        fits.then_some((tables, number(trailer.get(16..24)?)?))
    }

    /// How much an object is when it is written out; none where the tables make no sense, or it is too much.
    fn size(&self, object: usize, depth: u32, known: &mut [Option<Size>]) -> Option<Size> {
        if let Some(size) = *known.get(object)? {
            return (depth + size.height <= DEEPEST).then_some(size);
        }
        if depth > DEEPEST {
            return None;
        }
        let at = self
            .table
            .checked_add(object.checked_mul(self.offset_size)?)?;
        let offset = number(self.bytes.get(at..at.checked_add(self.offset_size)?)?)?;
        let marker = *self.bytes.get(offset)?;
        let mut size = Size {
            parts: 1,
            bytes: 0,
            height: 0,
        };
        let names = match marker >> 4 {
            0xA | 0xC => 1,
            0xD => 2,
            // Data, texts of one byte a letter, texts of two: three at most in UTF-8.
            0x4 | 0x5 => {
                size.bytes = u64::try_from(self.count(offset, marker)?.0).ok()?;
                0
            }
            0x6 => {
                let letters = u64::try_from(self.count(offset, marker)?.0).ok()?;
                size.bytes = letters.checked_mul(3)?;
                0
            }
            _ => 0,
        };
        let (count, from) = match names {
            0 => (0, 0),
            _ => self.count(offset, marker)?,
        };
        for n in 0..count.checked_mul(names)? {
            let at = from.checked_add(n.checked_mul(self.ref_size)?)?;
            let inner = number(self.bytes.get(at..at.checked_add(self.ref_size)?)?)?;
            let inner = self.size(inner, depth + 1, known)?;
            size.parts = size.parts.checked_add(inner.parts)?;
            size.bytes = size.bytes.checked_add(inner.bytes)?;
            size.height = size.height.max(inner.height + 1);
            if size.parts > MOST_PARTS || size.bytes > MOST_BYTES {
                return None;
            }
        }
        if size.bytes > MOST_BYTES {
            return None;
        }
        *known.get_mut(object)? = Some(size);
        Some(size)
    }

    /// How many a collection names, and where the names begin.
    fn count(&self, offset: usize, marker: u8) -> Option<(usize, usize)> {
        let low = usize::from(marker & 0x0F);
        let next = offset.checked_add(1)?;
        if low < 15 {
            return Some((low, next));
        }
        let size = *self.bytes.get(next)?;
        if size >> 4 != 1 || size & 0x0F > 3 {
            return None;
        }
        let width = 1_usize << (size & 0x0F);
        let from = next.checked_add(1)?;
        let end = from.checked_add(width)?;
        Some((number(self.bytes.get(from..end)?)?, end))
    }
}
