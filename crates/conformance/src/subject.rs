//! What the suite is run on: an engine in one configuration, and one whose device a test can take away.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use protocol::engine::{Assignment, Engine};

/// An engine in one configuration. Its `Display` is its name in failures.
pub trait Subject: Display {
    /// An unprepared engine with this memory limit (bytes), or without a limit.
    fn engine(&self, memory_limit_bytes: Option<u64>) -> Box<dyn Engine>;

    /// Memory that the engine's `prepare` allocates for an assignment (bytes): the figure that it compares with the
    /// limit.
    fn required_bytes(&self, assignment: &Assignment) -> u64;

    /// An engine whose device can be lost.
    ///
    /// # Errors
    ///
    /// Why a test cannot make it lost: the suite then reports this test as skipped.
    fn losable(&self) -> Result<Losable<dyn Engine>, &'static str>;
}

/// An engine whose device a test can take away.
pub struct Losable<E: ?Sized> {
    /// The engine on the device, not yet prepared.
    pub engine: Box<E>,
    /// Makes the device lost, permanently or until the engine is prepared again, whatever it is doing; called on any
    /// thread.
    pub lose: Arc<dyn Fn() + Send + Sync>,
    /// A call that has not returned after this time hangs: longer than the engine ever waits for its device.
    pub patience: Duration,
}
