//! What the labels of outcomes and ends mean, and what to do about them: the words that tables and reports show.

/// What a label says happened, and the remedy where there is one. None for a label this version does not know.
#[must_use]
pub fn explain(label: &str) -> Option<&'static str> {
    Some(match label {
        "registered" => "the service holds the connection",
        "closed_here" => "the swarm closed it, as asked",
        "refused_full" => {
            "the service holds as many connections as it may: raise its limit (--max-connections, target.max_connections)"
        }
        "refused_version" => "the service speaks no common version of the protocol: use builds of the same version",
        "refused_credential" => "the service does not accept the client's credential",
        "refused_draining" | "goodbye_draining" => "the service is shutting down",
        "refused_other" => "the service refused for a reason this version does not know",
        "timed_out_connecting" => {
            "no answer to the SYN in time: the accept queue is full (the service's backlog, net.core.somaxconn), or a \
             firewall drops packets"
        }
        "timed_out_registering" => {
            "connected, but not registered in time: the service is overloaded, or something else listens there"
        }
        "timed_out_by_kernel" => "the kernel gave up waiting for the peer: a firewall or a dead host in between",
        "connection_refused" => "nobody listens there: check the address, and that the service is up",
        "reset" => "the service reset the connection: it crashed, or closed with data unread",
        "closed_by_server" => "the service closed the connection without a word",
        "not_the_protocol" => "the answer is not of the protocol: is it the address for clients?",
        "no_port" => {
            "no source port left, or no such source address: name more addresses (--sources, swarm.sources), or widen \
             net.ipv4.ip_local_port_range"
        }
        "address_in_use" => "every source port is taken: name more addresses (--sources, swarm.sources)",
        "no_file" => {
            "the limit of open files is reached: more processes (--processes, swarm.processes), `ulimit -n`, or fs.file-max for the host"
        }
        "no_memory" => {
            "the kernel has no memory for the socket or its epoll item: net.ipv4.tcp_mem, fs.epoll.max_user_watches"
        }
        "unreachable" => "no route to the service: check the address and `ip route`",
        "not_permitted" => "a firewall rule or a missing capability forbids it",
        "goodbye_replaced" => "another connection registered the same id: ranges of ids overlap",
        "goodbye_silent" => {
            "silent for longer than the service's idle timeout: shorten the interval of Nops (--nop-interval, swarm.nop_interval)"
        }
        "goodbye_protocol" => "the service says the client broke the protocol: use builds of the same version",
        "goodbye_not_registered" => "the service did not see a Register in time",
        "goodbye_slow_reader" => "the client did not read what it was sent",
        "goodbye_other" => "the service ended it for a reason this version does not know",
        "worker_lost" => "the swarm's worker process ended; its messages are in the log",
        "other_error" => "an error of the operating system that has no label; see the log",
        _ => return None,
    })
}

/// Whether an attempt with this outcome failed for want of something on the generator's side: it says nothing about the
/// service.
#[must_use]
pub fn is_of_generator(label: &str) -> bool {
    matches!(label, "no_port" | "address_in_use" | "no_file" | "no_memory" | "not_permitted" | "worker_lost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_label_is_not_guessed() {
        assert_eq!(explain("purple"), None);
        assert!(explain("no_port").is_some_and(|words| words.contains("--sources")));
    }
}
