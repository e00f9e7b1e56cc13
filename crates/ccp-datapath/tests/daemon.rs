//! A datapath and the daemon's own state machines in virtual time: what goes right, and every way in
//! which a daemon can go away.

mod common;

use ccp_core::FlowMode;
use ccp_datapath::{Config, Datapath, Mode};
use common::{Daemon, Peer, World};

fn world(kind: &str) -> World {
    World::new(Datapath::new(Config::default()), Some(Daemon::new(kind, 7)))
}

#[test]
fn reno_steers_from_the_first_window_through_a_loss() {
    let mut world = world("reno");
    world.pass(1);
    let mut peer = Peer::open(&mut world, 5000);
    assert_eq!(peer.round(&mut world, 0), 20);
    assert_eq!(peer.flow.mode(), Mode::Running);
    assert_eq!(peer.rounds(&mut world, 2), 80);
    assert_eq!(peer.round(&mut world, 1), 40);
    assert_eq!(peer.rounds(&mut world, 4), 43);
    assert!(peer.flow.counts().reports >= 4, "{:?}", peer.flow.counts());
    let daemon = world.daemon.as_ref().unwrap();
    assert_eq!(daemon.modes(), [FlowMode::Running]);
    peer.flow.close(None, &mut world.up);
    world.deliver();
    assert!(world.daemon.as_ref().unwrap().runners.is_empty());
    assert_eq!(world.datapath.flow_count(), 0);
}

#[test]
fn a_daemon_that_goes_is_replaced_by_the_native_law_and_one_that_comes_adopts() {
    let mut world = world("reno");
    world.pass(1);
    let mut peer = Peer::open(&mut world, 5000);
    peer.rounds(&mut world, 3);
    assert_eq!((peer.flow.mode(), peer.packets()), (Mode::Running, 80));
    peer.round(&mut world, 1);

    world.daemon = None;
    peer.rounds(&mut world, 60);
    assert_eq!(peer.flow.mode(), Mode::Fallback);
    let alone = peer.packets();
    assert!(alone > 60, "the native law lets the window grow: {alone}");

    // Another daemon, which installs other programs under the same numbers.
    world.daemon = Some(Daemon::with(
        vec![common::algorithm("cubic"), common::algorithm("reno")],
        8,
    ));
    peer.rounds(&mut world, 150);
    assert_eq!(peer.flow.mode(), Mode::Running);
    let runner = world
        .daemon
        .as_ref()
        .unwrap()
        .runners
        .values()
        .next()
        .unwrap();
    assert_eq!(runner.status().mode, FlowMode::Running);
    assert_eq!(peer.flow.program_uid(), Some(1));
}

#[test]
fn a_hung_daemon_is_noticed_and_comes_back() {
    let mut world = world("reno");
    world.pass(1);
    let mut peer = Peer::open(&mut world, 5000);
    peer.rounds(&mut world, 3);
    peer.round(&mut world, 1);
    world.hung = true;
    peer.rounds(&mut world, 200);
    assert_eq!(peer.flow.mode(), Mode::Fallback);
    let alone = peer.packets();
    world.hung = false;
    peer.rounds(&mut world, 5);
    assert_eq!(peer.flow.mode(), Mode::Running);
    assert!(peer.packets() + 1 >= alone, "from the present window");
    assert_eq!(world.daemon.as_ref().unwrap().runners.len(), 1);
}

#[test]
fn without_any_daemon_the_window_is_not_stuck() {
    let mut world = World::new(Datapath::new(Config::default()), None);
    let mut peer = Peer::open(&mut world, 5000);
    assert_eq!(peer.rounds(&mut world, 3), 80);
    assert_eq!(peer.round(&mut world, 2), 56);
}
