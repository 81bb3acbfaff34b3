"""A profiled cell means what it means without the magic: values, order, syntax, namespaces."""

import re

import pytest

MAGIC = "%%llmprofile --no-widget --no-save\n"


@pytest.fixture(scope="module", autouse=True)
def helpers(kernel):
    kernel.setup(
        "import asyncio\n"
        "async def later(value):\n    await asyncio.sleep(0)\n    return value\n"
        "async def counting(n):\n    for i in range(n):\n        yield await later(i)\n"
        "%matplotlib inline"
    )


CELLS = {
    "value": "1 + 1",
    "value after statements": "x = 20\ny = 22\nx + y",
    "None as value": "None",
    "semicolon": "1 + 1;",
    "semicolon and comment": "1 + 1;  # quiet",
    "assignment": "x = 1",
    "expression in a block": "if True:\n    42",
    "string as first statement": "'no docstring'\n7",
    "nothing": "",
    "blank lines": "\n\n",
    "comments": "# nothing\n# at all",
    "print order": "print('a')\ndisplay('b')\nprint('c')\n'd'",
    "display of html": "from IPython.display import HTML\ndisplay(HTML('<b>x</b>'))",
    "await": "await later(5)",
    "await in the middle": "value = await later(5)\nvalue + 1",
    "async for": "async for i in counting(3):\n    print(i)",
    "async comprehension": "[i async for i in counting(3)]",
    "async with": (
        "import contextlib\n"
        "@contextlib.asynccontextmanager\n"
        "async def around():\n    print('in')\n    yield 3\n    print('out')\n"
        "async with around() as inside:\n    print(inside)"
    ),
    "gather": "await asyncio.gather(later(1), later(2))",
    "shell line": "!echo from the shell",
    "shell line assigned": "lines = !echo one; echo two\nlines.n",
    "line magic": "%lsmagic;\n%precision 3",
    "line magic assigned": "here = %pwd\nlen(here) > 0",
    "line magic of a block": "for i in range(2):\n    %psource later;",
    "help line": "later?",
    "figure": "import matplotlib.pyplot as plt\nplt.plot([1, 2]);\nprint('drawn')",
    "future import": "from __future__ import annotations\nprint('future')",
    "future import and await": "from __future__ import annotations\nawait later(1)",
    "function": "def double(x):\n    return 2 * x\ndouble(4)",
    "class": "class Point:\n    '''A point.'''\n    x: int = 3\nPoint.x, Point.__doc__, Point.__module__",
    "global statement": "def set_it():\n    global seen\n    seen = 5\nset_it()\nseen",
    "closure": "def outer():\n    n = 1\n    def inner():\n        return n\n    return inner()\nouter()",
    "comprehension over globals": "size = 3\n[i * size for i in range(size)]",
    "multi-line string": "text = '''\n%%llmprofile\n%magic\n'''\nprint(text)",
    "walrus": "(n := 4) + n",
    "last line continued": "sum([\n    1,\n    2,\n])",
    "unicode": "größe = 'λ→∞'\ngröße",
    "reads argv": "import sys\nlen(sys.argv)",
    "names itself": "__name__, __doc__ is None or isinstance(__doc__, str)",
    "frame": "import sys\nsys._getframe().f_code.co_name, sys._getframe().f_lineno",
    "stderr": "import sys\nprint('careful', file=sys.stderr)",
    "warning": "import warnings\nwarnings.simplefilter('always')\nwarnings.warn('careful')",
    "exception": "x = 1\n1 / 0",
    "exception in a function": "def fails():\n    x = 1\n    raise KeyError('gone')\n\nfails()",
    "exception after output": "print('before')\nraise ValueError('bad')\nprint('never')",
    "exception chained": "try:\n    1 / 0\nexcept Exception as e:\n    raise RuntimeError('late') from e",
    "exception after await": "await later(1)\nraise ValueError('bad')",
    "exception group": "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])",
    "assertion": "assert 1 == 2, 'not equal'",
    "exit": "raise SystemExit('bye')",
    "syntax error": "x = 1\nx = = 2",
    "unfinished": "x = (1,",
    "indentation error": "def f():\nreturn 1",
    "return outside": "return 5",
    "await in a plain function": "def f():\n    await later(1)",
    "unknown name": "undefined_name",
    "unknown magic": "%no_such_magic",
    "nested cell": "r = get_ipython().run_cell('6 * 7')\nr.result",
    "nested empty cell": "r = get_ipython().run_cell('')\nprint('after')",
    "nested failing cell": "r = get_ipython().run_cell('1/0')\nr.success",
    "time": "%time 1 + 1;",
    "over capture": "%%capture caught\nprint('hidden')",
    "over a magic for the body": "\n%%html\n<b>bold</b>",
    "over bash": "%%bash\necho from bash",
}


def _seen(reply):
    """What someone sees of a reply, but for the profile and the numbers of cells."""
    outputs = []
    for output in reply.outputs:
        if output["output_type"] == "stream":
            text = _plain(output["text"])
            together = outputs and outputs[-1][0] == output["name"]
            if text:
                outputs.append((output["name"], (outputs.pop()[1] if together else "") + text))
        elif output["output_type"] == "error":
            outputs.append(("error", output["ename"], _plain(output["evalue"])))
        elif not reply.is_summary(output["data"]):
            outputs.append((output["output_type"], _plain(output["data"]["text/plain"])))
    tracebacks = [_plain(text) for text in reply.tracebacks]
    return {"outputs": outputs, "tracebacks": tracebacks, "status": reply.status, "ename": reply.ename}


def _plain(text):
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"^USDT:.*\n", "", text, flags=re.MULTILINE)  # torch's own, see test_leftovers
    text = re.sub(r"In\[\d+\]", "In[n]", text)
    text = re.sub(r"^ +1 .*\n", "", text, flags=re.MULTILINE)  # the first line: the magic, or a comment
    text = re.sub(r"(ipykernel_\d+/)?\d+\.py", "cell.py", text)
    text = re.sub(r"Wall time: .*|CPU times: .*", "", text)
    return re.sub(r"0x[0-9a-f]+", "0x", text)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_profiled_cell_shows_what_the_plain_cell_shows(kernel, cell):
    plain = kernel.run("# first line\n" + cell if not cell.lstrip().startswith("%%") else cell.lstrip())
    profiled = kernel.run(MAGIC + cell)
    assert _seen(profiled) == _seen(plain)
