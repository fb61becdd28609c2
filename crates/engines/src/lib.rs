//! Every engine behind one door: devices are found, offered and opened by the engine's name.
//!
//! A [`Backend`] is one engine as the commands see it, a table of them what a command was built with. A new engine is a crate of its
//! own that passes the suite in `conformance`, a [`Backend`] here, and a line in the table of each command that is to have it.

mod backend;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod table;

pub use backend::{Backend, CpuWanted, HostDevice, NotBuilt, Unavailable, Wanted};
pub use cpu::{Cpu, cpu_devices};
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaError, cuda_devices};
pub use device::{Device, Telemetry, panic_message};
pub use table::{Taken, auto, named, open_each};
