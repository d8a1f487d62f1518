//! Lower layers import nothing from higher ones, and no modules import each other in a circle.
//!
//! What counts as an import is every path of the crate, in `use` or elsewhere, outside of tests and
//! comments, followed through re-exports to the module that defines what it names. Not seen are
//! methods and trait implementations that are used without naming where they come from.
//!
//! `cargo test --test architecture -- --nocapture` prints what was counted.

mod circles;
mod imports;
mod modules;

use circles::{circles, neighbours};
use imports::{Import, imports};
use modules::{Modules, Sources, modules};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The modules and folders in `src`, lowest layer first. Each imports its own layer and lower ones.
const LAYERS: [&[&str]; 8] = [
    &["element", "error", "memory", "tuning"],
    &["kernel"],
    &["geometry", "options", "quantizer", "rank"],
    &["packed"],
    &["epilogue"],
    &["forward"],
    &["backward"],
    &["layers"],
];

/// The name in `src` to which a module belongs.
fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn layer(module: &str) -> usize {
    let layer = LAYERS.iter().position(|layer| layer.contains(&top(module)));
    layer.unwrap_or_else(|| panic!("{module} has no layer: give it one in LAYERS"))
}

/// Everything that is wrong with the imports, in words.
fn faults(imports: &[Import]) -> Vec<String> {
    let upward = imports.iter().filter(|import| layer(&import.from) < layer(&import.to));
    let mut faults: Vec<String> = upward.map(|import| format!("upward: {import}")).collect();
    for circle in circles(imports.iter().map(neighbours)) {
        let within = |import: &&Import| {
            let (from, to) = neighbours(import);
            circle.contains(from) && circle.contains(to)
        };
        let ties = imports.iter().filter(within).map(|import| format!("\n  {import}"));
        faults.push(format!("circle: {circle:?}{}", ties.collect::<String>()));
    }
    faults
}

/// The Rust files in a folder and its folders, by path from the first.
fn read(root: &Path, folder: &Path, sources: &mut Sources) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().components();
            let name: Vec<_> = name.map(|part| part.as_os_str().to_str().unwrap()).collect();
            sources.insert(name.join("/"), std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn crate_modules() -> Modules {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Sources::new();
    read(&src, &src, &mut sources);
    modules(&sources)
}

fn print_counts(modules: &Modules, imports: &[Import]) {
    let tops: BTreeSet<_> = imports.iter().map(|i| (top(&i.from), top(&i.to))).collect();
    let between = tops.iter().filter(|(from, to)| from != to).count();
    let largest = |circles: Vec<BTreeSet<_>>| circles.iter().map(BTreeSet::len).max().unwrap_or(1);
    let files: Vec<_> = modules.iter().filter(|(path, module)| **path == module.file).collect();
    let mut lines = BTreeMap::<&str, usize>::new();
    for (path, module) in &files {
        *lines.entry(if path.is_empty() { "lib" } else { top(path) }).or_default() += module.lines;
    }
    println!("modules at the top: {}, in all: {}", lines.len() - 1, files.len() - 1);
    println!("imports between those at the top: {between}, between all: {}", imports.len());
    println!("largest circle at the top: {}", largest(circles(tops.into_iter())));
    println!("largest circle anywhere: {}", largest(circles(imports.iter().map(neighbours))));
    println!("lines without unit tests: {}", lines.values().sum::<usize>());
    for (name, lines) in lines {
        println!("{lines:8} {name}");
    }
}

#[test]
fn imports_go_down() {
    let modules = crate_modules();
    let imports = imports(&modules);
    print_counts(&modules, &imports);
    let faults = faults(&imports);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The imports of a crate of three layers, to a file of which a source was added.
fn planted(file: &str, addition: &str) -> Vec<Import> {
    let mut sources: Sources = [
        (
            "lib.rs",
            "mod element; mod kernel; mod layers; pub use element::Element; pub use layers::Dense;",
        ),
        ("element.rs", "pub trait Element {}"),
        ("kernel/mod.rs", "mod pack; mod rows; pub use rows::Rows; pub const PANEL: usize = 16;"),
        ("kernel/pack.rs", "use super::{PANEL, Rows}; use crate::Element;"),
        ("kernel/rows.rs", "use super::PANEL; pub struct Rows;"),
        (
            "layers/mod.rs",
            "pub struct Dense; fn f(x: &impl crate::Element) { crate::kernel::Rows }",
        ),
    ]
    .map(|(name, source)| (name.to_owned(), source.to_owned()))
    .into();
    sources.get_mut(file).unwrap().push_str(addition);
    imports(&modules(&sources))
}

#[test]
fn imports_are_found() {
    let imports = planted("lib.rs", "");
    let found: Vec<_> = imports.iter().map(|i| (i.from.as_str(), i.to.as_str())).collect();
    let expected = [
        ("kernel::pack", "element"),
        ("kernel::pack", "kernel::rows"),
        ("layers", "element"),
        ("layers", "kernel::rows"),
    ];
    assert_eq!(found, expected);
    assert_eq!(faults(&imports), [""; 0]);
}

#[test]
fn upward_imports_are_faults() {
    for upward in [
        "use crate::layers::Dense;",
        "use crate::{Element, Dense};",
        "use crate::layers as upper; fn f() -> upper::Dense {}",
        "fn f() { super::super::layers::Dense }",
        "fn f() { 'a'; 'b: loop { crate::Dense::new() } }",
        "macro_rules! m { () => { $crate::Dense } }",
        "mod inner { use super::super::super::Dense; }",
        "use crate::layers::*;",
    ] {
        let faults = faults(&planted("kernel/rows.rs", upward));
        assert!(
            faults[0].starts_with("upward: kernel::rows imports layers (line 1)"),
            "{faults:?}"
        );
    }
}

#[test]
fn circles_are_faults() {
    let within = faults(&planted("kernel/rows.rs", "fn f() { super::pack::pack() }"));
    assert_eq!(within.len(), 1);
    assert!(within[0].starts_with(r#"circle: {"kernel::pack", "kernel::rows"}"#), "{within:?}");
    let across = faults(&planted("element.rs", "use crate::kernel::Rows;"));
    assert!(across.iter().any(|fault| fault.starts_with(r#"circle: {"element", "kernel"}"#)));
}

#[test]
fn tests_comments_and_strings_are_no_imports() {
    for harmless in [
        "// use crate::Dense;",
        "/* /* */ use crate::Dense; */",
        "/// [`Dense`](crate::Dense)\nfn f() {}",
        "const TEXT: &str = \"\\\"; use crate::Dense;\";",
        "const TEXT: &str = r#\"\"; use crate::Dense;\"#;",
        "const QUOTE: char = '\"'; // use crate::Dense; \"",
        "#[cfg(test)] mod tests { use crate::Dense; }",
        "#[cfg(test)]\n#[allow(unused)]\nfn f(x: [u8; 2]) -> crate::Dense { crate::Dense }",
        "pub(in crate::layers) fn f() {}",
    ] {
        let found = planted("kernel/rows.rs", harmless);
        assert_eq!(faults(&found), [""; 0], "{harmless}");
    }
}
