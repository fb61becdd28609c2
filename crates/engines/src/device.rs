//! A device of this host with all that a session needs of it.

use std::any::Any;

use protocol::engine::Engine;
use protocol::message::DeviceOffer;

/// One device: what HELLO says of it, and its engine.
pub struct Device {
    /// Its part of HELLO.
    pub offer: DeviceOffer,
    /// What does its work.
    pub engine: Box<dyn Engine>,
    /// What watches it during a session.
    pub telemetry: Option<Box<dyn Telemetry>>,
}

/// Watches a device from READY to OPENINGS: power, clocks, temperature. What it sees are labels, never evidence, so nothing waits
/// for it: a call that does not come back leaves a label behind and no more.
pub trait Telemetry: Send {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// Why nothing can be seen; it becomes a label.
    fn start(&mut self) -> Result<(), String>;

    /// Ends watching and says what was seen, as names and values.
    ///
    /// # Errors
    ///
    /// Why nothing was; it becomes a label.
    fn finish(&mut self) -> Result<Vec<(String, String)>, String>;
}

/// What a panic said, where it said it as text.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
