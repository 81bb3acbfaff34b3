"""A memory plan with sliders: batch, context, KV dtype, GPU, tensor parallelism."""

from __future__ import annotations

import html
from typing import Any, Final

import ipywidgets

from profkit.errors import OptionError
from profkit.hardware.gpus import GPUS
from profkit.models.plan import MemoryPlan
from profkit.models.shape_costs import KV_FORMATS
from profkit.models.shard import possible
from profkit.views.kv_plan import fragment

_LARGEST_BATCH: Final = 4096
_LONGEST: Final = 2**20


class KVPlanView(ipywidgets.VBox):  # type: ignore[misc]
    """The plan below its controls; `plan` is the one that is shown.

    A change computes the plan again and replaces the HTML below the controls: no figure is drawn. The tables are the
    plan's own, `view.plan`.
    """

    def __init__(self, plan: MemoryPlan) -> None:
        self.plan = plan
        self._batch = _powers("batch", plan.batch, _LARGEST_BATCH)
        self._context = _powers("context", plan.context, max(plan.shape.max_context or _LONGEST, plan.context))
        self._kv_dtype = _choice("KV dtype", {name: name for name in KV_FORMATS}, plan.kv_dtype)
        self._gpu = _choice("GPU", _gpus(plan), plan.request.gpu)
        allowed = {str(gpus): gpus for gpus in possible(plan.shape) if gpus <= 64}
        self._gpus = _choice("GPUs per model", allowed, plan.request.tensor_parallel)
        self._page = ipywidgets.HTML(fragment(plan, tables=False))
        self._controls = (self._batch, self._context, self._kv_dtype, self._gpu, self._gpus)
        for control in self._controls:
            control.observe(self._redraw, "value")
        super().__init__((ipywidgets.HBox(self._controls, layout={"flex_flow": "row wrap"}), self._page))

    def _redraw(self, _change: object) -> None:
        try:
            self.plan = self.plan.changed(
                batch=self._batch.value,
                context=self._context.value,
                kv_dtype=self._kv_dtype.value,
                gpu=self._gpu.value,
                tensor_parallel=self._gpus.value,
            )
        except OptionError as error:
            self._page.value = f"<p>{html.escape(str(error))}</p>"
        else:
            self._page.value = fragment(self.plan, tables=False)

    def __repr__(self) -> str:
        return f"<KVPlanView of {self.plan.shape.model_type}: run the cell to see it>"


def _powers(label: str, value: int, most: int) -> Any:
    """A slider over powers of two, with half steps, and the value that it starts at."""
    steps = {value, most}
    power = 1
    while power <= most:
        steps |= {power, min(power + power // 2, most)}
        power *= 2
    options = [(f"{step:,}".replace(",", "\u202f"), step) for step in sorted(steps)]
    return ipywidgets.SelectionSlider(
        options=options, value=value, description=label, continuous_update=True, layout={"width": "340px"}
    )


def _choice(label: str, options: dict[str, Any], value: object) -> Any:
    return ipywidgets.Dropdown(
        options=list(options.items()),
        value=value,
        description=label,
        layout={"width": "240px"},
        style={"description_width": "initial"},
    )


def _gpus(plan: MemoryPlan) -> dict[str, Any]:
    """The plan's own GPU, as it was given, first."""
    own = plan.request.gpu
    label = plan.gpu.name if plan.gpu else "none"
    return {label: own, **{gpu.name: gpu.name for gpu in GPUS if gpu.name not in (own, label)}}
