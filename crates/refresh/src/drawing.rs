//! The operators of an explained query as a picture: text for Graphviz, or an SVG that is laid out here. Knows nothing of
//! lakes; a tree is what it gets, parents first.

use std::fmt::Write as _;

use crate::Explanation;

/// Pixels: a character, a line, the space within a box, and the space between boxes.
const CHARACTER: f64 = 7.3;
const LINE: f64 = 17.0;
const PADDING: f64 = 10.0;
const GAP: (f64, f64) = (22.0, 40.0);
/// Characters of a line; longer ones are broken.
const WIDEST: usize = 44;

/// The classes of boxes: kept up to date by a rule, computed in full, or neither said.
const STYLE: &str = "text{font:12px ui-monospace,monospace;fill:#1b1f24}.o{font-weight:bold}\
    rect{fill:#eef2f6;stroke:#8b98a5}.rule rect{fill:#e3f4e6;stroke:#3f8f55}.full rect{fill:#fdeccf;stroke:#b8791f}\
    path{fill:none;stroke:#8b98a5}@media(prefers-color-scheme:dark){text{fill:#e6e9ec}rect{fill:#262c33;stroke:#75828f}\
    .rule rect{fill:#173822;stroke:#57b06f}.full rect{fill:#43310f;stroke:#d79a3d}}";

struct Shape {
    class: &'static str,
    lines: Vec<String>,
    parent: Option<usize>,
    depth: usize,
}

/// The operators as a graph in Graphviz' language, with the rule or the reason below each.
#[must_use]
pub fn dot(explanation: &Explanation) -> String {
    let mut text = String::from("digraph {\n  node [shape=box, style=filled, fontname=\"monospace\"]\n");
    let escape = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"");
    let mut edges = String::new();
    for (number, shape) in shapes(explanation).iter().enumerate() {
        let label: Vec<String> = shape.lines.iter().map(escape).collect();
        let color = match shape.class {
            "rule" => "#e3f4e6",
            "full" => "#fdeccf",
            _ => "#eef2f6",
        };
        // Writing to a text does not fail.
        let _ = writeln!(text, "  n{number} [label=\"{}\", fillcolor=\"{color}\"]", label.join("\\n"));
        if let Some(parent) = shape.parent {
            let _ = writeln!(edges, "  n{parent} -> n{number}");
        }
    }
    text + &edges + "}\n"
}

/// The operators as a picture that needs nothing else.
#[must_use]
pub fn svg(explanation: &Explanation) -> String {
    let shapes = shapes(explanation);
    let boxes = layout(&shapes);
    let right = boxes.iter().map(|place| place.x + place.width).fold(0.0, f64::max) + PADDING;
    let bottom = boxes.iter().map(|place| place.y + place.height).fold(0.0, f64::max) + PADDING;
    let name = escape(&explanation.name.to_string());
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right:.0} {bottom:.0}\" width=\"{right:.0}\" \
         height=\"{bottom:.0}\" role=\"img\"><title>How {name} is refreshed</title><style>{STYLE}</style>\n"
    );
    for (shape, place) in shapes.iter().zip(&boxes) {
        if let Some(above) = shape.parent.and_then(|parent| boxes.get(parent)) {
            let (from, to) = ((above.center(), above.y + above.height), (place.center(), place.y));
            let half = (from.1 + to.1) / 2.0;
            let _ = writeln!(
                text,
                "<path d=\"M{:.1} {:.1}C{:.1} {half:.1} {:.1} {half:.1} {:.1} {:.1}\"/>",
                from.0, from.1, from.0, to.0, to.0, to.1
            );
        }
    }
    for (shape, place) in shapes.iter().zip(&boxes) {
        let Place { x, y, width, height } = place;
        let _ = write!(
            text,
            "<g class=\"{}\"><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"5\"/>",
            shape.class
        );
        let mut line_y = y + PADDING + LINE * 0.7;
        for (number, line) in shape.lines.iter().enumerate() {
            let class = if number == 0 { " class=\"o\"" } else { "" };
            let _ = write!(text, "<text{class} x=\"{:.1}\" y=\"{line_y:.1}\">{}</text>", x + PADDING, escape(line));
            line_y += LINE;
        }
        text.push_str("</g>\n");
    }
    text + "</svg>\n"
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Place {
    fn center(&self) -> f64 {
        self.x + self.width / 2.0
    }
}

fn shapes(explanation: &Explanation) -> Vec<Shape> {
    // The last operator of each depth above is the parent of what comes.
    let mut above: Vec<usize> = Vec::new();
    let mut shapes = Vec::new();
    for (number, node) in explanation.tree.iter().enumerate() {
        above.truncate(node.depth);
        let parent = above.last().copied();
        above.push(number);
        let mut lines = broken(&node.operator);
        for further in [&node.rule, &node.reason].into_iter().flatten() {
            lines.extend(broken(further));
        }
        let class = match (&node.rule, &node.reason) {
            (Some(_), _) => "rule",
            (None, Some(_)) => "full",
            (None, None) => "plain",
        };
        let depth = parent.map_or(0, |parent: usize| shapes.get(parent).map_or(0, |shape: &Shape| shape.depth + 1));
        shapes.push(Shape { class, lines, parent, depth });
    }
    shapes
}

/// The text in lines that are not too long, broken between words.
fn broken(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits = lines
            .last()
            .is_some_and(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= WIDEST);
        match lines.last_mut() {
            Some(line) if fits => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Each depth is a row; what is below a box stands below its middle, and no two boxes of a row touch.
fn layout(shapes: &[Shape]) -> Vec<Place> {
    #[expect(clippy::cast_precision_loss, reason = "a few characters and lines")]
    let sizes = shapes.iter().map(|shape| {
        let widest = shape.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let (width, height) = (widest as f64 * CHARACTER, shape.lines.len() as f64 * LINE);
        Place { x: 0.0, y: 0.0, width: width + 2.0 * PADDING, height: height + 2.0 * PADDING }
    });
    let mut places: Vec<Place> = sizes.collect();
    let rows = shapes.iter().map(|shape| shape.depth + 1).max().unwrap_or(0);
    let mut heights = vec![0.0f64; rows];
    for (shape, place) in shapes.iter().zip(&places) {
        heights[shape.depth] = heights[shape.depth].max(place.height);
    }
    // The children come after their parents: from the end, every subtree is complete before its root.
    let mut below = vec![Vec::new(); shapes.len()];
    for (number, shape) in shapes.iter().enumerate() {
        if let Some(parent) = shape.parent {
            below[parent].push(number);
        }
    }
    let mut left = PADDING;
    for (root, shape) in shapes.iter().enumerate() {
        if shape.parent.is_none() {
            left += place(root, left, &below, &mut places) + GAP.0;
        }
    }
    for (shape, place) in shapes.iter().zip(&mut places) {
        place.y = PADDING + heights[..shape.depth].iter().map(|height| height + GAP.1).sum::<f64>();
    }
    places
}

/// Puts a subtree to the right of `left`; its width.
fn place(root: usize, left: f64, below: &[Vec<usize>], places: &mut [Place]) -> f64 {
    let mut right = left;
    for (number, child) in below[root].iter().enumerate() {
        right += if number == 0 { 0.0 } else { GAP.0 };
        right += place(*child, right, below, places);
    }
    let (children, own) = (right - left, places[root].width);
    if own > children {
        // Those below go to the middle of what is wider than they are.
        let shift = (own - children) / 2.0;
        for child in &below[root] {
            shifted(*child, shift, below, places);
        }
    }
    places[root].x = left + (children.max(own) - own) / 2.0;
    children.max(own)
}

fn shifted(root: usize, by: f64, below: &[Vec<usize>], places: &mut [Place]) {
    places[root].x += by;
    for child in &below[root] {
        shifted(*child, by, below, places);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use sql::names::TableName;

    use super::*;
    use crate::ExplainedNode;

    fn explained(nodes: &[(usize, &str, Option<&str>, Option<&str>)]) -> Explanation {
        let node = |(depth, operator, rule, reason): &(usize, &str, Option<&str>, Option<&str>)| ExplainedNode {
            depth: *depth,
            operator: (*operator).to_owned(),
            rule: rule.map(ToOwned::to_owned),
            reason: reason.map(ToOwned::to_owned),
            line: 0,
            column: 0,
        };
        Explanation {
            name: TableName { schema: "main".to_owned(), name: "a<b".to_owned() },
            query: String::new(),
            mode: "INCREMENTAL".to_owned(),
            reason: None,
            tree: nodes.iter().map(node).collect(),
            rewrites: Vec::new(),
            sources: Vec::new(),
            choice: None,
            statements: Vec::new(),
        }
    }

    #[test]
    fn a_tree_is_drawn_with_its_edges_and_nothing_overlaps() {
        let long = "a reason that is much longer than one line of a box may be, and is broken";
        let explanation = explained(&[
            (0, "SELECT \"x\" & <y>", Some("fold"), None),
            (1, "JOIN", Some("by key"), None),
            (2, "a", None, None),
            (2, "b", None, Some(long)),
            (1, "SUBQUERY", None, None),
            (2, "c", None, None),
        ]);
        let dot = dot(&explanation);
        assert_eq!(dot.matches("->").count(), 5);
        assert!(dot.contains("n1 -> n3") && dot.contains("n4 -> n5") && dot.contains("SELECT \\\"x\\\""), "{dot}");
        let svg = svg(&explanation);
        assert_eq!((svg.matches("<rect").count(), svg.matches("<path").count()), (6, 5));
        assert!(
            svg.contains("SELECT &quot;x&quot; &amp; &lt;y&gt;") && svg.contains("main.&quot;a&lt;b&quot;"),
            "{svg}"
        );
        let shapes = shapes(&explanation);
        let places = layout(&shapes);
        for (number, one) in places.iter().enumerate() {
            assert!(one.x >= PADDING && one.y >= PADDING);
            for other in &places[number + 1..] {
                let apart = one.x + one.width < other.x
                    || other.x + other.width < one.x
                    || one.y + one.height < other.y
                    || other.y + other.height < one.y;
                assert!(apart, "{one:?} {other:?}");
            }
        }
    }
}
