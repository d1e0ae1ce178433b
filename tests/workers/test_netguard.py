import ipaddress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SettingsError
from workers.downloads.errors import BadLink, NameNotResolved, PrivateAddress, UnsupportedScheme
from workers.downloads.net.netguard import NetGuard, resolve

PUBLIC = "93.184.215.14"


def answering(*addresses):
    return lambda host, port: list(addresses)


def reach(guard, url="https://videos.example/v.mp4"):
    return guard.addresses(guard.check_url(url))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",  # this machine
        "127.8.8.8",  # all of 127/8 is this machine
        "0.0.0.0",  # Linux connects it to this machine
        "10.1.2.3",  # RFC 1918
        "172.31.0.1",  # RFC 1918
        "192.168.0.1",  # RFC 1918
        "169.254.169.254",  # link-local: a cloud's metadata service
        "100.64.0.1",  # carrier-grade NAT
        "192.0.0.8",  # IETF protocol assignments
        "198.18.0.1",  # benchmarking
        "203.0.113.9",  # documentation
        "224.0.0.1",  # multicast
        "255.255.255.255",  # broadcast
        "240.0.0.1",  # reserved
        "::1",  # this machine
        "::",  # unspecified
        "fe80::1",  # link-local
        "fe80::1%eth0",  # with a zone
        "fc00::1",  # unique local
        "fec0::1",  # site-local
        "ff02::1",  # multicast
        "2001:db8::1",  # documentation
        "2001::1",  # Teredo
        "::ffff:10.0.0.1",  # IPv4-mapped
        "::10.0.0.1",  # IPv4-compatible
        "2002:0a00:0001::1",  # 6to4 around 10.0.0.1
        "64:ff9b::10.0.0.1",  # NAT64 around 10.0.0.1
        "64:ff9b:1::1",  # local NAT64
        "::ffff:0:10.0.0.1",  # IPv4-translated
        "::ffff:0:93.184.215.14",  # IPv4-translated around a public address: no network routes it
        "4000::1",  # never given out
        "1::1",  # reserved
        "e000::1",  # reserved
    ],
)
def test_no_way_into_a_private_network(address):
    with pytest.raises(PrivateAddress, match=r"videos\.example"):
        reach(NetGuard(resolver=answering(address)))
    with pytest.raises(PrivateAddress):  # one private answer among public ones
        reach(NetGuard(resolver=answering(PUBLIC, address)))


@pytest.mark.parametrize(
    "address",
    [
        PUBLIC,  # IPv4
        "2606:2800:21f:cb07:6820:80da:af6b:8b2c",  # IPv6
        "::ffff:93.184.215.14",  # mapped public
        "64:ff9b::93.184.215.14",  # NAT64, as an IPv6-only network gives
    ],
)
def test_public_addresses_are_reached(address):
    assert reach(NetGuard(resolver=answering(address))) == [address]


@given(st.ip_addresses(v=4), st.sampled_from(["{}", "::ffff:{}", "64:ff9b::{}"]))
def test_no_disguise_changes_the_answer(address, disguise):
    def allowed(text):
        try:
            return bool(reach(NetGuard(resolver=answering(text))))
        except PrivateAddress:
            return False

    assert allowed(disguise.format(address)) == allowed(str(address))
    if not address.is_global:
        assert not allowed(str(address))


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "[::1]", "127.0.0.1"])  # ways to write it
def test_this_machine_by_any_spelling(host):
    with pytest.raises((PrivateAddress, NameNotResolved, BadLink)):
        reach(NetGuard(resolver=resolve), f"http://{host}/x")


def test_an_operator_can_allow_a_network_and_only_that():
    guard = NetGuard(("10.1.2.0/24",), answering("10.1.2.9"))
    assert reach(guard, "http://nas.example/v.mp4") == ["10.1.2.9"]
    with pytest.raises(PrivateAddress):
        reach(NetGuard(("10.1.2.0/24",), answering("10.1.3.9")))


def test_plain_http_can_be_kept_to_allowed_networks():
    guard = NetGuard(("10.0.0.0/8",), answering(PUBLIC), plain_http=False)
    with pytest.raises(UnsupportedScheme):
        reach(guard, "http://videos.example/v")
    assert reach(guard, "https://videos.example/v") == [PUBLIC]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://a.example/v.mp4", UnsupportedScheme),  # not http
        ("file:///etc/passwd", UnsupportedScheme),  # a redirect may not lead to files
        ("gopher://a.example/", UnsupportedScheme),  # an old trick
        ("https:///v.mp4", BadLink),  # no host
        ("https://user:hunter2@a.example/v.mp4", BadLink),  # a password
        ("https://token@a.example/v.mp4", BadLink),  # a token
        ("https://[::1/v.mp4", BadLink),  # not parseable
    ],
)
def test_links_that_are_refused_as_they_stand(url, error):
    with pytest.raises(error) as caught:
        NetGuard().check_url(url)
    assert "hunter2" not in str(caught.value)
    assert "token@" not in str(caught.value)


def test_no_address():
    def unknown(host, port):
        raise OSError("Name or service not known")

    with pytest.raises(NameNotResolved, match=r"videos\.example"):
        reach(NetGuard(resolver=unknown))
    with pytest.raises(NameNotResolved):
        reach(NetGuard(resolver=answering()))


def test_a_network_that_is_none_names_the_setting():
    with pytest.raises(SettingsError, match="HARDPOSE_ALLOW_NETWORKS"):
        NetGuard(("10.0.0.0/40",))


def test_the_system_resolver_gives_plain_addresses():
    found = resolve("localhost", 80)
    assert found
    assert all(ipaddress.ip_address(address).is_loopback for address in found)
    assert httpx.URL("http://localhost/").host == "localhost"
