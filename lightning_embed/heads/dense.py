"""Layers between a backbone and its vector: a linear map with an activation, and a scaling to length 1."""

from torch import Tensor, eye, nn

from lightning_embed.heads.pooling import normalize

ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        nn.Identity,
        nn.Tanh,
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.SELU,
        nn.CELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Sigmoid,
        nn.LogSigmoid,
        nn.Softplus,
        nn.Softsign,
        nn.Hardtanh,
        nn.Hardswish,
        nn.Hardsigmoid,
    )
}
"""The activations that a `Dense` may have, by name, each with torch's defaults: a model's folder names one, and nothing is imported."""


class Dense(nn.Module):
    """a(Wx + b) in float32, of each token's vector or of each text's.

    Args:
        in_dim: Size of the vectors that go in.
        out_dim: Size of those that come out.
        bias: Whether there is a b.
        activation: a, a name in `ACTIVATIONS`.
    """

    def __init__(self, in_dim: int, out_dim: int, bias: bool = True, activation: str = "Identity") -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim, bias=bias)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, vectors: Tensor) -> Tensor:
        """Maps vectors.

        Args:
            vectors: (..., in_dim).

        Returns:
            (..., out_dim).
        """
        mapped: Tensor = self.activation(self.linear(vectors.to(self.linear.weight.dtype)))
        return mapped


class Normalize(nn.Module):
    """Scales vectors to length 1, in float32."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Scales vectors.

        Args:
            vectors: (..., D).
        """
        return normalize(vectors.float())


def linear_map(weight: Tensor, bias: Tensor | None = None) -> Dense:
    """A `Dense` without an activation that has these weights, frozen.

    Args:
        weight: (out_dim, in_dim) W.
        bias: (out_dim,) b; None: there is none.
    """
    made = Dense(weight.shape[1], weight.shape[0], bias is not None)
    made.linear.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return made.requires_grad_(False)


def first_entries(in_dim: int, dim: int) -> Dense:
    """A `Dense` that keeps the first entries of a vector.

    Args:
        in_dim: Size of the vector.
        dim: How many it keeps.
    """
    return linear_map(eye(dim, in_dim))
