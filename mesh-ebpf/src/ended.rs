//! How a TCP connection ended, told from the state it left and the counts of its segments.
//!
//! A `sock_ops` program sees no error of the socket, only the state it left for `CLOSE` and
//! `tcp_sock` counters: an RST that refuses a SYN is counted as a segment in before it is handled
//! (`tcp_segs_in` in `tcp_v4_rcv`), an ICMP error is not a segment, and a connect that timed out
//! has retransmitted at least `TCP_SYNCNT` times.

use crate::abi::Reason;

/// TCP states as in `include/net/tcp_states.h`.
pub mod state {
    /// Established.
    pub const ESTABLISHED: u32 = 1;
    /// SYN sent.
    pub const SYN_SENT: u32 = 2;
    /// This side closed first, its FIN not acknowledged.
    pub const FIN_WAIT1: u32 = 4;
    /// This side closed first, the other has not.
    pub const FIN_WAIT2: u32 = 5;
    /// Closed.
    pub const CLOSE: u32 = 7;
    /// The other side closed first.
    pub const CLOSE_WAIT: u32 = 8;
    /// Both closed, this side's FIN not acknowledged.
    pub const LAST_ACK: u32 = 9;
    /// Both closed at once.
    pub const CLOSING: u32 = 11;
}

/// The reason a connection that left `old_state` for CLOSE ended.
#[inline(always)]
#[must_use]
pub const fn reason(old_state: u32, segments_in: u32, retransmits: u32, syn_retries: u32) -> Reason {
    match old_state {
        state::SYN_SENT => {
            if segments_in > 0 {
                Reason::Refused
            } else if syn_retries > 0 && retransmits >= syn_retries {
                Reason::TimedOut
            } else {
                // Told apart in user space would need sk_err; the application's own deadline and
                // an ICMP error look the same here.
                Reason::Cancelled
            }
        }
        state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING => Reason::Finished,
        _ => Reason::Reset,
    }
}

/// The bytes of payload among those the kernel counts, by the state that was left: its counts of
/// acknowledged and received bytes are of sequence numbers, of which a connecting side's SYN and
/// each FIN take one. `(sent, received)`.
#[inline(always)]
#[must_use]
pub const fn payload(old_state: u32, connected: bool, acknowledged: u64, received: u64) -> (u64, u64) {
    let own_fin = matches!(old_state, state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING);
    let peer_fin =
        matches!(old_state, state::FIN_WAIT2 | state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING);
    (acknowledged.saturating_sub(connected as u64 + own_fin as u64), received.saturating_sub(peer_fin as u64))
}

#[cfg(test)]
mod tests {
    use super::{payload, reason, state};
    use crate::abi::Reason;

    #[test]
    fn connects_that_fail_are_told_apart() {
        assert_eq!(reason(state::SYN_SENT, 1, 0, 6), Reason::Refused);
        assert_eq!(reason(state::SYN_SENT, 0, 6, 6), Reason::TimedOut);
        assert_eq!(reason(state::SYN_SENT, 0, 2, 6), Reason::Cancelled);
    }

    #[test]
    fn an_end_with_both_fins_is_finished_and_any_other_a_reset() {
        for old in [state::FIN_WAIT2, state::LAST_ACK, state::CLOSING] {
            assert_eq!(reason(old, 9, 0, 6), Reason::Finished);
        }
        for old in [state::ESTABLISHED, state::CLOSE_WAIT, state::FIN_WAIT1] {
            assert_eq!(reason(old, 9, 0, 6), Reason::Reset);
        }
    }

    #[test]
    fn syn_and_fin_are_not_payload() {
        assert_eq!(payload(state::FIN_WAIT2, true, 15, 6), (13, 5));
        assert_eq!(payload(state::LAST_ACK, false, 6, 14), (5, 13));
        assert_eq!(payload(state::ESTABLISHED, true, 14, 5), (13, 5));
        assert_eq!(payload(state::SYN_SENT, true, 0, 0), (0, 0));
    }
}
