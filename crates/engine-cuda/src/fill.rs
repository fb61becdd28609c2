//! The fill on each path: its kernels, and how they are launched (spec §4).

use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use protocol::engine::{Assignment, EngineError, FillTask};
use protocol::limits::{TILE_BYTES, TILE_SIDE};

use crate::context::Context;
use crate::driver::check;
use crate::fill_path::FillPath;
use crate::kernels::{Function, Module, Shape, parameter};
use crate::layout::{ABANDON, Layout, OPERAND_KEY, batch_panels};
use crate::memory::DeviceMemory;
use crate::stream::Stream;
use crate::sys;

/// Ranges of matrices of about equal size, one launch each.
pub(crate) fn launches(assignment: &Assignment, inner_dim: u32, path: FillPath) -> Vec<Range<u32>> {
    let n = u128::from(assignment.matrix_dim());
    let matrices = assignment.num_matrices();
    let operations = 2 * n * n * u128::from(inner_dim) * u128::from(matrices);
    let count = operations
        .div_ceil(path.operations_per_launch())
        .clamp(1, matrices.into()) as u64;
    let start = |launch: u64| (u64::from(matrices) * launch / count) as u32;
    (0..count).map(|launch| start(launch)..start(launch + 1)).collect()
}

/// fill_sm90a.cu: CTAs per cluster, threads, and dynamic shared memory.
const SM90A_CLUSTER: u32 = 2;
const SM90A_THREADS: u32 = 384;
const SM90A_SHARED_BYTES: u32 = 196_672;
const SM90A_OPERANDS_SHAPE: (u32, u32) = (1056, 256);

/// fill_mma.cu: dynamic shared memory, and rows of a CTA.
pub(crate) const MMA_SHARED_BYTES: u32 = 98_304;
const CTA_ROWS: u32 = 128;

/// The loaded kernels of one path.
pub(crate) enum FillKernels {
    Sm90a {
        operands: Function,
        fill: Function,
        /// Clusters that the device can hold at once.
        clusters: u32,
        _module: Module,
    },
    Plain {
        keystream: Function,
        fill: Function,
        path: FillPath,
        multiprocessors: u32,
        _modules: [Module; 2],
    },
}

impl FillKernels {
    pub(crate) fn load(context: &Arc<Context>, path: FillPath, portable: bool) -> Result<Self, EngineError> {
        match path {
            FillPath::Sm90a => {
                let module = Module::load(context, "fill_sm90a", portable)?;
                let fill = module.function("fill_sm90a", SM90A_SHARED_BYTES)?;
                let clusters = fill.resident_clusters(sm90a_shape(1))?;
                if clusters == 0 {
                    return Err(EngineError::Unsupported(
                        "the device holds no cluster of fill_sm90a".to_owned(),
                    ));
                }
                Ok(FillKernels::Sm90a {
                    operands: module.function("fill_sm90a_operands", 0)?,
                    fill,
                    clusters,
                    _module: module,
                })
            }
            FillPath::Mma | FillPath::Dp4a => {
                let (name, shared_bytes) = match path {
                    FillPath::Mma => ("fill_mma", MMA_SHARED_BYTES),
                    _ => ("fill_dp4a", 0),
                };
                let keystream = Module::load(context, "keystream", portable)?;
                let module = Module::load(context, name, portable)?;
                Ok(FillKernels::Plain {
                    keystream: keystream.function("keystream", 0)?,
                    fill: module.function(name, shared_bytes)?,
                    path,
                    multiprocessors: context.multiprocessors()?,
                    _modules: [keystream, module],
                })
            }
        }
    }

    /// Clusters of two multiprocessors that the fill uses, if it uses clusters.
    #[cfg(feature = "attack")]
    pub(crate) fn clusters(&mut self) -> Option<&mut u32> {
        match self {
            FillKernels::Sm90a { clusters, .. } => Some(clusters),
            FillKernels::Plain { .. } => None,
        }
    }

    pub(crate) fn path(&self) -> FillPath {
        match self {
            FillKernels::Sm90a { .. } => FillPath::Sm90a,
            FillKernels::Plain { path, .. } => *path,
        }
    }
}

/// A fill in progress: its memory and parameters.
pub(crate) struct Fill<'a> {
    pub(crate) assignment: &'a Assignment,
    pub(crate) layout: &'a Layout,
    pub(crate) memory: &'a DeviceMemory,
    pub(crate) task: &'a FillTask,
}

impl Fill<'_> {
    /// Queues the fill of a range of the assignment's matrices. Digest key, operand key and zeroed digests precede it
    /// on the stream.
    /// on the stream.
    pub(crate) fn queue(
        &self,
        kernels: &FillKernels,
        stream: &Stream,
        matrices: &Range<u32>,
    ) -> Result<(), EngineError> {
        match kernels {
            FillKernels::Sm90a {
                operands,
                fill,
                clusters,
                ..
            } => self.queue_sm90a(*operands, *fill, *clusters, stream, matrices),
            FillKernels::Plain {
                keystream,
                fill,
                path,
                multiprocessors,
                ..
            } => self.queue_plain(*keystream, *fill, *path, *multiprocessors, stream, matrices),
        }
    }

    fn n(&self) -> u32 {
        self.assignment.matrix_dim()
    }

    fn tiles_per_matrix(&self) -> u64 {
        let columns = u64::from(self.n() / TILE_SIDE as u32);
        columns * columns
    }

    /// Where a matrix's tiles and its digests start.
    fn outputs(&self, matrix: u32) -> (sys::CUdeviceptr, sys::CUdeviceptr) {
        let first_tile = u64::from(matrix) * self.tiles_per_matrix();
        (
            self.memory.at(self.layout.dataset + first_tile * TILE_BYTES as u64),
            self.memory.at(self.layout.leaves + first_tile * 8),
        )
    }

    fn queue_sm90a(
        &self,
        operands: Function,
        fill: Function,
        clusters: u32,
        stream: &Stream,
        matrices: &Range<u32>,
    ) -> Result<(), EngineError> {
        let (n, k) = (self.n(), self.task.inner_dim);
        let columns = n / TILE_SIDE as u32;
        let num_panels = matrices.len() as u32 * columns;
        let batch_panels = batch_panels(self.assignment, k);
        let batches = num_panels.div_ceil(batch_panels);
        let a = self.memory.at(self.layout.left);
        let b = self.memory.at(self.layout.right);
        let progress = self.memory.at(self.layout.progress);
        let abandon = self.memory.at(self.layout.small + ABANDON);
        let (dataset, digests) = self.outputs(matrices.start);
        let key = self.memory.at(self.layout.key);
        let operand_key: [u32; 8] = words(&self.task.operand_key.0);
        let matrix_offset = self.assignment.matrix_offset() + u64::from(matrices.start);
        let a_rows = 2 * u64::from(batch_panels) * TILE_SIDE as u64;
        let a_map = tensor_map(a, &[k.into(), a_rows], &[k.into()], &[128, 128])?;
        let row = u64::from(k);
        let b_map = tensor_map(
            b,
            &[row, 2, 4, 8, u64::from(n / 64)],
            &[row, 16 * row, 2 * row, 64 * row],
            &[128, 2, 4, 8, 4 / SM90A_CLUSTER],
        )?;

        // SAFETY: `progress` has two words for each batch of the whole assignment, and earlier launches of the stream
        // no longer use it.
        // with it.
        unsafe { stream.zero(progress, u64::from(batches) * 8)? };
        let (grid, block) = SM90A_OPERANDS_SHAPE;
        // SAFETY: parameters in the order of the kernel's header, by value where it says so; `left` holds two batches
        // of panels at any k up to the prepared one (`Layout`), `right` n * k bytes.
        unsafe {
            operands.launch(
                stream,
                Shape::plain(grid, block),
                [
                    parameter(&a),
                    parameter(&b),
                    parameter(&operand_key),
                    parameter(&matrix_offset),
                    parameter(&num_panels),
                    parameter(&batch_panels),
                    parameter(&columns),
                    parameter(&k),
                ],
            )?;
        }
        let tiles = u64::from(num_panels) * u64::from(columns);
        let shape = sm90a_shape(u64::from(clusters).min(tiles) as u32);
        // SAFETY: as above; tiles and digests of these matrices lie within the dataset and the leaves, the maps cover `left` and
        // `right` at this n and k, and no more CTAs are launched than are resident at once.
        unsafe {
            fill.launch(
                stream,
                shape,
                [
                    parameter(&a_map),
                    parameter(&b_map),
                    parameter(&a),
                    parameter(&dataset),
                    parameter(&digests),
                    parameter(&key),
                    parameter(&progress),
                    parameter(&operand_key),
                    parameter(&matrix_offset),
                    parameter(&num_panels),
                    parameter(&batch_panels),
                    parameter(&columns),
                    parameter(&k),
                    parameter(&abandon),
                ],
            )
        }
    }

    fn queue_plain(
        &self,
        keystream: Function,
        fill: Function,
        path: FillPath,
        multiprocessors: u32,
        stream: &Stream,
        matrices: &Range<u32>,
    ) -> Result<(), EngineError> {
        let (n, k) = (self.n(), self.task.inner_dim);
        let matrix_bytes = u64::from(n) * u64::from(k);
        // A grid's second dimension counts matrices, and ends at 65,535.
        let at_once = (self.layout.left_bytes / matrix_bytes).clamp(1, 65_535) as u32;
        let a = self.memory.at(self.layout.left);
        let b = self.memory.at(self.layout.right);
        let operand_key = self.memory.at(self.layout.small + OPERAND_KEY);
        let key = self.memory.at(self.layout.key);
        let generate = |target: sys::CUdeviceptr, tag: u8, first_index: u64, count: u32| {
            let blocks = (matrix_bytes / 64) as u32;
            let ctas = (4 * multiprocessors / count).clamp(1, blocks / 256);
            let shape = Shape {
                grid: (ctas, count),
                ..Shape::plain(1, 256)
            };
            let tag = u32::from(tag);
            // SAFETY: parameters in the order of the kernel's header; `count` matrices fit at `target`, and blocks of a matrix
            // are a multiple of 256, as n is one of 256 and k of 64.
            unsafe {
                keystream.launch(
                    stream,
                    shape,
                    [
                        parameter(&target),
                        parameter(&operand_key),
                        parameter(&tag),
                        parameter(&first_index),
                        parameter(&blocks),
                    ],
                )
            }
        };
        generate(b, b'B', 0, 1)?;
        for first in matrices.clone().step_by(at_once as usize) {
            let count = at_once.min(matrices.end - first);
            generate(a, b'A', self.assignment.matrix_offset() + u64::from(first), count)?;
            let (dataset, digests) = self.outputs(first);
            let across = match path {
                FillPath::Mma => n / TILE_SIDE as u32,
                _ => n / CTA_ROWS,
            };
            let mut shape = Shape::plain(count * (n / CTA_ROWS) * across, 256);
            if path == FillPath::Mma {
                shape.shared_bytes = MMA_SHARED_BYTES;
            }
            // SAFETY: parameters in the order of the kernels' headers; operands were just queued, tiles and zeroed digests of these
            // matrices lie within the dataset and the leaves.
            unsafe {
                fill.launch(
                    stream,
                    shape,
                    [
                        parameter(&a),
                        parameter(&b),
                        parameter(&key),
                        parameter(&dataset),
                        parameter(&digests),
                        parameter(&n),
                        parameter(&k),
                    ],
                )?;
            }
        }
        Ok(())
    }
}

fn sm90a_shape(clusters: u32) -> Shape {
    Shape {
        grid: (SM90A_CLUSTER * clusters, 1),
        block: SM90A_THREADS,
        cluster: SM90A_CLUSTER,
        shared_bytes: SM90A_SHARED_BYTES,
    }
}

/// The little-endian words of 32 bytes.
fn words(bytes: &[u8; 32]) -> [u32; 8] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_le_bytes(words[i]))
}

/// A map of bytes at `address` for the copy engine, as required by fill_sm90a.cu.
fn tensor_map<const RANK: usize, const STRIDES: usize>(
    address: sys::CUdeviceptr,
    dims: &[u64; RANK],
    strides: &[u64; STRIDES],
    sides: &[u32; RANK],
) -> Result<sys::CUtensorMap, EngineError> {
    const { assert!(STRIDES + 1 == RANK, "the first dimension is contiguous") };
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    let element_strides = [1_u32; RANK];
    // SAFETY: the arrays have as many entries as the rank requires; the map is aligned by its type; the call only
    // encodes.
    check("cuTensorMapEncodeTiled", unsafe {
        sys::cuTensorMapEncodeTiled(
            &raw mut map,
            sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT8,
            RANK as u32,
            ptr::with_exposed_provenance_mut(address as usize),
            dims.as_ptr(),
            strides.as_ptr(),
            sides.as_ptr(),
            element_strides.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    })?;
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::engine::AssignmentFields;

    #[test]
    fn launches_cover_all_matrices_once_in_order() {
        for (n, matrices, k) in [
            (256, 1, 64),
            (16_384, 517, 16_384),
            (16_384, 517, 2048),
            (32_768, 3, 65_536),
        ] {
            let assignment = Assignment::new(AssignmentFields {
                matrix_dim: n,
                matrix_offset: 0,
                num_matrices: matrices,
                max_inner_dim: k,
            })
            .expect("sizes that a plan can have");
            for path in FillPath::ALL {
                let launches = launches(&assignment, k, path);
                let mut next = 0;
                for launch in &launches {
                    assert_eq!(launch.start, next);
                    assert!(!launch.is_empty());
                    next = launch.end;
                }
                assert_eq!(next, matrices);
            }
        }
    }

    #[test]
    fn a_full_fill_is_cut_into_parts_of_a_third_of_a_second() {
        let assignment = Assignment::new(AssignmentFields {
            matrix_dim: 16_384,
            matrix_offset: 0,
            num_matrices: 517,
            max_inner_dim: 16_384,
        })
        .expect("sizes that a plan can have");
        assert_eq!(launches(&assignment, 16_384, FillPath::Sm90a).len(), 12);
        assert_eq!(launches(&assignment, 2048, FillPath::Sm90a).len(), 2);
    }
}
