//! Rows that a given query is after.
//!
//! The filters of the benchmarks are so selective that at a small scale many queries give nothing, whatever changes: a
//! table that is always empty proves nothing. So a query's conditions are read from its parse tree, and one row is made
//! for each table that it joins such that together they fulfil them. What is in an inner query is made along with it; of
//! alternatives one is picked. Not every query can be served so (one that compares sums, or wants what does not
//! exist), which does no harm.

use std::collections::HashMap;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;
use testkit::lake::ThrowAway;

use super::benchmark::Table;
use super::oracle::{text_of, tree_of};

/// Tables that no row is made for, but that are searched for a row that fits: their columns depend on one another.
const CALENDARS: [&str; 2] = ["date_dim", "time_dim"];

/// A table as it stands in FROM.
struct Role<'a> {
    alias: String,
    table: &'a Table,
}

/// A column of a role, by position.
type Place = (usize, usize);

/// What an inner query is called in FROM, with the columns that it passes on as they are.
struct View {
    alias: String,
    columns: HashMap<String, Place>,
}

/// The tables of one SELECT with what its conditions say of their columns.
struct Scene<'a> {
    lake: &'a ThrowAway,
    tables: &'a [Table],
    /// Inner queries by their names.
    named: &'a HashMap<String, Value>,
    roles: Vec<Role<'a>>,
    views: Vec<View>,
    /// Columns that have to be equal: to which class each belongs.
    classes: HashMap<Place, usize>,
    /// The value of a class, as text.
    values: HashMap<usize, String>,
}

/// Makes rows for a query, once for every SELECT in it, in the schema that is the current one of `lake.others`.
pub(super) fn lay(lake: &ThrowAway, tables: &[Table], tree: &Value, random: &mut StdRng) -> Vec<String> {
    let mut done = Vec::new();
    let (mut selects, mut named) = (Vec::new(), HashMap::new());
    collect_selects(tree, &mut selects, &mut named);
    for select in selects {
        let mut scene = Scene {
            lake,
            tables,
            named: &named,
            roles: Vec::new(),
            views: Vec::new(),
            classes: HashMap::new(),
            values: HashMap::new(),
        };
        scene.read_select(select, random);
        for statement in scene.statements(random) {
            // A value may not fit its column; then this row is not made.
            if lake.others.execute(&statement).is_ok() {
                done.push(statement);
            }
        }
    }
    done
}

/// The SELECTs, but for those inside of expressions, and the inner queries that have a name. Those are part of the
/// SELECT around them, too.
fn collect_selects<'v>(tree: &'v Value, found: &mut Vec<&'v Value>, named: &mut HashMap<String, Value>) {
    if tree["class"] == "SUBQUERY" {
        return;
    }
    if tree["type"] == "SELECT_NODE" {
        found.push(tree);
    }
    match tree {
        Value::Array(items) => items.iter().for_each(|item| collect_selects(item, found, named)),
        Value::Object(fields) => {
            if let (Some(name), Some(query)) = (tree["key"].as_str(), tree["value"].get("query")) {
                named.insert(name.to_lowercase(), query["node"].clone());
            }
            fields.values().for_each(|field| collect_selects(field, found, named));
        }
        _ => {}
    }
}

impl<'a> Scene<'a> {
    fn read_select(&mut self, select: &Value, random: &mut StdRng) {
        self.read_from(&select["from_table"], random);
        self.read_condition(&select["where_clause"], random);
    }

    fn read_from(&mut self, from: &Value, random: &mut StdRng) {
        let name = from["table_name"].as_str().unwrap_or_default().to_lowercase();
        let alias = from["alias"].as_str().filter(|alias| !alias.is_empty()).unwrap_or(&name).to_lowercase();
        match from["type"].as_str().unwrap_or_default() {
            "BASE_TABLE" => match (self.named.get(&name), self.tables.iter().find(|table| table.name == name)) {
                (Some(query), _) => self.read_view(alias, query, random),
                (None, Some(table)) => self.roles.push(Role { alias, table }),
                (None, None) => {}
            },
            "SUBQUERY" => self.read_view(alias, &from["subquery"]["node"], random),
            "JOIN" => {
                self.read_from(&from["left"], random);
                self.read_from(&from["right"], random);
                self.read_condition(&from["condition"], random);
            }
            _ => {}
        }
    }

    /// An inner query as it stands in FROM; of UNION and the like, one side.
    fn read_view(&mut self, alias: String, query: &Value, random: &mut StdRng) {
        let (mut select, mut first) = (query, query);
        while select["type"] == "SET_OPERATION_NODE" {
            select = &select[["left", "right"][random.random_range(0..2)]];
        }
        while first["type"] == "SET_OPERATION_NODE" {
            first = &first["left"];
        }
        self.read_select(select, random);
        let items = |node: &Value| node["select_list"].as_array().cloned().unwrap_or_default();
        let mut columns = HashMap::new();
        for (named, item) in items(first).iter().zip(items(select)) {
            let last = named["column_names"].as_array().and_then(|names| names.last());
            let name = named["alias"].as_str().filter(|alias| !alias.is_empty()).or(last.and_then(Value::as_str));
            if let (Some(name), Some(place)) = (name, self.place(&item)) {
                columns.insert(name.to_lowercase(), place);
            }
        }
        self.views.push(View { alias, columns });
    }

    fn read_condition(&mut self, condition: &Value, random: &mut StdRng) {
        let children = || condition["children"].as_array().map_or(&[][..], Vec::as_slice);
        match condition["type"].as_str().unwrap_or_default() {
            "CONJUNCTION_AND" => children().iter().for_each(|child| self.read_condition(child, random)),
            "CONJUNCTION_OR" => self.read_condition(&children()[random.random_range(0..children().len())], random),
            "COMPARE_EQUAL" => {
                let (left, right) = (&condition["left"], &condition["right"]);
                match (self.place(left), self.place(right)) {
                    (Some(left), Some(right)) => self.unite(left, right),
                    (Some(place), None) => self.constrain(place, right, ""),
                    (None, Some(place)) => self.constrain(place, left, ""),
                    (None, None) => {}
                }
            }
            "COMPARE_GREATERTHAN" | "COMPARE_GREATERTHANOREQUALTO" => self.compare(condition, " + 1", random),
            "COMPARE_LESSTHAN" | "COMPARE_LESSTHANOREQUALTO" => self.compare(condition, " - 1", random),
            "COMPARE_BETWEEN" => {
                if let Some(place) = self.place(&condition["input"]) {
                    let end = ["lower", "upper"][random.random_range(0..2)];
                    self.constrain(place, &condition[end], "");
                }
            }
            "COMPARE_IN" => {
                if let Some(place) = self.place(&children()[0]) {
                    let choice = random.random_range(1..children().len());
                    self.constrain(place, &children()[choice], "");
                }
            }
            "FUNCTION" if condition["function_name"] == "~~" => {
                let mut pattern = children()[1].clone();
                let text = pattern["value"]["value"].as_str().unwrap_or_default().replace(['%', '_'], "");
                pattern["value"]["value"] = Value::from(text);
                if let Some(place) = self.place(&children()[0]) {
                    self.constrain(place, &pattern, "");
                }
            }
            "SUBQUERY" => {
                let select = &condition["subquery"]["node"];
                let outer = self.place(&condition["child"]);
                self.read_select(select, random);
                if let (Some(outer), Some(inner)) = (outer, self.place(&select["select_list"][0])) {
                    self.unite(outer, inner);
                }
            }
            _ => {}
        }
    }

    /// What is compared with an inner query has to meet rows there, at least.
    fn compare(&mut self, condition: &Value, step: &str, random: &mut StdRng) {
        for side in ["left", "right"] {
            if condition[side]["class"] == "SUBQUERY" {
                return self.read_condition(&condition[side], random);
            }
        }
        if let Some(place) = self.place(&condition["left"]) {
            self.constrain(place, &condition["right"], step);
        }
    }

    /// The column that an expression is, or is the beginning of; the innermost that goes by this name.
    fn place(&self, expression: &Value) -> Option<Place> {
        if matches!(expression["function_name"].as_str(), Some("substr" | "substring")) {
            return self.place(&expression["children"][0]);
        }
        let names = expression["column_names"].as_array()?;
        let column = names.last()?.as_str()?.to_lowercase();
        let alias = if names.len() > 1 { names[names.len() - 2].as_str().map(str::to_lowercase) } else { None };
        let called = |own: &str| alias.as_ref().is_none_or(|alias| *alias == own);
        let mut roles = self.roles.iter().enumerate().rev().filter(|(_, role)| called(&role.alias));
        let own = roles.find_map(|(number, role)| {
            let position = role.table.columns.iter().position(|(name, _)| *name == column)?;
            Some((number, position))
        });
        let mut views = self.views.iter().rev().filter(|view| called(&view.alias));
        own.or_else(|| views.find_map(|view| view.columns.get(&column).copied()))
    }

    fn class(&mut self, place: Place) -> usize {
        let next = self.classes.len();
        *self.classes.entry(place).or_insert(next)
    }

    fn unite(&mut self, left: Place, right: Place) {
        let (kept, gone) = (self.class(left), self.class(right));
        for class in self.classes.values_mut().filter(|class| **class == gone) {
            *class = kept;
        }
        if let Some(value) = self.values.remove(&gone) {
            self.values.insert(kept, value);
        }
    }

    /// Gives a column the value of an expression of constants, if it is one.
    fn constrain(&mut self, place: Place, expression: &Value, step: &str) {
        let mut tree = tree_of(self.lake, "SELECT 1");
        tree["statements"][0]["node"]["select_list"][0] = expression.clone();
        let Ok(sql) = text_of(self.lake, &tree) else { return };
        let data_type = &self.roles[place.0].table.columns[place.1].1;
        if let Some(value) = self.look_up(&format!("SELECT CAST(({sql}) AS {data_type}){step}")) {
            let class = self.class(place);
            self.values.insert(class, value);
        }
    }

    fn look_up(&self, sql: &str) -> Option<String> {
        self.lake.others.query(sql).ok()?.rows.into_iter().next()?.into_iter().next()?
    }

    /// What is known of a role's columns: their names with their values as literals.
    fn known(&self, role: usize) -> Vec<(&str, String)> {
        let mut known = Vec::new();
        for (position, (name, _)) in self.roles[role].table.columns.iter().enumerate() {
            let class = self.classes.get(&(role, position));
            if let Some(value) = class.and_then(|class| self.values.get(class)) {
                known.push((name.as_str(), format!("'{}'", value.replace('\'', "''"))));
            }
        }
        known
    }

    fn statements(&mut self, random: &mut StdRng) -> Vec<String> {
        // Facts refer to what there is, so they come last.
        let mut order: Vec<usize> = (0..self.roles.len()).collect();
        order.sort_by_key(|role| {
            let table = self.roles[*role].table;
            (!CALENDARS.contains(&table.name.as_str()), table.key().is_none())
        });
        for role in order {
            self.cast_role(role, random.random_range(0..1_000_000));
        }
        let mut statements = Vec::new();
        for (number, Role { table, .. }) in self.roles.iter().enumerate() {
            let (name, known, salt) = (&table.name, self.known(number), random.random_range(0..1_000_000));
            if CALENDARS.contains(&name.as_str()) || known.is_empty() {
                continue;
            }
            let replaced: Vec<String> = known.iter().map(|(column, value)| format!("{value} AS {column}")).collect();
            statements.push(format!(
                "INSERT INTO {name} SELECT * REPLACE ({}) FROM {name} ORDER BY hash(rowid + {salt}) LIMIT 1",
                replaced.join(", ")
            ));
        }
        statements
    }

    /// Settles a role's key, and what else other roles have to agree with.
    fn cast_role(&mut self, role: usize, salt: u32) {
        let table = self.roles[role].table;
        let fits = if CALENDARS.contains(&table.name.as_str()) {
            let conditions = self.known(role).into_iter().map(|(column, value)| format!(" AND {column} = {value}"));
            conditions.collect()
        } else {
            String::new()
        };
        let open = (0..table.columns.len()).filter(|position| {
            let is_key = table.key() == Some(table.columns[*position].0.as_str());
            match self.classes.get(&(role, *position)) {
                Some(class) => !self.values.contains_key(class),
                None => is_key,
            }
        });
        for position in open.collect::<Vec<_>>() {
            let (name, column) = (&table.name, &table.columns[position].0);
            let sql = |fits: &str| {
                if table.key() == Some(column.as_str()) && !CALENDARS.contains(&name.as_str()) {
                    return format!("SELECT max({column}) + {} FROM {name}", role + 1);
                }
                format!(
                    "SELECT {column} FROM {name} WHERE {column} IS NOT NULL{fits} ORDER BY hash(rowid + {salt}) LIMIT 1"
                )
            };
            if let Some(value) = self.look_up(&sql(&fits)).or_else(|| self.look_up(&sql(""))) {
                let class = self.class((role, position));
                self.values.insert(class, value);
            }
        }
    }
}
