"""State of a kernel that a profile must leave as it was. Imported by the kernel, not by the tests."""

import builtins
import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings


def take(shell, model=None):
    """Everything that something could have been left in, as plain data."""
    import matplotlib.pyplot as plt
    import numpy as np
    import torch
    from matplotlib import rcParams

    state = {
        "names": sorted(name for name in shell.user_ns if not name.startswith("_")),
        "hidden names": sorted(name for name in shell.user_ns if name.startswith("__")),
        "argv": list(sys.argv),
        "path": list(sys.path),
        "excepthook": repr(sys.excepthook),
        "displayhook": repr(sys.displayhook),
        "streams": [repr(sys.stdout), repr(sys.stderr)],
        "trace": [repr(sys.gettrace()), repr(sys.getprofile()), repr(threading.getprofile())],
        "threads": sorted(thread.name for thread in threading.enumerate() if not _of_kernel(thread)),
        "gc": [gc.isenabled(), gc.get_threshold(), [repr(call) for call in gc.callbacks]],
        "warnings": [repr(one) for one in warnings.filters],
        "showwarning": repr(warnings.showwarning),
        "builtins": sorted(vars(builtins)),
        "import": [repr(builtins.__import__), len(sys.meta_path)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": repr(signal.getsignal(signal.SIGINT)),
        "logging": [logging.root.level, repr(logging.root.handlers)],
        "events": {event: [repr(call) for call in calls] for event, calls in shell.events.callbacks.items()},
        "transformers": [repr(shell.input_transformers_cleanup), repr(shell.input_transformers_post)],
        "ast transformers": [repr(one) for one in shell.ast_transformers],
        "custom errors": repr(shell.custom_exceptions),
        "showtraceback": repr(shell.showtraceback),
        "random": [
            hash(random.getstate()),
            np.random.get_state()[1].tobytes().hex(),
            torch.get_rng_state().numpy().tobytes().hex(),
        ],
        "torch": [torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()],
        "torch profiler": [
            torch.autograd.profiler._is_profiler_enabled,
            torch._C._autograd._profiler_enabled(),
        ],
        "torch hooks": [
            len(torch.nn.modules.module._global_forward_hooks),
            len(torch.nn.modules.module._global_forward_pre_hooks),
        ],
        "matplotlib": [repr(dict(rcParams)), plt.get_fignums()],
    }
    return state if model is None else state | {"model": _model(model)}


def _of_kernel(thread):
    """Threads of the messages' transport come with the first large output."""
    return type(thread).__module__.partition(".")[0] == "zmq"


def _model(model):
    return {
        "hooks": [
            [name, sorted(module._forward_hooks), sorted(module._forward_pre_hooks)]
            for name, module in model.named_modules()
        ],
        "hook options": [
            len(getattr(model, name)) for name in vars(model) if name.endswith(("_with_kwargs", "_always_called"))
        ],
        "instance": sorted(vars(model)),
        "class": {cls.__name__: sorted(vars(cls)) for cls in type(model).__mro__},
        "methods": [
            repr(vars(cls).get(name))
            for cls in type(model).__mro__
            for name in ("generate", "get_compiled_call", "forward", "__call__")
        ],
    }
