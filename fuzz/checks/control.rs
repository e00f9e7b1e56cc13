//! What must hold of anything that comes over the control socket. Used by the fuzz target `control_frames`
//! and by ordinary tests.

use std::fmt::Debug;

use ccp_control::{ClientHello, Receiver, Request, Response, ServerHello, split};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads `bytes` as a stream from a client, or from a daemon if the first byte is odd: a hello, then
/// requests or responses. Whatever comes is a value that survives being sent, or an error; nothing panics.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let both = tokio::io::join(stream, tokio::io::sink());
        let (mut receiver, _sender) = split(both);
        if first & 1 == 0 {
            conversation::<ClientHello, Request>(&mut receiver).await;
        } else {
            conversation::<ServerHello, Response>(&mut receiver).await;
        }
    });
}

type Stream<'a> = Receiver<tokio::io::Join<&'a [u8], tokio::io::Sink>>;

async fn conversation<H, M>(receiver: &mut Stream<'_>)
where
    H: DeserializeOwned + Serialize + PartialEq + Debug,
    M: DeserializeOwned + Serialize + PartialEq + Debug,
{
    let mut goes_on = take::<H>(receiver).await;
    while goes_on {
        goes_on = take::<M>(receiver).await;
    }
}

/// Whether a value came.
async fn take<T>(receiver: &mut Stream<'_>) -> bool
where
    T: DeserializeOwned + Serialize + PartialEq + Debug,
{
    match receiver.receive::<T>().await {
        Ok(value) => {
            let bytes = postcard::to_stdvec(&value).expect("what was read can be written");
            let again: T = postcard::from_bytes(&bytes).expect("and read again");
            // Numbers that are none are never the same.
            assert!(format!("{value:?}") == format!("{again:?}"));
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
