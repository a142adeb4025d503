"""Encoders: a transformers backbone that turns ragged tokens into vectors, its adapter, packing, copies, and the frozen teacher."""

from lightning_embed.encoders.backbone import BackboneSettings
from lightning_embed.encoders.lora import Adapter
from lightning_embed.encoders.static_encoder import StaticEncoder
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder

__all__ = ["Adapter", "BackboneSettings", "FrozenEncoder", "StaticEncoder", "StoredTeacher", "TextEncoder"]
