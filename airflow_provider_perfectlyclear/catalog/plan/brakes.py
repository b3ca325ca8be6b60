"""Brakes: where a plan is hardly meant, the run stops before its first paid call. Pure."""

from __future__ import annotations

from collections import Counter

from airflow_provider_perfectlyclear.api.text import counted
from airflow_provider_perfectlyclear.catalog.ledger.bills import Bill
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.plan.model import Item, Plan, Verdict
from airflow_provider_perfectlyclear.errors import PlanRefused

#: The redo guard stops a run that would pay again for more than this share of what was paid or stands ...
REDO_SHARE = 0.10
#: ... and for more than this many.
REDO_COUNT = 20
#: A ledger that knows nothing may be a lost one: so many paid jobs at once want a confirmation.
FIRST_NIGHT = 1000


def may_refuse(made: Plan, options: Options, *, knows_nothing: bool) -> bool:
    """Whether a brake would stop the plan as it is; see :func:`brake`."""
    try:
        brake(made, options, where="", knows_nothing=knows_nothing)
    except PlanRefused:
        return True
    return False


def brake(made: Plan, options: Options, *, where: str, knows_nothing: bool) -> None:
    """
    Stop before the first paid call.

    :param where: the destination, for the message.
    :param knows_nothing: whether the ledger has no row at all.
    :raises PlanRefused: says how many jobs are needed, why, and what lets them pass.
    """
    most = options.max_new_jobs
    if most is not None and made.payable > most:
        raise PlanRefused(
            f"The plan needs {counted(made.payable, 'job')} ({made.line()}) and max_new_jobs allows {most:,}; "
            "nothing was started. Look at the plan with plan_only=True, or raise max_new_jobs."
        )
    _guard_redo(made, options, where)
    new = made.payable if options.limit is None else min(made.payable, options.limit)
    if knows_nothing and most is None and new > FIRST_NIGHT:
        raise PlanRefused(
            f"Refused: {new:,} jobs would be paid, and the ledger of {where} knows nothing yet. Nothing was started. "
            f"If this is the first run, set max_new_jobs={made.payable}; if not, mount or restore the ledger."
        )


def _guard_redo(made: Plan, options: Options, where: str) -> None:
    """Much would be paid for again: the ledger is lost, a default was edited, a preset changes every night."""
    if options.reprocess == "always":
        return
    again, known = made.paid_again, made.paid_or_there
    allowed = options.paid_again_allowed(known)
    if allowed is not None:
        fits = (again if options.limit is None else min(again, options.limit)) <= allowed
    else:
        fits = again <= REDO_COUNT or again <= REDO_SHARE * known
    if fits:
        return
    reasons = Counter(item.reason for item in made.todo if item.paid_before and not item.free_only)
    why = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
    raise PlanRefused(
        f"Refused: {again:,} of {known:,} existing or paid outputs in {where} would be paid for again ({why}). "
        f"Nothing was started. If intended, set max_paid_again={again}.{_way_out(reasons)}"
    )


def _way_out(reasons: Counter[str]) -> str:
    """Name the setting that leaves existing outputs alone, by what most of them are about."""
    ((reason, _),) = reasons.most_common(1)
    remedies: dict[str, str] = {
        Verdict.NOT_IN_LEDGER: ' If something else corrected them before, set reprocess="missing" and leave it set. '
        "Edited originals are not noticed then.",
        Verdict.CORRECTION_CHANGED: ' To correct only new and changed pictures, use reprocess="source_changed".',
    }
    return remedies.get(reason, "")


def within_limit(todo: list[Item], limit: int | None, bill: Bill) -> list[Item]:
    """
    Return the first items of which at most ``limit`` are started in a Dag run; free ones do not count.

    :param limit: starts per Dag run, None for no limit.
    :param bill: what earlier attempts of the Dag run have paid.
    """
    if limit is None:
        return todo
    room = max(0, limit - bill.paid - bill.twice)
    for number, item in enumerate(todo):
        room -= not item.free_only
        if room < 0:
            return todo[:number]
    return todo
