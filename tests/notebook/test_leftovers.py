"""A profile leaves nothing behind: not in the namespace, in hooks, in threads, in torch or in IPython."""

import json
import shutil
from pathlib import Path

import pytest

MAGIC = "%%llmprofile --no-widget --no-save"
TAKE = "__import__('snapshot').take(get_ipython(), net)"

MODEL = """
import asyncio, copy, io, pickle, sys, torch, profkit
from pathlib import Path

Path("net_in_a_module.py").write_text('''
import torch

class Base(torch.nn.Module):
    def generate(self, input_ids):
        for _ in range(3):
            self(input_ids)
        return input_ids

    def get_compiled_call(self, config):
        return self.__call__

class Net(Base):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(9, 4)
        self.head = torch.nn.Linear(4, 9)

    def forward(self, input_ids):
        return self.head(self.embed(input_ids))
''')
from net_in_a_module import Net

with torch.profiler.profile():
    pass  # what torch itself leaves behind the first time is not ours

net = Net()
ids = torch.zeros(1, 3, dtype=torch.int64)
"""


@pytest.fixture(scope="module")
def kernel(new_kernel):
    shutil.copy(Path(__file__).with_name("snapshot.py"), new_kernel.folder)
    new_kernel.setup(MODEL)
    return new_kernel


class Watch:
    """Compares the kernel's state at two moments."""

    def __init__(self, kernel):
        self._kernel = kernel
        self._before = kernel.value(TAKE)

    def changes(self):
        after = self._kernel.value(TAKE)
        names = {**self._before, **after}
        return {
            name: _difference(self._before.get(name), after.get(name))
            for name in names
            if self._before.get(name) != after.get(name)
        }


def _difference(before, after):
    if isinstance(before, list) and isinstance(after, list):
        return {"gone": [x for x in before if x not in after], "new": [x for x in after if x not in before]}
    return {"before": str(before)[:2000], "after": str(after)[:2000]}


def test_the_first_profile_leaves_nothing(kernel):
    watch = Watch(kernel)
    kernel.setup(f"{MAGIC}\nnet(ids);")
    assert watch.changes() == {}


def test_loading_the_extension_adds_no_name(kernel):
    assert kernel.value("sorted(n for n in globals() if 'profkit' in n.lower())") == ["profkit"]  # our import


def test_only_the_bound_name_and_the_cells_own_stay(kernel):
    watch = Watch(kernel)
    kernel.setup("%%llmprofile --name kept\nassigned = 1\nnet.generate(ids);")
    assert watch.changes() == {"names": {"gone": [], "new": ["assigned", "kept"]}}
    assert kernel.value("kept.steps.phase.tolist()").count("prefill") >= 1
    kernel.setup("del kept, assigned")


def test_deleted_names_stay_deleted(kernel):
    kernel.setup("old = 1")
    watch = Watch(kernel)
    kernel.setup(f"{MAGIC}\ndel old")
    assert watch.changes() == {"names": {"gone": ["old"], "new": []}}


@pytest.mark.parametrize(
    "cell",
    [
        f"{MAGIC}\nnet(ids)\n1 / 0",
        f"{MAGIC}\nnet.generate(ids)\nawait asyncio.sleep(0)\nraise ValueError",
        f"{MAGIC}\nnet(torch.zeros(1, 3))",  # raises inside the forward
        f"{MAGIC} --repeat 2\nnet(ids)\n1 / 0",
        f"{MAGIC}\nraise SystemExit",
        f"{MAGIC}\nx = = 1",
        f"{MAGIC} --no-such\nnet(ids)",
        f"{MAGIC} --model missing\nnet(ids)",
        "%llmprofile --no-widget --no-save net(ids) / 0 / None",
        f"{MAGIC}\nwith profkit.profile('inner'):\n    net(ids)",
    ],
    ids=[
        "exception",
        "async exception",
        "exception in the forward",
        "exception in a pass",
        "exit",
        "syntax error",
        "wrong option",
        "wrong model",
        "line form",
        "second profile",
    ],
)
def test_nothing_is_left_after_an_error(kernel, cell):
    watch = Watch(kernel)
    assert kernel.run(cell).status == "error"
    assert watch.changes() == {}


@pytest.mark.parametrize(
    "body",
    ["while True:\n    net(ids)", "while True:\n    net.generate(ids)\n    await asyncio.sleep(0.001)"],
    ids=["sync", "async"],
)
@pytest.mark.parametrize("options", ["", " --repeat 1"], ids=["profile", "pass"])
def test_nothing_is_left_after_an_interrupt(kernel, body, options):
    watch = Watch(kernel)
    assert kernel.interrupt_when(f"{MAGIC}{options}\nprint('started')\n{body}", "started").status == "error"
    assert watch.changes() == {}


@pytest.mark.parametrize(
    "line",
    ["--shapes --stacks --memory", "--no-trace", "--repeat 2", "-h"],
)
def test_no_option_leaves_anything(kernel, line):
    watch = Watch(kernel)
    kernel.setup(f"{MAGIC} {line}\nnet(ids);")
    assert watch.changes() == {}


def test_silent_cell_leaves_nothing(kernel):
    watch = Watch(kernel)
    kernel.run(f"{MAGIC}\nnet(ids);", silent=True)
    assert watch.changes() == {}


def test_profile_block_leaves_nothing(kernel):
    watch = Watch(kernel)
    kernel.setup("with profkit.profile('block'):\n    net(ids)")
    assert watch.changes() == {}


def test_profiling_draws_no_random_numbers(kernel):
    draws = "torch.manual_seed(3)\nfirst = torch.rand(2).tolist()"
    kernel.setup(draws + "\nexpected = torch.rand(2).tolist()")
    kernel.setup(draws)
    kernel.setup(f"{MAGIC}\ndrawn = torch.rand(2).tolist()")
    assert kernel.value("drawn == expected") is True
    kernel.setup("del first, expected, drawn")


def test_copies_of_a_watched_model_carry_no_hook(kernel):
    kernel.setup(
        f"{MAGIC} --name copied\n"
        "net(ids)\n"
        "twin = copy.deepcopy(net)\n"
        "again = pickle.loads(pickle.dumps(net))\n"
        "buffer = io.BytesIO()\ntorch.save(net, buffer)\nbuffer.seek(0)\n"
        "loaded = torch.load(buffer, weights_only=False)\n"
        "weights = net.state_dict()\n"
        "for model in (twin, again, loaded):\n    model(ids)"
    )
    assert kernel.value("len(copied.steps)") == 1
    kernel.setup("for model in (twin, again, loaded):\n    assert model(ids).shape == (1, 3, 9)")
    live = (
        "sum('profkit' in repr(getattr(hook, '_call', '')) for model in (twin, again, loaded) for hook in "
        "[*model._forward_hooks.values(), *model._forward_pre_hooks.values()])"
    )
    assert kernel.value(live) == 0
    assert kernel.value("sorted(weights) == sorted(net.state_dict())") is True
    kernel.setup("del copied, twin, again, loaded, buffer, weights, model")


def test_model_made_in_the_cell_is_clean(kernel):
    kernel.setup(f"{MAGIC}\nmade = Net()\nmade(ids);")
    assert kernel.value("[len(made._forward_hooks), len(made._forward_pre_hooks)]") == [0, 0]
    kernel.setup("del made")


def test_loading_twice_and_reloading_change_nothing(kernel):
    watch = Watch(kernel)
    kernel.setup("%load_ext profkit")
    kernel.setup("profkit.load_ipython_extension(get_ipython())")
    assert watch.changes() == {}
    kernel.setup("%reload_ext profkit")
    reply = kernel.run(f"{MAGIC}\n5")
    assert reply.kinds == ["execute_result", "summary"]


def test_unloading_in_the_cell_ends_the_profile(kernel):
    watch = Watch(kernel)
    reply = kernel.run(f"{MAGIC}\nnet(ids)\n%unload_ext profkit\n'value'")
    assert (reply.status, reply.results) == ("ok", ["'value'"])
    kernel.setup("%load_ext profkit")
    assert set(watch.changes()) <= {"events", "ast transformers"}  # the hooks of another load
    assert kernel.value("len(profkit.last.steps)") == 1
    assert kernel.run(f"{MAGIC}\n1").kinds == ["execute_result", "summary"]


def test_torch_writes_nothing_below_a_profiled_cell(kernel):
    assert kernel.run(f"{MAGIC}\nnet(ids);").stderr == ""


def test_unloading_takes_everything_out(kernel):
    kernel.setup("%unload_ext profkit")
    kernel.setup(f"unloaded = {TAKE}")
    found = json.dumps(kernel.value("[unloaded['events'], unloaded['transformers'], unloaded['ast transformers']]"))
    assert "profkit" not in found
    assert kernel.value("'LlmProfile' in get_ipython().magics_manager.registry") is False
    assert kernel.complete("%%llmp") == []
    reply = kernel.run("%%llmprofile\nnet(ids)")
    assert reply.status == "error"
    assert "Cell magic `%%llmprofile` not found" in reply.stderr
    kernel.setup("%load_ext profkit")
    assert kernel.run(f"{MAGIC}\n1").kinds == ["execute_result", "summary"]
