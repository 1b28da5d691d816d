//! What of each group has to be remembered so that a change can be folded into its aggregates: counts, exact sums and
//! extremes, and how an aggregate's value follows from them.
//!
//! It does not know where they are kept, nor how a select list uses the values.

use serde_json::Value;
use sql::query::Parser;
use sql::tree;

use super::aggregate::Calls;
use super::fold::{Call, Inputs, condition, input_column, is_lost, went_column};

/// Something that is remembered of a group.
#[derive(Debug)]
pub struct Accumulator {
    what: What,
    argument: Option<usize>,
    filter: Option<usize>,
    /// As a person reads it: `count(x)`.
    pub shown: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Rows for which the argument is not NULL.
    Count,
    /// Rows for which the argument is true.
    True,
    /// The exact sum of the arguments; 0 if there is none.
    Sum { data_type: String },
    /// The least or the greatest argument.
    Extreme { greatest: bool, data_type: String },
}

/// An average: the engine's own, of a sum and a count. Its value in the last digit is that of the engine's arithmetic
/// (`long double` where sums are wide), which no SQL expression has.
#[derive(Debug)]
pub struct Average {
    sum: usize,
    count: usize,
    scale: u32,
}

/// What is remembered of a group, each thing once, and the averages made of it.
#[derive(Debug, Default)]
pub struct Accumulators {
    /// What is remembered.
    pub all: Vec<Accumulator>,
    /// The averages that need the engine's arithmetic.
    pub averages: Vec<Average>,
}

/// The column of an accumulator.
#[must_use]
pub fn accumulator_column(position: usize) -> String {
    format!("__dt_s{position}")
}

/// The column with an average.
fn average_column(position: usize) -> String {
    format!("__dt_m{position}")
}

/// The widest scale of decimals whose averages are folded: their count times the power of ten has to fit in 63 bits.
const WIDEST_SCALE: u32 = 9;

impl Accumulators {
    /// What a call needs, remembered, and its value as an expression over that.
    pub(super) fn value_of(
        &mut self,
        call: &Call<'_>,
        calls: &Calls,
        inputs: &mut Inputs,
        parser: &Parser,
    ) -> Result<String, String> {
        let filter = if call.filter.is_null() { None } else { Some(inputs.position(call.filter)) };
        let shown = |function: &str| -> Result<String, String> {
            let text = |node: &Value| parser.expression_to_sql(node).map_err(|error| error.message().to_owned());
            let argument = call.argument.map_or_else(|| Ok("*".to_owned()), text)?;
            let filter =
                if call.filter.is_null() { String::new() } else { format!(" FILTER ({})", text(call.filter)?) };
            Ok(format!("{function}({argument}){filter}"))
        };
        let function = call.function.as_str();
        let Some(expression) = call.argument else {
            if function != "count_star" {
                return Err(format!("{function}() cannot be taken back"));
            }
            return Ok(accumulator_column(self.remember(What::Count, None, filter, shown("count")?)));
        };
        let argument = Some(inputs.position(expression));
        let data_type = calls.type_of(expression).unwrap_or("").to_owned();
        let counted = |kept: &mut Self| -> Result<usize, String> {
            Ok(kept.remember(What::Count, argument, filter, shown("count")?))
        };
        match function {
            "count" => Ok(accumulator_column(counted(self)?)),
            "count_if" | "countif" | "bool_and" | "bool_or" => {
                let count = accumulator_column(counted(self)?);
                let held = accumulator_column(self.remember(What::True, argument, filter, shown("count_if")?));
                let value = match function {
                    "bool_and" => format!("{held} = {count}"),
                    "bool_or" => format!("{held} > 0"),
                    _ => format!("CAST({held} AS HUGEINT)"),
                };
                Ok(format!("CASE WHEN {count} = 0 THEN NULL ELSE {value} END"))
            }
            "sum" | "avg" | "mean" => {
                let summed = sum_type(&data_type)
                    .ok_or_else(|| format!("a sum of {data_type} cannot be kept without its order or its digits"))?;
                let scale = scale_of(&data_type);
                if function != "sum" && scale > WIDEST_SCALE {
                    return Err(format!("the average of {data_type} cannot be computed from its sum"));
                }
                let count = counted(self)?;
                let what = What::Sum { data_type: summed };
                let sum = self.remember(what, argument, filter, shown("sum")?);
                let given = accumulator_column(count);
                let value = match function {
                    "sum" if data_type.starts_with("DECIMAL(") => accumulator_column(sum),
                    "sum" => format!("CAST({} AS HUGEINT)", accumulator_column(sum)),
                    _ if is_narrow(&data_type) => {
                        // The engine takes these averages in DOUBLE.
                        format!("{} / CAST({} AS DOUBLE)", unscaled(sum, scale, "DOUBLE"), scaled_count(count, scale))
                    }
                    _ => average_column(self.average(sum, count, scale)),
                };
                Ok(format!("CASE WHEN {given} = 0 THEN NULL ELSE {value} END"))
            }
            "min" | "max" if is_kept_as_it_is(&data_type) => {
                let what = What::Extreme { greatest: function == "max", data_type };
                Ok(accumulator_column(self.remember(what, argument, filter, shown(function)?)))
            }
            _ => Err(format!("{function}() of {data_type} cannot be taken back")),
        }
    }

    fn remember(&mut self, what: What, argument: Option<usize>, filter: Option<usize>, shown: String) -> usize {
        let same = |known: &Accumulator| known.what == what && known.argument == argument && known.filter == filter;
        self.all.iter().position(same).unwrap_or_else(|| {
            self.all.push(Accumulator { what, argument, filter, shown });
            self.all.len() - 1
        })
    }

    fn average(&mut self, sum: usize, count: usize, scale: u32) -> usize {
        let same = |known: &Average| known.sum == sum && known.count == count;
        self.averages.iter().position(same).unwrap_or_else(|| {
            self.averages.push(Average { sum, count, scale });
            self.averages.len() - 1
        })
    }

    /// A SELECT with the greatest count that an average of the table divides by; `None` without averages.
    pub(super) fn greatest_count(&self, table: &str) -> Option<String> {
        let counts: Vec<String> =
            self.averages.iter().map(|average| scaled_count(average.count, average.scale)).collect();
        (!counts.is_empty())
            .then(|| format!("SELECT coalesce(max(greatest(0, {})), 0)::BIGINT FROM {table}", counts.join(", ")))
    }

    /// The rows of a temporary table with their averages, whose counts have at most so many bits.
    ///
    /// The engine's average of a group is that of one row with the whole sum and as many zeros as it takes, added up in
    /// powers of two.
    pub(super) fn with_averages(&self, table: &str, bits: u32) -> String {
        if self.averages.is_empty() {
            return format!("SELECT * FROM {table}");
        }
        let bits = bits.max(1);
        let mut zeros = "SELECT avg(0::HUGEINT) EXPORT_STATE AS __dt_z0".to_owned();
        for bit in 1..bits {
            let before = bit - 1;
            zeros = format!("SELECT *, combine(__dt_z{before}, __dt_z{before}) AS __dt_z{bit} FROM ({zeros})");
        }
        let (mut sums, mut states, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (position, average) in self.averages.iter().enumerate() {
            sums.push(format!("{} AS __dt_sum{position}", unscaled(average.sum, average.scale, "HUGEINT")));
            sums.push(format!("{} AS __dt_count{position}", scaled_count(average.count, average.scale)));
            states.push(format!("avg(__dt_sum{position}) EXPORT_STATE AS __dt_state{position}"));
            states.push(format!("max(__dt_count{position}) - 1 AS __dt_zeros{position}"));
            let mut state = format!("__dt_state{position}");
            for bit in 0..bits {
                let power = 1_u64 << bit;
                state =
                    format!("combine({state}, CASE WHEN __dt_zeros{position} & {power} <> 0 THEN __dt_z{bit} END)");
            }
            values.push(format!("finalize({state}) AS {}", average_column(position)));
        }
        format!(
            "SELECT * FROM (SELECT rowid AS __dt_id, * FROM {table}) JOIN (\
             SELECT __dt_id, {} FROM (SELECT __dt_id, {} FROM (SELECT rowid AS __dt_id, {} FROM {table}) \
             GROUP BY __dt_id), ({zeros})) USING (__dt_id)",
            values.join(", "),
            states.join(", "),
            sums.join(", "),
        )
    }

    /// Names and types of the averages, for binding what uses them.
    pub(super) fn average_columns(&self) -> Vec<(String, String)> {
        (0..self.averages.len()).map(|position| (average_column(position), "DOUBLE".to_owned())).collect()
    }
}

impl Accumulator {
    /// The type of its column.
    #[must_use]
    pub fn data_type(&self) -> &str {
        match &self.what {
            What::Count | What::True => "BIGINT",
            What::Sum { data_type } | What::Extreme { data_type, .. } => data_type,
        }
    }

    /// Its value over rows that are all there.
    pub(super) fn of_rows(&self) -> String {
        let argument = self.argument.map(input_column).unwrap_or_default();
        let holds = condition(&[self.seen(), self.filter.map(input_column)]);
        match &self.what {
            What::Count | What::True => format!("count(*){holds}"),
            What::Sum { data_type } => format!("coalesce(sum({argument}){holds}, 0)::{data_type}"),
            What::Extreme { greatest, .. } => format!("{}({argument}){holds}", extreme(*greatest)),
        }
    }

    /// Its change over rows with weights; of an extreme, that of the rows that came and that of those that went.
    pub(super) fn of_change(&self, position: usize) -> Vec<String> {
        let column = accumulator_column(position);
        let argument = self.argument.map(input_column).unwrap_or_default();
        let part = |call: &str, sign: &str| {
            let sign = Some(format!("__dt_weight {sign} 0"));
            format!("{call}{}", condition(&[sign, self.filter.map(input_column)]))
        };
        match &self.what {
            What::Count | What::True => {
                let holds = condition(&[self.seen(), self.filter.map(input_column)]);
                vec![format!("coalesce(sum(__dt_weight){holds}, 0)::BIGINT AS {column}")]
            }
            What::Sum { data_type } => {
                let sum = |sign| format!("coalesce({}, 0)", part(&format!("sum({argument})"), sign));
                vec![format!("({} - {})::{data_type} AS {column}", sum(">"), sum("<"))]
            }
            What::Extreme { greatest, .. } => {
                let call = format!("{}({argument})", extreme(*greatest));
                vec![
                    format!("{} AS {column}", part(&call, ">")),
                    format!("{} AS {}", part(&call, "<"), went_column(position)),
                ]
            }
        }
    }

    /// Its new value from the stored one (`__dt_t`) and its change (`__dt_d`).
    pub(super) fn merged(&self, position: usize) -> String {
        let column = accumulator_column(position);
        match &self.what {
            What::Count | What::True => format!("coalesce(__dt_t.{column}, 0) + __dt_d.{column}"),
            What::Sum { data_type } => format!("(coalesce(__dt_t.{column}, 0) + __dt_d.{column})::{data_type}"),
            What::Extreme { greatest, .. } => {
                format!("{}(__dt_t.{column}, __dt_d.{column})", if *greatest { "greatest" } else { "least" })
            }
        }
    }

    /// The condition that the group may have lost it, if it is an extreme.
    pub(super) fn lost(&self, position: usize) -> Option<String> {
        let What::Extreme { greatest, .. } = &self.what else { return None };
        Some(is_lost(*greatest, &self.merged(position), position))
    }

    /// The condition on a row's argument that it counts.
    fn seen(&self) -> Option<String> {
        let argument = input_column(self.argument?);
        match self.what {
            What::Count => Some(format!("{argument} IS NOT NULL")),
            What::True => Some(argument),
            What::Sum { .. } | What::Extreme { .. } => None,
        }
    }
}

const fn extreme(greatest: bool) -> &'static str {
    if greatest { "max" } else { "min" }
}

/// The type that holds sums of a type exactly. A lake's files keep HUGEINT as a floating-point number, decimals as they are.
fn sum_type(data_type: &str) -> Option<String> {
    const WHOLE: [&str; 10] = [
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
    ];
    if WHOLE.contains(&data_type) {
        return Some("DECIMAL(38,0)".to_owned());
    }
    data_type.starts_with("DECIMAL(").then(|| format!("DECIMAL(38,{})", scale_of(data_type)))
}

fn decimal(data_type: &str) -> Option<(u32, u32)> {
    let (width, scale) = data_type.strip_prefix("DECIMAL(")?.strip_suffix(')')?.split_once(',')?;
    Some((width.trim().parse().ok()?, scale.trim().parse().ok()?))
}

fn scale_of(data_type: &str) -> u32 {
    decimal(data_type).map_or(0, |(_, scale)| scale)
}

/// Whether the engine adds up the values in 64 bits when it takes their average.
fn is_narrow(data_type: &str) -> bool {
    ["TINYINT", "SMALLINT", "UTINYINT"].contains(&data_type)
        || decimal(data_type).is_some_and(|(width, _)| width <= 4)
}

/// A sum without its decimal point.
fn unscaled(sum: usize, scale: u32, data_type: &str) -> String {
    let column = accumulator_column(sum);
    if scale == 0 {
        return format!("CAST(CAST({column} AS HUGEINT) AS {data_type})");
    }
    let power = 10_u64.pow(scale);
    // The whole part apart, so that nothing is wider than the sum itself.
    let whole = format!("CAST({column} AS DECIMAL(38,0))");
    let sum = format!(
        "(CAST({whole} AS HUGEINT) * {power} + CAST(({column} - CAST({whole} AS DECIMAL(38,{scale}))) * {power} AS HUGEINT))"
    );
    format!("CAST({sum} AS {data_type})")
}

/// What a sum without its decimal point is divided by.
fn scaled_count(count: usize, scale: u32) -> String {
    format!("{} * {}::BIGINT", accumulator_column(count), 10_u64.pow(scale))
}

/// Whether a lake's files give values of the type back as they were.
pub(super) fn is_kept_as_it_is(data_type: &str) -> bool {
    const KEPT: [&str; 18] = [
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "FLOAT",
        "DOUBLE",
        "VARCHAR",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE",
        "UUID",
        "BLOB",
    ];
    KEPT.contains(&data_type) || data_type.starts_with("DECIMAL(")
}

/// The call of an aggregate, if it is a plain one.
pub(super) fn plain_call<'node>(item: &'node Value, parser: &Parser) -> Result<Call<'node>, String> {
    if item["export_state"].as_bool() == Some(true) {
        return Err("the state of an aggregate cannot be taken back".to_owned());
    }
    super::fold::call(item, parser).map_err(|_| {
        let function = tree::text(item, "function_name").to_lowercase();
        let distinct = if item["distinct"].as_bool() == Some(true) { "DISTINCT ..." } else { "" };
        format!("{function}({distinct}) cannot be taken back")
    })
}
