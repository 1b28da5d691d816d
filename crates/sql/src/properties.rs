//! The properties of a dynamic table: their names, values, defaults and ranges.
//!
//! Names are Snowflake's where Snowflake has the concept. Accepted besides them: `REFRESH_STRATEGY` for
//! `REFRESH_MODE`, and its value `AFFECTED_KEYS` for `AUTO`: that strategy recomputes the affected groups where
//! it can and everything where it cannot, which is what `AUTO` does.

use std::fmt;
use std::str::FromStr;

use error::{Code, Error, Result};

use crate::cluster_by::ClusterBy;
use crate::names::quote_literal;
use crate::suggest;
pub use crate::target_lag::{TargetLag, parse_duration};
use crate::token::{Kind, tokenize};

/// How a dynamic table is refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefreshMode {
    /// Incrementally where the query allows it and it is cheaper, else in full.
    #[default]
    Auto,
    /// Incrementally; a query that does not allow it is refused.
    Incremental,
    /// Always in full.
    Full,
}

/// When a new dynamic table gets its first content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Initialize {
    /// As part of its creation, which fails if that fails.
    #[default]
    OnCreate,
    /// At the first scheduled refresh; until then it is empty.
    OnSchedule,
}

/// Whether the worker refreshes the table on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scheduler {
    /// It does, as `TARGET_LAG` demands.
    #[default]
    Enable,
    /// It does not: the table is refreshed by hand only.
    Disable,
}

/// All properties of a dynamic table with the values in force.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Properties {
    /// How stale the table may be; may be absent only if the scheduler is disabled.
    pub target_lag: Option<TargetLag>,
    /// How it is refreshed.
    pub refresh_mode: RefreshMode,
    /// When it gets its first content.
    pub initialize: Initialize,
    /// Whether equal rows are kept once.
    pub deduplication: bool,
    /// The share of affected groups from which on everything is recomputed, 0 to 1.
    pub cardinality_threshold: f64,
    /// From how many affected groups on a refresh may be split.
    pub parallel_threshold: u64,
    /// Into how many parts at most.
    pub max_parallelism: u32,
    /// The workers that refresh it are those that serve this queue.
    pub queue: String,
    /// What people want to say about the table.
    pub comment: Option<String>,
    /// Whether the worker refreshes it on its own.
    pub scheduler: Scheduler,
    /// By which columns its rows are sorted within files, if by any.
    pub cluster_by: Option<ClusterBy>,
}

/// The queue of a table that names none.
pub const DEFAULT_QUEUE: &str = "default";

impl Default for Properties {
    fn default() -> Self {
        Self {
            target_lag: None,
            refresh_mode: RefreshMode::default(),
            initialize: Initialize::default(),
            deduplication: false,
            cardinality_threshold: 0.3,
            parallel_threshold: 10_000_000,
            max_parallelism: 16,
            queue: DEFAULT_QUEUE.to_owned(),
            comment: None,
            scheduler: Scheduler::default(),
            cluster_by: None,
        }
    }
}

impl Properties {
    /// Puts one property in force.
    pub fn set(&mut self, property: Property) {
        match property {
            Property::TargetLag(lag) => self.target_lag = Some(lag),
            Property::RefreshMode(mode) => self.refresh_mode = mode,
            Property::Initialize(initialize) => self.initialize = initialize,
            Property::Deduplication(deduplication) => self.deduplication = deduplication,
            Property::CardinalityThreshold(threshold) => self.cardinality_threshold = threshold,
            Property::ParallelThreshold(threshold) => self.parallel_threshold = threshold,
            Property::MaxParallelism(parallelism) => self.max_parallelism = parallelism,
            Property::Queue(queue) => self.queue = queue,
            Property::Comment(comment) => self.comment = Some(comment),
            Property::Scheduler(scheduler) => self.scheduler = scheduler,
            Property::ClusterBy(columns) => self.cluster_by = Some(columns),
        }
    }

    /// Puts one property back to its default.
    pub fn unset(&mut self, name: PropertyName) {
        let default = Self::default();
        match name {
            PropertyName::TargetLag => self.target_lag = default.target_lag,
            PropertyName::RefreshMode => self.refresh_mode = default.refresh_mode,
            PropertyName::Initialize => self.initialize = default.initialize,
            PropertyName::Deduplication => self.deduplication = default.deduplication,
            PropertyName::CardinalityThreshold => self.cardinality_threshold = default.cardinality_threshold,
            PropertyName::ParallelThreshold => self.parallel_threshold = default.parallel_threshold,
            PropertyName::MaxParallelism => self.max_parallelism = default.max_parallelism,
            PropertyName::Queue => self.queue = default.queue,
            PropertyName::Comment => self.comment = default.comment,
            PropertyName::Scheduler => self.scheduler = default.scheduler,
            PropertyName::ClusterBy => self.cluster_by = default.cluster_by,
        }
    }

    /// The value in force; none if there is no lag, no comment or no clustering.
    #[must_use]
    pub fn get(&self, name: PropertyName) -> Option<Property> {
        Some(match name {
            PropertyName::TargetLag => Property::TargetLag(self.target_lag?),
            PropertyName::RefreshMode => Property::RefreshMode(self.refresh_mode),
            PropertyName::Initialize => Property::Initialize(self.initialize),
            PropertyName::Deduplication => Property::Deduplication(self.deduplication),
            PropertyName::CardinalityThreshold => Property::CardinalityThreshold(self.cardinality_threshold),
            PropertyName::ParallelThreshold => Property::ParallelThreshold(self.parallel_threshold),
            PropertyName::MaxParallelism => Property::MaxParallelism(self.max_parallelism),
            PropertyName::Queue => Property::Queue(self.queue.clone()),
            PropertyName::Comment => Property::Comment(self.comment.clone()?),
            PropertyName::Scheduler => Property::Scheduler(self.scheduler),
            PropertyName::ClusterBy => Property::ClusterBy(self.cluster_by.clone()?),
        })
    }

    /// The properties that differ from their defaults, in the order they are usually written.
    #[must_use]
    pub fn not_default(&self) -> Vec<Property> {
        let default = Self::default();
        let differing = PropertyName::ALL.into_iter().filter(|name| self.get(*name) != default.get(*name));
        differing.filter_map(|name| self.get(name)).collect()
    }

    /// Whether they can be in force together. To be asked after `ALTER`, which changes them one by one.
    pub fn check(&self) -> Result<()> {
        if self.target_lag.is_none() && self.scheduler == Scheduler::Enable {
            return Err(Error::new(Code::Query, "TARGET_LAG is missing").with_hint(
                "Say how stale the table may be, such as TARGET_LAG = '5 minutes' or DOWNSTREAM, or set SCHEDULER = DISABLE \
                 to refresh it by hand only.",
            ));
        }
        Ok(())
    }
}

/// The name of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PropertyName {
    /// `TARGET_LAG`
    TargetLag,
    /// `REFRESH_MODE`
    RefreshMode,
    /// `INITIALIZE`
    Initialize,
    /// `DEDUPLICATION`
    Deduplication,
    /// `CARDINALITY_THRESHOLD`
    CardinalityThreshold,
    /// `PARALLEL_THRESHOLD`
    ParallelThreshold,
    /// `MAX_PARALLELISM`
    MaxParallelism,
    /// `SCHEDULER`
    Scheduler,
    /// `QUEUE`
    Queue,
    /// `COMMENT`
    Comment,
    /// `CLUSTER BY`
    ClusterBy,
}

impl PropertyName {
    /// All of them, in the order they are usually written.
    pub const ALL: [Self; 11] = [
        Self::TargetLag,
        Self::RefreshMode,
        Self::Initialize,
        Self::Deduplication,
        Self::CardinalityThreshold,
        Self::ParallelThreshold,
        Self::MaxParallelism,
        Self::Scheduler,
        Self::Queue,
        Self::Comment,
        Self::ClusterBy,
    ];

    /// The name as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TargetLag => "TARGET_LAG",
            Self::RefreshMode => "REFRESH_MODE",
            Self::Initialize => "INITIALIZE",
            Self::Deduplication => "DEDUPLICATION",
            Self::CardinalityThreshold => "CARDINALITY_THRESHOLD",
            Self::ParallelThreshold => "PARALLEL_THRESHOLD",
            Self::MaxParallelism => "MAX_PARALLELISM",
            Self::Scheduler => "SCHEDULER",
            Self::Queue => "QUEUE",
            Self::Comment => "COMMENT",
            Self::ClusterBy => "CLUSTER_BY",
        }
    }

    /// What may stand behind its `=`, for messages.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::TargetLag => "a lag such as '5 minutes', or DOWNSTREAM",
            Self::RefreshMode => "AUTO, INCREMENTAL or FULL",
            Self::Initialize => "ON_CREATE or ON_SCHEDULE",
            Self::Deduplication => "TRUE or FALSE",
            Self::CardinalityThreshold => "a number from 0 to 1",
            Self::ParallelThreshold => "a whole number",
            Self::MaxParallelism => "a whole number from 1",
            Self::Scheduler => "ENABLE or DISABLE",
            Self::Queue => "a name of letters, digits, _ and -",
            Self::Comment => "a text in single quotes",
            Self::ClusterBy => "a list of columns such as (a, b)",
        }
    }
}

impl fmt::Display for PropertyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PropertyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("REFRESH_STRATEGY") {
            return Ok(Self::RefreshMode);
        }
        if text.eq_ignore_ascii_case("CLUSTER BY") {
            return Ok(Self::ClusterBy);
        }
        let known = Self::ALL.into_iter().find(|name| name.as_str().eq_ignore_ascii_case(text));
        known.ok_or_else(|| {
            let hint = if text.eq_ignore_ascii_case("WAREHOUSE") {
                "There are no warehouses here. QUEUE = 'name' says which workers refresh the table.".to_owned()
            } else if let Some(nearest) = suggest::nearest(text, Self::ALL.into_iter().map(Self::as_str)) {
                format!("Did you mean {nearest}?")
            } else {
                format!("The properties are {}.", Self::ALL.map(Self::as_str).join(", "))
            };
            Error::new(Code::Query, format!("unknown property {text:?}")).with_hint(hint)
        })
    }
}

/// Whether a text can be the name of a queue: lists of queues are separated by commas.
#[must_use]
pub fn is_queue(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
}

/// One property with its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// `TARGET_LAG = '5 minutes'`
    TargetLag(TargetLag),
    /// `REFRESH_MODE = AUTO`
    RefreshMode(RefreshMode),
    /// `INITIALIZE = ON_CREATE`
    Initialize(Initialize),
    /// `DEDUPLICATION = FALSE`
    Deduplication(bool),
    /// `CARDINALITY_THRESHOLD = 0.3`
    CardinalityThreshold(f64),
    /// `PARALLEL_THRESHOLD = 10000000`
    ParallelThreshold(u64),
    /// `MAX_PARALLELISM = 16`
    MaxParallelism(u32),
    /// `QUEUE = 'default'`
    Queue(String),
    /// `COMMENT = '...'`
    Comment(String),
    /// `SCHEDULER = ENABLE`
    Scheduler(Scheduler),
    /// `CLUSTER BY (a, b)`
    ClusterBy(ClusterBy),
}

impl Property {
    /// The property of this name with the value that `value` (quotes removed) says.
    pub fn new(name: PropertyName, value: &str) -> Result<Self> {
        let word = value.trim().to_ascii_uppercase();
        let property = match name {
            PropertyName::TargetLag => return value.parse().map(Self::TargetLag),
            PropertyName::Comment => return Ok(Self::Comment(value.to_owned())),
            PropertyName::ClusterBy => return value.parse().map(Self::ClusterBy),
            PropertyName::Queue => is_queue(value.trim()).then(|| Self::Queue(value.trim().to_owned())),
            PropertyName::RefreshMode => match word.as_str() {
                "AUTO" | "AFFECTED_KEYS" => Some(Self::RefreshMode(RefreshMode::Auto)),
                "INCREMENTAL" => Some(Self::RefreshMode(RefreshMode::Incremental)),
                "FULL" => Some(Self::RefreshMode(RefreshMode::Full)),
                _ => None,
            },
            PropertyName::Initialize => match word.as_str() {
                "ON_CREATE" => Some(Self::Initialize(Initialize::OnCreate)),
                "ON_SCHEDULE" => Some(Self::Initialize(Initialize::OnSchedule)),
                _ => None,
            },
            PropertyName::Deduplication => match word.as_str() {
                "TRUE" | "ON" => Some(Self::Deduplication(true)),
                "FALSE" | "OFF" => Some(Self::Deduplication(false)),
                _ => None,
            },
            PropertyName::Scheduler => match word.as_str() {
                "ENABLE" => Some(Self::Scheduler(Scheduler::Enable)),
                "DISABLE" => Some(Self::Scheduler(Scheduler::Disable)),
                _ => None,
            },
            PropertyName::CardinalityThreshold => {
                let share = word.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
                share.map(Self::CardinalityThreshold)
            }
            PropertyName::ParallelThreshold => whole_number(&word).map(Self::ParallelThreshold),
            PropertyName::MaxParallelism => {
                let parts = whole_number(&word).and_then(|parts| u32::try_from(parts).ok());
                parts.filter(|parts| *parts > 0).map(Self::MaxParallelism)
            }
        };
        property.ok_or_else(|| {
            Error::new(Code::Query, format!("invalid {name} {value:?}"))
                .with_hint(format!("{name} is {}.", name.expected()))
        })
    }

    /// Reads `NAME=value` as it is given on a command line: the value may but need not be quoted.
    pub fn parse_assignment(text: &str) -> Result<Self> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Error::new(Code::Configuration, format!("{text:?} is not of the form PROPERTY=value"))
                .with_hint("Write for example TARGET_LAG='5 minutes'."));
        };
        let name: PropertyName = name.trim().parse()?;
        let value = value.trim();
        // Only a value that is one SQL string as a whole is unquoted; anything else is taken as it stands.
        let unquoted = match tokenize(value).as_deref() {
            Ok([only]) => match &only.kind {
                Kind::Text(unquoted) => Some(unquoted.clone()),
                _ => None,
            },
            _ => None,
        };
        Self::new(name, unquoted.as_deref().unwrap_or(value))
    }

    /// Which property it is.
    #[must_use]
    pub const fn name(&self) -> PropertyName {
        match self {
            Self::TargetLag(_) => PropertyName::TargetLag,
            Self::RefreshMode(_) => PropertyName::RefreshMode,
            Self::Initialize(_) => PropertyName::Initialize,
            Self::Deduplication(_) => PropertyName::Deduplication,
            Self::CardinalityThreshold(_) => PropertyName::CardinalityThreshold,
            Self::ParallelThreshold(_) => PropertyName::ParallelThreshold,
            Self::MaxParallelism(_) => PropertyName::MaxParallelism,
            Self::Queue(_) => PropertyName::Queue,
            Self::Comment(_) => PropertyName::Comment,
            Self::Scheduler(_) => PropertyName::Scheduler,
            Self::ClusterBy(_) => PropertyName::ClusterBy,
        }
    }

    /// The value as our statements take it: `'5 minutes'`, `AUTO`, `0.3`.
    #[must_use]
    pub fn value_sql(&self) -> String {
        match self {
            Self::TargetLag(TargetLag::Downstream) => "DOWNSTREAM".to_owned(),
            Self::TargetLag(lag) => quote_literal(&lag.to_string()),
            Self::RefreshMode(mode) => mode.to_string(),
            Self::Initialize(initialize) => initialize.to_string(),
            Self::Deduplication(on) => if *on { "TRUE" } else { "FALSE" }.to_owned(),
            Self::CardinalityThreshold(share) => share.to_string(),
            Self::ParallelThreshold(groups) => groups.to_string(),
            Self::MaxParallelism(parts) => parts.to_string(),
            Self::Comment(text) | Self::Queue(text) => quote_literal(text),
            Self::Scheduler(scheduler) => scheduler.to_string(),
            Self::ClusterBy(columns) => columns.to_string(),
        }
    }
}

impl fmt::Display for Property {
    /// `TARGET_LAG = '5 minutes'`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::ClusterBy(columns) = self {
            return write!(f, "CLUSTER BY {columns}");
        }
        write!(f, "{} = {}", self.name(), self.value_sql())
    }
}

fn whole_number(text: &str) -> Option<u64> {
    // `10_000_000` is a number in DuckDB; a sign or a lone underscore is not part of one.
    let digits_only = text.starts_with(|first: char| first.is_ascii_digit());
    digits_only.then(|| text.replace('_', "").parse().ok()).flatten()
}

impl fmt::Display for RefreshMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "AUTO",
            Self::Incremental => "INCREMENTAL",
            Self::Full => "FULL",
        })
    }
}

impl fmt::Display for Initialize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnCreate => "ON_CREATE",
            Self::OnSchedule => "ON_SCHEDULE",
        })
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enable => "ENABLE",
            Self::Disable => "DISABLE",
        })
    }
}

#[cfg(test)]
mod tests;
