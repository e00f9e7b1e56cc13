use std::path::PathBuf;

use tokio::net::UnixListener;

use super::{Client, ClientError};
use crate::Attributes;
use crate::frame::{FrameError, Receiver, Sender, split};
use crate::protocol::{
    ClientHello, FlowMode, FlowStatus, PROTOCOL_VERSION, Refusal, Request, Response, Selection,
    ServerHello,
};

type Ends = (
    Receiver<tokio::net::UnixStream>,
    Sender<tokio::net::UnixStream>,
);

fn flow(datapath: &str, sock_id: u32) -> FlowStatus {
    FlowStatus {
        datapath: datapath.to_owned(),
        flow: sock_id.into(),
        sock_id,
        algorithm: "reno".to_owned(),
        program: None,
        src: "[2001:db8::1]:40000".parse().unwrap(),
        dst: "192.0.2.1:443".parse().unwrap(),
        cwnd_bytes: 14_480,
        rate_bytes_per_s: 0,
        rtt_us: 20_000,
        mss_bytes: 1448,
        reports: 3,
        reports_missed: 0,
        updates: 2,
        state: FlowMode::Running,
        faults: 0,
        sent_bytes: None,
        delivered_bytes: None,
        lost_bytes: Some(2896),
        age_us: 1_000_000,
        attributes: Attributes::default(),
    }
}

/// A daemon that takes one client, says hello in `version` and goes on with `then`.
async fn daemon<F: Future<Output = ()> + Send + 'static>(
    version: u16,
    then: impl FnOnce(Ends) -> F + Send + 'static,
) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut receiver, mut sender) = split(stream);
        let hello: ClientHello = receiver.receive().await.unwrap();
        assert_eq!(hello, ClientHello::new());
        let mut hello = ServerHello::new("0.1.0");
        hello.version = version;
        sender.send(&hello).await.unwrap();
        then((receiver, sender)).await;
    });
    (dir, path)
}

#[tokio::test]
async fn a_long_list_comes_in_pieces_and_leaves_in_order() {
    let (_dir, path) = daemon(PROTOCOL_VERSION, |(mut receiver, mut sender)| async move {
        let asked: Request = receiver.receive().await.unwrap();
        assert_eq!(asked, Request::Flows(Selection::default()));
        for (ids, last) in [([7, 3], false), ([1, 2], true)] {
            let flows = ids.into_iter().map(|id| flow("ccp", id)).collect();
            let response = Response::Flows {
                flows,
                matching: 4,
                last,
            };
            sender.send(&response).await.unwrap();
        }
    })
    .await;
    let mut client = Client::connect(&path).await.unwrap();
    assert_eq!(client.release(), "0.1.0");
    let ids: Vec<u32> = client
        .flows()
        .await
        .unwrap()
        .iter()
        .map(|f| f.sock_id)
        .collect();
    assert_eq!(ids, [1, 2, 3, 7]);
}

#[tokio::test]
async fn a_refusal_is_an_error_of_its_own() {
    let refusal = Refusal::TooManyClients { limit: 16 };
    let sent = refusal.clone();
    let (_dir, path) = daemon(PROTOCOL_VERSION, |(mut receiver, mut sender)| async move {
        receiver.receive::<Request>().await.unwrap();
        sender.send(&Response::Refused(sent)).await.unwrap();
    })
    .await;
    let error = Client::connect(&path)
        .await
        .unwrap()
        .flows()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Refused(r) if r == refusal));
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let (_dir, path) = daemon(PROTOCOL_VERSION + 1, |_| async {}).await;
    let error = Client::connect(&path).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "ccpd 0.1.0 speaks version 4 of the control protocol, this command version 3: use the \
         `ccp` that came with that ccpd"
    );
}

#[tokio::test]
async fn nobody_there_is_told_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("control.sock");
    let error = Client::connect(&missing).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("no ccpd listens on "), "{text}");
    assert!(text.contains(missing.to_str().unwrap()), "{text}");

    // A socket file whose daemon was killed.
    drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
    let error = Client::connect(&missing).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stranger_is_not_taken_for_the_daemon() {
    use tokio::io::AsyncWriteExt as _;
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n", // its first bytes are a length above the limit
        &[3, 0, 0, 0, 1, 2, 3],              // a short frame
        &[7, 0, 0, 0, b'C', b'C', b'P', b'D', 1, 1, b'x'], // another magic
    ];
    for answer in answers {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream
        });
        let error = Client::connect(&path).await.unwrap_err();
        assert!(matches!(error, ClientError::NotCcpd { .. }), "{error:?}");
        drop(server);
    }
}

#[tokio::test]
async fn a_daemon_that_goes_away_is_an_error() {
    let (_dir, path) = daemon(PROTOCOL_VERSION, |(mut receiver, _)| async move {
        receiver.receive::<Request>().await.unwrap();
    })
    .await;
    let error = Client::connect(&path)
        .await
        .unwrap()
        .flows()
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Frame(FrameError::Closed)),
        "{error:?}"
    );
}

#[test]
fn json_has_addresses_and_states_as_texts() {
    let json = serde_json::to_value(flow("ccp", 5)).unwrap();
    assert_eq!(json["src"], "[2001:db8::1]:40000");
    assert_eq!(json["dst"], "192.0.2.1:443");
    assert_eq!(json["state"], "running");
    assert_eq!(json["cwnd_bytes"], 14_480);
}

#[test]
fn a_full_response_fits_a_frame_with_room() {
    let mut longest = flow(&"d".repeat(108), u32::MAX);
    longest.algorithm = "a".repeat(256);
    longest.program = Some("p".repeat(256));
    longest.cwnd_bytes = u64::MAX;
    longest.reports = u64::MAX;
    longest.faults = u64::MAX;
    longest.sent_bytes = Some(u64::MAX);
    longest.delivered_bytes = Some(u64::MAX);
    longest.age_us = u64::MAX;
    let flows = vec![longest; crate::FLOWS_PER_RESPONSE];
    let bytes = postcard::to_stdvec(&Response::Flows {
        flows,
        matching: u64::MAX,
        last: true,
    })
    .unwrap();
    assert!(bytes.len() < crate::MAX_FRAME, "{}", bytes.len());
}

#[test]
fn every_truncation_of_a_message_is_an_error() {
    let message = Response::Flows {
        flows: vec![flow("ccp", 1)],
        matching: 1,
        last: true,
    };
    let bytes = postcard::to_stdvec(&message).unwrap();
    assert_eq!(postcard::from_bytes::<Response>(&bytes).unwrap(), message);
    for len in 0..bytes.len() {
        assert!(
            postcard::from_bytes::<Response>(&bytes[..len]).is_err(),
            "{len}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_says_nothing_is_not_waited_for_without_end() {
    // A stopped process: the system takes the connection, and nobody answers.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = Client::connect(&path).await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    assert!(
        error.to_string().contains("has not answered for 5 s"),
        "{error}"
    );

    // One that is stopped later.
    let (_dir, path) = daemon(PROTOCOL_VERSION, |ends| async move {
        std::future::pending::<()>().await;
        drop(ends);
    })
    .await;
    let error = Client::connect(&path)
        .await
        .unwrap()
        .flows()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
}
