//! `vdbg`.
fn main() {
    let args: Vec<_> = std::env::args().skip(2).collect();
    let c = |s: &str| std::ffi::CString::new(s).unwrap();
    let o = tracer::RecordOptions { program: args[0].clone().into(), arguments: args.iter().map(|a| c(a)).collect(), output: None };
    let r = tracer::record(&o);
    match r { Ok(r) => eprintln!("{} events {} status {:x} {:?}", r.directory.display(), r.events, r.status, r.warnings), Err(e) => eprintln!("error {e}") }
}
