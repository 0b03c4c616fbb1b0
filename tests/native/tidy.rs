//! What the layout promises, held to it file by file.

mod layout;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dual_write_proxy::runtime::observe::Event;
use dual_write_proxy::runtime::settings::Settings;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the Worker: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    files("src")
}

/// The same with the files of the operator's command.
fn all_sources() -> impl Iterator<Item = (String, String)> {
    sources().into_iter().chain(files("crates/dwp/src"))
}

fn files(folder: &str) -> Vec<(String, String)> {
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
    walk(&root().join(folder), &mut paths);
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
    for (name, text) in all_sources().filter(|(name, _)| !is_test_file(name)) {
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
    for (name, text) in all_sources() {
        let n_lines = text.lines().count();
        assert!(n_lines <= 500, "{name} has {n_lines} lines; split it");
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for (name, text) in all_sources() {
        let head = match name.rsplit_once('.').map(|(_, kind)| kind) {
            Some("js") => "// ",
            Some("css") => "/* ",
            Some("html") => "<!-- ",
            _ => "//!",
        };
        assert!(text.starts_with(head), "{name} has no head");
    }
}

fn architecture() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

/// The first sentence of a module's head.
fn purpose(text: &str) -> String {
    let head = text.lines().take_while(|line| line.starts_with("//!"));
    let lines: Vec<_> = head.map(|line| line[3..].trim()).collect();
    let head = lines.join(" ");
    let end = head.find(". ").unwrap_or(head.trim_end_matches('.').len());
    head[..end].trim_end_matches('.').to_owned()
}

/// The folders' rows in the map: name and purpose.
fn mapped_folders(map: &str) -> BTreeSet<(String, String)> {
    map.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `src/")?.split('|').map(str::trim);
            let name = cells.next()?.strip_suffix("/`")?;
            Some((name.to_owned(), cells.next()?.to_owned()))
        })
        .collect()
}

#[test]
fn the_map_has_each_folder_with_its_purpose() {
    let folders: BTreeSet<(String, String)> = sources()
        .iter()
        .filter_map(|(name, text)| {
            let name = name.strip_prefix("src/")?.strip_suffix(".rs")?;
            (name != "lib" && !name.contains('/')).then(|| (name.to_owned(), purpose(text)))
        })
        .collect();
    assert_eq!(mapped_folders(&architecture()), folders);
    for (name, _) in &folders {
        assert!(
            root().join("src").join(name).is_dir(),
            "src/{name}.rs stands alone"
        );
    }
    for (name, _) in all_sources() {
        let is_in_a_folder = folders.iter().any(|(folder, _)| {
            name == format!("src/{folder}.rs") || name.starts_with(&format!("src/{folder}/"))
        });
        assert!(
            is_in_a_folder || name == "src/lib.rs" || name.starts_with("crates/dwp/src/"),
            "{name} is in no folder of the map"
        );
    }
}

#[test]
fn what_the_map_names_exists() {
    let map = architecture();
    let is_path = |text: &&str| {
        let extensions = [".rs", ".js", ".mjs", ".sql", ".toml", ".md"];
        let is_plain = !text.contains(|character: char| {
            !(character.is_ascii_alphanumeric() || "/._-".contains(character))
        });
        is_plain
            && (extensions.iter().any(|extension| text.ends_with(extension))
                || ["src/", "tests/", "crates/", "docs/", "scripts/", "schema/"]
                    .iter()
                    .any(|folder| text.starts_with(folder)))
    };
    let named: BTreeSet<&str> = map.split(['`', '(', ')']).filter(is_path).collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !root().join(name).exists())
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");
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
    let source = concat!(
        include_str!("../../src/runtime/observe.rs"),
        include_str!("../../src/runtime/observe/describe.rs")
    );
    for name in Event::NAMES {
        assert_eq!(
            source.matches(&format!("\"{name}\"")).count(),
            match *name {
                "request.done" | "outbox.gap" | "ramp.moved" => 3,
                _ => 2,
            },
            "{name}"
        );
    }
}
