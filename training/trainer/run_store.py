"""Saves and loads runs: their records and their trained networks, each in a folder.

Knows nothing of how a network is trained.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from training.experiments import record
from training.experiments.record import Record
from training.models import checkpoint
from training.models.calibration import fit_temperature
from training.models.network import Network
from training.trainer.evaluation import predict
from training.trainer.resume import Resume
from training.trainer.run import RunSpec


@dataclass(frozen=True)
class RunStore:
    """Two folders: `records` has one JSON file per run, `checkpoints` one network per run."""

    records: Path
    checkpoints: Path

    def save(self, network: Network, made: Record) -> None:
        """Write the network, then the record, so that a run with a record is complete."""
        checkpoint.save(network, self.checkpoints / made.run_id)
        record.write(made, self.records)
        self._unfinished(made.run_id).unlink(missing_ok=True)

    def resume(self, spec: RunSpec) -> Resume:
        """Return the file with the state of this run while it is unfinished."""
        key = {name: one.indices_sha256 for name, one in spec.split_refs.items()}
        return Resume(self._unfinished(spec.run_id), json.dumps([spec.run_id, key]))

    def _unfinished(self, run_id: str) -> Path:
        return self.checkpoints / f"{run_id}.unfinished.safetensors"

    def load(self, spec: RunSpec) -> tuple[Network, Record] | None:
        """Return the network and the record of a completed run, or None if either is missing."""
        made = self.load_record(spec)
        folder = self.checkpoints / spec.run_id
        return (checkpoint.load(folder), made) if made and folder.is_dir() else None

    def load_record(self, spec: RunSpec) -> Record | None:
        """Return the record of a completed run, or None if it is missing or the run failed.

        A record of another split does not count, though its name is the same. Its network may
        have been trained on the test images of this run.

        Raises:
            RecordError: the file is damaged.

        """
        file = self.records / f"{spec.run_id}.json"
        if not file.exists():
            return None
        made = record.read(file)
        if made.status == "failed" or made.dataset.splits != spec.split_refs:
            return None
        return made

    def study_temperature(self, spec: RunSpec) -> float | None:
        """Return the temperature of a final run's study, or None if it is unknown.

        If the study's record is older than calibration, fit the temperature with its network.
        """
        study = replace(spec, stage="study")
        made = self.load_record(study)
        if made and made.calibration:
            return made.calibration.temperature
        loaded = self.load(study)
        if loaded is None:
            return None
        validation = study.part("validation")
        return fit_temperature(predict(loaded[0].to(spec.device), validation), validation.labels)
