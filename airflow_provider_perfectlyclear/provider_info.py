"""Metadata of this provider for Airflow. Imports little, because every Airflow process loads it at start."""

from __future__ import annotations

from typing import Any

from airflow_provider_perfectlyclear import __version__

NAME = "Perfectly Clear"
HOOK = "airflow_provider_perfectlyclear.hooks.perfectlyclear.PerfectlyClearHook"
REPORT_LINK = "airflow_provider_perfectlyclear.links.perfectlyclear.PerfectlyClearReportLink"

# Shows the port, because Airflow 3.3.1 and 3.3.2 cannot test a saved connection without one.
HIDDEN_FIELDS = ["login", "schema"]
RELABELING = {"host": "Base URL", "password": "API key"}
PLACEHOLDERS = {
    "host": "https://api.perfectlyclear.io/v2 (leave empty for the public service)",
    "password": "the API key of your EyeQ account",
    "port": "443, or what the base URL says (may be left empty)",
}


def _field(label: str, kind: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}


CONN_FIELDS: dict[str, dict[str, Any]] = {
    "timeout": _field("Timeout", "number", "Seconds that one connect, read or write may take. Empty: 30."),
    "proxy": _field(
        "Proxy",
        "string",
        "URL of a proxy for the service and its storage. Empty: the environment's proxy variables.",
    ),
    "verify": _field(
        "Verify TLS", "string", "true, false, or the path of a CA file on every machine. Empty: true."
    ),
    "max_retries": _field(
        "Retries", "integer", "Maximum number of repeats of a request that may be repeated. Empty: 5."
    ),
    "requests_per_second": _field(
        "Requests per second", "number", "Upper limit for each Airflow process. Empty: none."
    ),
    "allow_insecure_hosts": _field(
        "Allow insecure hosts",
        "boolean",
        "Allow plain http and private addresses. For tests only.",
        default=False,
    ),
}


def get_provider_info() -> dict[str, Any]:
    """Return the metadata. Entry point of the group ``apache_airflow_provider``."""
    return {
        "package-name": "airflow-provider-perfectlyclear",
        "name": NAME,
        "description": "Corrects photographs and videos with the Perfectly Clear Web API v2 (EyeQ).",
        "versions": [__version__],
        "integrations": [
            {"integration-name": NAME, "external-doc-url": "https://eyeq.photos", "tags": ["service"]}
        ],
        "operators": _modules("operators"),
        "sensors": _modules("sensors"),
        "hooks": _modules("hooks"),
        "triggers": _modules("triggers"),
        "connection-types": [
            {
                "connection-type": "perfectlyclear",
                "hook-class-name": HOOK,
                "hook-name": NAME,
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": RELABELING,
                    "placeholders": PLACEHOLDERS,
                },
                "conn-fields": CONN_FIELDS,
            }
        ],
        "extra-links": [REPORT_LINK],
    }


def _modules(kind: str) -> list[dict[str, Any]]:
    return [
        {
            "integration-name": NAME,
            "python-modules": [f"airflow_provider_perfectlyclear.{kind}.perfectlyclear"],
        }
    ]
