//! Our operators against vectors that their peers computed: BMXNet v1 and v2, Larq, tensorpack.
//!
//! The vectors are those of the directory that the environment variable `QNN_GOLDEN` names, or
//! else of `tests/golden/data`, whose README describes them. Every case that is found is run.

mod bmxnet;
mod compare;
mod larq;
mod layer;
mod quantizer;
mod report;
mod values;

use report::Report;
use std::io::Write;
use std::path::{Path, PathBuf};

fn run(root: &Path) -> Report {
    let mut report = Report::default();
    bmxnet::run(&root.join("bmxnet"), &mut report);
    larq::run(&root.join("larq"), &mut report);
    report
}

#[test]
fn operators_agree_with_their_peers() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("QNN_GOLDEN");
    let root = named.map_or_else(|| manifest.join("tests/golden/data"), PathBuf::from);
    let report = run(&root);
    // Not `print!`, which is shown of failed tests only: what was skipped is always of interest.
    let summary = format!("\ngolden vectors of {}\n{report}\n", root.display());
    std::io::stdout().write_all(summary.as_bytes()).unwrap();
    report.verdict().unwrap();
}

#[test]
fn a_directory_without_cases_fails() {
    let report = run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(report.verdict().is_err());
}
