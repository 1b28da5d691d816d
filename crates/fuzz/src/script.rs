//! What a case is made of: statements in their order, as a file of plain SQL keeps them.
//!
//! ```sql
//! CREATE TABLE t0 (k INTEGER);
//! CREATE DYNAMIC TABLE q0 TARGET_LAG = '1 minute' REFRESH_MODE = INCREMENTAL AS SELECT k FROM t0;
//! INSERT INTO t0 VALUES (1);
//! EXPLAIN DYNAMIC TABLE q0;
//! ALTER DYNAMIC TABLE q0 REFRESH;
//! ```
//! Refreshes that stand beside each other are one. Where INCREMENTAL is refused the table is created with AUTO.

use std::fmt;

use crate::round::mentions;
use error::{Code, Error, Result};
use sql::properties::RefreshMode;
use sql::statement::{AlterAction, Statement, parse_statements};

/// A step of a script.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A statement of DuckDB's.
    Sql(String),
    /// A dynamic table is created.
    Create {
        /// Its name.
        name: String,
        /// How it is to be refreshed.
        mode: RefreshMode,
        /// Its query.
        query: String,
    },
    /// What the next refresh of a table would do is asked for; the refresh must do that.
    Explain(String),
    /// Tables are refreshed, and compared with their queries.
    Refresh(Vec<String>),
}

/// The steps of a case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// `QUERY` when it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let mut steps: Vec<Step> = Vec::new();
        for statement in parse_statements(text)? {
            let step = match statement.value {
                Statement::Create(create) => Step::Create {
                    name: create.name.to_string(),
                    mode: create.properties.refresh_mode,
                    query: create.query,
                },
                Statement::Alter { name, action: AlterAction::Refresh { full: false }, .. } => {
                    if let Some(Step::Refresh(names)) = steps.last_mut() {
                        names.push(name.to_string());
                        continue;
                    }
                    Step::Refresh(vec![name.to_string()])
                }
                Statement::Explain { name } => Step::Explain(name.to_string()),
                Statement::Other(_) => Step::Sql(statement.text),
                other => return Err(Error::new(Code::Query, format!("not a step of a case: {other:?}"))),
            };
            steps.push(step);
        }
        Ok(Self { steps })
    }

    /// The names of the dynamic tables.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let name = |step: &Step| match step {
            Step::Create { name, .. } => Some(name.clone()),
            _ => None,
        };
        self.steps.iter().filter_map(name).collect()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Sql(text) => writeln!(f, "{text};")?,
                Step::Create { name, mode, query } => {
                    let mode = mode_word(*mode);
                    writeln!(
                        f,
                        "CREATE DYNAMIC TABLE {name} TARGET_LAG = '1 minute' REFRESH_MODE = {mode} AS\n{query};"
                    )?;
                }
                Step::Explain(name) => writeln!(f, "EXPLAIN DYNAMIC TABLE {name};")?,
                Step::Refresh(names) => {
                    for name in names {
                        writeln!(f, "ALTER DYNAMIC TABLE {name} REFRESH;")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The mode as it is written.
#[must_use]
pub const fn mode_word(mode: RefreshMode) -> &'static str {
    match mode {
        RefreshMode::Auto => "AUTO",
        RefreshMode::Full => "FULL",
        RefreshMode::Incremental => "INCREMENTAL",
    }
}

impl Script {
    /// Leaves out what is done to dynamic tables that are not there.
    pub fn forget_missing(&mut self) {
        let there = self.tables();
        let mut gone: Vec<String> = Vec::new();
        for step in &self.steps {
            if let Step::Refresh(names) = step {
                gone.extend(names.iter().filter(|name| !there.contains(name)).cloned());
            }
        }
        let mut steps: Vec<Step> = Vec::new();
        for step in self.steps.drain(..) {
            match step {
                Step::Explain(name) if !there.contains(&name) => {}
                Step::Sql(text) if gone.iter().any(|name| mentions(&text, name)) => {}
                Step::Refresh(mut names) => {
                    names.retain(|name| there.contains(name));
                    if !names.is_empty() {
                        steps.push(Step::Refresh(names));
                    }
                }
                step => steps.push(step),
            }
        }
        self.steps = steps;
    }
}
