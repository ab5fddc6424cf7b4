"""Text as a condition, with open_clip's tokenizer and text tower.

The tower is trained with the prior, or pretrained and frozen. open_clip is imported only when a
prior that takes text is built or a text is encoded.
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
_MAX_CHARACTERS_PER_TOKEN = 32  # a token is hardly ever longer


@dataclass(frozen=True)
class TextConfig:
    """A condition on a text. The sizes of the tower are our choice."""

    width: int = 192
    """Width of a text tower that is trained with the prior."""
    layers: int = 3
    heads: int = 4
    context: int = 48
    """Number of tokens of a text, with its start and end token; a longer text is cut. CLIP: 77."""
    vocabulary: int = 0
    """Number of tokens of the vocabulary, the most frequent ones of the training captions (see
    ``learn_vocabulary``); all others become one "unknown" token. 0: all 49,408 tokens of open_clip;
    then the embedding alone has 49,408 x width weights."""
    pretrained: str | None = None
    """``MODEL/TAG`` of open_clip's pretrained models (``ViT-B-32/laion2b_s34b_b79k``), or
    ``MODEL/PATH`` with a file of weights: a frozen text tower instead of one that is trained with
    the prior. The other settings are then ignored."""

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
        """Build the encoder for a prior of this width."""
        return TextEncoder(self, width)


class TextCoverage(NamedTuple):
    """The part of a text that a prior uses."""

    kept: int
    """Number of tokens that the prior uses."""
    read: int
    """Number of tokens of the text; of a very long text, only of its start."""
    unknown: int
    """Number of kept tokens that are not in the vocabulary."""
    whole: bool
    """True if the text was not cut."""


def import_open_clip() -> None:
    """Import the modules for texts in advance: it takes seconds, as long as drawing a picture."""
    from open_clip.transformer import TextTransformer  # noqa: F401

    _tokenizer()


_LONG = 400  # letters; captions are shorter
_WORDS = 50_000  # of the tokenizer's own cache: some megabytes


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def encode_text(text: str) -> tuple[int, ...]:
    """Return open_clip's token ids of a text, without start and end token.

    Those of captions are remembered, within a bound; long texts are not.
    """
    return _caption_ids(text) if len(text) <= _LONG else _encode(text)


@lru_cache(maxsize=2**14)
def _caption_ids(text: str) -> tuple[int, ...]:
    return _encode(text)


def _encode(text: str) -> tuple[int, ...]:
    tokenizer = _tokenizer()
    found = tuple(tokenizer.encode(text))
    if len(tokenizer.cache) > _WORDS:  # it keeps every word that it ever saw
        special = {word: kept for word, kept in tokenizer.cache.items() if word == kept}
        tokenizer.cache = special
    return found


class TextEncoder(nn.Module):
    """An encoder from texts to tokens (B, L, C) with a mask (B, L), and to vectors (B, C)."""

    null_token: nn.Parameter | None
    tower: Any
    """The tower that is trained with the prior; None if it is pretrained."""
    known: Tensor
    """The token ids of the vocabulary, int64 (V,), -1 = free."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.null_token = nn.Parameter(torch.randn(width) * 0.02)
        self.null_vector = nn.Parameter(torch.zeros(width))
        if config.pretrained is not None:
            # In a list, so that it is not in the state: a bundle only names the frozen tower.
            self._frozen = [_pretrained_tower(config.pretrained)]
            inner = self._frozen[0].width
            pooled = self._frozen[0].output_dim
            self.tower = None
        else:
            from open_clip.transformer import TextTransformer

            size = _FIRST + config.vocabulary + 1 if config.vocabulary else 49_408
            inner = pooled = config.width
            self.tower = TextTransformer(
                context_length=config.context,
                vocab_size=size,
                width=inner,
                heads=config.heads,
                layers=config.layers,
                output_dim=None,
                output_tokens=True,
            )
            if config.vocabulary:
                self.register_buffer("known", torch.full((config.vocabulary,), -1))
        self.to_tokens: nn.Linear | None = nn.Linear(inner, width)
        self.to_vector = nn.Linear(pooled, width)
        self._rows: dict[int, int] | None = None

    def remove_tokens(self) -> None:
        """Remove the weights of the tokens, for a network that uses only the vector."""
        self.null_token = self.to_tokens = None

    @property
    def context(self) -> int:
        """The number of tokens of a text, with its start and end token."""
        return self.config.context if self.tower is not None else self._frozen[0].context_length

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        """Set the vocabulary to the most frequent tokens of ``texts``, before training."""
        if not self.config.vocabulary or self.tower is None:
            return
        counts: Counter[int] = Counter()
        for text in texts:
            counts.update(encode_text(self._start_of(text)))
        # Of equally frequent tokens, the lower id comes first: the order of texts has no effect.
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        self.known.fill_(-1)
        best = torch.tensor(sorted(ranked[: self.config.vocabulary]), dtype=torch.int64)
        self.known[: len(best)] = best
        self._rows = None

    def coverage(self, text: str) -> TextCoverage:
        """Return how much of a text the prior uses."""
        start = self._start_of(text)
        tokens = encode_text(start)
        kept = tokens[: self.context - 2]
        unknown = sum(row == _UNKNOWN for row in self._rows_of(kept)) if self._is_compact else 0
        whole = len(kept) == len(tokens) and start == text
        return TextCoverage(len(kept), len(tokens), unknown, whole)

    def check(self, texts: Sequence[str]) -> None:
        """Raise ValueError if a text is not a string, or if the vocabulary was not set."""
        if any(not isinstance(text, str) for text in texts):
            raise ValueError("a condition's texts must be strings")
        if self._is_compact and not self._row_of_token():
            raise ValueError(
                "this prior has no vocabulary yet; call learn_vocabulary with the training "
                "captions first, or set text.vocabulary 0"
            )

    def forward(
        self, texts: Sequence[str] | None, dropped: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return tokens (B, L, C), their mask bool (B, L), and vectors (B, C) of texts.

        Without texts, for empty texts, and in rows where ``dropped`` (B,) is true, they are one
        learned token and a learned vector.
        """
        batch = len(dropped)
        token, vector = self.null_token, self.null_vector
        given = [] if texts is None else [text if text.strip() else "" for text in texts]
        distinct = sorted({text for text in given if text})
        if not distinct:
            vectors = vector.expand(batch, -1)
            if token is None:
                return None, None, vectors
            mask = torch.ones(batch, 1, dtype=torch.bool, device=dropped.device)
            return token.expand(batch, 1, -1), mask, vectors
        # The tower encodes each distinct text once.
        tokens, mask, vectors = self._encode(distinct)
        row_of = {text: row for row, text in enumerate(distinct)}
        rows = torch.tensor([row_of.get(text, 0) for text in given])
        empty = torch.tensor([not text for text in given])
        rows, empty = (x.to(dropped.device, non_blocking=True) for x in (rows, empty))
        empty = empty | dropped
        vectors = torch.where(empty[:, None], vector.to(vectors.dtype), vectors[rows])
        if token is None or tokens is None:
            return None, None, vectors
        first = torch.arange(mask.shape[1], device=dropped.device) == 0
        tokens = torch.where(empty[:, None, None], token.to(tokens.dtype), tokens[rows])
        return tokens, torch.where(empty[:, None], first, mask[rows]), vectors

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor | None, Tensor, Tensor]:
        device = self.null_vector.device
        encoded = [encode_text(self._start_of(text))[: self.context - 2] for text in texts]
        compact = self._is_compact
        start, end = (_START, _FIRST + self.config.vocabulary) if compact else (49_406, 49_407)
        length = 2 + max(map(len, encoded))
        ids = torch.full((len(texts), length), _PAD)
        for row, tokens in enumerate(encoded):
            kept = self._rows_of(tokens) if compact else tokens
            ids[row, : len(kept) + 2] = torch.tensor([start, *kept, end])
        mask = ids.ne(_PAD)
        if not compact:  # open_clip's padding id is also that of "!"
            ends = torch.tensor([len(tokens) + 2 for tokens in encoded])
            mask = torch.arange(length) < ends[:, None]
        ids, mask = (x.to(device, non_blocking=True) for x in (ids, mask))
        if self.tower is None:
            tower = self._frozen[0].to(device)
            padded = nn.functional.pad(ids, (0, self.context - length))
            with torch.no_grad():
                pooled, tokens = tower(padded)
            tokens = tokens[:, :length]
        else:
            # On a CPU, the gradient of attention takes longer in bfloat16 than in float32.
            with torch.autocast("cpu", enabled=False):
                pooled, tokens = _run(self.tower, ids)
        dtype = self.to_vector.weight.dtype
        vectors = self.to_vector(pooled.to(dtype))
        return None if self.to_tokens is None else self.to_tokens(tokens.to(dtype)), mask, vectors

    @property
    def _is_compact(self) -> bool:
        return self.tower is not None and self.config.vocabulary > 0

    def _start_of(self, text: str) -> str:
        # Byte-pair encoding takes quadratic time in the length of a word, so the end of a long
        # text, which would be cut anyway, is not encoded.
        return text[: _MAX_CHARACTERS_PER_TOKEN * self.context]

    def _rows_of(self, tokens: Sequence[int]) -> list[int]:
        """Return the rows of tokens in the tower's embedding."""
        known = self._row_of_token()
        return [known.get(token, _UNKNOWN) for token in tokens]

    def _row_of_token(self) -> dict[int, int]:
        """Return the row of each token of the vocabulary, read from the device once."""
        if self._rows is None:
            known = self.known.tolist()
            self._rows = {token: _FIRST + i for i, token in enumerate(known) if token >= 0}
        return self._rows

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._rows = None


def _run(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return a tower's vectors (B, C) and tokens (B, L, C) of ids (B, L), L up to its context."""
    # The tower attends causally, so that padding after the end of a text has no effect and need
    # not be computed; the tower's own forward pass needs the full length.
    length = ids.shape[1]
    x = tower.token_embedding(ids) + tower.positional_embedding[:length]
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    x = tower.ln_final(x)
    return x[torch.arange(len(ids), device=ids.device), ids.argmax(1)], x


def _pretrained_tower(name: str) -> Any:
    import open_clip

    from ..errors import CheckpointError

    model_name, _, tag = name.partition("/")
    try:
        model: Any = open_clip.create_model(model_name, pretrained=tag, force_custom_text=True)
    except Exception as error:  # an unknown model, no network, a broken file: many types
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the pretrained text tower {name} cannot be loaded ({reason}); download its weights "
            "and name the file as MODEL/PATH, or leave text.pretrained out to train a tower."
        ) from None
    tower = model.text
    if not hasattr(tower, "output_tokens") or not hasattr(tower, "context_length"):
        raise CheckpointError(
            f"the text tower of {name} is not one of CLIP; choose a model such as ViT-B-32."
        )
    tower.output_tokens = True
    return tower.requires_grad_(False).eval()
