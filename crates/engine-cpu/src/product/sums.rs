//! What the paths of the product compute on, in addition to quads.

use crate::layout::{PANEL_ROWS, PANELS};

/// 16 x 16 sums: row i of a left panel with each row of a right panel.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Square(pub(super) [[i32; PANEL_ROWS]; PANEL_ROWS]);

/// The sums of a tile in 16 x 16 squares, ordered by left panel, then by right panel.
pub(super) type Sums = [[Square; PANELS]; PANELS];

/// Two 16-bit elements of each of 16 rows: half a quad as the AVX2 path widens it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Pairs(pub(super) [[i16; 2]; PANEL_ROWS]);
