//! The embedded font: how wide text is, and the outlines of its letters.

use ttf_parser::{Face, OutlineBuilder};

/// DejaVu Sans.
pub(crate) struct Font {
    face: Face<'static>,
}

impl Font {
    pub(crate) fn new() -> Self {
        // The bytes are part of the program; a test parses them.
        Self {
            face: Face::parse(dejavu::sans::regular(), 0).expect("the embedded font is valid"),
        }
    }

    /// Width of `text` in pixels at `size` pixels per em.
    pub(crate) fn width(&self, text: &str, size: f64) -> f64 {
        let advance: f64 = text.chars().map(|c| f64::from(self.advance(c))).sum();
        advance * self.scale(size)
    }

    /// Tells `outline` every letter of `text`: where it begins on the base line, in pixels from the start of
    /// the text, and its outline in font units (y upwards).
    pub(crate) fn letters<O: OutlineBuilder>(
        &self,
        text: &str,
        size: f64,
        mut letter: impl FnMut(f64) -> O,
        mut done: impl FnMut(O),
    ) {
        let mut at = 0.0;
        for c in text.chars() {
            if let Some(glyph) = self.face.glyph_index(c) {
                let mut outline = letter(at);
                if self.face.outline_glyph(glyph, &mut outline).is_some() {
                    done(outline);
                }
            }
            at += f64::from(self.advance(c)) * self.scale(size);
        }
    }

    /// Pixels per font unit.
    pub(crate) fn scale(&self, size: f64) -> f64 {
        size / f64::from(self.face.units_per_em())
    }

    fn advance(&self, c: char) -> u16 {
        // An unknown letter is left blank, as wide as an `n`.
        let glyph = self
            .face
            .glyph_index(c)
            .or_else(|| self.face.glyph_index('n'));
        glyph
            .and_then(|glyph| self.face.glyph_hor_advance(glyph))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_the_font() {
        let font = Font::new();
        // DejaVu Sans has 2,048 units per em, of which a digit takes 1,303.
        assert!((font.width("0", 2048.0) - 1303.0).abs() < 1e-9);
        assert!((font.width("0000", 12.0) - 4.0 * 12.0 * 1303.0 / 2048.0).abs() < 1e-9);
        assert!(font.width("i", 12.0) < font.width("m", 12.0));
        assert_eq!(font.width("", 12.0), 0.0);
        assert!(font.width("µ×→", 12.0) > 10.0);
    }
}
