"""The plain training loop of the goldens: what our trainer must reproduce, in as few lines as it can be said."""

import dataclasses

import torch

STEPS = 10
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
EPSILON = 1e-8
WEIGHT_DECAY = 0.01
MAXIMUM_NORM = 1.0
IGNORED = -100


@dataclasses.dataclass
class Run:
    losses: list[float]
    gradient_norms: list[float]
    tokens: list[int]


def loss_sum(model: torch.nn.Module, ids: list[int], labels: list[int]) -> tuple[torch.Tensor, int]:
    """Sum of cross entropies and count of unmasked targets: position t predicts labels[t + 1]."""
    logits = model(torch.tensor([ids])).logits[0, :-1]
    targets = torch.tensor(labels[1:])
    total = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return total, int((targets != IGNORED).sum())


def train(model: torch.nn.Module, steps: list[list[dict]]) -> Run:
    """steps[s] is a list of micro-batches, each one sequence {inputIds, labels}.

    The loss of a step is Σ sums / Σ counts over its micro-batches (token-weighted: equal to one large batch),
    recorded before the update. One AdamW group holds every trainable tensor, norms and biases included.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, weight_decay=WEIGHT_DECAY, foreach=False
    )
    run = Run([], [], [])
    for batches in steps:
        count = sum(sum(label != IGNORED for label in batch["labels"][1:]) for batch in batches)
        value = 0.0
        for batch in batches:
            total, _ = loss_sum(model, batch["inputIds"], batch["labels"])
            (total / count).backward()
            value += float(total.detach().double() / count)
        norm = torch.nn.utils.clip_grad_norm_(parameters, MAXIMUM_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        run.losses.append(value)
        run.gradient_norms.append(float(norm))
        run.tokens.append(count)
    return run


def conventions() -> dict:
    return {
        "loss": "sum of cross entropies over unmasked targets / their count; position t predicts labels[t + 1]",
        "accumulation": "the count is taken over all micro-batches of a step",
        "optimizer": "torch.optim.AdamW, one group of all trainable tensors, decoupled weight decay before the update",
        "learningRate": LEARNING_RATE,
        "schedule": "constant",
        "betas": list(BETAS),
        "epsilon": EPSILON,
        "weightDecay": WEIGHT_DECAY,
        "maximumGradientNorm": MAXIMUM_NORM,
        "clipping": "gradients times min(1, maximum / (norm + 1e-6)), L2 norm over all trainable tensors",
        "dropout": 0,
        "attention": "eager, float32",
    }
