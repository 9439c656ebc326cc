//! Tasks on several threads: channels, timers, blocking work.

use std::time::Duration;

use tokio::sync::mpsc;

async fn work(n: u64, results: mpsc::Sender<u64>) {
    let mut sum = 0;
    for round in 0..20 {
        tokio::time::sleep(Duration::from_millis(n % 5)).await;
        let part = tokio::task::spawn_blocking(move || (0..20000u64).fold(round, |a, b| (a * 31 + b * n) % 1_000_003));
        sum += part.await.expect("it ends well");
        tokio::task::yield_now().await;
    }
    results.send(sum).await.expect("somebody listens");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime");
    let total = runtime.block_on(async {
        let (sender, mut receiver) = mpsc::channel(4);
        for n in 0..100 {
            tokio::spawn(work(n, sender.clone()));
        }
        drop(sender);
        let mut total = 0;
        while let Some(sum) = receiver.recv().await {
            total += sum;
        }
        total
    });
    println!("{total}");
}
