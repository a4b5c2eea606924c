"""Checks an installed wheel in an environment that holds nothing but its dependencies; no pytest needed.

python tests/wheel_smoke.py
"""

from __future__ import annotations

import subprocess
import sys

IMPORT = "import sys, time; t = time.perf_counter(); import omniconv; print(1e3 * (time.perf_counter() - t))"


def main() -> None:
    import omniconv

    print(f"omniconv {omniconv.__version__} on Python {sys.version.split()[0]}, from {omniconv.__file__}")
    for name in ("torch", "jax", "cupy"):
        assert name not in sys.modules, f"importing omniconv imported {name}"

    # Best of several fresh processes; printed and not asserted, because a busy machine proves nothing.
    times = [float(subprocess.check_output([sys.executable, "-c", IMPORT], text=True)) for _ in range(7)]
    verdict = "within" if min(times) < 100 else "OVER"
    print(f"import omniconv: {min(times):.1f} ms, best of {len(times)} ({verdict} the promised 100 ms)")


if __name__ == "__main__":
    main()
