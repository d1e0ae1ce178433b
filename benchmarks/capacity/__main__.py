"""``python -m benchmarks.capacity``: see ``docs/capacity.md``."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.capacity.check import BOUND, check
from benchmarks.capacity.measuring import PROFILE, measure, write_profile

CHECKED = PROFILE.with_name("capacity_check.json")


def main() -> int:
    """Does what the command line says; 1 when the check misses its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="service times of this machine, ~1 minute")
    parser.add_argument("--check", action="store_true", help="the model against the real system, ~3 minutes")
    chosen = parser.parse_args()
    if chosen.measure:
        with tempfile.TemporaryDirectory(prefix="hardpose-capacity-") as folder:
            write_profile(measure(Path(folder)))
        print(f"written to {PROFILE}")
    return _check() if chosen.check else 0


def _check() -> int:
    numbers = check()
    CHECKED.write_text(json.dumps(numbers, indent=2) + "\n")
    for title, row in numbers["runs"].items():
        print(
            f"{title}: predicted {row['predicted_seconds']} s, measured {row['measured_seconds']} s "
            f"({row['error']:+.1%}; from what was measured before it alone "
            f"{row['error_from_before_alone']:+.1%})"
        )
    print(f"the machine's drift between the measurements: {numbers['drift']:.3f}; written to {CHECKED}")
    if numbers["worst"] > BOUND:
        print(f"missed: an error of {numbers['worst']:.1%} is more than {BOUND:.0%}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
