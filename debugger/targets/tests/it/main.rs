//! Core files that are broken: less is seen of them, and nothing worse happens.

use std::process::Command;

use targets::Core;

/// SplitMix64, as its seed says.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }
}

#[test]
fn mutated_headers_and_notes() {
    /// Headers and notes are in front.
    const HEAD_BYTES: usize = 6000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("core");
    let generate = format!("generate-core-file {}", path.display());
    let mut gdb = Command::new("gdb");
    gdb.args([
        "-nx",
        "-batch",
        "-ex",
        "set debuginfod enabled off",
        "-ex",
        "starti",
        "-ex",
        &generate,
        "/bin/true",
    ]);
    let output = gdb.output().unwrap();
    assert!(path.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = std::fs::read(&path).unwrap();
    let core = Core::open(&path, None).unwrap();
    assert_eq!(core.threads().len(), 1);
    let rip = core.threads()[0].registers.rip;
    let mut code = [0; 16];
    assert_eq!(core.read_memory(rip, &mut code), code.len());
    assert!(core.program().is_some_and(|program| program.ends_with("true")) && !core.is_cut_off());
    assert!(core.vdso().is_some());
    let mut random = Random(1);
    let mut opened = 0;
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(8) {
            let at = random.below(HEAD_BYTES.min(bytes.len()));
            bytes[at] = match random.below(4) {
                0 => 0xff,
                1 => 0,
                2 => bytes[at].wrapping_add(1),
                _ => random.below(256) as u8,
            };
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        std::fs::write(&path, &bytes).unwrap();
        let Ok(core) = Core::open(&path, None) else { continue };
        opened += 1;
        let (mut buffer, regions) = ([0; 64], core.regions());
        for region in regions.iter().take(50) {
            core.read_memory(region.start, &mut buffer);
            core.read_memory(region.end.wrapping_sub(8), &mut buffer);
        }
        core.read_memory(u64::MAX - 8, &mut buffer);
        let _ = (core.missing_files(), core.is_cut_off(), core.signal(), core.process());
    }
    assert!(opened > 100, "{opened} of the broken files could be opened");
}
