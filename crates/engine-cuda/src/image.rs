//! The kernels' images, embedded, and which of them a device runs.

/// A kernel source compiled for one target; `cargo xtask kernels` makes them all.
pub(crate) struct Image {
    /// Name of the source without its extension.
    pub(crate) kernel: &'static str,
    pub(crate) code: Code,
    /// The file's bytes; PTX ends in a zero byte, as the driver wants it.
    pub(crate) bytes: &'static [u8],
    /// File name under `images/`.
    pub(crate) file: &'static str,
}

/// What an image is made for, by compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Machine code of (major, minor): runs there and on later minors.
    Machine(u32, u32),
    /// Machine code that uses features of exactly (major, minor).
    MachineOnly(u32, u32),
    /// Code that the driver compiles for (major, minor) or any later chip.
    Portable(u32, u32),
}

macro_rules! images {
    ($($code:expr, $architecture:literal, $extension:literal: $($kernel:literal)*;)*) => {
        &[$($(Image {
            kernel: $kernel,
            code: $code,
            bytes: include_bytes!(concat!("../images/", $kernel, ".", $architecture, ".", $extension)),
            file: concat!($kernel, ".", $architecture, ".", $extension),
        },)*)*]
    };
}

/// All images.
pub(crate) const IMAGES: &[Image] = images! {
    Code::Machine(8, 0), "sm_80", "cubin": "keystream" "key" "sweep" "commit" "fill_mma" "fill_dp4a";
    Code::Machine(8, 6), "sm_86", "cubin": "keystream" "key" "sweep" "commit" "fill_mma" "fill_dp4a";
    Code::Machine(8, 9), "sm_89", "cubin": "keystream" "key" "sweep" "commit" "fill_mma" "fill_dp4a";
    Code::MachineOnly(9, 0), "sm_90a", "cubin":
        "keystream" "key" "sweep" "commit" "fill_sm90a" "fill_mma" "fill_dp4a";
    Code::Machine(10, 0), "sm_100", "cubin": "keystream" "key" "sweep" "commit" "fill_mma" "fill_dp4a";
    Code::Machine(12, 0), "sm_120", "cubin": "keystream" "key" "sweep" "commit" "fill_mma" "fill_dp4a";
    Code::Portable(7, 5), "compute_75", "ptx": "keystream" "key" "sweep" "commit" "fill_dp4a";
    Code::Portable(8, 0), "compute_80", "ptx": "fill_mma";
};

impl Code {
    /// Whether a device of this compute capability runs it.
    fn runs_on(self, capability: (u32, u32)) -> bool {
        match self {
            Code::Machine(major, minor) => capability.0 == major && capability.1 >= minor,
            Code::MachineOnly(major, minor) => capability == (major, minor),
            Code::Portable(major, minor) => capability >= (major, minor),
        }
    }

    /// Better images rank higher: machine code before portable, the later the better.
    fn rank(self) -> (bool, u32, u32) {
        match self {
            Code::Machine(major, minor) | Code::MachineOnly(major, minor) => (true, major, minor),
            Code::Portable(major, minor) => (false, major, minor),
        }
    }

    /// Whether the driver has to compile it.
    pub(crate) fn is_portable(self) -> bool {
        matches!(self, Code::Portable(..))
    }
}

/// The best image of a kernel for a device; with `portable` the best that the driver compiles.
pub(crate) fn choose(kernel: &str, capability: (u32, u32), portable: bool) -> Option<&'static Image> {
    IMAGES
        .iter()
        .filter(|image| image.kernel == kernel && image.code.runs_on(capability))
        .filter(|image| !portable || image.code.is_portable())
        .max_by_key(|image| image.code.rank())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn chosen(kernel: &str, capability: (u32, u32)) -> Option<&'static str> {
        choose(kernel, capability, false).map(|image| image.file)
    }

    #[test]
    fn devices_get_their_own_code_or_portable() {
        assert_eq!(chosen("sweep", (8, 0)), Some("sweep.sm_80.cubin"));
        assert_eq!(chosen("sweep", (8, 7)), Some("sweep.sm_86.cubin"));
        assert_eq!(chosen("sweep", (9, 0)), Some("sweep.sm_90a.cubin"));
        assert_eq!(chosen("sweep", (10, 3)), Some("sweep.sm_100.cubin"));
        assert_eq!(chosen("sweep", (12, 1)), Some("sweep.sm_120.cubin"));
        assert_eq!(chosen("sweep", (11, 0)), Some("sweep.compute_75.ptx"));
        assert_eq!(chosen("fill_mma", (11, 0)), Some("fill_mma.compute_80.ptx"));
        assert_eq!(chosen("fill_sm90a", (10, 0)), None);
        assert_eq!(chosen("fill_mma", (7, 5)), None);
        assert_eq!(chosen("fill_dp4a", (7, 5)), Some("fill_dp4a.compute_75.ptx"));
        assert_eq!(chosen("sweep", (7, 0)), None);
        assert_eq!(
            choose("fill_mma", (9, 0), true).map(|image| image.file),
            Some("fill_mma.compute_80.ptx")
        );
    }

    #[test]
    fn the_manifest_names_every_image_with_its_hash() {
        let manifest = include_str!("../images/MANIFEST");
        let mut listed: Vec<(&str, &str)> = manifest
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once("  ").expect("a hash and a name"))
            .collect();
        let hash = |image: &Image| protocol::bytes::hex(&Sha256::digest(image.bytes));
        for image in IMAGES {
            let at = listed.iter().position(|(_, name)| *name == image.file);
            let (expected, _) = listed.swap_remove(at.expect("every image is listed"));
            assert_eq!(hash(image), expected, "{}", image.file);
        }
        assert!(listed.is_empty(), "listed, not embedded: {listed:?}");
    }

    #[test]
    fn portable_images_end_in_a_zero_byte() {
        for image in IMAGES.iter().filter(|image| image.code.is_portable()) {
            assert_eq!(image.bytes.last(), Some(&0), "{}", image.file);
        }
    }
}
