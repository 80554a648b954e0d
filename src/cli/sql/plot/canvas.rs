//! Dots in a grid of braille characters, two by four in each.

/// Dots; the first row is the top one.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    columns: usize,
    /// The bits of each character, row by row.
    cells: Vec<u8>,
}

/// Dots of a character, across and down.
const ACROSS: usize = 2;
const DOWN: usize = 4;
/// The character without dots; dots are bits above it.
const BLANK: u32 = 0x2800;
/// Bits of the dots of a character, by row, then by column.
const BITS: [[u8; ACROSS]; DOWN] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Canvas {
    /// A blank one of so many characters.
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        Self { columns, cells: vec![0; columns * rows] }
    }

    /// Dots across and down.
    pub(crate) fn dots(&self) -> (usize, usize) {
        let rows = self.cells.len().checked_div(self.columns).unwrap_or(0);
        (self.columns * ACROSS, rows * DOWN)
    }

    /// Sets a dot; one outside is left out.
    pub(crate) fn set(&mut self, x: usize, y: usize) {
        let bit = BITS.get(y % DOWN).and_then(|bits| bits.get(x % ACROSS)).copied();
        let is_inside = x / ACROSS < self.columns;
        let cell = self.cells.get_mut(y / DOWN * self.columns + x / ACROSS);
        if let (Some(cell), Some(bit), true) = (cell, bit, is_inside) {
            *cell |= bit;
        }
    }

    /// Sets the dots of a column of dots between two rows, both included.
    pub(crate) fn upright(&mut self, x: usize, from: usize, to: usize) {
        for y in from.min(to)..=from.max(to) {
            self.set(x, y);
        }
    }

    /// The characters of each row, without blanks at the end.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.cells.chunks(self.columns.max(1)).map(|cells| {
            let sign = |bits: &u8| match bits {
                0 => ' ',
                bits => char::from_u32(BLANK + u32::from(*bits)).unwrap_or(' '),
            };
            cells.iter().map(sign).collect::<String>().trim_end().to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_where_they_were_set() {
        let mut canvas = Canvas::new(2, 1);
        canvas.set(0, 0);
        canvas.upright(3, 3, 1);
        canvas.set(4, 0);
        canvas.set(0, 4);
        assert_eq!(canvas.lines().collect::<Vec<_>>(), ["⠁⢰"]);
        assert_eq!(canvas.dots(), (4, 4));
    }
}
