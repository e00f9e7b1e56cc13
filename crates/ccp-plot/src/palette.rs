//! Colours.

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Color(pub(crate) u8, pub(crate) u8, pub(crate) u8);

pub(crate) const PAPER: Color = Color(255, 255, 255);
pub(crate) const INK: Color = Color(0x22, 0x22, 0x22);
pub(crate) const FAINT: Color = Color(0x5a, 0x5a, 0x5a);
pub(crate) const FRAME: Color = Color(0x9a, 0x9a, 0x9a);
pub(crate) const GRID: Color = Color(0xe6, 0xe6, 0xe6);
pub(crate) const BAND: Color = Color(0xf3, 0xea, 0xd3);

/// Okabe and Ito's colours, the darker ones first; their yellow is too light for lines on white.
const SERIES: [Color; 7] = [
    Color(0x00, 0x72, 0xb2), // blue
    Color(0xd5, 0x5e, 0x00), // vermilion
    Color(0x00, 0x9e, 0x73), // bluish green
    Color(0xcc, 0x79, 0xa7), // reddish purple
    Color(0xe6, 0x9f, 0x00), // orange
    Color(0x56, 0xb4, 0xe9), // sky blue
    Color(0x22, 0x22, 0x22), // black
];

/// Dashes of the lines once the colours are used up, in pixels: on, off.
const DASHES: [Option<[f64; 2]>; 4] = [None, Some([7.0, 3.0]), Some([2.0, 2.5]), Some([12.0, 4.0])];

/// Colour and dash of the `n`th name: 28 different ones, then again from the start.
pub(crate) fn style(n: usize) -> (Color, Option<[f64; 2]>) {
    (
        SERIES[n % SERIES.len()],
        DASHES[n / SERIES.len() % DASHES.len()],
    )
}
