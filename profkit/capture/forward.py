"""What does each call of a model do: forward passes found by hooks, told apart by shapes alone."""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from profkit.capture import arguments
from profkit.capture.clock import Clock
from profkit.capture.kvcache import KVRecorder
from profkit.capture.steps import Generate, Step, StepRecorder
from profkit.record import Phase

_MOST_MASKS: Final = 64 * 2**20
"""Bytes of prompts' masks that a profile keeps alive; padding of later prompts is then not known."""


@dataclass
class Sequences:
    """The sequences behind one cache: what came before decides what the next call is."""

    generation: int
    tokens: int | None  # per sequence, in the cache after the last call; None: unknown
    batch: int
    query: int  # tokens of the last call
    decoding: bool = False


_Key = int | tuple[int, int]
"""Whose sequences: the id of their cache, else the model's and the thread's."""


@dataclass
class _Call:
    """A forward that runs. `step` is None where it is no step of its own."""

    module: int  # id
    step: Step | None = None
    state: Sequences | None = None
    outermost: bool = False


class ForwardWatcher:
    """Watches modules between `attach` and `detach` and records each outermost forward as a step.

    A module counts when it is called with token ids [B, T] or [T], or with embeddings [B, T, H]. Nothing
    is copied and no value of a tensor is read.
    """

    def __init__(self, recorder: StepRecorder, clock: Clock, kv: KVRecorder | None = None) -> None:
        self._recorder, self._clock, self._kv = recorder, clock, kv
        self._undo: list[Callable[[], None]] = []
        self._modules: list[Any] = []
        self._hooked: set[int] = set()  # ids of modules
        self._devices: dict[int, int | None] = {}  # by id of the module
        self._states: dict[_Key, Sequences] = {}
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._local = threading.local()
        self.stepped: dict[int, Any] = {}  # by id: modules of which a step was recorded
        self.notes: list[str] = []  # for the record: what could not be watched, or failed
        self._kept_masks = 0  # bytes
        self.other_calls = 0  # calls of a watched module without tokens
        self.packed_calls = 0  # calls with several sequences in one row, each perhaps in another phase

    def attach(self, modules: Iterable[Any]) -> None:
        """Start watching."""
        for module in modules:
            self._modules.append(module)
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
            self._undo += self._hook(module)
            self._patch(type(inner), "generate", self._generate)
            self._patch(type(inner), "get_compiled_call", self._get_compiled_call)
            self._wrap_compiled(module)
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

    def _hook(self, module: Any) -> list[Callable[[], None]]:
        """Hooks around a module's forward; returns what removes them."""
        self._hooked.add(id(module))
        before = module.register_forward_pre_hook(_Hook(self._before), with_kwargs=True)
        after = module.register_forward_hook(_Hook(self._after), with_kwargs=True, always_call=True)
        return [before.remove, after.remove, lambda: self._hooked.discard(id(module))]

    def _wrap_compiled(self, module: Any) -> None:
        """`module.compile()` keeps a compiled call beside the module; hooks inside are compiled away."""
        compiled = getattr(module, "_compiled_call_impl", None)
        if compiled is None:
            return
        watched = module._compiled_call_impl = self._around(module, compiled)

        def restore() -> None:
            if module._compiled_call_impl is watched:
                module._compiled_call_impl = compiled

        self._undo.append(restore)

    def _generate(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if self._generating() is not None:
            return original(model, *args, **kwargs)
        call = self._local.generate = Generate(
            self._recorder.next_generation(),
            self._clock.now(),
            fresh=arguments.cache_of(kwargs) is None,
            prompt=arguments.prompt_tokens(model, args, kwargs),
            mask=arguments.mask_of(kwargs),
            beams=arguments.beams(model, kwargs),
        )
        self._local.drafting = {id(m) for m in self._modules} - {id(m) for m in model.modules()}
        # torch.compile's wrapper hands `generate` through to the model inside it.
        unhook = self._hook(model) if id(model) not in self._hooked else []
        try:
            output = original(model, *args, **kwargs)
            call.length = arguments.returned_tokens(output)
            return output
        finally:
            self._local.generate = None
            for remove in unhook:
                remove()

    def _generating(self) -> Generate | None:
        """The generate call that runs in this thread."""
        call: Generate | None = getattr(self._local, "generate", None)
        return call

    def _get_compiled_call(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        """Transformers compiles `__call__` for static caches; hooks inside would be compiled away."""
        return self._around(model, original(model, *args, **kwargs))

    def _around(self, model: Any, compiled: Callable[..., Any]) -> Callable[..., Any]:
        """A compiled call of a module with what its hooks do, outside of it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if _compiling():
                return compiled(*args, **kwargs)
            self._before(model, args, kwargs)
            output = None
            try:
                output = compiled(*args, **kwargs)
            finally:
                self._after(model, args, kwargs, output)
            return output

        return call

    def _before(self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        stack = self._stack()
        if any(call.module == id(module) for call in stack):
            stack.clear()  # an interrupt left the last call of this module open
        call = _Call(id(module))
        if not stack:
            call.outermost = True
            device = self._devices.get(id(module))
            call.step, call.state = self._describe(module, args, kwargs, device)
            if call.step is not None:
                self._recorder.open(call.step, device)
        stack.append(call)

    def _after(self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        stack = self._stack()
        if not stack or stack[-1].module != id(module):
            return
        call = stack.pop()
        if call.step is None or call.state is None or output is None:  # None: the forward raised
            if self._kv is not None and call.outermost and output is not None and arguments.is_packed(kwargs):
                self._kv.read_loose(module, arguments.cache_of(kwargs))
            return
        self._recorder.close(call.step, self._devices.get(id(module)))
        self.stepped[id(module)] = module
        returned = arguments.cache_in(output)
        if returned is not None:
            self._remember(module, returned, call.state)
        if self._kv is not None:
            cache = returned if returned is not None else arguments.cache_of(kwargs, args)
            call.step.kv = self._kv.read(module, cache, call.state.tokens, arguments.encoded_tokens(kwargs))

    @contextlib.contextmanager
    def declared(self) -> Iterator[bool]:
        """A step that an engine marks itself: forwards inside it are none. Gives whether none is around it."""
        stack = self._stack()
        outermost = not stack
        marker = _Call(0)
        stack.append(marker)
        try:
            yield outermost
        finally:
            if marker in stack:
                stack.remove(marker)

    def will_step(self, module: Any) -> None:
        """Declared steps will be those of this module, where it is watched: its weights are what they read."""
        if id(module) in self._devices:
            self.stepped[id(module)] = module

    def _stack(self) -> list[_Call]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[_Call] = self._local.stack
        return stack

    def _describe(
        self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], device: int | None
    ) -> tuple[Step, Sequences] | tuple[None, None]:
        """The step that a call is, and its sequences after it."""
        import torch

        shape = arguments.token_shape(args[:1], kwargs)
        if shape is None:
            self.other_calls += 1
            return None, None
        if arguments.is_packed(kwargs):
            self.packed_calls += 1
            return None, None
        if device is not None and torch.cuda.is_current_stream_capturing():
            return None, None  # recorded into a graph, not run
        batch, query = shape
        cache = arguments.cache_of(kwargs, args)
        state = self._known(module, cache)
        call = self._generating()
        if call is not None and id(module) in self._local.drafting:
            return None, None  # an assistant that drafts: the steps are those of the model that verifies
        if call is not None and state is not None and state.generation != call.generation:
            state = None  # an earlier call's, on a cache or a model that is used again
        context = self._context(cache, state, call, query)
        phase, fresh = classify(state, call, batch, query, context)
        if call is not None:
            generation = call.generation
        else:
            generation = self._recorder.next_generation() if fresh or state is None else state.generation
        in_cache = None if context is None else (query if cache is None and context == 0 else context + query)
        after = Sequences(generation, in_cache, batch, query, decoding=phase is Phase.DECODE)
        self._remember(module, cache, after)
        step = Step(
            start=0,
            phase=phase,
            batch=batch,
            query_tokens=query,
            context_tokens=context,
            tokens_out=None,
            generation=generation,
            call=call,
            mask=self._padding_mask(kwargs, call, batch) if phase is Phase.PREFILL else None,
        )
        return step, after

    def _padding_mask(self, kwargs: Mapping[str, Any], call: Generate | None, batch: int) -> Any:
        """The mask [B, T] that tells which tokens of a prompt only fill it up; kept to be read after the block."""
        for mask in (arguments.mask_of(kwargs), call.mask if call is not None else None):
            shape = getattr(mask, "shape", None)
            if mask is not None and shape is not None and len(shape) == 2 and shape[0] == batch:
                self._kept_masks += mask.nbytes
                return mask if self._kept_masks <= _MOST_MASKS else None
        return None

    @staticmethod
    def _context(cache: Any, state: Sequences | None, call: Generate | None, query: int) -> int | None:
        """Tokens per sequence in the cache before this call; None: cannot be told without a wait."""
        if cache is not None:
            length = arguments.cache_length(cache)
            if length is not None:
                return length
        if cache is None and query > 1:
            return 0  # a prompt, or all of the sequence once more
        if state is None:
            return 0 if call is not None and call.fresh else None
        return state.tokens

    def _known(self, module: Any, cache: Any) -> Sequences | None:
        key = _key(module, cache)
        alive = self._alive.get(id(cache))
        if cache is not None and alive is not None and alive() is not cache:
            self._states.pop(key, None)  # the id was given to another object
        return self._states.get(key)

    def _remember(self, module: Any, cache: Any, state: Sequences) -> None:
        self._states[_key(module, cache)] = state
        if cache is None:
            return
        try:
            self._alive[id(cache)] = weakref.ref(cache)
        except TypeError:  # tuples, the older form of a cache
            self._alive.pop(id(cache), None)


def classify(
    state: Sequences | None, call: Generate | None, batch: int, query: int, context: int | None
) -> tuple[Phase, bool]:
    """The phase of a forward, and whether a new generation starts with it.

    `state` is what was last seen behind the same cache (or the same module, where no cache is passed), `call`
    the generate call around it, `query` its tokens per sequence, `context` those in the cache before it
    (None: unknown).
    """
    if state is not None and context == 0 and batch == state.batch and query > 1:
        # No cache in use: the whole sequence again, one token longer, or at its limit as long as before.
        at_limit = query == state.query and (state.decoding or call is not None)
        if query == state.query + 1 or at_limit:
            return Phase.DECODE, False
    if context == 0:
        return Phase.PREFILL, True
    if call is not None and call.prompt is not None and context is not None:
        # A chunk of the prompt may be one token short, and drafted tokens are verified several at once.
        return (Phase.PREFILL if context < call.prompt else Phase.DECODE), state is None
    if query == 1:
        return Phase.DECODE, state is None
    if call is not None and state is not None:
        return Phase.DECODE, False  # drafted tokens behind the prompt of a decoder, which is read at once
    return Phase.PREFILL, state is None or state.decoding


class _Hook:
    """A hook that copies and pickles of the model do not carry along."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        if not _compiling():  # compiled code does without: its graph stays what it is unwatched
            self._call(*args)

    def __deepcopy__(self, memo: Any) -> Callable[..., None]:
        return _nothing

    def __reduce__(self) -> tuple[Any, ...]:
        return _inert, ()


def _inert() -> Callable[..., None]:
    return _nothing


def _nothing(*args: Any) -> None:
    """Stands in for a hook in a copy of a watched model."""


def _key(module: Any, cache: Any) -> _Key:
    return id(cache) if cache is not None else (id(module), threading.get_ident())


def _compiling() -> bool:
    import torch

    return bool(torch.compiler.is_compiling())
