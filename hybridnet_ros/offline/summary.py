"""From the parts of a job to its `Evaluation`: sums merged in the order of the recording, and frames worth a look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hybridnet_ros.engine.manifest import Manifest
from hybridnet_ros.offline.evaluation import COMPLETE, PARTIAL, EngineRecord, Evaluation, Highlight, Run, StreamRecord
from hybridnet_ros.offline.figures import PREDICTED, REFERENCE, Consistency, Figures, FrameFigures, Matches
from hybridnet_ros.offline.job import Item, Job, Part
from hybridnet_ros.offline.measures import Tally, mean, mean_of_images
from hybridnet_ros.scene.labels import LabelSet

_WORST, _LEAST = 4, 2
_APART = 10  # frames between two highlights of one kind: neighbours look alike


@dataclass(frozen=True)
class Summary:
    """An evaluation, and where each of its frames comes from: its item and its place in that."""

    evaluation: Evaluation
    places: tuple[tuple[Item, int], ...]


def summarise(job: Job, engine: EngineRecord, manifest: Manifest, run: Run, problems: Sequence[str]) -> Summary:
    """All figures of what is done of a job; `problems` are those that stopped it."""
    frames: list[FrameFigures] = []
    places: list[tuple[Item, int]] = []
    streams: list[StreamRecord] = []
    engine_ms: list[float] = []
    total = _Collected(job, manifest.labels)
    whole = True
    for number, task in enumerate(job.tasks):
        own = _Collected(job, manifest.labels)
        offset, first = 0, len(frames)
        notes: Counter[str] = Counter()
        for item in (item for item in job.items if item.task == number):
            if not job.part_path(item).is_file():
                whole = False
                continue
            part = Part.load(job.part_path(item))
            whole &= part.whole and not part.damaged
            notes += part.problems
            engine_ms += part.engine_ms
            for each in (own, total):
                each.add(part)
            places += [(item, frame.number) for frame in part.frames]
            frames += [replace(frame, number=offset + frame.number) for frame in part.frames]
            offset += part.images
        stream = task.stream
        streams.append(
            StreamRecord(
                source=stream.path,
                kind=stream.kind,
                topic=stream.topic,
                type=stream.type,
                fingerprint=stream.fingerprint,
                camera=stream.camera,
                depth_reference=None if task.depth is None else str(task.depth),
                label_reference=None if task.labels is None else str(task.labels),
                figures=own.figures([frames[first:]], task.labels.labels if task.labels else None),
                problems=tuple(f"{text} ({count} times)" if count > 1 else text for text, count in notes.items()),
            )
        )
    by_stream = [[frame for frame in frames if frame.stream == number] for number in range(len(job.tasks))]
    label_sets = [task.labels.labels for task in job.tasks if task.labels]
    run = replace(
        run,
        frames_per_s=len(frames) / run.seconds if run.seconds > 0 else None,
        engine_ms_p50=_percentile(engine_ms, 50),
        engine_ms_p95=_percentile(engine_ms, 95),
    )
    evaluation = Evaluation(
        status=COMPLETE if whole and not problems else PARTIAL,
        problems=tuple(problems),
        engine=engine,
        settings=job.settings,
        streams=tuple(streams),
        total=total.figures(by_stream, label_sets[0] if label_sets else None),
        frames=tuple(frames),
        highlights=highlights(frames),
        run=run,
    )
    return Summary(evaluation, tuple(places))


def highlights(frames: Sequence[FrameFigures]) -> tuple[Highlight, ...]:
    """Frames to look at, still without pictures."""
    chosen: list[Highlight] = []

    def choose(what: str, badness: Callable[[FrameFigures], float | None], typical: bool) -> None:
        scored = [(value, i) for i, frame in enumerate(frames) if (value := badness(frame)) is not None]
        ranked = [i for _, i in sorted(scored, key=lambda each: (-each[0], each[1]))]
        apart: list[int] = []
        for i in ranked:
            near = (j for j in apart if frames[j].stream == frames[i].stream)
            if all(abs(frames[j].number - frames[i].number) >= _APART for j in near):
                apart.append(i)
            if len(apart) == (_WORST if typical else _LEAST):
                break
        if typical:
            chosen.extend(Highlight(i, f"worst {what}", ()) for i in apart)
            chosen.extend(Highlight(i, f"typical {what}", ()) for i in ranked[len(ranked) // 2 :][:1])
            chosen.extend(Highlight(i, f"best {what}", ()) for i in ranked[-1:])
        else:
            chosen.extend(Highlight(i, what, ()) for i in apart)

    choose("depth", lambda frame: frame.depth.abs_rel if frame.depth else None, typical=True)
    choose("labels", lambda frame: None if frame.mean_iou is None else -frame.mean_iou, typical=True)
    choose("least confident", lambda frame: -frame.confidence, typical=False)
    choose("least steady", lambda frame: None if frame.steady_labels is None else -frame.steady_labels, typical=False)
    return tuple(chosen)


def engine_record(name: str, manifest: Manifest, description: str, runtime: str, threads: int) -> EngineRecord:
    """Which engine a job uses: as named on the command line, and as it was opened."""
    training = manifest.training
    return EngineRecord(
        name=name,
        network=manifest.network,
        sha256=manifest.onnx_sha256,
        precision=manifest.precision,
        runtime=runtime,
        description=description,
        threads=threads,
        fx=float(manifest.fx),
        label_set=manifest.labels.name,
        class_names=manifest.labels.names,
        class_colors=manifest.labels.colors,
        licence=manifest.licence,
        trained=f"{training.recipe}, {training.steps} steps, seed {training.seed}, commit {training.commit[:10]}",
        shown_depth=manifest.shown_depth,
    )


class _Collected:
    """Sums over the parts of a stream, or of all streams."""

    def __init__(self, job: Job, labels: LabelSet) -> None:
        self._job = job
        self._labels = labels
        self._tally = Tally(len(labels), len(job.settings.bands) - 1)
        self._failed = 0

    def add(self, part: Part) -> None:
        self._tally.merge(part.tally)
        self._failed += part.failed

    def figures(self, streams: Sequence[Sequence[FrameFigures]], true_labels: LabelSet | None) -> Figures:
        """Figures of the frames, given stream by stream; `true_labels` are the classes of the label reference."""
        tally, settings = self._tally, self._job.settings
        frames = [frame for stream in streams for frame in stream]
        stamps = [[frame.stamp_ns for frame in stream] for stream in streams if stream]
        duration_s = math.fsum((max(each) - min(each)) / 1e9 for each in stamps)
        intervals = sum(len(each) - 1 for each in stamps)
        steady_labels = [frame.steady_labels for frame in frames if frame.steady_labels is not None]
        steady_depth = [frame.steady_depth for frame in frames if frame.steady_depth is not None]
        distance = REFERENCE if any(task.depth is not None for task in self._job.tasks) else PREDICTED
        depth_matches = Matches(tally.depth_found, tally.depth_missed)
        label_matches = Matches(tally.labels_found, tally.labels_missed)
        return Figures(
            frames=len(frames),
            failed=self._failed,
            duration_s=duration_s,
            rate_hz=intervals / duration_s if duration_s > 0 else None,
            confidence=mean([frame.confidence for frame in frames]),
            finite_depth=tally.finite / tally.pixels if tally.pixels else None,
            classes=tally.class_figures(self._labels.names),
            depth=tally.depth.figures(0) if tally.depth is not None else None,
            depth_per_image=mean_of_images(frames),
            bands=tally.band_figures(settings.bands),
            segmentation=tally.segmentation_figures(true_labels, settings.bands, distance),
            consistency=Consistency(mean(steady_labels), mean(steady_depth), len(steady_labels)),
            depth_matches=depth_matches if depth_matches.matched + depth_matches.unmatched else None,
            label_matches=label_matches if label_matches.matched + label_matches.unmatched else None,
        )


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
