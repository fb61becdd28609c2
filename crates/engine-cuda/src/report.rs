//! The figures of a GPU.

use backend::{Ceiling, Load, Memory, Report, Row};
use protocol::bytes::DeviceOrdinal;

use crate::bench as cuda;

pub(crate) fn report(ordinal: DeviceOrdinal, report: &cuda::BenchReport) -> Report {
    let device = &report.device;
    let dataset_bytes = u64::from(report.num_matrices) * u64::from(report.matrix_dim).pow(2);
    let most_bytes = report.most_matrices * u64::from(report.matrix_dim).pow(2);
    let card_bytes = device.card_memory_bytes.unwrap_or(device.memory_bytes);
    let gemms = report.cublaslt.as_ref().ok();
    let gemm = gemms.map(|[suggested, _]| suggested);
    let fill_names = ["fill, k = 16384", "fill, k = 2048"];
    let mut rows: Vec<_> = report
        .fills
        .iter()
        .zip(fill_names)
        .map(|(fill, name)| arithmetic(name, fill, gemm.filter(|_| fill.inner_dim > 2048)))
        .collect();
    for (name, gemm) in ["cuBLASLt int8", "  as torch calls it"]
        .iter()
        .zip(gemms.into_iter().flatten())
    {
        rows.push(arithmetic(name, gemm, None));
    }
    rows.push(bandwidth("sweep", &report.sweep));
    rows.push(bandwidth("keystream", &report.keystream));
    let mut notes = Vec::new();
    notes.extend(report.cublaslt.as_ref().err().map(|why| format!("no cuBLASLt: {why}")));
    notes.extend(
        device
            .without_nvml
            .as_ref()
            .map(|why| format!("no power and clocks: {why}")),
    );
    Report {
        facts: vec![
            ("ordinal", ordinal.0.into()),
            ("model", device.model.clone().into()),
            ("uuid", device.uuid.clone().into()),
            ("multiprocessors", device.multiprocessors.into()),
            ("max_sm_clock_mhz", device.max_sm_clock_mhz.into()),
            ("power_limit_w", device.power_limit_w.into()),
            ("fill_path", report.fill_path.to_string().into()),
            ("sweep_path", report.sweep_path.to_string().into()),
            ("matrix_dim", report.matrix_dim.into()),
            ("dataset_bytes", dataset_bytes.into()),
            ("most_dataset_bytes", most_bytes.into()),
            ("card_memory_bytes", card_bytes.into()),
            ("without_cublaslt", report.cublaslt.as_ref().err().cloned().into()),
        ],
        title: format!(
            "GPU {ordinal}, {}: fill {}, sweep {}",
            device.model, report.fill_path, report.sweep_path
        ),
        rows,
        memory: Some(Memory {
            matrix_dim: report.matrix_dim,
            dataset_bytes,
            most_bytes,
            card_bytes,
        }),
        notes,
    }
}

fn arithmetic(name: &'static str, figure: &cuda::Arithmetic, gemm: Option<&cuda::Arithmetic>) -> Row {
    let mut ceilings = Vec::new();
    let mut ceiling = |name: &str, value: Option<f64>| ceilings.extend(value.map(|value| Ceiling::new(name, value)));
    ceiling("peak at the highest clock", figure.peak_tops_at_max_clock);
    ceiling("peak at the mean clock", figure.peak_tops_at_mean_clock);
    ceiling("cuBLASLt int8", gemm.map(|gemm| gemm.tops));
    Row {
        name,
        unit: "Tops",
        value: figure.tops,
        least: figure.launches.least,
        most: figure.launches.most,
        repeats: figure.launches.repeats,
        ceilings,
        load: Some(load(&figure.load, Some(figure.tops))),
    }
}

fn bandwidth(name: &'static str, figure: &cuda::Bandwidth) -> Row {
    Row {
        name,
        unit: "GB/s",
        value: figure.rate.median,
        least: figure.rate.least,
        most: figure.rate.most,
        repeats: figure.rate.repeats,
        ceilings: vec![Ceiling::new(figure.ceiling_name, figure.ceiling.median)],
        load: Some(load(&figure.load, None)),
    }
}

fn load(load: &cuda::Load, tops: Option<f64>) -> Load {
    Load {
        power_w: load.power_w,
        mean_sm_clock_mhz: load.mean_sm_clock_mhz,
        max_temperature_c: load.max_temperature_c,
        throttle_reasons: load.throttle_reasons.clone(),
        tops_per_w: tops.zip(load.power_w).map(|(tops, power)| tops / power),
    }
}
