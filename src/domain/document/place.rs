//! Where something stands in a text.
//!
//! Invariant: a place is of the text that it was made of, and nothing else is known here: no grammar, and no key.

/// Where something stands in its file. Lines and columns count from 1, `offset` and `length` in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub offset: usize,
    pub length: usize,
}

impl Place {
    /// The place of `range` (bytes) in `text`.
    pub fn of(text: &str, range: std::ops::Range<usize>) -> Self {
        let start = text.floor_char_boundary(range.start.min(text.len()));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            offset: start,
            length: range.end.saturating_sub(start),
        }
    }
}

/// Where the lines of a text begin: a place is found without reading what stands before it.
#[derive(Debug)]
pub struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// As [`Place::of`].
    pub fn place(&self, range: std::ops::Range<usize>) -> Place {
        let start = self.text.floor_char_boundary(range.start.min(self.text.len()));
        let line = self.starts.partition_point(|s| *s <= start);
        let column = self.text[self.starts[line - 1]..start].chars().count() + 1;
        Place { line, column, offset: start, length: range.end.saturating_sub(start) }
    }
}
