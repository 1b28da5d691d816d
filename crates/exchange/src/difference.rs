//! The SQL that tells two states of a table apart. What the tables are, and where they are, is for whoever asks.

use sql::names::{quote_identifier, same_identifier};

use crate::types::must_be_told_apart;

/// A table that is to become equal to another one.
#[derive(Clone, Debug)]
pub(crate) struct Difference<'a> {
    /// What there is, for use in FROM; it has row ids.
    pub stored: &'a str,
    /// What there shall be, for use in FROM; a local table.
    pub wanted: &'a str,
    /// Names and types of the columns that both have.
    pub columns: &'a [(String, String)],
    /// Columns that only what there shall be has.
    pub added: &'a [String],
}

impl Difference<'_> {
    /// A SELECT of pairs by key that differ: `gone`, the row id of what there is, and `come`, that of what there shall be. With
    /// `complete`, what there shall be is all there shall be: what it does not have goes.
    pub fn pairs(&self, key: &[String], complete: bool) -> String {
        let equal: Vec<String> =
            key.iter().map(|column| format!("s.{0} = w.{0}", quote_identifier(column))).collect();
        let is_key = |name: &str| key.iter().any(|key| same_identifier(key, name));
        let mut differs: Vec<String> = Vec::new();
        for (name, data_type) in self.columns.iter().filter(|(name, _)| !is_key(name)) {
            let name = quote_identifier(name);
            differs.push(match must_be_told_apart(data_type) {
                true => format!("s.{name}::VARCHAR IS DISTINCT FROM w.{name}::VARCHAR"),
                false => format!("s.{name} IS DISTINCT FROM w.{name}"),
            });
        }
        // A column that only comes into being is NULL so far.
        differs.extend(self.added.iter().map(|name| format!("w.{} IS NOT NULL", quote_identifier(name))));
        let differs: String = differs.iter().map(|differs| format!(" OR {differs}")).collect();
        let columns: Vec<String> = self.columns.iter().map(|(name, _)| quote_identifier(name)).collect();
        let columns = columns.join(", ");
        let (join, narrowed) = match complete {
            true => ("FULL", String::new()),
            // Few rows are wanted as a rule: then few are read of what there is.
            false => {
                let key: Vec<String> = key.iter().map(|column| quote_identifier(column)).collect();
                let key = key.join(", ");
                ("RIGHT", format!(" WHERE ({key}) IN (SELECT ({key}) FROM {})", self.wanted))
            }
        };
        format!(
            "SELECT s.__row_id AS gone, w.__row_id AS come \
             FROM (SELECT rowid AS __row_id, {columns} FROM {}{narrowed}) AS s \
             {join} JOIN (SELECT rowid AS __row_id, * FROM {}) AS w ON {} \
             WHERE s.__row_id IS NULL OR w.__row_id IS NULL{differs}",
            self.stored,
            self.wanted,
            equal.join(" AND ")
        )
    }

    /// A SELECT of the rows that there are too many of, as a multiset, each with how many times: columns and `__times`.
    pub fn too_many(&self) -> String {
        let (mine, apart) = (self.row(), self.apart());
        let columns = self.names();
        // Of a column that only comes into being every row has NULL.
        let nulls: String = self.added.iter().map(|_| ", NULL".to_owned()).collect();
        let theirs: String = self.added.iter().map(|name| format!(", {}", quote_identifier(name))).collect();
        format!(
            "SELECT {columns}{apart_names}, count(*) AS __times FROM (\
             SELECT {mine}{apart}{nulls} FROM {} EXCEPT ALL SELECT {mine}{apart}{theirs} FROM {}) GROUP BY {columns}{apart_names}",
            self.stored,
            self.wanted,
            apart_names = self.apart_names()
        )
    }

    /// A SELECT of the row ids of these, out of the table that [`Difference::too_many`] was kept in.
    pub fn row_ids_of(&self, too_many: &str) -> String {
        let same: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| format!("s.{0} IS NOT DISTINCT FROM t.{0}", quote_identifier(name)))
            .chain(self.apart_columns().enumerate().map(|(number, name)| {
                format!("s.{}::VARCHAR IS NOT DISTINCT FROM t.__apart_{number}", quote_identifier(name))
            }))
            .collect();
        let columns: Vec<String> =
            self.columns.iter().map(|(name, _)| format!("t.{}", quote_identifier(name))).collect();
        let apart: String =
            self.apart_columns().enumerate().map(|(number, _)| format!(", t.__apart_{number}")).collect();
        format!(
            "SELECT __row_id FROM (SELECT s.__row_id, t.__times, \
             row_number() OVER (PARTITION BY {}{apart} ORDER BY s.__row_id) AS __number \
             FROM (SELECT rowid AS __row_id, * FROM {}) AS s JOIN {too_many} AS t ON {}) WHERE __number <= __times",
            columns.join(", "),
            self.stored,
            same.join(" AND ")
        )
    }

    /// A SELECT of the rows that there are too few of, as a multiset, each as often as it is missing: columns and added columns.
    pub fn too_few(&self) -> String {
        let (mine, apart) = (self.row(), self.apart());
        let added: String = self.added.iter().map(|name| format!(", {}", quote_identifier(name))).collect();
        let nulls: String = self.added.iter().map(|_| ", NULL".to_owned()).collect();
        let columns = self.names();
        format!(
            "SELECT {columns}{added} FROM (SELECT {mine}{apart}{added} FROM {} EXCEPT ALL SELECT {mine}{apart}{nulls} FROM {})",
            self.wanted, self.stored
        )
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quote_identifier(name)).collect();
        names.join(", ")
    }

    fn row(&self) -> String {
        self.names()
    }

    fn apart_columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|(_, data_type)| must_be_told_apart(data_type)).map(|(name, _)| name.as_str())
    }

    /// Columns whose values can be equal and yet differ, written out.
    fn apart(&self) -> String {
        let written = self.apart_columns().enumerate();
        written.map(|(number, name)| format!(", {}::VARCHAR AS __apart_{number}", quote_identifier(name))).collect()
    }

    fn apart_names(&self) -> String {
        self.apart_columns().enumerate().map(|(number, _)| format!(", __apart_{number}")).collect()
    }
}
