"""A URL that the service names is opened only where it can do no harm."""

from __future__ import annotations

import pytest

from airflow_provider_perfectlyclear.api.safety import Guard
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.errors import UnsafeUrl

PUBLIC = "93.184.216.34"
NAMES = {
    "store.example": [PUBLIC],
    "intranet.example": ["10.0.0.7"],
    "both.example": [PUBLIC, "127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "six.example": ["fe80::1%eth0"],
}


def guard(base_url: str = "https://api.perfectlyclear.io/v2", **more: object) -> Guard:
    settings = Settings(api_key="k", base_url=base_url, **more)  # type: ignore[arg-type]
    return Guard(settings, resolve=lambda host: NAMES.get(host, []))


@pytest.mark.parametrize(
    "url",
    ["https://store.example/a?sig=1", f"https://{PUBLIC}/a", "https://store.example:8443/a", "https://unknown.example/",
     "HTTPS://STORE.example./a", "https://[2606:2800:220:1:248:1893:25c8:1946]/"],
)  # fmt: skip
def test_public_https_is_opened(url: str) -> None:
    assert guard().check(url).scheme == "https"


HARMFUL = [
    "http://store.example/a",
    "ftp://store.example/a",
    "file:///etc/passwd",
    "//store.example/a",
    "/relative",
    "",
    "https://",
    "https:///a",
    "https://user:secret@store.example/a",
    "https://user@store.example/a",
    "https://127.0.0.1/a",
    "https://127.1/a",
    "https://2130706433/a",
    "https://0x7f000001/a",
    "https://0177.0.0.1/a",
    "https://localhost/a",
    "https://LOCALHOST./a",
    "https://x.localhost/a",
    "https://10.1.2.3/a",
    "https://192.168.0.1/a",
    "https://172.16.0.1/a",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/a",
    "https://0.0.0.0/a",
    "https://224.0.0.1/a",
    "https://[::1]/a",
    "https://[::ffff:127.0.0.1]/a",
    "https://[::ffff:10.0.0.1]/a",
    "https://[2002:7f00:1::]/a",
    "https://[2002:0a00:1::]/a",
    "https://[64:ff9b::7f00:1]/a",
    "https://[fe80::1]/a",
    "https://[fc00::1]/a",
    "https://[::]/a",
    "https://intranet.example/a",
    "https://both.example/a",
    "https://metadata.example/a",
    "https://six.example/a",
    "https://[bad/a",
    "https://store.example:99999999/a",
    "https://sto\nre.example/a",
    "https://xn--/a",
    "https://a.xn--\x7f.example/a",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("url", HARMFUL)
def test_everything_else_is_refused_by_its_host_and_not_quoted(url: str) -> None:
    with pytest.raises(UnsafeUrl) as caught:
        guard().check(f"{url}?X-Signature=canary")
    assert "canary" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/a", "http://127.0.0.2/a", "http://localhost/a", "https://[::1]/a"]
)
def test_loopback_may_be_opened_when_the_connection_itself_is_on_loopback(url: str) -> None:
    assert guard("http://127.0.0.1:9000/v2").check(url)


@pytest.mark.parametrize(
    "url", ["https://10.1.2.3/a", "http://169.254.169.254/a", "file:///etc/passwd", "http://u:p@127.0.0.1/"]
)
def test_a_connection_on_loopback_opens_nothing_else(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        guard("http://localhost:9000/v2").check(url)


@pytest.mark.parametrize(
    "url", ["https://10.1.2.3/a", "http://169.254.169.254/a", "http://intranet.example/"]
)
def test_allow_insecure_hosts_opens_any_host(url: str) -> None:
    assert guard(allow_insecure_hosts=True).check(url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://u:p@store.example/", "gopher://x/"])
def test_not_even_allow_insecure_hosts_opens_other_schemes_or_passwords(url: str) -> None:
    with pytest.raises(UnsafeUrl):
        guard(allow_insecure_hosts=True).check(url)


def test_behind_a_proxy_names_are_left_to_it() -> None:
    assert guard(proxy="http://proxy.example:3128").check("https://intranet.example/a")
    with pytest.raises(UnsafeUrl):
        guard(proxy="http://proxy.example:3128").check("https://10.0.0.7/a")


def test_a_name_is_looked_up_once_in_five_minutes() -> None:
    looked_up: list[str] = []
    now = [0.0]

    def resolve(host: str) -> list[str]:
        looked_up.append(host)
        return [PUBLIC]

    one = Guard(Settings(api_key="k"), resolve=resolve, clock=lambda: now[0])
    for now[0] in (0.0, 100.0, 299.0, 301.0):
        one.check("https://store.example/a")
    assert looked_up == ["store.example", "store.example"]
