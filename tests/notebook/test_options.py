"""Options of the magic: help, completion, wrong ones, and what each changes."""

import json

import pytest

QUIET = "--no-widget --no-save"


def refused(kernel, line, code="ran = True"):
    """The message of a cell that must not run."""
    kernel.setup("ran = False")
    reply = kernel.run(f"{line}\n{code}")
    assert reply.status == "error"
    assert reply.ename == "UsageError"
    assert reply.outputs == [] or set(reply.kinds) <= {"stream"}
    assert reply.summaries == []
    assert kernel.value("ran") is False
    return " ".join(reply.stderr.split())


@pytest.fixture(scope="module", autouse=True)
def model(kernel):
    kernel.setup(
        "import torch\n"
        "class Toy(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.embed = torch.nn.Embedding(9, 4)\n"
        "    def forward(self, input_ids):\n"
        "        return self.embed(input_ids)\n"
        "toy = Toy()\nids = torch.zeros(1, 3, dtype=torch.int64)"
    )


@pytest.mark.parametrize("option", ["-h", "--help", "--name x -h"])
def test_help_is_printed_and_the_cell_does_not_run(kernel, option):
    kernel.setup("ran = False")
    reply = kernel.run(f"%%llmprofile {option}\nran = True\nran")
    assert reply.status == "ok"
    assert reply.kinds == ["stream"]
    for word in ("usage: %%llmprofile", "--name", "--repeat N", "--model", "profkit.profile"):
        assert word in reply.stdout
    assert kernel.value("ran") is False


def test_help_of_the_line_form(kernel):
    reply = kernel.run("%llmprofile -h")
    assert (reply.status, reply.kinds) == ("ok", ["stream"])
    assert "%llmprofile [options] statement" in reply.stdout


def test_question_mark_shows_help(kernel):
    request = kernel.run("%%llmprofile?")
    assert request.status == "ok"
    assert request.summaries == []
    assert "Profile a statement (or a cell)" in json.dumps(request.payload)
    assert "Profile a statement (or a cell)" in kernel.inspect("%llmprofile")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--nmae x", "unknown option --nmae; did you mean '--name'?"),
        ("--shape", "unknown option --shape; did you mean '--shapes'?"),
        ("-x", "unknown option -x"),
        ("--name", "--name needs a value"),
        ("--name two-words", "--name 'two-words' is not a Python name"),
        ("--name 'a b'", "--name 'a b' is not a Python name"),
        ("--name class", "--name 'class' is not a Python name"),
        ("--name 'open", "No closing quotation"),
        ("--repeat two", "invalid whole number value: 'two'"),
        ("--repeat 0", "0 is not above 0"),
        ("--repeat -1", "-1 is not above 0"),
        ("--telemetry-hz 0", "0 is not above 0"),
        ("--telemetry-hz 1e9", "1e9 is more than 500"),
        ("--telemetry-hz fast", "invalid number value: 'fast'"),
        ("--model missing", "--model missing: NameError: name 'missing' is not defined"),
        ("--model 1/0", "--model 1/0: ZeroDivisionError"),
        ("--model ids", "--model ids is a Tensor, not an nn.Module"),
        ("--model 'toy('", "--model toy(: SyntaxError"),
        ("--shapes --no-trace", "shapes need the trace"),
        ("--no-save=yes", "ignored explicit argument 'yes'"),
        ("x = 1", "'x = 1' is no option; code goes below the first line"),
        ("--name a stray", "'stray' is no option; code goes below the first line"),
    ],
)
def test_wrong_option_is_named_and_the_cell_does_not_run(kernel, options, message):
    text = refused(kernel, f"%%llmprofile --repeat 2 {options}")  # not even for an unprofiled pass
    assert message in text
    assert "%%llmprofile" in text or "--no-trace" in text


@pytest.mark.parametrize("options", ["--nmae x", "--name two-words", "--model missing"])
def test_wrong_option_of_the_line_form_is_named(kernel, options):
    kernel.setup("ran = False")
    reply = kernel.run(f"%llmprofile {options} ran = True")
    assert reply.ename == "UsageError"
    assert options.split()[0] in reply.stderr
    assert kernel.value("ran") is False


def test_line_form_without_a_statement_says_how_to_profile_a_cell(kernel):
    message = refused(kernel, "%llmprofile --name baseline", "")
    assert "start it with %%llmprofile" in message


@pytest.mark.parametrize("magic", ["%%llmprofile", "%llmprofile"])
def test_tab_completes_options(kernel, magic):
    assert kernel.complete(f"{magic} --na") == ["--name"]
    assert kernel.complete(f"{magic} --sh") == ["--shapes"]
    assert kernel.complete(f"{magic} --name a --no-s") == ["--no-save", "--no-source"]
    assert "--repeat" in kernel.complete(f"{magic} --")


def test_tab_in_the_body_completes_code(kernel):
    assert "ids" in kernel.complete("%%llmprofile --name a\nid")


def test_tab_completes_the_magic(kernel):
    assert "%%llmprofile" in kernel.complete("%%llmp")
    assert "%llmprofile" in kernel.complete("%llmp")


def test_repeat_runs_the_cell_that_many_times_more(kernel):
    kernel.setup("times = 0")
    reply = kernel.run(f"%%llmprofile {QUIET} --repeat 3 --name repeated\ntimes += 1\nprint(times)\ntimes")
    assert reply.stdout == "1\n2\n3\n4\n"
    assert reply.results == ["4"]
    assert kernel.value("times") == 4
    passes = kernel.value("repeated.meta.unprofiled_wall_ns")
    assert len(passes) == 3
    assert all(wall > 0 for wall in passes)
    assert kernel.value("repeated.summary().unprofiled_range_ns") == [min(passes), max(passes)]


@pytest.mark.parametrize("mode", ["all", "last_expr"])
def test_repeat_shows_values_once(kernel, mode):
    kernel.setup(f"get_ipython().ast_node_interactivity = {mode!r}")
    reply = kernel.run(f"%%llmprofile {QUIET} --repeat 2\n1\nif True:\n    2\n3")
    kernel.setup("get_ipython().ast_node_interactivity = 'last_expr'")
    assert reply.results == (["1", "2", "3"] if mode == "all" else ["3"])


def test_repeat_of_an_async_cell(kernel):
    reply = kernel.run(
        f"%%llmprofile {QUIET} --repeat 2 --name awaited\n"
        "from __future__ import annotations\nimport asyncio\n"
        "async def one():\n    return 1\n"
        "await one() + sum([await one() for _ in range(2)])"
    )
    assert reply.results == ["3"]
    assert kernel.value("len(awaited.meta.unprofiled_wall_ns)") == 2


def test_repeat_of_the_line_form(kernel):
    kernel.setup("times = 0\ndef count():\n    global times\n    times += 1\n    return times")
    reply = kernel.run(f"%llmprofile {QUIET} --repeat 2 --name line count()")
    assert reply.results == ["3"]
    assert kernel.value("len(line.meta.unprofiled_wall_ns)") == 2


def test_cells_run_inside_do_not_count_as_passes(kernel):
    kernel.setup(f"%%llmprofile {QUIET} --repeat 2 --name nested\nget_ipython().run_cell('1;');")
    assert kernel.value("len(nested.meta.unprofiled_wall_ns)") == 2


def test_line_form_gives_the_value_and_assigns(kernel):
    reply = kernel.run(f"%llmprofile {QUIET} --name line 20 + 22")
    assert reply.kinds == ["summary", "execute_result"]
    assert reply.results == ["42"]
    reply = kernel.run(f"answer = %llmprofile {QUIET} 21 * 2")
    assert reply.kinds == ["summary"]
    kernel.setup(f"%llmprofile {QUIET} half = answer // 2")
    assert kernel.value("[answer, half, line.meta.source]") == [42, 21, "20 + 22"]


def test_line_form_leaves_braces_and_dollars_of_the_statement_alone(kernel):
    kernel.setup("key = 'k'")
    kernel.setup(f"%llmprofile {QUIET} table = {{key: '$key {{key}}'}}")
    assert kernel.value("table") == {"k": "$key {key}"}


def test_line_form_takes_options_up_to_the_statement(kernel):
    reply = kernel.run(f"%llmprofile {QUIET} -1 + 2")
    assert reply.ename == "UsageError"
    reply = kernel.run(f"%llmprofile {QUIET} 2 - 1")
    assert reply.results == ["1"]


def test_line_form_inside_a_block(kernel):
    reply = kernel.run(f"for i in range(2):\n    %llmprofile {QUIET} --name looped print(i)")
    assert reply.stdout == "0\n1\n"
    assert len(reply.summaries) == 2


def test_model_is_named(kernel):
    kernel.setup("holder = {'inner': [toy]}")
    kernel.setup(f"%%llmprofile {QUIET} --name unnamed\nholder['inner'][0](ids);")
    kernel.setup(f"%%llmprofile {QUIET} --model \"holder['inner'][0]\" --name named\nholder['inner'][0](ids);")
    assert kernel.value("[len(unnamed.steps), len(named.steps)]") == [0, 1]


def test_shapes_and_stacks_and_memory_are_recorded(kernel):
    reply = kernel.run(f"%%llmprofile {QUIET} --shapes --stacks --memory --name rich\ntoy(ids);")
    assert reply.status == "ok"
    options = kernel.value("rich.meta.options")
    assert [options[name] for name in ("shapes", "stacks", "memory")] == [True, True, True]


def test_without_a_trace_steps_remain(kernel):
    reply = kernel.run(f"%%llmprofile {QUIET} --no-trace --name light\ntoy(ids);")
    assert reply.kinds == ["summary"]
    assert kernel.value("[len(light.steps), len(light.events)]") == [1, 0]
    assert kernel.value("light.meta.not_measured['kernels']") == "profiled with --no-trace"


def test_widget_follows_unless_left_out(kernel):
    assert kernel.run("%%llmprofile --no-save\n1").kinds == ["execute_result", "summary", "display_data"]
    assert kernel.run("%%llmprofile --no-save --no-widget\n1").kinds == ["execute_result", "summary"]
