//! As the header of a Rust snippet has it, for all services.

fn main() {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "stytch/b2b/echo/v1/echo.proto",
        "stytch/b2b/recovery_codes/v1/recovery_codes.proto",
        "stytch/b2b/totp/v1/totp.proto",
    ];
    let contract = protox::compile(files, ["proto"]).unwrap();
    tonic_prost_build::configure().include_file("contract.rs").compile_fds(contract).unwrap();
}
