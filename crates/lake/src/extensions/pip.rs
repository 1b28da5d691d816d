//! The other way: the wheels that carry DuckDB's signed extensions on the Python package index, fetched by pip
//! exactly as pip is configured on this machine, so that a company's mirror just works.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Engine;
use crate::mask;

/// How long pip waits for a socket; it tries twice.
const SOCKET_SECONDS: &str = "4";
/// How long one download may take in all.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);
const PYTHONS: [&str; 2] = ["python3", "python"];

/// The package that carries an extension.
pub(super) fn package(name: &str) -> String {
    format!("duckdb-extension-{}", name.replace('_', "-"))
}

/// Downloads the wheel of an extension and puts its file into `folder`, or says in a sentence why not.
pub(super) fn install(name: &str, folder: &Path, engine: &Engine, index: Option<&str>) -> Result<(), String> {
    // Beside the place where the file goes, so that moving it there is one step.
    let workspace = Workspace::new(folder, name)?;
    let requirement = format!("{}=={}", package(name), engine.version.trim_start_matches('v'));
    let mut download: Vec<&str> =
        vec!["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"];
    download.extend(["--no-deps", "--only-binary=:all:", "--timeout", SOCKET_SECONDS, "--retries", "1"]);
    if let Some(index) = index {
        download.extend(["--index-url", index]);
    }
    download.extend(["--dest", ".", &requirement]);
    python(&download, &workspace.0)?;

    let wheel = find(&workspace.0, ".whl").ok_or("pip downloaded no wheel")?;
    python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."], &workspace.0)?;
    let file_name = format!("{name}.duckdb_extension");
    let file = find(&workspace.0, &file_name).ok_or_else(|| format!("the wheel has no {file_name}"))?;
    // A rename, never a copy: another process may have the old file mapped, and must not see half of a new one.
    fs::rename(&file, folder.join(&file_name))
        .map_err(|failure| format!("cannot move the file into place: {failure}"))
}

/// Runs Python, whichever there is, and gives its complaint if it fails.
fn python(arguments: &[&str], directory: &Path) -> Result<(), String> {
    for program in PYTHONS {
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => continue,
            Err(failure) => return Err(format!("cannot run {program}: {failure}")),
        };
        let stderr = child.stderr.take();
        let complaint = thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut stderr) = stderr {
                // Half a complaint is better than none.
                let _ = stderr.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        let deadline = Instant::now() + DOWNLOAD_LIMIT;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                Ok(None) => {
                    // It may have ended just now, which is as good.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("pip was not done after {} s", DOWNLOAD_LIMIT.as_secs()));
                }
                Err(failure) => return Err(format!("cannot wait for {program}: {failure}")),
            }
        };
        if status.success() {
            return Ok(());
        }
        return Err(last_complaint(&complaint.join().unwrap_or_default()));
    }
    Err("no Python to run pip with".to_owned())
}

/// pip repeats itself; its last error line says it. A refused or unanswered connection shows only in a warning
/// before it, and without that the error reads as if the package did not exist.
fn last_complaint(text: &str) -> String {
    let unreachable = ["NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError", "SSLError"]
        .iter()
        .any(|sign| text.contains(sign));
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("[notice]"));
    let line = line.unwrap_or("pip failed without a word").trim_start_matches("ERROR: ");
    mask(&if unreachable { format!("the package index cannot be reached ({line})") } else { line.to_owned() })
}

/// The file below `directory` whose name ends like this.
fn find(directory: &Path, suffix: &str) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let file = entries.iter().find(|path| path.is_file() && path.to_string_lossy().ends_with(suffix));
    file.cloned().or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|path| find(path, suffix)))
}

/// A directory that goes away again.
struct Workspace(PathBuf);

impl Workspace {
    fn new(folder: &Path, name: &str) -> Result<Self, String> {
        let path = folder.join(format!(".{name}-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|failure| format!("cannot create {}: {failure}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What is left behind is only a hidden directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_index_is_told_from_an_unknown_package() {
        let unknown =
            "ERROR: Could not find a version that satisfies x\nERROR: No matching distribution found for x\n";
        assert_eq!(last_complaint(unknown), "No matching distribution found for x");
        let refused = format!("WARNING: Retrying after NewConnectionError(refused)\n{unknown}");
        assert_eq!(
            last_complaint(&refused),
            "the package index cannot be reached (No matching distribution found for x)"
        );
        assert_eq!(last_complaint(""), "pip failed without a word");
    }

    #[test]
    fn packages_are_named_with_hyphens() {
        assert_eq!(package("sqlite_scanner"), "duckdb-extension-sqlite-scanner");
    }
}
