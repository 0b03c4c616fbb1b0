//! The corpus of the fuzz target, replayed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../../../fuzz/key_export.rs"]
mod target;

#[test]
fn no_export_of_the_fuzz_corpus_breaks_the_reader() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/key_export");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(files.len() >= 5, "{}", files.len());
    for file in files {
        target::key_export(&std::fs::read(file.unwrap().path()).unwrap());
    }
}
