"""What every Dag parse pays and checks: names, imports, the provider's metadata."""

from __future__ import annotations

import importlib
import importlib.resources
import inspect
import json
import subprocess
import sys
from unittest.mock import MagicMock

import jsonschema
import pytest
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.providers_manager import ProvidersManager
from airflow.triggers.base import BaseTrigger

from airflow_provider_perfectlyclear import __version__
from airflow_provider_perfectlyclear.api.models import Correction
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.errors import ConfigurationError
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from airflow_provider_perfectlyclear.operators import perfectlyclear as operators
from airflow_provider_perfectlyclear.provider_info import CONN_FIELDS, HOOK, get_provider_info
from airflow_provider_perfectlyclear.sensors.perfectlyclear import PerfectlyClearJobSensor
from tests.support import airflow_2_11

OPERATORS = [
    *(getattr(operators, name) for name in operators.__all__ if name.endswith("Operator")),
    PerfectlyClearJobSensor,
]


def _own_arguments(operator):
    return set(inspect.signature(operator.__init__).parameters) - {"self", "kwargs"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_argument_of_ours_shadows_airflows(operator):
    is_sensor = issubclass(operator, BaseSensorOperator)
    base = BaseSensorOperator if is_sensor else BaseOperator
    here = set(dir(base(task_id="x"))) | set(inspect.signature(base.__init__).parameters)
    on_2_11 = airflow_2_11.OF_SENSORS if is_sensor else airflow_2_11.OF_OPERATORS
    assert not _own_arguments(operator) & (here | on_2_11)


@pytest.mark.parametrize("operator", OPERATORS)
def test_nothing_of_ours_takes_the_place_of_something_private_of_airflows(operator):
    airflows = {name for base in operator.__mro__ if _is_airflows(base) for name in vars(base)}
    ours = {name for base in operator.__mro__ if not _is_airflows(base) for name in vars(base)}
    private = {name for name in ours & airflows if name.startswith("_") and not name.startswith("__")}
    assert not private - {"_abc_impl", "_BaseOperator__instantiated"}


def _is_airflows(base):
    return not base.__module__.startswith("airflow_provider_perfectlyclear.")


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_argument_is_documented_and_every_template_field_is_an_argument(operator):
    assert {f":param {name}:" for name in _own_arguments(operator)} <= _words(operator.__doc__)
    assert set(operator.template_fields) <= _own_arguments(operator)


def _words(doc):
    return {line.strip().split(": ")[0] + ":" for line in doc.splitlines() if ":param" in line}


def test_shards_are_what_the_operator_takes_as_its_shard():
    assert operators.shards(1) == ["1/1"]
    assert operators.shards(16)[::15] == ["1/16", "16/16"]
    for shard in (operators.shards(999)[0], operators.shards(999)[-1]):
        assert Options(correction=Correction(), shard=shard).shard_of()[1] == 999


@pytest.mark.parametrize("wrong", [0, -1, 1000, 4.0, "4", True, None])
def test_a_number_of_shards_that_cannot_be_is_refused_when_the_dag_is_parsed(wrong):
    with pytest.raises(ConfigurationError, match="from 1 to 999"):
        operators.shards(wrong)


def test_importing_the_operators_is_cheap_and_brings_nothing_heavy():
    script = """
        import json, sys
        from airflow.providers.common.compat.sdk import BaseOperator
        before = set(sys.modules)
        import airflow_provider_perfectlyclear.operators.perfectlyclear
        print(json.dumps(sorted(set(sys.modules) - before)))
    """
    modules = _in_a_new_process(script)  # what it costs in seconds, benchmarks/import_time.py says
    heavy = {
        "PIL",
        "wtforms",
        "flask_appbuilder",
        "boto3",
        "numpy",
        "s3fs",
        "starlette",
        "upath",
        "airflow.triggers.base",
    }
    assert not {name for name in modules if name in heavy or name.split(".")[0] in heavy}
    assert not any(".catalog." in name or ".client" in name for name in modules if "operators" not in name)


def _in_a_new_process(script):
    done = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(script)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_metadata_is_what_airflow_asks_for():
    info = get_provider_info()
    schema = json.loads(
        importlib.resources.files("airflow").joinpath("provider_info.schema.json").read_text()
    )
    jsonschema.validate(info, schema)
    (connection,) = info["connection-types"]
    module, _, name = HOOK.rpartition(".")
    assert (PerfectlyClearHook.__module__, PerfectlyClearHook.__qualname__) == (module, name)
    assert connection["connection-type"] == PerfectlyClearHook.conn_type


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")
def test_airflow_lists_the_provider_its_hook_and_its_triggers():
    manager = ProvidersManager()
    (ours,) = [one for name, one in manager.providers.items() if name == get_provider_info()["package-name"]]
    assert ours.data["versions"] == [__version__]
    assert PerfectlyClearHook.conn_type in manager.hooks
    assert {
        (one.trigger_class_name, one.integration_name)
        for one in manager.trigger
        if one.package_name == get_provider_info()["package-name"]
    } == {("airflow_provider_perfectlyclear.triggers.perfectlyclear", "Perfectly Clear")}


@pytest.mark.parametrize(
    "kind, base",
    [
        ("operators", BaseOperator),
        ("sensors", BaseSensorOperator),
        ("hooks", BaseHook),
        ("triggers", BaseTrigger),
    ],
)
def test_every_module_that_the_metadata_names_has_what_it_is_named_for(kind, base):
    integrations = {each["integration-name"] for each in get_provider_info()["integrations"]}
    for entry in get_provider_info()[kind]:
        assert entry["integration-name"] in integrations
        for name in entry["python-modules"]:
            classes = vars(importlib.import_module(name)).values()
            assert any(
                inspect.isclass(each) and issubclass(each, base) and each is not base for each in classes
            )


def test_the_form_offers_every_field_of_the_extra_that_the_connection_reads():
    from airflow_provider_perfectlyclear.adapters.connection import _extra

    fields = get_provider_info()["connection-types"][0]["conn-fields"]
    good = {"timeout": 1, "proxy": "http://p", "verify": True, "max_retries": 1, "requests_per_second": 1}
    assert set(_extra("pc", {**good, "allow_insecure_hosts": True})) == set(fields)
    assert all(field["schema"]["type"][1] == "null" for field in fields.values())


def test_no_field_of_the_form_of_airflow_2_must_be_filled_in(monkeypatch):
    """That form holds the fields of all types of connection: one that refuses to be empty refuses all of them."""
    made, wtforms, appbuilder = {}, MagicMock(), MagicMock()
    for kind in ("StringField", "IntegerField", "BooleanField"):
        monkeypatch.setattr(
            wtforms, kind, lambda label, kind=kind, **given: made.update({label: (kind, given)})
        )
    modules = {"wtforms": wtforms, "wtforms.validators": wtforms, "flask_appbuilder.fieldwidgets": appbuilder}
    for name, module in {**modules, "flask_appbuilder": appbuilder}.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert PerfectlyClearHook.get_connection_form_widgets().keys() == CONN_FIELDS.keys()
    assert made.pop("Allow insecure hosts")[0] == "BooleanField"
    assert made["Retries"][0] == "IntegerField"
    assert all(given["validators"] == [wtforms.Optional()] for _, given in made.values())
    behaviour = PerfectlyClearHook.get_ui_field_behaviour()
    assert behaviour["relabeling"] == {"host": "Base URL", "password": "API key"}


def test_the_hook_is_made_by_its_connection_id():
    assert PerfectlyClearHook.conn_name_attr in inspect.signature(PerfectlyClearHook.__init__).parameters
