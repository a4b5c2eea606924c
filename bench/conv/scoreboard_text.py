"""The tables of a scoreboard."""

from __future__ import annotations

from typing import Any

from omniconv.bench.race import geometric_mean

__all__ = ["layer_line", "ratios", "text"]

PRECISIONS = ("highest", "high", "medium")
ONEDNN = ("torch-nchw", "torch-nhwc", "torch-blocked")
RATIOS = ("best oneDNN", "best peer", "torch-nchw")


def ratios(entry: dict[str, Any], precision: str) -> dict[str, float]:
    """How many times as fast as the best of PyTorch's layouts, as the best of all peers, and as PyTorch NCHW."""
    seconds = entry.get("seconds", {})
    others = {name: s for name, s in seconds.items() if name not in PRECISIONS}
    rivals = {
        "best oneDNN": [s for name, s in others.items() if name in ONEDNN],
        "best peer": list(others.values()),
        "torch-nchw": [s for name, s in others.items() if name == "torch-nchw"],
    }
    return {name: min(found) / seconds[precision] for name, found in rivals.items() if found and precision in seconds}


def _names(entries: list[dict[str, Any]]) -> list[str]:
    """The contestants that ran, ours first."""
    return list(dict.fromkeys(name for entry in entries for name in entry.get("seconds", ())))


def layer_line(entry: dict[str, Any], name_width: int = 24, columns: list[str] | None = None) -> str:
    """One layer: milliseconds of each contestant, ratios of our precisions to the best of oneDNN."""
    head = f"{entry['layer']:{name_width}} {entry['text']:34}"
    if "seconds" not in entry:
        return f"{head} left out: {entry['skipped'].get('*', '')}"
    seconds = entry["seconds"]
    times = " ".join(f"{seconds[n] * 1e3:13.3f}" if n in seconds else f"{'–':>13}" for n in columns or seconds)
    won = " ".join(f"{ratios(entry, p).get('best oneDNN', float('nan')):7.2f}" for p in PRECISIONS[:2])
    return f"{head} {times}  {won}  {entry['algorithms']['highest']}, {entry['algorithms']['high']}"


def _summary(entries: list[dict[str, Any]]) -> list[str]:
    lines = []
    for precision in PRECISIONS:
        said = []
        for rival in RATIOS:
            found = [(ratios(e, precision)[rival], e["layer"]) for e in entries if rival in ratios(e, precision)]
            if found:
                least = min(found)
                said.append(f"{geometric_mean(r for r, _ in found):.2f} x {rival} (least {least[0]:.2f} {least[1]})")
        if said:
            lines.append(f"{precision:8} geometric mean: {', '.join(said)}")
    lost = [e["layer"] for e in entries if ratios(e, "highest").get("best oneDNN", 1) < 1]
    if lost:
        lines.append(f"highest loses to the best of oneDNN on {len(lost)} of {len(entries)}: {', '.join(lost)}")
    return lines


def _error_table(entries: list[dict[str, Any]]) -> list[str]:
    """The largest error of each contestant over the layers, by kind of data."""
    entries = [e for e in entries if "errors" in e]
    if not entries:
        return []
    kinds = list(dict.fromkeys(kind for e in entries for of in e["errors"].values() for kind in of))
    lines = [f"{'largest error':24} " + " ".join(f"{kind:>10}" for kind in kinds)]
    for name in dict.fromkeys(name for e in entries for name in e["errors"]):
        found = [e["errors"][name] for e in entries if name in e["errors"]]
        lines.append(f"{name:24} " + " ".join(f"{max(of[kind] for of in found):10.1e}" for kind in kinds))
    both = [e["errors"] for e in entries if "plain float32" in e["errors"]]
    for precision in PRECISIONS[:1] if both else ():
        worst = [max(of[precision][kind] / max(of["plain float32"][kind], 1e-30) for of in both) for kind in kinds]
        lines.append(f"{f'{precision} / plain, largest':24} " + " ".join(f"{ratio:10.2f}" for ratio in worst))
    return lines


def text(report: dict[str, Any]) -> str:
    """All tables: a set and batch each, times in milliseconds, then the errors."""
    at = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in at["versions"].items())
    caches = ", ".join(f"{name} {size}" for name, size in at["caches"].items())
    lines = [
        f"{at['cpu']}, {at['cpus']} CPUs, {caches}; {at['isa']}, {at['threads']} thread(s), {at['date'][:10]}",
        f"omniconv {at['omniconv']} ({at['compiler']}), {versions}",
        *(f"{name}: {reason}" for name, reason in report["not_installed"].items()),
        "Times in milliseconds, medians. Ratios: times as fast as the best of PyTorch NCHW, channels_last and blocked.",
    ]
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for entry in report["entries"]:
        groups.setdefault((entry["set"], entry["batch"], entry["layout"]), []).append(entry)
    for (name, batch, layout), entries in groups.items():
        columns, width = _names(entries), max(len(entry["layer"]) for entry in entries)
        lines += ["", f"{name}, batch {batch}, {layout.upper()}"]
        lines.append(f"{'':{width}} {'':34} " + " ".join(f"{c:>13}" for c in columns) + "  highest    high")
        lines += [layer_line(entry, width, columns) for entry in entries]
        lines += [*_summary(entries), *_error_table(entries)]
    for e in report["entries"]:
        if (busy := e.get("others_busy_cpus") or 0) > 0.2:
            lines.append(f"{e['set']}, {e['layer']}, batch {e['batch']}: other processes kept {busy:.1f} CPUs busy.")
    return "\n".join(lines)
