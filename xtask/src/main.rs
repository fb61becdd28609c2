//! Tasks of the repository: `cargo xtask check [PACKAGE...]`, `cargo xtask kernels [--check]`, `cargo xtask dist`,
//! `cargo xtask wheel`.

mod check;
mod dist;
mod kernels;
mod nvrtc;
mod toolchain;
mod tools;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask check [PACKAGE...]
       cargo xtask kernels [--check]
       cargo xtask dist [--target ARCH]... [--command NAME]... [--out FOLDER]
       cargo xtask wheel [--target ARCH]... [--out FOLDER]

  check            the stages format, clippy and tests of .ci/run, of these packages or of all
  kernels          compile crates/engine-cuda/kernels to crates/engine-cuda/images
  kernels --check  compile and compare byte for byte with what is committed; write nothing
  dist             archives and packages for release; more with cargo xtask dist --help
  wheel            the wheel for Python; more with cargo xtask wheel --help

kernels needs python3 with venv and pip, and PyPI once: the pinned compiler goes to .kern (about 85 MB to fetch).";

fn main() -> ExitCode {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["check", ref packages @ ..] => check::run(repository, packages),
        ["kernels"] => kernels::build(repository),
        ["kernels", "--check"] => kernels::check(repository),
        ["dist", "--help" | "-h"] => {
            println!("{}", dist::USAGE);
            return ExitCode::SUCCESS;
        }
        ["dist", ref arguments @ ..] => match dist::build(repository, arguments) {
            Some(outcome) => outcome,
            None => return refuse(dist::USAGE),
        },
        ["wheel", "--help" | "-h"] => {
            println!("{}", dist::wheel::USAGE);
            return ExitCode::SUCCESS;
        }
        ["wheel", ref arguments @ ..] => match dist::wheel::build(repository, arguments) {
            Some(outcome) => outcome,
            None => return refuse(dist::wheel::USAGE),
        },
        _ => return refuse(USAGE),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(usage: &str) -> ExitCode {
    eprintln!("{usage}");
    ExitCode::from(2)
}
