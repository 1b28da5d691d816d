//! The change of an operator that is maintained by keys, by computing the touched groups as they were and as they are, and
//! that of stages.

use error::Result;
use incremental::render::Reading;
use incremental::rules::keyed::{Keyed, Restriction, key_column};
use incremental::rules::linear::Term;
use incremental::{Plan, StageChange, apply};

use super::world::{State, World};

/// A part of a change: whether the rows came, and the query that gives them.
pub type Rendered = (bool, String);

pub(super) fn rendered(world: &World, plan: &Plan, state: &State, terms: &[Term]) -> Result<Vec<Rendered>> {
    let renderer = world.renderer(plan, state);
    terms.iter().map(|term| Ok((term.came, renderer.sql(&term.node)?))).collect()
}

/// The touched groups: lists of restrictions of which one has to hold; `None` if nothing is touched.
pub(super) fn touched(
    world: &World,
    plan: &Plan,
    keyed: &Keyed,
    state: &State,
) -> Result<Option<Vec<Vec<Restriction>>>> {
    let counts = keyed.key_counts();
    let mut parts = Vec::new();
    for (set, count) in counts.iter().enumerate() {
        let terms = rendered(world, plan, state, &keyed.changed_keys(set, &state.inputs()))?;
        if terms.is_empty() {
            continue;
        }
        if *count == 0 {
            return Ok(Some(vec![Vec::new()]));
        }
        let keys: Vec<String> = (0..*count).map(key_column).collect();
        let null: Vec<String> = keys.iter().map(|key| format!("{key} IS NULL")).collect();
        let (keys, null) = (keys.join(", "), null.join(" OR "));
        let all = format!("SELECT DISTINCT {keys} FROM {}", apply::weighted(&terms));
        let (table, null_table) = (format!("keys{set}"), format!("null_keys{set}"));
        if world.keep(&null_table, &format!("SELECT * FROM ({all}) WHERE {null}"))? > 0 {
            if keyed.null_touches_all(set) {
                return Ok(Some(vec![Vec::new()]));
            }
            parts.push(vec![Restriction { set, table: null_table, with_null: true }]);
        }
        if world.keep(&table, &format!("SELECT * FROM ({all}) WHERE NOT ({null})"))? > 0 {
            parts.push(vec![Restriction { set, table, with_null: false }]);
        }
    }
    if counts.len() > 1 && !parts.is_empty() {
        // A row can have touched keys of several sets.
        parts = vec![parts.into_iter().flatten().collect()];
    }
    Ok((!parts.is_empty()).then_some(parts))
}

/// The touched groups in one reading.
pub(super) fn groups_at(
    world: &World,
    plan: &Plan,
    keyed: &Keyed,
    state: &State,
    parts: &[Vec<Restriction>],
    at: Reading,
) -> Result<String> {
    let renderer = world.renderer(plan, state);
    let select = |part: &Vec<Restriction>| {
        let restricted = keyed.restricted(at, part, &world.parser)?;
        Ok(format!("SELECT * FROM ({})", renderer.sql(&restricted)?))
    };
    Ok(parts.iter().map(select).collect::<Result<Vec<_>>>()?.join(" UNION ALL "))
}

/// The change of an operator: its own where it is linear in what changed, else that of its touched groups.
fn change(world: &World, plan: &Plan, keyed: &Keyed, state: &State) -> Result<Vec<Rendered>> {
    if let Some(terms) = keyed.linear_change(&state.inputs()) {
        return rendered(world, plan, state, &terms);
    }
    let Some(parts) = touched(world, plan, keyed, state)? else { return Ok(Vec::new()) };
    let at = |reading| groups_at(world, plan, keyed, state, &parts, reading);
    Ok(vec![(true, at(Reading::New)?), (false, at(Reading::Old)?)])
}

/// Computes the change of every stage into temporary tables.
///
/// # Errors
/// What the engine says.
pub fn stages(world: &World, plan: &Plan, state: &mut State) -> Result<()> {
    for (number, stage) in plan.stages.iter().enumerate() {
        let terms = change(world, plan, &stage.keyed, state)?;
        let (came, went) = (format!("stage{number}_came"), format!("stage{number}_went"));
        let kept = if terms.is_empty() {
            StageChange::default()
        } else if stage.watched {
            // Which keys the rows have is all that matters; they must not cancel.
            let side = |wanted: bool| {
                let terms: Vec<Rendered> = terms.iter().filter(|(came, _)| *came == wanted).cloned().collect();
                let list = apply::column_list(&stage.columns);
                (!terms.is_empty()).then(|| format!("SELECT DISTINCT {list} FROM {}", apply::weighted(&terms)))
            };
            StageChange {
                came: side(true).map(|select| world.keep_some(&came, &select)).transpose()?.flatten(),
                went: side(false).map(|select| world.keep_some(&went, &select)).transpose()?.flatten(),
            }
        } else {
            world.keep(&format!("stage{number}"), &apply::net(&apply::weighted(&terms), &stage.columns))?;
            let net = format!("temp.main.stage{number}");
            StageChange {
                came: world.keep_some(&came, &apply::inserts(&net, &stage.columns))?,
                went: world.keep_some(&went, &apply::removals(&net, &stage.columns))?,
            }
        };
        state.stages.push(kept);
    }
    Ok(())
}
