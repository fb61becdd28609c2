//! The Attester's side of a session: engines at work, one thread a device, behind the protocol's state machine.

mod device;
mod serve;

pub use device::{Device, cpu_devices};
pub use serve::{Attester, ServeError, serve};
