//! The words that DuckDB does not take as a bare name (`duckdb_keywords()` of 1.5.5; a test compares the lists with
//! the engine's, so that an upgrade tells us what changed).

/// Words that are never a name unless quoted.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast", "check",
    "collate", "column", "constraint", "create", "default", "deferrable", "desc", "describe", "distinct", "do",
    "else", "end", "except", "false", "fetch", "for", "foreign", "from", "group", "having", "in", "initially",
    "intersect", "into", "lambda", "lateral", "leading", "limit", "not", "null", "offset", "on", "only", "or",
    "order", "pivot", "pivot_longer", "pivot_wider", "placing", "primary", "qualify", "references", "returning",
    "select", "show", "some", "summarize", "symmetric", "table", "then", "to", "trailing", "true", "union",
    "unique", "unpivot", "using", "variadic", "when", "where", "window", "with",
];

/// Words that are a name in some places and not in others (types, functions, join words).
#[rustfmt::skip]
const RESTRICTED: &[&str] = &[
    "anti", "asof", "at", "authorization", "between", "bigint", "binary", "bit", "boolean", "by", "char",
    "character", "coalesce", "collation", "columns", "concurrently", "cross", "dec", "decimal", "exists", "extract",
    "float", "freeze", "full", "generated", "glob", "grouping", "grouping_id", "ilike", "inner", "inout", "int",
    "integer", "interval", "is", "isnull", "join", "left", "like", "map", "national", "natural", "nchar", "none",
    "notnull", "nullif", "numeric", "out", "outer", "overlaps", "overlay", "position", "positional", "precision",
    "real", "right", "row", "semi", "setof", "similar", "smallint", "struct", "substring", "tablesample", "time",
    "timestamp", "treat", "trim", "try_cast", "unpack", "values", "varchar", "verbose", "xmlattributes",
    "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot",
    "xmlserialize", "xmltable",
];

/// Whether the word can never be a bare name.
pub(crate) fn is_reserved(word: &str) -> bool {
    contains(RESERVED, word)
}

/// Whether the word needs quotes to be a name everywhere.
pub(crate) fn needs_quotes(word: &str) -> bool {
    contains(RESERVED, word) || contains(RESTRICTED, word)
}

fn contains(sorted: &[&str], word: &str) -> bool {
    sorted.binary_search(&word.to_ascii_lowercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn engine_keywords(categories: &str) -> Vec<String> {
        let connection = duckdb::Connection::open_in_memory().unwrap();
        let sql = format!(
            "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ({categories}) ORDER BY keyword_name"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_lists_are_the_engines() {
        assert_eq!(engine_keywords("'reserved'"), RESERVED);
        assert_eq!(engine_keywords("'type_function', 'column_name'"), RESTRICTED);
    }

    #[test]
    fn case_does_not_matter() {
        assert!(is_reserved("Select"));
        assert!(needs_quotes("LEFT") && !is_reserved("LEFT"));
        assert!(!needs_quotes("flights"));
    }
}
