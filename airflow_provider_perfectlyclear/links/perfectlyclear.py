"""Link from a task's page to the report of its run."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

#: XCom key of the link. Airflow 3 shows its value; Airflow 2.11 calls :meth:`PerfectlyClearReportLink.get_link`.
REPORT = "perfectlyclear_report"


class PerfectlyClearReportLink(BaseOperatorLink):
    """
    Link to the run's manifest, or to the output of a single picture. Empty before there is one.

    Airflow's pages show a button for ``http(s)`` URLs only. Its REST API and the XCom ``perfectlyclear_report`` have
    all URLs, such as ``s3://...``.
    """

    name = "Perfectly Clear report"
    xcom_key = REPORT

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Return the report's URL, or an empty string if there is none.

        :param operator: The task. On a worker, the task that has just ended.
        :param ti_key: Key of the task instance.
        """
        try:
            place = getattr(operator, "_report", None)
            if place is None:
                from airflow.providers.common.compat.sdk import XCom

                place = XCom.get_value(ti_key=ti_key, key=REPORT)
        except Exception:  # noqa: BLE001  # neither a page nor the end of a task may fail because of a link
            return ""
        return as_url(place) if isinstance(place, str) else ""


def as_url(place: str) -> str:
    """Return a place as a URL. Airflow would take a local path for a page of its own web server."""
    return PurePath(place).as_uri() if place.startswith("/") else place
