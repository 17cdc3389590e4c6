"""Importing peers beside a torch that their compiled companions were not built for."""

import sys
from importlib.metadata import version
from types import ModuleType

__all__ = ["named", "without_compiled_torchvision"]


def without_compiled_torchvision() -> None:
    """Let `import torchvision` pass beside a torch of another build.

    laplace-torch and torch-uncertainty import it for images, which no benchmark here has. Where its compiled operators
    cannot be loaded, describing their shapes is all that fails: that part is left out.
    """
    name = "torchvision._meta_registrations"
    sys.modules.setdefault(name, ModuleType(name))


def named(package: str) -> str:
    """Return a package's name and version."""
    return f"{package} {version(package)}"
