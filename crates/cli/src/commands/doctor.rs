//! `doctor`: is everything there that is needed? Every part is OK or FAIL; what fails says what to do.
//!
//! It changes nothing: a lake or registry that does not exist yet is not created.

use std::path::{Path, PathBuf};

use error::{Code, Error, Result};
use lake::extensions::{self, RequiredFor};
use lake::{Lake, Session};

use crate::commands::Context;
use crate::config::{Catalog, local_catalog};
use crate::listing::{Listing, bytes};

/// Less free disk than this stops a refresh sooner or later.
const LEAST_FREE_DISK: u64 = 1_000_000_000;
/// With less memory than this DuckDB spills all the time.
const LEAST_MEMORY: u64 = 500_000_000;

/// One part and how it is.
struct Finding {
    part: String,
    result: Result<String>,
}

/// Checks every part.
pub fn run(context: &mut Context<'_>) -> Result<()> {
    let mut findings = vec![finding("engine", engine())];
    findings.extend(needed_extensions(context));

    let (lake, session) = open_lake(context, &mut findings);
    findings.push(finding("registry", registry_state(context)));
    findings.extend(disks(context, lake.as_ref(), session.as_ref()));
    findings.push(finding("memory", memory(session.as_ref())));

    let mut listing = Listing::new(["part", "result", "details"]);
    for finding in &findings {
        let (result, details) = match &finding.result {
            Ok(details) => ("OK", details.as_str()),
            Err(error) => ("FAIL", error.message()),
        };
        listing.row(vec![finding.part.as_str().into(), result.into(), details.into()]);
    }
    context.printer.listing(&listing);
    for finding in &findings {
        if let Err(error) = &finding.result {
            context.failed(error);
        }
    }
    Ok(())
}

fn finding(part: impl Into<String>, result: Result<String>) -> Finding {
    Finding { part: part.into(), result }
}

fn engine() -> Result<String> {
    let engine = extensions::Engine::here()?;
    Ok(format!("DuckDB {} for {}", engine.version, engine.platform))
}

/// The extensions that this lake needs, and those that others need if they are there.
fn needed_extensions(context: &Context<'_>) -> Vec<Finding> {
    let found = match extensions::status(context.config.lake.extension_directory.as_deref()) {
        Ok(found) => found,
        Err(error) => return vec![finding("extensions", Err(error))],
    };
    let path = context.config.lake.path.to_ascii_lowercase();
    let data_path = context.config.lake.data_path.clone().unwrap_or_default();
    let is_needed = |required: RequiredFor| match required {
        RequiredFor::EveryLake => true,
        RequiredFor::SqliteCatalogs => path.contains("sqlite"),
        RequiredFor::PostgresCatalogs => path.contains("postgres:"),
        RequiredFor::RemoteFiles => path.contains("://") || data_path.contains("://"),
        RequiredFor::TimeZones | RequiredFor::Tests => false,
    };
    let mut findings = Vec::new();
    for extension in found {
        let part = format!("extension {}", extension.name);
        let version = extension.version.map(|version| format!(", version {}", version.trim_start_matches('v')));
        match extension.loadable {
            Ok(()) => {
                findings.push(finding(part, Ok(format!("{}{}", extension.purpose, version.unwrap_or_default()))))
            }
            Err(error) if is_needed(extension.required_for) => findings.push(finding(part, Err(error))),
            Err(_) if extension.required_for == RequiredFor::Tests => {}
            Err(_) => {
                findings
                    .push(finding(part, Ok(format!("not installed; needed only for {}", extension.required_for))));
            }
        }
    }
    findings
}

fn open_lake(context: &Context<'_>, findings: &mut Vec<Finding>) -> (Option<Lake>, Option<Session>) {
    if let Catalog::File(path) = local_catalog(&context.config.lake.path)
        && !path.exists()
    {
        let state = match folder_of(&path) {
            Some(folder) => Ok(format!(
                "{} does not exist yet; the first statement creates it in {}",
                path.display(),
                folder.display()
            )),
            None => Err(missing_folder("lake", &path)),
        };
        findings.push(finding("lake", state));
        return (None, None);
    }
    let opened = Lake::open(&context.config.lake).and_then(|lake| {
        let session = lake.session()?;
        let snapshot = session.current_snapshot()?;
        let tables = session.tables()?;
        // The bookkeeping is not the user's.
        let tables = tables.iter().filter(|table| table.name.schema != lake::BOOKKEEPING_SCHEMA).count();
        let details =
            format!("snapshot {} with {tables} tables, data in {}", snapshot.id, lake::mask(lake.data_path()));
        Ok((lake, session, details))
    });
    match opened {
        Ok((lake, session, details)) => {
            findings.push(finding("lake", Ok(details)));
            (Some(lake), Some(session))
        }
        Err(error) => {
            findings.push(finding("lake", Err(error)));
            (None, None)
        }
    }
}

fn registry_state(context: &Context<'_>) -> Result<String> {
    let url = &context.config.registry;
    let shown = lake::mask(url);
    if !url.contains("://") && url != ":memory:" {
        let path = PathBuf::from(url.strip_prefix("sqlite:").unwrap_or(url));
        if !path.exists() {
            return match folder_of(&path) {
                Some(_) => Ok(format!("{shown} does not exist yet; the first statement creates it")),
                None => Err(missing_folder("registry", &path)),
            };
        }
    }
    let tables = registry::Registry::open(url)?.load_all()?.len();
    Ok(format!("{shown} with {tables} dynamic tables"))
}

/// The folder a file would be made in, if there is one.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    folder.is_dir().then_some(folder)
}

fn missing_folder(what: &str, path: &Path) -> Error {
    Error::new(Code::Configuration, format!("the folder of the {what} does not exist"))
        .with_context("path", path.display().to_string())
        .with_hint("Create the folder, or name another path.")
}

/// Free space where data, temporary files and the registry go.
fn disks(context: &Context<'_>, lake: Option<&Lake>, session: Option<&Session>) -> Vec<Finding> {
    let mut places: Vec<(&str, String)> = Vec::new();
    let data = lake.map(|lake| lake.data_path().to_owned()).or_else(|| context.config.lake.data_path.clone());
    places.extend(data.filter(|path| !path.contains("://") && !path.is_empty()).map(|path| ("disk for data", path)));
    let temporary = session.and_then(|session| setting(session, "temp_directory"));
    places.extend(temporary.filter(|path| !path.is_empty()).map(|path| ("disk for spilling", path)));
    places.into_iter().map(|(part, path)| finding(part, free_space(Path::new(&path)))).collect()
}

fn free_space(path: &Path) -> Result<String> {
    // The folder itself may come later; its disk is that of the nearest folder above that exists.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let state = rustix::fs::statvfs(existing).map_err(|problem| {
        Error::new(Code::Resource, "cannot find out how much disk is free")
            .with_context("path", path.display().to_string())
            .with_source(problem)
    })?;
    let free = state.f_bavail.saturating_mul(state.f_frsize);
    let shown = bytes(free).text();
    if free < LEAST_FREE_DISK {
        return Err(Error::new(Code::Resource, format!("only {shown} are free in {}", path.display()))
            .with_hint("Free some disk, or put data (--data-path) or temporary files (--duckdb-settings \"temp_directory='...'\") elsewhere."));
    }
    Ok(format!("{shown} free in {}", path.display()))
}

/// DuckDB's limit against what the process may have.
fn memory(session: Option<&Session>) -> Result<String> {
    let may_use = memory_of_machine();
    let limit = session.and_then(|session| setting(session, "memory_limit")).and_then(|text| size(&text));
    let hint =
        "Set a limit that fits with --duckdb-settings \"memory_limit='...'\"; what does not fit is spilled to disk.";
    match (limit, may_use) {
        (Some(limit), Some(most)) if limit > most => Err(Error::new(
            Code::Resource,
            format!("memory_limit is {}, and this process may have {}", bytes(limit).text(), bytes(most).text()),
        )
        .with_hint(hint)),
        (Some(limit), _) if limit < LEAST_MEMORY => {
            Err(Error::new(Code::Resource, format!("memory_limit is only {}", bytes(limit).text())).with_hint(hint))
        }
        (Some(limit), Some(most)) => Ok(format!("memory_limit {} of {}", bytes(limit).text(), bytes(most).text())),
        (Some(limit), None) => Ok(format!("memory_limit {}", bytes(limit).text())),
        (None, Some(most)) => Ok(format!("this process may have {}", bytes(most).text())),
        (None, None) => Ok("unknown on this system".to_owned()),
    }
}

fn setting(session: &Session, name: &str) -> Option<String> {
    let rows = session.query(&format!("SELECT current_setting('{name}')")).ok()?;
    rows.rows.into_iter().next()?.into_iter().next()?
}

/// What the machine has, or the container if that is less.
fn memory_of_machine() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok())
        .min();
    match (machine, container) {
        (Some(machine), Some(container)) => Some(machine.min(container)),
        (machine, container) => machine.or(container),
    }
}

/// A size as DuckDB shows it: `12.3 GiB`, `500 bytes`.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let factor = match unit {
        "bytes" | "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * factor;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in bytes")]
    Some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read_as_the_engine_shows_them() {
        assert_eq!(size("1.0 GiB"), Some(1_073_741_824));
        assert_eq!(size("500 bytes"), Some(500));
        assert_eq!(size("lots"), None);
    }
}
