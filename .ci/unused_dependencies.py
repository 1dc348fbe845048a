#!/usr/bin/env python3
"""Fails if a package of the workspace depends on a crate that none of its sources names."""

import json
import re
import subprocess
import sys
from pathlib import Path

STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')

metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"])
)
roots = {package["name"]: Path(package["manifest_path"]).parent for package in metadata["packages"]}
unused = []
for package in metadata["packages"]:
    root = roots[package["name"]]
    inner = [other for other in roots.values() if root in other.parents]
    files = [
        file
        for file in root.rglob("*.rs")
        if not any(other in file.parents for other in inner)
    ]
    # A target may lie in the folder of another package.
    files += [Path(target["src_path"]) for target in package["targets"]]
    text = "\n".join(STRING.sub('""', file.read_text()) for file in files)
    for dependency in package["dependencies"]:
        name = (dependency["rename"] or dependency["name"]).replace("-", "_")
        if not re.search(rf"\b{name}\s*(::|;| as\b)", text):
            unused.append(f"{package['name']}: {dependency['name']}")
if unused:
    sys.exit("named in Cargo.toml and not used:\n  " + "\n  ".join(unused))
