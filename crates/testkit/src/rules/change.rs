//! The change of a whole query, by every way that its rule offers: a refresh takes the cheapest, and all have to be right.

use error::{Code, Error, Result};
use incremental::render::Reading;
use incremental::rules::fold::{Fold, LOST};
use incremental::rules::keyed::{Keyed, key_column};
use incremental::rules::state::{MARK, StateFold};
use incremental::rules::top::Top;
use incremental::{Plan, Root, apply};

use super::groups::{Rendered, groups_at, rendered, touched};
use super::world::{State, World};

/// A way to compute a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// The terms of a query that is linear in what changed.
    Linear,
    /// The touched groups as they were, in the stored table, and as they are.
    Groups,
    /// The change folded into the stored rows.
    Fold,
    /// The change folded into a state table.
    State,
    /// The stored first rows and those that came.
    FirstRows,
}

impl Way {
    /// Its name, for a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Groups => "groups",
            Self::Fold => "fold",
            Self::State => "state",
            Self::FirstRows => "first rows",
        }
    }
}

/// The old result, stored.
pub const STORED: &str = "stored";

/// The changes of a query. A way is left out where what changed has to be computed in another way.
///
/// # Errors
/// What the engine says, and `INTERNAL` for a query without a rule.
pub fn changes(world: &World, plan: &Plan, state: &State) -> Result<Vec<(Way, Vec<Rendered>)>> {
    let keyed = match &plan.root {
        Root::Opaque => return Err(Error::new(Code::Internal, format!("no rule: {:?}", plan.reasons))),
        Root::Linear(linear) => {
            return Ok(vec![(Way::Linear, rendered(world, plan, state, &linear.change(&state.inputs()))?)]);
        }
        Root::Keyed(keyed) => keyed.as_ref(),
    };
    if let Some(terms) = keyed.linear_change(&state.inputs()) {
        // The keys tell what the change of a subquery or of an optional side touches, not what that of the rest does.
        return Ok(vec![(Way::Linear, rendered(world, plan, state, &terms)?)]);
    }
    let mut changes = vec![(Way::Groups, groups(world, plan, keyed, state)?)];
    if keyed.has_linear_input(&state.inputs()) {
        let folded = keyed.fold.as_ref().ok().map(|fold| folded(world, plan, keyed, fold, state)).transpose()?;
        changes.extend(folded.flatten().map(|terms| (Way::Fold, terms)));
        let of_state = keyed.state.as_ref().map(|fold| of_state(world, plan, keyed, fold, state)).transpose()?;
        changes.extend(of_state.flatten().map(|terms| (Way::State, terms)));
    }
    let first = keyed.top.as_ref().map(|top| first_rows(world, plan, keyed, top, state)).transpose()?;
    changes.extend(first.flatten().map(|terms| (Way::FirstRows, terms)));
    Ok(changes)
}

fn columns(plan: &Plan) -> Vec<String> {
    plan.output.iter().map(|(name, _)| name.clone()).collect()
}

fn groups(world: &World, plan: &Plan, keyed: &Keyed, state: &State) -> Result<Vec<Rendered>> {
    let Some(parts) = touched(world, plan, keyed, state)? else { return Ok(Vec::new()) };
    let new = groups_at(world, plan, keyed, state, &parts, Reading::New)?;
    let Some(key_columns) = &keyed.key_columns else {
        return Ok(vec![(true, new), (false, groups_at(world, plan, keyed, state, &parts, Reading::Old)?)]);
    };
    let columns = columns(plan);
    let keys: Vec<String> = key_columns.iter().map(|column| columns[*column].clone()).collect();
    let stored = parts.iter().map(|part| {
        let affected = part.first().map(|restriction| (restriction.table.as_str(), restriction.with_null));
        let rows = apply::stored_groups(&format!("temp.main.{STORED}"), &columns, &keys, affected);
        format!("SELECT * EXCLUDE ({}) FROM ({rows})", apply::ROW_ID)
    });
    Ok(vec![(true, new), (false, stored.collect::<Vec<_>>().join(" UNION ALL "))])
}

/// For each key, whether no group in a table of groups is NULL in it.
fn never_null(world: &World, keyed: &Keyed, groups: &str) -> Result<Vec<bool>> {
    let keys = keyed.key_counts().first().copied().unwrap_or_default();
    let some = |key| format!("SELECT count(*) FROM temp.main.{groups} WHERE {} IS NULL", key_column(key));
    (0..keys).map(|key| Ok(world.count(&some(key))? == 0)).collect()
}

/// `None` where the extreme of a group was lost.
fn folded(world: &World, plan: &Plan, keyed: &Keyed, fold: &Fold, state: &State) -> Result<Option<Vec<Rendered>>> {
    let terms = rendered(world, plan, state, &keyed.changed_input(fold, &state.inputs()))?;
    if terms.is_empty() {
        return Ok(Some(Vec::new()));
    }
    world.keep("fold_change", &fold.deltas(&apply::weighted(&terms)))?;
    let never_null = never_null(world, keyed, "fold_change")?;
    world.keep("folded", &fold.new_rows("temp.main.fold_change", &format!("temp.main.{STORED}"), &never_null))?;
    if world.count(&format!("SELECT count(*) FROM temp.main.folded WHERE {LOST}"))? > 0 {
        return Ok(None);
    }
    if world.count("SELECT count(*) FROM temp.main.folded WHERE __dt_rows < 0")? > 0 {
        return Err(Error::new(Code::Internal, "more went than there were"));
    }
    let list = apply::column_list(&columns(plan));
    let id = apply::ROW_ID;
    Ok(Some(vec![
        (true, format!("SELECT {list} FROM temp.main.folded WHERE __dt_rows > 0 AND NOT __dt_same")),
        (
            false,
            format!(
                "SELECT {list} FROM temp.main.{STORED} WHERE rowid IN \
                 (SELECT {id} FROM temp.main.folded WHERE {id} IS NOT NULL AND NOT __dt_same)"
            ),
        ),
    ]))
}

/// `None` where the extreme of a group was lost.
fn of_state(
    world: &World,
    plan: &Plan,
    keyed: &Keyed,
    fold: &StateFold,
    state: &State,
) -> Result<Option<Vec<Rendered>>> {
    let terms = rendered(world, plan, state, &keyed.changed_state(fold, &state.inputs()))?;
    if terms.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let input = keyed.state_input(fold, Reading::Old, &[], &world.parser)?;
    let input = world.renderer(plan, state).sql(&input)?;
    let kept = fold.of_rows(&format!("({input})"));
    world.keep("state", &format!("SELECT *, NULL::VARCHAR AS {MARK} FROM ({kept})"))?;
    world.keep("state_change", &fold.of_change(&apply::weighted(&terms)))?;
    let never_null = never_null(world, keyed, "state_change")?;
    world.keep("merged", &fold.merged("temp.main.state_change", "temp.main.state", &never_null))?;
    if world.count(&format!("SELECT count(*) FROM temp.main.merged WHERE {LOST}"))? > 0 {
        return Ok(None);
    }
    let id = apply::ROW_ID;
    world.keep("before", &format!("SELECT * FROM state WHERE rowid IN (SELECT {id} FROM temp.main.merged)"))?;
    Ok(Some(vec![(true, rows_of(world, fold, "merged")?), (false, rows_of(world, fold, "before")?)]))
}

fn rows_of(world: &World, fold: &StateFold, table: &str) -> Result<String> {
    let table = format!("temp.main.{table}");
    let greatest = fold.greatest_count(&table).map(|select| world.count(&select)).transpose()?.unwrap_or_default();
    Ok(fold.rows(&table, u64::BITS - greatest.leading_zeros()))
}

/// `None` where a stored row went that only the input can replace.
fn first_rows(world: &World, plan: &Plan, keyed: &Keyed, top: &Top, state: &State) -> Result<Option<Vec<Rendered>>> {
    let columns = columns(plan);
    let terms = rendered(world, plan, state, &keyed.input_change(top, &state.inputs()))?;
    if terms.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let (list, weight) = (apply::column_list(&columns), apply::WEIGHT);
    world.keep("input_change", &apply::net(&apply::weighted(&terms), &columns))?;
    let affected = (!top.partition.is_empty()).then_some(("partitions", true));
    if affected.is_some() {
        let keys = top.partition.iter().enumerate();
        let keys: Vec<String> = keys.map(|(number, key)| format!("\"{key}\" AS {}", key_column(number))).collect();
        world.keep("partitions", &format!("SELECT DISTINCT {} FROM input_change", keys.join(", ")))?;
    }
    let stored = apply::stored_groups(&format!("temp.main.{STORED}"), &columns, &top.partition, affected);
    world.keep("touched", &stored)?;
    let over = match apply::column_list(&top.partition).as_str() {
        "" => String::new(),
        partition => format!("PARTITION BY {partition}"),
    };
    let full = format!("SELECT {list} FROM touched QUALIFY count(*) OVER ({over}) >= {}", top.count);
    let lost = format!("SELECT count(*) FROM ({full} INTERSECT SELECT {list} FROM input_change WHERE {weight} < 0)");
    if world.count(&lost)? > 0 {
        return Ok(None);
    }
    let all = format!(
        "(SELECT {list}, 1::BIGINT AS {weight} FROM touched UNION ALL SELECT {list}, {weight} FROM input_change)"
    );
    world.keep("candidates", &apply::net(&all, &columns))?;
    let candidates = apply::inserts("candidates", &columns);
    let order = format!("{over} ORDER BY {}", top.order);
    Ok(Some(vec![
        (true, format!("SELECT {list} FROM ({candidates}) QUALIFY row_number() OVER ({order}) <= {}", top.count)),
        (false, format!("SELECT {list} FROM touched")),
    ]))
}
