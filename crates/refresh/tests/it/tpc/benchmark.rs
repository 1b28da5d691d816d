//! The two benchmarks: their data, made at a scale and copied to a lake, and the texts of their queries, which DuckDB's
//! own extensions bring along.

use testkit::lake::ThrowAway;

/// One of the two benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Benchmark {
    TpcH,
    TpcDs,
}

/// A query of a benchmark as a dynamic table.
pub(super) struct Query {
    /// Of the dynamic table: `q04`.
    pub name: String,
    /// Without a semicolon.
    pub text: String,
}

/// A table of a benchmark.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub name: String,
    /// Name and type of each column.
    pub columns: Vec<(String, String)>,
}

impl Benchmark {
    const fn extension(self) -> &'static str {
        match self {
            Self::TpcH => "tpch",
            Self::TpcDs => "tpcds",
        }
    }

    /// Fills a lake with the tables of this benchmark.
    pub fn load(self, lake: &ThrowAway, scale: f64) -> Vec<Table> {
        let (others, generator) = (&lake.others, if self == Self::TpcH { "dbgen" } else { "dsdgen" });
        others.execute(&format!("LOAD {}", self.extension())).unwrap();
        others.execute("ATTACH ':memory:' AS made").unwrap();
        others.execute("USE made").unwrap();
        others.execute(&format!("CALL {generator}(sf => {scale})")).unwrap();
        others.execute("USE lake.main").unwrap();
        let names = others
            .query("SELECT table_name FROM duckdb_tables() WHERE database_name = 'made' ORDER BY table_name")
            .unwrap();
        let tables = names.rows.into_iter().map(|mut row| {
            let name = row.remove(0).unwrap();
            others.execute(&format!("CREATE TABLE lake.{name} AS FROM made.{name}")).unwrap();
            let columns = others.describe(&format!("FROM lake.{name}")).unwrap();
            Table { name, columns }
        });
        let tables = tables.collect();
        others.execute("DETACH made").unwrap();
        tables
    }

    /// The queries, as the extension writes them but for the semicolon at the end.
    pub fn queries(self, lake: &ThrowAway) -> Vec<Query> {
        let sql = format!("SELECT query_nr, query FROM {}_queries() ORDER BY query_nr", self.extension());
        let rows = lake.others.query(&sql).unwrap().rows;
        let queries = rows.into_iter().map(|row| {
            let [Some(number), Some(text)] = row.as_slice() else { panic!("{row:?}") };
            let text = named_apart(lake, text.trim().trim_end_matches(';').trim_end());
            Query { name: format!("q{number:0>2}"), text }
        });
        queries.collect()
    }
}

/// The query itself unless two of its columns have the same name, which no table can have: then they are numbered.
fn named_apart(lake: &ThrowAway, text: &str) -> String {
    let columns = lake.others.describe(text).unwrap();
    let mut names: Vec<String> = columns.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    if names.len() == columns.len() {
        return text.to_owned();
    }
    let numbered: Vec<String> = (1..=columns.len()).map(|number| format!("c{number}")).collect();
    format!("SELECT * FROM ({text}\n) AS q({})", numbered.join(", "))
}
