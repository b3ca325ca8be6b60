"""An Airflow connection, in every form that people write it, becomes the settings of a client."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_perfectlyclear.adapters.connection import (
    aget_settings,
    arenewer,
    get_settings,
    renewer,
    settings_from,
)
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.settings import Settings
from airflow_provider_perfectlyclear.errors import ConfigurationError

KEY = "canary-7f3e9a"
PUBLIC = "https://api.perfectlyclear.io/v2"
OTHER = "https://api.example.com/v2"
LOCAL = "http://127.0.0.1:8080/v2"


def _json(**fields):
    return json.dumps({"conn_type": "perfectlyclear", "password": KEY, **fields})


def _settings(text: str):
    if text.startswith("{"):
        return settings_from(Connection.from_json(text, conn_id="pc"))
    from_uri = getattr(Connection, "from_uri", lambda uri, conn_id: Connection(conn_id, uri=uri))  # or 2.11
    return settings_from(from_uri(text, conn_id="pc"))


@pytest.mark.parametrize(
    ("text", "base_url"),
    [
        # the public service
        (f"perfectlyclear://:{KEY}@", PUBLIC),
        (f"perfectlyclear://:{KEY}@/", PUBLIC),
        (_json(), PUBLIC),
        (_json(host="", schema="", port=None, extra=None), PUBLIC),
        (_json(host="  ", port=0), PUBLIC),
        (_json(host="", port=443), PUBLIC),
        (f"perfectlyclear://:{KEY}@:443", PUBLIC),
        # a bare host
        (f"perfectlyclear://:{KEY}@api.example.com", OTHER),
        (f"perfectlyclear://:{KEY}@api.example.com/", OTHER),
        (f"perfectlyclear://:{KEY}@api.example.com/v2", OTHER),
        (f"perfectlyclear://:{KEY}@api.example.com/v2/", OTHER),
        (f"perfectlyclear://:{KEY}@api.example.com:0", OTHER),
        (f"perfectlyclear://:{KEY}@api.example.com:443/v2", OTHER),
        (_json(host="api.example.com"), OTHER),
        (_json(host=" api.example.com/ "), OTHER),
        (_json(host="API.Example.com", port=0), OTHER),
        (_json(host="api.example.com", port="0"), OTHER),
        (_json(host="api.example.com", port=443), OTHER),
        (_json(host="api.example.com", schema="v2"), OTHER),
        (_json(host="api.example.com", schema="/v2/"), OTHER),
        (_json(host="api.example.com", schema="https"), OTHER),
        (_json(host="api.example.com/v2", schema="v2"), OTHER),
        # a URL
        (f"perfectlyclear://https://:{KEY}@api.example.com", OTHER),
        (f"perfectlyclear://https://:{KEY}@api.example.com/v2", OTHER),
        (f"perfectlyclear://https://:{KEY}@api.example.com:443/v2", OTHER),
        (f"perfectlyclear://:{KEY}@https%3A%2F%2Fapi.example.com%2Fv2", OTHER),
        (_json(host="https://api.example.com"), OTHER),
        (_json(host="https://api.example.com/"), OTHER),
        (_json(host="https://api.example.com/v2/"), OTHER),
        (_json(host="https://api.example.com:443/v2", port=443), OTHER),
        (_json(host="https://api.example.com/v2", port=0), OTHER),
        (_json(host="https://api.example.com:0/v2"), OTHER),
        (_json(host="HTTPS://api.example.com"), OTHER),
        # another path, another port
        (_json(host="https://gateway.example.com/eyeq/v2"), "https://gateway.example.com/eyeq/v2"),
        (_json(host="gateway.example.com", schema="eyeq/v2"), "https://gateway.example.com/eyeq/v2"),
        (f"perfectlyclear://:{KEY}@gateway.example.com/eyeq%2Fv2", "https://gateway.example.com/eyeq/v2"),
        (_json(host="api.example.com:8443"), "https://api.example.com:8443/v2"),
        (_json(host="api.example.com", port=8443), "https://api.example.com:8443/v2"),
        # loopback, the emulator's
        (f"perfectlyclear://http://:{KEY}@127.0.0.1:8080", LOCAL),
        (f"perfectlyclear://http://:{KEY}@127.0.0.1:8080/v2", LOCAL),
        (_json(host="http://127.0.0.1:8080"), LOCAL),
        (_json(host="http://127.0.0.1", port=8080), LOCAL),
        (_json(host="127.0.0.1", port=8080, schema="http"), LOCAL),
        (_json(host="http://localhost:8080/v2"), "http://localhost:8080/v2"),
        (_json(host="http://[::1]:8080"), "http://[::1]:8080/v2"),
        (_json(host="::1", port=8080), "https://[::1]:8080/v2"),
    ],
)
def test_every_way_of_writing_a_connection_leads_to_the_same_base_url(text, base_url):
    settings = _settings(text)
    assert (settings.base_url, settings.api_key, settings.name) == (base_url, KEY, "pc")


@pytest.mark.parametrize("text", [_json(host="http://127.0.0.1:8080/v2"), _json(host="api.example.com:8443")])
def test_a_connection_survives_airflows_way_of_storing_it_as_a_uri(text):
    uri = Connection.from_json(text, conn_id="pc").get_uri()
    assert _settings(uri) == _settings(text)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"password": ""}, "Connection 'pc' has no API key: put it in the password."),
        ({"password": None}, "Connection 'pc' has no API key: put it in the password."),
        ({"password": " \n"}, "Connection 'pc' has no API key: put it in the password."),
        ({"password": "two words"}, "copy it again"),
        ({"password": "schlüssel"}, "copy it again"),
        ({"host": "http://api.example.com"}, "unencrypted to 'api.example.com'"),
        ({"host": "ftp://api.example.com"}, "neither a URL"),
        ({"host": "https://"}, "neither a URL"),
        ({"host": "api example.com"}, "neither a URL"),
        ({"host": "api.example.com:port"}, "neither a URL"),
        ({"host": "https://me:secret@api.example.com"}, "holds a user"),
        ({"host": "https://api.example.com/v2?x=1"}, "a query"),
        ({"host": "api.example.com:1", "port": 2}, "two ports"),
        ({"host": "api.example.com/v2", "schema": "v3"}, "two paths"),
        ({"schema": "v2"}, "no host"),
        ({"port": 8443}, "no host"),
        ({"extra": "not json"}, "not a JSON object"),
        ({"extra": "[1]"}, "not a JSON object"),
        ({"extra": {"timeout": "soon"}}, "extra field 'timeout' must be a number"),
        ({"extra": {"timeout": 0}}, "extra field 'timeout' must be a number above 0"),
        ({"extra": {"timeout": True}}, "extra field 'timeout' must be a number"),
        ({"extra": {"max_retries": 1.5}}, "extra field 'max_retries' must be a whole number"),
        ({"extra": {"requests_per_second": "nan"}}, "extra field 'requests_per_second' must be"),
        ({"extra": {"verify": "/no/such/ca.pem"}}, "extra field 'verify' must be true, false or the path"),
        ({"extra": {"proxy": "proxy:3128"}}, "extra field 'proxy' must be a URL"),
        ({"extra": {"allow_insecure_hosts": "maybe"}}, "must be true or false"),
        ({"extra": {"time_out": 3}}, "extra field 'time_out' is unknown; did you mean 'timeout'?"),
    ],
)
def test_a_wrong_connection_is_refused_by_a_message_that_names_the_field(fields, says):
    with pytest.raises(ConfigurationError) as refused:
        _settings(_json(**fields))
    assert "'pc'" in str(refused.value) and says in str(refused.value)
    assert KEY not in str(refused.value) and "secret" not in str(refused.value)


def test_the_extra_is_read_as_numbers_or_as_the_strings_of_a_uri():
    extra = {
        "timeout": 5,
        "max_retries": 2,
        "requests_per_second": 1.5,
        "allow_insecure_hosts": True,
        "verify": False,
    }
    query = "timeout=5&max_retries=2&requests_per_second=1.5&allow_insecure_hosts=true&verify=False"
    as_json = _settings(_json(host="api.example.com", extra=extra))
    assert as_json == _settings(f"perfectlyclear://:{KEY}@api.example.com/?{query}")
    assert (as_json.timeout, as_json.max_retries, as_json.verify) == (5.0, 2, False)


def test_empty_fields_of_the_form_mean_the_default():
    empty = {"timeout": None, "proxy": "", "verify": None, "max_retries": None, "allow_insecure_hosts": False}
    assert _settings(_json(extra=empty)) == _settings(_json())


@pytest.mark.parametrize(
    ("extra", "read"),
    [
        # as the form of Airflow 3.3 sends it: untouched, and filled in
        (
            '{\n  "timeout": null,\n  "proxy": null,\n  "verify": null,\n  "max_retries": null,\n'
            '  "requests_per_second": null,\n  "allow_insecure_hosts": false\n}',
            (30.0, True, 5, None),
        ),
        (
            '{\n  "timeout": 12.5,\n  "proxy": null,\n  "verify": "false",\n  "max_retries": 3,\n'
            '  "requests_per_second": 2.5,\n  "allow_insecure_hosts": false\n}',
            (12.5, False, 3, 2.5),
        ),
        # and as that of Airflow 2.11
        ('{"max_retries": null, "allow_insecure_hosts": false}', (30.0, True, 5, None)),
        (
            '{"timeout": "12.5", "verify": "false", "max_retries": 3, "allow_insecure_hosts": true}',
            (12.5, False, 3, None),
        ),
    ],
)
def test_what_the_forms_store_is_read(extra, read):
    as_json = _settings(_json(extra=extra))
    assert read == (as_json.timeout, as_json.verify, as_json.max_retries, as_json.requests_per_second)
    assert _settings(Connection.from_json(_json(extra=extra), conn_id="pc").get_uri()) == as_json


def test_plain_http_needs_loopback_or_a_switch():
    allowed = _json(host="http://stub.example.com", extra={"allow_insecure_hosts": True})
    assert _settings(allowed).base_url == "http://stub.example.com/v2"


def test_white_space_around_the_key_is_left_out_with_a_warning_that_does_not_quote_it(caplog):
    with caplog.at_level(logging.DEBUG):
        assert _settings(_json(password=f" {KEY}\n")).api_key == KEY
    assert "white space" in caplog.text and KEY not in caplog.text


def test_settings_do_not_show_the_key():
    assert KEY not in repr(_settings(_json()))


def test_a_connection_is_looked_up_alike_by_workers_and_triggerers(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PC", _json(host="api.example.com"))
    assert get_settings("pc") == asyncio.run(aget_settings("pc"))
    assert get_settings("pc").base_url == OTHER


def test_a_connection_that_is_not_defined_is_named(monkeypatch):
    for look_up in (lambda: get_settings("nowhere"), lambda: asyncio.run(aget_settings("nowhere"))):
        with pytest.raises(ConfigurationError, match="Connection 'nowhere' is not defined"):
            look_up()


def test_renewing_reads_the_connection_again_and_says_none_when_the_key_is_the_same(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PC", _json())
    settings = get_settings("pc")
    renew, arenew = renewer(settings), arenewer(settings)
    assert renew() is None and asyncio.run(arenew()) is None
    monkeypatch.setenv("AIRFLOW_CONN_PC", _json(password="rotated"))
    assert renew().api_key == "rotated" and asyncio.run(arenew()).api_key == "rotated"
    assert renew() is None and asyncio.run(arenew()) is None


@pytest.mark.parametrize(("conn_type", "warned"), [("perfectlyclear", False), ("http", True)])
def test_a_connection_of_another_type_is_warned_about(conn_type, warned, caplog):
    settings_from(Connection(conn_id="pc", conn_type=conn_type, password=KEY))
    assert ("is it the right one?" in caplog.text) == warned and KEY not in caplog.text


@pytest.mark.parametrize("host", ["localhost.", "127.1", "0x7f000001", "localhost", "[::1]", "127.0.0.2"])
def test_the_connection_and_the_client_agree_on_what_this_machine_is(host):
    settings = _settings(_json(host=f"http://{host}:8099"))
    with Client(settings) as client:
        assert client.settings.base_url == f"http://{host}:8099/v2"


@pytest.mark.parametrize("host", ["localhost.example.com", "128.1", "api.example.com"])
def test_the_connection_and_the_client_agree_on_what_is_elsewhere(host):
    with pytest.raises(ConfigurationError, match="plain http would send the API key unencrypted"):
        _settings(_json(host=f"http://{host}:8099"))
    with pytest.raises(ConfigurationError, match="must be an https URL"):
        Client(Settings(api_key=KEY, base_url=f"http://{host}:8099/v2"))
