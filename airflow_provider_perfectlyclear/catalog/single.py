"""One picture or video: a catalog of one, in a lane of its own, with the same promise."""

from __future__ import annotations

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.catalog.ledger.identity import Expected
from airflow_provider_perfectlyclear.catalog.ledger.other_lanes import SINGLES, SingleLanes, single_lane
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.picture import Picture, data_of
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.plan.single_planner import SinglePlanner
from airflow_provider_perfectlyclear.catalog.report.single_report import SingleReporter
from airflow_provider_perfectlyclear.catalog.run import CatalogRun
from airflow_provider_perfectlyclear.catalog.workspace import Workspace


def single_run(
    client: Client,
    places: Places,
    options: Options,
    run_key: str,
    name: str,
    output: str | None = None,
    *,
    title: str = "another run",
    expects: Expected | None = None,
) -> CatalogRun:
    """
    Put together a run that corrects one picture or video.

    :param places: the folder that the file lies in, the one that the output goes to, and where the ledger lies. A
        destination of None means that only the job's data is wanted.
    :param options: how; what concerns many pictures is not looked at.
    :param run_key: names the task instance over all its tries.
    :param name: the file's name below the source.
    :param output: the output's name below the destination; None keeps the source's, with the extension of what comes
        back.
    :param title: the run as a person would name it.
    :param expects: what the last run of the same task said of its ledger, if it is known.
    :raises InvalidSource: a name is not safe; nothing was sent.
    """
    picture = Picture.of(places, name, output, options)
    lane, state = single_lane(picture.output), places.state.child(SINGLES)
    workspace = Workspace(places, lane, f"{run_key}/{picture.output}", title=title, state=state)
    # Earlier versions knew data by its source alone, and before that by the name that an output would have.
    names = (data_of(places, name), picture.file_name) if places.destination is None else ()
    older = [(single_lane(known_as), known_as) for known_as in names]
    return CatalogRun(
        client,
        workspace,
        options,
        lanes=SingleLanes(workspace.ledger, places.state, picture.output, older=older),
        planner=SinglePlanner(places, options, picture, look=workspace.look_up),
        reporter=SingleReporter(client, workspace, options, picture),
        expects=expects,
    )
