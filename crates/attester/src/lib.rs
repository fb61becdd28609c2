//! The Attester's side of a session: engines, one thread per device, driven by the protocol's state machine.

mod attestation;
mod device;
mod host_memory;
mod in_step;
mod outbox;
mod serve;
mod telemetry;

pub use attestation::{AttestationCommand, NONCE_VARIABLE};
pub use backend::{Device, Telemetry};
pub use host_memory::HostMemoryError;
pub use protocol::driver::{LimitPassed, Limits};
pub use serve::{Attester, ServeError, refuse, serve};
