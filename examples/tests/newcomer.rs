//! What a newcomer has to read and to run for the first examples, counted and held against the README.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The first three, in the order of the README.
const FIRST: [&str; 3] = ["quickstart", "reqwest_middleware", "axum_service"];

/// Where the part ends that is copied.
const ONLY_TO_RUN: &str = "// ===== what is only here to run it";

/// One example, as the README counts it.
#[derive(Debug, PartialEq)]
struct Asked {
    lines: usize,
    concepts: usize,
}

#[test]
fn the_readme_tells_what_the_first_examples_ask_of_a_newcomer() {
    let readme = file("../README.md");
    for example in FIRST {
        let counted = counted(&file(&format!("{example}.rs")));
        let row = format!(
            "| `cargo run --example {example}` | {} | {} |",
            counted.lines, counted.concepts
        );
        assert!(readme.contains(&row), "README.md has no row {row}");
    }
}

/// The lines that are copied, comments and blank ones aside, and how many different names of ours they bring
/// in.
fn counted(source: &str) -> Asked {
    let copied = source.split(ONLY_TO_RUN).next().unwrap();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    Asked {
        lines: copied.lines().filter(is_code).count(),
        concepts: imported(copied).len(),
    }
}

/// The names that are imported from our crates.
fn imported(source: &str) -> BTreeSet<String> {
    let uses = source.split("use ").skip(1);
    let ours = uses.filter(|path| {
        let of = |name: &str| path.starts_with(&format!("{name}::"));
        of("tower_maskinporten") || of("maskinporten_sim") || of("maskinporten_azure")
    });
    let paths = ours.map(|path| path.split(';').next().unwrap());
    let names = paths.flat_map(|path| {
        let words = path.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with(char::is_uppercase))
    });
    names.map(str::to_owned).collect()
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn lines_and_names_are_counted_as_they_are_written() {
    let source = "//! A page.\nuse tower_maskinporten::{BoxError, maskinporten::Error};\nuse http::Uri;\n\n\
                  fn main() {\n    // Why.\n    call();\n}\n// ===== what is only here to run it =====\nfn x() {}\n";
    let expected = Asked {
        lines: 5,
        concepts: 2,
    };
    assert_eq!(counted(source), expected);
}
