"""The model card: what an engine is for, where it comes from, how good it is and where it fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from hybridnet_ros.engine.manifest import Manifest
from training.config import ConfigError, RunConfig
from training.focal import FRAMES

_TEMPLATE = """\
# {{ m.network }}

{{ about }}

![Image, depth and labels of validation images]({{ m.network }}.jpg)

Rows by their place in the validation sets, not by their looks: camera image, depth from \
{{ "%g m (bright) to %g m"|format(*config.engine.shown_depth) }} (dark) and labels.

| | |
|---|---|
| File | `{{ m.onnx }}`, {{ "%.1f"|format(megabytes) }} MB, computes in {{ m.precision }} from weights in 8 and \
16 bits, SHA-256 `{{ m.onnx_sha256[:16] }}…` |
| Classes | {{ m.labels.names|length }} ({{ m.labels.name }}): {{ m.labels.names|join(", ") }} |
| Sizes | any camera size; the network sees about {{ m.input.pixels }} pixels, sides multiples of \
{{ m.input.multiple }} ({{ m.input.width }}x{{ m.input.height }} in training) |
| Depth | metres along the optical axis, {{ m.depth_range[0] }} to {{ m.depth_range[1] }} m at the canonical focal \
length of {{ m.fx }} px at network size; scaled by the camera's own |
| Trained | {{ m.training.steps }} steps of {{ m.training.details["batch"] }} images from `{{ m.training.recipe }}`, \
seed {{ m.training.seed }}, code {{ m.training.commit|short }}, on {{ m.training.details["device"] }}\
{% if m.training.details["changes"] %}; with `{{ m.training.details["changes"]|join("`, `") }}`{% endif %}\
{% if m.training.details["started_from"] %}; from the weights with the SHA-256 \
{{ m.training.details["started_from"][:12] }}…{% if m.training.details["started_from_blocks"] %} \
({{ m.training.details["started_from_blocks"]|join(", ") }}){% endif %}{% endif %}\
{% for again in m.training.details["resumed"] %}; continued from step {{ again.step }} with {{ again.commit|short }}\
{% endfor %}; kept are the {{ kept }} |
| Parity with PyTorch | {{ m.parity.images }} real images: labels differ on \
{{ "%.4f"|format(100 * m.parity.measured["labels_disagreement"]) }} % of pixels, depth by \
{{ "%.1e"|format(m.parity.measured["depth_abs_rel"]) }} relative |
| Licence | {{ m.licence }} |

## Accuracy

Measured on this very file by `{{ m.accuracy[0].command }}`, on data that \
training never saw{% if not config.reported and m.training.details["weights"] == "best" %}, but by which the weights \
were chosen{% endif %}.

{% if labels -%}
Labels, {{ config.claims.labels.about }}{% if labels.iou|length != m.labels.names|length %} \
(the network's {{ m.labels.names|length }} are mapped){% endif %}, full image: \
**mIoU {{ "%.3f"|format(labels.mean_iou) }}**, global accuracy \
{{ "%.3f"|format(labels.global_accuracy) }}, class accuracy {{ "%.3f"|format(labels.class_accuracy) }}.

| {{ labels.iou|join(" | ") }} |
|{{ "---|" * labels.iou|length }}
|{% for value in labels.iou.values() %} {{ "absent" if value is none else "%.3f"|format(value) }} |{% endfor %}


{% endif -%}
{% if depth -%}
Depth, `{{ config.claims.depth.path }}`, {{ config.claims.depth.about }}, \
{{ "up to %g m"|format(depth.cap_m) if depth.cap_m else "uncapped" }}, full image, the network's own metric scale:

| | AbsRel | SqRel | RMSE (m) | RMSE log | SI log | delta1 | delta2 | delta3 |
|---|---|---|---|---|---|---|---|---|
{% for name, row in (("pooled", depth.pooled), ("mean over images", depth.per_image)) -%}
| {{ name }} | {{ "%.3f"|format(row.abs_rel) }} | {{ "%.3f"|format(row.sq_rel) }} | {{ "%.2f"|format(row.rmse) }} | \
{{ "%.3f"|format(row.rmse_log) }} | {{ "%.3f"|format(row.si_log) }} | {{ "%.3f"|format(row.delta1) }} | \
{{ "%.3f"|format(row.delta2) }} | {{ "%.3f"|format(row.delta3) }} |
{% endfor %}
{% endif -%}
{% if flicker -%}
## From frame to frame

{{ config.claims.sequence.about }}, pixels followed by optical flow: the label of \
**{{ "%.1f"|format(100 * flicker.labels_changed) }} %** of them changes from one frame to the next, and depth by \
**{{ "%.1f"|format(100 * flicker.depth_change) }} %** (median; the camera's own motion included). \
`python -m training.flicker {{ config.engine.name }} --data DATA`

{% endif -%}
{% if focal -%}
## Resized and cropped

The same frames as other cameras would have taken them, each with its own focal length: the metres should stay. \
Medians over {{ focal_frames }} frames, pixel by pixel against the whole image, which is no truth either. \
`python -m training.focal {{ config.engine.name }} --data DATA`

| view | metres, times those of the whole image | apart by | labels the same |
|---|---|---|---|
{% for name, view in focal.items() -%}
| {{ name }} | {{ "%.2f"|format(view.depth_ratio) }} | {{ "%.0f"|format(100 * view.depth_differs) }} % | \
{{ "%.0f"|format(100 * view.labels_same) }} % |
{% endfor %}
{% endif -%}
## Where it fails

![Image, depth and labels of the worst images]({{ m.network }}_failures.jpg)

Chosen by score, from above\
{% if "source of training labels" in failures|join %}; what a teacher labelled was seen in training, and fails all the \
same{% endif %}:

{% for why in failures -%}
{{ loop.index }}. {{ why }}
{% endfor %}
## Training data

| data | source | used for | licence |
|---|---|---|---|
{% for source in m.training.data -%}
| {{ source.name }} | {{ source.source }} | {{ source.use }} | {{ source.licence }} |
{% endfor %}
{{ limits }}
"""

_KEPT = {
    "best": "averaged weights that score best on the validation data",
    "average": "averaged weights of the last step, best on the validation data or not",
    "last": "weights of the last step, not averaged",
}


def _short(commit: str) -> str:
    """Of a commit what tells it from others, and whether files were changed beside it."""
    return commit[:12] + ("-dirty" if commit.endswith("-dirty") else "")


def read_prose(config: RunConfig) -> str:
    """What only a person can say of a network, `configs/NAME.card.md`; ConfigError where it is not there."""
    path = Path(__file__).parent / "configs" / f"{config.engine.name}.card.md"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"engine.name: there is no {path}: write there what the network is for, and its limits"
        ) from error


def render_card(
    manifest: Manifest, config: RunConfig, figures: dict[str, dict[str, Any]], size: int, failures: Sequence[str]
) -> str:
    """The card in Markdown; what only a person can say is split at its first heading.

    Args:
        manifest: of the exported engine.
        config: of its run.
        figures: of `training.evaluate.evaluate`; `flicker` and `focal` of the functions of these names.
        size: of the ONNX file, bytes.
        failures: why each row of the picture of failures is there.
    """
    about, heading, limits = read_prose(config).partition("\n## ")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["short"] = _short
    return environment.from_string(_TEMPLATE).render(
        m=manifest,
        config=config,
        labels=figures.get("labels"),
        depth=figures.get("depth"),
        failures=failures,
        flicker=figures.get("flicker"),
        focal=figures.get("focal"),
        focal_frames=FRAMES,
        megabytes=size / 1e6,
        about=about.strip(),
        kept=_KEPT[manifest.training.details["weights"]],
        limits=(heading + limits).strip(),
    )
