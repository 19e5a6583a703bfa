from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.metrics import tokenizer
from caption_core.metrics.java_programs import find_java, find_program
from caption_core.metrics.optional_metrics import UnavailableError
from caption_core.metrics.tokenizer import tokenize

# Each right side is what coco-caption's PTBTokenizer (Stanford CoreNLP 3.4.1) makes of the left side.
KNOWN = {
    "A dog runs on the grass.": "a dog runs on the grass",
    "": "",
    "  leading  and   double spaces ": "leading and double spaces",
    "...!": "",
    "A black-and-white dog, wearing a T-shirt; it's running!": "a black-and-white dog wearing a t-shirt it 's running",
    "They can't, won't, don't and shan't.": "they ca n't wo n't do n't and sha n't",
    "She'll say they're the dogs' and I've the dog's": "she 'll say they 're the dogs and i 've the dog 's",
    "We cannot, gonna, gotta, wanna, gimme, lemme": "we can not gon na got ta wan na gim me lem me",
    "'tis the '90s rock'n'roll o'clock ma'am": "'t is the '90s rock 'n' roll o'clock ma'am",
    "don’t use the dog’s “curly” quotes": "do n't use the dog 's curly quotes",
    "Mr. Smith on St. John Ave. in Washington D.C.": "mr. smith on st. john ave. in washington d.c.",
    "A T.V. and a U.S. flag at 6:30 p.m.": "a t.v. and a u.s. flag at 6:30 p.m.",
    "He waits in no. 5": "he waits in no. 5",
    "He says no. Five": "he says no five",
    "the letter B. The sign": "the letter b the sign",
    "the letter B. is red": "the letter b. is red",
    "a plate.A spoon": "a plate.a spoon",
    "his/her 1/2 24/7 and 5 1/2 cups": "his/her 1/2 24/7 and 5 1/2 cups",
    "1,000 people, $5.00, 50% off, #1": "1,000 people $ 5.00 50 % off # 1",
    "AT&T and at&t, M&Ms": "at&t and at & t m&m s",
    "food (a hot dog) [sic] {x}": "food -lrb- a hot dog -rrb- -lsb- sic -rsb- -lcb- x -rcb-",
    "the beach--kite flying – and — more": "the beach kite flying and more",
    'a sign that says " stop "': "a sign that says stop",
    "wow!! really?!": "wow !! really ?!",
    "see http://www.site.com/x?y=z or mail a@b.co": "see http://www.site.com/x?y=z or mail a@b.co",
    "a <UNK> on it": "a <unk> on it",
    ":) and :-( but not 8)": ":-rrb- and :--lrb- but not 8 -rrb-",
    "a 5'10\" man": "a 5 ' 10 man".replace(" ' ", " "),
    "½ of £5 and €6": "1/2 of # 5 and $ 6",
    "CAFÉ Ünïcode straße": "café ünïcode straße",
    "一只狗在草地上奔跑。": "一只狗在草地上奔跑 。",
    "Собака бежит по траве.": "собака бежит по траве",
    "كلب يجري": "كلب يجري",
    "a happy dog 😀😀 runs a😀b": "a happy dog runs a b",
    "tabs\tand\nnew lines": "tabs and new lines",
}


@pytest.mark.parametrize("caption", KNOWN)
def test_tokens_are_those_of_coco_caption(caption: str) -> None:
    assert " ".join(tokenize(caption)) == KNOWN[caption]


@given(st.text())
def test_any_text_has_tokens_without_spaces(text: str) -> None:
    assert all(token and not token.isspace() and len(token.split()) == 1 for token in tokenize(text))


@given(
    st.lists(st.sampled_from(["a", "dog", "can't", "St.", "5", "1/2", "(", ")", "B.", "The", "no.", "<a"]), max_size=8)
)
def test_remembered_words_change_nothing(words: list[str]) -> None:
    caption = " ".join(words)
    first = tokenize(caption)
    tokenizer._cache.clear()
    assert tokenize(caption) == first


def test_the_memory_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "_CACHE_LIMIT", 10)
    tokenizer._cache.clear()
    for number in range(100):
        assert tokenize(f"word{number}") == [f"word{number}"]
        assert len(tokenizer._cache) <= 10


def test_threads_agree() -> None:
    captions = list(KNOWN) * 50
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenize, captions)) == [tokenize(caption) for caption in captions]


# --- against the real program, where it is installed ----------------------------------------------------------------

_DROPPED = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
_SEPARATOR = "zzz"  # a line can read into the next one; this word is never read so


def stanford_tokens(captions: list[str], folder: Path) -> list[str]:
    """What coco-caption makes of captions, each alone between two neutral lines."""
    try:
        java, program = find_java("this test"), find_program("this test", "tokenizer/stanford-corenlp-3.4.1.jar")
    except UnavailableError as error:
        pytest.skip(str(error))
    source = folder / "captions.txt"
    source.write_text("".join(f"{caption}\n{_SEPARATOR}\n" for caption in captions), encoding="utf-8")
    command = [java, "-cp", str(program), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run([*command, str(source)], capture_output=True, check=True)
    lines = done.stdout.decode().split("\n")[0 : 2 * len(captions) : 2]
    return [" ".join(" ".join(word for word in line.split(" ") if word not in _DROPPED).split()) for line in lines]


def random_captions(seed: int, count: int) -> list[str]:
    """Captions put together from what occurs in captions, with marks in likely and in unlikely places."""
    import random

    pick = random.Random(seed)
    words = "a the dog dogs man's woman can't they're t-shirt black-and-white his/her cannot o'clock St. Ave. U.S. T.V."
    words += " Mr. D.C. 1,000 5 1/2 3rd 12:30 p.m. #1 $5 50% AT&T rock'n'roll '90s B. no. etc. www.site.com a@b.co café"
    marks = [
        "",
        "",
        "",
        "",
        "",
        "",
        ".",
        ",",
        "!",
        "?",
        ";",
        ":",
        '"',
        "'",
        ")",
        " (",
        " - ",
        "--",
        "...",
        "’s",
        "”",
        "…",
    ]
    captions = []
    for _ in range(count):
        chosen = [pick.choice(words.split()) + pick.choice(marks) for _ in range(pick.randint(1, 12))]
        captions.append(" ".join(chosen))
    return captions


@pytest.mark.slow
def test_known_captions_against_the_program(tmp_path: Path) -> None:
    captions = [caption.replace("\n", " ") for caption in KNOWN]
    assert stanford_tokens(captions, tmp_path) == [" ".join(tokenize(caption)) for caption in captions]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_captions_against_the_program(seed: int, tmp_path: Path) -> None:
    captions = random_captions(seed, 5_000)
    theirs = stanford_tokens(captions, tmp_path)
    ours = [" ".join(tokenize(caption)) for caption in captions]
    assert [(c, t, o) for c, t, o in zip(captions, theirs, ours, strict=True) if t != o] == []


@pytest.mark.slow
def test_real_captions_against_the_program(tmp_path: Path, shared_data: Path) -> None:
    annotations = json.loads((shared_data / "coco_metrics" / "captions_test5k.json").read_text())["annotations"]
    tokens = (shared_data / "flickr8k" / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    captions = sorted({record["caption"].replace("\n", " ") for record in annotations})
    captions += sorted({line.partition("\t")[2] for line in tokens})
    theirs = stanford_tokens(captions, tmp_path)
    assert len(captions) > 60_000
    assert [c for c, t in zip(captions, theirs, strict=True) if t != " ".join(tokenize(c))] == []
