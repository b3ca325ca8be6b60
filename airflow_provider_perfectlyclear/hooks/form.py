"""The connection form of Airflow before 3.2, made of the same metadata as the form since."""

from __future__ import annotations

from typing import Any

from airflow_provider_perfectlyclear.provider_info import CONN_FIELDS, HIDDEN_FIELDS, PLACEHOLDERS, RELABELING


def widgets() -> dict[str, Any]:
    """One form field for each field of the extra."""
    from wtforms import BooleanField, IntegerField, StringField

    kinds = {"boolean": BooleanField, "integer": IntegerField}
    return {
        name: kinds.get(field["schema"]["type"][0], StringField)(
            field["label"], description=field["description"]
        )
        for name, field in CONN_FIELDS.items()
    }


def behaviour() -> dict[str, Any]:
    """Which standard fields are shown, and what they are called."""
    return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}
