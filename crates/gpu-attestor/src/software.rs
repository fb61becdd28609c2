//! What this program calls itself.

/// Name and version, as in HELLO.
pub(crate) fn software() -> String {
    concat!("gpu-attestor ", env!("CARGO_PKG_VERSION")).to_owned()
}
