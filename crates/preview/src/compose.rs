//! The query of a preview: the table with its filter, somebody's query over it, and around both the limit and the forms of
//! values that can be written exactly.

use std::collections::HashSet;

use sql::names::quote_identifier;

/// The parts that are known before the columns are.
pub(crate) struct Parts {
    /// The table: alias, schema, name.
    pub table: (String, String, String),
    /// What the filtered table is called; none where it is read as it is.
    pub filtered: Option<String>,
    /// The condition of the filter.
    pub condition: Option<String>,
    /// Over how many rows of the table the query is computed; none means all.
    pub sample: Option<u64>,
    /// Somebody's query with its names written out; none means the table itself.
    pub query: Option<String>,
}

impl Parts {
    /// The table as it stands in FROM.
    pub fn table(&self) -> String {
        let (alias, schema, name) = &self.table;
        format!("{}.{}.{}", quote_identifier(alias), quote_identifier(schema), quote_identifier(name))
    }

    /// The query without limit and forms, to be put between parentheses behind what [`Parts::with`] gives.
    fn inner(&self) -> String {
        match (&self.query, &self.filtered) {
            (Some(query), _) => query.clone(),
            (None, Some(filtered)) => format!("SELECT * FROM {}", quote_identifier(filtered)),
            (None, None) => format!("SELECT * FROM {}", self.table()),
        }
    }

    fn with(&self) -> String {
        let Some(filtered) = &self.filtered else { return String::new() };
        let condition = self.condition.as_ref().map_or_else(String::new, |condition| format!(" WHERE {condition}"));
        // Not materialized, so that the source itself leaves out what the query does not need; but a sample is one sample
        // however often it is read.
        let (form, limit) = match self.sample {
            Some(rows) => ("MATERIALIZED", format!(" LIMIT {rows}")),
            None => ("NOT MATERIALIZED", String::new()),
        };
        let name = quote_identifier(filtered);
        format!("WITH {name} AS {form} (SELECT * FROM {}{condition}{limit}) ", self.table())
    }

    /// The query whose columns are those of the result.
    pub fn described(&self) -> String {
        format!("{}SELECT * FROM ({})", self.with(), self.inner())
    }

    /// The query to run, for at most so many rows.
    pub fn limited(&self, columns: &[(String, String)], rows: u64) -> String {
        let list: Vec<String> = columns
            .iter()
            .zip(1..)
            .map(
                |((_, kind), number)| {
                    if is_cast(kind) { format!("#{number}::VARCHAR") } else { format!("#{number}") }
                },
            )
            .collect();
        format!("{}SELECT {} FROM ({}) LIMIT {rows}", self.with(), list.join(", "), self.inner())
    }
}

/// Whether values of this type are exact as text only.
fn is_cast(kind: &str) -> bool {
    let exact = ["HUGEINT", "UHUGEINT", "BIGNUM", "VARINT", "INTERVAL", "BIT", "TIME WITH TIME ZONE", "VARIANT"];
    exact.contains(&kind) || kind.starts_with("UNION(") && !kind.ends_with(']') || kind.starts_with("GEOMETRY")
}

/// Whether the text of a value of this type is a number.
pub(crate) fn is_number_as_text(kind: &str) -> bool {
    matches!(kind, "HUGEINT" | "UHUGEINT" | "BIGNUM" | "VARINT")
}

/// What programs call a type of the engine.
pub(crate) fn label(kind: &str) -> &'static str {
    const NUMBERS: [&str; 13] = [
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "UHUGEINT",
        "FLOAT",
        "DOUBLE",
        "BIGNUM",
    ];
    let is_scalar =
        !kind.ends_with(']') && !["STRUCT(", "MAP(", "UNION("].iter().any(|nested| kind.starts_with(nested));
    if !is_scalar {
        "text"
    } else if kind == "BOOLEAN" {
        "boolean"
    } else if NUMBERS.contains(&kind) || kind.starts_with("DECIMAL") {
        "number"
    } else if kind.starts_with("DATE") || kind.starts_with("TIME") {
        "date"
    } else {
        "text"
    }
}

/// The names of columns, each once: the later ones of a name get a number.
pub(crate) fn distinct(names: &[(String, String)]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let given: HashSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    names
        .iter()
        .map(|(name, _)| {
            let numbered = (1..).map(|number| format!("{name}_{number}"));
            let mut candidates =
                std::iter::once(name.clone()).chain(numbered.filter(|name| !given.contains(name.as_str())));
            let name = candidates.find(|candidate| !taken.contains(candidate)).unwrap_or_else(|| name.clone());
            taken.insert(name.clone());
            name
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once() {
        let named = |names: &[&str]| {
            let columns: Vec<(String, String)> =
                names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
            distinct(&columns).join(",")
        };
        assert_eq!(named(&["a", "b", "a", "a"]), "a,b,a_1,a_2");
        assert_eq!(named(&["a", "a", "a_1"]), "a,a_2,a_1");
    }

    #[test]
    fn types_have_one_of_four_labels() {
        for (kind, expected) in [
            ("HUGEINT", "number"),
            ("DECIMAL(38,10)", "number"),
            ("DECIMAL(3,1)[]", "text"),
            ("INTERVAL", "text"),
            ("TIMESTAMP WITH TIME ZONE", "date"),
            ("TIME", "date"),
            ("DATE", "date"),
            ("STRUCT(a DATE)", "text"),
            ("BOOLEAN", "boolean"),
            ("BLOB", "text"),
            ("UUID", "text"),
            ("ENUM('1', '2')", "text"),
        ] {
            assert_eq!(label(kind), expected, "{kind}");
        }
    }
}
