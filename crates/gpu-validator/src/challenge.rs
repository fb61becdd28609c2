//! `gpu-validator challenge`: the offline form's challenge (spec §5).

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use cli::{
    Exit, Iterations, ensure_enough_samples, parse_audience, parse_bytes, parse_duration, parse_iterations,
    preset_parser, print_json, verifier_key,
};
use protocol::bytes::{Identity, Nonce};
use protocol::challenge::Challenge;
use verifier::challenge_file::ChallengeFile;
use verifier::preset::Preset;

/// Options of `gpu-validator challenge`.
#[derive(Args)]
#[command(
    after_help = "The challenge goes to standard output. Use each for one Attester only: it proves that the answer is fresh.\n\n\
        Examples:\n  \
        gpu-validator challenge > c.json\n  \
        gpu-validator challenge --devices 2 --device-memory 8GiB --expires 2h > c.json"
)]
pub(crate) struct Options {
    /// How much work
    #[arg(long, value_name = "PRESET", default_value = "smoke", value_parser = preset_parser())]
    preset: Preset,

    /// Number of devices that must answer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    devices: u32,

    /// Dataset of each device, for example 8GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "16MiB")]
    device_memory: u64,

    /// Leaves checked per device and distinct k, 256 to 65536: more find smaller omissions [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    samples: Option<u32>,

    /// Instead of the preset's iterations: k and sweeps of each, as `gpu-validator plan` proposes them, for example
    /// 20480:32,2048:2. A third number asks for rounds between devices, in which so many leaves of each cross:
    /// 20480:32:500000; at most a quarter of the tiles cross
    #[arg(long, value_name = "K:SWEEPS,...", value_parser = parse_iterations)]
    iterations: Option<Iterations>,

    /// Allow fewer than 256 samples: they can catch a cheat, but the answer has no verdict
    #[arg(long)]
    few_samples: bool,

    /// The party that the evidence is for, which it names
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = parse_audience)]
    audience: String,

    /// How long the answer may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "24h")]
    expires: Duration,

    /// The Verifier's Ed25519 key (PKCS #8 PEM); created on first use [default: $XDG_CONFIG_HOME/gpu-attestor/verifier.pem]
    #[arg(long, value_name = "FILE")]
    verifier_key: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let key = verifier_key(options.verifier_key.as_deref())?;
    let mut request = options.preset.request(Identity(key.verifying_key().to_bytes()));
    let mut random = [0; 48];
    verifier::fill_random(&mut random)?;
    request.session_id.copy_from_slice(&random[..16]);
    request.audience.clone_from(&options.audience);
    request.device_bytes = Some(options.device_memory);
    request.samples = options.samples.unwrap_or(request.samples);
    if let Some(Iterations(iterations)) = &options.iterations {
        request.iterations.clone_from(iterations);
    }
    if !options.few_samples {
        ensure_enough_samples(&request)?;
    }
    let plan = request.plan_for_any(options.devices).context("no such plan")?;
    let matrix_bytes = u64::from(plan.matrix_dim()).pow(2);
    for device in plan.devices() {
        let dataset_bytes = u64::from(device.num_matrices) * matrix_bytes;
        anyhow::ensure!(
            options.device_memory - dataset_bytes < matrix_bytes,
            "--device-memory: a device holds at most {dataset_bytes} bytes, asked for {}",
            options.device_memory
        );
    }
    let issued = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let unix_ms = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let expires = issued.checked_add(options.expires).context("--expires is too far")?;
    let nonce = Nonce(random[16..].try_into().expect("32 bytes"));
    let challenge = Challenge::sign(plan, nonce, unix_ms(issued), unix_ms(expires), &key);
    print_json(&ChallengeFile::from(&challenge))?;
    Ok(Exit::Affirmed)
}
