//! A stream of small changes to every table of a benchmark, reproducible from a seed.
//!
//! It knows no table by name: which columns are keys and which table they refer to is told by the ends of their names,
//! as both benchmarks are regular in that. Rows are picked by a hash of their row id, so that a statement always
//! changes the same rows.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use testkit::lake::ThrowAway;

use super::bait::lay;
use super::benchmark::{Query, Table};

/// The ends of key columns with the table that they refer to; the longest end that fits is meant.
const KEYS: &[(&str, &str)] = &[
    ("_date_sk", "date_dim"),
    ("_time_sk", "time_dim"),
    ("_item_sk", "item"),
    ("_customer_sk", "customer"),
    ("_cdemo_sk", "customer_demographics"),
    ("_hdemo_sk", "household_demographics"),
    ("_addr_sk", "customer_address"),
    ("_store_sk", "store"),
    ("_promo_sk", "promotion"),
    ("_warehouse_sk", "warehouse"),
    ("_ship_mode_sk", "ship_mode"),
    ("_call_center_sk", "call_center"),
    ("_catalog_page_sk", "catalog_page"),
    ("_web_page_sk", "web_page"),
    ("_web_site_sk", "web_site"),
    ("_reason_sk", "reason"),
    ("_income_band_sk", "income_band"),
    ("_orderkey", "orders"),
    ("_custkey", "customer"),
    ("_partkey", "part"),
    ("_suppkey", "supplier"),
    ("_nationkey", "nation"),
    ("_regionkey", "region"),
];

/// Tables below this many rows lose none, lest all queries become empty.
const FEW: u64 = 12;

/// A stream of changes.
pub(super) struct Stream<'a> {
    lake: &'a ThrowAway,
    tables: &'a [Table],
    random: StdRng,
}

/// The table that a column refers to.
fn refers_to(column: &str) -> Option<&'static str> {
    KEYS.iter().find(|(end, _)| column.ends_with(end)).map(|(_, table)| *table)
}

impl Table {
    /// The column that identifies a row; none in tables of sales, returns and stocks.
    pub fn key(&self) -> Option<&str> {
        let (first, _) = &self.columns[0];
        let own = refers_to(first).map_or(!self.is_fact(), |table| table == self.name);
        own.then_some(first.as_str())
    }

    /// Whether it holds what happened, as against what there is.
    pub fn is_fact(&self) -> bool {
        let name = self.name.as_str();
        ["_sales", "_returns"].iter().any(|end| name.ends_with(end))
            || ["inventory", "lineitem", "orders", "partsupp"].contains(&name)
    }

    /// The columns that refer to other tables.
    fn references(&self) -> Vec<(&str, &'static str)> {
        let columns = self.columns.iter().map(|(name, _)| name.as_str());
        let all = columns.filter_map(|name| Some((name, refers_to(name)?)));
        all.filter(|(_, table)| *table != self.name).collect()
    }

    /// The columns that say something of a row, with their types.
    fn attributes(&self) -> Vec<(&str, &str)> {
        let columns = self.columns.iter().map(|(name, data_type)| (name.as_str(), data_type.as_str()));
        let plain = |name: &str| {
            refers_to(name).is_none() && !["_sk", "_id", "_number"].iter().any(|end| name.ends_with(end))
        };
        columns.filter(|(name, _)| plain(name) && self.key() != Some(name)).collect()
    }
}

impl<'a> Stream<'a> {
    pub fn new(lake: &'a ThrowAway, tables: &'a [Table], seed: u64) -> Self {
        Self { lake, tables, random: StdRng::seed_from_u64(seed) }
    }

    /// One round: inserts, updates and deletes on every table, or on those of facts only. The statements that ran.
    pub fn round(&mut self, facts_only: bool) -> Vec<String> {
        let mut done = Vec::new();
        for table in self.tables {
            if facts_only && !table.is_fact() {
                continue;
            }
            let rows = self.lake.others.counts(&format!("SELECT count(*) FROM lake.{}", table.name)).unwrap()[0];
            let mut statements = vec![self.insert(table, rows), self.update_attribute(table, rows)];
            if let Some(statement) = self.update_reference(table, rows) {
                statements.push(statement);
            }
            if rows > FEW {
                statements.push(self.delete(table, rows));
            }
            for statement in statements {
                self.lake.others.execute(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
                done.push(statement);
            }
        }
        done
    }

    /// Rows that some of the queries are after, in one transaction for each.
    pub fn serve(&mut self, queries: &[&Query]) -> Vec<String> {
        let mut done = Vec::new();
        for query in queries {
            self.lake.others.execute("BEGIN").unwrap();
            done.extend(lay(self.lake, self.tables, &query.tree, &mut self.random));
            self.lake.others.execute("COMMIT").unwrap();
        }
        done
    }

    /// About `wanted` of the table's rows, as a condition.
    fn some(&mut self, rows: u64, wanted: u64) -> String {
        let salt = self.random.random_range(0..1_000_000_u64);
        format!("hash(rowid + {salt}) % {} = 0", (rows / wanted).max(1))
    }

    /// An expression for a key of some row of `table`, another one for each row that it stands in.
    fn some_key(&mut self, table: &str) -> Option<String> {
        let table = self.tables.iter().find(|candidate| candidate.name == table)?;
        let column = &table.columns[0].0;
        let salt = self.random.random_range(0..1_000_000_u64);
        // The keys that there are, as a list, from which each row takes one.
        Some(format!(
            "(SELECT list({column} ORDER BY hash({column} + {salt}))[:200] FROM lake.{})[1 + (hash(rowid + {salt}) % 200)::BIGINT]",
            table.name
        ))
    }

    /// Copies of rows: with a new key where they have one, else referring to other rows in one place.
    fn insert(&mut self, table: &Table, rows: u64) -> String {
        let condition = self.some(rows, 6);
        let mut replaced = Vec::new();
        if let Some(key) = table.key() {
            let name = &table.name;
            replaced.push(format!(
                "((SELECT max({key}) FROM lake.{name}) + row_number() OVER (ORDER BY rowid)) AS {key}"
            ));
        }
        let references = table.references();
        if !references.is_empty() {
            let (column, target) = references[self.random.random_range(0..references.len())];
            replaced.extend(self.some_key(target).map(|key| format!("{key} AS {column}")));
        }
        let replace = if replaced.is_empty() { String::new() } else { format!(" REPLACE ({})", replaced.join(", ")) };
        format!("INSERT INTO lake.{0} SELECT *{replace} FROM lake.{0} WHERE {condition} LIMIT 12", table.name)
    }

    /// A number grows or shrinks; anything else becomes what it is in another row, or NULL.
    fn update_attribute(&mut self, table: &Table, rows: u64) -> String {
        let attributes = table.attributes();
        let condition = self.some(rows, 5);
        let (column, data_type) = attributes[self.random.random_range(0..attributes.len())];
        let name = &table.name;
        let value = if data_type.starts_with("DECIMAL") {
            let factor = ["0.5", "1.1", "2", "-1"][self.random.random_range(0..4)];
            format!("least(greatest({column} * {factor}, -99999), 99999)")
        } else {
            let salt = self.random.random_range(0..1_000_000_u64);
            format!(
                "(SELECT list(v ORDER BY hash(v::VARCHAR || '{salt}')) FROM (SELECT DISTINCT {column} AS v FROM lake.{name}))\
                 [1 + (hash(rowid + {salt}) % 7)::BIGINT]"
            )
        };
        format!("UPDATE lake.{name} SET {column} = {value} WHERE {condition}")
    }

    fn update_reference(&mut self, table: &Table, rows: u64) -> Option<String> {
        let references = table.references();
        if references.is_empty() {
            return None;
        }
        let (column, target) = references[self.random.random_range(0..references.len())];
        let (condition, key) = (self.some(rows, 8), self.some_key(target)?);
        Some(format!("UPDATE lake.{} SET {column} = {key} WHERE {condition}", table.name))
    }

    fn delete(&mut self, table: &Table, rows: u64) -> String {
        let condition = self.some(rows, 5);
        format!("DELETE FROM lake.{} WHERE {condition}", table.name)
    }
}
