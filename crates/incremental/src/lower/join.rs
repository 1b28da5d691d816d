//! Lowering joins: which are linear, and by which keys the rows of the others are touched.

use error::Result;
use serde_json::Value;
use sql::tree;

use super::subquery::{contains_subquery, leaves_in};
use super::{Lowering, Scope};
use crate::expression::{conjuncts, reads_columns};
use crate::inline::leaf_of;
use crate::render::Input;
use crate::rules::aggregate::is_exact_type;
use crate::rules::keyed::{KeySet, Place, key_items};

/// A side of a join.
struct Side {
    field: &'static str,
    scope: Scope,
    /// Every row of it is in the result, with or without a partner.
    preserved: bool,
}

impl Lowering<'_> {
    pub(super) fn join(&mut self, node: &mut Value, depth: usize) -> Result<Scope> {
        let (kind, reference) = (tree::text(node, "join_type").to_owned(), tree::text(node, "ref_type").to_owned());
        let name = match reference.as_str() {
            "CROSS" => "Cross join".to_owned(),
            "REGULAR" => format!("Join {}", kind.to_lowercase()),
            _ => format!("Join {} {}", reference.to_lowercase(), kind.to_lowercase()),
        };
        let operator = self.note(depth, name, "delta(a) x new(b) + old(a) x delta(b)", node);
        self.expression(operator, &node["condition"].clone());
        let left = self.from(&mut node["left"], depth + 1)?;
        if self.is_lateral(&node["right"], &kind)? {
            return self.lateral(operator, node, left, depth);
        }
        let right = self.from(&mut node["right"], depth + 1)?;
        if !self.reasons.is_empty() {
            return Ok(Scope::default());
        }
        let with_subqueries = contains_subquery(&node["condition"]);
        let plain = matches!(reference.as_str(), "REGULAR" | "CROSS" | "NATURAL") && !with_subqueries;
        if plain && kind == "INNER" && left.is_linear() && right.is_linear() {
            return Ok(Scope::default());
        }
        let shown = if reference == "REGULAR" { format!("{kind} JOIN") } else { format!("{reference} JOIN") };
        let known = matches!(kind.as_str(), "INNER" | "LEFT" | "RIGHT" | "OUTER" | "FULL" | "SEMI" | "ANTI");
        if !known || !matches!(reference.as_str(), "REGULAR" | "CROSS" | "NATURAL" | "ASOF") {
            self.no_rule(operator, format!("{shown} has no incremental rule"), node);
            return Ok(Scope::default());
        }
        let asof = reference == "ASOF";
        if asof && !matches!(kind.as_str(), "INNER" | "LEFT") {
            self.no_rule(operator, "ASOF joins that keep rows of the right side have no incremental rule", node);
            return Ok(Scope::default());
        }
        let (preserves_left, preserves_right) = match kind.as_str() {
            "INNER" if asof => (true, false),
            "INNER" | "OUTER" | "FULL" => (true, true),
            "RIGHT" => (false, true),
            _ => (true, false),
        };
        let breakers = self.breakers(node, &kind, asof, with_subqueries, [&left, &right]);
        let left = Side { field: "left", scope: left, preserved: preserves_left };
        let right = Side { field: "right", scope: right, preserved: preserves_right };
        let keys = self.join_keys(node)?;
        let mut scope = if keys.0.is_empty() || with_subqueries {
            self.by_rows(operator, node, &kind, asof, left, right)?
        } else {
            self.by_join_keys(operator, node, &kind, left, right, keys)
        };
        scope.breakers = breakers;
        if with_subqueries && self.reasons.is_empty() {
            let mut condition = node["condition"].take();
            let outer = node.clone();
            self.subqueries_of_join(&mut condition, &outer, &mut scope, depth)?;
            node["condition"] = condition;
        }
        Ok(scope)
    }

    /// The leaves in whose change the join is not linear.
    fn breakers(
        &self,
        node: &Value,
        kind: &str,
        asof: bool,
        with_subqueries: bool,
        sides: [&Scope; 2],
    ) -> Vec<usize> {
        let mut breakers: Vec<usize> = sides.into_iter().flat_map(|side| side.breakers.iter().copied()).collect();
        let (left, right) = match kind {
            "INNER" if !asof => (false, false),
            "RIGHT" => (true, false),
            "OUTER" | "FULL" => (true, true),
            _ => (false, true),
        };
        if left {
            breakers.extend(leaves_in(&node["left"]));
        }
        if right {
            breakers.extend(leaves_in(&node["right"]));
        }
        if with_subqueries {
            breakers.extend(leaves_in(&node["condition"]));
        }
        breakers
    }

    /// Subqueries in ON: any change of what they read touches all rows.
    fn subqueries_of_join(
        &mut self,
        condition: &mut Value,
        outer: &Value,
        scope: &mut Scope,
        depth: usize,
    ) -> Result<()> {
        let mut probe = tree::empty_select();
        probe["from_table"] = outer.clone();
        probe["from_table"]["condition"] = Value::Null;
        probe["from_table"]["ref_type"] = Value::from("CROSS");
        probe["from_table"]["join_type"] = Value::from("INNER");
        let mut found = Scope::default();
        self.subqueries(condition, &probe, false, &mut found, depth + 1)?;
        // Keys of one side say nothing of rows that the other side keeps without a partner.
        let watched = found.sets.into_iter().flat_map(|set| set.watched);
        let all = watched.map(|query| {
            let mut query = query;
            query["select_list"] = Value::from(key_items(&[]));
            query
        });
        scope.sets.push(KeySet::of_all_rows(all.collect()));
        scope.breakers.extend(leaves_in(condition));
        Ok(())
    }

    /// Whether the right side of a join reads the left one, and is more than a filter of it.
    fn is_lateral(&self, right: &Value, kind: &str) -> Result<bool> {
        if !tree::is(right, "SUBQUERY") || self.describe(&tree::select_star(right.clone()))?.is_some() {
            return Ok(false);
        }
        Ok(kind != "INNER" || !self.is_row_wise(&right["subquery"]["node"]))
    }

    /// A subquery in FROM that reads its neighbour: its rows for a row of the neighbour follow from that row and from what
    /// the subquery reads, as those of a subquery in an expression do.
    fn lateral(&mut self, operator: usize, node: &mut Value, left: Scope, depth: usize) -> Result<Scope> {
        if !self.reasons.is_empty() {
            return Ok(Scope::default());
        }
        if tree::text(node, "ref_type") == "ASOF" || !matches!(tree::text(node, "join_type"), "INNER" | "LEFT") {
            self.no_rule(operator, "LATERAL has an incremental rule with inner and left joins only", node);
            return Ok(Scope::default());
        }
        let mut outer = tree::empty_select();
        outer["from_table"] = node["left"].clone();
        let mut inner = node["right"]["subquery"]["node"].take();
        let noted = self.note(depth + 1, "Lateral subquery", "recompute the rows that its change touches", node);
        let linear_left = left.is_linear();
        let mut scope = left;
        let sets = self.correlated_sets(noted, &mut inner, &outer, linear_left, depth + 1)?;
        self.operators[operator].rule = Some("recompute the rows that a change of the subquery touches".to_owned());
        scope.breakers.extend(leaves_in(&inner));
        node["right"]["subquery"]["node"] = inner;
        if linear_left && self.reasons.is_empty() {
            let keyed = sets.iter().find_map(|set| set.places.first().filter(|place| !place.keys.is_empty()));
            let keys = match keyed {
                Some(place) => place.keys.clone(),
                None => self.columns_of(&node["left"])?,
            };
            if keys.is_empty() {
                scope.sets.extend(self.all_rows(noted, &leaves_in(&node["left"])));
            } else {
                let watched = vec![keys_of(&node["left"], &keys)];
                let places = vec![Place { pointer: "", keys }];
                scope.sets.push(KeySet { places, watched, null_touches_all: false });
            }
        }
        scope.sets.extend(sets);
        Ok(scope)
    }

    /// Touched rows told by the expressions that the join compares for equality.
    fn by_join_keys(
        &mut self,
        operator: usize,
        node: &Value,
        kind: &str,
        left: Side,
        right: Side,
        (left_keys, right_keys): (Vec<Value>, Vec<Value>),
    ) -> Scope {
        self.operators[operator].rule = Some("recompute the rows with affected join keys".to_owned());
        let mut watched = Vec::new();
        for (side, keys) in [(&left, &left_keys), (&right, &right_keys)] {
            // A side that is not linear has keys of its own for its changes, which its rows still show if it is preserved; what
            // the other side shows without a partner does not.
            if side.scope.is_linear() || !side.preserved || matches!(kind, "OUTER" | "FULL") {
                watched.push(self.watch(keys_of(&node[side.field], keys), &side.scope));
            }
        }
        let mut sets = Vec::new();
        for (side, keys) in [(left, left_keys), (right, right_keys)] {
            if side.preserved {
                sets.extend(side.scope.sets);
                sets.push(KeySet {
                    places: vec![Place { pointer: "", keys }],
                    watched: watched.clone(),
                    null_touches_all: false,
                });
            }
        }
        Scope { sets, breakers: Vec::new() }
    }

    /// Touched rows told by all columns of the sides whose rows are always in the result.
    fn by_rows(
        &mut self,
        operator: usize,
        node: &Value,
        kind: &str,
        asof: bool,
        left: Side,
        right: Side,
    ) -> Result<Scope> {
        self.operators[operator].rule = Some("recompute the rows that a changed row can match".to_owned());
        let inner = kind == "INNER" && !asof;
        let both_linear = left.scope.is_linear() && right.scope.is_linear() && !contains_subquery(&node["condition"]);
        let by_condition = both_linear && !(asof && node["condition"].is_null());
        let mut sets = Vec::new();
        let others = [leaves_in(&node["right"]), leaves_in(&node["left"])];
        for (side, other) in [left, right].into_iter().zip(others) {
            if !side.preserved {
                continue;
            }
            let keys = self.columns_of(&node[side.field])?;
            if keys.is_empty() {
                let all = leaves_in(node);
                return Ok(Scope { sets: self.all_rows(operator, &all), breakers: Vec::new() });
            }
            let mut watched = Vec::new();
            if side.scope.is_linear() {
                watched.push(keys_of(&node[side.field], &keys));
            }
            if inner {
                // Each row shows the rows of both sides that it was made of.
            } else if by_condition {
                let mut matches = keys_of(node, &keys);
                matches["from_table"]["join_type"] = Value::from("INNER");
                if asof {
                    matches["from_table"]["ref_type"] = Value::from("REGULAR");
                }
                watched.push(matches);
            } else {
                sets.extend(self.all_rows(operator, &other));
            }
            sets.extend(side.scope.sets);
            if !watched.is_empty() {
                let places = vec![Place { pointer: "", keys }];
                sets.push(KeySet { places, watched, null_touches_all: false });
            }
        }
        Ok(Scope { sets, breakers: Vec::new() })
    }

    /// The expressions that a join compares for equality, those of the left side and those of the right.
    fn join_keys(&self, node: &Value) -> Result<(Vec<Value>, Vec<Value>)> {
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        let mut merged: Vec<String> =
            tree::list(node, "using_columns").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        match tree::text(node, "ref_type") {
            "NATURAL" => merged = self.common_columns(node)?,
            // The last column of USING is the one that is compared by order.
            "ASOF" => drop(merged.pop()),
            _ => {}
        }
        for column in merged {
            // The merged column of USING is not always that of the side that is meant.
            let of = |side: &str| -> Result<Option<Value>> {
                let mut columns = self.columns_of(&node[side])?.into_iter().filter(|known| {
                    tree::column_reference(known)
                        .and_then(|parts| parts.last().map(|name| name.eq_ignore_ascii_case(&column)))
                        .unwrap_or(false)
                });
                let first = columns.next();
                // Of several, the merged one is the first only where every row has it.
                let is_merged = columns.next().is_none() || !keeps_rows_of_the_right(&node[side]);
                Ok(first.filter(|_| is_merged))
            };
            if let (Some(left), Some(right)) = (of("left")?, of("right")?)
                && self.are_comparable((&left, &node["left"]), (&right, &node["right"]))?
            {
                left_keys.push(left);
                right_keys.push(right);
            }
        }
        for condition in conjuncts(&node["condition"]) {
            let equality = matches!(tree::text(condition, "type"), "COMPARE_EQUAL" | "COMPARE_NOT_DISTINCT_FROM");
            if !tree::is(condition, "COMPARISON") || !equality {
                continue;
            }
            let (one, other) = (&condition["left"], &condition["right"]);
            if self.are_comparable((one, &node["left"]), (other, &node["right"]))? {
                left_keys.push(one.clone());
                right_keys.push(other.clone());
            } else if self.are_comparable((other, &node["left"]), (one, &node["right"]))? {
                left_keys.push(other.clone());
                right_keys.push(one.clone());
            }
        }
        Ok((left_keys, right_keys))
    }

    /// The columns by which a NATURAL join joins.
    fn common_columns(&self, node: &Value) -> Result<Vec<String>> {
        let names = |side: &str| -> Result<Vec<String>> {
            let columns = self.describe(&tree::select_star(node[side].clone()))?.unwrap_or_default();
            Ok(columns.into_iter().map(|(name, _)| name).collect())
        };
        let right = names("right")?;
        let is_common = |name: &String| right.iter().any(|other| other.eq_ignore_ascii_case(name));
        Ok(names("left")?.into_iter().filter(is_common).collect())
    }

    /// Whether an expression reads columns, and only of this side of a join.
    pub(super) fn belongs(&self, expression: &Value, side: &Value) -> Result<bool> {
        Ok(self.type_over(expression, side)?.is_some())
    }

    /// The type of an expression that reads columns, and only of this part of FROM.
    pub(super) fn type_over(&self, expression: &Value, from: &Value) -> Result<Option<String>> {
        if !reads_columns(expression) {
            return Ok(None);
        }
        let mut probe = tree::empty_select();
        probe["from_table"] = from.clone();
        probe["select_list"] = Value::from(vec![expression.clone()]);
        let columns = self.describe(&probe)?.unwrap_or_default();
        Ok(columns.into_iter().next().map(|(_, data_type)| data_type))
    }

    /// Whether two expressions, each over its part of FROM, can be keys for one another: the values of both stand in one
    /// column of keys, where they have to be equal exactly if they are to the query.
    pub(super) fn are_comparable(&self, one: (&Value, &Value), other: (&Value, &Value)) -> Result<bool> {
        let (Some(one), Some(other)) = (self.type_over(one.0, one.1)?, self.type_over(other.0, other.1)?) else {
            return Ok(false);
        };
        Ok(same_or_numeric(&one, &other))
    }

    /// The columns of a part of FROM that can be told by their table's name, as far as the query looks at them.
    pub(super) fn columns_of(&self, from: &Value) -> Result<Vec<Value>> {
        let alias = tree::text(from, "alias");
        let renamed: Vec<&str> = tree::list(from, "column_name_alias").iter().filter_map(Value::as_str).collect();
        let named = |names: Vec<String>| -> Vec<Value> {
            let shown =
                names.iter().enumerate().map(|(position, name)| renamed.get(position).copied().unwrap_or(name));
            shown.map(|name| tree::column(&[alias, name])).collect()
        };
        if let Some(leaf) = leaf_of(from) {
            let names = match self.leaves[leaf] {
                Input::Source(source) => self.known.used[source].iter().map(|column| column.name.clone()).collect(),
                Input::Stage(stage) => self.stages[stage].columns.clone(),
                Input::Clock => Vec::new(),
            };
            return Ok(named(names));
        }
        if tree::is(from, "JOIN") {
            let mut columns = self.columns_of(&from["left"])?;
            if !matches!(tree::text(from, "join_type"), "SEMI" | "ANTI") {
                columns.extend(self.columns_of(&from["right"])?);
            }
            return Ok(columns);
        }
        if !alias.is_empty() {
            let columns = self.describe(&tree::select_star(from.clone()))?.unwrap_or_default();
            return Ok(columns.iter().map(|(name, _)| tree::column(&[alias, name])).collect());
        }
        Ok(Vec::new())
    }
}

/// The keys of a part of FROM.
fn keys_of(from: &Value, keys: &[Value]) -> Value {
    let mut select = tree::empty_select();
    select["from_table"] = from.clone();
    select["select_list"] = Value::from(key_items(keys));
    select
}

/// Whether rows of a right side stand in a part of FROM without a partner.
fn keeps_rows_of_the_right(from: &Value) -> bool {
    let mut keeps = false;
    tree::visit(from, &mut |child| {
        let kind = tree::text(child, "join_type");
        keeps = keeps || (tree::is(child, "JOIN") && matches!(kind, "RIGHT" | "OUTER" | "FULL"));
    });
    keeps
}

/// Whether values of two types are compared as they are when they stand in one column.
pub(super) fn same_or_numeric(one: &str, other: &str) -> bool {
    let numeric = |data_type: &str| is_exact_type(data_type) || matches!(data_type, "UHUGEINT" | "FLOAT" | "DOUBLE");
    one == other || (numeric(one) && numeric(other))
}
