//! All peers, on arrays with the same values, in turn: a table and a plot. The README says how to run it.

use std::cell::RefCell;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use updraft_peers::peer::{self, Case, Peer, Pythons, Remote};
use updraft_peers::rule::Rule;
use updraft_peers::{crates, median, plot, values};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// In the order of the columns.
const PEERS: [&str; 9] =
    ["updraft", "hand AVX2", "torch-fused", "torch-foreach", "torch-compile", "optax-jit", "candle", "burn", "floor"];

struct Options {
    python: Option<PathBuf>,
    rules: Vec<Rule>,
    sizes: Vec<(usize, usize)>,
    rounds: usize,
    without: Vec<String>,
    out: PathBuf,
}

/// What a peer came to in a case: nanoseconds per element, or why there is none.
type Cell = std::result::Result<f64, String>;

fn main() -> Result<()> {
    let options = options()?;
    let pythons = Rc::new(RefCell::new(Pythons::new(options.python.as_deref().unwrap_or(Path::new("")))));
    let folder = std::env::temp_dir().join(format!("updraft-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut rows: Vec<(Rule, usize, usize, Vec<Cell>)> = Vec::new();
    for &(elements, threads) in &options.sizes {
        for &rule in &options.rules {
            let files = (folder.join("params"), folder.join("grads"));
            let (params, grads) = (values(elements, 2, 0.05), values(elements, 1, 0.01));
            write(&files.0, &params)?;
            write(&files.1, &grads)?;
            let case = Case { rule, elements, threads, params, grads, files };
            let cells = measure(&case, &options, &pythons)?;
            eprintln!("{}", row(&(rule, elements, threads, cells.clone()), " "));
            rows.push((rule, elements, threads, cells));
            pythons.borrow_mut().drop_peers()?;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    let text = table(&rows, &pythons.borrow().versions);
    std::fs::create_dir_all(&options.out)?;
    std::fs::write(options.out.join("peers.md"), &text)?;
    std::fs::write(options.out.join("peers.svg"), plot::svg(&PEERS, &rows))?;
    println!("{text}");
    Ok(())
}

fn measure(case: &Case, options: &Options, pythons: &Rc<RefCell<Pythons>>) -> Result<Vec<Cell>> {
    let mut peers: Vec<std::result::Result<Box<dyn Peer>, String>> = Vec::new();
    for name in PEERS {
        let made = match name {
            _ if options.without.iter().any(|without| without == name) => Err("left out".into()),
            "updraft" => peer::updraft(case),
            "hand AVX2" => peer::hand(case),
            "floor" => peer::floor(case),
            "candle" => crates::candle(case),
            "burn" => crates::burn(case),
            name if options.python.is_some() => Remote::new(pythons, name, case),
            _ => Err("no --python was given".into()),
        };
        peers.push(made.map_err(|error| error.to_string()));
    }
    // Everybody takes the same two steps more, and has to come to the same.
    let mut expected: Option<Vec<f32>> = None;
    for (name, slot) in PEERS.iter().zip(&mut peers) {
        let Ok(peer) = slot else { continue };
        peer.run(2)?;
        let found = peer.values()?;
        let expected = expected.get_or_insert_with(|| found.clone());
        let off = expected.iter().zip(&found).any(|(a, b)| (a - b).abs() > 2e-5);
        if off && !found.is_empty() {
            eprintln!("{} {name}: {found:?}, not {expected:?}", case.rule.name());
            *slot = Err("comes to other parameters".to_string());
        }
    }
    // Long enough for a clock, short enough that all see the same machine.
    let steps = ((1 << 21) / case.elements).clamp(1, 64);
    let mut times: Vec<Vec<f64>> = PEERS.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (peer, times) in peers.iter_mut().zip(&mut times) {
            let Ok(peer) = peer else { continue };
            // The first brings the arrays into the cache.
            peer.run(1)?;
            times.extend(peer.run(steps)?);
        }
    }
    let cell = |(peer, mut times): (std::result::Result<_, String>, Vec<f64>)| match peer {
        Ok(_) => Ok(median(&mut times) / case.elements as f64),
        Err(why) => Err(why),
    };
    Ok(peers.into_iter().zip(times).map(cell).collect())
}

fn write(path: &Path, values: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Ok(std::fs::write(path, bytes)?)
}

fn row((rule, elements, threads, cells): &(Rule, usize, usize, Vec<Cell>), gap: &str) -> String {
    let cells = cells.iter().map(|cell| cell.as_ref().map_or("–".to_string(), |ns| format!("{ns:.3}")));
    let head = [rule.name().to_string(), elements.to_string(), threads.to_string()];
    head.into_iter().chain(cells).collect::<Vec<_>>().join(gap)
}

fn table(rows: &[(Rule, usize, usize, Vec<Cell>)], versions: &[String]) -> String {
    let mut text = format!("Nanoseconds per element of a step, f32; medians. {}\n\n", versions.join(", "));
    text += &format!("| rule | elements | threads | {} |\n", PEERS.join(" | "));
    text += &format!("| --- | ---: | ---: |{}\n", " ---: |".repeat(PEERS.len()));
    for each in rows {
        text += &format!("| {} |\n", row(each, " | "));
    }
    let mut reasons: Vec<String> = Vec::new();
    for (rule, _, _, cells) in rows {
        for (peer, why) in PEERS.iter().zip(cells).filter_map(|(peer, cell)| Some((peer, cell.as_ref().err()?))) {
            let reason = format!("- {peer}, {}: {why}", rule.name());
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
    if !reasons.is_empty() {
        text += &format!("\nNot measured:\n\n{}\n", reasons.join("\n"));
    }
    text
}

fn options() -> Result<Options> {
    let mut options = Options {
        python: None,
        rules: Rule::ALL.to_vec(),
        sizes: vec![(1 << 14, 1), (1 << 18, 1), (1 << 20, 1), (1 << 24, 1), (1 << 24, 2)],
        rounds: 9,
        without: Vec::new(),
        out: PathBuf::from("results"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} has no value"))?;
        match argument.as_str() {
            "--python" => options.python = Some(value.into()),
            "--out" => options.out = value.into(),
            "--rounds" => options.rounds = value.parse()?,
            "--without" => options.without = value.split(',').map(str::to_string).collect(),
            "--rules" => {
                let rule = |name| Rule::from_name(name).ok_or_else(|| format!("no rule here is called `{name}`"));
                options.rules = value.split(',').map(rule).collect::<std::result::Result<_, _>>()?;
            }
            "--sizes" => {
                let size = |text: &str| -> Result<(usize, usize)> {
                    let (elements, threads) = text.split_once('x').unwrap_or((text, "1"));
                    Ok((elements.parse()?, threads.parse()?))
                };
                options.sizes = value.split(',').map(size).collect::<Result<_>>()?;
            }
            _ => return Err(format!("there is no {argument}; the README says what there is").into()),
        }
    }
    Ok(options)
}
