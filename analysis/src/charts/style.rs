//! What all charts look like: size, font, colours.

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::register_font as register;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Where charts are drawn: pixels from the upper left corner.
pub(super) type Area<DB> = DrawingArea<DB, Shift>;
/// The outcome of drawing.
pub(super) type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// The family as it stands in the SVG: Inter where it is installed, else what the page has. PNGs always use the
/// bundled one, which is registered under this whole name.
const FAMILY: &str = "Inter, Helvetica, Arial, sans-serif";
/// Inter Regular 4, cut down to ASCII and `µ · – × ≤ ≥ …`; its licence (OFL-1.1) lies beside it.
const INTER: &[u8] = include_bytes!("../../fonts/Inter-Regular-subset.ttf");

/// Sizes of text in pixels.
pub(super) const TITLE: f64 = 27.0;
/// As [`TITLE`], of the line below it.
pub(super) const SUBTITLE: f64 = 18.0;
/// As [`TITLE`], of labels of lines and axes.
pub(super) const LABEL: f64 = 19.0;
/// As [`TITLE`], of the numbers at ticks.
pub(super) const TICK: f64 = 17.0;

/// Text.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Text of less weight.
pub(super) const FAINT_INK: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);
/// Every other phase of a run.
pub(super) const SHADE: RGBColor = RGBColor(0xf4, 0xf4, 0xf4);
/// Axes.
pub(super) const AXIS: RGBColor = RGBColor(0x88, 0x88, 0x88);

/// Colours of Okabe and Ito, told apart with every common colour blindness; their yellow is too light on white.
pub(super) const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
/// See [`BLUE`].
pub(super) const VERMILLION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
/// See [`BLUE`].
pub(super) const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
const SKY: RGBColor = RGBColor(0x56, 0xb4, 0xe9);

/// The server's colour in every chart.
pub(super) const SERVER: RGBColor = BLUE;
/// The swarm's colour in every chart.
pub(super) const SWARM: RGBColor = VERMILLION;
/// The kernel's colour in every chart.
pub(super) const KERNEL: RGBColor = GREEN;

/// The colour of what failed.
pub(super) const FAILED: RGBColor = RGBColor(0x00, 0x00, 0x00);

/// Colours for lines without one of their own, in order.
pub(super) fn colour(index: usize) -> RGBColor {
    let palette = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY];
    palette[index % palette.len()]
}

/// Makes the bundled font known. Text drawn without it would fail and leave a blank picture.
pub(super) fn register_font() -> Result<(), &'static str> {
    register(FAMILY, FontStyle::Normal, INTER).map_err(|_| "the bundled font is damaged; build holdline again")
}

/// Text of a size and colour, placed by `h` and `v`.
pub(super) fn text(size: f64, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    TextStyle { font: (FAMILY, size).into_font(), color: colour.to_backend_color(), pos: Pos::new(h, v) }
}

/// The width of `words` in pixels.
pub(super) fn width(words: &str, size: f64) -> i32 {
    let font = (FAMILY, size).into_font();
    // Without the font nothing can be drawn, and the drawing says so; a guess is enough here.
    font.box_size(words).map_or(0, |(width, _)| i32::try_from(width).unwrap_or(0))
}
