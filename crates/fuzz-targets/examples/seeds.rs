//! Writes a target's seeds into a folder, one file each: `cargo run --example seeds -- TARGET FOLDER`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = &arguments[..] else {
        panic!("expected a target and a folder, got {arguments:?}");
    };
    let target = fuzz_targets::ALL.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no target {name}"));
    std::fs::create_dir_all(folder)?;
    for (i, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("seed-{i:03}")), seed)?;
    }
    Ok(())
}
