"""Optimizers that treat the two matrices of an adapter differently: LoRA+ (arXiv 2402.12354), LoRA-FA (2308.03303)."""

from typing import Any

from transformers import Trainer

from fitune.core.errors import UserError
from fitune.core.recipe import Recipe


def own_optimizer(recipe: Recipe, model: Any, args: Any) -> Any:
    """The optimizer that PEFT makes for such a recipe; None where the trainer makes it. args: the trainer's.

    Raises UserError for LoRA-FA on the experts of a mixture.
    """
    from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
    from peft.tuners.lora import ParamWrapper

    lora, train = recipe.lora, recipe.train
    if train.optimizer == "lora_fa":
        if any(isinstance(module, ParamWrapper) for module in model.modules()):
            hint = 'Set train.optimizer = "adamw_8bit", or name no experts in lora.target_modules.'
            raise UserError("train.optimizer = lora_fa can't train an adapter on the experts of a mixture.", hint)
        made = create_lorafa_optimizer(model, lora.r, round(lora.alpha), train.rate, train.weight_decay)
        made.register_load_state_dict_post_hook(put_states_beside_weights)
        return made
    if lora.lr_ratio == 1:
        return None
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(args, model)
    rates = {"lr": train.rate, "loraplus_lr_ratio": lora.lr_ratio, "loraplus_lr_embedding": train.rate}
    return create_loraplus_optimizer(model, kind, **(settings | rates), loraplus_weight_decay=train.weight_decay)


def put_states_beside_weights(optimizer: Any) -> None:
    """Move states that were read from a checkpoint to the weights' device: torch does so with states of weights, but
    LoRA-FA's are kept by names."""
    device = optimizer.param_groups[0]["params"][0].device
    for state in optimizer.state.values():
        state.update({key: value.to(device) for key, value in state.items() if hasattr(value, "to")})
