//! `graph`: which dynamic tables read what, as a tree for a person, as nodes and edges for a program.

use ::refresh::{Graph, GraphNode};
use ::sql::names::{ObjectName, TableName};
use error::Result;
use registry::{GraphInput, GraphPeriod};
use serde_json::{Map, Value, json};

use crate::args::GraphArgs;
use crate::commands::Context;
use crate::commands::status::fields;
use crate::listing::{Cell, Listing, moment, optional};
use crate::printer::Format;

/// Shows the graph.
pub fn run(context: &mut Context<'_>, args: &GraphArgs) -> Result<()> {
    let name = args.name.as_deref().map(ObjectName::parse).transpose()?;
    let tables = context.open()?;
    if args.history {
        let periods = tables.graph_history(name.as_ref(), args.limit)?;
        let listing = past(&periods, context.printer.format() != Format::Table);
        context.printer.listing_or(&listing, "there was no dynamic table yet");
        return Ok(());
    }
    let graph = tables.graph(name.as_ref())?;
    match context.printer.format() {
        Format::Table => context.printer.listing_or(&tree(&graph), "there is no dynamic table"),
        Format::Json => context.printer.text(&to_json(&graph)),
        Format::Csv => context.printer.listing(&edges(&graph)),
        Format::Dot | Format::Svg => context.printer.text(&to_dot(&graph)),
    }
    Ok(())
}

/// What dynamic tables were when; the query only for a program.
fn past(periods: &[GraphPeriod], wide: bool) -> Listing {
    let columns =
        ["valid_from", "valid_to", "name", "alter_trigger", "scheduling_state", "target_lag", "refresh_mode"];
    let mut listing = Listing::new(columns.into_iter().chain(["inputs"]).chain(wide.then_some("query")))
        .dispensable(["refresh_mode", "target_lag"]);
    for period in periods {
        let node = &period.node;
        let words = |words: Vec<String>| if wide { words.into() } else { Cell::from(words.join(", ")) };
        let input = |input: &GraphInput| TableName::new(&input.schema, &input.name).to_string();
        let mut row = vec![
            moment(Some(period.valid_from)),
            moment(period.valid_to),
            node.name.to_string().into(),
            words(period.alter_trigger.iter().map(ToString::to_string).collect()),
            node.scheduling_state.as_str().into(),
            optional(node.target_lag.as_deref(), Into::into),
            node.refresh_mode.as_str().into(),
            words(node.inputs.iter().map(input).collect()),
        ];
        row.extend(wide.then(|| node.query.as_str().into()));
        listing.row(row);
    }
    listing
}

/// What is said of a dynamic table in the tree.
const SHOWN: [&str; 5] = ["scheduling_state", "current_lag", "target_lag", "refresh_mode", "last_refresh_status"];

/// Under each table those that read it. What is below one that reads several stands where it is named first.
fn tree(graph: &Graph) -> Listing {
    let mut listing = Listing::new(["table", "kind"].into_iter().chain(SHOWN)).dispensable(["kind", "refresh_mode"]);
    let mut named = vec![false; graph.nodes.len()];
    let is_read = |node: usize| graph.edges.iter().any(|(_, reader)| *reader == node);
    // Each with what stands before it, and before what is below it.
    let mut waiting: Vec<(usize, String, String)> = (0..graph.nodes.len())
        .rev()
        .filter(|node| !is_read(*node))
        .map(|node| (node, String::new(), String::new()))
        .collect();
    while let Some((at, before, below)) = waiting.pop() {
        let node = &graph.nodes[at];
        let known = std::mem::replace(&mut named[at], true);
        let note = if known { " (see above)" } else { "" };
        let mut row = vec![format!("{before}{}{note}", node.name).into(), kind(node).into()];
        row.extend(SHOWN.map(|name| if known { Cell::none() } else { state(node, name) }));
        listing.row(row);
        if known {
            continue;
        }
        let readers: Vec<usize> =
            graph.edges.iter().filter(|(source, _)| *source == at).map(|(_, reader)| *reader).collect();
        for (index, reader) in readers.iter().enumerate().rev() {
            let (branch, trunk) = if index + 1 == readers.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            waiting.push((*reader, format!("{below}{branch}"), format!("{below}{trunk}")));
        }
    }
    listing
}

fn kind(node: &GraphNode) -> &'static str {
    node.kind.as_str()
}

/// A field of a dynamic table's state; nothing of another table.
fn state(node: &GraphNode, name: &str) -> Cell {
    let found = node.status.as_ref().and_then(|status| fields(status).into_iter().find(|(field, _)| *field == name));
    found.map_or_else(Cell::none, |(_, cell)| cell)
}

fn to_json(graph: &Graph) -> String {
    let nodes: Vec<Value> = graph
        .nodes
        .iter()
        .map(|node| {
            let mut object = Map::new();
            object.insert("name".to_owned(), node.name.to_string().into());
            object.insert("kind".to_owned(), kind(node).into());
            object.extend(SHOWN.map(|name| (name.to_owned(), state(node, name).value().clone())));
            object.into()
        })
        .collect();
    let name = |node: usize| graph.nodes[node].name.to_string();
    let edges: Vec<Value> =
        graph.edges.iter().map(|(source, reader)| json!({ "from": name(*source), "to": name(*reader) })).collect();
    serde_json::to_string_pretty(&json!({ "nodes": nodes, "edges": edges })).unwrap_or_default()
}

/// One line for each edge.
fn edges(graph: &Graph) -> Listing {
    let mut listing = Listing::new(["source", "source_kind", "dynamic_table"].into_iter().chain(SHOWN));
    for (source, reader) in &graph.edges {
        let (source, reader) = (&graph.nodes[*source], &graph.nodes[*reader]);
        let mut row = vec![source.name.to_string().into(), kind(source).into(), reader.name.to_string().into()];
        row.extend(SHOWN.map(|name| state(reader, name)));
        listing.row(row);
    }
    listing
}

/// For Graphviz: boxes are tables and views, rounded ones dynamic tables; what does not run is grey, what failed red.
fn to_dot(graph: &Graph) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut lines = vec!["digraph dynamic_tables {".to_owned(), "  rankdir=LR;".to_owned()];
    lines.push("  node [shape=box, fontname=\"sans-serif\"];".to_owned());
    for node in &graph.nodes {
        let name = node.name.to_string();
        let Some(status) = &node.status else {
            lines.push(format!("  {};", quoted(&name)));
            continue;
        };
        let lag = state(node, "current_lag").text();
        let said = format!("lag {} of {}", if lag.is_empty() { "-" } else { &lag }, status.target_lag);
        let color = match (status.scheduling_state.as_str(), &status.last_error) {
            (_, Some(_)) => ", color=red",
            ("RUNNING", None) => "",
            _ => ", color=grey",
        };
        let label = quoted(&format!("{name}\n{}\n{said}", status.scheduling_state)).replace('\n', "\\n");
        lines.push(format!("  {} [style=rounded, label={label}{color}];", quoted(&name)));
    }
    for (source, reader) in &graph.edges {
        let name = |node: usize| quoted(&graph.nodes[node].name.to_string());
        lines.push(format!("  {} -> {};", name(*source), name(*reader)));
    }
    lines.push("}".to_owned());
    lines.join("\n")
}
