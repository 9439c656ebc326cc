//! A web server on several threads, until SIGTERM.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let lines: String = (0..100).map(|n| format!("line {n} of {}\n", request.uri().path())).collect();
    Ok(Response::new(Full::new(Bytes::from(lines))))
}

#[tokio::main(worker_threads = 4)]
async fn main() {
    let port = std::env::var("PORT").expect("PORT is set");
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("the port is free");
    let mut end = signal(SignalKind::terminate()).expect("signals can be waited for");
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let (stream, _) = connection.expect("connections come");
                tokio::spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
                });
            }
            _ = end.recv() => break,
        }
    }
    println!("ended");
}
