"""The command line of `hybridnet compare`: two evaluations in a table, and as a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hybridnet_ros.offline.comparison import MOST_CURVES, Comparison, compare
from hybridnet_ros.offline.evaluation import Evaluation, EvaluationError, load, prediction_bag
from hybridnet_ros.offline.wording import frame_place, stream_text
from hybridnet_ros.terminal import positive

DESCRIPTION = """\
Puts two evaluations that `hybridnet evaluate-bag` wrote side by side: two engines or two precisions on the same
recordings, frame by frame, or one engine on two recordings. Any number of recordings may be in an evaluation; the page
draws curves of the first 12 of A, and says so where there are more.
"""
EXAMPLES = """\
examples:
  hybridnet compare old/evaluation.json new/evaluation.json     figures, and the frames that differ most
  hybridnet compare float32/ float16/ --output page.html        folders do as well; also a page, with pictures of the
                                                                frames where the predictions in the folders differ most
  hybridnet compare monday/ tuesday/ --frames 20                two recordings; name 20 frames of each measure
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("a", metavar="A", type=Path, help="an evaluation.json, or the folder that it is in")
    parser.add_argument("b", metavar="B", type=Path, help="another one")
    parser.add_argument("--output", type=Path, metavar="PAGE.html", help="also write a page (no page)")
    parser.add_argument(
        "--frames", type=positive(int), default=5, metavar="N", help="frames to name for each measure (5)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Print the comparison; returns the exit code."""
    from hybridnet_ros.offline.bag import BagError

    try:
        comparison = compare(load(arguments.a), load(arguments.b), arguments.frames)
        print(table(comparison))
        if arguments.output is not None:
            _write_page(comparison, arguments)
            more = max(0, len(comparison.a.streams) - MOST_CURVES)
            left_out = f" (curves of {more} more recordings are left out, it draws {MOST_CURVES})" if more else ""
            print(f"\npage: {arguments.output.resolve()}{left_out}")
    except (EvaluationError, BagError, OSError) as error:
        print(f"hybridnet compare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("hybridnet compare: stopped", file=sys.stderr)
        return 130
    return 0


def table(comparison: Comparison) -> str:
    """The comparison for a terminal; `*` marks what is better."""
    lines = [f"A  {_side(comparison.a)}", f"B  {_side(comparison.b)}"]
    for group in comparison.groups:
        lines += ["", f"{group.name:<28}{'A':>14}{'B':>14}{'B - A':>14}"]
        for row in group.rows:
            a, b = (f"{'*' if row.better == side else ''}{text}" for side, text in (("A", row.a), ("B", row.b)))
            lines.append(f"  {row.name:<26}{a:>14}{b:>14}{row.change:>14}")
    if not comparison.pairs:
        lines += ["", "They have no frame in common: the recordings or topics are different."]
        return "\n".join(lines)
    only = f"only in A: {comparison.only_a}, only in B: {comparison.only_b}"
    lines += ["", f"frames in both: {len(comparison.pairs)}, {only}"]
    for paired in comparison.paired:
        if paired.furthest:
            lines += ["", f"{f'furthest apart in {paired.name}':<54}{'A':>12}{'B':>12}"]
            for pair, a, b in paired.furthest:
                lines.append(f"  {frame_place(comparison.a, pair.a):<52}{a:>12}{b:>12}")
    return "\n".join(lines)


def _write_page(comparison: Comparison, arguments: argparse.Namespace) -> None:
    try:
        from hybridnet_ros.offline.compare_page import write_comparison
        from hybridnet_ros.offline.disagreement import Key, disagreements
    except ImportError as error:
        raise EvaluationError(f"a page needs the module {error.name}: pip install 'hybridnet_ros[offline]'") from error
    folders = [path if path.is_dir() else path.parent for path in (arguments.a, arguments.b)]
    bags = {}
    for a, b in dict.fromkeys((pair.a.stream, pair.b.stream) for pair in comparison.pairs):
        found = [prediction_bag(folder, number) for folder, number in zip(folders, (a, b), strict=True)]
        if found[0] is not None and found[1] is not None:
            bags[a] = (found[0], found[1])
    if comparison.a.engine.class_names != comparison.b.engine.class_names:
        bags = {}  # their label values do not mean the same
    furthest = (paired.furthest[0][0].a for paired in comparison.paired if paired.furthest)
    wanted = {Key(frame.stream, frame.stamp_ns) for frame in furthest}
    write_comparison(comparison, disagreements(bags, wanted), arguments.output)


def _side(evaluation: Evaluation) -> str:
    return f"{evaluation.engine.description}; {', '.join(map(stream_text, evaluation.streams))}"
