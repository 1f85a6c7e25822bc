"""The critic: it learns to tell renderings from originals, and a rendering that minds it comes nearer to them."""

import pytest
import torch
from torch import Tensor

from pipelines.pretrain.codec.critic import Critic, Rivalry


def originals(seed: int) -> Tensor:
    """Four pulse trains, 0.4 s each."""
    generator = torch.Generator().manual_seed(seed)
    audio = 0.002 * torch.randn(4, 9_600, generator=generator)
    for row, period in zip(audio, (160, 200, 240, 280), strict=True):
        row[int(torch.randint(period, (1,), generator=generator)) :: period] += 0.3
    return audio


def renderings(seed: int) -> Tensor:
    """Noise that is as loud."""
    audio = torch.randn(4, 9_600, generator=torch.Generator().manual_seed(seed))
    return audio * originals(seed).std()


@pytest.fixture(scope="module")
def rivalry() -> Rivalry:
    torch.manual_seed(0)
    learnt = Rivalry(Critic())
    for step in range(100):
        learnt.learn(learnt.critic.mistaken(renderings(step), originals(step)), lr=1e-3)
    return learnt


def test_it_learns_to_tell_them_apart(rivalry):
    torch.manual_seed(0)
    blank = Critic()
    with torch.no_grad():
        before = float(blank.mistaken(renderings(100), originals(100)))
        after = float(rivalry.critic.mistaken(renderings(100), originals(100)))
        other = rivalry.critic.criticise(renderings(100), originals(100))
        same = rivalry.critic.criticise(originals(101), originals(100))
    assert before > 0.2
    assert after < 0.1
    assert other.told > 3 * same.told
    assert other.features > 2 * same.features


def test_a_rendering_that_minds_it_is_taken_for_an_original(rivalry):
    rendered = renderings(100).requires_grad_()
    optimizer = torch.optim.Adam([rendered], lr=2e-3)
    told = []
    for _ in range(40):
        criticism = rivalry.critic.criticise(rendered, originals(100))
        optimizer.zero_grad()
        criticism.told.backward()
        optimizer.step()
        told.append(float(criticism.told.detach()))
    assert told[0] > 0.5
    assert told[-1] < 0.3 * told[0]


def test_criticism_moves_the_rendering_and_not_the_critic(rivalry):
    rendered = renderings(100).requires_grad_()
    criticism = rivalry.critic.criticise(rendered, originals(100))
    (criticism.told + criticism.features).backward()
    assert rendered.grad is not None
    assert float(rendered.grad.abs().sum()) > 0
    assert all(p.grad is None for p in rivalry.critic.parameters())
    assert all(p.requires_grad for p in rivalry.critic.parameters())


def test_its_own_lesson_leaves_the_rendering_alone(rivalry):
    rendered = renderings(100).requires_grad_()
    rivalry.critic.mistaken(rendered, originals(100)).backward()
    assert rendered.grad is None
    assert all(p.grad is not None for p in rivalry.critic.parameters())
    rivalry.critic.zero_grad(set_to_none=True)
