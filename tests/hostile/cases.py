"""Valid calls of every public function of tensors, made from its signature, so that a new one is in by itself.

A parameter's annotation `Float[Tensor, "n d"]` gives type and shape; what its values must be beyond that (a covariance,
probabilities, labels) is told by the shape's names and the parameter's. What is no tensor and has no default stands in
`REQUIRED`. A function that this does not suffice for has a row in `OWN`, or in `ELSEWHERE` with the reason.
"""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType, UnionType

import torch
from torch import Tensor

from metrics.kernels import Gaussian

PACKAGES = ("metrics", "bayessgd", "gan")

SIZES = {"n": 14, "m": 14, "d": 3, "k": 4, "p": 5, "s": 9, "classes": 4, "samples": 6, "batch": 5}
SIZES |= {"chains": 3, "draws": 24, "edges": 5, "kernels": 2, "c": 3, "h": 8, "w": 8}

REQUIRED: dict[str, object] = {
    "eps": 0.5,
    "kernel": Gaussian(1.0),
    "level": 0.9,
    "std": 0.5,
    "num_data": 100,
    "batch_size": 10,
    "preconditioner": 0.02,
    "num_iterates": 10,
    "learning_rate": 0.1,
    "num_classes": 7,
    "kappa": 2.0,
    "name": "mine",
}
"""What a parameter without a default is given by its name."""

ELSEWHERE: dict[str, str] = {
    "evaluation.classification_accuracy_score": "trains a classifier; tests/metrics/evaluation",
    "neighbours.data_copying_test": "wants 20 samples a cell; tests/metrics/neighbours",
    "gan.fresh_divergence": "trains critics; tests/gan",
    "evaluation.memorisation_measure": "returns a measure",
    "features.digits_classifier": "trains a classifier; its inputs are checked in tests/metrics/features",
    "features.fingerprint": "takes any bits, NaN included",
    "noise.control_variate": "needs a network; tests/bayessgd/noise",
    "noise.control_variate_noise": "needs a network; tests/bayessgd/noise",
    "geometry.curve_jets": "needs a network; tests/metrics/geometry",
    "geometry.linear_regions_in_plane": "needs a network; tests/metrics/geometry",
    "geometry.linear_regions_on_line": "needs a network; tests/metrics/geometry",
    "geometry.sampled_patterns": "needs a network; tests/metrics/geometry",
    "geometry.total_curvature": "needs a network; tests/metrics/geometry",
    "geometry.trajectory_length": "needs a network; tests/metrics/geometry",
    "geometry.draw_regions": "draws what linear_regions_in_plane found",
    "geometry.box_counting_dimension": "a mask of any values is a mask; tests/metrics/geometry",
    "plots.draw_bands": "draws; tests/metrics/plots",
    "plots.draw_witness": "draws mmd_witness; tests/metrics/plots",
    "data.split": "splits rows, whatever they hold; tests/gan/test_data.py",
    "data.stacked_labels": "needs a classifier; tests/gan/test_data.py",
    "neighbours.classifier_two_sample_test": "a fit in 32 bits is not that in 64; tests/metrics/neighbours",
    "kernels.aggregated_mmd_test": "relabellings of 32 bits' ties; tests/metrics/kernels",
    "kernels.kernel_collection": "returns functions; tests/metrics/kernels",
    "penalties.input_gradients": "needs a critic; tests/gan/test_penalties.py",
}


@dataclass(frozen=True)
class Case:
    """One function with the arguments of a valid call.

    Attributes:
        name: The room's and its own.
        call: The function.
        make: From a generator and a type to its arguments by name, tensors and others.
    """

    name: str
    call: Callable[..., object]
    make: Callable[[torch.Generator, torch.dtype], dict[str, object]]


def public_functions() -> Iterator[tuple[str, Callable[..., object]]]:
    """Every function in the `__all__` of a package or of one of its rooms, once."""
    seen = set()
    for package in PACKAGES:
        root = importlib.import_module(package)
        rooms = [f"{package}.{found.name}" for found in pkgutil.iter_modules(root.__path__) if found.ispkg]
        for path in [*(room for room in rooms if "._" not in room), package]:
            module = importlib.import_module(path)
            for name in getattr(module, "__all__", ()):
                found = getattr(module, name)
                if inspect.isfunction(found) and id(found) not in seen and not isinstance(found, ModuleType):
                    seen.add(id(found))
                    yield f"{path.split('.')[-1]}.{name}", found


def tensor_parameters(function: Callable[..., object]) -> dict[str, typing.Any]:
    """The annotations of its tensors that say a shape, by name."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        options = (
            typing.get_args(parameter.annotation)
            if _is_union(parameter.annotation)
            else (parameter.annotation,)
        )
        shaped = [option for option in options if hasattr(option, "dim_str")]
        if shaped:
            found[name] = shaped[0]
    return found


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, UnionType)


def _arguments(
    function: Callable[..., object], draw: torch.Generator, dtype: torch.dtype
) -> dict[str, object]:
    """A valid call's arguments: required ones, and tensors that may be left out where they are weights."""
    shaped, made = tensor_parameters(function), {}
    for name, parameter in inspect.signature(function).parameters.items():
        needed = parameter.default is inspect.Parameter.empty
        if name in shaped and (needed or name.startswith("weights") or name in ("a", "b")):
            made[name] = _tensor(name, shaped[name], draw, dtype)
        elif name == "generator":
            made[name] = torch.Generator().manual_seed(0)
        elif needed and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            made[name] = REQUIRED[name]
    return made


def _tensor(name: str, annotation: typing.Any, draw: torch.Generator, dtype: torch.dtype) -> Tensor:
    dims = annotation.dim_str.split()
    shape = [SIZES.get(dim, 2) for dim in dims if not dim.startswith(("*", "..."))]
    kinds = {str(kind).split(".")[-1] for kind in annotation.dtypes}
    values = partial(_values, name, dims, shape, draw)
    if kinds and all("int" in kind for kind in kinds):
        return torch.randint(SIZES["classes"], shape, generator=draw)
    if kinds == {"bool"}:
        return torch.rand(shape, generator=draw) < 0.7
    return values().to(dtype)


def _values(name: str, dims: list[str], shape: list[int], draw: torch.Generator) -> Tensor:
    normal = torch.randn(shape, generator=draw, dtype=torch.float64)
    uniform = torch.rand(shape, generator=draw, dtype=torch.float64)
    if dims[-2:] in (["d", "d"], ["p", "p"]):
        return normal @ normal.mT / shape[-1] + torch.eye(shape[-1], dtype=torch.float64)
    if "classes" in dims:
        return (normal.softmax(-1)).log() if name.startswith("log") else normal.softmax(-1)
    if name in ("std",) or name.startswith("weights") or name in ("a", "b", "cost", "shares"):
        return uniform + 0.1
    if name == "pit":
        return uniform
    if name == "edges":
        return torch.linspace(0, 1, shape[0], dtype=torch.float64)[:, None].expand(shape).clone()
    if name in ("lower", "upper"):
        return normal.abs() * (1 if name == "upper" else -1)
    if dims[-1:] == ["k"] and name == "forecasts":
        return uniform
    return normal


def _own_sets(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    sets = torch.rand(SIZES["n"], SIZES["classes"], generator=draw) < 0.7
    return {"sets": sets, "labels": torch.randint(SIZES["classes"], (SIZES["n"],), generator=draw)}


def _own_map(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    root, map = torch.randn(3, 3, generator=draw).to(dtype), torch.randn(3, 3, generator=draw).to(dtype)
    return {"F": 0.5 * map / torch.linalg.matrix_norm(map, 2), "W": root @ root.T}


def _own_images(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    x = torch.randn(SIZES["n"], SIZES["d"], generator=draw).to(dtype)
    return {"x": x, "image_shape": (1, SIZES["d"]), "generator": torch.Generator().manual_seed(0)}


def _own_subsets(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    x, y = (torch.randn(SIZES["n"], SIZES["d"], generator=draw).to(dtype) for _ in range(2))
    return {"x": x, "y": y, "subsets": 4, "subset_size": 5}


def _own_gram(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    x, y = (torch.randn(SIZES["n"], 3, generator=draw).to(dtype) for _ in range(2))
    return {"xx": torch.cdist(x, x), "xy": torch.cdist(x, y), "yy": torch.cdist(y, y)}


OWN: dict[str, Callable[[torch.Generator, torch.dtype], dict[str, object]]] = {
    "kernels.median_kernel": _own_gram,
    "data.shift_images": _own_images,
    "predictions.set_coverage": _own_sets,
    "kernels.kernel_inception_distance": _own_subsets,
    "theory.discrete_lyapunov": _own_map,
}


def cases() -> list[Case]:
    """Every public function of tensors but those of `ELSEWHERE`."""
    found = []
    for name, function in public_functions():
        if tensor_parameters(function) and name not in ELSEWHERE:
            found.append(Case(name, function, OWN.get(name, partial(_arguments, function))))
    return found


__all__ = ["CASES_BY_NAME", "ELSEWHERE", "Case", "cases", "public_functions", "tensor_parameters"]

CASES_BY_NAME = {case.name: case for case in cases()}
"""The same by name."""
