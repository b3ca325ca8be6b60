"""
Command line.

``python -m airflow_provider_perfectlyclear ledger show|forget``: inspect or repair the ledger of a destination.
``python -m airflow_provider_perfectlyclear docs [PAGE]``: list the documentation pages, or print one.

Places are written as in a Dag: a local folder, ``s3://bucket/prefix``, ``s3://conn_id@bucket/prefix``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from airflow_provider_perfectlyclear.adapters.object_storage import open_folder, open_state
from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.owners import ABANDONED, has_stranger, wait_for_owner
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row, State
from airflow_provider_perfectlyclear.catalog.ledger.segments import list_lanes, read_lane
from airflow_provider_perfectlyclear.catalog.naming import refusal_key
from airflow_provider_perfectlyclear.errors import PerfectlyClearError
from airflow_provider_perfectlyclear.pages import find_page, list_pages, title_of
from airflow_provider_perfectlyclear.storage import Store

#: Exit code when the reader has closed the output: 128 + SIGPIPE, as in shells.
OUTPUT_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 with a message on stderr, or 141 if the output is closed."""
    options = _parser().parse_args(arguments)
    try:
        code = int(options.command(options))
        sys.stdout.flush()
        return code
    except PerfectlyClearError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # such as `ledger show | head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at the end
        return OUTPUT_CLOSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_perfectlyclear", description=__doc__)
    groups = parser.add_subparsers(required=True, metavar="{ledger,docs}")
    docs = groups.add_parser("docs", help="the documentation pages and example Dags of this version")
    docs.add_argument(
        "page", nargs="?", metavar="PAGE", help="page to print, such as catalog (default: list all pages)"
    )
    docs.set_defaults(command=_docs)
    commands = groups.add_parser("ledger", help="the ledger of paid calls").add_subparsers(required=True)
    show = commands.add_parser("show", help="list the outputs and their states")
    show.add_argument("--failed", action="store_true", help="only failed outputs")
    show.add_argument("--json", action="store_true", help="one JSON object per line")
    show.set_defaults(command=_show)
    forget = commands.add_parser(
        "forget", help="remove outputs from the ledger: the next run pays for them again"
    )
    forget.set_defaults(command=_forget)
    for command in (show, forget):
        command.add_argument("destination", metavar="DESTINATION")
        command.add_argument("--state-path", help="folder of the ledger, if it is not in the destination")
    forget.add_argument("paths", nargs="+", metavar="PATH", help="outputs, relative to DESTINATION")
    return parser


def _docs(options: argparse.Namespace) -> int:
    pages = list_pages()
    if options.page:
        print(find_page(options.page, pages).read_text(encoding="utf-8"), end="")
        return 0
    width = max(map(len, pages))
    for name, page in pages.items():
        print(f"{name:<{width}}  {title_of(page)}")
    return 0


def _state(options: argparse.Namespace) -> Store:
    return open_state(options.state_path, open_folder(options.destination, argument="DESTINATION"))


def _lanes(state: Store) -> list[tuple[Store, str]]:
    """Return the lanes of the catalog and of single pictures, each with its store."""
    one = state.child("one")
    return [(store, lane) for store in (state, one) for lane in sorted(list_lanes(store))]


def _rows(state: Store) -> dict[str, Row]:
    newest: dict[str, Row] = {}
    for store, lane in _lanes(state):
        for row in read_lane(store, lane).rows.values():
            if row.output not in newest or row.age >= newest[row.output].age:
                newest[row.output] = row
    return newest


def _show(options: argparse.Namespace) -> int:
    state = _state(options)
    if not _lanes(state):
        print(
            f"There is no ledger in {state.uri('')}. Is this the task's destination? If the task has a "
            "state_path, give it as --state-path.",
            file=sys.stderr,
        )
        return 1
    rows = sorted(_rows(state).values(), key=lambda row: row.output)
    chosen = [row for row in rows if row.state is State.FAILED or not options.failed]
    for row in chosen:
        print(json.dumps(row.to_json()) if options.json else _line(row))
    if not options.json:
        counts = Counter(str(row.state) for row in rows)
        said = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items()))
        print(f"{counted(len(rows), 'output')}: {said or 'the ledger is empty'}")
    return 0


def _line(row: Row) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at))
    what = f"{row.code}: {row.reason}" if row.code else f"job {row.job_id}" if row.job_id else ""
    return f"{when}  {row.state:<8} {row.output.lstrip('/')!r}  {what}"


def _forget(options: argparse.Namespace) -> int:
    state = _state(options)
    wanted = {key for path in options.paths for key in (path, refusal_key(path))}
    found: set[str] = set()
    for store, lane in _lanes(state):
        ledger = Ledger(store, lane, run="ledger forget", title="'ledger forget'")
        ledger.load()
        here = wanted & ledger.rows.keys()
        if here:
            _say_that_it_waits(ledger)
            wait_for_owner(ledger, time.sleep)
            if not ledger.take():
                raise PerfectlyClearError(
                    f"{store.uri('')} is being corrected now: try again when that run is over."
                )
            rows = [ledger.rows[output] for output in sorted(here)]
            ledger.append([{"r": "forgotten", "output": output} for output in sorted(here)])
            ledger.release()
            found |= here
            for row in rows:
                _warn_of_open_job(row)
    missing = [path for path in options.paths if not {path, refusal_key(path)} & found]
    print(f"{len(options.paths) - len(missing):,} forgotten")
    for path in missing:
        print(f"{path!r} is not in the ledger", file=sys.stderr)
    return 1 if missing else 0


def _say_that_it_waits(ledger: Ledger) -> None:
    if has_stranger(ledger) and ledger.view.holder is not None:
        print(
            f"{ledger.store.uri('')} is locked by {ledger.view.holder.title}. Waiting up to {ABANDONED:.0f} s to see "
            "whether it still runs.",
            file=sys.stderr,
            flush=True,
        )


def _warn_of_open_job(row: Row) -> None:
    """Warn if a forgotten output loses a result that is, or may be, paid for."""
    if not row.state.is_open:
        return
    job = f"job {row.job_id} in progress, which is" if row.job_id else "an unconfirmed start, which may be"
    print(
        f"Warning: {row.output.lstrip('/')!r} had {job} paid for. No run downloads its result now, and the next run "
        "pays for the output again.",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
