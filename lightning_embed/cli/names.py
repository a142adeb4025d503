"""What settings and losses are called elsewhere, and what they are called here."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

SETTINGS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate", "learningrate"),
    "rank": ("r", "lora_r", "lora_rank"),
    "alpha": ("lora_alpha",),
    "dropout": ("lora_dropout",),
    "targets": ("target_modules", "target", "modules"),
    "max_length": ("max_seq_length", "max_seq_len", "max_len", "max_tokens_per_text", "model_max_length", "truncate"),
    "model": (
        "model_name_or_path",
        "model_name",
        "name_or_path",
        "pretrained",
        "pretrained_model_name_or_path",
        "path",
        "name",
        "hf_id",
    ),
    "path": ("file", "files", "data_files", "data_path", "dataset", "name_or_path"),
    "pooling": ("pooling_mode", "pool", "pooling_type"),
    "dim": ("dims", "embedding_dim", "dimension", "dimensions", "output_dim", "truncate_dim", "hidden_size"),
    "layers": ("num_layers", "num_hidden_layers", "keep_layers"),
    "temperature": ("tau", "temp", "scale", "logit_scale"),
    "weight": ("lambda", "coefficient", "coef", "loss_weight"),
    "global_batch_size": ("batch_size", "train_batch_size", "per_device_train_batch_size"),
    "eval_batch_size": ("per_device_eval_batch_size", "val_batch_size"),
    "train": ("train_data", "train_dataset", "train_file", "training", "data", "dataset", "path"),
    "validation": ("val", "dev", "valid", "eval", "eval_dataset", "validation_file", "val_data"),
    "num_workers": ("workers", "dataloader_num_workers"),
    "warmup_steps": ("warmup", "num_warmup_steps", "warmup_ratio"),
    "total_steps": ("num_training_steps",),
    "max_epochs": ("epochs", "num_epochs", "num_train_epochs", "n_epochs"),
    "max_steps": ("steps", "num_steps", "total_steps", "train_steps"),
    "devices": ("gpus", "num_gpus", "n_gpu", "num_processes"),
    "precision": ("fp16", "bf16", "amp", "mixed_precision"),
    "accumulate_grad_batches": ("gradient_accumulation_steps", "grad_accum", "accumulation_steps"),
    "gradient_clip_val": ("max_grad_norm", "clip_grad_norm", "grad_clip"),
    "log_every_n_steps": ("logging_steps", "log_every"),
    "val_check_interval": ("eval_steps", "eval_every"),
    "default_root_dir": ("output_dir", "out", "save_dir", "run_dir", "out_dir"),
    "every_n_steps": ("save_steps", "every_n_train_steps"),
    "save_top_k": ("save_total_limit",),
    "seed_everything": ("seed", "random_seed"),
    "ckpt_path": ("resume", "resume_from_checkpoint", "resume_from", "checkpoint_path", "ckpt"),
    "lr_scheduler": ("scheduler", "lr_scheduler_type", "schedule"),
    "losses": ("loss", "loss_fn", "criterion", "objective"),
    "optimizer": ("optim", "optimiser"),
    "rope_theta": ("rope_base",),
    "attention": ("attn_implementation",),
    "dtype": ("torch_dtype",),
    "checkpoint_layers": ("gradient_checkpointing", "activation_checkpointing"),
}
"""A setting here -> names that others have for it."""
LOSSES: dict[str, tuple[str, ...]] = {
    "InfoNCE": (
        *(
            "MultipleNegativesRankingLoss",
            "CachedMultipleNegativesRankingLoss",
            "MultipleNegativesSymmetricRankingLoss",
        ),
        *(
            "CachedMultipleNegativesSymmetricRankingLoss",
            "GISTEmbedLoss",
            "CachedGISTEmbedLoss",
            "NTXent",
            "NTXentLoss",
        ),
        *("NTXentCriterion", "SupConLoss", "ContrastiveLoss", "OnlineContrastiveLoss", "TripletLoss", "MNRL", "MNR"),
    ),
    "Distillation": (
        "EmbedDistillLoss",
        "MSELoss",
        "CosineEmbeddingLoss",
        "CosineDistillation",
        "EmbeddingDistillation",
    ),
    "KLDistillation": ("DistillKLDivLoss", "KLDivLoss", "KLLoss"),
    "MarginMSE": ("MarginMSELoss",),
    "CoSENT": ("CoSENTLoss", "CosineSimilarityLoss"),
    "AnglE": ("AnglELoss", "AngleLoss"),
    "Matryoshka": ("MatryoshkaLoss", "Matryoshka2dLoss"),
    "GOR": ("GlobalOrthogonalRegularizationLoss", "GORLoss"),
}
"""A loss here -> classes elsewhere that do what it does."""

VALUES: dict[str, tuple[str, ...]] = {
    "16-mixed": ("fp16", "float16", "half", "amp", "16bit"),
    "bf16-mixed": ("bfloat16", "bf16mixed"),
    "32-true": ("fp32", "float32", "full"),
    "mean": ("average", "avg", "mean_pooling"),
    "last_token": ("last", "lasttoken", "eos"),
    "cls": ("first", "cls_token"),
}
"""A choice here -> what others call it."""


def here(name: str, known: Collection[str], table: dict[str, tuple[str, ...]] = SETTINGS) -> str | None:
    """What a name from elsewhere, or a misspelt one, is called here; None if nothing is near.

    Args:
        name: As given.
        known: The names that there are.
        table: A name here -> its names elsewhere.
    """
    low = name.lower()
    for one, others in table.items():
        if one in known and low in (other.lower() for other in others) and name not in known:
            return one
    for one in known:
        if one.lower() == low:
            return one
    return nearest(name, known)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that looks most like one.

    Args:
        name: As given.
        known: The names that there are.
        cutoff: How alike they must be, 0 to 1.
    """
    lower = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), lower, n=1, cutoff=cutoff)
    return lower[found[0]] if found else None
