//! `connection`: named ways to data outside of the lake. None of it opens the lake.

use std::io::Read as _;

use ::connection::{Chain, Connections, Described, Done, Kind, NewConnection, Setting};
use ::sql::statement::ConnectionStatement;
use error::{Code, Error, Result};
use preview::Previews;
use registry::Registry;

use crate::args::{ConnectionArgs, ConnectionCommand, CreateConnectionArgs};
use crate::commands::Context;
use crate::commands::sandbox::sandbox_options;
use crate::config::Config;
use crate::listing::{Cell, Listing};

/// Does what the options say.
pub fn run(context: &mut Context<'_>, args: &ConnectionArgs) -> Result<()> {
    let connections = open(context.config)?;
    match &args.command {
        ConnectionCommand::List => show(context, connections.list()?),
        ConnectionCommand::Describe { name } => show(context, vec![connections.get(name)?]),
        ConnectionCommand::Create(create) => {
            let (described, is_new) = connections.create(&new_connection(create)?)?;
            changed(context, &described.name, if is_new { "created" } else { "exists already" });
        }
        ConnectionCommand::Drop { name, if_exists } => {
            let was_there = connections.drop(name, *if_exists)?;
            changed(context, name, if was_there { "dropped" } else { "was not there" });
        }
        ConnectionCommand::Test { name } => test(context, connections, name)?,
        ConnectionCommand::Rotate => {
            let renewed = connections.rotate()?;
            let mut listing = Listing::new(["key", "renewed"]);
            let key = connections.chain().keyring().current().map_or_else(Cell::none, Cell::from);
            listing.row(vec![key, renewed.into()]);
            context.printer.listing(&listing);
        }
    }
    Ok(())
}

/// Runs a statement about connections.
pub fn execute(context: &mut Context<'_>, statement: &ConnectionStatement) -> Result<()> {
    let connections = open(context.config)?;
    match connections.run(statement.clone())? {
        Done::Changed(described, done) => changed(context, &described.name, done),
        Done::Dropped(name, was_there) => {
            changed(context, &name, if was_there { "dropped" } else { "was not there" })
        }
        Done::Missing(name) => changed(context, &name, "was not there"),
        Done::Listed(all) => show(context, all),
        Done::Test(name) => test(context, connections, &name)?,
    }
    Ok(())
}

fn open(config: &Config) -> Result<Connections> {
    let registry = Registry::open(&config.registry)?;
    Ok(Connections::new(registry, Chain::of_process()?))
}

fn test(context: &mut Context<'_>, connections: Connections, name: &str) -> Result<()> {
    let options = preview::Options { warm: false, ..sandbox_options(context.config)? };
    Previews::new(connections, options).test(name)?;
    changed(context, name, "can be reached");
    Ok(())
}

fn changed(context: &mut Context<'_>, name: &str, result: &str) {
    let mut listing = Listing::new(["name", "result"]);
    listing.row(vec![name.into(), result.into()]);
    context.printer.listing(&listing);
}

fn show(context: &mut Context<'_>, all: Vec<Described>) {
    let mut listing = Listing::new(["id", "name", "kind", "settings", "secrets", "revision", "updated_at"]);
    for described in all {
        let pairs = |pairs: Vec<String>| pairs.join(" ");
        let settings = described.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let secrets = described.secrets.iter().map(|(name, origin)| format!("{name}={origin}")).collect();
        listing.row(vec![
            described.number.into(),
            described.name.into(),
            described.kind.into(),
            Cell::shown(serde_json::json!(described.settings), pairs(settings)),
            Cell::shown(serde_json::json!(described.secrets), pairs(secrets)),
            described.revision.into(),
            described.updated_at.to_string().into(),
        ]);
    }
    context.printer.listing_or(&listing, "there is no connection");
}

fn new_connection(create: &CreateConnectionArgs) -> Result<NewConnection> {
    let mut settings = Vec::new();
    for pair in &create.set {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Error::new(Code::Configuration, "--set takes NAME=VALUE").with_hint("Such as --set host=db."));
        };
        settings.push(Setting { name: name.trim().to_owned(), value: value.to_owned() });
    }
    if let Some(name) = &create.secret_stdin {
        let mut value = String::new();
        std::io::stdin()
            .lock()
            .read_to_string(&mut value)
            .map_err(|cause| Error::new(Code::Configuration, "cannot read standard input").with_source(cause))?;
        settings.push(Setting { name: name.clone(), value: value.trim_end_matches(['\r', '\n']).to_owned() });
    }
    Ok(NewConnection {
        name: create.name.clone(),
        kind: Kind::read(&create.kind)?,
        settings,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
    })
}
