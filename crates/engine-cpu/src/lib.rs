//! The protocol's work on CPUs: exact int8 tiles and their digests, by code chosen for the CPU at run time.
//!
//! One function, many implementations: a [`Path`] names a set of them, [`Kernels`] proves that this CPU supports it.
//! [`TileComputer`] uses them to recompute single tiles as the Verifier needs them, [`CpuEngine`] to hold a whole
//! device's dataset. The results are those of `spec/protocol.md`, section 4, on every path.

mod backend;
pub mod bench;
mod cache;
mod cgroup;
mod digest;
mod engine;
mod keystream;
mod layout;
mod memory;
mod packing;
mod path;
mod peak;
mod product;
mod report;
mod self_check;
mod tile;
mod tile_computer;
mod unchecked;

pub use self::backend::{Cpu, cpu_devices, cpu_engine};
pub use cache::OperandCache;
pub use engine::{CpuEngine, CpuEngineConfig};
pub use memory::available_memory_bytes;
pub use packing::PackedRows;
pub use path::{Kernels, ParsePathError, Path, UnsupportedPath};
pub use product::Product;
pub use self_check::SelfCheckError;
pub use tile::Tile;
pub use tile_computer::{TileComputer, TileComputerError};
