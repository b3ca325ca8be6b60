"""The parts of an engine, put together."""

from __future__ import annotations

import time
from collections.abc import Mapping

from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.polling import Watch
from airflow_provider_perfectlyclear.catalog.corrections import Prepared
from airflow_provider_perfectlyclear.catalog.engine.backlog import Backlog
from airflow_provider_perfectlyclear.catalog.engine.board import Board
from airflow_provider_perfectlyclear.catalog.engine.copies import Copies
from airflow_provider_perfectlyclear.catalog.engine.disputed_jobs import DisputedJobs
from airflow_provider_perfectlyclear.catalog.engine.earlier_results import Copier, EarlierJobs, EarlierResults
from airflow_provider_perfectlyclear.catalog.engine.known_jobs import KnownJobs
from airflow_provider_perfectlyclear.catalog.engine.land import LandStep
from airflow_provider_perfectlyclear.catalog.engine.open_jobs import OpenJobs
from airflow_provider_perfectlyclear.catalog.engine.outcomes import Outcomes
from airflow_provider_perfectlyclear.catalog.engine.poll import PollStep
from airflow_provider_perfectlyclear.catalog.engine.pools import Pools
from airflow_provider_perfectlyclear.catalog.engine.recorder import Recorder
from airflow_provider_perfectlyclear.catalog.engine.refusals import Refusals
from airflow_provider_perfectlyclear.catalog.engine.repeat import RepeatStep
from airflow_provider_perfectlyclear.catalog.engine.sharing import Sharing
from airflow_provider_perfectlyclear.catalog.engine.start import StartStep
from airflow_provider_perfectlyclear.catalog.engine.start_answers import StartAnswers
from airflow_provider_perfectlyclear.catalog.engine.start_queue import StartQueue, Unconfirmed
from airflow_provider_perfectlyclear.catalog.engine.status_checks import StatusChecks
from airflow_provider_perfectlyclear.catalog.engine.twins import Twins
from airflow_provider_perfectlyclear.catalog.engine.upload import UploadStep
from airflow_provider_perfectlyclear.catalog.engine.uploader import Uploader
from airflow_provider_perfectlyclear.catalog.engine.waiting import Waiting
from airflow_provider_perfectlyclear.catalog.ledger.index import ContentIndex
from airflow_provider_perfectlyclear.catalog.options import Options
from airflow_provider_perfectlyclear.catalog.places import Places
from airflow_provider_perfectlyclear.catalog.transfer.kept import Kept
from airflow_provider_perfectlyclear.catalog.transfer.landing import Lander
from airflow_provider_perfectlyclear.catalog.transfer.set_aside import SetAside
from airflow_provider_perfectlyclear.catalog.transfer.spool import Spool


class Assembly:
    """
    Who knows whom. Each part is handed the parts that it uses; none knows the engine.

    :param client: the service.
    :param places: where the pictures are, and where the outputs go.
    :param recorder: the run's ledger and progress.
    :param options: how.
    :param prepared: rendition -> correction.
    :param spool: for files on their way.
    :param pools: transfers and calls.
    :param deadline: when the whole task has had its time (monotonic seconds), or None.
    """

    def __init__(
        self,
        client: Client,
        places: Places,
        recorder: Recorder,
        options: Options,
        prepared: Mapping[str, Prepared],
        spool: Spool,
        pools: Pools,
        deadline: float | None,
    ) -> None:
        ledger, destination = recorder.ledger, places.destination
        # What is only data has no output that could be copied.
        held = [*ledger.others.values(), *ledger.rows.values()] if destination is not None else []
        digests = [one.digest for one in prepared.values()]

        # What a run knows.
        self.board = board = Board()
        self.backlog = backlog = Backlog(board, recorder.progress, options.max_in_flight)
        queue, unconfirmed = StartQueue(board), Unconfirmed(options.on_ambiguous, board)
        watch = Watch({}, poll_interval=options.poll_interval, now=time.monotonic(), wants_witness=True)
        self.jobs = jobs = OpenJobs(board, watch)
        checks = StatusChecks(jobs, watch, job_timeout=options.job_timeout, deadline=deadline)
        twins, known = Twins(board), KnownJobs(ledger)
        index = ContentIndex(held, ledger.view.replaced)
        self.aside = SetAside(ledger.store, ledger.lane, destination, spool, digests)

        # What becomes of an output.
        self.copies = Copies(recorder, pools, self.aside)
        self.outcomes = Outcomes(recorder, backlog, queue, twins, index, self.copies)
        refusals = Refusals(recorder)
        self.sharing = Sharing(recorder, backlog, twins, jobs, known, self.outcomes, refusals)
        self.disputed = DisputedJobs(
            recorder, prepared, known, jobs, unconfirmed, twins, self.sharing, self.outcomes
        )
        answers = StartAnswers(
            recorder, queue, unconfirmed, self.sharing, self.disputed, self.outcomes, refusals
        )

        # What transfer threads do.
        lander = Lander(client, destination, spool, Kept(ledger.store))
        copier = Copier(lander, self.aside, recorder.row, self.copies.declare, recorder.refuse_overtaken)
        earlier_jobs = EarlierJobs(client, lander, prepared)
        earlier = EarlierResults(
            earlier_jobs, copier, index, ledger.run, options.pays_for_gone, options.reprocess == "failed"
        )
        uploader = Uploader(client, places.source, spool, prepared, earlier, twins, options.check_source)

        # The steps.
        self.upload = UploadStep(pools, recorder, backlog, queue, self.sharing, self.outcomes, uploader)
        self.start = StartStep(client, pools, recorder, backlog, queue, known, self.disputed, answers)
        self.repeat = RepeatStep(
            recorder, board, unconfirmed, twins, self.start, self.disputed, self.outcomes, deadline
        )
        self.poll = PollStep(client, pools, recorder, backlog, checks, self.outcomes)
        self.land = LandStep(
            pools, recorder, jobs, self.sharing, self.disputed, self.outcomes, lander, options.verify
        )
        self.waiting = Waiting(
            board, pools, recorder, backlog, queue, self.repeat, checks, options.deferrable
        )
        self.sharing.lead_from_open(held)
