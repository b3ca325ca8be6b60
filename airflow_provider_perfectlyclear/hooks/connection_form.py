"""The connection form of Airflow before 3.2, made of the same metadata as the form since."""

from __future__ import annotations

from typing import Any

from airflow_provider_perfectlyclear.provider_info import CONN_FIELDS, HIDDEN_FIELDS, PLACEHOLDERS, RELABELING


def widgets() -> dict[str, Any]:
    """One form field for each field of the extra."""
    return {
        name: _field(field["schema"]["type"][0], field["label"], field["description"])
        for name, field in CONN_FIELDS.items()
    }


def _field(kind: str, label: str, description: str) -> Any:
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import BooleanField, IntegerField, StringField
    from wtforms.validators import Optional

    if kind == "boolean":
        return BooleanField(label, description=description)
    # Airflow 2 has one form for connections of all types: a field that may not be empty would refuse each of them.
    field = IntegerField if kind == "integer" else StringField
    return field(label, validators=[Optional()], description=description, widget=BS3TextFieldWidget())


def behaviour() -> dict[str, Any]:
    """Which standard fields are shown, and what they are called."""
    return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}
