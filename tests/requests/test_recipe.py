"""A recipe's file gives the same recipe back; each mistake in one is told in one sentence; its formula in one line."""

import pytest

from fda.errors import UserError
from fda.requests.recipe import MOST_BYTES, assigned, formula, group_blocks, read_recipe, recipe_text, settings_of
from fda.zoos.zoo import load_zoo

RUN = "20261129-082329-6871"
BLOCKS = tuple(f"visual.transformer.resblocks.{index}" for index in range(4))


@pytest.fixture(scope="module")
def demo():
    return load_zoo("demo")


def of(*parts, **more):
    return {"zoo": "demo", **more, "parts": [{"blocks": "all", "method": "ta"} | part for part in parts]}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (of({"settings": {"scale": 0.4}}), "θ0 + 0.4·Σ τ on all blocks"),
        (of({}, tasks=["digits", "letters"]), "θ0 + 0.3·(τ_digits + τ_letters) on all blocks"),
        (
            of({"weights": {"digits": 2.0, "faces": -1.0, "photos": 0.0}}, tasks=["digits", "faces", "photos"]),
            "θ0 + 0.6·τ_digits − 0.3·τ_faces on all blocks",
        ),
        (
            of(
                {"blocks": [0, BLOCKS[1]], "method": "tsv", "weights": {"digits": 0.5}},
                {"blocks": "late", "method": "individual:letters"},
                {"blocks": "rest", "method": f"fda:ta@{RUN}"},
                tasks=["digits", "letters"],
            ),
            f"TSV-M(0.5·τ_digits, τ_letters, scale 1) on blocks 0, {BLOCKS[1]}; θ0 + τ_letters on late blocks; FDA (TA) of run "
            f"{RUN} on the tensors outside blocks",
        ),
        (of({"blocks": [3], "method": "pretrained"}), "θ0 on block 3"),
        (of({"blocks": [2], "settings": {"scale": 1e-05}}), "θ0 + 1e-05·Σ τ on block 2"),
    ],
)
def test_a_recipe_is_the_same_after_its_file(demo, tmp_path, content, line):
    recipe = read_recipe(content, demo)
    file = tmp_path / "mix.yaml"
    file.write_text(recipe_text(recipe))
    assert read_recipe(file, demo) == recipe == read_recipe(recipe_text(recipe)) == read_recipe(recipe.content())
    assert recipe_text(read_recipe(file)) == file.read_text()
    assert formula(recipe, demo) == line


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (of({}) | {"zoo": "other"}, "the recipe is for the zoo 'other', not for 'demo': take a recipe of this zoo"),
        (of({"method": "tsw"}), r"parts.0: there is no merging method 'tsw' \(did you mean tsv"),
        (of({"method": "fda:ta"}), "parts.0: fda:ta needs a run: write fda:ta@RUN_ID"),
        (of({"method": "ta:swept"}), "ta:swept needs a run"),
        (of({"method": "fda:ta@../../home"}), "'../../home' is not the id of a run"),
        (
            of({"method": f"adamerging@{RUN}"}),
            "adamerging reads inputs of the test split, which a mix is never made from",
        ),
        (of({"method": f"individual@{RUN}"}), "a run keeps no merged model of individual: write individual:TASK"),
        (of({"method": "individual"}), "name the task whose finetuned model it is"),
        (of({"method": "individual:letter"}), "zoo demo has no task 'letter': did you mean letters"),
        (of({"method": "slerp"}), "slerp merges exactly 2 tasks, not 5: choose them with `tasks`"),
        (of({"method": "individual:letters", "settings": {"scale": 1}}), "is a finished model, which has no settings"),
        (of({"method": "pretrained", "weights": {"digits": 1}}), "is a finished model, which has no weights"),
        (of({"settings": {"scal": 1}}), "ta has no setting 'scal': did you mean scale"),
        (
            of({"settings": {"scale": float("nan")}}),
            "ta.scale cannot be nan: give a number of at least 0 and at most 2",
        ),
        (of({"settings": {"scale": 3}}), "ta.scale cannot be 3"),
        (of({"settings": {"scale": "x" * 300}}), "a name or a value is longer than 200 characters"),
        (of({"settings": {"weights": "1,1,1,1,1"}, "weights": {"digits": 2}}), "weights are given twice"),
        (of({"weights": {"digit": 1}}), "the mix has no task 'digit': did you mean digits"),
        (
            of({"weights": {"digits": 11}}),
            "`parts.0.weights` is wrong: the weight of 'digits' is not a number from −10 to 10",
        ),
        (of({"weights": {"digits": float("inf")}}), "the weight of 'digits' is not a number"),
        (of({}, tasks=["letters", "digits"]), "tasks: name each once, in the zoo's order"),
        (of({}, tasks=["digits", "number"]), "tasks: zoo demo has no task 'number'"),
        (of({"blocks": "lates"}), "'lates' is none of all, early, middle, late, rest"),
        (of({"blocks": []}), "or a list of 1 to 1000 blocks"),
        (of({"blocks": [True]}), "a block is a number from 0 or a name"),
        (of({"blocks": [-1]}), "a block is a number from 0 or a name"),
        (of({"blocks": [1, 1]}), "it names a block twice"),
        (of({}, {"blocks": [0]}), "beside a part on all blocks there can be no other"),
        (of({"blocks": [0, 1]}, {"blocks": [1]}), "parts overlap: two of them name 1"),
        (of({"scale": 1}), "`parts.0.scale` is not one a recipe has"),
        ({"zoo": "demo"}, "the field `parts` is missing"),
        ("zoo: [", "is not YAML"),
        ("- 1", "holds no fields"),
        ("#" * (MOST_BYTES + 1), "is longer than 64 KiB"),
    ],
)
def test_a_mistake_is_one_sentence(demo, content, told):
    with pytest.raises(UserError, match=told.replace("[", r"\[")) as error:
        read_recipe(content, demo)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([{"blocks": [4]}], "there is no block 4: this model has blocks 0 to 3"),
        ([{"blocks": ["visual"]}], "there is no block 'visual'"),
        ([{"blocks": [0]}, {"blocks": "early"}], "parts 0 and 1 overlap in block 0"),
        ([{"blocks": [2]}, {"blocks": [BLOCKS[2]]}], "parts 0 and 1 overlap in block 2"),
    ],
)
def test_blocks_are_checked_against_the_model(demo, parts, told):
    with pytest.raises(UserError, match=told):
        assigned(read_recipe(of(*parts), demo), BLOCKS)


def test_groups_are_thirds_and_uncovered_blocks_are_left_out(demo):
    assert [group_blocks(group, 12) for group in ("early", "middle", "late")] == [
        (0, 1, 2, 3),
        (4, 5, 6, 7),
        (8, 9, 10, 11),
    ]
    assert [len(group_blocks(group, 4)) for group in ("early", "middle", "late", "all", "rest")] == [1, 2, 1, 4, 0]
    assert assigned(read_recipe(of({"blocks": [1]}, {"blocks": "late"}), demo), BLOCKS) == {1: 0, 3: 1}
    assert assigned(read_recipe(of({}), demo), BLOCKS) == {0: 0, 1: 0, 2: 0, 3: 0, None: 0}
    with pytest.raises(UserError, match="a model of 2 blocks has none that is middle"):
        assigned(read_recipe(of({"blocks": "middle"}), demo), BLOCKS[:2])


def test_a_part_has_the_familys_value_where_its_settings_have_none(demo):
    part = read_recipe(of({})).parts[0]
    large = demo.model_copy(update={"family": "roberta-large"})
    assert settings_of(part, demo) == {"scale": 0.3, "weights": ""}
    assert settings_of(part, large)["scale"] == 0.2  # as in a comparison of that zoo
