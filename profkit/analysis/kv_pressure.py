"""What happens to sessions of several tenants when their KV caches no longer fit together?"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from profkit.errors import OptionError, nearest

POLICIES: Final[dict[str, str]] = {
    "none": "nothing is evicted: a turn that does not fit waits until sessions end, or for ever",
    "lru": "the least recently used session loses its newest tokens first",
    "sliding": "each session keeps a window of its newest tokens; then as lru",
    "partition": "each tenant has a share of its own; lru within it",
}
EVERYONE: Final = "all"
"""The row of the table that sums over tenants."""
_COLUMNS: Final = ("session", "tenant", "time_s", "prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class Turn:
    """One question and its answer."""

    wait_s: float  # after the turn before, or after the start for the first
    prompt_tokens: int  # new ones
    output_tokens: int


@dataclass(frozen=True)
class Session:
    """A conversation: every turn reads all tokens of those before it."""

    tenant: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Pressure:
    """What policies make of the same sessions.

    `table` has one row per policy and tenant, and one for all tenants; `held` is the cache after each turn.
    """

    capacity: int  # tokens
    policies: tuple[str, ...]
    table: pd.DataFrame
    held: pd.DataFrame = field(repr=False)  # policy, time_s, tenant, tokens

    def worst(self, policy: str) -> str:
        """The tenant with the largest share of turns refused, among equals the smallest hit share."""
        rows = self.table[(self.table["policy"] == policy) & (self.table["tenant"] != EVERYONE)]
        if rows.empty:
            raise OptionError(f"policy {policy!r} was not simulated{nearest(policy, self.policies)}")
        refused = rows["refused"] / rows["turns"]
        ranked = rows.assign(_refused=-refused, _hit=rows["hit_share"].fillna(1.0))
        return str(ranked.sort_values(["_refused", "_hit", "tenant"])["tenant"].iloc[0])


def pressure(
    sessions: Sequence[Session],
    capacity: int,
    policies: Sequence[str],
    window: int | None = None,
    shares: Mapping[str, float] | None = None,
    page: int = 1,
) -> Pressure:
    """See `profkit.kv_pressure`."""
    tenants = sorted({session.tenant for session in sessions})
    _check(tenants, capacity, policies, window, shares, page)
    simulations = {policy: _Simulation(sessions, policy, capacity, window, shares, page) for policy in policies}
    rows, held = [], []
    for policy, simulation in simulations.items():
        simulation.run()
        rows += [simulation.row(policy, tenant) for tenant in (*tenants, EVERYONE)]
        held += [{"policy": policy, "time_s": at, "tenant": t, "tokens": n} for at, t, n in simulation.trail]
    table = pd.DataFrame(rows).astype({"hit_share": "Float64"})
    return Pressure(
        capacity, tuple(policies), table, pd.DataFrame(held, columns=["policy", "time_s", "tenant", "tokens"])
    )


def _check(
    tenants: Sequence[str],
    capacity: int,
    policies: Sequence[str],
    window: int | None,
    shares: Mapping[str, float] | None,
    page: int,
) -> None:
    for policy in policies:
        if policy not in POLICIES:
            raise OptionError(f"no policy {policy!r}{nearest(str(policy), POLICIES)}; known are {', '.join(POLICIES)}")
    for name, value in (("capacity", capacity), ("page", page), ("window", window)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise OptionError(f"{name} is a whole number of tokens from 1 on, not {value!r}")
    if "sliding" in policies and window is None:
        raise OptionError("policy 'sliding' needs window=, the tokens that each session keeps")
    if shares is None:
        return
    if set(shares) != set(tenants):
        raise OptionError(f"shares name {', '.join(sorted(shares))}; the tenants are {', '.join(tenants)}")
    if min(shares.values()) <= 0 or sum(shares.values()) > 1 + 1e-9:
        raise OptionError("shares are parts of the capacity above 0 that add up to at most 1")


@dataclass
class _Count:
    """Sums over the turns of one tenant."""

    turns: int = 0
    refused: int = 0
    waited_s: float = 0.0
    history: int = 0
    hit: int = 0
    recompute: int = 0
    forgotten: int = 0


@dataclass
class _State:
    """Where one session stands."""

    tenant: str
    turns: Sequence[Turn]
    next: int = 0
    history: int = 0  # tokens of the turns so far
    held: int = 0  # of them in the cache
    used_at: int = 0  # turns served before it was used last


class _Simulation:
    """One policy over the sessions, turn by turn in order of time; a turn itself takes no time."""

    def __init__(
        self,
        sessions: Sequence[Session],
        policy: str,
        capacity: int,
        window: int | None,
        shares: Mapping[str, float] | None,
        page: int,
    ) -> None:
        self.policy, self.capacity, self.page = policy, capacity, page
        self.states = [_State(session.tenant, session.turns) for session in sessions]
        self.counts = {state.tenant: _Count() for state in self.states}
        self.window = window if policy == "sliding" else None
        pools = dict.fromkeys(self.counts, EVERYONE)
        self.limits = {EVERYONE: capacity}
        if policy == "partition":
            pools = {tenant: tenant for tenant in self.counts}
            parts = shares or dict.fromkeys(self.counts, 1 / len(self.counts))
            self.limits = {tenant: math.floor(parts[tenant] * capacity) for tenant in self.counts}
        self.pools = pools
        self.trail: list[tuple[float, str, int]] = []
        self.served = 0
        self._waiting: list[tuple[float, int]] = []  # since when, which session
        self._due: list[tuple[float, int]] = []

    def run(self) -> None:
        self._due = [(state.turns[0].wait_s, at) for at, state in enumerate(self.states) if state.turns]
        heapq.heapify(self._due)
        while self._due:
            now, at = heapq.heappop(self._due)
            state = self.states[at]
            if self._reach(self._grown(state)) > self.capacity:
                self._refuse(state)
            elif self._fits(state):
                self._serve(now, at)
            else:
                self._waiting.append((now, at))
                continue
            self._admit(now)
        for _, at in self._waiting:  # nothing will end any more
            self._refuse(self.states[at])

    def _admit(self, now: float) -> None:
        """Serve who waits and fits by now, the oldest first."""
        while True:
            found = next((entry for entry in self._waiting if self._fits(self.states[entry[1]])), None)
            if found is None:
                return
            self._waiting.remove(found)
            since, at = found
            self.counts[self.states[at].tenant].waited_s += now - since
            self._serve(now, at)

    def row(self, policy: str, tenant: str) -> dict[str, Any]:
        chosen = self.counts.values() if tenant == EVERYONE else [self.counts[tenant]]
        total = {name: sum(getattr(count, name) for count in chosen) for name in vars(_Count())}
        history = total["history"]
        return {
            "policy": policy,
            "tenant": tenant,
            "turns": total["turns"],
            "refused": total["refused"],
            "waited_s": total["waited_s"],
            "history_tokens": history,
            "hit_share": total["hit"] / history if history else None,
            "recompute_tokens": total["recompute"],
            "forgotten_tokens": total["forgotten"],
        }

    def _fits(self, state: _State) -> bool:
        """Without eviction, whether the turn finds room; with it, always."""
        if self.policy != "none":
            return True
        return self._used(EVERYONE) - state.held + self._pages(self._grown(state)) <= self.capacity

    def _grown(self, state: _State) -> int:
        """Tokens of a session after its next turn."""
        turn = state.turns[state.next]
        return state.history + turn.prompt_tokens + turn.output_tokens

    def _reach(self, tokens: int) -> int:
        """Those of them that a turn attends to."""
        return tokens if self.window is None else min(tokens, self.window)

    def _serve(self, now: float, at: int) -> None:
        state = self.states[at]
        count, reach = self.counts[state.tenant], self._reach(state.history)
        count.turns += 1
        count.history += reach
        count.forgotten += state.history - reach
        hit = min(state.held, reach)
        count.hit += hit
        count.recompute += reach - hit
        state.history = self._grown(state)
        state.next += 1
        self.served += 1
        state.used_at = self.served
        if state.next == len(state.turns):
            state.held = 0
        else:
            self._keep(state)
            heapq.heappush(self._due, (now + state.turns[state.next].wait_s, at))
        for tenant in self.counts:
            self.trail.append((now, tenant, sum(s.held for s in self.states if s.tenant == tenant)))

    def _keep(self, state: _State) -> None:
        """As much of a session as its pool may hold, others giving way by age."""
        pool = self.pools[state.tenant]
        limit = self.limits[pool]
        state.held = min(self._pages(self._reach(state.history)), limit // self.page * self.page)
        others = sorted((s for s in self._members(pool) if s is not state and s.held), key=lambda s: s.used_at)
        for other in others:
            over = self._used(pool) - limit
            if over <= 0:
                break
            other.held -= min(self._pages(over), other.held)

    def _refuse(self, state: _State) -> None:
        """This turn and those after it; the session gives back what it holds."""
        state.held = 0
        left = len(state.turns) - state.next
        self.counts[state.tenant].turns += left
        self.counts[state.tenant].refused += left

    def _members(self, pool: str) -> Iterable[_State]:
        return (state for state in self.states if self.pools[state.tenant] == pool)

    def _used(self, pool: str) -> int:
        return sum(state.held for state in self._members(pool))

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self.page) * self.page


def read_sessions(given: Any) -> list[Session]:
    """Sessions from `Session` objects, from dicts of the same fields, or from a table of turns.

    A table has a row per turn with session, tenant, time_s, prompt_tokens and output_tokens. A dict has tenant and
    turns, and may have arrival_s; a turn is (wait_s, prompt_tokens, output_tokens) or a dict of these.

    Raises:
        OptionError: it is none of these, or a number that cannot be.
    """
    if isinstance(given, pd.DataFrame):
        found = _from_table(given)
    elif isinstance(given, Iterable) and not isinstance(given, str | Mapping):
        found = [one if isinstance(one, Session) else _from_dict(one) for one in given]
    else:
        raise OptionError(f"sessions are a list or a DataFrame of turns, not {type(given).__name__}")
    if not found:
        raise OptionError("there are no sessions to simulate")
    for session in found:
        for turn in session.turns:
            tokens = (turn.prompt_tokens, turn.output_tokens)
            whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in tokens)
            if not whole or not sum(tokens) or not math.isfinite(turn.wait_s) or turn.wait_s < 0:
                raise OptionError(f"a turn of {session.tenant!r} cannot be: {turn}")
    return found


def _from_dict(given: Any) -> Session:
    try:
        turns = [Turn(**turn) if isinstance(turn, Mapping) else Turn(*turn) for turn in given["turns"]]
        arrival = float(given.get("arrival_s", 0.0))
        tenant = str(given["tenant"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OptionError(
            f"a session is {{tenant, arrival_s, turns: [(wait_s, prompt_tokens, output_tokens), ...]}}: {error}"
        ) from error
    if turns:
        turns[0] = Turn(arrival + turns[0].wait_s, turns[0].prompt_tokens, turns[0].output_tokens)
    return Session(tenant, tuple(turns))


def _from_table(given: pd.DataFrame) -> list[Session]:
    missing = [name for name in _COLUMNS if name not in given]
    if missing:
        raise OptionError(f"the table of turns lacks {', '.join(missing)}; it has {', '.join(map(str, given))}")
    found = []
    for _, rows in given.sort_values("time_s", kind="stable").groupby("session", sort=False):
        if rows["tenant"].nunique() != 1:
            raise OptionError(f"session {rows['session'].iloc[0]!r} has several tenants")
        waits = np.diff(rows["time_s"].to_numpy(float), prepend=0.0)
        turns = zip(waits, rows["prompt_tokens"], rows["output_tokens"], strict=True)
        found.append(Session(str(rows["tenant"].iloc[0]), tuple(Turn(float(w), int(p), int(o)) for w, p, o in turns)))
    return found


def example_sessions(seed: int = 0) -> list[Session]:
    """One agent's session that grows to 45,000 tokens, a turn every 5 s, among 40 chats of four turns each.

    Arrivals of the chats are Poisson, pauses between turns exponential; the same seed gives the same sessions.
    """
    rng = np.random.default_rng(seed)
    agent = Session("agent", tuple(Turn(5.0, 900, 100) for _ in range(45)))
    chats = []
    arrival = 0.0
    for _ in range(40):
        arrival += float(rng.exponential(6.0))
        waits = [arrival, *rng.exponential(20.0, 3)]
        lengths = rng.integers(200, 1200, (4, 2))
        turns = zip(waits, lengths, strict=True)
        chats.append(Session("chat", tuple(Turn(float(w), int(p), int(o)) for w, (p, o) in turns)))
    return [agent, *chats]
