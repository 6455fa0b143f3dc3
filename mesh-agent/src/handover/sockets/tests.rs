//! Messages and descriptors arrive as they went, and nothing else is taken for one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{
    ChannelError, DESCRIPTORS, Given, MESSAGE_LIMIT, Need, Request, Response, receive, receive_plain, send,
};

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn need() -> impl Strategy<Value = Need> {
    let uid = "[a-f0-9-]{0,40}";
    prop_oneof![
        uid.prop_map(|uid| Need::Listeners { uid }),
        (uid, any::<bool>(), any::<u8>()).prop_map(|(uid, v6, count)| Need::Connecting { uid, v6, count }),
    ]
}

fn given() -> impl Strategy<Value = Given> {
    let uid = "[a-f0-9-]{0,40}";
    prop_oneof![
        (uid, any::<u64>()).prop_map(|(uid, netns)| Given::Listeners { uid, netns }),
        (uid, any::<bool>(), 1..=DESCRIPTORS as u8).prop_map(|(uid, v6, count)| Given::Connecting {
            uid,
            v6,
            count
        }),
        (uid, ".{0,200}").prop_map(|(uid, why)| Given::Refused { uid, why }),
    ]
}

proptest! {
    #[test]
    fn a_request_comes_back_as_it_went(id: u64, need in need()) {
        let (relay, wire) = pair();
        let request = Request::new(id, need);
        send(&relay, &request, &[]).unwrap();
        prop_assert_eq!(receive_plain::<Request>(&wire).unwrap(), request);
    }

    #[test]
    fn an_answer_brings_its_descriptors(id: u64, given in given()) {
        let (wire, relay) = pair();
        let file = File::open("/dev/null").unwrap();
        let descriptors: Vec<BorrowedFd<'_>> = (0..given.descriptors()).map(|_| file.as_fd()).collect();
        let response = Response { id, given };
        send(&wire, &response, &descriptors).unwrap();
        let (received, received_descriptors) = receive::<Response>(&relay).unwrap();
        prop_assert_eq!(received_descriptors.len(), response.given.descriptors());
        prop_assert_eq!(received, response);
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 1..512)) {
        let (one, other) = pair();
        for _ in 0..2 {
            rustix::net::send(&one, &bytes, rustix::net::SendFlags::empty()).unwrap();
        }
        let _ = receive_plain::<Request>(&other);
        let _ = receive::<Response>(&other);
        // Whatever it was, it was one datagram.
        prop_assert!(receive::<Response>(&other).unwrap_err().would_block());
    }
}

#[test]
fn descriptors_keep_their_order_and_work() {
    let (wire, relay) = pair();
    let (first_in, first_out) = std::io::pipe().unwrap();
    let (second_in, second_out) = std::io::pipe().unwrap();
    let response = Response { id: 1, given: Given::Listeners { uid: "a".to_owned(), netns: 2 } };
    send(&wire, &response, &[first_out.as_fd(), second_out.as_fd()]).unwrap();
    drop((first_out, second_out));
    let (_, descriptors) = receive::<Response>(&relay).unwrap();
    for (descriptor, text) in descriptors.into_iter().zip(["outbound", "tunnel"]) {
        File::from(descriptor).write_all(text.as_bytes()).unwrap();
    }
    for (mut end, text) in [(first_in, "outbound"), (second_in, "tunnel")] {
        let mut read = String::new();
        end.read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
    }
}

#[test]
fn who_expects_no_descriptors_gets_none() {
    let (relay, wire) = pair();
    let request = Request::new(1, Need::Listeners { uid: "a".to_owned() });
    let (input, output) = std::io::pipe().unwrap();
    send(&relay, &request, &[output.as_fd()]).unwrap();
    drop(output);
    assert!(matches!(receive_plain::<Request>(&wire), Err(ChannelError::Cut)));
    let mut input = File::from(OwnedFd::from(input));
    assert_eq!(input.read(&mut [0]).unwrap(), 0, "the kernel closed the only writer");
}

#[test]
fn what_is_too_large_is_not_sent_and_what_is_too_long_not_taken() {
    let (relay, wire) = pair();
    let request = Request::new(1, Need::Listeners { uid: "a".repeat(MESSAGE_LIMIT) });
    assert!(matches!(send(&relay, &request, &[]), Err(ChannelError::TooLarge { .. })));
    let file = File::open("/dev/null").unwrap();
    let many = [file.as_fd(); DESCRIPTORS + 1];
    assert!(matches!(send(&relay, &1u8, &many), Err(ChannelError::TooLarge { .. })));
    rustix::net::send(&relay, &vec![0; MESSAGE_LIMIT + 1], rustix::net::SendFlags::empty()).unwrap();
    assert!(matches!(receive::<Request>(&wire), Err(ChannelError::Cut)));
}

#[test]
fn the_end_of_the_other_side_is_told_from_silence() {
    let (relay, wire) = pair();
    assert!(receive::<Request>(&wire).unwrap_err().would_block());
    drop(relay);
    let ended = receive::<Request>(&wire).unwrap_err();
    assert!(matches!(&ended, ChannelError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof));
}
