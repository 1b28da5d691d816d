//! The two benchmarks: their data, made at a scale and copied to a lake, and the texts of their queries, which DuckDB's
//! own extensions bring along.

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use testkit::lake::ThrowAway;

use super::bait::lay;
use super::oracle::tree_of;

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
    /// Its parse tree.
    pub tree: Value,
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

    /// Fills a lake with the tables of this benchmark, and with a few rows for each of those of its queries whose number
    /// is wanted.
    pub fn load(
        self,
        lake: &ThrowAway,
        scale: f64,
        seed: u64,
        wanted: impl Fn(usize) -> bool,
    ) -> (Vec<Table>, Vec<Query>) {
        let (others, generator) = (&lake.others, if self == Self::TpcH { "dbgen" } else { "dsdgen" });
        others.execute(&format!("LOAD {}", self.extension())).unwrap();
        others.execute("ATTACH ':memory:' AS made").unwrap();
        others.execute("USE made").unwrap();
        others.execute(&format!("CALL {generator}(sf => {scale})")).unwrap();
        let names = others
            .query("SELECT table_name FROM duckdb_tables() WHERE database_name = 'made' ORDER BY table_name")
            .unwrap();
        let tables = names.rows.into_iter().map(|mut row| {
            let name = row.remove(0).unwrap();
            let columns = others.describe(&format!("FROM {name}")).unwrap();
            Table { name, columns }
        });
        let tables: Vec<Table> = tables.collect();
        let queries = self.queries(lake, wanted);
        let mut random = StdRng::seed_from_u64(seed);
        for query in &queries {
            lay(lake, &tables, &query.tree, &mut random);
        }
        for Table { name, .. } in &tables {
            others.execute(&format!("CREATE TABLE lake.{name} AS FROM {name}")).unwrap();
        }
        others.execute("USE lake.main").unwrap();
        others.execute("DETACH made").unwrap();
        (tables, queries)
    }

    /// The queries, as the extension writes them but for the semicolon at the end.
    fn queries(self, lake: &ThrowAway, wanted: impl Fn(usize) -> bool) -> Vec<Query> {
        let sql = format!("SELECT query_nr, query FROM {}_queries() ORDER BY query_nr", self.extension());
        let rows = lake.others.query(&sql).unwrap().rows;
        let queries = rows.into_iter().filter_map(|row| {
            let [Some(number), Some(text)] = row.as_slice() else { panic!("{row:?}") };
            if !wanted(number.parse().unwrap()) {
                return None;
            }
            let text = named_apart(lake, text.trim().trim_end_matches(';').trim_end());
            Some(Query { name: format!("q{number:0>2}"), tree: tree_of(lake, &text), text })
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
