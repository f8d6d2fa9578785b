#!/usr/bin/env bash
#
# The licences that want to go along with a binary: ours, and those of each package in it, as it
# brings them:
#
#   scripts/release/licences.sh [TARGET] >licences.txt
#   FEATURES=keyless scripts/release/licences.sh [TARGET] >licences.txt

set -euo pipefail
cd "$(dirname "$0")/../.."

TARGET=${1-x86_64-unknown-linux-musl}

bom=$(scripts/release/sbom.sh "$TARGET")
# Too long for an argument.
cargo metadata --locked --features "${FEATURES-}" --format-version 1 --filter-platform "$TARGET" | python3 -c '
import json
import pathlib
import sys

packages = json.load(sys.stdin)["packages"]
folders = {(p["name"], p["version"]): pathlib.Path(p["manifest_path"]).parent for p in packages}
bom = json.loads(sys.argv[1])
shipped = [one for one in bom["components"] if one["scope"] == "required"]
apache, bare = "", []
for one in [bom["metadata"]["component"], *shipped]:
    folder = folders[one["name"], one["version"]]
    names = ("LICEN", "COPYING", "NOTICE", "UNLICENSE")
    files = sorted(f for f in folder.iterdir() if f.name.upper().startswith(names) and f.is_file())
    expression = one["licenses"][0]["expression"]
    print("== %s %s (%s)\n" % (one["name"], one["version"], expression))
    for file in files:
        text = file.read_text(encoding="utf-8").strip("\n") + "\n"
        if file.name == "LICENSE-APACHE":
            apache = apache or text
        print(text)
    if not files and "Apache-2.0" in expression:
        bare.append(one["name"])
        print("The package brings no text of its licence. That of Apache-2.0 is at the end.\n")
    elif not files:
        sys.exit("%s %s brings no licence" % (one["name"], one["version"]))
if bare:
    if not apache:
        sys.exit("no text of Apache-2.0 for " + ", ".join(bare))
    print("== Apache-2.0, for %s\n\n%s" % (", ".join(bare), apache))
print("== The standard library of Rust (MIT OR Apache-2.0) and musl (MIT) are in it too.")
' "$bom"
