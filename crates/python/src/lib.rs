//! `gpu_attestor._native`: the code of the commands for Python. Plain values come in, JSON goes out; `python/gpu_attestor` gives
//! both their types.

mod error;
mod full;
mod interrupt;
mod policy;
mod result;
mod session;
mod verify;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::policy::Policy;
    #[pymodule_export]
    use crate::result::verify_result;
    #[pymodule_export]
    use crate::session::{Session, identity};
    #[pymodule_export]
    use crate::verify::{appraise, verify};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
