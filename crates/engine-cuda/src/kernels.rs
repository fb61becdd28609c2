//! Loaded kernels and their launch.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

use protocol::engine::EngineError;

use crate::context::Context;
use crate::driver::check;
use crate::image::{self, Image};
use crate::stream::Stream;
use crate::sys::{self, CUfunction_attribute, CUlaunchAttributeID, CUresult};

/// One image in a context, unloaded on drop.
pub(crate) struct Module {
    context: Arc<Context>,
    raw: sys::CUmodule,
    pub(crate) image: &'static Image,
}

/// A kernel of a [`Module`]; the module must outlive its launches.
#[derive(Clone, Copy)]
pub(crate) struct Function(sys::CUfunction);

// SAFETY: module and function handles may be used from any thread with the context current.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Send for Function {}

/// Shape of a launch: CTAs, threads per CTA, CTAs per cluster, dynamic shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) grid: (u32, u32),
    pub(crate) block: u32,
    pub(crate) cluster: u32,
    pub(crate) shared_bytes: u32,
}

impl Shape {
    /// Without clusters and dynamic shared memory.
    pub(crate) fn plain(grid: u32, block: u32) -> Self {
        Shape {
            grid: (grid, 1),
            block,
            cluster: 1,
            shared_bytes: 0,
        }
    }
}

impl Module {
    /// Loads the best image of a kernel source for the context's device.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] if there is none.
    pub(crate) fn load(context: &Arc<Context>, kernel: &str, portable: bool) -> Result<Self, EngineError> {
        let capability = context.compute_capability()?;
        let Some(image) = image::choose(kernel, capability, portable) else {
            let (major, minor) = capability;
            return Err(EngineError::Unsupported(format!(
                "no image of {kernel} for compute capability {major}.{minor}"
            )));
        };
        context.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the context is current; the bytes are a whole cubin, or PTX with its zero byte, and static.
        let status = unsafe { sys::cuModuleLoadData(&raw mut raw, image.bytes.as_ptr().cast()) };
        check("cuModuleLoadData", status).map_err(|error| match error {
            EngineError::Driver { call, message } => EngineError::Driver {
                call: format!("{call}({})", image.file),
                message,
            },
            error => error,
        })?;
        Ok(Module {
            context: context.clone(),
            raw,
            image,
        })
    }

    /// A kernel of the image, with this much dynamic shared memory allowed.
    pub(crate) fn function(&self, name: &str, shared_bytes: u32) -> Result<Function, EngineError> {
        let c_name = CString::new(name).expect("kernel names have no zero byte");
        let mut raw = ptr::null_mut();
        // SAFETY: the module is loaded, the name a C string, `raw` a valid output address.
        let status = unsafe { sys::cuModuleGetFunction(&raw mut raw, self.raw, c_name.as_ptr()) };
        if status == CUresult::CUDA_ERROR_NOT_FOUND {
            return Err(EngineError::Unsupported(format!("no {name} in {}", self.image.file)));
        }
        check("cuModuleGetFunction", status)?;
        if shared_bytes > 48 << 10 {
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the handle is valid; a size that the device does not have is an error status.
            check("cuFuncSetAttribute", unsafe {
                sys::cuFuncSetAttribute(raw, most, shared_bytes as i32)
            })?;
        }
        Ok(Function(raw))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.bind_to_release() {
            // SAFETY: loaded in `load`, unloaded once; the driver waits for launches.
            let _ = unsafe { sys::cuModuleUnload(self.raw) };
        }
    }
}

impl Function {
    /// Queues a launch.
    ///
    /// # Safety
    ///
    /// `parameters` point to one value for each of the kernel's parameters, in order and of their types, and the device
    /// memory that they refer to is large enough, allocated, and not used otherwise until the launch has finished.
    pub(crate) unsafe fn launch<const N: usize>(
        self,
        stream: &Stream,
        shape: Shape,
        mut parameters: [*mut c_void; N],
    ) -> Result<(), EngineError> {
        let mut attribute = cluster_attribute(shape.cluster);
        let config = config(&shape, &mut attribute, stream.raw());
        // SAFETY: the function's module is loaded in the stream's context; the caller guarantees the parameters, which
        // the driver copies before it returns, as it does the configuration.
        check("cuLaunchKernelEx", unsafe {
            sys::cuLaunchKernelEx(&raw const config, self.0, parameters.as_mut_ptr(), ptr::null_mut())
        })
    }

    /// Number of clusters of this shape that an otherwise idle device can hold at once.
    pub(crate) fn resident_clusters(self, shape: Shape) -> Result<u32, EngineError> {
        let mut attribute = cluster_attribute(shape.cluster);
        let config = config(&shape, &mut attribute, ptr::null_mut());
        let mut clusters = 0;
        // SAFETY: the function is loaded, the configuration complete, `clusters` a valid output address.
        check("cuOccupancyMaxActiveClusters", unsafe {
            sys::cuOccupancyMaxActiveClusters(&raw mut clusters, self.0, &raw const config)
        })?;
        Ok(clusters.max(0) as u32)
    }
}

fn cluster_attribute(cluster: u32) -> sys::CUlaunchAttribute {
    let id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    // SAFETY: the value is a union of plain data and padding: zeros are valid.
    let mut value: sys::CUlaunchAttributeValue = unsafe { std::mem::zeroed() };
    value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: cluster, y: 1, z: 1 };
    sys::CUlaunchAttribute { id, pad: [0; 4], value }
}

fn config(shape: &Shape, attribute: &mut sys::CUlaunchAttribute, stream: sys::CUstream) -> sys::CUlaunchConfig {
    sys::CUlaunchConfig {
        gridDimX: shape.grid.0,
        gridDimY: shape.grid.1,
        gridDimZ: 1,
        blockDimX: shape.block,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: shape.shared_bytes,
        hStream: stream,
        attrs: attribute,
        // Older chips do not support clusters: without a cluster, no attribute.
        numAttrs: u32::from(shape.cluster > 1),
    }
}

/// The address of a kernel parameter, in the form that the driver takes.
pub(crate) fn parameter<T>(value: &T) -> *mut c_void {
    ptr::from_ref(value).cast_mut().cast()
}
