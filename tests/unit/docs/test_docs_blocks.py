"""Every block of the documentation runs: Python and shell for real or in part, messages and JSON as what they are."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator, Connection
from airflow.triggers.base import BaseTrigger

from airflow_provider_perfectlyclear import __main__ as command_line
from airflow_provider_perfectlyclear.adapters.connection import settings_from
from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from airflow_provider_perfectlyclear.emulator.__main__ import _parser as parser_of_emulator
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from airflow_provider_perfectlyclear.operators import perfectlyclear as operators
from airflow_provider_perfectlyclear.triggers import polling as asking
from tests.support.account import picture
from tests.support.documents import ROOT, Block, blocks, is_in_source, rows, spans, text_of
from tests.support.tasks import a_context, first_event, run
from tests.unit.docs import test_docs

#: Commands that are not run, and why.
NOT_RUN = {
    "make demo": "starts a whole Airflow and takes minutes; tests/airflow runs the same Dags. Checked: the target",
    "make test": "it is what runs this. Checked: the target",
    "pytest tests": "it is what runs this",
    "pip wheel --no-deps --wheel-dir dist .": "tests/unit/test_distribution.py builds one in the same way",
}
#: Messages that are put together from several literals, and the tests that make them.
MADE_ELSEWHERE = {
    "all: to correct: 410": "test_the_plan_line_is_quoted_as_it_is",
    "The plan needs 1,412": "test_the_brakes_are_quoted_as_they_are",
    "Refused: 412 of 412": "test_the_brakes_are_quoted_as_they_are",
}
#: Each has a test here.
LANGUAGES = {"python", "sh", "json", "text"}

EMULATOR = "docs/emulator.md"
WORKER = """
import os
from airflow_provider_perfectlyclear.operators.perfectlyclear import PerfectlyClearCatalogOperator
from tests.support.tasks import a_context, run

operator = PerfectlyClearCatalogOperator(task_id="correct", source={source!r}, destination=os.environ["DESTINATION"])
operator.poll_interval = 0.1
run(operator, a_context("correct", os.environ["NIGHT"]))
"""


class Workspace(SimpleNamespace):
    """A machine for the blocks: the folders and files that they name, and the service."""

    def place(self, text: str) -> str:
        """The block with its places moved to where they exist."""
        for there, here in (
            ("s3://aws_default@media", f"{self.root}/media"),
            ("/data/", f"{self.root}/data/"),
            ("source=...", f'source="{self.root}/data/photos/catalog"'),
            ("destination=...", f'destination="{self.root}/data/photos/corrected"'),
            ("shards(16)", "shards(2)"),
        ):
            text = text.replace(there, here)
        return text

    def jobs(self) -> list[str]:
        """Two jobs that are done."""
        with PerfectlyClearHook() as hook:
            job_ids = [hook.start(hook.upload(picture()), {"width": width}) for width in (50, 60)]
            hook.wait_all(job_ids, poll_interval=0.1)
        return job_ids

    def summary(self) -> Any:
        """What a catalog's task has returned."""
        return run(operators.PerfectlyClearCatalogOperator(
            task_id="correct", source=f"{self.root}/data/photos/catalog", destination=f"{self.root}/corrected"
        ))[0]  # fmt: skip

    def sample(self, name: str) -> Any:
        """What an argument of that name is given."""
        photos = f"{self.root}/data/photos"
        samples: dict[str, Callable[[], Any]] = {
            "source": lambda: f"{photos}/a.jpg",
            "destination": lambda: f"{photos}/done/",
            "files": lambda: [f"{photos}/a.jpg", f"{photos}/catalog/b.jpg"],
            "folder": lambda: f"{photos}/looks",
            "job_ids": self.jobs,
            "summary": self.summary,
            "job_id": lambda: self.jobs()[0],
        }
        return samples[name]()


@pytest.fixture
def workspace(service, tmp_path, monkeypatch) -> Iterator[Workspace]:
    monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", service.connection_json())
    monkeypatch.setattr(asking, "SETTLE", 0.0)
    monkeypatch.setattr(starts, "LEAST", 0.3)
    monkeypatch.setattr(starts, "FACTOR", 1.0)
    monkeypatch.setitem(PerfectlyClearHook.wait_all.__kwdefaults__, "poll_interval", 0.1)
    for folder in ("media/originals", "media/originals/2026-01-01", "data/photos", "data/photos/catalog"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, colour in (("a.jpg", "teal"), ("b.jpg", "maroon"), ("c.jpg", "gold")):
            (tmp_path / folder / name).write_bytes(picture(colour))
    for folder in ("media/presets", "data/presets"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "studio.preset").write_bytes(b"warm")
    with PerfectlyClearHook() as hook:
        hook.upload_preset("Studio 7", b"cold")
    monkeypatch.chdir(tmp_path)
    yield Workspace(root=tmp_path, service=service, monkeypatch=monkeypatch)


@pytest.fixture
def my_dag(workspace, monkeypatch) -> Any:
    """A Dag of the reader's own, which corrects three pictures; in the module that the documents call ``my_dag``."""
    places = {name: f"{workspace.root}/data/photos/{folder}" for name, folder in
              (("source", "catalog"), ("destination", "corrected"))}  # fmt: skip

    def test(run_after: Any = None, run_conf: Any = None, **kwargs: Any) -> Any:
        given = places | (run_conf or {})
        return run(operators.PerfectlyClearCatalogOperator(task_id="correct", poll_interval=0.1, **given))[0]

    dag = SimpleNamespace(test=test)
    module = ModuleType("my_dag")
    module.my_dag = dag  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_dag", module)
    (workspace.root / "dags").mkdir()
    (workspace.root / "dags" / "my_dag.py").write_text(WORKER.format(**places))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("NIGHT", "2026-01-01T02:00:00+00:00")
    monkeypatch.setenv("DESTINATION", places["destination"])
    return dag


def test_the_documents_have_no_other_blocks():
    assert {block.language for block in blocks()} <= LANGUAGES


# ---- Python


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_runs(block, workspace, my_dag, monkeypatch, request):
    dags: list[Any] = []
    _record_dags(monkeypatch, dags)
    namespace: dict[str, Any] = {
        "__name__": "__main__",
        "my_dag": my_dag,
        "correct_for": _correct_for(workspace),
    }
    text = workspace.place(block.text)
    if "import" not in block.text:  # a fragment: its context is in the other blocks
        from airflow.sdk import DAG

        namespace |= vars(operators)
        with DAG("fragment") as dag:
            exec(compile(text, str(block), "exec"), namespace)
        dags.append(dag)
    else:
        exec(compile(text, str(block), "exec"), namespace)

    for dag in dags:
        assert _run_all(dag)
    for name in _defined(text):
        _use(namespace[name], workspace, request)


def _record_dags(monkeypatch: pytest.MonkeyPatch, made: list[Any]) -> None:
    import airflow.sdk

    dag_class = airflow.sdk.DAG

    def recorded(*args: Any, **kwargs: Any) -> Any:
        made.append(dag_class(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(airflow.sdk, "DAG", recorded)


def _correct_for(workspace: Workspace) -> Callable[[str], None]:
    def correct_for(conn_id: str) -> None:
        with PerfectlyClearHook(conn_id) as hook:
            hook.correct(f"{workspace.root}/data/photos/a.jpg", f"{workspace.root}/{conn_id}/")

    return correct_for


def _run_all(dag: Any) -> int:
    """Run a Dag's tasks, in the order of the Dag. Returns how many."""
    count = 0
    for task in dag.tasks:
        for operator in _unmapped(task):
            operator.render_template_fields({"ds": "2026-01-01", "params": dag.params})
            operator.poll_interval = 0.1
            run(operator, a_context(f"{operator.task_id}-{count}"))
            count += 1
    return count


def _unmapped(task: Any) -> Iterator[Any]:
    if not task.is_mapped:
        yield task
        return
    for name, values in task.expand_input.value.items():
        for value in values:
            yield task.unmap({name: value})


def _defined(text: str) -> list[str]:
    """The functions and classes that a block makes: all must be used, or it would not be known that they work."""
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def _use(made: Any, workspace: Workspace, request: pytest.FixtureRequest) -> None:
    if isinstance(made, type):
        _use_class(made, workspace)
    elif hasattr(made, "function"):  # @task
        names = inspect.signature(made.function).parameters
        assert made.function(*map(workspace.sample, names))
    else:
        names = inspect.signature(made).parameters
        fixtures = {"perfectlyclear_emulator": workspace.service, "monkeypatch": workspace.monkeypatch}
        workspace.service.reset()
        made(**{name: fixtures.get(name) or request.getfixturevalue(name) for name in names})


def _use_class(made: type, workspace: Workspace) -> None:
    parameters = inspect.signature(made).parameters.values()
    needed = [
        each.name for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    arguments = {name: workspace.sample(name) for name in needed}
    if issubclass(made, BaseTrigger):
        kwargs = made(**arguments).serialize()[1]
        assert first_event(made(**kwargs))["state"] == "COMPLETED"
        return
    assert issubclass(made, BaseOperator)
    operator = made(task_id="used", **arguments)
    assert len(run(operator)[0]) == 2
    operator.on_kill()


# ---- shell


def commands(block: Block) -> list[str]:
    """The commands of a block, without comments."""
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in block.text.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_shell_runs(block, workspace):
    for command in commands(block):
        handler = next((known for start, known in HANDLED.items() if command.startswith(start)), None)
        assert handler is not None or command in NOT_RUN, f"no check for this command: {command}"
        if handler is not None:
            handler(command, workspace)


def test_what_is_not_run_is_in_the_documents():
    assert set(NOT_RUN) <= {command for block in blocks("sh") for command in commands(block)}


def _pip(command: str, workspace: Workspace) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parser = argparse.ArgumentParser()
    parser.add_argument("--constraint", type=ROOT.joinpath)
    parser.add_argument("requirements", nargs="+")
    given = parser.parse_args(shlex.split(command)[2:])
    assert given.constraint is None or given.constraint.is_file()
    for requirement in given.requirements:
        name, extra = re.fullmatch(r"([\w-]+|\$\(echo dist/\*\.whl\))(?:\[(\w+)\])?", requirement).groups()
        assert name in (project["name"], "pytest", "$(echo dist/*.whl)")
        assert extra is None or extra in project["optional-dependencies"]


def _make(command: str, workspace: Workspace) -> None:
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.M)


def _export(command: str, workspace: Workspace) -> None:
    from airflow.configuration import conf

    script = f"env -i PATH=$PATH bash -c {shlex.quote(f'{command}; env -0')}"
    told = subprocess.run(["bash", "-ec", script], capture_output=True, check=True, text=True).stdout
    for name, value in (pair.split("=", 1) for pair in told.split("\0") if pair.startswith("AIRFLOW_")):
        if name.startswith("AIRFLOW_CONN_"):
            assert settings_from(Connection.from_json(value, conn_id="docs")).api_key
        elif name != "AIRFLOW_HOME":
            _, section, option = name.lower().split("__")
            assert conf.has_option(section, option), name


def _emulator(command: str, workspace: Workspace) -> None:
    parser_of_emulator().parse_args(shlex.split(command)[3:])


def _ledger(command: str, workspace: Workspace) -> None:
    done = workspace.root / "done"
    if not done.exists():
        (workspace.root / "from" / "a").mkdir(parents=True)
        for name, colour in (("1.jpg", "teal"), ("2.jpg", "red")):
            (workspace.root / "from" / "a" / name).write_bytes(picture(colour))
        run(operators.PerfectlyClearCatalogOperator(
            task_id="correct", source=str(workspace.root / "from"), destination=str(done)
        ))  # fmt: skip
    arguments = [str(done) if word == "DESTINATION" else word for word in shlex.split(command)[3:]]
    assert command_line.main(arguments) == 0


def _airflow(command: str, workspace: Workspace) -> None:
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(shlex.split(command)[1:])


def _curl(command: str, workspace: Workspace) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-X", dest="method")
    parser.add_argument("-d", dest="data")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("url")
    given = parser.parse_args(shlex.split(command)[1:])
    url = given.url.replace("http://127.0.0.1:8099", workspace.service.base_url.removesuffix("/v2"))
    headers = dict(header.split(": ", 1) for header in given.headers)
    asked = urllib.request.Request(url, given.data and given.data.encode(), headers, method=given.method)
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200 and json.load(answer) is not None


HANDLED: dict[str, Callable[[str, Workspace], None]] = {
    "pip install ": _pip,
    "make ": _make,
    "export ": _export,
    "python -m airflow_provider_perfectlyclear.emulator": _emulator,
    "python -m airflow_provider_perfectlyclear ledger ": _ledger,
    "airflow ": _airflow,
    "curl ": _curl,
}


# ---- messages and JSON


@pytest.mark.parametrize("block", blocks("text"), ids=str)
def test_a_message_is_one_of_the_source(block):
    for line in filter(None, block.text.splitlines()):
        made = next((test for start, test in MADE_ELSEWHERE.items() if line.startswith(start)), None)
        assert (made and hasattr(test_docs, made)) or is_in_source(_without_examples(line)), line


def _without_examples(line: str) -> str:
    """Counts, places and what a plan says of them are the reader's own."""
    return re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)|\b[\d,]*\d\b|\b(?:s3|gs)://\S*?(?=[\s,;]|$)", "...", line)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_has_the_shape_of_what_it_shows(block, workspace):
    shown = json.loads(block.text)
    workspace.jobs()
    bill = workspace.service.bill()
    assert shown.keys() == bill.keys()
    assert shown["entries"][0].keys() == bill["entries"][0].keys()


# ---- tables that are to be believed


def test_the_emulators_options_are_those_of_the_document():
    told = {
        option for row in rows(EMULATOR) if row.columns[0] == "option" for option in spans(row.cell("option"))
    }
    has = {flag for action in parser_of_emulator()._actions for flag in action.option_strings}
    assert told == {flag for flag in has if flag.startswith("--")} - {"--help"}


def test_every_method_of_the_fixture_is_in_the_document(service):
    cells = [row.cells[0] for row in rows(EMULATOR) if row.columns[0].endswith(" has")]
    named = {re.match(r"\w+", span)[0] for cell in cells for span in spans(cell)}
    public = {name for name in dir(service) if not name.startswith("_")}
    assert named == public - {"process", "pid", "stop"}


RECIPES = [
    spans(row.cells[1])[0]
    for row in rows(EMULATOR)
    if row.columns[1].startswith("`perfectlyclear_emulator.fault")
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_happens(recipe, workspace):
    workspace.service.reset()
    if "429" in recipe:  # a pace of its own: the others must not wait because of it
        connection = workspace.service.connection_json(requests_per_second=2000)
        workspace.monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", connection)
    given = eval(f"inspect_call({recipe})", {"inspect_call": lambda *args, **kwargs: (args, kwargs)})
    workspace.service.fault(*given[0], **given[1])
    workspace.monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 0.5)
    catalog = operators.PerfectlyClearCatalogOperator(
        task_id="correct",
        source=f"{workspace.root}/media/originals/2026-01-01",
        destination=f"{workspace.root}/out",
        job_timeout=3 if "stuck" in recipe else 60,
        poll_interval=0.1,
    )
    said = ""
    try:
        run(catalog)
    except Exception as error:  # noqa: BLE001  # the recipe says which error it is
        said = str(error)
    (does,) = (row.cells[2] for row in rows(EMULATOR) if recipe in row.cells[1])
    assert all(code in said for code in re.findall(r"`([A-Z_]+)`", does)), said
    assert bool(said) == ("times=None" in recipe or "outcome" in recipe or "402" in recipe), said
    assert workspace.service.unconsumed() == []
    assert workspace.service.bill()["billed"] == (0 if "402" in recipe else 3)


def test_the_hooks_methods_are_as_the_document_says():
    table = [row for row in rows("docs/hook.md") if row.columns[0] == "method"]
    for row in table:
        for name, given in re.findall(r"(\w+)\((.*?)\)`", row.cells[0]):
            signature = inspect.signature(getattr(PerfectlyClearHook, name))
            told = dict(pair.partition("=")[::2] for pair in filter(None, given.split(", ")))
            has = {
                each.name: ""
                if each.default is each.empty
                else json.dumps(each.default).replace("null", "None")
                for each in list(signature.parameters.values())[1:]
            }
            assert told == has, name
    assert text_of("docs/hook.md").count("**yes**") == 1
    assert os.path.exists(ROOT / "docs" / "presets.md")
