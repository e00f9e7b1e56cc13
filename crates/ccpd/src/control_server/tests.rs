use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use ccp_control::{Client, ClientError, MOST_WORDS, Refusal, Selection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Clients, ControlServer, MOST_CLIENTS, RESERVED};
use crate::change::{Changer, Made};
use crate::shared::Shared;
use crate::socket_file::Places;

struct Running {
    _dir: tempfile::TempDir,
    path: PathBuf,
    stop: CancellationToken,
    clients: Arc<Clients>,
    server: JoinHandle<()>,
}

fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let stop = CancellationToken::new();
    let mut registry = ccp_core::Registry::new();
    algs::register(&mut registry).unwrap();
    let maker = crate::making::Maker::new(registry);
    let made = Made::new(&maker, crate::Config::default(), None).unwrap();
    let shared = Arc::new(Shared::new(made.plan().unwrap(), stop.clone()));
    let changer = Changer::new(maker, None, made, None, Arc::clone(&shared));
    let mut places = Places::default();
    let socket = (path.as_path(), 0o600);
    let server = ControlServer::bind(socket, &mut places, shared, changer, None);
    let server = server.unwrap();
    Running {
        _dir: dir,
        path,
        stop,
        clients: Arc::clone(&server.clients),
        server: tokio::spawn(server.run()),
    }
}

#[tokio::test]
async fn it_is_for_its_owner_and_goes_when_it_stops() {
    let running = start();
    let mode = std::fs::metadata(&running.path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = Client::connect(&running.path).await.unwrap();
    assert_eq!(client.release(), env!("CARGO_PKG_VERSION"));
    assert_eq!(client.flows().await.unwrap(), []);
    assert_eq!(client.flows().await.unwrap(), []);
    // A client that stays does not hold up the stop.
    running.stop.cancel();
    running.server.await.unwrap();
    assert!(!running.path.exists());
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let running = start();
    let mut clients = Vec::new();
    for _ in 0..MOST_CLIENTS + RESERVED {
        clients.push(Client::connect(&running.path).await.unwrap());
    }
    let mut extra = Client::connect(&running.path).await.unwrap();
    let error = extra.flows().await.unwrap_err();
    let ClientError::Refused(refusal) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        refusal,
        Refusal::TooManyClients {
            limit: (MOST_CLIENTS + RESERVED) as u32
        }
    );
    assert_eq!(
        refusal.to_string(),
        "ccpd serves 40 clients already; try again when one has gone"
    );
    // Those who came before are served, and room comes back.
    assert_eq!(clients[0].flows().await.unwrap(), []);
    clients.clear();
    loop {
        let mut client = Client::connect(&running.path).await.unwrap();
        if client.flows().await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn who_may_only_ask_does_not_keep_others_from_changing() {
    let running = start();
    let places = || running.clients.place(false);
    let asking: Vec<_> = std::iter::from_fn(places).collect();
    assert_eq!(asking.len(), MOST_CLIENTS);
    // The test's user may change what its own daemon does.
    let mut client = Client::connect(&running.path).await.unwrap();
    assert_eq!(client.flows().await.unwrap(), []);
    drop(asking);
}

#[tokio::test]
async fn a_search_for_a_book_is_refused() {
    let running = start();
    let mut client = Client::connect(&running.path).await.unwrap();
    let mut selection = Selection {
        words: vec!["x".to_owned(); MOST_WORDS],
        ..Selection::default()
    };
    assert_eq!(client.select(&selection).await.unwrap().flows, []);
    selection.words.push(String::new());
    let error = client.select(&selection).await.unwrap_err();
    assert_eq!(error.to_string(), "at most 32 words can be looked for");
    assert_eq!(client.flows().await.unwrap(), []);
}

#[tokio::test]
async fn what_is_no_request_ends_its_own_connection_only() {
    let running = start();
    let mut hello = vec![5, 0, 0, 0];
    hello.extend(b"ccpd\x03");
    let mut unknown_request = hello.clone();
    unknown_request.extend([1, 0, 0, 0, 99]);
    let inputs: [&[u8]; 4] = [
        &[0xff; 64],               // a length above the limit
        &[4, 0, 0, 0, 1, 2, 3, 4], // a short hello
        b"\x05\0\0\0CCPD\x01",     // another magic
        &unknown_request,
    ];
    for input in inputs {
        let mut stranger = UnixStream::connect(&running.path).await.unwrap();
        stranger.write_all(input).await.unwrap();
        let mut answer = Vec::new();
        // It ends: by end of file, or because what it sent was not all read.
        let _ = stranger.read_to_end(&mut answer).await;
    }
    let mut client = Client::connect(&running.path).await.unwrap();
    assert_eq!(client.flows().await.unwrap(), []);
}

#[tokio::test]
async fn another_version_hears_which_it_should_be() {
    let running = start();
    let mut stranger = UnixStream::connect(&running.path).await.unwrap();
    stranger.write_all(b"\x05\0\0\0ccpd\x63").await.unwrap();
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer).await.unwrap();
    assert_eq!(&answer[4..9], b"ccpd\x03");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_hung_up_on() {
    let running = start();
    let mut silent = UnixStream::connect(&running.path).await.unwrap();
    let before = tokio::time::Instant::now();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "{answer:?}");
    assert_eq!(before.elapsed().as_secs(), super::PATIENCE.as_secs());
}

#[tokio::test]
async fn it_says_what_there_is_and_why_not() {
    let running = start();
    let mut client = Client::connect(&running.path).await.unwrap();
    let algorithms = client.algorithms().await.unwrap();
    assert_eq!(algorithms.len(), 1);
    assert_eq!(
        (&*algorithms[0].name, algorithms[0].default),
        ("reno", true)
    );
    let mut why = async |flow, name: &str, parameters: &[(&str, &str)]| {
        let owned = parameters
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()));
        let owned: Vec<_> = owned.collect();
        client
            .set(flow, name, &owned)
            .await
            .unwrap_err()
            .to_string()
    };
    assert_eq!(why(7, "reno", &[]).await, "there is no such flow");
    assert_eq!(why(7, "native", &[]).await, "there is no such flow");
    assert_eq!(
        why(7, "vegas", &[]).await,
        "there is no algorithm `vegas`; there are: reno, native, native:NAME"
    );
    assert_eq!(
        why(7, "reno", &[("report", "often")]).await,
        "the algorithm `reno`: report = \"often\": expected \"rtt\", \"ack\" or a time from \"1ms\" to \
         \"10000ms\""
    );
    assert_eq!(
        why(7, "reno", &[("reports", "1.5")]).await,
        "the algorithm `reno`: reports: no such key: did you mean `report`? `reno` knows report"
    );
    assert_eq!(
        why(7, "native", &[("report", "ack")]).await,
        "`native` takes no parameters"
    );
    let error = client.reload().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "ccpd was started without a configuration file: there is nothing to read again"
    );
    running.stop.cancel();
    running.server.await.unwrap();
}
