"""What every decoder does alike: the contract of `start` and `step`, teacher forcing, and drawing captions.

Shapes: B images, K captions (beams, or reference captions while training) an image, L grid locations, V tokens.
An image's captions share its memory, so nothing of an image is repeated for a beam.
"""

from __future__ import annotations

from abc import abstractmethod

import tensorflow as tf
import tf_keras

from caption_core.models.decoder_configs import DecoderConfig
from caption_core.vocabulary import END, PAD, START, UNKNOWN

State = tuple[tf.Tensor, ...]
"""Recurrent arrays, each float32 [B, K, ...], in the order of `Decoder.state_shapes`."""

Memory = tuple[tf.Tensor, ...]
"""What an image leaves for every step, each float32 [B, ...], in the order of `Decoder.memory_shapes`."""

Shapes = dict[str, tuple[int | None, ...]]
"""Names of arrays and their shapes; None is a size that differs from call to call."""

_Loop = tuple[tf.Tensor, ...]

_EMBEDDING_PLACE, _OUTPUT_PLACE = 1, 2  # of their dropout masks; `start` has 0, and 3 and up


class Decoder(tf_keras.Model):
    """`start` an image, then `step` its captions word by word; `call` unrolls given captions for training.

    State contract: `start` returns one state row an image ([B, 1, ...]); repeat it along axis 1 to hold K captions.
    `step` takes and returns [B, K, ...] and never mixes rows, so a search may reorder or drop captions freely.

    All have an `embedding` [V, embedding_units]. A decoder tells by four functions what is its own: `start`,
    `read_words`, `advance` and `project`. Each of its weights is a weight of the model or of a layer that is an
    attribute of it, for that is how weights are named in files.

    Under a Keras policy of mixed precision all in between is computed in the policy's type, and logits are float32.

    Args:
        config: the decoder's sizes.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(name="decoder")
        self.config = config
        self.embedding: tf.Variable = self.add_weight(
            "embedding",
            (config.vocabulary_size, config.embedding_units),
            initializer=tf_keras.initializers.RandomUniform(-0.1, 0.1),
        )

    @property
    @abstractmethod
    def state_shapes(self) -> Shapes:
        """The state's arrays: [B, K, ...], B and K None."""

    @property
    @abstractmethod
    def memory_shapes(self) -> Shapes:
        """The memory's arrays: [B, ...], B None."""

    @abstractmethod
    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[State, Memory]:
        """Features float32 [B, L, channels] to the first state [B, 1, ...] and the image's memory."""

    @abstractmethod
    def read_words(self, words: tf.Tensor) -> tf.Tensor:
        """Embedded words [..., embedding_units] to what `advance` takes of them, [..., size]; one product for all."""

    @abstractmethod
    def advance(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """What `read_words` made of the previous words, [B, K, size], to what is projected, [B, K, ...], and state."""

    @abstractmethod
    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., size of the hidden] to logits [..., V]."""

    def step(self, tokens: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """Previous tokens int32 [B, K] and the state to logits float32 [B, K, V] and the next state."""
        return self.step_from_embedding(tf.gather(self.embedding, tokens), state, memory)

    def step_from_embedding(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """`step` from embedded words float32 [B, K, embedding_units], for graphs that store the embedding otherwise."""
        hidden, state = self.advance(self.read_words(words), state, memory)
        return self.logits(hidden), state

    def call(self, features: tf.Tensor, tokens: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Teacher forcing: inputs int32 [B, K, T] (start token first) to logits float32 [B, K, T, V]; see `unroll`."""
        return self.logits(self.unroll(features, tokens, dropout_seed))

    def unroll(self, features: tf.Tensor, tokens: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Teacher forcing up to what `logits` takes: inputs int32 [B, K, T] to [B, K, T, size of the hidden].

        Training leaves out padding between the two, for the output layer is the larger part of a small decoder.

        Args:
            features: float32 [B, L, channels].
            tokens: the captions to predict, start token first, end token left out.
            dropout_seed: int32 [2], decides the dropout masks (an equal seed drops the same); None drops nothing.
        """
        state, memory = self.start(features, dropout_seed)
        captions, length = tf.shape(tokens)[1], tf.shape(tokens)[2]
        embedded = tf.gather(self.embedding, tokens)
        embedded = dropout(embedded, self.config.embedding_dropout, dropout_seed, _EMBEDDING_PLACE)
        # Steps are read from an array: the gradient of a slice of `words` would be as large as all of `words`.
        words = self.read_words(embedded)
        steps = tf.TensorArray(words.dtype, size=length).unstack(tf.transpose(words, (2, 0, 1, 3)))  # each [B, K, size]
        outputs = tf.TensorArray(words.dtype, size=length)

        def body(t: tf.Tensor, state: State, outputs: tf.TensorArray) -> tuple[tf.Tensor, State, tf.TensorArray]:
            hidden, state = self.advance(steps.read(t), state, memory)
            return t + 1, state, outputs.write(t, hidden)

        loop = (0, _repeat(state, captions), outputs)
        *_, outputs = tf.while_loop(lambda t, *_: t < length, body, loop, maximum_iterations=length)
        hidden = tf.transpose(outputs.stack(), (1, 2, 0, 3))  # [B, K, T, ...]
        return dropout(hidden, self.config.output_dropout, dropout_seed, _OUTPUT_PLACE)

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """[..., size of the hidden] to logits float32 [..., V]."""
        return tf.cast(self.project(hidden), tf.float32)

    def sample(self, features: tf.Tensor, captions: int, max_tokens: int, seed: tf.Tensor) -> tf.Tensor:
        """Draw captions from the model's own distribution.

        Args:
            features: float32 [B, L, channels].
            captions: K, how many to draw for an image.
            max_tokens: words of the longest.
            seed: int32 [2]; an equal seed draws the same.

        Returns:
            int32 [B, K, max_tokens]: words, the end token, padding. A caption that has not ended by then has no end
            token: one that the model did not draw must not be learned from.
        """
        state, memory = self.start(features)
        state = _repeat(state, captions)
        shape = tf.shape(state[0])[:2]
        drawn = tf.TensorArray(tf.int32, size=max_tokens)

        def body(t: tf.Tensor, previous: tf.Tensor, state: State, drawn: tf.TensorArray) -> _Loop:
            logits, state = self.step(previous, state, memory)
            flat = tf.reshape(without_unspoken(logits), (-1, self.config.vocabulary_size))
            words = tf.random.stateless_categorical(flat, 1, seed + tf.stack((0, t)), tf.int32)
            words = tf.where((previous == END) | (previous == PAD), PAD, tf.reshape(words, shape))
            return t + 1, words, state, drawn.write(t, words)

        loop = tf.while_loop(lambda t, *_: t < max_tokens, body, (0, tf.fill(shape, START), state, drawn))
        return tf.transpose(loop[-1].stack(), (1, 2, 0))


def _repeat(state: State, captions: tf.Tensor | int) -> State:
    return tuple(tf.repeat(part, captions, axis=1) for part in state)


def zero_state(like: tf.Tensor, units: int) -> tf.Tensor:
    """A first state [B, 1, units] of zeros for the images of `like` [B, ...]."""
    return tf.zeros((tf.shape(like)[0], 1, units), like.dtype)


def tied_logits(projected: tf.Tensor, embedding: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    """The output layer that is the word embedding: [..., embedding_units] to logits [..., V]."""
    table, bias = tf.cast(embedding, projected.dtype), tf.cast(bias, projected.dtype)
    return tf.matmul(projected, table, transpose_b=True) + bias


def additive_attention(queries: tf.Tensor, memory: Memory, energy: tf_keras.layers.Layer) -> tf.Tensor:
    """Attention of one head by a hidden layer (Bahdanau et al. 2015, arXiv 1409.0473).

    Args:
        queries: [B, K, attention_units].
        memory: keys [B, L, attention_units] and values [B, L, size].
        energy: the hidden layer [..., attention_units] to energies [..., 1].

    Returns:
        Context, [B, K, size].
    """
    keys, values = memory
    return tf.matmul(tf.nn.softmax(tf.squeeze(energies(queries, keys, energy), -1)), values)


def energies(queries: tf.Tensor, keys: tf.Tensor, energy: tf_keras.layers.Layer) -> tf.Tensor:
    """Of queries [B, K, attention_units] and keys [B, L, attention_units], by a hidden layer: [B, K, L, heads]."""
    return energy(tf.tanh(tf.expand_dims(keys, 1) + tf.expand_dims(queries, 2)))


def split_heads(rows: tf.Tensor, heads: int) -> tf.Tensor:
    """[B, rows, units] to [B, heads, rows, share], without a shape that would have to be computed in the graph."""
    return tf.stack(tf.split(rows, heads, axis=-1), axis=1)


def merge_heads(found: tf.Tensor) -> tf.Tensor:
    """[B, heads, rows, share] to [B, rows, units]; likewise."""
    return tf.concat(tf.unstack(found, axis=1), -1)


def without_unspoken(logits: tf.Tensor) -> tf.Tensor:
    """Logits [..., V] with those of the tokens that no caption holds (padding, start, unknown) out of the race."""
    unspoken = tf.one_hot((PAD, START, UNKNOWN), tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
    return tf.where(tf.reduce_any(unspoken, axis=0), -1e9, logits)


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Stateless dropout: the masks depend on the seed and the place in the model alone, so a run can be repeated."""
    if seed is None or rate == 0.0:
        return values
    return tf.nn.experimental.stateless_dropout(values, rate, seed=seed + tf.constant((0, place)))
