//! The plot: for each case a row of bars, one for each peer, on a logarithmic axis of nanoseconds per element.

use crate::rule::Rule;
use std::fmt::Write;

const COLOURS: [&str; 9] =
    ["#d1495b", "#2e4057", "#66a182", "#8fc0a9", "#b5d6c6", "#edae49", "#8d6cab", "#b79fcb", "#c8c8c8"];

/// An SVG of rows: rule, elements, threads, and a time for each peer.
pub fn svg(peers: &[&str], rows: &[(Rule, usize, usize, Vec<Result<f64, String>>)]) -> String {
    let bar = 7.0;
    let times = || rows.iter().flat_map(|(.., cells)| cells).filter_map(|cell| cell.as_ref().ok());
    let low = times().copied().fold(f64::INFINITY, f64::min).max(1e-3).log10().floor();
    let high = times().copied().fold(0.0, f64::max).max(1e-2).log10().ceil();
    let (left, width, top) = (190.0, 620.0, 50.0);
    let x = |ns: f64| left + width * (ns.log10() - low) / (high - low);
    let group = |cells: &[Result<f64, String>]| bar * cells.iter().filter(|cell| cell.is_ok()).count() as f64 + 10.0;
    let height = top + rows.iter().map(|(.., cells)| group(cells)).sum::<f64>() + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        left + width + 30.0
    );
    let mut at = 12.0;
    for (name, colour) in peers.iter().zip(COLOURS) {
        let _ = writeln!(out, "<rect x=\"{at}\" y=\"12\" width=\"10\" height=\"10\" fill=\"{colour}\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"21\">{name}</text>", at + 14.0);
        at += 34.0 + 6.2 * name.len() as f64;
    }
    let mut decade = low;
    while decade <= high {
        let (x, ns) = (x(10f64.powf(decade)), 10f64.powf(decade));
        let bottom = height - 30.0;
        let _ = writeln!(out, "<line x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#ddd\"/>");
        let _ = writeln!(out, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{ns} ns</text>", bottom + 15.0);
        decade += 1.0;
    }
    let mut y = top;
    for (rule, elements, threads, cells) in rows {
        let label = format!("{}, {elements}, {threads} thread{}", rule.name(), if *threads == 1 { "" } else { "s" });
        let middle = y + group(cells) / 2.0;
        let _ = writeln!(out, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{label}</text>", left - 8.0);
        for (cell, colour) in cells.iter().zip(COLOURS) {
            let Ok(ns) = cell else { continue };
            let (width, height) = ((x(*ns) - left).max(1.0), bar - 1.0);
            let _ = writeln!(
                out,
                "<rect x=\"{left}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>"
            );
            y += bar;
        }
        y += 10.0;
    }
    out + "</svg>\n"
}
