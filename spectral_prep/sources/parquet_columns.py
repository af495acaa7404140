"""Which columns of a Parquet file hold images and labels, and what its labels mean; each file by its own schema.

Input: the Arrow schema of a file, with the metadata that Hugging Face's `datasets` writes, and what the user chose.
Output: `Columns`, or what stands in the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from spectral_prep.errors import CorruptSourceError, InputError
from spectral_prep.places.url import Place
from spectral_prep.sources.interface import Fields
from spectral_prep.sources.opening import listed, optional, parsed_json
from spectral_prep.sources.release_files import listed_names

LABELS = ("label", "labels", "fine_label", "cls", "class")
BYTES = "bytes"


@dataclass(frozen=True)
class Columns:
    """Where images and labels are: `nested` where an image is the field "bytes" of a struct; `names` of the labels."""

    image: str
    nested: bool
    label: str
    names: tuple[str, ...] | None

    @property
    def image_path(self) -> str:
        """The column of bytes, as a Parquet file has it."""
        return f"{self.image}.{BYTES}" if self.nested else self.image

    def images(self, batch: Any) -> list[bytes | None]:
        """Return the images of an Arrow batch that holds this column alone."""
        values = batch.column(0)
        found: list[bytes | None] = (values.field(BYTES) if self.nested else values).to_pylist()
        return found

    def meaning(self, value: object) -> int | str | None:
        """Return the label that a value stands for: a number or the name of a class, None for none."""
        if isinstance(value, str):
            return value
        if isinstance(value, float) and value.is_integer() and math.isfinite(value):
            value = int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else None


def columns_of(schema: Any, path: Place, fields: Fields) -> Columns:
    """Return the columns of a file.

    Raises
    ------
    InputError
        If they are not there, are of another type or cannot be told apart; if only paths of images are there.
    CorruptSourceError
        If the metadata is damaged.
    """
    features = _features(schema.metadata or {}, path)
    image = _image(schema, path, fields.image_column)
    label = _label(schema, features, path, fields.label_column)
    described = features.get(label, {})
    names = described.get("names") if described.get("_type") == "ClassLabel" else None
    return Columns(image, _is_struct(schema.field(image).type), label, listed_names(names, path) if names else None)


def _image(schema: Any, path: Place, chosen: str | None) -> str:
    fits = [field.name for field in schema if _is_bytes(field.type) or _is_struct(field.type)]
    if chosen in fits:
        return str(chosen)
    if chosen is None and len(fits) == 1:
        return str(fits[0])
    if not fits and (paths := [field.name for field in schema if _is_text(field.type) and field.name not in LABELS]):
        raise only_paths(path, paths[0])
    raise InputError(
        "no column of images" if chosen or not fits else "several columns of images, which cannot be told apart",
        where=path,
        expected="one column of bytes, or a struct with bytes" if chosen is None else f"--image-column {listed(fits)}",
        got=_described(schema),
        run=f"the same command with --image-column {' or '.join(fits)}" if fits else None,
    )


def _label(schema: Any, features: dict[str, dict[str, Any]], path: Place, chosen: str | None) -> str:
    fits = {field.name: field.type for field in schema if _is_label(field.type)}
    if chosen is None:
        labelled = [name for name, each in features.items() if each.get("_type") == "ClassLabel" and name in fits]
        whole = [name for name, kind in fits.items() if optional("pyarrow", "parquet").types.is_integer(kind)]
        for names in (labelled, whole, list(fits)):
            if found := [name for name in LABELS if name in names] or (names[:1] if names is labelled else []):
                return found[0]
    elif chosen in fits:
        return chosen
    raise InputError(
        "no column of labels that can be told apart from others",
        where=path,
        expected=f"a column called {' or '.join(LABELS)}, of whole numbers or names",
        got=_described(schema),
        run=f"the same command with --label-column {' or '.join(fits)}" if fits else None,
    )


def only_paths(path: Place, column: str) -> InputError:
    """Return the error for files that say where images are and do not hold them."""
    return InputError(
        "the images are not in these files, only their paths",
        where=path,
        expected=f"the bytes of an image in each row of {column!r}",
        run="the same command with --dataset folder and the images in class folders; or files written with "
        "embedded images (datasets: embed_external_files=True)",
    )


def _described(schema: Any) -> str:
    return listed(f"{field.name} ({str(field.type).partition('<')[0]})" for field in schema)


def _is_bytes(kind: Any) -> bool:
    types = optional("pyarrow", "parquet").types
    view = getattr(types, "is_binary_view", lambda _: False)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or view(kind))


def _is_struct(kind: Any) -> bool:
    types = optional("pyarrow", "parquet").types
    return bool(types.is_struct(kind) and kind.get_field_index(BYTES) >= 0 and _is_bytes(kind.field(BYTES).type))


def _is_text(kind: Any) -> bool:
    types = optional("pyarrow", "parquet").types
    view = getattr(types, "is_string_view", lambda _: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or view(kind))


def _is_label(kind: Any) -> bool:
    types = optional("pyarrow", "parquet").types
    inner = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_integer(inner) or types.is_floating(inner) or _is_text(inner))


def _features(metadata: dict[bytes, bytes], path: Place) -> dict[str, dict[str, Any]]:
    try:
        features = parsed_json(metadata.get(b"huggingface", b"{}"), path).get("info", {}).get("features", {})
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except AttributeError as error:
        raise CorruptSourceError("damaged Hugging Face metadata", where=path, got=error) from error
