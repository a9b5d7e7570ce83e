//! Every shipped schedule against the recorded values.

#[test]
fn all_schedules_check() {
    let mut bad = 0;
    for (name, text) in updraft::SHIPPED_SCHEDULES {
        let file = updraft::SourceFile::new(format!("{name}.sched"), *text);
        match updraft::check::check(&updraft::syntax::parse(&file)) {
            Ok(c) => {
                if !c.lints.is_empty() {
                    bad += 1;
                    println!("{}", updraft::diagnostic::render_all(&file, &c.lints, updraft::diagnostic::Color::Never))
                }
            }
            Err(d) => {
                bad += 1;
                println!("{}", updraft::diagnostic::render_all(&file, &d, updraft::diagnostic::Color::Never))
            }
        }
    }
    for f in std::fs::read_dir("../shared/golden/schedules")
        .or_else(|_| std::fs::read_dir("/work/shared/golden/schedules"))
        .unwrap()
    {
        let v: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(f.unwrap().path()).unwrap()).unwrap();
        let name = v["schedule"].as_str().unwrap();
        let mut s = updraft::Schedule::shipped(name).unwrap();
        for (k, x) in v["hyper"].as_object().unwrap() {
            let val: updraft::HyperValue = match x {
                serde_json::Value::Array(a) => {
                    updraft::HyperValue::List(a.iter().map(|x| x.as_f64().unwrap()).collect())
                }
                serde_json::Value::Bool(b) => (*b).into(),
                x => x.as_f64().unwrap().into(),
            };
            s = s.set(k, val).unwrap();
        }
        println!("{s}");
        let mut run = s.run().unwrap();
        let base = v["base"].as_f64().unwrap();
        let t0 = std::time::Instant::now();
        for (k, e) in v["values"].as_array().unwrap().iter().enumerate() {
            let obs: Vec<(&str, f64)> = match v["metric"].as_array() {
                Some(m) if k > 0 => vec![("metric", m[k - 1].as_f64().unwrap())],
                _ => vec![],
            };
            let a = run.next(base, &obs).unwrap();
            let e = e.as_f64().unwrap();
            if (a - e).abs() > 1e-10 * e.abs() + 1e-13 {
                bad += 1;
                println!("{name} {k}: {a} {e}");
                break;
            }
        }
        println!("{:?} per step", t0.elapsed() / 100);
    }
    assert_eq!(bad, 0);
}
