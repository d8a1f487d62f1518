//! The directory of BMXNet's vectors, file by file.

mod layers_v2;
mod model;
mod operators_v1;
mod packing;
mod params;
mod quantizers;
mod seed;
mod words;

use crate::report::{Report, unsupported};
use std::path::Path;

pub(crate) fn run(dir: &Path, report: &mut Report) {
    type Runner = fn(&Path, &mut Report);
    let files: [(&str, Runner); 8] = [
        ("seed_issue30/seed_expected.json", seed::run),
        ("ops/quantizers.json", quantizers::run_quantizers),
        ("ops/qactivation.json", quantizers::run_qactivation),
        ("ops/qfc_v1.json", operators_v1::run_dense),
        ("ops/qconv_v1.json", operators_v1::run_convolution),
        ("ops/layers_v2.json", layers_v2::run),
        ("packing/packing.json", packing::run),
        ("params/fixture_expected.json", params::run),
    ];
    for (file, runner) in files {
        let path = dir.join(file);
        if path.exists() {
            runner(&path, report);
        }
    }
    for name in file_names(&dir.join("ops"), "json") {
        if !files.iter().any(|(file, _)| *file == format!("ops/{name}")) {
            report.record("bmxnet/ops", &name, unsupported("a file of this name"));
        }
    }
    model::run(dir, report);
}

/// Names of the files with an extension in a directory, sorted; none if there is no directory.
pub(crate) fn file_names(dir: &Path, extension: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut names: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}
