//! What the protocol asks, one function for each of its commands.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
    CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementQuery, CommandStatementUpdate,
    DoPutPreparedStatementResult, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc,
    Ticket,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use axum::body::Bytes;
use error::{Code, Error};
use lake::RecordBatch;
use prost::Message as _;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::access::{Caller, Role};
use crate::flight::answer::{Flight, Kind, asked, offset, placed};
use crate::flight::prepared::Prepared;
use crate::flight::rows::{self, Sent, single};
use crate::flight::status::{refusal, unwritten};
use crate::flight::{metadata, own};
use crate::gate::presented;
use crate::query::{Given, Query};

impl Flight {
    /// The answer to "how would this be answered": the columns, and a ticket for the rows.
    async fn flight_info(
        &self,
        caller: &Caller,
        mut query: Query,
        descriptor: FlightDescriptor,
    ) -> Result<Response<FlightInfo>, Status> {
        let described = self.describe(caller, &query).await;
        let (columns, data_version) = described.map_err(|failure| self.refuse(failure))?;
        if data_version.is_some() {
            (query.consistent, query.data_version) = (false, data_version);
        }
        let handle = serde_json::to_vec(&query).map_err(|cause| self.refuse(unwritten(cause)))?;
        let ticket = TicketStatementQuery { statement_handle: handle.into() };
        let mut response = info(&columns, ticket.as_any().encode_to_vec(), descriptor)?;
        if let Some(version) = data_version {
            response.metadata_mut().insert("x-data-version", version.into());
        }
        Ok(response)
    }
}

fn info(columns: &Schema, ticket: Vec<u8>, descriptor: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket: ticket.into() });
    let info = FlightInfo::new().try_with_schema(columns).map_err(|cause| refusal(&unwritten(cause).into()))?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(descriptor)))
}

/// A command that needs no ticket of another kind.
fn info_of(
    columns: &Schema,
    command: &impl ProstMessageExt,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    info(columns, command.as_any().encode_to_vec(), request.into_inner())
}

fn as_bytes(columns: &Schema) -> Result<Bytes, Status> {
    let options = arrow_ipc::writer::IpcWriteOptions::default();
    let message = IpcMessage::try_from(SchemaAsIpc::new(columns, &options));
    message.map(|IpcMessage(bytes)| bytes).map_err(|cause| refusal(&unwritten(cause).into()))
}

/// No keys are known of any table.
fn no_keys(names: &[(&str, DataType)]) -> SchemaRef {
    let fields = names.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn primary_keys() -> SchemaRef {
    use DataType::{Int32, Utf8};
    no_keys(&[
        ("catalog_name", Utf8),
        ("db_schema_name", Utf8),
        ("table_name", Utf8),
        ("column_name", Utf8),
        ("key_name", Utf8),
        ("key_sequence", Int32),
    ])
}

fn foreign_keys() -> SchemaRef {
    use DataType::{Int32, UInt8, Utf8};
    no_keys(&[
        ("pk_catalog_name", Utf8),
        ("pk_db_schema_name", Utf8),
        ("pk_table_name", Utf8),
        ("pk_column_name", Utf8),
        ("fk_catalog_name", Utf8),
        ("fk_db_schema_name", Utf8),
        ("fk_table_name", Utf8),
        ("fk_column_name", Utf8),
        ("key_sequence", Int32),
        ("fk_key_name", Utf8),
        ("pk_key_name", Utf8),
        ("update_rule", UInt8),
        ("delete_rule", UInt8),
    ])
}

type Handshakes = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl FlightSqlService for Flight {
    type FlightService = Self;

    /// Whoever comes with a name and a token as the password gets that token for further requests.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Handshakes>, Status> {
        // The gate has let it through: the token is right, or none is asked for.
        let token = presented(request.metadata().as_ref()).unwrap_or_default();
        let answer = HandshakeResponse { protocol_version: 0, payload: Bytes::from(token.clone()) };
        let stream: Handshakes = Box::pin(tokio_stream::once(Ok(answer)));
        let mut response = Response::new(stream);
        if let Ok(bearer) = format!("Bearer {token}").parse() {
            response.metadata_mut().insert("authorization", bearer);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        command: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = self.caller(&request)?;
        let query = asked(command.query, request.metadata()).map_err(|error| self.refuse(error))?;
        self.flight_info(&caller, query, request.into_inner()).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        let caller = self.caller(&request)?;
        let query: Query = serde_json::from_slice(&ticket.statement_handle)
            .map_err(|_| self.refuse(Error::new(Code::Query, "the ticket is none of this server's")))?;
        self.run(&caller, &query).await.map(Response::new)
    }

    async fn do_action_create_prepared_statement(
        &self,
        command: ActionCreatePreparedStatementRequest,
        request: Request<arrow_flight::Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let caller = self.caller(&request)?;
        let query = asked(command.query, request.metadata()).map_err(|error| self.refuse(error))?;
        let (mut parameters, mut dataset_schema) = (Vec::new(), Bytes::new());
        match self.kind(&query).await.map_err(|failure| self.refuse(failure))? {
            Kind::Query(opened) => {
                let found = opened.parameters().await;
                let (names, opened) = found.map_err(|error| self.refuse(placed(&query, offset(&query), error)))?;
                let data_version = opened.data_version;
                let nulls = lake::Parameters::Positional(vec![lake::Parameter::Null; names.len()]);
                match opened.with_parameters(nulls).columns().await {
                    Ok(columns) => dataset_schema = as_bytes(&rows::as_sent(&columns, data_version))?,
                    // Its columns depend on the values.
                    Err(_) if !names.is_empty() => {}
                    Err(error) => return Err(self.refuse(placed(&query, offset(&query), error))),
                }
                parameters = names;
            }
            Kind::Ours(statement) => dataset_schema = as_bytes(&own::columns(&statement))?,
            Kind::Change(_) => caller.may(Role::Admin).map_err(|error| self.refuse(error))?,
        }
        let parameter_schema = if parameters.is_empty() {
            Bytes::new()
        } else {
            let field = |name: &String| Field::new(name, DataType::Utf8, true);
            as_bytes(&Schema::new(parameters.iter().map(field).collect::<Vec<_>>()))?
        };
        let handle =
            self.statements.keep(Prepared { owner: caller.name, query, parameters, used_at: Instant::now() });
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle,
            dataset_schema,
            parameter_schema,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        command: ActionClosePreparedStatementRequest,
        request: Request<arrow_flight::Action>,
    ) -> Result<(), Status> {
        let caller = self.caller(&request)?;
        self.statements.forget(&command.prepared_statement_handle, caller.name.as_deref());
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let caller = self.caller(&request)?;
        let handle = command.prepared_statement_handle;
        let prepared = self.prepared(&caller, &handle)?;
        let mut rows = self.values(&prepared, request).await?;
        let (Some(values), true) = (rows.pop(), rows.is_empty()) else {
            let error = Error::new(Code::Query, "a query takes one row of parameters");
            return Err(self.refuse(error.with_hint("Run it once for each row.")));
        };
        let bound = self.statements.change(&handle, caller.name.as_deref(), |prepared| {
            prepared.query.parameters = Some(Given::Positional(values));
        });
        bound.map_err(|error| self.refuse(error))?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = self.caller(&request)?;
        let prepared = self.prepared(&caller, &command.prepared_statement_handle)?;
        self.flight_info(&caller, prepared.query, request.into_inner()).await
    }

    async fn do_get_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        let caller = self.caller(&request)?;
        let prepared = self.prepared(&caller, &command.prepared_statement_handle)?;
        self.run(&caller, &prepared.query).await.map(Response::new)
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let caller = self.caller(&request)?;
        let query = asked(command.query, request.metadata()).map_err(|error| self.refuse(error))?;
        self.update(&caller, query).await
    }

    async fn do_put_prepared_statement_update(
        &self,
        command: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let caller = self.caller(&request)?;
        let prepared = self.prepared(&caller, &command.prepared_statement_handle)?;
        let values = self.values(&prepared, request).await?;
        let mut query = prepared.query;
        if values.iter().any(|row| !row.is_empty()) {
            query.parameters = Some(Given::Positional(Vec::new()));
        }
        self.update(&caller, query).await
    }

    async fn get_flight_info_catalogs(
        &self,
        command: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&command.into_builder().schema(), &command, request)
    }

    async fn do_get_catalogs(
        &self,
        command: CommandGetCatalogs,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        let catalogs = metadata::catalogs(&self.shared, command);
        catalogs.map(|batch| Response::new(single(batch))).map_err(|error| self.refuse(error))
    }

    async fn get_flight_info_schemas(
        &self,
        command: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&command.clone().into_builder().schema(), &command, request)
    }

    async fn do_get_schemas(
        &self,
        command: CommandGetDbSchemas,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        let schemas = metadata::schemas(&self.shared, command).await;
        schemas.map(|batch| Response::new(single(batch))).map_err(|error| self.refuse(error))
    }

    async fn get_flight_info_tables(
        &self,
        command: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&command.clone().into_builder().schema(), &command, request)
    }

    async fn do_get_tables(
        &self,
        command: CommandGetTables,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        let tables = metadata::tables(&self.shared, command).await;
        tables.map(|batch| Response::new(single(batch))).map_err(|error| self.refuse(error))
    }

    async fn get_flight_info_table_types(
        &self,
        command: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&command.into_builder().schema(), &command, request)
    }

    async fn do_get_table_types(
        &self,
        command: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        let types = metadata::table_types(command);
        types.map(|batch| Response::new(single(batch))).map_err(|error| self.refuse(error))
    }

    async fn get_flight_info_sql_info(
        &self,
        command: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let known = metadata::sql_info().map_err(|error| self.refuse(error))?;
        info_of(&known.schema(), &command, request)
    }

    async fn do_get_sql_info(
        &self,
        command: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        let known = metadata::sql_info().map_err(|error| self.refuse(error))?;
        let batch = command.into_builder(known).build().map_err(|cause| self.refuse(unwritten(cause)))?;
        Ok(Response::new(single(batch)))
    }

    async fn get_flight_info_primary_keys(
        &self,
        command: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&primary_keys(), &command, request)
    }

    async fn do_get_primary_keys(
        &self,
        _command: CommandGetPrimaryKeys,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        Ok(Response::new(single(RecordBatch::new_empty(primary_keys()))))
    }

    async fn get_flight_info_exported_keys(
        &self,
        command: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&foreign_keys(), &command, request)
    }

    async fn do_get_exported_keys(
        &self,
        _command: CommandGetExportedKeys,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        Ok(Response::new(single(RecordBatch::new_empty(foreign_keys()))))
    }

    async fn get_flight_info_imported_keys(
        &self,
        command: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&foreign_keys(), &command, request)
    }

    async fn do_get_imported_keys(
        &self,
        _command: CommandGetImportedKeys,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        Ok(Response::new(single(RecordBatch::new_empty(foreign_keys()))))
    }

    async fn get_flight_info_cross_reference(
        &self,
        command: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info_of(&foreign_keys(), &command, request)
    }

    async fn do_get_cross_reference(
        &self,
        _command: CommandGetCrossReference,
        _request: Request<Ticket>,
    ) -> Result<Response<Sent>, Status> {
        Ok(Response::new(single(RecordBatch::new_empty(foreign_keys()))))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
