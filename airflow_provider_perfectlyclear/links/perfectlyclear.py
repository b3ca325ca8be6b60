"""The link on a task's page to what became of its pictures."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

#: The XCom that holds the link. Airflow 3 shows what is in it; 2.11 asks :meth:`PerfectlyClearReportLink.get_link`.
REPORT = "perfectlyclear_report"


class PerfectlyClearReportLink(BaseOperatorLink):
    """
    Leads to the run's manifest, or to the corrected file of a single picture; nowhere before there is one.

    Airflow's pages make a button of ``http(s)`` addresses only. Other places, such as ``s3://...``, stand in its REST
    API and in the XCom ``perfectlyclear_report``.
    """

    name = "Perfectly Clear report"
    xcom_key = REPORT

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Say where it is; empty when that is not known.

        :param operator: the task; on a worker the one that has just ended.
        :param ti_key: the task instance.
        """
        try:
            place = getattr(operator, "_report", None)
            if place is None:
                from airflow.providers.common.compat.sdk import XCom

                place = XCom.get_value(ti_key=ti_key, key=REPORT)
        except Exception:  # a page, or the end of a task, is not to fail over a link
            return ""
        return as_url(place) if isinstance(place, str) else ""


def as_url(place: str) -> str:
    """A place as a URL: a local path would be read as a page of Airflow's own web server."""
    return PurePath(place).as_uri() if place.startswith("/") else place
