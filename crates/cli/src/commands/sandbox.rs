//! `sandbox`, which nobody types: the process in which a preview runs. And how this program starts one of itself.

use error::{Code, Error, Result};

use crate::config::Config;

/// The verb.
pub const VERB: &str = "sandbox";

/// Previews as they are configured, with this program as their sandbox.
pub fn sandbox_options(config: &Config) -> Result<preview::Options> {
    let program = std::env::current_exe()
        .map_err(|cause| Error::new(Code::Resource, "this program cannot find itself").with_source(cause))?;
    let told = &config.preview;
    Ok(preview::Options {
        soft_limit: told.soft_limit,
        hard_limit: told.hard_limit,
        row_limit: told.row_limit,
        memory: told.memory.clone(),
        concurrency: told.concurrency,
        extension_directory: config.lake.extension_directory.clone(),
        ..preview::Options::new(program, vec![VERB.to_owned()])
    })
}
