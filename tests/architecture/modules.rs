//! A crate's modules, with the names they define and import and the paths they mention.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// Sources by path from `src`, such as `kernel/mod.rs`.
pub(crate) type Sources = BTreeMap<String, String>;

/// Modules by path, such as `kernel::isa`; the crate's root is the empty path.
pub(crate) type Modules = BTreeMap<String, Module>;

#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) path: String,
    /// The module whose file this one is in: itself, unless it stands between braces.
    pub(crate) file: String,
    pub(crate) children: BTreeSet<String>,
    pub(crate) items: BTreeSet<String>,
    /// What `use` binds: a name, and the path it stands for.
    pub(crate) names: BTreeMap<String, Vec<String>>,
    pub(crate) globs: Vec<Vec<String>>,
    /// The paths in `use` and elsewhere, and their lines.
    pub(crate) mentions: Vec<(Vec<String>, usize)>,
    /// Lines of the file without those of tests.
    pub(crate) lines: usize,
}

/// All modules but tests.
pub(crate) fn modules(sources: &Sources) -> Modules {
    let mut modules = Modules::new();
    read_file(sources, "", &mut modules);
    modules
}

pub(crate) fn child_of(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

fn read_file(sources: &Sources, path: &str, modules: &mut Modules) {
    let stem = if path.is_empty() { "lib".to_owned() } else { path.replace("::", "/") };
    let candidates = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
    let source = candidates.iter().find_map(|name| sources.get(name));
    let source = source.unwrap_or_else(|| panic!("no file of the module `{path}`"));
    let mut reader = Reader { file: path, files: Vec::new(), tests: 0, modules };
    reader.module(path, source.parse().unwrap());
    let Reader { files, tests, .. } = reader;
    modules.get_mut(path).unwrap().lines = source.lines().count() - tests;
    for file in files {
        read_file(sources, &file, modules);
    }
}

/// Reads a file.
struct Reader<'a> {
    file: &'a str,
    /// Modules that are declared here and have files of their own.
    files: Vec<String>,
    /// Lines of tests.
    tests: usize,
    modules: &'a mut Modules,
}

impl Reader<'_> {
    fn module(&mut self, path: &str, source: TokenStream) {
        let (path, file) = (path.to_owned(), self.file.to_owned());
        let mut module = Module { path: path.clone(), file, ..Module::default() };
        self.scan(source, &mut module);
        self.modules.insert(path, module);
    }

    /// Notes the items, imports and paths of a module, whose source may be cut anywhere.
    fn scan(&mut self, source: TokenStream, module: &mut Module) {
        const ITEMS: [&str; 8] =
            ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
        let trees: Vec<TokenTree> = source.into_iter().collect();
        let mut at = 0;
        while at < trees.len() {
            let rest = &trees[at..];
            at += match (&rest[0], rest.get(1)) {
                (TokenTree::Punct(p), Some(_)) if p.as_char() == '#' => self.attribute(rest),
                // `*const T` is no item.
                (TokenTree::Punct(p), Some(_)) if p.as_char() == '*' => 2,
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) => {
                    let (word, name) = (word.to_string(), name.to_string());
                    match word.as_str() {
                        "mod" => self.declaration(&name, &rest[2..], module),
                        "use" => imports(rest, module),
                        word if ITEMS.contains(&word) => {
                            module.items.insert(name);
                            1
                        }
                        _ => 1,
                    }
                }
                (TokenTree::Ident(_), _) => mention(rest, module),
                (TokenTree::Group(group), _) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    // `pub(in path)` imports nothing.
                    if inner.first().is_none_or(|first| !is(first, "in")) {
                        self.scan(group.stream(), module);
                    }
                    1
                }
                _ => 1,
            }
        }
    }

    /// Skips an attribute and, if it says `cfg(test)`, what it belongs to.
    fn attribute(&mut self, trees: &[TokenTree]) -> usize {
        let group = if is(&trees[1], "!") { 2 } else { 1 };
        let text = trees.get(group).map_or(String::new(), TokenTree::to_string).replace(' ', "");
        if !text.starts_with("[cfg(test)") && !text.starts_with("[cfg(all(test,") {
            return group + 1;
        }
        let ends = |tree: &TokenTree| match tree {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            other => is(other, ";"),
        };
        let end = trees.iter().position(ends).unwrap_or(trees.len() - 1);
        self.tests += trees[end].span().end().line - trees[0].span().start().line + 1;
        end + 1
    }

    /// `mod name;` or `mod name { .. }`, of which `rest` is what follows the name.
    fn declaration(&mut self, name: &str, rest: &[TokenTree], module: &mut Module) -> usize {
        let child = child_of(&module.path, name);
        module.children.insert(name.to_owned());
        match rest.first() {
            Some(TokenTree::Group(group)) => self.module(&child, group.stream()),
            _ => self.files.push(child),
        }
        3
    }
}

fn is(tree: &TokenTree, text: &str) -> bool {
    match tree {
        TokenTree::Ident(name) => name == text,
        TokenTree::Punct(punct) => text.len() == 1 && text.starts_with(punct.as_char()),
        _ => false,
    }
}

/// Reads `use ..;` and returns its length.
fn imports(trees: &[TokenTree], module: &mut Module) -> usize {
    let end = trees.iter().position(|tree| is(tree, ";")).unwrap_or(trees.len());
    import_trees(&trees[1..end], &[], module);
    end
}

/// Reads what stands between the braces of a `use`, or all of it, behind a path.
fn import_trees(trees: &[TokenTree], prefix: &[String], module: &mut Module) {
    for branch in trees.split(|tree| is(tree, ",")).filter(|branch| !branch.is_empty()) {
        let (mut path, mut alias) = (prefix.to_vec(), None);
        let line = branch[0].span().start().line;
        let mut trees = branch.iter();
        while let Some(tree) = trees.next() {
            match tree {
                TokenTree::Ident(word) if word == "as" => {
                    alias = trees.next().map(TokenTree::to_string);
                }
                // `a::{self}` is `a`.
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    import_trees(&inner, &path, module);
                }
                tree if is(tree, "*") => module.globs.push(path.clone()),
                _ => {}
            }
        }
        if !matches!(branch.last(), Some(TokenTree::Group(_))) {
            let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
            module.names.insert(name, path.clone());
            module.mentions.push((path, line));
        }
    }
}

/// Notes the path that starts here, if it has more than one name, and returns its length.
fn mention(trees: &[TokenTree], module: &mut Module) -> usize {
    let mut path = vec![trees[0].to_string()];
    let mut end = 1;
    while let [TokenTree::Punct(a), b, TokenTree::Ident(name), ..] = &trees[end..]
        && (a.as_char(), a.spacing()) == (':', Spacing::Joint)
        && is(b, ":")
    {
        path.push(name.to_string());
        end += 3;
    }
    if end > 1 {
        module.mentions.push((path, trees[0].span().start().line));
    } else if trees.get(1).is_some_and(|tree| is(tree, "!")) && is(&trees[0], "macro_rules") {
        module.items.insert(trees[2].to_string());
    }
    end
}
