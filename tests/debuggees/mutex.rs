//! Four threads contend for a mutex. The order of their turns is the scheduler's; the sum is not.

use std::sync::{Arc, Mutex};

const THREADS: u64 = 4;
const ROUNDS: u64 = 50_000;

fn main() {
    let shared = Arc::new(Mutex::new((0u64, Vec::new())));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    let mut guard = shared.lock().unwrap();
                    guard.0 += number * round;
                    if round % 1000 == 0 {
                        guard.1.push(number);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (sum, turns) = &*shared.lock().unwrap();
    assert_eq!(*sum, 6 * ROUNDS * (ROUNDS - 1) / 2);
    println!("{sum} {}", turns.len());
}
