"""Going on from a checkpoint with the weights that it holds."""

from __future__ import annotations


class ResumesWeights:
    """For Trainer subclasses, named before the Trainer: reads a checkpoint's weights by name.

    transformers saves LLaVA and Qwen2-VL under their published weight names, which differ from the
    model's own. `Trainer` (5.24) reads them back by the model's names, finds none, says so in a
    warning and goes on from the weights that were there. `from_pretrained` translates the names.
    """

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        model = self.model if model is None else model
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        if sharded or hasattr(model, "peft_config"):  # an adapter's names are its own
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(saved.state_dict())
