from compression.report.wording import counted, listed, runtime_name, span


def test_of_many_names_the_first_are_listed_and_the_others_counted() -> None:
    assert listed(list("abcdef")) == "a, b, c, d, e, f"
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"


def test_numbers_have_their_nouns() -> None:
    assert [counted(number, "core") for number in (1, 2)] == ["1 core", "2 cores"]
    assert [counted(number, "matrix", "matrices") for number in (1, 2)] == ["1 matrix", "2 matrices"]


def test_ratios_that_are_written_alike_are_written_once() -> None:
    assert span([1.201, 1.199]) == "1.20"
    assert span([1.3, 0.9, 1.1]) == "0.90 to 1.30"


def test_a_runtime_without_a_name_of_its_own_keeps_its_own() -> None:
    assert [runtime_name(runtime) for runtime in ("tensorflow", "litert", "other")] == ["TensorFlow", "LiteRT", "other"]
