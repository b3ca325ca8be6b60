"""``python -m airflow_provider_perfectlyclear.emulator``."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_perfectlyclear.emulator.app import Emulation
from airflow_provider_perfectlyclear.emulator.server import KEEP_ALIVE_SECONDS, Listen, serve
from airflow_provider_perfectlyclear.emulator.service.options import Options

ANY_KEY = "any-key-will-do"
#: The same at every start: a ledger belongs to the address of its service, so another port would be another service.
PORT = 8099

DESCRIPTION = """\
The Perfectly Clear Web API v2 on this machine, to try and test against without a key and without paying.
It is a stand-in: pictures are corrected by a few simple operations, not by EyeQ, and videos come back
unchanged.
"""
EPILOG = """\
What it was asked, and making it fail on purpose, on the API's port:
  GET /_emulator/bill (?summary=true)   every accepted /pfc, and what it would have cost
  GET /_emulator/seen                   requests and headers seen by each of the two origins
  POST, GET, DELETE /_emulator/faults   see airflow_provider_perfectlyclear.emulator.faults
  GET /_emulator/presets                all presets, those without a file too
  POST /_emulator/presets {"count": 9}  make so many presets that can be used
  POST /_emulator/options {"cache": "billed"}   until a reset; also same_job, enlarge, keep_hours, job_seconds
  POST /_emulator/pass {"hours": 25}    forget what is that old
  POST /_emulator/key {"key": "..."}    demand another key from now on
  POST /_emulator/reset                 start afresh
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the emulator until it is told to end.

    :param arguments: of the command line; those of the process if None.
    :return: the exit code.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="perfectlyclear-emulator-"))
    listen = Listen(
        given.host,
        given.port,
        given.storage_host,
        given.storage_port,
        given.certificate,
        given.certificate_key,
        given.keep_alive,
        tuple(given.name),
    )
    try:
        _ignore_large_pictures()
        asyncio.run(
            serve(
                _options(given, folder), listen, announce=_announce, exit_with_parent=given.exit_with_parent
            )
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_perfectlyclear.emulator",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address of the API, on loopback (default: %(default)s)")
    add("--port", type=int, default=PORT, help="port of the API, 0 for any free one (default: %(default)s)")
    add(
        "--name",
        action="append",
        default=[],
        help="a name of this machine that clients may call it by, beside localhost (default: none; may be repeated)",
    )
    add(
        "--storage-host",
        default="127.0.0.1",
        help="address of the storage, on loopback (default: %(default)s)",
    )
    add("--storage-port", type=int, default=0, help="port of the storage (default: any free one)")
    add(
        "--job-seconds",
        type=_seconds,
        default=1.0,
        help="how long a job takes at least (default: %(default)s)",
    )
    add(
        "--jobs", type=_positive, default=8, help="how many jobs are worked on at once (default: %(default)s)"
    )
    add(
        "--rate",
        type=_seconds,
        help="requests a second that the API allows, 429 beyond (default: any number)",
    )
    add("--key", help="the API key to demand (default: any that is not empty)")
    add("--folder", type=Path, help="keep files here (default: a temporary folder, removed at the end)")
    add(
        "--echo", action="store_true", help="give back the uploaded bytes, for benchmarks: nothing is decoded"
    )
    add(
        "--cache",
        choices=("free", "billed", "done-only"),
        default="free",
        help="what cache=true means for a fileKey that was corrected with the same settings before. "
        "free: its job is given again and billed once; billed: the same, and billed again; "
        "done-only: as free once it is COMPLETED, but while it is open another job is started and billed "
        "(default: %(default)s)",
    )
    add(
        "--same-job",
        action="store_true",
        help="the cache knows a picture by its bytes: equal ones under other fileKeys get the same job, too",
    )
    add(
        "--never-enlarge",
        action="store_true",
        help="give back pictures as large as they are when a larger size is asked for",
    )
    add(
        "--keep-hours",
        type=_seconds,
        default=24.0,
        help="forget uploads, jobs and their files after so many hours: 404 (default: %(default)s)",
    )
    add(
        "--keep-alive",
        type=_seconds,
        default=KEEP_ALIVE_SECONDS,
        help="close a kept connection after so many seconds (default: %(default)s)",
    )
    add(
        "--url-seconds",
        type=_seconds,
        default=3600.0,
        help="how long signed URLs are valid (default: %(default)s)",
    )
    add("--certificate", type=Path, help="PEM file: speak https on both origins")
    add("--certificate-key", type=Path, help="PEM file with the certificate's private key")
    add("--exit-with-parent", action="store_true", help="end when standard input ends")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _options(given: argparse.Namespace, folder: Path) -> Options:
    return Options(
        folder=folder,
        job_seconds=given.job_seconds,
        jobs=given.jobs,
        echo=given.echo,
        cache=given.cache,
        same_job=given.same_job,
        enlarge=not given.never_enlarge,
        keep_hours=given.keep_hours,
        key=given.key or None,
        rate=given.rate or None,
        url_seconds=given.url_seconds,
    )


def _ignore_large_pictures() -> None:
    """Pillow warns of pixel bombs while they are refused: one line for each would only be noise."""
    warnings.filterwarnings("ignore", message=".*decompression bomb.*")


def _announce(emulation: Emulation) -> None:
    connection = {
        "conn_type": "perfectlyclear",
        "host": emulation.base_url,
        "password": emulation.service.options.key or ANY_KEY,
    }
    print(
        f"Perfectly Clear emulator (a stand-in, not EyeQ's correction): {emulation.base_url}, "
        f"files {emulation.storage_url}"
    )
    print(f"export AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT={shlex.quote(json.dumps(connection))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
