"""A model's config from wherever it comes: an object, a dict or a file, and what it lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profkit.errors import ProfkitError


class Fields:
    """A config that tells what it lacks."""

    def __init__(self, config: Any, given: Mapping[str, Any] | None, fills_in: bool = False) -> None:
        self.config = config
        self.model_type = str(config.model_type)
        self._given = given  # what the dict or file says; None: the config was made in Python
        self._fills_in = fills_in

    def size(self, name: str, *, of: Any = None) -> int:
        """A size that must be given: what transformers fills in belongs to one particular model."""
        value = getattr(self.config if of is None else of, name, None)
        if value is None or not self._is_given(name):
            raise ProfkitError(f"the config of this {self.model_type!r} model has no {name}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ProfkitError(f"the config of this {self.model_type!r} model has {name} = {value!r}: not a size")
        return value

    def optional(self, name: str, *, of: Any = None) -> Any:
        """A field with a meaning also where it is left out, or None."""
        return getattr(self.config if of is None else of, name, None)

    def need_one_of(self, *names: str) -> None:
        """Refuse a config that writes none of these down."""
        if self._given is not None and not any(self._given.get(name) is not None for name in names):
            raise ProfkitError(f"the config of this {self.model_type!r} model has no {names[0]}")

    def layer(self, index: int) -> Any:
        """The config of one layer: layers may have sizes of their own (Gemma 4)."""
        layers = getattr(self.config, "per_layer_config", None)
        return self.config if layers is None else layers[index]

    def _is_given(self, name: str) -> bool:
        """Whether it was written down, or the class derives it from what was (its own default is None then)."""
        declared = getattr(type(self.config), "__dataclass_fields__", {}).get(name)
        if self._given is None or self._fills_in or (declared is not None and declared.default is None):
            return True
        alias = getattr(type(self.config), "attribute_map", {})
        names = {name, alias.get(name), *(other for other, stored in alias.items() if stored == name)}
        return any(self._given.get(known) is not None for known in names if known)


def open_config(source: Any) -> tuple[Any, Mapping[str, Any] | None]:
    """A transformers config and, where it came from a file or a dict, what was written there."""
    if isinstance(source, str | os.PathLike):
        source = _read(Path(source))
    if isinstance(source, Mapping):
        return _from_dict(source), source
    if hasattr(source, "get_text_config"):
        return source, None
    inner = getattr(source, "config", None)
    if hasattr(inner, "get_text_config"):
        return inner, None
    kind = type(source).__name__
    raise ProfkitError(f"{kind} is no model config: give a transformers config, a dict, or the path of a config.json")


def _read(path: Path) -> Mapping[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProfkitError(
            f"no config at {file}: give the path of a config.json or of its folder; nothing is downloaded by name"
        ) from None
    except OSError as error:
        raise ProfkitError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise ProfkitError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ProfkitError(f"{file} holds a {type(content).__name__}, not the object that a config is")
    return content


def _from_dict(given: Mapping[str, Any]) -> Any:
    model_type = given.get("model_type")
    if not isinstance(model_type, str):
        raise ProfkitError("the config has no model_type, which says what architecture it describes")
    try:
        from transformers import CONFIG_MAPPING
    except ImportError as error:
        raise ProfkitError("reading a config needs transformers: pip install 'profkit[hf]'") from error
    if model_type not in CONFIG_MAPPING:
        raise ProfkitError(f"the architecture {model_type!r} is unknown to profkit")
    try:
        return CONFIG_MAPPING[model_type].from_dict(dict(given))
    except Exception as error:  # its configs check themselves in many ways
        raise ProfkitError(f"transformers refuses the config of this {model_type!r} model: {error}") from error


def dtype_of(config: Any) -> str | None:
    """The dtype that the weights were saved in, by torch's name."""
    dtype = getattr(config, "dtype", None)
    return None if dtype is None else str(dtype).removeprefix("torch.")


def quantization_of(config: Any) -> str | None:
    """The method that the weights are quantized with: "fp8", "mxfp4", ..."""
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return None
    get = quantization.get if isinstance(quantization, Mapping) else lambda name: getattr(quantization, name, None)
    return str(getattr(get("quant_method"), "value", get("quant_method")) or "unknown")


def has(config: Any, name: str) -> bool:
    """Whether the config has the field, with a value."""
    return getattr(config, name, None) is not None
