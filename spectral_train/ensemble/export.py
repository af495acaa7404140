"""The ensemble network as one file that needs nothing of this package: uint8 images in, probabilities out.

Input: the folder of a run. Output: a `.pt2` (torch.export) or `.onnx` file. It holds the split, the storage of
training (the branches know coefficients as they were stored, rounding included), the standardisation, every branch and
the combination, all in plain operators: the fused kernel would not be there where the file is loaded.

The transform is computed in float64. The branches were trained on what the float32 kernel stored, so that a
coefficient on the very edge of two int8 steps may fall on the other one. In half precision it is the branches alone
that compute with less; what that changes is measured before anything is written.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from spectral_prep.encoding import LARGEST
from spectral_prep.errors import InputError, StorageError
from spectral_prep.places import atomic_write, require_writable
from spectral_prep.places.url import Place
from spectral_prep.spectrum import basis, regroup
from spectral_prep.store.record_file import plain
from spectral_prep.system.files import TO_OUT
from spectral_train.ensemble.combination import DEFAULT_COMBINATION, Combination
from spectral_train.ensemble.drawn import drawn_images
from spectral_train.ensemble.images import branch_input
from spectral_train.ensemble.network import EnsembleNetwork, open_network
from spectral_train.ensemble.precision import DEFAULT_PRECISION, Compared, Precision
from spectral_train.run.record import NetworkPlan

METADATA = "spectral.json"
EXAMPLE_ROWS = 2
COMPARED_ROWS = 64
BATCH = "batch"
"""What the axis of images is called."""
ONNX_OPSET = 18
LARGEST_HALF = torch.finfo(torch.half).max
NO_MEMORY = "can't allocate memory"
"""In what torch says of the CPU's, which has no exception of its own."""
IN_FULL = "the same command with --precision float32"
LARGEST_ONNX = 2**31 - 2**24  # protobuf ends at 2 GiB


class ImagesToProbabilities(nn.Module):
    """(N, H, W, C) uint8 → (N, classes) float32, in plain torch operators."""

    def __init__(self, network: EnsembleNetwork) -> None:
        super().__init__()
        self.branches = nn.ModuleList(network.models)
        self.plans, self.combiner = network.plans, network.combiner
        plan = network.plans[0]
        self.register_buffer("basis_QQ", torch.from_numpy(basis(plan.spec)))
        for name, numbers in (("scale_Q1", plan.encoding.scale_factor), ("offset_Q1", plan.encoding.add_offset)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float64)[:, None])
        self.requires_grad_(False)

    def forward(self, images_NHWC: Tensor) -> Tensor:
        """Return the probabilities."""
        stored_QNChw = self._stored(images_NHWC)
        outputs = [
            branch(branch_input(stored_QNChw, plan)) for branch, plan in zip(self.branches, self.plans, strict=True)
        ]
        return self.combiner(outputs).float()

    def halve(self) -> None:
        """Let the branches have weights of float16 and compute in it.

        Raises
        ------
        InputError
            If float16 does not hold a weight or a statistic, naming branch and layer.
        """
        for branch, plan in zip(self.branches, self.plans, strict=True):
            for name, values in itertools.chain(branch.named_parameters(), branch.named_buffers()):
                if not values.is_floating_point():  # a counter of batches stays what it is
                    continue
                if (values.isfinite() & ~values.half().isfinite()).any():  # a mask may be infinite on purpose
                    raise InputError(
                        "a layer has values that half precision does not hold",
                        where=f"{plan.name}, {name}",
                        expected=f"values within ±{LARGEST_HALF:g}",
                        got=f"{values[values.isfinite()].abs().max().item():.3g}",
                        run=IN_FULL,
                    )
        self.branches = nn.ModuleList(map(InHalf, self.branches))

    def _stored(self, images_NHWC: Tensor) -> Tensor:
        """Return the spectrum as it would be stored, (Q, N, C, h, w): int8 values as float32, floats in their dtype."""
        plan = self.plans[0]
        pixels_QNChw = regroup(images_NHWC, plan.spec)
        spectrum = self.get_buffer("basis_QQ") @ pixels_QNChw.reshape(plan.spec.q, -1).double()
        if plan.encoding.dtype == "int8":
            steps = (spectrum - self.get_buffer("offset_Q1")) / self.get_buffer("scale_Q1")
            spectrum = steps.round().clamp(-LARGEST, LARGEST).float()
        return spectrum.float().to(_stored_dtype(plan)).reshape(pixels_QNChw.shape)


class InHalf(nn.Module):
    """(N, C, h, w) float32 → what a branch says of it, float32, with weights and computation of float16."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch.half()

    def forward(self, x: Tensor) -> Tensor:
        """Return it."""
        said: Tensor = self.branch(x.half())
        return said


def export(
    run: Place,
    out: Place,
    combination: Combination = DEFAULT_COMBINATION,
    precision: Precision = DEFAULT_PRECISION,
) -> Mapping[str, Any]:
    """Write the ensemble network of a run as one file and return the metadata that lies in it.

    The file takes any number of images, (N, H, W, C) uint8 of the size of the data set, and gives (N, classes) float32.

    Parameters
    ----------
    run
        The folder with `branch-00/` ….
    out
        A name that ends in `.pt2` (load it with `torch.export.load`) or `.onnx` (for ONNX Runtime and others).
    combination
        Of which branches, and how their outputs are combined.
    precision
        Of the weights and the computation of the branches. The metadata say of `half` what it changes on some drawn
        images.

    Raises
    ------
    InputError
        If the name ends otherwise, the folder may not be written, ONNX is not installed, or half precision gives no
        numbers; also as `ensemble.network.open_network` does.
    """
    if out.suffix not in WRITERS:
        raise InputError(
            "unknown kind of model file", where=out, expected=f"a name that ends in {' or '.join(WRITERS)}"
        )
    require_writable(out, TO_OUT)
    if out.suffix == ".onnx":
        _require_onnx()
    network = open_network(run, combination)
    whole, plan = ImagesToProbabilities(network).eval(), network.plans[0]
    metadata = {**describe(network, combination.scheme), "precision": precision}
    if precision == "half":
        metadata["compared"] = halved(whole, drawn_images(network.plans, COMPARED_ROWS)).to_dict()
    example = torch.zeros(EXAMPLE_ROWS, plan.height, plan.width, plan.channels, dtype=torch.uint8)
    rows = {0: torch.export.Dim(BATCH)}
    program = torch.export.export(  # an older torch traces strictly unless told: its dynamo cannot follow this
        whole, (example,), dynamic_shapes=(rows,), strict=False
    )
    atomic_write(out, WRITERS[out.suffix](program, metadata), TO_OUT)
    return metadata


def halved(whole: ImagesToProbabilities, images_NHWC: Tensor) -> Compared:
    """Bring the branches to half precision, and return what that changes on these images.

    Raises
    ------
    InputError
        If float16 does not hold a value of a layer or of an output, or a layer cannot compute with it.
    StorageError
        If memory does not suffice.
    """
    with torch.inference_mode():
        try:
            exact_NK = whole(images_NHWC)
            whole.halve()
            found_NK = whole(images_NHWC)
        except RuntimeError as error:  # what torch raises for a dtype that an operator does not take
            reason = " ".join(str(error).split())
            if isinstance(error, torch.cuda.OutOfMemoryError) or NO_MEMORY in reason:
                raise StorageError("too little memory to compare in half precision", got=reason) from error
            raise InputError("this network cannot compute in half precision", got=reason, run=IN_FULL) from error
    if not found_NK.isfinite().all():
        raise InputError(
            "in half precision this network gives no numbers",
            expected=f"values within ±{LARGEST_HALF:g}",
            run=IN_FULL,
        )
    changed = (found_NK.argmax(1) != exact_NK.argmax(1)).sum()
    return Compared(len(images_NHWC), (found_NK - exact_NK).abs().max().item(), int(changed))


def describe(network: EnsembleNetwork, scheme: str) -> dict[str, Any]:
    """Return what a user of the file has to know: the input, the classes, and how the branches were combined."""
    plan = network.plans[0]
    return {
        "dataset": plan.dataset,
        "input_shape": [plan.height, plan.width, plan.channels],
        "input_dtype": "uint8",
        "colours": "grey" if plan.channels == 1 else "RGB",
        "resize": plan.resize,
        "preprocessing": preprocessing(plan),
        "output_dtype": "float32",
        "classes": list(plan.classes),
        "spec": plain(plan.spec),
        "branches": [each.shard for each in network.plans],
        "scheme": scheme,
        "weights": network.combiner.weights.tolist(),
        "settings": dict(network.combiner.settings),
    }


def preprocessing(plan: NetworkPlan) -> list[str]:
    """Return, step by step, how an image file becomes the input, as the conversion did it."""
    resize = [] if plan.resize is None else [f"resize the short side to {plan.resize} pixels, bilinear, antialiased"]
    return [
        f"decode to 8-bit {'grey' if plan.channels == 1 else 'RGB'}; drop alpha; do not apply EXIF rotation",
        *resize,
        f"crop the centre to {plan.height} x {plan.width} pixels",
        "keep uint8, 0 to 255: the network standardises",
    ]


def _to_pt2(program: torch.export.ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA: json.dumps(metadata)})
    return content.getvalue()


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 - torch needs it
    except ImportError as error:
        raise InputError(
            "ONNX is not installed", got=error, run="pip install 'spectral-shards[export]', or --out with .pt2"
        ) from error
    if "dynamo" not in signature(torch.onnx.export).parameters:
        raise InputError(
            "this torch cannot write ONNX from what torch.export makes",
            expected="torch 2.6 or newer",
            got=torch.__version__,
            run="pip install 'spectral-shards[export]', or --out with .pt2",
        )


def _to_onnx(program: torch.export.ExportedProgram, metadata: Mapping[str, Any]) -> bytes:
    import onnx

    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > LARGEST_ONNX:
        raise InputError(
            "too large for one ONNX file", expected=f"{LARGEST_ONNX} bytes", got=size, run="--out with .pt2"
        )
    found = torch.onnx.export(
        program,
        dynamo=True,
        dynamic_shapes=({0: BATCH},),  # decided by the program; here it names the axis
        input_names=["images"],
        output_names=["probabilities"],
        opset_version=ONNX_OPSET,
        verbose=False,
    )
    if found is None:
        raise InputError("torch could not translate the network into ONNX", run="--out with .pt2")
    model = found.model_proto
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    content: bytes = model.SerializeToString()
    return content


def _stored_dtype(plan: NetworkPlan) -> torch.dtype:
    return torch.float32 if plan.encoding.dtype == "int8" else plan.encoding.torch_dtype


WRITERS: Mapping[str, Callable[[torch.export.ExportedProgram, Mapping[str, Any]], bytes]] = {
    ".pt2": _to_pt2,
    ".onnx": _to_onnx,
}
