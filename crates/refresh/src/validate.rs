//! Checking a statement without doing it.

use error::{Code, Error, Result};
use sql::properties::{RefreshMode, TargetLag};
use sql::statement::{CreateDynamicTable, CreateMode};

use crate::analysis::{Analysis, resolve_mode};
use crate::create::shift_span;
use crate::report::Check;
use crate::tables::DynamicTables;

impl DynamicTables {
    /// Checks a definition without creating anything. What depends on a failed check is left out.
    #[must_use]
    pub fn validate(&self, statement: &CreateDynamicTable, text: &str) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut check = |name: &str, result: Result<String>| -> bool {
            let fine = result.is_ok();
            checks.push(Check { name: name.to_owned(), result });
            fine
        };
        check("statement", Ok("the statement is well-formed".to_owned()));
        check("properties", statement.properties.check().map(|()| shown_lag(statement.properties.target_lag)));
        check("name", self.check_name(statement, text));
        let in_text = |error: Error| shift_span(error, &statement.query, statement.query_offset, text);
        match self.analysed(statement, text) {
            Err(error) => {
                check("query", Err(error));
            }
            Ok((analysis, _)) => {
                let plan = &analysis.plan;
                let columns: Vec<String> =
                    plan.output.iter().map(|(name, data_type)| format!("{name} {data_type}")).collect();
                check("query", Ok(format!("{} columns: {}", columns.len(), columns.join(", "))));
                let sources: Vec<String> = plan.sources.iter().map(|source| source.name.to_string()).collect();
                check("sources", Ok(if sources.is_empty() { "none".to_owned() } else { sources.join(", ") }));
                let mode = resolve_mode(statement.properties.refresh_mode, plan, &statement.query);
                check(
                    "refresh mode",
                    mode.map_err(in_text).map(|(incremental, reason)| match (incremental, reason) {
                        (true, _) => "INCREMENTAL".to_owned(),
                        (false, Some(reason)) if statement.properties.refresh_mode != RefreshMode::Full => {
                            format!("FULL: {reason}")
                        }
                        (false, _) => "FULL".to_owned(),
                    }),
                );
                check("dependencies", self.check_dependencies(statement, text, &analysis));
            }
        }
        checks
    }

    fn check_name(&self, statement: &CreateDynamicTable, text: &str) -> Result<String> {
        let name = self.resolve(&statement.name)?;
        let exists = self.registry.get(&name)?.is_some();
        match (exists, statement.mode) {
            (false, _) => self.name_is_free(&name, statement, text).map(|()| format!("{name} is free")),
            (true, CreateMode::Create) if !statement.if_not_exists => {
                Err(Error::new(Code::Query, format!("dynamic table {name} already exists"))
                    .with_span(statement.name.span(text)))
            }
            (true, CreateMode::Create) => Ok(format!("{name} exists already and would be left alone")),
            (true, _) => Ok(format!("{name} exists and would be changed")),
        }
    }

    fn check_dependencies(&self, statement: &CreateDynamicTable, text: &str, analysis: &Analysis) -> Result<String> {
        let name = self.resolve(&statement.name)?;
        let tables = self.load_all()?;
        let existing = tables.iter().find(|table| table.definition.name == name);
        let table = self.define(statement, text, &name, &tables, existing, analysis)?;
        let upstream: Vec<String> = table
            .sources
            .iter()
            .filter(|source| source.upstream.is_some())
            .map(|source| source.name.to_string())
            .collect();
        Ok(if upstream.is_empty() {
            "reads no other dynamic table".to_owned()
        } else {
            format!("reads the dynamic tables {}", upstream.join(", "))
        })
    }
}

fn shown_lag(lag: Option<TargetLag>) -> String {
    lag.map_or_else(|| "refreshed by hand only".to_owned(), |lag| format!("target lag {lag}"))
}
