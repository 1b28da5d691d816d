//! What there is to query, and what this server can: catalogs, schemas, tables, and the answers to `GetSqlInfo`.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, SqlInfo};
use arrow_schema::Schema;
use error::{Code, Error, Result};
use lake::{Parameters, RecordBatch, SchemaRef};
use sql::names::{TableName, quote_identifier};

use crate::pool::blocking;
use crate::query::run::{Columns, Reader};
use crate::shared::{PATIENCE, Shared};

/// The version of the crates that read and write Arrow.
const ARROW_VERSION: &str = "58";

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";
const DYNAMIC_TABLE: &str = "DYNAMIC TABLE";

/// Something that can be queried.
struct Relation {
    name: TableName,
    kind: &'static str,
    /// Names and types in SQL; none of a view, which is asked for them.
    columns: Option<Vec<(String, String)>>,
}

/// The catalogs: the lake.
pub(super) fn catalogs(shared: &Shared, command: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    builder.append(&shared.lake.0);
    builder.build().map_err(unbuilt)
}

/// The schemas of the lake.
pub(super) async fn schemas(shared: &Shared, command: CommandGetDbSchemas) -> Result<RecordBatch> {
    let names: BTreeSet<String> = relations(shared).await?.into_iter().map(|relation| relation.name.schema).collect();
    let mut builder = command.into_builder();
    for name in names.iter().chain((!names.contains(&shared.lake.1)).then_some(&shared.lake.1)) {
        builder.append(&shared.lake.0, name);
    }
    builder.build().map_err(unbuilt)
}

/// The kinds of tables.
pub(super) fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = command.into_builder();
    for kind in [DYNAMIC_TABLE, TABLE, VIEW] {
        builder.append(kind);
    }
    builder.build().map_err(unbuilt)
}

/// The tables of the lake, with their columns if they are wanted.
pub(super) async fn tables(shared: &Shared, command: CommandGetTables) -> Result<RecordBatch> {
    let relations = relations(shared).await?;
    let lent = shared.readers.take(PATIENCE).await?;
    let alias = shared.lake.0.clone();
    blocking(move || {
        let reader = lent.get()?;
        let mut builder = command.into_builder();
        for relation in relations {
            let schema = match builder.include_schema() {
                true => columns(reader, &alias, &relation)?,
                false => Arc::new(Schema::empty()),
            };
            let TableName { schema: schema_name, name } = &relation.name;
            builder.append(&alias, schema_name, name, relation.kind, &schema).map_err(unbuilt)?;
        }
        builder.build().map_err(unbuilt)
    })
    .await
}

async fn relations(shared: &Shared) -> Result<Vec<Relation>> {
    let (tables, views, dynamic) = shared
        .look(|tables| {
            let session = tables.session();
            Ok((session.tables()?, session.views()?, tables.registry().load_all()?))
        })
        .await?;
    let dynamic: BTreeSet<TableName> = dynamic.into_iter().map(|table| table.definition.name).collect();
    let tables = tables.into_iter().map(|table| {
        let kind = if dynamic.contains(&table.name) { DYNAMIC_TABLE } else { TABLE };
        let columns = table.columns.into_iter().map(|column| (column.name, column.data_type)).collect();
        Relation { name: table.name, kind, columns: Some(columns) }
    });
    let views = views.into_iter().map(|name| Relation { name, kind: VIEW, columns: None });
    let shown = tables.chain(views).filter(|relation| relation.name.schema != lake::BOOKKEEPING_SCHEMA);
    Ok(shown.collect())
}

/// The columns in Arrow's types. A view that can no longer be read has none.
fn columns(reader: &Reader, alias: &str, relation: &Relation) -> Result<SchemaRef> {
    let described = match &relation.columns {
        Some(columns) => columns.clone(),
        None => {
            reader.session.describe(&format!("SELECT * FROM {}", relation.name.quoted(alias))).unwrap_or_default()
        }
    };
    if described.is_empty() {
        return Ok(Arc::new(Schema::empty()));
    }
    // Nothing is read for it: the types alone say it.
    let column = |(name, kind): &(String, String)| format!("NULL::{kind} AS {}", quote_identifier(name));
    let sql = format!("SELECT {} LIMIT 0", described.iter().map(column).collect::<Vec<_>>().join(", "));
    let mut columns = Columns(None);
    reader.session.stream(&sql, &Parameters::default(), &mut columns)?;
    Ok(columns.0.map_or_else(|| Arc::new(Schema::empty()), |schema| super::rows::as_sent(&schema, None)))
}

/// What this server is and can.
pub(super) fn sql_info() -> Result<&'static SqlInfoData> {
    static INFO: LazyLock<std::result::Result<SqlInfoData, FlightError>> = LazyLock::new(|| {
        let mut info = SqlInfoDataBuilder::new();
        info.append(SqlInfo::FlightSqlServerName, "dynamic-tables");
        info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
        info.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
        info.append(SqlInfo::FlightSqlServerReadOnly, false);
        info.append(SqlInfo::FlightSqlServerSql, true);
        info.append(SqlInfo::FlightSqlServerSubstrait, false);
        // None, and no cancelling but by leaving.
        info.append(SqlInfo::FlightSqlServerTransaction, 0i32);
        info.append(SqlInfo::FlightSqlServerCancel, false);
        info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
        info.append(SqlInfo::SqlDdlCatalog, false);
        info.append(SqlInfo::SqlDdlSchema, true);
        info.append(SqlInfo::SqlDdlTable, true);
        info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
        info.append(SqlInfo::SqlSchemaTerm, "schema");
        info.append(SqlInfo::SqlCatalogTerm, "lake");
        info.build()
    });
    INFO.as_ref().map_err(|cause| Error::new(Code::Internal, format!("no answer to GetSqlInfo: {cause}")))
}

fn unbuilt(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("metadata cannot be written as Arrow: {cause}"))
}
