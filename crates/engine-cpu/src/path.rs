//! The code paths of this crate, which all return the same results, and which of them this CPU supports.

use std::fmt;
use std::str::FromStr;

/// A set of implementations of keystream, product, fold and digests, named by the CPU features it requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Plain Rust for any CPU.
    Portable,
    /// 128-bit vectors of ARM; products by `sdot`.
    NeonDotprod,
    /// 256-bit vectors; products by 16-bit multiply-adds.
    Avx2,
    /// 256-bit vectors; products by VEX-coded `vpdpbusd`.
    AvxVnni,
    /// 512-bit vectors; products by `vpdpbusd`.
    Avx512Vnni,
    /// The same, but products by AMX tiles: `tdpbssd`.
    AmxInt8,
}

/// The requested path is not supported by this CPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this CPU does not run the {requested} path; it runs {}", available.iter().map(Path::name).collect::<Vec<_>>().join(", "))]
pub struct UnsupportedPath {
    /// The requested path.
    pub requested: Path,
    /// The paths that this CPU supports.
    pub available: Vec<Path>,
}

/// A text that is not the name of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of portable, neon-dotprod, avx2, avx-vnni, avx512-vnni, amx-int8")]
pub struct ParsePathError(pub String);

impl Path {
    /// All paths, the slowest of each architecture first.
    pub const ALL: [Path; 6] = [
        Path::Portable,
        Path::NeonDotprod,
        Path::Avx2,
        Path::AvxVnni,
        Path::Avx512Vnni,
        Path::AmxInt8,
    ];

    /// The paths that this CPU supports, slowest first; always includes [`Path::Portable`].
    #[must_use]
    pub fn available() -> Vec<Path> {
        Path::ALL.into_iter().filter(|path| path.is_available()).collect()
    }

    /// The fastest path that this CPU supports.
    #[must_use]
    pub fn best() -> Path {
        Path::ALL
            .into_iter()
            .rfind(|path| path.is_available())
            .unwrap_or(Path::Portable)
    }

    /// Whether this CPU supports the path. The first call for AMX requests permission from the kernel for this process.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Path::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Path::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Path::AvxVnni => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Path::AmxInt8 => Path::Avx512Vnni.is_available() && crate::product::amx::is_usable(),
            // Another architecture's.
            _ => false,
        }
    }

    /// The path's code, if this CPU supports it.
    ///
    /// # Errors
    ///
    /// [`UnsupportedPath`] with the supported paths: no other path is used instead.
    pub fn kernels(self) -> Result<Kernels, UnsupportedPath> {
        if self.is_available() {
            Ok(Kernels { path: self })
        } else {
            Err(UnsupportedPath {
                requested: self,
                available: Path::available(),
            })
        }
    }

    /// The path's name: `portable`, `neon-dotprod`, `avx2`, `avx-vnni`, `avx512-vnni` or `amx-int8`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Path::Portable => "portable",
            Path::NeonDotprod => "neon-dotprod",
            Path::Avx2 => "avx2",
            Path::AvxVnni => "avx-vnni",
            Path::Avx512Vnni => "avx512-vnni",
            Path::AmxInt8 => "amx-int8",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Path {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Path::ALL
            .into_iter()
            .find(|path| path.name() == text)
            .ok_or_else(|| ParsePathError(text.to_owned()))
    }
}

/// The code of one path, on a CPU that supports it: only [`Path::kernels`] creates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    path: Path,
}

impl Kernels {
    /// The path whose code this is.
    #[inline]
    #[must_use]
    pub fn path(self) -> Path {
        self.path
    }

    /// The value that left operands are xored with, byte by byte: `vpdpbusd` takes them as u8, so they are offset by
    /// 128.
    #[inline]
    pub(crate) fn left_flip(self) -> u32 {
        match self.path {
            Path::Portable | Path::NeonDotprod | Path::Avx2 | Path::AmxInt8 => 0,
            Path::AvxVnni | Path::Avx512Vnni => 0x8080_8080,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for path in Path::ALL {
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        assert_eq!("sse9".parse::<Path>(), Err(ParsePathError("sse9".to_owned())));
    }

    #[test]
    fn what_this_cpu_lacks_is_an_error_and_never_another_path() {
        assert!(Path::available().contains(&Path::Portable));
        assert!(Path::best().is_available());
        // Set when the tests run specifically for this path, as under emulation.
        if let Ok(required) = std::env::var("GPU_ATTESTOR_REQUIRE_PATH") {
            let path: Path = required.parse().expect("GPU_ATTESTOR_REQUIRE_PATH names a path");
            assert!(
                path.is_available(),
                "GPU_ATTESTOR_REQUIRE_PATH={required}, but this CPU does not run it"
            );
        }
        for path in Path::ALL {
            match path.kernels() {
                Ok(kernels) => assert_eq!(kernels.path(), path),
                Err(error) => {
                    assert_eq!(error.requested, path);
                    assert!(!error.available.contains(&path));
                }
            }
        }
    }
}
