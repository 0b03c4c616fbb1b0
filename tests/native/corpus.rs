//! The corpus of the fuzz targets, replayed.

#[path = "../../fuzz/targets.rs"]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(files.len() >= 5, "{name}: {}", files.len());
    for file in files {
        target(&std::fs::read(file.unwrap().path()).unwrap());
    }
}

#[test]
fn no_input_of_the_fuzz_corpus_breaks_its_target() {
    replay("token", targets::token);
    replay("header", targets::header);
    replay("claims", targets::claims);
    replay("write_body", targets::write_body);
    replay("key_set", targets::key_set);
    replay("imported_keys", targets::imported_keys);
}
