"""The part of a line's configuration that says which processes compute, and on what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from pipeline.config_base import Section

Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|openvino|cuda:\d+)$")]
"""Where a network runs."""


class Workers(Section):
    """How many processes run a stage, and with how many threads each."""

    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that share the stage's parts."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Processor threads of each of them."""


class NetworkWorkers(Workers):
    """How many processes run a stage with a network, with how many threads each, and where."""

    devices: tuple[Device, ...] = ()
    """Devices that its workers take in turn, as in [cuda:0, cuda:1]; none: all model.device."""

    @model_validator(mode="after")
    def _every_device_has_a_worker(self) -> NetworkWorkers:
        wanted = len(self.devices)
        if wanted > self.workers:
            raise ValueError(
                f"{wanted} devices need {wanted} workers, one for each, and there are "
                f"{self.workers}: set workers to {wanted} or more, or name fewer devices"
            )
        return self

    def device_of(self, worker: int, otherwise: str) -> str:
        """The device of one worker, counted from 0; `otherwise` where none are listed."""
        return self.devices[worker % len(self.devices)] if self.devices else otherwise


class SegmentationWorkers(NetworkWorkers):
    """As for reconstruction, or `with: reconstruction` and nothing else."""

    with_: Annotated[Literal["reconstruction"] | None, Field(alias="with")] = None
    """Run in the processes of this stage, with their threads and devices; null: in its own."""

    @model_validator(mode="after")
    def _with_stands_alone(self) -> SegmentationWorkers:
        others = [name for name in type(self).model_fields if name in self.model_fields_set]
        if self.with_ is not None and others != ["with_"]:
            others.remove("with_")
            raise ValueError(
                f"it runs with {self.with_}, in those processes and with their settings: leave "
                f"out {', '.join(others)}; on the command line "
                f"--set 'stages.segmentation={{with: {self.with_}}}' does"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = dump(self)
        shared = written.pop("with_", None) or written.pop("with", None)
        return written if shared is None else {"with": shared}


class Stages(Section):
    """Processes and threads of the stages that compute."""

    preprocessing: Workers = Workers()
    reconstruction: NetworkWorkers = NetworkWorkers()
    segmentation: SegmentationWorkers = SegmentationWorkers()
    queue: Annotated[int, Field(ge=1, le=1000)] = 8
    """Frames that may wait between two stages, on each side of the connection."""

    @model_validator(mode="after")
    def _shared_processes_have_one_setting(self) -> Stages:
        """Who asks for the settings of segmentation gets those of the processes that run it."""
        if self.segmentation.with_ is None:
            return self
        settings = self.reconstruction.model_dump()
        segmentation = self.segmentation.model_copy(update=settings)
        return self.model_copy(update={"segmentation": segmentation})
