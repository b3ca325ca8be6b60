"""Connection form of Airflow before 3.2. It uses the same metadata as the form of later versions."""

from __future__ import annotations

from typing import Any

from airflow_provider_perfectlyclear.provider_info import CONN_FIELDS, HIDDEN_FIELDS, PLACEHOLDERS, RELABELING


def widgets() -> dict[str, Any]:
    """Return one form field for each field of the extra."""
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
    # Airflow 2 has one form for all connection types, so a required field would refuse connections of other types.
    field = IntegerField if kind == "integer" else StringField
    return field(label, validators=[Optional()], description=description, widget=BS3TextFieldWidget())


def behaviour() -> dict[str, Any]:
    """Return which standard fields the form shows, and their labels."""
    return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}
