from __future__ import annotations

import ipaddress

import pytest

from shared.errors import ConfigurationError, InvalidRequest
from shared.url_policy import MAX_URL_CHARS, check_address, check_url, networks_of, ports_of

CLOSED = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "2001:db8::1", "3fff::1", "5f00::1", "100::1", "64:ff9b:1::a00:1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
]  # fmt: skip
OPEN = [
    "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "223.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("text", CLOSED)
def test_an_address_that_is_not_public_is_refused(text):
    with pytest.raises(InvalidRequest, match="address that is not public"):
        check_address(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", OPEN)
def test_an_address_of_the_open_internet_passes(text):
    check_address(ipaddress.ip_address(text))


def test_a_network_that_is_allowed_opens_itself_and_no_other():
    allowed = networks_of("10.1.0.0/16, fd00::/8")

    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::5"):
        check_address(ipaddress.ip_address(text), allowed)
    for text in ("10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1", "fc00::1"):
        with pytest.raises(InvalidRequest):
            check_address(ipaddress.ip_address(text), allowed)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "http:// or https://"),
        ("ftp://example.org/x", "http:// or https://"),
        ("gopher://example.org:80/_x", "http:// or https://"),
        ("data:text/plain,x", "http:// or https://"),
        ("//example.org/x", "http:// or https://"),
        ("example.org", "http:// or https://"),
        ("", "http:// or https://"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("https://.", "no host"),
        ("https://user:secret@example.org/", "user name or password"),
        ("https://user@example.org/", "user name or password"),
        ("https://example.org:80@127.0.0.1/", "user name or password"),
        ("http://example.org:22/", "port 22 is not allowed; allowed are 80 and 443"),
        ("http://example.org:6379/", "port 6379"),
        ("http://example.org:0/", "port 0"),
        ("http://example.org:99999/", "invalid URL"),
        ("http://example.org:http/", "invalid URL"),
        ("http://[::1/", "invalid URL"),
        ("http://exa mple.org/", "spaces"),
        ("http://example.org/\r\nHost: x", "control characters"),
        ("http://example.org\\@127.0.0.1/", "backslashes"),
        ("http://ex\tample.org/", "control characters"),
        ("http://example.org/\ud800", "control characters"),
        ("http://" + "a" * 64 + ".org/", "invalid host name"),
        ("http://" + "a." * 150 + "org/", "invalid host name"),
        ("http://exa$mple.org/", "invalid host name"),
        ("http://a..b/", "invalid host name"),
        ("http://%31%32%37.0.0.1/", "invalid host name"),
        ("http://127.1/", "invalid IP address"),
        ("http://2130706433/", "invalid IP address"),
        ("http://0x7f000001/", "invalid IP address"),
        ("http://0177.0.0.1/", "invalid IP address"),
        ("http://example.0x10/", "invalid IP address"),
        ("http://127.0.0.1/", "address that is not public"),
        ("http://127.0.0.1./", "address that is not public"),
        ("http://\uff11\uff12\uff17.0.0.1/", "address that is not public"),
        ("http://127。0。0。1/", "address that is not public"),
        ("http://169.254.169.254/latest/meta-data/", "address that is not public"),
        ("http://[::1]/", "address that is not public"),
        ("http://[::ffff:7f00:1]/", "address that is not public"),
        ("http://[fe80::1%25lo]/", "invalid host name"),
        ("http://[64:ff9b::a9fe:a9fe]/", "address that is not public"),
    ],
)  # fmt: skip
def test_a_url_that_is_not_ordinary_is_refused_with_the_reason(url, reason):
    with pytest.raises(InvalidRequest) as caught:
        check_url(url)

    assert reason in caught.value.detail
    assert "secret" not in caught.value.detail


def test_a_url_that_is_too_long_is_refused_with_the_limit():
    with pytest.raises(InvalidRequest, match=f"{MAX_URL_CHARS + 1} characters; at most 2048"):
        check_url("https://example.org/".ljust(MAX_URL_CHARS + 1, "x"))


def test_a_url_is_taken_apart_into_what_goes_over_the_wire():
    target = check_url("HTTPS://Bücher.Example:443/ä b%20c?q=ö&r=%2F#part".replace(" ", "%20"))

    assert (target.scheme, target.host, target.port) == ("https", "xn--bcher-kva.example", 443)
    assert target.path == "/%C3%A4%20b%20c?q=%C3%B6&r=%2F"
    assert target.authority == "xn--bcher-kva.example"
    assert target.origin == "https://xn--bcher-kva.example"


def test_an_address_and_an_unusual_port_stand_in_the_authority():
    target = check_url("http://[2606:4700::1111]:8080", ports={8080})

    assert (target.host, target.authority, target.path) == (
        "2606:4700::1111",
        "[2606:4700::1111]:8080",
        "/",
    )


def test_a_port_that_is_allowed_passes():
    assert check_url("http://example.org:8443/", ports=ports_of("8080, 8443")).port == 8443
    with pytest.raises(InvalidRequest, match="allowed are 80, 443, 8080 and 8443"):
        check_url("http://example.org:9000/", ports=ports_of("8080,8443"))


def test_a_literal_address_of_an_allowed_network_passes():
    assert check_url("http://127.0.0.1/", allowed_networks=networks_of("127.0.0.0/8"))


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (networks_of, "10.0.0.1/8"),
        (networks_of, "example.org"),
        (ports_of, "0"),
        (ports_of, "70000"),
        (ports_of, "http"),
        (ports_of, "-1"),
    ],
)
def test_a_setting_that_is_no_network_or_port_stops_the_start(read, text):
    with pytest.raises(ConfigurationError, match="PIGEONHOLE_FETCH_"):
        read(text)


def test_empty_settings_allow_nothing_more():
    assert networks_of("") == ()
    assert ports_of(" , ") == frozenset()
