//! `vdbg`.
fn main() {
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    let verb = args.remove(0);
    let c = |s: &str| std::ffi::CString::new(s).unwrap();
    match verb.as_str() {
        "record" => {
            let o = tracer::RecordOptions { program: args[0].clone().into(), arguments: args.iter().map(|a| c(a)).collect(), output: None };
            match tracer::record(&o) { Ok(r) => eprintln!("{} events {} status {:x} {:?}", r.directory.display(), r.events, r.status, r.warnings), Err(e) => eprintln!("error {e}") }
        }
        "points" => {
            let dir = trace::resolve(args.first().map(|a| std::path::Path::new(a.as_str()))).unwrap();
            let r = trace::Reader::open(&dir).unwrap();
            for i in 0..r.len() { let e = r.event(i).unwrap(); if let trace::EventKind::ForcedPoint { fingerprint } = &e.kind { println!("{i} {} rip {:x} lines {} {}", e.time_ns, e.registers.rip, fingerprint.lines.len(), fingerprint.complete) } }
        }
        _ => {
            let dir = trace::resolve(args.first().map(|a| std::path::Path::new(a.as_str()))).unwrap();
            let r = (|| -> Result<(), tracer::TracerError> {
                let mut s = tracer::Session::open(&dir, Default::default())?;
                s.reproduce_output(Box::new(|b, _| { use std::io::Write; let _ = std::io::stdout().write_all(b); }));
                let stop = s.resume(tracer::Direction::Forward, tracer::Mode::Run, &Default::default(), &mut tracer::NoJudge)?;
                eprintln!("{stop:?} at {:?} of {}", s.position(), s.trace().len());
                if verb == "back" {
                    for _ in 0..20 {
                        let st = s.resume(tracer::Direction::Backward, tracer::Mode::Step, &Default::default(), &mut tracer::NoJudge)?;
                        let t = s.current_thread().unwrap();
                        eprintln!("{st:?} {:?} rip {:x}", s.position(), s.registers(t)?.rip);
                    }
                }
                Ok(())
            })();
            if let Err(e) = r { eprintln!("error {e}"); std::process::exit(1) }
        }
    }
}
