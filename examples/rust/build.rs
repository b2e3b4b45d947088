//! Generates the client from the contract. protox is a compiler in Rust: no protoc is needed.

fn main() {
    println!("cargo::rerun-if-changed=../../proto");
    let contract = protox::compile(["stytch/b2b/totp/v1/totp.proto"], ["../../proto"]).unwrap();
    tonic_prost_build::configure().include_file("contract.rs").compile_fds(contract).unwrap();
}
