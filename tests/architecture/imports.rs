//! Which module a path leads to, and so which module imports which.

use crate::modules::{Modules, child_of};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A module mentions what another one defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    line: usize,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} imports {} (line {})", self.from, self.to, self.line)
    }
}

/// Where a path leads: to a module, or to something defined in one.
enum Place {
    Module(String),
    Item(String),
}

/// All imports between files, one for each pair.
///
/// A folder's `mod.rs` and the files that it holds are meant to know each other: what they import of
/// each other is left out. So is what the root imports, as it only hands on what others define.
pub(crate) fn imports(modules: &Modules) -> Vec<Import> {
    let mut imports = BTreeMap::new();
    for module in modules.values() {
        for (path, line) in &module.mentions {
            let place = resolve(modules, &module.path, path, &mut BTreeSet::new());
            let Some(Place::Module(to) | Place::Item(to)) = place else { continue };
            let (from, to) = (&module.file, &modules[&to].file);
            if !holds(from, to) {
                // What the root defines would have no layer.
                assert!(!to.is_empty(), "{from}, line {line}: {path:?} leads to lib.rs");
                if !holds(to, from) {
                    imports.entry((from.clone(), to.clone())).or_insert(*line);
                }
            }
        }
    }
    imports.into_iter().map(|((from, to), line)| Import { from, to, line }).collect()
}

/// Whether one module is, or holds, another.
fn holds(module: &str, other: &str) -> bool {
    let inner = other.strip_prefix(module);
    inner.is_some_and(|rest| module.is_empty() || rest.is_empty() || rest.starts_with("::"))
}

/// Follows a path from a module, through re-exports and private imports alike; `None` if it leaves
/// the crate. `seen` holds the names that are being followed, for those that lead to themselves.
fn resolve(
    modules: &Modules,
    from: &str,
    path: &[String],
    seen: &mut BTreeSet<(String, String)>,
) -> Option<Place> {
    let mut here = match path.first()?.as_str() {
        "crate" => String::new(),
        "self" => from.to_owned(),
        "super" => parent(from),
        name if modules[from].children.contains(name) => child_of(from, name),
        name => match imported(modules, from, name, seen)? {
            Place::Module(module) => module,
            item => return Some(item),
        },
    };
    for name in &path[1..] {
        let module = &modules[&here];
        if name == "super" {
            here = parent(&here);
        } else if module.children.contains(name) {
            here = child_of(&here, name);
        } else if module.items.contains(name) {
            return Some(Place::Item(here));
        } else {
            match imported(modules, &here, name, seen) {
                Some(Place::Module(module)) => here = module,
                Some(item) => return Some(item),
                // Made by a macro here, or imported from another crate.
                None => return Some(Place::Item(here)),
            }
        }
    }
    Some(Place::Module(here))
}

/// What a module's own imports know under a name.
fn imported(
    modules: &Modules,
    here: &str,
    name: &str,
    seen: &mut BTreeSet<(String, String)>,
) -> Option<Place> {
    if !seen.insert((here.to_owned(), name.to_owned())) {
        return None;
    }
    let module = &modules[here];
    if let Some(path) = module.names.get(name) {
        return resolve(modules, here, path, seen);
    }
    module.globs.iter().find_map(|path| {
        let Place::Module(there) = resolve(modules, here, path, seen)? else { return None };
        if modules[&there].children.contains(name) {
            Some(Place::Module(child_of(&there, name)))
        } else if modules[&there].items.contains(name) {
            Some(Place::Item(there))
        } else {
            imported(modules, &there, name, seen)
        }
    })
}

fn parent(module: &str) -> String {
    module.rsplit_once("::").map_or_else(String::new, |(parent, _)| parent.to_owned())
}
