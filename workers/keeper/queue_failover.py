"""Work goes to where it can be done: to a living worker of its model, on the best device.

A job is given a queue when it is accepted. The workers of that queue may die while it waits, or
those of a better device come back; then what waits is moved. What no living worker could do stays.
"""

from __future__ import annotations

from shared.member_reports import WorkerReport
from shared.messages import on_every_device
from shared.ports import Ledger
from shared.telemetry import Log

log = Log("reroute")
_WORKER = "worker"


def reroute(ledger: Ledger) -> int:
    """Move what waits in a queue that is not the best one of those that are consumed.

    Returns:
        How many queues were moved.

    Raises:
        BrokerUnavailable: Redis is away; run it again.
    """
    queues = ledger.queues()
    if not queues:
        return 0
    reports = ledger.reports(_WORKER).values()
    consumed = {
        queue for report in reports for queue in WorkerReport.model_validate_json(report).queues
    }
    moved = 0
    for queue in queues:
        best = next((each for each in on_every_device(queue) if each in consumed), queue)
        if best != queue:
            ledger.move_queue(queue, best)
            log.info("queue.moved", queue=queue, to=best)
            moved += 1
    return moved
