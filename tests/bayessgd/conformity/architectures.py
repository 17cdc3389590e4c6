"""The rows of the table: small networks of every kind, their inputs and targets, and what they return."""

import copy
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from bayessgd.likelihoods import Categorical, Gaussian

N = 12


@dataclass(frozen=True)
class Row:
    """One architecture.

    Attributes:
        make: A fresh network.
        x: Inputs of N data, from a generator.
        y: Their targets.
        likelihood: From outputs to the distribution of targets.
        output: Picks the tensor from what the network returns.
        loops: Whether vmap cannot run it: jobs are done one by one and say so once.
        refused: From job to the words with which it is refused.
        sampled: Whether NUTS is tried.
    """

    make: Callable[[], nn.Module]
    x: Callable[[torch.Generator], Any]
    y: Callable[[torch.Generator], Tensor]
    likelihood: Any = field(default_factory=Categorical)
    output: Callable[[Any], Tensor] | None = None
    loops: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    sampled: bool = True


def features(generator):
    return torch.randn(N, 3, generator=generator)


def images(generator):
    return torch.randn(N, 1, 6, 6, generator=generator)


def sequences(generator):
    return torch.randn(N, 5, 3, generator=generator)


def tokens(generator):
    return torch.randint(1, 11, (N, 5), generator=generator)


def padded(generator):
    ids = tokens(generator)
    lengths = torch.randint(2, 6, (N, 1), generator=generator)
    return {"ids": ids, "padding": torch.arange(5) >= lengths}


def attended(generator):
    ids = tokens(generator)
    lengths = torch.randint(2, 6, (N, 1), generator=generator)
    return {"input_ids": ids, "attention_mask": (torch.arange(5) < lengths).long()}


def labels(generator):
    return torch.randint(2, (N,), generator=generator)


def numbers(generator):
    return torch.randn(N, 2, generator=generator)


def next_tokens(generator):
    found = torch.randint(1, 11, (N, 5), generator=generator)
    found[:, 3:] = -100
    return found


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 2)

    def forward(self, x):
        return self.second(x + self.first(self.norm(x)).relu())


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell, self.head = kind(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 2)

    def forward(self, ids, padding):
        hidden = self.encoder(self.embed(ids), src_key_padding_mask=padding)
        return self.head(hidden[:, 0])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.body = nn.Embedding(11, 4), nn.Linear(4, 4)
        self.decode = nn.Linear(4, 11, bias=False)
        self.decode.weight = self.embed.weight

    def forward(self, ids):
        return self.decode(self.body(self.embed(ids)).tanh())


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Bilinear(3, 3, 2)

    def forward(self, x, z):
        return self.left(x) + self.right(x, z)


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


class Returns(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.body, self.head, self.kind = nn.Linear(3, 4), nn.Linear(4, 2), kind

    def forward(self, x):
        hidden = self.body(x).tanh()
        return self.kind(logits=self.head(hidden), hidden=hidden)


class Shared(nn.Module):
    """One module at two places."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.again = self.layer
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.again(self.layer(x).tanh()))


class Counting(nn.Module):
    """It follows its outputs in a buffer that it binds anew, and its inputs in one that it writes into."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("level", torch.tensor(1.0))
        self.register_buffer("seen", torch.zeros(3))
        self.last = None

    def forward(self, x):
        out = self.layer(x) * (1 + 0.1 * self.level)
        self.level = 0.9 * self.level + 0.1 * out.mean().detach()
        self.seen += x.mean(0)
        self.last = out.detach()
        return out


class Adapted(nn.Module):
    """A frozen layer with a low-rank adapter, by hand."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(3, 4).requires_grad_(False)
        self.down, self.up = nn.Linear(3, 2, bias=False), nn.Linear(2, 4, bias=False)
        self.head = nn.Linear(4, 2).requires_grad_(False)

    def forward(self, x):
        return self.head((self.base(x) + self.up(self.down(x))).tanh())


def mlp():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def convolutions(norm):
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 2))


def spectral():
    return nn.Sequential(spectral_norm(nn.Linear(3, 6)), nn.Tanh(), spectral_norm(nn.Linear(6, 2)))


def embedded():
    return nn.Sequential(nn.Embedding(11, 3, max_norm=0.5), nn.Flatten(), nn.Linear(15, 2))


ROWS = {
    "MLP": Row(mlp, features, labels),
    "regression": Row(mlp, features, numbers, Gaussian((0.5, 2.0))),
    "CNN, BatchNorm": Row(
        lambda: convolutions(nn.BatchNorm2d(4)), images, labels, refused={"per example": "call model.eval"}
    ),
    "CNN, GroupNorm": Row(lambda: convolutions(nn.GroupNorm(2, 4)), images, labels),
    "maps": Row(
        lambda: nn.Conv2d(1, 3, 3, padding=1),
        images,
        lambda g: torch.randint(3, (N, 6, 6), generator=g),
        Categorical(class_dim=1),
    ),
    "residual": Row(Residual, features, labels),
    "LSTM": Row(lambda: Recurrent(nn.LSTM), sequences, labels, loops=True),
    "GRU": Row(lambda: Recurrent(nn.GRU), sequences, labels, loops=True),
    "RNN": Row(lambda: Recurrent(nn.RNN), sequences, labels, loops=True),
    "transformer, padding": Row(Encoder, padded, labels, sampled=False),
    "tied embeddings": Row(Tied, tokens, next_tokens, sampled=False),
    "renormalised embedding": Row(embedded, tokens, labels, loops=True, refused={"NUTS": "max_norm"}),
    "weight norm": Row(
        lambda: nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.Tanh(), weight_norm(nn.Linear(4, 2))),
        features,
        labels,
    ),
    "spectral norm": Row(spectral, features, labels, loops=True),
    "several inputs": Row(Two, lambda g: (features(g), features(g)), labels),
    "dict of inputs": Row(Two, lambda g: {"x": features(g), "z": features(g)}, labels),
    "dict output": Row(lambda: Returns(dict), features, labels, output=lambda o: o["logits"]),
    "dataclass output": Row(lambda: Returns(Answer), features, labels, output=lambda o: o.logits),
    "shared module": Row(Shared, features, labels),
    "counting": Row(Counting, features, labels, loops=True),
    "adapters": Row(Adapted, features, labels),
}


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    return BertForSequenceClassification(config)


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2))


def lora():
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's own about transformers
        return get_peft_model(bert(), config)


if importlib.util.find_spec("transformers"):
    # Its masks are looked at on the way, which vmap over chains or data cannot follow.
    logits = {"output": lambda o: o.logits, "sampled": False, "loops": True}
    ROWS["BERT"] = Row(bert, attended, labels, **logits)
    ROWS["GPT-2"] = Row(gpt2, attended, next_tokens, **logits)
    if importlib.util.find_spec("peft"):
        ROWS["LoRA by PEFT"] = Row(lora, attended, labels, **logits)


def built(row: Row, seed: int = 0) -> nn.Module:
    """Return a network of the row from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return copy.deepcopy(row.make())
