//! cuBLASLt's int8 product, from the installed library if there is one: the baseline for the fill.

use std::ffi::{c_int, c_void};
use std::ptr;

use libloading::Library;
use protocol::engine::EngineError;

use super::plain::Plain;

use crate::sys;

/// File names of the library, the newest first; searched in the loader's own paths (`LD_LIBRARY_PATH`), then in the
/// usual one.
const LIBRARIES: [&str; 2] = ["libcublasLt.so.13", "libcublasLt.so.12"];
const USUAL_FOLDER: &str = "/usr/local/cuda/lib64/";

/// n, m and k of the product, the largest that fits.
const SIZES: [u32; 2] = [16_384, 8192];
const WORKSPACE_BYTES: u64 = 64 << 20;

type Handle = *mut c_void;
type Status = c_int;

/// cublasLt.h: `CUBLAS_COMPUTE_32I`, `CUDA_R_8I`, `CUDA_R_32I`, `CUBLASLT_MATMUL_DESC_TRANSA`, `CUBLAS_OP_T`,
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`.
const COMPUTE_32I: c_int = 72;
const INT8: c_int = 3;
const INT32: c_int = 10;
const DESC_TRANSA: c_int = 3;
const TRANSPOSED: c_int = 1;
const MAX_WORKSPACE: c_int = 1;

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Heuristic {
    algorithm: [u64; 8],
    workspace_bytes: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

type MatmulFn = unsafe extern "C" fn(
    Handle,
    Handle,
    *const c_void,
    *const c_void,
    Handle,
    *const c_void,
    Handle,
    *const c_void,
    *const c_void,
    Handle,
    *mut c_void,
    Handle,
    *const [u64; 8],
    *mut c_void,
    usize,
    sys::CUstream,
) -> Status;

/// C = A^T B over existing bytes: A and B are n x n of int8, C n x n of int32. Handles are kept until the process ends.
pub(super) struct Gemm {
    _library: Library,
    multiply: MatmulFn,
    handle: Handle,
    product: Handle,
    operand: Handle,
    result: Handle,
    n: u32,
    /// `None`: the library chooses at each call, without a workspace.
    algorithm: Option<[u64; 8]>,
    /// A, B, C, workspace.
    at: [u64; 4],
}

impl Gemm {
    /// A product over the first bytes of a dataset.
    ///
    /// # Errors
    ///
    /// Why it is not available: no library, too little memory, or a library error.
    pub(super) fn new(plain: &Plain<'_>, dataset_bytes: u64) -> Result<Self, String> {
        let needed = |n: u32| 6 * u64::from(n) * u64::from(n) + WORKSPACE_BYTES;
        let n = SIZES
            .into_iter()
            .find(|n| needed(*n) <= dataset_bytes)
            .ok_or_else(|| format!("too little memory for n = {}", SIZES[SIZES.len() - 1]))?;
        let library = load()?;
        let square = u64::from(n) * u64::from(n);
        let a = plain.dataset();
        // SAFETY: every type is that of cublasLt.h, the same in 12 and 13; output addresses are valid; the context is
        // current.
        unsafe {
            let handle = create(
                &library,
                "cublasLtCreate",
                |f: unsafe extern "C" fn(*mut Handle) -> Status, to| f(to),
            )?;
            let product = create(
                &library,
                "cublasLtMatmulDescCreate",
                |f: unsafe extern "C" fn(*mut Handle, c_int, c_int) -> Status, to| f(to, COMPUTE_32I, INT32),
            )?;
            type SetAttribute = unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> Status;
            let set: SetAttribute = symbol(&library, "cublasLtMatmulDescSetAttribute")?;
            let transposed: *const c_int = &TRANSPOSED;
            done(
                "cublasLtMatmulDescSetAttribute",
                set(product, DESC_TRANSA, transposed.cast(), 4),
            )?;
            type Layout = unsafe extern "C" fn(*mut Handle, c_int, u64, u64, i64) -> Status;
            let layout = |kind| {
                create(&library, "cublasLtMatrixLayoutCreate", |f: Layout, to| {
                    f(to, kind, n.into(), n.into(), n.into())
                })
            };
            let (operand, result) = (layout(INT8)?, layout(INT32)?);
            let preference = create(
                &library,
                "cublasLtMatmulPreferenceCreate",
                |f: unsafe extern "C" fn(*mut Handle) -> Status, to| f(to),
            )?;
            let set: SetAttribute = symbol(&library, "cublasLtMatmulPreferenceSetAttribute")?;
            let workspace: *const u64 = &WORKSPACE_BYTES;
            done(
                "cublasLtMatmulPreferenceSetAttribute",
                set(preference, MAX_WORKSPACE, workspace.cast(), 8),
            )?;
            type Choose = unsafe extern "C" fn(
                Handle,
                Handle,
                Handle,
                Handle,
                Handle,
                Handle,
                Handle,
                c_int,
                *mut Heuristic,
                *mut c_int,
            ) -> Status;
            let choose: Choose = symbol(&library, "cublasLtMatmulAlgoGetHeuristic")?;
            let (mut best, mut found) = (Heuristic::default(), 0);
            done(
                "cublasLtMatmulAlgoGetHeuristic",
                choose(
                    handle,
                    product,
                    operand,
                    operand,
                    result,
                    result,
                    preference,
                    1,
                    &raw mut best,
                    &raw mut found,
                ),
            )?;
            if found < 1 {
                return Err("cuBLASLt has no int8 product for this device".to_owned());
            }
            Ok(Gemm {
                multiply: symbol(&library, "cublasLtMatmul")?,
                _library: library,
                handle,
                product,
                operand,
                result,
                n,
                algorithm: Some(best.algorithm),
                at: [a, a + square, a + 2 * square, a + 6 * square],
            })
        }
    }

    /// From now on without workspace and algorithm, as `torch._int_mm` calls the library, which then selects a slower
    /// kernel.
    pub(super) fn without_workspace(&mut self) {
        self.algorithm = None;
    }

    /// Does one product and compares some of its sums.
    ///
    /// # Errors
    ///
    /// The library's error, or a wrong sum.
    pub(super) fn check(&mut self, plain: &Plain<'_>) -> Result<(), String> {
        let n = u64::from(self.n);
        plain
            .once(&mut |stream| self.queue(stream.raw()).map_err(EngineError::Unsupported))
            .map_err(|e| e.to_string())?;
        for (row, column) in [(0, 0), (1, n - 1), (n / 2 + 7, n / 3), (n - 1, 2)] {
            let read = |address, words| plain.read(address, words).map_err(|error| error.to_string());
            let a = read(self.at[0] + row * n, self.n / 4)?;
            let b = read(self.at[1] + column * n, self.n / 4)?;
            let actual = read(self.at[2] + 4 * (column * n + row), 1)?[0] as i32;
            let bytes = |words: Vec<u32>| {
                words
                    .into_iter()
                    .flat_map(|word| word.to_le_bytes().map(|byte| byte as i8))
            };
            let expected: i32 = bytes(a).zip(bytes(b)).map(|(a, b)| i32::from(a) * i32::from(b)).sum();
            if actual != expected {
                return Err(format!(
                    "cuBLASLt's sum at ({row}, {column}) is {actual}, expected {expected}"
                ));
            }
        }
        Ok(())
    }

    /// n of the n x n x n product.
    pub(super) fn n(&self) -> u32 {
        self.n
    }

    /// Queues one product.
    ///
    /// # Errors
    ///
    /// The library's error.
    pub(super) fn queue(&mut self, stream: sys::CUstream) -> Result<(), String> {
        let (one, zero) = (1_i32, 0_i32);
        let at = self
            .at
            .map(|address| ptr::with_exposed_provenance_mut::<c_void>(address as usize));
        // SAFETY: the type is that of cublasLt.h; the matrices and the workspace lie next to each other within the
        // dataset (`new`), which nothing else uses now; factors are read before the call returns.
        let status = unsafe {
            (self.multiply)(
                self.handle,
                self.product,
                (&raw const one).cast(),
                at[0],
                self.operand,
                at[1],
                self.operand,
                (&raw const zero).cast(),
                at[2],
                self.result,
                at[2],
                self.result,
                self.algorithm.as_ref().map_or(ptr::null(), ptr::from_ref),
                if self.algorithm.is_some() {
                    at[3]
                } else {
                    ptr::null_mut()
                },
                if self.algorithm.is_some() {
                    WORKSPACE_BYTES as usize
                } else {
                    0
                },
                stream,
            )
        };
        done("cublasLtMatmul", status)
    }
}

fn load() -> Result<Library, String> {
    let usual = LIBRARIES.map(|name| format!("{USUAL_FOLDER}{name}"));
    let names = LIBRARIES.into_iter().chain(usual.iter().map(String::as_str));
    for name in names {
        // SAFETY: NVIDIA's library; its initialisers have no preconditions.
        if let Ok(library) = unsafe { Library::new(name) } {
            return Ok(library);
        }
    }
    Err(format!("neither {} loads", LIBRARIES.join(" nor ")))
}

/// A function of the library.
///
/// # Safety
///
/// `F` is its type in cublasLt.h.
unsafe fn symbol<F: Copy>(library: &Library, name: &'static str) -> Result<F, String> {
    // SAFETY: the caller guarantees the type.
    unsafe { library.get::<F>(name.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|error| format!("cuBLASLt: {error}"))
}

/// A handle created by a function of the library.
///
/// # Safety
///
/// `F` is the function's type in cublasLt.h, and `call` may call it.
unsafe fn create<F: Copy>(
    library: &Library,
    name: &'static str,
    call: impl FnOnce(F, *mut Handle) -> Status,
) -> Result<Handle, String> {
    let mut handle = ptr::null_mut();
    // SAFETY: the caller guarantees the type.
    let function = unsafe { symbol(library, name)? };
    done(name, call(function, &raw mut handle))?;
    Ok(handle)
}

fn done(call: &str, status: Status) -> Result<(), String> {
    if status == 0 {
        Ok(())
    } else {
        Err(format!("{call}: status {status}"))
    }
}
