"""A short run in each of several processes, for test_distributed: `torchrun two_ranks.py LOSS OUT`."""

import sys

import torch
import torch.distributed as dist

from gan import GAN, augment, losses, networks, penalties

KINDS = {
    "rpgan": (losses.RelativisticPairing(), (penalties.R1(0.1), penalties.GradientPenalty())),
    "dv": (losses.DonskerVaradhan(), (penalties.DRAGAN(),)),
    "sinkhorn": (losses.Sinkhorn(), ()),
    "learned": (losses.Sinkhorn(learned_cost=True), ()),
}


def run(name: str, *, steps: int = 5, checkpoint: str | None = None) -> GAN:
    """Train by one of the kinds of loss."""
    loss, punished = KINDS[name]
    critic = (
        None
        if name == "sinkhorn"
        else networks.mlp_critic(2, hidden=(16,), output_dim=4 if name == "learned" else 1)
    )
    generator = networks.mlp_generator(2, latent_dim=3, hidden=(16,), bounded=False)
    data = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    model = GAN(generator, critic, loss=loss, penalties=punished)
    return model.fit(
        data,
        steps=steps,
        batch_size=16,
        seed=0,
        device="cpu",
        progress=False,
        augment=augment.Noise(0.1),
        checkpoint=checkpoint,
        checkpoint_every=2,
    )


if __name__ == "__main__":
    dist.init_process_group("gloo")
    trained = {name: run(name) for name in KINDS}
    if dist.get_rank() == 0:
        torch.save({name: model.generator.state_dict() for name, model in trained.items()}, sys.argv[1])
    dist.destroy_process_group()
