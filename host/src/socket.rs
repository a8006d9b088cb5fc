//! Sockets as a service and a swarm at scale need them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use crate::ports::Route;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A listener on `address`, with an accept queue of `backlog` connections (the kernel caps it at net.core.somaxconn).
///
/// Accepted sockets inherit TCP_NODELAY from it (tcp(7)): pushes are small and must not wait for an acknowledgement.
///
/// # Errors
/// EADDRINUSE: another process listens there. EADDRNOTAVAIL: the address is not of this host. EACCES: a port below
/// net.ipv4.ip_unprivileged_port_start.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT (socket(7)).
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// The address a socket is bound to; tells the port that the kernel chose for port 0.
///
/// # Errors
/// The socket is not an internet socket.
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// The next connection in the accept queue, non-blocking; none if the queue is empty.
///
/// # Errors
/// EMFILE, ENFILE: no descriptor left. A connection that ended while it was queued (ECONNABORTED) is passed over.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => return Ok(Some(socket)),
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Begins a connection on the way that `route` says.
///
/// Where the kernel chooses the port, it does so as late as `connect` itself: with IP_BIND_ADDRESS_NO_PORT (ip(7)) a port
/// only has to be free for this pair of addresses, not for the source alone. A port that is chosen by number is shared by
/// the destinations (SO_REUSEADDR, socket(7)).
/// Returns the socket and whether it is connected already; otherwise it becomes writable when it is.
///
/// # Errors
/// EADDRNOTAVAIL: the source is not of this host, or no port of ip_local_port_range is left for this pair. EMFILE,
/// ENFILE: no descriptor left. ECONNREFUSED: nobody listens (loopback says so at once).
pub fn connect(route: Route) -> io::Result<(OwnedFd, bool)> {
    let Route { source, port, target } = route;
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        if port == 0 {
            set_bind_address_no_port(&socket)?;
        } else {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&SockAddr::from(SocketAddr::new(source, port)))?;
    }
    match socket.connect(&SockAddr::from(target)) {
        Ok(()) => Ok((socket.into(), true)),
        // On loopback the handshake is over by now, but too late for connect(2) to see it.
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            let connected = socket.peer_addr().is_ok();
            Ok((socket.into(), connected))
        }
        Err(error) => Err(error),
    }
}

/// Whether a socket can be bound to `source` here.
///
/// # Errors
/// EADDRNOTAVAIL: the address is not of this host.
pub fn probe_source(source: IpAddr) -> io::Result<()> {
    let address = SocketAddr::new(source, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    set_bind_address_no_port(&socket)?;
    socket.bind(&SockAddr::from(address))
}

#[allow(unsafe_code, reason = "no library offers this option")]
fn set_bind_address_no_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("an int's size is small");
    // SAFETY: the descriptor is open for the call, and the option's value is an int of the given size (ip(7)).
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The error that ended a connection attempt, if one did (SO_ERROR, socket(7)).
///
/// # Errors
/// That error.
pub fn connect_result(socket: impl AsFd) -> io::Result<()> {
    rustix::net::sockopt::socket_error(socket)??;
    Ok(())
}

/// Connections that wait in the accept queue of `listener` (`tcpi_unacked` of TCP_INFO, which for a listener is its
/// backlog in use; tcp(7)).
///
/// # Errors
/// None that a listener can cause.
#[allow(unsafe_code, reason = "no library offers this option")]
pub fn accept_queue_length(listener: impl AsFd) -> io::Result<u32> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).expect("the structure is small");
    // SAFETY: the descriptor is open for the call; the kernel writes at most `length` bytes, and all bit patterns,
    // zeros too, are valid for the integers of the structure.
    let (result, info) = unsafe {
        let result = libc::getsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        );
        (result, info.assume_init())
    };
    if result == 0 { Ok(info.tcpi_unacked) } else { Err(io::Error::last_os_error()) }
}

/// Reads what is there into `buffer`: none if there is nothing now, 0 at the peer's end.
///
/// # Errors
/// ECONNRESET, ETIMEDOUT and the like: the connection is over.
pub fn read(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes as much of `bytes` as the socket takes now, and says how much.
///
/// # Errors
/// EPIPE, ECONNRESET and the like: the connection is over.
pub fn write(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(written) => Ok(written),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Says that no more is written; the peer reads an end after what was written before.
///
/// # Errors
/// The connection is over already.
pub fn finish_writing(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Write)?)
}

/// Makes closing the socket reset the connection (SO_LINGER of 0, socket(7)): no TIME_WAIT is left, and data that the
/// peer has received stays readable there.
///
/// # Errors
/// None that a valid socket can cause.
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// A name for the error of a socket call that does not change with the operating system's language.
#[must_use]
pub fn error_label(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connection_refused",
        Some(libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED) => "reset",
        Some(libc::ETIMEDOUT) => "timed_out_by_kernel",
        Some(libc::EADDRNOTAVAIL) => "no_port",
        Some(libc::EADDRINUSE) => "address_in_use",
        Some(libc::EMFILE | libc::ENFILE) => "no_file",
        Some(libc::ENOBUFS | libc::ENOMEM) => "no_memory",
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN) => "unreachable",
        Some(libc::EACCES | libc::EPERM) => "not_permitted",
        _ => "other_error",
    }
}

/// What a socket error means for this tool and what to change; none where the system's own words say it all.
#[must_use]
pub fn remedy(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::EADDRINUSE => "another process listens there: choose another port, or find it with `ss -ltnp`",
        libc::EADDRNOTAVAIL => {
            "the address is not of this host, or no source port is left for this source and target: add addresses with \
             `ip addr add`, or widen net.ipv4.ip_local_port_range"
        }
        libc::EMFILE => {
            "the limit of open files of one process is reached: raise it (`ulimit -n`, LimitNOFILE=) or use more worker \
             processes"
        }
        libc::ENFILE => "the limit of open files of the whole host is reached: raise it with `sysctl fs.file-max=N`",
        libc::ECONNREFUSED => "nobody listens there: check the address, and that the target is up",
        libc::ETIMEDOUT => {
            "no answer: a firewall drops the packets, or the target's accept queue is full (its listen backlog, \
             net.core.somaxconn)"
        }
        libc::EACCES | libc::EPERM => {
            "not permitted: a port below net.ipv4.ip_unprivileged_port_start needs root or CAP_NET_BIND_SERVICE, and a \
             firewall rule may refuse a connection"
        }
        libc::ENOBUFS | libc::ENOMEM => {
            "the kernel has no memory left for sockets: see net.ipv4.tcp_mem and free memory"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (OwnedFd, SocketAddr) {
        let listener = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = local_address(&listener).unwrap();
        (listener, address)
    }

    #[test]
    fn a_connection_from_a_chosen_source_arrives() {
        let (listener, address) = listener();
        assert_eq!(accept_queue_length(&listener).unwrap(), 0);
        let (client, _) =
            connect(Route { source: Some("127.7.7.7".parse().unwrap()), port: 0, target: address }).unwrap();
        assert_eq!(accept_queue_length(&listener).unwrap(), 1);
        let accepted = accept(&listener).unwrap().expect("loopback connects at once");
        connect_result(&client).unwrap();
        assert_eq!(local_address(&client).unwrap().ip().to_string(), "127.7.7.7");
        assert_eq!(write(&client, b"hello").unwrap(), 5);
        let mut buffer = [0; 16];
        assert_eq!(read(&accepted, &mut buffer).unwrap(), Some(5));
        assert_eq!(read(&accepted, &mut buffer).unwrap(), None);
        finish_writing(&client).unwrap();
        assert_eq!(read(&accepted, &mut buffer).unwrap(), Some(0));
        assert!(accept(&listener).unwrap().is_none());
    }

    #[test]
    fn what_was_written_before_a_reset_can_be_read() {
        let (listener, address) = listener();
        let (client, _) = connect(Route { source: None, port: 0, target: address }).unwrap();
        let accepted = accept(&listener).unwrap().unwrap();
        write(&client, b"bye").unwrap();
        reset_on_close(&client).unwrap();
        drop(client);
        let mut buffer = [0; 16];
        assert_eq!(read(&accepted, &mut buffer).unwrap(), Some(3));
        assert_eq!(error_label(&read(&accepted, &mut buffer).unwrap_err()), "reset");
    }

    #[test]
    fn errors_have_stable_names_and_remedies() {
        let (_listener, address) = listener();
        let in_use = listen(address, 16).unwrap_err();
        assert_eq!(error_label(&in_use), "address_in_use");
        assert!(remedy(&in_use).unwrap().contains("ss -ltnp"));
        let elsewhere = probe_source("192.0.2.1".parse().unwrap()).unwrap_err();
        assert_eq!(error_label(&elsewhere), "no_port");
        assert!(remedy(&elsewhere).unwrap().contains("ip addr add"));
        probe_source("127.200.0.1".parse().unwrap()).unwrap();
        probe_source("::1".parse().unwrap()).unwrap();
    }
}
