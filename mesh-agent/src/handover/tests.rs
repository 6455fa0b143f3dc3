//! The exchange survives whatever bytes come.

use super::{Answer, FRAME_LIMIT, FrameError, FromWire, Question, Reset, ToWire, read_frame, write_frame};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = read_frame::<ToWire>(&mut bytes.as_slice());
        let _ = read_frame::<FromWire>(&mut bytes.as_slice());
        let mut framed = (bytes.len() as u32).to_le_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        let _ = read_frame::<ToWire>(&mut framed.as_slice());
        let _ = read_frame::<FromWire>(&mut framed.as_slice());
    }

    #[test]
    fn a_message_comes_back_as_it_went(uid in "[a-f0-9-]{0,40}", sequence: u64) {
        for message in [ToWire::PodGone { uid }, ToWire::Commit { sequence }] {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, &message).unwrap();
            prop_assert_eq!(read_frame::<ToWire>(&mut bytes.as_slice()).unwrap(), message);
        }
    }

    #[test]
    fn an_order_and_its_answer_come_back_as_they_went(
        id: u64, uid in "[a-f0-9-]{0,40}", enrolled: bool, ended: u64, left: u64,
    ) {
        let order = ToWire::Ask { id, question: Question::Reset { uid, enrolled } };
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &order).unwrap();
        prop_assert_eq!(read_frame::<ToWire>(&mut bytes.as_slice()).unwrap(), order);
        let done = FromWire::Answer { id, answer: Answer::Reset(Reset { ended, left }) };
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &done).unwrap();
        prop_assert_eq!(read_frame::<FromWire>(&mut bytes.as_slice()).unwrap(), done);
    }
}

#[test]
fn an_announced_length_over_the_limit_is_refused_unread() {
    let bytes = (FRAME_LIMIT + 1).to_le_bytes();
    assert!(matches!(read_frame::<ToWire>(&mut bytes.as_slice()), Err(FrameError::TooLong(_))));
}
