"""The rates of accounts: each call is admitted or refused before any work, and settled at its end.

A call with a limit costs one round trip to Redis; one without, none. While Redis is unavailable the
counts are unknown, so a call with a limit is refused with 503.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace

from api.services.caller import Caller
from api.services.token_estimate import estimated_tokens, rate_class_of
from shared.errors import (
    BrokerUnavailable,
    RequestAboveTokenRate,
    RequestRateExceeded,
    TokenRateExceeded,
    TooBusy,
)
from shared.job_kinds import Body
from shared.rate_limits import RateDemand, RateLimiter, RateState, Settlement
from shared.telemetry import Log
from shared.tiers import Rate, RateClass

log = Log("quotas")

_FLUSH_S = 0.01  # after the end of a call, other processes know of it within this time
_MAX_SETTLEMENTS = 128  # that travel with one admission
_MAX_REFUSALS = 10_000
HOLD_S = 2.0
"""A refusal that follows another one within this time is held back for as long, or until the call
would fit, so that clients that ignore `Retry-After` cannot call faster: 200 that did took both of
two cores from all others."""
STATE_KEPT_S = 1.0
"""An answer to a call without a count of its own shows a state of at most this age."""
UNAVAILABLE_KEPT_S = 10.0
"""For this time after Redis did not answer, no state is looked up only to be shown."""
_LOOK_UP_WAIT_S = (
    0.1  # of an answer for the look-up of another one, which Redis may hold for seconds
)
_LEASE_MARGIN_S = 10.0  # from the end of the wait of a call to the end of its response

_RateKey = tuple[str, RateClass, Rate]


@dataclass(kw_only=True)
class Quota:
    """The limits of a call and their state.

    Attributes:
        used_tokens: Tokens of the call, once known.
        hold_s: For how long its refusal is held back.
    """

    demand: RateDemand
    state: RateState
    used_tokens: int | None = None
    hold_s: float = 0.0


_current: ContextVar[Quota | None] = ContextVar("quota", default=None)
_rate_class: ContextVar[RateClass] = ContextVar("rate_class", default="zero_shot")


def current() -> Quota | None:
    """The quota of the request that this thread answers; None: it has no limit."""
    return _current.get()


def begin_request() -> None:
    """Forget the quota of the request before."""
    _current.set(None)
    _rate_class.set("zero_shot")


def concerns(rate_class: RateClass) -> None:
    """Tell the class of the request, for its answer if it ends before it is counted."""
    _rate_class.set(rate_class)


def set_used_tokens(tokens: int) -> None:
    """Tell what the call has really used; a call that failed uses nothing."""
    if quota := _current.get():
        quota.used_tokens = tokens


class Quotas:
    """The limits of calls, for one API process. `start` and `stop` belong to its main.

    Args:
        limiter: Counts calls, for all processes.
        wait_s: The longest wait of a synchronous call.
        monotonic: Seconds, for the memory of refusals.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        *,
        wait_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = limiter
        self._lease_s = wait_s + _LEASE_MARGIN_S
        self._monotonic = monotonic
        self._ended: deque[Settlement] = deque()
        self._some_ended = threading.Event()
        self._refusals: OrderedDict[_RateKey, tuple[float, int, RateState]] = OrderedDict()
        self._refused_at: OrderedDict[str, float] = OrderedDict()  # by subject: its last refusal
        self._states: OrderedDict[_RateKey, tuple[float, RateState]] = OrderedDict()
        self._look_up = threading.Lock()  # of one state to be shown at a time
        self._unavailable_until = -math.inf
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Settle ended calls from now on."""
        self._thread = threading.Thread(target=self._run, name="quotas", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Settle what is left."""
        self._stopping = True
        self._some_ended.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def admit(self, request: Body, *, caller: Caller, waits: bool, job_id: str = "") -> bool:
        """Count a request, or refuse it.

        Args:
            request: A request within the limits of one request.
            caller: The account, its tier and its key.
            waits: Whether the caller waits for the result, as a concurrent call.
            job_id: The job that the request becomes; empty: none.

        Returns:
            Whether the end of the job has to correct the tokens.

        Raises:
            RequestRateExceeded: The tier allows no further request this minute.
            TokenRateExceeded: The tier allows fewer tokens this minute.
            RequestAboveTokenRate: The tier allows fewer tokens in any minute.
            TooBusy: The tier allows no further concurrent call.
            BrokerUnavailable: Redis is unavailable, so the counts are unknown.
        """
        rate_class = rate_class_of(request)
        rate = caller.tier.rate(rate_class)
        concurrent_calls = caller.tier.concurrent_calls if waits else None
        if rate == Rate() and concurrent_calls is None:
            return False
        tokens = estimated_tokens(request)
        demand = RateDemand(
            subject=caller.rate_subject or caller.account,
            rate_class=rate_class,
            rate=rate,
            tokens=tokens,
            concurrent_calls=concurrent_calls,
            lease_s=self._lease_s,
            job_id=job_id if tokens and rate.tokens is not None else "",
        )
        above = rate.tokens is not None and tokens > rate.tokens
        if above:  # counts as no request, but the response has the state of the limits
            demand = replace(demand, requests=0, tokens=0, concurrent_calls=None)
        state = self._remembered_refusal(demand) or self._admit(demand)
        quota = Quota(demand=demand, state=state)
        _current.set(quota)
        if above:
            raise RequestAboveTokenRate(
                f"the request has about {tokens} tokens, but the tier {caller.tier.name} allows "
                f"{rate.tokens} tokens a minute: send fewer inputs in each request, or send "
                "them as a batch (POST /v1/batches)"
            )
        if state.exceeded is not None:
            quota.hold_s = self._hold_s(demand.subject, state)
            raise _refusal(demand, state, caller.tier.name)
        return bool(demand.job_id)

    def job_not_accepted(self, job_id: str) -> None:
        """Give back the tokens of a job that did not come to be."""
        with suppress(BrokerUnavailable):  # the estimate stands
            self._limiter.settle_job(job_id, 0)

    def look(self, caller: Caller, rate_class: RateClass) -> Quota | None:
        """The state of the limits of a class; None: it has none.

        Raises:
            BrokerUnavailable: Redis is unavailable.
        """
        rate = caller.tier.rate(rate_class)
        if rate == Rate():
            return None
        demand = _look_of(caller, rate_class, rate)
        return Quota(demand=demand, state=self._noted(demand, self._limiter.admit(demand)))

    def shown(self, caller: Caller) -> Quota | None:
        """The state of the limits for the answer to a request that counted nothing; None: it has
        none, or Redis is unavailable. Costs a round trip in every `STATE_KEPT_S` at most. While
        Redis hangs, one answer waits for it, and all others do without.
        """
        rate_class = _rate_class.get()
        rate = caller.tier.rate(rate_class)
        if rate == Rate():
            return None
        demand = _look_of(caller, rate_class, rate)
        state = self._recent(demand)
        if state is None and self._look_up.acquire(timeout=_LOOK_UP_WAIT_S):
            try:
                state = self._recent(demand) or self._looked_up(demand)
            finally:
                self._look_up.release()
        return None if state is None else Quota(demand=demand, state=state)

    def _recent(self, demand: RateDemand) -> RateState | None:
        key = demand.subject, demand.rate_class, demand.rate
        at, state = self._states.get(key, (-math.inf, None))
        return state if self._monotonic() - at < STATE_KEPT_S else None

    def _looked_up(self, demand: RateDemand) -> RateState | None:
        if self._monotonic() < self._unavailable_until:
            return None
        try:
            return self._noted(demand, self._limiter.admit(demand))
        except BrokerUnavailable:
            self._unavailable_until = self._monotonic() + UNAVAILABLE_KEPT_S
            return None

    def end(self, quota: Quota) -> None:
        """Settle an admitted call whose response is ready."""
        demand, state = quota.demand, quota.state
        used = demand.tokens if quota.used_tokens is None else quota.used_tokens
        corrected = demand.rate.tokens is not None and not demand.job_id
        correction = used - demand.tokens if corrected else 0
        if state.exceeded is not None or demand.requests == 0 or not (state.lease or correction):
            return
        self._ended.append(
            Settlement(
                subject=demand.subject,
                rate_class=demand.rate_class,
                step=state.step,
                tokens=correction,
                lease=state.lease,
            )
        )
        self._some_ended.set()

    def flush(self) -> None:
        """Settle the calls that have ended.

        Raises:
            BrokerUnavailable: Redis is unavailable; their leases expire, their estimates stand.
        """
        while ended := self._take_ended():
            self._limiter.settle(ended)

    def _admit(self, demand: RateDemand) -> RateState:
        state = self._limiter.admit(demand, self._take_ended())
        if state.exceeded == "requests" and state.tokens_wait_s == 0:
            # Nothing gives requests back, so the answer is known until the oldest leave.
            until = self._monotonic() + state.requests_wait_s
            key = demand.subject, demand.rate_class, demand.rate
            self._refusals[key] = until, demand.tokens, state
            if len(self._refusals) > _MAX_REFUSALS:
                self._refusals.popitem(last=False)
        return self._noted(demand, state)

    def _noted(self, demand: RateDemand, state: RateState) -> RateState:
        """Keep the state of a window for `shown`."""
        key = demand.subject, demand.rate_class, demand.rate
        self._states[key] = self._monotonic(), state
        if len(self._states) > _MAX_REFUSALS:
            self._states.popitem(last=False)
        return state

    def _remembered_refusal(self, demand: RateDemand) -> RateState | None:
        """A refusal that still holds, so that an account above its rate costs Redis nothing."""
        key = demand.subject, demand.rate_class, demand.rate
        if demand.requests == 0 or (known := self._refusals.get(key)) is None:
            return None
        until, tokens, state = known
        left = until - self._monotonic()
        if left <= 0 or demand.tokens > tokens:  # more tokens may have to wait longer
            return None
        return replace(state, requests_wait_s=left, reset_s=left)

    def _hold_s(self, subject: str, state: RateState) -> float:
        """For how long a refusal is held back; 0 for the first one of a subject."""
        now, hold_s = self._monotonic(), 0.0
        if now - self._refused_at.pop(subject, -math.inf) < HOLD_S:
            hold_s = min(HOLD_S, max(state.requests_wait_s, state.tokens_wait_s) or HOLD_S)
        self._refused_at[subject] = now + hold_s
        if len(self._refused_at) > _MAX_REFUSALS:
            self._refused_at.popitem(last=False)
        return hold_s

    def _take_ended(self) -> list[Settlement]:
        ended: list[Settlement] = []
        while self._ended and len(ended) < _MAX_SETTLEMENTS:
            try:
                ended.append(self._ended.popleft())
            except IndexError:  # another thread was faster
                break
        return ended

    def _run(self) -> None:
        while not self._stopping:
            self._some_ended.wait()
            if not self._stopping:
                time.sleep(_FLUSH_S)  # most travel with an admission in the meantime
            self._some_ended.clear()
            try:
                self.flush()
            except BrokerUnavailable as exc:
                log.warning("quotas.not_settled", reason=exc.detail)


def _look_of(caller: Caller, rate_class: RateClass, rate: Rate) -> RateDemand:
    """A demand that counts nothing."""
    subject = caller.rate_subject or caller.account
    return RateDemand(subject=subject, rate_class=rate_class, rate=rate, requests=0)


def _refusal(
    demand: RateDemand, state: RateState, tier: str
) -> RequestRateExceeded | TokenRateExceeded | TooBusy:
    wait_s = math.ceil(max(state.requests_wait_s, state.tokens_wait_s))
    what = "zero-shot" if demand.rate_class == "zero_shot" else "few-shot and training"
    if state.exceeded == "requests":
        return RequestRateExceeded(
            f"the tier {tier} allows {demand.rate.requests} {what} requests a minute; try again "
            f"in {wait_s} s",
            retry_after_s=wait_s,
        )
    if state.exceeded == "tokens":
        return TokenRateExceeded(
            f"the tier {tier} allows {demand.rate.tokens} tokens of {what} requests a minute, and "
            f"this request has about {demand.tokens}; try again in {wait_s} s",
            retry_after_s=wait_s,
        )
    return TooBusy(
        f"the tier {tier} allows {demand.concurrent_calls} concurrent calls; try again when one "
        "of them has ended, or send 'Prefer: respond-async'",
        retry_after_s=1,
    )
