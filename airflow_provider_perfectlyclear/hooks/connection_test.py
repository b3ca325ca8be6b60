"""Test of a connection: tells whether DNS, TLS, path or API key is wrong. Free, and takes less than ten seconds."""

from __future__ import annotations

import dataclasses
import threading

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.adapters.connection import get_settings
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.limiter import limiter_for
from airflow_provider_perfectlyclear.api.settings import Settings

#: Maximum seconds of the whole test, and of one read.
AT_MOST, ONE_READ = 8.0, 5.0

Verdict = tuple[bool, str]


def diagnose(conn_id: str) -> Verdict:
    """
    List one preset and describe the result.

    :param conn_id: Id of the Airflow connection.
    :returns: Whether the connection works, and a sentence.
    """
    try:
        settings = get_settings(conn_id)
        verdict = _within_seconds(_hurried(settings))
    except errors.PerfectlyClearError as error:
        verdict = False, str(error)
    works, message = verdict or (False, _no_verdict(settings))
    return works, _unnamed(message, conn_id)


def _no_verdict(settings: Settings) -> str:
    if limiter_for(settings).refusals:
        return f"{settings.base_url} answers 429 (too many requests): test again later."
    return f"{settings.base_url} did not answer within {AT_MOST:g} seconds."


def _unnamed(message: str, conn_id: str) -> str:
    """Remove the id from a message: Airflow tests a copy of the connection under a generated id."""
    named = f"Connection {conn_id!r}"
    return message.replace(f"{named}: ", "").replace(named, "This connection")


def _hurried(settings: Settings) -> Settings:
    return dataclasses.replace(
        settings, timeout=min(settings.timeout, ONE_READ), call_deadline=AT_MOST, max_retries=0
    )


def _within_seconds(settings: Settings) -> Verdict | None:
    """Send the request in a thread, because a DNS look-up has no timeout and cannot be stopped."""
    verdicts: list[Verdict] = []
    client = Client(settings)
    thread = threading.Thread(target=lambda: verdicts.append(_ask(client)), daemon=True)
    thread.start()
    thread.join(AT_MOST)
    client.cancel()
    if not thread.is_alive():
        client.close()
    return verdicts[0] if verdicts else None


def _ask(client: Client) -> Verdict:
    where = client.settings.base_url
    try:
        client.send(calls.list_presets(limit=1))
    except errors.AuthenticationError as error:
        return False, f"The service is reached, but the API key (the password) is wrong. {error}"
    except errors.TlsError as error:
        return False, f"TLS: {error}"
    except (errors.NotFound, errors.ProtocolError, errors.RequestRefused) as error:
        return False, f"A server answers at {where}, but not as this API: check host and path. {error}"
    except errors.Unavailable as error:
        return False, f"The service cannot be reached at {where}. {error}"
    except errors.PerfectlyClearError as error:
        return False, str(error)
    return True, f"{where} accepted the API key."
