//! Where a request comes from, for the bounds that hold for each visitor.
//!
//! Behind a proxy every connection is the proxy's. `X-Forwarded-For` names the visitor, but a visitor can
//! send one too: only what our own proxies have appended counts, and how many they are is configured.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::AppState;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The other end of the connection; the accept loop notes it on each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The visitor's address; none where it can't be told from that of other visitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visitor(pub(super) Option<IpAddr>);

impl FromRequestParts<AppState> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        Ok(Self(peer.and_then(|peer| visitor(peer, &parts.headers, app.proxies))))
    }
}

fn visitor(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> Option<IpAddr> {
    if let Some(outermost) = proxies.checked_sub(1) {
        let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
        let named: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        // The last proxy appends last, so the outermost one's word is as far from the end as there are
        // proxies behind it. A shorter list has been through fewer of them.
        if let Some(entry) = named.iter().rev().nth(outermost).or(named.first()) {
            return parse(entry);
        }
    }
    // Another machine of our own network is a proxy that nobody has told us of, and stands for everybody.
    let peer = peer.to_canonical();
    is_public(&peer).then_some(peer)
}

/// An address as proxies write it: some add the port.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = || entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(with_port).map(|address| address.to_canonical())
}

fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // RFC 6598: between a provider and its customers, as some platforms use it within.
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, forwarded: &[&'static str], proxies: usize) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().expect("a value"));
        }
        visitor(peer.parse().expect("an address"), &headers, proxies).map(|address| address.to_string())
    }

    #[test]
    fn without_proxies_the_peer_counts_and_what_it_says_does_not() {
        assert_eq!(of("203.0.113.7", &[], 0).as_deref(), Some("203.0.113.7"));
        assert_eq!(of("203.0.113.7", &["198.51.100.1"], 0).as_deref(), Some("203.0.113.7"));
        assert_eq!(of("::ffff:203.0.113.7", &[], 0).as_deref(), Some("203.0.113.7"));
        for proxy in ["127.0.0.1", "10.1.2.3", "172.17.0.1", "169.254.1.1", "100.64.0.1", "::1", "fd00::1"] {
            assert_eq!(of(proxy, &["198.51.100.1"], 0), None, "{proxy} stands for everybody behind it");
        }
    }

    #[test]
    fn behind_proxies_their_word_counts_and_nothing_before_it() {
        let forged = "192.0.2.66";
        assert_eq!(of("10.0.0.1", &["203.0.113.7"], 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of("10.0.0.1", &[forged, "203.0.113.7"], 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(of("10.0.0.1", &["192.0.2.66, 203.0.113.7, 10.9.9.9"], 2).as_deref(), Some("203.0.113.7"));
        assert_eq!(of("10.0.0.1", &["203.0.113.7"], 2).as_deref(), Some("203.0.113.7"), "through one only");
        assert_eq!(of("10.0.0.1", &["10.5.5.5"], 1).as_deref(), Some("10.5.5.5"), "a visitor of our network");
        assert_eq!(of("10.0.0.1", &[], 1), None);
        assert_eq!(of("10.0.0.1", &["203.0.113.7, unknown"], 1), None);
    }

    #[test]
    fn addresses_come_with_ports_and_brackets() {
        let ask = |entry| of("10.0.0.1", &[entry], 1);
        assert_eq!(ask("203.0.113.7:4711").as_deref(), Some("203.0.113.7"));
        assert_eq!(ask("2001:db8::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(ask("[2001:db8::1]").as_deref(), Some("2001:db8::1"));
        assert_eq!(ask("[2001:db8::1]:4711").as_deref(), Some("2001:db8::1"));
    }
}
