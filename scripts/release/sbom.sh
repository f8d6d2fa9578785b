#!/usr/bin/env bash
#
# What a binary is made of, as CycloneDX 1.5 in JSON:
#
#   scripts/release/sbom.sh [TARGET] >imagewatch.cdx.json
#   FEATURES=keyless scripts/release/sbom.sh [TARGET] >imagewatch-keyless.cdx.json
#
# Every package that is compiled for TARGET is in it, with its checksum in Cargo.lock: "required" are
# those in the binary, "excluded" those that are only needed to build it. What is for tests alone is
# left out. The same commit gives the same bytes, so there is no date in it.

set -euo pipefail
cd "$(dirname "$0")/../.."

TARGET=${1-x86_64-unknown-linux-musl}
FEATURES=${FEATURES-}

# The depth, the package and the licence of each place in the tree.
tree() {
  cargo tree --locked --features "$FEATURES" --target "$TARGET" --prefix depth --no-dedupe --format '|{p}|{l}' -e "$1"
}

binary=$(tree normal,no-proc-macro)
everything=$(tree normal,build)
exec python3 - "$TARGET" "$FEATURES" "$binary" "$everything" <<'PY'
import json
import re
import sys
import uuid

target, features, binary, everything = sys.argv[1:]
lock = open("Cargo.lock").read()
checksums = {
    (name, version): checksum
    for name, version, checksum in re.findall(
        r'name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"', lock
    )
}


def places(tree):
    """Depth, (name, version) and licence of each line."""
    for line in tree.splitlines():
        # Between kinds of edges there are headings.
        if found := re.match(r"(\d+)\|(\S+) v(\S+)[^|]*\|(.*)", line):
            depth, name, version, licence = found.groups()
            yield int(depth), (name, version), licence


def reference(package):
    # Ours is in no registry of crates.
    return ("pkg:generic/%s@%s" if package == ours else "pkg:cargo/%s@%s") % package


def component(package, kind, licence):
    name, version = package
    purl = reference(package)
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "licenses": [{"expression": licence}],
        "purl": purl,
    }


shipped = {package for _, package, _ in places(binary)}
licences, needs, above = {}, {}, []
for depth, package, licence in places(everything):
    licences[package] = licence
    needs.setdefault(package, set())
    del above[depth:]
    if above:
        needs[above[-1]].add(package)
    above.append(package)
ours = above[0]

components = []
for package in sorted(licences.keys() - {ours}):
    one = component(package, "library", licences[package])
    one["scope"] = "required" if package in shipped else "excluded"
    one["hashes"] = [{"alg": "SHA-256", "content": checksums[package]}]
    components.append(one)

subject = component(ours, "application", licences[ours])
subject["properties"] = [{"name": "imagewatch:target", "value": target}]
if features:
    subject["properties"].append({"name": "imagewatch:features", "value": features})
dependencies = [
    {"ref": reference(package), "dependsOn": sorted(map(reference, needs[package]))}
    for package in sorted(needs)
]
bom = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    # Of this content, and so the same for the same content.
    "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, target + everything.split("\n", 1)[1] + lock).urn,
    "version": 1,
    "metadata": {"component": subject},
    "components": components,
    "dependencies": dependencies,
}
json.dump(bom, sys.stdout, indent=2, ensure_ascii=False)
print()
PY
