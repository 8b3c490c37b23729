"""Queue failover: waiting work moves to a queue that a live worker consumes, on the best device.

The queue of a job is chosen when the job is accepted. If the workers of that queue die, or workers
of a better device come back, the waiting work is moved. Work that no live worker can do stays.
"""

from __future__ import annotations

from collections import Counter

from shared.member_reports import WorkerReport
from shared.messages import on_every_device
from shared.ports import Ledger
from shared.telemetry import Log

log = Log("reroute")
_WORKER = "worker"


def workers_of_queues(ledger: Ledger) -> Counter[str]:
    """How many live workers consume each queue.

    Raises:
        BrokerUnavailable: Redis is unavailable.
    """
    reports = map(WorkerReport.model_validate_json, ledger.reports(_WORKER).values())
    return Counter(queue for report in reports for queue in report.queues)


def reroute(ledger: Ledger) -> int:
    """Move each queue that is not the best of the consumed queues for its work.

    Returns:
        The number of queues that were moved.

    Raises:
        BrokerUnavailable: Redis is unavailable; run it again.
    """
    queues = ledger.queues()
    if not queues:
        return 0
    consumed = workers_of_queues(ledger)
    moved = 0
    for queue in queues:
        best = next((each for each in on_every_device(queue) if each in consumed), queue)
        if best != queue:
            ledger.move_queue(queue, best)
            log.info("queue.moved", queue=queue, to=best)
            moved += 1
    return moved
