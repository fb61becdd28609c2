//! The vectors of the spec as seeds.

use std::fs;
use std::path::Path;

use protocol::bytes::unhex;
use serde_json::Value;

/// Message type ("EVIDENCE" for none) and bytes of every vector in these folders of `spec/vectors`.
pub(crate) fn load(folders: &[&str]) -> Vec<(String, Vec<u8>)> {
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors");
    let mut vectors = Vec::new();
    for folder in folders {
        let mut files: Vec<_> = fs::read_dir(spec.join(folder))
            .expect("the vectors' folder")
            .map(|entry| entry.expect("a file").path())
            .collect();
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).expect("a vector");
            let value: Value = serde_json::from_str(&text).expect("JSON");
            let bytes = value["hex"].as_str().and_then(unhex).expect("hexadecimal");
            vectors.push((value["type"].as_str().unwrap_or("EVIDENCE").to_owned(), bytes));
        }
    }
    vectors
}
