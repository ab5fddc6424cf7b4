"""Text, through open_clip: its tokenizer and its text tower, trained along or pretrained, frozen.

open_clip is imported only when a prior that takes text is built or a text is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_PAD, _UNKNOWN, _START, _FIRST = 0, 1, 2, 3
_LETTERS_A_TOKEN = 32  # what is read of a text: a token is hardly ever longer


@dataclass(frozen=True)
class TextConfig:
    """A prior that is told a text. The sizes of the tower are our choice."""

    width: int = 192
    """Width of the text tower that is trained along."""
    layers: int = 3
    heads: int = 4
    context: int = 48
    """Tokens that are read of a text, its two ends included; what is longer is cut. CLIP: 77."""
    vocabulary: int = 0
    """Most tokens to know, of open_clip's 49,408: those most frequent in the training captions
    (see ``learn_vocabulary``), the others being one and the same "unknown". 0: all; then the
    embedding alone has 49,408 x width weights."""
    pretrained: str | None = None
    """``MODEL/TAG`` of open_clip's pretrained models (``ViT-B-32/laion2b_s34b_b79k``), or
    ``MODEL/PATH`` with a file of weights: that text tower, frozen, instead of one trained along.
    The other sizes are then not used."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"text.{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(
                f"text.width must be a multiple of text.heads, got {self.width} and {self.heads}"
            )
        if not 3 <= self.context <= 77:
            raise ValueError(f"text.context must be from 3 to 77 tokens, got {self.context}")
        if not 0 <= self.vocabulary < 49_408:
            raise ValueError(f"text.vocabulary must be from 0 to 49,407, got {self.vocabulary}")
        if self.pretrained is not None and "/" not in self.pretrained:
            raise ValueError(
                "text.pretrained must be MODEL/TAG or MODEL/PATH as open_clip names them, such as "
                f"ViT-B-32/laion2b_s34b_b79k, got {self.pretrained}"
            )

    def build(self, width: int) -> TextEncoder:
        """The encoder for a prior of this width."""
        return TextEncoder(self, width)


class Reading(NamedTuple):
    """How much of a text a prior takes in: tokens ``kept`` of those ``read``, and how many of the
    kept ones are ``unknown`` to it; ``whole`` is false where the text was cut."""

    kept: int
    read: int
    unknown: int
    whole: bool


def import_open_clip() -> None:
    """Import what texts need before one is read: it takes seconds, a picture hardly more."""
    from open_clip.transformer import TextTransformer  # noqa: F401

    _tokenizer()


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@lru_cache(maxsize=2**16)
def encode_text(text: str) -> tuple[int, ...]:
    """open_clip's token ids of a text, without its ends."""
    return tuple(_tokenizer().encode(text))


class TextEncoder(nn.Module):
    """Texts to a token each (B, L, C), with a mask, and to a vector (B, C)."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.null_token = nn.Parameter(torch.randn(width) * 0.02)
        self.null_vector = nn.Parameter(torch.zeros(width))
        if config.pretrained is not None:
            # Out of the state: a bundle names the frozen tower instead of holding it.
            self._frozen = [_pretrained_tower(config.pretrained)]
            inner = self._frozen[0].width
            pooled = self._frozen[0].output_dim
            self.tower = None
        else:
            from open_clip.transformer import TextTransformer

            size = _FIRST + config.vocabulary + 1 if config.vocabulary else 49_408
            inner = pooled = config.width
            self.tower = TextTransformer(
                context_length=config.context, vocab_size=size, width=inner, heads=config.heads,
                layers=config.layers, output_dim=None, output_tokens=True,
            )  # fmt: skip
            if config.vocabulary:
                self.register_buffer("known", torch.full((config.vocabulary,), -1))
        self.to_tokens = nn.Linear(inner, width)
        self.to_vector = nn.Linear(pooled, width)
        self._rows: dict[int, int] | None = None

    def leave_out_tokens(self) -> None:
        """For a network that takes the vector only: no weights for what it does not use."""
        self.null_token = self.to_tokens = None

    @property
    def context(self) -> int:
        """Tokens that are read of a text, its two ends included."""
        return self.config.context if self.tower is not None else self._frozen[0].context_length

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        """Before training: know the tokens that are most frequent in ``texts``."""
        if not self.config.vocabulary or self.tower is None:
            return
        counts: Counter[int] = Counter()
        for text in texts:
            counts.update(encode_text(self._begin_of(text)))
        # Of equally frequent tokens the lower id comes first, whatever the order of the texts.
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        self.known.fill_(-1)
        best = torch.tensor(sorted(ranked[: self.config.vocabulary]), dtype=torch.int64)
        self.known[: len(best)] = best
        self._rows = None

    def read(self, text: str) -> Reading:
        """How much of a text is taken in."""
        begin = self._begin_of(text)
        tokens = encode_text(begin)
        kept = tokens[: self.context - 2]
        unknown = sum(row == _UNKNOWN for row in self._row_of(kept)) if self._compact else 0
        whole = len(kept) == len(tokens) and begin == text
        return Reading(len(kept), len(tokens), unknown, whole)

    def check(self, texts: Sequence[str]) -> None:
        """Raises ValueError where a text is no string or no vocabulary was learnt."""
        if any(not isinstance(text, str) for text in texts):
            raise ValueError("a condition's texts must be strings")
        if self._compact and int(self.known.max()) < 0:
            raise ValueError(
                "this prior has learnt no vocabulary; call learn_vocabulary with the training "
                "captions first, or set text.vocabulary 0"
            )

    def forward(
        self, texts: Sequence[str] | None, dropped: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Tokens (B, L, C), mask bool (B, L), vectors (B, C) of texts.

        None, empty texts, and rows where ``dropped`` (B,) are null: one learned token.
        """
        batch = len(dropped)
        token, vector = self.null_token, self.null_vector
        said = [] if texts is None else [text if text.strip() else "" for text in texts]
        distinct = sorted({text for text in said if text})
        if not distinct:
            vectors = vector.expand(batch, -1)
            if token is None:
                return None, None, vectors
            mask = torch.ones(batch, 1, dtype=torch.bool, device=dropped.device)
            return token.expand(batch, 1, -1), mask, vectors
        # Each text goes through the tower once, however often it is asked for.
        tokens, mask, vectors = self._encode(distinct)
        place = {text: row for row, text in enumerate(distinct)}
        rows = torch.tensor([place.get(text, 0) for text in said], device=dropped.device)
        empty = torch.tensor([not text for text in said], device=dropped.device) | dropped
        vectors = torch.where(empty[:, None], vector.to(vectors.dtype), vectors[rows])
        if token is None:
            return None, None, vectors
        first = torch.arange(mask.shape[1], device=dropped.device) == 0
        tokens = torch.where(empty[:, None, None], token.to(tokens.dtype), tokens[rows])
        return tokens, torch.where(empty[:, None], first, mask[rows]), vectors

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor | None, Tensor, Tensor]:
        device = self.null_vector.device
        coded = [encode_text(self._begin_of(text))[: self.context - 2] for text in texts]
        compact = self._compact
        start, end = (_START, _FIRST + self.config.vocabulary) if compact else (49_406, 49_407)
        length = 2 + max(map(len, coded))
        ids = torch.full((len(texts), length), _PAD)
        for row, tokens in enumerate(coded):
            kept = self._row_of(tokens) if compact else tokens
            ids[row, : len(kept) + 2] = torch.tensor([start, *kept, end])
        mask = ids.ne(_PAD)
        if not compact:  # open_clip's padding is the id of "!", too
            ends = torch.tensor([len(tokens) + 2 for tokens in coded])
            mask = torch.arange(length) < ends[:, None]
        ids, mask = ids.to(device), mask.to(device)
        if self.tower is None:
            tower = self._frozen[0].to(device)
            padded = nn.functional.pad(ids, (0, self.context - length))
            with torch.no_grad():
                pooled, tokens = tower(padded)
            tokens = tokens[:, :length]
        else:
            # On a CPU the gradient of attention takes longer in bfloat16 than in float32.
            with torch.autocast("cpu", enabled=False):
                pooled, tokens = _run(self.tower, ids)
        dtype = self.to_vector.weight.dtype
        vectors = self.to_vector(pooled.to(dtype))
        return None if self.to_tokens is None else self.to_tokens(tokens.to(dtype)), mask, vectors

    @property
    def _compact(self) -> bool:
        return self.tower is not None and self.config.vocabulary > 0

    def _begin_of(self, text: str) -> str:
        # Byte-pair encoding takes quadratic time in a word's length: a text's end, which would be
        # cut anyway, is not read at all.
        return text[: _LETTERS_A_TOKEN * self.context]

    def _row_of(self, tokens: Sequence[int]) -> list[int]:
        if self._rows is None:
            known = self.known.tolist()
            self._rows = {token: _FIRST + i for i, token in enumerate(known) if token >= 0}
        return [self._rows.get(token, _UNKNOWN) for token in tokens]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._rows = None


def _run(tower: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """A tower's vector and tokens of ids (B, L), L up to its context."""
    # The tower attends causally, so that the padding behind a text's end changes nothing in it and
    # need not be computed; its own forward wants a mask of just this length.
    length = ids.shape[1]
    x = tower.token_embedding(ids) + tower.positional_embedding[:length]
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    x = tower.ln_final(x)
    return x[torch.arange(len(ids), device=ids.device), ids.argmax(1)], x


def _pretrained_tower(name: str) -> nn.Module:
    import open_clip

    from ..errors import CheckpointError

    model_name, _, tag = name.partition("/")
    try:
        model = open_clip.create_model(model_name, pretrained=tag, force_custom_text=True)
    except Exception as error:  # no such model, no network, a broken file: there is no one type
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the pretrained text tower {name} cannot be had ({reason}); fetch its weights and "
            "name the file as MODEL/PATH, or leave text.pretrained out to train one along."
        ) from None
    tower = model.text
    if not hasattr(tower, "output_tokens") or not hasattr(tower, "context_length"):
        raise CheckpointError(
            f"the text tower of {name} is not of CLIP's own kind; choose a model such as ViT-B-32."
        )
    tower.output_tokens = True
    return tower.requires_grad_(False).eval()
