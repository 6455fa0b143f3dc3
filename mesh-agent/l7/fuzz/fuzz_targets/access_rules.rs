#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_l7::fuzzing::access_rules(bytes));
