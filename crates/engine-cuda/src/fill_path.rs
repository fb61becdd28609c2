//! The sets of kernels that fill, and which of them a device uses.

use std::fmt;

/// Which kernels multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FillPath {
    /// Specific to Hopper: copy engine and `wgmma`. Compute capability 9.0.
    Sm90a,
    /// Tensor cores by `mma.sync`. Compute capability 8.0 and later.
    Mma,
    /// Dot products of four bytes, without tensor cores. Compute capability 7.5 and later.
    Dp4a,
}

impl FillPath {
    /// All paths, the fastest first.
    pub const ALL: [FillPath; 3] = [FillPath::Sm90a, FillPath::Mma, FillPath::Dp4a];

    /// The fastest path of a device; `portable` excludes paths that exist only as machine code.
    pub(crate) fn best(capability: (u32, u32), portable: bool) -> Self {
        match capability {
            (9, 0) if !portable => FillPath::Sm90a,
            (8.., _) => FillPath::Mma,
            _ => FillPath::Dp4a,
        }
    }

    /// Operands held at a time in addition to the offer's reserve, in matrices: B, and one A on the portable paths.
    pub(crate) fn operand_copies(self) -> u32 {
        match self {
            FillPath::Sm90a => 1,
            FillPath::Mma | FillPath::Dp4a => 2,
        }
    }

    /// Operations (two per multiply-add) of a launch: 0.3 s on the chip for which each path is the best, so that
    /// cancelling and progress need not wait for a whole fill. Launches end at whole matrices; each split costs about
    /// 0.1 ms.
    pub(crate) fn operations_per_launch(self) -> u128 {
        match self {
            FillPath::Sm90a => 400_000_000_000_000,
            FillPath::Mma => 100_000_000_000_000,
            FillPath::Dp4a => 10_000_000_000_000,
        }
    }
}

impl fmt::Display for FillPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FillPath::Sm90a => "sm90a",
            FillPath::Mma => "mma",
            FillPath::Dp4a => "dp4a",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_get_their_path() {
        assert_eq!(FillPath::best((7, 5), false), FillPath::Dp4a);
        assert_eq!(FillPath::best((8, 6), false), FillPath::Mma);
        assert_eq!(FillPath::best((9, 0), false), FillPath::Sm90a);
        assert_eq!(FillPath::best((9, 0), true), FillPath::Mma);
        assert_eq!(FillPath::best((12, 0), false), FillPath::Mma);
    }
}
