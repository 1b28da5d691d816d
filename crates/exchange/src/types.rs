//! Which type a column has in the lake, and how its values get there unchanged. No database is asked here.

/// How the values of a column come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    /// The type in the lake.
    pub data_type: String,
    /// What PostgreSQL is to make of the value before it is sent; nothing if it is sent as it is.
    pub sent_as: Option<&'static str>,
    /// What to know about it.
    pub notice: Option<&'static str>,
}

/// PostgreSQL's types whose values arrive unchanged, and what they are called here.
const ALIKE: [(&str, &str); 16] = [
    ("bool", "BOOLEAN"),
    ("int2", "SMALLINT"),
    ("int4", "INTEGER"),
    ("int8", "BIGINT"),
    ("float4", "FLOAT"),
    ("float8", "DOUBLE"),
    ("text", "VARCHAR"),
    ("varchar", "VARCHAR"),
    ("name", "VARCHAR"),
    ("date", "DATE"),
    ("time", "TIME"),
    ("timestamp", "TIMESTAMP"),
    ("timestamptz", "TIMESTAMP WITH TIME ZONE"),
    ("interval", "INTERVAL"),
    ("uuid", "UUID"),
    ("bytea", "BLOB"),
];

/// How a column of PostgreSQL's type `name` comes, or an array of it. `modifier` is the column's, -1 for none.
///
/// Numbers of fixed scale come as text: read directly, a NaN among them would silently be 0. What has no type of its own here
/// comes as PostgreSQL writes it.
pub(crate) fn of_postgres(name: &str, modifier: i64, is_array: bool) -> Carried {
    let alike = ALIKE.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
    let plain = |data_type: &str, sent_as, notice| Carried { data_type: data_type.to_owned(), sent_as, notice };
    match (alike, is_array) {
        (Some(ours), false) => plain(ours, None, None),
        (Some(ours), true) => plain(&format!("{ours}[]"), None, None),
        (None, true) => plain("VARCHAR[]", Some("text[]"), None),
        (None, false) if name == "oid" => plain("BIGINT", Some("bigint"), None),
        (None, false) if name == "numeric" => match precision_and_scale(modifier) {
            Some((precision, scale)) => plain(&format!("DECIMAL({precision},{scale})"), Some("text"), None),
            None => plain(
                "VARCHAR",
                Some("text"),
                Some(
                    "is a numeric without a scale that DECIMAL has: it is kept as text, exactly; cast it in queries",
                ),
            ),
        },
        (None, false) => plain("VARCHAR", Some("text"), None),
    }
}

/// Digits and digits behind the point, if there is a DECIMAL of these.
fn precision_and_scale(modifier: i64) -> Option<(i64, i64)> {
    const HEADER: i64 = 4;
    let packed = modifier.checked_sub(HEADER).filter(|packed| *packed >= 0)?;
    let precision = (packed >> 16) & 0xFFFF;
    // Eleven bits with a sign.
    let scale = ((packed & 0x7FF) ^ 0x400) - 0x400;
    (precision <= 38 && (0..=precision).contains(&scale)).then_some((precision, scale))
}

/// The type in the lake of a column of files, which DuckDB calls so.
pub(crate) fn of_file(data_type: &str) -> String {
    const NOT_IN_A_LAKE: [&str; 4] = ["ENUM(", "UNION(", "BIT", "BIGNUM"];
    let upper = data_type.to_ascii_uppercase();
    let unknown = upper == "JSON" || upper == "\"NULL\"" || upper == "NULL";
    let unfit = NOT_IN_A_LAKE.iter().any(|name| upper.starts_with(name));
    if unknown || unfit || upper.contains("ENUM(") || upper.contains("UNION(") || upper.contains("JSON") {
        return "VARCHAR".to_owned();
    }
    data_type.to_owned()
}

/// Whether values of a type can be equal and yet differ: an interval of 30 days is one of a month.
pub(crate) fn must_be_told_apart(data_type: &str) -> bool {
    data_type.to_ascii_uppercase().contains("INTERVAL")
}

/// What a cursor's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorKind {
    /// Whole numbers.
    Integer,
    /// Numbers of fixed scale.
    Decimal,
    /// Days.
    Date,
    /// Times.
    Timestamp,
    /// Times with their zone.
    TimestampTz,
    /// Texts, in the order of their bytes.
    Text,
    /// Ids, of which the newer are larger.
    Uuid,
}

impl CursorKind {
    /// Of a type in the lake; none if it cannot be a cursor.
    pub fn of(data_type: &str) -> Option<Self> {
        let upper = data_type.to_ascii_uppercase();
        Some(match upper.as_str() {
            "TINYINT" | "SMALLINT" | "INTEGER" | "BIGINT" | "UTINYINT" | "USMALLINT" | "UINTEGER" => Self::Integer,
            "DATE" => Self::Date,
            "TIMESTAMP" => Self::Timestamp,
            "TIMESTAMP WITH TIME ZONE" => Self::TimestampTz,
            "VARCHAR" => Self::Text,
            "UUID" => Self::Uuid,
            _ if upper.starts_with("DECIMAL(") && !upper.ends_with(']') => Self::Decimal,
            _ => return None,
        })
    }

    /// PostgreSQL's name of the type.
    pub const fn of_postgres(self) -> &'static str {
        match self {
            Self::Integer => "bigint",
            Self::Decimal => "numeric",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Text => "text",
            Self::Uuid => "uuid",
        }
    }

    /// Whether its values are times.
    pub const fn is_time(self) -> bool {
        matches!(self, Self::Date | Self::Timestamp | Self::TimestampTz)
    }

    /// Whether its values are numbers.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Decimal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        let modifier = |precision: i64, scale: i64| (precision << 16 | scale & 0x7FF) + 4;
        for (modifier, expected) in [
            (modifier(10, 2), "DECIMAL(10,2)"),
            (modifier(38, 0), "DECIMAL(38,0)"),
            (modifier(39, 0), "VARCHAR"),
            (modifier(5, -2), "VARCHAR"),
            (modifier(2, 3), "VARCHAR"),
            (-1, "VARCHAR"),
        ] {
            let carried = of_postgres("numeric", modifier, false);
            assert_eq!((carried.data_type.as_str(), carried.sent_as), (expected, Some("text")), "{modifier}");
            assert_eq!(carried.notice.is_some(), expected == "VARCHAR");
        }
    }

    #[test]
    fn what_has_no_type_here_is_text() {
        for (name, is_array, data_type, sent_as) in [
            ("int4", false, "INTEGER", None),
            ("timestamptz", true, "TIMESTAMP WITH TIME ZONE[]", None),
            ("jsonb", false, "VARCHAR", Some("text")),
            ("mood", true, "VARCHAR[]", Some("text[]")),
            ("numeric", true, "VARCHAR[]", Some("text[]")),
            ("timetz", false, "VARCHAR", Some("text")),
        ] {
            let carried = of_postgres(name, -1, is_array);
            assert_eq!((carried.data_type.as_str(), carried.sent_as), (data_type, sent_as), "{name}");
        }
        assert_eq!(of_file("ENUM('a')[]"), "VARCHAR");
        assert_eq!(of_file("STRUCT(a INTEGER)"), "STRUCT(a INTEGER)");
    }

    #[test]
    fn what_grows_can_be_a_cursor() {
        assert_eq!(CursorKind::of("DECIMAL(10,2)"), Some(CursorKind::Decimal));
        assert_eq!(CursorKind::of("bigint"), Some(CursorKind::Integer));
        for other in ["DOUBLE", "INTEGER[]", "DECIMAL(10,2)[]", "INTERVAL", "BOOLEAN"] {
            assert_eq!(CursorKind::of(other), None, "{other}");
        }
    }
}
