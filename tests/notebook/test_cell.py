"""What a profiled cell adds: the profile after the cell's own outputs, and nothing else."""

import json

import pytest

MAGIC = "%%llmprofile --no-widget --no-save"
MAX_OUTPUT_BYTES = 300_000
"""What a notebook may grow by with each profile."""


def profiled(code, options=""):
    return f"{MAGIC} {options}\n{code}"


def interactivity(kernel, mode):
    kernel.setup(f"get_ipython().ast_node_interactivity = {mode!r}")


@pytest.fixture
def usual_interactivity(kernel):
    yield
    interactivity(kernel, "last_expr")


def test_last_value_is_the_result_and_lands_in_out(kernel):
    reply = kernel.run(profiled("a = 6\na * 7"))
    assert reply.status == "ok"
    assert reply.results == ["42"]
    assert reply.kinds == ["execute_result", "summary"]
    assert kernel.value(f"[_, Out[{reply.count}], _{reply.count}]") == [42, 42, 42]


def test_values_before_it_move_on_by_one(kernel):
    kernel.setup("'first'")
    kernel.setup(profiled("'second'"))
    assert kernel.value("[_, __]") == ["second", "first"]


def test_semicolon_hides_the_value_and_not_the_profile(kernel):
    assert kernel.run(profiled("1 + 1;")).kinds == ["summary"]


def test_assignments_alone_show_the_profile_alone(kernel):
    assert kernel.run(profiled("x = 1\ny = 2")).kinds == ["summary"]
    assert kernel.value("[x, y]") == [1, 2]


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("all", ["1", "2", "3"]), ("last_expr", ["3"]), ("last_expr_or_assign", ["3"]), ("none", [])],
)
@pytest.mark.usefixtures("usual_interactivity")
def test_every_mode_of_showing_values_is_kept(kernel, mode, shown):
    interactivity(kernel, mode)
    reply = kernel.run(profiled("1\n2\n3"))
    assert reply.results == shown
    assert reply.kinds[-1] == "summary"


@pytest.mark.usefixtures("usual_interactivity")
def test_last_assignment_is_shown_where_the_shell_shows_it(kernel):
    interactivity(kernel, "last_expr_or_assign")
    assert kernel.run(profiled("x = 11")).results == ["11"]


def test_figures_come_before_the_profile(kernel):
    kernel.setup("%matplotlib inline\nimport matplotlib.pyplot as plt")
    reply = kernel.run(profiled("plt.plot([1, 2])\nprint('drawn')"))
    assert reply.kinds == ["stream", "display_data", "summary"]
    assert "image/png" in reply.displays[0]
    assert kernel.value("plt.get_fignums()") == []


def test_drawing_figures_is_not_counted_to_the_cell(kernel):
    kernel.setup("%matplotlib inline\nimport matplotlib.pyplot as plt, matplotlib.backend_bases as bases")
    kernel.setup(
        "drawn_at = []\n"
        "def draw_slowly(self, *args, _plain=bases.FigureCanvasBase.print_figure, **kwargs):\n"
        "    import profkit, time\n"
        "    drawn_at.append(profkit.last is not None and profkit.last.name == 'drawing')\n"
        "    return _plain(self, *args, **kwargs)\n"
    )
    kernel.setup("bases.FigureCanvasBase.print_figure, kept = draw_slowly, bases.FigureCanvasBase.print_figure")
    kernel.setup(profiled("plt.plot([1, 2]);", "--name drawing"))
    kernel.setup("bases.FigureCanvasBase.print_figure = kept")
    assert kernel.value("drawn_at[0]") is True


def test_name_binds_the_run(kernel):
    kernel.setup(profiled("pass", "--name baseline"))
    assert kernel.value("[type(baseline).__name__, baseline.name]") == ["Run", "baseline"]
    assert kernel.value("baseline is __import__('profkit').last") is True


def test_without_a_name_the_profile_has_the_number_of_its_cell(kernel):
    reply = kernel.run(profiled("pass"))
    assert kernel.value("__import__('profkit').last.name") == f"cell-{reply.count}"


def test_history_holds_what_was_typed(kernel):
    cell = profiled("typed = 1")
    count = kernel.run(cell).count
    assert kernel.value("In[-1]") == f"{MAGIC.strip() + ' '!r}\ntyped = 1".replace(" '", "'", 1)
    assert kernel.value(f"get_ipython().history_manager.input_hist_raw[{count}]") == cell
    assert kernel.value("_ih is In") is True


def test_code_from_the_history_is_plain_python(kernel):
    kernel.setup(profiled("again = globals().get('again', 0) + 1"))
    kernel.setup("del again")
    kernel.setup("exec(In[-3])")
    assert kernel.value("again") == 1


def test_rerun_profiles_again(kernel):
    count = kernel.run(profiled("reruns = globals().get('reruns', 0) + 1")).count
    reply = kernel.run(f"%rerun {count}")
    assert reply.status == "ok"
    assert len(reply.summaries) == 1
    assert kernel.value("reruns") == 2


def test_source_in_the_record_is_the_code_below_the_magic(kernel):
    kernel.setup("\n\n" + profiled("x = 1\nx", "--name with_source"))
    assert kernel.value("with_source.meta.source") == "x = 1\nx"
    kernel.setup(profiled("x = 1", "--name sourceless --no-source"))
    assert kernel.value("sourceless.meta.source") is None


def test_leading_blank_lines_and_indentation_are_taken_off(kernel):
    reply = kernel.run(f"\n   \n    {MAGIC}\n    y = 5\n    y")
    assert reply.results == ["5"]
    assert len(reply.summaries) == 1


def test_magic_further_down_is_no_magic_of_the_cell(kernel):
    reply = kernel.run("x = 1\n%%llmprofile\nx")
    assert reply.status == "error"
    assert reply.summaries == []


def test_the_same_cell_twice_gives_two_profiles(kernel):
    cell = profiled("twice = 1\ntwice", "--name twice_run")
    kernel.setup(cell)
    kernel.setup("first_run = twice_run")
    reply = kernel.run(cell)
    assert reply.kinds == ["execute_result", "summary"]
    assert kernel.value("first_run is not twice_run") is True


@pytest.mark.parametrize("body", ["", "\n\n", "# only\n# comments"])
def test_empty_cell_is_profiled_as_empty(kernel, body):
    reply = kernel.run(profiled(body))
    assert reply.status == "ok"
    assert reply.kinds == ["summary"]


def test_cell_without_a_model_says_that_it_saw_no_steps(kernel):
    reply = kernel.run(profiled("sum(range(9))", "--name modelless"))
    reason = kernel.value("modelless.meta.not_measured['steps']")
    assert "names no model" in reason
    assert kernel.value("len(modelless.steps)") == 0
    text = " ".join(reply.summaries[0]["text/plain"].split())
    assert "the cell names no model" in text


def test_cell_run_inside_belongs_to_the_profile(kernel):
    reply = kernel.run(
        profiled(
            "import torch\n"
            "get_ipython().run_cell('torch.ones(3).cumsum(0)')\n"
            "get_ipython().run_cell('')\n"
            "torch.ones(3).cumprod(0)",
            "--name around",
        )
    )
    assert reply.status == "ok"
    assert reply.kinds == ["execute_result", "execute_result", "summary"]
    assert kernel.value("sorted({'aten::cumsum', 'aten::cumprod'} & set(around.events.name))") == [
        "aten::cumprod",
        "aten::cumsum",
    ]


def test_magic_in_a_cell_run_inside_is_refused_and_the_outer_profile_goes_on(kernel):
    reply = kernel.run(
        profiled(
            "inner = get_ipython().run_cell('%%llmprofile --repeat 2\\ninner_ran = True')\nprint('on')",
            "--name outer --repeat 1",
        )
    )
    assert reply.status == "ok"
    assert len(reply.summaries) == 1
    assert reply.stderr.count("leave out the inner one") == 2  # the unprofiled pass says it too
    assert kernel.value("[inner.success, outer.name, len(outer.meta.unprofiled_wall_ns)]") == [
        False,
        "outer",
        1,
    ]


@pytest.mark.parametrize("magic", ["%%time", "%%capture"])
def test_below_another_cell_magic(kernel, magic):
    reply = kernel.run(f"{magic}\n{profiled('below = 3', '--name under')}")
    assert reply.status == "ok"
    assert kernel.value("[below, under.name]") == [3, "under"]
    assert len(reply.summaries) == (0 if magic == "%%capture" else 1)


def test_above_another_cell_magic(kernel):
    reply = kernel.run(profiled("\n%%time\ntimed = 4\ntimed", "--name above"))
    assert reply.status == "ok"
    assert "Wall time" in reply.stdout
    assert reply.results == ["4"]
    assert kernel.value("[timed, above.name]") == [4, "above"]


def test_called_from_code(kernel):
    reply = kernel.run("get_ipython().run_cell_magic('llmprofile', '--no-save --no-widget', 'c = 8\\nc')")
    assert reply.kinds == ["summary", "execute_result"]
    assert reply.results == ["8"]
    assert kernel.value("c") == 8


def test_called_from_code_annotations_stay_types(kernel):
    kernel.setup("get_ipython().run_cell_magic('llmprofile', '--no-save --no-widget', 'def f(x: int): pass')")
    assert kernel.value("f.__annotations__['x'].__name__") == "int"


def test_silent_request_runs_the_cell_and_shows_nothing(kernel):
    reply = kernel.run(profiled("quiet = 9\nquiet", "--name unseen"), silent=True)
    assert (reply.status, reply.kinds) == ("ok", [])
    assert kernel.value("quiet") == 9
    assert kernel.value("__import__('profkit').last.meta.source") == "quiet = 9\nquiet"
    assert kernel.run(profiled("1")).kinds == ["execute_result", "summary"]


def test_request_without_history_is_profiled(kernel):
    reply = kernel.run(profiled("10"), store_history=False)
    assert reply.kinds == ["execute_result", "summary"]


def test_threads_of_the_cell_are_in_the_record(kernel):
    kernel.setup(
        profiled(
            "import threading, torch\n"
            "thread = threading.Thread(target=lambda: torch.ones(9).logcumsumexp(0))\n"
            "thread.start()\nthread.join()\ntorch.ones(9).cumsum(0);",
            "--name threaded",
        )
    )
    kernel.setup("lanes = threaded.events.set_index('name').lane")
    assert kernel.value("int(lanes['aten::logcumsumexp'] != lanes['aten::cumsum'])") == 1


def test_widget_message_during_an_async_cell_does_not_end_the_profile(kernel):
    kernel.setup(
        "import asyncio\nfrom comm import get_comm_manager\n"
        "arrived = asyncio.Event()\n"
        "def opened(comm, message):\n    arrived.set()\n"
        "get_comm_manager().register_target('test', opened)"
    )
    request = kernel.submit(
        profiled("import torch\nprint('waiting')\nawait arrived.wait()\ntorch.ones(3).cumsum(0);", "--name widgets")
    )
    reply = kernel.collect(request, kernel.once("waiting", lambda: kernel.open_comm("test")))
    assert reply.status == "ok"
    assert kernel.value("'aten::cumsum' in set(widgets.events.name)") is True
    assert len(reply.summaries) == 1


def test_output_of_a_profile_is_small(kernel):
    code = "import torch\nfor i in range(2000):\n    torch.ones(4).cumsum(0).add_(1).mul_(2)"
    reply = kernel.run("%%llmprofile --name sized\n" + code)
    assert reply.kinds == ["summary", "display_data"]
    assert set(reply.displays[0]) == {"text/plain", "text/html", "image/png"}
    assert "application/vnd.jupyter.widget-view+json" in reply.displays[1]
    assert "sized" in reply.displays[1]["text/plain"]
    sent = len(json.dumps(reply.outputs)) + len(json.dumps(reply.comms))
    assert sent <= MAX_OUTPUT_BYTES


def test_console_waits_for_the_body_of_the_cell(kernel):
    assert kernel.is_complete("%%llmprofile") == "incomplete"
    assert kernel.is_complete("%%llmprofile\nx = 1") == "incomplete"
    assert kernel.is_complete("%%llmprofile\nx = 1\n\n") == "complete"


def test_showing_the_value_is_not_the_cells_time(kernel):
    kernel.setup("import time\nclass Slow:\n    def _repr_html_(self):\n        time.sleep(0.5)\n        return 'slow'")
    kernel.run("%%llmprofile --no-save --no-widget --name shown_slowly\nSlow()")
    assert kernel.value("shown_slowly.meta.wall_ns") < 400_000_000


def test_rendering_the_traceback_is_not_the_cells_time(kernel):
    kernel.setup(
        "import time\ndef slowly(*args, real=get_ipython()._showtraceback):\n    time.sleep(0.5)\n    real(*args)\n"
        "get_ipython()._showtraceback = slowly"
    )
    reply = kernel.run("%%llmprofile --no-save --no-widget --name failed_slowly\n1 / 0")
    kernel.setup("del get_ipython()._showtraceback")
    assert reply.status == "error"
    assert kernel.value("failed_slowly.meta.wall_ns") < 400_000_000


@pytest.mark.parametrize(("name", "what"), [("print", "a builtin"), ("kept", "a list")])
def test_a_name_that_is_taken_is_not_replaced(kernel, name, what):
    kernel.setup("kept = [1]")
    reply = kernel.run(f"%%llmprofile --no-save --no-widget --name {name}\n1")
    assert (reply.status, what in reply.stderr) == ("error", True)
    assert kernel.value("[kept, print.__class__.__name__]") == [[1], "builtin_function_or_method"]
