//! The curves as a table and as a plot.

use std::fmt::Write as _;

use super::{Point, capacity};

/// The size of the plot area, in SVG units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 50.0;
const MOST_LOAD: f64 = 5.0;
/// The maximum of the vertical axis, in capacities.
const MOST: f64 = 1.2;

pub(super) fn table(with: &[Point], without: &[Point]) -> String {
    let mut text = String::from(
        "| load | with shedding: in time | refused | lost | p50 | p99 | without shedding: in time | lost |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (a, b) in with.iter().zip(without) {
        let part = |rate: f64| format!("{:.0}/s", rate);
        let share = |rate: f64| format!("{:.0} %", 100.0 * rate / capacity());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} × | {} ({}) | {} | {} | {} ms | {} ms | {} ({}) | {} |",
            a.load,
            part(a.good),
            share(a.good),
            part(a.refused),
            part(a.lost),
            a.p50.as_millis(),
            a.p99.as_millis(),
            part(b.good),
            share(b.good),
            part(b.lost),
        );
    }
    text
}

pub(super) fn plot(with: &[Point], without: &[Point]) -> String {
    let (x, y) = (|load: f64| MARGIN + load / MOST_LOAD * WIDTH, |share: f64| MARGIN + (1.0 - share / MOST) * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        WIDTH + 2.0 * MARGIN,
        HEIGHT + 2.0 * MARGIN
    );
    for tenth in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2] {
        let (at, left, right) = (y(tenth), x(0.0), x(MOST_LOAD));
        let _ = writeln!(svg, "<path d=\"M{left:.0} {at:.1}H{right:.0}\" stroke=\"#ddd\"/>");
        let _ =
            writeln!(svg, "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{tenth:.1}</text>", left - 6.0, at + 4.0);
    }
    for load in 0..=5 {
        let (at, low) = (x(f64::from(load)), y(0.0) + 18.0);
        let _ = writeln!(svg, "<text x=\"{at:.0}\" y=\"{low:.0}\" text-anchor=\"middle\">{load} ×</text>");
    }
    let middle = MARGIN + WIDTH / 2.0;
    let below = y(0.0) + 38.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.0}\" y=\"{below:.0}\" text-anchor=\"middle\">offered calls, in capacities</text>"
    );
    let _ = writeln!(svg, "<text x=\"{MARGIN:.0}\" y=\"24\">calls completed in time, in capacities</text>");
    for (points, colour, name, line) in
        [(with, "#0a7", "with shedding", 0.0), (without, "#c33", "without shedding", 18.0)]
    {
        let path: Vec<String> =
            points.iter().map(|p| format!("{:.1} {:.1}", x(p.load), y(p.good / capacity()))).collect();
        let _ =
            writeln!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>", path.join("L"));
        let (left, at) = (x(MOST_LOAD) - 120.0, 24.0 + line);
        let _ = writeln!(svg, "<text x=\"{left:.0}\" y=\"{at:.0}\" fill=\"{colour}\">{name}</text>");
    }
    svg.push_str("</svg>\n");
    svg
}
