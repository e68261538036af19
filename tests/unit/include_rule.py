#!/usr/bin/env python3
"""The include rule: base <- config, rpc, backends, cluster <- nfsd, admin.

Every #include "..." of the tree names its file from the root and stays within the rule; only
nfsd/main.c may see both sides. Usage: include_rule.py ROOT
"""
import pathlib
import re
import sys

LOWER = ["config", "rpc", "backends", "cluster"]
MAY_SEE = {"base": {"base"}}
MAY_SEE.update({d: {"base", d} for d in LOWER})
MAY_SEE["nfsd"] = {"base", "nfsd", *LOWER}
MAY_SEE["admin"] = {"base", "admin", *LOWER}
COMPOSER = "nfsd/main.c"

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def objection(source, included):
    """Why file `source` may not include `included` (both from the root), or None."""
    folder, target = source.split("/")[0], included.split("/")[0]
    if ".." in included.split("/") or "/" not in included:
        return "is not named from the tree's root"
    if source == COMPOSER and target in MAY_SEE:
        return None
    if target not in MAY_SEE[folder]:
        return f"{folder} may include only {', '.join(sorted(MAY_SEE[folder]))}"
    return None


def check_rule():
    """The rule itself, on cases that must and must not pass."""
    allowed = [("base/a.c", "base/b.h"), ("rpc/a.c", "base/b.h"), ("rpc/a.h", "rpc/b.h"),
               ("nfsd/ops/read.c", "backends/backend.h"), ("admin/a.c", "config/b.h"),
               ("nfsd/main.c", "admin/b.h"), ("nfsd/state/a.c", "cluster/cluster.h")]
    refused = [("base/a.c", "rpc/b.h"), ("rpc/a.c", "nfsd/b.h"), ("rpc/a.c", "config/b.h"),
               ("backends/vfs/a.c", "rpc/b.h"), ("backends/a.h", "cluster/b.h"),
               ("nfsd/a.c", "admin/b.h"), ("admin/a.c", "nfsd/b.h"), ("cluster/a.c", "nfsd/b.h"),
               ("nfsd/ops/main.c", "admin/b.h"), ("rpc/a.c", "b.h"), ("rpc/a.c", "rpc/../nfsd/b.h"),
               ("config/a.c", "tests/unit/b.h")]
    for case in allowed:
        assert objection(*case) is None, case
    for case in refused:
        assert objection(*case) is not None, case


def main():
    root = pathlib.Path(sys.argv[1])
    files = bad = 0
    check_rule()
    for folder in MAY_SEE:
        for path in sorted((root / folder).rglob("*.[ch]")):
            source = path.relative_to(root).as_posix()
            files += 1
            for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
                why = objection(source, included)
                if why is None and not (root / included).is_file():
                    why = "does not exist"
                if why:
                    bad += 1
                    print(f'{source}: #include "{included}": {why}')
    print(f"{files} files, {bad} violations")
    return 1 if bad or not files else 0


sys.exit(main())
