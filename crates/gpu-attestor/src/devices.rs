//! The devices of this host, and `gpu-attestor devices`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use anyhow::Context;
use attester::Device;
use clap::{Args, ValueEnum};
use cli::{
    EngineChoice, Exit, engine_parser, parse_bytes, parse_devices, parse_duration, parse_ordinals, parse_threads,
    print_json, print_text,
};
use engines::{Backend, ENGINES, EmulatedWanted, Path, Taken, Unavailable, Wanted};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::Label;
use protocol::limits::MAX_DEVICES;
use protocol::message::DeviceOffer;
use serde::Serialize;
use verifier::units::bytes;

/// The devices of this host.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DeviceList {
    /// The engine that drives them.
    engine: &'static str,
    /// How the engine works and why it was chosen; null if there is nothing to say.
    note: Option<String>,
    /// The devices.
    devices: Vec<OfferedDevice>,
}

/// A device, as this Attester would offer it to a Verifier.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct OfferedDevice {
    /// Its ordinal.
    ordinal: u32,
    /// The engine that drives it.
    engine: String,
    /// Its model.
    model: String,
    /// Its memory, bytes.
    memory_bytes: u64,
    /// Memory that can be allocated now, bytes.
    available_bytes: u64,
    /// The part of it that the engine needs for any plan, bytes.
    reserve_bytes: u64,
    /// What else is stated of it, by name.
    labels: BTreeMap<String, String>,
}

/// Which devices, on which engine.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeviceOptions {
    /// The engine that does the work
    #[arg(long, value_name = "ENGINE", default_value = "auto", value_parser = engine_parser(ENGINES))]
    engine: EngineChoice,

    /// Most memory that each engine may take of its GPU, for example 70GiB [default: all free memory]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory_limit: Option<u64>,

    /// Engines on each GPU, each acting as a device: to test several devices on fewer GPUs. Such a session proves
    /// nothing about the number of GPUs, and appraisal recognises it by the UUIDs [default: 1]
    #[arg(long, value_name = "N", requires = "memory_limit", value_parser = parse_engines)]
    engines_per_gpu: Option<NonZeroU32>,

    /// How long one call of the GPUs' driver may take while the GPUs are found and opened: a driver in trouble may never
    /// return. The session's phases have limits of their own [default: 45s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    driver_deadline: Option<Duration>,

    /// Devices to emulate on the CPU, 1 to 64 [default: 1]
    #[arg(long, value_name = "N", value_parser = parse_devices)]
    cpu_devices: Option<NonZeroUsize>,

    /// Dataset that each emulated device offers [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    cpu_memory: Option<u64>,

    /// Code path on the CPU: portable, neon-dotprod, avx2, avx-vnni, avx512-vnni or amx-int8 [default: the fastest this CPU
    /// runs]
    #[arg(long, value_name = "PATH")]
    cpu_path: Option<Path>,

    /// Threads that fill and sweep on the CPU, over all devices, 1 to 1024 [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    cpu_threads: Option<NonZeroUsize>,

    /// Bytes of another device's tiles that an emulated device reads in a second, for example 50MB: an emulated link [default:
    /// what memory gives]
    #[arg(long, value_name = "SIZE", value_parser = parse_link)]
    cpu_link: Option<NonZeroU64>,

    /// Labels that identify a card, to leave out of the session and its evidence, which may become public; separated by
    /// commas.
    /// Without UUIDs nobody can recognise a card that was shown twice
    // Several engines per GPU are for testing: this command does not hide what reveals them.
    #[arg(
        long,
        value_name = "LABELS",
        value_delimiter = ',',
        conflicts_with = "engines_per_gpu"
    )]
    withhold: Vec<Identifier>,
}

fn parse_link(text: &str) -> Result<NonZeroU64, String> {
    let bytes_per_s = parse_bytes(text)?;
    NonZeroU64::new(bytes_per_s).ok_or_else(|| format!("{text:?} carries nothing; expected a size like 50MB"))
}

/// A label that names one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Identifier {
    /// The serial number
    Serial,
    /// The UUID
    Uuid,
    /// The address on the PCI bus
    #[value(name = "pci_bus_id")]
    PciBusId,
}

impl Identifier {
    /// The label's name in HELLO.
    fn label(self) -> &'static str {
        match self {
            Identifier::Serial => "serial",
            Identifier::Uuid => "uuid",
            Identifier::PciBusId => "pci_bus_id",
        }
    }
}

fn parse_engines(text: &str) -> Result<NonZeroU32, String> {
    NonZeroU32::try_from(parse_devices(text)?).map_err(|error| error.to_string())
}

/// The selected engine.
pub(crate) struct EngineTaken {
    /// `cpu` or `cuda`.
    pub(crate) name: &'static str,
    /// How it works, and why it was selected.
    pub(crate) note: Option<String>,
}

impl fmt::Display for EngineTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engine: {}", self.name)?;
        match &self.note {
            Some(note) => write!(f, ", {note}"),
            None => Ok(()),
        }
    }
}

/// What is measured.
pub(crate) struct Measured {
    pub(crate) backend: &'static dyn Backend,
    pub(crate) wanted: Wanted,
    pub(crate) ordinals: Vec<DeviceOrdinal>,
}

/// Options of `gpu-attestor devices`.
#[derive(Args)]
#[command(after_help = "Examples:\n  gpu-attestor devices\n  gpu-attestor devices --json --cpu-devices 3")]
pub(crate) struct Options {
    #[command(flatten)]
    ordinals: OrdinalOptions,

    #[command(flatten)]
    devices: DeviceOptions,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Ordinals like `0,2`: a list that clap takes as one value.
#[derive(Args, Clone, Debug)]
pub(crate) struct OrdinalOptions {
    /// Only these devices, by ordinal, for example 0,2 [default: all]
    #[arg(long, value_name = "LIST", value_parser = parse_ordinal_list)]
    devices: Option<OrdinalList>,
}

#[derive(Clone, Debug)]
struct OrdinalList(Vec<DeviceOrdinal>);

fn parse_ordinal_list(text: &str) -> Result<OrdinalList, String> {
    parse_ordinals(text).map(OrdinalList)
}

impl OrdinalOptions {
    /// The requested ordinals.
    pub(crate) fn ordinals(&self) -> Option<Vec<DeviceOrdinal>> {
        self.devices.as_ref().map(|list| list.0.clone())
    }

    /// Rejects ordinals of devices that are not among the `here` existing ones.
    fn check(&self, here: usize) -> anyhow::Result<()> {
        let asked = self.devices.iter().flat_map(|list| &list.0);
        let missing = asked.copied().find(|ordinal| ordinal.0 as usize >= here);
        if let Some(missing) = missing {
            anyhow::bail!("device {missing} is not here; `gpu-attestor devices` shows {here}");
        }
        let count = self.devices.as_ref().map_or(here, |list| list.0.len());
        anyhow::ensure!(
            count <= MAX_DEVICES,
            "{count} devices; at most {MAX_DEVICES} fit in a session: choose some with --devices"
        );
        Ok(())
    }
}

impl DeviceOptions {
    /// The devices of this host, ordinals ascending, without the withheld labels, and the engine that drives them.
    pub(crate) fn discover(&self, ordinals: &OrdinalOptions) -> anyhow::Result<(Vec<Device>, EngineTaken)> {
        let (mut devices, engine) = self.find(ordinals)?;
        for device in &mut devices {
            self.withhold_from(&mut device.offer.labels);
        }
        Ok((devices, engine))
    }

    fn withhold_from(&self, labels: &mut Vec<Label>) {
        labels.retain(|label| self.withhold.iter().all(|withheld| withheld.label() != label.name));
    }

    fn find(&self, ordinals: &OrdinalOptions) -> anyhow::Result<(Vec<Device>, EngineTaken)> {
        let wanted = self.wanted(ordinals);
        let Taken { backend, found, absent } = self.take(&wanted)?;
        ordinals.check(found)?;
        let devices = backend.devices(&wanted);
        let devices = if backend.is_emulated() {
            devices.context("the CPU engine")
        } else {
            devices.map_err(|error| self.unusable(error))
        };
        let missing: Vec<_> = absent.iter().map(|(backend, _)| backend.device_kind()).collect();
        let note = match (backend.how(&wanted), &missing[..]) {
            (how, []) => how.or_else(|| self.engine.is_auto().then(|| "taken by auto".to_owned())),
            (how, missing) => {
                let how = how.map(|how| format!("{how} ")).unwrap_or_default();
                Some(format!("{how}(auto: no {} here)", missing.join(" or ")))
            }
        };
        let name = backend.name();
        Ok((devices?, EngineTaken { name, note }))
    }

    /// What `bench` measures: GPUs with the memory that may be allocated on each, or a path of the CPU.
    pub(crate) fn measured(&self, ordinals: &OrdinalOptions) -> anyhow::Result<Measured> {
        let idle = given([
            ("--engines-per-gpu", self.engines_per_gpu.is_some()),
            ("--cpu-devices", self.cpu_devices.is_some()),
            ("--cpu-memory", self.cpu_memory.is_some()),
            ("--cpu-threads", self.cpu_threads.is_some()),
            ("--cpu-link", self.cpu_link.is_some()),
            ("--withhold", !self.withhold.is_empty()),
        ]);
        anyhow::ensure!(
            idle.is_empty(),
            "{idle}: no effect on bench, which measures each GPU once and a CPU on one thread"
        );
        let wanted = self.wanted(ordinals);
        let Taken {
            backend, found: count, ..
        } = self.take(&wanted)?;
        if backend.is_emulated() {
            anyhow::ensure!(
                ordinals.devices.is_none(),
                "--devices: no effect on bench without GPUs: a CPU is measured once"
            );
        }
        ordinals.check(count)?;
        let all = || (0..count as u32).map(DeviceOrdinal).collect();
        let ordinals = ordinals.ordinals().unwrap_or_else(all);
        Ok(Measured {
            backend,
            wanted,
            ordinals,
        })
    }

    /// The settings for either engine; [`DeviceOptions::take`] lists those that do not apply to the selected one.
    fn wanted(&self, ordinals: &OrdinalOptions) -> Wanted {
        let Wanted {
            driver_deadline,
            emulated: default,
            ..
        } = Wanted::default();
        Wanted {
            only: ordinals.ordinals(),
            memory_limit_bytes: self.memory_limit,
            engines_per_gpu: self.engines_per_gpu.unwrap_or(NonZeroU32::MIN),
            driver_deadline: self.driver_deadline.unwrap_or(driver_deadline),
            emulated: EmulatedWanted {
                devices: self.cpu_devices.unwrap_or(default.devices),
                dataset_bytes: self.cpu_memory.unwrap_or(default.dataset_bytes),
                path: self.cpu_path.map(|path| path.name().to_owned()),
                threads: self.cpu_threads,
                link_bytes_per_s: self.cpu_link,
            },
        }
    }

    /// The engine that does the work, and how many devices it can choose from. Options of the other one are rejected,
    /// or reported as unused if `auto` selected the engine.
    fn take(&self, wanted: &Wanted) -> anyhow::Result<Taken<'static, usize>> {
        let count = |backend: &dyn Backend| backend.count(wanted);
        let taken = match self.engine {
            EngineChoice::Only(backend) => Taken {
                backend,
                found: count(backend)?,
                absent: Vec::new(),
            },
            EngineChoice::Auto => engines::auto(ENGINES, count).map_err(|error| self.unusable(error))?,
        };
        let name = taken.backend.name();
        let idle = if taken.backend.is_emulated() {
            given([
                ("--memory-limit", self.memory_limit.is_some()),
                ("--engines-per-gpu", self.engines_per_gpu.is_some()),
                ("--driver-deadline", self.driver_deadline.is_some()),
            ])
        } else {
            given([
                ("--cpu-devices", self.cpu_devices.is_some()),
                ("--cpu-memory", self.cpu_memory.is_some()),
                ("--cpu-path", self.cpu_path.is_some()),
                ("--cpu-threads", self.cpu_threads.is_some()),
                ("--cpu-link", self.cpu_link.is_some()),
            ])
        };
        if !idle.is_empty() {
            anyhow::ensure!(self.engine.is_auto(), "{idle}: no effect with --engine {name}");
            cli::tell(format_args!("{idle}: no effect, the engine is {name}"));
        }
        Ok(taken)
    }

    fn unusable(&self, error: Unavailable) -> anyhow::Error {
        let error = anyhow::Error::new(error);
        match self.engine {
            EngineChoice::Auto => error.context("the GPUs cannot be used; --engine cpu does without"),
            _ => error,
        }
    }
}

/// The options that were given, for messages.
fn given<const N: usize>(options: [(&str, bool); N]) -> String {
    let given = options.iter().filter(|(_, is_given)| *is_given);
    given.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let (devices, engine) = options.devices.discover(&options.ordinals)?;
    if options.json {
        print_json(&DeviceList {
            engine: engine.name,
            note: engine.note,
            devices: devices
                .iter()
                .map(|device| OfferedDevice::from(&device.offer))
                .collect(),
        })?;
        return Ok(Exit::Affirmed);
    }
    let mut text = format!("{engine}\n");
    for Device { offer, .. } in &devices {
        text += &format!(
            "device {}  {}  {} of memory, offers {}\n",
            offer.ordinal,
            offer.model,
            bytes(offer.memory_bytes.into()),
            bytes(offer.available_bytes.saturating_sub(offer.reserve_bytes).into()),
        );
        for label in &offer.labels {
            text += &format!("          {}: {}\n", label.name, label.value);
        }
    }
    print_text(text)?;
    Ok(Exit::Affirmed)
}

impl From<&DeviceOffer> for OfferedDevice {
    fn from(offer: &DeviceOffer) -> Self {
        let label = |label: &Label| (label.name.clone(), label.value.clone());
        OfferedDevice {
            ordinal: offer.ordinal.0,
            engine: offer.engine.clone(),
            model: offer.model.clone(),
            memory_bytes: offer.memory_bytes,
            available_bytes: offer.available_bytes,
            reserve_bytes: offer.reserve_bytes,
            labels: offer.labels.iter().map(label).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        devices: DeviceOptions,
    }

    /// Names of the labels of a GPU that remain with this option.
    fn left(arguments: &[&str]) -> Vec<String> {
        let arguments = [&["test"], arguments].concat();
        let command = <Command as clap::Parser>::try_parse_from(arguments).expect("options");
        let names = ["model", "uuid", "pci_bus_id", "driver_version", "serial"];
        let mut labels = names.map(|name| Label::new(name, "1")).to_vec();
        command.devices.withhold_from(&mut labels);
        labels.into_iter().map(|label| label.name).collect()
    }

    #[test]
    fn what_names_a_card_stays_here_if_that_is_asked_for() {
        assert_eq!(left(&[]).len(), 5);
        assert_eq!(
            left(&["--withhold", "serial"]),
            ["model", "uuid", "pci_bus_id", "driver_version"]
        );
        assert_eq!(
            left(&["--withhold", "serial,uuid,pci_bus_id"]),
            ["model", "driver_version"]
        );
    }
}
