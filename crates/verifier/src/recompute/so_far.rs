//! The progress of recomputing, and what the samples checked so far certify.

use protocol::bounds::Assumptions;
use protocol::bytes::DeviceOrdinal;
use protocol::certified::Certified;
use protocol::openings::TileCheck;
use protocol::verifier::VerifierSession;

/// The samples that were recomputed and agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// Samples of all devices and groups that agree.
    pub done: usize,
    /// Samples drawn.
    pub total: usize,
    /// Per device and group.
    pub groups: Vec<GroupSoFar>,
}

/// One device's samples with one k.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSoFar {
    /// The device.
    pub device: DeviceOrdinal,
    /// k.
    pub inner_dim: u32,
    /// Samples drawn.
    pub drawn: usize,
    /// The length of the unbroken run of agreeing samples from the first drawn: they are as random as if no more had
    /// been drawn, unlike samples that were checked early because they share tiles.
    pub first_agreeing: usize,
    agreeing: Vec<bool>,
}

impl SoFar {
    pub(super) fn new(checks: &[TileCheck]) -> Self {
        let mut so_far = SoFar {
            done: 0,
            total: checks.len(),
            groups: Vec::new(),
        };
        for check in checks {
            let (device, inner_dim) = (check.site.sample.device, check.site.inner_dim);
            let at = so_far.position(device, inner_dim).unwrap_or_else(|| {
                so_far.groups.push(GroupSoFar {
                    device,
                    inner_dim,
                    drawn: 0,
                    first_agreeing: 0,
                    agreeing: Vec::new(),
                });
                so_far.groups.len() - 1
            });
            so_far.groups[at].drawn += 1;
            so_far.groups[at].agreeing.push(false);
        }
        so_far
    }

    fn position(&self, device: DeviceOrdinal, inner_dim: u32) -> Option<usize> {
        self.groups
            .iter()
            .rposition(|group| (group.device, group.inner_dim) == (device, inner_dim))
    }

    /// Records a check that agrees; `position` is its place within its group.
    pub(super) fn agree(&mut self, check: &TileCheck, position: usize) {
        self.done += 1;
        let at = self.position(check.site.sample.device, check.site.inner_dim);
        let group = &mut self.groups[at.expect("made from all checks")];
        group.agreeing[position] = true;
        while group.agreeing.get(group.first_agreeing) == Some(&true) {
            group.first_agreeing += 1;
        }
    }

    /// What the session certifies if only [`GroupSoFar::first_agreeing`] is known: f is that of this many samples (spec
    /// §6). `None` without a clock.
    #[must_use]
    pub fn certified(&self, session: &VerifierSession, assumptions: &Assumptions) -> Option<Certified> {
        let agreeing = |device, inner_dim| {
            let at = self.position(device, inner_dim);
            at.map_or(0, |at| self.groups[at].first_agreeing as u32)
        };
        session.certified_so_far(assumptions, agreeing).ok()
    }
}

/// The position of each check within its device and group.
pub(super) fn positions(checks: &[TileCheck]) -> Vec<usize> {
    let mut drawn = std::collections::HashMap::new();
    checks
        .iter()
        .map(|check| {
            let drawn: &mut usize = drawn
                .entry((check.site.sample.device, check.site.inner_dim))
                .or_default();
            *drawn += 1;
            *drawn - 1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recompute::tests::check as any_check;

    fn check(device: u32, inner_dim: u32) -> TileCheck {
        any_check(device, 0, inner_dim, 0, [0; 2])
    }

    #[test]
    fn only_the_first_drawn_count_whatever_is_done_first() {
        // Two devices, two k: the checks of the groups alternate.
        let checks = [
            check(0, 64),
            check(1, 64),
            check(0, 128),
            check(0, 64),
            check(1, 64),
            check(0, 64),
        ];
        let positions = positions(&checks);
        assert_eq!(positions, [0, 0, 0, 1, 1, 2]);
        let mut so_far = SoFar::new(&checks);
        let seen = |so_far: &SoFar| -> Vec<_> {
            so_far
                .groups
                .iter()
                .map(|group| (group.drawn, group.first_agreeing))
                .collect()
        };
        assert_eq!((so_far.done, so_far.total), (0, 6));
        assert_eq!(seen(&so_far), [(3, 0), (2, 0), (1, 0)]);
        for (at, expected) in [
            (5, [(3, 0), (2, 0), (1, 0)]),
            (0, [(3, 1), (2, 0), (1, 0)]),
            (4, [(3, 1), (2, 0), (1, 0)]),
            (3, [(3, 3), (2, 0), (1, 0)]),
            (1, [(3, 3), (2, 2), (1, 0)]),
            (2, [(3, 3), (2, 2), (1, 1)]),
        ] {
            so_far.agree(&checks[at], positions[at]);
            assert_eq!(seen(&so_far), expected, "after check {at}");
        }
        assert_eq!(so_far.done, 6);
    }
}
