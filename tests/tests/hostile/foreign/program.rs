//! Somebody else's cgroup programs, a dozen instructions each, assembled here into the object that a loader wants.

use std::{fs::File, net::Ipv4Addr, path::Path};

use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSockAddr, SockOps},
};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};

/// One instruction (RFC 9669, 3): opcode, registers, offset, immediate value.
type Instruction = (u8, u8, i16, i32);

const LOAD_WORD: u8 = 0x61;
const STORE_WORD: u8 = 0x63;
const MOVE_32: u8 = 0xb4;
const MOVE_64: u8 = 0xb7;
const JUMP_32_UNLESS: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Register 2 as the destination and 1, the context, as the source; and the other way round.
const R2_OF_R1: u8 = 0x12;
const R1_OF_R2: u8 = 0x21;

/// Offset of `user_ip4` in `struct bpf_sock_addr`.
const USER_IP4: i16 = 4;
/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`, in the first word of `struct bpf_sock_ops`.
const ACTIVE_ESTABLISHED: i32 = 4;
/// `bpf_sock_ops_cb_flags_set`.
const CB_FLAGS_SET: i32 = 59;

const ALLOW: [Instruction; 2] = [(MOVE_64, 0, 0, 1), (EXIT, 0, 0, 0)];

/// Attaches a connect4 program to `cgroup` that sends what is meant for `from` to `to`, until the value is dropped.
pub(super) fn translate(cgroup: &Path, from: Ipv4Addr, to: Ipv4Addr) -> Ebpf {
    // Addresses are in network order in memory.
    let word = |address: Ipv4Addr| i32::from_ne_bytes(address.octets());
    let body = [
        (LOAD_WORD, R2_OF_R1, USER_IP4, 0),
        (JUMP_32_UNLESS, 2, 2, word(from)),
        (MOVE_32, 2, 0, word(to)),
        (STORE_WORD, R1_OF_R2, USER_IP4, 0),
    ];
    let mut ebpf = load("cgroup/connect4", &[&body[..], &ALLOW].concat());
    let program: &mut CgroupSockAddr = ebpf.program_mut("foreign").unwrap().try_into().unwrap();
    program.load().unwrap();
    // With links the kernel always runs several; the mode's own flag is refused for them.
    program.attach(File::open(cgroup).unwrap(), CgroupAttachMode::Single).unwrap();
    ebpf
}

/// Attaches a sock_ops program to `cgroup` that, on every connection made, asks to be called for nothing more, and takes
/// nobody else's wish into account.
pub(super) fn forget_callbacks(cgroup: &Path) -> Ebpf {
    let body = [
        (LOAD_WORD, R2_OF_R1, 0, 0),
        (JUMP_32_UNLESS, 2, 2, ACTIVE_ESTABLISHED),
        (MOVE_64, 2, 0, 0),
        (CALL, 0, 0, CB_FLAGS_SET),
    ];
    let mut ebpf = load("sockops", &[&body[..], &ALLOW].concat());
    let program: &mut SockOps = ebpf.program_mut("foreign").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach(File::open(cgroup).unwrap(), CgroupAttachMode::Single).unwrap();
    ebpf
}

fn load(section: &str, instructions: &[Instruction]) -> Ebpf {
    let mut code = Vec::new();
    for (opcode, registers, offset, value) in instructions {
        code.extend([*opcode, *registers]);
        code.extend(offset.to_le_bytes());
        code.extend(value.to_le_bytes());
    }
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);
    let text = object.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Text);
    object.append_section_data(text, &code, 8);
    object.add_symbol(Symbol {
        name: b"foreign".to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    Ebpf::load(&object.write().unwrap()).unwrap()
}
