#!/usr/bin/python3
"""Results of benches: one schema, one page, pictures.

    report.py line KEY=VALUE...                      one line of a bench; samples on standard input
    report.py assemble NAME MODE LINES RESULT        lines and a description of the machine, as a result
    report.py document RESULTS DOCS                  DOCS/PERFORMANCE.md and its pictures
    report.py check BASELINE RESULTS                 ratios against those of the baseline
    report.py baseline RESULTS                       a baseline, on standard output
"""

import datetime
import fnmatch
import glob
import json
import math
import os
import platform
import re
import subprocess
import sys

from plot import bars, is_own

SCHEMA = "corral-bench/1"
# How far a ratio may move before it counts, where a baseline says nothing else: runs on two busy cores differ that much.
TOLERANCE = 0.5
# Processors at work before a run, above which it is said to be worth little.
QUIET = 0.5


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def line(arguments):
    fields = dict(argument.split("=", 1) for argument in arguments)
    for key in ("target", "target99", "target_ratio"):
        if key in fields:
            fields[key] = float(fields[key])
    scale = float(fields.pop("scale", 1))
    if "skipped" not in fields and "tool" not in fields:
        samples = [float(word) / scale for word in sys.stdin.read().split()]
        if not samples:
            sys.exit(f"bench: {fields['name']} has no samples")
        fields["samples"] = [float(f"{sample:.5g}") for sample in samples]
    print(json.dumps({key: value for key, value in fields.items() if value != ""}))


def machine():
    def first(path, key, fallback):
        with open(path, encoding="utf-8") as file:
            return next((text.split(":", 1)[1].strip() for text in file if text.startswith(key)), fallback)

    memory = int(first("/proc/meminfo", "MemTotal", "0 kB").split()[0])
    return {
        "processor": first("/proc/cpuinfo", "model name", platform.machine()),
        "processors": os.cpu_count(),
        "memory_mib": memory // 1024,
        "kernel": platform.release(),
        "load_before": float(os.environ.get("BENCH_LOAD", os.getloadavg()[0])),
    }


def assemble(name, mode, lines, result):
    with open(lines, encoding="utf-8") as file:
        entries = [json.loads(text) for text in file]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, check=False).stdout.decode().strip()
    document = {
        "schema": SCHEMA,
        "bench": name,
        "mode": mode,
        "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit,
        "machine": machine(),
        "tools": {entry["tool"]: entry["version"] for entry in entries if "tool" in entry},
        "series": [entry for entry in entries if "samples" in entry],
        "skipped": list({entry["name"]: entry for entry in entries if "skipped" in entry}.values()),
    }
    for series in document["series"]:
        samples = series["samples"]
        series["summary"] = {
            "n": len(samples), "min": min(samples), "p50": percentile(samples, 0.5), "p99": percentile(samples, 0.99),
            "max": max(samples), "mean": float(f"{sum(samples) / len(samples):.5g}"),
        }
    with open(result, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def results(directory):
    for path in sorted(glob.glob(os.path.join(directory, "*.json"))):
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        if document.get("schema") != SCHEMA:
            sys.exit(f"{path}: not {SCHEMA}")
        yield document


def ratio(series, document):
    """To the floor of the same group and run; None without one."""
    for other in document["series"]:
        if other["name"] == series.get("floor") and other.get("group") == series.get("group"):
            return series["summary"]["p50"] / other["summary"]["p50"]
    return None


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def share(value):
    return f"{value:.2f}" if value >= 0.1 else number(value)


def verdict(series, document, reasons):
    """Words for the targets: what was to be reached, whether it was, and where notes.md says why not."""
    words = []
    higher = series.get("better") == "higher"
    for key, found in (("target", "p50"), ("target99", "p99")):
        if key in series:
            value = series["summary"][found]
            met = value >= series[key] if higher else value <= series[key]
            words.append(f"{found} {'≥' if higher else '≤'} {number(series[key])}: {'met' if met else '**missed**'}")
    if "target_ratio" in series:
        found = ratio(series, document)
        met = found is not None and found >= series["target_ratio"]
        words.append(f"≥ {series['target_ratio']:.0%} of the floor: {'met' if met else '**missed**'}")
    text = "; ".join(words)
    if "missed" in text:
        name = f"{series['group']}/{series['name']}"
        title = next((title for pattern, title in reasons if fnmatch.fnmatch(name, pattern)), None)
        if title:
            text += f" ([why](#{anchor(title)}))"
        else:
            print(f"report: {document['bench']}/{name} misses its target, and bench/{document['bench']}/notes.md gives no reason", file=sys.stderr)
    return text


def anchor(title):
    """As Markdown on the usual hosts makes it from a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def notes(path):
    """Titles of groups, reasons as (pattern of GROUP/NAME, title), the text before the tables, and that of the reasons."""
    titles, reasons, before, after = {}, [], [], []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for row in file:
                if row.startswith("group "):
                    group, title = row[len("group "):].split(":", 1)
                    titles[group] = title.strip()
                elif row.startswith("reason "):
                    patterns, title = row[len("reason "):].split(":", 1)
                    reasons += [(pattern, title.strip()) for pattern in patterns.split()]
                    after.append(f"### {title.strip()}\n\n")
                else:
                    (after if after else before).append(row)
    return titles, reasons, "".join(before).strip(), "".join(after).strip()


def table(document, group, reasons):
    rows = ["| | p50 | p99 | samples | to the floor | target |", "|---|---|---|---|---|---|"]
    for series in (s for s in document["series"] if s.get("group") == group):
        summary, found = series["summary"], ratio(series, document)
        worst = summary["min"] if series.get("better") == "higher" else summary["p99"]
        rows.append(
            f"| {series['label']} | {number(summary['p50'])} {series['unit']} | {number(worst)} | {summary['n']} "
            f"| {'' if found is None else share(found)} | {verdict(series, document, reasons)} |")
        if "note" in series:
            rows[-1] = rows[-1].replace(series["label"], f"{series['label']} ({series['note']})", 1)
    return "\n".join(rows)


def document(directory, docs):
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "PERFORMANCE.head.md"), encoding="utf-8") as file:
        parts = [file.read().rstrip("\n")]
    for result in results(directory):
        name, machine_ = result["bench"], result["machine"]
        titles, reasons, introduction, explanations = notes(os.path.join(here, name, "notes.md"))
        parts.append(f"## {name}")
        parts.append(
            f"{machine_['processors']} × {machine_['processor']}, {machine_['memory_mib'] // 1024} GiB, Linux {machine_['kernel']}; "
            f"{result['time'][:10]}, processors at work before {machine_['load_before']:.1f}; `make bench{'-full' if result['mode'] == 'full' else ''} BENCHES={name}`."
            + (" Beside it: " + ", ".join(sorted(set(result["tools"].values()) - {""})) + "." if result["tools"] else ""))
        if machine_["load_before"] > QUIET:
            parts.append(
                "**Measured while other work took most of the processors**: the order of things holds, differences below a factor of two "
                "do not, and processes in a cgroup of their own, as sandboxes are, got a smaller share than those beside them.")
        if introduction:
            parts.append(introduction)
        for group in dict.fromkeys(series.get("group") for series in result["series"]):
            chosen = [series for series in result["series"] if series.get("group") == group]
            title = titles.get(group, group)
            parts.append(f"**{title}**")
            if len(chosen) > 2:
                picture = f"performance-{name}-{group}.svg"
                with open(os.path.join(docs, picture), "w", encoding="utf-8") as file:
                    file.write(bars(title, chosen))
                parts.append(f"![{title}]({picture})")
            parts.append(table(result, group, reasons))
        if explanations:
            parts.append(explanations)
        if result["skipped"]:
            parts.append("Not measured: " + "; ".join(f"{entry['name']} ({entry['skipped']})" for entry in result["skipped"]) + ".")
    with open(os.path.join(docs, "PERFORMANCE.md"), "w", encoding="utf-8") as file:
        file.write("\n\n".join(parts) + "\n")


def ratios(directory):
    """Of Corral's own: that another tool has become slower is nothing to fail for."""
    return {
        f"{result['bench']}/{series['group']}/{series['name']}": (found, series.get("better", "lower"))
        for result in results(directory) for series in result["series"]
        if is_own(series) and (found := ratio(series, result)) is not None
    }


def skips(directory):
    """What was skipped: BENCH and the name of a series, of what its name begins with, or of a group."""
    return {(result["bench"], entry["name"]) for result in results(directory) for entry in result["skipped"]}


def check(baseline, directory):
    with open(baseline, encoding="utf-8") as file:
        expected = json.load(file)["ratios"]
    found, passed, failed, skipped, missing = ratios(directory), 0, 0, 0, skips(directory)
    benches = {name.split("/")[0] for name in found}
    for name, entry in sorted(expected.items()):
        if name.split("/")[0] not in benches:
            continue
        bench, group, series = name.split("/")
        if name not in found and {(bench, word) for word in (group, series, series.split("-")[0])} & missing:
            print(f"skip  {name}")
            skipped += 1
            continue
        if name not in found:
            print(f"FAIL  {name}: not measured")
            failed += 1
            continue
        value, better = found[name]
        tolerance = 1 + entry.get("tolerance", TOLERANCE)
        good = value >= entry["ratio"] / tolerance if better == "higher" else value <= entry["ratio"] * tolerance
        passed, failed = passed + good, failed + (not good)
        print(f"{'ok   ' if good else 'FAIL '} {name}: {value:.2f} of the floor, {entry['ratio']:.2f} before")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)


def main(arguments):
    match arguments:
        case ["line", *fields]:
            line(fields)
        case ["assemble", name, mode, lines, result]:
            assemble(name, mode, lines, result)
        case ["document", directory, docs]:
            document(directory, docs)
        case ["check", baseline, directory]:
            check(baseline, directory)
        case ["baseline", directory]:
            print(json.dumps({"ratios": {name: {"ratio": float(f"{value:.3g}")} for name, (value, _) in ratios(directory).items()}}, indent=1))
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
