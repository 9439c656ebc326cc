//! `lookup FILE FUNCTION [CACHE]`: the places of a function, and what finding them took: what `cargo xtask bench symbols`
//! measures. With a folder for the cache, indexes are read from there and kept there.

use std::path::Path;
use std::time::Instant;
use symbols::{DebugSources, ImageCache, Symbols};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, name, rest @ ..] = arguments.as_slice() else {
        return Err("usage: lookup FILE FUNCTION [CACHE]".into());
    };
    let since = Instant::now();
    let images = ImageCache::new();
    images.look_in(DebugSources { cache: rest.first().map(Into::into), ..DebugSources::default() });
    let mut symbols = Symbols::new(images);
    symbols.add_file(Path::new(file), file, 0)?;
    let opened = since.elapsed();
    symbols.load()?;
    let loaded = since.elapsed();
    let found = symbols.functions(name);
    for place in found.iter().take(5) {
        let location = symbols.location(place.body);
        println!("{:#x} {} {}:{}", place.body, place.name, location.file.unwrap_or_default(), location.line);
    }
    let all = since.elapsed();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("?").trim();
    println!(
        "{} places; opened {:.3} s, indexed {:.3} s, answered {:.3} s; anonymous memory {anonymous}",
        found.len(),
        opened.as_secs_f64(),
        loaded.as_secs_f64(),
        all.as_secs_f64()
    );
    Ok(())
}
