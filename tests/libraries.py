"""Importing this loads every library that the worker uses, and nothing of the worker's own."""

import pkgutil
import sys
from importlib import import_module

OURS = ("worker", "jobs")

for package in OURS:
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
    del sys.modules[name]
