//! The context of the socket-address hooks, read and written as one 16-byte address whatever the
//! family.
//!
//! Each word of the context is read and written by itself: an array read by value becomes an
//! access by a computed offset, which the verifier refuses ("dereference of modified ctx ptr").

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::bpf_get_netns_cookie,
};
use mesh_ebpf::address::Address;

/// Address family of the hook.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `connect4` and its like.
    V4,
    /// `connect6` and its like, v4-mapped addresses included.
    V6,
}

/// A `bpf_sock_addr` of a running hook.
#[derive(Clone, Copy)]
pub struct SockAddr {
    ctx: *mut bpf_sock_addr,
    family: Family,
}

impl SockAddr {
    /// Wraps the context.
    #[inline(always)]
    pub fn new(ctx: *mut bpf_sock_addr, family: Family) -> Self {
        Self { ctx, family }
    }

    /// The hook's address family.
    #[inline(always)]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Where the call goes, or for `recvmsg` comes from.
    #[inline(always)]
    pub fn address(&self) -> Address {
        // SAFETY: `ctx` is the program's context; the fields may be read in every such hook.
        unsafe {
            match self.family {
                Family::V4 => Address::from_v4_word(read_volatile(&raw const (*self.ctx).user_ip4)),
                Family::V6 => Address::from_words([
                    read_volatile(&raw const (*self.ctx).user_ip6[0]),
                    read_volatile(&raw const (*self.ctx).user_ip6[1]),
                    read_volatile(&raw const (*self.ctx).user_ip6[2]),
                    read_volatile(&raw const (*self.ctx).user_ip6[3]),
                ]),
            }
        }
    }

    /// The port beside [`SockAddr::address`].
    #[inline(always)]
    pub fn port(&self) -> u16 {
        // SAFETY: as above. The word holds a `__be16`.
        u16::from_be(unsafe { read_volatile(&raw const (*self.ctx).user_port) } as u16)
    }

    /// Replaces both. False, and nothing written, when the address is not of the hook's family.
    #[inline(always)]
    pub fn set(&self, address: &Address, port: u16) -> bool {
        let words = address.words();
        // SAFETY: as above, and the fields may be written in every hook this is called from.
        unsafe {
            match self.family {
                Family::V4 => {
                    if !address.is_v4() {
                        return false;
                    }
                    write_volatile(&raw mut (*self.ctx).user_ip4, words[3]);
                }
                Family::V6 => {
                    write_volatile(&raw mut (*self.ctx).user_ip6[0], words[0]);
                    write_volatile(&raw mut (*self.ctx).user_ip6[1], words[1]);
                    write_volatile(&raw mut (*self.ctx).user_ip6[2], words[2]);
                    write_volatile(&raw mut (*self.ctx).user_ip6[3], words[3]);
                }
            }
            write_volatile(&raw mut (*self.ctx).user_port, u32::from(port.to_be()));
        }
        true
    }

    /// IP protocol of the socket.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        // SAFETY: as above.
        unsafe { read_volatile(&raw const (*self.ctx).protocol) as u8 }
    }

    /// The socket.
    #[inline(always)]
    pub fn sk(&self) -> *mut bpf_sock {
        // SAFETY: as above.
        unsafe { read_volatile(&raw const (*self.ctx).__bindgen_anon_1.sk) }
    }

    /// The context, for helpers.
    #[inline(always)]
    pub fn as_ptr(&self) -> *mut bpf_sock_addr {
        self.ctx
    }

    /// Cookie of the socket's network namespace.
    #[inline(always)]
    pub fn netns(&self) -> u64 {
        // SAFETY: `ctx` is the program's context.
        unsafe { bpf_get_netns_cookie(self.ctx.cast()) }
    }

    /// Local address, unspecified until bound, and local port, 0 until chosen.
    #[inline(always)]
    pub fn local(&self) -> (Address, u16) {
        let sk = self.sk();
        if sk.is_null() {
            return (Address::UNSPECIFIED, 0);
        }
        // SAFETY: not null; the verifier lets every field of a full socket be read, by word.
        unsafe {
            let port = read_volatile(&raw const (*sk).src_port) as u16;
            let address = match self.family {
                Family::V4 => Address::from_v4_word(read_volatile(&raw const (*sk).src_ip4)),
                Family::V6 => Address::from_words([
                    read_volatile(&raw const (*sk).src_ip6[0]),
                    read_volatile(&raw const (*sk).src_ip6[1]),
                    read_volatile(&raw const (*sk).src_ip6[2]),
                    read_volatile(&raw const (*sk).src_ip6[3]),
                ]),
            };
            (address, port)
        }
    }

    /// Whether a UDP socket is connected.
    #[inline(always)]
    pub fn is_connected(&self) -> bool {
        let sk = self.sk();
        // SAFETY: as `local`. `udp_connect` sets TCP_ESTABLISHED.
        !sk.is_null()
            && unsafe { read_volatile(&raw const (*sk).state) } == mesh_ebpf::ended::state::ESTABLISHED
    }

    /// The interface the socket is bound to, 0 for none.
    #[inline(always)]
    pub fn bound_interface(&self) -> u32 {
        let sk = self.sk();
        if sk.is_null() {
            return 0;
        }
        // SAFETY: as `local`.
        unsafe { read_volatile(&raw const (*sk).bound_dev_if) }
    }
}
