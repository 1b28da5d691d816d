//! `extensions`: which of DuckDB's extensions are here, and getting those that are not.

use error::Result;
use lake::extensions::{self, Installer, Sources};

use crate::args::{ExtensionsArgs, ExtensionsCommand, InstallArgs};
use crate::commands::Context;
use crate::listing::{Listing, optional};

/// Lists or installs.
pub fn run(context: &mut Context<'_>, args: &ExtensionsArgs) -> Result<()> {
    match &args.command {
        ExtensionsCommand::List => list(context),
        ExtensionsCommand::Install(args) => install(context, args),
    }
}

fn list(context: &mut Context<'_>) -> Result<()> {
    let found = extensions::status(context.config.lake.extension_directory.as_deref())?;
    let mut listing = Listing::new(["name", "state", "version", "needed_for", "purpose", "file"]);
    for extension in &found {
        let state = match (&extension.loadable, &extension.file) {
            (Ok(()), Some(_)) => "installed",
            (Ok(()), None) => "built in",
            (Err(_), Some(_)) => "broken",
            (Err(_), None) => "missing",
        };
        listing.row(vec![
            extension.name.into(),
            state.into(),
            optional(extension.version.as_deref(), Into::into),
            extension.required_for.to_string().into(),
            extension.purpose.into(),
            optional(extension.file.as_ref(), |file| file.display().to_string().into()),
        ]);
    }
    context.printer.listing(&listing);
    if found.iter().any(|extension| extension.loadable.is_err()) {
        context.printer.say("\n`dynamic-tables extensions install` installs what is missing.");
    }
    Ok(())
}

fn install(context: &mut Context<'_>, args: &InstallArgs) -> Result<()> {
    let names = match args.names.as_slice() {
        [] => extensions::default_names().into_iter().map(str::to_owned).collect(),
        names => names.to_vec(),
    };
    let sources = Sources {
        repository: args.repository.clone(),
        package_index: args.package_index.clone(),
        ..Sources::default()
    };
    let mut installer = Installer::new(context.config.lake.extension_directory.as_deref(), sources)?;
    let mut listing = Listing::new(["name", "from", "file"]);
    let mut failure = None;
    for name in names {
        let progress = context.printer.progress(&format!("installing {name}"));
        let result = installer.install(&name);
        drop(progress);
        match result {
            Ok(extension) => listing.row(vec![
                extension.name.into(),
                extension.from.to_string().into(),
                optional(extension.file, |file| file.display().to_string().into()),
            ]),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    context.printer.listing_or(&listing, "nothing was installed");
    failure.map_or(Ok(()), Err)
}
