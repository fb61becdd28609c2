//! All known ways to cheat or break a session, and the verdict that each must result in.
//!
//! Each row of a module's table is a test of its own; together they cover every reason that the protocol defines.

mod stage;

mod breaks;
mod engines;
mod messages;
mod openings;
mod streams;
mod timing;
mod vectors;

use protocol::verdict::Verdict;

/// A row of a table of attacks.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) code: &'static str,
    pub(crate) play: fn() -> Verdict,
}

/// Rows of `fn name(): code, pattern of the verdict => play`: one test for each, and a table of all.
macro_rules! attacks {
    ($($(#[$doc:meta])* fn $name:ident(): $code:literal, $pattern:pat $(if $guard:expr)? => $play:expr;)*) => {
        pub(crate) const ATTACKS: &[$crate::Attack] = &[$($crate::Attack {
            name: concat!(module_path!(), "::", stringify!($name)),
            code: $code,
            play: || $play,
        }),*];

        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                let verdict = $play;
                assert!(
                    matches!(&verdict, $pattern $(if $guard)?),
                    "expected {}, got {verdict:?}",
                    stringify!($pattern $(if $guard)?)
                );
                assert_eq!(verdict.code(), $code);
            }
        )*
    };
}
pub(crate) use attacks;

/// The tables of attacks on a simulated clock, which give the same evidence every time.
pub(crate) const REHEARSED: [&[Attack]; 5] = [
    breaks::ATTACKS,
    engines::ATTACKS,
    messages::ATTACKS,
    openings::ATTACKS,
    timing::ATTACKS,
];

#[test]
fn every_reason_has_an_attack() {
    for code in testkit::reasons::codes() {
        let attacks: Vec<&str> = REHEARSED
            .iter()
            .copied()
            .chain([streams::ATTACKS])
            .flatten()
            .filter(|attack| attack.code == code)
            .map(|attack| attack.name)
            .collect();
        println!("{code:<22} {}", attacks.join(", "));
        assert!(!attacks.is_empty(), "no attack ends in {code}");
    }
}
