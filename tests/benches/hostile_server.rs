//! A server on a port that answers every request in the same way, byte by byte as it is told to.
//!
//! It runs on threads of its own: no memory of its is counted on the client's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What every request gets.
#[derive(Clone)]
pub(crate) enum Answer {
    /// No connection: nobody listens.
    Refused,
    /// A connection and no word.
    Silence,
    /// These bytes, and the connection is closed.
    Bytes(Vec<u8>),
    /// The first bytes at once, and then one a second.
    Slow(Vec<u8>, Vec<u8>),
    /// The first bytes, and then the others so many times.
    Repeated(Vec<u8>, Vec<u8>, usize),
    /// These bytes, and the connection is reset.
    Reset(Vec<u8>),
}

/// So many times that nobody sees the end.
pub(crate) const WITHOUT_END: usize = usize::MAX;

/// A server that was started; it goes with the program.
pub(crate) struct Server {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Keeps a port that is refused from being given to somebody who listens.
    _occupied: Option<(TcpStream, TcpListener)>,
}

impl Server {
    pub(crate) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        if let Answer::Refused = answer {
            // The near end of a connection has a port too, and nobody can listen there.
            let near = TcpStream::connect(addr).unwrap();
            return Self {
                addr: near.local_addr().unwrap(),
                connections,
                _occupied: Some((near, listener)),
            };
        }
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let answer = answer.clone();
                count.fetch_add(1, Ordering::Relaxed);
                // A client that hangs up in the middle is what most answers are for.
                thread::spawn(move || stream.and_then(|stream| answer.give(stream)));
            }
        });
        Self {
            addr,
            connections,
            _occupied: None,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many requests came: each has a connection of its own.
    pub(crate) fn requests(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Answer {
    fn give(self, mut stream: TcpStream) -> std::io::Result<()> {
        if let Self::Reset(bytes) = self {
            // Closed with a request that was not read, a connection is reset.
            stream.read_exact(&mut [0])?;
            return stream.write_all(&bytes);
        }
        read_request(&stream)?;
        match self {
            Self::Refused | Self::Reset(_) => Ok(()),
            Self::Silence => stream.read_to_end(&mut Vec::new()).map(drop),
            Self::Bytes(bytes) => stream.write_all(&bytes),
            Self::Slow(first, rest) => {
                stream.write_all(&first)?;
                for byte in rest {
                    thread::sleep(Duration::from_secs(1));
                    stream.write_all(&[byte])?;
                }
                Ok(())
            }
            Self::Repeated(first, piece, times) => {
                stream.write_all(&first)?;
                (0..times).try_for_each(|_| stream.write_all(&piece))
            }
        }
    }
}

/// Reads to the end of the body, as a server that means well does.
fn read_request(stream: &TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    stream.read_exact(&mut vec![0; length])
}
