//! A dependency that calls home, in Rust.
use std::io::Write;
use std::net::TcpStream;

fn main() -> std::io::Result<()> {
    TcpStream::connect("198.51.100.7:443")?.write_all(&[b'x'; 1000])
}
