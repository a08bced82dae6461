"""The Mixer on the demo zoo with its real process: answers, groups, a process that is killed, recipes, the lesson."""

import json
import os
import signal

import pytest
from streamlit.testing.v1 import AppTest

from fda.home import REPO
from fda.jobs.mixers import end_mixer
from fda.ui.mixer_desk import HOW_FAR, NEXT, Desk, Proposal
from fda.ui.mixer_lesson import lesson
from fda.zoos.zoo import load_zoo

TASKS = load_zoo("demo").task_names
OTHER_ZOO = json.dumps({"zoo": "other", "parts": [{"blocks": "all", "method": "ta"}]})


@pytest.fixture(scope="module")
def names():
    """The visitors that tests have been: the next takes over the process of the last, which takes seconds to start."""
    made: list[str] = []
    yield made
    for name in made:
        end_mixer(name)


@pytest.fixture
def opened(names):
    """(query) → the page."""

    def open_page(**query: str) -> AppTest:
        at = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=120)
        for key, value in query.items():
            at.query_params[key] = value
        if names:
            at.session_state["mixer_visitor"] = names[-1]
        at.switch_page("mixer.py").run()
        assert not at.exception, at.exception
        names.append(at.session_state["mixer_visitor"])
        return at

    return open_page


def desk_of(at: AppTest, tasks: tuple[str, ...] = ()) -> Desk:
    return at.session_state[f"mixer_desk {' '.join(tasks)}"]


def sent(at: AppTest) -> dict:
    """What the element got."""
    return next(data for one in at.get("bidi_component") if "bounds" in (data := json.loads(one.proto.json or "{}")))


def move(desk: Desk, **lambdas: float) -> dict:
    """What the feed answers to these λ, the others as they are."""
    return desk.feed(json.dumps([lambdas.get(task, now) for task, now in zip(desk.tasks, desk.lambdas, strict=True)]))


@pytest.mark.timeout(240)
def test_a_walk_over_the_desk(opened):
    at = opened(mix=OTHER_ZOO)
    assert "The recipe is for the zoo 'other', not for 'demo'" in at.error[0].value and len(at.error) == 1
    desk, data = desk_of(at), sent(at)
    assert [task["name"] for task in data["tasks"]] == list(TASKS) and data["lambdas"] == [0.3] * 5
    assert (
        data["now"]["scores"] == [task["baseline"] for task in data["tasks"]]
        and "validation samples" in data["now"]["line"]
    )
    assert all(len(task["samples"]) == 6 and task["samples"][0]["image"] for task in data["tasks"])

    moved = move(desk, digits=0.6)
    assert moved["scores"][0] > data["now"]["scores"][0] and "0.6·τ_digits" in moved["formula"]
    flips = [said for said in moved["said"][0] if said["flipped"]]
    assert flips and all(said["flipped"] != said["says"] for said in flips)
    assert desk.feed("[1, 2]") == {"again": True} and "do not fit the mix" in (desk.problem or "")
    assert desk.feed(HOW_FAR).keys() == {"progress", "share"}

    desk.remember()
    at.run()
    assert len(at.warning) == 1 and "sliders do not fit the mix" in at.warning[0].value
    assert '"weights":{"digits":2.0}' in str(at.query_params["mix"])
    assert desk.history.mixes[0].scores["digits"] == moved["scores"][0]

    desk.proposal = Proposal("average", 3, desk.lambdas)
    steps = [desk.feed(NEXT) for _ in range(4)]
    assert steps[-1]["ended"] and desk.lambdas == desk.proposal.best[0] and "mixer-trace" in steps[0]["figures"]
    at.run()
    assert any("**3 evaluations**" in text.value for text in at.markdown)

    at.selectbox(key="mixer_division").select("Thirds").run()
    at.selectbox(key="mixer_method_1").select("pretrained").run()
    assert [part.blocks for part in desk.recipe.parts] == ["early", "middle", "late", "rest"]
    assert desk.recipe.parts[1].method == "pretrained" and sent(at)["disabled"]
    assert not at.exception and not at.error

    at.button(key="mixer_reset").click().run()
    pid = desk.mixer.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    move(desk, faces=0.5)
    at.run()
    assert sent(at)["now"]["scores"] and desk.mixer.pid not in (None, pid) and not at.error


@pytest.mark.timeout(240)
def test_what_the_lesson_says_is_so(opened):
    at = opened(lesson="True")
    desk = desk_of(at, lesson().tasks)
    assert desk.tasks == lesson().tasks and "experts" in " ".join(text.value for text in at.markdown)

    def letters(**lambdas: float) -> float:
        return move(desk, **lambdas)["scores"][1]

    alone = letters(digits=0, letters=1, textures=0)
    beside_digits, beside_textures = letters(digits=1), letters(digits=0, textures=1)
    assert beside_textures < alone / 2 and alone - beside_textures > alone - beside_digits
    single = max(move(desk, **dict.fromkeys(desk.tasks, value))["average"] for value in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8))
    assert move(desk, digits=0.6, letters=0.6, textures=0.3)["average"] > single
