//! Files that hold what only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::failure::Failure;

/// Keys and addresses do not lie where the next `git add` takes them along. Without git,
/// or outside its trees, there is nothing to fear.
pub fn keep_from_git(path: &Path) -> Result<(), Failure> {
    let (Some(name), folder) = (path.file_name(), path.parent()) else {
        return Ok(());
    };
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let asked = Command::new("git")
        .args(["check-ignore", "--quiet", "--"])
        .arg(name)
        .current_dir(folder.unwrap_or(Path::new(".")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match asked.ok().and_then(|status| status.code()) {
        // In a tree, and not ignored.
        Some(1) => Err(Failure::GitWouldTake(path.to_owned())),
        _ => Ok(()),
    }
}

/// A new file of mode 600, from its first moment on; one that is there is left alone.
pub fn create_private(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::Write(path.to_owned(), error))
}

pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::Write(path.to_owned(), error))
}
