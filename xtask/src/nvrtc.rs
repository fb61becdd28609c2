//! NVRTC, loaded at run time: CUDA C++ in, machine code or PTX out.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, bail};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

type Program = *mut c_void;
type Status = c_int;
type SizeOf = unsafe extern "C" fn(Program, *mut usize) -> Status;
type BytesOf = unsafe extern "C" fn(Program, *mut c_char) -> Status;

/// What to compile to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Machine code for one architecture.
    Cubin,
    /// Intermediate code that a driver compiles.
    Ptx,
}

/// A loaded compiler.
pub(crate) struct Nvrtc {
    library: Library,
    // Stays loaded as long as the compiler, which looks up its symbols.
    _builtins: Library,
}

impl Nvrtc {
    /// Loads the compiler from the folder of its wheel.
    ///
    /// # Errors
    ///
    /// If a library does not exist or cannot be loaded.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let open = |name: &str, flags| {
            let file = folder.join(name);
            // SAFETY: the libraries are NVIDIA's, pinned by hash; their initialisers have no preconditions.
            unsafe { Library::open(Some(&file), flags) }.with_context(|| format!("cannot load {}", file.display()))
        };
        // Global and first: the compiler resolves the built-in functions in it, and would not search this folder.
        let builtins = open("libnvrtc-builtins.so.12.9", RTLD_NOW | RTLD_GLOBAL)?;
        let library = open("libnvrtc.so.12", RTLD_NOW)?;
        Ok(Nvrtc {
            library,
            _builtins: builtins,
        })
    }

    /// Compiles one source; returns the image and the compiler's messages.
    ///
    /// # Errors
    ///
    /// The compiler's log if it rejects the source.
    pub(crate) fn compile(
        &self,
        name: &str,
        source: &str,
        options: &[String],
        output: Output,
    ) -> Result<(Vec<u8>, String)> {
        let (name, source) = (CString::new(name)?, CString::new(source)?);
        let options: Vec<CString> = options
            .iter()
            .map(|option| CString::new(option.as_str()))
            .collect::<Result<_, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> Status;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status;
        type Destroy = unsafe extern "C" fn(*mut Program) -> Status;
        // SAFETY: the types above are those of nvrtc.h 12.9.
        let (create, compile, destroy) = unsafe {
            (
                self.library.get::<Create>(b"nvrtcCreateProgram")?,
                self.library.get::<Compile>(b"nvrtcCompileProgram")?,
                self.library.get::<Destroy>(b"nvrtcDestroyProgram")?,
            )
        };

        let mut program: Program = ptr::null_mut();
        // SAFETY: all strings live to the end of this function; without headers both lists may be null.
        let status = unsafe {
            create(
                &raw mut program,
                source.as_ptr(),
                name.as_ptr(),
                0,
                ptr::null(),
                ptr::null(),
            )
        };
        self.check("nvrtcCreateProgram", status)?;
        // SAFETY: `program` was just created, and `options` has as many strings as stated.
        let status = unsafe { compile(program, options.len() as c_int, options.as_ptr()) };
        let log = self.bytes(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog");
        let image = match output {
            _ if status != 0 => Ok(Vec::new()),
            Output::Cubin => self.bytes(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN"),
            Output::Ptx => self.bytes(program, "nvrtcGetPTXSize", "nvrtcGetPTX"),
        };
        // SAFETY: the program is not used after this.
        unsafe { destroy(&raw mut program) };

        let mut log = log?;
        log.pop_if(|last| *last == 0);
        let log = String::from_utf8_lossy(&log).into_owned();
        self.check("nvrtcCompileProgram", status).with_context(|| log.clone())?;
        Ok((image?, log))
    }

    /// A property of a program that has one function for its size and one that copies it.
    fn bytes(&self, program: Program, size: &str, copy: &str) -> Result<Vec<u8>> {
        let mut length = 0;
        // SAFETY: both functions have these types in nvrtc.h, and `program` is alive.
        let status = unsafe { self.library.get::<SizeOf>(size.as_bytes())?(program, &raw mut length) };
        self.check(size, status)?;
        let mut bytes = vec![0_u8; length];
        // SAFETY: as above; the buffer has the length just queried.
        let status = unsafe { self.library.get::<BytesOf>(copy.as_bytes())?(program, bytes.as_mut_ptr().cast()) };
        self.check(copy, status)?;
        Ok(bytes)
    }

    fn check(&self, call: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the type is that of nvrtc.h; it returns a string that is never freed.
        let message = unsafe {
            let text = self
                .library
                .get::<unsafe extern "C" fn(Status) -> *const c_char>(b"nvrtcGetErrorString")?;
            CStr::from_ptr(text(status)).to_string_lossy().into_owned()
        };
        bail!("{call}: {message}")
    }
}
