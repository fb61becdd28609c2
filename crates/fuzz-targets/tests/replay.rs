//! Every target on the stable toolchain: kept inputs, the vectors of the spec, and mutations of both.
//!
//! `FUZZ_CHANGES` is the number of mutated inputs per target (default 300), `FUZZ_SECONDS` the time limit per target
//! (default 10). The mutations are the same in every run.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use fuzz_targets::{ALL, Target};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The inputs kept in `fuzz/corpus` for a target.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target.name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("an input")).collect()
}

/// xorshift64*: the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % end.max(1)
    }
}

/// One to eight mutations like those of a fuzzer: bits, bytes, limits of integers, cuts, copies, parts of other inputs.
fn changed(draws: &mut Draws, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut input = inputs[draws.below(inputs.len())].clone();
    for _ in 0..=draws.below(8) {
        let at = draws.below(input.len());
        match draws.below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << draws.below(8),
            1 if !input.is_empty() => input[at] = draws.below(256) as u8,
            2 if !input.is_empty() => input[at] = [0, 1, 0x17, 0x18, 0x19, 0x1B, 0x7F, 0x80, 0xFF][draws.below(9)],
            3 => input.truncate(at),
            4 => input.insert(at, draws.below(256) as u8),
            5 => {
                let end = (at + draws.below(32)).min(input.len());
                let copy = input[at..end].to_vec();
                let to = draws.below(input.len());
                input.splice(to..to, copy);
            }
            _ => {
                let other = &inputs[draws.below(inputs.len())];
                let from = draws.below(other.len());
                let part = &other[from..(from + draws.below(64)).min(other.len())];
                input.splice(at..(at + part.len()).min(input.len()), part.iter().copied());
            }
        }
    }
    input
}

fn run(target: &Target, input: &[u8]) {
    if catch_unwind(|| (target.run)(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} fails on {hex}", target.name);
    }
}

fn replay(name: &str) {
    let target = ALL.iter().find(|target| target.name == name).expect("a target");
    let mut inputs = (target.seeds)();
    inputs.extend(kept(target));
    inputs.push(Vec::new());
    inputs.iter().for_each(|input| run(target, input));
    let (changes, since) = (setting("FUZZ_CHANGES", 300), Instant::now());
    let within = Duration::from_secs(setting("FUZZ_SECONDS", 10));
    let mut draws = Draws(0x9E37_79B9_7F4A_7C15);
    let mut done = 0;
    while done < changes && since.elapsed() < within {
        run(target, &changed(&mut draws, &inputs));
        done += 1;
    }
    println!("{name}: {} inputs, {done} changed ones", inputs.len());
}

macro_rules! replay {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<_> = ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replay!(
    frames,
    messages,
    plan,
    evidence_bytes,
    evidence_records,
    challenge,
    verifier_session,
    driver,
    attester_session,
    checksum,
    policy,
    profile,
    jwks,
    result_jwt,
    result_cwt,
    nvidia_eat
);
