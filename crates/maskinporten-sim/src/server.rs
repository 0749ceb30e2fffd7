//! The same world on a port, for clients that need a socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower_service::Service;

use crate::sidecar::SIDECAR_PATH;
use crate::{Body, Sim};

/// A [`Sim`] that listens, over HTTP/1 without TLS.
///
/// Dropping it closes the port and every connection, and ends its tasks.
///
/// ```
/// # use maskinporten_sim::SimServer;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let server = SimServer::start().await?;
/// assert_eq!(server.sim().issuer(), server.url());
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
pub struct SimServer {
    sim: Sim,
    addr: SocketAddr,
    /// Holds the one task that accepts; dropping the set ends it, and with it its connections.
    _tasks: JoinSet<()>,
}

impl SimServer {
    /// Starts a new world, by the wall clock, on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// No port could be had.
    pub async fn start() -> io::Result<Self> {
        let sim = Sim::builder().wall_clock().build();
        Self::bind(sim, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Puts a world on a port. Its issuer becomes the address of the server, unless one was chosen
    /// when it was built.
    ///
    /// # Errors
    ///
    /// The port could not be had.
    pub async fn bind(sim: Sim, addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        sim.world.settle_issuer(&url(addr));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, sim.clone()));
        Ok(Self {
            sim,
            addr,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as `http://127.0.0.1:PORT/`.
    pub fn url(&self) -> String {
        url(self.addr)
    }

    /// Where its sidecar hands out tokens: `http://127.0.0.1:PORT/api/v1/token`.
    pub fn sidecar_endpoint(&self) -> String {
        self.url() + SIDECAR_PATH
    }

    /// The world behind the port.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }
}

impl fmt::Debug for SimServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimServer")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// How a client reaches the port: an address that means "all of them" is not one to connect to.
fn url(mut addr: SocketAddr) -> String {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    format!("http://{addr}/")
}

/// Out of file descriptors, accepting fails at once and for a while; this keeps it from spinning.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

async fn accept(listener: TcpListener, sim: Sim) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without this a small answer may wait forty milliseconds for an acknowledgement.
                let _ = stream.set_nodelay(true);
                let sim = sim.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request: http::Request<Incoming>| {
                        sim.clone().call(request.map(Body::new))
                    });
                    // A connection that breaks is the client's affair, or that of a fault, for which
                    // hyper closes it without an answer; its request is in the journal.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
