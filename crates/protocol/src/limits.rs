//! Every constant of the protocol and every bound on what a peer may ask for or send (spec §3, §4, §9).

/// The protocol version this crate speaks (spec §9).
pub const VERSION: u32 = 1;

/// Suite 1: ChaCha8 keystreams, BLAKE3 hashing, int8 products with the u32 fold (spec §4).
pub const SUITE: u32 = 1;

/// Rows, and columns, of a tile (elements).
pub const TILE_SIDE: usize = 256;

/// Bytes of a tile: 256 x 256 elements of one byte.
pub const TILE_BYTES: usize = TILE_SIDE * TILE_SIDE;

/// Bytes that a sweep leaf stands for: two tiles, even if the leaf has only an odd last tile.
pub const LEAF_BYTES: u64 = 2 * TILE_BYTES as u64;

/// 32-bit words of a tile.
pub const TILE_WORDS: usize = TILE_BYTES / 4;

/// Smallest and largest `n`, and its step (elements).
pub const MATRIX_DIM_RANGE: std::ops::RangeInclusive<u32> = 256..=32_768;

/// Smallest and largest `k` (elements).
pub const INNER_DIM_RANGE: std::ops::RangeInclusive<u32> = 64..=65_536;

/// `k` is a multiple of this.
pub const INNER_DIM_STEP: u32 = 64;

/// Whether `n` is within [`MATRIX_DIM_RANGE`] and made of whole tiles.
#[must_use]
pub fn is_matrix_dim(n: u32) -> bool {
    MATRIX_DIM_RANGE.contains(&n) && n.is_multiple_of(TILE_SIDE as u32)
}

/// Whether `k` is within [`INNER_DIM_RANGE`] and a multiple of [`INNER_DIM_STEP`].
#[must_use]
pub fn is_inner_dim(k: u32) -> bool {
    INNER_DIM_RANGE.contains(&k) && k.is_multiple_of(INNER_DIM_STEP)
}

/// Shortest and longest time that a phase may be given (ms): 366 days keep nanoseconds far within a u64.
pub const DEADLINE_RANGE_MS: std::ops::RangeInclusive<u64> = 1..=366 * 24 * 3_600_000;

/// Most devices of one plan.
pub const MAX_DEVICES: usize = 64;

/// Most rounds of one tournament: that of all devices.
pub const MAX_ROUNDS: u32 = MAX_DEVICES as u32 - 1;

/// Most sessions of a joint record.
pub const MAX_JOINT_SESSIONS: usize = 65_536;

/// Most sweeps of one iteration.
pub const MAX_SWEEPS_PER_ITERATION: u32 = 4_096;

/// Most sweeps of a whole plan, rounds included.
pub const MAX_SWEEPS: u32 = 65_536;

/// Most samples per device and distinct `k`.
pub const MAX_SAMPLES: u32 = 65_536;

/// Most GPUs that may be assumed to regenerate bytes for one device.
pub const HELPER_GPUS_RANGE: std::ops::RangeInclusive<u64> = 1..=65_536;

/// Fewest effective samples for a bound (spec §6).
pub const MIN_SAMPLES_FOR_BOUND: u32 = 256;

/// Smallest `k` for which there is a bound of memory or bandwidth (spec §3, §6).
pub const MIN_INNER_DIM_FOR_MEMORY: u32 = 4_096;

/// Leaves in one opened BLAKE3 chunk: 1,024 bytes of u64s.
pub const LEAVES_PER_CHUNK: u64 = 128;

/// Longest name, audience or label value (bytes of UTF-8).
pub const MAX_TEXT_BYTES: usize = 256;

/// Most labels on one device or host.
pub const MAX_LABELS: usize = 64;

/// Longest attestation by the hardware's maker that OPENINGS carries (bytes).
pub const MAX_ATTESTATION_BYTES: usize = 64 << 10;

/// Longest HELLO payload (bytes); the only message whose size no plan bounds.
pub const MAX_HELLO_BYTES: u64 = 4 << 20;

/// Longest PLAN payload (bytes).
pub const MAX_PLAN_BYTES: u64 = 1 << 20;

/// Longest payload of the fixed-size messages NONCE, READY, FILLED, SALT, SAMPLE, ABORT, RESULT and PROGRESS (bytes).
pub const MAX_SMALL_BYTES: u64 = 64 << 10;

/// Largest text before the first frame of a stream (bytes).
pub const MAX_GREETING_BYTES: usize = 16 << 10;

/// Most PROGRESS frames of one session: four per second for twelve days.
pub const MAX_PROGRESS_FRAMES: u64 = 1 << 22;

/// Most records of a session: FILLED, SWEPT and CROSSED of all devices and the SALTs of each iteration and round, HELLO, PLAN, READY, NONCE, SAMPLE,
/// OPENINGS, and an end.
pub const MAX_RECORDS: usize = MAX_SWEEPS as usize * (2 * MAX_DEVICES + 2) + 7;

// Combinations that would break the arithmetic elsewhere fail here, at compile time.
const _: () = assert!(TILE_WORDS.is_power_of_two(), "the word shift is a mask");
const _: () = assert!(LEAVES_PER_CHUNK * 8 == 1024, "an opening is one BLAKE3 chunk");
const _: () = assert!(
    *INNER_DIM_RANGE.end() as i64 * 128 * 128 <= 1 << 30,
    "|acc| <= 2^30 (spec §4)"
);
