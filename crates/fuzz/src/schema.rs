//! Random tables and rows: few distinct values, so that joins and groups hit; duplicates, NULLs, NaN, empty strings.

use crate::draw::Draw;
use crate::grammar::{Kind, Relation};

/// A table of the random lake.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns that queries may use: name, kind, type.
    pub columns: Vec<(String, Kind, &'static str)>,
    /// Columns that no query uses, which come and go.
    pub unused: Vec<String>,
}

/// The tables of a random lake.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The tables.
    pub tables: Vec<Table>,
    /// Whether there is a negative zero among the doubles, which equals zero and is another text.
    pub negative_zero: bool,
}

const OPTIONAL: &[(&str, Kind, &str)] = &[
    ("x", Kind::Int, "INTEGER"),
    ("d", Kind::Dec, "DECIMAL(18, 2)"),
    ("f", Kind::Float, "DOUBLE"),
    ("day", Kind::Date, "DATE"),
    ("seen", Kind::Ts, "TIMESTAMP"),
    ("tz", Kind::Tz, "TIMESTAMPTZ"),
    ("ok", Kind::Bool, "BOOLEAN"),
    ("l", Kind::List, "INTEGER[]"),
    ("s", Kind::Struct, "STRUCT(a INTEGER, b VARCHAR)"),
    ("h", Kind::Str, "VARCHAR"),
    ("y", Kind::Int, "SMALLINT"),
];

impl Schema {
    /// Random tables.
    pub fn random(draw: &mut Draw) -> Self {
        let count = draw.between(2, 5);
        let negative_zero = draw.chance(40);
        let tables = (0..count).map(|number| {
            let mut columns = vec![
                ("id".to_owned(), Kind::Int, "BIGINT"),
                ("k".to_owned(), Kind::Int, if number == 1 { "BIGINT" } else { "INTEGER" }),
                ("g".to_owned(), Kind::Str, "VARCHAR"),
            ];
            for (name, kind, data_type) in OPTIONAL {
                if draw.chance(45) {
                    columns.push(((*name).to_owned(), *kind, data_type));
                }
            }
            Table { name: format!("t{number}"), columns, unused: vec!["unused".to_owned()] }
        });
        Self { tables: tables.collect(), negative_zero }
    }

    /// What queries may read.
    #[must_use]
    pub fn relations(&self) -> Vec<Relation> {
        let relation = |table: &Table| Relation {
            name: table.name.clone(),
            columns: table.columns.iter().map(|(name, kind, _)| (name.clone(), *kind)).collect(),
        };
        self.tables.iter().map(relation).collect()
    }

    /// The statements that make the tables and fill them; with `many`, some with so many rows that AUTO thinks of an incremental
    /// refresh.
    pub fn create(&self, draw: &mut Draw, many: bool) -> Vec<String> {
        let mut statements: Vec<String> = self.tables.iter().map(|table| table.definition("CREATE TABLE")).collect();
        for table in &self.tables {
            if draw.chance(10) {
                continue;
            }
            if draw.chance(4) && many {
                statements.push(table.many(self.negative_zero));
            }
            let rows = draw.between(1, 28);
            statements.push(self.insert(table, draw, rows));
        }
        statements
    }

    /// An insertion of random rows.
    pub fn insert(&self, table: &Table, draw: &mut Draw, rows: usize) -> String {
        let names: Vec<&str> = table.columns.iter().map(|(name, ..)| name.as_str()).collect();
        let mut lines: Vec<String> = Vec::new();
        for _ in 0..rows {
            if !lines.is_empty() && draw.chance(12) {
                let twin = draw.pick(&lines).clone();
                lines.push(twin);
                continue;
            }
            let values: Vec<String> =
                table.columns.iter().map(|(name, kind, _)| self.value(name, *kind, draw)).collect();
            lines.push(format!("  ({})", values.join(", ")));
        }
        format!("INSERT INTO {} ({}) VALUES\n{}", table.name, names.join(", "), lines.join(",\n"))
    }

    /// A random value of a column, as a literal.
    pub fn value(&self, column: &str, kind: Kind, draw: &mut Draw) -> String {
        if draw.chance(12) {
            return "NULL".to_owned();
        }
        match kind {
            Kind::Int if column == "id" => draw.below(60).to_string(),
            Kind::Int if column == "k" => draw.below(7).to_string(),
            Kind::Int => (i64::try_from(draw.below(26)).unwrap_or_default() - 5).to_string(),
            Kind::Dec => {
                (*draw.pick(&["0", "1.50", "-2.25", "10.01", "10.01", "99.99", "123456789012.34"])).to_owned()
            }
            Kind::Str => (*draw.pick(&["'a'", "'b'", "''", "'a b'", "'B'", "'7'", "'ä%'", "'it''s'"])).to_owned(),
            Kind::Float if self.negative_zero => {
                (*draw.pick(&["0", "0.25", "-0.0", "1.5", "'nan'", "-3", "1.5"])).to_owned()
            }
            Kind::Float | Kind::Real | Kind::Noisy => {
                (*draw.pick(&["0", "0.25", "1.5", "'nan'", "-3", "1.5"])).to_owned()
            }
            Kind::Date => format!("'2024-02-2{}'", draw.between(6, 10)),
            Kind::Ts => format!("'2024-03-31 0{}:30:00'", draw.below(4)),
            Kind::Tz => format!("'2024-03-31 0{}:30:00+0{}'", draw.below(4), draw.below(2)),
            Kind::Bool => (*draw.pick(&["true", "false"])).to_owned(),
            Kind::List => (*draw.pick(&["[1, 2]", "[]", "[3]", "[NULL, 1]", "[2, 1, 2]"])).to_owned(),
            Kind::Struct => format!("{{'a': {}, 'b': 'x'}}", draw.below(3)),
        }
    }
}

impl Table {
    /// The statement that makes the table.
    #[must_use]
    pub fn definition(&self, verb: &str) -> String {
        let mut columns: Vec<String> =
            self.columns.iter().map(|(name, _, data_type)| format!("{name} {data_type}")).collect();
        columns.extend(self.unused.iter().map(|name| format!("{name} INTEGER")));
        format!("{verb} {} ({})", self.name, columns.join(", "))
    }

    /// So many rows that AUTO thinks of an incremental refresh.
    fn many(&self, negative_zero: bool) -> String {
        let value = |(name, kind, _): &(String, Kind, &str)| match kind {
            Kind::Int if name == "id" => "1000 + i".to_owned(),
            Kind::Int => format!("(i * {}) % 83 + 20", name.len() * 7 + usize::from(name.as_bytes()[0])),
            Kind::Dec => "(i % 1000)::DECIMAL(18, 2) / 100".to_owned(),
            Kind::Str => "'n' || i % 97".to_owned(),
            Kind::Float if negative_zero => "CASE WHEN i % 50 = 0 THEN -0.0 ELSE i % 11 / 4 END".to_owned(),
            Kind::Float | Kind::Real | Kind::Noisy => "i % 11 / 4".to_owned(),
            Kind::Date => "DATE '2024-01-01' + (i % 60)::INTEGER".to_owned(),
            Kind::Ts => "TIMESTAMP '2024-01-01' + INTERVAL (i % 90) HOUR".to_owned(),
            Kind::Tz => "TIMESTAMPTZ '2024-03-30 22:00:00+00' + INTERVAL (i % 90) HOUR".to_owned(),
            Kind::Bool => "i % 3 = 0".to_owned(),
            Kind::List => "[i % 5, i % 3]".to_owned(),
            Kind::Struct => "{'a': i % 5, 'b': 'z'}".to_owned(),
        };
        let names: Vec<&str> = self.columns.iter().map(|(name, ..)| name.as_str()).collect();
        let values: Vec<String> = self.columns.iter().map(value).collect();
        let (names, values) = (names.join(", "), values.join(", "));
        format!("INSERT INTO {} ({names}) SELECT {values} FROM range(1100) r(i)", self.name)
    }
}
