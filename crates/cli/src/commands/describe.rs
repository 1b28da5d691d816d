//! `describe`: one dynamic table with everything that was said about it.

use ::refresh::Description;
use ::sql::names::ObjectName;
use error::Result;

use crate::args::DescribeArgs;
use crate::commands::Context;
use crate::commands::status::fields;
use crate::listing::{Listing, Record};
use crate::printer::Format;

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
        let properties: Vec<String> =
            description.properties.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        record.field("properties", properties.join("\n"));
        record.field("read by", readers);
        context.printer.record(&record);
        context.printer.say("");
        context.printer.listing(&columns);
        context.printer.say("");
        context.printer.listing(&sources);
        context.printer.say(&format!("\n{}", description.statement));
    } else {
        record.field("properties", crate::listing::object(&description.properties));
        record.field("columns", columns.to_value());
        record.field("sources", sources.to_value());
        record.field("readers", readers);
        record.field("query", description.query.as_str());
        record.field("statement", description.statement.as_str());
        context.printer.record(&record);
    }
}
