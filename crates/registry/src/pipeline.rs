//! Pipelines: which connection is read and which ones it goes to. Whoever previews for a pipeline reaches these and no other.

use error::{Code, Error, Result};
use jiff::Timestamp;

use crate::Registry;
use crate::connection::{folded, name_taken};
use crate::failure::{is_foreign_key_violation, translate};
use crate::row::Row;
use crate::statement::Statement;

/// A pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// The number by which programs name it. Given by the registry.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// The number of the connection that it reads.
    pub source: i64,
    /// The numbers of the connections that it goes to.
    pub destinations: Vec<i64>,
    /// When it was made.
    pub created_at: Timestamp,
}

const SELECT: &str = "SELECT p.number, p.name, p.source, p.created_at, d.destination \
    FROM pipeline p LEFT JOIN pipeline_destination d ON d.pipeline = p.number";

impl Registry {
    /// All pipelines by name.
    pub fn pipelines(&self) -> Result<Vec<Pipeline>> {
        let statement = Statement::new(SELECT).append(" ORDER BY p.name, d.destination", []);
        collect(&self.store.fetch(statement)?)
    }

    /// The pipeline of this number.
    pub fn pipeline(&self, number: i64) -> Result<Option<Pipeline>> {
        let statement = Statement::new(SELECT).filter("p.number = {}", [number.into()]);
        Ok(collect(&self.store.fetch(statement.append(" ORDER BY d.destination", []))?)?.pop())
    }

    /// Records a new pipeline and gives its number; the one in `pipeline` counts for nothing.
    pub fn create_pipeline(&self, pipeline: &Pipeline) -> Result<i64> {
        self.store.transaction(async |transaction| {
            let row = vec![
                ("name", pipeline.name.as_str().into()),
                ("source", pipeline.source.into()),
                ("created_at", pipeline.created_at.into()),
            ];
            let unknown = |cause: sqlx::Error| match is_foreign_key_violation(&cause) {
                true => Error::new(Code::Query, "a pipeline leads from and to connections that exist"),
                false => name_taken(cause, "pipeline", &pipeline.name),
            };
            transaction.attempt(Statement::insert("pipeline", row)).await.map_err(unknown)?;
            let number = Statement::new("SELECT number FROM pipeline")
                .filter("replace(lower(name), '-', '_') = {}", [folded(&pipeline.name).into()]);
            let rows = transaction.fetch(number).await?;
            let lost = || Error::new(Code::Internal, "a pipeline was not recorded");
            let number: i64 = rows.first().ok_or_else(lost)?.get("number")?;
            for destination in &pipeline.destinations {
                let row = vec![("pipeline", number.into()), ("destination", (*destination).into())];
                transaction.attempt(Statement::insert("pipeline_destination", row)).await.map_err(unknown)?;
            }
            Ok(number)
        })
    }

    /// Forgets a pipeline; whether it was there.
    pub fn drop_pipeline(&self, number: i64) -> Result<bool> {
        self.store.transaction(async |transaction| {
            let statement = Statement::new("DELETE FROM pipeline").filter("number = {}", [number.into()]);
            Ok(transaction.attempt(statement).await.map_err(translate)? > 0)
        })
    }
}

/// One pipeline of the rows that are of one.
fn collect(rows: &[Row]) -> Result<Vec<Pipeline>> {
    let mut pipelines: Vec<Pipeline> = Vec::new();
    for row in rows {
        let number: i64 = row.get("number")?;
        let destination: Option<i64> = row.optional("destination")?;
        match pipelines.last_mut().filter(|last| last.number == number) {
            Some(last) => last.destinations.extend(destination),
            None => pipelines.push(Pipeline {
                number,
                name: row.get("name")?,
                source: row.get("source")?,
                destinations: destination.into_iter().collect(),
                created_at: row.get("created_at")?,
            }),
        }
    }
    Ok(pipelines)
}
