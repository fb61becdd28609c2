//! Tests of the suite itself: each fault that an engine can have is caught by the case intended for it, and an engine
//! without a fault passes all cases.

mod engine;
mod tiles;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The message of a function of the suite; `None` if it passes.
fn said(conforms: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(conforms)).err()?;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Some(text.expect("failures are told as text").to_owned())
}

/// Fails unless this fault was caught, with a message that says so.
fn check_caught(fault: &str, expected: &str, said: Option<String>) {
    let said = said.unwrap_or_else(|| panic!("{fault}: the suite lets it pass"));
    assert!(said.contains(expected), "{fault}: expected {expected:?} in {said:?}");
}
