use std::io::{Read as _, Write as _};
use std::net::TcpStream as Stream;
use std::time::Instant;

use super::*;

fn start() -> (MetricsServer, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let any = "127.0.0.1:0".parse().unwrap();
    let server = MetricsServer::start(any, &metrics, &CancellationToken::new());
    (server.unwrap(), metrics)
}

/// What is answered to `request`, as far as anything is.
fn ask(server: &MetricsServer, request: &[u8]) -> String {
    let mut stream = Stream::connect(server.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // It may be hung up on before it has said everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn metrics_are_served() {
    let (server, metrics) = start();
    metrics.count(Count::Reports, 7);
    let answer = ask(&server, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(answer.contains("\nccpd_reports_total 7\n"), "{answer}");
    assert!(
        answer.contains("\n# TYPE ccpd_report_latency_seconds histogram\n"),
        "{answer}"
    );
    let answer = ask(&server, b"GET / HTTP/1.0\r\n\r\n");
    assert!(answer.contains("/metrics"), "{answer}");
}

#[test]
fn a_bad_request_is_refused_and_costs_nothing() {
    let (server, _metrics) = start();
    let long = format!(
        "GET /metrics HTTP/1.1\r\nA: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let cases: [(&[u8], &str); 6] = [
        (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        (
            b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
            "405",
        ),
        (b"GET /metrics HTTP/9.9\r\n\r\n", "400"),
        (b"\0\xff\x80 nonsense\r\n\r\n", "400"),
        (long.as_bytes(), "431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ];
    for (request, expected) in cases {
        let answer = ask(&server, request);
        let said = String::from_utf8_lossy(&request[..request.len().min(40)]).into_owned();
        // Who still sends may find the connection reset instead.
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(
            status == expected || (request.len() > 1_000 && status.is_empty()),
            "{said}: {answer}"
        );
    }
    let answer = ask(&server, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// How many clients were hung up on for others, or were not served.
fn refused(metrics: &Metrics) -> f64 {
    let gathered = metrics.gather();
    let refusals = gathered.iter().find(|m| m.name == "ccpd_refusals_total");
    let of = |s: &&ccp_control::MetricSample| {
        s.label
            .as_ref()
            .is_some_and(|(_, v)| v == "metrics_clients")
    };
    refusals
        .unwrap()
        .samples
        .iter()
        .find(of)
        .unwrap()
        .value
        .number()
}

fn scrape(server: &MetricsServer) -> Duration {
    let begun = Instant::now();
    let answer = ask(server, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    begun.elapsed()
}

#[test]
fn who_says_nothing_gives_way_to_who_asks_and_is_hung_up_on() {
    let (server, metrics) = start();
    let mut silent: Vec<Stream> = (0..MOST_CLIENTS)
        .map(|_| Stream::connect(server.address()).unwrap())
        .collect();
    for _ in 0..10 {
        scrape(&server);
    }
    assert!((1.0..=10.0).contains(&refused(&metrics)));
    let begun = Instant::now();
    for stream in &mut silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        let waits = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        assert!(!ended.as_ref().is_err_and(waits), "{ended:?}");
    }
    assert!(begun.elapsed() < 6 * HEAD_WITHIN);
}

/// Clients that each keep a place for as long as they can: who speaks a byte at a time, and who does not take
/// the answer. They come again at once when they are hung up on.
#[test]
fn slow_clients_do_not_keep_a_scrape_from_its_answer() {
    let (server, metrics) = start();
    let address = server.address();
    let over = Arc::new(AtomicBool::new(false));
    let slow: Vec<_> = (0..2 * MOST_CLIENTS)
        .map(|i| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = Stream::connect(address) else {
                        continue;
                    };
                    if i % 2 == 0 {
                        // More than it can say before it has to be done.
                        let said = b"GET /metrics HTTP/1.1\r\nHost: a\r\n".iter().cycle();
                        for byte in said {
                            thread::sleep(Duration::from_millis(50));
                            if over.load(Ordering::Relaxed) || stream.write_all(&[*byte]).is_err() {
                                break;
                            }
                        }
                    } else {
                        let small = rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 1);
                        small.unwrap();
                        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
                        for _ in 0..40 {
                            thread::sleep(Duration::from_millis(50));
                            if over.load(Ordering::Relaxed) {
                                break;
                            }
                        }
                    }
                }
            })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(30);
    while refused(&metrics) == 0.0 {
        assert!(Instant::now() < until, "nobody had to give way");
        thread::sleep(Duration::from_millis(10));
    }
    let took: Vec<Duration> = (0..20).map(|_| scrape(&server)).collect();
    over.store(true, Ordering::Relaxed);
    for client in slow {
        client.join().unwrap();
    }
    let longest = took.iter().max().unwrap();
    assert!(*longest < Duration::from_secs(5), "{took:?}");
}

#[test]
fn an_address_is_taken_once_and_free_afterwards() {
    let (server, metrics) = start();
    let address = server.address();
    let stop = CancellationToken::new();
    let error = MetricsServer::start(address, &metrics, &stop).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("can't serve metrics on {address} (`metrics.listen`)")
    );
    drop(server);
    drop(MetricsServer::start(address, &metrics, &stop).unwrap());
}
