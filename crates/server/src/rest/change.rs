//! Changing dynamic tables where that is done at once: alter, drop, suspend, resume.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use error::Result;
use refresh::Altered;
use serde::{Deserialize, Serialize};
use sql::names::ObjectName;
use sql::properties::{Property, PropertyName};
use sql::statement::AlterAction;
use utoipa::{IntoParams, ToSchema};

use crate::access::{Caller, Role};
use crate::audit::Deed;
use crate::body::{Asked, JsonBody, Name, bad};
use crate::problem::{Failure, Problem};
use crate::rest::look::known;
use crate::shared::Shared;

/// What to change of a dynamic table. A new name is given last.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alter {
    /// Properties by their names in SQL, such as `TARGET_LAG`: `5 minutes`.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Properties to put back to their defaults.
    #[serde(default)]
    unset: Vec<String>,
    /// The new name.
    rename_to: Option<String>,
}

/// What was changed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Change {
    /// The dynamic table, by its new name if it was renamed.
    pub name: String,
    /// What was done, in words.
    pub done: Vec<String>,
    /// Other dynamic tables that were suspended or resumed along.
    pub affected: Vec<String>,
}

impl Alter {
    fn actions(&self) -> Result<Vec<AlterAction>, Failure> {
        let name = |text: &String| text.parse::<PropertyName>();
        let set: Vec<Property> =
            self.set.iter().map(|(key, value)| Property::new(name(key)?, value)).collect::<Result<_>>()?;
        let unset: Vec<PropertyName> = self.unset.iter().map(name).collect::<Result<_>>()?;
        let mut actions = Vec::new();
        if !set.is_empty() {
            actions.push(AlterAction::Set(set));
        }
        if !unset.is_empty() {
            actions.push(AlterAction::Unset(unset));
        }
        if let Some(new) = &self.rename_to {
            actions.push(AlterAction::RenameTo(ObjectName::parse(new)?));
        }
        if actions.is_empty() {
            return Err(bad("the body says nothing to change"));
        }
        Ok(actions)
    }
}

/// Changes properties of a dynamic table, or its name.
#[utoipa::path(patch, path = "/api/v1/dynamic-tables/{name}", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table")), request_body = Alter,
    responses((status = 200, body = Change), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn alter(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Name(name): Name,
    JsonBody(alter): JsonBody<Alter>,
) -> Result<Json<Change>, Failure> {
    let actions = alter.actions()?;
    change(&shared, &caller, Role::Admin, name, actions).await
}

/// Stops refreshing a dynamic table, and those that read it.
#[utoipa::path(post, path = "/api/v1/dynamic-tables/{name}/suspend", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table")),
    responses((status = 200, body = Change), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn suspend(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Name(name): Name,
) -> Result<Json<Change>, Failure> {
    change(&shared, &caller, Role::Operate, name, vec![AlterAction::Suspend]).await
}

/// Refreshes a suspended dynamic table again, and those that read it.
#[utoipa::path(post, path = "/api/v1/dynamic-tables/{name}/resume", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table")),
    responses((status = 200, body = Change), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn resume(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Name(name): Name,
) -> Result<Json<Change>, Failure> {
    change(&shared, &caller, Role::Operate, name, vec![AlterAction::Resume]).await
}

async fn change(
    shared: &Shared,
    caller: &Caller,
    role: Role,
    name: ObjectName,
    actions: Vec<AlterAction>,
) -> Result<Json<Change>, Failure> {
    let asked = name.to_string();
    let deed = Deed::new(caller, "ALTER", vec![asked.clone()]).with_statement(&in_words(&actions));
    let altering = async {
        caller.may(role)?;
        shared
            .look(move |tables| {
                known(tables, &name, || {
                    actions.iter().map(|action| tables.alter(&name, false, action)).collect::<Result<Vec<_>>>()
                })
            })
            .await?
    };
    let altered: Vec<Altered> = shared.audited(deed, altering).await?;
    let change = Change {
        name: altered.last().map_or_else(|| asked, |altered| altered.name.to_string()),
        done: altered.iter().map(|altered| altered.message.clone()).collect(),
        affected: altered.iter().flat_map(|altered| &altered.affected).map(ToString::to_string).collect(),
    };
    Ok(Json(change))
}

/// What is to be changed, as the statement would say it.
fn in_words(actions: &[AlterAction]) -> String {
    let word = |action: &AlterAction| match action {
        AlterAction::Set(properties) => {
            let set = properties.iter().map(ToString::to_string);
            format!("SET {}", set.collect::<Vec<_>>().join(" "))
        }
        AlterAction::Unset(names) => {
            format!("UNSET {}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        AlterAction::RenameTo(name) => format!("RENAME TO {name}"),
        AlterAction::Suspend => "SUSPEND".to_owned(),
        AlterAction::Resume => "RESUME".to_owned(),
        AlterAction::Refresh { full: false } => "REFRESH".to_owned(),
        AlterAction::Refresh { full: true } => "REFRESH FULL".to_owned(),
    };
    actions.iter().map(word).collect::<Vec<_>>().join("; ")
}

/// How to drop.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drop {
    /// Also the dynamic tables that read it.
    cascade: Option<bool>,
}

/// What was dropped.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dropped {
    /// The dynamic tables.
    pub dropped: Vec<String>,
}

/// Removes a dynamic table and what it holds.
#[utoipa::path(delete, path = "/api/v1/dynamic-tables/{name}", tag = "dynamic tables",
    params(("name" = String, Path, description = "The dynamic table"), Drop),
    responses((status = 200, body = Dropped), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn drop_table(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Name(name): Name,
    Asked(drop): Asked<Drop>,
) -> Result<Json<Dropped>, Failure> {
    let cascade = drop.cascade.unwrap_or(false);
    let deed = Deed::new(&caller, "DROP", vec![name.to_string()]);
    let dropping = async {
        caller.may(Role::Admin)?;
        shared.look(move |tables| known(tables, &name, || tables.drop(&name, false, cascade))).await?
    };
    let dropped = shared.audited(deed, dropping).await?;
    let dropped: Vec<String> = dropped.iter().map(ToString::to_string).collect();
    Ok(Json(Dropped { dropped }))
}
