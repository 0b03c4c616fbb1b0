//! What the layout promises, held to it file by file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dual_write_proxy::runtime::observe::Event;
use dual_write_proxy::runtime::settings::Settings;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `src/`: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join("src"), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

fn is_test_file(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

/// The lines before the module of tests, which stands last, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_test = false;
    text.lines()
        .enumerate()
        .take_while(move |(_, line)| {
            let ends = is_test && line.ends_with('{') && line.contains("mod tests");
            is_test = *line == "#[cfg(test)]";
            !ends
        })
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let is_part = |character: Option<char>| {
            character.is_some_and(|character| character.is_alphanumeric() || character == '_')
        };
        !is_part(line[..start].chars().next_back())
            && !is_part(line[start + word.len()..].chars().next())
    })
}

#[test]
fn only_the_shell_names_the_platform_a_clock_or_a_random_source() {
    for (name, text) in sources() {
        if name.starts_with("src/shell") || is_test_file(&name) {
            continue;
        }
        for (number, line) in code(&text) {
            for word in [
                "worker",
                "js_sys",
                "wasm_bindgen",
                "web_sys",
                "SystemTime",
                "rand",
                "getrandom",
            ] {
                assert!(
                    !names(line, &format!("{word}::")) && !line.contains(&format!("use {word}")),
                    "{name}:{number} names {word}"
                );
            }
            for call in ["SystemTime", "Instant::now", "thread_rng", "std::time"] {
                assert!(!names(line, call), "{name}:{number} names {call}");
            }
        }
    }
}

#[test]
fn nothing_in_src_unwraps() {
    for (name, text) in sources()
        .into_iter()
        .filter(|(name, _)| !is_test_file(name))
    {
        for (number, line) in code(&text) {
            assert!(
                !line.contains(".unwrap()") && !line.contains(".expect("),
                "{name}:{number}: {line}"
            );
        }
    }
}

#[test]
fn no_file_is_longer_than_it_may_be() {
    for (name, text) in sources() {
        let n_lines = text.lines().count();
        assert!(n_lines <= 500, "{name} has {n_lines} lines; split it");
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (name, text) in sources() {
        let head = if name.ends_with(".js") { "// " } else { "//!" };
        assert!(text.starts_with(head), "{name} has no head");
    }
}

#[test]
fn the_map_names_every_file() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let missing: Vec<_> = sources()
        .into_iter()
        .map(|(name, _)| name)
        // A module's own tests belong to it.
        .filter(|name| !is_test_file(name))
        .filter(|name| !map.contains(&name.replacen("src/", "", 1)) && !map.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md does not name {missing:?}"
    );
}

#[test]
fn the_list_of_settings_is_what_is_read() {
    let list = std::fs::read_to_string(root().join("docs/settings.md")).expect("docs/settings.md");
    let read = RefCell::new(BTreeSet::new());
    Settings::read(|name| {
        read.borrow_mut().insert(name.to_owned());
        None
    });
    // Variables and secrets stand in the first column; bindings are no settings.
    let listed: BTreeSet<String> = list
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| bindings"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, read.into_inner());
}

#[test]
fn the_list_of_events_is_the_enum() {
    let list = std::fs::read_to_string(root().join("docs/events.md")).expect("docs/events.md");
    // Names stand as `area.what` at the head of a table row or a heading.
    let listed: BTreeSet<&str> = list
        .lines()
        .filter(|line| line.starts_with("| `") || line.starts_with('#'))
        .filter_map(|line| line.split('`').nth(1))
        .filter(|name| name.contains('.'))
        .collect();
    let emitted: BTreeSet<&str> = Event::NAMES.iter().copied().collect();
    assert_eq!(listed, emitted);
}

#[test]
fn every_name_of_an_event_is_area_and_what() {
    for name in Event::NAMES {
        let (area, what) = name.split_once('.').unwrap();
        let is_plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        assert!(is_plain(area) && is_plain(what), "{name}");
    }
    let source = include_str!("../../src/runtime/observe.rs");
    for name in Event::NAMES {
        assert_eq!(
            source.matches(&format!("\"{name}\"")).count(),
            match *name {
                "request.done" | "outbox.gap" => 3,
                _ => 2,
            },
            "{name}"
        );
    }
}
