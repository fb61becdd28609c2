//! The protocol's work on NVIDIA GPUs: fills, sweeps, rounds and roots by kernels embedded in this crate as images.
//!
//! CUDA is not needed to build this crate or to start a program that uses it: the driver is loaded at run time, and
//! [`devices`] reports if there is none. A [`CudaEngine`] is one device, driven by one thread; the results are those of
//! `spec/protocol.md`, section 4, on every path.
//!
//! A dataset, its operands and all scratch memory are one allocation ([`CudaEngine::required_bytes`]). Leaves are
//! copied to host memory after each fill, sweep and round, 8 bytes per leaf: for 141 GB about 18 MB per fill and 9 MB per
//! sweep.

#[cfg(feature = "attack")]
pub mod attack;
mod backend;
pub mod bench;
mod calls;
mod context;
mod dataset;
mod device;
mod driver;
mod engine;
mod fill;
mod fill_path;
mod health;
mod image;
mod inventory;
mod kernels;
mod layout;
mod leaves;
mod link;
mod memory;
mod no_cuda;
mod nvml;
mod offer;
mod report;
mod self_check;
mod stream;
mod sweep;
mod sys;
mod telemetry;
mod tiles;
mod turn;
mod workload;
mod xid;

pub use self::backend::{Cuda, CudaError, cuda_devices};
pub use engine::{CudaEngine, CudaEngineConfig};
pub use fill_path::FillPath;
pub use inventory::{DeviceInfo, Nvlink, ProcessUse, describe, device_count, devices};
pub use no_cuda::NoCuda;
pub use protocol::engine::LinkPath;
pub use sweep::SweepPath;
pub use telemetry::{NoTelemetry, NvmlWatch, Series, TelemetrySummary};
pub use tiles::CudaTiles;
