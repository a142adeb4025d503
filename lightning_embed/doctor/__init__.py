"""The doctor: what a configuration and its data amount to, reported before anything is trained."""

from lightning_embed.doctor.facts import Diagnosis
from lightning_embed.doctor.page import print_diagnosis
from lightning_embed.doctor.run import examine

__all__ = ["Diagnosis", "examine", "print_diagnosis"]
