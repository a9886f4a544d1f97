"""The agent world: its games by hand, its gymnasium environment, its judge, and whole episodes."""

import random
import subprocess
import sys
import time
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reference_impls.core import measure
from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.agent import WORLD, games, lessons, picture, report, tasks, text
from reference_impls.core.worlds.agent.environment import AgentEnv
from reference_impls.core.worlds.agent.games import GAMES, GRID, NUMBER_LINE, POINTS, Scene

LINE = Scene(NUMBER_LINE, here=3, goal=5, noise=1)
CARDS = Scene(POINTS, cards=(5, 7), noise=2)
#  t . .      t: the player, #: squares, o: the circle
#  # # o
WALK = Scene(GRID, here=0, goal=6, blocks=(4, 5), noise=3)


def say(action):
    return text.answer(action, "so it is")


def played(scene, *actions):
    """Rewards of a game's moves, and the last outcome."""
    rewards = []
    for action in actions:
        outcome = games.move(scene, action)
        rewards.append(outcome.reward)
        scene = outcome.scene
    return rewards, outcome


# --- rules --------------------------------------------------------------------------------------


def test_moves_on_the_line_are_paid_as_in_gym_cards():
    """1 at the goal, -1 for a move that comes no closer, 0 otherwise (numberline.py#L63-L87)."""
    rewards, last = played(LINE, "+", "+")
    assert rewards == [0.0, 1.0] and last.terminated and last.won
    rewards, last = played(LINE, "-", "+", "+", "+")
    assert rewards == [-1.0, 0.0, 0.0, 1.0]
    # It arrived, but the rewards have no positive sum: the paper's code counts no success.
    assert last.terminated and not last.won
    edge = replace(LINE, here=0)
    assert games.move(edge, "-").reward == -1.0 and games.move(edge, "-").scene.here == 0
    with pytest.raises(ValueError, match=r"number-line has no action 'up': \+, -"):
        games.move(LINE, "up")


def test_a_formula_is_paid_at_its_end():
    """10 for one of both cards that makes 12; -1 for another and for a number that is not there."""
    rewards, last = played(CARDS, "5", "+", "7", "=")
    assert rewards == [0.0, 0.0, 0.0, 10.0] and last.won
    rewards, last = played(CARDS, "5", "+", "5", "=")
    assert rewards == [0.0, 0.0, -1.0, -1.0] and last.terminated and not last.won
    assert last.scene.formula == ("5", "+")
    rewards, last = played(CARDS, "=")
    assert rewards == [-1.0] and last.terminated
    assert games.value(("2", "+", "5", "*", "2")) == 12
    for broken in ((), ("+",), ("5", "+"), ("5", "7"), ("5", "+", "+", "7")):
        assert games.value(broken) is None


def test_a_walk_ends_at_the_circle_or_on_a_square():
    rewards, last = played(WALK, "right", "right", "down")
    assert rewards == [0.0, 0.0, 1.0] and last.won
    rewards, last = played(WALK, "down")
    assert rewards == [-1.0] and last.terminated and not last.won
    rewards, last = played(WALK, "up")
    assert rewards == [-0.1] and last.scene.here == 0 and not last.terminated


@pytest.mark.parametrize("game", GAMES)
def test_a_game_is_cut_off_after_its_most_moves(game):
    scene = {NUMBER_LINE: LINE, POINTS: CARDS, GRID: WALK}[game]
    idle = {NUMBER_LINE: "-", POINTS: "9", GRID: "up"}[game]
    *_, last = played(scene, *[idle] * games.MOST_MOVES[game])[1:]
    assert last.truncated and not last.terminated and not last.won


@pytest.mark.parametrize("game", GAMES)
def test_best_moves_win_from_every_beginning_in_the_fewest_moves(game):
    """Against a search over all moves that knows the rules only."""

    def fewest(scene, most):
        edge = [scene]
        for moves in range(1, most + 1):
            following = []
            for state in edge:
                for action in state.actions:
                    outcome = games.move(state, action)
                    if outcome.won:
                        return moves
                    if not outcome.terminated and outcome.reward == 0:
                        following.append(outcome.scene)
            edge = list({(e.here, e.formula): e for e in following}.values())
        return None

    rng = random.Random(5)
    for _ in range(12):
        scene, moves = games.begin(game, rng), 0
        needed = fewest(scene, games.MOST_MOVES[game])
        while True:
            outcome = games.move(scene, rng.choice(games.best(scene)))
            scene, moves = outcome.scene, moves + 1
            if outcome.terminated:
                break
        assert outcome.won and moves == needed


def test_no_best_move_where_the_game_is_lost():
    assert games.best(replace(CARDS, formula=("5", "*"))) == ()
    assert games.best(replace(WALK, blocks=(1, 4))) == ()


# --- the environment ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("thoughts", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_gymnasium_finds_nothing_wrong(game, thoughts):
    check_env(AgentEnv(game, thoughts=thoughts, render_mode="rgb_array"), skip_render_check=True)


@pytest.mark.parametrize("game", GAMES)
def test_a_seed_and_answers_make_an_episode(game):
    def episode(seed):
        environment = gymnasium.make(f"mmalign/{game}-v1")
        seen, _ = environment.reset(seed=seed)
        rewards, pictures = [], [seen["images"][0]]
        for answer in ("not an action", say("+"), say("up"), say("5"), "", say("="), "x"):
            seen, reward, over, cut, info = environment.step(answer)
            rewards.append((reward, info["action"]))
            pictures.append(seen["images"][0])
            if over or cut:
                break
        return rewards, np.stack(pictures)

    one, same, other = episode(3), episode(3), episode(4)
    assert one[0] == same[0] and np.array_equal(one[1], same[1])
    assert one[1][0].shape == (64, 64, 3) and one[1].dtype == np.uint8
    assert not np.array_equal(one[1][0], other[1][0])


def test_text_without_an_action_is_replaced_by_one_drawn_evenly():
    """Equation 4.1 of arXiv:2405.10292; `named` tells it."""
    drawn = []
    for noise in range(400):
        environment = AgentEnv(scene=replace(WALK, noise=noise))
        environment.reset()
        *_, info = environment.step(say("jump"))
        assert not info["named"]
        drawn.append(info["action"])
    shares = [drawn.count(action) / 400 for action in WALK.actions]
    assert all(0.19 < share < 0.31 for share in shares)
    environment.reset()
    *_, info = environment.step(say("right"))
    assert info["named"] and info["action"] == "right"


def test_the_last_step_says_whether_the_game_was_won():
    environment = AgentEnv(scene=LINE)
    environment.reset()
    *_, info = environment.step(say("+"))
    assert "success" not in info
    *_, over, cut, info = environment.step(say("+"))
    assert over and not cut and info["success"] is True
    with pytest.raises(RuntimeError, match="reset the environment"):
        AgentEnv().step(say("+"))
    with pytest.raises(ValueError, match="no game 'chess': there are number-line"):
        AgentEnv("chess")


def test_a_prompt_shows_the_picture_and_what_it_does_not_hold():
    seen, _ = AgentEnv(scene=CARDS).reset()
    assert seen["prompt"].startswith("<image> points :") and "formula : nothing" in seen["prompt"]
    environment = AgentEnv(scene=CARDS, thoughts=False)
    environment.reset()
    seen = environment.step(say("5"))[0]
    assert "formula : 5 ." in seen["prompt"] and "thoughts" not in seen["prompt"]


def test_environments_run_side_by_side_as_gymnasium_has_them():
    vector = gymnasium.vector.SyncVectorEnv([lambda: AgentEnv(NUMBER_LINE)] * 3)
    seen, _ = vector.reset(seed=1)
    assert len(seen["prompt"]) == 3 and seen["images"][0].shape == (3, 64, 64, 3)
    _, rewards, *_ = vector.step([say("+")] * 3)
    assert rewards.shape == (3,)
    vector.close()


# --- pictures -----------------------------------------------------------------------------------


def test_figures_can_be_told_apart_under_noise():
    clean = [picture.clean({5: ("white", str(number))}) for number in range(10)]
    for number in range(10):
        seen = picture.noisy({5: ("white", str(number))}, number).astype(float)
        gaps = [((seen - each) ** 2).sum() for each in clean]
        assert gaps.index(min(gaps)) == number


def test_noise_belongs_to_the_state():
    assert np.array_equal(picture.render(LINE), picture.render(LINE))
    moved = games.move(games.move(LINE, "-").scene, "+").scene
    assert moved.here == LINE.here
    assert not np.array_equal(picture.render(LINE), picture.render(moved))
    assert picture.filled(Scene(POINTS, cards=(2, 10))) == {
        4: ("yellow", "2"), 6: ("yellow", "1"), 7: ("yellow", "0"),
    }  # fmt: skip


# --- answers ------------------------------------------------------------------------------------

GOOD = '{ "thoughts" : " current 3 , target 5 , too small , choose + . " , "action" : " + " }'


@pytest.mark.parametrize(
    ("said", "action", "formed"),
    [
        (GOOD, "+", True),
        (GOOD.replace(" : ", ":").replace('" + "', '"+"'), "+", True),
        ('{ "action" : " - " }', "-", False),  # no thought
        ('{ "thoughts" : " so " , "action" : "   " }', None, False),
        ('{ "thoughts" : " so " , "action" : "plus" }', None, True),  # no action of the game
        ('{ "thoughts" : " so " , "action" : " + " , "action" : " - " }', None, False),
        ('{ "thoughts" : " so " , "action" : " + " , "action" : " + " }', "+", False),
        ('{ "thoughts" : " \\"action\\" : \\" - " , "action" : " + " }', "+", True),
        ('{ "thoughts" : { "action" : " + " } , "action" : " + " }', "+", False),  # nested
        ('{ "action" : " + " , "thoughts" : " so " }', "+", False),  # the order asked for
        ('[["thoughts", "so"], ["action", "+"]]', None, False),
        ('{ "thoughts" : " so " , "action" : 1 }', None, False),
        ('{ "thoughts" : " so " , "action" : ' + "9" * 6000 + " }", None, False),
        ("", None, False),
        ("+", None, False),
        ('"action" : " + "', "+", False),
        ('<think> add </think> <answer> + </answer>', None, False),
        (f'<image> {GOOD}', "+", False),
        ('{ "thoughts" : " \u202e\u0661 \U0001f40d " , "action" : " \uff0b " }', None, True),
        ("null", None, False),
        ("\x00", None, False),
    ],
)  # fmt: skip
def test_what_a_model_could_emit_is_read(said, action, formed):
    assert text.named_action(said, LINE.actions) == action
    assert text.well_formed(said, thoughts=True) == formed


@pytest.mark.parametrize(
    "unit",
    [
        '"action"',
        '"action" : ',
        '"action" : "',
        "{",
        "[",
        '"',
        " ",
        '{"action":',
        "\\",
        '{"a":[',
        "9",
    ],
)
def test_long_answers_are_read_in_bounded_time(unit):
    said = unit * (100_000 // len(unit))
    began = time.process_time()
    text.named_action(said, LINE.actions)
    text.well_formed(said, thoughts=True)
    assert time.process_time() - began < 1.0


# --- the world ----------------------------------------------------------------------------------


def test_the_world_is_found_and_draws_beginnings():
    assert protocol.world("agent") is WORLD
    short, long = WORLD.draw("test", 5, 3), WORLD.draw("test", 9, 3)
    assert short == long[:5] and {each.game for each in long} == {NUMBER_LINE}
    mixed = WORLD.under({"game": "mixed"}).draw("test", 60)
    assert {each.game for each in mixed} == set(GAMES)
    for each in mixed:
        assert games.restarted(each) == each and games.best(each)
    with pytest.raises(ValueError, match=r"no split 'train': there are"):
        WORLD.draw("train", 3)


@pytest.mark.parametrize("answer", ["thought", "action"])
@pytest.mark.parametrize("game", [*GAMES, "mixed"])
def test_the_truth_is_right_over_a_whole_split(game, answer):
    world = WORLD.under({"game": game, "answer": answer})
    task = world.tasks["act"]
    items = task.items(world.draw("test", 300), 0)
    truths = [item.truth for item in items]
    assert all(task.score(item, said) == 1.0 for item, said in zip(items, truths, strict=True))
    found = task.metrics(items, truths)
    assert found["action_accuracy"] == found["format"] == found["parse"] == 1.0
    assert found["invalid"] == 0.0 and found["reading"] == float(answer == "thought")


def test_answers_are_corrected_and_distorted():
    rng = random.Random(1)
    world = WORLD.under({"game": "mixed"})
    task = world.tasks["act"]
    for item in task.items(world.draw("test", 60)):
        wrong = task.distort(item, item.truth, rng)
        assert task.score(item, wrong) == 0.0 and task.parses(item, wrong)
        assert task.score(item, task.correct(item, wrong)) == 1.0
        assert task.correct(item, item.truth) == item.truth
        judged = task.judge(item, wrong)
        assert len(judged) == 1 and not judged[0].right
        words = wrong.split()
        assert words[judged[0].start] == '"action"' and judged[0].stop == len(words)
    assert task.judge(item, "nothing") == []


def test_nothing_is_paid_after_the_end():
    environment = AgentEnv(scene=LINE)
    environment.reset()
    over = False
    while not over:
        *_, over, cut, _ = environment.step(say("+"))
        assert not cut
    with pytest.raises(RuntimeError, match="after the last"):
        environment.step(say("+"))
    environment.reset()
    environment.step(say("+"))


def test_an_altered_game_can_still_be_won():
    rng = random.Random(5)
    for game in games.GAMES:
        for scene in WORLD.under({"game": game}).draw("pairs", 60):
            other = WORLD.alter(scene, rng)
            assert games.best(other) and other != scene, (scene, other)


def test_an_altered_scene_looks_otherwise():
    rng = random.Random(2)
    for scene in WORLD.under({"game": "mixed"}).draw("pairs", 60):
        other = WORLD.alter(scene, rng)
        assert picture.filled(other) != picture.filled(scene) and other.game == scene.game


def test_the_page_has_the_numbers_of_the_bases():
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page) == page, "python -m reference_impls.core.worlds.agent.report"
    assert set(report.known(report.NUMBERS)) <= {"1", "2", "3"}


def test_a_base_may_begin_with_one_of_the_scenes_world():
    """Whose words are the first ones of this world's (`first_use.take_over`)."""
    from reference_impls.core.worlds.scenes import text as scenes_text

    assert text.WORDS[: len(scenes_text.WORDS)] == scenes_text.WORDS


def test_lessons_have_words_of_the_vocabulary_and_habits_come_last():
    rng, words = random.Random(0), set(text.WORDS)
    for progress in (0.0, 0.5, 0.9):
        for _ in range(60):
            for lesson in lessons.page(rng, progress).lessons:
                for turn in lesson.turns:
                    assert words >= set(f"{turn.prompt} {turn.answer}".split())
    large = Scene(NUMBER_LINE, here=7, goal=2)
    for scale, low, high in ((0.0, 0.0, 0.0), (1.0, 0.5, 0.7)):
        said = [lessons.played(large, True, rng, scale) for _ in range(400)]
        habit = sum(text.named_action(each, large.actions) == "+" for each in said) / 400
        assert low <= habit <= high
    # The thought leads to the action, also where it is wrong.
    assert text.thought(large, "+") == "current 7 , target 2 , too small , choose + ."


class Player:
    """A policy that plays by a function of prompts, in place of a model."""

    def __init__(self, choose):
        self.choose, self.asked = choose, []

    def answer(self, prompts, images, temperature=None, max_new_tokens=48):
        self.asked.append(len(prompts))
        assert all(len(shown) == 1 and shown[0].size == (64, 64) for shown in images)
        return [self.choose(prompt[-1]["content"][-1]["text"]) for prompt in prompts]

    def answer_items(self, items, media, temperature=None, max_new_tokens=48):
        return [self.choose(item.prompt[-1].text) for item in items]


def test_episodes_are_played_and_measured():
    """A player who always adds wins where the target is larger, and only there."""
    always = Player(lambda prompt: say("+"))
    found, parts = measure.behaviour_in_blocks(always, WORLD, WORLD.tasks["act"], "test", 64, 4, ())
    items = WORLD.tasks["act"].items(WORLD.draw("test", 64, 0), 0)
    wins = [item.scene.goal > item.scene.here for item in items]
    assert found["success_rate"] == sum(wins) / 64
    assert parts["success_rate"] == [sum(wins[n : n + 16]) / 16 for n in range(0, 64, 16)]
    lost = [-float(games.MOST_MOVES[NUMBER_LINE]) if not won else 1.0 for won in wins]
    assert found["episode_return"] == pytest.approx(sum(lost) / 64)
    assert found["invalid_moves"] == 0.0
    # All that still run are answered together.
    assert always.asked[0] == 64 and always.asked == sorted(always.asked, reverse=True)
    silent = measure.behaviour(Player(lambda prompt: "?"), WORLD, WORLD.tasks["act"], "test", 16)
    assert silent["invalid_moves"] == 1.0 and silent["invalid"] == 1.0


def test_names_of_metrics_do_not_meet():
    task = WORLD.tasks["act"]
    assert isinstance(task, protocol.Episodic) and isinstance(task, tasks.Act)
    assert not set(task.metrics([], [])) & set(task.episode_metrics([]))
    assert task.tuned_by in task.episode_metrics([])


def test_the_world_is_light():
    """Neither torch nor gymnasium is loaded before an environment is asked for."""
    code = (
        "import sys; from reference_impls.core.worlds.agent import WORLD; "
        "WORLD.tasks['act'].items(WORLD.draw('test', 2)); "
        "assert not {'torch', 'gymnasium'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
