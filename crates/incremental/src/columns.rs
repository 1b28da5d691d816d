//! Which columns of its sources a query can possibly look at.
//!
//! The answer may be too wide and is never too narrow: a column counts as used when its name stands anywhere in
//! the query, whatever it is qualified with. So no binding of names is needed, and a change of any other column
//! is no change for the query at all.

use std::collections::HashSet;

use serde_json::Value;
use sql::tree;

use crate::resolve::{ResolvedSource, source_of};

/// For each source, the positions of its used columns, in order.
pub fn used_columns(node: &Value, sources: &[ResolvedSource]) -> Vec<Vec<usize>> {
    let mut usage = Usage { mentioned: HashSet::new(), whole: HashSet::new(), everything: false };
    usage.look(node);
    sources
        .iter()
        .enumerate()
        .map(|(number, source)| {
            let whole = usage.everything || usage.whole.contains(&number);
            let used =
                |position: &usize| whole || usage.mentioned.contains(&source.columns[*position].name.to_lowercase());
            (0..source.columns.len()).filter(used).collect()
        })
        .collect()
}

struct Usage {
    /// Every name that stands in a column reference, a USING list or a star's lists.
    mentioned: HashSet<String>,
    /// Sources of which every column is used.
    whole: HashSet<usize>,
    everything: bool,
}

impl Usage {
    fn look(&mut self, node: &Value) {
        let mut aliases: Vec<(String, usize)> = Vec::new();
        tree::visit(node, &mut |child| {
            if let Some(source) = source_of(child) {
                aliases.push((tree::text(child, "alias").to_lowercase(), source));
                if !tree::list(child, "column_name_alias").is_empty() {
                    self.whole.insert(source);
                }
            }
        });
        tree::visit(node, &mut |child| {
            if let Some(parts) = tree::column_reference(child) {
                self.mentioned.extend(parts.iter().map(|part| part.to_lowercase()));
                if let [name] = parts.as_slice() {
                    // The name of a table in place of a column is its whole row.
                    self.whole_by_alias(name, &aliases);
                }
            } else if tree::is(child, "POSITIONAL_REFERENCE") {
                self.everything = true;
            } else if tree::is(child, "JOIN") {
                let using = tree::list(child, "using_columns").iter().filter_map(Value::as_str);
                self.mentioned.extend(using.map(str::to_lowercase));
                if tree::text(child, "ref_type") == "NATURAL" {
                    self.direct_sources(child);
                }
            } else if tree::is(child, "PIVOT") {
                // What is not turned is grouped by, or passed on.
                self.direct_sources(&child["source"]);
            } else if tree::is(child, "SELECT_NODE") {
                self.stars(child, &aliases);
            }
        });
    }

    /// Stars in the select list stand for columns of the tables directly in FROM; a star that is deeper in an
    /// expression (`COLUMNS(*)`, `struct.*`) is taken for all of them.
    fn stars(&mut self, select: &Value, aliases: &[(String, usize)]) {
        let mut all = false;
        let fields = select.as_object().into_iter().flatten();
        for (_, field) in fields.filter(|(name, _)| !matches!(name.as_str(), "from_table" | "cte_map")) {
            tree::visit(field, &mut |child| {
                if tree::is(child, "STAR") {
                    match tree::text(child, "relation_name") {
                        "" => all = true,
                        relation => {
                            self.mentioned.insert(relation.to_lowercase());
                            self.whole_by_alias(relation, aliases);
                        }
                    }
                }
            });
        }
        if all {
            self.direct_sources(&select["from_table"]);
        }
    }

    fn whole_by_alias(&mut self, name: &str, aliases: &[(String, usize)]) {
        let name = name.to_lowercase();
        self.whole.extend(aliases.iter().filter(|(alias, _)| *alias == name).map(|(_, source)| *source));
    }

    fn direct_sources(&mut self, from: &Value) {
        if let Some(source) = source_of(from) {
            self.whole.insert(source);
        } else if tree::is(from, "JOIN") {
            self.direct_sources(&from["left"]);
            self.direct_sources(&from["right"]);
        }
    }
}
