//! Shapes and words of an SVG document.

use std::fmt::Write as _;

/// A part of a picture: a rectangle of pixels, with y downwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Frame {
    pub(super) fn bottom(self) -> f64 {
        self.top + self.height
    }

    pub(super) fn right(self) -> f64 {
        self.left + self.width
    }

    /// The pixel of a height between 0 (the bottom) and 1; what is beyond is held a little outside.
    pub(super) fn y(self, height: f64) -> f64 {
        self.bottom() - height.clamp(-0.1, 1.1) * self.height
    }
}

/// How a line of text is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// The class that says how it looks.
    pub(super) class: &'static str,
    /// `start`, `middle` or `end`.
    pub(super) anchor: &'static str,
}

/// A document that grows.
#[derive(Debug, Default)]
pub(super) struct Marks(String);

impl Marks {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// Appends a piece of the document as it is.
    pub(super) fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
        ));
    }

    pub(super) fn rectangle(&mut self, class: &str, frame: Frame) {
        let Frame { left, top, width, height } = frame;
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>\n"
        ));
    }

    /// A path by its commands; nothing where there are none.
    pub(super) fn path(&mut self, class: &str, commands: &str) {
        if !commands.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{commands}\"/>\n"));
        }
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), words: Words, text: &str) {
        let Words { class, anchor } = words;
        let text = escaped(text);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"
        ));
    }

    fn put(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.0.write_fmt(arguments).expect("memory takes everything");
    }
}

/// Text that XML takes as text; control characters, which it does not take at all, are blanks.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Commands of a path, as short as they can be.
#[derive(Debug, Default)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn move_to(&mut self, x: f64, y: f64) {
        self.put('M', x, y);
    }

    pub(super) fn line_to(&mut self, x: f64, y: f64) {
        self.put('L', x, y);
    }

    pub(super) fn close(&mut self) {
        self.0.push('Z');
    }

    pub(super) fn commands(&self) -> &str {
        &self.0
    }

    fn put(&mut self, command: char, x: f64, y: f64) {
        write!(self.0, "{command}{x:.1} {y:.1}").expect("memory takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        let hostile = "</text><script>\u{1}\"&\u{ffff}";
        assert_eq!(escaped(hostile), "&lt;/text&gt;&lt;script&gt; &quot;&amp; ");
    }
}
