"""Steps of compiled models, which are left as they were compiled."""

import pytest
import torch
from unit.watched import GREEDY, NEW, Gpt, Watched, cached, uncached


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("named", ["wrapper", "both", "both, model first"])
@pytest.mark.parametrize("full", [False, True], ids=["", "full graph"])
def test_a_compiled_model(ids, named, full):
    model = Gpt()
    compiled = torch.compile(model, backend="eager", fullgraph=full)
    models = {"wrapper": [compiled], "both": [compiled, model], "both, model first": [model, compiled]}[named]
    with Watched(*models) as seen:
        sequence = ids
        for _ in range(NEW):
            sequence = torch.cat([sequence, compiled(sequence)[0][:, -1:].argmax(-1)], 1)
    assert seen.steps == uncached()


def test_generate_of_a_compiled_model_runs_the_model_inside_it(llama, ids):
    compiled = torch.compile(llama, backend="eager")
    with Watched(compiled) as seen:
        compiled.generate(ids, **GREEDY)
    assert seen.steps == cached()
    assert not llama._forward_hooks


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("how", ["forward", "in place"])
def test_a_model_that_was_compiled_in_place(ids, how):
    model = Gpt()
    if how == "forward":
        model.forward = torch.compile(model.forward, backend="eager")
    else:
        model.compile(backend="eager")
    compiled = model._compiled_call_impl
    model(ids)
    with Watched(model) as seen:
        model.generate(ids, NEW)
    assert seen.steps == uncached()
    assert model._compiled_call_impl is compiled


@pytest.mark.usefixtures("fresh_compiler")
def test_watching_changes_nothing_in_what_was_compiled(ids):
    model = Gpt()

    @torch.compile(backend="eager")
    def step(tokens):
        return model(tokens)[0].sum()

    for _ in range(2):
        step(ids)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with Watched(model) as seen:
        step(ids)
    step(ids)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert seen.steps == []
