//! A device of this host with all that a session needs of it.

use std::any::Any;

use protocol::engine::Engine;
use protocol::message::DeviceOffer;

/// One device: its part of HELLO, and its engine.
pub struct Device {
    /// Its part of HELLO.
    pub offer: DeviceOffer,
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Its telemetry during a session.
    pub telemetry: Option<Box<dyn Telemetry>>,
}

/// A device of this host that was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// The argument of [`Backend::open_engine`](crate::Backend::open_engine).
    pub index: u32,
    /// Its name for users, for example `GPU 3`.
    pub name: String,
}

/// Telemetry of a device from READY to OPENINGS: power, clocks, temperature. The results are labels, never evidence, so
/// no session waits for them: a call that never returns results in a missing label and nothing else.
pub trait Telemetry: Send {
    /// Starts the telemetry.
    ///
    /// # Errors
    ///
    /// Why there is no telemetry; becomes a label.
    fn start(&mut self) -> Result<(), String>;

    /// Stops the telemetry and returns its results, as names and values.
    ///
    /// # Errors
    ///
    /// Why there are none; becomes a label.
    fn finish(&mut self) -> Result<Vec<(String, String)>, String>;
}

/// The message of a panic, if it is text.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
