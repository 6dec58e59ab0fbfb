"""Evaluations as Markdown tables, in the form of the paper's tables 1 and 2."""

from collections.abc import Sequence

from training.comparison import (
    DEPTH_MEASURES,
    LABEL_MEASURES,
    Measure,
    Row,
    baselines,
    gains,
)
from training.scores import USUAL_CAP

NOT_DONE = "--"
FORMULAS = """\
G = share of labelled pixels that are right, C = its mean over the classes, IoU class = mean of n_ii / (sum_j n_ij + \
sum_j n_ji - n_ii) over the classes in the truth, all from one confusion matrix over all images. Depth y' against the \
truth y in metres, d = ln y' - ln y: γ = share with max(y'/y, y/y') below the limit, ARD = mean |y'-y| / y, SRD = mean \
(y'-y)² / y, RMSE-lin = sqrt(mean (y'-y)²), RMSE-log = sqrt(mean d²), SIE = sqrt(mean d² - (mean d)²)."""


def comparison_page(rows: Sequence[Row], figure: str | None = None) -> str:
    """All tables that have something to say, under headings; `figure` is the path of a picture."""
    parts = [f"# {' | '.join(row.name for row in rows)}", about(rows)]
    for heading, table in all_tables(rows).items():
        if table:
            parts += [f"## {heading}", table]
    if figure is not None:
        parts += ["## Figure", f"![image, depth and labels of each network beside the truth]({figure})"]
    return "\n\n".join([*parts, FORMULAS]) + "\n"


def all_tables(rows: Sequence[Row]) -> dict[str, str]:
    """Every table by its heading; an empty one has nothing to say."""
    return {
        "Labels": labels_table(rows),
        "Depth, over all pixels": depth_table(rows),
        "Depth, mean over the images": depth_table(rows, ("depth", "per_image")),
        f"Depth to {USUAL_CAP:.0f} m": _other_cap(rows, "to_80_m"),
        "Depth, uncapped": _other_cap(rows, "uncapped"),
        "Relative gain over the single-task runs": gain_table(rows),
        "Cost of an image": cost_table(rows),
        "Labels, in tiles": labels_table(rows, ("tiles", "labels")),
        "Depth, in tiles": depth_table(rows, ("tiles", "depth", "pooled")),
        "IoU by class": class_table(rows),
    }


def about(rows: Sequence[Row]) -> str:
    """What the figures were measured on, and how."""
    said = []
    for task in ("labels", "depth"):
        found = {
            (figures["data"], figures["images"], figures.get("cap_m"))
            for row in rows
            for evaluation in row.evaluations
            if (figures := evaluation.figures.get(task)) is not None
        }
        for data, images, cap in sorted(found, key=str):
            limit = "" if task == "labels" else f", {f'to {cap:g} m' if cap else 'uncapped'}"
            said.append(f"{task} on {images} images of {data}{limit}")
    return f"Scored: {'; '.join(said) or 'nothing yet'}. Whole images; depth at the network's own metric scale."


def cell(row: Row, places: tuple[str, ...], measure: Measure) -> str:
    """Mean over the seeds, with the spread where there are several."""
    value, spread = row.mean(*places), row.spread(*places)
    if value is None:
        return NOT_DONE
    text = f"{measure.factor * value:.{measure.digits}f}"
    return text if spread is None else f"{text} ± {measure.factor * spread:.{measure.digits}f}"


def labels_table(rows: Sequence[Row], place: tuple[str, ...] = ("labels",)) -> str:
    """Table 1: a row for each network that predicts labels, percent."""
    shown = [row for row in rows if "labels" in row.tasks or not row.tasks]
    if place[0] == "tiles" and not _any(shown, *place, "mean_iou"):
        return ""
    lines = [
        [row.name, row.features or NOT_DONE, _runs(row), *(cell(row, (*place, m.key), m) for m in LABEL_MEASURES)]
        for row in shown
    ]
    head = ["network", "features", "runs", *(measure.title for measure in LABEL_MEASURES)]
    return markdown(head, lines) if lines else ""


def depth_table(rows: Sequence[Row], place: tuple[str, ...] = ("depth", "pooled")) -> str:
    """Table 2: a column for each network that predicts depth."""
    shown = [row for row in rows if "depth" in row.tasks or not row.tasks]
    if place[0] == "tiles" and not _any(shown, *place, "rmse"):
        return ""
    lines = [
        [measure.title, *(cell(row, (*place, measure.key), measure) for row in shown)] for measure in DEPTH_MEASURES
    ]
    return markdown(["", *(row.name for row in shown)], lines) if shown else ""


def _other_cap(rows: Sequence[Row], cap: str) -> str:
    """Table 2 with another cap, where that makes a difference."""
    differs = any(
        row.values("depth", cap, "pooled", measure.key) != row.values("depth", "pooled", measure.key)
        for row in rows
        for measure in DEPTH_MEASURES
    )
    return depth_table(rows, ("depth", cap, "pooled")) if differs else ""


def gain_table(rows: Sequence[Row]) -> str:
    """Relative gain in percent of each network of two tasks; above zero is better."""
    measures = (*LABEL_MEASURES, *DEPTH_MEASURES)
    lines = []
    for row in rows:
        singles = baselines(row, rows)
        if singles:
            found = gains(row, rows)
            against = ", ".join(single.name for single in singles.values())
            values = [NOT_DONE if gain is None else f"{100 * gain:+.1f}" for gain in found.values()]
            lines.append([row.name, against, *values])
    return markdown(["network", "against", *(measure.title for measure in measures), "whole"], lines) if lines else ""


def cost_table(rows: Sequence[Row]) -> str:
    """Parameters, MACs and median time; of the first run of each network."""
    costs = [(row, row.evaluations[0].cost if row.evaluations else None) for row in rows]
    if not any(cost for _, cost in costs):
        return ""
    lines = [
        [row.name, *([NOT_DONE] * 4 if cost is None else [
            f"{cost.width}x{cost.height}", f"{cost.parameters / 1e6:.2f}", f"{cost.macs / 1e9:.2f}", f"{cost.ms:.1f}",
        ])]
        for row, cost in costs
    ]  # fmt: skip
    measured = {(cost.device, cost.images, len(cost.together)) for _, cost in costs if cost is not None}
    notes = [
        f"{images} images{' of each, in turns' if together > 1 else ''} on {device}"
        for device, images, together in sorted(measured)
    ]
    note = (
        "MACs: half of what `torch.utils.flop_counter.FlopCounterMode` counts. Time: median in PyTorch, "
        f"post-processing included; {'; '.join(notes)}."
    )
    return markdown(["network", "size (px)", "parameters (M)", "GMAC", "ms"], lines) + "\n\n" + note


def class_table(rows: Sequence[Row]) -> str:
    """IoU in percent, a row for each class and a column for each network that predicts labels."""
    shown = [row for row in rows if "labels" in row.tasks or not row.tasks]
    names = [
        name
        for row in shown
        for evaluation in row.evaluations
        for name in evaluation.figures.get("labels", {}).get("iou", {})
    ]
    percent = Measure("labels", "iou", "", True, 100, 1)
    lines = [[name, *(cell(row, ("labels", "iou", name), percent) for row in shown)] for name in dict.fromkeys(names)]
    return markdown(["class", *(row.name for row in shown)], lines) if lines else ""


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines))


def _runs(row: Row) -> str:
    done = len(row.evaluations)
    return f"{done}" if done == row.planned else f"{done} of {row.planned}"


def _any(rows: Sequence[Row], *places: str) -> bool:
    return any(row.mean(*places) is not None for row in rows)
