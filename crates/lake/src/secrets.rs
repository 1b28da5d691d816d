//! Credentials for object storage, from the environment into a DuckDB secret that lives as long as the instance.

use std::env;

use duckdb::Connection;
use error::{Code, Error, Result};
use sql::names::quote_literal;

use crate::failure::translate;
use crate::{Settings, extensions};

/// Makes the S3 secret: of the keys in the environment if they are there, else of the role that the machine has.
pub(crate) fn create(connection: &Connection, settings: &Settings) -> Result<()> {
    let mut parts = vec!["TYPE s3".to_owned()];
    match variable("AWS_ACCESS_KEY_ID") {
        Some(key) => {
            let Some(secret) = variable("AWS_SECRET_ACCESS_KEY") else {
                return Err(Error::new(
                    Code::Configuration,
                    "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not",
                )
                .with_hint("Set both, or neither to use the credentials of a role."));
            };
            parts.push(format!("PROVIDER config, KEY_ID {}, SECRET {}", quote_literal(&key), quote_literal(&secret)));
            if let Some(token) = variable("AWS_SESSION_TOKEN") {
                parts.push(format!("SESSION_TOKEN {}", quote_literal(&token)));
            }
        }
        None => {
            extensions::load(connection, "aws")?;
            parts.push("PROVIDER credential_chain".to_owned());
        }
    }
    // A secret overrides the settings of the same name, so what was set has to go into it.
    let of_setting_or = |setting: &str, variables: &[&str]| {
        let set = settings.value(setting).map(str::to_owned);
        set.or_else(|| variables.iter().find_map(|name| variable(name)))
    };
    if let Some(region) = of_setting_or("s3_region", &["AWS_REGION", "AWS_DEFAULT_REGION"]) {
        parts.push(format!("REGION {}", quote_literal(&region)));
    }
    let mut encrypted = of_setting_or("s3_use_ssl", &["DUCKDB_S3_USE_SSL"]);
    if let Some(endpoint) =
        of_setting_or("s3_endpoint", &["DUCKDB_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
    {
        // AWS's own variables hold a URL, DuckDB wants host and port.
        let (scheme, host) = endpoint.split_once("://").map_or((None, endpoint.as_str()), |(s, h)| (Some(s), h));
        if encrypted.is_none() && scheme == Some("http") {
            encrypted = Some("false".to_owned());
        }
        parts.push(format!("ENDPOINT {}", quote_literal(host.trim_end_matches('/'))));
        // Servers other than AWS rarely answer on bucket.host.
        let style = settings.value("s3_url_style").unwrap_or("path");
        parts.push(format!("URL_STYLE {}", quote_literal(style)));
    } else if let Some(style) = settings.value("s3_url_style") {
        parts.push(format!("URL_STYLE {}", quote_literal(style)));
    }
    if let Some(encrypted) = encrypted {
        parts.push(format!("USE_SSL {}", quote_literal(&encrypted)));
    }
    let statement = format!("CREATE OR REPLACE SECRET dynamic_tables_s3 ({})", parts.join(", "));
    connection.execute_batch(&statement).map_err(|failure| {
        let reason = translate(failure, "", 0);
        Error::new(Code::Configuration, "there are no usable credentials for S3")
            .with_context("reason", reason.message())
            .with_hint("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role.")
    })
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
