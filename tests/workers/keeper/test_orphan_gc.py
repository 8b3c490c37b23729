"""Files of killed trainers go when they are old; what a record names, and what is young, stays."""

from __future__ import annotations

import time

from shared import object_keys
from tests.workers.conftest import Bench
from tests.workers.handlers.test_train import ME, a_job, creation, hold, update
from tests.workers.keeper.test_retention import NO_LIMIT
from workers.keeper.orphan_gc import sweep

DAY_S = 86400.0


def left_behind(bench: Bench, classifier_id: str) -> str:
    name = object_keys.weights(ME, classifier_id, f"9-{a_job().id}-aaaa")
    bench.store.put(name, b"half a version")
    return name


def test_what_no_record_names_goes_when_it_is_old(bench: Bench):
    body = creation()
    bench.train.train(a_job(), body, hold())
    bench.train.train(a_job(), update(body.classifier_id), hold())
    before = set(bench.store.objects)
    name = left_behind(bench, body.classifier_id)
    assert sweep(bench.store, before=time.time() - DAY_S, limit=NO_LIMIT) == 0
    assert name in bench.store.objects
    assert sweep(bench.store, before=time.time() + DAY_S, limit=NO_LIMIT) == 1
    assert set(bench.store.objects) == before


def test_of_a_classifier_that_is_gone_everything_goes(bench: Bench):
    body = creation(keep_examples=True)
    bench.train.train(a_job(), body, hold())
    others = {n for n in bench.store.objects if body.classifier_id not in n}
    bench.store.delete(object_keys.classifier(ME, body.classifier_id))
    assert sweep(bench.store, before=time.time() - DAY_S, limit=NO_LIMIT) == 0
    sweep(bench.store, before=time.time() + DAY_S, limit=NO_LIMIT)
    assert set(bench.store.objects) == others


def test_a_classifier_that_is_being_made_stays(bench: Bench):
    body = creation()
    bench.train.train(a_job(), body, hold())
    bench.store.delete(object_keys.classifier(ME, body.classifier_id))
    before = set(bench.store.objects)
    sweep(bench.store, before=time.time() - DAY_S, limit=NO_LIMIT)
    assert set(bench.store.objects) == before
