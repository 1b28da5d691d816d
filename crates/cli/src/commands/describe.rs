//! `describe`: one dynamic table with everything that was said about it.

use ::refresh::Description;
use ::sql::names::ObjectName;
use error::Result;
use serde_json::Value;

use crate::args::DescribeArgs;
use crate::commands::Context;
use crate::commands::status::fields;
use crate::listing::{Listing, Record};
use crate::printer::Format;

/// What stands for the value of a property that has none. Texts are in quotes, so it is no value.
const UNSET: &str = "-";

/// Describes the dynamic table.
pub fn run(context: &mut Context<'_>, args: &DescribeArgs) -> Result<()> {
    let name = ObjectName::parse(&args.name)?;
    let tables = context.open()?;
    let description = tables.describe(&name)?;
    print(context, &description);
    Ok(())
}

/// Prints the description.
pub fn print(context: &mut Context<'_>, description: &Description) {
    let mut columns = Listing::new(["column", "type"]);
    for (name, data_type) in &description.columns {
        columns.row(vec![name.as_str().into(), data_type.as_str().into()]);
    }
    let mut sources = Listing::new(["source", "kind"]);
    for (name, kind) in &description.sources {
        sources.row(vec![name.to_string().into(), kind.to_string().into()]);
    }
    let readers: Vec<String> = description.readers.iter().map(ToString::to_string).collect();
    let mut record = Record::default();
    for (name, cell) in fields(&description.status) {
        record.field(name, cell);
    }
    if context.printer.format() == Format::Table {
        let set = description.properties.iter().filter(|(_, value)| value != UNSET);
        let properties: Vec<String> = set.map(|(name, value)| format!("{name} = {value}")).collect();
        record.field("properties", properties.join("\n"));
        record.field("read by", readers);
        context.printer.record(&record);
        context.printer.say("");
        context.printer.listing(&columns);
        context.printer.say("");
        context.printer.listing(&sources);
        context.printer.say(&format!("\n{}", description.statement));
    } else {
        let properties: serde_json::Map<String, Value> = description
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), if value == UNSET { Value::Null } else { value.as_str().into() }))
            .collect();
        record.field("properties", Value::from(properties));
        record.field("columns", columns.to_value());
        record.field("sources", sources.to_value());
        record.field("readers", readers);
        record.field("query", description.query.as_str());
        record.field("statement", description.statement.as_str());
        context.printer.record(&record);
    }
}
