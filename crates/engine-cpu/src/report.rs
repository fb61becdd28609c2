//! The figures of the CPU.

use backend::{Ceiling, Report, Row};

use crate::bench as cpu;

pub(crate) fn report(report: &cpu::BenchReport) -> Report {
    let row = |name, unit, rate: &cpu::Rate, ceiling: Option<(&str, &cpu::Rate)>| Row {
        name,
        unit,
        value: rate.median,
        least: rate.least,
        most: rate.most,
        repeats: rate.repeats,
        ceilings: ceiling
            .into_iter()
            .map(|(name, ceiling)| Ceiling::new(name, ceiling.median))
            .collect(),
        load: None,
    };
    let registers = report.registers.as_ref().map(|rate| ("the same in registers", rate));
    Report {
        facts: vec![
            ("path", report.path.name().into()),
            ("inner_dim", cpu::INNER_DIM.into()),
        ],
        title: format!("CPU, path {}, one thread, k = {}", report.path, cpu::INNER_DIM),
        rows: vec![
            row("product", "G multiply-adds/s", &report.product, registers),
            row("tile", "tiles/s", &report.tile, None),
            row("tile, B regenerated", "tiles/s", &report.tile_from_keys, None),
            row(
                "keystream",
                "GB/s",
                &report.keystream,
                Some(("memory writes", &report.writes)),
            ),
            row(
                "pair digests",
                "GB/s",
                &report.pair_digests,
                Some(("pairs in address order", &report.address_order)),
            ),
        ],
        memory: None,
        notes: vec![format!("a tile in {:.2} ms", 1e3 / report.tile.median)],
    }
}
