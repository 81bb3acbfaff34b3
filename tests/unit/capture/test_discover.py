"""The models that code names, found without running anything."""

import functools
import inspect
import subprocess
import sys
import textwrap

import pytest
import torch

from profkit.capture.discover import modules_behind, modules_in, modules_of_frame, names_in


@pytest.fixture
def model():
    return torch.nn.Linear(2, 2)


class Pipeline:
    """Holds a model, as pipelines do."""

    def __init__(self, model, **more):
        self.model = model
        self.__dict__ |= more

    def run(self):
        return self.model

    @property
    def loaded(self):
        raise AssertionError("a property ran")


def same(found, *expected):
    return [id(module) for module in found] == [id(module) for module in expected]


def test_a_name(model):
    assert same(modules_in("model(x)", {"model": model, "x": 1}), model)


def test_names_in_order_of_first_sight_and_each_once(model):
    other = torch.nn.ReLU()
    assert same(modules_in("b(a)\na(b)\nb", {"a": model, "b": other}), other, model)


def test_a_name_that_the_code_does_not_use_is_not_found(model):
    assert modules_in("print('model')  # model", {"model": model}) == []


def test_an_attribute(model):
    assert same(modules_in("pipe.model(x)", {"pipe": Pipeline(model)}), model)


def test_a_submodule_is_found_with_the_module_that_holds_it(model):
    whole = torch.nn.Sequential(model)
    whole.head = model
    assert same(modules_in("whole.head(x)", {"whole": whole}), model, whole)


def test_an_object_that_holds_a_model(model):
    assert same(modules_in("pipe('hello')", {"pipe": Pipeline(model)}), model)


def test_a_method_of_an_object_that_holds_a_model(model):
    assert same(modules_in("go()", {"go": Pipeline(model).run}), model)
    assert same(modules_in("pipe.run()", {"pipe": Pipeline(model)}), model)


def test_a_method_of_a_model(model):
    assert same(modules_in("forward(x)", {"forward": model.forward}), model)


@pytest.mark.parametrize("place", ["function", "argument", "keyword"])
def test_a_partial(model, place):
    made = {
        "function": functools.partial(model, 1),
        "argument": functools.partial(print, model),
        "keyword": functools.partial(print, end=model),
    }[place]
    assert same(modules_in("go()", {"go": made}), model)


def test_a_closure(model):
    def make(inner):
        def go(x):
            return inner(x)

        return go

    assert same(modules_in("go(x)", {"go": make(model)}), model)


def test_a_default_argument(model):
    def go(x, model=model, *, other=None):
        return model(x)

    assert same(modules_in("go(x)", {"go": go}), model)


def test_a_decorated_function(model):
    def timed(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    @timed
    def go(x, model=model):
        return model(x)

    assert same(modules_in("go(x)", {"go": go}), model)


def user_functions(code, **namespace):
    exec(compile(textwrap.dedent(code), "<cell>", "exec"), namespace)
    return namespace


def test_a_function_of_the_user_is_followed_to_the_globals_that_it_uses(model):
    cell = user_functions("def go(x): return net(x)", net=model, unused=torch.nn.ReLU())
    assert same(modules_in("go(x)", cell), model)


@pytest.mark.parametrize(
    "body", ["[net(x) for x in xs]", "(lambda: net(xs))()", "max(net(x) for x in xs)", "{net(x): x for x in xs}"]
)
def test_comprehensions_and_lambdas_belong_to_their_function(model, body):
    cell = user_functions(f"def go(xs): return {body}", net=model)
    assert same(modules_in("go(xs)", cell), model)


def test_functions_of_functions_are_followed(model):
    cell = user_functions(
        """
        def decode(x): return net(x)
        def generate(x): return decode(x)
        def go(x): return generate(x)
        """,
        net=model,
    )
    assert same(modules_in("go(x)", cell), model)


def test_functions_that_call_each_other_come_to_an_end():
    cell = user_functions("def a(): return b()\ndef b(): return a()\n")
    assert modules_in("a()", cell) == []


def test_objects_that_hold_each_other_come_to_an_end(model):
    pipe = Pipeline(model)
    pipe.owner = Pipeline(None, child=pipe)
    assert same(modules_in("pipe.owner.child()", {"pipe": pipe}), model)


def test_functions_of_libraries_are_not_followed():
    assert modules_in("linear(x)", {"linear": torch.nn.functional.multi_head_attention_forward}) == []


def test_a_function_with_a_closure_that_is_not_filled_yet_is_followed():
    def outer():
        def go():
            return later

        found = modules_in("go()", {"go": go})
        later = 1
        return found, later

    assert outer()[0] == []


def test_no_property_and_no_attribute_hook_runs(model):
    class Lazy:
        def __getattr__(self, name):
            raise AssertionError(f"{name} was asked for")

    names = {"pipe": Pipeline(model), "lazy": Lazy()}
    assert same(modules_in("pipe.loaded\nlazy.model\npipe.loaded.model", names), model)


def test_a_class_is_not_a_model():
    assert modules_in("Linear(2, 2)", {"Linear": torch.nn.Linear, "torch": torch}) == []


def test_modules_of_python_are_not_searched(model, monkeypatch):
    monkeypatch.setattr(torch, "_a_model", model, raising=False)
    assert modules_in("torch.ones(2)", {"torch": torch}) == []


def test_a_container_of_data_is_not_searched(model):
    big = Pipeline(model, **{f"column_{at}": at for at in range(300)})
    assert modules_in("big.column_1", {"big": big}) == []


def test_code_that_does_not_parse_names_nothing(model):
    assert modules_in("model(((", {"model": model}) == []


def test_an_unknown_name_names_nothing():
    assert modules_in("nobody.knows(x)[0].it", {}) == []


def test_magics_are_for_the_caller_to_strip(model):
    assert modules_in("%timeit model(x)", {"model": model}) == []


def test_a_compiled_model_is_found_as_itself(model):
    compiled = torch.compile(model, backend="eager")
    assert same(modules_in("compiled(x)", {"compiled": compiled}), compiled)


def test_a_frame_gives_its_locals_globals_and_closures(model):
    closed_over = torch.nn.ReLU()

    def caller():
        local, _ = model, closed_over
        return modules_of_frame(inspect.currentframe()), local

    found, _ = caller()
    assert {id(module) for module in found} == {id(model), id(closed_over)}


def test_a_frame_gives_what_its_comprehensions_name(model):
    def caller():
        local = model
        return [local for _ in range(1)], modules_of_frame(inspect.currentframe())

    assert same(caller()[1], model)


def test_a_script_gives_what_its_comprehensions_name(model):
    script = "found = look(currentframe())\noutputs = [net for _ in range(1)]\n"
    ran = user_functions(script, look=modules_of_frame, currentframe=inspect.currentframe, net=model)
    assert same(ran["found"], model)


def test_a_process_without_torch_has_no_models_and_stays_without():
    code = """
        import sys
        from profkit.capture.discover import modules_in
        print(modules_in("a", {"a": 1}), "torch" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]


def test_modules_behind_functions_and_objects_each_once(model):
    other = torch.nn.ReLU()
    namespace = {"model": model}
    exec("def run():\n    return model", namespace)
    assert same(modules_behind([namespace["run"], other, model, Pipeline(other), 3]), model, other)


def test_names_that_code_reads():
    assert names_in("x = f(batch) + y\nz = 1", {}) == {"f", "batch", "y"}


def test_names_that_a_called_function_reads_count():
    namespace = {}
    exec("def inner():\n    return width\ndef outer():\n    return inner()", namespace)
    assert "width" in names_in("outer()", namespace)
    assert "width" in names_in("get_ipython().run_line_magic('time', 'outer()')", namespace)


def test_a_name_that_is_only_assigned_is_not_read():
    assert "batch" not in names_in("batch = 3", {})


def test_words_in_other_texts_are_not_read():
    assert "batch" not in names_in("print('batch')  # batch", {})
