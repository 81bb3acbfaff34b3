"""What does each call of a model do: forward passes found by hooks, told apart by shapes alone."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from profkit.capture.clock import Clock
from profkit.capture.steps import Step, StepRecorder
from profkit.record import Phase

_TOKEN_ARGUMENTS: Final = ("decoder_input_ids", "input_ids", "inputs_embeds", "decoder_inputs_embeds")
_CACHE_ARGUMENTS: Final = ("past_key_values", "cache", "cache_params", "kv_cache")


@dataclass
class Sequences:
    """The sequences behind one cache: what came before decides what the next call is."""

    generation: int
    tokens: int | None  # per sequence, in the cache after the last call; None: unknown
    batch: int
    query: int  # tokens of the last call
    decoding: bool = False


@dataclass
class _Generate:
    """A running `generate` call."""

    generation: int
    sent: int
    fresh: bool  # its cache starts empty


class ForwardWatcher:
    """Watches modules between `attach` and `detach` and records each outermost forward as a step.

    A module counts when it is called with token ids [B, T] or [T], or with embeddings [B, T, H]. Nothing
    is copied and no value of a tensor is read.
    """

    def __init__(self, recorder: StepRecorder, clock: Clock) -> None:
        self._recorder, self._clock = recorder, clock
        self._undo: list[Callable[[], None]] = []
        self._devices: dict[int, int | None] = {}  # by id of the module
        self._states: dict[int, Sequences] = {}  # by id of the cache, else of the module
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._local = threading.local()
        self.notes: list[str] = []  # for the record: what could not be watched, or failed
        self.other_calls = 0  # calls of a watched module without tokens

    def attach(self, modules: Iterable[Any]) -> None:
        """Start watching."""
        for module in modules:
            inner = getattr(module, "_orig_mod", module)  # torch.compile's wrapper keeps the model there
            devices = {p.device for p in module.parameters()}
            cuda = {d.index or 0 for d in devices if d.type == "cuda"}
            if len(cuda) > 1:
                self.notes.append(
                    f"{type(inner).__name__} lies on {len(cuda)} GPUs: a step's GPU time is not measured."
                )
            device = next(iter(cuda)) if len(cuda) == 1 else None
            if device is not None:
                self._recorder.prepare(device)
            self._devices[id(module)] = device
            before = module.register_forward_pre_hook(_Hook(self._before), with_kwargs=True)
            after = module.register_forward_hook(_Hook(self._after), with_kwargs=True, always_call=True)
            self._undo += [before.remove, after.remove]
            self._patch(type(inner), "generate", self._generate)
            self._patch(type(inner), "get_compiled_call", self._get_compiled_call)
            self._devices.setdefault(id(inner), device)

    def detach(self) -> None:
        """Stop watching and put everything back."""
        while self._undo:
            self._undo.pop()()
        self._states.clear()

    def _patch(self, owner: type, name: str, around: Callable[..., Any]) -> None:
        """Replace a method on the class, so that copies and pickles of the model stay clean."""
        original = getattr(owner, name, None)
        if original is None or getattr(original, "_profkit", False):
            return
        own = owner.__dict__.get(name)

        @functools.wraps(original)
        def method(model: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if id(model) not in self._devices:
                return original(model, *args, **kwargs)
            return around(original, model, *args, **kwargs)

        method._profkit = True  # type: ignore[attr-defined]
        setattr(owner, name, method)
        self._undo.append(lambda: delattr(owner, name) if own is None else setattr(owner, name, own))

    def _generate(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if getattr(self._local, "generate", None) is not None:
            return original(model, *args, **kwargs)
        self._local.generate = _Generate(
            self._recorder.next_generation(), self._clock.now(), fresh=_cache_of(kwargs) is None
        )
        try:
            return original(model, *args, **kwargs)
        finally:
            self._local.generate = None

    def _get_compiled_call(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        """transformers compiles `__call__` for static caches; hooks inside would be compiled away."""
        compiled = original(model, *args, **kwargs)

        def call(*call_args: Any, **call_kwargs: Any) -> Any:
            __tracebackhide__ = True
            self._before(model, call_args, call_kwargs)
            output = None
            try:
                output = compiled(*call_args, **call_kwargs)
            finally:
                self._after(model, call_args, call_kwargs, output)
            return output

        return call

    def _before(self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        stack = self._stack()
        if any(entry[0] == id(module) for entry in stack):
            if not self._compiling():
                stack.clear()  # an interrupt left the last call of this module open
            else:
                return
        if stack or self._compiling():
            stack.append((id(module), None))
            return
        device = self._devices.get(id(module))
        step = self._describe(module, args, kwargs, device)
        stack.append((id(module), step and self._recorder.open(step, device)))

    def _after(self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        stack = self._stack()
        if not stack or stack[-1][0] != id(module):
            return
        _, step = stack.pop()
        if step is None or output is None:  # None: the forward raised
            return
        self._recorder.close(step, self._devices.get(id(module)))
        returned = _cache_of(output) if isinstance(output, Mapping) else None
        if returned is not None:
            passed = _cache_of(kwargs)
            state = self._states.get(id(module if passed is None else passed))
            if state is not None:
                self._remember(returned, state)

    def _stack(self) -> list[tuple[int, Step | None]]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[tuple[int, Step | None]] = self._local.stack
        return stack

    @staticmethod
    def _compiling() -> bool:
        import torch

        return bool(torch.compiler.is_compiling())

    def _describe(
        self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], device: int | None
    ) -> Step | None:
        import torch

        shape = _token_shape(args, kwargs)
        if shape is None:
            self.other_calls += 1
            return None
        if device is not None and torch.cuda.is_current_stream_capturing():
            return None  # recorded into a graph, not run
        batch, query = shape
        cache = _cache_of(kwargs)
        owner = cache if cache is not None else module
        state = self._known(owner)
        generate: _Generate | None = getattr(self._local, "generate", None)
        if generate is not None and state is not None and state.generation != generate.generation:
            state = None  # an earlier call's, on a cache or a model that is used again
        context = self._context(cache, state, generate, query)
        phase, fresh = classify(state, generate is not None, batch, query, context)
        if generate is not None:
            generation = generate.generation
        else:
            generation = self._recorder.next_generation() if fresh or state is None else state.generation
        in_cache = None if context is None else (query if cache is None and context == 0 else context + query)
        self._remember(
            owner,
            Sequences(generation, in_cache, batch, query, decoding=phase is Phase.DECODE),
        )
        return Step(
            start=0,
            phase=phase,
            batch=batch,
            query_tokens=query,
            context_tokens=context,
            tokens_out=None,
            generation=generation,
            sent=generate.sent if generate else None,
            in_generate=generate is not None,
        )

    @staticmethod
    def _context(cache: Any, state: Sequences | None, generate: _Generate | None, query: int) -> int | None:
        """Tokens per sequence in the cache before this call; None: cannot be told without a wait."""
        if cache is not None:
            length = _cache_length(cache)
            if length is not None:
                return length
        if cache is None and query > 1:
            return 0  # a prompt, or all of the sequence once more
        if state is None:
            return 0 if generate is not None and generate.fresh else None
        return state.tokens

    def _known(self, owner: Any) -> Sequences | None:
        key = id(owner)
        alive = self._alive.get(key)
        if alive is not None and alive() is not owner:
            self._states.pop(key, None)  # the id was given to another object
        return self._states.get(key)

    def _remember(self, owner: Any, state: Sequences) -> None:
        self._states[id(owner)] = state
        try:
            self._alive[id(owner)] = weakref.ref(owner)
        except TypeError:  # tuples, the older form of a cache
            self._alive.pop(id(owner), None)


def classify(
    state: Sequences | None, in_generate: bool, batch: int, query: int, context: int | None
) -> tuple[Phase, bool]:
    """The phase of a call, and whether a new generation starts with it.

    `state` is what was last seen behind the same cache (or the same module, where no cache is passed),
    `query` the call's tokens per sequence, `context` those in the cache before it (None: unknown).
    """
    if state is not None and context == 0 and batch == state.batch and query > 1:
        # No cache in use: the whole sequence again, one token longer, or at its limit as long as before.
        if query == state.query + 1 or (state.decoding and query == state.query):
            return Phase.DECODE, False
    if context == 0:
        return Phase.PREFILL, True
    if query == 1:
        return Phase.DECODE, state is None
    if state is not None and state.decoding and in_generate:
        return Phase.DECODE, False  # several drafted tokens verified at once
    return Phase.PREFILL, state is None or state.decoding


class _Hook:
    """A hook that copies and pickles of the model do not carry along."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        self._call(*args)

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return _nothing

    def __reduce__(self) -> tuple[Any, ...]:
        return _inert, ()


def _inert() -> Callable[..., None]:
    return _nothing


def _nothing(*args: Any) -> None:
    """Stands in for a hook in a copy of a watched model."""


def _token_shape(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, int] | None:
    """(batch, tokens per sequence) of the ids or embeddings in a call, else None."""
    candidates = [kwargs[name] for name in _TOKEN_ARGUMENTS if kwargs.get(name) is not None]
    candidates += list(args[:1])
    for value in candidates:
        shape = getattr(value, "shape", None)
        dtype = getattr(value, "dtype", None)
        if shape is None or dtype is None:
            continue
        embedded = getattr(dtype, "is_floating_point", False)
        if len(shape) == 3 and embedded:
            return int(shape[0]), int(shape[1])
        if not embedded and len(shape) == 2:
            return int(shape[0]), int(shape[1])
        if not embedded and len(shape) == 1:
            return 1, int(shape[0])
    return None


def _cache_of(kwargs: Mapping[str, Any]) -> Any:
    return next((kwargs[name] for name in _CACHE_ARGUMENTS if kwargs.get(name) is not None), None)


def _cache_length(cache: Any) -> int | None:
    """Tokens in a cache, if it knows them as a number of the host."""
    if isinstance(cache, tuple | list):
        first = cache[0][0] if cache and cache[0] else None
        return int(first.shape[-2]) if hasattr(first, "shape") else None
    length = cache.get_seq_length() if hasattr(cache, "get_seq_length") else None
    if isinstance(length, int):
        return length
    device = getattr(getattr(length, "device", None), "type", None)
    return int(length) if device == "cpu" else None
