#!/usr/bin/env python3
"""Breaks the code on purpose, one edit of tests/mutations.toml at a time, and tells which tests notice.

    scripts/mutations.py [--check | --list] [WORD...]

Works on a copy of the tree in target/mutations, so that the checkout stays as it is. With words,
only mutations whose description holds one of them are made. `--check` only looks whether every edit
still fits. Each that is noticed gets its row in docs/MUTATIONS.md.

First the tests that are to notice run once on the code as it is: what is red there notices nothing.

Ends with 1 if they are not green, if an edit no longer fits, does not compile, or is noticed by no
test.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "target" / "mutations"
# Of its own: cargo takes the checkout and its copy for one package, and what it built from a mutation
# for what the checkout comes to.
BUILD = ROOT / "target" / "mutated"
TABLE = ROOT / "docs" / "MUTATIONS.md"
BEGIN, END = "<!-- table: scripts/mutations.py -->", "<!-- end -->"
SHOWN = 4


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--check", action="store_true", help="only look whether the edits fit")
    arguments.add_argument("--list", action="store_true", help="only list them")
    arguments.add_argument("word", nargs="*")
    arguments = arguments.parse_args()
    known = mutations()
    misfits = [problem for mutation in known if (problem := misfit(mutation))]
    if misfits:
        sys.exit("\n".join(misfits))
    chosen = [m for m in known if not arguments.word or any(w in m["what"] for w in arguments.word)]
    if arguments.list:
        print("\n".join(f"{mutation['what']} ({mutation['promise']})" for mutation in chosen))
    if not (arguments.check or arguments.list):
        sys.exit(run(chosen))


def mutations():
    return tomllib.loads((ROOT / "tests" / "mutations.toml").read_text())["mutation"]


def misfit(mutation):
    """Why an edit can't be made, if it can't."""
    times = (ROOT / mutation["file"]).read_text().count(mutation["from"])
    if times != 1:
        return f"{mutation['what']}: `from` stands {times} times in {mutation['file']}, not once"
    return None


def run(chosen):
    copy_tree()
    if not is_green(chosen):
        return 1
    unnoticed = 0
    for mutation in chosen:
        red, failure = attempt(mutation)
        verdict = failure or (f"{len(red)} red" if red else "NOT NOTICED")
        print(f"{mutation['what']} ({mutation['promise']}): {verdict}", flush=True)
        for name in red:
            print(f"    {name}", flush=True)
        unnoticed += not red
        if red:
            write_table([row(mutation, red)])
    print(f"mutations={len(chosen)} unnoticed={unnoticed}")
    return 1 if unnoticed else 0


def copy_tree():
    """What git knows of the checkout, as it stands."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            # Its times are now: what an earlier run built from a mutation is older.
            shutil.copy(ROOT / name, COPY / name)
    if (ROOT / ".venv").is_dir():
        (COPY / ".venv").symlink_to(ROOT / ".venv")


def is_green(chosen):
    """Whether all that is to notice a mutation passes without one."""
    green = True
    for tests in dict.fromkeys(tests for mutation in chosen for tests in mutation["tests"]):
        red, failure = cargo_test(tests)
        if red or failure:
            green = False
            print(f"without a mutation, {tests}: {failure or ', '.join(red) + ' red'}", flush=True)
    return green


def attempt(mutation):
    """The tests that went red; or why there could be none."""
    path = COPY / mutation["file"]
    original = path.read_text()
    path.write_text(original.replace(mutation["from"], mutation["to"]))
    try:
        red = []
        for tests in mutation["tests"]:
            failed, failure = cargo_test(tests)
            if failure:
                return [], failure
            red += failed
        return red, None
    finally:
        path.write_text(original)


def cargo_test(tests):
    selection, _, words = tests.partition(" -- ")
    command = ["cargo", "test", "--locked", *selection.split(), "--no-fail-fast", "--", *words.split()]
    environment = os.environ | {"CARGO_TARGET_DIR": str(BUILD)}
    ran = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)
    if "could not compile" in ran.stderr:
        error = next((line for line in ran.stderr.splitlines() if line.startswith("error")), "")
        return [], f"DOES NOT COMPILE: {error}"
    failed = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", ran.stdout, re.MULTILINE)
    if ran.returncode != 0 and not failed:
        return [], f"NO VERDICT: {ran.stderr.strip().splitlines()[-1]}"
    if not re.search(r"^test (?!result:)", ran.stdout, re.MULTILINE):
        return [], f"NO SUCH TESTS: {tests}"
    program = re.search(r"--(?:test|lib|example) ?(\w*)", selection)
    prefix = f"{program[1]} " if program and "--test" in selection else ""
    return [prefix + name for name in failed], None


def row(mutation, red):
    edit = f"`{mutation['file']}`"
    names = ", ".join(f"`{name}`" for name in red[:SHOWN])
    more = f" and {len(red) - SHOWN} more" if len(red) > SHOWN else ""
    return f"| {mutation['what']} | {mutation['promise']} | {edit} | {names}{more} |"


def write_table(rows):
    """Puts rows in the place of those of the same mutations, in the order of tests/mutations.toml."""
    head = ["| mutation | promise | edit in | red |", "|---|---|---|---|"]
    before, rest = TABLE.read_text().split(BEGIN)
    table, after = rest.split(END)
    cells = {line.split(" | ")[0]: line for line in table.strip().splitlines()[len(head):]}
    cells |= {line.split(" | ")[0]: line for line in rows}
    kept = [cells[key] for m in mutations() if (key := f"| {m['what']}") in cells]
    TABLE.write_text("\n".join([before + BEGIN, *head, *kept, END]) + after)


if __name__ == "__main__":
    main()
