//! `explain`: how a dynamic table is refreshed, and why so.

use ::refresh::{Analyzed, Cost, ExplainedNode, Explanation, Scanned, drawing};
use ::sql::names::ObjectName;
use error::Result;
use serde_json::json;

use crate::args::ExplainArgs;
use crate::commands::Context;
use crate::listing::{Listing, Record, object, optional};
use crate::printer::Format;

/// Explains the dynamic table.
pub fn run(context: &mut Context<'_>, args: &ExplainArgs) -> Result<()> {
    let name = ObjectName::parse(&args.name)?;
    let tables = context.open()?;
    if args.analyze {
        let analyzed = context.or_cancelled(tables.analyze(&name))?;
        match &analyzed {
            Some(analyzed) => print_analyzed(context, analyzed),
            None => context
                .printer
                .warning(&format!("{name} has nothing to refresh, and no refresh of it did anything yet")),
        }
        return Ok(());
    }
    let explanation = context.or_cancelled(tables.explain(&name))?;
    match context.printer.format() {
        Format::Dot => context.printer.text(drawing::dot(&explanation).trim_end()),
        Format::Svg => context.printer.text(drawing::svg(&explanation).trim_end()),
        _ => print(context, &explanation, args.sql),
    }
    Ok(())
}

/// Prints where the time of a refresh went: what it waited for the lake and the registry, and what is our own.
fn print_analyzed(context: &mut Context<'_>, analyzed: &Analyzed) {
    let mut steps = Listing::new(["step", "ms", "lake_ms", "registry_ms", "own_ms", "own_share"]);
    let total = analyzed.total();
    let named = analyzed.steps.iter().map(|step| (step.name.as_ref(), step.cost));
    for (name, cost) in named.chain([("total", total)]) {
        let mut row = vec![name.into()];
        row.extend([cost.took, cost.lake, cost.registry, cost.own()].map(|time| milliseconds(time).into()));
        row.push(share(cost, total).into());
        steps.row(row);
    }
    let mut scans = Listing::new(["table", "files_read", "files", "rows_read", "rows", "left_out_by"])
        .dispensable(["left_out_by"]);
    for Scanned { scan, files, rows } in &analyzed.scans {
        scans.row(vec![
            scan.table.as_str().into(),
            scan.files.into(),
            optional(*files, Into::into),
            scan.rows.into(),
            optional(*rows, Into::into),
            shortened(&scan.filters).into(),
        ]);
    }
    let mut record = Record::default();
    record.field("name", analyzed.name.to_string());
    record.field("action", optional(analyzed.action, |action| action.as_str().into()));
    record.field("reason", analyzed.reason.as_str());
    record.field("earlier", optional(analyzed.earlier, |at| at.to_string().into()));
    if context.printer.format() != Format::Table {
        record.field("statements", total.statements);
        record.field("steps", steps.to_value());
        record.field("scans", scans.to_value());
        context.printer.record(&record);
        return;
    }
    context.printer.record(&record);
    context.printer.say("");
    context.printer.listing_or(&steps, "no step was measured");
    if total.statements > 0 {
        context.printer.say(&format!(
            "\n{} statements to the lake; own_ms is what neither lake nor registry took.",
            total.statements
        ));
    }
    if !analyzed.scans.is_empty() {
        context.printer.say("");
        context.printer.listing_or(&scans, "nothing was read");
    }
}

/// As much of a condition as tells what it is about.
fn shortened(filters: &str) -> String {
    const MOST: usize = 80;
    match filters.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &filters[..end]),
        None => filters.to_owned(),
    }
}

fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}

/// What of the whole refresh is our own in a step, in percent.
fn share(cost: Cost, total: Cost) -> String {
    let whole = total.took.as_secs_f64();
    let part = if whole > 0.0 { cost.own().as_secs_f64() / whole } else { 0.0 };
    format!("{:.1} %", part * 100.0)
}

/// Prints the explanation; the SQL that a refresh runs only if asked for, since it is long.
pub fn print(context: &mut Context<'_>, explanation: &Explanation, with_sql: bool) {
    let mut sources = Listing::new(["source", "kind", "columns", "rows", "changed", "read_by"]);
    for source in &explanation.sources {
        sources.row(vec![
            source.name.to_string().into(),
            source.kind.as_str().into(),
            source.columns.clone().into(),
            source.rows.into(),
            optional(source.changed, Into::into),
            source.window.as_str().into(),
        ]);
    }
    let tree: Vec<String> = explanation.tree.iter().map(line).collect();
    let mut record = Record::default();
    record.field("name", explanation.name.to_string());
    record.field("refresh_mode", explanation.mode.as_str());
    record.field("reason", optional(explanation.reason.as_deref(), Into::into));
    if context.printer.format() != Format::Table {
        let nodes: Vec<serde_json::Value> = explanation
            .tree
            .iter()
            .map(|node| {
                json!({
                    "depth": node.depth, "operator": node.operator, "rule": node.rule, "reason": node.reason,
                    "line": node.line, "column": node.column,
                })
            })
            .collect();
        let choice = explanation.choice.as_ref().map(
            |choice| json!({ "action": choice.action, "reason": choice.reason, "figures": object(&choice.figures) }),
        );
        record.field("tree", nodes);
        let rewrites: Vec<serde_json::Value> = explanation
            .rewrites
            .iter()
            .map(|rewrite| json!({ "change": rewrite.change, "effect": rewrite.effect, "query": rewrite.sql }))
            .collect();
        record.field("rewrites", rewrites);
        record.field("sources", sources.to_value());
        record.field("choice", serde_json::Value::from(choice));
        record.field("statements", explanation.statements.clone());
        record.field("query", explanation.query.as_str());
        context.printer.record(&record);
        return;
    }
    context.printer.record(&record);
    context.printer.say(&format!("\n{}\n", tree.join("\n")));
    context.printer.listing_or(&sources, "it reads nothing");
    for rewrite in &explanation.rewrites {
        let gain = if explanation.reason.is_some() { "incremental" } else { "cheaper to keep up to date" };
        let effect = rewrite.effect.as_deref().unwrap_or("it stays the same");
        context
            .printer
            .say(&format!("\n{gain} if written {}; the result: {effect}\n  {}", rewrite.change, rewrite.sql));
    }
    if let Some(choice) = &explanation.choice {
        context.printer.say(&format!("\nnext refresh: {}: {}", choice.action, choice.reason));
        for (figure, value) in choice.figures.iter().filter(|(_, value)| value != "null") {
            context.printer.say(&format!("  {figure}: {value}"));
        }
    }
    if with_sql {
        for sql in &explanation.statements {
            context.printer.say(&format!("\n{sql};"));
        }
    } else if !explanation.statements.is_empty() {
        context
            .printer
            .say(&format!("\n`dynamic-tables explain {} --sql` shows the SQL of a refresh.", explanation.name));
    }
}

/// One operator with how it is kept up to date, or why not.
fn line(node: &ExplainedNode) -> String {
    let mut text = format!("{}{}", "  ".repeat(node.depth), node.operator);
    if let Some(rule) = &node.rule {
        text.push_str(&format!("  [{rule}]"));
    }
    if let Some(reason) = &node.reason {
        text.push_str(&format!("  not incremental: {reason}"));
        if node.line > 0 {
            text.push_str(&format!(" (line {}, column {})", node.line, node.column));
        }
    }
    text
}
