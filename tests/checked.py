"""Count what `make test` checked; nothing of a kind is an error, because a check over nothing is green."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

from m5utils import paths


def checked(reports: list[Path], generated: Path, figures: Path) -> dict[str, int]:
    """How many tests ran (without the skipped), and what the run of the drawn world left."""
    suites = [suite for report in reports for suite in ElementTree.parse(report).iter("testsuite")]
    return {
        "tests": sum(int(suite.get("tests")) - int(suite.get("skipped")) for suite in suites),
        "notebooks": len(list(generated.glob("*.provenance.json"))),
        "figures": len(list(figures.glob("*.pdf"))),
        "numbers": sum(len(json.loads(file.read_text())) for file in generated.glob("[0-9][0-9].json")),
    }


def main(reports: list[Path], generated: Path, figures: Path) -> int:
    """Print the counts; 1 if one of them is 0."""
    counts = checked(reports, generated, figures)
    print("checked: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return int(min(counts.values()) == 0)


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]], paths.GENERATED / "demo", paths.FIGURES / "demo"))
