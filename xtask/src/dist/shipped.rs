//! The commands that are released.

pub(super) static COMMANDS: [Shipped; 2] = [
    Shipped {
        name: "gpu-attestor",
        summary: "proves to a Verifier what this host's GPUs hold and do",
        units: &["gpu-attestor.socket", "gpu-attestor@.service"],
    },
    Shipped {
        name: "gpu-validator",
        summary: "attests GPU hosts and checks their evidence",
        units: &[],
    },
];

/// A command that is released.
pub(super) struct Shipped {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// Its files of `packaging/systemd`.
    pub(super) units: &'static [&'static str],
}
