//! What names mean in a preview: the filtered table, relations of the source, and relations of the destination.

use error::{Code, Error, Result};
use sql::names::{ObjectName, same_identifier};

use crate::walk::{Relation, Relations};

/// The side of a pipeline that a name may mean.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Under which name it is attached.
    pub alias: String,
    /// The schema of names without one.
    pub schema: String,
}

/// The names of one preview.
pub(crate) struct Names {
    pub source: Side,
    pub destination: Option<Side>,
    /// The table that the preview is of.
    pub table: (String, String),
    /// What it is called where it is filtered; none where it is read as it is.
    pub filtered: Option<String>,
    /// What is read: the alias, the schema, the name. Each once.
    pub relations: Vec<(String, String, String)>,
}

/// Schemas that are about the database itself.
const SYSTEM_SCHEMAS: [&str; 5] = ["pg_catalog", "information_schema", "pg_toast", "temp", "system"];

/// The name under which a source is attached: `pg_src_` and its name.
pub(crate) fn source_alias(name: &str) -> String {
    format!("pg_src_{}", plain(name))
}

/// The name under which a destination is attached: `pg_` and its name, unless the source is attached so.
pub(crate) fn destination_alias(name: &str, source: &str) -> String {
    let alias = format!("pg_{}", plain(name));
    if alias == source { format!("{alias}_destination") } else { alias }
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// Reads the name of a table as it is given: `name`, `schema.name`, quoted where that is needed. A name that is none of SQL's is
/// meant as it stands, and in a folder of files every name.
pub(crate) fn table(text: &str, default_schema: &str, is_folder: bool) -> Result<(String, String)> {
    let text = text.trim();
    if is_folder && !text.is_empty() {
        let name = text.trim_matches('"');
        return Ok((default_schema.to_owned(), name.to_owned()));
    }
    if text.is_empty() || text.contains('\0') {
        return Err(Error::new(Code::Query, "the name of the table is empty"));
    }
    match ObjectName::parse(text) {
        Ok(name) if name.catalog.is_some() => {
            Err(Error::new(Code::Query, format!("{name} names another database"))
                .with_hint("Leave the first part out."))
        }
        Ok(name) => Ok((name.schema.unwrap_or_else(|| default_schema.to_owned()), name.name)),
        Err(_) if !text.contains(['"', '\'', ';']) => match text.split_once('.') {
            Some((schema, name)) if !text.contains('/') => Ok((schema.to_owned(), name.to_owned())),
            _ => Ok((default_schema.to_owned(), text.to_owned())),
        },
        Err(error) => Err(error.without_span()),
    }
}

impl Relations for Names {
    fn resolve(&mut self, written: &ObjectName) -> Result<Relation> {
        let (source, destination) = (&self.source, self.destination.as_ref());
        let side_of = |name: &str| {
            let sides = std::iter::once(source).chain(destination);
            sides.into_iter().find(|side| same_identifier(&side.alias, name))
        };
        let (side, schema) = match (&written.catalog, &written.schema) {
            (Some(catalog), schema) => {
                let side = side_of(catalog).ok_or_else(|| self.refused(written))?;
                (side, schema.clone().unwrap_or_else(|| side.schema.clone()))
            }
            (None, Some(first)) => match side_of(first) {
                Some(side) => (side, side.schema.clone()),
                None => (source, first.clone()),
            },
            (None, None) if same_identifier(&written.name, &self.table.1) => (source, self.table.0.clone()),
            (None, None) => (source, source.schema.clone()),
        };
        let lower = schema.to_ascii_lowercase();
        if SYSTEM_SCHEMAS.contains(&lower.as_str()) || lower.starts_with("pg_temp") || lower.starts_with("__") {
            return Err(self.refused(written));
        }
        let is_table = side.alias == source.alias
            && same_identifier(&schema, &self.table.0)
            && same_identifier(&written.name, &self.table.1);
        if is_table && let Some(filtered) = &self.filtered {
            return Ok(Relation::With(filtered.clone()));
        }
        let (catalog, name) = (side.alias.clone(), written.name.clone());
        let relation = (catalog.clone(), schema.clone(), name.clone());
        if !self.relations.contains(&relation) {
            self.relations.push(relation);
        }
        Ok(Relation::Of { catalog, schema, name })
    }

    fn advice(&self) -> &'static str {
        "A preview reads tables of its pipeline's source and destination and nothing else; see docs/guides/previews.md."
    }
}

impl Names {
    fn refused(&self, written: &ObjectName) -> Error {
        Error::new(Code::Permission, format!("{written} may not be read here")).with_hint(self.advice())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::walk::walk;
    use sql::query::Parser;

    fn written(text: &str, filtered: bool) -> Result<String> {
        thread_local!(static PARSER: Parser = Parser::new().unwrap());
        let side = |alias: &str, schema: &str| Side { alias: alias.to_owned(), schema: schema.to_owned() };
        let mut names = Names {
            source: side("pg_src_crm", "public"),
            destination: Some(side("pg_dwh", "public")),
            table: ("public".to_owned(), "orders".to_owned()),
            filtered: filtered.then(|| "filtered_source".to_owned()),
            relations: Vec::new(),
        };
        PARSER.with(|parser| walk(parser, text, &mut names).and_then(|node| parser.to_sql(&node)))
    }

    #[test]
    fn names_are_replaced_in_the_tree_and_nowhere_else() {
        for (text, expected) in [
            ("SELECT orders.id FROM orders", "SELECT orders.id FROM filtered_source AS orders"),
            ("SELECT 'orders' AS orders FROM \"Orders\" o", "SELECT 'orders' AS orders FROM filtered_source AS o"),
            ("SELECT 1 FROM public.orders", "SELECT 1 FROM filtered_source AS orders"),
            ("SELECT 1 FROM pg_src_crm.public.orders", "SELECT 1 FROM filtered_source AS orders"),
            ("SELECT 1 FROM pg_src_crm.orders", "SELECT 1 FROM filtered_source AS orders"),
            ("SELECT 1 FROM archive.orders", "SELECT 1 FROM pg_src_crm.archive.orders"),
            ("SELECT 1 FROM pg_dwh.orders", "SELECT 1 FROM pg_dwh.public.orders"),
            ("SELECT 1 FROM customers", "SELECT 1 FROM pg_src_crm.public.customers"),
            ("WITH orders AS (SELECT 1) SELECT 1 FROM orders", "WITH orders AS (SELECT 1)SELECT 1 FROM orders"),
        ] {
            assert_eq!(written(text, true).unwrap(), expected, "{text}");
        }
        assert_eq!(written("FROM orders", false).unwrap(), "SELECT * FROM pg_src_crm.public.orders");
        for text in [
            "FROM other.public.orders",
            "FROM pg_catalog.pg_user",
            "FROM pg_src_crm.information_schema.tables",
            "FROM pg_dwh.pg_temp_1.x",
        ] {
            assert_eq!(written(text, true).unwrap_err().code(), Code::Permission, "{text}");
        }
    }

    #[test]
    fn aliases_are_plain_and_two() {
        assert_eq!(source_alias("My-CRM"), "pg_src_my_crm");
        assert_eq!(destination_alias("src_my-crm", "pg_src_my_crm"), "pg_src_my_crm_destination");
        assert_eq!(destination_alias("dwh", "pg_src_my_crm"), "pg_dwh");
    }

    #[test]
    fn tables_have_one_or_two_parts() {
        let of = |text| table(text, "public", false).map(|(schema, name)| format!("{schema}|{name}"));
        assert_eq!(of("orders").unwrap(), "public|orders");
        assert_eq!(of("sales.\"Odd one\"").unwrap(), "sales|Odd one");
        assert_eq!(of("daily-orders").unwrap(), "public|daily-orders");
        assert_eq!(of("2024/orders").unwrap(), "public|2024/orders");
        assert_eq!(table("2024/a.csv", "main", true).unwrap().1, "2024/a.csv");
        for text in ["", "a.b.c", "a;b", "\"a"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
