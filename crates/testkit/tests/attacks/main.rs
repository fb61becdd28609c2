//! Every way to cheat or break a session that we know, and the verdict that each must end in.
//!
//! Each row of a module's table is a test of its own; together they meet every reason that the protocol knows.

mod stage;

mod breaks;
mod engines;
mod messages;
mod openings;
mod streams;
mod timing;

/// A row of a table of attacks.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) code: &'static str,
}

/// Rows of `fn name(): code, pattern of the verdict => play`: a test each, and a table of all.
macro_rules! attacks {
    ($($(#[$doc:meta])* fn $name:ident(): $code:literal, $pattern:pat $(if $guard:expr)? => $play:expr;)*) => {
        pub(crate) const ATTACKS: &[$crate::Attack] = &[$($crate::Attack {
            name: concat!(module_path!(), "::", stringify!($name)),
            code: $code,
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

#[test]
fn every_reason_has_an_attack() {
    let tables = [
        breaks::ATTACKS,
        engines::ATTACKS,
        messages::ATTACKS,
        openings::ATTACKS,
        streams::ATTACKS,
        timing::ATTACKS,
    ];
    for code in testkit::reasons::codes() {
        let attacks: Vec<&str> = tables
            .iter()
            .flat_map(|table| table.iter())
            .filter(|attack| attack.code == code)
            .map(|attack| attack.name)
            .collect();
        println!("{code:<22} {}", attacks.join(", "));
        assert!(!attacks.is_empty(), "no attack ends in {code}");
    }
}
